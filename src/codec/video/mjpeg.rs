//! Motion JPEG, which is built in: each frame is a JPEG file of a quality that fits the bit rate. Where the lowest quality
//! does not, frames become smaller, if the client scales them.

use super::picture::Picture;
use super::{Codec, EncodedFrame, VideoEncoder, VideoError, VideoSpec};
use crate::codec::jpeg;
use crate::guest::SliceSource;
use crate::image::ImageView;

/// How a frame is encoded: from thin links to thick ones.
struct Level {
    /// One pixel of the frame is the mean of so many in each direction.
    shrink: u32,
    quality: u8,
    /// How much larger a frame becomes with the next level, at most, in eighths.
    growth: u64,
}

const fn level(shrink: u32, quality: u8, growth: u64) -> Level {
    Level { shrink, quality, growth }
}

/// Below the lowest quality that is worth looking at, fewer pixels show more. Beyond the highest nobody sees the difference while
/// pictures move, and when they stand still the client gets true pixels.
const LEVELS: [Level; 12] = [
    level(4, 20, 13),
    level(4, 40, 18),
    level(2, 25, 13),
    level(2, 45, 13),
    level(1, 15, 11),
    level(1, 20, 11),
    level(1, 30, 11),
    level(1, 40, 11),
    level(1, 50, 11),
    level(1, 60, 11),
    level(1, 70, 11),
    level(1, 80, 11),
];
/// The level that a stream begins with, if its bit rate allows.
const FIRST: usize = LEVELS.len() - 2;
/// Bits of a pixel of ordinary video with [`FIRST`], in tenths.
const FIRST_TENTHS: u64 = 12;
/// A frame is not made smaller than this in any direction.
const LEAST_SIDE: u32 = 64;
/// Frames that must have had room for the next level before it is tried.
const PATIENCE: u32 = 8;
/// Bounds of the time from one frame to the next (milliseconds): beyond them it says nothing of the stream.
const INTERVALS: (u32, u32) = (10, 500);

/// The built-in MJPEG encoder of one stream.
#[derive(Debug)]
pub(crate) struct Mjpeg {
    encoder: jpeg::Encoder,
    bit_rate: u64,
    /// Bytes that a frame should have at most.
    most: u64,
    /// Index into [`LEVELS`], and the least.
    level: usize,
    least: usize,
    /// Bytes of a frame and milliseconds from one to the next, smoothed.
    size: Option<u64>,
    interval: u64,
    last: Option<u32>,
    /// Frames in a row with room for the next level.
    roomy: u32,
    /// Memory for frames that are made smaller.
    small: Picture,
}

impl Mjpeg {
    /// An encoder for frames as in `spec`, whose codec does not count.
    #[must_use]
    pub(crate) fn new(spec: &VideoSpec) -> Self {
        let most = if spec.may_shrink { spec.width.min(spec.height) / LEAST_SIDE } else { 1 };
        let least = LEVELS.iter().position(|level| level.shrink <= most.max(1)).unwrap_or(FIRST);
        Self {
            encoder: jpeg::Encoder::new(LEVELS[FIRST].quality),
            bit_rate: spec.bit_rate,
            most: u64::MAX,
            level: FIRST,
            least,
            size: None,
            interval: u64::from(1000 / spec.fps.clamp(1, 100)),
            last: None,
            roomy: 0,
            small: Picture::default(),
        }
    }

    /// Bytes that a frame may have on average.
    fn budget(&self) -> u64 {
        (self.bit_rate.saturating_mul(self.interval) / 8000).min(self.most)
    }

    fn note_time(&mut self, time: u32) {
        let step = self.last.replace(time).map(|last| time.wrapping_sub(last));
        if let Some(step) = step.filter(|step| (INTERVALS.0..=INTERVALS.1).contains(step)) {
            self.interval = (self.interval * 7 + u64::from(step)) / 8;
        }
    }

    /// Chooses the level of the next frame.
    fn note_size(&mut self, size: usize) {
        let size = size as u64;
        let mean = self.size.map_or(size, |mean| (mean * 3 + size) / 4);
        self.size = Some(mean);
        let budget = self.budget();
        let growth = LEVELS[self.level].growth;
        self.roomy = if mean.saturating_mul(growth) / 8 <= budget { self.roomy + 1 } else { 0 };
        if mean > budget {
            self.sink();
        } else if self.roomy >= PATIENCE && self.level + 1 < LEVELS.len() {
            self.size = Some(mean * growth / 8);
            self.set_level(self.level + 1);
        }
    }

    /// Takes the best level below the present one whose frames are likely to fit.
    fn sink(&mut self) {
        let Some(mut size) = self.size else { return };
        let (budget, mut level) = (self.budget(), self.level);
        while size > budget && level > self.least {
            level -= 1;
            size = size * 8 / LEVELS[level].growth;
        }
        if level < self.level {
            self.size = Some(size);
            self.set_level(level);
        }
    }

    fn set_level(&mut self, level: usize) {
        self.level = level;
        self.roomy = 0;
        self.encoder.set_quality(LEVELS[level].quality);
    }
}

impl VideoEncoder for Mjpeg {
    fn codec(&self) -> Codec {
        Codec::Mjpeg
    }

    fn encode(&mut self, frame: &ImageView<'_>, time: u32, _: bool) -> Result<EncodedFrame, VideoError> {
        if self.size.is_none() {
            let pixels = u64::from(frame.width) * u64::from(frame.height);
            self.size = Some(pixels.saturating_mul(FIRST_TENTHS) / 80);
            self.sink();
        }
        let mut data = Vec::new();
        let shrink = LEVELS[self.level].shrink;
        let size = if shrink > 1 {
            self.small.shrink(frame, shrink)?;
            let source = SliceSource(&self.small.pixels);
            let small = self.small.view(&source);
            self.encoder.encode(&small, usize::MAX / 2, &mut data).map_err(|_| VideoError::BadFrame)?;
            Some((small.width, small.height))
        } else {
            self.encoder.encode(frame, usize::MAX / 2, &mut data).map_err(|_| VideoError::BadFrame)?;
            None
        };
        self.note_time(time);
        self.note_size(data.len());
        Ok(EncodedFrame { data, key: true, size })
    }

    fn set_bit_rate(&mut self, bits_per_second: u64) {
        self.bit_rate = bits_per_second;
        self.roomy = 0;
    }

    fn set_most(&mut self, bytes: Option<u64>) {
        self.most = bytes.unwrap_or(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::ByteSource;
    use crate::image::BitmapFormat;

    const WIDTH: u32 = 320;
    const HEIGHT: u32 = 240;

    fn encoder(bit_rate: u64) -> Mjpeg {
        Mjpeg::new(&VideoSpec {
            codec: Codec::Mjpeg,
            width: WIDTH,
            height: HEIGHT,
            fps: 25,
            bit_rate,
            may_shrink: false,
        })
    }

    fn view<'a>(source: &'a dyn ByteSource) -> ImageView<'a> {
        let (width, height, stride) = (WIDTH, HEIGHT, WIDTH * 4);
        ImageView { format: BitmapFormat::ThirtyTwoBit, width, height, stride, top_down: true, source }
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
                let frame = encoder.encode(&view(&source), n * 40, false).unwrap();
                assert!(frame.key && frame.data.starts_with(&[0xff, 0xd8]));
                frame.data.len()
            })
            .collect()
    }

    #[test]
    fn the_quality_follows_the_bit_rate() {
        let mut rich = encoder(1 << 40);
        let best = *encode(&mut rich, 0, 60).last().unwrap();
        assert_eq!(rich.level, LEVELS.len() - 1);
        let mut poor = encoder(1);
        let worst = *encode(&mut poor, 0, 60).last().unwrap();
        assert!(poor.level == poor.least && worst * 3 < best, "{worst} {best}");
        // Between the two it settles below the rate, and not far below.
        let wanted = (worst + best) / 2;
        let mut fitting = encoder(wanted as u64 * 8 * 25);
        let sizes = encode(&mut fitting, 0, 120);
        let mean = sizes[60..].iter().sum::<usize>() / 60;
        assert!(mean <= wanted * 11 / 10 && mean * 10 >= wanted * 5, "{mean} of {wanted}");
    }

    #[test]
    fn where_quality_is_not_enough_frames_become_smaller() {
        let spec = VideoSpec {
            codec: Codec::Mjpeg,
            width: WIDTH,
            height: HEIGHT,
            fps: 25,
            bit_rate: 1 << 40,
            may_shrink: true,
        };
        let mut encoder = Mjpeg::new(&spec);
        let pixels: Vec<u8> = (0..WIDTH * HEIGHT * 4).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        let source = SliceSource(&pixels);
        let frame = view(&source);
        let mut frames = |most, times: u32| {
            encoder.set_most(most);
            (0..times).map(|n| encoder.encode(&frame, n * 40, false).unwrap()).last().unwrap()
        };
        let whole = frames(None, 1);
        assert_eq!(whole.size, None);
        // No side below 64.
        let small = frames(Some(1), 20);
        assert_eq!(small.size, Some((WIDTH / 2, HEIGHT / 2)));
        assert!(small.data.len() * 3 < whole.data.len());
        assert_eq!(frames(Some(1 << 40), 200).size, None);
    }

    #[test]
    fn a_stream_begins_with_frames_that_fit() {
        let mut encoder = encoder(1 << 40);
        encoder.set_most(Some(1000));
        encode(&mut encoder, 0, 1);
        assert_eq!(encoder.level, encoder.least);
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
