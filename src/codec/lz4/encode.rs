//! The encoder: greedy search over a small table of the positions where five bytes were seen last.

use super::{HEADER_BYTES, HISTORY, MIN_MATCH, can_carry};
use crate::codec::EncodeError;
use crate::image::ImageView;

/// Bytes of a block, if the pixels have to be copied.
const STRIP: usize = 256 << 10;
/// log2 of the entries of the table.
const TABLE_BITS: u32 = 12;
/// Added to positions, so that 0 is none.
const ORIGIN: usize = HISTORY + 1;
/// The last bytes of a block are literals.
const LAST_LITERALS: usize = 5;
/// No match begins so close to the end of a block.
const NO_MATCH: usize = 12;
/// Misses before the search begins to skip, as a power of two.
const SKIP_AFTER: u32 = 6;

/// An LZ4 image encoder; holds buffers that are reused from image to image.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    table: Box<[u32; 1 << TABLE_BITS]>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { bytes: Vec::new(), table: Box::new([0; 1 << TABLE_BITS]) }
    }
}

impl Encoder {
    /// Appends the stream of `image` to `out`, rows in memory order.
    ///
    /// # Errors
    /// [`EncodeError::UnsupportedFormat`] for palettes and 8BIT_A, [`EncodeError::UnsupportedGeometry`] if rows are
    /// padded, [`EncodeError::TooLarge`] if more than `max_len` bytes would be needed; `out` is then unchanged.
    pub fn encode(
        &mut self,
        image: &ImageView<'_>,
        max_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if !super::carries(image.format) {
            return Err(EncodeError::UnsupportedFormat);
        }
        let size = u64::from(image.stride) * u64::from(image.height);
        if !can_carry(image) || size > crate::limits::MAX_GUEST_OBJECT {
            return Err(EncodeError::UnsupportedGeometry);
        }
        let size = size as usize;
        let start = out.len();
        if max_len < HEADER_BYTES {
            return Err(EncodeError::TooLarge);
        }
        out.extend_from_slice(&[u8::from(image.top_down), image.format as u8]);
        self.table.fill(0);
        let limit = start.saturating_add(max_len);
        let result = match image.source.as_private().and_then(|bytes| bytes.get(..size)) {
            Some(bytes) => {
                put_block(bytes, 0, 0, &mut self.table, limit, out);
                if out.len() > limit { Err(EncodeError::TooLarge) } else { Ok(()) }
            }
            None => self.strips(image, size, limit, out),
        };
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Codes the image in strips, each a block, with the end of the one before in front of it.
    fn strips(
        &mut self,
        image: &ImageView<'_>,
        size: usize,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let (mut done, mut history) = (0, 0);
        self.bytes.resize(size.min(HISTORY + STRIP), 0);
        while done < size {
            let n = STRIP.min(size - done);
            image.source.read_at(done, &mut self.bytes[history..history + n]);
            let bytes = &self.bytes[..history + n];
            put_block(bytes, history, done - history, &mut self.table, limit, out);
            if out.len() > limit {
                return Err(EncodeError::TooLarge);
            }
            done += n;
            let keep = bytes.len().min(HISTORY);
            self.bytes.copy_within(history + n - keep..history + n, 0);
            history = keep;
        }
        Ok(())
    }
}

/// Appends the length and the codes of the block `bytes[start..]`; `origin` is the position of `bytes[0]` in the image.
fn put_block(
    bytes: &[u8],
    start: usize,
    origin: usize,
    table: &mut [u32; 1 << TABLE_BITS],
    limit: usize,
    out: &mut Vec<u8>,
) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let anchor = find_matches(bytes, start, origin, table, limit, out);
    put_last(&bytes[anchor..], out);
    let len = out.len() - at - 4;
    if let (Some(place), Ok(len)) = (out[at..].first_chunk_mut(), u32::try_from(len)) {
        *place = len.to_be_bytes();
    }
}

/// Where the five bytes at `at` are entered.
#[inline(always)]
fn slot(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let eight = u64::from_le_bytes(*bytes.get(at..at + 8)?.first_chunk()?);
    Some((eight as u32, hash(eight)))
}

#[inline(always)]
fn hash(eight: u64) -> usize {
    ((eight << 24).wrapping_mul(889_523_592_379) >> (64 - TABLE_BITS)) as usize & ((1 << TABLE_BITS) - 1)
}

#[inline(always)]
fn four(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Codes all matches; gives where the last literals begin.
fn find_matches(
    bytes: &[u8],
    start: usize,
    origin: usize,
    table: &mut [u32; 1 << TABLE_BITS],
    limit: usize,
    out: &mut Vec<u8>,
) -> usize {
    let mut anchor = start;
    let Some(last_start) = bytes.len().checked_sub(NO_MATCH).filter(|last| *last >= start) else {
        return anchor;
    };
    let match_end = bytes.len() - LAST_LITERALS;
    // What is in the table for the position 0 of `bytes`.
    let origin = origin + ORIGIN;
    let mut at = start;
    let mut misses = 1u32 << SKIP_AFTER;
    while at <= last_start {
        let Some((here, hash)) = slot(bytes, at) else { break };
        let seen = table[hash] as usize;
        table[hash] = (at + origin) as u32;
        // Wraps for what is before the buffer.
        let from = seen.wrapping_sub(origin);
        if from >= at || at - from > HISTORY || four(bytes, from) != Some(here) {
            at += (misses >> SKIP_AFTER) as usize;
            misses += 1;
            continue;
        }
        misses = 1 << SKIP_AFTER;
        let mut back = 0;
        while at - back > anchor && from > back && bytes[at - back - 1] == bytes[from - back - 1] {
            back += 1;
        }
        let count = MIN_MATCH + common(&bytes[at + MIN_MATCH..match_end], &bytes[from + MIN_MATCH..]);
        put_sequence(&bytes[anchor..at - back], at - from, count + back, out);
        at += count;
        anchor = at;
        if out.len() > limit {
            return anchor;
        }
        if at <= last_start
            && let Some((_, hash)) = slot(bytes, at - 2)
        {
            table[hash] = (at - 2 + origin) as u32;
        }
    }
    anchor
}

/// How many bytes at the start of both are the same.
#[inline(always)]
fn common(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let mut at = 0;
    // Short matches are the most frequent.
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0).take(4) {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return at + differ.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    for (x, y) in a[at..].as_chunks::<32>().0.iter().zip(b[at..].as_chunks::<32>().0) {
        if x != y {
            break;
        }
        at += 32;
    }
    for (x, y) in a[at..].as_chunks::<8>().0.iter().zip(b[at..].as_chunks::<8>().0) {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return at + differ.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + a[at..].iter().zip(&b[at..]).take_while(|(a, b)| a == b).count()
}

/// Appends literals and a match.
#[inline(always)]
fn put_sequence(literals: &[u8], distance: usize, count: usize, out: &mut Vec<u8>) {
    let length = count - MIN_MATCH;
    out.push((literals.len().min(15) << 4 | length.min(15)) as u8);
    if literals.len() >= 15 {
        put_length(literals.len() - 15, out);
    }
    out.extend_from_slice(literals);
    out.extend_from_slice(&(distance as u16).to_le_bytes());
    if length >= 15 {
        put_length(length - 15, out);
    }
}

/// Appends the literals that end a block.
fn put_last(literals: &[u8], out: &mut Vec<u8>) {
    out.push((literals.len().min(15) << 4) as u8);
    if literals.len() >= 15 {
        put_length(literals.len() - 15, out);
    }
    out.extend_from_slice(literals);
}

#[inline]
fn put_length(rest: usize, out: &mut Vec<u8>) {
    if rest >= 255 {
        out.resize(out.len() + rest / 255, 255);
    }
    out.push((rest % 255) as u8);
}
