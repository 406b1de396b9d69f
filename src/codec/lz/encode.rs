//! The encoder: finds the same matches as the reference's (codecs.md 3.4), so that its streams are the same.
//!
//! The image passes through a window of units that reaches back as far as matches may; literals are written when the
//! match behind them is known. Hashes are computed for [`HASH_GROUP`] positions at once, in loops that vectorize.

use super::units::{
    Alpha32, Bytes, Colour16, Colour24, Colour32, HASH_GROUP, HASH_SIZE, HASH_SPAN, Pass, Unit, common,
};
use super::{HEADER_BYTES, LzType, MAGIC, MAX_LITERALS, VERSION, can_carry};
use crate::codec::EncodeError;
use crate::image::{BitmapFormat, ImageView};

/// Distances from here on are not used.
const MAX_DISTANCE: usize = 73_725;
/// The far form begins at this distance less one.
const FAR: usize = 8191;
/// Units kept behind the current position.
const HISTORY: usize = 73_728;
/// Units loaded at a time.
const STRIP: usize = 4096;
/// Units of the window: when it is full, what is still needed moves to its start.
const WINDOW: usize = 4 * HISTORY + STRIP;

/// An LZ encoder; holds buffers that are reused from image to image.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    pixels: Vec<u32>,
    shorts: Vec<u16>,
    alphas: Vec<u8>,
    table: Table,
    /// Ends of the blocks, in rows.
    blocks: Vec<usize>,
}

/// Where units with a hash were seen last.
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
    /// [`EncodeError::TooLarge`] if more than `max_len` bytes would be needed; `out` is then unchanged.
    pub fn encode(
        &mut self,
        image: &ImageView<'_>,
        max_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.encode_as(LzType::of_format(image.format), image, max_len, out)
    }

    /// Appends a stream of the alpha bytes only of an RGBA image (codecs.md 6, JPEG_ALPHA).
    ///
    /// # Errors
    /// As [`Encoder::encode`], and [`EncodeError::UnsupportedFormat`] for other formats.
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

    /// Blocks are the chunks of the bitmap, if those hold whole rows; else the image is one block.
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

/// What is to be coded.
struct Job<'a> {
    image: &'a ImageView<'a>,
    /// Ends in rows, ascending.
    blocks: &'a [usize],
    /// Length that the output must not exceed.
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
        let size = total.min(WINDOW);
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
        };
        let mut start = 0;
        let mut first = true;
        for &end in self.blocks {
            let end = end * row;
            if first && end - start >= 4 {
                first = false;
                scan.table.fill(start as u32);
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
    /// End of what was loaded.
    loaded: usize,
    total: usize,
    limit: usize,
    /// Units of a row.
    row: usize,
    blocks: &'a [usize],
    table: &'a mut [u32; HASH_SIZE],
}

/// A match that may go on.
struct Found {
    at: usize,
    distance: usize,
    /// Units known to be equal.
    known: usize,
    /// Where it has to end.
    end: usize,
}

impl<P: Pass> Scan<'_, P> {
    /// Loads the next strip; what is before `keep` may go.
    #[inline(never)]
    fn load(&mut self, keep: usize) {
        let n = STRIP.min(self.total - self.loaded);
        if self.loaded - self.base + n > self.units.len() {
            let keep = keep.max(self.base);
            self.units.copy_within(keep - self.base..self.loaded - self.base, 0);
            self.base = keep;
        }
        let bytes = &mut self.bytes[..n * P::BYTES];
        self.image.source.read_at(self.loaded * P::BYTES, bytes);
        let at = self.loaded - self.base;
        P::load(bytes, &mut self.units[at..at + n]);
        self.loaded += n;
    }

    /// Codes the block `start..end`, of which the units before `at` are literals.
    fn block(&mut self, start: usize, end: usize, at: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut literals = start;
        let mut at = at;
        loop {
            while self.loaded < end.min(at + 2 * HASH_SPAN) {
                // Whole groups of literals can go, so that no more than one is in the way of the window.
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
            // It may go on in what is not loaded yet.
            put_literals(&self.units[literals - self.base..found.at - self.base], out);
            let count = self.extend(&found);
            put_match::<P::Unit>(count, found.distance, out);
            at = found.at + count;
            literals = at;
            let mut hashes = Hashes::default();
            for p in (found.at + 1).max(at - 2)..at {
                let hash = hashes.at(&self.units[..self.loaded - self.base], self.base, p);
                self.table[hash] = p as u32;
            }
        }
        put_literals(&self.units[literals - self.base..end - self.base], out);
        Ok(())
    }

    /// Writes the groups of 32 literals that are complete before `at`; gives the position behind them.
    fn put_groups(&self, literals: usize, at: usize, out: &mut Vec<u8>) -> usize {
        let end = literals + at.saturating_sub(literals) / MAX_LITERALS * MAX_LITERALS;
        put_literals(&self.units[literals - self.base..end - self.base], out);
        end
    }

    /// Codes from `at` to `stop`, or up to a match that reaches the end of what is loaded: that one is returned, and the
    /// literals before it are not written yet.
    fn search(
        &mut self,
        start: usize,
        end: usize,
        (at, literals): (&mut usize, &mut usize),
        stop: usize,
        out: &mut Vec<u8>,
    ) -> Option<Found> {
        let base = self.base;
        let units = &self.units[..self.loaded - base];
        let table = &mut *self.table;
        let block_end = BlockEnds { row: self.row, blocks: self.blocks, total: self.total, start, end };
        let mut hashes = Hashes::default();
        // In the window.
        let (mut i, mut first) = (*at - base, *literals - base);
        let stop = stop.saturating_sub(base);
        while i < stop {
            let found = match units.get(i.wrapping_sub(1)..i + 3) {
                Some([a, b, c, d]) if i + base > start && P::Unit::all_equal([*a, *b, *c, *d]) => {
                    Found { at: i + base, distance: 1, known: 3, end: end - 3 }
                }
                _ => {
                    let seen = &mut table[hashes.at(units, base, i + base) & (HASH_SIZE - 1)];
                    let distance = i + base - std::mem::replace(seen, (i + base) as u32) as usize;
                    match judge(units, base, &block_end, i, distance) {
                        Some(found) => found,
                        None => {
                            i += 1;
                            continue;
                        }
                    }
                }
            };
            let from = i + found.known;
            let most = (found.end - base).min(units.len());
            let n = most.saturating_sub(from);
            let equal =
                common(&units[from..from + n], &units[from - found.distance..from + n - found.distance]);
            let to = from + equal;
            if to >= most && most < found.end - base {
                (*at, *literals) = (i + base, first + base);
                return Some(found);
            }
            let count = to.min(most) - i;
            put_short_literals(units, first, i, out);
            put_match::<P::Unit>(count, found.distance, out);
            let next = i + count;
            for p in (i + 1).max(next - 2)..next {
                table[hashes.at(units, base, p + base) & (HASH_SIZE - 1)] = (p + base) as u32;
            }
            i = next;
            first = i;
        }
        (*at, *literals) = (i + base, first + base);
        None
    }

    /// How many units the match has in the end.
    #[inline(always)]
    fn extend(&mut self, found: &Found) -> usize {
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
    /// Position of the first.
    of: usize,
}

impl Default for Hashes {
    fn default() -> Self {
        // No position is near that.
        Self { hashes: [0; HASH_GROUP], of: usize::MAX / 2 }
    }
}

impl Hashes {
    /// The hash at a position; `units` begin at `base`.
    #[inline(always)]
    fn at<U: Unit>(&mut self, units: &[U], base: usize, at: usize) -> usize {
        let mut index = at.wrapping_sub(self.of);
        if index >= HASH_GROUP {
            let units = &units[at - base..];
            let Some(group) = units.first_chunk() else {
                return units.first_chunk().map_or(0, U::hash);
            };
            U::hashes(group, &mut self.hashes);
            self.of = at;
            index = 0;
        }
        usize::from(self.hashes[index])
    }
}

/// Where blocks end.
struct BlockEnds<'a> {
    row: usize,
    blocks: &'a [usize],
    total: usize,
    /// Of the current block.
    start: usize,
    end: usize,
}

impl BlockEnds<'_> {
    /// End of the block that a position is in.
    #[inline(always)]
    fn of(&self, position: usize) -> usize {
        if position >= self.start { self.end } else { self.earlier(position) }
    }

    #[cold]
    fn earlier(&self, position: usize) -> usize {
        let row = position / self.row;
        let block = self.blocks.partition_point(|end| *end <= row);
        self.blocks.get(block).map_or(self.total, |end| end * self.row)
    }
}

/// The match of `units[i]` over `distance`, if it is one.
#[inline(always)]
fn judge<U: Unit>(
    units: &[U],
    base: usize,
    ends: &BlockEnds<'_>,
    i: usize,
    distance: usize,
) -> Option<Found> {
    if distance.wrapping_sub(1) >= MAX_DISTANCE - 1 {
        return None;
    }
    let from = i.checked_sub(distance)?;
    if !units.get(from)?.same(*units.get(i)?) {
        return None;
    }
    let known = if distance >= FAR { U::NEED_FAR } else { U::NEED };
    let (ours, theirs) = (units.get(i..i + known)?, units.get(from..from + known)?);
    if !ours.iter().zip(theirs).all(|(a, b)| a.same(*b)) {
        return None;
    }
    let (at, seen) = (i + base, from + base);
    let seen_end = ends.of(seen);
    if known == 5 && seen + 3 >= seen_end - 1 {
        return None;
    }
    let limit = (ends.end - 3).min(seen_end - 1 + distance);
    (limit > at + U::BIAS).then_some(Found { at, distance, known, end: limit })
}

/// Appends the literals `units[from..to]`, which are mostly few.
#[inline(always)]
fn put_short_literals<U: Unit>(units: &[U], from: usize, to: usize, out: &mut Vec<u8>) {
    let n = to - from;
    if n == 0 {
        return;
    }
    match units.get(from..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(four) if n <= 4 => {
            let end = out.len() + 1 + n * U::LITERAL;
            out.push((n - 1) as u8);
            out.extend_from_slice(&U::four(four));
            out.truncate(end);
        }
        _ => put_literals(&units[from..to], out),
    }
}

/// Appends literals in groups of up to 32.
#[inline]
pub(super) fn put_literals<U: Unit>(units: &[U], out: &mut Vec<u8>) {
    for group in units.chunks(MAX_LITERALS) {
        out.push((group.len() - 1) as u8);
        U::put(group, out);
    }
}

/// Appends a match; `count` is above the bias.
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

/// Appends what a length has above seven.
#[inline]
pub(in crate::codec) fn put_long_length(rest: usize, out: &mut Vec<u8>) {
    if rest >= 255 {
        out.resize(out.len() + rest / 255, 255);
    }
    out.push((rest % 255) as u8);
}
