//! Finds matches in the image being encoded and in older ones, and writes them (codecs.md 4.2, 13.4).
//!
//! The search uses two tables of positions. *Near* has every position that became a literal, and the ends of
//! matches, by the three units there: it finds small repetitions. *Far* has a position every few units, also
//! inside matches, by the eight units there: it finds moved and repeated areas, however long ago they were
//! encoded. Where a match in an older image ends, the search tries the same displacement again.

use super::Channel;
use super::window::{PositionIndex, WindowImage};
use crate::codec::lz::{LzType, MAX_LITERALS, put_long_length};
use std::collections::VecDeque;

/// log2 of the number of entries in each table.
const NEAR_BITS: u32 = 17;
const FAR_BITS: u32 = 17;
/// Bits of an entry that hold more of the hash. They reject most false candidates without a look at the
/// pixels.
const TAG_BITS: u32 = 6;
/// Positions are stored modulo this number, which is larger than a window.
const POSITIONS: u64 = 1 << (32 - TAG_BITS);
/// Units from one far position to the next.
const GRID: usize = 32;
/// Least length of a far match. If it is shorter, the search looks for a near one.
const FAR_MATCH: usize = 16;
/// From this length on, a match in another image is expected to continue after a difference.
const DISPLACED: usize = 32;
/// The format holds only pixel distances and positions below this.
const MAX_PIXELS: u64 = 1 << 25;
/// Some forms of the format hold only image distances below this.
const MAX_IMAGES: u64 = 1 << 24;

/// Last positions of units in all images of a dictionary, with their tags.
#[derive(Debug)]
pub(super) struct Tables {
    near: Box<[u32; 1 << NEAR_BITS]>,
    far: Box<[u32; 1 << FAR_BITS]>,
}

impl Default for Tables {
    fn default() -> Self {
        let zeros = |bits: u32| vec![0; 1 << bits].into_boxed_slice();
        let near = zeros(NEAR_BITS).try_into().unwrap_or_else(|_| Box::new([0; 1 << NEAR_BITS]));
        let far = zeros(FAR_BITS).try_into().unwrap_or_else(|_| Box::new([0; 1 << FAR_BITS]));
        Self { near, far }
    }
}

/// What a pass may refer to.
#[derive(Debug)]
pub(super) struct Reference<'a> {
    /// The images, oldest first. Ids and positions have no gaps.
    pub images: &'a VecDeque<WindowImage>,
    /// Where positions are in them.
    pub index: &'a PositionIndex,
    /// Type of the image being encoded.
    pub kind: LzType,
    pub id: u64,
    pub start: u64,
    /// Pixels of the image.
    pub units: usize,
    /// Their bytes, as [`Channel`] has them.
    pub pixels: &'a [u8],
}

/// A place from which a match may copy.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    /// The bytes that the pass compares.
    plane: &'a [u8],
    /// In units.
    offset: usize,
    /// 0 is the image being encoded.
    image_distance: u64,
}

/// A match.
#[derive(Clone, Copy, Debug)]
struct Match<'a> {
    place: Place<'a>,
    count: usize,
}

impl<'a> Reference<'a> {
    /// The place that an entry found at position `at` stands for.
    #[inline(always)]
    fn place<C: Channel>(&self, entry: u32, at: usize) -> Option<Place<'a>> {
        let here = self.start + at as u64;
        let back = here.wrapping_sub(u64::from(entry >> TAG_BITS)) % POSITIONS;
        if back == 0 {
            return None;
        }
        if back <= at as u64 {
            return Some(Place { plane: self.plane::<C>(), offset: at - back as usize, image_distance: 0 });
        }
        self.older::<C>(here.checked_sub(back)?)
    }

    #[inline(always)]
    fn plane<C: Channel>(&self) -> &'a [u8] {
        C::plane(self.pixels, self.units)
    }

    fn older<C: Channel>(&self, position: u64) -> Option<Place<'a>> {
        let front = self.images.front()?;
        let near = self.index.near(position)?.saturating_sub(front.id);
        let mut image = self.images.get(usize::try_from(near).ok()?)?;
        let mut at = near as usize + 1;
        while let Some(next) = self.images.get(at).filter(|next| next.start <= position) {
            image = next;
            at += 1;
        }
        if position < image.start {
            return None;
        }
        let image_distance = self.id.wrapping_sub(image.id);
        if image.kind != self.kind || !image.alive || image_distance >= MAX_IMAGES {
            return None;
        }
        let offset = usize::try_from(position - image.start).ok()?;
        Some(Place { plane: C::plane(&image.pixels, image.units), offset, image_distance })
    }
}

/// The bytes from unit `at` on.
#[inline(always)]
fn from_unit<C: Channel>(plane: &[u8], at: usize) -> Option<&[u8]> {
    plane.get(at * C::UNIT..)
}

/// Index in the near table, and tag.
#[inline(always)]
fn near_hash([a, b]: [u64; 2]) -> (usize, u32) {
    let mixed = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    split(mixed ^ mixed >> 29, NEAR_BITS)
}

/// The same for the far table.
#[inline(always)]
fn far_hash(eight: [u64; 3]) -> (usize, u32) {
    let mut mixed = 0u64;
    for word in eight {
        mixed = (mixed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 32;
    }
    split(mixed.wrapping_mul(0xc2b2_ae3d_27d4_eb4f), FAR_BITS)
}

#[inline(always)]
fn split(hash: u64, bits: u32) -> (usize, u32) {
    let slot = (hash >> (64 - bits)) as usize;
    (slot, (hash >> (64 - bits - TAG_BITS)) as u32 & ((1 << TAG_BITS) - 1))
}

/// Number of equal units at the start of both.
#[inline(always)]
fn common<C: Channel>(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let mut at = 0;
    for (a, b) in a.as_chunks::<32>().0.iter().zip(b.as_chunks::<32>().0) {
        if a != b {
            break;
        }
        at += 32;
    }
    for (a, b) in a[at..].as_chunks().0.iter().zip(b[at..].as_chunks().0) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return (at + differ.trailing_zeros() as usize / 8) / C::UNIT;
        }
        at += 8;
    }
    while at < len && a[at] == b[at] {
        at += 1;
    }
    at / C::UNIT
}

/// Encodes one pass over the image.
pub(super) fn encode_pass<C: Channel>(reference: &Reference<'_>, tables: &mut Tables, out: &mut Vec<u8>) {
    let plane = reference.plane::<C>();
    let mut literals = 0;
    let mut at = 0;
    // The next position for the far table.
    let mut grid = 0;
    let mut displaced: Option<Place<'_>> = None;
    let mut after_match = true;
    while let Some(three) = from_unit::<C>(plane, at).and_then(C::three) {
        // Only positions before `at`: the entry for `at` itself must still be an older one.
        if at > grid {
            grid = enter_far::<C>(reference, tables, grid, at);
        }
        let found = find::<C>(reference, tables, at, three, displaced, after_match);
        let Some(mut found) = found else {
            at += 1;
            after_match = false;
            continue;
        };
        // The match may extend backwards into units that the search skipped.
        let mut from = at;
        while from > literals
            && found.place.offset > 0
            && unit::<C>(plane, from - 1) == unit::<C>(found.place.plane, found.place.offset - 1)
        {
            from -= 1;
            found.place.offset -= 1;
            found.count += 1;
        }
        put_literals::<C>(&plane[literals * C::UNIT..from * C::UNIT], out);
        put_match::<C>(&found, from, out);
        let end = from + found.count;
        for p in (at + 1).max(end - 2)..end {
            if let Some(three) = from_unit::<C>(plane, p).and_then(C::three) {
                let (slot, tag) = near_hash(three);
                tables.near[slot] = entry(reference, p, tag);
            }
        }
        if found.place.image_distance > 0 && found.count >= DISPLACED {
            let offset = found.place.offset + found.count;
            displaced = Some(Place { offset: offset.wrapping_sub(end), ..found.place });
        }
        at = end;
        literals = at;
        after_match = true;
    }
    put_literals::<C>(from_unit::<C>(plane, literals).unwrap_or_default(), out);
}

/// The bytes of one unit.
#[inline(always)]
fn unit<C: Channel>(plane: &[u8], at: usize) -> Option<&[u8]> {
    plane.get(at * C::UNIT..(at + 1) * C::UNIT)
}

#[inline(always)]
fn entry(reference: &Reference<'_>, at: usize, tag: u32) -> u32 {
    ((reference.start + at as u64) as u32) << TAG_BITS | tag
}

/// Puts the grid's positions before `at` into the far table. Returns the next one.
#[inline(never)]
fn enter_far<C: Channel>(reference: &Reference<'_>, tables: &mut Tables, from: usize, at: usize) -> usize {
    let (plane, mut grid) = (reference.plane::<C>(), from);
    while grid < at {
        let bytes = from_unit::<C>(plane, grid).unwrap_or_default();
        if let Some(eight) = C::eight(bytes) {
            // Runs already find areas of one colour.
            if bytes.get(C::UNIT..8 * C::UNIT) != bytes.get(..7 * C::UNIT) {
                let (slot, tag) = far_hash(eight);
                tables.far[slot] = entry(reference, grid, tag);
            }
        }
        grid += GRID;
    }
    grid
}

/// The match to use at a position, if one is worth its bytes.
#[inline(always)]
fn find<'a, C: Channel>(
    reference: &Reference<'a>,
    tables: &mut Tables,
    at: usize,
    three: [u64; 2],
    displaced: Option<Place<'a>>,
    after_match: bool,
) -> Option<Match<'a>> {
    let plane = reference.plane::<C>();
    let here = from_unit::<C>(plane, at)?;
    if let Some(place) = displaced {
        let offset = place.offset.wrapping_add(at);
        let theirs = offset.checked_mul(C::UNIT).and_then(|start| place.plane.get(start..));
        if let Some(theirs) = theirs {
            let count = common::<C>(here, theirs);
            if count >= FAR_MATCH {
                return Some(Match { place: Place { offset, ..place }, count });
            }
        }
    }
    // A run repeats the unit before it.
    if at > 0 {
        let before = from_unit::<C>(plane, at - 1)?;
        if C::three(before) == Some(three) {
            let count = common::<C>(here, before);
            return Some(Match { place: Place { plane, offset: at - 1, image_distance: 0 }, count });
        }
    }
    // Where little matches, trying a grid's width now and then is enough to find moved areas.
    if after_match || at & (GRID * 7) == 0 {
        let far = far_match::<C>(reference, tables, here, at);
        if far.is_some() {
            return far;
        }
    }
    let (slot, tag) = near_hash(three);
    let seen = std::mem::replace(&mut tables.near[slot], entry(reference, at, tag));
    if (seen ^ tag) & ((1 << TAG_BITS) - 1) != 0 {
        return None;
    }
    near_match::<C>(reference, seen, here, at)
}

/// `here`: the bytes from unit `at` on.
#[inline]
fn far_match<'a, C: Channel>(
    reference: &Reference<'a>,
    tables: &Tables,
    here: &[u8],
    at: usize,
) -> Option<Match<'a>> {
    let (slot, tag) = far_hash(C::eight(here)?);
    let seen = tables.far[slot];
    if (seen ^ tag) & ((1 << TAG_BITS) - 1) != 0 {
        return None;
    }
    let place = reference.place::<C>(seen, at)?;
    let count = common::<C>(here, from_unit::<C>(place.plane, place.offset)?);
    (count >= FAR_MATCH).then_some(Match { place, count })
}

#[inline]
fn near_match<'a, C: Channel>(
    reference: &Reference<'a>,
    seen: u32,
    here: &[u8],
    at: usize,
) -> Option<Match<'a>> {
    let place = reference.place::<C>(seen, at)?;
    let count = common::<C>(here, from_unit::<C>(place.plane, place.offset)?);
    if count < C::NEED {
        return None;
    }
    let pays = count > C::PAYS || count > match_bytes(&place, at) / C::UNIT;
    (pays && count > C::BIAS).then_some(Match { place, count })
}

/// The fields P and I of the format.
#[inline(always)]
fn distances(place: &Place<'_>, at: usize) -> (u32, u32) {
    let p = if place.image_distance == 0 { at - 1 - place.offset } else { place.offset };
    (p as u32, place.image_distance as u32)
}

/// Bytes of a match without the extension of a long length.
#[inline(always)]
fn match_bytes(place: &Place<'_>, at: usize) -> usize {
    let (p, i) = distances(place, at);
    let more = |shift: u32| usize::from(i >> shift > 0);
    if p < 1 << 12 {
        3 + more(6) + more(14) + more(22)
    } else {
        3 + more(0) + more(8) + more(16) + usize::from(p >= 1 << 17)
    }
}

/// Appends a match at unit `at`.
#[inline(always)]
fn put_match<C: Channel>(found: &Match<'_>, at: usize, out: &mut Vec<u8>) {
    let (p, i) = distances(&found.place, at);
    debug_assert!(u64::from(p) < MAX_PIXELS);
    let length = found.count - C::BIAS;
    let wide = p >= 1 << 12;
    out.push((length.min(7) as u8) << 5 | u8::from(wide) << 4 | (p & 15) as u8);
    if length >= 7 {
        put_long_length(length - 7, out);
    }
    out.push((p >> 4) as u8);
    let bytes = i.to_le_bytes();
    if wide {
        let extra = (32 - i.leading_zeros()).div_ceil(8) as usize;
        out.push((extra as u8) << 6 | u8::from(p >= 1 << 17) << 5 | (p >> 12 & 31) as u8);
        out.extend_from_slice(bytes.get(..extra).unwrap_or_default());
        if p >= 1 << 17 {
            out.push((p >> 17) as u8);
        }
    } else {
        let high = (i >> 6).to_le_bytes();
        let extra = (32 - (i >> 6).leading_zeros()).div_ceil(8) as usize;
        out.push((extra as u8) << 6 | (i & 63) as u8);
        out.extend_from_slice(high.get(..extra).unwrap_or_default());
    }
}

/// Appends literals in groups of up to 32.
#[inline]
fn put_literals<C: Channel>(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(MAX_LITERALS * C::UNIT) {
        out.push((group.len() / C::UNIT - 1) as u8);
        out.extend_from_slice(group);
    }
}
