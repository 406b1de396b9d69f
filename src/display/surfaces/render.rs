//! Rendering: pending commands leave their tree and are drawn on the canvas, in an order that changes no pixel.

use super::{Surface, Surfaces};
use crate::canvas::{AreaPixels, Canvas, Region};
use crate::display::pending::PendingDrawable;
use crate::display::tree::{RenderNeed, RenderPart, What};
use crate::draw::Drawable;
use crate::geometry::Rect;
use crate::limits::RENDER_PIECE;
use std::collections::BTreeMap;

/// Cost of the part of a large command that is rendered at a time. Tests use small commands and so a small part.
pub(super) const PIECE: u64 = if cfg!(test) { 2000 } else { RENDER_PIECE };

impl Surfaces {
    /// Renders the pending commands of other surfaces that read this one, if `reads` is true for the area they read.
    pub(super) fn render_readers(&mut self, id: u32, reads: impl Fn(&Rect) -> bool) {
        let next = |s: &Surface| s.readers.iter().find(|reader| reads(&reader.area)).copied();
        while let Some(reader) = self.map.get(&id).and_then(next) {
            self.render_one(reader.target, reader.seq);
            if let Some(surface) = self.map.get_mut(&id) {
                surface.readers.retain(|r| r.seq != reader.seq);
            }
        }
    }

    /// Renders the commands of a surface that are not newer than `seq`.
    pub(super) fn render_until(&mut self, id: u32, seq: u64) {
        loop {
            let next = self.map.get_mut(&id).and_then(|s| s.tree.take_first_until(seq));
            let Some(part) = next else { return };
            self.render(id, part);
        }
    }

    /// Renders the commands that bring an area up to date.
    pub(super) fn render_needed(&mut self, id: u32, area: &Rect) {
        let needed = self.map.get(&id).map(|s| s.tree.needed_for(area)).unwrap_or_default();
        for needed in needed {
            self.render_part(id, &needed);
        }
    }

    /// Renders a command and those that must come before it.
    pub(super) fn render_one(&mut self, id: u32, seq: u64) {
        let needed = self.map.get(&id).map(|s| s.tree.needed_by(seq)).unwrap_or_default();
        for needed in needed {
            self.render_part(id, &needed);
        }
    }

    /// Renders a command if no other one has to be rendered for it.
    pub(super) fn render_if_alone(&mut self, id: u32, seq: u64) {
        let needed = self.map.get(&id).map(|s| s.tree.needed_by(seq)).unwrap_or_default();
        if needed.iter().all(|needed| needed.seq == seq || matches!(needed.what, What::Save(_))) {
            for needed in needed {
                self.render_part(id, &needed);
            }
        }
    }

    fn render_part(&mut self, id: u32, needed: &RenderNeed) {
        // Rendering a command before this one may have rendered this one too, through the surfaces that it reads.
        let Some(surface) = self.map.get_mut(&id) else { return };
        if let What::Save(area) = &needed.what {
            return self.save(id, needed.seq, area);
        }
        if let Some(part) = surface.tree.take_needed(needed) {
            self.render(id, part);
        }
    }

    /// Renders a command, or a part of it, that was taken out of its tree, after bringing what it reads up to date.
    fn render(&mut self, id: u32, part: RenderPart) {
        let RenderPart { pending, region, whole, scroll } = part;
        if whole {
            self.forget(&pending);
            for read in &pending.reads {
                self.render_needed(read.surface_id, &read.area);
            }
        }
        match scroll {
            Some((offset, scroll)) => {
                self.paint_scroll(id, &pending, scroll.steps(&pending, &region, offset))
            }
            None => self.paint(id, &pending, &region),
        }
    }

    /// Draws a copy of which a part was saved.
    fn paint_scroll(
        &mut self,
        id: u32,
        pending: &PendingDrawable,
        steps: impl Iterator<Item = (Drawable, Region)>,
    ) {
        let Some(surface) = self.map.get_mut(&id).filter(|s| s.key == pending.key) else { return };
        for (drawable, region) in steps {
            let cost = pending.cost.of_part(region.area(), pending.region.area());
            self.work = self.work.saturating_add(cost);
            if let Err(error) = surface.canvas.draw_region(&drawable, &region, &(), &mut self.decoded) {
                crate::warning_limited!("a copy within surface {id} cannot be rendered: {error}");
            }
        }
        surface.painted(pending);
    }

    /// Draws a command on its surface inside `region`, where it is visible. Elsewhere newer commands may have been drawn
    /// already.
    fn paint(&mut self, id: u32, pending: &PendingDrawable, region: &Region) {
        let cost = pending.cost.of_part(region.area(), pending.region.area());
        self.work = self.work.saturating_add(cost);
        let drawn = if pending.reads.is_empty() {
            let Some(surface) = self.map.get_mut(&id).filter(|s| s.key == pending.key) else { return };
            let drawn = surface.canvas.draw_region(&pending.drawable, region, &(), &mut self.decoded);
            surface.painted(pending);
            drawn
        } else {
            let Some(mut lent) = BorrowedSurface::of(&mut self.map, id) else { return };
            let BorrowedSurface { map, surface: Some(surface), .. } = &mut lent else { return };
            if surface.key != pending.key {
                return;
            }
            let drawn =
                surface.canvas.draw_region(&pending.drawable, region, &OtherSurfaces(map), &mut self.decoded);
            surface.painted(pending);
            drawn
        };
        if let Err(error) = drawn {
            crate::warning_limited!("a drawing command on surface {id} cannot be rendered: {error}");
        }
    }

    /// Brings an area up to date, so that it may be read.
    pub(in crate::display) fn render_area(&mut self, id: u32, area: &Rect) {
        self.count_area(id, area);
        self.render_needed(id, area);
    }

    /// Renders all pending commands of a surface.
    pub(in crate::display) fn render_surface(&mut self, id: u32) {
        if let Some(seq) = self.map.get(&id).and_then(|s| s.tree.newest()) {
            self.count_all_until(id, seq);
            self.render_until(id, seq);
        }
    }

    /// Renders all pending commands.
    pub(in crate::display) fn render_all(&mut self) {
        while self.render_oldest() {}
    }

    /// Renders the oldest pending command; `false`: there is none.
    pub(in crate::display) fn render_oldest(&mut self) -> bool {
        while let Some((seq, id)) = self.order.pop_front() {
            if self.map.get(&id).is_some_and(|s| s.tree.first() == Some(seq)) {
                self.count_all_until(id, seq);
                self.render_until(id, seq);
                return true;
            }
        }
        false
    }

    /// Like [`Self::render_oldest`], but renders only some rows of a command that takes long.
    pub(in crate::display) fn render_piece(&mut self) -> bool {
        let Some(pending) = self.oldest().cloned() else { return false };
        let (seq, id) = (pending.seq, pending.drawable.surface_id);
        let pieces = pending.cost.pieces(PIECE);
        if pieces == 1 || !pending.can_be_drawn_in_bands() {
            return self.render_oldest();
        }
        self.count_all_until(id, seq);
        for read in &pending.reads {
            self.render_needed(read.surface_id, &read.area);
        }
        let height = u64::from(pending.region.bounds().height());
        let rows = u32::try_from(height.div_ceil(pieces)).unwrap_or(u32::MAX);
        if let Some(part) = self.map.get_mut(&id).and_then(|s| s.tree.take_rows(seq, rows)) {
            self.render(id, part);
        }
        true
    }

    /// Brings an area up to date and copies its pixels. `None`: no such surface, an empty area, or a format that no image
    /// has.
    pub(in crate::display) fn read(&mut self, id: u32, area: &Rect) -> Option<AreaPixels> {
        let area = area.intersect(&self.map.get(&id)?.bounds());
        self.render_area(id, &area);
        let surface = self.map.get(&id)?;
        surface.canvas.read_area(&area, id == 0)
    }
}

/// A surface that is taken out of the map while a command is drawn on it. It returns to the map even after a panic.
struct BorrowedSurface<'a> {
    map: &'a mut BTreeMap<u32, Surface>,
    id: u32,
    surface: Option<Surface>,
}

impl<'a> BorrowedSurface<'a> {
    fn of(map: &'a mut BTreeMap<u32, Surface>, id: u32) -> Option<Self> {
        let surface = Some(map.remove(&id)?);
        Some(Self { map, id, surface })
    }
}

impl Drop for BorrowedSurface<'_> {
    fn drop(&mut self) {
        if let Some(surface) = self.surface.take() {
            self.map.insert(self.id, surface);
        }
    }
}

/// The surfaces that a command may read while it is drawn on its target.
struct OtherSurfaces<'a>(&'a BTreeMap<u32, Surface>);

impl crate::canvas::Surfaces for OtherSurfaces<'_> {
    fn surface(&self, id: u32) -> Option<&Canvas> {
        self.0.get(&id).map(|s| &s.canvas)
    }
}
