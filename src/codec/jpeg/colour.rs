//! Colour conversion: pixel rows to sixteen rows of luma and eight rows of halved chroma.
//!
//! Samples are centred at 0 and twice as large as the standard's, which keeps one more bit that the
//! conversion would round away. Arithmetic uses 16-bit lanes; `high(a, b)` is the upper half of a product,
//! for which every vector unit has an instruction.

use crate::image::BitmapFormat;

/// Blue, green, red, and a byte without meaning.
pub(super) type Pixel = [u8; 4];

/// Pixels that are converted at a time. Loops of a fixed length have no checks, and all that is between the pixels
/// and the file stays in the nearest cache.
pub(super) const WIDTH: usize = 64;

/// Eight rows of samples.
pub(super) type Rows = [[i16; WIDTH]; 8];

/// Sums of the blue, green and red values of 2 x 2 pixels each.
type Sums = [[i16; WIDTH / 2]; 3];

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

/// Converts a bitmap row to pixels of four bytes.
pub(in crate::codec) fn load(format: BitmapFormat, bytes: &[u8], pixels: &mut [Pixel]) {
    match format {
        BitmapFormat::SixteenBit => {
            for (pixel, bytes) in pixels.iter_mut().zip(bytes.as_chunks().0) {
                let v = u32::from(u16::from_le_bytes(*bytes));
                let five = ((v & 0x7c00) << 6) | ((v & 0x3e0) << 3) | (v & 0x1f);
                *pixel = ((five << 3) | ((five >> 2) & 0x0007_0707)).to_le_bytes();
            }
        }
        BitmapFormat::TwentyFourBit => {
            // Four pixels are three words. Bytes would be stored one by one, and read as words soon after.
            let (fours, pixels) = pixels.as_chunks_mut::<4>();
            let (twelves, _) = bytes.as_chunks::<12>();
            for (pixels, bytes) in fours.iter_mut().zip(twelves) {
                let [a, b, c] = std::array::from_fn(|i| u32::from_le_bytes(bytes.as_chunks().0[i]));
                *pixels =
                    [a, a >> 24 | b << 8, b >> 16 | c << 16, c >> 8].map(|p| (p & 0xff_ffff).to_le_bytes());
            }
            let last = bytes.get(12 * fours.len()..).unwrap_or_default();
            for (pixel, [b, g, r]) in pixels.iter_mut().zip(last.as_chunks().0) {
                *pixel = [*b, *g, *r, 0];
            }
        }
        _ => {
            for (pixel, bytes) in pixels.iter_mut().zip(bytes.as_chunks().0) {
                *pixel = *bytes;
            }
        }
    }
}

/// Samples of [`WIDTH`] x 16 pixels.
#[derive(Debug)]
pub(super) struct Samples {
    /// The upper eight rows and the lower ones.
    pub(super) luma: [Rows; 2],
    /// The left half of each row is Cb, the right one Cr.
    pub(super) chroma: Rows,
    /// Of two rows of pixels: see [`sums`].
    sums: Sums,
}

impl Default for Samples {
    fn default() -> Self {
        let rows = [[0; WIDTH]; 8];
        Self { luma: [rows; 2], chroma: rows, sums: [[0; WIDTH / 2]; 3] }
    }
}

impl Samples {
    /// Converts the pixel rows `2 * pair` and `2 * pair + 1`.
    pub(super) fn put_rows(&mut self, pair: usize, first: &[Pixel; WIDTH], second: &[Pixel; WIDTH]) {
        let [y0, y1, ..] = &mut self.luma.as_flattened_mut()[2 * pair..] else { return };
        luma(first.as_chunks().0, y0.as_chunks_mut().0);
        luma(second.as_chunks().0, y1.as_chunks_mut().0);
        sums(first, second, &mut self.sums);
        chroma(&self.sums, &mut self.chroma[pair]);
    }
}

/// One channel of 16 pixels.
#[inline(always)]
fn channel(pixels: &[Pixel; 16], shift: u32) -> [u16; 16] {
    let mut out = [0; 16];
    for (out, pixel) in out.iter_mut().zip(pixels) {
        *out = ((u32::from_le_bytes(*pixel) >> shift) & 0xff) as u16;
    }
    out
}

/// Luma of pixels: 0.299 r + 0.587 g + 0.114 b - 128, doubled.
///
/// This and the two below are not inlined: the compiler vectorizes such loops best as functions of their own.
#[inline(never)]
fn luma(pixels: &[[Pixel; 16]], out: &mut [[i16; 16]]) {
    for (out, pixels) in out.iter_mut().zip(pixels) {
        let (b, g, r) = (channel(pixels, 0), channel(pixels, 8), channel(pixels, 16));
        for i in 0..16 {
            let sum = high(r[i] << 8, 19_595) + high(g[i] << 8, 38_470) + high(b[i] << 8, 7_471);
            out[i] = ((sum + 65) >> 7) as i16 - 256;
        }
    }
}

/// Sums of the blue, green and red values of 2 x 2 pixels of two rows, shifted by 5.
///
/// These loops are two, since the first has lanes of 32 bits, which the second would take over.
#[inline(never)]
fn sums(first: &[Pixel; WIDTH], second: &[Pixel; WIDTH], [blue, green, red]: &mut Sums) {
    for i in 0..WIDTH / 2 {
        let four = [first[2 * i], first[2 * i + 1], second[2 * i], second[2 * i + 1]].map(u32::from_le_bytes);
        // Sums of four red and of four blue values stay within their halves of a word.
        let red_blue = four.iter().fold(0, |sum, pixel| sum + (pixel & 0xff_00ff));
        let shifted_green = four.iter().fold(0, |sum, pixel| sum + (pixel & 0xff00));
        blue[i] = (red_blue << 5) as i16;
        green[i] = (shifted_green >> 3) as i16;
        red[i] = (red_blue >> 11) as i16;
    }
}

/// Chroma of such sums, Cb before Cr.
#[inline(never)]
fn chroma([blue, green, red]: &Sums, out: &mut [i16; WIDTH]) {
    for i in 0..WIDTH / 2 {
        // In units of 1/128.
        let (r, g, b) = (red[i], green[i], blue[i]);
        // cb = -0.168736 r - 0.331264 g + 0.5 b;  cr = 0.5 r - 0.418688 g - 0.081312 b
        let cb = (b >> 1) - high_signed(r, 11_058) - high_signed(g, 21_710);
        let cr = (r >> 1) - high_signed(g, 27_439) - high_signed(b, 5_329);
        out[i] = (cb + 31) >> 6;
        out[WIDTH / 2 + i] = (cr + 31) >> 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_within_a_level_of_the_standards() {
        let mut samples = Samples::default();
        let mut worst = 0.0f64;
        for seed in 0..4096u32 {
            let pixel = seed.wrapping_mul(0x9e37_79b1) >> 4 & 0xff_ffff;
            let (r, g, b) = (f64::from(pixel >> 16), f64::from(pixel >> 8 & 255), f64::from(pixel & 255));
            let row = [pixel.to_le_bytes(); WIDTH];
            samples.put_rows(3, &row, &row);
            let y = 0.299 * r + 0.587 * g + 0.114 * b - 128.0;
            let cb = -0.168_736 * r - 0.331_264 * g + 0.5 * b;
            let cr = 0.5 * r - 0.418_688 * g - 0.081_312 * b;
            for (got, expected) in [
                (samples.luma[0][6][0], y),
                (samples.luma[0][7][63], y),
                (samples.chroma[3][0], cb),
                (samples.chroma[3][63], cr),
            ] {
                worst = worst.max((f64::from(got) / 2.0 - expected).abs());
            }
        }
        assert!(worst < 0.3, "{worst}");
    }
}
