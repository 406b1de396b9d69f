//! When a client is sent drawing: in bursts, with a rest after each.
//!
//! ```text
//!            first item sent                      budget of the turn used up
//!   Idle ---------------------> Bursting  ----------------------------------.
//!    ^                           |  ^  ^                                    |
//!    |                           |  |  '--- the worker's next turn ---------'
//!    |         nothing is left   |  |
//!    |                           v  |  something else than drawing waits: it and
//!    '-- time is over -------- Resting   all drawing before it are sent
//! ```
//!
//! - A change after a pause finds the client idle and is sent at once.
//! - As long as the client costs little, the rest is [`COLLECT`], and twice as long after each burst that follows without a
//!   pause: the commands of one frame come within few milliseconds, and fewer, larger bursts cost less. What encoding may take
//!   meanwhile is its [`Credit`].
//! - A frame whose first commands are sent while the guest draws the others is worth two bursts without a rest, if the guest was
//!   done after the second burst the last time: the client sees the frame a millisecond earlier.
//! - The rest of such a client ends when the guest has drawn its frame, unless it has drawn many without a pause.
//! - What guests redraw faster than any screen shows it is not encoded for nothing: when the credit is used up, drawing waits
//!   for [`DISPLAY_PACE`] or longer, by what the burst took to encode. Meanwhile newer commands cover older ones in the pipe.
//! - Small commands for places where nothing else is drawn go during the rest too ([`super::express`]).
//! - A turn ends when it has cost [`MAX_SEND_PER_TURN`], so that the rings and the other clients get theirs.
//!
//! [`Pace`] knows neither the pipe nor the socket: the owner says what waits and what it sent.

use crate::limits::{DISPLAY_PACE, DISPLAY_PACE_MAX, MAX_SEND_PER_TURN};
use std::time::{Duration, Instant};

/// How long nothing must have been sent before lossy areas are sent again without loss. Pictures that change more often
/// than this are not worth it.
const REFINE_IDLE: Duration = Duration::from_millis(500);

/// The first rest while a client costs little.
const COLLECT: Duration = Duration::from_millis(1);
/// A frame was short if it took at most so many bursts.
const SHORT: u32 = 2;
/// After so many bursts the guest draws without a pause.
const MANY: u32 = 5;
/// One part in so many of the time may go into encoding before the client costs more than little.
const SHARE: u32 = 6;
/// The most that a client can save up: a large picture after a pause does not count against the next small ones.
const MOST_CREDIT: Duration = Duration::from_millis(8);

/// Time that may go into encoding for a client before it gets long rests.
#[derive(Debug)]
struct Credit {
    left: Duration,
    /// When `left` was true.
    at: Instant,
}

impl Credit {
    fn new(now: Instant) -> Self {
        Self { left: MOST_CREDIT, at: now }
    }

    /// Encoding took so long. Whether something is left after that.
    fn spend(&mut self, took: Duration, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at) / SHARE;
        self.left = (self.left + earned).min(MOST_CREDIT).saturating_sub(took);
        self.at = self.at.max(now);
        !self.left.is_zero()
    }
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// What comes is sent at once.
    Idle,
    /// More is to be sent, which took so long to encode by now.
    Bursting {
        spent: Duration,
        /// The burst began in the rest after the one before: drawing may still have to wait until then.
        broken_rest: Option<Instant>,
    },
    /// All was sent: drawing waits until then.
    Resting { until: Instant },
}

/// What waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::display) enum Waiting {
    /// Nothing.
    Nothing,
    /// Drawing, and nothing that must not be late.
    Drawing,
    /// Something else too.
    Other,
}

/// The pace of one client.
#[derive(Debug)]
pub(in crate::display) struct Pace {
    state: State,
    /// What the present turn has cost: bytes and pixels of images.
    turn_cost: u64,
    /// The present turn ended before all was sent.
    cut_short: bool,
    last_sent: Instant,
    credit: Credit,
    /// Bursts of the present frame.
    bursts: u32,
    /// The rest is that of a client that costs little.
    cheap: bool,
    /// The frame before was short.
    short: bool,
}

impl Pace {
    pub(in crate::display) fn new(now: Instant) -> Self {
        Self {
            state: State::Idle,
            turn_cost: 0,
            cut_short: false,
            last_sent: now,
            credit: Credit::new(now),
            bursts: 0,
            cheap: true,
            short: true,
        }
    }

    /// A turn of the worker begins. Whether anything may be sent in it.
    pub(in crate::display) fn begin_turn(&mut self, waiting: Waiting, now: Instant) -> bool {
        self.turn_cost = 0;
        self.cut_short = false;
        self.held_until(waiting, now).is_none()
    }

    /// Whether the turn may go on. If not, the next one follows at once.
    pub(in crate::display) fn may_continue(&mut self) -> bool {
        self.cut_short = self.turn_cost >= MAX_SEND_PER_TURN;
        !self.cut_short
    }

    /// Something was sent, that cost so many bytes and pixels.
    pub(in crate::display) fn sent(&mut self, cost: u64, now: Instant) {
        self.turn_cost = self.turn_cost.saturating_add(cost);
        self.last_sent = now;
        // Nothing waited when the rest was over: this begins another frame. A busy worker is a little late, too.
        if matches!(self.state, State::Resting { until } if now >= until + DISPLAY_PACE) {
            self.short = self.bursts <= SHORT;
            self.bursts = 0;
        }
        self.state = match self.state {
            State::Idle => State::Bursting { spent: Duration::ZERO, broken_rest: None },
            State::Resting { until } => State::Bursting { spent: Duration::ZERO, broken_rest: Some(until) },
            bursting @ State::Bursting { .. } => bursting,
        };
    }

    /// Something was sent that does not wait for the rest to be over.
    pub(in crate::display) fn sent_aside(&mut self, cost: u64, now: Instant) {
        self.turn_cost = self.turn_cost.saturating_add(cost);
        self.last_sent = now;
    }

    /// A batch was sent, which took so long to encode. What waits behind it decides whether the burst is over.
    pub(in crate::display) fn end_batch(&mut self, took: Duration, waiting: Waiting, now: Instant) {
        let is_cheap = self.credit.spend(took, now);
        let State::Bursting { spent, broken_rest } = self.state else { return };
        let spent = spent + took;
        self.state = match (waiting, broken_rest) {
            (Waiting::Drawing | Waiting::Other, _) => State::Bursting { spent, broken_rest },
            (Waiting::Nothing, _) if self.turn_cost > 0 => {
                let rest = if is_cheap { self.collect() } else { rest_after(spent) };
                self.bursts = self.bursts.saturating_add(1);
                self.cheap = is_cheap;
                State::Resting { until: now + rest }
            }
            // What was left of the burst has become needless.
            (Waiting::Nothing, Some(until)) => State::Resting { until },
            (Waiting::Nothing, None) => State::Idle,
        };
    }

    /// The guest has drawn its frame, so nothing more is to be collected.
    pub(in crate::display) fn guest_paused(&mut self, now: Instant) {
        if let State::Resting { until } = &mut self.state
            && self.cheap
            && self.bursts <= MANY
        {
            *until = now.min(*until);
        }
    }

    /// The next rest while the client costs little.
    fn collect(&self) -> Duration {
        if self.short && self.bursts == 0 {
            return Duration::ZERO;
        }
        let doubled = self.bursts.saturating_sub(u32::from(self.short)).min(8);
        DISPLAY_PACE.min(COLLECT * (1 << doubled))
    }

    /// Whether the present turn ended before all was sent.
    pub(in crate::display) fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// When the next turn is wanted on account of the pace. `may_send`: the client's window is open.
    pub(in crate::display) fn next_turn(
        &self,
        waiting: Waiting,
        may_send: bool,
        now: Instant,
    ) -> Option<Instant> {
        let held = || self.held_until(waiting, now).filter(|_| waiting != Waiting::Nothing);
        if self.cut_short && may_send { Some(now) } else { held() }
    }

    /// When lossy areas may be refined, as long as nothing else is sent.
    pub(in crate::display) fn refine_at(&self) -> Instant {
        self.last_sent + REFINE_IDLE
    }

    /// See [`super::DisplayClient::use_up_credit`].
    #[cfg(test)]
    pub(super) fn use_up_credit(&mut self, now: Instant) {
        self.credit = Credit { left: Duration::ZERO, at: now };
    }

    /// Until when what waits is held back.
    fn held_until(&self, waiting: Waiting, now: Instant) -> Option<Instant> {
        let until = match self.state {
            State::Idle => None,
            State::Resting { until } => Some(until),
            State::Bursting { broken_rest, .. } => broken_rest,
        };
        until.filter(|&until| now < until && waiting != Waiting::Other)
    }
}

/// The rest of a client without credit after a burst that took so long to encode, from the beginning of its last turn: one client
/// keeps the worker busy for half of the time at most, until the rests would become too long.
fn rest_after(spent: Duration) -> Duration {
    DISPLAY_PACE.max(DISPLAY_PACE_MAX.min(spent * 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A client that has used up its credit.
    fn poor(start: Instant) -> Pace {
        let mut pace = Pace::new(start);
        pace.use_up_credit(start);
        pace
    }

    /// A turn in which everything that waits is sent.
    fn burst(pace: &mut Pace, took: Duration, now: Instant) {
        assert!(pace.begin_turn(Waiting::Drawing, now));
        assert!(pace.may_continue());
        pace.sent(100, now);
        pace.end_batch(took, Waiting::Nothing, now);
    }

    #[test]
    fn a_change_after_a_pause_is_sent_at_once_and_the_next_one_waits() {
        let start = Instant::now();
        let mut pace = poor(start);
        burst(&mut pace, MS, start);
        assert_eq!(pace.next_turn(Waiting::Nothing, true, start), None);
        assert!(!pace.begin_turn(Waiting::Drawing, start + MS));
        let due = pace.next_turn(Waiting::Drawing, true, start + MS).unwrap();
        assert_eq!(due, start + DISPLAY_PACE);
        burst(&mut pace, MS, due);
    }

    #[test]
    fn a_client_that_costs_little_rests_only_to_collect() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.short = false;
        for frame in 0..100 {
            let mut now = start + MS * 40 * frame;
            for rest in [COLLECT, COLLECT * 2, COLLECT * 4] {
                burst(&mut pace, MS, now);
                assert_eq!(pace.next_turn(Waiting::Drawing, true, now), Some(now + rest));
                now += rest;
            }
        }
    }

    #[test]
    fn a_frame_that_is_drawn_is_sent_unless_the_guest_draws_without_a_pause() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        for bursts in 1..20 {
            burst(&mut pace, MS / 10, now);
            let until = pace.next_turn(Waiting::Drawing, true, now).unwrap_or(now);
            pace.guest_paused(now);
            let ended = pace.begin_turn(Waiting::Drawing, now);
            assert_eq!(ended, bursts <= MANY || until == now, "burst {bursts}");
            now = until;
        }
        let mut pace = poor(start);
        burst(&mut pace, MS, start);
        pace.guest_paused(start);
        assert!(!pace.begin_turn(Waiting::Drawing, start));
    }

    #[test]
    fn short_frames_are_sent_without_a_rest() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let long = [Duration::ZERO, COLLECT, COLLECT * 2];
        // A frame of two bursts, one that goes on after them, and the one after that.
        let after_long = [COLLECT, COLLECT * 2];
        for (frame, rests) in [&long[..2], &long, &after_long, &long[..1], &long[..2]].into_iter().enumerate()
        {
            let mut now = start + MS * 40 * u32::try_from(frame).unwrap();
            for &rest in rests {
                burst(&mut pace, MS / 10, now);
                assert_eq!(
                    pace.held_until(Waiting::Drawing, now),
                    Some(now + rest).filter(|_| !rest.is_zero())
                );
                now += rest;
            }
        }
    }

    #[test]
    fn credit_is_used_up_by_encoding_for_more_than_a_share_of_the_time_and_comes_back() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        let mut bursts = 0;
        while !pace.credit.left.is_zero() {
            now += DISPLAY_PACE + COLLECT;
            burst(&mut pace, MS * 4, now);
            bursts += 1;
        }
        assert!((4..8).contains(&bursts), "{bursts}");
        assert_eq!(pace.next_turn(Waiting::Drawing, true, now), Some(now + DISPLAY_PACE));
        now += MOST_CREDIT * SHARE;
        burst(&mut pace, MS, now);
        assert!(pace.begin_turn(Waiting::Drawing, now + COLLECT));
    }

    #[test]
    fn costly_bursts_are_followed_by_longer_rests() {
        let start = Instant::now();
        for (took, rest) in [(MS, DISPLAY_PACE), (MS * 15, MS * 30), (MS * 500, DISPLAY_PACE_MAX)] {
            let mut pace = poor(start);
            burst(&mut pace, took, start);
            assert_eq!(pace.next_turn(Waiting::Drawing, true, start), Some(start + rest));
        }
    }

    #[test]
    fn what_a_burst_took_adds_up_over_its_turns() {
        let start = Instant::now();
        let mut pace = poor(start);
        for _ in 0..2 {
            assert!(pace.begin_turn(Waiting::Drawing, start));
            pace.sent(MAX_SEND_PER_TURN, start);
            assert!(!pace.may_continue());
            pace.end_batch(MS * 5, Waiting::Drawing, start);
            assert_eq!(pace.next_turn(Waiting::Drawing, true, start), Some(start));
            assert_eq!(pace.next_turn(Waiting::Drawing, false, start), None);
        }
        burst(&mut pace, MS * 5, start);
        assert_eq!(pace.next_turn(Waiting::Drawing, true, start), Some(start + MS * 30));
    }

    #[test]
    fn other_messages_break_the_rest_and_drawing_left_over_still_waits_for_it() {
        let start = Instant::now();
        let mut pace = poor(start);
        burst(&mut pace, MS, start);
        assert!(pace.begin_turn(Waiting::Other, start + MS));
        pace.sent(1, start + MS);
        // The socket is full.
        pace.end_batch(MS, Waiting::Drawing, start + MS);
        assert!(!pace.begin_turn(Waiting::Drawing, start + MS * 2));
        assert!(pace.begin_turn(Waiting::Drawing, start + DISPLAY_PACE));
    }

    #[test]
    fn a_burst_whose_rest_becomes_needless_leaves_no_rest() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!(pace.begin_turn(Waiting::Drawing, start));
        pace.sent(1, start);
        pace.end_batch(MS, Waiting::Drawing, start);
        assert!(pace.begin_turn(Waiting::Nothing, start));
        pace.end_batch(MS, Waiting::Nothing, start);
        assert!(pace.begin_turn(Waiting::Drawing, start));
        assert_eq!(pace.state, State::Idle);
    }

    #[test]
    fn refinement_waits_for_the_last_message() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        burst(&mut pace, MS, start + MS * 7);
        assert_eq!(pace.refine_at(), start + MS * 7 + REFINE_IDLE);
    }
}
