//! Single LZ4 blocks of arbitrary bytes, without history, as character devices send them (devices.md 4.3,
//! 4.4).

use super::decode::decode_block;
use super::{HISTORY, MIN_MATCH};
use crate::codec::DecodeError;
use crate::spare;
use std::ops::Range;

/// log2 of the number of entries in the table of positions.
const TABLE_BITS: u32 = 12;
/// Matches begin at least this many bytes before the end of a block; the last bytes are literals.
const NO_MATCH: usize = 12;
const LAST_LITERALS: usize = 5;
/// The search begins to skip positions after 2 to this power misses.
const SKIP_AFTER: u32 = 6;

/// Eight bytes from `at` on, the first the lowest.
#[inline]
fn eight(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[inline]
fn four(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Where the table keeps the position of these bytes. Five of them count: a match that is found is longer then.
#[inline]
fn entry(eight: u64) -> usize {
    ((eight << 24).wrapping_mul(889_523_592_379) >> (64 - TABLE_BITS)) as usize
}

/// Number of bytes that are the same from `old` and from `new` on, up to `end`.
#[inline]
fn common(bytes: &[u8], old: usize, new: usize, end: usize) -> usize {
    let mut count = 0;
    while new + count + 8 <= end
        && let (Some(a), Some(b)) = (eight(bytes, old + count), eight(bytes, new + count))
    {
        let different = a ^ b;
        if different != 0 {
            return count + different.trailing_zeros() as usize / 8;
        }
        count += 8;
    }
    while new + count < end && bytes.get(old + count) == bytes.get(new + count) {
        count += 1;
    }
    count
}

/// Compresses `bytes` to one block; `None` unless the block is shorter.
#[must_use]
pub(crate) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut room = spare::take(bytes.len());
    let size = compress_into(bytes, &mut room);
    if let Some(size) = size
        && size > bytes.len() / 2
    {
        room.truncate(size);
        return Some(room);
    }
    // Short blocks wait in queues that are bounded by what they hold.
    let block = size.and_then(|size| room.get(..size)).map(<[u8]>::to_vec);
    spare::give(room);
    block
}

/// A block that is being written.
struct Writer<'a> {
    bytes: &'a [u8],
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) -> Option<()> {
        *self.out.get_mut(self.at)? = byte;
        self.at += 1;
        Some(())
    }

    /// The rest of a length that its four bits do not hold.
    fn length(&mut self, mut rest: usize) -> Option<()> {
        while rest >= 255 {
            self.byte(255)?;
            rest -= 255;
        }
        self.byte(rest as u8)
    }

    /// A token and its literals. `None`: there is no room for them.
    #[inline]
    fn literals(&mut self, literals: Range<usize>, low: u8) -> Option<()> {
        let count = literals.len();
        self.byte((count.min(15) << 4) as u8 | low)?;
        let room = self.out.get_mut(self.at..)?;
        if count < 15
            && let Some(from) = self.bytes.get(literals.start..)?.first_chunk::<16>()
            && let Some(to) = room.first_chunk_mut::<16>()
        {
            // More than needed, but without a call. What follows overwrites it.
            *to = *from;
        } else {
            if count >= 15 {
                self.length(count - 15)?;
            }
            let room = self.out.get_mut(self.at..)?;
            room.get_mut(..count)?.copy_from_slice(self.bytes.get(literals)?);
        }
        self.at += count;
        Some(())
    }

    #[inline]
    fn sequence(&mut self, literals: Range<usize>, distance: usize, count: usize) -> Option<()> {
        let length = count - MIN_MATCH;
        self.literals(literals, length.min(15) as u8)?;
        *self.out.get_mut(self.at..)?.first_chunk_mut()? = (distance as u16).to_le_bytes();
        self.at += 2;
        if length >= 15 { self.length(length - 15) } else { Some(()) }
    }
}

/// Writes the block to `out`, which is as long as `bytes`, and returns its size. `None`: it is not shorter.
fn compress_into(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    // Positions, at first all the beginning: whether there is an entry would be a branch that nothing predicts. Positions beyond
    // those that fit are not found again.
    let mut table = [0u32; 1 << TABLE_BITS];
    let mut block = Writer { bytes, out, at: 0 };
    let (mut at, mut literals, mut misses) = (1, 0, 0usize);
    let end = bytes.len().saturating_sub(NO_MATCH);
    while at < end {
        let here = eight(bytes, at)?;
        let slot = &mut table[entry(here)];
        let mut before = std::mem::replace(slot, at as u32) as usize;
        if at - before > HISTORY || four(bytes, before)? != here as u32 {
            misses += 1;
            at += 1 + (misses >> SKIP_AFTER);
            continue;
        }
        misses = 0;
        let mut count =
            MIN_MATCH + common(bytes, before + MIN_MATCH, at + MIN_MATCH, bytes.len() - LAST_LITERALS);
        // It may have begun earlier than it was found.
        while at > literals && before > 0 && bytes.get(at - 1) == bytes.get(before - 1) {
            (at, before, count) = (at - 1, before - 1, count + 1);
        }
        block.sequence(literals..at, at - before, count)?;
        at += count;
        literals = at;
    }
    block.literals(literals..bytes.len(), 0)?;
    (block.at < bytes.len()).then_some(block.at)
}

/// Decompresses a block that must give exactly `size` bytes.
///
/// # Errors
/// The block is corrupt, or gives more or fewer bytes.
pub(crate) fn decompress(block: &[u8], size: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    // One byte of a block stands for at most 255 bytes, so the claimed size cannot cause a larger allocation.
    let room = size.min(block.len().saturating_mul(255).saturating_add(16));
    out.try_reserve_exact(room).map_err(|_| DecodeError::TooLarge)?;
    decode_block(block, size, &mut out)?;
    if out.len() == size {
        Ok(out)
    } else {
        Err(DecodeError::Corrupt { reason: "the block has another size than announced" })
    }
}

/// Fuzz oracle: decompresses any bytes without a panic, and checks that compressed data comes back unchanged.
///
/// # Panics
/// If the data comes back different.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_block(data: &[u8]) {
    let _ = decompress(data, data.len().saturating_mul(3));
    if let Some(block) = compress(data) {
        assert!(block.len() < data.len());
        assert_eq!(decompress(&block, data.len()).as_deref(), Ok(data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_byte_over_and_over_is_short() {
        let block = compress(&[b'Q'; 1001]).unwrap();
        assert!(block.len() < 30, "{block:?}");
        assert_eq!(decompress(&block, 1001).unwrap(), [b'Q'; 1001]);
        assert!(decompress(&block, 1000).is_err());
        assert!(decompress(&block, 1002).is_err());
        assert!(decompress(&[], 0).is_err());
    }

    #[test]
    fn a_block_of_the_original_is_read() {
        let block = [0x1f, 0x51, 1, 0, 0xff, 0xff, 0xff, 0xd3, 0x50, 0x51, 0x51, 0x51, 0x51, 0x51];
        assert_eq!(decompress(&block, 1001).unwrap(), [0x51; 1001]);
    }

    proptest! {
        #![proptest_config(crate::testing::cases(64))]
        #[test]
        fn what_is_compressed_comes_back(data in proptest::collection::vec(prop_oneof![Just(7u8), 0u8..4, any::<u8>()], 0..3000)) {
            fuzz_block(&data);
        }
    }
}
