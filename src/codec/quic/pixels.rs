//! Rows of pixels with one channel per byte: conversion from and to bitmap formats, residuals on all
//! channels at once (codecs.md 2.3), and masks of pixels that equal their left neighbour (2.7).

use super::QuicType;

/// The top bit of every byte.
const HIGH: u32 = 0x8080_8080;
/// The lowest bit of every byte.
const ONES: u32 = 0x0101_0101;

/// The average of each byte, rounded down.
#[inline(always)]
pub(super) fn average(a: u32, b: u32) -> u32 {
    (a & b) + (((a ^ b) >> 1) & !HIGH)
}

/// The pixel whose residual is `folded`: the inverse of what [`residuals`] computes.
#[inline(always)]
pub(super) fn unfold<const BITS: usize>(folded: u32, prediction: u32) -> u32 {
    let odd = folded & ONES;
    let d = ((folded >> 1) & !HIGH) ^ (odd << 8).wrapping_sub(odd);
    let sum = ((d & !HIGH) + (prediction & !HIGH)) ^ ((d ^ prediction) & HIGH);
    if BITS == 8 { sum } else { sum & (ONES * 31) }
}

/// Pixels of a block: as many as a mask word has bits.
const BLOCK: usize = 64;

/// A row of complemented pixels in whole blocks, after the pixel that is left of the first one.
///
/// The pixels are complemented because the complement of an average that is rounded down is the average of
/// the complements, rounded up, for which processors have an instruction.
#[derive(Debug, Default)]
pub(super) struct Row(Vec<[u8; 4]>);

impl Row {
    pub(super) fn resize(&mut self, width: usize) {
        self.0.resize(1 + blocks(width), [0; 4]);
    }

    /// The pixels without the one left of the first, and with those after the last.
    pub(super) fn pixels_mut(&mut self) -> &mut [[u8; 4]] {
        self.0.get_mut(1..).unwrap_or_default()
    }

    /// The blocks of the pixels and of their left neighbours.
    fn blocks(&self) -> impl Iterator<Item = (&[[u8; 4]; BLOCK], &[[u8; 4]; BLOCK])> {
        let pixels = self.0.get(1..).unwrap_or_default().as_chunks().0;
        pixels.iter().zip(self.0.as_chunks().0)
    }
}

/// The pixels of so many whole blocks that they hold `width` pixels.
pub(super) fn blocks(width: usize) -> usize {
    width.next_multiple_of(BLOCK)
}

/// Writes the folded residuals of a row, the symbols that encode it, to `out`. The top row does not use
/// `above`. Skips blocks that lie in runs entirely, according to `runs`.
#[inline]
pub(super) fn residuals<const BITS: usize, const TOP: bool>(
    row: &mut Row,
    above: &Row,
    runs: impl Fn(usize) -> bool,
    out: &mut [[u8; 4]],
) {
    // The first pixel's prediction is the pixel above it, or 0: the average of that and the same on the left.
    if let ([first, ..], [_, above, ..]) = (&mut row.0[..], &above.0[..]) {
        *first = if TOP { [255; 4] } else { *above };
    }
    let out = out.as_chunks_mut::<BLOCK>().0.iter_mut();
    for (n, (((pixels, left), (above, _)), out)) in row.blocks().zip(above.blocks()).zip(out).enumerate() {
        if TOP || !runs(n) {
            fold::<BITS, TOP>(pixels, left, above, out);
        }
    }
}

/// Writes the folded residuals of one block to `out`.
#[inline(always)]
fn fold<const BITS: usize, const TOP: bool>(
    pixels: &[[u8; 4]; BLOCK],
    left: &[[u8; 4]; BLOCK],
    above: &[[u8; 4]; BLOCK],
    out: &mut [[u8; 4]; BLOCK],
) {
    let inputs = pixels.as_flattened().iter().zip(left.as_flattened()).zip(above.as_flattened());
    for (((pixel, left), above), out) in inputs.zip(out.as_flattened_mut()) {
        let average = ((u16::from(*left) + u16::from(*above) + 1) >> 1) as u8;
        *out = symbol::<BITS>(*pixel, if TOP { *left } else { average });
    }
}

/// The folded residual of a complemented sample for this complemented prediction.
#[inline(always)]
fn symbol<const BITS: usize>(sample: u8, prediction: u8) -> u8 {
    let d = prediction.wrapping_sub(sample) << (8 - BITS);
    ((d << 1) ^ (d.cast_signed() >> 7).cast_unsigned()) >> (8 - BITS)
}

/// Words of a mask with one bit per pixel of a row, followed by at least one zero bit.
pub(super) fn mask_words(width: usize) -> usize {
    width / 64 + 1
}

/// Bit i: pixel i equals pixel i - 1. Bit 0 and the bits after the row are zero.
pub(super) fn equals_left(row: &Row, width: usize, mask: &mut [u64]) {
    for ((pixels, left), bits) in row.blocks().zip(mask.iter_mut()) {
        let fours = pixels.as_chunks().0.iter().zip(left.as_chunks().0).rev();
        // With a shift and a union, the compiler would take the four bits apart.
        *bits = fours
            .fold(0u64, |bits, (pixels, left)| bits.rotate_left(4) ^ u64::from(equal_bits(pixels, left)));
    }
    if let Some(word) = mask.first_mut() {
        *word &= !1;
    }
    if let Some(word) = mask.get_mut(width / 64) {
        *word &= !(u64::MAX << (width % 64));
    }
}

/// Bit i: the pixels i are equal. The compiler makes one comparison of four of them.
#[inline(always)]
fn equal_bits(a: &[[u8; 4]; 4], b: &[[u8; 4]; 4]) -> u32 {
    let mut bits = 0;
    for i in 0..4 {
        if u32::from_le_bytes(a[i]) == u32::from_le_bytes(b[i]) {
            bits |= 1 << i;
        }
    }
    bits
}

/// Bit i: a run may start at pixel i, because pixel i - 1 equals i - 2 and the pixel above i - 1 equals the
/// one above i - 2.
pub(super) fn run_candidates(flat: &[u64], flat_above: &[u64], candidates: &mut [u64]) {
    let mut carry = 0;
    for ((word, above), out) in flat.iter().zip(flat_above).zip(candidates.iter_mut()) {
        *out = ((word << 1) | carry) & above;
        carry = word >> 63;
    }
    if let Some(word) = candidates.first_mut() {
        *word &= !0b111;
    }
}

/// Finds the starts of runs in a row that is not cut into segments: the first candidate after each change of
/// colour. An empty run follows a run if its end is a candidate too.
pub(super) fn run_starts(flat: &[u64], candidates: &[u64], starts: &mut [u64]) {
    let (mut carry, mut more) = (0, false);
    for ((word, candidates), out) in flat.iter().zip(candidates).zip(starts.iter_mut()) {
        // Ones mark the pixels after those that equal their neighbour. When the candidates are added, the sum
        // is 0 at the first candidate of each stretch of ones, and 1 at the other candidates.
        let behind = (word << 1) | carry;
        let (sum, over) = behind.overflowing_add(*candidates);
        let (sum, again) = sum.overflowing_add(u64::from(more));
        *out = candidates & !sum;
        carry = word >> 63;
        more = over | again;
    }
}

/// Whether bit `at` is set.
#[inline(always)]
pub(super) fn is_set(mask: &[u64], at: usize) -> bool {
    mask.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

/// The first set bit in `from..to`, or `to`.
#[inline(always)]
pub(super) fn next_set(mask: &[u64], from: usize, to: usize) -> usize {
    let mut index = from / 64;
    let Some(first) = mask.get(index) else { return to };
    let mut word = first & (u64::MAX << (from % 64));
    while word == 0 {
        index += 1;
        if index * 64 >= to {
            return to;
        }
        let Some(next) = mask.get(index) else { return to };
        word = *next;
    }
    (index * 64 + word.trailing_zeros() as usize).min(to)
}

/// The first zero bit in `from..to`, or `to`.
#[inline(always)]
pub(super) fn next_clear(mask: &[u64], from: usize, to: usize) -> usize {
    let mut index = from / 64;
    let Some(first) = mask.get(index) else { return to };
    let mut word = !first & (u64::MAX << (from % 64));
    while word == 0 {
        index += 1;
        if index * 64 >= to {
            return to;
        }
        let Some(next) = mask.get(index) else { return to };
        word = !next;
    }
    (index * 64 + word.trailing_zeros() as usize).min(to)
}

/// Bytes per pixel of a bitmap row.
pub(super) const fn bytes_per_pixel(kind: QuicType) -> usize {
    match kind {
        QuicType::Gray => 1,
        QuicType::Rgb16 => 2,
        QuicType::Rgb24 => 3,
        QuicType::Rgb32 | QuicType::Rgba => 4,
    }
}

/// Converts a bitmap row to complemented colour pixels. The alpha channel of RGBA goes to `alpha`.
pub(super) fn load(kind: QuicType, bytes: &[u8], colour: &mut Row, alpha: &mut Row) {
    let colour = colour.pixels_mut();
    match kind {
        QuicType::Gray => {
            for (pixel, byte) in colour.iter_mut().zip(bytes) {
                *pixel = [!*byte, 0, 0, 0];
            }
        }
        QuicType::Rgb16 => {
            for (pixel, bytes) in colour.iter_mut().zip(bytes.as_chunks().0) {
                let v = u32::from(!u16::from_le_bytes(*bytes));
                *pixel = (((v & 0x7c00) << 6) | ((v & 0x3e0) << 3) | (v & 0x1f)).to_le_bytes();
            }
        }
        QuicType::Rgb24 => {
            load_packed(bytes, colour);
        }
        QuicType::Rgb32 => {
            for (pixel, bytes) in colour.iter_mut().zip(bytes.as_chunks().0) {
                *pixel = (!u32::from_le_bytes(*bytes) & 0xff_ffff).to_le_bytes();
            }
        }
        QuicType::Rgba => {
            let alpha = alpha.pixels_mut();
            for ((pixel, alpha), bytes) in colour.iter_mut().zip(alpha).zip(bytes.as_chunks().0) {
                let v = !u32::from_le_bytes(*bytes);
                *pixel = (v & 0xff_ffff).to_le_bytes();
                *alpha = (v >> 24).to_le_bytes();
            }
        }
    }
}

/// Converts 24-bit pixels, two at a time.
fn load_packed(bytes: &[u8], colour: &mut [[u8; 4]]) {
    let mut done = 0;
    // The last two pixels of a row would need bytes after them.
    for (pixels, bytes) in colour.as_chunks_mut::<2>().0.iter_mut().zip(bytes.windows(8).step_by(6)) {
        let Some(bytes) = bytes.first_chunk() else { break };
        let v = !u64::from_le_bytes(*bytes);
        let v = (v & 0xff_ffff) | ((v << 8) & 0x00ff_ffff_0000_0000);
        pixels.as_flattened_mut().copy_from_slice(&v.to_le_bytes());
        done += 2;
    }
    let rest = bytes.get(3 * done..).unwrap_or_default();
    let colour = colour.get_mut(done..).unwrap_or_default();
    for (pixel, [b, g, r]) in colour.iter_mut().zip(rest.as_chunks().0) {
        *pixel = [!*b, !*g, !*r, 0];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residuals_of_all_bytes_fold_and_unfold() {
        for x in 0..=255u32 {
            for p in 0..=255u32 {
                let d = x.wrapping_sub(p) & 255;
                let s = if d <= 127 { 2 * d } else { 2 * (255 - d) + 1 };
                assert_eq!(u32::from(symbol::<8>(!x as u8, !p as u8)), s);
                assert_eq!(unfold::<8>(s * ONES, p * ONES), x * ONES);
                if x < 32 && p < 32 {
                    let d = x.wrapping_sub(p) & 31;
                    let s = if d <= 15 { 2 * d } else { 2 * (31 - d) + 1 };
                    assert_eq!(u32::from(symbol::<5>(!x as u8 & 31, !p as u8 & 31)), s);
                    assert_eq!(unfold::<5>(s * ONES, p * ONES), x * ONES);
                }
                assert_eq!(average(x * ONES, p * ONES), ((x + p) / 2) * ONES);
            }
        }
    }

    #[test]
    fn mask_marks_pixels_equal_to_their_left_neighbour() {
        let pixels: Vec<u8> =
            (0..200).map(|i| if (60..70).contains(&i) || i > 190 { 7 } else { i }).collect();
        let mut row = Row::default();
        row.resize(200);
        load(QuicType::Gray, &pixels, &mut row, &mut Row::default());
        let mut mask = vec![u64::MAX; mask_words(200)];
        equals_left(&row, 200, &mut mask);
        for i in 0..mask.len() * 64 {
            let expected = i > 0 && i < 200 && pixels[i] == pixels[i - 1];
            assert_eq!(mask[i / 64] >> (i % 64) & 1 == 1, expected, "{i}");
        }
        assert_eq!(next_set(&mask, 0, 200), 61);
        assert_eq!(next_clear(&mask, 61, 200), 70);
        assert_eq!(next_clear(&mask, 61, 65), 65);
        assert_eq!(next_set(&mask, 70, 200), 192);
        assert_eq!(next_set(&mask, 70, 100), 100);
    }
}
