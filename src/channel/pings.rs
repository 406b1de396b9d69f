//! What the server measures with PINGs, without I/O: the net test of the main channel (server.md 6.2) and the latency tests of
//! every link (server.md 6.3). Also how long a client that has to read or to answer has moved no byte.

use crate::limits::MAX_SILENCE;
use crate::protocol::Message;
use crate::protocol::common::ping;
use std::time::{Duration, Instant};

/// A latency test begins when the pipe has been empty for this time (display.md 3).
pub(super) const PING_IDLE: Duration = Duration::from_millis(100);
/// The lowest id of a latency test. The net test uses lower ids.
const FIRST_TEST_ID: u32 = 16;
/// Zero bytes behind the third ping of the net test.
const NET_TEST_BYTES: u32 = 256_000;
/// Bits per second below which a client counts as low bandwidth.
const LOW_BANDWIDTH: u64 = 10 * 1024 * 1024;
/// Ids of the net test.
const NET_TEST_IDS: [u32; 3] = [1, 2, 3];

fn timestamp(epoch: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(epoch)
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// What the net test of a client found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkQuality {
    /// Round trip in milliseconds; 0: unknown.
    pub round_trip_ms: u32,
    /// Bits per second. `None`: unknown, which counts as high.
    pub bitrate: Option<u64>,
}

impl LinkQuality {
    /// Whether display and cursor use large windows and lossy compression.
    #[must_use]
    pub fn is_low_bandwidth(&self) -> bool {
        self.bitrate.is_some_and(|rate| rate < LOW_BANDWIDTH)
    }
}

/// The net test: warm-up, round trip, rate.
#[derive(Debug)]
pub(crate) struct NetTest {
    sent: Instant,
    stage: usize,
    round_trips: [Duration; 3],
}

impl NetTest {
    /// Begins the test. The caller sends these three PINGs.
    #[must_use]
    pub(crate) fn begin(epoch: Instant, now: Instant) -> (Self, [Message; 3]) {
        let stamp = micros(timestamp(epoch, now));
        let sizes = [0, 0, NET_TEST_BYTES as usize];
        let mut i = 0;
        let messages = NET_TEST_IDS.map(|id| {
            let size = sizes.get(i).copied().unwrap_or(0);
            i += 1;
            ping(id, stamp, size)
        });
        (Self { sent: now, stage: 0, round_trips: [Duration::ZERO; 3] }, messages)
    }

    /// Takes a PONG. `None`: its id is not the test's. `Some(Some(_))`: the test is over. A PONG that is not the next one has no
    /// effect.
    pub(crate) fn pong(&mut self, id: u32, now: Instant) -> Option<Option<LinkQuality>> {
        let position = NET_TEST_IDS.iter().position(|&i| i == id)?;
        if position != self.stage {
            return Some(None);
        }
        if let Some(slot) = self.round_trips.get_mut(position) {
            *slot = now.saturating_duration_since(self.sent);
        }
        self.stage += 1;
        if self.stage < NET_TEST_IDS.len() {
            return Some(None);
        }
        let [first, second, rate] = self.round_trips.map(micros);
        let latency = first.min(second);
        let quality = match rate.checked_sub(latency) {
            Some(time) if time > 0 => LinkQuality {
                round_trip_ms: u32::try_from(latency / 1000).unwrap_or(u32::MAX),
                bitrate: Some(u64::from(NET_TEST_BYTES) * 8 * 1_000_000 / time),
            },
            _ => LinkQuality { round_trip_ms: 0, bitrate: None },
        };
        Some(Some(quality))
    }
}

/// The latency tests of one link: two PINGs with one id back to back, the first to warm up, the second to measure.
#[derive(Debug)]
pub(super) struct LatencyTest {
    pub(super) enabled: bool,
    period: Duration,
    epoch: Instant,
    next_test: Instant,
    idle_since: Option<Instant>,
    id: u32,
    /// How many PONGs are still to come, and when the PINGs were sent.
    running: Option<(u8, Instant)>,
    best: Option<Duration>,
}

impl LatencyTest {
    /// No test runs, and none begins before `enabled` is set.
    pub(super) fn new(period: Duration, now: Instant) -> Self {
        Self {
            enabled: false,
            period,
            epoch: now,
            next_test: now,
            idle_since: None,
            id: first_id(),
            running: None,
            best: None,
        }
    }

    /// Whether the test waits for a PONG.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The link was flushed. `busy`: more waits for the client; `moved`: bytes were written.
    pub(super) fn pipe(&mut self, busy: bool, moved: bool, now: Instant) {
        if busy {
            self.idle_since = None;
        } else if moved || self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
    }

    /// When the next test may begin.
    pub(super) fn due(&self) -> Option<Instant> {
        let idle_since = self.idle_since.filter(|_| self.enabled && self.running.is_none())?;
        Some(self.next_test.max(idle_since + PING_IDLE))
    }

    /// The link is busy when the test is due, so the test waits.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.idle_since = Some(now);
    }

    /// Begins a test. Returns the id and the time stamp (nanoseconds) of both PINGs.
    pub(super) fn begin(&mut self, now: Instant) -> (u32, u64) {
        self.id = self.id.wrapping_add(1).max(FIRST_TEST_ID);
        self.running = Some((2, now));
        let nanoseconds = timestamp(self.epoch, now).as_nanos();
        (self.id, u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// Takes a PONG. `false`: it answers no PING of the tests. That is no error, since a client may answer PINGs of the channel
    /// that it migrated from.
    pub(super) fn pong(&mut self, id: u32, now: Instant) -> bool {
        let Some((to_come, sent)) = self.running.filter(|_| id == self.id) else { return false };
        if to_come > 1 {
            self.running = Some((to_come - 1, sent));
            return true;
        }
        self.running = None;
        self.next_test = now + self.period;
        let round_trip = now.saturating_duration_since(sent);
        self.best = Some(self.best.map_or(round_trip, |best| best.min(round_trip)));
        true
    }

    /// The shortest round trip so far.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.best
    }
}

/// A random id above those of the net test, so that a client cannot guess it and answer too early.
fn first_id() -> u32 {
    let mut bytes = [0; 4];
    if openssl::rand::rand_bytes(&mut bytes).is_err() {
        return FIRST_TEST_ID;
    }
    u32::from_le_bytes(bytes).max(FIRST_TEST_ID)
}

/// Since when a client has to read or to answer, and has moved no byte.
#[derive(Debug, Default)]
pub(crate) struct Silence(Option<(Instant, u64)>);

impl Silence {
    /// Notes whether the client has to read or to answer, and how many bytes have moved in both directions so far.
    pub(crate) fn update(&mut self, owes: bool, bytes: u64, now: Instant) {
        self.0 = match self.0 {
            _ if !owes => None,
            Some((since, then)) if then == bytes => Some((since, then)),
            _ => Some((now, bytes)),
        };
    }

    /// When the link gives the client up, if no byte moves before.
    #[must_use]
    pub(crate) fn limit(&self) -> Option<Instant> {
        self.0.map(|(since, _)| since + MAX_SILENCE)
    }

    /// How long the client has been silent, if that is too long.
    #[must_use]
    pub(crate) fn exceeded(&self, now: Instant) -> Option<Duration> {
        let (since, _) = self.0?;
        Some(now.saturating_duration_since(since)).filter(|silence| *silence >= MAX_SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net_test_measures_latency_and_rate() {
        let t = Instant::now();
        let (mut test, pings) = NetTest::begin(t, t);
        assert_eq!(pings.map(|p| p.body.len()), [12, 12, 256_012]);
        let ms = Duration::from_millis;
        assert_eq!(test.pong(77, t), None);
        assert_eq!(test.pong(2, t), Some(None), "out of turn");
        assert_eq!(test.pong(1, t + ms(30)), Some(None));
        assert_eq!(test.pong(2, t + ms(20)), Some(None));
        let quality = test.pong(3, t + ms(1044)).unwrap().unwrap();
        assert_eq!(quality, LinkQuality { round_trip_ms: 20, bitrate: Some(2_000_000) });
        assert!(quality.is_low_bandwidth());
    }

    #[test]
    fn impossible_rate_counts_as_high() {
        let t = Instant::now();
        let (mut test, _) = NetTest::begin(t, t);
        let later = t + Duration::from_millis(10);
        test.pong(1, later);
        test.pong(2, later);
        let quality = test.pong(3, later).unwrap().unwrap();
        assert_eq!(quality, LinkQuality { round_trip_ms: 0, bitrate: None });
        assert!(!quality.is_low_bandwidth());
    }

    #[test]
    fn latency_test_repeats_after_its_period() {
        let t = Instant::now();
        let mut test = LatencyTest::new(Duration::from_secs(15), t);
        test.pipe(false, true, t);
        assert_eq!(test.due(), None);
        test.enabled = true;
        let at = test.due().unwrap();
        assert_eq!(at - t, PING_IDLE);
        test.pipe(true, true, at);
        assert_eq!(test.due(), None);
        test.pipe(false, true, at);
        let at = test.due().unwrap();
        let (id, _) = test.begin(at);
        assert!(id >= FIRST_TEST_ID && test.is_running() && test.due().is_none());
        assert!(!test.pong(3, at));
        assert!(test.pong(id, at + Duration::from_millis(3)));
        test.pong(id, at + Duration::from_millis(4));
        assert_eq!(test.round_trip(), Some(Duration::from_millis(4)));
        assert_eq!(test.due().unwrap() - at, Duration::from_millis(15_004));
    }

    #[test]
    fn silence_counts_from_the_last_byte() {
        let t = Instant::now();
        let mut silence = Silence::default();
        silence.update(true, 5, t);
        silence.update(true, 5, t + Duration::from_secs(9));
        assert_eq!(silence.limit(), Some(t + MAX_SILENCE));
        silence.update(true, 6, t + Duration::from_secs(10));
        assert_eq!(silence.limit(), Some(t + Duration::from_secs(10) + MAX_SILENCE));
        silence.update(false, 6, t);
        assert_eq!(silence.limit(), None);
    }
}
