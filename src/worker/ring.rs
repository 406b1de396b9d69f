//! When to ask an empty ring again, and when to ask the guest for a notification (display.md 2.2, qxl.md A7).

use std::time::{Duration, Instant};

/// How long the worker waits before it looks at an empty ring again, the first time after the guest has notified it. A guest
/// draws a frame within a few milliseconds, and the last command of the frame waits for the next look.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// The worker waits twice as long before each further look, up to this time: looks at a guest that draws all the time would
/// otherwise cost more than what it draws.
const LAST_LOOK: Duration = Duration::from_millis(4);
/// How often the worker looks at an empty ring again before it asks the guest to notify. Under load this saves the guest one
/// exit per command.
const LOOKS: u32 = 2;

/// What to do about an empty ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnEmpty {
    /// Nothing. The worker looks again at [`Ring::look_at`], or when it wakes up before.
    Wait,
    /// Ask for a notification. If the guest refuses, there are new commands: look again at once.
    AskNotification,
}

/// The state of one command ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    /// The time of the next look.
    next_look: Option<Instant>,
    /// Looks since the ring was found empty.
    looks: u32,
    /// How long the worker waits before the look after the next one.
    pause: Duration,
    /// The worker asked for a notification, and no command has come since.
    asked: bool,
}

impl Default for Ring {
    fn default() -> Self {
        Self { next_look: None, looks: 0, pause: FIRST_LOOK, asked: false }
    }
}

impl Ring {
    /// The ring gave a command.
    pub(super) fn took(&mut self) {
        (self.next_look, self.looks, self.asked) = (None, 0, false);
    }

    /// The ring was empty.
    pub(super) fn empty(&mut self, now: Instant) -> OnEmpty {
        if self.asked {
            return OnEmpty::Wait;
        }
        if let Some(at) = self.next_look {
            if now < at {
                return OnEmpty::Wait;
            }
            self.looks = self.looks.saturating_add(1);
            if self.looks >= LOOKS {
                return OnEmpty::AskNotification;
            }
        }
        self.next_look = Some(now + self.pause);
        self.pause = LAST_LOOK.min(self.pause * 2);
        OnEmpty::Wait
    }

    /// The guest accepted to notify.
    pub(super) fn armed(&mut self) {
        *self = Self { asked: true, ..Self::default() };
    }

    /// When to look again.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.next_look
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

    #[test]
    fn looks_at_a_guest_that_draws_all_the_time_become_rare() {
        let mut ring = Ring::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            assert_eq!(ring.empty(now), OnEmpty::Wait);
            let at = ring.look_at().unwrap();
            pauses.push(at - now);
            now = at;
            ring.took();
        }
        assert_eq!(pauses, [FIRST_LOOK, FIRST_LOOK * 2, LAST_LOOK, LAST_LOOK]);
        // Once the guest has drawn nothing for a while, its next frame is looked at soon again.
        while ring.empty(now) == OnEmpty::Wait {
            now = ring.look_at().unwrap();
        }
        ring.armed();
        ring.took();
        assert_eq!(ring.empty(now), OnEmpty::Wait);
        assert_eq!(ring.look_at(), Some(now + FIRST_LOOK));
    }
}
