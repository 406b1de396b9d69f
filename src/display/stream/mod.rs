//! Video streams: areas that are redrawn again and again become streams of JPEG frames (display.md 11).
//!
//! [`Streams`] is what the device knows: which commands are frames of what. [`Agent`] is one stream at one client. What a
//! stream has painted at a client is its `area`, where pixels only resemble ours. Whoever needs the true pixels, or the
//! end of the stream, makes the area stale, and it is sent as an image like anything else.

mod agent;
mod detect;
mod frame;
mod lead;
mod rate;

pub use agent::Agent;

use super::queued::SelfRead;
use super::settings::{DisplaySettings, StreamingVideo};
use crate::codec::graduality::{Graduality, grade};
use crate::draw::Drawable;
use crate::geometry::Rect;
use crate::image::ImageData;
use detect::Detector;
use frame::frame_of;
use std::time::{Duration, Instant};

/// Streams of one device; their ids are below this.
pub const MAX_STREAMS: u32 = 50;
/// A stream ends when it has had no frame for so long.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Smallest source of a stream in filter mode (pixels): icons and spinners are smaller.
const MIN_PIXELS: u64 = 96 * 96;
/// The codec number of MJPEG.
const MJPEG: u8 = 1;

/// One stream, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(pub u64);

/// What frames of a stream have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub width: u32,
    pub height: u32,
    pub dest: Rect,
}

/// A stream of the device.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    pub key: StreamKey,
    pub id: u32,
    pub shape: Shape,
    last: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Streams {
    live: Vec<Stream>,
    detector: Detector,
    last_key: u64,
    last_id: u32,
}

impl Streams {
    /// Looks at a command: whether it is a frame of a stream, perhaps the first that is shown as one.
    pub fn look(&mut self, drawable: &Drawable, settings: &DisplaySettings, now: Instant) -> Option<Stream> {
        let ImageData::Bitmap(bitmap) = &frame_of(drawable)?.data else { return None };
        let shape = Shape { width: bitmap.width, height: bitmap.height, dest: drawable.bbox };
        if let Some(stream) = self.live.iter_mut().find(|s| s.shape == shape && now < s.last + TIMEOUT) {
            stream.last = now;
            return Some(*stream);
        }
        let filter = match settings.streaming {
            StreamingVideo::Off => return None,
            StreamingVideo::Filter => true,
            StreamingVideo::All => false,
        };
        // MJPEG is always there: a list of other codecs means "one of these if there is one, else the best there is".
        let small = u64::from(shape.width) * u64::from(shape.height) < MIN_PIXELS;
        if filter && small {
            return None;
        }
        let like_video = || !filter || grade(&bitmap.view()).is_some_and(|g| g != Graduality::Low);
        if !self.detector.frame(shape, like_video, now) {
            return None;
        }
        let id = self.free_id()?;
        self.last_key += 1;
        let stream = Stream { key: StreamKey(self.last_key), id, shape, last: now };
        self.live.push(stream);
        Some(stream)
    }

    /// Ids go round, so that one is not used again at once.
    fn free_id(&mut self) -> Option<u32> {
        let used = |id: u32| self.live.iter().any(|s| s.id == id);
        let id = (1..=MAX_STREAMS).map(|n| (self.last_id + n) % MAX_STREAMS).find(|&id| !used(id))?;
        self.last_id = id;
        Some(id)
    }

    /// Streams that have ended by now.
    pub fn expire(&mut self, now: Instant) -> Vec<StreamKey> {
        let mut ended = Vec::new();
        self.live.retain(|s| {
            let over = now >= s.last + TIMEOUT;
            if over {
                ended.push(s.key);
            }
            !over
        });
        ended
    }

    /// All streams end.
    pub fn clear(&mut self) -> Vec<StreamKey> {
        self.detector = Detector::default();
        self.live.drain(..).map(|s| s.key).collect()
    }

    /// When the next stream may end.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.live.iter().map(|s| s.last + TIMEOUT).min()
    }
}

/// Whether a command reads pixels of an area of its own surface as they are.
#[must_use]
pub fn reads_own(self_read: SelfRead, region: &crate::canvas::Region, area: &crate::canvas::Region) -> bool {
    match self_read {
        SelfRead::Nothing => false,
        SelfRead::Offset(dx, dy) => region.translate(dx, dy).intersects(area),
        SelfRead::Area(rect) => area.intersects_rect(&rect),
    }
}
