//! Single LZ4 blocks of arbitrary bytes, without history, as character devices send them (devices.md 4.3,
//! 4.4).

use super::decode::decode_block;
use super::encode::{put_last, put_sequence};
use super::{HISTORY, MIN_MATCH};
use crate::codec::DecodeError;

/// log2 of the number of entries in the table of positions.
const TABLE_BITS: u32 = 12;
/// Matches begin at least this many bytes before the end of a block; the last bytes are literals.
const NO_MATCH: usize = 12;
const LAST_LITERALS: usize = 5;
/// The search begins to skip positions after 2 to this power misses.
const SKIP_AFTER: u32 = 6;

fn four(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

fn entry(four: u32) -> usize {
    (four.wrapping_mul(2_654_435_761) >> (32 - TABLE_BITS)) as usize
}

/// Number of bytes that both begin with.
fn common(old: &[u8], new: &[u8]) -> usize {
    let (old_words, _) = old.as_chunks::<8>();
    let (new_words, _) = new.as_chunks::<8>();
    let words = old_words.iter().zip(new_words).take_while(|(a, b)| a == b).count();
    let rest = old.iter().zip(new).skip(words * 8);
    words * 8 + rest.take_while(|(a, b)| a == b).count()
}

/// Compresses `bytes` to one block; `None` unless the block is shorter.
#[must_use]
pub(crate) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    // Entries are positions plus one; 0 means none. Positions beyond those that fit are not found again.
    let mut table = [0u32; 1 << TABLE_BITS];
    let (mut at, mut literals, mut misses) = (0, 0, 0usize);
    while at + NO_MATCH < bytes.len() && out.len() < bytes.len() {
        let here = four(bytes, at)?;
        let slot = table.get_mut(entry(here))?;
        let before = std::mem::replace(slot, u32::try_from(at + 1).unwrap_or(0));
        let before = usize::try_from(before).ok().and_then(|before| before.checked_sub(1));
        let found = before.filter(|&b| at - b <= HISTORY && four(bytes, b) == Some(here));
        let Some(before) = found else {
            misses += 1;
            at += 1 + (misses >> SKIP_AFTER);
            continue;
        };
        misses = 0;
        let (old, new) = (bytes.get(before..)?, bytes.get(at..bytes.len() - LAST_LITERALS)?);
        let count = common(old, new);
        if count < MIN_MATCH {
            at += 1;
            continue;
        }
        put_sequence(bytes, literals..at, at - before, count, &mut out);
        at += count;
        literals = at;
    }
    let last = bytes.get(literals..)?;
    if out.len() + last.len() >= bytes.len() {
        // What cannot be compressed is not worth copying.
        return None;
    }
    put_last(last, &mut out);
    (out.len() < bytes.len()).then_some(out)
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
