//! When a client is to show the frames of one stream: their multimedia times.
//!
//! A client's clock is ours as it was told when it connected, less the way there. A frame stamped with the moment it is
//! sent would come just too late as often as not, and late frames are dropped. So frames are to be shown a little after
//! they are sent: by what the client's reports say that the way varies.

use crate::clock::mm_time;
use crate::protocol::display::StreamReport;
use std::time::Instant;

/// How long before their time frames are to arrive (milliseconds): covers turns of either side's loop.
const MARGIN_MS: i32 = 20;
/// The longest time ahead (milliseconds): a link that delays frames for longer needs smaller frames, not later ones.
const MAX_LEAD_MS: i32 = 1000;
/// What is early is believed this slowly: a part of it per report.
const DECAY: i32 = 8;

/// Computes the multimedia times of the frames of one stream.
#[derive(Debug)]
pub(super) struct Lead {
    ms: i32,
    last: Option<u32>,
}

impl Default for Lead {
    fn default() -> Self {
        Self { ms: MARGIN_MS, last: None }
    }
}

impl Lead {
    /// The multimedia time of a frame that is sent now. Never before that of the frame before: clients would drop what
    /// they hold.
    pub(super) fn stamp(&mut self, now: Instant) -> u32 {
        let mut stamp = mm_time(now).wrapping_add_signed(self.ms);
        if let Some(last) = self.last
            && stamp.wrapping_sub(last).cast_signed() < 0
        {
            stamp = last;
        }
        // Clients take 0 for an error.
        stamp = stamp.max(1);
        self.last = Some(stamp);
        stamp
    }

    /// The client says how long before its time the last frame came.
    pub(super) fn report(&mut self, report: &StreamReport) {
        let early = report.last_frame_delay.clamp(-MAX_LEAD_MS, MAX_LEAD_MS);
        let change = match MARGIN_MS - early {
            late if late > 0 => late,
            spare => spare / DECAY,
        };
        self.ms = (self.ms + change).clamp(MARGIN_MS, MAX_LEAD_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn report(last_frame_delay: i32) -> StreamReport {
        StreamReport {
            stream_id: 0,
            unique_id: 0,
            start_mm_time: 0,
            end_mm_time: 0,
            num_frames: 5,
            num_drops: 0,
            last_frame_delay,
            audio_delay: u32::MAX,
        }
    }

    /// A link whose way has become longer by `way` milliseconds since the client was told the time.
    fn settle(lead: &mut Lead, way: i32, reports: usize) {
        for _ in 0..reports {
            lead.report(&report(lead.ms - way));
        }
    }

    #[test]
    fn frames_are_due_after_they_arrive() {
        let mut lead = Lead::default();
        let now = Instant::now();
        assert_eq!(lead.stamp(now), mm_time(now) + 20);
        settle(&mut lead, 300, 1);
        assert_eq!(lead.ms, 320);
        settle(&mut lead, 0, 60);
        assert!((MARGIN_MS..MARGIN_MS + 20).contains(&lead.ms), "{}", lead.ms);
        for delay in [i32::MIN, -5000, i32::MAX] {
            for _ in 0..5 {
                lead.report(&report(delay));
                assert!((MARGIN_MS..=MAX_LEAD_MS).contains(&lead.ms));
            }
        }
    }

    #[test]
    fn times_never_go_back() {
        let (mut lead, start) = (Lead::default(), Instant::now());
        settle(&mut lead, 500, 1);
        let first = lead.stamp(start);
        settle(&mut lead, 0, 100);
        assert_eq!(lead.stamp(start + Duration::from_millis(10)), first);
        assert!(lead.stamp(start + Duration::from_millis(900)).wrapping_sub(first).cast_signed() > 0);
    }
}
