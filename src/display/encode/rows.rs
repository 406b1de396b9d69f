//! Some rows of an image, and what it takes to send a large image as several messages, one below the other.

use crate::draw::Clip;
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
    fn a_window_shows_nothing_beyond_its_end() {
        let window = Window::new(Arc::new(vec![1u8, 2, 3, 4, 5]), 1, 3);
        let mut all = [9; 5];
        window.read_at(0, &mut all);
        assert_eq!(all, [2, 3, 4, 0, 0]);
        assert_eq!(window.as_private(), Some(&[2u8, 3, 4][..]));
    }
}
