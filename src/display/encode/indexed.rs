//! Small pictures of few colours, such as lines of text, as palette images: an eighth of a byte per pixel, or a half, before
//! any compression.

use super::colours::{Colours, load};
use crate::image::{Bitmap, BitmapFormat};

/// Larger pictures often repeat what the client has in its GLZ dictionary, which costs less than indexes do, and LZ4 is faster.
const MAX_PIXELS: u64 = 1 << 14;
/// Where LZ is the alternative: larger ones go in bands ([`super::bands`]).
const MAX_PIXELS_FOR_LZ: u64 = 1 << 21;
/// Room for the first rows. Most large pictures have too many colours, which they show at once.
const FIRST_PIXELS: usize = 1 << 14;
/// Smaller ones cost least as they are: a palette has a size too.
const MIN_PIXELS: u64 = 32;

/// The picture with one or four bits per pixel. `for_lz`: else it would have LZ. `None`: it is too
/// large, has too many colours or alpha, or is a palette image already.
pub(super) fn indexed(bitmap: &Bitmap, for_lz: bool) -> Option<Bitmap> {
    if !matches!(bitmap.format, BitmapFormat::TwentyFourBit | BitmapFormat::ThirtyTwoBit | BitmapFormat::Rgba)
    {
        return None;
    }
    let pixels = u64::from(bitmap.width) * u64::from(bitmap.height);
    let most = if for_lz { MAX_PIXELS_FOR_LZ } else { MAX_PIXELS };
    if !(MIN_PIXELS..=most).contains(&pixels) {
        return None;
    }
    let (width, height) = (usize::try_from(bitmap.width).ok()?, usize::try_from(bitmap.height).ok()?);
    let stride = usize::try_from(bitmap.stride).ok()?;
    let mut bytes = vec![0; usize::try_from(bitmap.format.min_stride(bitmap.width)).ok()?];
    let mut row = Vec::with_capacity(width);
    let mut indexes = Vec::with_capacity(FIRST_PIXELS.min(width.checked_mul(height)?));
    let mut colours = Colours::default();
    for y in 0..height {
        bitmap.pixels.read_at(y.checked_mul(stride)?, &mut bytes);
        load(bitmap.format, &bytes, &mut row)?;
        colours.look_up(&row, &mut indexes)?;
    }
    colours.picture(&indexes, width, bitmap.top_down)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn bitmap(format: BitmapFormat, width: u32, pixels: &[u32]) -> Bitmap {
        let len = if format == BitmapFormat::TwentyFourBit { 3 } else { 4 };
        let bytes: Vec<u8> = pixels.iter().flat_map(|p| p.to_le_bytes()[..len].to_vec()).collect();
        Bitmap {
            format,
            width,
            height: pixels.len() as u32 / width,
            stride: width * len as u32,
            top_down: true,
            unstable: false,
            palette: None,
            pixels: Arc::new(bytes),
        }
    }

    fn colour_at(bitmap: &Bitmap, x: usize, y: usize) -> u32 {
        let bits = if bitmap.format == BitmapFormat::OneBitBe { 1 } else { 4 };
        let mut byte = [0];
        bitmap.pixels.read_at(y * bitmap.stride as usize + x * bits / 8, &mut byte);
        let index = byte[0] >> (8 - bits - x * bits % 8) & ((1 << bits) - 1);
        bitmap.palette.as_ref().unwrap().entries[usize::from(index)]
    }

    fn same_picture(format: BitmapFormat, colours: u32, expect: Option<BitmapFormat>) {
        let width = 13;
        let pixels: Vec<u32> = (0..width * 7).map(|i| (i * 5 / 3 % colours) * 0x01_0307 + 9).collect();
        let indexed = indexed(&bitmap(format, width, &pixels), false);
        assert_eq!(indexed.as_ref().map(|b| b.format), expect);
        let Some(indexed) = indexed else { return };
        for (i, pixel) in pixels.iter().enumerate() {
            assert_eq!(colour_at(&indexed, i % width as usize, i / width as usize), *pixel, "pixel {i}");
        }
    }

    #[test]
    fn few_colours_become_indexes() {
        use BitmapFormat::{FourBitBe, OneBitBe, Rgba, ThirtyTwoBit, TwentyFourBit};
        for format in [TwentyFourBit, ThirtyTwoBit] {
            same_picture(format, 1, Some(OneBitBe));
            same_picture(format, 2, Some(OneBitBe));
            same_picture(format, 3, Some(FourBitBe));
            same_picture(format, 16, Some(FourBitBe));
            same_picture(format, 17, None);
        }
        // Where nothing has alpha, RGBA is another name for 32 bits.
        same_picture(Rgba, 2, Some(OneBitBe));
    }

    #[test]
    fn pictures_with_alpha_stay_as_they_are() {
        let mut pixels = [0x1234; 64];
        pixels[63] |= 1 << 24;
        assert!(indexed(&bitmap(BitmapFormat::Rgba, 8, &pixels), false).is_none());
    }

    #[test]
    fn the_unused_byte_of_a_pixel_is_no_colour() {
        let pixels: Vec<u32> = (0..64).map(|i| i << 24 | 0x1234).collect();
        let indexed = indexed(&bitmap(BitmapFormat::ThirtyTwoBit, 8, &pixels), false).unwrap();
        assert_eq!(indexed.palette.unwrap().entries, [0x1234, 0]);
    }

    #[test]
    fn large_and_tiny_pictures_stay_as_they_are() {
        let stays = |width: u32, pixels: &[u32], for_lz: bool| {
            indexed(&bitmap(BitmapFormat::ThirtyTwoBit, width, pixels), for_lz).is_none()
        };
        assert!(stays(5, &[0; 30], true));
        assert!(stays(256, &[0; 256 * 65], false));
        assert!(!stays(256, &[0; 256 * 65], true));
        assert!(stays(2048, &vec![0; 2048 * 1025], true));
    }
}
