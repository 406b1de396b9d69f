//! How good the frames of one stream are for one client: as good as gets through (in place of display.md 11.11).
//!
//! Frames that a later one overtakes before they are sent, late frames and drops that the client reports lower the
//! quality; a stretch of undisturbed time raises it. The number of frames needs no control of its own: what the socket
//! does not take is replaced by newer frames before it is encoded.

use crate::protocol::display::StreamReport;
use std::time::{Duration, Instant};

const QUALITIES: [u8; 7] = [20, 30, 40, 50, 60, 70, 80];
/// Undisturbed time after which the quality rises; doubled each time that a rise did not last.
const RISE_AFTER: Duration = Duration::from_secs(2);
const MAX_RISE_AFTER: Duration = Duration::from_secs(32);
/// Time after a change in which its effect is awaited.
const SETTLE: Duration = Duration::from_millis(500);
/// Frames over which the share of overtaken ones is judged.
const JUDGED: u32 = 20;
/// A frame shown so much too late is a disturbance (milliseconds).
const LATE_MS: i32 = -15;

/// See the module.
#[derive(Debug)]
pub struct Rate {
    level: usize,
    changed: Instant,
    disturbed: Instant,
    rise_after: Duration,
    frames: u32,
    overtaken: u32,
}

impl Rate {
    /// Starts in the middle, or low on thin links.
    #[must_use]
    pub fn new(low_bandwidth: bool, now: Instant) -> Self {
        Self {
            level: if low_bandwidth { 1 } else { 4 },
            changed: now,
            disturbed: now,
            rise_after: RISE_AFTER,
            frames: 0,
            overtaken: 0,
        }
    }

    /// JPEG quality of the next frame.
    #[must_use]
    pub fn quality(&self) -> u8 {
        QUALITIES[self.level]
    }

    /// A frame is being sent.
    pub fn sent(&mut self, now: Instant) {
        self.frames += 1;
        if self.frames + self.overtaken >= JUDGED {
            if self.overtaken * 10 > self.frames + self.overtaken {
                self.disturbed(now);
            }
            (self.frames, self.overtaken) = (0, 0);
        }
        let quiet = now.saturating_duration_since(self.disturbed.max(self.changed));
        if quiet >= self.rise_after && self.level + 1 < QUALITIES.len() {
            self.level += 1;
            self.changed = now;
        }
    }

    /// A later frame took the place of one that was not sent.
    pub fn overtaken(&mut self) {
        self.overtaken += 1;
    }

    /// The client's report.
    pub fn report(&mut self, report: &StreamReport, now: Instant) {
        if report.num_drops > 0 || report.last_frame_delay < LATE_MS {
            self.disturbed(now);
        }
    }

    fn disturbed(&mut self, now: Instant) {
        self.disturbed = now;
        if now.saturating_duration_since(self.changed) < SETTLE {
            return;
        }
        if self.level > 0 {
            self.level -= 1;
        }
        self.changed = now;
        self.rise_after = (self.rise_after * 2).min(MAX_RISE_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_rises_in_quiet_and_falls_when_frames_are_overtaken() {
        let start = Instant::now();
        let mut rate = Rate::new(false, start);
        let mut now = start;
        for _ in 0..500 {
            now += Duration::from_millis(40);
            rate.sent(now);
        }
        assert_eq!(rate.quality(), 80);
        for _ in 0..500 {
            now += Duration::from_millis(40);
            rate.overtaken();
            rate.sent(now);
        }
        assert_eq!(rate.quality(), 20);
    }

    #[test]
    fn late_reports_lower_the_quality() {
        let start = Instant::now();
        let mut rate = Rate::new(false, start);
        let report = StreamReport {
            stream_id: 0,
            unique_id: 0,
            start_mm_time: 0,
            end_mm_time: 0,
            num_frames: 5,
            num_drops: 0,
            last_frame_delay: -20,
            audio_delay: u32::MAX,
        };
        rate.report(&report, start + SETTLE);
        assert_eq!(rate.quality(), 50);
    }
}
