//! The units of the LZ codecs (codecs.md 3): pixels, or bytes of palette indexes and alpha.

use std::fmt::Debug;

/// Positions whose hashes are computed at once.
pub(in crate::codec) const HASH_GROUP: usize = 64;
/// Units that must follow a position to compute its group of hashes.
pub(in crate::codec) const HASH_SPAN: usize = HASH_GROUP + 2;

/// Upper bound of hashes.
pub(in crate::codec) const HASH_SIZE: usize = 8192;

/// Hash of an empty sequence.
const SEED: u16 = 5381;

#[inline(always)]
fn step(hash: u16, byte: u16) -> u16 {
    hash.wrapping_mul(33) ^ byte
}

/// One unit of a pass, in a form that is fast to compare.
pub(in crate::codec) trait Unit: Copy + Default + Debug {
    /// Subtracted from the length of a match.
    const BIAS: usize;
    /// Least length of a match, in units.
    const NEED: usize;
    /// Least length of a match whose distance takes two more bytes.
    const NEED_FAR: usize;

    /// Bytes of a literal.
    const LITERAL: usize;

    /// Whether the two units look the same to a client.
    fn same(self, other: Self) -> bool;

    /// Number of equal units at the start of both. Free of branches, because the end of a match cannot be
    /// predicted.
    fn equal8(a: &[Self; 8], b: &[Self; 8]) -> usize;

    /// [`Unit::same`] for four consecutive units.
    #[inline(always)]
    fn all_equal([a, b, c, d]: [Self; 4]) -> bool {
        b.same(c) & a.same(b) & c.same(d)
    }

    /// The bytes of four literals, at the start of the result.
    fn four(units: &[Self; 4]) -> [u8; 12];

    /// Appends literals.
    fn put(units: &[Self], out: &mut Vec<u8>);

    /// The hash of the three units at each position. Not inlined: the compiler vectorizes it only as a
    /// function of its own.
    fn hashes(units: &[Self; HASH_SPAN], out: &mut [u16; HASH_GROUP]);
}

/// A pixel of three bytes. The fourth byte is 0.
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
    fn equal8(a: &[Self; 8], b: &[Self; 8]) -> usize {
        let word = |u: &[Self; 8], k: usize| u64::from(u[2 * k]) | u64::from(u[2 * k + 1]) << 32;
        let differ = |k| word(a, k) ^ word(b, k);
        equal_bits([differ(0), differ(1), differ(2), differ(3)]) / 32
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

    #[inline(never)]
    fn hashes(units: &[Self; HASH_SPAN], out: &mut [u16; HASH_GROUP]) {
        let (mut r, mut g, mut b) = ([0u16; HASH_SPAN], [0u16; HASH_SPAN], [0u16; HASH_SPAN]);
        for (i, unit) in units.iter().enumerate() {
            r[i] = (unit >> 16 & 255) as u16;
            g[i] = (unit >> 8 & 255) as u16;
            b[i] = (unit & 255) as u16;
        }
        for (i, out) in out.iter_mut().enumerate() {
            *out = (i..i + 3).fold(SEED, |hash, k| step(step(step(hash, r[k]), g[k]), b[k]));
        }
    }
}

/// A pixel of five bits per colour. The top bit is not compared but is transmitted.
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
    fn equal8(a: &[Self; 8], b: &[Self; 8]) -> usize {
        let word = |u: &[Self; 8], k: usize| (0..4).fold(0, |w, i| w | u64::from(u[k + i]) << (16 * i));
        let differ = |k| (word(a, k) ^ word(b, k)) & 0x7fff_7fff_7fff_7fff;
        equal_bits([differ(0), differ(4)]) / 16
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

    #[inline(never)]
    fn hashes(units: &[Self; HASH_SPAN], out: &mut [u16; HASH_GROUP]) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = units[i..i + 3]
                .iter()
                .fold(SEED, |hash, unit| step(step(hash, unit & 255), unit >> 8 & 0x7f));
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
    fn equal8(a: &[Self; 8], b: &[Self; 8]) -> usize {
        equal_bits([u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)]) / 8
    }

    #[inline(always)]
    fn four([a, b, c, d]: &[Self; 4]) -> [u8; 12] {
        [*a, *b, *c, *d, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    fn put(units: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(units);
    }

    #[inline(never)]
    fn hashes(units: &[Self; HASH_SPAN], out: &mut [u16; HASH_GROUP]) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = units[i..i + 3].iter().fold(SEED, |hash, unit| step(hash, u16::from(*unit)));
        }
    }
}

/// Number of equal units at the start of both.
#[inline(always)]
pub(in crate::codec) fn common<U: Unit>(a: &[U], b: &[U]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let mut at = 0;
    for (a, b) in a.as_chunks().0.iter().zip(b.as_chunks().0) {
        let equal = U::equal8(a, b);
        at += equal;
        if equal < 8 {
            return at;
        }
    }
    while at < len && a[at].same(b[at]) {
        at += 1;
    }
    at
}

/// Number of zero bits before the first one bit, least significant bits first.
#[inline(always)]
pub(in crate::codec) fn equal_bits<const N: usize>(differences: [u64; N]) -> usize {
    let [mut found, mut before] = [0, 64 * N as u64];
    for (k, word) in differences.iter().enumerate().rev() {
        let here = *word != 0;
        found = if here { *word } else { found };
        before = if here { 64 * k as u64 } else { before };
    }
    // Without a difference this is the number of all bits.
    before as usize + (found.trailing_zeros() & 63) as usize
}

/// What one pass over an image reads from its rows.
pub(in crate::codec) trait Pass {
    type Unit: Unit;
    /// Bytes of the bitmap per unit.
    const BYTES: usize;

    /// Converts bytes of the bitmap to units.
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
