//! Pixels as numbers: a row is a slice of `u32`, one native value (canvas.md 1.1) per pixel, whatever the depth.

use crate::image::SurfaceFormat;

/// The bits of a native value that this format uses.
#[must_use]
pub(super) const fn value_mask(format: SurfaceFormat) -> u32 {
    match format.bits_per_pixel() {
        1 => 1,
        8 => 0xff,
        16 => 0xffff,
        _ => u32::MAX,
    }
}

const fn widen5(v: u32) -> u32 {
    (v << 3) | (v >> 2)
}

const fn widen6(v: u32) -> u32 {
    (v << 2) | (v >> 4)
}

/// A native value as a8r8g8b8 (canvas.md 2.2). Alpha is 0xff if the format has none; the colour is 0 if the
/// format is alpha only.
#[must_use]
pub(super) const fn to_argb(format: SurfaceFormat, v: u32) -> u32 {
    match format {
        SurfaceFormat::A1 => 0u32.wrapping_sub(v & 1) << 24,
        SurfaceFormat::A8 => v << 24,
        SurfaceFormat::Rgb555 => {
            0xff00_0000 | widen5((v >> 10) & 31) << 16 | widen5((v >> 5) & 31) << 8 | widen5(v & 31)
        }
        SurfaceFormat::Rgb565 => {
            0xff00_0000 | widen5((v >> 11) & 31) << 16 | widen6((v >> 5) & 63) << 8 | widen5(v & 31)
        }
        SurfaceFormat::Xrgb32 => v | 0xff00_0000,
        SurfaceFormat::Argb32 => v,
    }
}

/// The native value of an a8r8g8b8 pixel (canvas.md 2.2). Channels are truncated, and alpha is dropped if the
/// format has none. The X byte of xRGB keeps it, but no caller may rely on that.
#[must_use]
pub(super) const fn from_argb(format: SurfaceFormat, v: u32) -> u32 {
    match format {
        SurfaceFormat::A1 => v >> 31,
        SurfaceFormat::A8 => v >> 24,
        SurfaceFormat::Rgb555 => ((v >> 9) & 0x7c00) | ((v >> 6) & 0x3e0) | ((v >> 3) & 0x1f),
        SurfaceFormat::Rgb565 => ((v >> 8) & 0xf800) | ((v >> 5) & 0x7e0) | ((v >> 3) & 0x1f),
        SurfaceFormat::Xrgb32 | SurfaceFormat::Argb32 => v,
    }
}

/// Widens a row to a8r8g8b8 in place.
pub(super) fn row_to_argb(format: SurfaceFormat, row: &mut [u32]) {
    // One loop per format, so that the compiler can vectorize each.
    match format {
        SurfaceFormat::A1 => row.iter_mut().for_each(|p| *p = to_argb(SurfaceFormat::A1, *p)),
        SurfaceFormat::A8 => row.iter_mut().for_each(|p| *p = to_argb(SurfaceFormat::A8, *p)),
        SurfaceFormat::Rgb555 => row.iter_mut().for_each(|p| *p = to_argb(SurfaceFormat::Rgb555, *p)),
        SurfaceFormat::Rgb565 => row.iter_mut().for_each(|p| *p = to_argb(SurfaceFormat::Rgb565, *p)),
        SurfaceFormat::Xrgb32 => row.iter_mut().for_each(|p| *p |= 0xff00_0000),
        SurfaceFormat::Argb32 => {}
    }
}

/// Narrows a row from a8r8g8b8 in place.
pub(super) fn row_from_argb(format: SurfaceFormat, row: &mut [u32]) {
    match format {
        SurfaceFormat::A1 => row.iter_mut().for_each(|p| *p = from_argb(SurfaceFormat::A1, *p)),
        SurfaceFormat::A8 => row.iter_mut().for_each(|p| *p = from_argb(SurfaceFormat::A8, *p)),
        SurfaceFormat::Rgb555 => row.iter_mut().for_each(|p| *p = from_argb(SurfaceFormat::Rgb555, *p)),
        SurfaceFormat::Rgb565 => row.iter_mut().for_each(|p| *p = from_argb(SurfaceFormat::Rgb565, *p)),
        SurfaceFormat::Xrgb32 | SurfaceFormat::Argb32 => {}
    }
}

/// Converts a row in place. If the formats are equal, all bits stay.
pub(super) fn convert_row(from: SurfaceFormat, to: SurfaceFormat, row: &mut [u32]) {
    if from != to {
        row_to_argb(from, row);
        row_from_argb(to, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SurfaceFormat::{A1, A8, Rgb555, Rgb565};

    #[test]
    fn narrow_formats_survive_widening() {
        for v in 0..0x8000 {
            assert_eq!(from_argb(Rgb555, to_argb(Rgb555, v)), v);
        }
        for v in 0..0x10000 {
            assert_eq!(from_argb(Rgb565, to_argb(Rgb565, v)), v);
        }
        for v in 0..256 {
            assert_eq!(from_argb(A8, to_argb(A8, v)), v);
        }
        assert_eq!((to_argb(A1, 1), to_argb(A1, 0)), (0xff00_0000, 0));
    }

    #[test]
    fn green_of_555_reaches_565_through_8_bits() {
        let mut row = [5 << 5, 31 << 5];
        convert_row(Rgb555, Rgb565, &mut row);
        assert_eq!(row, [10 << 5, 63 << 5]);
    }
}
