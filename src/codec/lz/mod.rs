//! LZ, the lossless codec for screen contents (codecs.md 3): byte-oriented LZ77 on whole pixels.
//!
//! * [`units`]: conversion, equality and hash of a pixel, for every type
//! * [`Encoder`]: writes exactly the bytes that the reference encoder writes
//! * [`decode`]
//!
//! GLZ (codecs.md 4) uses the same units and literals.

mod decode;
mod encode;
pub(super) mod units;

pub(super) use decode::{Input, check_geometry, repeat};
pub use decode::{decode, parse_header};
pub use encode::Encoder;
pub(super) use encode::put_long_length;

use crate::image::{BitmapFormat, ImageView};

/// First word of an LZ or GLZ stream.
pub(super) const MAGIC: u32 = 0x2020_5A4C;
/// The only version: major << 16 | minor.
pub(super) const VERSION: u32 = 0x0001_0001;
/// Bytes of the header.
const HEADER_BYTES: usize = 28;
/// Largest stride * height in bytes.
pub(super) const MAX_BYTES: u64 = (1 << 30) - 1;
/// Largest number of literals after one control byte.
pub(super) const MAX_LITERALS: usize = 32;

/// Pixel type in the stream's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LzType {
    /// One bit per pixel with a palette, the lowest bit first.
    Plt1Le = 1,
    /// One bit per pixel with a palette, the highest bit first.
    Plt1Be = 2,
    /// Four bits per pixel with a palette, the low nibble first.
    Plt4Le = 3,
    /// Four bits per pixel with a palette, the high nibble first.
    Plt4Be = 4,
    /// One byte per pixel with a palette.
    Plt8 = 5,
    /// x1r5g5b5; the top bit is not compared.
    Rgb16 = 6,
    /// Bytes b, g, r.
    Rgb24 = 7,
    /// Bytes b, g, r, ignored.
    Rgb32 = 8,
    /// Bytes b, g, r, a.
    Rgba = 9,
    /// Only the alpha bytes of RGBA pixels.
    Xxxa = 10,
    /// One byte.
    A8 = 11,
}

impl LzType {
    /// The type that carries bitmaps of this format.
    #[must_use]
    pub const fn of_format(format: BitmapFormat) -> Self {
        match format {
            BitmapFormat::OneBitLe => Self::Plt1Le,
            BitmapFormat::OneBitBe => Self::Plt1Be,
            BitmapFormat::FourBitLe => Self::Plt4Le,
            BitmapFormat::FourBitBe => Self::Plt4Be,
            BitmapFormat::EightBit => Self::Plt8,
            BitmapFormat::SixteenBit => Self::Rgb16,
            BitmapFormat::TwentyFourBit => Self::Rgb24,
            BitmapFormat::ThirtyTwoBit => Self::Rgb32,
            BitmapFormat::Rgba => Self::Rgba,
            BitmapFormat::EightBitA => Self::A8,
        }
    }

    /// The bitmap format that a stream of this type encodes.
    #[must_use]
    pub const fn format(self) -> BitmapFormat {
        match self {
            Self::Plt1Le => BitmapFormat::OneBitLe,
            Self::Plt1Be => BitmapFormat::OneBitBe,
            Self::Plt4Le => BitmapFormat::FourBitLe,
            Self::Plt4Be => BitmapFormat::FourBitBe,
            Self::Plt8 => BitmapFormat::EightBit,
            Self::Rgb16 => BitmapFormat::SixteenBit,
            Self::Rgb24 => BitmapFormat::TwentyFourBit,
            Self::Rgb32 => BitmapFormat::ThirtyTwoBit,
            Self::Rgba | Self::Xxxa => BitmapFormat::Rgba,
            Self::A8 => BitmapFormat::EightBitA,
        }
    }
}

impl TryFrom<u32> for LzType {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        Ok(match value {
            1 => Self::Plt1Le,
            2 => Self::Plt1Be,
            3 => Self::Plt4Le,
            4 => Self::Plt4Be,
            5 => Self::Plt8,
            6 => Self::Rgb16,
            7 => Self::Rgb24,
            8 => Self::Rgb32,
            9 => Self::Rgba,
            10 => Self::Xxxa,
            11 => Self::A8,
            other => return Err(other),
        })
    }
}

/// The contents of a stream's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of the stream.
    pub kind: LzType,
    /// Pixels, at least 1.
    pub width: u32,
    /// Pixels, at least 1.
    pub height: u32,
    /// Bytes of a row, without padding.
    pub stride: u32,
    /// Whether the first row of the stream is the top one.
    pub top_down: bool,
}

/// Whether the LZ family can carry this geometry (codecs.md 3.1): at least one pixel, no padding, not too
/// large.
pub(super) fn can_carry(image: &ImageView<'_>) -> bool {
    let side = |n: u32| i32::try_from(n).is_ok_and(|n| n > 0);
    side(image.width)
        && side(image.height)
        && image.is_packed()
        && u64::from(image.stride) * u64::from(image.height) <= MAX_BYTES
}

#[cfg(test)]
pub(super) mod tests;
