//! Drawing commands of one surface that are not rendered yet (display.md 4.2).

use super::queued::{Queued, SelfRead};
use crate::canvas::Region;
use crate::geometry::Rect;
use std::sync::Arc;

/// Items of one block, whose boxes are looked at only if the newcomer touches the block.
const BLOCK: usize = 32;
/// Rectangles of what is visible of a command, beyond which smaller ones on top are not taken out any more.
const MAX_VISIBLE: usize = 32;

#[derive(Debug)]
struct Item {
    queued: Arc<Queued>,
    /// Copied from the command, which is far away in memory.
    self_read: SelfRead,
    /// What later commands have not covered; perhaps some more, if that is many rectangles.
    visible: Region,
    /// Of this no older command is visible, apart from what commands in between held.
    excluded: Rect,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Tree {
    /// Oldest first; nothing where one was covered. The first one is there.
    items: Vec<Option<Item>>,
    /// Age of each item.
    ages: Vec<u64>,
    /// For each item a box around what is visible of it and what it reads of its own surface.
    boxes: Vec<Rect>,
    /// A box around those of each [`BLOCK`] items.
    blocks: Vec<Rect>,
    /// Where `items` begins.
    head: usize,
    live: usize,
}

impl Tree {
    /// Adds the newest command. Returns those that it covers, which are removed: they may leave the pipes too.
    ///
    /// Pixels that a copy within the surface still has to read do not count as covered below it.
    pub fn insert(&mut self, queued: Arc<Queued>) -> Vec<Arc<Queued>> {
        let mut covered = Vec::new();
        let mut excluded = Rect::default();
        if queued.opaque {
            let mut cover = queued.region.clone();
            hold(&mut cover, queued.self_read, &queued.region);
            if cover.is_rect() {
                excluded = cover.bounds();
            }
            self.cover(cover, &mut covered);
        }
        if !covered.is_empty() {
            self.tidy();
        }
        let item = Item { self_read: queued.self_read, visible: queued.region.clone(), excluded, queued };
        self.push(item);
        covered
    }

    fn push(&mut self, item: Item) {
        let around = box_of(&item);
        match self.blocks.get_mut(self.items.len() / BLOCK) {
            Some(block) => *block = block.union(&around),
            None => self.blocks.push(around),
        }
        self.boxes.push(around);
        self.ages.push(item.queued.seq);
        self.items.push(Some(item));
        self.live += 1;
    }

    /// Takes what a newcomer covers from what is visible of older commands.
    fn cover(&mut self, mut cover: Region, covered: &mut Vec<Arc<Queued>>) {
        let mut end = self.items.len();
        while end > self.head && !cover.is_empty() {
            let block = (end - 1) / BLOCK;
            let start = (block * BLOCK).max(self.head);
            if self.blocks[block].intersects(&cover.bounds()) {
                for i in (start..end).rev() {
                    if self.boxes[i].intersects(&cover.bounds()) && self.cover_one(i, &mut cover, covered) {
                        return;
                    }
                }
            }
            end = start;
        }
    }

    /// The same for one command. `true`: there is nothing to take from those that are older still.
    fn cover_one(&mut self, i: usize, cover: &mut Region, covered: &mut Vec<Arc<Queued>>) -> bool {
        let Some(item) = &mut self.items[i] else { return false };
        let bounds = cover.bounds();
        let worth = item.visible.rects().len() < MAX_VISIBLE || bounds.contains(&item.visible.bounds());
        if worth && item.visible.intersects(cover) {
            item.visible = item.visible.subtract(cover);
        }
        let excluded = item.excluded;
        if item.visible.is_empty() {
            covered.extend(self.items[i].take().map(|item| item.queued));
            self.boxes[i] = Rect::default();
            self.live -= 1;
        } else {
            hold(cover, item.self_read, &item.visible);
            self.boxes[i] = box_of(item);
        }
        // What the older command took from those below needs no second look.
        if excluded.contains(&cover.bounds()) {
            return true;
        }
        if cover.is_rect() {
            cut(cover, &excluded);
        }
        false
    }

    /// Drops the places of removed items, once they are many, and those at the front.
    fn tidy(&mut self) {
        while self.items.get(self.head).is_some_and(Option::is_none) {
            self.head += 1;
        }
        if self.items.len() <= 2 * self.live + BLOCK {
            return;
        }
        let items = std::mem::take(&mut self.items);
        self.ages.clear();
        self.boxes.clear();
        self.blocks.clear();
        (self.head, self.live) = (0, 0);
        for item in items.into_iter().flatten() {
            self.push(item);
        }
    }

    fn live(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.items[self.head..].iter().flatten()
    }

    /// Age of the oldest command.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.ages.get(self.head).copied()
    }

    /// Whether the command of this age is here.
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        self.ages.binary_search(&seq).is_ok_and(|i| self.items[i].is_some())
    }

    /// The newest command that draws into the area.
    #[must_use]
    pub fn newest_in(&self, area: &Rect) -> Option<u64> {
        self.live().rev().find(|item| item.queued.region.intersects_rect(area)).map(|item| item.queued.seq)
    }

    /// The newest command.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.live().next_back().map(|item| item.queued.seq)
    }

    /// Takes the oldest command out if it is not newer than `seq`: to be rendered, where it is visible.
    pub fn take_first_until(&mut self, seq: u64) -> Option<(Arc<Queued>, Region)> {
        if self.first()? > seq {
            return None;
        }
        let item = self.items[self.head].take()?;
        self.boxes[self.head] = Rect::default();
        self.live -= 1;
        self.tidy();
        Some((item.queued, item.visible))
    }

    /// Takes all commands out: they are not to be rendered.
    pub fn clear(&mut self) -> Vec<Arc<Queued>> {
        let items = std::mem::take(self).items;
        items.into_iter().flatten().map(|item| item.queued).collect()
    }
}

fn box_of(item: &Item) -> Rect {
    match held(item.self_read, &item.visible) {
        Some(read) => item.visible.bounds().union(&read),
        None => item.visible.bounds(),
    }
}

/// A box around what a command still has to read of its own surface.
fn held(self_read: SelfRead, visible: &Region) -> Option<Rect> {
    match self_read {
        SelfRead::Nothing => None,
        SelfRead::Offset(dx, dy) => Some(visible.bounds().translate(dx, dy)),
        SelfRead::Area(area) => Some(area),
    }
}

/// Takes what a command on top still has to read out of `cover`, `visible` being what can be seen of the command.
fn hold(cover: &mut Region, self_read: SelfRead, visible: &Region) {
    let Some(around) = held(self_read, visible) else { return };
    if !cover.bounds().intersects(&around) {
        return;
    }
    *cover = match self_read {
        SelfRead::Offset(dx, dy) if !visible.is_rect() => cover.subtract(&visible.translate(dx, dy)),
        _ => cover.subtract_rect(&around),
    };
}

/// Takes `part` out of a cover that is a rectangle, if that leaves one.
fn cut(cover: &mut Region, part: &Rect) {
    let mut r = cover.bounds();
    let wide = part.left <= r.left && part.right >= r.right;
    let high = part.top <= r.top && part.bottom >= r.bottom;
    if !part.intersects(&r) || wide == high {
        return;
    }
    match (wide, part.top <= r.top, part.bottom >= r.bottom) {
        (true, true, _) => r.top = part.bottom,
        (true, _, true) => r.bottom = part.top,
        (true, ..) => return,
        _ if part.left <= r.left => r.left = part.right,
        _ if part.right >= r.right => r.right = part.left,
        _ => return,
    }
    *cover = Region::from(r);
}
