//! Rows as `u32` pixels with one channel per byte: conversion from and to bitmap formats, residuals on all
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

/// The folded residual of each channel: the symbols that encode `pixel` for this `prediction`.
#[inline(always)]
pub(super) fn fold<const BITS: usize>(pixel: u32, prediction: u32) -> u32 {
    if BITS == 8 {
        let d = ((pixel | HIGH).wrapping_sub(prediction & !HIGH)) ^ ((pixel ^ !prediction) & HIGH);
        let negative = (d >> 7) & ONES;
        ((d << 1) & !ONES) ^ (negative << 8).wrapping_sub(negative)
    } else {
        let d = ((pixel | (ONES << 5)).wrapping_sub(prediction)) & (ONES * 31);
        let negative = (d >> 4) & ONES;
        ((d << 1) & (ONES * 30)) ^ (negative << 5).wrapping_sub(negative)
    }
}

/// The pixel whose residual is `folded`: the inverse of [`fold`].
#[inline(always)]
pub(super) fn unfold<const BITS: usize>(folded: u32, prediction: u32) -> u32 {
    let odd = folded & ONES;
    let d = ((folded >> 1) & !HIGH) ^ (odd << 8).wrapping_sub(odd);
    let sum = ((d & !HIGH) + (prediction & !HIGH)) ^ ((d ^ prediction) & HIGH);
    if BITS == 8 { sum } else { sum & (ONES * 31) }
}

/// Writes the folded residuals of a row to `out`. The top row does not use `above`. Skips aligned groups of
/// 64 pixels that lie in runs entirely, according to `runs`.
#[inline]
pub(super) fn residuals<const BITS: usize, const TOP: bool>(
    row: &[u32],
    above: &[u32],
    runs: impl Fn(usize) -> bool,
    out: &mut [u32],
) {
    if let ([first, ..], [expected, ..], [out, ..]) = (row, above, &mut *out) {
        *out = fold::<BITS>(*first, if TOP { 0 } else { *expected });
    }
    let width = row.len();
    for start in (0..width).step_by(64) {
        if !TOP && runs(start / 64) {
            continue;
        }
        let (from, to) = (start.max(1), (start + 64).min(width));
        let pixels = row[from - 1..to - 1].iter().zip(&row[from..to]);
        for (((left, pixel), above), out) in pixels.zip(&above[from..to]).zip(&mut out[from..to]) {
            *out = fold::<BITS>(*pixel, if TOP { *left } else { average(*left, *above) });
        }
    }
}

/// Words of a mask with one bit per pixel of a row, followed by at least one zero bit.
pub(super) fn mask_words(width: usize) -> usize {
    width / 64 + 1
}

/// Bit i: pixel i equals pixel i - 1. Bit 0 and the bits after the row are zero.
pub(super) fn equals_left(row: &[u32], mask: &mut [u64]) {
    for (n, bits) in mask.iter_mut().enumerate() {
        let start = n * 64;
        let mut equal = [0u8; 64];
        let whole = start.checked_sub(1).and_then(|left| {
            Some((row.get(left..)?.first_chunk::<64>()?, row.get(start..)?.first_chunk::<64>()?))
        });
        if let Some((left, pixels)) = whole {
            for ((left, pixel), e) in left.iter().zip(pixels).zip(&mut equal) {
                *e = u8::from(left == pixel);
            }
        } else {
            let first = start.max(1);
            let pixels = row.get(first - 1..).unwrap_or_default();
            let pairs = pixels.iter().zip(pixels.get(1..).unwrap_or_default());
            for ((left, pixel), e) in pairs.zip(&mut equal[first - start..]) {
                *e = u8::from(left == pixel);
            }
        }
        *bits = pack_bits(&equal);
    }
}

/// Bit i of the result is bit 0 of byte i. The other bits of the bytes must be zero.
#[inline(always)]
fn pack_bits(bytes: &[u8; 64]) -> u64 {
    let mut bits = 0;
    for (i, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let packed = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= packed << (8 * i);
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

/// Converts a bitmap row to colour pixels. The alpha channel of RGBA goes to `alpha`.
pub(super) fn load(kind: QuicType, bytes: &[u8], colour: &mut [u32], alpha: &mut [u32]) {
    match kind {
        QuicType::Gray => {
            for (pixel, byte) in colour.iter_mut().zip(bytes) {
                *pixel = u32::from(*byte);
            }
        }
        QuicType::Rgb16 => {
            for (pixel, bytes) in colour.iter_mut().zip(bytes.as_chunks().0) {
                let v = u32::from(u16::from_le_bytes(*bytes));
                *pixel = ((v & 0x7c00) << 6) | ((v & 0x3e0) << 3) | (v & 0x1f);
            }
        }
        QuicType::Rgb24 => {
            for (pixel, [b, g, r]) in colour.iter_mut().zip(bytes.as_chunks().0) {
                *pixel = u32::from_le_bytes([*b, *g, *r, 0]);
            }
        }
        QuicType::Rgb32 => {
            for (pixel, bytes) in colour.iter_mut().zip(bytes.as_chunks().0) {
                *pixel = u32::from_le_bytes(*bytes) & 0xff_ffff;
            }
        }
        QuicType::Rgba => {
            for ((pixel, alpha), bytes) in colour.iter_mut().zip(alpha).zip(bytes.as_chunks().0) {
                let v = u32::from_le_bytes(*bytes);
                *pixel = v & 0xff_ffff;
                *alpha = v >> 24;
            }
        }
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
                let (pixel, prediction) = (x * ONES, p | (p << 16));
                assert_eq!(fold::<8>(pixel, prediction) & 0x00ff_00ff, s | (s << 16));
                assert_eq!(unfold::<8>(s * ONES, p * ONES), pixel);
                if x < 32 && p < 32 {
                    let d = x.wrapping_sub(p) & 31;
                    let s = if d <= 15 { 2 * d } else { 2 * (31 - d) + 1 };
                    assert_eq!(fold::<5>(x * ONES, p * ONES), s * ONES);
                    assert_eq!(unfold::<5>(s * ONES, p * ONES), x * ONES);
                }
                assert_eq!(average(x * ONES, p * ONES), ((x + p) / 2) * ONES);
            }
        }
    }

    #[test]
    fn mask_marks_pixels_equal_to_their_left_neighbour() {
        let row: Vec<u32> = (0..200).map(|i| if (60..70).contains(&i) || i > 190 { 7 } else { i }).collect();
        let mut mask = vec![u64::MAX; mask_words(row.len())];
        equals_left(&row, &mut mask);
        for i in 0..256 {
            let expected = i > 0 && i < 200 && row[i] == row[i - 1];
            assert_eq!(mask[i / 64] >> (i % 64) & 1 == 1, expected, "{i}");
        }
        assert_eq!(next_set(&mask, 0, 200), 61);
        assert_eq!(next_clear(&mask, 61, 200), 70);
        assert_eq!(next_clear(&mask, 61, 65), 65);
        assert_eq!(next_set(&mask, 70, 200), 192);
        assert_eq!(next_set(&mask, 70, 100), 100);
    }
}
