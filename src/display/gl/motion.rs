//! Finds the area of a scanout that plays video.
//!
//! A host does not say what its guest draws in a scanout. Where tiles change several times a second and fill most of a
//! rectangle, the worker draws that whole rectangle each time. The display channel then finds the frames of a video in it,
//! as it does in the commands of other guests, and makes a stream of them.

use crate::geometry::Rect;
use std::time::{Duration, Instant};

/// Longest time between two changes of the same video.
const GAP: Duration = Duration::from_millis(200);
/// Changes in a row that make a tile part of a video.
const CHANGES: u32 = 8;
/// A video is over when nothing of it has changed for so long.
const OVER: Duration = Duration::from_secs(1);
/// Of the pixels of a video's rectangle, so many in ten must change.
const FILLED: u64 = 8;
/// A tile of which fewer pixels change (a blinking cursor, a clock) is no part of a video.
const LEAST_PART: u64 = 256;
/// Smallest video (pixels): as for streams in general.
const LEAST: u64 = 96 * 96;

#[derive(Clone, Copy, Debug)]
struct Tile {
    last: Instant,
    changes: u32,
    /// What has changed of it in these changes.
    extent: Rect,
}

/// Counts per tile how often it has changed lately, to find the areas that play video.
#[derive(Debug)]
pub(super) struct Motion {
    columns: usize,
    tiles: Vec<Option<Tile>>,
    area: Option<(Rect, Instant)>,
}

impl Motion {
    /// For a screen of so many tiles.
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        Self { columns, tiles: vec![None; columns * rows], area: None }
    }

    /// A part of the tile at this index, by rows, has changed.
    pub(super) fn changed(&mut self, at: usize, extent: Rect, now: Instant) {
        let Some(tile) = self.tiles.get_mut(at) else { return };
        *tile = Some(match *tile {
            Some(Tile { last, changes, extent: before }) if now < last + GAP => {
                Tile { last: now, changes: changes.saturating_add(1), extent: before.union(&extent) }
            }
            _ => Tile { last: now, changes: 1, extent },
        });
        if let Some((area, last)) = &mut self.area
            && !area.intersect(&extent).is_empty()
        {
            *last = now;
        }
    }

    /// The rectangle of the video, if one plays: of several the largest.
    pub(super) fn area(&mut self, now: Instant) -> Option<Rect> {
        let found = self.largest(now);
        let playing = self.area.filter(|(_, last)| now < *last + OVER);
        self.area = match (playing, found) {
            // What moves is a part of it, or something else.
            (Some((area, last)), Some(found))
                if area.intersect(&found) != found && !area.intersect(&found).is_empty() =>
            {
                Some((found, last))
            }
            (Some(playing), _) => Some(playing),
            (None, found) => found.map(|area| (area, now)),
        };
        self.area.map(|(area, _)| area)
    }

    /// The largest rectangle that neighbouring tiles nearly fill, which have changed again and again.
    fn largest(&self, now: Instant) -> Option<Rect> {
        let moving = |tile: &&Tile| {
            tile.changes >= CHANGES && now < tile.last + GAP && tile.extent.area() >= LEAST_PART
        };
        let mut left: Vec<Option<Rect>> =
            self.tiles.iter().map(|tile| tile.as_ref().filter(moving).map(|tile| tile.extent)).collect();
        let mut best: Option<Rect> = None;
        for start in 0..left.len() {
            let (mut bounds, mut filled, mut open) = (Rect::default(), 0, vec![start]);
            while let Some(at) = open.pop() {
                let Some(extent) = left.get_mut(at).and_then(Option::take) else { continue };
                bounds = bounds.union(&extent);
                filled += extent.area();
                let column = at % self.columns;
                open.extend((column > 0).then(|| at - 1));
                open.extend((column + 1 < self.columns).then_some(at + 1));
                open.extend(at.checked_sub(self.columns));
                open.push(at + self.columns);
            }
            let is_video = bounds.area() >= LEAST && filled * 10 >= bounds.area() * FILLED;
            if is_video && best.is_none_or(|best| bounds.area() > best.area()) {
                best = Some(bounds);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::super::screen::TILE;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// 10 x 10 tiles, of which these change so many times, so far apart. What the motion says then.
    fn play(
        motion: &mut Motion,
        tiles: &[(usize, usize)],
        times: u32,
        gap: Duration,
        now: &mut Instant,
    ) -> Option<Rect> {
        for _ in 0..times {
            *now += gap;
            for &(x, y) in tiles {
                let (left, top) = (x as i32 * TILE, y as i32 * TILE);
                motion.changed(y * 10 + x, Rect::new(left + 3, top, left + TILE, top + TILE), *now);
            }
        }
        motion.area(*now)
    }

    fn block(from: usize, to: usize) -> Vec<(usize, usize)> {
        (from..to).flat_map(|y| (from..to).map(move |x| (x, y))).collect()
    }

    #[test]
    fn what_changes_again_and_again_is_video() {
        let (mut motion, mut now) = (Motion::new(10, 10), Instant::now());
        assert_eq!(play(&mut motion, &block(2, 5), CHANGES - 1, 33 * MS, &mut now), None);
        let area = Rect::new(2 * TILE + 3, 2 * TILE, 5 * TILE, 5 * TILE);
        assert_eq!(play(&mut motion, &block(2, 5), 1, 33 * MS, &mut now), Some(area));
        // A part of it that stands still is a part of it still.
        assert_eq!(play(&mut motion, &block(3, 4), 20, 33 * MS, &mut now), Some(area));
        now += OVER;
        assert_eq!(motion.area(now), None);
    }

    #[test]
    fn slow_small_and_scattered_changes_are_none() {
        for (tiles, gap) in
            [(block(2, 5), GAP), (block(2, 3), 33 * MS), (vec![(0, 0), (9, 9), (5, 1)], 33 * MS)]
        {
            let (mut motion, mut now) = (Motion::new(10, 10), Instant::now());
            assert_eq!(play(&mut motion, &tiles, 40, gap, &mut now), None, "{tiles:?}");
        }
    }

    #[test]
    fn the_largest_of_several_is_taken() {
        let (mut motion, mut now) = (Motion::new(10, 10), Instant::now());
        let tiles = [block(0, 2), block(3, 6), block(8, 10)].concat();
        let area = Rect::new(3 * TILE + 3, 3 * TILE, 6 * TILE, 6 * TILE);
        assert_eq!(play(&mut motion, &tiles, 20, 33 * MS, &mut now), Some(area));
    }

    #[test]
    fn a_video_that_grows_gets_another_rectangle() {
        let (mut motion, mut now) = (Motion::new(10, 10), Instant::now());
        play(&mut motion, &block(2, 5), 20, 33 * MS, &mut now);
        let area = play(&mut motion, &block(1, 6), 20, 33 * MS, &mut now);
        assert_eq!(area, Some(Rect::new(TILE + 3, TILE, 6 * TILE, 6 * TILE)));
    }
}
