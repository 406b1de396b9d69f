//! Finds how many bits a second one stream may take of one client's link (display.md 11.10 to 11.12).
//!
//! A stream begins with the rate of a good picture of its size, or with less on a thin link. Three things lower the rate:
//! frames that a later one replaces before they are sent, late frames, and drops that the client reports. Undisturbed time
//! raises it. Nothing has to control the number of frames: while the socket is full, newer frames replace those that wait,
//! before they are encoded.

use crate::codec::video::Codec;
use crate::protocol::display::StreamReport;
use std::time::{Duration, Instant};

/// Undisturbed time after which the rate rises. It doubles each time that a rise did not last.
const RISE_AFTER: Duration = Duration::from_secs(2);
const MAX_RISE_AFTER: Duration = Duration::from_secs(32);
/// Time after a change in which its effect is awaited.
const SETTLE: Duration = Duration::from_millis(500);
/// Frames over which the share of overtaken ones is judged.
const JUDGED: u32 = 20;
/// A frame shown so much too late is a disturbance (milliseconds).
const LATE_MS: i32 = -15;
/// Bits per second that no stream goes below.
const LEAST: u64 = 128_000;
/// Bits per second that a stream begins with at most on a thin link.
const THIN_START: u64 = 2_000_000;

/// Thousandths of a bit that a codec takes for one pixel of one frame.
#[derive(Clone, Copy, Debug)]
struct Worth {
    /// A good picture of ordinary video.
    start: u64,
    /// Nobody sees the difference of more than this.
    most: u64,
}

const fn worth(codec: Codec) -> Worth {
    match codec {
        Codec::Mjpeg => Worth { start: 1200, most: 4000 },
        Codec::Vp8 | Codec::H264 => Worth { start: 150, most: 300 },
        Codec::Vp9 | Codec::H265 => Worth { start: 110, most: 240 },
    }
}

/// What a link has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkShare {
    pub bits_per_second: u64,
    /// Bytes of one frame: what comes next waits until the link has passed them on.
    pub frame_bytes: u64,
}

/// The bit rate that one stream may use at one client.
#[derive(Debug)]
pub(super) struct Rate {
    bits: u64,
    /// Bounds of `bits`.
    least: u64,
    most: u64,
    /// What the link has room for.
    link: u64,
    frame_bytes: Option<u64>,
    /// What the encoder was told.
    told: u64,
    changed: Instant,
    disturbed: Instant,
    rise_after: Duration,
    frames: u32,
    overtaken: u32,
}

impl Rate {
    /// For a stream of so many pixels and frames per second.
    #[must_use]
    pub(super) fn new(codec: Codec, pixels: u64, fps: u32, low_bandwidth: bool, now: Instant) -> Self {
        let Worth { start, most } = worth(codec);
        let bits = |worth: u64| pixels.saturating_mul(u64::from(fps)).saturating_mul(worth) / 1000;
        let most = bits(most).max(LEAST);
        let start = bits(start).clamp(LEAST, if low_bandwidth { THIN_START } else { u64::MAX });
        Self {
            bits: start,
            least: LEAST,
            most,
            link: u64::MAX,
            frame_bytes: None,
            told: start,
            changed: now,
            disturbed: now,
            rise_after: RISE_AFTER,
            frames: 0,
            overtaken: 0,
        }
    }

    /// Bits per second.
    #[must_use]
    pub(super) fn bit_rate(&self) -> u64 {
        self.bits.min(self.link)
    }

    /// What the link has room for from now on; `None`: for anything.
    pub(super) fn set_link(&mut self, share: Option<LinkShare>) {
        self.link = share.map_or(u64::MAX, |share| share.bits_per_second.max(self.least));
        self.frame_bytes = share.map(|share| share.frame_bytes);
    }

    /// Bytes that a frame should have at most; `None`: as many as the rate allows.
    pub(super) fn frame_bytes(&self) -> Option<u64> {
        self.frame_bytes
    }

    /// The rate, if the encoder is to be told another one.
    pub(super) fn take_change(&mut self) -> Option<u64> {
        let bits = self.bit_rate();
        let changed = self.told != bits;
        self.told = bits;
        changed.then_some(bits)
    }

    /// A frame is being sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.frames += 1;
        if self.frames + self.overtaken >= JUDGED {
            if self.overtaken * 10 > self.frames + self.overtaken {
                self.disturbed(now);
            }
            (self.frames, self.overtaken) = (0, 0);
        }
        let quiet = now.saturating_duration_since(self.disturbed.max(self.changed));
        if quiet >= self.rise_after && self.bits < self.most {
            self.bits = (self.bits + self.bits / 4).min(self.most);
            self.changed = now;
        }
    }

    /// A later frame took the place of one that was not sent.
    pub(super) fn overtaken(&mut self) {
        self.overtaken += 1;
    }

    /// The client's report.
    pub(super) fn report(&mut self, report: &StreamReport, now: Instant) {
        if report.num_drops > 0 || report.last_frame_delay < LATE_MS {
            self.disturbed(now);
        }
    }

    fn disturbed(&mut self, now: Instant) {
        self.disturbed = now;
        if now.saturating_duration_since(self.changed) < SETTLE {
            return;
        }
        self.bits = (self.bits / 4 * 3).max(self.least);
        self.changed = now;
        self.rise_after = (self.rise_after * 2).min(MAX_RISE_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: u64 = 640 * 360;

    #[test]
    fn a_stream_takes_no_more_than_the_link_has_room_for() {
        let mut rate = Rate::new(Codec::Mjpeg, PIXELS, 25, false, Instant::now());
        let free = rate.bit_rate();
        let share = |bits_per_second| Some(LinkShare { bits_per_second, frame_bytes: 5000 });
        rate.set_link(share(1_000_000));
        assert_eq!((rate.take_change(), rate.frame_bytes()), (Some(1_000_000), Some(5000)));
        rate.set_link(share(1));
        assert_eq!(rate.take_change(), Some(LEAST));
        rate.set_link(None);
        assert_eq!((rate.take_change(), rate.frame_bytes()), (Some(free), None));
    }

    #[test]
    fn the_rate_rises_in_quiet_and_falls_when_frames_are_overtaken() {
        let start = Instant::now();
        let mut rate = Rate::new(Codec::H264, PIXELS, 25, false, start);
        let first = rate.bit_rate();
        let mut now = start;
        for _ in 0..500 {
            now += Duration::from_millis(40);
            rate.sent(now);
        }
        assert_eq!(rate.bit_rate(), rate.most);
        assert_eq!((rate.take_change(), rate.take_change()), (Some(rate.most), None));
        for _ in 0..500 {
            now += Duration::from_millis(40);
            rate.overtaken();
            rate.sent(now);
        }
        assert!(rate.bit_rate() < first / 4 && rate.bit_rate() >= LEAST, "{} {first}", rate.bit_rate());
    }

    #[test]
    fn late_reports_lower_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(Codec::Mjpeg, PIXELS, 25, false, start);
        let first = rate.bit_rate();
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
        assert_eq!(rate.bit_rate(), first / 4 * 3);
    }

    #[test]
    fn thin_links_and_streams_of_any_size_have_a_rate() {
        let now = Instant::now();
        for codec in Codec::ALL {
            assert!(Rate::new(codec, PIXELS, 25, true, now).bit_rate() <= THIN_START);
            for (pixels, fps) in [(0, 0), (1, 1), (u64::MAX, u32::MAX)] {
                let rate = Rate::new(codec, pixels, fps, false, now);
                assert!((LEAST..=rate.most).contains(&rate.bit_rate()));
            }
        }
    }
}
