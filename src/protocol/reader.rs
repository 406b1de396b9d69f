//! A little-endian reader for received structures. Each error names the field.

use super::error::{ProtocolError, ProtocolErrorKind};

/// Reads fields in order. Like the original, it ignores bytes after the last field (wire.md 2.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    channel: &'static str,
    message: &'static str,
    rest: &'a [u8],
}

macro_rules! integers {
    ($($name:ident: $ty:ty),*) => {$(
        /// Reads a little-endian integer.
        pub(crate) fn $name(&mut self, field: &'static str) -> Result<$ty, ProtocolError> {
            let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.short(field, size_of::<$ty>()))?;
            self.rest = rest;
            Ok(<$ty>::from_le_bytes(*bytes))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`. The names are for errors.
    #[must_use]
    pub(crate) fn new(channel: &'static str, message: &'static str, bytes: &'a [u8]) -> Self {
        Self { channel, message, rest: bytes }
    }

    integers!(u8: u8, u16: u16, u32: u32, u64: u64, i32: i32, i64: i64);

    /// The next `count` bytes.
    pub(crate) fn bytes(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], ProtocolError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.short(field, count))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// All remaining bytes.
    pub(crate) fn tail(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// The error for a field whose value is not acceptable.
    #[must_use]
    pub(crate) fn bad(&self, field: &'static str, value: u64) -> ProtocolError {
        self.error(ProtocolErrorKind::Value { field, value })
    }

    fn short(&self, field: &'static str, needed: usize) -> ProtocolError {
        self.error(ProtocolErrorKind::Short { field, needed, received: self.rest.len() })
    }

    fn error(&self, kind: ProtocolErrorKind) -> ProtocolError {
        ProtocolError { channel: self.channel, message: self.message, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_field_is_named_with_needed_and_received() {
        let mut r = Reader::new("inputs", "KEY_DOWN", &[1, 2, 3]);
        assert_eq!(r.u8("a"), Ok(1));
        let error = r.u32("code").unwrap_err();
        assert_eq!(error.to_string(), "inputs KEY_DOWN: field code needs 4 bytes, received 2");
        assert_eq!(r.tail().len(), 2);
    }

    #[test]
    fn tail_takes_the_rest() {
        let mut r = Reader::new("x", "y", &[1, 2, 3]);
        assert_eq!(r.bytes("b", 1), Ok(&[1u8][..]));
        assert_eq!(r.tail(), [2, 3]);
        assert_eq!(r.tail(), []);
    }
}
