//! GLZ (codecs.md 4): LZ with a dictionary, which is the images that the client still has in its window.
//!
//! A [`Dictionary`] belongs to one client. The client's displays may share it, each on its own thread. It
//! owns copies of the pixels, so the guest gets its memory back at once and cannot change pixels that were
//! matched. An image that got an id must reach the client, because the client moves its window by ids without
//! a gap.
//!
//! * [`Dictionary`]: window, ids, the lock
//! * [`matcher`]: finds matches in this image and in older ones
//! * [`Decoder`]: the client's side with all checks, for tests and tools

mod decode;
mod dictionary;
mod matcher;
#[cfg(test)]
mod tests;
mod window;
mod zlib;

pub use decode::{DecodedImage, Decoder};
pub use dictionary::{Dictionary, Refused, State};
pub use zlib::{Zlib, inflate};

use crate::codec::lz::LzType;

/// Bytes of the header.
const HEADER_BYTES: usize = 33;

/// The bits of a stored pixel that a pass compares, and the form of its literals. Stored pixels are `u32`: b,
/// g, r in the low bytes and alpha, if any, in the top byte; 15-bit pixels are unchanged.
trait Channel {
    /// The compared bits.
    const MASK: u32;
    /// Subtracted from the length of a match.
    const BIAS: usize;
    /// Units that must be equal before the search looks closer.
    const NEED: usize;
    /// Matches of more units are always worth their bytes.
    const PAYS: usize;
    /// Bytes of a literal.
    const LITERAL: usize;

    /// A literal, in the low bytes.
    fn literal(unit: u32) -> u32;
}

/// Three bytes of colour.
struct Colour;
/// 15-bit colour.
struct Short;
/// The alpha byte.
struct Alpha;

impl Channel for Colour {
    const MASK: u32 = 0xff_ffff;
    const BIAS: usize = 0;
    const NEED: usize = 2;
    const PAYS: usize = 2;
    const LITERAL: usize = 3;

    #[inline(always)]
    fn literal(unit: u32) -> u32 {
        unit
    }
}

impl Channel for Short {
    const MASK: u32 = 0x7fff;
    const BIAS: usize = 1;
    const NEED: usize = 2;
    const PAYS: usize = 3;
    const LITERAL: usize = 2;

    #[inline(always)]
    fn literal(unit: u32) -> u32 {
        unit.swap_bytes() >> 16
    }
}

impl Channel for Alpha {
    const MASK: u32 = 0xff00_0000;
    const BIAS: usize = 2;
    const NEED: usize = 4;
    const PAYS: usize = 7;
    const LITERAL: usize = 1;

    #[inline(always)]
    fn literal(unit: u32) -> u32 {
        unit >> 24
    }
}

/// Whether GLZ can carry images of this type.
fn carries(kind: LzType) -> bool {
    matches!(kind, LzType::Rgb16 | LzType::Rgb24 | LzType::Rgb32 | LzType::Rgba)
}
