//! The queue of what one client has to be sent, oldest first (display.md 3).

use super::pending::PendingDrawable;
use super::reads::SurfaceKey;
use super::stream::StreamKey;
use crate::canvas::Region;
use crate::geometry::Rect;
use crate::image::SurfaceFormat;
use crate::limits::MAX_PIPE_ITEMS;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Something to send. It becomes bytes only when it is sent.
#[derive(Clone, Debug)]
pub(super) enum PipeItem {
    Draw(Arc<PendingDrawable>),
    SurfaceCreate {
        id: u32,
        key: SurfaceKey,
        width: u32,
        height: u32,
        format: SurfaceFormat,
    },
    SurfaceDestroy {
        id: u32,
        key: SurfaceKey,
    },
    /// The content of the surface at the time of sending, lossless.
    FullImage {
        id: u32,
        key: SurfaceKey,
    },
    InvalAllPalettes,
    /// The configuration at the time of sending.
    MonitorsConfig,
    Mark,
    StreamDestroyAll,
    /// The scanout at the time of sending.
    GlScanout,
    GlDraw(Rect),
    StreamCreate(StreamKey),
    StreamClip(StreamKey, Region),
    StreamDestroy(StreamKey),
}

/// What [`Pipe::take_where`] does about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glance {
    /// Takes it out.
    Take,
    /// Goes on to the next one.
    Pass,
    /// Takes nothing.
    Stop,
}

#[derive(Debug)]
struct Slot {
    /// Age of the newest command that was queued so far.
    seq: u64,
    since: Instant,
    /// `None`: a command that was taken out again.
    item: Option<PipeItem>,
}

/// The messages and commands that wait for one client, oldest first.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    slots: VecDeque<Slot>,
    draws: usize,
    items: usize,
    /// How many of the oldest items the last [`Self::shorten`] had to keep.
    needed: usize,
}

impl Pipe {
    /// Adds an item at the newest end.
    pub(super) fn push(&mut self, item: PipeItem, now: Instant) {
        // No frame was painted with the older clip, so it need not be sent.
        let newest = self.slots.iter_mut().rev().find_map(|s| s.item.as_mut());
        if let (PipeItem::StreamClip(key, clip), Some(PipeItem::StreamClip(newest, old))) = (&item, newest)
            && newest == key
        {
            old.clone_from(clip);
            return;
        }
        let last = self.slots.back().map_or(0, |s| s.seq);
        let seq = match &item {
            PipeItem::Draw(pending) => {
                self.draws += 1;
                pending.seq.max(last)
            }
            _ => last,
        };
        self.items += 1;
        self.slots.push_back(Slot { seq, since: now, item: Some(item) });
    }

    /// Takes the oldest item out.
    pub(super) fn pop(&mut self) -> Option<PipeItem> {
        loop {
            let item = self.slots.pop_front()?.item;
            if let Some(item) = item {
                self.count_out(&item);
                return Some(item);
            }
        }
    }

    /// The oldest item.
    #[must_use]
    pub(super) fn front(&self) -> Option<&PipeItem> {
        self.slots.iter().find_map(|s| s.item.as_ref())
    }

    /// Age of the newest command that was queued so far, at least of those that wait.
    #[must_use]
    pub(super) fn newest(&self) -> u64 {
        self.slots.back().map_or(0, |s| s.seq)
    }

    /// The commands that were queued after the one of this age, newest first.
    pub(super) fn newer_than(&self, seq: u64) -> impl Iterator<Item = &PendingDrawable> {
        let newer = self.slots.iter().rev().take_while(move |s| s.seq > seq);
        newer.filter_map(|s| match &s.item {
            Some(PipeItem::Draw(pending)) => Some(&**pending),
            _ => None,
        })
    }

    /// Looks at the items, oldest first, until `choose` takes one out or stops.
    pub(super) fn take_where(&mut self, mut choose: impl FnMut(&PipeItem) -> Glance) -> Option<PipeItem> {
        for slot in &mut self.slots {
            let Some(item) = &slot.item else { continue };
            match choose(item) {
                Glance::Take => {
                    let item = slot.item.take()?;
                    self.count_out(&item);
                    self.drop_empty();
                    return Some(item);
                }
                Glance::Pass => {}
                Glance::Stop => return None,
            }
        }
        None
    }

    fn drop_empty(&mut self) {
        while self.slots.front().is_some_and(|s| s.item.is_none()) {
            self.slots.pop_front();
        }
    }

    fn count_out(&mut self, item: &PipeItem) {
        self.items -= 1;
        self.needed = self.needed.min(self.items);
        if matches!(item, PipeItem::Draw(_)) {
            self.draws -= 1;
        }
    }

    /// Takes a command out that has become invisible. `false`: it was not there.
    pub(super) fn remove(&mut self, pending: &PendingDrawable) -> bool {
        let at = self.slots.partition_point(|s| s.seq < pending.seq);
        let is_it = |s: &&mut Slot| matches!(&s.item, Some(PipeItem::Draw(q)) if q.seq == pending.seq);
        let slot = self.slots.iter_mut().skip(at).take_while(|s| s.seq == pending.seq).find(is_it);
        let item = slot.and_then(|s| s.item.take());
        if let Some(item) = &item {
            self.count_out(item);
        }
        self.drop_empty();
        item.is_some()
    }

    /// Takes out every command for which `keep` is false, oldest first.
    pub(super) fn retain_draws(&mut self, mut keep: impl FnMut(&Arc<PendingDrawable>) -> bool) {
        self.retain(|item| match item {
            PipeItem::Draw(pending) => keep(pending),
            _ => true,
        });
    }

    fn retain(&mut self, mut keep: impl FnMut(&PipeItem) -> bool) {
        self.slots.retain(|s| s.item.as_ref().is_some_and(&mut keep));
        self.items = self.slots.len();
        self.needed = self.needed.min(self.items);
        self.draws = self.slots.iter().filter(|s| matches!(s.item, Some(PipeItem::Draw(_)))).count();
    }

    /// Takes out surfaces and streams that begin and end within the pipe, and items that repeat others. Only for pipes without
    /// commands, since these could read such surfaces. `primary`: the client has a primary surface now. Returns the streams
    /// that were taken out.
    pub(super) fn shorten(&mut self, primary: bool) -> Vec<StreamKey> {
        let items = || self.slots.iter().filter_map(|s| s.item.as_ref());
        let created: BTreeSet<SurfaceKey> = items()
            .filter_map(|i| match i {
                PipeItem::SurfaceCreate { key, .. } => Some(*key),
                _ => None,
            })
            .collect();
        let over: BTreeSet<SurfaceKey> = items()
            .filter_map(|i| match i {
                PipeItem::SurfaceDestroy { key, .. } => Some(*key),
                _ => None,
            })
            .filter(|key| created.contains(key))
            .collect();
        let begun: BTreeSet<StreamKey> = items()
            .filter_map(|i| match i {
                PipeItem::StreamCreate(key) => Some(*key),
                _ => None,
            })
            .collect();
        let unseen: BTreeSet<StreamKey> = items()
            .filter_map(|i| match i {
                PipeItem::StreamDestroy(key) => Some(*key),
                _ => None,
            })
            .filter(|key| begun.contains(key))
            .collect();
        let mut clips = BTreeMap::new();
        let (mut marks, mut monitors, mut palettes, mut streams, mut scanouts) = (0, 0, 0, 0, 0);
        for item in items() {
            match item {
                PipeItem::Mark => marks += 1,
                PipeItem::MonitorsConfig => monitors += 1,
                PipeItem::InvalAllPalettes => palettes += 1,
                PipeItem::StreamDestroyAll => streams += 1,
                PipeItem::GlScanout => scanouts += 1,
                PipeItem::StreamClip(key, _) => *clips.entry(*key).or_insert(0) += 1,
                _ => {}
            }
        }
        let last = |count: &mut i32| {
            *count -= 1;
            *count == 0
        };
        // Clients treat a MARK without a primary surface as an error.
        let mut no_primary = !primary;
        self.retain(|item| match item {
            PipeItem::SurfaceCreate { key, id, .. } => {
                let keep = !over.contains(key);
                no_primary &= !(keep && *id == 0);
                keep
            }
            PipeItem::SurfaceDestroy { key, id } => {
                let keep = !over.contains(key);
                no_primary |= keep && *id == 0;
                keep
            }
            PipeItem::FullImage { key, .. } => !over.contains(key),
            PipeItem::Mark => last(&mut marks) && !no_primary,
            PipeItem::MonitorsConfig => last(&mut monitors),
            PipeItem::InvalAllPalettes => last(&mut palettes),
            PipeItem::StreamDestroyAll => last(&mut streams),
            PipeItem::GlScanout => last(&mut scanouts),
            // There are no frames between them.
            PipeItem::StreamClip(key, _) => clips.get_mut(key).is_some_and(last) && !unseen.contains(key),
            PipeItem::StreamCreate(key) | PipeItem::StreamDestroy(key) => !unseen.contains(key),
            PipeItem::Draw(_) | PipeItem::GlDraw(_) => true,
        });
        self.needed = self.items;
        unseen.into_iter().collect()
    }

    /// Whether too much waits, apart from the items that have to be kept.
    #[must_use]
    pub(super) fn is_long(&self) -> bool {
        self.items - self.needed > MAX_PIPE_ITEMS
    }

    /// Number of items.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.items
    }

    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Number of drawing commands.
    #[must_use]
    pub(super) fn draws(&self) -> usize {
        self.draws
    }

    /// Since when the oldest item waits.
    #[must_use]
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.slots.iter().find(|s| s.item.is_some()).map(|s| s.since)
    }
}
