//! The pending drawing commands of one surface (display.md 4.2).

mod scrolls;

pub(super) use scrolls::{Join, Joined, Unsaved};

use super::edges::{Edges, Probe};
use super::pending::PendingDrawable;
use super::reads::SelfRead;
use super::scroll::Scroll;
use crate::canvas::Region;
use crate::geometry::Rect;
use std::sync::Arc;

/// Items of one block. A new command is compared with them only if it touches the box around the block.
const BLOCK: usize = 32;
/// If the visible part of a command has this many rectangles, smaller commands on top are no longer subtracted from it.
const MAX_VISIBLE: usize = 32;
/// Rectangles that a search compares with each command. More are joined.
const MAX_WANTED: usize = 8;
/// Commands that cost less to draw are rendered as a whole. Tests use small commands.
const MIN_SPLIT: u64 = if cfg!(test) { 8 } else { 49_152 };
#[derive(Debug)]
struct Item {
    pending: Arc<PendingDrawable>,
    /// A copy of the command's field, since the command itself is not in the processor's cache. The offset of a copy that joined
    /// another is that of both together.
    self_read: SelfRead,
    /// Of a copy within the surface of which a part was saved.
    scroll: Option<Box<Scroll>>,
    /// The part that later commands have not covered, or a larger one if that would be too many rectangles.
    visible: Region,
    /// No older command is visible here, except below commands in between that read it.
    excluded: Rect,
    /// A part of the command was rendered already, so clients still have to be sent it.
    begun: bool,
}

impl Item {
    /// The visible part, without what was saved.
    fn moves(&self) -> &Region {
        self.scroll.as_ref().map_or(&self.visible, |scroll| &scroll.moves)
    }

    /// A box around the pixels of its own surface that it still has to read.
    fn held(&self) -> Option<Rect> {
        held(self.self_read, self.moves())
    }

    fn into_part(self) -> RenderPart {
        let offset = match self.self_read {
            SelfRead::Offset(dx, dy) => (dx, dy),
            _ => (0, 0),
        };
        let scroll = self.scroll.map(|scroll| (offset, *scroll));
        RenderPart { pending: self.pending, region: self.visible, whole: true, scroll }
    }
}

/// What must be done before pixels are up to date.
#[derive(Clone, Debug)]
pub(super) struct RenderNeed {
    pub seq: u64,
    pub what: What,
}

/// What must be done for a command.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// Everything that is visible must be rendered.
    Render,
    /// This part must be rendered.
    RenderPart(Region),
    /// What the command reads in this area must be saved, or the command rendered.
    Save(Rect),
}

/// A command, or a part of it, to render now.
#[derive(Debug)]
pub(super) struct RenderPart {
    pub pending: Arc<PendingDrawable>,
    /// The area to draw.
    pub region: Region,
    /// Nothing of it is left in the tree.
    pub whole: bool,
    /// For a copy of which a part was saved: the offset at which it reads the surface, and what it reads where.
    pub scroll: Option<((i32, i32), Scroll)>,
}

/// Commands that left the tree and will not be rendered any more.
#[derive(Debug, Default)]
pub(super) struct RemovedDrawables {
    /// Those that clients need not be sent any more.
    pub covered: Vec<Arc<PendingDrawable>>,
    /// Those of which a part was rendered before: clients still have to be sent them.
    pub begun: Vec<Arc<PendingDrawable>>,
}

/// The pending commands of one surface, oldest first, without what later commands cover.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Oldest first. `None`: a command that left. The first one is never `None`.
    items: Vec<Option<Item>>,
    /// Age of each item.
    ages: Vec<u64>,
    /// For each item, a box around its visible part and what it reads of its own surface.
    boxes: Vec<Edges>,
    /// For each [`BLOCK`] items, a box around their boxes.
    blocks: Vec<Edges>,
    /// Where `items` begins.
    head: usize,
    live: usize,
    /// Copies may wait while strips of what they read are saved.
    saves: bool,
    /// The copy of which a part was saved last.
    scroll: Option<u64>,
}

impl Tree {
    /// A tree without commands. `saves`: strips of the surface may be saved.
    pub(super) fn new(saves: bool) -> Self {
        Self { saves, ..Self::default() }
    }

    /// Adds the newest command. Removes and returns those that it covers. `scroll`: see [`Self::join`].
    ///
    /// A pixel does not count as covered if a copy within the surface still has to read it.
    pub(super) fn insert(
        &mut self,
        pending: Arc<PendingDrawable>,
        scroll: Option<Joined>,
    ) -> RemovedDrawables {
        let mut gone = RemovedDrawables::default();
        let mut excluded = Rect::default();
        let (self_read, scroll) = match scroll {
            Some(Joined { seq, offset: (dx, dy), scroll }) => {
                self.cover_joined(seq, &pending.region, &mut gone);
                self.scroll = Some(pending.seq);
                (SelfRead::Offset(dx, dy), Some(Box::new(scroll)))
            }
            None => (pending.self_read, None),
        };
        if pending.opaque {
            let mut cover = pending.region.clone();
            hold(&mut cover, self_read, scroll.as_ref().map_or(&pending.region, |scroll| &scroll.moves));
            if cover.is_rect() {
                excluded = cover.bounds();
            }
            self.cover(cover, &mut gone);
        }
        if !gone.covered.is_empty() || !gone.begun.is_empty() {
            self.tidy();
        }
        let visible = pending.region.clone();
        self.push(Item { self_read, scroll, visible, excluded, begun: false, pending });
        gone
    }

    fn push(&mut self, item: Item) {
        let around = Edges::from(box_of(&item));
        match self.blocks.get_mut(self.items.len() / BLOCK) {
            Some(block) => *block = block.union(around),
            None => self.blocks.push(around),
        }
        self.boxes.push(around);
        self.ages.push(item.pending.seq);
        self.items.push(Some(item));
        self.live += 1;
    }

    /// Subtracts what a new command covers from the visible parts of older commands.
    fn cover(&mut self, mut cover: Region, gone: &mut RemovedDrawables) {
        let mut end = self.items.len();
        while end > self.head && !cover.is_empty() {
            let block = (end - 1) / BLOCK;
            let start = (block * BLOCK).max(self.head);
            let probe = Probe::from(cover.bounds());
            if !self.blocks[block].meets(&probe) {
                end = start;
                continue;
            }
            let touching = self.boxes[start..end].iter().rposition(|around| around.meets(&probe));
            end = start + touching.unwrap_or(0);
            if touching.is_some() && self.cover_one(end, &mut cover, gone) {
                return;
            }
        }
    }

    /// Does that for one command. `true`: nothing is left to subtract from still older ones.
    fn cover_one(&mut self, i: usize, cover: &mut Region, gone: &mut RemovedDrawables) -> bool {
        let Some(item) = &mut self.items[i] else { return false };
        let bounds = cover.bounds();
        // A command that reads its own surface may read what it has just drawn, so it is drawn as a whole or not at all.
        let in_full = matches!(item.self_read, SelfRead::Area(_)) && !cover.contains(&item.visible);
        let worth =
            !in_full && (item.visible.rects().len() < MAX_VISIBLE || bounds.contains(&item.visible.bounds()));
        // Each rectangle of the visible part costs work when it is drawn, so their number is bounded.
        if worth
            && item.visible.intersects(cover)
            && let Some(rest) = item.visible.subtract_within(cover, MAX_VISIBLE)
        {
            item.visible = rest;
            if let Some(scroll) = &mut item.scroll {
                scroll.show(&item.visible);
            }
        }
        let excluded = item.excluded;
        if item.visible.is_empty() {
            let list = if item.begun { &mut gone.begun } else { &mut gone.covered };
            list.extend(self.items[i].take().map(|item| item.pending));
            self.boxes[i] = Edges::EMPTY;
            self.live -= 1;
        } else {
            hold(cover, item.self_read, item.moves());
            self.boxes[i] = box_of(item).into();
        }
        // The older command has already covered those below here.
        if excluded.contains(&cover.bounds()) {
            return true;
        }
        if cover.is_rect() {
            cut(cover, &excluded);
        }
        false
    }

    /// Drops the empty places of removed items at the front, and all of them once they are many.
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
    pub(super) fn first(&self) -> Option<u64> {
        self.ages.get(self.head).copied()
    }

    /// Whether the command of this age is here.
    #[must_use]
    pub(super) fn contains(&self, seq: u64) -> bool {
        self.get(seq).is_some()
    }

    /// The newest command that draws or reads in a region, if this region is its visible part.
    #[must_use]
    pub(super) fn newest_at(&self, region: &Region) -> Option<&Arc<PendingDrawable>> {
        let probe = Probe::from(region.bounds());
        let touching = (self.head..self.items.len()).rev().filter(|&i| self.boxes[i].meets(&probe));
        let mut touching = touching.filter_map(|i| self.items[i].as_ref()).filter(|item| {
            item.visible.intersects(region) || item.held().is_some_and(|read| region.intersects_rect(&read))
        });
        touching.next().filter(|item| item.visible == *region && !item.begun).map(|item| &item.pending)
    }

    /// The newest command that is visible in the area, if it is newer than `seq`.
    #[must_use]
    pub(super) fn newest_in(&self, area: &Rect, seq: u64) -> Option<u64> {
        let newer = self.ages.partition_point(|&age| age <= seq).max(self.head);
        let probe = Probe::from(*area);
        let touching = (newer..self.items.len()).rev().find(|&i| {
            let item = self.items[i].as_ref().filter(|_| self.boxes[i].meets(&probe));
            item.is_some_and(|item| item.visible.intersects_rect(area))
        });
        touching.map(|i| self.ages[i])
    }

    /// The commands that are visible in the area, oldest first, and where on the surface they are visible.
    pub(super) fn visible_in(&self, area: &Rect) -> impl Iterator<Item = (&PendingDrawable, &Region)> {
        let probe = Probe::from(*area);
        let touching = (self.head..self.items.len()).filter(move |&i| self.boxes[i].meets(&probe));
        let items = touching.filter_map(|i| self.items[i].as_ref());
        items.filter(|item| item.visible.intersects_rect(area)).map(|item| (&*item.pending, &item.visible))
    }

    /// The commands newer than `seq` up to the age `last`, oldest first.
    pub(super) fn between(&self, seq: u64, last: u64) -> impl Iterator<Item = &Arc<PendingDrawable>> {
        let newer = self.ages.partition_point(|&age| age <= seq).max(self.head);
        let end = self.ages.partition_point(|&age| age <= last).max(newer);
        self.items[newer..end].iter().flatten().map(|item| &item.pending)
    }

    /// What must be rendered to bring an area up to date, oldest first: the commands that draw into it, and the older commands
    /// whose pixels these draw over or read, or that read pixels that these draw over.
    ///
    /// All other commands may be rendered later, since no command that is rendered before them shares a pixel with them.
    #[must_use]
    pub(super) fn needed_for(&self, area: &Rect) -> Vec<RenderNeed> {
        let wanted = Wanted { pixels: vec![*area], drawn: Vec::new() };
        self.needed(Vec::new(), wanted, self.items.len())
    }

    /// What must be rendered to draw the command of this age, oldest first. The command itself is the last.
    #[must_use]
    pub(super) fn needed_by(&self, seq: u64) -> Vec<RenderNeed> {
        let Ok(i) = self.ages.binary_search(&seq) else { return Vec::new() };
        let Some(item) = &self.items[i] else { return Vec::new() };
        let mut wanted = Wanted::default();
        wanted.add(item);
        self.needed(vec![RenderNeed { seq, what: What::Render }], wanted, i)
    }

    fn needed(&self, mut found: Vec<RenderNeed>, mut wanted: Wanted, mut end: usize) -> Vec<RenderNeed> {
        while end > self.head {
            let block = (end - 1) / BLOCK;
            let start = (block * BLOCK).max(self.head);
            if wanted.pixels.iter().any(|r| self.blocks[block].meets(&Probe::from(*r))) {
                for i in (start..end).rev() {
                    let mut probes = wanted.pixels.iter().map(|r| Probe::from(*r));
                    if !probes.any(|probe| self.boxes[i].meets(&probe)) {
                        continue;
                    }
                    let Some(item) = self.items[i].as_ref().filter(|item| wanted.touch(item)) else {
                        continue;
                    };
                    let what = if let Some(area) = self.savable(item, &wanted) {
                        push(&mut wanted.pixels, area);
                        What::Save(area)
                    } else if let Some(part) = part_of(item, &wanted.pixels) {
                        push(&mut wanted.drawn, part.bounds());
                        What::RenderPart(part)
                    } else {
                        wanted.add(item);
                        What::Render
                    };
                    found.push(RenderNeed { seq: self.ages[i], what });
                }
            }
            end = start;
        }
        found.reverse();
        found
    }

    /// Takes out the part of a command that must be rendered. `None`: it was rendered already.
    pub(super) fn take_needed(&mut self, needed: &RenderNeed) -> Option<RenderPart> {
        if let What::RenderPart(part) = &needed.what {
            let i = self.ages.binary_search(&needed.seq).ok()?;
            let item = self.items[i].as_mut()?;
            let rest = item.visible.subtract(part);
            if !rest.is_empty() {
                let region = item.visible.intersect(part);
                item.visible = rest;
                item.begun = true;
                self.boxes[i] = box_of(item).into();
                return Some(RenderPart {
                    pending: item.pending.clone(),
                    region,
                    whole: false,
                    scroll: None,
                });
            }
        }
        self.take(needed.seq)
    }

    /// Takes out the upper `rows` of the visible part of a command, to render them now.
    pub(super) fn take_rows(&mut self, seq: u64, rows: u32) -> Option<RenderPart> {
        let i = self.ages.binary_search(&seq).ok()?;
        let item = self.items[i].as_mut()?;
        let mut upper = item.visible.bounds();
        let all = upper.bottom;
        upper.bottom = upper.top.saturating_add_unsigned(rows.max(1));
        if upper.bottom >= all {
            return self.take(seq);
        }
        let region = item.visible.intersect_rect(&upper);
        item.visible = item.visible.subtract_rect(&upper);
        item.begun = true;
        self.boxes[i] = box_of(item).into();
        Some(RenderPart { pending: item.pending.clone(), region, whole: false, scroll: None })
    }

    /// The command of this age.
    #[must_use]
    pub(super) fn get(&self, seq: u64) -> Option<&Arc<PendingDrawable>> {
        self.item(seq).map(|item| &item.pending)
    }

    fn item(&self, seq: u64) -> Option<&Item> {
        let i = self.ages.binary_search(&seq).ok()?;
        self.items[i].as_ref()
    }

    /// Takes the command of this age out, with its visible part.
    pub(super) fn take(&mut self, seq: u64) -> Option<RenderPart> {
        let i = self.ages.binary_search(&seq).ok()?;
        let item = self.items[i].take()?;
        self.boxes[i] = Edges::EMPTY;
        self.live -= 1;
        self.tidy();
        Some(item.into_part())
    }

    /// The newest command.
    #[must_use]
    pub(super) fn newest(&self) -> Option<u64> {
        self.live().next_back().map(|item| item.pending.seq)
    }

    /// Takes the oldest command out, with its visible part, if it is not newer than `seq`.
    pub(super) fn take_first_until(&mut self, seq: u64) -> Option<RenderPart> {
        let first = self.first().filter(|&first| first <= seq)?;
        self.take(first)
    }

    /// Takes all commands out. Nobody renders them.
    pub(super) fn clear(&mut self) -> RemovedDrawables {
        let mut gone = RemovedDrawables::default();
        let saves = self.saves;
        for item in std::mem::replace(self, Self::new(saves)).items.into_iter().flatten() {
            let list = if item.begun { &mut gone.begun } else { &mut gone.covered };
            list.push(item.pending);
        }
        gone
    }
}

/// The part of a command that these rectangles need, if it has few pixels and the command can be rendered in parts.
fn part_of(item: &Item, wanted: &[Rect]) -> Option<Region> {
    let all = item.visible.area();
    let cost = item.pending.cost.of_part(all, item.pending.region.area());
    if cost < MIN_SPLIT || !item.pending.can_be_split() {
        return None;
    }
    let part = item.visible.intersect(&Region::from_rects(wanted));
    let worth = part.area() <= all / 2 && item.visible.subtract(&part).rects().len() <= MAX_VISIBLE;
    worth.then_some(part)
}

/// The areas for which a search looks for older commands that are needed. They may be too large.
#[derive(Debug, Default)]
struct Wanted {
    /// Pixels that must be up to date, or that the commands found so far draw over.
    pixels: Vec<Rect>,
    /// Pixels that the commands found so far draw over: older commands that read these must come first. A command that only
    /// reads the same pixels must not be taken, since it may be newer than the command to render.
    drawn: Vec<Rect>,
}

impl Wanted {
    fn touch(&self, item: &Item) -> bool {
        let held = item.held();
        self.pixels.iter().any(|r| item.visible.intersects_rect(r))
            || held.is_some_and(|read| self.drawn.iter().any(|r| read.intersects(r)))
    }

    /// Adds the areas that a command draws and reads.
    fn add(&mut self, item: &Item) {
        let visible = item.visible.rects();
        let bounds = [item.visible.bounds()];
        let drawn = if visible.len() > MAX_WANTED / 2 { &bounds } else { visible };
        for r in drawn {
            push(&mut self.pixels, *r);
            push(&mut self.drawn, *r);
        }
        if let Some(read) = item.held() {
            push(&mut self.pixels, read);
        }
    }
}

fn push(list: &mut Vec<Rect>, r: Rect) {
    if list.iter().any(|known| known.contains(&r)) {
        return;
    }
    if list.len() >= MAX_WANTED {
        let all = list.drain(..).fold(Rect::default(), |all, known| all.union(&known));
        list.push(all);
    }
    list.push(r);
}

fn box_of(item: &Item) -> Rect {
    match item.held() {
        Some(read) => item.visible.bounds().union(&read),
        None => item.visible.bounds(),
    }
}

/// A box around the pixels of its own surface that a command still has to read.
fn held(self_read: SelfRead, visible: &Region) -> Option<Rect> {
    match self_read {
        SelfRead::Nothing => None,
        SelfRead::Offset(..) if visible.is_empty() => None,
        SelfRead::Offset(dx, dy) => Some(visible.bounds().translate(dx, dy)),
        SelfRead::Area(area) => Some(area),
    }
}

/// Subtracts from `cover` the pixels that a command on top still has to read. `visible` is the visible part of that command, without
/// what was saved.
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

/// Subtracts `part` from a cover that is a rectangle, if a rectangle is left. Otherwise the cover stays as it is.
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
