//! Decoding of fields from a private copy of a guest structure. All structures are packed and little-endian.

use spice_server_core::geometry::{Point, Point16, Rect};

/// A copied structure; offsets are bytes. What lies beyond the copy reads as zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let found = self.0.get(at..).and_then(|rest| rest.first_chunk::<N>());
        debug_assert!(found.is_some(), "field beyond its structure");
        found.copied().unwrap_or([0; N])
    }

    /// The structure that begins `at`.
    pub(super) fn from(self, at: usize) -> Fields<'a> {
        Fields(self.0.get(at..).unwrap_or(&[]))
    }

    pub(super) fn u8(self, at: usize) -> u8 {
        u8::from_le_bytes(self.array(at))
    }

    pub(super) fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub(super) fn i16(self, at: usize) -> i16 {
        i16::from_le_bytes(self.array(at))
    }

    pub(super) fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(super) fn i32(self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }

    pub(super) fn u64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    pub(super) fn point(self, at: usize) -> Point {
        Point { x: self.i32(at), y: self.i32(at + 4) }
    }

    pub(super) fn point16(self, at: usize) -> Point16 {
        Point16 { x: self.i16(at), y: self.i16(at + 2) }
    }

    /// A rectangle; its order in memory is top, left, bottom, right.
    pub(super) fn rect(self, at: usize) -> Rect {
        Rect { top: self.i32(at), left: self.i32(at + 4), bottom: self.i32(at + 8), right: self.i32(at + 12) }
    }
}
