//! The LZ encoder. It finds the same matches as the reference encoder (codecs.md 3.4), so its streams are
//! identical.
//!
//! The image passes through a window of units that reaches back as far as matches may. Literals are written
//! when the match after them is known. Hashes are computed for [`HASH_GROUP`] positions at once, in loops
//! that the compiler vectorizes.

use super::units::{
    Alpha32, Bytes, Colour16, Colour24, Colour32, HASH_GROUP, HASH_SIZE, HASH_SPAN, Pass, Unit, common,
};
use super::{HEADER_BYTES, LzType, MAGIC, MAX_LITERALS, VERSION, can_carry};
use crate::codec::EncodeError;
use crate::image::{BitmapFormat, ImageView};
use std::ops::Range;

/// Matches have smaller distances than this.
const MAX_DISTANCE: usize = 73_725;
/// The far form of a match begins at this distance plus one.
const FAR: usize = 8191;
/// Units kept before the current position.
const HISTORY: usize = 73_728;
/// Units loaded at a time.
const STRIP: usize = 4096;
/// Units in the window. When it is full, the units that are still needed move to its start.
const WINDOW: usize = 4 * HISTORY + STRIP;
/// Size of the buffer that collects output, in bytes.
const STAGE: usize = 2048;
/// Bytes of four literals and a short match, rounded up to the fixed-size writes.
const SEQUENCE: usize = 20;
/// Units after the loaded ones that may be read; their values do not matter.
const PADDING: usize = HASH_SPAN;

/// An LZ encoder. It keeps its buffers from image to image.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    pixels: Vec<u32>,
    shorts: Vec<u16>,
    alphas: Vec<u8>,
    table: Table,
    /// The ends of the blocks, in rows.
    blocks: Vec<usize>,
}

/// Last position of the units with each hash.
#[derive(Debug)]
struct Table(Box<[u32; HASH_SIZE]>);

impl Default for Table {
    fn default() -> Self {
        Self(Box::new([0; HASH_SIZE]))
    }
}

impl Encoder {
    /// Appends the stream of `image` to `out`, rows in memory order (codecs.md 3).
    ///
    /// # Errors
    /// [`EncodeError::UnsupportedGeometry`] if rows are padded or the image is too large for the header,
    /// [`EncodeError::TooLarge`] if the stream needs more than `max_len` bytes. `out` is then unchanged.
    pub fn encode(
        &mut self,
        image: &ImageView<'_>,
        max_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.encode_as(LzType::of_format(image.format), image, max_len, out)
    }

    /// Appends a stream of only the alpha bytes of an RGBA image (codecs.md 6, JPEG_ALPHA).
    ///
    /// # Errors
    /// Those of [`Encoder::encode`], and [`EncodeError::UnsupportedFormat`] for other formats.
    pub fn encode_alpha(
        &mut self,
        image: &ImageView<'_>,
        max_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if image.format != BitmapFormat::Rgba {
            return Err(EncodeError::UnsupportedFormat);
        }
        self.encode_as(LzType::Xxxa, image, max_len, out)
    }

    fn encode_as(
        &mut self,
        kind: LzType,
        image: &ImageView<'_>,
        max_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if !can_carry(image) {
            return Err(EncodeError::UnsupportedGeometry);
        }
        if max_len < HEADER_BYTES {
            return Err(EncodeError::TooLarge);
        }
        let start = out.len();
        let limit = start.saturating_add(max_len);
        for field in
            [MAGIC, VERSION, kind as u32, image.width, image.height, image.stride, u32::from(image.top_down)]
        {
            out.extend_from_slice(&field.to_be_bytes());
        }
        self.find_blocks(image);
        let Self { bytes, pixels, shorts, alphas, table, blocks } = self;
        let job = Job { image, blocks, limit };
        let result = match kind {
            LzType::Rgb16 => job.pass::<Colour16>(bytes, shorts, table, out),
            LzType::Rgb24 => job.pass::<Colour24>(bytes, pixels, table, out),
            LzType::Rgb32 => job.pass::<Colour32>(bytes, pixels, table, out),
            LzType::Rgba => job
                .pass::<Colour32>(bytes, pixels, table, out)
                .and_then(|()| job.pass::<Alpha32>(bytes, alphas, table, out)),
            LzType::Xxxa => job.pass::<Alpha32>(bytes, alphas, table, out),
            _ => job.pass::<Bytes>(bytes, alphas, table, out),
        };
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Finds the blocks: the chunks of the bitmap if all hold whole rows, else the whole image.
    fn find_blocks(&mut self, image: &ImageView<'_>) {
        self.blocks.clear();
        let (stride, height) = (image.stride as usize, image.height as usize);
        for &end in image.source.chunk_ends() {
            if !end.is_multiple_of(stride) {
                self.blocks.clear();
                break;
            }
            self.blocks.push((end / stride).min(height));
        }
        if self.blocks.last() != Some(&height) {
            self.blocks.clear();
            self.blocks.push(height);
        }
    }
}

/// What a pass encodes.
struct Job<'a> {
    image: &'a ImageView<'a>,
    /// The ends of the blocks in rows, ascending.
    blocks: &'a [usize],
    /// Largest allowed length of the output.
    limit: usize,
}

impl Job<'_> {
    fn pass<P: Pass>(
        &self,
        bytes: &mut Vec<u8>,
        units: &mut Vec<P::Unit>,
        table: &mut Table,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let row = self.image.stride as usize / P::BYTES;
        let total = row * self.image.height as usize;
        bytes.resize(STRIP * P::BYTES, 0);
        let size = total.min(WINDOW) + PADDING;
        if units.len() < size {
            units.resize(size, P::Unit::default());
        }
        let mut scan = Scan::<P> {
            image: self.image,
            bytes,
            units,
            base: 0,
            loaded: 0,
            total,
            limit: self.limit,
            row,
            blocks: self.blocks,
            table: &mut table.0,
            stage: [0; STAGE],
        };
        let mut start = 0;
        let mut first = true;
        for &end in self.blocks {
            let end = end * row;
            if first && end - start >= 4 {
                first = false;
                scan.table.fill((start - scan.base) as u32);
                scan.block(start, end, start + 2, out)?;
            } else if first {
                scan.block(start, end, end, out)?;
            } else {
                scan.block(start, end, start, out)?;
            }
            start = end;
        }
        if out.len() > self.limit { Err(EncodeError::TooLarge) } else { Ok(()) }
    }
}

/// State of a pass. Positions count units from the start of the image.
struct Scan<'a, P: Pass> {
    image: &'a ImageView<'a>,
    bytes: &'a mut [u8],
    units: &'a mut [P::Unit],
    /// Position of `units[0]`.
    base: usize,
    /// Position after the last loaded unit.
    loaded: usize,
    total: usize,
    limit: usize,
    /// Units in a row.
    row: usize,
    blocks: &'a [usize],
    /// Last index in `units` of each hash. Indexes of units that have left the window wrap.
    table: &'a mut [u32; HASH_SIZE],
    /// Collects output, so that all writes have fixed sizes.
    stage: [u8; STAGE],
}

/// A match that reached the end of the loaded units and may continue.
struct OpenMatch {
    at: usize,
    distance: usize,
    /// Number of units known to be equal.
    known: usize,
    /// Position where the match must end.
    end: usize,
}

impl<P: Pass> Scan<'_, P> {
    /// Loads the next strip. Units before `keep` may leave the window.
    #[inline(never)]
    fn load(&mut self, keep: usize) {
        let n = STRIP.min(self.total - self.loaded);
        if self.loaded - self.base + n + PADDING > self.units.len() {
            let keep = keep.max(self.base);
            self.units.copy_within(keep - self.base..self.loaded - self.base, 0);
            let moved = (keep - self.base) as u32;
            self.table.iter_mut().for_each(|seen| *seen = seen.wrapping_sub(moved));
            self.base = keep;
        }
        let bytes = &mut self.bytes[..n * P::BYTES];
        self.image.source.read_at(self.loaded * P::BYTES, bytes);
        let at = self.loaded - self.base;
        P::load(bytes, &mut self.units[at..at + n]);
        self.loaded += n;
    }

    /// Encodes the block `start..end`, whose units before `at` are literals.
    fn block(&mut self, start: usize, end: usize, at: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut literals = start;
        let mut at = at;
        loop {
            while self.loaded < end.min(at + 2 * HASH_SPAN) {
                // Writing the complete groups leaves less than one group of literals that the window must
                // keep.
                literals = self.put_groups(literals, at, out);
                if out.len() > self.limit {
                    return Err(EncodeError::TooLarge);
                }
                self.load(at.saturating_sub(HISTORY));
            }
            let stop = if self.loaded >= end { end.saturating_sub(6) } else { self.loaded - HASH_SPAN };
            let found = self.search(start, end, (&mut at, &mut literals), stop, out);
            let Some(found) = found else {
                at = at.max(stop);
                if self.loaded >= end {
                    break;
                }
                continue;
            };
            // The match may continue in units that are not loaded yet.
            put_literals(&self.units[literals - self.base..found.at - self.base], out);
            let count = self.extend(&found);
            put_match::<P::Unit>(count, found.distance, out);
            at = found.at + count;
            literals = at;
            for p in (found.at + 1).max(at - 2)..at {
                let p = p - self.base;
                if let Some(units) = self.units.get(p..).and_then(|units| units.first_chunk()) {
                    let mut hashes = [0; HASH_GROUP];
                    P::Unit::hashes(units, &mut hashes);
                    self.table[usize::from(hashes[0]) & (HASH_SIZE - 1)] = p as u32;
                }
            }
        }
        put_literals(&self.units[literals - self.base..end - self.base], out);
        Ok(())
    }

    /// Writes the complete groups of 32 literals before `at`. Returns the position after them.
    fn put_groups(&self, literals: usize, at: usize, out: &mut Vec<u8>) -> usize {
        let end = literals + at.saturating_sub(literals) / MAX_LITERALS * MAX_LITERALS;
        put_literals(&self.units[literals - self.base..end - self.base], out);
        end
    }

    /// Encodes from `at` to `stop`, or up to a match that reaches the end of the loaded units. Returns such a
    /// match; the literals before it are not written yet.
    fn search(
        &mut self,
        start: usize,
        end: usize,
        (at, literals): (&mut usize, &mut usize),
        stop: usize,
        out: &mut Vec<u8>,
    ) -> Option<OpenMatch> {
        let block_end = BlockEnds { row: self.row, blocks: self.blocks, total: self.total, end };
        let Self { base, ref units, ref mut table, ref mut stage, .. } = *self;
        // From here on, all indexes count from the start of the window.
        let loaded = self.loaded - base;
        let units = &units[..loaded + PADDING];
        let mut staged = 0;
        // If the block began before the window, only its part in the window counts.
        let block = start.saturating_sub(base);
        let (mut i, mut first) = (*at - base, *literals - base);
        let stop = stop.saturating_sub(base);
        let mut hashes = Hashes::default();
        while i < stop {
            let Some([before, here @ ..]) = units.get(i.wrapping_sub(1)..).and_then(|u| u.first_chunk::<9>())
            else {
                break;
            };
            let [a, b, c, ..] = *here;
            let run = (i > block) & P::Unit::all_equal([*before, a, b, c]);
            let seen = &mut table[hashes.at(units, i)];
            // Runs do not enter the table.
            let distance = if run { 1 } else { (i as u32).wrapping_sub(*seen) as usize };
            *seen = if run { *seen } else { i as u32 };
            // This comparison rejects most candidates in pictures that were not drawn.
            let from = i.wrapping_sub(distance);
            let theirs = units.get(from..).and_then(|units| units.first_chunk::<8>());
            let Some(theirs) = theirs.filter(|theirs| theirs[0].same(a)) else {
                i += 1;
                continue;
            };
            let known = P::Unit::equal8(here, theirs);
            let need = if distance >= FAR { P::Unit::NEED_FAR } else { P::Unit::NEED };
            if known < need || distance.wrapping_sub(1) >= MAX_DISTANCE - 1 {
                i += 1;
                continue;
            }
            let mut limit = end - 3 - base;
            if from < block {
                match block_end.limit(from + base, i + base, need, P::Unit::BIAS) {
                    Some(earlier) => limit = earlier - base,
                    None => {
                        i += 1;
                        continue;
                    }
                }
            }
            let most = limit.min(loaded);
            let mut count = known;
            if known == 8 && i + 8 < most {
                count += common(&units[i + 8..most], &units[from + 8..]);
            }
            count = count.min(most - i);
            if i + count == most && most < limit {
                out.extend_from_slice(&stage[..staged]);
                (*at, *literals) = (i + base, first + base);
                return Some(OpenMatch { at: i + base, distance, known: count, end: limit + base });
            }
            let place = stage.get_mut(staged..).and_then(|rest| rest.first_chunk_mut());
            match place.and_then(|place| stage_sequence(place, units, first..i, count, distance)) {
                Some(n) => staged += n,
                None => {
                    out.extend_from_slice(&stage[..staged]);
                    staged = 0;
                    put_literals(&units[first..i], out);
                    put_match::<P::Unit>(count, distance, out);
                }
            }
            let inside = i + 1;
            i += count;
            first = i;
            for p in inside.max(i - 2)..i {
                table[hashes.at(units, p)] = p as u32;
            }
        }
        out.extend_from_slice(&stage[..staged]);
        (*at, *literals) = (i + base, first + base);
        None
    }

    /// The final length of the match in units.
    #[inline(always)]
    fn extend(&mut self, found: &OpenMatch) -> usize {
        let mut to = found.at + found.known;
        while to < found.end {
            let end = found.end.min(self.loaded);
            let (i, n) = (to - self.base, end.saturating_sub(to));
            let equal =
                common(&self.units[i..i + n], &self.units[i - found.distance..i + n - found.distance]);
            to += equal;
            if equal < n || end == found.end {
                break;
            }
            self.load(to.saturating_sub(HISTORY));
        }
        to.min(found.end) - found.at
    }
}

/// Hashes of a group of positions.
struct Hashes {
    hashes: [u16; HASH_GROUP],
    /// Index of the group's first position.
    of: usize,
}

impl Default for Hashes {
    fn default() -> Self {
        // No group contains this index.
        Self { hashes: [0; HASH_GROUP], of: usize::MAX / 2 }
    }
}

impl Hashes {
    /// The hash of the units from index `at` on.
    #[inline(always)]
    fn at<U: Unit>(&mut self, units: &[U], at: usize) -> usize {
        if at.wrapping_sub(self.of) >= HASH_GROUP {
            self.start(units, at);
        }
        self.of_group(at.wrapping_sub(self.of))
    }

    #[inline(always)]
    fn of_group(&self, index: usize) -> usize {
        usize::from(self.hashes[index & (HASH_GROUP - 1)]) & (HASH_SIZE - 1)
    }

    #[inline(always)]
    fn start<U: Unit>(&mut self, units: &[U], at: usize) {
        if let Some(group) = units.get(at..).and_then(|units| units.first_chunk()) {
            U::hashes(group, &mut self.hashes);
            self.of = at;
        }
    }
}

/// The ends of the blocks.
struct BlockEnds<'a> {
    row: usize,
    blocks: &'a [usize],
    total: usize,
    /// End of the current block.
    end: usize,
}

impl BlockEnds<'_> {
    /// If the units seen in an earlier block match those at `at`: the position where the match must end.
    /// `None` if there is no match.
    #[cold]
    fn limit(&self, seen: usize, at: usize, need: usize, bias: usize) -> Option<usize> {
        let row = seen / self.row;
        let block = self.blocks.partition_point(|end| *end <= row);
        let seen_end = self.blocks.get(block).map_or(self.total, |end| end * self.row);
        if need == 5 && seen + 3 >= seen_end - 1 {
            return None;
        }
        let limit = (self.end - 3).min(seen_end - 1 + at - seen);
        (limit > at + bias).then_some(limit)
    }
}

/// Stages a few literals and a match. Returns the number of bytes, or `None` if they do not fit the
/// fixed-size form.
#[inline(always)]
fn stage_sequence<U: Unit>(
    place: &mut [u8; SEQUENCE],
    units: &[U],
    literals: Range<usize>,
    count: usize,
    distance: usize,
) -> Option<usize> {
    let (n, length, d) = (literals.len(), count - U::BIAS, distance - 1);
    if n > 4 || d >= FAR || length >= 7 + 255 {
        return None;
    }
    let mut at = 0;
    if n > 0 {
        place[0] = (n - 1) as u8;
        place[1..13].copy_from_slice(&U::four(units.get(literals.start..)?.first_chunk()?));
        at = 1 + n * U::LITERAL;
    }
    let long = length >= 7;
    let (control, low) = (length.min(7) << 5 | d >> 8, d & 255);
    let word = if long { control | (length - 7) << 8 | low << 16 } else { control | low << 8 };
    *place.get_mut(at..)?.first_chunk_mut()? = (word as u32).to_le_bytes();
    Some(at + 2 + usize::from(long))
}

/// Appends literals in groups of up to 32.
#[inline]
pub(super) fn put_literals<U: Unit>(units: &[U], out: &mut Vec<u8>) {
    for group in units.chunks(MAX_LITERALS) {
        out.push((group.len() - 1) as u8);
        U::put(group, out);
    }
}

/// Appends a match. `count` is larger than the bias.
#[inline(always)]
fn put_match<U: Unit>(count: usize, distance: usize, out: &mut Vec<u8>) {
    let length = count - U::BIAS;
    let d = distance - 1;
    let short = (length.min(7) as u8) << 5;
    if d < FAR && length < 7 {
        out.extend_from_slice(&[short | (d >> 8) as u8, d as u8]);
    } else if d < FAR && length < 7 + 255 {
        out.extend_from_slice(&[short | (d >> 8) as u8, (length - 7) as u8, d as u8]);
    } else {
        put_long_match(short, length, d, out);
    }
}

#[inline(never)]
fn put_long_match(short: u8, length: usize, d: usize, out: &mut Vec<u8>) {
    let far = d >= FAR;
    out.push(short | if far { 31 } else { (d >> 8) as u8 });
    if length >= 7 {
        put_long_length(length - 7, out);
    }
    if far {
        let [high, low] = ((d - FAR) as u16).to_be_bytes();
        out.extend_from_slice(&[255, high, low]);
    } else {
        out.push(d as u8);
    }
}

/// Appends the part of a length beyond seven.
#[inline]
pub(in crate::codec) fn put_long_length(rest: usize, out: &mut Vec<u8>) {
    if rest >= 255 {
        out.resize(out.len() + rest / 255, 255);
    }
    out.push((rest % 255) as u8);
}
