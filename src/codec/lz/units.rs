//! What the LZ codecs count in (codecs.md 3): pixels, or bytes of palette indexes and alpha.

use std::fmt::Debug;

/// Positions whose hashes are computed at once.
pub(in crate::codec) const HASH_GROUP: usize = 16;
/// Units that must be there from a position on for its group of hashes.
pub(in crate::codec) const HASH_SPAN: usize = HASH_GROUP + 2;

/// Hashes are below this.
pub(in crate::codec) const HASH_SIZE: usize = 8192;

/// Hash of nothing.
const SEED: u16 = 5381;

#[inline(always)]
fn step(hash: u16, byte: u16) -> u16 {
    hash.wrapping_mul(33) ^ byte
}

/// One unit of a pass, in a form that compares fast.
pub(in crate::codec) trait Unit: Copy + Default + Debug {
    /// Subtracted from the length of a match.
    const BIAS: usize;
    /// Units that must be equal for a match.
    const NEED: usize;
    /// The same for distances that take two more bytes.
    const NEED_FAR: usize;

    /// Bytes of a literal.
    const LITERAL: usize;

    /// Whether a client sees no difference.
    fn same(self, other: Self) -> bool;

    /// [`Unit::same`] for eight units.
    fn all_same(a: &[Self; 8], b: &[Self; 8]) -> bool;

    /// [`Unit::same`] for four units that follow each other.
    #[inline(always)]
    fn all_equal([a, b, c, d]: [Self; 4]) -> bool {
        b.same(c) & a.same(b) & c.same(d)
    }

    /// Four literals, the first ones at the start.
    fn four(units: &[Self; 4]) -> [u8; 12];

    /// Appends literals.
    fn put(units: &[Self], out: &mut Vec<u8>);

    /// Hash of three units, below [`HASH_SIZE`].
    fn hash(units: &[Self; 3]) -> usize {
        let [a, b, c] = *units;
        let mut group = [Self::default(); HASH_SPAN];
        group[..3].copy_from_slice(&[a, b, c]);
        let mut hashes = [0; HASH_GROUP];
        Self::hashes(&group, &mut hashes);
        usize::from(hashes[0])
    }

    /// Hashes of the three units from each position on.
    fn hashes(units: &[Self; HASH_SPAN], out: &mut [u16; HASH_GROUP]);
}

/// A pixel of three bytes, the fourth is 0.
impl Unit for u32 {
    const BIAS: usize = 0;
    const NEED: usize = 1;
    const NEED_FAR: usize = 2;
    const LITERAL: usize = 3;

    #[inline(always)]
    fn same(self, other: Self) -> bool {
        self == other
    }

    #[inline(always)]
    fn all_same(a: &[Self; 8], b: &[Self; 8]) -> bool {
        a == b
    }

    #[inline(always)]
    fn four([a, b, c, d]: &[Self; 4]) -> [u8; 12] {
        let mut bytes = [0; 12];
        let words = [a | b << 24, b >> 8 | c << 16, c >> 16 | d << 8];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }

    fn put(units: &[Self], out: &mut Vec<u8>) {
        let (fours, rest) = units.as_chunks();
        for four in fours {
            out.extend_from_slice(&Self::four(four));
        }
        for unit in rest {
            let [b, g, r, _] = unit.to_le_bytes();
            out.extend_from_slice(&[b, g, r]);
        }
    }

    #[inline(always)]
    fn hash(units: &[Self; 3]) -> usize {
        let mut hash = u32::from(SEED);
        for unit in units {
            hash = hash.wrapping_mul(33) ^ (unit >> 16);
            hash = hash.wrapping_mul(33) ^ (unit >> 8 & 255);
            hash = hash.wrapping_mul(33) ^ (unit & 255);
        }
        hash as usize & (HASH_SIZE - 1)
    }

    #[inline(always)]
    fn hashes(units: &[Self; HASH_SPAN], out: &mut [u16; HASH_GROUP]) {
        let (mut r, mut g, mut b) = ([0u16; HASH_SPAN], [0u16; HASH_SPAN], [0u16; HASH_SPAN]);
        for (i, unit) in units.iter().enumerate() {
            r[i] = (unit >> 16 & 255) as u16;
            g[i] = (unit >> 8 & 255) as u16;
            b[i] = (unit & 255) as u16;
        }
        for (i, out) in out.iter_mut().enumerate() {
            let mut hash = SEED;
            for k in i..i + 3 {
                hash = step(step(step(hash, r[k]), g[k]), b[k]);
            }
            *out = hash & (HASH_SIZE - 1) as u16;
        }
    }
}

/// A pixel of five bits per colour. The top bit does not count but goes along.
impl Unit for u16 {
    const BIAS: usize = 1;
    const NEED: usize = 2;
    const NEED_FAR: usize = 3;
    const LITERAL: usize = 2;

    #[inline(always)]
    fn same(self, other: Self) -> bool {
        (self ^ other) & 0x7fff == 0
    }

    #[inline(always)]
    fn all_same(a: &[Self; 8], b: &[Self; 8]) -> bool {
        a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) & 0x7fff == 0
    }

    #[inline(always)]
    fn four(units: &[Self; 4]) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (bytes, unit) in bytes.as_chunks_mut().0.iter_mut().zip(units) {
            *bytes = unit.to_be_bytes();
        }
        bytes
    }

    fn put(units: &[Self], out: &mut Vec<u8>) {
        for unit in units {
            out.extend_from_slice(&unit.to_be_bytes());
        }
    }

    #[inline(always)]
    fn hashes(units: &[Self; HASH_SPAN], out: &mut [u16; HASH_GROUP]) {
        for (i, out) in out.iter_mut().enumerate() {
            let mut hash = SEED;
            for unit in &units[i..i + 3] {
                hash = step(step(hash, unit & 255), unit >> 8 & 0x7f);
            }
            *out = hash & (HASH_SIZE - 1) as u16;
        }
    }
}

/// A byte of palette indexes or alpha.
impl Unit for u8 {
    const BIAS: usize = 2;
    const NEED: usize = 3;
    const NEED_FAR: usize = 5;
    const LITERAL: usize = 1;

    #[inline(always)]
    fn same(self, other: Self) -> bool {
        self == other
    }

    #[inline(always)]
    fn all_same(a: &[Self; 8], b: &[Self; 8]) -> bool {
        a == b
    }

    #[inline(always)]
    fn four([a, b, c, d]: &[Self; 4]) -> [u8; 12] {
        [*a, *b, *c, *d, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    fn put(units: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(units);
    }

    #[inline(always)]
    fn hashes(units: &[Self; HASH_SPAN], out: &mut [u16; HASH_GROUP]) {
        for (i, out) in out.iter_mut().enumerate() {
            let hash = units[i..i + 3].iter().fold(SEED, |hash, unit| step(hash, u16::from(*unit)));
            *out = hash & (HASH_SIZE - 1) as u16;
        }
    }
}

/// How many units at the start of both are the same.
#[inline(always)]
pub(in crate::codec) fn common<U: Unit>(a: &[U], b: &[U]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    // Most matches are short, and where they end is not to be predicted: count without branches.
    if let (Some(x), Some(y)) = (a.first_chunk::<4>(), b.first_chunk::<4>()) {
        let n = four_common(x, y);
        if n < 4 {
            return n;
        }
    }
    let mut at = 0;
    for (a, b) in a.as_chunks().0.iter().zip(b.as_chunks().0) {
        if !U::all_same(a, b) {
            break;
        }
        at += 8;
    }
    while at < len && a[at].same(b[at]) {
        at += 1;
    }
    at
}

#[inline(always)]
fn four_common<U: Unit>(a: &[U; 4], b: &[U; 4]) -> usize {
    let one = a[0].same(b[0]);
    let two = one & a[1].same(b[1]);
    let three = two & a[2].same(b[2]);
    let four = three & a[3].same(b[3]);
    usize::from(one) + usize::from(two) + usize::from(three) + usize::from(four)
}

/// What one pass over an image takes from its rows.
pub(in crate::codec) trait Pass {
    type Unit: Unit;
    /// Bytes in the bitmap that each unit stands for.
    const BYTES: usize;

    /// Converts bytes of the bitmap.
    fn load(bytes: &[u8], units: &mut [Self::Unit]);
}

/// Colours of 32-bit pixels.
pub(in crate::codec) struct Colour32;
/// Pixels of three bytes.
pub(in crate::codec) struct Colour24;
/// 15-bit pixels.
pub(in crate::codec) struct Colour16;
/// Bytes.
pub(in crate::codec) struct Bytes;
/// Alpha of 32-bit pixels.
pub(in crate::codec) struct Alpha32;

impl Pass for Colour32 {
    type Unit = u32;
    const BYTES: usize = 4;

    fn load(bytes: &[u8], units: &mut [u32]) {
        for (unit, bytes) in units.iter_mut().zip(bytes.as_chunks().0) {
            *unit = u32::from_le_bytes(*bytes) & 0xff_ffff;
        }
    }
}

impl Pass for Colour24 {
    type Unit = u32;
    const BYTES: usize = 3;

    fn load(bytes: &[u8], units: &mut [u32]) {
        for (unit, [b, g, r]) in units.iter_mut().zip(bytes.as_chunks().0) {
            *unit = u32::from_le_bytes([*b, *g, *r, 0]);
        }
    }
}

impl Pass for Colour16 {
    type Unit = u16;
    const BYTES: usize = 2;

    fn load(bytes: &[u8], units: &mut [u16]) {
        for (unit, bytes) in units.iter_mut().zip(bytes.as_chunks().0) {
            *unit = u16::from_le_bytes(*bytes);
        }
    }
}

impl Pass for Bytes {
    type Unit = u8;
    const BYTES: usize = 1;

    fn load(bytes: &[u8], units: &mut [u8]) {
        units.copy_from_slice(bytes);
    }
}

impl Pass for Alpha32 {
    type Unit = u8;
    const BYTES: usize = 4;

    fn load(bytes: &[u8], units: &mut [u8]) {
        for (unit, [_, _, _, a]) in units.iter_mut().zip(bytes.as_chunks().0) {
            *unit = *a;
        }
    }
}
