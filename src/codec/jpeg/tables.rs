//! The tables of the JPEG standard (ITU-T T.81, annex K) and the header that declares them.

/// Row-major position of each coefficient in zigzag order.
#[rustfmt::skip]
pub(super) const ZIGZAG: [u8; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Quantization of luma at quality 50, row-major (K.1).
#[rustfmt::skip]
const LUMA_STEPS: [u16; 64] = [
    16, 11, 10, 16,  24,  40,  51,  61,
    12, 12, 14, 19,  26,  58,  60,  55,
    14, 13, 16, 24,  40,  57,  69,  56,
    14, 17, 22, 29,  51,  87,  80,  62,
    18, 22, 37, 56,  68, 109, 103,  77,
    24, 35, 55, 64,  81, 104, 113,  92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103,  99,
];

/// Quantization of chroma at quality 50, row-major (K.2).
#[rustfmt::skip]
const CHROMA_STEPS: [u16; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
];

/// A Huffman table as the file declares it: the number of codes of each length, and their symbols.
struct HuffmanSpec {
    /// Class and id: 0x00 and 0x01 DC, 0x10 and 0x11 AC.
    id: u8,
    counts: [u8; 16],
    symbols: &'static [u8],
}

const DC_SYMBOLS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

#[rustfmt::skip]
const LUMA_AC_SYMBOLS: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
    0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

#[rustfmt::skip]
const CHROMA_AC_SYMBOLS: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
    0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
    0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
    0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

const LUMA_DC: HuffmanSpec =
    HuffmanSpec { id: 0x00, counts: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], symbols: &DC_SYMBOLS };
const LUMA_AC: HuffmanSpec = HuffmanSpec {
    id: 0x10,
    counts: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d],
    symbols: &LUMA_AC_SYMBOLS,
};
const CHROMA_DC: HuffmanSpec =
    HuffmanSpec { id: 0x01, counts: [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], symbols: &DC_SYMBOLS };
const CHROMA_AC: HuffmanSpec = HuffmanSpec {
    id: 0x11,
    counts: [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
    symbols: &CHROMA_AC_SYMBOLS,
};

/// Symbol for sixteen zeros.
pub(super) const SIXTEEN_ZEROS: usize = 0xf0;

/// Codes by symbol: code << 8 | length.
pub(super) type Codes = [u32; 256];

impl HuffmanSpec {
    const fn codes(&self) -> Codes {
        let mut codes = [0; 256];
        let (mut code, mut next) = (0, 0);
        let mut length = 1;
        while length <= 16 {
            let mut left = self.counts[length - 1];
            while left > 0 {
                codes[self.symbols[next] as usize] = (code << 8) | length as u32;
                code += 1;
                next += 1;
                left -= 1;
            }
            code <<= 1;
            length += 1;
        }
        codes
    }
}

/// Values from -16 to 15 behind any run of zeros, with the codes of both: `(value + 16) * 64 + run`, in the form of
/// [`Codes`]. An index says whether the value is in range, so that one comparison decides for most coefficients.
pub(super) type ShortCodes = [u64; SHORT_CODES];
pub(super) const SHORT_CODES: usize = 32 * 64;

const fn short_codes(codes: &Codes) -> ShortCodes {
    let mut short = [0; SHORT_CODES];
    let mut at = 0;
    while at < SHORT_CODES {
        let (mut run, value) = (at % 64, (at / 64) as i32 - 16);
        let (mut code, mut length) = (0, 0);
        while run >= 16 {
            let zeros = codes[SIXTEEN_ZEROS];
            code = code << (zeros & 255) | (zeros >> 8) as u64;
            length += zeros & 255;
            run -= 16;
        }
        let bits = 32 - value.unsigned_abs().leading_zeros();
        let symbol = codes[run << 4 | bits as usize];
        let tail = ((value + (value >> 31)) as u32) & ((1 << bits) - 1);
        code = code << (symbol & 255) | (symbol >> 8) as u64;
        code = code << bits | tail as u64;
        short[at] = code << 8 | (length + (symbol & 255) + bits) as u64;
        at += 1;
    }
    short
}

/// The two Huffman tables of a component.
#[derive(Debug)]
pub(super) struct ComponentCodes {
    pub(super) dc: Codes,
    pub(super) ac: Codes,
    pub(super) short: ShortCodes,
}

impl ComponentCodes {
    const fn new(dc: &HuffmanSpec, ac: &HuffmanSpec) -> Self {
        let ac = ac.codes();
        Self { dc: dc.codes(), short: short_codes(&ac), ac }
    }
}

pub(super) static LUMA_CODES: ComponentCodes = ComponentCodes::new(&LUMA_DC, &LUMA_AC);
pub(super) static CHROMA_CODES: ComponentCodes = ComponentCodes::new(&CHROMA_DC, &CHROMA_AC);

pub(super) const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// By how much the fast transform's outputs are too large in all rows and columns: 8 by the transform, 2 by the
/// samples.
const OUTPUT_SCALE: f64 = 16.0;

/// Factors by which the fast transform's outputs are too large beside that, per row or column: 1 for the first, otherwise
/// sqrt(2) * cos(k * pi / 16).
const TRANSFORM_SCALES: [f64; 8] = [
    1.0,
    1.387_039_845_322_148,
    1.306_562_964_876_377,
    1.175_875_602_419_359,
    1.0,
    0.785_694_958_387_102,
    0.541_196_100_146_197,
    0.275_899_379_282_943,
];

/// What is added to the magnitude of a coefficient other than the first, in steps, before it is rounded down. Most are small,
/// and a smaller one is likelier than a larger one, so that rounding to the nearest step takes more bytes than it is worth: a
/// frame of video at quality 80 has 11 % fewer bytes than with 0.5 and 0.1 dB more noise, where quality 78 saves 7 % for 0.2 dB.
pub(super) const BIAS: f64 = 0.4;

/// How to divide the coefficients of a column: `(|c| + bias) * reciprocal >> 16`, then `* shift >> 16`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ColumnDivisors {
    pub(super) bias: [u16; 8],
    pub(super) reciprocal: [u16; 8],
    pub(super) shift: [u16; 8],
}

/// How to divide the coefficients of one component.
#[derive(Clone, Debug)]
pub(super) struct Divisors {
    pub(super) columns: [ColumnDivisors; 8],
    /// Quantization steps as in the header, row-major.
    steps: [u8; 64],
}

impl Divisors {
    /// Quantization steps, row-major.
    #[cfg(test)]
    pub(super) fn steps(&self) -> &[u8; 64] {
        &self.steps
    }

    fn new(base: &[u16; 64], percent: u8) -> Self {
        let percent = u32::from(percent);
        let scale = if percent < 50 { 5000 / percent } else { 200 - 2 * percent };
        let mut divisors = Self { columns: Default::default(), steps: [0; 64] };
        for (i, base) in base.iter().enumerate() {
            let (row, column) = (i / 8, i % 8);
            let factor = TRANSFORM_SCALES[row] * TRANSFORM_SCALES[column] * OUTPUT_SCALE;
            // A divisor below 2 would not fit the arithmetic, so the few steps concerned are made coarser.
            let least = (2.0 / factor).ceil();
            let step = f64::from(((u32::from(*base) * scale + 50) / 100).clamp(1, 255)).max(least);
            let divisor = step * factor;
            let exponent = divisor.log2().floor();
            divisors.steps[i] = step as u8;
            let column = &mut divisors.columns[column];
            let bias = if i == 0 { 0.5 } else { BIAS };
            column.bias[row] = (divisor * bias).round() as u16;
            column.reciprocal[row] = (65_536.0 * exponent.exp2() / divisor).round().min(65_535.0) as u16;
            column.shift[row] = (65_536.0 / exponent.exp2()) as u16;
        }
        divisors
    }
}

/// The tables that depend on the quality.
#[derive(Clone, Debug)]
pub(super) struct Quality {
    pub(super) percent: u8,
    pub(super) luma: Divisors,
    pub(super) chroma: Divisors,
}

impl Quality {
    pub(super) fn new(percent: u8) -> Self {
        let percent = percent.clamp(1, 100);
        Self {
            percent,
            luma: Divisors::new(&LUMA_STEPS, percent),
            chroma: Divisors::new(&CHROMA_STEPS, percent),
        }
    }
}

/// Appends everything that precedes the entropy-coded data.
pub(super) fn put_header(quality: &Quality, width: u16, height: u16, out: &mut Vec<u8>) {
    let segment = |out: &mut Vec<u8>, marker: u8, parts: &[&[u8]]| {
        let len = 2 + parts.iter().map(|p| p.len()).sum::<usize>();
        out.extend_from_slice(&[0xff, marker]);
        out.extend_from_slice(&(len as u16).to_be_bytes());
        parts.iter().for_each(|p| out.extend_from_slice(p));
    };
    out.extend_from_slice(&[0xff, 0xd8]);
    segment(out, 0xe0, &[b"JFIF\0", &[1, 1, 0, 0, 1, 0, 1, 0, 0]]);
    for (id, divisors) in [(0, &quality.luma), (1, &quality.chroma)] {
        let steps = ZIGZAG.map(|at| divisors.steps[usize::from(at)]);
        segment(out, 0xdb, &[&[id], &steps]);
    }
    let ([h1, h0], [w1, w0]) = (height.to_be_bytes(), width.to_be_bytes());
    segment(out, 0xc0, &[&[8, h1, h0, w1, w0, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]]);
    for spec in [&LUMA_DC, &LUMA_AC, &CHROMA_DC, &CHROMA_AC] {
        segment(out, 0xc4, &[&[spec.id], &spec.counts, spec.symbols]);
    }
    segment(out, 0xda, &[&[3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]]);
}
