//! The primitives of the recording format (qxl.md C2).

use spice_server_core::geometry::{Point, Point16, Rect};
use spice_server_core::guest::{ByteSource, SliceSource};
use std::fmt::Display;
use std::io::Write;

/// Text of one event.
#[derive(Debug, Default)]
pub(super) struct Text(pub Vec<u8>);

impl Text {
    pub(super) fn line(&mut self, line: impl Display) {
        // Writing to a vector does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    pub(super) fn int(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name} {value}"));
    }

    /// The original prints 32-bit values as signed ones.
    pub(super) fn u32(&mut self, name: &str, value: u32) {
        self.int(name, value.cast_signed());
    }

    pub(super) fn rect(&mut self, name: &str, r: Rect) {
        self.line(format_args!("rect {name} {} {} {} {}", r.top, r.left, r.bottom, r.right));
    }

    pub(super) fn point(&mut self, p: Point) {
        self.line(format_args!("point {} {}", p.x, p.y));
    }

    pub(super) fn point16(&mut self, p: Point16) {
        self.line(format_args!("point16 {} {}", p.x, p.y));
    }

    pub(super) fn binary(&mut self, name: &str, bytes: &[u8]) {
        self.part(name, &SliceSource(bytes), 0, bytes.len());
    }

    /// The whole of a source as one payload.
    pub(super) fn flat(&mut self, name: &str, source: &dyn ByteSource) {
        self.part(name, source, 0, source.len());
    }

    /// The chunks of a source, one payload each.
    pub(super) fn chunks(&mut self, name: &str, source: &dyn ByteSource) {
        let whole = [source.len()];
        let ends = if source.chunk_ends().is_empty() { &whole } else { source.chunk_ends() };
        self.line(format_args!("data_chunks {} {}", ends.len() - 1, source.len()));
        let mut start = 0;
        for &end in ends {
            self.part(name, source, start, end.saturating_sub(start));
            start = end;
        }
    }

    /// Bytes of ours as one chunk.
    pub(super) fn chunk(&mut self, name: &str, bytes: &[u8]) {
        self.line(format_args!("data_chunks 0 {}", bytes.len()));
        self.binary(name, bytes);
    }

    fn part(&mut self, name: &str, source: &dyn ByteSource, offset: usize, len: usize) {
        let _ = write!(self.0, "binary 0 {name} {len}:");
        let start = self.0.len();
        self.0.resize(start + len, 0);
        source.read_at(offset, &mut self.0[start..]);
        self.0.push(b'\n');
    }
}
