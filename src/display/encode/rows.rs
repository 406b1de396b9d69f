//! Some rows or an area of an image, and what it takes to send a large image as several messages.

use crate::draw::Clip;
use crate::geometry::Rect;
use crate::guest::ByteSource;
use crate::image::Bitmap;
use std::sync::Arc;

/// Rectangles of a clip that is sent with each part of an image.
const MAX_CLIP: usize = 16;

/// Whether the clip is short enough to be sent with each part of an image.
pub(super) fn may_repeat(clip: &Clip) -> bool {
    match clip {
        Clip::None => true,
        Clip::Rects(rects) => rects.len() <= MAX_CLIP,
    }
}

/// These rows of a bitmap, as seen from its top. `None`: it has no such rows.
pub(super) fn rows_of(bitmap: &Bitmap, top: u32, height: u32) -> Option<Bitmap> {
    let bottom = top.checked_add(height).filter(|&end| height > 0 && end <= bitmap.height)?;
    let in_memory = if bitmap.top_down { top } else { bitmap.height - bottom };
    let bytes = |rows: u32| usize::try_from(u64::from(rows) * u64::from(bitmap.stride)).ok();
    let pixels = Window::new(Arc::clone(&bitmap.pixels), bytes(in_memory)?, bytes(height)?);
    Some(Bitmap { height, pixels: Arc::new(pixels), ..bitmap.clone() })
}

/// An area of a bitmap with whole bytes per pixel. `None`: it has no such area.
pub(super) fn area_of(bitmap: &Bitmap, area: &Rect) -> Option<Bitmap> {
    let inside = Rect::of_size(bitmap.width, bitmap.height).contains(area) && !area.is_empty();
    let (left, top) = (u32::try_from(area.left).ok()?, u32::try_from(area.top).ok()?);
    let rows = rows_of(bitmap, top, area.height()).filter(|_| inside)?;
    if area.width() == bitmap.width {
        return Some(rows);
    }
    let bytes = |pixels: u32| usize::try_from(bitmap.format.min_stride(pixels)).ok();
    let columns = Columns {
        source: rows.pixels,
        stride: usize::try_from(bitmap.stride).ok()?,
        start: bytes(left)?,
        row: bytes(area.width())?,
        rows: usize::try_from(area.height()).ok()?,
    };
    let stride = u32::try_from(columns.row).ok()?;
    Some(Bitmap {
        width: area.width(),
        height: area.height(),
        stride,
        pixels: Arc::new(columns),
        ..bitmap.clone()
    })
}

/// Some columns of the rows in a byte source, as rows without padding.
#[derive(Debug)]
struct Columns {
    source: Arc<dyn ByteSource>,
    stride: usize,
    /// Where they begin in each row, how many bytes they have there, and how many rows there are.
    start: usize,
    row: usize,
    rows: usize,
}

impl ByteSource for Columns {
    fn len(&self) -> usize {
        self.row * self.rows
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        let have = self.len().saturating_sub(offset).min(dst.len());
        let (mut inside, beyond) = dst.split_at_mut(have);
        let mut at = offset;
        while !inside.is_empty() {
            let (row, column) = (at / self.row, at % self.row);
            let (part, rest) = inside.split_at_mut((self.row - column).min(inside.len()));
            self.source.read_at(row * self.stride + self.start + column, part);
            at += part.len();
            inside = rest;
        }
        beyond.fill(0);
    }
}

/// A part of a byte source.
#[derive(Debug)]
struct Window {
    source: Arc<dyn ByteSource>,
    start: usize,
    len: usize,
    chunk_ends: Vec<usize>,
}

impl Window {
    fn new(source: Arc<dyn ByteSource>, start: usize, len: usize) -> Self {
        let inside = source.chunk_ends().iter().map(|end| end.saturating_sub(start).min(len));
        let mut chunk_ends: Vec<usize> = inside.filter(|&end| end > 0).collect();
        chunk_ends.dedup();
        Self { source, start, len, chunk_ends }
    }
}

impl ByteSource for Window {
    fn len(&self) -> usize {
        self.len
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        let have = self.len.saturating_sub(offset).min(dst.len());
        let (inside, beyond) = dst.split_at_mut(have);
        if !inside.is_empty() {
            self.source.read_at(self.start.saturating_add(offset), inside);
        }
        beyond.fill(0);
    }

    fn chunk_ends(&self) -> &[usize] {
        &self.chunk_ends
    }

    fn as_private(&self) -> Option<&[u8]> {
        self.source.as_private()?.get(self.start..self.start.checked_add(self.len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_packed_and_keeps_the_order_of_rows() {
        for top_down in [true, false] {
            // Two bytes of padding in each row.
            let pixels: Vec<u8> = (0..5u8).flat_map(|y| (0..14u8).map(move |x| 16 * y + x)).collect();
            let bitmap = Bitmap {
                format: crate::image::BitmapFormat::TwentyFourBit,
                width: 4,
                height: 5,
                stride: 14,
                top_down,
                unstable: false,
                palette: None,
                pixels: Arc::new(pixels),
            };
            let part = area_of(&bitmap, &Rect::new(1, 1, 3, 4)).unwrap();
            assert_eq!((part.width, part.height, part.stride, part.top_down), (2, 3, 6, top_down));
            for (y, row) in [(0, 1u8), (1, 2), (2, 3)] {
                let mut got = [0; 6];
                part.view().read_row(y, &mut got);
                let row = if top_down { row } else { 4 - row };
                assert_eq!(got, [3, 4, 5, 6, 7, 8].map(|x| 16 * row + x));
            }
            let mut odd = [9; 20];
            part.pixels.read_at(4, &mut odd);
            assert_eq!(odd[..3], [16 + 7, 16 + 8, 32 + 3]);
            assert_eq!(odd[14..], [0; 6]);
            assert!(area_of(&bitmap, &Rect::new(1, 1, 5, 4)).is_none());
            assert!(area_of(&bitmap, &Rect::new(1, 1, 1, 4)).is_none());
            assert!(area_of(&bitmap, &Rect::new(-1, 1, 2, 4)).is_none());
        }
    }

    #[test]
    fn a_window_shows_nothing_beyond_its_end() {
        let window = Window::new(Arc::new(vec![1u8, 2, 3, 4, 5]), 1, 3);
        let mut all = [9; 5];
        window.read_at(0, &mut all);
        assert_eq!(all, [2, 3, 4, 0, 0]);
        assert_eq!(window.as_private(), Some(&[2u8, 3, 4][..]));
    }
}
