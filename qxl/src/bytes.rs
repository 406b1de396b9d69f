//! Packed little-endian structures, built field by field.
#![cfg_attr(not(any(test, feature = "mock")), allow(unreachable_pub, reason = "the mock guest exports it"))]

use spice_server_core::geometry::{Point, Point16, Rect};

/// Bytes of a guest structure. Every method appends one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// Room for most structures: a `QXLDrawable` has some two hundred bytes.
const ROOM: usize = 256;

impl Default for Bytes {
    fn default() -> Self {
        Self(Vec::with_capacity(ROOM))
    }
}

impl Bytes {
    /// No fields yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a field of this type.
    #[must_use]
    pub fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    /// Appends a field of this type.
    #[must_use]
    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a field of this type.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a field of this type.
    #[must_use]
    pub fn i32(self, value: i32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a field of this type.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends zero bytes up to a total of `len`.
    #[must_use]
    pub fn pad_to(mut self, len: usize) -> Self {
        if self.0.len() < len {
            self.0.resize(len, 0);
        }
        self
    }

    /// Appends a rectangle in the order of guest memory: top, left, bottom, right.
    #[must_use]
    pub fn rect(self, r: Rect) -> Self {
        self.i32(r.top).i32(r.left).i32(r.bottom).i32(r.right)
    }

    /// Appends x and y, 32 bits each.
    #[must_use]
    pub fn point(self, p: Point) -> Self {
        self.i32(p.x).i32(p.y)
    }

    /// Appends x and y, 16 bits each.
    #[must_use]
    pub fn point16(self, p: Point16) -> Self {
        self.bytes(&p.x.to_le_bytes()).bytes(&p.y.to_le_bytes())
    }
}
