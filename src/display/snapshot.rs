//! Pixels copied out of a surface, as images that the server makes (display.md 4.7).

use crate::canvas::Canvas;
use crate::geometry::Rect;
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, SurfaceFormat};
use std::sync::Arc;

/// Low half of the ids of images that the server makes.
const SERVER_IMAGE_GROUP: u64 = 2;

/// An area of a surface as a bitmap.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub bitmap: Bitmap,
    /// All unused top bytes are 0xff.
    pub high_bits_set: bool,
}

impl Snapshot {
    /// An image for use in a command; `number` tells it from others.
    #[must_use]
    pub fn into_image(self, number: u32) -> Image {
        Image {
            id: u64::from(number) << 32 | SERVER_IMAGE_GROUP,
            cache_me: false,
            high_bits_set: self.high_bits_set,
            width: self.bitmap.width,
            height: self.bitmap.height,
            data: ImageData::Bitmap(self.bitmap),
        }
    }
}

/// Whether images can be made of surfaces of this format.
#[must_use]
pub fn readable(format: SurfaceFormat) -> bool {
    format != SurfaceFormat::A1
}

/// Copies an area out. Of other surfaces than the primary the unused top byte counts: they may be sources of blending.
#[must_use]
pub fn take(canvas: &Canvas, area: &Rect, primary: bool) -> Option<Snapshot> {
    let area = area.intersect(&canvas.bounds());
    let (width, height) = (area.width(), area.height());
    let mut format = match canvas.format() {
        SurfaceFormat::A1 => return None,
        SurfaceFormat::A8 => BitmapFormat::EightBitA,
        SurfaceFormat::Rgb555 | SurfaceFormat::Rgb565 => BitmapFormat::SixteenBit,
        SurfaceFormat::Xrgb32 => BitmapFormat::ThirtyTwoBit,
        SurfaceFormat::Argb32 => BitmapFormat::Rgba,
    };
    if width == 0 || height == 0 {
        return None;
    }
    let bytes_per_pixel = usize::try_from(format.bits_per_pixel() / 8).ok()?;
    let row_bytes = usize::try_from(width).ok()?.checked_mul(bytes_per_pixel)?;
    let x_byte = usize::try_from(area.left).ok()?.checked_mul(bytes_per_pixel)?;
    let mut pixels = vec![0; row_bytes.checked_mul(usize::try_from(height).ok()?)?];
    for (y, row) in (area.top..area.bottom).zip(pixels.chunks_exact_mut(row_bytes)) {
        canvas.read_bytes(x_byte, y, row);
    }
    let mut high_bits_set = false;
    if canvas.format() == SurfaceFormat::Xrgb32 && !primary {
        let (mut all, mut any) = (0xff, 0);
        for pixel in pixels.chunks_exact(4) {
            all &= pixel[3];
            any |= pixel[3];
        }
        if all == 0xff {
            high_bits_set = true;
        } else if any != 0 {
            format = BitmapFormat::Rgba;
        }
    }
    if canvas.format() == SurfaceFormat::Rgb565 {
        pixels = widen_565(&pixels);
        format = BitmapFormat::ThirtyTwoBit;
    }
    let stride = u32::try_from(format.min_stride(width)).ok()?;
    Some(Snapshot {
        bitmap: Bitmap {
            format,
            width,
            height,
            stride,
            top_down: true,
            unstable: false,
            palette: None,
            pixels: Arc::new(pixels),
        },
        high_bits_set,
    })
}

/// There is no image format for 565: 32-bit pixels carry it without loss.
fn widen_565(pixels: &[u8]) -> Vec<u8> {
    let wide = |v: u16, bits: u16| {
        let v = v & ((1 << bits) - 1);
        u8::try_from((v << (8 - bits) | v >> (2 * bits - 8)) & 0xff).unwrap_or(0)
    };
    pixels
        .chunks_exact(2)
        .flat_map(|p| {
            let v = u16::from_le_bytes([p[0], p[1]]);
            [wide(v, 5), wide(v >> 5, 6), wide(v >> 11, 5), 0]
        })
        .collect()
}
