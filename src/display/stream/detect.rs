//! Decides when repeated drawing is a video (display.md 11.3).

use super::Shape;
use std::time::{Duration, Instant};

/// Areas that are followed at a time.
const TRACES: usize = 8;
/// Longest gap between frames before there is a stream.
const MAX_GAP: Duration = Duration::from_millis(200);
/// Frames before a stream starts. The original takes 20: at 20 frames/s that is a second.
const START_FRAMES: u32 = 12;
/// Of these, one in so many must look like video.
const GRADUAL_SHARE: u32 = 5;
/// Frames without one that looks like video after which counting starts anew.
const RESET_GAP: u32 = 100;

#[derive(Debug)]
struct Trace {
    shape: Shape,
    last: Instant,
    /// Usual time from one frame to the next.
    interval: Duration,
    frames: u32,
    gradual: u32,
    last_gradual: u32,
}

/// What a frame tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing yet.
    Nothing,
    /// A stream starts with it, whose frames have come this far apart.
    Video { interval: Duration },
}

/// The areas of one device that were redrawn lately, from which videos are found.
#[derive(Debug, Default)]
pub(super) struct Detector(Vec<Trace>);

impl Detector {
    /// Another frame of this shape; `like_video` is asked once.
    pub(super) fn frame(&mut self, shape: Shape, like_video: impl FnOnce() -> bool, now: Instant) -> Seen {
        let known = self.0.iter().position(|t| t.shape == shape);
        let at = match known {
            Some(at) if now < self.0[at].last + MAX_GAP => at,
            _ => {
                let new =
                    Trace { shape, last: now, interval: MAX_GAP, frames: 0, gradual: 0, last_gradual: 0 };
                let oldest = (0..self.0.len()).min_by_key(|&i| self.0[i].last);
                match known.or(oldest.filter(|_| self.0.len() >= TRACES)) {
                    Some(at) => {
                        self.0[at] = new;
                        at
                    }
                    None => {
                        self.0.push(new);
                        self.0.len() - 1
                    }
                }
            }
        };
        let trace = &mut self.0[at];
        let step = now.saturating_duration_since(trace.last);
        trace.interval = if trace.frames < 2 { step } else { (trace.interval * 7 + step) / 8 };
        trace.last = now;
        trace.frames += 1;
        if like_video() {
            if trace.frames - trace.last_gradual > RESET_GAP {
                (trace.frames, trace.gradual) = (1, 0);
            }
            trace.gradual += 1;
            trace.last_gradual = trace.frames;
        }
        let starts = trace.frames >= START_FRAMES && trace.gradual * GRADUAL_SHARE >= trace.frames;
        if !starts {
            return Seen::Nothing;
        }
        let Trace { interval, .. } = self.0.remove(at);
        Seen::Video { interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Rect;

    fn shape(n: i32) -> Shape {
        Shape { width: 100, height: 100, dest: Rect::new(n, 0, n + 100, 100) }
    }

    fn is_video(seen: Seen) -> bool {
        seen != Seen::Nothing
    }

    fn frames(gap: Duration, like_video: bool, most: u32) -> Option<u32> {
        let (mut detector, start) = (Detector::default(), Instant::now());
        (0..most).find(|&i| is_video(detector.frame(shape(0), || like_video, start + gap * i)))
    }

    #[test]
    fn video_of_20_frames_a_second_starts_within_700_ms() {
        let gap = Duration::from_millis(50);
        let at = frames(gap, true, 100).unwrap();
        assert!(gap * at <= Duration::from_millis(700));
        let (mut detector, start) = (Detector::default(), Instant::now());
        let seen = (0..=at).map(|i| detector.frame(shape(0), || true, start + gap * i)).last();
        assert_eq!(seen, Some(Seen::Video { interval: gap }));
    }

    #[test]
    fn slow_redraws_and_texts_are_no_video() {
        assert_eq!(frames(Duration::from_millis(250), true, 1000), None);
        assert_eq!(frames(Duration::from_millis(40), false, 1000), None);
    }

    #[test]
    fn eight_areas_are_followed_at_a_time() {
        let (mut detector, now) = (Detector::default(), Instant::now());
        let started = |detector: &mut Detector, n: i32| {
            (0..40)
                .any(|i| (0..n).any(|s| is_video(detector.frame(shape(s), || true, now + MAX_GAP / 2 * i))))
        };
        assert!(started(&mut detector, 8));
        assert!(detector.0.len() <= TRACES);
    }
}
