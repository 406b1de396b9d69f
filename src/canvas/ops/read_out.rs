//! Pixels of a surface as images for clients (display.md 4.7, canvas.md 6.10).

use crate::canvas::pixel;
use crate::canvas::target::Canvas;
use crate::canvas::zeroed::{reserved, zeroed};
use crate::geometry::{Rect, index};
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, SurfaceFormat};
use std::sync::Arc;

/// A copy of an area of a surface.
#[derive(Clone, Debug)]
pub struct AreaPixels {
    /// Top-down and packed.
    pub bitmap: Bitmap,
    /// The image descriptor's flag HIGH_BITS_SET.
    pub high_bits_set: bool,
}

impl AreaPixels {
    /// The image with this id.
    #[must_use]
    pub fn into_image(self, id: u64) -> Image {
        Image {
            id,
            cache_me: false,
            high_bits_set: self.high_bits_set,
            width: self.bitmap.width,
            height: self.bitmap.height,
            data: ImageData::Bitmap(self.bitmap),
        }
    }
}

impl Canvas {
    /// Copies an area. On xRGB surfaces other than the primary one, the unused bytes may be alpha and are
    /// kept. No image format holds 565, so it becomes 32 bits.
    ///
    /// `None` if the area is empty or not inside the surface, or the surface is 1_A, which no image can
    /// carry.
    #[must_use]
    pub fn read_area(&self, area: &Rect, is_primary: bool) -> Option<AreaPixels> {
        self.copy_area(area, is_primary, 1, false)
    }

    /// The image that stands in for a missing source (canvas.md 6.10): like [`Canvas::read_area`], with rows
    /// padded to 4 bytes.
    #[must_use]
    pub fn snapshot(&self, area: &Rect, is_primary: bool, id: u64) -> Option<Arc<Image>> {
        self.copy_area(area, is_primary, 4, true).map(|pixels| Arc::new(pixels.into_image(id)))
    }

    /// Copies an area. With `as_original`, unused bytes that are partly 0xff and otherwise 0 count as if all
    /// were 0xff.
    fn copy_area(
        &self,
        area: &Rect,
        is_primary: bool,
        alignment: usize,
        as_original: bool,
    ) -> Option<AreaPixels> {
        if area.is_empty() || !self.bounds().contains(area) {
            return None;
        }
        let mut format = match self.format() {
            SurfaceFormat::A1 => return None,
            SurfaceFormat::A8 => BitmapFormat::EightBitA,
            SurfaceFormat::Rgb555 | SurfaceFormat::Rgb565 => BitmapFormat::SixteenBit,
            SurfaceFormat::Xrgb32 => BitmapFormat::ThirtyTwoBit,
            SurfaceFormat::Argb32 => BitmapFormat::Rgba,
        };
        let bytes = index(format.bits_per_pixel() / 8);
        let row_bytes = index(area.width()) * bytes;
        let mut stride = row_bytes.next_multiple_of(alignment);
        let x_byte = usize::try_from(area.left).ok()? * bytes;
        // By way of one row, which stays in the processor's cache: clearing all pixels first would write each of them twice.
        let mut row = zeroed(stride).ok()?;
        let mut pixels = reserved(stride * index(area.height())).ok()?;
        for y in area.top..area.bottom {
            self.read_bytes(x_byte, y, &mut row[..row_bytes]);
            pixels.extend_from_slice(&row);
        }
        let mut high_bits_set = false;
        match self.format() {
            SurfaceFormat::Rgb565 => {
                pixels = widen_565(&pixels, row_bytes, stride)?;
                stride = row_bytes * 2;
                format = BitmapFormat::ThirtyTwoBit;
            }
            SurfaceFormat::Xrgb32 if !is_primary => match unused_bytes(&pixels) {
                Unused::Set => high_bits_set = true,
                Unused::Mixed if as_original => high_bits_set = true,
                Unused::Mixed | Unused::Alpha => format = BitmapFormat::Rgba,
                Unused::Zero => {}
            },
            _ => {}
        }
        let bitmap = Bitmap {
            format,
            width: area.width(),
            height: area.height(),
            stride: u32::try_from(stride).ok()?,
            top_down: true,
            unstable: false,
            palette: None,
            pixels: Arc::new(pixels),
        };
        Some(AreaPixels { bitmap, high_bits_set })
    }
}

/// The contents of the unused bytes of xRGB pixels.
enum Unused {
    Zero,
    /// All 0xff.
    Set,
    /// Some 0xff, the others 0.
    Mixed,
    /// Other values, which may be meant as alpha.
    Alpha,
}

fn unused_bytes(pixels: &[u8]) -> Unused {
    let (mut any, mut all, mut alpha) = (0, 0xff, false);
    for [_, _, _, x] in pixels.as_chunks::<4>().0 {
        any |= x;
        all &= x;
        alpha |= !matches!(x, 0 | 0xff);
    }
    match (any, all, alpha) {
        (0, ..) => Unused::Zero,
        (_, 0xff, _) => Unused::Set,
        (_, _, false) => Unused::Mixed,
        _ => Unused::Alpha,
    }
}

/// Converts rows of 565 pixels to packed rows of 32 bits, without loss.
fn widen_565(pixels: &[u8], row_bytes: usize, stride: usize) -> Option<Vec<u8>> {
    let rows = pixels.chunks_exact(stride).flat_map(|row| row[..row_bytes].as_chunks::<2>().0);
    let mut wide = reserved(pixels.len() * 2).ok()?;
    for pixel in rows {
        let mut value = [u32::from(u16::from_le_bytes(*pixel))];
        pixel::convert_row(SurfaceFormat::Rgb565, SurfaceFormat::Xrgb32, &mut value);
        wide.extend_from_slice(&(value[0] & 0xff_ffff).to_le_bytes());
    }
    Some(wide)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::PrivateSurface;
    use crate::host::MappedSurface;

    fn canvas(format: SurfaceFormat, pixels: &[u8], width: u32) -> Canvas {
        let memory = Box::new(PrivateSurface(pixels.to_vec()));
        let stride = i32::try_from(pixels.len()).unwrap();
        Canvas::new(MappedSurface { width, height: 1, stride, format, memory }).unwrap()
    }

    #[test]
    fn unused_bytes_are_kept_as_what_they_may_be() {
        let read = |top: [u8; 2], primary: bool| {
            let pixels = [1, 2, 3, top[0], 4, 5, 6, top[1]];
            let got = canvas(SurfaceFormat::Xrgb32, &pixels, 2).read_area(&Rect::new(0, 0, 2, 1), primary);
            let got = got.unwrap();
            (got.bitmap.format, got.high_bits_set)
        };
        assert_eq!(read([0, 0], false), (BitmapFormat::ThirtyTwoBit, false));
        assert_eq!(read([255, 255], false), (BitmapFormat::ThirtyTwoBit, true));
        assert_eq!(read([0, 255], false), (BitmapFormat::Rgba, false));
        let pixels = [1, 2, 3, 0, 4, 5, 6, 255];
        let got =
            canvas(SurfaceFormat::Xrgb32, &pixels, 2).snapshot(&Rect::new(0, 0, 2, 1), false, 1).unwrap();
        assert!(got.high_bits_set, "as the original has it for sources");
        assert_eq!(read([0, 7], false), (BitmapFormat::Rgba, false));
        assert_eq!(read([255, 7], true), (BitmapFormat::ThirtyTwoBit, false));
    }

    #[test]
    fn pixels_of_565_are_read_without_loss() {
        let pixels = 0x8401_u16.to_le_bytes();
        let got = canvas(SurfaceFormat::Rgb565, &[pixels[0], pixels[1], 0, 0], 1);
        let got = got.read_area(&Rect::new(0, 0, 1, 1), true).unwrap();
        assert_eq!(got.bitmap.format, BitmapFormat::ThirtyTwoBit);
        assert_eq!(got.bitmap.pixels.as_private().unwrap(), [8, 130, 132, 0]);
    }
}
