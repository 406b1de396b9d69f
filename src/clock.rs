//! The multimedia clock: one for the whole process, so that frames and the time announced to clients go together.

use std::sync::OnceLock;
use std::time::Instant;

static EPOCH: OnceLock<Instant> = OnceLock::new();

/// Milliseconds of a monotonic clock at `now`, wrapping. Never 0 in practice: it starts at one hour, since clients take a
/// frame's time 0 for an error.
#[must_use]
pub fn mm_time(now: Instant) -> u32 {
    let epoch = *EPOCH.get_or_init(|| now);
    let ms = now.saturating_duration_since(epoch).as_millis() + 3_600_000;
    u32::try_from(ms & u128::from(u32::MAX)).unwrap_or(1)
}
