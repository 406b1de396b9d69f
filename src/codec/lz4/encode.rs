//! The encoder: greedy search over a small table of the positions where five bytes were seen last.

use super::{HEADER_BYTES, HISTORY, MIN_MATCH, can_carry};
use crate::codec::EncodeError;
use crate::codec::lz::units::equal_bits;
use crate::image::ImageView;
use std::ops::Range;

/// Bytes of a block, if the pixels have to be copied.
const STRIP: usize = 256 << 10;
/// log2 of the entries of the table.
const TABLE_BITS: u32 = 12;
/// Added to positions, so that 0 is none.
const ORIGIN: usize = HISTORY + 1;
/// Pairs of pixels that tell what kind of picture it is.
const SAMPLES: usize = 1024;
/// Bytes of sequences that are collected.
const STAGE: usize = 2048;
/// Bytes of a short sequence, and what is written behind it.
const SEQUENCE: usize = 24;
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
        let sharp = is_sharp(image);
        let limit = start.saturating_add(max_len);
        let result = match image.source.as_private().and_then(|bytes| bytes.get(..size)) {
            Some(bytes) => {
                put_block(sharp, bytes, 0, 0, &mut self.table, limit, out);
                if out.len() > limit { Err(EncodeError::TooLarge) } else { Ok(()) }
            }
            None => self.strips(sharp, image, size, limit, out),
        };
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Codes the image in strips, each a block, with the end of the one before in front of it.
    fn strips(
        &mut self,
        sharp: bool,
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
            put_block(sharp, bytes, history, done - history, &mut self.table, limit, out);
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

/// Whether pixels of 32 bits that differ from their right neighbour differ much, as in drawn text: then hardly anything
/// is lost, and much time won, by looking for matches at whole pixels only.
fn is_sharp(image: &ImageView<'_>) -> bool {
    if image.format.bits_per_pixel() != 32 {
        return false;
    }
    let bytes = image.stride as usize * image.height as usize;
    let (mut near, mut far) = (0, 0);
    // An odd number of pixels, so that the samples do not stay in a column.
    let step = ((bytes / 4 / SAMPLES) | 1) * 4;
    for at in (0..bytes.saturating_sub(7)).step_by(step) {
        let mut pair = [0; 8];
        image.source.read_at(at, &mut pair);
        let [a, b, c, pad, x, y, z, other_pad] = pair;
        match a.abs_diff(x).max(b.abs_diff(y)).max(c.abs_diff(z)) {
            // Bytes that nobody sees must not differ either.
            _ if pad != other_pad => near += 1,
            0 => {}
            1..32 => near += 1,
            _ => far += 1,
        }
    }
    near * 4 < far
}

/// Appends the length and the codes of the block `bytes[start..]`; `origin` is the position of `bytes[0]` in the image.
fn put_block(
    sharp: bool,
    bytes: &[u8],
    start: usize,
    origin: usize,
    table: &mut [u32; 1 << TABLE_BITS],
    limit: usize,
    out: &mut Vec<u8>,
) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let anchor = if sharp {
        find_matches::<4>(bytes, start, origin, table, limit, out)
    } else {
        find_matches::<1>(bytes, start, origin, table, limit, out)
    };
    put_last(&bytes[anchor..], out);
    let len = out.len() - at - 4;
    if let (Some(place), Ok(len)) = (out[at..].first_chunk_mut(), u32::try_from(len)) {
        *place = len.to_be_bytes();
    }
}

/// Where the units at the start of `eight` bytes are entered: two pixels of 32 bits, or five bytes of others.
#[inline(always)]
fn hash<const STEP: usize>(eight: u64) -> usize {
    let hashed = if STEP == 4 {
        eight.wrapping_mul(0x9e37_79b1_85eb_ca87)
    } else {
        (eight << 24).wrapping_mul(889_523_592_379)
    };
    (hashed >> (64 - TABLE_BITS)) as usize & ((1 << TABLE_BITS) - 1)
}

#[inline(always)]
fn eight(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Codes all matches; gives where the last literals begin. Matches are looked for every `STEP` bytes: at all (1), or at
/// pixels of 32 bits.
fn find_matches<const STEP: usize>(
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
    let mut misses = 1usize << SKIP_AFTER;
    // Short sequences are collected here: all writes are of fixed sizes.
    let (mut stage, mut staged) = ([0; STAGE], 0);
    // What is hashed must be equal.
    let mask = if STEP == 4 { u64::MAX } else { 0xffff_ffff };
    while at <= last_start {
        let Some(here) = eight(bytes, at) else { break };
        let slot = &mut table[hash::<STEP>(here)];
        let seen = std::mem::replace(slot, (at + origin) as u32) as usize;
        // Wraps for what is before the buffer.
        let from = seen.wrapping_sub(origin);
        let found =
            from < at && at - from <= HISTORY && eight(bytes, from).is_some_and(|e| (e ^ here) & mask == 0);
        if !found {
            at += (misses >> SKIP_AFTER) * STEP;
            misses += 1;
            continue;
        }
        misses = 1 << SKIP_AFTER;
        let mut back = 0;
        // Whole pixels were compared on the way here.
        while STEP < 4 && at - back > anchor && from > back && bytes[at - back - 1] == bytes[from - back - 1]
        {
            back += 1;
        }
        let known = if STEP == 4 { 8 } else { MIN_MATCH };
        let mut count = known + equal32(bytes, at + known, from + known);
        if count == known + 32 {
            count += common(bytes.get(at + count..match_end).unwrap_or_default(), &bytes[from + count..]);
        }
        // What was compared may reach into the last literals.
        let count = count.min(match_end - at);
        let literals = anchor..at - back;
        let sequence = stage.get_mut(staged..).and_then(|rest| rest.first_chunk_mut());
        let written = sequence
            .and_then(|place| stage_sequence(place, bytes, literals.clone(), at - from, count + back));
        match written {
            Some(written) => staged += written,
            None => {
                out.extend_from_slice(&stage[..staged]);
                staged = 0;
                put_sequence(bytes, literals, at - from, count + back, out);
                if out.len() > limit {
                    return at + count;
                }
            }
        }
        anchor = at + count;
        at += count.next_multiple_of(STEP);
        let before = at - if STEP == 4 { 4 } else { 2 };
        if let Some(units) = eight(bytes, before) {
            table[hash::<STEP>(units)] = (before + origin) as u32;
        }
    }
    out.extend_from_slice(&stage[..staged]);
    anchor
}

/// How many bytes from `at` and `from` on are the same, up to 32. Free of branches: where a match ends cannot be
/// predicted.
#[inline(always)]
fn equal32(bytes: &[u8], at: usize, from: usize) -> usize {
    let chunk = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<32>());
    let (Some(a), Some(b)) = (chunk(at), chunk(from)) else {
        return common(bytes.get(at..).unwrap_or_default(), &bytes[from..]).min(32);
    };
    let word = |bytes: &[u8; 32], k: usize| {
        let [a, b, c, d, e, f, g, h]: [u8; 8] = *bytes[8 * k..].first_chunk().unwrap_or(&[0; 8]);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    };
    let differ = |k| word(a, k) ^ word(b, k);
    equal_bits([differ(0), differ(1), differ(2), differ(3)]) / 8
}

/// How many bytes at the start of both are the same.
#[inline]
fn common(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let mut at = 0;
    for (x, y) in a.as_chunks::<32>().0.iter().zip(b.as_chunks::<32>().0) {
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

/// Writes few literals and a match; gives the bytes of it, or `None` if that takes more.
#[inline(always)]
fn stage_sequence(
    place: &mut [u8; SEQUENCE],
    bytes: &[u8],
    literals: Range<usize>,
    distance: usize,
    count: usize,
) -> Option<usize> {
    let (n, length) = (literals.len(), count - MIN_MATCH);
    if n >= 15 || length >= 15 + 255 {
        return None;
    }
    let sixteen = bytes.get(literals.start..)?.first_chunk::<16>()?;
    place[0] = (n << 4 | length.min(15)) as u8;
    place[1..17].copy_from_slice(sixteen);
    let [low, high] = (distance as u16).to_le_bytes();
    place[1 + n] = low;
    place[2 + n] = high;
    place[3 + n] = length.wrapping_sub(15) as u8;
    Some(3 + n + usize::from(length >= 15))
}

/// Appends literals and a match.
fn put_sequence(bytes: &[u8], literals: Range<usize>, distance: usize, count: usize, out: &mut Vec<u8>) {
    let length = count - MIN_MATCH;
    let n = literals.len();
    out.push((n.min(15) << 4 | length.min(15)) as u8);
    if n >= 15 {
        put_length(n - 15, out);
    }
    out.extend_from_slice(&bytes[literals]);
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
