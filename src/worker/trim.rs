//! When the worker makes the process give memory back to the system.
//!
//! Surfaces that are read, images that are encoded and what waits for clients take a hundred megabytes at times. When they are
//! freed, the C library's allocator keeps most of that for the process: freed pieces lie between others that are still in use.
//! A host with many machines would pay for the worst moment of each.

use crate::limits::TRIM_PAUSE;
use std::time::{Duration, Instant};

/// How long after the last reason. One client has several links, and a guest that resets its device goes on to use it.
const SETTLE: Duration = Duration::from_secs(1);
/// So much work has used memory that may be free by now.
const MUCH_WORK: Duration = Duration::from_millis(500);
/// A turn below this is no work: the clock of a desktop, a cursor that blinks.
const LITTLE_WORK: Duration = Duration::from_millis(1);
/// How long there must have been no work after that.
const QUIET: Duration = Duration::from_secs(2);

/// Watches for reasons: links that end, screens that go, work that is over.
#[derive(Debug, Default)]
pub(super) struct Trim {
    links: usize,
    due: Option<Instant>,
    last: Option<Instant>,
    /// The time of all turns since `last`, and when it is quiet after them.
    worked: Duration,
    quiet: Option<Instant>,
}

impl Trim {
    /// Looks at how many links there are now.
    pub(super) fn look(&mut self, links: usize, now: Instant) {
        if links < self.links {
            self.freed(now);
        }
        self.links = links;
    }

    /// Much was freed.
    pub(super) fn freed(&mut self, now: Instant) {
        self.due = Some(self.earliest(now).max(now + SETTLE));
    }

    /// A turn of the worker took so long.
    pub(super) fn worked(&mut self, took: Duration, now: Instant) {
        self.worked += took;
        if took >= LITTLE_WORK && self.worked >= MUCH_WORK {
            self.quiet = Some(self.earliest(now).max(now + QUIET));
        }
    }

    fn earliest(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| last + TRIM_PAUSE)
    }

    /// When the next call of [`Self::is_due`] says so.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.quiet).min()
    }

    /// Whether memory is to be given back now. That takes the worker some milliseconds, and other threads that need memory wait:
    /// not while a client types.
    pub(super) fn is_due(&mut self, now: Instant, last_input: impl FnOnce() -> Option<Instant>) -> bool {
        if self.due().is_none_or(|due| now < due) {
            return false;
        }
        (self.quiet, self.due) = (None, last_input().map(|at| at + SETTLE).filter(|&calm| now < calm));
        if self.due.is_some() {
            return false;
        }
        (self.last, self.worked) = (Some(now), Duration::ZERO);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_when_links_have_ended_and_not_too_often() {
        let (mut trim, start) = (Trim::default(), Instant::now());
        trim.look(2, start);
        trim.look(3, start);
        assert_eq!(trim.due(), None);
        trim.look(2, start);
        trim.look(1, start + SETTLE / 2);
        let calm = || None;
        assert!(!trim.is_due(start + SETTLE, calm));
        let first = start + SETTLE / 2 + SETTLE;
        assert!(trim.is_due(first, calm) && !trim.is_due(first, calm));
        // Clients that come and go cost little.
        for second in 0..9 {
            trim.look(2, first + second * SETTLE);
            trim.look(1, first + second * SETTLE);
            assert!(!trim.is_due(first + second * SETTLE, calm));
        }
        assert_eq!(trim.due(), Some(first + TRIM_PAUSE));
        assert!(trim.is_due(first + TRIM_PAUSE, calm));
    }

    #[test]
    fn memory_goes_back_when_work_is_over() {
        let (mut trim, mut now) = (Trim::default(), Instant::now());
        let calm = || None;
        for _ in 0..1000 {
            trim.worked(LITTLE_WORK / 2, now);
        }
        assert_eq!(trim.due(), None);
        for _ in 0..10 {
            now += QUIET / 2;
            trim.worked(MUCH_WORK, now);
            assert!(!trim.is_due(now, calm));
        }
        trim.worked(LITTLE_WORK / 2, now + QUIET / 2);
        assert_eq!(trim.due(), Some(now + QUIET));
        now += QUIET;
        assert!(trim.is_due(now, calm) && !trim.is_due(now, calm));
        trim.worked(MUCH_WORK / 2, now);
        assert_eq!(trim.due(), None);
        trim.worked(MUCH_WORK / 2, now);
        assert_eq!(trim.due(), Some(now + TRIM_PAUSE));
    }

    #[test]
    fn nobody_who_types_waits_for_it() {
        let (mut trim, start) = (Trim::default(), Instant::now());
        trim.freed(start);
        for key in 1..9 {
            assert!(!trim.is_due(start + key * SETTLE, || Some(start + key * SETTLE)));
        }
        assert_eq!(trim.due(), Some(start + 9 * SETTLE));
        assert!(trim.is_due(start + 9 * SETTLE, || Some(start + 8 * SETTLE)));
    }
}
