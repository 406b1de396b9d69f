//! When to ask an empty ring again, and when to ask the guest for a notification (display.md 2.2, qxl.md A7).

use std::time::{Duration, Instant};

/// How long the worker waits before it looks at an empty ring again; before the next look it waits twice as long, and only
/// then asks the guest to notify. Under load this saves the guest one exit per command. A guest draws a frame within a few
/// milliseconds, and the last command of the frame waits for the next look.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(1);
/// How often the worker looks at an empty ring again before it asks the guest.
const LOOKS: u32 = 2;

/// What to do about an empty ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnEmpty {
    /// Nothing. The worker looks again at [`Ring::repoll_at`], or when it wakes up before.
    Wait,
    /// Ask for a notification. If the guest refuses, there are new commands: look again at once.
    AskNotification,
}

/// The state of one command ring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ring {
    /// The time of the next look, and which one after the ring was found empty it is.
    next_look: Option<(Instant, u32)>,
    /// The worker asked for a notification, and no command has come since.
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
        let next = match self.next_look {
            None => 0,
            Some((at, _)) if now < at => return OnEmpty::Wait,
            Some((_, looks)) => looks + 1,
        };
        if next >= LOOKS {
            return OnEmpty::AskNotification;
        }
        self.next_look = Some((now + FIRST_LOOK * (1 << next), next));
        OnEmpty::Wait
    }

    /// The guest accepted to notify.
    pub(super) fn armed(&mut self) {
        self.asked = true;
        self.next_look = None;
    }

    /// When to look again.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.next_look.map(|(at, _)| at)
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
        assert_eq!(ring.empty(start + FIRST_LOOK / 2), OnEmpty::Wait);
        let first = ring.look_at().unwrap();
        assert_eq!(first, start + FIRST_LOOK);
        assert_eq!(ring.empty(first), OnEmpty::Wait);
        let second = ring.look_at().unwrap();
        assert_eq!(second, first + FIRST_LOOK * 2);
        assert_eq!(ring.empty(second), OnEmpty::AskNotification);
        // The guest refused, so the worker has to ask again.
        assert_eq!(ring.empty(second), OnEmpty::AskNotification);
        ring.armed();
        assert_eq!(ring.look_at(), None);
        assert_eq!(ring.empty(second + FIRST_LOOK), OnEmpty::Wait);
        ring.took();
        assert_eq!(ring.empty(second + FIRST_LOOK), OnEmpty::Wait);
        assert!(ring.look_at().is_some());
    }
}
