//! Pixels of the screen without rendering it. The frames of a video that is drawn in pieces are read many times a second, and most
//! pieces are covered by the next frame's before anybody else wants to see them: they need not be drawn at all.

use super::{Surface, Surfaces};
use crate::canvas::{AreaPixels, Region};
use crate::display::pending::PendingDrawable;
use crate::display::reads::SelfRead;
use crate::draw::{Copy, DrawOp, Rop};
use crate::geometry::Rect;
use crate::guest::{ByteSource, Rows};
use crate::image::{Bitmap, BitmapFormat, ImageData, SurfaceFormat};
use crate::limits::{MAX_PEEKED, MAX_PEEKED_LAYERS};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a pixel of the screen.
const PIXEL: usize = 4;

/// The buffer of the last frame, once nobody needs the frame any more. Memory that is new is cleared by the kernel and mapped page
/// by page, which costs as much as the copy.
#[derive(Clone, Debug, Default)]
pub(super) struct SpareFrame(Arc<Mutex<Option<Vec<u8>>>>);

impl SpareFrame {
    /// A buffer of so many bytes with any contents. `None`: there is no memory for it.
    fn take(&self, size: usize) -> Option<Vec<u8>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut buffer = kept.filter(|kept| kept.capacity() / 2 <= size).unwrap_or_default();
        buffer.try_reserve_exact(size.saturating_sub(buffer.len())).ok()?;
        buffer.resize(size, 0);
        Some(buffer)
    }

    /// Gives the memory back.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The pixels of a frame.
#[derive(Debug)]
struct Frame {
    pixels: Vec<u8>,
    home: SpareFrame,
}

impl ByteSource for Frame {
    fn len(&self) -> usize {
        self.pixels.len()
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        self.pixels.read_at(offset, dst);
    }

    fn as_private(&self) -> Option<&[u8]> {
        Some(&self.pixels)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // With nobody else there the surfaces are gone.
        if Arc::strong_count(&self.home.0) > 1 {
            let pixels = std::mem::take(&mut self.pixels);
            *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pixels);
        }
    }
}

impl Surfaces {
    /// Copies an area of the screen like [`Self::read`]. Where copies of the guest's pixels wait it copies from these, and leaves
    /// them pending.
    pub(in crate::display) fn peek(&mut self, area: &Rect) -> Option<AreaPixels> {
        let surface = self.map.get(&0)?;
        let area = area.intersect(&surface.bounds());
        let size = area.area().checked_mul(PIXEL as u64).and_then(|size| usize::try_from(size).ok())?;
        let simple = !area.is_empty() && surface.format == SurfaceFormat::Xrgb32;
        let Some(covered) = simple.then(|| covered_by_copies(surface, &area)).flatten() else {
            return self.read(0, &area);
        };
        let mut pixels = self.frames.take(size)?;
        fill(surface, &area, &covered, &mut pixels);
        let bitmap = Bitmap {
            format: BitmapFormat::ThirtyTwoBit,
            width: area.width(),
            height: area.height(),
            stride: area.width().checked_mul(PIXEL as u32)?,
            top_down: true,
            unstable: false,
            palette: None,
            pixels: Arc::new(Frame { pixels, home: self.frames.clone() }),
        };
        Some(AreaPixels { bitmap, high_bits_set: false })
    }

    /// No more frames are read for now.
    pub(in crate::display) fn forget_frames(&self) {
        self.frames.clear();
    }
}

/// What is covered in the area by what waits to be drawn, if all of that is copies that [`plain_copy`] knows, and few enough.
fn covered_by_copies(surface: &Surface, area: &Rect) -> Option<Region> {
    let mut rects: Vec<Rect> = Vec::new();
    let (mut pixels, most) = (0u64, area.area().saturating_mul(MAX_PEEKED_LAYERS));
    for (pending, visible) in surface.tree.visible_in(area) {
        plain_copy(pending)?;
        let visible = visible.intersect_rect(area);
        pixels = pixels.saturating_add(visible.area());
        rects.extend(visible.rects());
        if rects.len() > MAX_PEEKED || pixels > most {
            return None;
        }
    }
    Region::try_from_rects(&rects, MAX_PEEKED)
}

/// The pixels that a command copies to the screen as they are, and where the first one of its box lies among them.
fn plain_copy(pending: &PendingDrawable) -> Option<(&Bitmap, i32, i32)> {
    let DrawOp::Copy(Copy { src, src_area, rop: Rop::PUT, mask: None, .. }) = &pending.drawable.op else {
        return None;
    };
    let ImageData::Bitmap(bitmap) = &src.data else { return None };
    let same = matches!(bitmap.format, BitmapFormat::ThirtyTwoBit | BitmapFormat::Rgba);
    let bbox = &pending.drawable.bbox;
    let unscaled = (src_area.width(), src_area.height()) == (bbox.width(), bbox.height());
    let inside = Rect::of_size(bitmap.width, bitmap.height).contains(src_area);
    let reads_nothing = pending.reads.is_empty() && pending.self_read == SelfRead::Nothing;
    (same && unscaled && inside && reads_nothing).then_some((bitmap, src_area.left, src_area.top))
}

/// Fills `pixels` with the area: first what is drawn already and not covered, then what waits, oldest first.
fn fill(surface: &Surface, area: &Rect, covered: &Region, pixels: &mut [u8]) {
    for rect in Region::from(*area).subtract(covered).rects() {
        for y in rect.top..rect.bottom {
            let Some(row) = row_of(area, rect, y).and_then(|row| pixels.get_mut(row)) else { return };
            surface.canvas.read_bytes(bytes(rect.left), y, row);
        }
    }
    for (pending, visible) in surface.tree.visible_in(area) {
        let Some((bitmap, left, top)) = plain_copy(pending) else { return };
        let bbox = &pending.drawable.bbox;
        for rect in visible.intersect_rect(area).rects() {
            let from = u32::try_from(rect.top - bbox.top + top).unwrap_or_default();
            let stride = usize::try_from(bitmap.stride).unwrap_or(usize::MAX);
            let in_memory = if bitmap.top_down { from } else { bitmap.height.saturating_sub(from + 1) };
            let row = usize::try_from(in_memory).unwrap_or(usize::MAX).saturating_mul(stride);
            let pitch = isize::try_from(stride).unwrap_or_default();
            let rows = Rows {
                first: row.saturating_add(bytes(rect.left - bbox.left + left)),
                pitch: if bitmap.top_down { pitch } else { -pitch },
            };
            let Some((first, last)) = row_of(area, rect, rect.top).zip(row_of(area, rect, rect.bottom - 1))
            else {
                return;
            };
            let Some(to) = pixels.get_mut(first.start..last.end) else { return };
            bitmap.pixels.read_rows(rows, first.len(), to, bytes(area.right - area.left));
        }
    }
}

/// Where the bytes of row `y` of `rect`, which lies in the area, are among the area's pixels.
fn row_of(area: &Rect, rect: &Rect, y: i32) -> Option<Range<usize>> {
    let row = usize::try_from(y - area.top).ok()?.checked_mul(bytes(area.right - area.left))?;
    let start = row.checked_add(bytes(rect.left - area.left))?;
    Some(start..start.checked_add(bytes(rect.right - rect.left))?)
}

fn bytes(pixels: i32) -> usize {
    usize::try_from(pixels).unwrap_or_default() * PIXEL
}

#[cfg(test)]
#[path = "peek_tests.rs"]
mod tests;
