//! Which parts of a client's surfaces will not show the right pixels once its pipe is sent.

use crate::canvas::Region;
use crate::display::pending::PendingDrawable;
use crate::display::reads::{SelfRead, SurfaceKey};
use crate::geometry::Rect;
use std::collections::BTreeMap;

/// Rectangles of one stale region before it is rounded up to a grid: bounds its cost.
const MAX_RECTS: usize = 64;
/// Side of the grid's cells.
const GRID: i32 = 64;

/// What is wrong with one surface at a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Staleness {
    /// Pixels to be sent as images when the pipe is empty.
    pub region: Region,
    /// The content is not known at all: nothing is sent about the surface before its full image, which is in the pipe;
    /// or ever, if the client cannot have such a surface.
    pub whole: bool,
}

impl Staleness {
    fn touches(&self, area: &Rect) -> bool {
        self.whole || self.region.intersects_rect(area)
    }

    /// Adds pixels, perhaps some more than asked.
    pub(super) fn add(&mut self, region: &Region) {
        if region.is_empty() {
            return;
        }
        self.region = bounded(self.region.union(region));
    }

    /// The same for many regions. One by one, each would cost as much as all that is stale already.
    pub(super) fn add_all(&mut self, regions: &[&Region]) {
        self.add(&joined(regions));
    }
}

/// The union of regions, perhaps some pixels more.
fn joined(regions: &[&Region]) -> Region {
    match regions {
        [] => Region::new(),
        [one] => (*one).clone(),
        _ => {
            let (left, right) = regions.split_at(regions.len() / 2);
            bounded(joined(left).union(&joined(right)))
        }
    }
}

fn bounded(region: Region) -> Region {
    if region.rects().len() > MAX_RECTS { on_grid(&region) } else { region }
}

/// Rounds up to cells of a grid, then to the bounds.
fn on_grid(region: &Region) -> Region {
    let down = |v: i32| v - v.rem_euclid(GRID);
    let up = |v: i32| v.saturating_add(GRID - 1) - v.saturating_add(GRID - 1).rem_euclid(GRID);
    let bounds = region.bounds();
    let cells: Vec<Rect> = region
        .rects()
        .iter()
        .map(|r| Rect::new(down(r.left), down(r.top), up(r.right), up(r.bottom)).intersect(&bounds))
        .collect();
    let rounded = Region::from_rects(&cells);
    if rounded.rects().len() > MAX_RECTS { Region::from(bounds) } else { rounded }
}

/// Stale parts by surface; surfaces that are missing are right everywhere.
#[derive(Clone, Debug, Default)]
pub(super) struct StaleAreas(BTreeMap<SurfaceKey, Staleness>);

impl StaleAreas {
    /// What is wrong with a surface.
    #[must_use]
    pub(super) fn get(&self, key: SurfaceKey) -> Option<&Staleness> {
        self.0.get(&key)
    }

    /// The same, to be changed.
    pub(super) fn entry(&mut self, key: SurfaceKey) -> &mut Staleness {
        self.0.entry(key).or_default()
    }

    /// The surface is gone or right everywhere.
    pub(super) fn remove(&mut self, key: SurfaceKey) {
        self.0.remove(&key);
    }

    /// All surfaces with something wrong.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SurfaceKey, &Staleness)> {
        self.0.iter().map(|(k, s)| (*k, s))
    }

    /// A command comes behind everything else in the pipe. Says whether it is to be sent; what it would get wrong at the
    /// client becomes stale.
    ///
    /// Pixels that a command makes from stale ones are stale. What overwrites stale pixels with right ones cures them.
    /// Apart from copies all operations change each pixel by itself, so they may go over partly stale areas.
    pub(super) fn pass(&mut self, pending: &PendingDrawable, knows_composite: bool) -> bool {
        let own = self.0.get(&pending.key);
        if own.is_some_and(|s| s.whole) {
            return false;
        }
        let reads_stale = |s: Option<&Staleness>, area: &Rect| s.is_some_and(|s| s.touches(area));
        let spoilt = if (pending.is_composite() && !knows_composite)
            || pending.reads.iter().any(|r| reads_stale(self.0.get(&r.key), &r.area))
        {
            pending.region.clone()
        } else {
            match (pending.self_read, own) {
                (SelfRead::Offset(dx, dy), Some(own)) => {
                    let moved = own.region.translate(dx.saturating_neg(), dy.saturating_neg());
                    moved.intersect(&pending.region)
                }
                (SelfRead::Area(area), own) if reads_stale(own, &area) => pending.region.clone(),
                _ => Region::new(),
            }
        };
        if own.is_none() && spoilt.is_empty() {
            return true;
        }
        let send = spoilt != pending.region;
        let stale = self.entry(pending.key);
        let overwrites = pending.opaque || matches!(pending.self_read, SelfRead::Offset(..));
        if send && overwrites && stale.region.intersects(&pending.region) {
            stale.region = stale.region.subtract(&pending.region);
        }
        stale.add(&spoilt);
        let lost = !overwrites && stale.region.contains(&pending.region);
        if stale.region.is_empty() {
            self.remove(pending.key);
        }
        send && !lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn region(side: i32) -> impl Strategy<Value = Region> {
        let rect = (0..side, 0..side, 0..side, 0..side).prop_map(|(l, t, r, b)| Rect::new(l, t, r, b));
        proptest::collection::vec(rect, 0..4).prop_map(|rects| Region::from_rects(&rects))
    }

    fn regions() -> impl Strategy<Value = Vec<Region>> {
        prop_oneof![Just(9), Just(70), Just(700)]
            .prop_flat_map(|side| proptest::collection::vec(region(side), 0..300))
    }

    proptest! {
        #![proptest_config(crate::testing::cases(64))]
        #[test]
        fn many_regions_become_stale_at_once(before in region(90), regions in regions()) {
            let mut stale = Staleness { region: before.clone(), whole: false };
            stale.add_all(&regions.iter().collect::<Vec<_>>());
            let mut bounds = before.bounds();
            for region in &regions {
                prop_assert!(stale.region.contains(region));
                bounds = bounds.union(&region.bounds());
            }
            prop_assert!(stale.region.contains(&before));
            prop_assert!(stale.region.rects().len() <= MAX_RECTS);
            prop_assert_eq!(stale.region.bounds(), bounds, "nothing outside of all is stale");
        }
    }
}
