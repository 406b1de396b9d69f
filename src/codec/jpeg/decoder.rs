//! A slow, simple baseline decoder that tests the encoder's output. It knows only files such as the encoder
//! makes: three components, 4:2:0, no restarts.

use super::tables::ZIGZAG;

/// Pixels as (r, g, b), row by row.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<[f64; 3]>,
}

#[derive(Default)]
struct Tables {
    steps: [Vec<f64>; 2],
    /// By class << 4 | id, length and code: the symbol.
    huffman: std::collections::HashMap<(u8, u32, u32), u8>,
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    bit: u32,
}

impl Bits<'_> {
    fn next(&mut self) -> u32 {
        let value = u32::from(self.data[self.at]) >> (7 - self.bit) & 1;
        self.bit += 1;
        if self.bit == 8 {
            self.bit = 0;
            // The byte after 0xff is stuffing.
            self.at += 1 + usize::from(self.data[self.at] == 0xff);
        }
        value
    }

    fn symbol(&mut self, tables: &Tables, id: u8) -> u8 {
        let mut code = 0;
        for length in 1..=16 {
            code = code << 1 | self.next();
            if let Some(symbol) = tables.huffman.get(&(id, length, code)) {
                return *symbol;
            }
        }
        panic!("no such code")
    }

    fn value(&mut self, bits: u8) -> i32 {
        let value = (0..bits).fold(0, |v, _| v << 1 | self.next() as i32);
        if bits > 0 && value >> (bits - 1) == 0 { value - (1 << bits) + 1 } else { value }
    }
}

/// Decodes a whole file; panics on anything unexpected.
pub(super) fn decode(data: &[u8]) -> Picture {
    assert_eq!(data[..2], [0xff, 0xd8]);
    assert_eq!(data[data.len() - 2..], [0xff, 0xd9]);
    let mut tables = Tables::default();
    let (mut width, mut height) = (0, 0);
    let mut at = 2;
    loop {
        assert_eq!(data[at], 0xff);
        let len = usize::from(u16::from_be_bytes([data[at + 2], data[at + 3]]));
        let body = &data[at + 4..at + 2 + len];
        let marker = data[at + 1];
        at += 2 + len;
        match marker {
            0xe0 => assert_eq!(body[..5], *b"JFIF\0"),
            0xdb => {
                let mut steps = vec![0.0; 64];
                (0..64).for_each(|k| steps[usize::from(ZIGZAG[k])] = f64::from(body[1 + k]));
                tables.steps[usize::from(body[0])] = steps;
            }
            0xc0 => {
                height = usize::from(u16::from_be_bytes([body[1], body[2]]));
                width = usize::from(u16::from_be_bytes([body[3], body[4]]));
                assert_eq!(body[5..], [3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
            }
            0xc4 => {
                let (mut code, mut next) = (0, 17);
                for length in 1..=16u32 {
                    for _ in 0..body[length as usize] {
                        tables.huffman.insert((body[0], length, code), body[next]);
                        code += 1;
                        next += 1;
                    }
                    code <<= 1;
                }
            }
            0xda => break,
            other => panic!("marker {other:#x}"),
        }
    }
    let (across, down) = (width.div_ceil(16), height.div_ceil(16));
    let mut planes =
        [vec![0.0; across * down * 256], vec![0.0; across * down * 64], vec![0.0; across * down * 64]];
    let mut bits = Bits { data, at, bit: 0 };
    let mut predictions = [0; 3];
    for mcu in 0..across * down {
        let (mx, my) = (mcu % across, mcu / across);
        for block in 0..6 {
            let component = block.max(3) - 3;
            let id = u8::from(component > 0);
            let coefficients = block_of(&mut bits, &tables, id, &mut predictions[component]);
            let (scale, x, y) = match component {
                0 => (2, 16 * mx + 8 * (block % 2), 16 * my + 8 * (block / 2)),
                _ => (1, 8 * mx, 8 * my),
            };
            for (i, sample) in inverse(&coefficients).iter().enumerate() {
                planes[component][(y + i / 8) * 8 * scale * across + x + i % 8] = *sample;
            }
        }
    }
    while bits.bit > 0 {
        assert_eq!(bits.next(), 1, "filled with ones");
    }
    assert_eq!(bits.at, data.len() - 2);
    let pixel = |i: usize| {
        let (x, y) = (i % width, i / width);
        let luma = planes[0][y * 16 * across + x] + 128.0;
        let [cb, cr] = [1, 2].map(|c| planes[c][y / 2 * 8 * across + x / 2]);
        [luma + 1.402 * cr, luma - 0.344_136 * cb - 0.714_136 * cr, luma + 1.772 * cb]
    };
    Picture { width, height, pixels: (0..width * height).map(pixel).collect() }
}

fn block_of(bits: &mut Bits<'_>, tables: &Tables, id: u8, prediction: &mut i32) -> [f64; 64] {
    let steps = &tables.steps[usize::from(id)];
    let mut out = [0.0; 64];
    let size = bits.symbol(tables, id);
    *prediction += bits.value(size);
    out[0] = f64::from(*prediction) * steps[0];
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(tables, 0x10 | id);
        match symbol {
            0x00 => break,
            0xf0 => k += 16,
            _ => {
                k += usize::from(symbol >> 4);
                let at = usize::from(ZIGZAG[k]);
                out[at] = f64::from(bits.value(symbol & 15)) * steps[at];
                k += 1;
            }
        }
    }
    out
}

fn inverse(coefficients: &[f64; 64]) -> [f64; 64] {
    let basis: [[f64; 8]; 8] = std::array::from_fn(|k| {
        std::array::from_fn(|x| {
            let scale = if k == 0 { 0.125f64.sqrt() } else { 0.5 };
            scale * ((2 * x + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos()
        })
    });
    let rows: [f64; 64] =
        std::array::from_fn(|i| (0..8).map(|u| coefficients[i / 8 * 8 + u] * basis[u][i % 8]).sum());
    std::array::from_fn(|i| (0..8).map(|v| rows[v * 8 + i % 8] * basis[v][i / 8]).sum())
}
