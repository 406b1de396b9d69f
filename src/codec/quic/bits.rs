//! Bit streams in little-endian 32-bit words, filled from bit 31 downward (codecs.md 2.1).

/// Most bits that one call can write: with the bits that wait for a whole byte they fit 63 bits.
pub(super) const PUT_LIMIT: u32 = 56;

/// Writes into a buffer from its end to its start, so that the processor's little-endian order gives the
/// stream's. The caller has made the buffer large enough.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    /// What is left of the buffer.
    bytes: &'a mut [u8],
    /// Bits not yet in a whole byte, left-aligned.
    pending: u64,
    /// Number of `pending` bits, below 8.
    pending_len: u32,
}

impl<'a> BitWriter<'a> {
    /// Continues a stream whose last `pending_len` bits, fewer than 32, are `pending` (see [`append`]).
    pub(super) fn new(bytes: &'a mut [u8], (pending, pending_len): (u64, u32)) -> Self {
        let mut writer = Self { bytes, pending, pending_len };
        writer.store();
        writer
    }

    /// Writes the low `len` bits (1 to [`PUT_LIMIT`]) of `code`. Its other bits must be zero.
    #[inline(always)]
    pub(super) fn put(&mut self, code: u64, len: u32) {
        self.pending_len += len;
        self.pending |= code << (self.pending_len.wrapping_neg() & 63);
        self.store();
    }

    /// Like [`Self::put`], but the other bits of `code` may be ones.
    #[inline(always)]
    pub(super) fn put_low(&mut self, code: u64, len: u32) {
        self.pending |= (code << (len.wrapping_neg() & 63)) >> (self.pending_len & 63);
        self.pending_len += len;
        self.store();
    }

    /// Writes joined codes of `len` bits, at most [`PUT_LIMIT`] (see [`super::tables::Code`]).
    #[inline(always)]
    pub(super) fn put_joined(&mut self, joined: u64, len: u32) {
        self.put(joined ^ (1 << (len & 63)), len);
    }

    /// Stores the whole bytes of the pending bits.
    #[inline(always)]
    fn store(&mut self) {
        let whole = self.pending_len & 56;
        let bytes = std::mem::take(&mut self.bytes);
        let end = bytes.len();
        bytes[end - 8..].copy_from_slice(&self.pending.to_le_bytes());
        self.bytes = &mut bytes[..end - whole as usize / 8];
        self.pending <<= whole;
        self.pending_len &= 7;
    }

    /// The number of bytes left of the buffer, and the remaining bits and their number for [`append`].
    pub(super) fn finish(self) -> (usize, (u64, u32)) {
        (self.bytes.len(), (self.pending, self.pending_len))
    }
}

/// Appends the whole words of `bytes`, which a writer has written, to `out`. Returns the bits after them,
/// with the writer's remaining bits, for [`BitWriter::new`].
pub(super) fn append(bytes: &[u8], (pending, pending_len): (u64, u32), out: &mut Vec<u8>) -> (u64, u32) {
    let (rest, words) = bytes.as_rchunks::<4>();
    let start = out.len();
    out.resize(start + words.len() * 4, 0);
    for (out, word) in out[start..].as_chunks_mut().0.iter_mut().zip(words.iter().rev()) {
        *out = *word;
    }
    // The first byte of the stream is the last one here.
    rest.iter()
        .fold((pending, pending_len), |(bits, len), byte| (bits >> 8 | u64::from(*byte) << 56, len + 8))
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
        let mut buffer = [0; 32];
        let mut bytes = Vec::new();
        let mut pending = (0, 0);
        for codes in codes.chunks(4) {
            let mut writer = BitWriter::new(&mut buffer, pending);
            for (code, len) in codes {
                writer.put(*code, *len);
            }
            let (left, rest) = writer.finish();
            pending = append(&buffer[left..], rest, &mut bytes);
        }
        assert_eq!((bytes.len(), pending.1), (12, 4));
        bytes.extend_from_slice(&((pending.0 >> 32) as u32).to_le_bytes());
        let mut reader = BitReader::new(&bytes);
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
