//! The pixels of one surface, and the ways to change them: row segments of native values (see [`super::pixel`]),
//! restricted to the area that a command may touch.
//!
//! Drawing is: build the [`Area`] of the command ([`Area::of`]), then [`Canvas::modify`] or [`Canvas::overwrite`] with
//! a closure that computes one row segment at a time. Guest memory is never referenced, only copied.

use super::DrawError;
use super::area::Area;
use super::pixel;
use crate::geometry::{Rect, index, index_i32};
use crate::guest::{ByteSource, Rows};
use crate::image::SurfaceFormat;
use crate::qxl_command::MappedSurface;

/// Bytes of the stack buffer between surface memory and native values.
const CHUNK: usize = 512;

/// Bytes of a row that one copy through a buffer moves: half a row of 1080p. From 4 KiB on `memcpy` uses `rep
/// movsb`, which takes three times as long if source and target have the same offset in their pages.
pub(super) const BOUNCE: usize = 3840;

/// A surface that can be drawn on and read (canvas.md 1.1). Picture row 0 is the top row.
#[derive(Debug)]
pub struct Canvas {
    surface: MappedSurface,
    width: i32,
    height: i32,
    /// Offset of picture row 0 in the memory block.
    line0: usize,
    /// Bytes of a row without padding.
    row_bytes: usize,
}

impl Canvas {
    /// Takes over a surface. Nothing is cleared.
    ///
    /// # Errors
    /// [`DrawError::BadSurface`] if the rows do not fit the memory block; the surface is lost then.
    pub fn new(surface: MappedSurface) -> Result<Self, DrawError> {
        let bad = || DrawError::BadSurface;
        let width = i32::try_from(surface.width).map_err(|_| bad())?;
        let height = i32::try_from(surface.height).map_err(|_| bad())?;
        let stride = usize::try_from(surface.stride.unsigned_abs()).map_err(|_| bad())?;
        let row_bytes = usize::try_from(surface.format.min_stride(surface.width)).map_err(|_| bad())?;
        let rows = usize::try_from(surface.height).map_err(|_| bad())?;
        let last = rows.checked_sub(1).and_then(|n| n.checked_mul(stride)).ok_or_else(bad)?;
        let end = last.checked_add(row_bytes).ok_or_else(bad)?;
        if width == 0 || stride < row_bytes || end > surface.memory.len() {
            return Err(bad());
        }
        let line0 = if surface.stride < 0 { last } else { 0 };
        Ok(Self { surface, width, height, line0, row_bytes })
    }

    /// Format of the pixels.
    #[must_use]
    pub fn format(&self) -> SurfaceFormat {
        self.surface.format
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.surface.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.surface.height
    }

    /// The whole surface.
    #[must_use]
    pub fn bounds(&self) -> Rect {
        Rect::new(0, 0, self.width, self.height)
    }

    /// Bytes of a row without padding.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Offset in the memory block of byte `x_byte` of picture row `y`; `None` if the bytes are not all inside
    /// the surface.
    fn offset(&self, x_byte: usize, y: i32, len: usize) -> Option<usize> {
        if y < 0 || y >= self.height || x_byte.checked_add(len)? > self.row_bytes {
            return None;
        }
        let rows = usize::try_from(y).ok()?;
        let stride = usize::try_from(self.surface.stride.unsigned_abs()).ok()?;
        // The result stays inside the block, because `new` has checked the first and the last row.
        let row = if self.surface.stride < 0 { self.line0 - rows * stride } else { rows * stride };
        Some(row + x_byte)
    }

    /// Copies bytes of picture row `y` from byte `x_byte` on. If they are not all inside the row, `out`
    /// becomes zero.
    pub fn read_bytes(&self, x_byte: usize, y: i32, out: &mut [u8]) {
        match self.offset(x_byte, y, out.len()) {
            Some(offset) => self.surface.memory.read_at(offset, out),
            None => out.fill(0),
        }
    }

    /// Overwrites bytes of picture row `y`. Does nothing if they are not all inside the row.
    pub fn write_bytes(&mut self, x_byte: usize, y: i32, bytes: &[u8]) {
        if let Some(offset) = self.offset(x_byte, y, bytes.len()) {
            self.surface.memory.write_at(offset, bytes);
        }
    }

    /// Copies bytes inside the surface; source and target may overlap.
    pub(super) fn copy_bytes(&mut self, from: (usize, i32), to: (usize, i32), len: usize) {
        let from = self.offset(from.0, from.1, len);
        if let (Some(from), Some(to)) = (from, self.offset(to.0, to.1, len)) {
            self.surface.memory.copy_within(from, to, len);
        }
    }

    /// The place in memory of `count` rows from `y` on, each `len` bytes from byte `x_byte` on; `None` if
    /// they are not all inside the surface.
    fn rows(&self, x_byte: usize, y: i32, len: usize, count: usize) -> Option<Rows> {
        let first = self.offset(x_byte, y, len)?;
        let last = i32::try_from(count.checked_sub(1)?).ok()?;
        self.offset(x_byte, y.checked_add(last)?, len)?;
        Some(Rows { first, pitch: isize::try_from(self.surface.stride).ok()? })
    }

    /// Copies `count` rows of `len` bytes from a source directly into rows `y` and below, from byte `x_byte`
    /// on. Does nothing if they are not all inside the surface.
    pub(super) fn write_rows(
        &mut self,
        (x_byte, y): (usize, i32),
        source: &dyn ByteSource,
        from: Rows,
        len: usize,
        count: usize,
    ) {
        if let Some(to) = self.rows(x_byte, y, len, count) {
            self.surface.memory.write_rows(to, source, from, len, count);
        }
    }

    /// Changes bytes of row `y` in place: `change(at, bytes)` gets consecutive parts, where `at` counts from
    /// `x_byte`. Does nothing if they are not all inside the row.
    pub(super) fn update_bytes(
        &mut self,
        x_byte: usize,
        y: i32,
        len: usize,
        change: &mut dyn FnMut(usize, &mut [u8]),
    ) {
        if let Some(offset) = self.offset(x_byte, y, len) {
            self.surface.memory.update(offset, len, change);
        }
    }

    /// Draws premultiplied b, g, r, a pixels, times `alpha`, over those of row `y` from byte `x_byte` on.
    /// Does nothing if they are not all inside the row.
    pub(super) fn blend_bytes(&mut self, x_byte: usize, y: i32, pixels: &[u8], alpha: u8) {
        if let Some(offset) = self.offset(x_byte, y, pixels.len()) {
            self.surface.memory.blend(offset, pixels, alpha);
        }
    }

    /// Whether the rows are adjacent in memory, without padding.
    pub(super) fn is_packed(&self) -> bool {
        usize::try_from(self.surface.stride.unsigned_abs()) == Ok(self.row_bytes)
    }

    /// Copies `rows` whole rows of a packed surface; `from` and `to` are the topmost ones. The rows may
    /// overlap.
    pub(super) fn copy_rows(&mut self, from: i32, to: i32, rows: usize) {
        let Some(last) = i32::try_from(rows).ok().and_then(|n| n.checked_sub(1)) else { return };
        // With a negative stride, the first of the rows in memory is the last one in the picture.
        let ends = |y: i32| {
            let (top, bottom) =
                (self.offset(0, y, self.row_bytes)?, self.offset(0, y + last, self.row_bytes)?);
            Some(top.min(bottom))
        };
        if let (true, Some(from), Some(to)) = (self.is_packed(), ends(from), ends(to)) {
            self.surface.memory.copy_within(from, to, rows * self.row_bytes);
        }
    }

    /// Reads the native values of row `y` from column `x` on. If the segment is not all inside the surface,
    /// they are 0.
    pub fn read_row(&self, x: i32, y: i32, out: &mut [u32]) {
        let Some(x) = self.column(x, out.len()) else {
            out.fill(0);
            return;
        };
        let mut buffer = [0u8; CHUNK];
        match self.surface.format.bits_per_pixel() {
            32 => {
                for (i, part) in out.chunks_mut(CHUNK / 4).enumerate() {
                    let bytes = &mut buffer[..part.len() * 4];
                    self.read_bytes(x * 4 + i * CHUNK, y, bytes);
                    for (p, b) in part.iter_mut().zip(bytes.as_chunks::<4>().0) {
                        *p = u32::from_le_bytes(*b);
                    }
                }
            }
            16 => {
                for (i, part) in out.chunks_mut(CHUNK / 2).enumerate() {
                    let bytes = &mut buffer[..part.len() * 2];
                    self.read_bytes(x * 2 + i * CHUNK, y, bytes);
                    for (p, b) in part.iter_mut().zip(bytes.as_chunks::<2>().0) {
                        *p = u16::from_le_bytes(*b).into();
                    }
                }
            }
            8 => {
                for (i, part) in out.chunks_mut(CHUNK).enumerate() {
                    let bytes = &mut buffer[..part.len()];
                    self.read_bytes(x + i * CHUNK, y, bytes);
                    for (p, b) in part.iter_mut().zip(bytes) {
                        *p = (*b).into();
                    }
                }
            }
            _ => {
                let mut bytes = vec![0; (x % 8 + out.len()).div_ceil(8)];
                self.read_bytes(x / 8, y, &mut bytes);
                for (i, p) in out.iter_mut().enumerate() {
                    let bit = x % 8 + i;
                    *p = u32::from(bytes[bit / 8] >> (bit % 8) & 1);
                }
            }
        }
    }

    /// Writes native values to row `y` from column `x` on. Does nothing if the segment is not all inside the
    /// surface.
    #[allow(clippy::cast_possible_truncation, reason = "a native value has as many bits as its format")]
    pub fn write_row(&mut self, x: i32, y: i32, row: &[u32]) {
        let Some(x) = self.column(x, row.len()) else { return };
        let mut buffer = [0u8; CHUNK];
        match self.surface.format.bits_per_pixel() {
            32 => {
                for (i, part) in row.chunks(CHUNK / 4).enumerate() {
                    for (p, b) in part.iter().zip(buffer.as_chunks_mut::<4>().0) {
                        *b = p.to_le_bytes();
                    }
                    self.write_bytes(x * 4 + i * CHUNK, y, &buffer[..part.len() * 4]);
                }
            }
            16 => {
                for (i, part) in row.chunks(CHUNK / 2).enumerate() {
                    for (p, b) in part.iter().zip(buffer.as_chunks_mut::<2>().0) {
                        *b = (*p as u16).to_le_bytes();
                    }
                    self.write_bytes(x * 2 + i * CHUNK, y, &buffer[..part.len() * 2]);
                }
            }
            8 => {
                for (i, part) in row.chunks(CHUNK).enumerate() {
                    for (p, b) in part.iter().zip(&mut buffer) {
                        *b = *p as u8;
                    }
                    self.write_bytes(x + i * CHUNK, y, &buffer[..part.len()]);
                }
            }
            _ => {
                let mut bytes = vec![0; (x % 8 + row.len()).div_ceil(8)];
                self.read_bytes(x / 8, y, &mut bytes);
                for (i, p) in row.iter().enumerate() {
                    let bit = x % 8 + i;
                    let byte = &mut bytes[bit / 8];
                    *byte = *byte & !(1 << (bit % 8)) | (*p as u8 & 1) << (bit % 8);
                }
                self.write_bytes(x / 8, y, &bytes);
            }
        }
    }

    /// `x` as an index, if the `len` columns from it on are inside the surface.
    fn column(&self, x: i32, len: usize) -> Option<usize> {
        let start = usize::try_from(x).ok()?;
        let width = usize::try_from(self.width).ok()?;
        (start.checked_add(len)? <= width).then_some(start)
    }

    /// Changes every pixel of `area`: `f(x, y, row)` gets the native values of a segment that starts at (x,
    /// y) and replaces them. Each pixel is visited once. A span may come in several segments.
    pub fn modify(&mut self, area: &Area, mut f: impl FnMut(i32, i32, &mut [u32])) {
        if self.format().bits_per_pixel() == 32 {
            return self.modify_32(area, f);
        }
        let mut buffer = vec![0; index(area.bounds().width())];
        area.for_each_span(|span| {
            let row = &mut buffer[..span.len()];
            self.read_row(span.left, span.y, row);
            f(span.left, span.y, row);
            self.write_row(span.left, span.y, row);
        });
    }

    fn modify_32(&mut self, area: &Area, mut f: impl FnMut(i32, i32, &mut [u32])) {
        const PIXELS: usize = 512;
        let mut buffer = [0; PIXELS];
        area.for_each_span(|span| {
            let mut x = span.left;
            self.update_bytes(index_i32(span.left) * 4, span.y, span.len() * 4, &mut |_, bytes| {
                for part in bytes.chunks_mut(4 * PIXELS) {
                    let row = &mut buffer[..part.len() / 4];
                    for (p, b) in row.iter_mut().zip(part.as_chunks::<4>().0) {
                        *p = u32::from_le_bytes(*b);
                    }
                    f(x, span.y, row);
                    for (p, b) in row.iter().zip(part.as_chunks_mut::<4>().0) {
                        *b = p.to_le_bytes();
                    }
                    x += i32::try_from(row.len()).unwrap_or(0);
                }
            });
        });
    }

    /// Like [`Canvas::modify`], but without reading: `f` must fill the whole segment, whose values are
    /// undefined before.
    pub fn overwrite(&mut self, area: &Area, mut f: impl FnMut(i32, i32, &mut [u32])) {
        let mut buffer = vec![0; index(area.bounds().width())];
        area.for_each_span(|span| {
            let row = &mut buffer[..span.len()];
            f(span.left, span.y, row);
            self.write_row(span.left, span.y, row);
        });
    }

    /// Writes one native value to every pixel of `area`.
    pub fn fill(&mut self, area: &Area, value: u32) {
        let value = value & pixel::value_mask(self.format());
        let bytes_per_pixel = index(self.format().bits_per_pixel() / 8);
        if bytes_per_pixel == 0 {
            self.overwrite(area, |_, _, row| row.fill(value));
            return;
        }
        // The bits above the pixel are 0, so the copies do not overlap.
        let copies = match bytes_per_pixel {
            1 => 0x0101_0101_0101_0101,
            2 => 0x0001_0001_0001_0001,
            _ => 0x0000_0001_0000_0001,
        };
        let pattern = u64::from(value) * copies;
        area.for_each_block(|block| {
            let (start, count) = (index_i32(block.left) * bytes_per_pixel, index(block.height()));
            let len = index(block.width()) * bytes_per_pixel;
            let Some(rows) = self.rows(start, block.top, len, count) else { return };
            let (rows, len, count) = match rows.span(count, len) {
                // If the rows have no gaps between them, they are one.
                Some(all) if rows.pitch.unsigned_abs() == len => {
                    (Rows { first: all.start, ..rows }, all.len(), 1)
                }
                _ => (rows, len, count),
            };
            self.surface.memory.fill_rows(rows, pattern, len, count);
        });
    }
}
