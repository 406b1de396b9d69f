//! Huffman coding of quantized blocks.

use super::tables::{CHROMA_CODES, Codes, ComponentCodes, LUMA_CODES, SHORT_CODES, SIXTEEN_ZEROS, ZIGZAG};
use super::transform::Block;
use std::hint::cold_path;

/// Symbol for "the rest is zero".
const END_OF_BLOCK: usize = 0x00;

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

/// Blocks of a minimum coded unit: four of luma, Cb and Cr.
pub(super) const BLOCKS: usize = 6;
/// The component of each, and its codes.
const COMPONENTS: [(usize, &ComponentCodes); BLOCKS] = [
    (0, &LUMA_CODES),
    (0, &LUMA_CODES),
    (0, &LUMA_CODES),
    (0, &LUMA_CODES),
    (1, &CHROMA_CODES),
    (2, &CHROMA_CODES),
];
/// Words that a unit has room in.
const WORDS: usize = 256;
// A coefficient takes 26 bits at most. Up to 64 bits may stand before the first.
const _: () = assert!(BLOCKS * 64 * 26 + 64 <= WORDS * 64);

/// Bits that are not yet part of a word.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Right-aligned. What stands above them is part of a word.
    bits: u64,
    /// How many more `bits` has room for, up to 64.
    room: u32,
    /// Words before them.
    count: usize,
}

impl Pending {
    /// Adds the `len` low bits of `code`, fewer than 64; the others are zero.
    #[inline(always)]
    fn put(&mut self, code: u64, len: u32, words: &mut [u64; WORDS]) {
        let (room, full) = self.room.overflowing_sub(len);
        if full {
            cold_path();
            let rest = room.wrapping_neg();
            words[self.count % WORDS] = self.bits << (self.room & 63) | code >> (rest & 63);
            self.count += 1;
            self.bits = code;
            self.room = 64 - rest;
        } else {
            self.bits = self.bits << (len & 63) | code;
            self.room = room;
        }
    }

    /// Adds a code in the form of [`Codes`].
    #[inline(always)]
    fn put_code(&mut self, code: u64, words: &mut [u64; WORDS]) {
        self.put(code >> 8, (code & 255) as u32, words);
    }

    /// Adds a value: the symbol is `high` plus the number of the value's bits, which follow.
    #[inline(always)]
    fn put_value(&mut self, high: u32, value: i16, codes: &Codes, words: &mut [u64; WORDS]) {
        let value = i32::from(value);
        // Of a number that is odd, and thus not zero, the compiler finds the length without a branch.
        let bits = (2 * value.unsigned_abs() + 1).ilog2();
        // Negative values are stored as their ones' complement.
        let tail = ((value + (value >> 31)) as u32) & ((1 << bits) - 1);
        let code = codes[((high | bits) & 255) as usize];
        self.put(u64::from((code >> 8) << bits | tail), (code & 255) + bits, words);
    }

    /// Adds a block. `prediction` is the first coefficient of the block before it.
    #[inline(always)]
    fn put_block(
        &mut self,
        block: &Block,
        prediction: &mut i16,
        codes: &ComponentCodes,
        words: &mut [u64; WORDS],
    ) {
        let [[dc, ..], ..] = block.coefficients;
        let difference = dc.wrapping_sub(*prediction);
        *prediction = dc;
        self.put_value(0, difference, &codes.dc, words);

        let mut left = block
            .nonzero
            .iter()
            .zip(&ZIGZAG_BITS)
            .fold(0, |bits, (columns, row)| bits | row[usize::from(columns & 255)]);
        left &= !1;
        let mut next = 1;
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            let mut run = at - next;
            next = at + 1;
            let value = block.coefficients.as_flattened()[usize::from(ORDER[at as usize & 63] & 63)];
            let short = (value as isize * 64 + run as isize) as usize;
            if let Some(code) = codes.short.get(short.wrapping_add(SHORT_CODES / 2)) {
                self.put_code(*code, words);
                continue;
            }
            while run >= 16 {
                self.put_code(codes.ac[SIXTEEN_ZEROS].into(), words);
                run -= 16;
            }
            self.put_value(run << 4, value, &codes.ac, words);
        }
        if next < 64 {
            self.put_code(codes.ac[END_OF_BLOCK].into(), words);
        }
    }
}

/// Collects bits, most significant first; after a byte 0xff a zero byte is stuffed.
///
/// The bits of a unit become words first. So the loop over coefficients makes no calls and needs few registers.
#[derive(Debug)]
pub(super) struct BitWriter {
    pending: Pending,
    words: [u64; WORDS],
}

impl Default for BitWriter {
    fn default() -> Self {
        Self { pending: Pending { bits: 0, room: 64, count: 0 }, words: [0; WORDS] }
    }
}

impl BitWriter {
    /// Encodes a minimum coded unit. `predictions` are the first coefficients of the blocks before, of each component.
    #[inline(never)]
    pub(super) fn put_unit(
        &mut self,
        blocks: &[Block; BLOCKS],
        predictions: &mut [i16; 3],
        out: &mut Vec<u8>,
    ) {
        let mut pending = self.pending;
        for (block, (component, codes)) in blocks.iter().zip(COMPONENTS) {
            pending.put_block(block, &mut predictions[component], codes, &mut self.words);
        }
        self.pending = pending;
        self.flush(out);
    }

    /// Writes all whole words.
    fn flush(&mut self, out: &mut Vec<u8>) {
        for word in &self.words[..self.pending.count % WORDS] {
            // A byte is 0xff if its complement is zero.
            const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
            const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);
            let bytes = word.to_be_bytes();
            if (!word).wrapping_sub(ONES) & word & HIGHEST == 0 {
                out.extend_from_slice(&bytes);
            } else {
                put_stuffed(&bytes, out);
            }
        }
        self.pending.count = 0;
    }

    /// Fills the last byte with ones and writes it.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) {
        let fill = self.pending.room % 8;
        self.pending.put((1 << fill) - 1, fill, &mut self.words);
        self.flush(out);
        let Pending { bits, room, .. } = self.pending;
        let bytes = bits.checked_shl(room).unwrap_or(0).to_be_bytes();
        put_stuffed(&bytes[..bytes.len() - room as usize / 8], out);
    }
}

#[cold]
fn put_stuffed(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0xff {
            out.push(0);
        }
    }
}
