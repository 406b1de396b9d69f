//! The rectangles of one surface that the host has to see as changed (canvas.md 12).

use crate::canvas::Region;
use crate::geometry::Rect;
use crate::limits::MAX_DIRTY_RECTS;

/// Boxes that are collected before they are joined with the others.
const MAX_FRESH: usize = 128;

/// The boxes of all commands that count as drawn (see [`super::count`]) since the host last took them.
#[derive(Debug, Default)]
pub(super) struct HostDirty {
    /// The boxes, apart from those in `fresh`.
    region: Region,
    /// Boxes that are not joined yet: joining many at once is less work.
    fresh: Vec<Rect>,
    /// Age of the newest command that counts.
    mark: u64,
}

impl HostDirty {
    /// Adds the box of a command.
    pub(super) fn add(&mut self, rect: Rect) {
        let known = self.fresh.last().is_some_and(|last| last.contains(&rect));
        if known || self.region.contains_rect(&rect) {
            return;
        }
        self.fresh.push(rect);
        if self.fresh.len() >= MAX_FRESH {
            self.join();
        }
    }

    /// Notes that a command was drawn. If it did not count yet, the host has to be told all the same.
    pub(super) fn drawn(&mut self, seq: u64, rect: Rect) {
        if !self.counts(seq) {
            self.add(rect);
        }
    }

    /// Whether the command of this age counts.
    pub(super) fn counts(&self, seq: u64) -> bool {
        seq <= self.mark
    }

    /// Age of the newest command that counts.
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    /// Lets all commands up to age `seq` count. The caller adds their boxes.
    pub(super) fn advance(&mut self, seq: u64) {
        self.mark = self.mark.max(seq);
    }

    fn join(&mut self) {
        self.region = self.region.union(&Region::from_rects(&self.fresh));
        self.fresh.clear();
        // Without a bound, a guest whose host never asks would make each further command slower.
        if self.region.rects().len() > MAX_DIRTY_RECTS {
            self.region = Region::from(self.region.bounds());
        }
    }

    /// The rectangles. More than `max` are joined into the last one. `clear`: the host takes them.
    pub(super) fn rects(&mut self, max: Option<usize>, clear: bool) -> Vec<Rect> {
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
