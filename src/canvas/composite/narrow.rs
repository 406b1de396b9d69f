//! Operators computed with 8 bits per channel (canvas.md 8 and 11).

use super::operator::{Operator, PorterDuff, Separable};
use crate::blend::mul;

const fn add(a: u32, b: u32) -> u32 {
    let sum = a + b;
    if sum > 255 { 255 } else { sum }
}

/// Source, mask and destination: rows of a8r8g8b8 of the same length.
struct Rows<'a> {
    source: &'a [u32],
    mask: Option<&'a [u32]>,
    component_alpha: bool,
    dest: &'a mut [u32],
}

impl Rows<'_> {
    /// Combines the rows. `colour` and `alpha` compute one channel each of the new destination, from source,
    /// source alpha (per channel with component alpha), destination and destination alpha, each 0 to 255.
    ///
    /// Generic, so that the compiler makes one loop of the functions of each operator.
    fn combine(
        self,
        colour: impl Fn(u32, u32, u32, u32) -> u32 + Copy,
        alpha: impl Fn(u32, u32, u32, u32) -> u32 + Copy,
    ) {
        let Self { source, mask, component_alpha, dest } = self;
        match mask {
            None => {
                for (d, &s) in dest.iter_mut().zip(source) {
                    *d = pixel(colour, alpha, s, spread(s >> 24), *d);
                }
            }
            Some(mask) if component_alpha => {
                for ((d, &s), &m) in dest.iter_mut().zip(source).zip(mask) {
                    *d = pixel(colour, alpha, each(s, m), each(spread(s >> 24), m), *d);
                }
            }
            Some(mask) => {
                for ((d, &s), &m) in dest.iter_mut().zip(source).zip(mask) {
                    let s = each(s, spread(m >> 24));
                    *d = pixel(colour, alpha, s, spread(s >> 24), *d);
                }
            }
        }
    }
}

/// Combines rows of a8r8g8b8 as long as `dest`. Does nothing for wide operators.
pub(super) fn combine(
    op: Operator,
    source: &[u32],
    mask: Option<&[u32]>,
    component_alpha: bool,
    dest: &mut [u32],
) {
    let rows = Rows { source, mask, component_alpha, dest };
    match op {
        Operator::PorterDuff(op) => porter_duff(op, rows),
        Operator::Add => rows.combine(|s, _, d, _| add(s, d), |s, _, d, _| add(s, d)),
        Operator::Blend(mode) => blend(mode, rows),
        _ => {}
    }
}

/// The same value in all four channels.
const fn spread(v: u32) -> u32 {
    v * 0x0101_0101
}

/// The product of two pixels, channel by channel.
fn each(a: u32, b: u32) -> u32 {
    [0, 8, 16, 24].iter().fold(0, |out, shift| out | mul((a >> shift) & 0xff, (b >> shift) & 0xff) << shift)
}

#[inline(always)]
fn pixel(
    colour: impl Fn(u32, u32, u32, u32) -> u32,
    alpha: impl Fn(u32, u32, u32, u32) -> u32,
    s: u32,
    sa: u32,
    d: u32,
) -> u32 {
    let da = d >> 24;
    let at = |v: u32, shift: u32| (v >> shift) & 0xff;
    let colour = |shift: u32| colour(at(s, shift), at(sa, shift), at(d, shift), da) << shift;
    alpha(at(s, 24), at(sa, 24), da, da) << 24 | colour(16) | colour(8) | colour(0)
}

fn porter_duff(op: PorterDuff, rows: Rows<'_>) {
    // The same for colour and alpha.
    macro_rules! both {
        ($channel:expr) => {
            rows.combine($channel, $channel)
        };
    }
    match op {
        PorterDuff::Clear => both!(|_, _, _, _| 0),
        PorterDuff::Src => both!(|s, _, _, _| s),
        PorterDuff::Dst => {}
        PorterDuff::Over => both!(|s, sa, d, _| add(s, mul(d, 255 - sa))),
        PorterDuff::OverReverse => both!(|s, _, d, da| add(d, mul(s, 255 - da))),
        PorterDuff::In => both!(|s, _, _, da| mul(s, da)),
        PorterDuff::InReverse => both!(|_, sa, d, _| mul(d, sa)),
        PorterDuff::Out => both!(|s, _, _, da| mul(s, 255 - da)),
        PorterDuff::OutReverse => both!(|_, sa, d, _| mul(d, 255 - sa)),
        PorterDuff::Atop => both!(|s, sa, d, da| add(mul(s, da), mul(d, 255 - sa))),
        PorterDuff::AtopReverse => both!(|s, sa, d, da| add(mul(s, 255 - da), mul(d, sa))),
        PorterDuff::Xor => both!(|s, sa, d, da| add(mul(s, 255 - da), mul(d, 255 - sa))),
    }
}

/// Divides a value of 0 to 255² by 255 with rounding; larger values saturate.
fn divide(v: u32) -> u32 {
    let t = v.min(255 * 255) + 128;
    (t + (t >> 8)) >> 8
}

/// The colour of a blend mode: both sides outside of each other, plus the blend where they overlap.
fn blended(s: u32, sa: u32, d: u32, da: u32, overlap: i32) -> u32 {
    let outside = (255 - sa) * d + (255 - da) * s;
    divide(outside.saturating_add_signed(overlap))
}

/// A product of channels, each at most 255, as a signed number.
fn signed(a: u32, b: u32) -> i32 {
    i32::try_from(a * b).unwrap_or(0)
}

fn hard_light(s: u32, sa: u32, d: u32, da: u32) -> i32 {
    if 2 * s < sa {
        2 * signed(s, d)
    } else {
        signed(sa, da) - 2 * (da as i32 - d as i32) * (sa as i32 - s as i32)
    }
}

fn blend(mode: Separable, rows: Rows<'_>) {
    // The colour where source and destination overlap; alpha is that of OVER.
    macro_rules! overlap {
        ($overlap:expr) => {
            rows.combine(
                |s, sa, d, da| blended(s, sa, d, da, $overlap(s, sa, d, da)),
                |_, sa, _, da| divide(255 * (sa + da) - sa * da),
            )
        };
    }
    match mode {
        Separable::Multiply => {
            let channel = |s, sa, d, da| add(add(mul(s, 255 - da), mul(d, 255 - sa)), mul(s, d));
            rows.combine(channel, channel);
        }
        Separable::Screen => overlap!(|s, sa, d, da| signed(s, da) + signed(d, sa) - signed(s, d)),
        Separable::Overlay => overlap!(|s, sa, d, da| hard_light(d, da, s, sa)),
        Separable::HardLight => overlap!(hard_light),
        Separable::Darken => overlap!(|s, sa, d, da| signed(s, da).min(signed(d, sa))),
        Separable::Lighten => overlap!(|s, sa, d, da| signed(s, da).max(signed(d, sa))),
        Separable::Difference => overlap!(|s, sa, d, da| (signed(s, da) - signed(d, sa)).abs()),
        Separable::Exclusion => overlap!(|s, sa, d, da| signed(s, da) + signed(d, sa) - 2 * signed(s, d)),
        Separable::ColorDodge | Separable::ColorBurn | Separable::SoftLight => {}
    }
}
