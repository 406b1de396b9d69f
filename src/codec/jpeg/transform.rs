//! The forward discrete cosine transform in the form of Arai, Agui and Nakajima (five multiplications per
//! row), on 16-bit integers, and quantization. The transform leaves each coefficient scaled by a known
//! factor, which the divisors of [`super::tables::Divisors`] include.

use super::tables::Divisors;

/// A quantized block.
#[derive(Debug)]
pub(super) struct Block {
    /// Column by column (transposed).
    pub(super) coefficients: [i16; 64],
    /// Bit 8 * column + row: that coefficient is not zero.
    pub(super) nonzero: [u8; 8],
}

#[inline(always)]
fn times(x: i16, factor: i16) -> i16 {
    ((i32::from(x) * i32::from(factor)) >> 16) as i16
}

/// One-dimensional transform of eight samples.
#[inline(always)]
fn transform(x: [i16; 8]) -> [i16; 8] {
    // A product with a number above one half is x plus a product with a smaller number.
    const COS_4: i16 = -19_195; // cos(4 pi / 16) - 1
    const COS_6: i16 = 25_080; // cos(6 pi / 16)
    const DIFFERENCE: i16 = -30_068; // cos(2 pi / 16) - cos(6 pi / 16) - 1
    const SUM: i16 = 20_091; // cos(2 pi / 16) + cos(6 pi / 16) - 1

    let [x0, x1, x2, x3, x4, x5, x6, x7] = x;
    let (s0, d0) = (x0.wrapping_add(x7), x0.wrapping_sub(x7));
    let (s1, d1) = (x1.wrapping_add(x6), x1.wrapping_sub(x6));
    let (s2, d2) = (x2.wrapping_add(x5), x2.wrapping_sub(x5));
    let (s3, d3) = (x3.wrapping_add(x4), x3.wrapping_sub(x4));

    let (outer, outer_d) = (s0.wrapping_add(s3), s0.wrapping_sub(s3));
    let (inner, inner_d) = (s1.wrapping_add(s2), s1.wrapping_sub(s2));
    let turned = inner_d.wrapping_add(outer_d);
    let turned = turned.wrapping_add(times(turned, COS_4));

    let a = d3.wrapping_add(d2);
    let b = d2.wrapping_add(d1);
    let c = d1.wrapping_add(d0);
    let common = times(a.wrapping_sub(c), COS_6);
    let low = a.wrapping_add(times(a, DIFFERENCE)).wrapping_add(common);
    let high = c.wrapping_add(times(c, SUM)).wrapping_add(common);
    let middle = b.wrapping_add(times(b, COS_4));
    let (near, far) = (d0.wrapping_add(middle), d0.wrapping_sub(middle));
    [
        outer.wrapping_add(inner),
        near.wrapping_add(high),
        outer_d.wrapping_add(turned),
        far.wrapping_sub(low),
        outer.wrapping_sub(inner),
        far.wrapping_add(low),
        outer_d.wrapping_sub(turned),
        near.wrapping_sub(high),
    ]
}

/// Transforms the eight columns of a block.
#[inline(always)]
fn transform_columns(block: &mut [i16; 64]) {
    for i in 0..8 {
        for (y, value) in transform(std::array::from_fn(|k| block[8 * k + i])).into_iter().enumerate() {
            block[8 * y + i] = value;
        }
    }
}

/// Transforms all columns of eight rows of `width` samples. What comes of them is a block for each eight columns.
#[inline(never)]
pub(super) fn columns(rows: &[i16], width: usize, blocks: &mut [[i16; 64]]) {
    let mut columns: [_; 8] = std::array::from_fn(|y| {
        rows.get(y * width..).and_then(|row| row.get(..width)).unwrap_or_default().as_chunks::<8>().0.iter()
    });
    for block in blocks {
        for (to, row) in block.as_chunks_mut().0.iter_mut().zip(&mut columns) {
            *to = *row.next().unwrap_or(&[0; 8]);
        }
        transform_columns(block);
    }
}

/// One round of a transposition: interleaves row k with row k + 4.
///
/// Not inlined: the compiler vectorizes such loops only as functions of their own.
#[inline(never)]
fn interleave(from: &[i16; 64], to: &mut [i16; 64]) {
    let (upper, lower) = from.split_at(32);
    for ((pair, a), b) in to.as_chunks_mut().0.iter_mut().zip(upper).zip(lower) {
        *pair = [*a, *b];
    }
}

/// Transposes 8 rows.
#[inline(always)]
fn transpose(rows: &[i16; 64]) -> [i16; 64] {
    let (mut first, mut second) = ([0; 64], [0; 64]);
    interleave(rows, &mut first);
    interleave(&first, &mut second);
    interleave(&second, &mut first);
    first
}

/// Divides coefficients by the steps. `flags` is 1 where one is not zero.
#[inline(never)]
fn quantize(coefficients: &mut [i16; 64], flags: &mut [u8; 64], divisors: &Divisors) {
    for i in 0..64 {
        let c = coefficients[i];
        let sign = c >> 15;
        let magnitude = ((c ^ sign).wrapping_sub(sign) as u16).wrapping_add(divisors.bias[i]);
        let scaled = ((u32::from(magnitude) * u32::from(divisors.reciprocal[i])) >> 16) as u16;
        let quotient = ((u32::from(scaled) * u32::from(divisors.shift[i])) >> 16) as i16;
        coefficients[i] = (quotient ^ sign).wrapping_sub(sign);
        flags[i] = quotient.min(1) as u8;
    }
}

/// [`transform_columns`] as a function of its own, for the same reason as [`interleave`].
#[inline(never)]
fn transform_block(block: &mut [i16; 64]) {
    transform_columns(block);
}

/// Does the horizontal half of the transform of a block, and quantizes it.
#[inline]
pub(super) fn finish(columns: &[i16; 64], divisors: &Divisors) -> Block {
    let mut coefficients = transpose(columns);
    transform_block(&mut coefficients);
    let (mut flags, mut nonzero) = ([0; 64], [0; 8]);
    quantize(&mut coefficients, &mut flags, divisors);
    for (byte, flags) in nonzero.iter_mut().zip(flags.as_chunks().0) {
        *byte = (u64::from_le_bytes(*flags).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
    }
    Block { coefficients, nonzero }
}

#[cfg(test)]
mod tests {
    use super::super::tables::Quality;
    use super::*;

    /// The transform by its definition (T.81 A.3.3).
    fn slow(samples: &[f64; 64], u: usize, v: usize) -> f64 {
        let c = |k| if k == 0 { 0.5f64.sqrt() } else { 1.0 };
        let angle = |x: usize, k: usize| ((2 * x + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos();
        let sum: f64 = samples.iter().enumerate().map(|(i, s)| s * angle(i % 8, u) * angle(i / 8, v)).sum();
        sum * c(u) * c(v) / 4.0
    }

    #[test]
    fn transpose_swaps_rows_and_columns() {
        let rows = std::array::from_fn(|i| i as i16);
        assert_eq!(transpose(&rows), std::array::from_fn(|i| (i % 8 * 8 + i / 8) as i16));
    }

    #[test]
    fn coefficients_are_those_of_the_definition_divided_by_the_steps() {
        for percent in [1, 30, 85, 100] {
            let quality = Quality::new(percent);
            for seed in 0..60u32 {
                let value = |i: usize| {
                    let hash = (seed * 64 + i as u32).wrapping_mul(0x9e37_79b1) >> 23;
                    // Noise, extremes, and smooth blocks.
                    match seed % 3 {
                        0 => hash as i16 - 256,
                        1 => {
                            if hash > 255 {
                                254
                            } else {
                                -256
                            }
                        }
                        _ => (i as i16 % 8) * 17 + (i as i16 / 8) * 9 - 100,
                    }
                };
                let samples: [i16; 64] = std::array::from_fn(value);
                let exact = samples.map(|s| f64::from(s) / 2.0);
                let mut blocks = [[0; 64]];
                columns(&samples, 8, &mut blocks);
                let block = finish(&blocks[0], &quality.luma);
                for i in 0..64 {
                    let (u, v) = (i / 8, i % 8);
                    let step = f64::from(quality.luma.steps()[v * 8 + u]);
                    let expected = slow(&exact, u, v) / step;
                    let got = f64::from(block.coefficients[i]);
                    assert!(
                        (got - expected).abs() < 0.5 + 2.2 / step + 0.01 * expected.abs(),
                        "{percent} {seed} {u} {v}: {got} {expected}"
                    );
                    assert_eq!(block.nonzero[u] >> v & 1 == 1, block.coefficients[i] != 0);
                }
            }
        }
    }
}
