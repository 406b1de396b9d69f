//! The primitives of the recording format, read (qxl.md C2). The file is untrusted: words are short, sizes are bounded,
//! and memory grows only as fast as bytes arrive.

use super::spares::Spares;
use crate::memory::Block;
use flate2::read::ZlibDecoder;
use spice_server_core::geometry::{Point, Point16, Rect};
use spice_server_core::limits;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

/// Longest word or number; names of the format have at most 25 characters.
const MAX_WORD: usize = 64;

/// Bytes that one compressed payload may inflate to: a few bytes can stand for very many.
const MAX_INFLATED: u64 = 256 << 20;

/// Why reading ends.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file does not begin as recordings do.
    #[error("not a recording of version 1")]
    NotARecording,
    /// The file ends in the middle of an event.
    #[error("the recording ends inside an event")]
    Truncated,
    /// The word that should be there, and what is there.
    #[error("{0} is missing, found {1:?}")]
    Expected(&'static str, String),
    /// A field, its value, and what is wrong with it.
    #[error("{0} {1}: {2}")]
    Value(&'static str, i128, &'static str),
    /// The file cannot be read.
    #[error("cannot read the recording: {0}")]
    Io(#[from] io::Error),
}

pub(super) type Result<T> = std::result::Result<T, ReplayError>;

pub(super) fn bad<T>(field: &'static str, value: impl Into<i128>, why: &'static str) -> Result<T> {
    Err(ReplayError::Value(field, value.into(), why))
}

/// A word or a number. A recording has a dozen of them per command, so they take no memory of the heap.
struct Word {
    bytes: [u8; MAX_WORD],
    len: usize,
}

impl Default for Word {
    fn default() -> Self {
        Self { bytes: [0; MAX_WORD], len: 0 }
    }
}

impl Word {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends bytes, as many as there is room for. `false`: not all.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let room = &mut self.bytes[self.len..];
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.len += len;
        len == bytes.len()
    }

    /// The word for a message, which may not be text.
    fn text(&self) -> String {
        self.bytes().iter().copied().map(char::from).collect()
    }

    /// The word as a decimal number.
    fn number(&self) -> Option<i128> {
        std::str::from_utf8(self.bytes()).ok()?.parse().ok()
    }
}

/// The number that `bytes` begin with, and its length, if it has few digits and white space follows.
fn few_digits(bytes: &[u8]) -> Option<(u64, usize)> {
    /// So many digits always fit in 64 bits.
    const FEW: usize = 19;
    let mut number = 0u64;
    for (len, byte) in bytes.iter().take(FEW + 1).enumerate() {
        match byte {
            b'0'..=b'9' if len < FEW => number = number * 10 + u64::from(byte - b'0'),
            _ if byte.is_ascii_whitespace() && len > 0 => return Some((number, len)),
            _ => return None,
        }
    }
    None
}

/// Words, numbers and payloads of a recording.
pub(super) struct Reader {
    input: BufReader<Box<dyn Read + Send>>,
    spares: Arc<Spares>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(input: Box<dyn Read + Send>, spares: Arc<Spares>) -> Self {
        Self { input: BufReader::with_capacity(256 << 10, input), spares }
    }

    /// Bytes that have been read and not consumed; none at the end of the file.
    fn ahead(&mut self) -> Result<&[u8]> {
        loop {
            match self.input.fill_buf() {
                Ok(_) => return Ok(self.input.buffer()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        Ok(self.ahead()?.first().copied())
    }

    fn skip_space(&mut self) -> Result<()> {
        loop {
            let ahead = self.ahead()?;
            let spaces = ahead.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let more = spaces > 0 && spaces == ahead.len();
            self.input.consume(spaces);
            if !more {
                return Ok(());
            }
        }
    }

    /// Bytes until `end` says so; the ending byte stays.
    fn until(&mut self, end: impl Fn(u8) -> bool) -> Result<Word> {
        let mut word = Word::default();
        loop {
            let ahead = self.ahead()?;
            // One byte more than fits tells that the word is too long.
            let room = MAX_WORD + 1 - word.len;
            let bytes = ahead.get(..room).unwrap_or(ahead);
            let len = bytes.iter().position(|byte| end(*byte));
            let ended = len.is_some() || bytes.is_empty();
            let bytes = &bytes[..len.unwrap_or(bytes.len())];
            if !word.push(bytes) {
                return Err(ReplayError::Expected("end of a word", word.text()));
            }
            let len = bytes.len();
            self.input.consume(len);
            if ended {
                return Ok(word);
            }
        }
    }

    /// The next word; empty at the end of the file.
    fn word(&mut self) -> Result<Word> {
        self.skip_space()?;
        self.until(|byte| byte.is_ascii_whitespace())
    }

    /// Whether the file ends here.
    pub(super) fn at_end(&mut self) -> Result<bool> {
        self.skip_space()?;
        Ok(self.peek()?.is_none())
    }

    /// The first line.
    pub(super) fn header(&mut self) -> Result<()> {
        let mut line = [0; crate::record::HEADER.len()];
        match self.input.read_exact(&mut line) {
            Ok(()) if line == crate::record::HEADER => Ok(()),
            Ok(()) => Err(ReplayError::NotARecording),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReplayError::NotARecording),
            Err(error) => Err(error.into()),
        }
    }

    /// A given word.
    pub(super) fn keyword(&mut self, keyword: &'static str) -> Result<()> {
        self.skip_space()?;
        // Nearly always the whole word is in the buffer.
        if let Some([end, ..]) = self.input.buffer().strip_prefix(keyword.as_bytes())
            && end.is_ascii_whitespace()
        {
            self.input.consume(keyword.len());
            return Ok(());
        }
        let found = self.word()?;
        match found.bytes() {
            found if found == keyword.as_bytes() => Ok(()),
            [] => Err(ReplayError::Truncated),
            _ => Err(ReplayError::Expected(keyword, found.text())),
        }
    }

    /// Whether the next character, after white space, is a letter (of a keyword) rather than a digit.
    pub(super) fn at_letter(&mut self) -> Result<bool> {
        self.skip_space()?;
        Ok(self.peek()?.is_some_and(|byte| byte.is_ascii_alphabetic()))
    }

    /// A number of up to 64 bits, signed or not.
    pub(super) fn number(&mut self, field: &'static str) -> Result<i128> {
        self.skip_space()?;
        if let Some((value, len)) = few_digits(self.input.buffer()) {
            self.input.consume(len);
            return Ok(value.into());
        }
        let word = self.word()?;
        match word.number() {
            Some(value) if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value) => Ok(value),
            _ if word.bytes().is_empty() => Err(ReplayError::Truncated),
            _ => Err(ReplayError::Expected(field, word.text())),
        }
    }

    /// A number where 32 bits are written signed or unsigned.
    pub(super) fn number32(&mut self, field: &'static str) -> Result<u32> {
        let value = self.number(field)?;
        match (u32::try_from(value), i32::try_from(value)) {
            (Ok(value), _) => Ok(value),
            (_, Ok(value)) => Ok(value.cast_unsigned()),
            _ => bad(field, value, "does not fit in 32 bits"),
        }
    }

    pub(super) fn signed32(&mut self, field: &'static str) -> Result<i32> {
        Ok(self.number32(field)?.cast_signed())
    }

    /// `name value`, 32 bits.
    pub(super) fn u32(&mut self, name: &'static str) -> Result<u32> {
        self.keyword(name)?;
        self.number32(name)
    }

    pub(super) fn u16(&mut self, name: &'static str) -> Result<u16> {
        let value = self.u32(name)?;
        u16::try_from(value).or_else(|_| bad(name, value, "does not fit in 16 bits"))
    }

    pub(super) fn u8(&mut self, name: &'static str) -> Result<u8> {
        let value = self.u32(name)?;
        u8::try_from(value).or_else(|_| bad(name, value, "does not fit in 8 bits"))
    }

    pub(super) fn i32(&mut self, name: &'static str) -> Result<i32> {
        Ok(self.u32(name)?.cast_signed())
    }

    /// `name value`, 64 bits.
    pub(super) fn u64(&mut self, name: &'static str) -> Result<u64> {
        self.keyword(name)?;
        let value = self.number(name)?;
        match (u64::try_from(value), i64::try_from(value)) {
            (Ok(value), _) => Ok(value),
            (_, Ok(value)) => Ok(value.cast_unsigned()),
            _ => bad(name, value, "does not fit in 64 bits"),
        }
    }

    /// `name 0` or `name 1`.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool> {
        match self.u32(name)? {
            0 => Ok(false),
            1 => Ok(true),
            other => bad(name, other, "is neither 0 nor 1"),
        }
    }

    pub(super) fn rect(&mut self, name: &'static str) -> Result<Rect> {
        self.keyword("rect")?;
        self.keyword(name)?;
        let (top, left) = (self.signed32(name)?, self.signed32(name)?);
        Ok(Rect { top, left, bottom: self.signed32(name)?, right: self.signed32(name)? })
    }

    pub(super) fn point(&mut self) -> Result<Point> {
        self.keyword("point")?;
        Ok(Point { x: self.signed32("point")?, y: self.signed32("point")? })
    }

    pub(super) fn point16(&mut self, name: &'static str) -> Result<Point16> {
        self.keyword(name)?;
        let mut coordinate = || {
            let value = self.signed32(name)?;
            i16::try_from(value).or_else(|_| bad(name, value, "does not fit in 16 bits"))
        };
        Ok(Point16 { x: coordinate()?, y: coordinate()? })
    }

    /// A payload of at most `limit` bytes. Names are not compared: old recordings differ in some.
    pub(super) fn binary(&mut self, limit: u64) -> Result<Vec<u8>> {
        let (compressed, size) = self.binary_head(limit)?;
        if compressed { self.inflated(size) } else { self.bytes(size) }
    }

    /// A payload of at most `limit` bytes in a block of its own, behind `head` bytes for the caller.
    pub(super) fn binary_block(&mut self, head: usize, limit: u64) -> Result<Block> {
        let (compressed, size) = self.binary_head(limit)?;
        let whole = usize::try_from(size).ok().and_then(|size| size.checked_add(head));
        let Some(whole) = whole else { return bad("binary", size, "bytes are too many") };
        let inflated = if compressed { self.inflated(size)? } else { Vec::new() };
        // Zero pages take no memory before bytes arrive, and spare blocks have theirs already.
        let spare = self.spares.take(whole).or_else(|| Block::try_zeroed(whole));
        let block = spare.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.spares.trim();
        if compressed {
            block.write(head, &inflated);
            return Ok(block);
        }
        let mut at = head;
        while at < whole {
            if self.peek()?.is_none() {
                return Err(ReplayError::Truncated);
            }
            let bytes = self.input.buffer();
            let bytes = bytes.get(..whole - at).unwrap_or(bytes);
            block.write(at, bytes);
            let n = bytes.len();
            self.input.consume(n);
            at += n;
            // The command that this one's predecessor covers is freed meanwhile.
            self.spares.trim();
        }
        Ok(block)
    }

    /// What is before a payload: whether it is compressed, and the bytes that it has without that.
    fn binary_head(&mut self, limit: u64) -> Result<(bool, u64)> {
        self.keyword("binary")?;
        let compressed = match self.number32("binary")? {
            0 => false,
            1 => true,
            other => return bad("binary", other, "is an unknown compression"),
        };
        let _name = self.word()?;
        Ok((compressed, self.size("binary", limit)?))
    }

    fn inflated(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_INFLATED {
            return bad("binary", size, "bytes inflated are too many");
        }
        let packed = self.size("binary", limits::MAX_GUEST_OBJECT)?;
        let packed = self.bytes(packed)?;
        let mut bytes = Vec::new();
        let inflated = ZlibDecoder::new(packed.as_slice()).take(size).read_to_end(&mut bytes);
        if inflated.is_err() || u64::try_from(bytes.len()).ok() != Some(size) {
            return bad("binary", size, "bytes do not inflate");
        }
        Ok(bytes)
    }

    /// A decimal size and the colon after it.
    fn size(&mut self, field: &'static str, limit: u64) -> Result<u64> {
        self.skip_space()?;
        let word = self.until(|byte| !byte.is_ascii_digit())?;
        match self.peek()? {
            Some(b':') => self.input.consume(1),
            None => return Err(ReplayError::Truncated),
            Some(_) => return Err(ReplayError::Expected("size and colon", word.text())),
        }
        let size = word.number().and_then(|size| u64::try_from(size).ok());
        let Some(size) = size else { return Err(ReplayError::Expected("size", word.text())) };
        if size > limit { bad(field, size, "bytes are too many") } else { Ok(size) }
    }

    fn bytes(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Reads as it arrives: a lie about the size costs no more memory than the file has bytes.
        self.input.by_ref().take(size).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).ok() == Some(size) { Ok(bytes) } else { Err(ReplayError::Truncated) }
    }

    /// Chunks of at most `limit` bytes together: `chunk` reads each, which may have the given bytes at most, and gives
    /// its length.
    pub(super) fn chunks(
        &mut self,
        limit: u64,
        mut chunk: impl FnMut(&mut Self, u64) -> Result<usize>,
    ) -> Result<u64> {
        self.keyword("data_chunks")?;
        let more = self.number32("data_chunks")?;
        let announced = self.number("data_chunks")?;
        let mut total = 0u64;
        for _ in 0..=more {
            let len = chunk(self, limit.saturating_sub(total))?;
            total += u64::try_from(len).unwrap_or(u64::MAX);
        }
        if i128::from(total) == announced {
            Ok(total)
        } else {
            bad("data_chunks", announced, "is not the total")
        }
    }
}

/// A block with these bytes.
pub(super) fn block(bytes: &[u8]) -> Result<Block> {
    Block::try_copy(bytes).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Trickle(Vec<u8>, usize);

    impl Read for Trickle {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(to.len());
            to[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    /// What `read` makes of the text, however it arrives.
    fn of<T: PartialEq + std::fmt::Debug>(text: &str, read: impl Fn(&mut Reader) -> T) -> T {
        let mut results = [1, 2, 7, 1000].map(|step| {
            let input = Box::new(Trickle(text.as_bytes().to_vec(), step));
            read(&mut Reader::new(input, Arc::default()))
        });
        let (first, others) = results.split_first_mut().unwrap();
        for other in others {
            assert_eq!(first, other, "{text:?}");
        }
        results.into_iter().next().unwrap()
    }

    fn number(text: &str) -> std::result::Result<i128, String> {
        of(text, |reader| reader.number("x").map_err(|error| error.to_string()))
    }

    #[test]
    fn numbers_have_up_to_64_bits() {
        for value in [0, 7, -1, 999_999_999_999_999_999, i128::from(i64::MIN), i128::from(u64::MAX)] {
            assert_eq!(number(&format!(" \n\t{value} 1")), Ok(value));
        }
        assert_eq!(number("0000000000000000000000012"), Ok(12));
        assert_eq!(number("9999999999999999999"), Ok(9_999_999_999_999_999_999));
        for bad in ["18446744073709551616", "-9223372036854775809", "1x", "-", "0x10", "1.5", "\u{663}"] {
            assert!(number(bad).unwrap_err().starts_with("x is missing, found"), "{bad}");
        }
        assert_eq!(number("  "), Err(ReplayError::Truncated.to_string()));
    }

    #[test]
    fn words_are_short() {
        let word = |len: usize| {
            let text = "a".repeat(len);
            of(&format!("{text} 5"), |reader| {
                reader.word().map(|word| word.text()).map_err(|e| e.to_string())
            })
        };
        assert_eq!(word(MAX_WORD), Ok("a".repeat(MAX_WORD)));
        for long in [MAX_WORD + 1, MAX_WORD + 2, 10 * MAX_WORD] {
            assert!(word(long).unwrap_err().starts_with("end of a word is missing"));
        }
    }

    #[test]
    fn a_size_ends_in_a_colon() {
        let size = |text: &str| of(text, |reader| reader.size("x", 100).map_err(|error| error.to_string()));
        assert_eq!(size(" 100:"), Ok(100));
        for bad in ["101:", "5 :", ":", "5", "-5:", "99999999999999999999999:"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keywords_are_compared_as_a_whole() {
        let keyword =
            |text: &str| of(text, |reader| reader.keyword("rect").map_err(|error| error.to_string()));
        assert_eq!(keyword("\r\n rect\n"), Ok(()));
        assert_eq!(keyword("rect"), Ok(()));
        for bad in ["rec", "rects", "Rect", "\u{fc}ber"] {
            assert!(keyword(bad).unwrap_err().starts_with("rect is missing, found"), "{bad}");
        }
        assert_eq!(keyword(" "), Err(ReplayError::Truncated.to_string()));
    }
}
