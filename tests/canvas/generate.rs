//! Generated pixel data (canvas.md 15.2).

use super::script::{number, numbers, word};
use std::path::Path;

/// The format of pixels in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Bit1Msb,
    Bit1Lsb,
    Bit4Msb,
    Bit4Lsb,
    Index8,
    Rgb555,
    Rgb565,
    Rgb24,
    Xrgb32,
    Rgba32,
    Alpha8,
}

impl Layout {
    pub(crate) fn bits(self) -> usize {
        match self {
            Self::Bit1Msb | Self::Bit1Lsb => 1,
            Self::Bit4Msb | Self::Bit4Lsb => 4,
            Self::Index8 | Self::Alpha8 => 8,
            Self::Rgb555 | Self::Rgb565 => 16,
            Self::Rgb24 => 24,
            Self::Xrgb32 | Self::Rgba32 => 32,
        }
    }

    fn put(self, row: &mut [u8], x: usize, v: u32) {
        let bytes = v.to_le_bytes();
        let mut bits = |at: usize, shift: usize, mask: u8| {
            row[at] = row[at] & !(mask << shift) | (bytes[0] & mask) << shift;
        };
        match self {
            Self::Bit1Msb => bits(x / 8, 7 - x % 8, 1),
            Self::Bit1Lsb => bits(x / 8, x % 8, 1),
            Self::Bit4Msb => bits(x / 2, if x.is_multiple_of(2) { 4 } else { 0 }, 15),
            Self::Bit4Lsb => bits(x / 2, if x.is_multiple_of(2) { 0 } else { 4 }, 15),
            _ => {
                let n = self.bits() / 8;
                row[x * n..(x + 1) * n].copy_from_slice(&bytes[..n]);
            }
        }
    }

    /// Pixel (x, y) of the gradients, as a value of this format.
    fn gradient(self, x: u32, y: u32, premultiplied: bool) -> u32 {
        let byte = |v: u32| v & 255;
        let (mut r, mut g, mut b) = (byte(x * 7 + y * 3), byte(x * 2 + y * 5), byte(x ^ y));
        let a = byte(x * 11 + y * 13);
        if premultiplied {
            (r, g, b) = (r * a / 255, g * a / 255, b * a / 255);
        }
        match self {
            Self::Rgb555 => (r >> 3) << 10 | (g >> 3) << 5 | b >> 3,
            Self::Rgb565 => (r >> 3) << 11 | (g >> 2) << 5 | b >> 3,
            Self::Rgb24 | Self::Xrgb32 => r << 16 | g << 8 | b,
            Self::Rgba32 => a << 24 | r << 16 | g << 8 | b,
            Self::Alpha8 => a,
            Self::Bit1Msb | Self::Bit1Lsb => (x * 3 + y * 5) >> 2 & 1,
            _ => x + y,
        }
    }
}

/// The generator of random bytes.
pub(crate) struct Prng(u32);

impl Prng {
    pub(crate) fn new(seed: u32) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0.to_le_bytes()[2]
    }
}

/// `height` rows of `stride` bytes in memory order. A `file:` path is relative to `directory`.
pub(crate) fn rows(
    layout: Layout,
    (width, height): (usize, usize),
    stride: usize,
    source: &str,
    seed: u32,
    directory: &Path,
) -> Vec<u8> {
    let mut data = vec![0; stride * height];
    if let Some(path) = source.strip_prefix("file:") {
        let file = std::fs::read(directory.join(path)).unwrap();
        data.copy_from_slice(&file[..stride * height]);
        return data;
    }
    if let Some(hex) = source.strip_prefix("hex:") {
        for (byte, digits) in data.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        }
        return data;
    }
    let mut random = Prng::new(seed);
    let (kind, arguments) = source.split_once(':').unwrap_or((source, ""));
    let v = numbers(arguments);
    for (y, row) in data.chunks_exact_mut(stride).enumerate() {
        if kind == "rand" {
            row.fill_with(|| random.byte());
            continue;
        }
        row.fill(0xa5);
        for x in 0..width {
            let (x32, y32) = (u32::try_from(x).unwrap(), u32::try_from(y).unwrap());
            let pixel = match kind {
                "solid" => word(number(arguments)),
                "checker" => {
                    let size = u32::try_from(v[0]).unwrap().max(1);
                    word(v[if (x32 / size + y32 / size) % 2 == 1 { 2 } else { 1 }])
                }
                "grad" => layout.gradient(x32, y32, false),
                "premul" => layout.gradient(x32, y32, true),
                _ => panic!("unknown generator '{source}'"),
            };
            layout.put(row, x, pixel);
        }
    }
    data
}
