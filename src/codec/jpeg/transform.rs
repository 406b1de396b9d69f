//! The forward discrete cosine transform in the form of Arai, Agui and Nakajima (five multiplications per
//! row), on 16-bit integers, and quantization. The transform leaves each coefficient scaled by a known
//! factor, which the divisors of [`super::tables::Divisors`] include.

use super::colour::{Rows, WIDTH};
use super::tables::{ColumnDivisors, Divisors};

/// A quantized block.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Column by column (transposed).
    pub(super) coefficients: [[i16; 8]; 8],
    /// Bit `column` of each row: that coefficient is not zero.
    pub(super) nonzero: [u16; 8],
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

/// A block after the vertical half of the transform, column by column (transposed).
pub(super) type Columns = [[i16; 8]; 8];

/// Does the vertical half of the transform of the blocks that lie side by side in `rows`.
///
/// Transposing costs little here, since the compiler does it in registers. This and [`finish`] are not inlined: the
/// compiler vectorizes such loops best as functions of their own.
#[inline(never)]
pub(super) fn columns(rows: &Rows, blocks: &mut [Columns; WIDTH / 8]) {
    for (x, column) in blocks.as_flattened_mut().iter_mut().enumerate().take(WIDTH) {
        *column = transform(std::array::from_fn(|y| rows[y][x]));
    }
}

/// Divides the coefficients of a column, and adds to `nonzero` of each row which of them are not zero.
#[inline(always)]
fn quantize(column: &mut [i16; 8], divisors: &ColumnDivisors, nonzero: &mut [u16; 8]) {
    for y in 0..8 {
        let c = column[y];
        let magnitude = c.unsigned_abs().wrapping_add(divisors.bias[y]);
        let scaled = ((u32::from(magnitude) * u32::from(divisors.reciprocal[y])) >> 16) as u16;
        let quotient = ((u32::from(scaled) * u32::from(divisors.shift[y])) >> 16) as i16;
        let sign = c >> 15;
        column[y] = (quotient ^ sign).wrapping_sub(sign);
        nonzero[y] = nonzero[y] << 1 | quotient.min(1) as u16;
    }
}

/// Does the horizontal half of the transform of a block, and quantizes it.
#[inline(never)]
pub(super) fn finish(columns: &Columns, divisors: &Divisors, block: &mut Block) {
    let coefficients = &mut block.coefficients;
    for y in 0..8 {
        for (x, value) in transform(std::array::from_fn(|x| columns[x][y])).into_iter().enumerate() {
            coefficients[x][y] = value;
        }
    }
    let mut nonzero = [0; 8];
    // Two at a time, since the loop itself costs as much as a part of its work.
    for ([left, right], [left_divisors, right_divisors]) in
        coefficients.as_chunks_mut().0.iter_mut().zip(divisors.columns.as_chunks().0).rev()
    {
        quantize(right, right_divisors, &mut nonzero);
        quantize(left, left_divisors, &mut nonzero);
    }
    block.nonzero = nonzero;
}

#[cfg(test)]
mod tests {
    use super::super::tables::{BIAS, Quality};
    use super::*;

    /// The transform by its definition (T.81 A.3.3).
    fn slow(samples: &[f64; 64], u: usize, v: usize) -> f64 {
        let c = |k| if k == 0 { 0.5f64.sqrt() } else { 1.0 };
        let angle = |x: usize, k: usize| ((2 * x + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos();
        let sum: f64 = samples.iter().enumerate().map(|(i, s)| s * angle(i % 8, u) * angle(i / 8, v)).sum();
        sum * c(u) * c(v) / 4.0
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
                // The block is the third of those side by side.
                let mut rows = [[0; WIDTH]; 8];
                (0..64).for_each(|i| rows[i / 8][16 + i % 8] = samples[i]);
                let exact = samples.map(|s| f64::from(s) / 2.0);
                let mut blocks = [[[0; 8]; 8]; 8];
                columns(&rows, &mut blocks);
                let mut block = Block::default();
                finish(&blocks[2], &quality.luma, &mut block);
                for i in 0..64 {
                    let (u, v) = (i / 8, i % 8);
                    let step = f64::from(quality.luma.steps()[v * 8 + u]);
                    let expected = slow(&exact, u, v) / step;
                    let got = f64::from(block.coefficients[u][v]);
                    // How far it may be from the definition towards zero, and away from it.
                    let (down, up) = if i == 0 { (0.5, 0.5) } else { (1.0 - BIAS, BIAS) };
                    let error = if expected < 0.0 { expected - got } else { got - expected };
                    let tolerance = 2.2 / step + 0.01 * expected.abs();
                    assert!(
                        (-down - tolerance..up + tolerance).contains(&error),
                        "{percent} {seed} {u} {v}: {got} {expected}"
                    );
                    assert_eq!(block.nonzero[v] >> u & 1 == 1, block.coefficients[u][v] != 0);
                }
            }
        }
    }
}
