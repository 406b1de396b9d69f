//! The encoder: greedy search over a small table of the positions where five bytes were seen last.

use super::{HEADER_BYTES, HISTORY, MIN_MATCH, can_carry};
use crate::codec::EncodeError;
use crate::codec::lz::units::equal_bits;
use crate::image::ImageView;
use std::ops::Range;

/// Bytes of a block, if the pixels have to be copied.
const STRIP: usize = 256 << 10;
/// The same where two are coded at a time: long, since what is kept of each is copied, and both stay in the second cache.
const PAIR_STRIP: usize = 384 << 10;
/// Bytes of an image from which on two blocks are coded at a time.
const PAIR: usize = 1 << 20;
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

/// Positions where units were seen last; in the upper half, for sharp pictures, where four pixels were.
type Table = [u32; 2 << TABLE_BITS];

/// Buffers for blocks that follow each other.
#[derive(Debug)]
struct Part {
    /// The end of the block before, and the block.
    bytes: Vec<u8>,
    history: usize,
    table: Box<Table>,
}

impl Default for Part {
    fn default() -> Self {
        Self { bytes: Vec::new(), history: 0, table: Box::new([0; 2 << TABLE_BITS]) }
    }
}

impl Part {
    fn start(&mut self, strip: usize) {
        self.history = 0;
        self.table.fill(0);
        self.bytes.resize(HISTORY + strip, 0);
    }

    /// Reads a block, before which what has to be known of the one before is moved.
    fn read(&mut self, image: &ImageView<'_>, at: usize, len: usize) {
        let history = self.history;
        image.source.read_at(at, &mut self.bytes[history..history + len]);
    }

    /// The block of these bytes, read from here in the image.
    fn block<'a>(&'a mut self, at: usize, len: usize, limit: usize, out: &'a mut Vec<u8>) -> Block<'a> {
        let history = self.history;
        Block::new(&self.bytes[..history + len], history, at - history, &mut self.table, limit, out)
    }

    /// Keeps the end of a block of these bytes.
    fn keep(&mut self, len: usize) {
        let end = self.history + len;
        self.history = end.min(HISTORY);
        self.bytes.copy_within(end - self.history..end, 0);
    }
}

/// An LZ4 image encoder; holds buffers that are reused from image to image.
#[derive(Debug, Default)]
pub struct Encoder {
    first: Part,
    second: Part,
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
        let sharp = is_sharp(image);
        let limit = start.saturating_add(max_len);
        let result = match image.source.as_private().and_then(|bytes| bytes.get(..size)) {
            Some(bytes) => {
                self.first.table.fill(0);
                Block::new(bytes, 0, 0, &mut self.first.table, limit, out).code(sharp);
                if out.len() > limit { Err(EncodeError::TooLarge) } else { Ok(()) }
            }
            None if sharp && size >= PAIR => self.halves(image, size, limit, out),
            None => self.strips(sharp, image, size, limit, out),
        };
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Codes the image in strips, each a block.
    fn strips(
        &mut self,
        sharp: bool,
        image: &ImageView<'_>,
        size: usize,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let part = &mut self.first;
        part.start(STRIP.min(size));
        let mut done = 0;
        while done < size {
            let n = STRIP.min(size - done);
            part.read(image, done, n);
            part.block(done, n, limit, out).code(sharp);
            if out.len() > limit {
                return Err(EncodeError::TooLarge);
            }
            part.keep(n);
            done += n;
        }
        Ok(())
    }

    /// Codes the upper and the lower half of a sharp image at the same time, in strips. Matches of the lower half do
    /// not refer to the upper one.
    fn halves(
        &mut self,
        image: &ImageView<'_>,
        size: usize,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let Self { first, second } = self;
        // Whole pixels, and the second half is not the longer one.
        let half = (size / 2).next_multiple_of(4);
        let mut lower = Vec::with_capacity(size / 16);
        for part in [&mut *first, &mut *second] {
            part.start(PAIR_STRIP);
        }
        let mut done = 0;
        while done < half {
            let n = PAIR_STRIP.min(half - done);
            let other = PAIR_STRIP.min((size - half).saturating_sub(done));
            first.read(image, done, n);
            if other > 0 {
                second.read(image, half + done, other);
                let lower = second.block(half + done, other, limit, &mut lower);
                first.block(done, n, limit, out).code_pair(lower);
            } else {
                first.block(done, n, limit, out).code(true);
            }
            if out.len() + lower.len() > limit {
                return Err(EncodeError::TooLarge);
            }
            first.keep(n);
            second.keep(other);
            done += n;
        }
        out.extend_from_slice(&lower);
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

/// Where four pixels of 32 bits are entered.
#[inline(always)]
fn hash_four(a: u64, b: u64) -> usize {
    let mixed = a.wrapping_mul(0x9e37_79b1_85eb_ca87) ^ b.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    (1 << TABLE_BITS) | ((mixed >> (64 - TABLE_BITS)) as usize & ((1 << TABLE_BITS) - 1))
}

#[inline(always)]
fn eight(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A block that is being coded.
struct Block<'a> {
    /// What matches may refer to, and the block behind it.
    bytes: &'a [u8],
    /// What is in the table for position 0 of `bytes`.
    origin: usize,
    table: &'a mut Table,
    /// Where the literals begin that are not written yet.
    anchor: usize,
    /// Since the last match, and one fraction of a step more each.
    misses: usize,
    /// Short sequences are collected here: all writes are of fixed sizes.
    stage: [u8; STAGE],
    staged: usize,
    out: &'a mut Vec<u8>,
    /// Where in `out` the length of the block is.
    length: usize,
    /// No more is coded when `out` is longer.
    limit: usize,
}

impl<'a> Block<'a> {
    /// The block `bytes[start..]`; `origin` is the position of `bytes[0]` in the image.
    fn new(
        bytes: &'a [u8],
        start: usize,
        origin: usize,
        table: &'a mut Table,
        limit: usize,
        out: &'a mut Vec<u8>,
    ) -> Self {
        let length = out.len();
        out.extend_from_slice(&[0; 4]);
        let (anchor, origin) = (start, origin + ORIGIN);
        let (misses, stage, staged) = (1 << SKIP_AFTER, [0; STAGE], 0);
        Self { bytes, origin, table, anchor, misses, stage, staged, out, length, limit }
    }

    fn code(mut self, sharp: bool) {
        let mut at = Some(self.anchor);
        while let Some(here) = at {
            at = if sharp { self.step::<4>(here) } else { self.step::<1>(here) };
        }
        self.finish();
    }

    /// Codes two blocks of sharp pictures by turns. Where a search begins depends on the match before it, so that a
    /// processor has little to do at a time; with two blocks it has twice as much.
    fn code_pair(mut self, mut other: Self) {
        let (mut at, mut other_at) = (Some(self.anchor), Some(other.anchor));
        while let (Some(here), Some(there)) = (at, other_at) {
            at = self.step::<4>(here);
            other_at = other.step::<4>(there);
        }
        while let Some(here) = at {
            at = self.step::<4>(here);
        }
        while let Some(there) = other_at {
            other_at = other.step::<4>(there);
        }
        self.finish();
        other.finish();
    }

    /// Looks for a match at a position; gives the next one, or `None` at the end. Matches are looked for every `STEP`
    /// bytes: at all (1), or at pixels of 32 bits.
    #[inline(always)]
    fn step<const STEP: usize>(&mut self, at: usize) -> Option<usize> {
        let (bytes, origin) = (self.bytes, self.origin);
        if at + if STEP == 4 { 16 } else { NO_MATCH } > bytes.len() {
            return None;
        }
        let match_end = bytes.len() - LAST_LITERALS;
        // What is hashed must be equal.
        let mask = if STEP == 4 { u64::MAX } else { 0xffff_ffff };
        let here = eight(bytes, at)?;
        // Four pixels first: that finds longer matches, and so fewer.
        let more = if STEP == 4 { eight(bytes, at + 8)? } else { 0 };
        let mut known = if STEP == 4 { 16 } else { MIN_MATCH };
        let mut from = usize::MAX;
        let mut found = false;
        if STEP == 4 {
            let seen = std::mem::replace(&mut self.table[hash_four(here, more)], (at + origin) as u32);
            from = (seen as usize).wrapping_sub(origin);
            found = from < at
                && at - from <= HISTORY
                && eight(bytes, from) == Some(here)
                && eight(bytes, from + 8) == Some(more);
        }
        if !found {
            known = if STEP == 4 { 8 } else { MIN_MATCH };
            let seen = std::mem::replace(&mut self.table[hash::<STEP>(here)], (at + origin) as u32);
            // Wraps for what is before the buffer.
            from = (seen as usize).wrapping_sub(origin);
            found = from < at
                && at - from <= HISTORY
                && eight(bytes, from).is_some_and(|e| (e ^ here) & mask == 0);
        }
        if !found {
            let skip = (self.misses >> SKIP_AFTER) * STEP;
            self.misses += 1;
            return Some(at + skip);
        }
        self.misses = 1 << SKIP_AFTER;
        let anchor = self.anchor;
        let mut back = 0;
        // Whole pixels were compared on the way here.
        while STEP < 4 && at - back > anchor && from > back && bytes[at - back - 1] == bytes[from - back - 1]
        {
            back += 1;
        }
        let mut count = known + equal32(bytes, at + known, from + known);
        if count == known + 32 {
            count += common(bytes.get(at + count..match_end).unwrap_or_default(), &bytes[from + count..]);
        }
        // What was compared may reach into the last literals.
        let count = count.min(match_end - at);
        let literals = anchor..at - back;
        let sequence = self.stage.get_mut(self.staged..).and_then(|rest| rest.first_chunk_mut());
        let written = sequence
            .and_then(|place| stage_sequence(place, bytes, literals.clone(), at - from, count + back));
        match written {
            Some(written) => self.staged += written,
            None => {
                self.out.extend_from_slice(&self.stage[..self.staged]);
                self.staged = 0;
                put_sequence(bytes, literals, at - from, count + back, self.out);
                if self.out.len() > self.limit {
                    self.anchor = at + count;
                    return None;
                }
            }
        }
        self.anchor = at + count;
        let next = at + count.next_multiple_of(STEP);
        let before = next - if STEP == 4 { 4 } else { 2 };
        match (eight(bytes, before), eight(bytes, before + 8)) {
            (Some(units), Some(more)) if STEP == 4 => {
                self.table[hash_four(units, more)] = (before + origin) as u32;
            }
            (Some(units), _) if STEP < 4 => {
                self.table[hash::<STEP>(units)] = (before + origin) as u32;
            }
            _ => {}
        }
        Some(next)
    }

    /// Writes the last literals and the length.
    fn finish(self) {
        let Self { bytes, anchor, stage, staged, out, length, .. } = self;
        out.extend_from_slice(&stage[..staged]);
        put_last(bytes.get(anchor..).unwrap_or_default(), out);
        let len = out.len() - length - 4;
        if let (Some(place), Ok(len)) = (out[length..].first_chunk_mut(), u32::try_from(len)) {
            *place = len.to_be_bytes();
        }
    }
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
