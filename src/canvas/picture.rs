//! Images as sources of drawing: rows of pixels in the format that an operation needs (canvas.md 2).
//!
//! [`Env::open`](super::Env::open) opens a [`Picture`] for one command. Bitmaps and surfaces are read in
//! place, row by row, so no allocation depends on the size of a source. QUIC streams are decoded and kept for
//! the next command. If the source is the target itself, the needed pixels are copied before they can change.

use super::pixel;
use super::target::Canvas;
use super::zeroed::zeroed;
use super::{DrawError, ImageCache};
use crate::codec::quic::{PixelLayout, QuicType, parse_header};
use crate::geometry::{Rect, index, index_i32};
use crate::guest::{ByteSource, Rows};
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, SurfaceFormat};
use std::sync::Arc;

/// The format to which a source is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The destination's format; but on 32-bit surfaces a8r8g8b8 exactly if the source has alpha (2.2).
    /// Surfaces of the destination's depth keep their bits (2.4).
    Converted,
    /// Like [`Want::Converted`], but surfaces keep their own format.
    ConvertedBitmap,
    /// The source's own format (2.1).
    Natural,
}

/// An image that one command reads. Pixels outside of it read as 0.
#[derive(Debug)]
pub struct Picture<'a> {
    width: i32,
    height: i32,
    natural: SurfaceFormat,
    format: SurfaceFormat,
    high_bits: bool,
    data: Data<'a>,
}

#[derive(Debug)]
enum Data<'a> {
    Bitmap {
        bitmap: &'a Bitmap,
        /// The values of all indexes of a palette image.
        lut: Vec<u32>,
        scratch: Vec<u8>,
    },
    /// Packed rows, top row first.
    Decoded(Arc<Vec<u8>>),
    Surface(&'a Canvas),
    /// Copied pixels of a part of the image.
    Copied {
        area: Rect,
        pixels: Vec<u32>,
    },
}

/// Bytes that the destination can take unchanged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    Bitmap(&'a Bitmap),
    Surface(&'a Canvas),
}

/// A row of a [`Raw`].
#[derive(Clone, Copy, Debug)]
pub(super) enum RawRow<'a> {
    /// The row begins at this offset. The picture's next rows follow at this distance.
    Bytes(&'a dyn ByteSource, Rows),
    Surface(&'a Canvas, i32),
}

impl<'a> Raw<'a> {
    /// Row `y`, which must exist.
    pub(super) fn row(self, y: i32) -> RawRow<'a> {
        match self {
            Self::Bitmap(bitmap) => {
                let first = memory_row(bitmap, y) * index(bitmap.stride);
                let down = isize::try_from(bitmap.stride).unwrap_or(0);
                let pitch = if bitmap.top_down { down } else { -down };
                RawRow::Bytes(&*bitmap.pixels, Rows { first, pitch })
            }
            Self::Surface(canvas) => RawRow::Surface(canvas, y),
        }
    }
}

impl<'a> RawRow<'a> {
    /// `buffer.len()` bytes of the row. Guest memory is read into the buffer; the library's own memory is
    /// returned directly.
    pub(super) fn bytes<'b>(self, x_byte: usize, buffer: &'b mut [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Bytes(source, row) => {
                let start = row.first + x_byte;
                let end = start + buffer.len();
                if let Some(bytes) = source.as_private().and_then(|bytes| bytes.get(start..end)) {
                    return bytes;
                }
                source.read_at(start, buffer);
            }
            Self::Surface(canvas, y) => canvas.read_bytes(x_byte, y, buffer),
        }
        buffer
    }
}

impl<'a> Picture<'a> {
    /// Opens a bitmap or QUIC image for a destination of format `dest`.
    pub(super) fn of_image(
        image: &'a Image,
        dest: SurfaceFormat,
        want: Want,
        cache: &mut ImageCache,
    ) -> Result<Self, DrawError> {
        match &image.data {
            ImageData::Bitmap(bitmap) => {
                // Clients may cache palette images in the surface's format, so those are converted here, too.
                let own_format = want == Want::Natural || image.cache_me;
                Self::of_bitmap(bitmap, dest, want, own_format).map(|p| p.with_high_bits(image.high_bits_set))
            }
            ImageData::Quic(stream) => {
                let picture = Self::of_quic(image, stream, dest, want, cache)?;
                Ok(picture.with_high_bits(image.high_bits_set))
            }
            ImageData::Surface(_) => Err(DrawError::NoSurface),
        }
    }

    /// Opens a bitmap. `palette_has_alpha`: on ARGB surfaces the top byte of a palette colour is alpha.
    fn of_bitmap(
        bitmap: &'a Bitmap,
        dest: SurfaceFormat,
        want: Want,
        palette_has_alpha: bool,
    ) -> Result<Self, DrawError> {
        let (natural, lut) = natural_format(bitmap, dest, palette_has_alpha)?;
        Ok(Self {
            width: size(bitmap.width)?,
            height: size(bitmap.height)?,
            natural,
            format: wanted_format(natural, dest, want),
            high_bits: false,
            data: Data::Bitmap { bitmap, lut, scratch: Vec::new() },
        })
    }

    fn of_quic(
        image: &Image,
        stream: &Arc<[u8]>,
        dest: SurfaceFormat,
        want: Want,
        cache: &mut ImageCache,
    ) -> Result<Self, DrawError> {
        let header = parse_header(stream).map_err(|_| DrawError::BadImage)?;
        let (natural, layout) = match header.kind {
            QuicType::Rgba => (SurfaceFormat::Argb32, PixelLayout::Bgra32),
            QuicType::Rgb24 | QuicType::Rgb32 => (SurfaceFormat::Xrgb32, PixelLayout::Bgra32),
            QuicType::Rgb16 if want != Want::Natural && dest.bits_per_pixel() == 32 => {
                (SurfaceFormat::Xrgb32, PixelLayout::Bgra32)
            }
            QuicType::Rgb16 => (SurfaceFormat::Rgb555, PixelLayout::Rgb555),
            QuicType::Gray => return Err(DrawError::BadImage),
        };
        let pixels = cache.decode(image, stream, layout)?;
        Ok(Self {
            width: size(image.width)?,
            height: size(image.height)?,
            natural,
            format: wanted_format(natural, dest, want),
            high_bits: false,
            data: Data::Decoded(pixels),
        })
    }

    /// Opens another surface.
    pub(super) fn of_surface(canvas: &'a Canvas, dest: SurfaceFormat, want: Want) -> Result<Self, DrawError> {
        let (natural, format) = surface_formats(canvas, dest, want);
        let (width, height) = (size(canvas.width())?, size(canvas.height())?);
        Ok(Self { width, height, natural, format, high_bits: false, data: Data::Surface(canvas) })
    }

    /// Copies `needed` of a surface that is about to change.
    pub(super) fn copy_of(
        canvas: &Canvas,
        dest: SurfaceFormat,
        want: Want,
        needed: &Rect,
    ) -> Result<Self, DrawError> {
        let (natural, format) = surface_formats(canvas, dest, want);
        let area = needed.intersect(&canvas.bounds());
        let width = index(area.width());
        let mut pixels = Vec::new();
        if width > 0 {
            pixels = zeroed(width * index(area.height()))?;
            for (y, row) in (area.top..area.bottom).zip(pixels.chunks_exact_mut(width)) {
                canvas.read_row(area.left, y, row);
            }
        }
        let (width, height) = (size(canvas.width())?, size(canvas.height())?);
        Ok(Self { width, height, natural, format, high_bits: false, data: Data::Copied { area, pixels } })
    }

    fn with_high_bits(mut self, set: bool) -> Self {
        self.high_bits = set && self.natural == SurfaceFormat::Xrgb32;
        self
    }

    /// Treats the unused byte of xRGB as alpha.
    pub(super) fn treat_unused_as_alpha(&mut self) {
        if self.format == SurfaceFormat::Xrgb32 {
            self.format = SurfaceFormat::Argb32;
            if self.natural == SurfaceFormat::Xrgb32 {
                self.natural = SurfaceFormat::Argb32;
            }
        }
    }

    /// The whole image.
    #[must_use]
    pub fn bounds(&self) -> Rect {
        Rect::new(0, 0, self.width, self.height)
    }

    /// The format of the values that [`Picture::read`] returns.
    #[must_use]
    pub fn format(&self) -> SurfaceFormat {
        self.format
    }

    /// Reads a segment of row `y` from column `x` on. Pixels outside the image read as 0.
    pub fn read(&mut self, x: i32, y: i32, out: &mut [u32]) {
        let right = i64::from(x) + i64::try_from(out.len()).unwrap_or(i64::MAX);
        let right = i32::try_from(right.min(self.width.into())).unwrap_or(self.width);
        let left = x.max(0);
        if left >= right || y < 0 || y >= self.height {
            out.fill(0);
            return;
        }
        let skip = index_i32(left.saturating_sub(x));
        let (before, rest) = out.split_at_mut(skip);
        let (inside, after) = rest.split_at_mut(index_i32(right - left));
        before.fill(0);
        after.fill(0);
        self.read_inside(left, y, inside);
    }

    /// Like [`Picture::read`], converted to a8r8g8b8 (alpha 0xff if the image has none). Pixels outside read
    /// as 0.
    pub fn read_argb(&mut self, x: i32, y: i32, out: &mut [u32]) {
        self.read(x, y, out);
        let inside = Rect::new(
            x,
            y,
            x.saturating_add(i32::try_from(out.len()).unwrap_or(i32::MAX)),
            y.saturating_add(1),
        )
        .intersect(&self.bounds());
        if !inside.is_empty() {
            let start = index_i32(inside.left.saturating_sub(x));
            pixel::row_to_argb(self.format, &mut out[start..start + index(inside.width())]);
        }
    }

    fn read_inside(&mut self, x: i32, y: i32, out: &mut [u32]) {
        match &mut self.data {
            Data::Bitmap { bitmap, lut, scratch } => read_bitmap(bitmap, lut, scratch, x, y, out),
            Data::Decoded(pixels) => {
                let bytes = if self.natural.bits_per_pixel() == 16 { 2 } else { 4 };
                let start = (index_i32(y) * index_i32(self.width) + index_i32(x)) * bytes;
                let row = pixels.get(start..start + out.len() * bytes).unwrap_or(&[]);
                if bytes == 2 {
                    for (p, b) in out.iter_mut().zip(row.as_chunks::<2>().0) {
                        *p = u16::from_le_bytes(*b).into();
                    }
                } else {
                    for (p, b) in out.iter_mut().zip(row.as_chunks::<4>().0) {
                        *p = u32::from_le_bytes(*b);
                    }
                }
            }
            Data::Surface(canvas) => canvas.read_row(x, y, out),
            Data::Copied { area, pixels } => {
                out.fill(0);
                let right = x.saturating_add(i32::try_from(out.len()).unwrap_or(i32::MAX));
                let part = Rect::new(x, y, right, y + 1).intersect(area);
                if !part.is_empty() {
                    let from =
                        index_i32(y - area.top) * index(area.width()) + index_i32(part.left - area.left);
                    let to = index_i32(part.left - x);
                    let n = index(part.width());
                    out[to..to + n].copy_from_slice(&pixels[from..from + n]);
                }
            }
        }
        if self.high_bits {
            out.iter_mut().for_each(|p| *p |= 0xff00_0000);
        }
        pixel::convert_row(self.natural, self.format, out);
    }

    /// The image as bytes, if a destination of this format can take them unchanged.
    pub(super) fn raw(&self, dest: SurfaceFormat) -> Option<Raw<'a>> {
        let as_is = self.natural == self.format && !self.high_bits;
        match &self.data {
            Data::Bitmap { bitmap, lut, .. } if as_is && lut.is_empty() => {
                let same = bitmap.format.bits_per_pixel() == dest.bits_per_pixel();
                (same && dest.bits_per_pixel() >= 8).then_some(Raw::Bitmap(bitmap))
            }
            Data::Surface(canvas) if as_is => {
                let same = canvas.format().bits_per_pixel() == dest.bits_per_pixel();
                (same && dest.bits_per_pixel() >= 8).then_some(Raw::Surface(canvas))
            }
            _ => None,
        }
    }
}

fn size(v: u32) -> Result<i32, DrawError> {
    i32::try_from(v).map_err(|_| DrawError::BadImage)
}

/// Format and colour table of a bitmap before conversion (canvas.md 2.1).
fn natural_format(
    bitmap: &Bitmap,
    dest: SurfaceFormat,
    palette_has_alpha: bool,
) -> Result<(SurfaceFormat, Vec<u32>), DrawError> {
    let format = match bitmap.format {
        BitmapFormat::OneBitBe | BitmapFormat::FourBitBe | BitmapFormat::EightBit => {
            let natural = match dest {
                SurfaceFormat::Argb32 if palette_has_alpha => SurfaceFormat::Argb32,
                SurfaceFormat::Xrgb32 | SurfaceFormat::Argb32 => SurfaceFormat::Xrgb32,
                SurfaceFormat::Rgb555 => SurfaceFormat::Rgb555,
                _ => return Err(DrawError::PaletteOnSurface),
            };
            let palette = bitmap.palette.as_ref().ok_or(DrawError::BadImage)?;
            let mask = pixel::value_mask(natural);
            let mut lut: Vec<u32> = palette.entries.iter().map(|v| v & mask).collect();
            // Indexes beyond the palette read as 0.
            lut.resize(1 << bitmap.format.bits_per_pixel(), 0);
            return Ok((natural, lut));
        }
        BitmapFormat::OneBitLe | BitmapFormat::FourBitLe => return Err(DrawError::BadImage),
        BitmapFormat::SixteenBit => SurfaceFormat::Rgb555,
        BitmapFormat::TwentyFourBit | BitmapFormat::ThirtyTwoBit => SurfaceFormat::Xrgb32,
        BitmapFormat::Rgba => SurfaceFormat::Argb32,
        BitmapFormat::EightBitA => SurfaceFormat::A8,
    };
    Ok((format, Vec::new()))
}

/// The format after conversion (canvas.md 2.2).
fn wanted_format(natural: SurfaceFormat, dest: SurfaceFormat, want: Want) -> SurfaceFormat {
    match (want, dest, natural) {
        (Want::Natural, ..) => natural,
        (_, SurfaceFormat::Xrgb32 | SurfaceFormat::Argb32, SurfaceFormat::Argb32) => SurfaceFormat::Argb32,
        (_, SurfaceFormat::Xrgb32 | SurfaceFormat::Argb32, _) => SurfaceFormat::Xrgb32,
        _ => dest,
    }
}

/// A surface's own format, and the format after conversion (canvas.md 2.4).
fn surface_formats(canvas: &Canvas, dest: SurfaceFormat, want: Want) -> (SurfaceFormat, SurfaceFormat) {
    let natural = canvas.format();
    let same_depth = natural.bits_per_pixel() == dest.bits_per_pixel();
    if want != Want::Converted || same_depth {
        (natural, natural)
    } else {
        (natural, wanted_format(natural, dest, want))
    }
}

/// The index of the row in memory for picture row `y`, which must exist.
fn memory_row(bitmap: &Bitmap, y: i32) -> usize {
    if bitmap.top_down { index_i32(y) } else { index(bitmap.height) - 1 - index_i32(y) }
}

/// Reads native values of picture row `y`. The segment must lie inside.
fn read_bitmap(bitmap: &Bitmap, lut: &[u32], scratch: &mut Vec<u8>, x: i32, y: i32, out: &mut [u32]) {
    let x = index_i32(x);
    let bits = index(bitmap.format.bits_per_pixel());
    let first_byte = x * bits / 8;
    let bytes = ((x + out.len()) * bits).div_ceil(8) - first_byte;
    let start = memory_row(bitmap, y) * index(bitmap.stride) + first_byte;
    let private = bitmap.pixels.as_private().and_then(|pixels| pixels.get(start..start + bytes));
    let scratch = match private {
        Some(pixels) => pixels,
        None => {
            scratch.resize(bytes, 0);
            bitmap.pixels.read_at(start, scratch);
            scratch
        }
    };
    let value = |i: u8| lut.get(usize::from(i)).copied().unwrap_or(0);
    match bitmap.format {
        BitmapFormat::OneBitBe => {
            for (i, p) in out.iter_mut().enumerate() {
                let bit = x % 8 + i;
                *p = value(scratch[bit / 8] >> (7 - bit % 8) & 1);
            }
        }
        BitmapFormat::OneBitLe => {
            for (i, p) in out.iter_mut().enumerate() {
                let bit = x % 8 + i;
                *p = value(scratch[bit / 8] >> (bit % 8) & 1);
            }
        }
        BitmapFormat::FourBitBe | BitmapFormat::FourBitLe => {
            for (i, p) in out.iter_mut().enumerate() {
                let at = x % 2 + i;
                let high = at.is_multiple_of(2) == (bitmap.format == BitmapFormat::FourBitBe);
                let byte = scratch[at / 2];
                *p = value(if high { byte >> 4 } else { byte & 15 });
            }
        }
        BitmapFormat::EightBit => {
            for (p, b) in out.iter_mut().zip(scratch) {
                *p = value(*b);
            }
        }
        BitmapFormat::EightBitA => {
            for (p, b) in out.iter_mut().zip(scratch) {
                *p = (*b).into();
            }
        }
        BitmapFormat::SixteenBit => {
            for (p, b) in out.iter_mut().zip(scratch.as_chunks::<2>().0) {
                *p = u16::from_le_bytes(*b).into();
            }
        }
        BitmapFormat::TwentyFourBit => {
            for (p, [b, g, r]) in out.iter_mut().zip(scratch.as_chunks::<3>().0) {
                *p = u32::from_le_bytes([*b, *g, *r, 0]);
            }
        }
        BitmapFormat::ThirtyTwoBit | BitmapFormat::Rgba => {
            for (p, b) in out.iter_mut().zip(scratch.as_chunks::<4>().0) {
                *p = u32::from_le_bytes(*b);
            }
        }
    }
}

/// The one-bit pixels of a mask bitmap, row by row (canvas.md 3).
pub(super) struct MaskRows<'a> {
    data: MaskData<'a>,
    bounds: Rect,
}

enum MaskData<'a> {
    Bitmap(&'a Bitmap, Vec<u8>),
    Surface(&'a Canvas),
}

impl<'a> MaskRows<'a> {
    pub(super) fn of_bitmap(bitmap: &'a Bitmap) -> Result<Self, DrawError> {
        if !matches!(bitmap.format, BitmapFormat::OneBitBe | BitmapFormat::OneBitLe) {
            return Err(DrawError::BadMask);
        }
        let bounds = Rect::new(0, 0, size(bitmap.width)?, size(bitmap.height)?);
        Ok(Self { data: MaskData::Bitmap(bitmap, Vec::new()), bounds })
    }

    pub(super) fn of_surface(canvas: &'a Canvas) -> Result<Self, DrawError> {
        if canvas.format() != SurfaceFormat::A1 {
            return Err(DrawError::BadMask);
        }
        Ok(Self { data: MaskData::Surface(canvas), bounds: canvas.bounds() })
    }

    pub(super) fn bounds(&self) -> Rect {
        self.bounds
    }

    /// Reads bits as 0 and 1. The segment must lie inside the bounds.
    pub(super) fn read(&mut self, x: i32, y: i32, out: &mut [u32]) {
        match &mut self.data {
            MaskData::Bitmap(bitmap, scratch) => read_bitmap(bitmap, &[0, 1], scratch, x, y, out),
            MaskData::Surface(canvas) => canvas.read_row(x, y, out),
        }
    }
}
