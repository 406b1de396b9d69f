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
            hashes: [0; HASH_GROUP],
            // No position is near that.
            hashes_of: usize::MAX / 2,
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
    /// Hashes from the position `hashes_of` on.
    hashes: [u16; HASH_GROUP],
    hashes_of: usize,
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
            let found = self.search(start, end, at, stop);
            let Ok(found) = found else {
                at = at.max(stop);
                if self.loaded >= end {
                    break;
                }
                continue;
            };
            put_literals(&self.units[literals - self.base..found.at - self.base], out);
            let count = self.extend(&found);
            put_match::<P::Unit>(count, found.distance, out);
            at = found.at + count;
            literals = at;
            for p in (found.at + 1).max(at - 2)..at {
                let hash = self.hash(p);
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

    /// The hash at a position.
    #[inline(always)]
    fn hash(&mut self, at: usize) -> usize {
        let mut index = at.wrapping_sub(self.hashes_of);
        if index >= HASH_GROUP {
            let units = &self.units[at - self.base..self.loaded - self.base];
            let Some(group) = units.first_chunk() else {
                return units.first_chunk().map_or(0, P::Unit::hash);
            };
            P::Unit::hashes(group, &mut self.hashes);
            self.hashes_of = at;
            index = 0;
        }
        usize::from(self.hashes[index])
    }

    /// The first match in `at..stop`.
    #[inline(always)]
    fn search(&mut self, start: usize, end: usize, mut at: usize, stop: usize) -> Result<Found, ()> {
        while at < stop {
            let i = at - self.base;
            if at > start
                && let Some([a, b, c, d]) = self.units.get(i - 1..i + 3)
                && b.same(*c)
                && a.same(*b)
                && c.same(*d)
            {
                return Ok(Found { at, distance: 1, known: 3, end: end - 3 });
            }
            let slot = self.hash(at) & (HASH_SIZE - 1);
            let seen = self.table[slot] as usize;
            self.table[slot] = at as u32;
            let distance = at - seen;
            if let Some(found) = self.judge(start, end, at, distance) {
                return Ok(found);
            }
            at += 1;
        }
        Err(())
    }

    /// The match over `distance`, if it is one.
    #[inline(always)]
    fn judge(&self, start: usize, end: usize, at: usize, distance: usize) -> Option<Found> {
        if distance.wrapping_sub(1) >= MAX_DISTANCE - 1 {
            return None;
        }
        let i = at - self.base;
        let from = i.checked_sub(distance)?;
        if !self.units.get(from)?.same(*self.units.get(i)?) {
            return None;
        }
        let known = if distance >= FAR { P::Unit::NEED_FAR } else { P::Unit::NEED };
        let (ours, theirs) = (self.units.get(i..i + known)?, self.units.get(from..from + known)?);
        if !ours.iter().zip(theirs).all(|(a, b)| a.same(*b)) {
            return None;
        }
        let seen = at - distance;
        let seen_end = if seen >= start { end } else { self.block_end(seen) };
        if known == 5 && seen + 3 >= seen_end - 1 {
            return None;
        }
        let limit = (end - 3).min(seen_end - 1 + distance);
        (limit > at + P::Unit::BIAS).then_some(Found { at, distance, known, end: limit })
    }

    /// End of the block that a position is in.
    #[cold]
    fn block_end(&self, position: usize) -> usize {
        let row = position / self.row;
        let block = self.blocks.partition_point(|end| *end <= row);
        self.blocks.get(block).map_or(self.total, |end| end * self.row)
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

/// Appends literals in groups of up to 32.
#[inline]
pub(super) fn put_literals<U: Unit>(units: &[U], out: &mut Vec<u8>) {
    for group in units.chunks(MAX_LITERALS) {
        out.push((group.len() - 1) as u8);
        U::put(group, out);
    }
}

/// Appends a match; `count` is above the bias.
#[inline]
fn put_match<U: Unit>(count: usize, distance: usize, out: &mut Vec<u8>) {
    let length = count - U::BIAS;
    let d = distance - 1;
    let far = d >= FAR;
    let high = if far { 31 } else { (d >> 8) as u8 };
    out.push((length.min(7) as u8) << 5 | high);
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
