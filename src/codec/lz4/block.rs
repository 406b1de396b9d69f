//! Single LZ4 blocks of arbitrary bytes, without history, as character devices send them (devices.md 4.3,
//! 4.4).

use super::decode::decode_block;
use super::encode::{put_last, put_sequence};
use super::{HISTORY, MIN_MATCH};
use crate::codec::DecodeError;
use crate::spare;

/// log2 of the number of entries in the table of positions.
const TABLE_BITS: u32 = 12;
/// Matches begin at least this many bytes before the end of a block; the last bytes are literals.
const NO_MATCH: usize = 12;
const LAST_LITERALS: usize = 5;
/// The search begins to skip positions after 2 to this power misses.
const SKIP_AFTER: u32 = 6;

fn four(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Where the table keeps the position of these bytes. Five of them count: a match that is found is longer then.
fn entry(eight: [u8; 8]) -> usize {
    ((u64::from_le_bytes(eight) << 24).wrapping_mul(889_523_592_379) >> (64 - TABLE_BITS)) as usize
}

/// Number of bytes that both, which are equally long, begin with.
fn common(old: &[u8], new: &[u8]) -> usize {
    let ((old_words, old_rest), (new_words, new_rest)) = (old.as_chunks::<8>(), new.as_chunks::<8>());
    for (at, (old, new)) in old_words.iter().zip(new_words).enumerate() {
        let different = u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new);
        if different != 0 {
            return at * 8 + different.trailing_zeros() as usize / 8;
        }
    }
    new_words.len() * 8 + old_rest.iter().zip(new_rest).take_while(|(old, new)| old == new).count()
}

/// Compresses `bytes` to one block; `None` unless the block is shorter.
#[must_use]
pub(crate) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut room = spare::take(bytes.len());
    room.clear();
    let is_short = compress_into(bytes, &mut room).is_some();
    if is_short && room.len() > bytes.len() / 2 {
        return Some(room);
    }
    // Short blocks wait in queues that are bounded by what they hold.
    let block = is_short.then(|| room.as_slice().to_vec());
    spare::give(room);
    block
}

fn compress_into(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // Positions, at first all the beginning: whether there is an entry would be a branch that nothing predicts. Positions beyond
    // those that fit are not found again.
    let mut table = [0u32; 1 << TABLE_BITS];
    let (mut at, mut literals, mut misses) = (1, 0, 0usize);
    while at + NO_MATCH < bytes.len() && out.len() < bytes.len() {
        let slot = table.get_mut(entry(*bytes.get(at..)?.first_chunk()?))?;
        let mut before = std::mem::replace(slot, u32::try_from(at).unwrap_or(0)) as usize;
        if at - before > HISTORY || four(bytes, before) != four(bytes, at) {
            misses += 1;
            at += 1 + (misses >> SKIP_AFTER);
            continue;
        }
        misses = 0;
        let new = bytes.get(at + MIN_MATCH..bytes.len() - LAST_LITERALS)?;
        let old = bytes.get(before + MIN_MATCH..)?.get(..new.len())?;
        let mut count = MIN_MATCH + common(old, new);
        // It may have begun earlier than it was found.
        while at > literals && before > 0 && bytes.get(at - 1) == bytes.get(before - 1) {
            (at, before, count) = (at - 1, before - 1, count + 1);
        }
        put_sequence(bytes, literals..at, at - before, count, out);
        at += count;
        literals = at;
    }
    let last = bytes.get(literals..)?;
    if out.len() + last.len() >= bytes.len() {
        // What cannot be compressed is not worth copying.
        return None;
    }
    put_last(last, out);
    (out.len() < bytes.len()).then_some(())
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
