//! Which commands *count* as drawn for the host (canvas.md 12), apart from which are drawn.
//!
//! To read a pixel, the original renders the newest command touching it and every older command on that surface, and
//! recursively what those read. Hosts see that in the rectangles of `update_area`. This library renders only the commands that
//! the pixel depends on ([`crate::display::tree`]), so it keeps count apart: the commands of a surface count by age, up to a
//! mark. A command that counts may be drawn later, but is drawn before the host is told ([`Surfaces::settle`]).

use super::Surfaces;
use crate::geometry::Rect;

impl Surfaces {
    /// Counts the commands that the original would render to read an area.
    pub(in crate::display) fn count_area(&mut self, id: u32, area: &Rect) {
        let mut areas = vec![(id, *area)];
        while let Some((id, area)) = areas.pop() {
            let Some(surface) = self.surface_mut(id) else { continue };
            if let Some(seq) = surface.tree.newest_in(&area, surface.host_dirty.mark()) {
                self.count_until(id, seq, &mut areas);
            }
        }
    }

    /// Counts the commands of a surface up to age `seq`, and adds the areas that they read to `areas`.
    fn count_until(&mut self, id: u32, seq: u64, areas: &mut Vec<(u32, Rect)>) {
        let Some(surface) = self.surface_mut(id) else { return };
        let bounds = surface.bounds();
        for pending in surface.tree.between(surface.host_dirty.mark(), seq) {
            surface.host_dirty.add(pending.drawable.bbox.intersect(&bounds));
            let deps = pending.drawable.deps.iter().flatten();
            areas.extend(deps.filter(|dep| dep.surface_id != id).map(|dep| (dep.surface_id, dep.area)));
        }
        surface.host_dirty.advance(seq);
    }

    /// Counts all commands of a surface up to age `seq`, and what the original would render for them.
    pub(super) fn count_all_until(&mut self, id: u32, seq: u64) {
        let mut areas = Vec::new();
        self.count_until(id, seq, &mut areas);
        for (id, area) in areas {
            self.count_area(id, &area);
        }
    }

    /// Counts the commands that read a surface which is about to change.
    pub(super) fn count_readers(&mut self, id: u32) {
        let readers = self.get(id).map(|s| s.readers.clone()).unwrap_or_default();
        for reader in readers {
            if self.get(reader.target).is_some_and(|target| !target.host_dirty.counts(reader.seq)) {
                self.count_area(reader.target, &reader.bbox);
            }
        }
    }

    /// Renders what counts, so that the host may be told.
    pub(super) fn settle(&mut self, id: u32) {
        if let Some(counted) = self.get(id).map(|s| s.host_dirty.mark()) {
            self.render_until(id, counted);
        }
    }
}
