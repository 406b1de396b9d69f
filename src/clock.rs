//! The multimedia clock. All devices share it, so that the times of video frames and the time announced to
//! clients agree.

use nix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::Instant;

/// An instant, and the reading of `CLOCK_MONOTONIC` at that instant in milliseconds.
static EPOCH: OnceLock<(Instant, u128)> = OnceLock::new();

/// The multimedia time at `now`: milliseconds of `CLOCK_MONOTONIC`, which other programs on this machine can
/// compare. It wraps, and is never 0 because clients treat a frame time of 0 as an error.
#[must_use]
pub(crate) fn mm_time(now: Instant) -> u32 {
    let (epoch, ms_at_epoch) = *EPOCH.get_or_init(|| (Instant::now(), monotonic_ms()));
    // Instants before the first call count backwards.
    let ms = match now.checked_duration_since(epoch) {
        Some(later) => ms_at_epoch + later.as_millis(),
        None => ms_at_epoch.saturating_sub(epoch.saturating_duration_since(now).as_millis()),
    };
    u32::try_from(ms & u128::from(u32::MAX)).unwrap_or(1).max(1)
}

/// The reading of `CLOCK_MONOTONIC` in milliseconds. If the system has no such clock: one hour, which is far
/// from 0.
fn monotonic_ms() -> u128 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .ok()
        .and_then(|t| {
            Some(u128::try_from(t.tv_sec()).ok()? * 1000 + u128::try_from(t.tv_nsec()).ok()? / 1_000_000)
        })
        .unwrap_or(3_600_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_is_the_monotonic_clock() {
        let now = mm_time(Instant::now());
        let clock = u32::try_from(monotonic_ms() & u128::from(u32::MAX)).unwrap();
        // The tolerance is two seconds because the test may lose its processor between the two readings.
        assert!(clock.wrapping_sub(now).wrapping_add(2000) < 4000, "{clock} and {now}");
        let later = Instant::now() + Duration::from_secs(5);
        let earlier = later.checked_sub(Duration::from_secs(60)).unwrap();
        assert!((59_998..=60_002).contains(&mm_time(later).wrapping_sub(mm_time(earlier))));
    }
}
