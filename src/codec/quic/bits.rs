//! Bit streams in little-endian 32-bit words, filled from bit 31 downward (codecs.md 2.1).

/// Writes into a buffer of words. The caller has made it large enough.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    words: &'a mut [u32],
    /// Number of whole words written.
    position: usize,
    /// Bits not yet in a whole word, left-aligned.
    pending: u64,
    /// Number of `pending` bits, below 32.
    pending_len: u32,
}

impl<'a> BitWriter<'a> {
    /// Continues a stream whose last `pending_len` bits are `pending` (see [`BitWriter::finish`]).
    pub(super) fn new(words: &'a mut [u32], (pending, pending_len): (u64, u32)) -> Self {
        Self { words, position: 0, pending, pending_len }
    }

    /// Writes the low `len` bits (1 to 32) of `code`. Its other bits must be zero.
    #[inline(always)]
    pub(super) fn put(&mut self, code: u64, len: u32) {
        self.pending |= code << ((64 - self.pending_len - len) & 63);
        self.pending_len += len;
        if let Some(word) = self.words.get_mut(self.position) {
            *word = (self.pending >> 32) as u32;
        }
        let full = self.pending_len >> 5;
        self.pending <<= full << 5;
        self.position += full as usize;
        self.pending_len &= 31;
    }

    /// The number of whole words written, and the remaining bits for [`BitWriter::new`].
    pub(super) fn finish(self) -> (usize, (u64, u32)) {
        (self.position, (self.pending, self.pending_len))
    }
}

/// Reads the words of a stream. After the end it reads zero bits.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    words: &'a [[u8; 4]],
    /// Index of the next word to load.
    position: usize,
    /// Upcoming bits, left-aligned; at least 32 of them are valid.
    window: u64,
    valid: u32,
}

impl<'a> BitReader<'a> {
    /// A reader of `bytes`. It ignores an incomplete last word.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut reader = Self { words: bytes.as_chunks().0, position: 0, window: 0, valid: 0 };
        reader.refill();
        reader
    }

    #[inline(always)]
    fn refill(&mut self) {
        if self.valid < 32 {
            let word = self.words.get(self.position).map_or(0, |w| u32::from_le_bytes(*w));
            self.position += 1;
            self.window |= u64::from(word) << (32 - self.valid);
            self.valid += 32;
        }
    }

    /// The next 32 bits.
    #[inline(always)]
    pub(super) fn peek(&self) -> u32 {
        (self.window >> 32) as u32
    }

    /// Drops `len` bits, at most 32.
    #[inline(always)]
    pub(super) fn skip(&mut self, len: u32) {
        self.window <<= len;
        self.valid -= len;
        self.refill();
    }

    /// Takes `len` bits, at most 31.
    pub(super) fn take(&mut self, len: u32) -> u32 {
        let value = ((u64::from(self.peek())) >> (32 - len)) as u32;
        self.skip(len);
        value
    }

    /// Whether the caller has taken more bits than the stream has.
    pub(super) fn overrun(&self) -> bool {
        let taken = self.position as u64 * 32 - u64::from(self.valid);
        taken > self.words.len() as u64 * 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_in_order_across_words() {
        let codes = [(1, 1), (0x3ff_ffff, 26), (0, 7), (0x1234_5678, 32), (5, 3), (0x55, 31)];
        let mut words = [0; 8];
        let mut writer = BitWriter::new(&mut words, (0, 0));
        for (code, len) in codes {
            writer.put(code, len);
        }
        let (n, (pending, len)) = writer.finish();
        assert_eq!((n, len), (3, 4));
        words[n] = (pending >> 32) as u32;
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let mut reader = BitReader::new(&bytes[..16]);
        for (code, len) in codes {
            let got = u64::from(reader.peek()) >> (32 - len);
            reader.skip(len);
            assert_eq!(got, code);
        }
        assert!(!reader.overrun());
        reader.take(29);
        assert!(reader.overrun());
    }
}
