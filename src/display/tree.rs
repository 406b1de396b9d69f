//! Drawing commands of one surface that are not rendered yet (display.md 4.2).

use super::queued::{Queued, SelfRead};
use crate::canvas::Region;
use crate::geometry::Rect;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug)]
struct Item {
    queued: Arc<Queued>,
    /// Copied from the command, which is far away in memory.
    self_read: SelfRead,
    /// What later commands have not covered; empty: the item is gone.
    visible: Region,
}

/// See the module. Oldest first.
#[derive(Debug, Default)]
pub struct Tree(VecDeque<Item>);

impl Tree {
    /// Adds the newest command. Returns those that it covers, which are removed: they may leave the pipes too.
    ///
    /// Pixels that a copy within the surface still has to read do not count as covered below it.
    pub fn insert(&mut self, queued: Arc<Queued>) -> Vec<Arc<Queued>> {
        let mut covered = Vec::new();
        if queued.opaque {
            let mut cover = queued.region.clone();
            hold(&mut cover, queued.self_read, &queued.region);
            let mut bounds = cover.bounds();
            for item in self.0.iter_mut().rev() {
                if cover.is_empty() {
                    break;
                }
                if bounds.intersects(&item.visible.bounds()) && item.visible.intersects(&cover) {
                    item.visible = item.visible.subtract(&cover);
                    if item.visible.is_empty() {
                        covered.push(item.queued.clone());
                        continue;
                    }
                }
                if item.self_read != SelfRead::Nothing {
                    hold(&mut cover, item.self_read, &item.visible);
                    bounds = cover.bounds();
                }
            }
            if !covered.is_empty() {
                self.0.retain(|item| !item.visible.is_empty());
            }
        }
        let visible = queued.region.clone();
        let self_read = queued.self_read;
        self.0.push_back(Item { queued, self_read, visible });
        covered
    }

    /// The oldest command.
    #[must_use]
    pub fn first(&self) -> Option<&Arc<Queued>> {
        self.0.front().map(|item| &item.queued)
    }

    /// The newest command that draws into the area.
    #[must_use]
    pub fn newest_in(&self, area: &Rect) -> Option<u64> {
        self.0.iter().rev().find(|item| item.queued.region.intersects_rect(area)).map(|item| item.queued.seq)
    }

    /// The newest command.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.0.back().map(|item| item.queued.seq)
    }

    /// Takes the oldest command out if it is not newer than `seq`: to be rendered.
    pub fn take_first_until(&mut self, seq: u64) -> Option<Arc<Queued>> {
        if self.first()?.seq > seq {
            return None;
        }
        self.0.pop_front().map(|item| item.queued)
    }

    /// Takes all commands out: they are not to be rendered.
    pub fn clear(&mut self) -> Vec<Arc<Queued>> {
        self.0.drain(..).map(|item| item.queued).collect()
    }
}

/// Takes what a command on top still has to read out of `cover`, `visible` being what can be seen of the command.
fn hold(cover: &mut Region, self_read: SelfRead, visible: &Region) {
    let around = match self_read {
        SelfRead::Nothing => return,
        SelfRead::Offset(dx, dy) => visible.bounds().translate(dx, dy),
        SelfRead::Area(area) => area,
    };
    if !cover.bounds().intersects(&around) {
        return;
    }
    *cover = match self_read {
        SelfRead::Offset(dx, dy) if !visible.is_rect() => cover.subtract(&visible.translate(dx, dy)),
        _ => cover.subtract_rect(&around),
    };
}
