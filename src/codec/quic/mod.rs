//! QUIC, the lossless photo codec of SPICE (codecs.md 2): per-channel prediction, adaptive Golomb-Rice codes
//! and runs. The format is defined by a state machine: encoder and decoder share [`model`] and must stay
//! bit-exact.
//!
//! Rows have four bytes per pixel, one channel per byte: b, g, r; or a single channel first. Prediction then
//! works on all channels at once, and the compiler can vectorize it.
//!
//! * [`tables`]: the code families and the fixed tables of the format
//! * [`model`]: adaptation of the codes
//! * [`bits`]: bit streams in 32-bit words
//! * [`pixels`]: pixel formats to rows and back, residuals, run masks
//! * [`Encoder`], [`decode`]

mod bits;
mod decode;
mod encode;
mod model;
mod pixels;
mod tables;

pub use decode::{PixelLayout, decode, parse_header};
pub use encode::Encoder;

use crate::image::BitmapFormat;

/// The header's magic word, bytes `QUIC`.
const MAGIC: u32 = 0x4349_5551;
/// The only version: major << 16 | minor.
const VERSION: u32 = 0;
/// Bytes of the header: five words.
const HEADER_BYTES: usize = 20;

/// Pixel type in the stream's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum QuicType {
    /// One byte per pixel. No server sends it and clients refuse it.
    Gray = 1,
    /// x1r5g5b5.
    Rgb16 = 2,
    /// Bytes b, g, r.
    Rgb24 = 3,
    /// Bytes b, g, r, ignored.
    Rgb32 = 4,
    /// Bytes b, g, r, a.
    Rgba = 5,
}

impl QuicType {
    /// The type that carries bitmaps of this format, if any does.
    #[must_use]
    pub const fn of_format(format: BitmapFormat) -> Option<Self> {
        match format {
            BitmapFormat::SixteenBit => Some(Self::Rgb16),
            BitmapFormat::TwentyFourBit => Some(Self::Rgb24),
            BitmapFormat::ThirtyTwoBit => Some(Self::Rgb32),
            BitmapFormat::Rgba => Some(Self::Rgba),
            _ => None,
        }
    }
}

impl TryFrom<u32> for QuicType {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        Ok(match value {
            1 => Self::Gray,
            2 => Self::Rgb16,
            3 => Self::Rgb24,
            4 => Self::Rgb32,
            5 => Self::Rgba,
            other => return Err(other),
        })
    }
}

/// The contents of a stream's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of the stream.
    pub kind: QuicType,
    /// Pixels, at least 1.
    pub width: u32,
    /// Pixels, at least 1.
    pub height: u32,
}
