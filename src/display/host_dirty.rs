//! What the host sees as dirty of a surface (canvas.md 12): the boxes of all commands that *count* as drawn.
//!
//! The original draws whole histories: who needs some pixels has the newest command there drawn, with all that are older
//! on its surface, whatever these read likewise before. Hosts see that in the rectangles of update_area. Here only what
//! is needed is drawn ([`super::tree`]), and counting is apart from it: commands of a surface count by age, up to a mark.
//! What counts may be drawn later, but before the host is told ([`Surfaces::settle`]).

use super::surfaces::Surfaces;
use crate::canvas::Region;
use crate::geometry::Rect;
use crate::limits::MAX_DIRTY_RECTS;

/// Boxes before they are joined with the others.
const MAX_FRESH: usize = 128;

/// The rectangles of one surface that the host has not taken yet, and the newest command that they include.
#[derive(Debug, Default)]
pub struct HostDirty {
    /// Boxes of what counts since the host last took them, apart from those in `fresh`.
    region: Region,
    /// Such boxes that are still to be joined, for less work in all.
    fresh: Vec<Rect>,
    /// Age of the newest command that counts.
    counted: u64,
}

impl HostDirty {
    pub fn add(&mut self, rect: Rect) {
        let known = self.fresh.last().is_some_and(|last| last.contains(&rect));
        if known || self.region.contains_rect(&rect) {
            return;
        }
        self.fresh.push(rect);
        if self.fresh.len() >= MAX_FRESH {
            self.join();
        }
    }

    /// A command was drawn. One that did not count yet does so now: its pixels are there.
    pub fn drawn(&mut self, seq: u64, rect: Rect) {
        if !self.counts(seq) {
            self.add(rect);
        }
    }

    /// Whether the command of this age counts.
    pub fn counts(&self, seq: u64) -> bool {
        seq <= self.counted
    }

    fn join(&mut self) {
        self.region = self.region.union(&Region::from_rects(&self.fresh));
        self.fresh.clear();
        // A guest that draws a pattern which the host never asks about would make each further command slower.
        if self.region.rects().len() > MAX_DIRTY_RECTS {
            self.region = Region::from(self.region.bounds());
        }
    }

    /// The rectangles: at most `max`, the last one then around the rest.
    pub fn rects(&mut self, max: Option<usize>, clear: bool) -> Vec<Rect> {
        self.join();
        let mut rects = self.region.rects().to_vec();
        if let Some(max) = max.filter(|&max| max < rects.len()) {
            let rest = rects.split_off(max.saturating_sub(1)).into_iter();
            let rest = rest.fold(Rect::default(), |all, r| all.union(&r));
            rects.push(rest);
            rects.truncate(max);
        }
        if clear {
            self.region = Region::new();
        }
        rects
    }
}

impl Surfaces {
    /// Counts what an area of a surface needs.
    pub(super) fn count_area(&mut self, id: u32, area: &Rect) {
        let mut areas = vec![(id, *area)];
        while let Some((id, area)) = areas.pop() {
            let Some(surface) = self.surface_mut(id) else { continue };
            if let Some(seq) = surface.tree.newest_in(&area, surface.host_dirty.counted) {
                self.count_until(id, seq, &mut areas);
            }
        }
    }

    /// Counts the commands of a surface that are not newer than `seq`. What they read is left in `areas`.
    fn count_until(&mut self, id: u32, seq: u64, areas: &mut Vec<(u32, Rect)>) {
        let Some(surface) = self.surface_mut(id) else { return };
        let (counted, bounds) = (surface.host_dirty.counted, surface.bounds());
        for pending in surface.tree.between(counted, seq) {
            surface.host_dirty.add(pending.drawable.bbox.intersect(&bounds));
            let deps = pending.drawable.deps.iter().flatten();
            areas.extend(deps.filter(|dep| dep.surface_id != id).map(|dep| (dep.surface_id, dep.area)));
        }
        surface.host_dirty.counted = counted.max(seq);
    }

    /// Counts everything of a surface that is not newer than `seq`.
    pub(super) fn count_all_until(&mut self, id: u32, seq: u64) {
        let mut areas = Vec::new();
        self.count_until(id, seq, &mut areas);
        for (id, area) in areas {
            self.count_area(id, &area);
        }
    }

    /// Counts those that read a surface, which is about to change.
    pub(super) fn count_readers(&mut self, id: u32) {
        let readers = self.get(id).map(|s| s.readers.clone()).unwrap_or_default();
        for reader in readers {
            if self.get(reader.target).is_some_and(|target| reader.seq > target.host_dirty.counted) {
                self.count_area(reader.target, &reader.bbox);
            }
        }
    }

    /// Draws what counts, so that the host may be told.
    pub(super) fn settle(&mut self, id: u32) {
        if let Some(counted) = self.get(id).map(|s| s.host_dirty.counted) {
            self.render_until(id, counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels of a chequered screen, which the host never asks about.
    #[test]
    fn a_pattern_without_end_is_kept_as_a_bounded_number_of_rectangles() {
        let mut dirty = HostDirty::default();
        for n in 0..4 * i32::try_from(MAX_DIRTY_RECTS).unwrap() {
            let (y, x) = (n / 256, n % 256 * 2 + n / 256 % 2);
            dirty.add(Rect::new(x, y, x + 1, y + 1));
            assert!(dirty.region.rects().len() <= MAX_DIRTY_RECTS);
        }
        // Nothing is lost.
        let rects = dirty.rects(None, true);
        assert!(rects.iter().any(|rect| rect.contains(&Rect::new(0, 0, 1, 1))), "{}", rects.len());
        assert!(rects.iter().any(|rect| rect.contains(&Rect::new(511, 127, 512, 128))));
    }
}
