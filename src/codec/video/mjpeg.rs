//! Motion JPEG, which is built in: each frame is a JPEG file of a quality that fits the bit rate.

use super::{Codec, EncodedFrame, VideoEncoder, VideoError, VideoSpec};
use crate::codec::jpeg;
use crate::image::ImageView;

/// Qualities from thin links to thick ones.
const QUALITIES: [u8; 9] = [15, 20, 30, 40, 50, 60, 70, 80, 85];
/// How much larger a frame becomes from one quality to the next, at most, in eighths.
const STEP_EIGHTHS: u64 = 11;
/// Frames that must have had room for the next quality before it is tried.
const PATIENCE: u32 = 8;
/// Bounds of the time from one frame to the next (milliseconds): beyond them it says nothing of the stream.
const INTERVALS: (u32, u32) = (10, 500);

/// The built-in MJPEG encoder of one stream.
#[derive(Debug)]
pub(crate) struct Mjpeg {
    encoder: jpeg::Encoder,
    bit_rate: u64,
    /// Index into [`QUALITIES`].
    level: usize,
    /// Bytes of a frame and milliseconds from one to the next, smoothed.
    size: Option<u64>,
    interval: u64,
    last: Option<u32>,
    /// Frames in a row with room for the next quality.
    roomy: u32,
}

impl Mjpeg {
    /// An encoder for frames as in `spec`, whose codec does not count.
    #[must_use]
    pub(crate) fn new(spec: &VideoSpec) -> Self {
        let level = QUALITIES.len() - 3;
        Self {
            encoder: jpeg::Encoder::new(QUALITIES[level]),
            bit_rate: spec.bit_rate,
            level,
            size: None,
            interval: u64::from(1000 / spec.fps.clamp(1, 100)),
            last: None,
            roomy: 0,
        }
    }

    /// Bytes that a frame may have on average.
    fn budget(&self) -> u64 {
        self.bit_rate.saturating_mul(self.interval) / 8000
    }

    fn note_time(&mut self, time: u32) {
        let step = self.last.replace(time).map(|last| time.wrapping_sub(last));
        if let Some(step) = step.filter(|step| (INTERVALS.0..=INTERVALS.1).contains(step)) {
            self.interval = (self.interval * 7 + u64::from(step)) / 8;
        }
    }

    /// Chooses the quality of the next frame.
    fn note_size(&mut self, size: usize) {
        let size = size as u64;
        let mean = self.size.map_or(size, |mean| (mean * 3 + size) / 4);
        self.size = Some(mean);
        let budget = self.budget();
        self.roomy = if mean.saturating_mul(STEP_EIGHTHS) / 8 <= budget { self.roomy + 1 } else { 0 };
        if mean > budget && self.level > 0 {
            self.set_level(self.level - 1, mean * 8 / STEP_EIGHTHS);
        } else if self.roomy >= PATIENCE && self.level + 1 < QUALITIES.len() {
            self.set_level(self.level + 1, mean * STEP_EIGHTHS / 8);
        }
    }

    fn set_level(&mut self, level: usize, expected_size: u64) {
        self.level = level;
        self.size = Some(expected_size);
        self.roomy = 0;
        self.encoder.set_quality(QUALITIES[level]);
    }
}

impl VideoEncoder for Mjpeg {
    fn codec(&self) -> Codec {
        Codec::Mjpeg
    }

    fn encode(&mut self, frame: &ImageView<'_>, time: u32, _: bool) -> Result<EncodedFrame, VideoError> {
        let mut data = Vec::new();
        self.encoder.encode(frame, usize::MAX / 2, &mut data).map_err(|_| VideoError::BadFrame)?;
        self.note_time(time);
        self.note_size(data.len());
        Ok(EncodedFrame { data, key: true })
    }

    fn set_bit_rate(&mut self, bits_per_second: u64) {
        self.bit_rate = bits_per_second;
        self.roomy = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::SliceSource;
    use crate::image::BitmapFormat;

    const WIDTH: u32 = 320;
    const HEIGHT: u32 = 240;

    fn encoder(bit_rate: u64) -> Mjpeg {
        Mjpeg::new(&VideoSpec { codec: Codec::Mjpeg, width: WIDTH, height: HEIGHT, fps: 25, bit_rate })
    }

    /// Bytes of `count` frames, 40 ms apart.
    fn encode(encoder: &mut Mjpeg, first: u32, count: u32) -> Vec<usize> {
        (first..first + count)
            .map(|n| {
                let wave = |x: u32, y: u32| ((x * 7 + n * 3) ^ (y * 5)) as u8;
                let pixels: Vec<u8> = (0..HEIGHT)
                    .flat_map(|y| (0..WIDTH).flat_map(move |x| [wave(x, y), wave(y, x), wave(x + y, x), 0]))
                    .collect();
                let source = SliceSource(&pixels);
                let frame = ImageView {
                    format: BitmapFormat::ThirtyTwoBit,
                    width: WIDTH,
                    height: HEIGHT,
                    stride: WIDTH * 4,
                    top_down: true,
                    source: &source,
                };
                let frame = encoder.encode(&frame, n * 40, false).unwrap();
                assert!(frame.key && frame.data.starts_with(&[0xff, 0xd8]));
                frame.data.len()
            })
            .collect()
    }

    #[test]
    fn the_quality_follows_the_bit_rate() {
        let mut rich = encoder(1 << 40);
        let best = *encode(&mut rich, 0, 60).last().unwrap();
        assert_eq!(rich.level, QUALITIES.len() - 1);
        let mut poor = encoder(1);
        let worst = *encode(&mut poor, 0, 60).last().unwrap();
        assert!(poor.level == 0 && worst * 3 < best, "{worst} {best}");
        // Between the two it settles below the rate, and not far below.
        let wanted = (worst + best) / 2;
        let mut fitting = encoder(wanted as u64 * 8 * 25);
        let sizes = encode(&mut fitting, 0, 120);
        let mean = sizes[60..].iter().sum::<usize>() / 60;
        assert!(mean <= wanted * 11 / 10 && mean * 10 >= wanted * 5, "{mean} of {wanted}");
    }

    #[test]
    fn the_rate_may_change_at_run_time() {
        let mut encoder = encoder(1 << 40);
        let before = encode(&mut encoder, 0, 30)[29];
        encoder.set_bit_rate(1);
        assert!(encode(&mut encoder, 30, 30)[29] * 2 < before);
        encoder.set_bit_rate(1 << 40);
        let after = encode(&mut encoder, 60, 100)[99];
        assert!(after.abs_diff(before) * 20 < before, "{before} {after}");
    }

    #[test]
    fn palettes_are_no_frames() {
        let source = SliceSource(&[0; 64]);
        let frame = ImageView {
            format: BitmapFormat::EightBit,
            width: 8,
            height: 8,
            stride: 8,
            top_down: true,
            source: &source,
        };
        assert_eq!(encoder(1).encode(&frame, 0, false), Err(VideoError::BadFrame));
    }
}
