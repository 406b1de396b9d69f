//! Converts pixels of four bytes (blue, green, red, unused) to planes of luma and halved chroma (I420), in the limited range
//! of video: luma 16 to 235, chroma 16 to 240.
//!
//! GStreamer has an element that does the same. This code is several times as fast, reads the frame once, and fixes the
//! colours that the decoder will see.

/// The standard by which luma and chroma are computed from red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// ITU-R BT.601, which decoders assume for small pictures.
    Bt601,
    /// ITU-R BT.709, which decoders assume for large pictures.
    Bt709,
}

/// 256 times the factors of red, green and blue, small enough for sums of 16 bits.
#[derive(Clone, Copy)]
struct Factors {
    y: [u16; 3],
    u: [i16; 3],
    v: [i16; 3],
}

impl Matrix {
    const fn factors(self) -> Factors {
        match self {
            Self::Bt601 => Factors { y: [66, 129, 25], u: [-38, -74, 112], v: [112, -94, -18] },
            Self::Bt709 => Factors { y: [47, 157, 16], u: [-26, -86, 112], v: [112, -102, -10] },
        }
    }
}

/// Rows of one picture in three planes.
#[derive(Debug)]
pub struct Planes<'a> {
    pub y: &'a mut [u8],
    pub u: &'a mut [u8],
    pub v: &'a mut [u8],
    /// Bytes from one row of luma to the next.
    pub y_stride: usize,
    /// Bytes from one row of either chroma to the next.
    pub uv_stride: usize,
}

/// Converts `height` rows of `width` pixels. Rows in `pixels` are `stride` bytes apart. An odd last column or row has the
/// chroma of the pixels that exist. The function leaves out rows that a slice has no room for.
pub fn to_i420(pixels: &[u8], stride: usize, width: usize, height: usize, matrix: Matrix, out: Planes<'_>) {
    if width == 0 || height == 0 || stride < width * 4 {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        unsafe { rows_avx2(pixels, stride, width, matrix, height, out) };
        return;
    }
    rows(pixels, stride, width, matrix, height, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rows_avx2(pixels: &[u8], stride: usize, width: usize, matrix: Matrix, height: usize, out: Planes<'_>) {
    rows(pixels, stride, width, matrix, height, out);
}

#[inline(always)]
fn rows(pixels: &[u8], stride: usize, width: usize, matrix: Matrix, height: usize, out: Planes<'_>) {
    let factors = matrix.factors();
    let row = |y: usize| pixels.get(y * stride..)?.get(..width * 4).map(|row| row.as_chunks::<4>().0);
    for pair in 0..height.div_ceil(2) {
        let (first, second) = (2 * pair, (2 * pair + 1).min(height - 1));
        let (Some(upper), Some(lower)) = (row(first), row(second)) else { return };
        for (y, pixels) in [(first, upper), (second, lower)] {
            let Some(out) = out.y.get_mut(y * out.y_stride..).and_then(|rest| rest.get_mut(..width)) else {
                return;
            };
            luma(pixels, factors.y, out);
        }
        let (at, len) = (pair * out.uv_stride, width.div_ceil(2));
        let u = out.u.get_mut(at..).and_then(|rest| rest.get_mut(..len));
        let v = out.v.get_mut(at..).and_then(|rest| rest.get_mut(..len));
        let (Some(u), Some(v)) = (u, v) else { return };
        chroma(upper, lower, factors, u, v);
    }
}

#[inline(always)]
fn luma(pixels: &[[u8; 4]], [red, green, blue]: [u16; 3], out: &mut [u8]) {
    for (out, pixel) in out.iter_mut().zip(pixels) {
        let word = u32::from_le_bytes(*pixel);
        let (b, g, r) = (word as u16 & 0xff, (word >> 8) as u16 & 0xff, (word >> 16) as u16 & 0xff);
        // At most 220 * 255 + 128, which 16 bits hold.
        *out = (((r * red + g * green + b * blue + 128) >> 8) + 16) as u8;
    }
}

#[inline(always)]
fn chroma(upper: &[[u8; 4]], lower: &[[u8; 4]], factors: Factors, u: &mut [u8], v: &mut [u8]) {
    let (pairs, last) = upper.as_chunks::<2>();
    let (lower_pairs, lower_last) = lower.as_chunks::<2>();
    for (((upper, lower), u), v) in pairs.iter().zip(lower_pairs).zip(u.iter_mut()).zip(v.iter_mut()) {
        let words = [upper[0], upper[1], lower[0], lower[1]].map(u32::from_le_bytes);
        (*u, *v) = chroma_of(words, factors);
    }
    if let ([upper], [lower], Some(u), Some(v)) = (last, lower_last, u.last_mut(), v.last_mut()) {
        (*u, *v) = chroma_of([*upper, *lower, *upper, *lower].map(u32::from_le_bytes), factors);
    }
}

/// Chroma of the mean of four pixels.
#[inline(always)]
fn chroma_of(words: [u32; 4], factors: Factors) -> (u8, u8) {
    // Red and blue are summed in one word: each sum has 10 bits.
    let red_blue: u32 = words.iter().map(|w| w & 0x00ff_00ff).sum();
    let green: u32 = words.iter().map(|w| w >> 8 & 0xff).sum();
    let mean = |sum: u32| (((sum & 0x3ff) + 2) >> 2) as i16;
    let (r, g, b) = (mean(red_blue >> 16), mean(green), mean(red_blue));
    let weigh = |[red, green, blue]: [i16; 3]| {
        // At most 112 * 255 + 128 either way, which 16 bits hold.
        (((r * red + g * green + b * blue + 128) >> 8) + 128) as u8
    };
    (weigh(factors.u), weigh(factors.v))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of one colour (red, green, blue) as luma and chroma.
    fn flat(colour: [u8; 3], width: usize, height: usize, matrix: Matrix) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let [r, g, b] = colour;
        let stride = width * 4 + 8;
        let mut pixels = vec![0x55; stride * height];
        for row in pixels.chunks_mut(stride) {
            row[..width * 4].as_chunks_mut::<4>().0.fill([b, g, r, 0xaa]);
        }
        let (uv_stride, uv_rows) = (width.div_ceil(2), height.div_ceil(2));
        let (mut y, mut u, mut v) =
            (vec![0; width * height], vec![0; uv_stride * uv_rows], vec![0; uv_stride * uv_rows]);
        let out = Planes { y: &mut y, u: &mut u, v: &mut v, y_stride: width, uv_stride };
        to_i420(&pixels, stride, width, height, matrix, out);
        (y, u, v)
    }

    #[test]
    fn colours_are_those_of_the_standards() {
        // Red, green, blue, then luma and chroma by the formulas of BT.601 and BT.709 in floating point.
        let known = [
            (Matrix::Bt601, [255, 255, 255], [235, 128, 128]),
            (Matrix::Bt601, [0, 0, 0], [16, 128, 128]),
            (Matrix::Bt601, [255, 0, 0], [81, 90, 240]),
            (Matrix::Bt601, [0, 255, 0], [145, 54, 34]),
            (Matrix::Bt601, [0, 0, 255], [41, 240, 110]),
            (Matrix::Bt709, [255, 255, 255], [235, 128, 128]),
            (Matrix::Bt709, [255, 0, 0], [63, 102, 240]),
            (Matrix::Bt709, [0, 255, 0], [173, 42, 26]),
            (Matrix::Bt709, [0, 0, 255], [32, 240, 118]),
        ];
        for (matrix, colour, expected) in known {
            let (y, u, v) = flat(colour, 34, 6, matrix);
            for (plane, expected) in [y, u, v].iter().zip(expected) {
                let off = plane.iter().map(|&p| p.abs_diff(expected)).max();
                assert!(off <= Some(1), "{matrix:?} {colour:?}: {:?} in place of {expected}", plane[0]);
            }
        }
    }

    #[test]
    fn odd_sides_have_chroma_too() {
        for (width, height) in [(1, 1), (1, 2), (3, 1), (5, 3), (33, 7)] {
            let (y, u, v) = flat([255, 0, 0], width, height, Matrix::Bt601);
            assert!(y.iter().all(|&p| p.abs_diff(81) <= 1), "{width} x {height}");
            assert!(u.iter().all(|&p| p.abs_diff(90) <= 1), "{width} x {height}");
            assert!(v.iter().all(|&p| p.abs_diff(240) <= 1), "{width} x {height}");
        }
    }

    #[test]
    fn each_pixel_lands_in_its_place() {
        let (width, height) = (70, 4);
        let mut pixels = vec![0; width * height * 4];
        pixels[(2 * width + 67) * 4..][..3].fill(255);
        let (mut y, mut u, mut v) = (vec![0; width * height], vec![0; 35 * 2], vec![0; 35 * 2]);
        let out = Planes { y: &mut y, u: &mut u, v: &mut v, y_stride: width, uv_stride: 35 };
        to_i420(&pixels, width * 4, width, height, Matrix::Bt601, out);
        let bright: Vec<usize> = (0..y.len()).filter(|&at| y[at] != 16).collect();
        assert_eq!((bright.as_slice(), y[2 * width + 67]), (&[2 * width + 67][..], 235));
        assert!(u.iter().chain(&v).all(|&c| c == 128), "white has no colour, nor has a quarter of it");
    }

    #[test]
    fn short_slices_end_the_picture() {
        let (mut y, mut u, mut v) = (vec![0; 8], vec![0; 2], vec![0; 2]);
        let out = Planes { y: &mut y, u: &mut u, v: &mut v, y_stride: 4, uv_stride: 2 };
        to_i420(&[255; 64], 16, 4, 4, Matrix::Bt601, out);
        assert_eq!(y, [235; 8]);
        let out = Planes { y: &mut y, u: &mut u, v: &mut v, y_stride: 4, uv_stride: 2 };
        to_i420(&[0; 20], 16, 4, 4, Matrix::Bt601, out);
        assert_eq!(y, [235; 8], "half a picture is none");
    }
}
