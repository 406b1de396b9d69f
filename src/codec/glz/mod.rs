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

/// What a pass compares and writes. Pixels are stored as their literals are written, so that equal units have equal bytes: b, g, r;
/// the two bytes of 15-bit colour, the high one first; and behind the colours of an image with alpha one byte for each pixel.
trait Channel {
    /// Bytes of a unit, and of a literal.
    const UNIT: usize;
    /// Subtracted from the length of a match.
    const BIAS: usize;
    /// Units that must be equal before the search looks closer.
    const NEED: usize;
    /// Matches of more units are always worth their bytes.
    const PAYS: usize;

    /// The bytes of the pass in those of an image of so many pixels.
    fn plane(pixels: &[u8], units: usize) -> &[u8];

    /// The first three units.
    fn three(bytes: &[u8]) -> Option<[u64; 2]>;

    /// The first eight units.
    fn eight(bytes: &[u8]) -> Option<[u64; 3]>;
}

/// Three bytes of colour.
struct Colour;
/// 15-bit colour.
struct Short;
/// The alpha byte.
struct Alpha;

/// Up to eight bytes as a number.
#[inline(always)]
fn word<const N: usize>(bytes: &[u8]) -> Option<u64> {
    let mut word = [0; 8];
    word.get_mut(..N)?.copy_from_slice(bytes.first_chunk::<N>()?);
    Some(u64::from_le_bytes(word))
}

impl Channel for Colour {
    const UNIT: usize = 3;
    const BIAS: usize = 0;
    const NEED: usize = 2;
    const PAYS: usize = 2;

    #[inline(always)]
    fn plane(pixels: &[u8], units: usize) -> &[u8] {
        pixels.get(..units * Self::UNIT).unwrap_or(pixels)
    }

    #[inline(always)]
    fn three(bytes: &[u8]) -> Option<[u64; 2]> {
        let nine = bytes.first_chunk::<9>()?;
        Some([word::<8>(nine)?, u64::from(nine[8])])
    }

    #[inline(always)]
    fn eight(bytes: &[u8]) -> Option<[u64; 3]> {
        let [a, b, c] = bytes.first_chunk::<24>()?.as_chunks().0 else { return None };
        Some([a, b, c].map(|word| u64::from_le_bytes(*word)))
    }
}

impl Channel for Short {
    const UNIT: usize = 2;
    const BIAS: usize = 1;
    const NEED: usize = 2;
    const PAYS: usize = 3;

    #[inline(always)]
    fn plane(pixels: &[u8], _units: usize) -> &[u8] {
        pixels
    }

    #[inline(always)]
    fn three(bytes: &[u8]) -> Option<[u64; 2]> {
        Some([word::<6>(bytes)?, 0])
    }

    #[inline(always)]
    fn eight(bytes: &[u8]) -> Option<[u64; 3]> {
        Some([word::<8>(bytes)?, word::<8>(bytes.get(8..)?)?, 0])
    }
}

impl Channel for Alpha {
    const UNIT: usize = 1;
    const BIAS: usize = 2;
    const NEED: usize = 4;
    const PAYS: usize = 7;

    #[inline(always)]
    fn plane(pixels: &[u8], units: usize) -> &[u8] {
        pixels.get(units * Colour::UNIT..).unwrap_or_default()
    }

    #[inline(always)]
    fn three(bytes: &[u8]) -> Option<[u64; 2]> {
        Some([word::<3>(bytes)?, 0])
    }

    #[inline(always)]
    fn eight(bytes: &[u8]) -> Option<[u64; 3]> {
        Some([word::<8>(bytes)?, 0, 0])
    }
}

/// Whether GLZ can carry images of this type.
fn carries(kind: LzType) -> bool {
    matches!(kind, LzType::Rgb16 | LzType::Rgb24 | LzType::Rgb32 | LzType::Rgba)
}
