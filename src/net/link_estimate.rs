//! What the link to one client delivers, and how much may be on its way so that what is sent next is not late.
//!
//! The sender puts a *mark* (a PING) behind every few kilobytes. The client's answer says that everything before the mark has
//! arrived, wherever on the way it waited: in our kernel, in a tunnel or a proxy, or in the client. From marks and answers come
//!
//! - the *round trip*: the least that a mark took lately,
//! - the *rate*: what was delivered from one answer to a later one, divided by the time that this took or that sending it took,
//!   whichever is longer. Higher rates are believed at once; lower ones only if the link was busy, since a sender with nothing
//!   to say proves nothing, or if one burst after the other takes long, since frames of a video can queue up on a thin link one
//!   at a time. An answer that is overdue lowers the rate before it comes. What is sent at once on an idle link, such
//!   as a frame of video, was on its way for a round trip and for the time that the link needs to pass it on. To know one from
//!   the other, the sender puts a mark behind nothing now and then.
//! - the *window*: rate times round trip, and a little more. While marks come back as fast as ever it grows, to find out whether
//!   the link has become faster; when they are late, something queues up on the way, and it shrinks.
//! - the *credit*: what may be sent at once. It grows with the rate, so that a whole window does not queue up in one place.
//!
//! A client that answers no mark is judged by what the kernel knows of the connection ([`KernelLink`]). The kernel also has the
//! last word on how much can have been delivered, whatever a client answers.
//!
//! Nothing here reads a clock or a socket.

use crate::limits::MAX_LINK_MARKS;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Least and most bytes from one mark to the next. In between it is what the link delivers in [`MARK_TIME`].
const MARK_BYTES: (u64, u64) = (4 << 10, 64 << 10);
/// See [`MARK_BYTES`].
const MARK_TIME: Duration = Duration::from_millis(8);
/// Marks that are sent within this time belong to one burst.
const BURST: Duration = Duration::from_millis(20);
/// Answers may come so much later for other reasons than the link.
const JITTER: Duration = Duration::from_millis(1);
/// How much faster than the rate a single answer can make the link.
const MOST_RISE: f64 = 3.0;
/// How often a mark is sent behind nothing.
const LONE_MARKS: Duration = Duration::from_millis(500);
/// A client on a link that is not known to be thin gets such marks, too, if a mark takes so long: either the client is far away, or
/// the link is thin after all, and each mark has waited for what was sent before it. Such a link gets this time to pass on a burst
/// before it counts as idle.
const MAYBE_THIN: Duration = Duration::from_millis(10);
/// So many bursts in a row, each of so many bytes and later than the round trip by so much, are the work of a thin link, though
/// nothing was held back. What a client or a wireless link does to them now and then is not as regular, and if it is, so many
/// bytes in this time are still a rate at which images keep their detail.
const SLOW_BURSTS: u32 = 8;
/// See [`SLOW_BURSTS`].
const SLOW_BYTES: u64 = 16 << 10;
/// See [`SLOW_BURSTS`].
const SLOW_TIME: Duration = Duration::from_millis(12);
/// More marks than this on their way tell little more.
const MARKS_PER_ROUND_TRIP: u32 = 6;
/// Bytes that may always be on their way, so that there is something to measure.
const LEAST_WINDOW: u64 = 8 << 10;
/// The window before anything is known.
const FIRST_WINDOW: u64 = 64 << 10;
/// The same if the net test of the main channel found a thin link.
const FIRST_WINDOW_THIN: u64 = 12 << 10;
/// What may queue up on the way: links deliver in bursts, and would be idle between them.
const SLACK: Duration = Duration::from_millis(10);
/// A mark that takes so much longer than the round trip has met a queue.
const QUEUED: Duration = Duration::from_millis(8);
/// The same for a long queue.
const LONG_QUEUED: Duration = Duration::from_millis(25);
/// How much faster than the rate is sent to find out whether the link takes more: at first, later, with some queue, with a
/// long queue.
const GAINS: [f64; 4] = [2.0, 1.25, 1.0, 0.8];
/// The round trip is the least of the last one or two of these periods.
const ROUND_TRIP_PERIOD: Duration = Duration::from_secs(5);
/// A client that has left its first mark unanswered for so long answers none.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rates below this are rounded up to it (bytes per second): a client that was stopped comes back faster than that.
const LEAST_RATE: f64 = 2000.0;
/// A link with less than this is thin: what is sent is worth choosing (bytes per second).
const THIN: f64 = 12.5e6;

/// What the kernel knows of a TCP connection (TCP_INFO).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelLink {
    /// Bytes that were not sent yet.
    pub unsent: u64,
    /// Bytes that were sent and not acknowledged by the peer's kernel, about.
    pub unacknowledged: u64,
    /// The latest delivery rate in bytes per second; 0: unknown.
    pub delivery_rate: u64,
    /// The least round trip of the last minutes.
    pub round_trip: Duration,
}

impl KernelLink {
    fn in_flight(&self) -> u64 {
        self.unsent.saturating_add(self.unacknowledged)
    }
}

/// A mark on its way.
#[derive(Clone, Copy, Debug)]
struct Mark {
    id: u32,
    /// Bytes of the stream up to and with the mark.
    position: u64,
    sent_at: Instant,
    /// The link held back what waited since the mark before, so that it was never idle.
    busy: bool,
    /// What was known to be delivered when the mark was sent, since when, and when that had been sent.
    before: Delivered,
    /// Where the stream was, and when, before the first byte of the burst that the mark ends.
    burst: (u64, Instant),
    /// Nothing was sent between the mark before and this one.
    lone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Delivered {
    position: u64,
    at: Instant,
    sent_at: Instant,
}

/// The estimated rate and round trip of one client's link.
#[derive(Debug)]
pub(crate) struct LinkEstimate {
    marks: VecDeque<Mark>,
    last_id: u32,
    last_mark: u64,
    delivered: Delivered,
    rate: Option<f64>,
    /// Least round trip of this period, when it began, and of the period before.
    round_trip: Option<(Duration, Instant, Duration)>,
    /// How much longer than the least marks take of late.
    queued: Duration,
    /// Some queue was seen by now: the rate is that of the link, and not only what was sent.
    filled_once: bool,
    /// The link has held back something since the last mark.
    held_back: bool,
    /// Where the stream was, and when, before anything was sent in this turn.
    turn: (u64, Instant),
    /// When the last mark was sent behind nothing, and whether it is the last of all.
    lone_mark: Option<Instant>,
    last_is_lone: bool,
    /// When one of them was answered last.
    lone_answer: Option<Instant>,
    /// How many bursts in a row were slow, the highest rate among them, and when the last of them began.
    slow_bursts: (u32, f64, Option<Instant>),
    /// Bytes that might be sent at this position and time.
    credit: (f64, u64, Instant),
    answers: bool,
    thin_at_first: bool,
    kernel: Option<KernelLink>,
}

impl LinkEstimate {
    /// A link of which nothing is known but whether the net test found it thin.
    #[must_use]
    pub(crate) fn new(thin: bool, now: Instant) -> Self {
        Self {
            marks: VecDeque::new(),
            last_id: 0,
            last_mark: 0,
            delivered: Delivered { position: 0, at: now, sent_at: now },
            rate: None,
            round_trip: None,
            queued: Duration::ZERO,
            filled_once: false,
            held_back: false,
            turn: (0, now),
            lone_mark: None,
            last_is_lone: false,
            lone_answer: None,
            slow_bursts: (0, 0.0, None),
            credit: (0.0, 0, now),
            answers: false,
            thin_at_first: thin,
            kernel: None,
        }
    }

    /// Whether a mark is due behind the byte at `position` of the stream. `held_back`: more waits that has no room.
    #[must_use]
    pub(crate) fn wants_mark(&self, position: u64, held_back: bool) -> bool {
        let unmarked = position.saturating_sub(self.last_mark);
        // A client that answers nothing is asked now and then, in case that it begins to.
        let room = self.marks.len() < if self.answers { MAX_LINK_MARKS } else { 2 };
        let time = MARK_TIME.max(self.round_trip() / MARKS_PER_ROUND_TRIP);
        let per_mark = self.rate.map_or(MARK_BYTES.0, |rate| bytes_in(rate, time));
        room && (unmarked >= per_mark.clamp(MARK_BYTES.0, MARK_BYTES.1) || (held_back && unmarked > 0))
    }

    /// Whether a mark is due though nothing was sent: on an idle link it takes the round trip, and no more.
    #[must_use]
    pub(crate) fn wants_lone_mark(&self, position: u64, now: Instant) -> bool {
        let known = self.known_rate(now).filter(|rate| *rate < THIN);
        let passed_on = |last: &Mark| {
            let bytes = last.position.saturating_sub(last.burst.0) as f64;
            let passing = known.map_or(MAYBE_THIN.as_secs_f64(), |rate| (bytes / rate).min(1.0));
            last.sent_at + BURST + Duration::from_secs_f64(passing)
        };
        let idle = self.marks.back().is_none_or(|last| now >= passed_on(last));
        let sent = self.answers && position == self.last_mark && !self.last_is_lone;
        let matters = self.is_thin(now) || self.round_trip() + self.queued >= MAYBE_THIN;
        idle && sent && matters && self.lone_mark.is_none_or(|at| now >= at + LONE_MARKS)
    }

    /// The id for the next mark. [`Self::marked`] must follow.
    #[must_use]
    pub(crate) fn next_id(&self) -> u32 {
        // Apart from those of latency and net tests, which count up from small numbers.
        (self.last_id.wrapping_add(1)) | 0x8000_0000
    }

    /// The mark with [`Self::next_id`] was sent, so that the stream has `position` bytes now.
    pub(crate) fn marked(&mut self, position: u64, now: Instant) {
        self.last_id = self.next_id();
        // A mark itself has a few bytes.
        let lone = self.turn.0 == self.last_mark && position < self.last_mark + 64;
        self.last_mark = position;
        self.last_is_lone = lone;
        if lone {
            self.lone_mark = Some(now);
        }
        let ongoing = self.marks.back().map(|mark| mark.burst).filter(|(_, since)| now < *since + BURST);
        let burst = ongoing.unwrap_or(self.turn);
        let before = match self.marks.back() {
            // Nothing was on its way: time in which nothing was sent does not count.
            None => Delivered { at: now, sent_at: now, ..self.delivered },
            Some(_) => self.delivered,
        };
        let busy = std::mem::take(&mut self.held_back);
        self.marks.push_back(Mark { id: self.last_id, position, sent_at: now, busy, before, burst, lone });
    }

    /// More waits than the link has room for.
    pub(crate) fn note_held_back(&mut self) {
        self.held_back = true;
    }

    /// The client has answered a mark; answers to others are ignored. `kernel`: what it knows now, and the bytes of the
    /// stream that it was given.
    pub(crate) fn answered(&mut self, id: u32, kernel: Option<(KernelLink, u64)>, now: Instant) {
        let Some(at) = self.marks.iter().position(|mark| mark.id == id) else { return };
        if let Some(least) = self.overdue_rate(now) {
            // It was held back only since it was overdue, so that the mark itself may say nothing of that.
            self.filled_once = true;
            self.rate = self.rate.map(|rate| (rate + 3.0 * least) / 4.0);
        }
        let Some(mark) = self.marks.drain(..=at).next_back() else { return };
        let possible = kernel.map_or(u64::MAX, |(kernel, given)| given.saturating_sub(kernel.in_flight()));
        self.kernel = kernel.map(|(kernel, _)| kernel);
        self.answers = true;
        if mark.lone {
            self.lone_answer = Some(now);
        }
        let took = now.saturating_duration_since(mark.sent_at);
        let round_trip = self.note_round_trip(took, now);
        self.queued = (self.queued + took.saturating_sub(round_trip)) / 2;
        self.filled_once |= mark.busy && self.queued >= self.tolerated(QUEUED);
        let position = mark.position.min(possible).max(self.delivered.position);
        self.note_rate(&mark, position, now);
        self.note_burst(&mark, position, now);
        self.delivered = Delivered { position, at: now, sent_at: mark.sent_at };
    }

    fn note_round_trip(&mut self, took: Duration, now: Instant) -> Duration {
        let (least, since, before) = self.round_trip.unwrap_or((took, now, took));
        let (least, since, before) = if now >= since + ROUND_TRIP_PERIOD {
            (took, now, least)
        } else {
            (least.min(took), since, before)
        };
        self.round_trip = Some((least, since, before));
        least.min(before)
    }

    /// A time in which messages that are sent together also follow each other on a link without a queue.
    fn tolerated(&self, queue: Duration) -> Duration {
        let together = MARK_BYTES.0 as f64 * 1.5 / self.rate.unwrap_or(THIN);
        queue + Duration::from_secs_f64(together)
    }

    fn gain(&self) -> f64 {
        let queue = self.queued;
        GAINS[if queue < QUEUED {
            usize::from(self.filled_once)
        } else if queue >= self.tolerated(LONG_QUEUED) {
            3
        } else if queue >= self.tolerated(QUEUED) {
            2
        } else {
            usize::from(self.filled_once)
        }]
    }

    fn note_rate(&mut self, mark: &Mark, position: u64, now: Instant) {
        let bytes = position.saturating_sub(mark.before.position);
        let answering = now.saturating_duration_since(mark.before.at);
        let sending = mark.sent_at.saturating_duration_since(mark.before.sent_at);
        // The clocks of both sides tick in microseconds at best.
        let seconds = answering.max(sending).as_secs_f64().max(1e-6);
        let sample = (bytes as f64 / seconds).max(LEAST_RATE);
        let Some(rate) = self.rate else {
            self.rate = Some(sample);
            return;
        };
        let queued = now.saturating_duration_since(mark.sent_at).saturating_sub(self.round_trip());
        if mark.busy && queued >= self.tolerated(QUEUED) {
            let least = self.busy_rate(mark, position, sample, rate, now);
            self.rate = Some((rate + least.max(LEAST_RATE)) / 2.0);
            return;
        }
        let sample = sample.max(self.burst_rate(mark, position, now).min(rate * MOST_RISE));
        if sample >= rate {
            self.rate = Some(if self.filled_once { (rate + sample) / 2.0 } else { sample });
        }
    }

    /// Finds out that a link is thin though all that is sent has room: frames of a video may queue up on it one at a time.
    fn note_burst(&mut self, mark: &Mark, position: u64, now: Instant) {
        let bytes = position.saturating_sub(mark.burst.0);
        let rate = self.burst_rate(mark, position, now);
        if bytes < SLOW_BYTES || rate <= 0.0 || self.known_rate(now).is_some_and(|rate| rate < THIN) {
            return;
        }
        let late = now.saturating_duration_since(mark.sent_at).saturating_sub(self.round_trip());
        if late < SLOW_TIME || rate >= THIN {
            self.slow_bursts = (0, 0.0, None);
            return;
        }
        let (count, highest, last) = self.slow_bursts;
        // A burst may have several marks.
        let count = count + u32::from(last != Some(mark.burst.1));
        let highest = highest.max(rate);
        self.slow_bursts = (count, highest, Some(mark.burst.1));
        if count >= SLOW_BURSTS {
            self.slow_bursts = (0, 0.0, None);
            self.filled_once = true;
            self.rate = Some(highest);
        }
    }

    /// What a link seems to deliver that was busy when a mark was sent and has queued it. `sample`: what it has delivered since
    /// the mark before.
    fn busy_rate(&self, mark: &Mark, position: u64, sample: f64, rate: f64, now: Instant) -> f64 {
        let bytes = position.saturating_sub(self.delivered.position);
        let per_second =
            |since: Instant| bytes as f64 / now.saturating_duration_since(since).as_secs_f64().max(1e-6);
        // If it has become slower, that shows first in what came since the last answer.
        let latest = sample.min(per_second(self.delivered.at));
        // But it was not busy before the burst began whose end this is.
        let (_, began) = mark.burst;
        let in_burst = per_second(self.delivered.at.max(began + self.round_trip()));
        latest.max(in_burst.min(rate))
    }

    /// What the link has delivered at least while it passed on the burst that a mark ends; 0: unknown. It was more where
    /// something else was on its way before.
    fn burst_rate(&self, mark: &Mark, position: u64, now: Instant) -> f64 {
        let known = self.lone_answer.is_some_and(|at| now < at + ROUND_TRIP_PERIOD);
        if !known {
            return 0.0;
        }
        let (start, since) = mark.burst;
        let time = now.saturating_duration_since(since).saturating_sub(self.round_trip()).max(JITTER);
        position.saturating_sub(start) as f64 / time.as_secs_f64()
    }

    /// Bytes per second that the link delivers; `None`: unknown, since nothing had to wait for it yet.
    #[must_use]
    pub(crate) fn rate(&self, now: Instant) -> Option<u64> {
        self.known_rate(now).map(|rate| rate as u64)
    }

    /// The rate, if it is that of the link.
    fn known_rate(&self, now: Instant) -> Option<f64> {
        let overdue = || self.overdue_rate(now).is_some();
        self.rate_now(now).filter(|_| self.filled_once || self.ignores_marks(now) || overdue())
    }

    fn rate_now(&self, now: Instant) -> Option<f64> {
        if self.ignores_marks(now) {
            let rate = self.kernel?.delivery_rate;
            return (rate > 0).then_some((rate as f64).max(LEAST_RATE));
        }
        self.overdue_rate(now).or(self.rate)
    }

    /// What the link delivers at most, if an answer is overdue.
    fn overdue_rate(&self, now: Instant) -> Option<f64> {
        let (rate, next) = (self.rate?, self.marks.front()?);
        // Since the last answer, or since it can have come by itself, the link had this time for the next mark.
        let since = self.delivered.at.max(next.sent_at + self.round_trip());
        let waited = now.saturating_duration_since(since);
        if waited <= QUEUED {
            return None;
        }
        let bytes = next.position.saturating_sub(self.delivered.position) as f64;
        let overdue = waited > self.tolerated(QUEUED) && waited.as_secs_f64() > 1.5 * bytes / rate;
        // A client on a fast link may stop for a moment. On a thin one that nothing fills, nothing else tells that it became
        // thinner.
        let thin = self.filled_once && rate < THIN;
        let overdue = overdue && (next.busy || self.held_back || thin);
        overdue.then(|| rate.min(bytes / waited.as_secs_f64()).max(LEAST_RATE))
    }

    /// The least time that a message and its answer took lately; zero: unknown.
    #[must_use]
    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip.map_or(Duration::ZERO, |(least, _, before)| least.min(before))
    }

    /// Whether the link is known to be so thin that what is sent is worth choosing.
    #[must_use]
    pub(crate) fn is_thin(&self, now: Instant) -> bool {
        self.known_rate(now).map_or(self.thin_at_first, |rate| rate < THIN)
    }

    /// Bytes that may be on their way now.
    #[must_use]
    pub(crate) fn window(&self, now: Instant) -> u64 {
        let Some(rate) = self.rate_now(now) else { return self.first_window() };
        let round_trip = match self.kernel.filter(|_| self.ignores_marks(now)) {
            Some(kernel) => kernel.round_trip,
            None => self.round_trip(),
        };
        let filled = bytes_in(rate * self.gain(), round_trip);
        filled.saturating_add(bytes_in(rate, SLACK)).max(self.least_window())
    }

    fn first_window(&self) -> u64 {
        if self.thin_at_first { FIRST_WINDOW_THIN } else { FIRST_WINDOW }
    }

    /// What [`Self::window`] is at least.
    fn least_window(&self) -> u64 {
        if self.filled_once { LEAST_WINDOW } else { self.first_window() }
    }

    /// Bytes that may be sent at once now.
    fn credit_now(&self, position: u64, now: Instant) -> f64 {
        let rate = self.known_rate(now).filter(|rate| *rate < THIN && self.answers);
        let Some(rate) = rate else { return f64::INFINITY };
        let (credit, since_position, since) = self.credit;
        let earned = rate * self.gain() * now.saturating_duration_since(since).as_secs_f64();
        let most = rate * SLACK.as_secs_f64() + MARK_BYTES.0 as f64;
        (credit + earned).min(most) - position.saturating_sub(since_position) as f64
    }

    /// The stream has `position` bytes now. To be called when something was sent, and before something is.
    pub(crate) fn advance(&mut self, position: u64, now: Instant) {
        let credit = self.credit_now(position, now);
        // Who owes much by a rate that was wrong does not owe it for ever.
        let credit = if credit.is_finite() { credit.max(-(LEAST_WINDOW as f64)) } else { 0.0 };
        self.credit = (credit, position, now);
        self.turn = (position, now);
    }

    /// Whether something may be sent when the stream has `position` bytes, and `extra` more than the window may be on their
    /// way.
    #[must_use]
    pub(crate) fn has_room(&self, position: u64, extra: u64, now: Instant) -> bool {
        let in_flight = if self.ignores_marks(now) {
            // Without either source there is nothing to go by: the socket alone says when it is full.
            self.kernel.map_or(0, |kernel| kernel.in_flight())
        } else {
            position.saturating_sub(self.delivered.position)
        };
        (in_flight < self.least_window() || in_flight < self.window(now).saturating_add(extra))
            && self.credit_now(position, now) + extra as f64 > 0.0
    }

    /// Whether the client answers no marks, so that [`Self::set_kernel`] is to be called before sending.
    #[must_use]
    pub(crate) fn ignores_marks(&self, now: Instant) -> bool {
        !self.answers && self.marks.front().is_some_and(|first| now >= first.sent_at + PATIENCE)
    }

    /// What the kernel knows now.
    pub(crate) fn set_kernel(&mut self, kernel: Option<KernelLink>) {
        self.kernel = kernel;
    }

    /// When to look again although no answer has come, at a client for which [`Self::has_room`] says no.
    #[must_use]
    pub(crate) fn look_again(&self, position: u64, now: Instant) -> Option<Instant> {
        let credit = self.credit_now(position, now);
        if credit <= 0.0 {
            let rate = self.rate_now(now).unwrap_or(LEAST_RATE) * self.gain();
            // Later than that an answer will have come.
            let wait = Duration::from_secs_f64((-credit / rate).clamp(0.001, 0.1));
            return Some(now + wait);
        }
        if self.answers {
            return None;
        }
        let first = self.marks.front()?;
        Some((first.sent_at + PATIENCE).max(now + MARK_TIME))
    }
}

fn bytes_in(rate: f64, time: Duration) -> u64 {
    (rate * time.as_secs_f64()) as u64
}

#[cfg(test)]
#[path = "link_estimate_tests.rs"]
mod tests;
