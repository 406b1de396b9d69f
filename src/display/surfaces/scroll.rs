//! Copies within the screen that wait although newer commands are drawn (see [`crate::display::scroll`]).

use super::{Surface, Surfaces};
use crate::display::pending::PendingDrawable;
use crate::display::scroll::{Saved, Scroll};
use crate::display::tree::{Join, Joined, Unsaved};
use crate::geometry::Rect;
use crate::image::SurfaceFormat;
use crate::limits::{MAX_SAVED, MAX_SAVED_STRIPS};

impl Surface {
    /// Whether strips of its pixels may be saved: only of the screen, since elsewhere a pixel may have a fourth byte that counts.
    pub(super) fn may_save(id: u32, format: SurfaceFormat) -> bool {
        id == 0 && format == SurfaceFormat::Xrgb32
    }
}

impl Surfaces {
    /// Saves what a pending copy reads in an area of its surface, so that newer commands may be drawn there. What the copy reads is
    /// up to date. Where that is not possible the copy is rendered.
    pub(super) fn save(&mut self, id: u32, seq: u64, area: &Rect) {
        let Some(surface) = self.map.get_mut(&id) else { return };
        let Some(Unsaved { places, offset, saved }) = surface.tree.unsaved(seq, area) else { return };
        let few = saved + places.len() <= MAX_SAVED_STRIPS;
        match few.then(|| self.strips(id, &places, offset)).flatten() {
            Some(saved) => {
                if let Some(surface) = self.map.get_mut(&id) {
                    surface.tree.save(seq, saved);
                }
            }
            None => self.render_one(id, seq),
        }
    }

    /// Copies of the pixels that a copy at this offset draws at these places. `None`: there is no room for them.
    fn strips(&mut self, id: u32, rects: &[Rect], (dx, dy): (i32, i32)) -> Option<Vec<Saved>> {
        let surface = self.map.get(&id)?;
        let pixels: u64 = rects.iter().map(Rect::area).sum();
        let bytes = usize::try_from(pixels.saturating_mul(4)).ok()?;
        if self.strips.held().saturating_add(bytes) > MAX_SAVED {
            return None;
        }
        self.work = self.work.saturating_add(pixels.saturating_mul(2));
        let saved = |rect: &Rect| {
            let image = surface.canvas.snapshot(&rect.translate(dx, dy), true, 0)?;
            Some(Saved::new(*rect, image, &self.strips))
        };
        rects.iter().map(saved).collect()
    }

    /// Joins a new copy within its surface with a pending one of which a part is saved, if it copies little else. Then the new one
    /// does not read what the pending one draws, which need not be drawn for it.
    pub(super) fn join_scroll(&mut self, pending: &PendingDrawable) -> Option<Joined> {
        let id = pending.drawable.surface_id;
        let Join { seq, rest, kept, .. } = self.map.get(&id)?.tree.join(pending)?;
        for rect in &rest {
            self.render_needed(id, rect);
        }
        for rect in &kept {
            self.save(id, seq, rect);
        }
        // The pending one may have been rendered.
        let Join { seq, offset, own, rest, kept, mut saved } = self.map.get(&id)?.tree.join(pending)?;
        if !kept.is_empty() || saved.len() + rest.len() > MAX_SAVED_STRIPS {
            return None;
        }
        let back = |rect: &Rect| rect.translate(own.0.saturating_neg(), own.1.saturating_neg());
        let places: Vec<Rect> = rest.iter().map(back).collect();
        saved.extend(self.strips(id, &places, own)?);
        let mut scroll = Scroll { moves: pending.region.clone(), saved: Vec::new() };
        scroll.save(saved);
        Some(Joined { seq, offset, scroll })
    }
}

#[cfg(test)]
#[path = "scroll_tests.rs"]
mod tests;
