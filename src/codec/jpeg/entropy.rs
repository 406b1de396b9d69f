//! Huffman coding of quantized blocks.

use super::tables::{Codes, ComponentCodes, ZIGZAG};
use super::transform::Block;

/// Symbol for "the rest is zero".
const END_OF_BLOCK: usize = 0x00;
/// Symbol for sixteen zeros.
const SIXTEEN_ZEROS: usize = 0xf0;

/// Position in a [`Block`] of each coefficient in zigzag order.
const ORDER: [u8; 64] = {
    let mut order = [0; 64];
    let mut k = 0;
    while k < 64 {
        order[k] = (ZIGZAG[k] % 8) * 8 + ZIGZAG[k] / 8;
        k += 1;
    }
    order
};

/// `ZIGZAG_BITS[row][columns]`: zigzag positions of the coefficients that `Block::nonzero[row] == columns` names.
static ZIGZAG_BITS: [[u64; 256]; 8] = {
    let mut bits = [[0; 256]; 8];
    let mut k = 0;
    while k < 64 {
        let at = ZIGZAG[k] as usize;
        let mut columns = 0;
        while columns < 256 {
            if columns >> (at % 8) & 1 == 1 {
                bits[at / 8][columns] |= 1 << k;
            }
            columns += 1;
        }
        k += 1;
    }
    bits
};

/// Collects bits, most significant first; after a byte 0xff a zero byte is stuffed.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    /// Bits not yet written, right-aligned.
    bits: u64,
    /// Number of bits, below 32 between calls.
    len: u32,
}

impl BitWriter {
    /// Adds `len` bits, at most 32.
    #[inline(always)]
    fn put(&mut self, code: u32, len: u32, out: &mut Vec<u8>) {
        self.bits = (self.bits << len) | u64::from(code);
        self.len += len;
        if self.len >= 32 {
            self.len -= 32;
            put_word((self.bits >> self.len) as u32, out);
        }
    }

    /// Encodes a block. `prediction` is the first coefficient of the block before it.
    #[inline]
    pub(super) fn put_block(
        &mut self,
        block: &Block,
        prediction: &mut i16,
        codes: &ComponentCodes,
        out: &mut Vec<u8>,
    ) {
        let [[dc, ..], ..] = block.coefficients;
        let difference = dc.wrapping_sub(*prediction);
        *prediction = dc;
        self.put_value(0, difference, &codes.dc, out);

        let mut left = block
            .nonzero
            .iter()
            .zip(&ZIGZAG_BITS)
            .fold(0, |bits, (columns, row)| bits | row[usize::from(columns & 255)]);
        left &= !1;
        let mut last = 0;
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            let mut run = at - last - 1;
            while run >= 16 {
                let code = codes.ac[SIXTEEN_ZEROS];
                self.put(code >> 5, code & 31, out);
                run -= 16;
            }
            let value = block.coefficients.as_flattened()[usize::from(ORDER[at as usize & 63] & 63)];
            last = at;
            let small = (i32::from(value) + 16) as u32;
            if small < 32 {
                let code = codes.short[((run * 32 + small) & 511) as usize];
                self.put(code >> 5, code & 31, out);
            } else {
                self.put_value(run << 4, value, &codes.ac, out);
            }
        }
        if last != 63 {
            let code = codes.ac[END_OF_BLOCK];
            self.put(code >> 5, code & 31, out);
        }
    }

    /// Encodes a value: the symbol is `high` plus the number of the value's bits, which follow.
    #[inline(always)]
    fn put_value(&mut self, high: u32, value: i16, codes: &Codes, out: &mut Vec<u8>) {
        let value = i32::from(value);
        let bits = 32 - value.unsigned_abs().leading_zeros();
        // Negative values are stored as their ones' complement.
        let tail = ((value + (value >> 31)) as u32) & ((1 << bits) - 1);
        let code = codes[((high | bits) & 255) as usize];
        self.put(((code >> 5) << bits) | tail, (code & 31) + bits, out);
    }

    /// Fills the last byte with ones and writes it.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) {
        let fill = (8 - self.len % 8) % 8;
        self.put((1 << fill) - 1, fill, out);
        let rest = (self.bits as u32).checked_shl(32 - self.len).unwrap_or(0).to_be_bytes();
        for byte in rest.into_iter().take(self.len as usize / 8) {
            put_byte(byte, out);
        }
    }
}

#[inline(always)]
fn put_word(word: u32, out: &mut Vec<u8>) {
    // A byte is 0xff if its complement is zero.
    let inverted = !word;
    if inverted.wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
        out.extend_from_slice(&word.to_be_bytes());
    } else {
        word.to_be_bytes().into_iter().for_each(|byte| put_byte(byte, out));
    }
}

#[cold]
fn put_byte(byte: u8, out: &mut Vec<u8>) {
    out.push(byte);
    if byte == 0xff {
        out.push(0);
    }
}
