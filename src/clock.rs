//! The multimedia clock. All devices share it, so that the times of video frames and the time announced to
//! clients agree.

use nix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::Instant;

/// An instant, and the reading of `CLOCK_MONOTONIC` at that instant in nanoseconds.
static EPOCH: OnceLock<(Instant, u128)> = OnceLock::new();

/// How close together the readings of both clocks must be: far less than a guest takes between two frames.
const MAX_SKEW_NS: u128 = 5_000;

/// How often [`read_both`] tries to read both clocks without losing the processor in between.
const MAX_READINGS: usize = 100;

/// The multimedia time at `now`: whole milliseconds of `CLOCK_MONOTONIC`, which other programs on this machine can
/// compare. It wraps, and is never 0 because clients treat a frame time of 0 as an error.
#[must_use]
pub(crate) fn mm_time(now: Instant) -> u32 {
    let (epoch, ns_at_epoch) = *EPOCH.get_or_init(|| read_both(Instant::now, monotonic_ns));
    // Instants before the first call count backwards.
    let ns = match now.checked_duration_since(epoch) {
        Some(later) => ns_at_epoch + later.as_nanos(),
        None => ns_at_epoch.saturating_sub(epoch.saturating_duration_since(now).as_nanos()),
    };
    u32::try_from((ns / 1_000_000) & u128::from(u32::MAX)).unwrap_or(1).max(1)
}

/// Reads both clocks at one moment. The thread may lose its processor between the two readings, and every later time would
/// be wrong by that pause: so this reads again until no pause was seen, and otherwise keeps the closest pair.
fn read_both(instant: impl Fn() -> Instant, nanoseconds: impl Fn() -> u128) -> (Instant, u128) {
    let read = || {
        let before = nanoseconds();
        let now = instant();
        (nanoseconds().saturating_sub(before), (now, before))
    };
    let mut closest = read();
    for _ in 1..MAX_READINGS {
        if closest.0 <= MAX_SKEW_NS {
            break;
        }
        let next = read();
        if next.0 < closest.0 {
            closest = next;
        }
    }
    closest.1
}

/// The reading of `CLOCK_MONOTONIC` in nanoseconds. If the system has no such clock: one hour, which is far from 0.
fn monotonic_ns() -> u128 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .ok()
        .and_then(|t| {
            Some(u128::try_from(t.tv_sec()).ok()? * 1_000_000_000 + u128::try_from(t.tv_nsec()).ok()?)
        })
        .unwrap_or(3_600_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;

    #[test]
    fn it_is_the_monotonic_clock() {
        let clock = || u32::try_from((monotonic_ns() / 1_000_000) & u128::from(u32::MAX)).unwrap();
        let skew = Duration::from_nanos(MAX_SKEW_NS.try_into().unwrap());
        for _ in 0..10_000 {
            let (before, now, after) = (clock(), Instant::now(), clock());
            assert!(before <= mm_time(now + skew) && mm_time(now) <= after, "{before}, {after}: {now:?}");
        }
        let later = Instant::now() + Duration::from_secs(5);
        let earlier = later.checked_sub(Duration::from_secs(60)).unwrap();
        assert!((59_998..=60_002).contains(&mm_time(later).wrapping_sub(mm_time(earlier))));
    }

    #[test]
    fn a_pause_between_the_readings_does_not_shift_the_clock() {
        // A clock that stands still but for pauses: between the readings of the first three tries.
        let (ns, readings) = (Cell::new(1_000), Cell::new(0));
        let start = Instant::now();
        let read_ns = || {
            readings.set(readings.get() + 1);
            if readings.get() % 2 == 0 && readings.get() <= 6 {
                ns.set(ns.get() + 20_000_000);
            }
            ns.get()
        };
        let read_instant = || start + Duration::from_nanos(ns.get().try_into().unwrap());
        let (instant, at) = read_both(read_instant, read_ns);
        assert_eq!(instant.duration_since(start).as_nanos(), at);
        assert_eq!(at, 60_001_000, "a pair of readings with a pause was taken");
    }
}
