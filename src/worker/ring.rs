//! When to ask an empty ring again, and when to ask the guest for a notification (display.md 2.2, qxl.md A7).

use std::time::{Duration, Instant};

/// A ring that was just found empty is looked at once more after this time, before the guest is asked to notify: under
/// load that saves the guest an exit per command. The reference waits 10 ms, which a lone command then waits at worst.
pub(super) const REPOLL: Duration = Duration::from_millis(4);

/// What to do about an empty ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnEmpty {
    /// Nothing: it is looked at again at [`Ring::repoll_at`] or on the next wakeup of the loop.
    Wait,
    /// Ask for a notification; if that is refused look again at once.
    AskNotification,
}

/// The state of one command ring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ring {
    /// The time of the second look, after the first empty one.
    repoll_at: Option<Instant>,
    /// A notification was asked for and no command came since.
    asked: bool,
}

impl Ring {
    /// The ring gave a command.
    pub(super) fn took(&mut self) {
        *self = Self::default();
    }

    /// The ring was empty.
    pub(super) fn empty(&mut self, now: Instant) -> OnEmpty {
        if self.asked {
            return OnEmpty::Wait;
        }
        match self.repoll_at {
            None => {
                self.repoll_at = Some(now + REPOLL);
                OnEmpty::Wait
            }
            Some(at) if now < at => OnEmpty::Wait,
            Some(_) => OnEmpty::AskNotification,
        }
    }

    /// The guest will notify.
    pub(super) fn armed(&mut self) {
        self.asked = true;
        self.repoll_at = None;
    }

    /// When to look again.
    pub(super) fn repoll_at(&self) -> Option<Instant> {
        self.repoll_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notification_is_asked_for_once_per_idle_period() {
        let mut ring = Ring::default();
        let start = Instant::now();
        assert_eq!(ring.empty(start), OnEmpty::Wait);
        assert_eq!(ring.empty(start + REPOLL / 2), OnEmpty::Wait);
        let second = ring.repoll_at().unwrap();
        assert_eq!(ring.empty(second), OnEmpty::AskNotification);
        // Refused: still to be asked.
        assert_eq!(ring.empty(second), OnEmpty::AskNotification);
        ring.armed();
        assert_eq!(ring.repoll_at(), None);
        assert_eq!(ring.empty(second + REPOLL), OnEmpty::Wait);
        ring.took();
        assert_eq!(ring.empty(second + REPOLL), OnEmpty::Wait);
        assert!(ring.repoll_at().is_some());
    }
}
