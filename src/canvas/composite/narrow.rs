//! Operators computed with 8 bits per channel (canvas.md 8 and 11).

use super::operator::{Operator, PorterDuff, Separable};
use crate::blend::mul;

/// One channel of an operator. Arguments: source, source alpha (per channel with component alpha),
/// destination and destination alpha, each 0 to 255. Returns the new destination.
type Channel = fn(u32, u32, u32, u32) -> u32;

const fn add(a: u32, b: u32) -> u32 {
    let sum = a + b;
    if sum > 255 { 255 } else { sum }
}

/// Combines rows of a8r8g8b8 as long as `dest`. Does nothing for wide operators.
pub fn combine(op: Operator, source: &[u32], mask: Option<&[u32]>, component_alpha: bool, dest: &mut [u32]) {
    let Some((colour, alpha)) = channels(op) else { return };
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

/// The same value in all four channels.
const fn spread(v: u32) -> u32 {
    v * 0x0101_0101
}

/// The product of two pixels, channel by channel.
fn each(a: u32, b: u32) -> u32 {
    [0, 8, 16, 24].iter().fold(0, |out, shift| out | mul((a >> shift) & 0xff, (b >> shift) & 0xff) << shift)
}

fn pixel(colour: Channel, alpha: Channel, s: u32, sa: u32, d: u32) -> u32 {
    let da = d >> 24;
    let at = |v: u32, shift: u32| (v >> shift) & 0xff;
    let one = |f: Channel, shift: u32| f(at(s, shift), at(sa, shift), at(d, shift), da) << shift;
    one(alpha, 24) | one(colour, 16) | one(colour, 8) | one(colour, 0)
}

/// The functions for colour channels and for alpha.
fn channels(op: Operator) -> Option<(Channel, Channel)> {
    Some(match op {
        Operator::PorterDuff(pd) => {
            let f: Channel = match pd {
                PorterDuff::Clear => |_, _, _, _| 0,
                PorterDuff::Src => |s, _, _, _| s,
                PorterDuff::Dst => |_, _, d, _| d,
                PorterDuff::Over => |s, sa, d, _| add(s, mul(d, 255 - sa)),
                PorterDuff::OverReverse => |s, _, d, da| add(d, mul(s, 255 - da)),
                PorterDuff::In => |s, _, _, da| mul(s, da),
                PorterDuff::InReverse => |_, sa, d, _| mul(d, sa),
                PorterDuff::Out => |s, _, _, da| mul(s, 255 - da),
                PorterDuff::OutReverse => |_, sa, d, _| mul(d, 255 - sa),
                PorterDuff::Atop => |s, sa, d, da| add(mul(s, da), mul(d, 255 - sa)),
                PorterDuff::AtopReverse => |s, sa, d, da| add(mul(s, 255 - da), mul(d, sa)),
                PorterDuff::Xor => |s, sa, d, da| add(mul(s, 255 - da), mul(d, 255 - sa)),
            };
            (f, f)
        }
        Operator::Add => (|s, _, d, _| add(s, d), |s, _, d, _| add(s, d)),
        Operator::Blend(Separable::Multiply) => {
            let f: Channel = |s, sa, d, da| add(add(mul(s, 255 - da), mul(d, 255 - sa)), mul(s, d));
            (f, f)
        }
        Operator::Blend(mode) => (blend(mode)?, |_, sa, _, da| divide(255 * (sa + da) - sa * da)),
        _ => return None,
    })
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

fn blend(mode: Separable) -> Option<Channel> {
    Some(match mode {
        Separable::Screen => {
            |s, sa, d, da| blended(s, sa, d, da, signed(s, da) + signed(d, sa) - signed(s, d))
        }
        Separable::Overlay => |s, sa, d, da| blended(s, sa, d, da, hard_light(d, da, s, sa)),
        Separable::HardLight => |s, sa, d, da| blended(s, sa, d, da, hard_light(s, sa, d, da)),
        Separable::Darken => |s, sa, d, da| blended(s, sa, d, da, signed(s, da).min(signed(d, sa))),
        Separable::Lighten => |s, sa, d, da| blended(s, sa, d, da, signed(s, da).max(signed(d, sa))),
        Separable::Difference => |s, sa, d, da| blended(s, sa, d, da, (signed(s, da) - signed(d, sa)).abs()),
        Separable::Exclusion => {
            |s, sa, d, da| blended(s, sa, d, da, signed(s, da) + signed(d, sa) - 2 * signed(s, d))
        }
        Separable::Multiply | Separable::ColorDodge | Separable::ColorBurn | Separable::SoftLight => {
            return None;
        }
    })
}
