//! Colour conversion: pixel rows to a strip of 16 rows of luma and 8 rows of halved chroma.
//!
//! Samples are centred at 0 and twice as large as the standard's, which keeps one more bit that the
//! conversion would round away. Arithmetic uses 16-bit lanes; `high(a, b)` is the upper half of a product,
//! for which every vector unit has an instruction.

use super::entropy::BitWriter;
use super::tables::{CHROMA_CODES, LUMA_CODES, Quality};
use super::transform;
use crate::image::BitmapFormat;

/// Upper half of an unsigned product.
#[inline(always)]
const fn high(a: u16, b: u16) -> u16 {
    ((a as u32 * b as u32) >> 16) as u16
}

/// Upper half of a signed product.
#[inline(always)]
const fn high_signed(a: i16, b: i16) -> i16 {
    ((a as i32 * b as i32) >> 16) as i16
}

/// Converts a bitmap row of `width` pixels to 0x00RRGGBB. If `pixels` is longer, the last pixel fills the
/// rest.
pub(in crate::codec) fn load(format: BitmapFormat, bytes: &[u8], width: usize, pixels: &mut [u32]) {
    match format {
        BitmapFormat::SixteenBit => {
            for (pixel, bytes) in pixels.iter_mut().zip(bytes.as_chunks().0) {
                let v = u32::from(u16::from_le_bytes(*bytes));
                let five = ((v & 0x7c00) << 6) | ((v & 0x3e0) << 3) | (v & 0x1f);
                *pixel = (five << 3) | ((five >> 2) & 0x0007_0707);
            }
        }
        BitmapFormat::TwentyFourBit => {
            for (pixel, [b, g, r]) in pixels.iter_mut().zip(bytes.as_chunks().0) {
                *pixel = u32::from_le_bytes([*b, *g, *r, 0]);
            }
        }
        _ => {
            for (pixel, bytes) in pixels.iter_mut().zip(bytes.as_chunks().0) {
                *pixel = u32::from_le_bytes(*bytes);
            }
        }
    }
    if let Some((row, rest)) = pixels.split_at_mut_checked(width) {
        rest.fill(row.last().copied().unwrap_or(0));
    }
}

/// Sixteen rows of an image as component samples. All rows are a multiple of 16 pixels wide.
#[derive(Debug, Default)]
pub(super) struct Strip {
    /// Luma samples per row.
    width: usize,
    luma: Vec<i16>,
    /// Cb and Cr: eight rows each, half as wide.
    chroma: [Vec<i16>; 2],
    /// Blocks after the vertical half of the transform: the upper eight rows of luma, the lower ones, Cb and Cr.
    blocks: [Vec<[i16; 64]>; 4],
}

impl Strip {
    /// Makes room for an image of this width.
    pub(super) fn reset(&mut self, width: usize) {
        self.width = width.next_multiple_of(16);
        self.luma.resize(16 * self.width, 0);
        for plane in &mut self.chroma {
            plane.resize(4 * self.width, 0);
        }
        for (blocks, per_row) in self.blocks.iter_mut().zip([8, 8, 16, 16]) {
            blocks.resize(self.width / per_row, [0; 64]);
        }
    }

    /// Converts the pixel rows `2 * pair` and `2 * pair + 1`, which `pixels` holds in this order.
    pub(super) fn put_rows(&mut self, pair: usize, pixels: &[u32]) {
        let width = self.width;
        let (first, second) = pixels.split_at(width);
        let rows = &mut self.luma[2 * pair * width..][..2 * width];
        luma(pixels.as_chunks().0, rows.as_chunks_mut().0);
        let [cb, cr] = &mut self.chroma;
        let cb = &mut cb[pair * width / 2..][..width / 2];
        let cr = &mut cr[pair * width / 2..][..width / 2];
        chroma(first.as_chunks().0, second.as_chunks().0, cb, cr);
    }

    /// Does the vertical half of the transform for all blocks.
    pub(super) fn transform_columns(&mut self) {
        let (width, luma) = (self.width, self.luma.split_at(8 * self.width));
        let planes = [(luma.0, width), (luma.1, width)];
        let planes = planes.into_iter().chain(self.chroma.iter().map(|plane| (&**plane, width / 2)));
        for ((rows, width), blocks) in planes.zip(&mut self.blocks) {
            transform::columns(rows, width, blocks);
        }
    }

    /// Finishes and encodes the six blocks of a minimum coded unit, after [`Strip::transform_columns`].
    #[inline]
    pub(super) fn encode_mcu(
        &self,
        mcu: usize,
        quality: &Quality,
        predictions: &mut [i16; 3],
        writer: &mut BitWriter,
        out: &mut Vec<u8>,
    ) {
        let [y, cb, cr] = predictions;
        let [upper, lower, blue, red] = &self.blocks;
        for two in [upper, lower] {
            for columns in
                two.get(2 * mcu..).and_then(|blocks| blocks.first_chunk::<2>()).into_iter().flatten()
            {
                let block = transform::finish(columns, &quality.luma);
                writer.put_block(&block, y, &LUMA_CODES, out);
            }
        }
        for (blocks, prediction) in [(blue, cb), (red, cr)] {
            if let Some(columns) = blocks.get(mcu) {
                let block = transform::finish(columns, &quality.chroma);
                writer.put_block(&block, prediction, &CHROMA_CODES, out);
            }
        }
    }
}

/// One channel of 16 pixels.
#[inline(always)]
fn channel(pixels: &[u32; 16], shift: u32) -> [u16; 16] {
    let mut out = [0; 16];
    for (out, pixel) in out.iter_mut().zip(pixels) {
        *out = ((pixel >> shift) & 0xff) as u16;
    }
    out
}

/// Luma of pixels: 0.299 r + 0.587 g + 0.114 b - 128, doubled.
///
/// This and [`chroma`] are not inlined: the compiler vectorizes such loops best as functions of their own.
#[inline(never)]
fn luma(pixels: &[[u32; 16]], out: &mut [[i16; 16]]) {
    for (out, pixels) in out.iter_mut().zip(pixels) {
        let (b, g, r) = (channel(pixels, 0), channel(pixels, 8), channel(pixels, 16));
        for i in 0..16 {
            let sum = high(r[i] << 8, 19_595) + high(g[i] << 8, 38_470) + high(b[i] << 8, 7_471);
            out[i] = ((sum + 65) >> 7) as i16 - 256;
        }
    }
}

/// Chroma of 2 x 2 pixels of two rows.
#[inline(never)]
fn chroma(first: &[[u32; 2]], second: &[[u32; 2]], cb: &mut [i16], cr: &mut [i16]) {
    for (((first, second), cb), cr) in first.iter().zip(second).zip(cb).zip(cr) {
        // Sums of four red and of four blue values stay within their halves of a word.
        let four = [first[0], first[1], second[0], second[1]];
        let red_blue = four.iter().fold(0, |sum, pixel| sum + (pixel & 0xff_00ff));
        let green = four.iter().fold(0, |sum, pixel| sum + (pixel >> 8 & 0xff));
        // In units of 1/128: the sums of four are shifted by 5.
        let [r, g, b] = [red_blue >> 16, green, red_blue & 0xffff].map(|sum| (sum as i16) << 5);
        // cb = -0.168736 r - 0.331264 g + 0.5 b;  cr = 0.5 r - 0.418688 g - 0.081312 b
        let blue = (b >> 1) - high_signed(r, 11_058) - high_signed(g, 21_710);
        let red = (r >> 1) - high_signed(g, 27_439) - high_signed(b, 5_329);
        *cb = (blue + 31) >> 6;
        *cr = (red + 31) >> 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_within_a_level_of_the_standards() {
        let mut strip = Strip::default();
        strip.reset(16);
        let mut worst = 0.0f64;
        for seed in 0..4096u32 {
            let pixel = seed.wrapping_mul(0x9e37_79b1) >> 4 & 0xff_ffff;
            let (r, g, b) = (f64::from(pixel >> 16), f64::from(pixel >> 8 & 255), f64::from(pixel & 255));
            strip.put_rows(3, &[pixel; 32]);
            let y = 0.299 * r + 0.587 * g + 0.114 * b - 128.0;
            let cb = -0.168_736 * r - 0.331_264 * g + 0.5 * b;
            let cr = 0.5 * r - 0.418_688 * g - 0.081_312 * b;
            for (got, expected) in [
                (strip.luma[6 * 16], y),
                (strip.luma[7 * 16 + 15], y),
                (strip.chroma[0][24], cb),
                (strip.chroma[1][31], cr),
            ] {
                worst = worst.max((f64::from(got) / 2.0 - expected).abs());
            }
        }
        assert!(worst < 0.3, "{worst}");
    }
}
