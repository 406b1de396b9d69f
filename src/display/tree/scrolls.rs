//! Copies within the surface that wait while newer commands are drawn over what they read: saving that, and joining a new copy
//! with one that waits (see [`crate::display::scroll`]).

use super::{Item, MAX_VISIBLE, RemovedDrawables, Tree, Wanted, box_of};
use crate::canvas::Region;
use crate::display::edges::{Edges, Probe};
use crate::display::pending::PendingDrawable;
use crate::display::reads::SelfRead;
use crate::display::scroll::{Saved, Scroll};
use crate::geometry::Rect;
use std::ops::Range;

/// Copies within the surface that have fewer visible pixels are drawn rather than saved.
const MIN_SCROLL: u64 = if cfg!(test) { 8 } else { 16_384 };

/// Places that a new copy may read outside of the pending one that it joins.
const MAX_REST: usize = 8;

/// A new copy that joined a pending one.
#[derive(Debug)]
pub(in crate::display) struct Joined {
    /// The pending one.
    pub seq: u64,
    /// Offset from where the new one draws to where it reads the surface.
    pub offset: (i32, i32),
    pub scroll: Scroll,
}

/// What is to be saved of a copy.
#[derive(Debug)]
pub(in crate::display) struct Unsaved {
    /// Where the copy draws it.
    pub places: Vec<Rect>,
    /// Offset from there to where the copy reads it.
    pub offset: (i32, i32),
    /// How many strips are saved already.
    pub saved: usize,
}

/// How a new copy joins a pending one.
#[derive(Debug)]
pub(in crate::display) struct Join {
    /// The pending one.
    pub seq: u64,
    /// Offset from where the new one draws to where it reads the surface, by way of the pending one.
    pub offset: (i32, i32),
    /// The same without the pending one.
    pub own: (i32, i32),
    /// What the new one reads outside of what the pending one draws.
    pub rest: Vec<Rect>,
    /// What both read of the surface where the pending one stays visible. It has to be saved first, since the pending one may be
    /// drawn before the new one.
    pub kept: Vec<Rect>,
    /// What the pending one has saved, where the new one draws it.
    pub saved: Vec<Saved>,
}

impl Tree {
    /// Subtracts what a new copy draws from the visible part of the one that it joined: it reads nothing that this one draws.
    /// Clients still have to be sent this one.
    pub(super) fn cover_joined(&mut self, seq: u64, region: &Region, gone: &mut RemovedDrawables) {
        let Ok(i) = self.ages.binary_search(&seq) else { return };
        let Some(item) = &mut self.items[i] else { return };
        item.begun = true;
        item.visible = item.visible.subtract(region);
        if let Some(scroll) = &mut item.scroll {
            scroll.show(&item.visible);
        }
        if !item.visible.is_empty() {
            self.boxes[i] = box_of(item).into();
            return;
        }
        gone.begun.extend(self.items[i].take().map(|item| item.pending));
        self.boxes[i] = Edges::EMPTY;
        self.live -= 1;
    }

    /// The rows of its source that a copy within the surface reads and newer commands draw over, if it need not be drawn itself
    /// and that is a small part of it.
    pub(super) fn savable(&self, item: &Item, wanted: &Wanted) -> Option<Rect> {
        if !self.saves || !matches!(item.self_read, SelfRead::Offset(..)) || !item.pending.opaque {
            return None;
        }
        let read = item.held()?;
        let all = item.visible.area();
        if all < MIN_SCROLL || wanted.pixels.iter().any(|r| item.visible.intersects_rect(r)) {
            return None;
        }
        let drawn = wanted.drawn.iter().map(|r| r.intersect(&read)).filter(|r| !r.is_empty());
        let drawn = drawn.reduce(|all, r| all.union(&r))?;
        let rows = Rect { top: drawn.top, bottom: drawn.bottom, ..read };
        (rows.area() <= all / 4).then_some(rows)
    }

    /// What of a copy is to be saved if that is all that it reads in an area of the surface.
    pub(in crate::display) fn unsaved(&self, seq: u64, area: &Rect) -> Option<Unsaved> {
        let item = self.item(seq)?;
        let SelfRead::Offset(dx, dy) = item.self_read else { return None };
        let places = area.translate(dx.checked_neg()?, dy.checked_neg()?);
        Some(Unsaved {
            places: item.moves().intersect_rect(&places).rects().to_vec(),
            offset: (dx, dy),
            saved: item.scroll.as_ref().map_or(0, |scroll| scroll.saved.len()),
        })
    }

    /// Parts of a copy were saved.
    pub(in crate::display) fn save(&mut self, seq: u64, saved: Vec<Saved>) {
        let Ok(i) = self.ages.binary_search(&seq) else { return };
        let Some(item) = &mut self.items[i] else { return };
        let Item { scroll, visible, .. } = item;
        scroll
            .get_or_insert_with(|| Box::new(Scroll { moves: visible.clone(), saved: Vec::new() }))
            .save(saved);
        self.boxes[i] = box_of(item).into();
        self.scroll = Some(seq);
    }

    /// How a new copy may join the pending copy of which a part was saved last. `None`: it copies too much else, or commands
    /// in between draw or read where it matters.
    pub(in crate::display) fn join(&self, new: &PendingDrawable) -> Option<Join> {
        let seq = self.scroll?;
        let SelfRead::Offset(dx, dy) = new.self_read else { return None };
        let at = self.ages.binary_search(&seq).ok()?;
        let item = self.items[at].as_ref()?;
        let SelfRead::Offset(old_dx, old_dy) = item.self_read else { return None };
        let scroll = item.scroll.as_ref()?;
        let source = new.region.translate(dx, dy);
        let shown = item.visible.intersect(&source);
        let rest = source.subtract(&shown);
        if !new.opaque || rest.area() > source.area() / 4 || rest.rects().len() > MAX_REST {
            return None;
        }
        let read = scroll.moves.intersect(&source).translate(old_dx, old_dy);
        let left = item.visible.subtract(&new.region);
        let kept = read.intersect(&left);
        let near = |range: Range<usize>, region: &Region| {
            let probe = Probe::from(region.bounds());
            range.filter(move |&i| self.boxes[i].meets(&probe)).filter_map(|i| self.items[i].as_ref())
        };
        let is_read =
            |other: &Item, region: &Region| other.held().is_some_and(|r| region.intersects_rect(&r));
        let touched = |range: Range<usize>, region: &Region| {
            near(range, region).any(|other| other.visible.intersects(region) || is_read(other, region))
        };
        let newer = at + 1..self.items.len();
        let covered = item.visible.intersect(&new.region);
        if left.rects().len() > MAX_VISIBLE
            || touched(newer.clone(), &shown)
            || touched(newer.clone(), &read)
            || near(newer, &covered).any(|other| is_read(other, &covered))
            || touched(self.head..at, &kept)
        {
            return None;
        }
        let saved = scroll.saved.iter().flat_map(|saved| {
            let parts = shown.intersect_rect(&saved.dest);
            let copied = |part: &Rect| saved.copied(part, (dx, dy));
            parts.rects().iter().filter_map(copied).collect::<Vec<_>>()
        });
        Some(Join {
            seq,
            offset: (dx.checked_add(old_dx)?, dy.checked_add(old_dy)?),
            own: (dx, dy),
            rest: rest.rects().to_vec(),
            kept: kept.rects().to_vec(),
            saved: saved.collect(),
        })
    }
}
