//! Pixel formats, and images as a guest provides them (qxl.md B4, canvas.md 1 and 2).
#![allow(missing_docs, reason = "formats and fields have the names of the specification")]

use crate::guest::{ByteSource, Rows};
use std::sync::Arc;

/// Pixel layout of a bitmap (`SpiceBitmap.format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum BitmapFormat {
    /// 1 bit, least significant bit leftmost; masks only.
    OneBitLe = 1,
    /// 1 bit, most significant bit leftmost.
    OneBitBe = 2,
    /// 4 bits, low nibble leftmost.
    FourBitLe = 3,
    /// 4 bits, high nibble leftmost.
    FourBitBe = 4,
    /// 8 bits, an index in the palette.
    EightBit = 5,
    /// x1r5g5b5, little-endian.
    SixteenBit = 6,
    /// Bytes b, g, r.
    TwentyFourBit = 7,
    /// Bytes b, g, r, x.
    ThirtyTwoBit = 8,
    /// Bytes b, g, r, a.
    Rgba = 9,
    /// One alpha byte.
    EightBitA = 10,
}

impl BitmapFormat {
    /// Bits of one pixel.
    #[must_use]
    pub const fn bits_per_pixel(self) -> u32 {
        match self {
            Self::OneBitLe | Self::OneBitBe => 1,
            Self::FourBitLe | Self::FourBitBe => 4,
            Self::EightBit | Self::EightBitA => 8,
            Self::SixteenBit => 16,
            Self::TwentyFourBit => 24,
            Self::ThirtyTwoBit | Self::Rgba => 32,
        }
    }

    /// Whether pixels are palette indexes (formats 1 to 5).
    #[must_use]
    pub const fn is_palette(self) -> bool {
        (self as u8) <= 5
    }

    /// The fewest bytes that hold a row of `width` pixels.
    #[must_use]
    pub const fn min_stride(self, width: u32) -> u64 {
        (width as u64 * self.bits_per_pixel() as u64).div_ceil(8)
    }
}

impl TryFrom<u8> for BitmapFormat {
    type Error = u8;

    fn try_from(value: u8) -> Result<Self, u8> {
        Ok(match value {
            1 => Self::OneBitLe,
            2 => Self::OneBitBe,
            3 => Self::FourBitLe,
            4 => Self::FourBitBe,
            5 => Self::EightBit,
            6 => Self::SixteenBit,
            7 => Self::TwentyFourBit,
            8 => Self::ThirtyTwoBit,
            9 => Self::Rgba,
            10 => Self::EightBitA,
            other => return Err(other),
        })
    }
}

/// Pixel layout of a surface (canvas.md 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum SurfaceFormat {
    A1 = 1,
    A8 = 8,
    Rgb555 = 16,
    Xrgb32 = 32,
    Rgb565 = 80,
    Argb32 = 96,
}

impl SurfaceFormat {
    /// Bits of one pixel.
    #[must_use]
    pub const fn bits_per_pixel(self) -> u32 {
        self as u32 & 0x3f
    }

    /// The fewest bytes that hold a row of `width` pixels.
    #[must_use]
    pub const fn min_stride(self, width: u32) -> u64 {
        (width as u64 * self.bits_per_pixel() as u64).div_ceil(8)
    }
}

impl TryFrom<u32> for SurfaceFormat {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        Ok(match value {
            1 => Self::A1,
            8 => Self::A8,
            16 => Self::Rgb555,
            32 => Self::Xrgb32,
            80 => Self::Rgb565,
            96 => Self::Argb32,
            other => return Err(other),
        })
    }
}

/// Colours of a palette image, at most 256. An index beyond them gives colour 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Palette {
    /// Cache key; 0 means never cached.
    pub unique: u64,
    /// 0x00RRGGBB, or native values of the destination surface.
    pub entries: Vec<u32>,
}

/// A bitmap with a checked header: `pixels` holds at least `stride * height` bytes, and `stride` is at least
/// the row length of the format.
#[derive(Clone, Debug)]
pub struct Bitmap {
    pub format: BitmapFormat,
    pub width: u32,
    pub height: u32,
    /// Bytes from one row in memory to the next.
    pub stride: u32,
    /// Whether the first row in memory is the top one.
    pub top_down: bool,
    /// The guest says that it will change the pixels, so they must never enter a dictionary.
    pub unstable: bool,
    /// Always present for palette formats that are not used as a mask.
    pub palette: Option<Arc<Palette>>,
    pub pixels: Arc<dyn ByteSource>,
}

impl Bitmap {
    /// Bytes of the pixels with the bitmap's own stride.
    #[must_use]
    pub(crate) fn size(&self) -> usize {
        let bytes = u64::from(self.stride) * u64::from(self.height);
        // The bitmap promises that the source has them.
        usize::try_from(bytes).unwrap_or(usize::MAX).min(self.pixels.len())
    }

    /// A copy of the pixels with the bitmap's own stride.
    #[must_use]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut data = vec![0; self.size()];
        self.pixels.read_at(0, &mut data);
        data
    }

    /// A view of the pixels for encoders.
    #[must_use]
    pub fn view(&self) -> ImageView<'_> {
        ImageView {
            format: self.format,
            width: self.width,
            height: self.height,
            stride: self.stride,
            top_down: self.top_down,
            source: &*self.pixels,
        }
    }
}

/// The contents of an image.
#[derive(Clone, Debug)]
pub enum ImageData {
    Bitmap(Bitmap),
    /// A QUIC stream copied from the guest. The server forwards it unchanged, and decodes it for rendering.
    Quic(Arc<[u8]>),
    /// The live pixels of a surface.
    Surface(u32),
}

/// An image argument of a drawing command.
#[derive(Clone, Debug)]
pub struct Image {
    /// Identity chosen by the guest: the low 32 bits are a group, the high 32 bits a unique number in it.
    pub id: u64,
    /// The guest allows the client to cache the image (descriptor flag CACHE).
    pub cache_me: bool,
    /// All top bytes become 0xff after decoding (descriptor flag HIGH_BITS_SET).
    pub high_bits_set: bool,
    pub width: u32,
    pub height: u32,
    pub data: ImageData,
}

/// Image types in the descriptor on the wire (codecs.md 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WireImageType {
    Bitmap = 0,
    Quic = 1,
    LzPlt = 100,
    LzRgb = 101,
    GlzRgb = 102,
    FromCache = 103,
    Surface = 104,
    Jpeg = 105,
    FromCacheLossless = 106,
    ZlibGlzRgb = 107,
    JpegAlpha = 108,
    Lz4 = 109,
}

/// Pixels for an encoder: rows in memory order, which the encoder copies strip by strip. Never a reference
/// into guest memory. `source` holds at least `stride * height` bytes.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    pub format: BitmapFormat,
    pub width: u32,
    pub height: u32,
    pub stride: u32,
    /// Whether the first row in memory is the top one.
    pub top_down: bool,
    pub source: &'a dyn ByteSource,
}

impl ImageView<'_> {
    /// Bytes of a row without padding.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        usize::try_from(self.format.min_stride(self.width)).unwrap_or(usize::MAX)
    }

    /// Whether rows have no padding.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        u64::from(self.stride) == self.format.min_stride(self.width)
    }

    /// Copies the first `dst.len()` bytes of memory row `row` (0 = first in memory).
    pub fn read_memory_row(&self, row: u32, dst: &mut [u8]) {
        self.source.read_at(row as usize * self.stride as usize, dst);
    }

    /// Picture row `row` (0 = top), if nobody else can change the pixels.
    #[must_use]
    pub fn private_row(&self, row: u32) -> Option<&[u8]> {
        let start = self.memory_row(row) as usize * self.stride as usize;
        self.source.as_private()?.get(start..)?.get(..self.row_bytes())
    }

    /// Copies the first `dst.len()` bytes of picture row `row` (0 = top).
    pub fn read_row(&self, row: u32, dst: &mut [u8]) {
        self.read_memory_row(self.memory_row(row), dst);
    }

    /// Copies picture rows from `row` on, as many as there is room for in `dst`, where one begins every `pitch` bytes.
    pub fn read_rows(&self, row: u32, dst: &mut [u8], pitch: usize) {
        let (first, stride) = (self.memory_row(row) as usize, self.stride as usize);
        let down = stride.cast_signed();
        let pitch_in_memory = if self.top_down { down } else { -down };
        let from = Rows { first: first.saturating_mul(stride), pitch: pitch_in_memory };
        self.source.read_rows(from, self.row_bytes(), dst, pitch);
    }

    fn memory_row(&self, row: u32) -> u32 {
        if self.top_down { row } else { self.height.saturating_sub(1).saturating_sub(row) }
    }
}
