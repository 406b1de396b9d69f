//! Operators that divide, computed in single precision. Each operation rounds as written, so their order is
//! part of the result.

use super::operator::{Hsl, Operator, PorterDuff, Separable};
use crate::image::SurfaceFormat;

/// Alpha, red, green, blue, 0 to 1.
pub(super) type Pixel = [f32; 4];

/// Widens a native value. Narrow channels are not rounded to 8 bits first.
#[must_use]
pub(super) fn from_native(format: SurfaceFormat, v: u32) -> Pixel {
    let unit = |shift: u32, bits: u32| {
        let most = (1u16 << bits) - 1;
        let value = u16::try_from(v >> shift & u32::from(most)).unwrap_or(0);
        f32::from(value) * (1.0 / f32::from(most))
    };
    match format {
        SurfaceFormat::A1 => [unit(0, 1), 0.0, 0.0, 0.0],
        SurfaceFormat::A8 => [unit(0, 8), 0.0, 0.0, 0.0],
        SurfaceFormat::Rgb555 => [1.0, unit(10, 5), unit(5, 5), unit(0, 5)],
        SurfaceFormat::Rgb565 => [1.0, unit(11, 5), unit(5, 6), unit(0, 5)],
        SurfaceFormat::Xrgb32 => [1.0, unit(16, 8), unit(8, 8), unit(0, 8)],
        SurfaceFormat::Argb32 => [unit(24, 8), unit(16, 8), unit(8, 8), unit(0, 8)],
    }
}

/// Narrows to a native value. Unused bits become 0.
#[must_use]
pub(super) fn to_native(format: SurfaceFormat, [a, r, g, b]: Pixel) -> u32 {
    match format {
        SurfaceFormat::A1 => narrow(a, 1),
        SurfaceFormat::A8 => narrow(a, 8),
        SurfaceFormat::Rgb555 => narrow(r, 5) << 10 | narrow(g, 5) << 5 | narrow(b, 5),
        SurfaceFormat::Rgb565 => narrow(r, 5) << 11 | narrow(g, 6) << 5 | narrow(b, 5),
        SurfaceFormat::Xrgb32 => narrow(r, 8) << 16 | narrow(g, 8) << 8 | narrow(b, 8),
        SurfaceFormat::Argb32 => narrow(a, 8) << 24 | narrow(r, 8) << 16 | narrow(g, 8) << 8 | narrow(b, 8),
    }
}

/// A number of 0 to 1 as an integer of this many bits.
fn narrow(v: f32, bits: u32) -> u32 {
    // NaN becomes 0.
    let u = (v.clamp(0.0, 1.0) * f32::from(1u16 << bits)) as u32;
    u - (u >> bits)
}

/// Combines rows as long as `dest`. Does nothing for operators that are not wide.
pub(super) fn combine(
    op: Operator,
    source: &[Pixel],
    mask: Option<&[Pixel]>,
    component_alpha: bool,
    dest: &mut [Pixel],
) {
    for (i, (d, s)) in dest.iter_mut().zip(source).enumerate() {
        let mask = mask.and_then(|m| m.get(i));
        *d = match (op, mask) {
            // Not defined for component alpha, so the destination stays.
            (Operator::Hsl(_), Some(_)) if component_alpha => *d,
            (Operator::Hsl(mode), _) => {
                // This looks wrong, but every client does it: green is masked twice, blue never.
                let masked = mask.map_or(*s, |m| [s[0] * m[0], s[1] * m[0], s[2] * m[0] * m[0], s[3]]);
                hsl(mode, masked, *d)
            }
            (_, None) => pixel(op, *s, [s[0]; 4], *d),
            (_, Some(m)) if component_alpha => {
                let each = |a: Pixel| [0, 1, 2, 3].map(|c| a[c] * m[c]);
                pixel(op, each(*s), each([s[0]; 4]), *d)
            }
            (_, Some(m)) => {
                let s = s.map(|c| c * m[0]);
                pixel(op, s, [s[0]; 4], *d)
            }
        };
    }
}

fn pixel(op: Operator, s: Pixel, sa: Pixel, d: Pixel) -> Pixel {
    let da = d[0];
    [0, 1, 2, 3].map(|c| channel(op, c == 0, s[c], sa[c], d[c], da))
}

fn channel(op: Operator, is_alpha: bool, s: f32, sa: f32, d: f32, da: f32) -> f32 {
    let weigh = |fa: f32, fb: f32| {
        let sum = s * fa + d * fb;
        if sum < 1.0 { sum } else { 1.0 }
    };
    match op {
        Operator::Saturate => weigh(uncovered(da, sa), 1.0),
        Operator::Disjoint(pd) => {
            let (fa, fb) = disjoint(pd, sa, da);
            weigh(fa, fb)
        }
        Operator::Conjoint(pd) => {
            let (fa, fb) = conjoint(pd, sa, da);
            weigh(fa, fb)
        }
        Operator::Blend(_) if is_alpha => sa + da - sa * da,
        Operator::Blend(mode) => {
            let overlap = match mode {
                Separable::ColorDodge => color_dodge(s, sa, d, da),
                Separable::ColorBurn => color_burn(s, sa, d, da),
                Separable::SoftLight => soft_light(s, sa, d, da),
                _ => return d,
            };
            (1.0 - sa) * d + (1.0 - da) * s + overlap
        }
        Operator::PorterDuff(_) | Operator::Add | Operator::Hsl(_) => d,
    }
}

fn is_zero(v: f32) -> bool {
    -f32::MIN_POSITIVE < v && v < f32::MIN_POSITIVE
}

/// `numerator / denominator` clamped to 0..=1; `otherwise` if the denominator is 0.
fn ratio(numerator: f32, denominator: f32, otherwise: f32) -> f32 {
    if is_zero(denominator) { otherwise } else { cut(numerator / denominator) }
}

fn cut(v: f32) -> f32 {
    v.clamp(0.0, 1.0)
}

/// The share of `of` that fits the area that `by` leaves free.
fn uncovered(by: f32, of: f32) -> f32 {
    ratio(1.0 - by, of, 1.0)
}

/// The share of `of` that must overlap `by`.
fn overlapping(by: f32, of: f32) -> f32 {
    if is_zero(of) { 0.0 } else { cut(1.0 - (1.0 - by) / of) }
}

/// The share of `of` inside `by` if both overlap as far as possible.
fn inside(by: f32, of: f32) -> f32 {
    ratio(by, of, 1.0)
}

/// The share of `of` outside `by` if both overlap as far as possible.
fn outside(by: f32, of: f32) -> f32 {
    if is_zero(of) { 0.0 } else { cut(1.0 - by / of) }
}

fn disjoint(pd: PorterDuff, sa: f32, da: f32) -> (f32, f32) {
    factors(pd, (overlapping(da, sa), uncovered(da, sa)), (overlapping(sa, da), uncovered(sa, da)))
}

fn conjoint(pd: PorterDuff, sa: f32, da: f32) -> (f32, f32) {
    factors(pd, (inside(da, sa), outside(da, sa)), (inside(sa, da), outside(sa, da)))
}

/// The weights of source and destination, given the share of each inside and outside the other.
fn factors(pd: PorterDuff, source: (f32, f32), dest: (f32, f32)) -> (f32, f32) {
    match pd {
        PorterDuff::Clear => (0.0, 0.0),
        PorterDuff::Src => (1.0, 0.0),
        PorterDuff::Dst => (0.0, 1.0),
        PorterDuff::Over => (1.0, dest.1),
        PorterDuff::OverReverse => (source.1, 1.0),
        PorterDuff::In => (source.0, 0.0),
        PorterDuff::InReverse => (0.0, dest.0),
        PorterDuff::Out => (source.1, 0.0),
        PorterDuff::OutReverse => (0.0, dest.1),
        PorterDuff::Atop => (source.0, dest.1),
        PorterDuff::AtopReverse => (source.1, dest.0),
        PorterDuff::Xor => (source.1, dest.1),
    }
}

fn color_dodge(s: f32, sa: f32, d: f32, da: f32) -> f32 {
    if is_zero(d) {
        0.0
    } else if d * sa >= sa * da - s * da || is_zero(sa - s) {
        sa * da
    } else {
        sa * sa * d / (sa - s)
    }
}

fn color_burn(s: f32, sa: f32, d: f32, da: f32) -> f32 {
    if d >= da {
        sa * da
    } else if sa * (da - d) >= s * da || is_zero(s) {
        0.0
    } else {
        sa * (da - sa * (da - d) / s)
    }
}

fn soft_light(s: f32, sa: f32, d: f32, da: f32) -> f32 {
    if is_zero(da) {
        d * sa
    } else if 2.0 * s <= sa {
        d * sa - d * (da - d) * (sa - 2.0 * s) / da
    } else if 4.0 * d <= da {
        d * sa + (2.0 * s - sa) * d * ((16.0 * d / da - 12.0) * d / da + 3.0)
    } else {
        d * sa + ((d * da).sqrt() - d) * (2.0 * s - sa)
    }
}

type Rgb = [f32; 3];

fn hsl(mode: Hsl, s: Pixel, d: Pixel) -> Pixel {
    let (sa, da) = (s[0], d[0]);
    let (src, dst) = ([s[1], s[2], s[3]], [d[1], d[2], d[3]]);
    let scaled = |c: Rgb, by: f32| c.map(|v| v * by);
    let overlap = match mode {
        Hsl::Hue => {
            let hue = with_saturation(scaled(src, da), saturation(dst) * sa);
            with_luminosity(hue, sa * da, luminosity(dst) * sa)
        }
        Hsl::Saturation => {
            let colour = with_saturation(scaled(dst, sa), saturation(src) * da);
            with_luminosity(colour, sa * da, luminosity(dst) * sa)
        }
        Hsl::Color => with_luminosity(scaled(src, da), sa * da, luminosity(dst) * sa),
        Hsl::Luminosity => with_luminosity(scaled(dst, sa), sa * da, luminosity(src) * da),
    };
    let colour = |c: usize| (1.0 - sa) * dst[c] + (1.0 - da) * src[c] + overlap[c];
    [sa + da - sa * da, colour(0), colour(1), colour(2)]
}

fn luminosity(c: Rgb) -> f32 {
    c[0] * 0.3 + c[1] * 0.59 + c[2] * 0.11
}

fn least(c: Rgb) -> f32 {
    c[0].min(c[1]).min(c[2])
}

fn most(c: Rgb) -> f32 {
    c[0].max(c[1]).max(c[2])
}

fn saturation(c: Rgb) -> f32 {
    most(c) - least(c)
}

/// The colour with a new luminosity; channels outside 0..=`alpha` are pulled back into it.
fn with_luminosity(c: Rgb, alpha: f32, wanted: f32) -> Rgb {
    let shift = wanted - luminosity(c);
    let mut c = c.map(|v| v + shift);
    let l = luminosity(c);
    let (n, x) = (least(c), most(c));
    if n < 0.0 {
        let t = l - n;
        c = c.map(|v| if is_zero(t) { 0.0 } else { l + ((v - l) * l) / t });
    }
    if x > alpha {
        let t = x - l;
        c = c.map(|v| if is_zero(t) { alpha } else { l + ((v - l) * (alpha - l)) / t });
    }
    c
}

/// The colour stretched so that its largest channel is `wanted` and its smallest is 0.
fn with_saturation(c: Rgb, wanted: f32) -> Rgb {
    let (n, x) = (least(c), most(c));
    let range = x - n;
    if is_zero(range) {
        return [0.0; 3];
    }
    c.map(|v| {
        if v == x {
            wanted
        } else if v == n {
            0.0
        } else {
            ((v - n) * wanted) / range
        }
    })
}
