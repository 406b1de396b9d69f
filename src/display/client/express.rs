//! Small commands that overtake what waits in front of them: what answers a key must not wait for a photograph.
//!
//! Order is kept where areas depend on each other: a command overtakes only commands that neither draw where it reads or
//! draws, nor read where it draws. Items that are no commands are overtaken by nothing.
//!
//! While drawing rests ([`super::pace`]), a command goes at once if nothing was sent for its place for a while, so that only
//! what is drawn again and again waits; and only a few of them per rest, so that many small messages are still collected.

use crate::display::pending::PendingDrawable;
use crate::display::pipe::{Glance, PipeItem};
use crate::display::reads::{SelfRead, SurfaceKey};
use crate::geometry::Rect;
use crate::limits::{DISPLAY_PACE, INPUT_ANSWER, MAX_OVERTAKEN};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Commands that draw and carry at most so many pixels may overtake others.
const SMALL: u64 = 128 * 128;
/// Commands that go during the rest of [`DISPLAY_PACE`]. More of them are collected, which costs less.
const PER_REST: u32 = 4;
/// The same shortly after the client pressed a key or a button.
const PER_REST_AFTER_INPUT: u32 = 16;
/// An area for which nothing was sent for so long is not being drawn again and again.
const COLD_AFTER: Duration = Duration::from_millis(60);
/// For so long nothing changes about commands that did not go during a rest.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Areas that are remembered: more are not sent within [`COLD_AFTER`] without being collected.
const RECENT: usize = 64;

/// Decides which commands of one client overtake others, and counts how far they have done so.
#[derive(Debug)]
pub(in crate::display) struct Express {
    /// What was sent lately, oldest first.
    recent: VecDeque<(SurfaceKey, Rect, Instant)>,
    /// Since when `used` counts.
    since: Instant,
    used: u32,
    last_input: Option<Instant>,
    /// No command up to this age goes during a rest; the oldest of them were looked at then.
    looked: Option<(u64, Instant)>,
}

impl Express {
    pub(in crate::display) fn new(now: Instant) -> Self {
        Self { recent: VecDeque::new(), since: now, used: 0, last_input: None, looked: None }
    }

    /// Something was sent for this area.
    pub(in crate::display) fn sent(&mut self, key: SurfaceKey, area: Rect, now: Instant) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((key, area, now));
    }

    /// When the client last pressed a key or a button.
    pub(in crate::display) fn set_input(&mut self, last: Option<Instant>) {
        if self.last_input != last {
            self.last_input = last;
            self.looked = None;
        }
    }

    /// Whatever waits was looked at, up to the command of this age, and nothing of it goes during the rest.
    pub(in crate::display) fn looked(&mut self, newest: u64, now: Instant) {
        let since = self.looked.map(|(_, at)| at).filter(|&at| now < at + LOOK_AGAIN);
        self.looked = Some((newest, since.unwrap_or(now)));
    }

    /// Commands up to this age need not be looked at.
    pub(in crate::display) fn looked_at(&self, now: Instant) -> u64 {
        self.looked.filter(|&(_, at)| now < at + LOOK_AGAIN).map_or(0, |(newest, _)| newest)
    }

    /// Whether a command may go during a rest.
    pub(in crate::display) fn may_break_rest(&mut self, now: Instant) -> bool {
        if now >= self.since + DISPLAY_PACE {
            (self.since, self.used) = (now, 0);
        }
        self.used < if self.follows_input(now) { PER_REST_AFTER_INPUT } else { PER_REST }
    }

    /// A command went during a rest.
    pub(in crate::display) fn broke_rest(&mut self) {
        self.used += 1;
    }

    /// Whether the command is one that goes during a rest.
    pub(in crate::display) fn goes_during_rest(&self, pending: &PendingDrawable, now: Instant) -> bool {
        is_small(pending)
            && (self.follows_input(now) || self.is_cold(pending.key, &pending.region.bounds(), now))
    }

    /// Whether what is drawn now is likely to answer the client's input.
    pub(in crate::display) fn follows_input(&self, now: Instant) -> bool {
        self.last_input.is_some_and(|at| now < at + INPUT_ANSWER)
    }

    fn is_cold(&self, key: SurfaceKey, area: &Rect, now: Instant) -> bool {
        let lately = self.recent.iter().rev().take_while(|(_, _, at)| now < *at + COLD_AFTER);
        // When the memory is full of what is recent, older areas may have been recent too.
        let full = self.recent.len() == RECENT && self.recent.front().is_some_and(|r| now < r.2 + COLD_AFTER);
        !full && !lately.into_iter().any(|(k, r, _)| *k == key && !r.intersect(area).is_empty())
    }
}

/// Whether a command is soon sent and soon drawn. Frames of streams have a pace of their own.
pub(in crate::display) fn is_small(pending: &PendingDrawable) -> bool {
    pending.stream.is_none() && pending.region.bounds().area() <= SMALL && pending.cost.image_pixels <= SMALL
}

/// Whether a pipe's oldest item is worth being overtaken. What draws much but carries little is sent as soon as anything.
pub(in crate::display) fn is_big(item: &PipeItem) -> bool {
    let PipeItem::Draw(pending) = item else { return false };
    !is_small(pending) && (pending.stream.is_some() || pending.cost.image_pixels > SMALL)
}

/// What waits in front of a command.
#[derive(Debug, Default)]
pub(in crate::display) struct Ahead {
    draws: Vec<(SurfaceKey, Rect)>,
    reads: Vec<(SurfaceKey, Rect)>,
}

impl Ahead {
    /// This command waits too.
    pub(in crate::display) fn add(&mut self, pending: &PendingDrawable) {
        self.draws.push((pending.key, pending.region.bounds()));
        self.reads.extend(read_areas(pending));
    }

    /// Whether the result is the same if the command goes before all that waits.
    pub(in crate::display) fn is_independent(&self, pending: &PendingDrawable) -> bool {
        let drawn = (pending.key, pending.region.bounds());
        let clear_of = |areas: &[(SurfaceKey, Rect)], (key, area): (SurfaceKey, Rect)| {
            !areas.iter().any(|(k, r)| *k == key && !r.intersect(&area).is_empty())
        };
        clear_of(&self.draws, drawn)
            && clear_of(&self.reads, drawn)
            && read_areas(pending).all(|read| clear_of(&self.draws, read))
    }

    /// Looks at the next item of a pipe, oldest first: takes the first command that `wanted` says yes to and that does not
    /// depend on those before it.
    pub(in crate::display) fn glance(
        &mut self,
        item: &PipeItem,
        wanted: impl FnOnce(&PendingDrawable) -> bool,
    ) -> Glance {
        let PipeItem::Draw(pending) = item else { return Glance::Stop };
        if wanted(pending) && self.is_independent(pending) {
            return Glance::Take;
        }
        self.add(pending);
        if self.draws.len() >= MAX_OVERTAKEN { Glance::Stop } else { Glance::Pass }
    }
}

/// The areas that a command reads, apart from what each pixel reads of itself.
fn read_areas(pending: &PendingDrawable) -> impl Iterator<Item = (SurfaceKey, Rect)> + '_ {
    let own = match pending.self_read {
        SelfRead::Nothing => None,
        SelfRead::Offset(dx, dy) => Some(pending.region.bounds().translate(dx, dy)),
        SelfRead::Area(area) => Some(area),
    };
    pending.reads.iter().map(|read| (read.key, read.area)).chain(own.map(|area| (pending.key, area)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SurfaceKey = SurfaceKey(1);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_drawn_again_and_again_is_not_cold() {
        let start = Instant::now();
        let mut express = Express::new(start);
        let area = Rect::new(0, 0, 10, 10);
        assert!(express.is_cold(KEY, &area, start));
        express.sent(KEY, Rect::new(5, 5, 20, 20), start);
        assert!(!express.is_cold(KEY, &area, start + MS));
        assert!(express.is_cold(KEY, &Rect::new(20, 20, 30, 30), start + MS));
        assert!(express.is_cold(SurfaceKey(2), &area, start + MS));
        assert!(express.is_cold(KEY, &area, start + COLD_AFTER));
    }

    #[test]
    fn nothing_is_cold_that_may_have_been_forgotten() {
        let start = Instant::now();
        let mut express = Express::new(start);
        for i in 0..RECENT {
            let x = i32::try_from(i).unwrap() * 10;
            express.sent(KEY, Rect::new(x, 0, x + 10, 10), start);
        }
        assert!(!express.is_cold(KEY, &Rect::new(0, 50, 10, 60), start + MS));
        assert!(express.is_cold(KEY, &Rect::new(0, 50, 10, 60), start + COLD_AFTER));
    }

    #[test]
    fn commands_are_looked_at_once_until_time_or_input_changes_the_answer() {
        let start = Instant::now();
        let mut express = Express::new(start);
        assert_eq!(express.looked_at(start), 0);
        express.looked(7, start);
        assert_eq!(express.looked_at(start + MS), 7);
        express.looked(9, start + MS * 4);
        assert_eq!(express.looked_at(start + MS * 4), 9);
        assert_eq!(express.looked_at(start + LOOK_AGAIN), 0);
        express.looked(9, start + LOOK_AGAIN);
        express.set_input(Some(start + LOOK_AGAIN));
        assert_eq!(express.looked_at(start + LOOK_AGAIN), 0);
    }

    #[test]
    fn a_few_commands_break_a_rest_and_more_after_input() {
        let start = Instant::now();
        let mut express = Express::new(start);
        let broken = |express: &mut Express, now| {
            let mut n = 0;
            while express.may_break_rest(now) {
                express.broke_rest();
                n += 1;
            }
            n
        };
        assert_eq!(broken(&mut express, start), PER_REST);
        assert_eq!(broken(&mut express, start + DISPLAY_PACE / 2), 0);
        assert_eq!(broken(&mut express, start + DISPLAY_PACE), PER_REST);
        express.set_input(Some(start + DISPLAY_PACE * 2));
        assert_eq!(broken(&mut express, start + DISPLAY_PACE * 2), PER_REST_AFTER_INPUT);
        assert_eq!(broken(&mut express, start + INPUT_ANSWER * 2), PER_REST);
    }
}
