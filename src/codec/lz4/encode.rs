//! The LZ4 encoder: greedy search over a small table of the last positions of five bytes, or of several
//! pixels.

use super::{HEADER_BYTES, HISTORY, MIN_MATCH, can_carry};
use crate::codec::EncodeError;
use crate::codec::lz::units::equal_bits;
use crate::guest::ByteSource;
use crate::image::ImageView;
use std::ops::Range;

/// Size of the buffer for a block and its history, in bytes. Large, because the history moves for each block;
/// small, because two buffers must fit the second-level cache.
const ROOM: usize = 256 << 10;
/// Largest distance of a match, in whole pixels.
const REACH: usize = HISTORY & !3;
/// Bytes from which on a sharp image is encoded as two blocks at a time.
const PAIR: usize = 1 << 20;
/// Bytes of capacity kept for the stream of a lower half.
const KEPT: usize = 1 << 20;
/// log2 of the number of entries in half of the table.
const TABLE_BITS: u32 = 12;
/// Added to positions, so that entry 0, and all positions in the image before, are out of reach.
const ORIGIN: usize = REACH + 1;
/// The table is cleared for an image whose positions would begin above this, because all positions must fit
/// an entry.
const MAX_ORIGIN: usize = 4 << 20;
/// Largest number of samples for telling sharp pictures from soft ones.
const SAMPLES: usize = 128;
/// Bytes of a sample.
const SAMPLE: usize = 32;
/// Least distance of samples in pixels, because a small picture is not worth more. Odd.
const SAMPLE_STEP: usize = 129;
/// Size of the buffer that collects sequences, in bytes.
const STAGE: usize = 2048;
/// Bytes of a short sequence, rounded up to the fixed-size writes.
const SEQUENCE: usize = 24;
/// Literals at the end of each block.
const LAST_LITERALS: usize = 5;
/// Matches begin at least this many bytes before the end of a block.
const NO_MATCH: usize = 16;
/// The search begins to skip positions after 2 to this power misses.
const SKIP_AFTER: u32 = 5;
/// Bytes compared at once.
const WINDOW: usize = 64;

/// Last positions of five bytes, or of four pixels. In the upper half, for sharp pictures, of eight pixels.
type Table = [u32; 2 << TABLE_BITS];
type Window = [u8; WINDOW];

/// Buffers that the encoder keeps from image to image.
#[derive(Debug)]
struct Buffers {
    /// A block and its history.
    bytes: Vec<u8>,
    table: Box<Table>,
    /// Larger by `ORIGIN` than every position in the table.
    unused: usize,
    stage: Box<[u8; STAGE]>,
}

impl Default for Buffers {
    fn default() -> Self {
        let (table, stage) = (Box::new([0; 2 << TABLE_BITS]), Box::new([0; STAGE]));
        Self { bytes: Vec::new(), table, unused: ORIGIN, stage }
    }
}

/// An LZ4 image encoder. It keeps its buffers from image to image.
#[derive(Debug, Default)]
pub struct Encoder {
    buffers: [Buffers; 2],
    lower: Vec<u8>,
}

impl Encoder {
    /// Appends the stream of `image` to `out`, rows in memory order.
    ///
    /// # Errors
    /// [`EncodeError::UnsupportedFormat`] for palettes and 8BIT_A, [`EncodeError::UnsupportedGeometry`] if
    /// rows are padded, [`EncodeError::TooLarge`] if the stream needs more than `max_len` bytes. `out` is
    /// then unchanged.
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
        let start = out.len();
        if max_len < HEADER_BYTES {
            return Err(EncodeError::TooLarge);
        }
        out.extend_from_slice(&[u8::from(image.top_down), image.format as u8]);
        let limit = start.saturating_add(max_len);
        let result = self.blocks(image, size as usize, limit, out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn blocks(
        &mut self,
        image: &ImageView<'_>,
        size: usize,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let Self { buffers: [first, second], lower } = self;
        let source = image.source;
        let sharp = is_sharp(image);
        if !sharp || size < PAIR {
            Coder::new(first, source, 0..size, limit, out).code(sharp)?;
        } else {
            // Whole pixels. Matches in the lower half do not refer to the upper one.
            let half = (size / 2).next_multiple_of(4);
            lower.clear();
            lower.shrink_to(KEPT);
            let upper = Coder::new(first, source, 0..half, limit, out);
            upper.code_pair(Coder::new(second, source, half..size, limit, lower))?;
            out.extend_from_slice(lower);
        }
        if out.len() > limit { Err(EncodeError::TooLarge) } else { Ok(()) }
    }
}

/// Whether 32-bit pixels that differ from their right neighbour differ much, as in drawn text. Then searching
/// at whole pixels only saves much time and loses hardly any matches.
fn is_sharp(image: &ImageView<'_>) -> bool {
    if image.format.bits_per_pixel() != 32 {
        return false;
    }
    let bytes = image.stride as usize * image.height as usize;
    let (mut near, mut far) = (0, 0);
    // An odd number of pixels, so that the samples do not all fall in one column.
    let step = ((bytes / 4 / SAMPLES) | 1).max(SAMPLE_STEP) * 4;
    for at in (0..bytes.saturating_sub(SAMPLE - 1)).step_by(step) {
        let mut sample = [0; SAMPLE];
        image.source.read_at(at, &mut sample);
        for pair in sample.as_chunks::<4>().0.windows(2) {
            let &[[a, b, c, pad], [x, y, z, other_pad]] = pair else { continue };
            match a.abs_diff(x).max(b.abs_diff(y)).max(c.abs_diff(z)) {
                // The unused bytes must be equal, too.
                _ if pad != other_pad => near += 1,
                0 => {}
                1..32 => near += 1,
                _ => far += 1,
            }
        }
    }
    near * 4 < far
}

/// Index of these bytes in the upper (1) or lower (0) half of the table.
#[inline(always)]
fn entry(half: usize, mixed: u64) -> usize {
    let hash = mixed.wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - TABLE_BITS);
    half << TABLE_BITS | hash as usize & ((1 << TABLE_BITS) - 1)
}

/// Index of eight 32-bit pixels.
#[inline(always)]
fn entry_of_eight([a, b, c, d]: [u64; 4]) -> usize {
    entry(1, a ^ b.rotate_left(11) ^ c.rotate_left(23) ^ d.rotate_left(37))
}

/// Index of four 32-bit pixels.
#[inline(always)]
fn entry_of_four(a: u64, b: u64) -> usize {
    entry(0, a ^ b.rotate_left(11))
}

/// Index of the first five of these eight bytes.
#[inline(always)]
fn entry_of_bytes(eight: u64) -> usize {
    ((eight << 24).wrapping_mul(889_523_592_379) >> (64 - TABLE_BITS)) as usize & ((1 << TABLE_BITS) - 1)
}

/// Encodes a part of an image, block by block, and reads the pixels as it goes.
struct Coder<'a> {
    buffers: &'a mut Buffers,
    source: &'a dyn ByteSource,
    /// The unread part of the image.
    rest: Range<usize>,
    /// End of the block in the buffer.
    end: usize,
    /// The table's entry for position 0 of the buffer.
    origin: usize,
    state: State,
    out: &'a mut Vec<u8>,
    /// Position in `out` of the block's length.
    length: usize,
    /// Encoding stops when `out` is longer than this.
    limit: usize,
}

/// Progress in a block.
#[derive(Clone, Copy)]
struct State {
    /// Where the search for the next match begins.
    at: usize,
    /// Start of the literals that are not written yet.
    anchor: usize,
    /// Misses since the last match. Each one makes the next step longer by a fraction.
    misses: usize,
    /// Number of collected bytes. Short sequences are collected first, so that all writes have fixed sizes.
    staged: usize,
}

impl State {
    fn start(at: usize) -> Self {
        Self { at, anchor: at, misses: 1 << SKIP_AFTER, staged: 0 }
    }
}

impl<'a> Coder<'a> {
    fn new(
        buffers: &'a mut Buffers,
        source: &'a dyn ByteSource,
        range: Range<usize>,
        limit: usize,
        out: &'a mut Vec<u8>,
    ) -> Self {
        if buffers.unused > MAX_ORIGIN {
            buffers.table.fill(0);
            buffers.unused = ORIGIN;
        }
        let origin = buffers.unused;
        buffers.unused += range.len() + ORIGIN;
        let room = range.len().min(ROOM);
        if buffers.bytes.len() < room {
            buffers.bytes.resize(room, 0);
        }
        let (state, length) = (State::start(0), out.len());
        let mut coder = Self { buffers, source, rest: range, end: 0, origin, state, out, length, limit };
        coder.start();
        coder
    }

    /// Encodes the whole part.
    fn code(mut self, sharp: bool) -> Result<(), EncodeError> {
        while self.read()? {
            let mut block = self.block();
            if sharp {
                while block.has_more() {
                    block.pixels();
                }
            } else {
                while block.has_more() {
                    block.bytes();
                }
            }
            self.state = block.state;
        }
        Ok(())
    }

    /// Encodes two parts of a sharp picture in turns. Each search begins where the match before it ended,
    /// which leaves a processor idle; with two independent blocks it has twice as much to do at a time.
    fn code_pair(mut self, mut other: Self) -> Result<(), EncodeError> {
        loop {
            if !self.read()? {
                return other.code(true);
            }
            if !other.read()? {
                return self.code(true);
            }
            let (mut block, mut second) = (self.block(), other.block());
            while block.has_more() && second.has_more() {
                block.pixels();
                second.pixels();
            }
            (self.state, other.state) = (block.state, second.state);
        }
    }

    /// The current block, for searching.
    fn block(&mut self) -> Block<'_> {
        let Buffers { bytes, table, stage, .. } = &mut *self.buffers;
        Block {
            bytes: &bytes[..self.end],
            stop: (self.end + 1).saturating_sub(NO_MATCH),
            origin: self.origin,
            table,
            stage,
            state: self.state,
            out: self.out,
        }
    }

    /// Moves to the next block when the current one is finished. `false` at the end.
    fn read(&mut self) -> Result<bool, EncodeError> {
        while !self.block().has_more() {
            self.finish();
            if self.out.len() > self.limit {
                return Err(EncodeError::TooLarge);
            }
            if self.rest.is_empty() {
                return Ok(false);
            }
            self.start();
        }
        Ok(true)
    }

    /// Starts a block: moves the history of the block before it to the front, and reads the block.
    fn start(&mut self) {
        let bytes = &mut self.buffers.bytes;
        let history = self.end.min(REACH);
        bytes.copy_within(self.end - history..self.end, 0);
        self.origin += self.end - history;
        let n = self.rest.len().min(bytes.len() - history);
        self.source.read_at(self.rest.start, &mut bytes[history..history + n]);
        self.rest.start += n;
        self.end = history + n;
        self.state = State::start(history);
        self.length = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
    }

    /// Writes the last literals and the block's length.
    fn finish(&mut self) {
        let Buffers { bytes, stage, .. } = &*self.buffers;
        self.out.extend_from_slice(&stage[..self.state.staged]);
        put_last(&bytes[self.state.anchor..self.end], self.out);
        let len = self.out.len() - self.length - 4;
        if let (Some(place), Ok(len)) = (self.out[self.length..].first_chunk_mut(), u32::try_from(len)) {
            *place = len.to_be_bytes();
        }
    }
}

/// A block being searched.
struct Block<'a> {
    /// The history and the block.
    bytes: &'a [u8],
    /// The search ends here.
    stop: usize,
    origin: usize,
    table: &'a mut Table,
    stage: &'a mut [u8; STAGE],
    state: State,
    out: &'a mut Vec<u8>,
}

impl Block<'_> {
    #[inline(always)]
    fn has_more(&self) -> bool {
        self.state.at < self.stop
    }

    /// Searches for a match at a pixel of a sharp picture, and encodes it.
    #[inline(always)]
    fn pixels(&mut self) {
        let (bytes, at) = (self.bytes, self.state.at);
        let (mut spare, mut other_spare) = (None, None);
        let here = window(bytes, at, &mut spare);
        let words = words(here);
        let [a, b, c, d, ..] = words;
        let mut distance = self.enter(entry_of_eight([a, b, c, d]), at);
        let mut count = 0;
        if distance.wrapping_sub(1) < REACH {
            count = equal(words, self::words(window(bytes, at - distance, &mut other_spare)));
        }
        if count < 32 {
            distance = self.enter(entry_of_four(a, b), at);
            if distance.wrapping_sub(1) >= REACH || {
                count = common(bytes, at, distance);
                count < 16
            } {
                self.state.at += (self.state.misses >> SKIP_AFTER) * 4;
                self.state.misses += 1;
                return;
            }
        } else if count == WINDOW {
            count += common(bytes, at + count, distance);
        }
        let count = count.min(bytes.len() - LAST_LITERALS - at);
        match self.stage.get_mut(self.state.staged..).and_then(|rest| rest.first_chunk_mut::<4>()) {
            // Most matches follow another one without literals between.
            Some(place) if self.state.anchor == at && count < MIN_MATCH + 15 + 255 => {
                let length = count - MIN_MATCH;
                let [low, high] = (distance as u16).to_le_bytes();
                *place = [length.min(15) as u8, low, high, length.wrapping_sub(15) as u8];
                self.state.staged += if length < 15 { 3 } else { 4 };
                self.state.anchor = at + count;
                self.state.misses = 1 << SKIP_AFTER;
            }
            _ => self.put(at, distance, count),
        }
        let next = at + count.next_multiple_of(4);
        self.state.at = next;
    }

    /// Searches for a match from a byte on, and encodes it.
    #[inline(always)]
    fn bytes(&mut self) {
        let (bytes, stop, origin) = (self.bytes, self.stop, self.origin);
        let State { mut at, mut misses, anchor, .. } = self.state;
        let distance = loop {
            if at >= stop {
                (self.state.at, self.state.misses) = (at, misses);
                return;
            }
            let here = eight(bytes, at);
            let position = (at + origin) as u32;
            let distance = position
                .wrapping_sub(std::mem::replace(&mut self.table[entry_of_bytes(here)], position))
                as usize;
            if distance.wrapping_sub(1) < REACH && eight(bytes, at - distance) as u32 == here as u32 {
                break distance;
            }
            at += misses >> SKIP_AFTER;
            misses += 1;
        };
        let mut start = at;
        while start > anchor && start > distance && bytes[start - 1] == bytes[start - 1 - distance] {
            start -= 1;
        }
        let (after, match_end) = (at + MIN_MATCH, bytes.len() - LAST_LITERALS);
        let (mut spare, mut other_spare) = (None, None);
        let a = words(window(bytes, after, &mut spare));
        let b = words(window(bytes, after - distance, &mut other_spare));
        let mut end = after + equal_bits([a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]]) / 8;
        if end == after + 32 {
            end += common(bytes, end, distance);
        }
        let end = end.min(match_end);
        self.put(start, distance, end - start);
        self.table[entry_of_bytes(eight(bytes, end - 2))] = (end - 2 + origin) as u32;
        self.state.at = end;
    }

    /// Puts a position into the table. Returns the distance to the position that was there; if it is out of
    /// reach, more than `REACH`.
    #[inline(always)]
    fn enter(&mut self, entry: usize, at: usize) -> usize {
        let position = (at + self.origin) as u32;
        position.wrapping_sub(std::mem::replace(&mut self.table[entry], position)) as usize
    }

    /// Writes a match and the literals before it.
    #[inline(always)]
    fn put(&mut self, start: usize, distance: usize, count: usize) {
        let State { anchor, staged, .. } = self.state;
        let literals = anchor..start;
        self.state.anchor = start + count;
        self.state.misses = 1 << SKIP_AFTER;
        let place = self.stage.get_mut(staged..).and_then(|rest| rest.first_chunk_mut());
        if let Some(written) =
            place.and_then(|place| stage_sequence(place, self.bytes, literals.clone(), distance, count))
        {
            self.state.staged += written;
            return;
        }
        self.out.extend_from_slice(&self.stage[..staged]);
        self.state.staged = 0;
        put_sequence(self.bytes, literals, distance, count, self.out);
    }
}

/// The bytes from `at` on. Near the end, a copy that is filled up with zeros.
#[inline(always)]
fn window<'a>(bytes: &'a [u8], at: usize, spare: &'a mut Option<Window>) -> &'a Window {
    match bytes[at..].first_chunk() {
        Some(window) => window,
        None => spare.insert(padded(&bytes[at..])),
    }
}

#[cold]
fn padded(rest: &[u8]) -> Window {
    let mut window = [0; WINDOW];
    window[..rest.len()].copy_from_slice(rest);
    window
}

#[inline(always)]
fn words(window: &Window) -> [u64; WINDOW / 8] {
    std::array::from_fn(|k| window.as_chunks().0.get(k).map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}

/// The eight bytes from `at` on, filled up with zeros.
#[inline(always)]
fn eight(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Number of equal bytes at the start of two windows. Free of branches, because the end of a match cannot be
/// predicted.
#[inline(always)]
fn equal(a: [u64; WINDOW / 8], b: [u64; WINDOW / 8]) -> usize {
    let d: [u64; WINDOW / 8] = std::array::from_fn(|k| a[k] ^ b[k]);
    if d[0] | d[1] | d[2] | d[3] != 0 {
        return 0;
    }
    32 + equal_bits([d[4], d[5], d[6], d[7]]) / 8
}

/// Number of bytes from `from` on that equal those `distance` bytes before.
#[inline(never)]
fn common(bytes: &[u8], from: usize, distance: usize) -> usize {
    // The comparison of whole windows may have passed the end.
    let Some(a) = bytes.get(from..) else { return 0 };
    let b = &bytes[from - distance..][..a.len()];
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

/// Stages a few literals and a match. Returns the number of bytes, or `None` if they do not fit the
/// fixed-size form.
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
