//! Small pictures of few colours, such as lines of text, as palette images: an eighth of a byte per pixel, or a half, before
//! any compression.

use crate::image::{Bitmap, BitmapFormat, Palette};
use std::sync::Arc;

/// Larger pictures often repeat what the client has in its dictionary, which costs less than indexes do.
const MAX_PIXELS: u64 = 1 << 14;
/// Smaller ones cost least as they are: a palette has a size too.
const MIN_PIXELS: u64 = 32;
/// Colours that are looked for.
const COLOURS: usize = 16;

/// The picture with one or four bits per pixel. `None`: it is too large, has too many colours or an alpha channel, or is a
/// palette image already.
pub(super) fn indexed(bitmap: &Bitmap) -> Option<Bitmap> {
    let bytes_per_pixel: usize = match bitmap.format {
        BitmapFormat::TwentyFourBit => 3,
        BitmapFormat::ThirtyTwoBit => 4,
        _ => return None,
    };
    let pixels = u64::from(bitmap.width) * u64::from(bitmap.height);
    if !(MIN_PIXELS..=MAX_PIXELS).contains(&pixels) {
        return None;
    }
    let (width, height) = (usize::try_from(bitmap.width).ok()?, usize::try_from(bitmap.height).ok()?);
    let stride = usize::try_from(bitmap.stride).ok()?;
    let mut row = vec![0; width.checked_mul(bytes_per_pixel)?];
    let mut indexes = Vec::with_capacity(width * height);
    let mut colours = Colours::default();
    for y in 0..height {
        bitmap.pixels.read_at(y.checked_mul(stride)?, &mut row);
        match bytes_per_pixel {
            3 => {
                colours.look_up(row.as_chunks().0.iter().map(|[b, g, r]| word([*b, *g, *r])), &mut indexes)?
            }
            _ => colours
                .look_up(row.as_chunks().0.iter().map(|[b, g, r, _]| word([*b, *g, *r])), &mut indexes)?,
        }
    }
    let entries = colours.found;
    let (format, per_byte) =
        if entries.len() <= 2 { (BitmapFormat::OneBitBe, 8) } else { (BitmapFormat::FourBitBe, 2) };
    let packed: Vec<u8> =
        indexes.chunks(width).flat_map(|row| row.chunks(per_byte).map(pack(per_byte))).collect();
    Some(Bitmap {
        format,
        stride: u32::try_from(width.div_ceil(per_byte)).ok()?,
        palette: Some(Arc::new(Palette { unique: 0, entries: filled(entries, format) })),
        pixels: Arc::new(packed),
        ..*bitmap
    })
}

fn word([b, g, r]: [u8; 3]) -> u32 {
    u32::from_le_bytes([b, g, r, 0])
}

/// Joins indexes to a byte, the leftmost in the highest bits.
fn pack(per_byte: usize) -> impl Fn(&[u8]) -> u8 {
    let bits = 8 / per_byte;
    move |indexes| {
        let joined = indexes.iter().fold(0u8, |byte, index| byte << bits | index);
        joined << ((per_byte - indexes.len()) * bits)
    }
}

/// Clients take two colours from the palette of a picture with one bit per pixel, even if it uses one of them.
fn filled(mut entries: Vec<u32>, format: BitmapFormat) -> Vec<u32> {
    if format == BitmapFormat::OneBitBe {
        entries.resize(2, 0);
    }
    entries
}

/// The colours found so far.
#[derive(Debug, Default)]
struct Colours {
    found: Vec<u32>,
}

impl Colours {
    /// Appends the indexes of these pixels; `None`: they have too many colours.
    fn look_up(&mut self, pixels: impl Iterator<Item = u32>, indexes: &mut Vec<u8>) -> Option<()> {
        let (mut last, mut index) = (None, 0);
        for pixel in pixels {
            if last != Some(pixel) {
                let known = self.found.iter().position(|&colour| colour == pixel);
                let at = match known {
                    Some(at) => at,
                    None if self.found.len() < COLOURS => {
                        self.found.push(pixel);
                        self.found.len() - 1
                    }
                    None => return None,
                };
                index = u8::try_from(at).ok()?;
                last = Some(pixel);
            }
            indexes.push(index);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let indexed = indexed(&bitmap(format, width, &pixels));
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
        same_picture(Rgba, 2, None);
    }

    #[test]
    fn the_unused_byte_of_a_pixel_is_no_colour() {
        let pixels: Vec<u32> = (0..64).map(|i| i << 24 | 0x1234).collect();
        let indexed = indexed(&bitmap(BitmapFormat::ThirtyTwoBit, 8, &pixels)).unwrap();
        assert_eq!(indexed.palette.unwrap().entries, [0x1234, 0]);
    }

    #[test]
    fn large_and_tiny_pictures_stay_as_they_are() {
        assert!(indexed(&bitmap(BitmapFormat::ThirtyTwoBit, 5, &[0; 30])).is_none());
        assert!(indexed(&bitmap(BitmapFormat::ThirtyTwoBit, 256, &[0; 256 * 65])).is_none());
    }
}
