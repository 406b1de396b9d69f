//! When to ask an empty ring again, and when to ask the guest for a notification (display.md 2.2, qxl.md A7).

use std::time::{Duration, Instant};

/// How long the worker waits before it looks at an empty ring again. A guest draws a frame within a few milliseconds, and the
/// last command of the frame waits for the next look.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// The worker waits twice as long after each look that found something, up to this time: looks at a guest that draws all the time
/// would otherwise cost more than what it draws. A guest that notifies the worker within this time draws all the time.
const LAST_LOOK: Duration = Duration::from_millis(4);
/// After so many commands at once the worker looks as soon as it does at first: the guest may be waiting for room in its ring,
/// which has 32 places.
const MANY: u32 = 16;
/// The same after commands with so many bytes of pictures: the guest may be waiting for memory, of which it has not much more
/// than a few screens.
const LARGE: usize = 4 << 20;

/// How long the worker waits for a frame that has begun, at most. A program under X draws one in some tenths of a millisecond, and
/// to wait for all of it costs less than to send twice, and the guest another notification.
const LONGEST_FRAME: Duration = Duration::from_micros(500);
/// A frame that takes less is not awaited.
const SHORTEST_FRAME: Duration = Duration::from_micros(50);
/// With each frame that begins, the ring takes one part in so many off the time that it believes frames to take.
const FORGET: u32 = 128;
/// How long the worker waits for another request after one for which it has emptied the ring. Xspice causes one for each word that
/// it draws, because it draws text itself and reads first what is below.
const NEXT_REQUEST: Duration = Duration::from_micros(300);

/// What to do about an empty ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnEmpty {
    /// Nothing. The worker looks again at [`Ring::look_at`], or when it wakes up before.
    Wait,
    /// Ask for a notification. If the guest refuses, there are new commands: look again at once.
    AskNotification,
}

/// A guest that seems to have drawn its frame, because a look of the worker, which had woken up for nothing else, found so little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quiet {
    /// Few commands, or none so soon after others: more may come.
    Slow,
    /// None for a while.
    Still,
}

/// The state of one command ring.
///
/// A look costs the worker a wakeup, a notification costs it one too and the guest an exit. So the worker waits for
/// notifications of a guest that draws a frame and then rests, and looks at one that draws all the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    /// The time of the next look.
    next_look: Option<Instant>,
    /// How long the worker waits before the look after the next one.
    pause: Duration,
    /// Commands since the ring was empty.
    taken: u32,
    /// Bytes of their pictures.
    bytes: usize,
    /// The worker has woken up for the present look alone. `true`: it has waited before, so this is no glance.
    waited: Option<bool>,
    /// What the last look found, if the worker had woken up for it.
    quiet: Option<Quiet>,
    /// The ring has been emptied of commands.
    emptied: bool,
    /// When the worker asked for a notification, if no command has come since.
    asked: Option<Instant>,
    /// The guest has notified the worker, so the first look follows at once: when the clients have been sent the first commands
    /// of a frame, the others are often there.
    glance: bool,
    /// The guest has rested after what it drew last.
    rests: bool,
    /// The last notification came after a rest: a frame begins.
    begins: bool,
    /// When the present frame began, unless more of it has come later.
    began: Option<Instant>,
    /// How long after its beginning the last commands of a frame come. Zero: they come at once.
    frame_time: Duration,
    /// The worker has waited for the frame, so the present look finds all of it.
    awaited: bool,
    /// The ring was emptied last for a request, so that another one may follow soon.
    answered: bool,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            next_look: None,
            pause: FIRST_LOOK,
            taken: 0,
            bytes: 0,
            waited: None,
            quiet: None,
            emptied: false,
            asked: None,
            glance: false,
            rests: true,
            begins: false,
            began: None,
            frame_time: Duration::ZERO,
            awaited: false,
            answered: false,
        }
    }
}

impl Ring {
    /// The ring gave a command.
    pub(super) fn took(&mut self, now: Instant) {
        let due = self.next_look.is_some_and(|at| now >= at);
        // A guest that goes on without requests.
        self.answered &= !due;
        let longer = LAST_LOOK.min(self.pause * 2);
        if let Some(asked) = self.asked.take() {
            let rests = now >= asked + LAST_LOOK;
            if rests {
                // The worker may have looked before it heard the notification.
                self.began = self.began.filter(|&began| began >= asked).or(Some(now));
            } else if self.begins {
                self.goes_on(now);
            }
            // The second command of a frame may come soon after the first one.
            self.pause = if rests || self.begins { FIRST_LOOK } else { longer };
            (self.rests, self.begins) = (rests, rests);
            self.glance = true;
        } else if due && !std::mem::take(&mut self.glance) {
            self.pause = longer;
        }
        self.next_look = None;
        self.taken = self.taken.saturating_add(1);
    }

    /// The command that the ring gave last brings a picture of so many bytes.
    pub(super) fn brought(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The ring was empty.
    pub(super) fn empty(&mut self, now: Instant) -> OnEmpty {
        // The guest has drawn its frame, as far as the worker knows it. A look would be one too many.
        if std::mem::take(&mut self.awaited) && self.taken > 0 {
            (self.next_look, self.glance) = (Some(now), false);
        }
        let (taken, bytes) = (std::mem::take(&mut self.taken), std::mem::take(&mut self.bytes));
        self.emptied |= taken > 0;
        if taken >= MANY || bytes >= LARGE {
            self.pause = FIRST_LOOK;
        }
        self.quiet = match (self.waited.take(), taken) {
            (Some(true), 0) => Some(Quiet::Still),
            (Some(_), 0..MANY) => Some(Quiet::Slow),
            _ => None,
        };
        if self.asked.is_some() || self.next_look.is_some_and(|at| now < at) {
            return OnEmpty::Wait;
        }
        if self.next_look.is_none() {
            self.next_look = Some(if self.glance { now } else { now + self.pause });
            return OnEmpty::Wait;
        }
        if std::mem::take(&mut self.glance) && !self.rests {
            self.next_look = Some(now + self.pause);
            return OnEmpty::Wait;
        }
        (self.rests, self.answered) = (true, false);
        OnEmpty::AskNotification
    }

    /// The worker has woken up for nothing but this look or another deadline.
    pub(super) fn look(&mut self, now: Instant) {
        self.waited = self.next_look.filter(|&at| now >= at).map(|_| !self.glance);
    }

    /// The guest has waited for the answer to a request: what it draws last comes soon after the last request of a frame.
    pub(super) fn answered(&mut self, now: Instant) {
        if self.begins {
            self.goes_on(now);
        }
        self.awaited = false;
        // The wait begins now, also if this request found no commands, since those before it had been taken already.
        (self.next_look, self.pause) = (None, NEXT_REQUEST);
        (self.glance, self.answered) = (false, true);
    }

    /// How long the worker waits for the next of requests that follow one another. `None`: it does not expect one.
    pub(super) fn waits_for_request(&self, now: Instant) -> Option<Duration> {
        self.next_look.filter(|&at| self.answered && now < at).map(|at| at - now)
    }

    /// What a look found for which the worker had woken up, once.
    pub(super) fn take_quiet(&mut self) -> Option<Quiet> {
        self.quiet.take()
    }

    /// Whether the worker has taken commands, and left none, once.
    pub(super) fn take_emptied(&mut self) -> bool {
        std::mem::take(&mut self.emptied)
    }

    /// The host has woken the worker. How long the worker should wait for the frame that begins; `None`: no frame begins, or frames
    /// of this guest come at once.
    pub(super) fn notified(&mut self, now: Instant) -> Option<Duration> {
        self.asked.filter(|&asked| now >= asked + LAST_LOOK)?;
        self.began = Some(now);
        self.frame_time -= self.frame_time / FORGET;
        Some(self.frame_time).filter(|&time| time >= SHORTEST_FRAME)
    }

    /// The worker has waited for the frame, and looks now.
    pub(super) fn has_waited(&mut self) {
        self.awaited = true;
    }

    /// More of the frame has come after its first commands.
    fn goes_on(&mut self, now: Instant) {
        let took = self.began.take().map(|began| now.saturating_duration_since(began));
        if let Some(took) = took.filter(|&took| took <= LONGEST_FRAME) {
            self.frame_time = took.max(SHORTEST_FRAME * 2);
        }
    }

    /// The guest accepted to notify.
    pub(super) fn armed(&mut self, now: Instant) {
        (self.next_look, self.asked) = (None, Some(now));
    }

    /// When to look again.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.next_look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Waits for each look and finds the ring empty, until the worker asks for a notification. Returns the pauses.
    fn rest(ring: &mut Ring, mut now: Instant) -> Vec<Duration> {
        let mut pauses = Vec::new();
        while ring.empty(now) == OnEmpty::Wait {
            let at = ring.look_at().unwrap();
            pauses.push(at - now);
            now = at;
        }
        ring.armed(now);
        assert_eq!(ring.look_at(), None);
        assert_eq!(ring.empty(now), OnEmpty::Wait);
        pauses
    }

    #[test]
    fn a_guest_that_rests_after_each_frame_is_glanced_at_once_more_and_asked_to_notify() {
        let mut ring = Ring::default();
        let start = Instant::now();
        rest(&mut ring, start);
        for frame in 1..5 {
            let now = start + MS * 40 * frame;
            ring.took(now);
            assert_eq!(rest(&mut ring, now), [Duration::ZERO]);
        }
    }

    #[test]
    fn the_worker_waits_for_the_next_of_requests_that_follow_one_another_and_then_asks() {
        let mut ring = Ring::default();
        let mut now = Instant::now();
        rest(&mut ring, now);
        now += MS * 40;
        ring.took(now);
        assert_eq!((ring.empty(now), ring.waits_for_request(now)), (OnEmpty::Wait, None));
        for _ in 0..5 {
            now += MS / 20;
            ring.took(now);
            ring.answered(now);
            assert_eq!(ring.empty(now), OnEmpty::Wait);
            assert_eq!(ring.waits_for_request(now), Some(NEXT_REQUEST));
        }
        now += NEXT_REQUEST;
        assert_eq!(ring.waits_for_request(now), None);
        ring.look(now);
        assert_eq!((ring.empty(now), ring.take_quiet()), (OnEmpty::AskNotification, Some(Quiet::Still)));
        ring.armed(now);
        assert_eq!(ring.waits_for_request(now), None);
        // The next frame comes with requests, too. The first of them ends the wait.
        now += MS * 40;
        assert!(ring.notified(now).is_some());
        ring.has_waited();
        now += MS / 20;
        ring.took(now);
        ring.answered(now);
        assert_eq!((ring.empty(now), ring.waits_for_request(now)), (OnEmpty::Wait, Some(NEXT_REQUEST)));
        // This guest draws on without requests.
        ring.empty(now);
        now = ring.look_at().unwrap();
        ring.took(now);
        assert_eq!((ring.empty(now), ring.waits_for_request(now)), (OnEmpty::Wait, None));
    }

    #[test]
    fn a_request_whose_commands_were_taken_before_is_followed_by_others_too() {
        let mut ring = Ring::default();
        let mut now = Instant::now();
        rest(&mut ring, now);
        now += MS * 40;
        ring.took(now);
        assert_eq!((ring.empty(now), ring.look_at()), (OnEmpty::Wait, Some(now)));
        ring.answered(now);
        assert_eq!(ring.empty(now), OnEmpty::Wait);
        assert_eq!(ring.waits_for_request(now), Some(NEXT_REQUEST));
        // A request between frames is none of these.
        rest(&mut ring, now + NEXT_REQUEST);
        ring.answered(now);
        assert_eq!((ring.empty(now), ring.waits_for_request(now)), (OnEmpty::Wait, None));
    }

    #[test]
    fn the_worker_asks_again_when_the_guest_refused() {
        let mut ring = Ring::default();
        let now = Instant::now();
        assert_eq!(ring.empty(now), OnEmpty::Wait);
        assert_eq!(ring.empty(now + FIRST_LOOK / 2), OnEmpty::Wait);
        assert_eq!(ring.look_at(), Some(now + FIRST_LOOK));
        assert_eq!(ring.empty(now + FIRST_LOOK), OnEmpty::AskNotification);
        assert_eq!(ring.empty(now + FIRST_LOOK), OnEmpty::AskNotification);
    }

    #[test]
    fn what_the_glance_finds_is_followed_by_a_look() {
        let mut ring = Ring::default();
        let start = Instant::now();
        rest(&mut ring, start);
        let now = start + MS * 40;
        ring.took(now);
        assert_eq!((ring.empty(now), ring.look_at()), (OnEmpty::Wait, Some(now)));
        ring.took(now);
        // Commands that come with requests put the look off, and nothing else.
        for _ in 0..5 {
            assert_eq!((ring.empty(now), ring.look_at()), (OnEmpty::Wait, Some(now + FIRST_LOOK)));
            ring.took(now);
        }
        assert_eq!(rest(&mut ring, now), [FIRST_LOOK]);
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
            ring.took(now);
        }
        assert_eq!(pauses, [FIRST_LOOK, FIRST_LOOK * 2, LAST_LOOK, LAST_LOOK]);
        // Once the guest has drawn nothing for a while, its next frame is looked at soon again.
        rest(&mut ring, now);
        now += MS * 40;
        ring.took(now);
        assert_eq!(rest(&mut ring, now), [Duration::ZERO]);
    }

    #[test]
    fn a_guest_that_fills_its_ring_is_looked_at_soon() {
        let mut ring = Ring::default();
        let mut now = Instant::now();
        for _ in 0..4 {
            ring.took(now);
            assert_eq!(ring.empty(now), OnEmpty::Wait);
            now = ring.look_at().unwrap();
        }
        for _ in 0..4 {
            for _ in 0..MANY {
                ring.took(now);
            }
            assert_eq!(ring.empty(now), OnEmpty::Wait);
            assert_eq!(ring.look_at(), Some(now + FIRST_LOOK));
            now += FIRST_LOOK;
        }
    }

    #[test]
    fn a_guest_that_draws_large_pictures_is_looked_at_soon() {
        let mut ring = Ring::default();
        let mut now = Instant::now();
        // The first pause is short in any case.
        ring.took(now);
        assert_eq!(ring.empty(now), OnEmpty::Wait);
        now = ring.look_at().unwrap();
        for bytes in [LARGE / 2 - 1, LARGE / 2 - 1, LARGE / 2, LARGE, LARGE / 2 - 1] {
            for _ in 0..2 {
                ring.took(now);
                ring.brought(bytes);
            }
            assert_eq!(ring.empty(now), OnEmpty::Wait);
            let pause = ring.look_at().unwrap() - now;
            assert_eq!(pause == FIRST_LOOK, bytes >= LARGE / 2, "{bytes}");
            now += pause;
        }
    }

    #[test]
    fn a_look_after_a_wait_tells_whether_the_guest_is_quiet() {
        let mut ring = Ring::default();
        let mut now = Instant::now();
        for (commands, quiet) in [(1, Some(Quiet::Slow)), (MANY, None), (0, Some(Quiet::Still))] {
            assert_eq!(ring.empty(now), OnEmpty::Wait);
            now = ring.look_at().unwrap();
            ring.look(now);
            (0..commands).for_each(|_| ring.took(now));
            ring.empty(now);
            assert_eq!(ring.take_quiet(), quiet);
        }
        // A glance tells little.
        rest(&mut ring, now);
        now += MS * 40;
        ring.took(now);
        ring.empty(now);
        ring.look(now);
        ring.empty(now);
        assert_eq!(ring.take_quiet(), Some(Quiet::Slow));
        // Woken up for something else, or before the time.
        let mut ring = Ring::default();
        ring.empty(now);
        ring.look(now);
        ring.took(now);
        ring.empty(now);
        assert_eq!(ring.take_quiet(), None);
    }

    /// A frame begins 40 ms after `now`: some commands at once, others later. Returns how long the worker waited for them.
    fn frame(ring: &mut Ring, now: &mut Instant, later: Option<Duration>) -> Option<Duration> {
        *now += MS * 40;
        let start = *now;
        let waited = ring.notified(start);
        if let Some(time) = waited {
            *now += time;
            ring.has_waited();
        }
        ring.took(*now);
        let mut looks = Vec::new();
        while ring.empty(*now) == OnEmpty::Wait {
            looks.extend(ring.look_at());
            *now = ring.look_at().unwrap();
        }
        ring.armed(*now);
        let glance = [start];
        assert_eq!(looks, if waited.is_some() { &[] } else { &glance[..] });
        if let Some(later) = later.filter(|&later| start + later > *now) {
            *now = start + later;
            assert_eq!(ring.notified(*now), None, "it is the same frame");
            ring.took(*now);
            while ring.empty(*now) == OnEmpty::Wait {
                *now = ring.look_at().unwrap();
            }
            ring.armed(*now);
        }
        waited
    }

    #[test]
    fn the_worker_waits_for_frames_as_long_as_they_take() {
        let mut ring = Ring::default();
        let mut now = Instant::now();
        rest(&mut ring, now);
        let mut frames = |n: usize, later: Option<Duration>| -> Vec<Option<Duration>> {
            (0..n).map(|_| frame(&mut ring, &mut now, later)).collect()
        };
        assert_eq!(frames(3, None), [None; 3]);
        let step = MS / 10;
        for time in [step, step * 3, step * 2, LONGEST_FRAME] {
            let waits = frames(20, Some(time));
            let last = waits.last().copied().flatten().unwrap();
            assert!(last > time - time / 10, "{waits:?}");
            assert!(last < time * 2, "{waits:?}");
        }
        // What takes longer is not awaited.
        let waits = frames(20, Some(LONGEST_FRAME + step));
        assert!(waits.iter().flatten().all(|&time| time <= LONGEST_FRAME));
        // It forgets, and then waits no longer.
        let waits = frames(400, None);
        assert!(waits.is_sorted_by(|a, b| a > b || a.is_none() && b.is_none()), "{waits:?}");
        assert_eq!(waits[399], None);
    }

    #[test]
    fn a_wakeup_without_commands_is_no_frame() {
        let mut ring = Ring::default();
        let mut now = Instant::now();
        rest(&mut ring, now);
        frame(&mut ring, &mut now, Some(MS / 5));
        now += MS * 40;
        assert!(ring.notified(now).is_some());
        ring.has_waited();
        assert_eq!(ring.empty(now), OnEmpty::Wait);
        // Its frame comes later.
        let waited = frame(&mut ring, &mut now, None).unwrap();
        assert!(waited > MS / 6);
    }

    #[test]
    fn a_guest_that_draws_every_other_millisecond_does_not_have_to_notify() {
        let mut ring = Ring::default();
        let start = Instant::now();
        rest(&mut ring, start);
        let (mut now, mut asked) = (start + MS * 40, 0);
        for _ in 0..100 {
            // A command comes, by a notification or before a look that is due then.
            ring.took(now);
            let next = now + MS * 2;
            while now < next {
                match ring.empty(now) {
                    OnEmpty::AskNotification => {
                        asked += 1;
                        ring.armed(now);
                        now = next;
                    }
                    OnEmpty::Wait => now = ring.look_at().unwrap_or(next),
                }
            }
        }
        assert!(asked < 5, "{asked}");
    }
}
