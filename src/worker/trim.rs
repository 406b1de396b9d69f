//! When the worker makes the process give memory back to the system.
//!
//! Surfaces that are read, images that are encoded and what waits for clients take a hundred megabytes at times. When they are
//! freed, the C library's allocator keeps most of that for the process: freed pieces lie between others that are still in use.
//! A host with many machines would pay for the worst moment of each.

use crate::limits::TRIM_PAUSE;
use std::time::{Duration, Instant};

/// How long after the last reason. One client has several links, and a guest that resets its device goes on to use it.
const SETTLE: Duration = Duration::from_secs(1);

/// Watches for reasons: links that end, screens that go.
#[derive(Debug, Default)]
pub(super) struct Trim {
    links: usize,
    due: Option<Instant>,
    last: Option<Instant>,
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
        let earliest = self.last.map_or(now, |last| last + TRIM_PAUSE);
        self.due = Some(earliest.max(now + SETTLE));
    }

    /// When the next call of [`Self::is_due`] says so.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether memory is to be given back now. That takes the worker some milliseconds, and other threads that need memory wait:
    /// not while a client types.
    pub(super) fn is_due(&mut self, now: Instant, last_input: impl FnOnce() -> Option<Instant>) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.due = last_input().map(|at| at + SETTLE).filter(|&calm| now < calm);
        if self.due.is_some() {
            return false;
        }
        self.last = Some(now);
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
