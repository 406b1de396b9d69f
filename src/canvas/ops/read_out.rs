//! Pixels of a surface as images for clients (display.md 4.7, canvas.md 6.10).

use crate::canvas::pixel;
use crate::canvas::target::{Canvas, index};
use crate::geometry::Rect;
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, SurfaceFormat};
use std::sync::Arc;

/// An area of a surface, copied.
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
    /// Copies an area. Of xRGB surfaces other than the primary one the unused bytes are kept as what they may be,
    /// alpha; 565 becomes 555. `None`: the area is empty or not inside the surface, or the surface is 1_A, which no
    /// image can carry.
    #[must_use]
    pub fn read_area(&self, area: &Rect, is_primary: bool) -> Option<AreaPixels> {
        self.copy_area(area, is_primary, 1)
    }

    /// The stand-in for a missing source (canvas.md 6.10): as [`Canvas::read_area`], rows padded to 4 bytes.
    #[must_use]
    pub fn snapshot(&self, area: &Rect, is_primary: bool, id: u64) -> Option<Arc<Image>> {
        self.copy_area(area, is_primary, 4).map(|pixels| Arc::new(pixels.into_image(id)))
    }

    fn copy_area(&self, area: &Rect, is_primary: bool, alignment: usize) -> Option<AreaPixels> {
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
        let stride = row_bytes.next_multiple_of(alignment);
        let x_byte = usize::try_from(area.left).ok()? * bytes;
        let mut pixels = vec![0; stride * index(area.height())];
        for (y, row) in (area.top..area.bottom).zip(pixels.chunks_exact_mut(stride)) {
            self.read_bytes(x_byte, y, &mut row[..row_bytes]);
        }
        let mut high_bits_set = false;
        match self.format() {
            SurfaceFormat::Rgb565 => narrow_565(&mut pixels),
            SurfaceFormat::Xrgb32 if !is_primary => match unused_bytes(&pixels) {
                Unused::Set => high_bits_set = true,
                Unused::Alpha => format = BitmapFormat::Rgba,
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

/// What the unused bytes of xRGB pixels hold.
enum Unused {
    Zero,
    /// 0xff, perhaps among zeros: clients then take it for 0xff everywhere.
    Set,
    /// Anything else, which may be meant as alpha.
    Alpha,
}

fn unused_bytes(pixels: &[u8]) -> Unused {
    let (mut any, mut alpha) = (0, false);
    for [_, _, _, x] in pixels.as_chunks::<4>().0 {
        any |= x;
        alpha |= !matches!(x, 0 | 0xff);
    }
    match (any, alpha) {
        (0, _) => Unused::Zero,
        (_, false) => Unused::Set,
        _ => Unused::Alpha,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "555 values have 15 bits")]
fn narrow_565(pixels: &mut [u8]) {
    for pixel in pixels.as_chunks_mut::<2>().0 {
        let mut value = [u32::from(u16::from_le_bytes(*pixel))];
        pixel::convert_row(SurfaceFormat::Rgb565, SurfaceFormat::Rgb555, &mut value);
        *pixel = (value[0] as u16).to_le_bytes();
    }
}
