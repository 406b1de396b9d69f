//! Copies within a surface (COPY_BITS) of which a part of the source was saved, because a newer command was drawn over it
//! before the copy was.
//!
//! A guest that scrolls draws in the strip that becomes free, and some guests read that strip at once, as X does for text.
//! Without saving, each such read would draw the whole scroll. With it the scroll goes on waiting, and joins the next one
//! ([`super::surfaces`], `scroll.rs`): most of what scrolls is never moved in memory.

use super::pending::PendingDrawable;
use crate::canvas::Region;
use crate::draw::{Clip, Copy, DrawOp, Drawable, Rop, ScaleMode};
use crate::geometry::{Point, Rect};
use crate::image::Image;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of all strips of a device.
#[derive(Clone, Debug, Default)]
pub(super) struct StripMemory(Arc<AtomicUsize>);

impl StripMemory {
    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Pixels that were copied from a surface.
#[derive(Debug)]
struct Strip {
    image: Arc<Image>,
    bytes: usize,
    memory: StripMemory,
}

impl Drop for Strip {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A part of what a copy draws, whose pixels were saved.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    /// Where the copy draws it.
    pub dest: Rect,
    /// Where the pixels begin in the strip.
    from: Point,
    strip: Arc<Strip>,
}

impl Saved {
    /// Saves an image of an area, which a copy draws at `dest`.
    pub(super) fn new(dest: Rect, image: Arc<Image>, memory: &StripMemory) -> Self {
        let bytes = usize::try_from(dest.area().saturating_mul(4)).unwrap_or(usize::MAX);
        memory.0.fetch_add(bytes, Ordering::Relaxed);
        let strip = Arc::new(Strip { image, bytes, memory: memory.clone() });
        Self { dest, from: Point { x: 0, y: 0 }, strip }
    }

    /// The same pixels where a copy draws them that reads them from `area`, at this offset from where it draws.
    pub(super) fn copied(&self, area: &Rect, (dx, dy): (i32, i32)) -> Option<Self> {
        let part = self.dest.intersect(area);
        if part.is_empty() {
            return None;
        }
        let from = Point {
            x: self.from.x.checked_add(part.left.checked_sub(self.dest.left)?)?,
            y: self.from.y.checked_add(part.top.checked_sub(self.dest.top)?)?,
        };
        let dest = part.translate(dx.checked_neg()?, dy.checked_neg()?);
        Some(Self { dest, from, strip: self.strip.clone() })
    }

    fn op(&self) -> DrawOp {
        let src_area =
            Rect::of_size(self.dest.width(), self.dest.height()).translate(self.from.x, self.from.y);
        let src = self.strip.image.clone();
        DrawOp::Copy(Copy { src, src_area, rop: Rop::PUT, scale_mode: ScaleMode::Nearest, mask: None })
    }
}

/// What a waiting copy takes from strips, and what from the surface.
#[derive(Clone, Debug, Default)]
pub(super) struct Scroll {
    /// Visible pixels that still have to be read from the surface.
    pub moves: Region,
    /// The others; some of them may no longer be visible.
    pub saved: Vec<Saved>,
}

impl Scroll {
    /// From now on these parts come from strips.
    pub(super) fn save(&mut self, saved: Vec<Saved>) {
        let areas: Vec<Rect> = saved.iter().map(|saved| saved.dest).collect();
        self.moves = self.moves.subtract(&Region::from_rects(&areas));
        self.saved.extend(saved);
    }

    /// Only this is visible now.
    pub(super) fn show(&mut self, visible: &Region) {
        self.moves = self.moves.intersect(visible);
        self.saved.retain(|saved| visible.intersects_rect(&saved.dest));
    }

    /// The commands that draw the copy where it is visible, in order, each with its region. The copy reads the surface at
    /// `offset`.
    pub(super) fn steps(
        self,
        pending: &PendingDrawable,
        visible: &Region,
        (dx, dy): (i32, i32),
    ) -> impl Iterator<Item = (Drawable, Region)> {
        let drawable = &pending.drawable;
        let command = |bbox: Rect, op: DrawOp| Drawable {
            surface_id: drawable.surface_id,
            effect: drawable.effect,
            bbox,
            clip: Clip::None,
            mm_time: 0,
            self_bitmap: None,
            deps: [None; 3],
            op,
            release: None,
        };
        let bbox = self.moves.bounds();
        let from = Point { x: bbox.left.saturating_add(dx), y: bbox.top.saturating_add(dy) };
        let mut steps = vec![(command(bbox, DrawOp::CopyBits(from)), self.moves)];
        for saved in &self.saved {
            steps.push((command(saved.dest, saved.op()), visible.intersect_rect(&saved.dest)));
        }
        steps.into_iter().filter(|(_, region)| !region.is_empty())
    }
}
