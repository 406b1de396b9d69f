//! Video streams: areas that are redrawn again and again become streams of encoded frames (display.md 11).
//!
//! [`Streams`] belongs to the device, and says which commands are frames of which stream. [`Agent`] is one stream at one
//! client; its `coder` encodes the frames. The `area` of an agent is where the client has painted frames, so that its pixels
//! only resemble ours. A command that reads these pixels, a pause in the video, and the end of the stream make the area
//! stale: the client is then sent its true pixels as an image.

mod agent;
mod coder;
mod composer;
mod detect;
mod frame;
mod lead;
mod rate;

pub(super) use agent::{Agent, Output};
pub(super) use composer::{Composer, Part};
pub(super) use rate::LinkShare;

use super::services::Services;
use super::settings::{DisplaySettings, StreamingVideo};
use crate::canvas::Region;
use crate::codec::graduality::{Graduality, grade};
use crate::codec::video::Codec;
use crate::draw::Drawable;
use crate::geometry::Rect;
use crate::image::ImageData;
use coder::Coder;
use detect::{Detector, Seen};
pub(super) use frame::composed_frame;
use frame::frame_of;
use std::time::{Duration, Instant};

/// Ids of streams are below this.
pub(super) const MAX_STREAMS: u32 = 50;
/// Streams of one device at a time. Each keeps an encoder per client.
const MAX_LIVE: usize = 16;
/// A stream ends when it has had no frame for so long.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Smallest source of a stream in filter mode (pixels): icons and spinners are smaller.
const MIN_PIXELS: u64 = 96 * 96;
/// A picture stands still when it has had no frame for three times the usual time between two, within these bounds: within
/// 300 ms, clients then have true pixels.
const STILL: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(240));

/// One stream, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StreamKey(pub u64);

/// The size and place that all frames of a stream have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub width: u32,
    pub height: u32,
    pub dest: Rect,
}

impl Shape {
    /// Pixels of a frame.
    #[must_use]
    pub(super) fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// A stream of the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub key: StreamKey,
    pub id: u32,
    pub shape: Shape,
    last: Instant,
    /// Usual time from one frame to the next.
    interval: Duration,
    /// Clients have been sent the true pixels of the present picture.
    still: bool,
}

impl Stream {
    /// Frames per second.
    #[must_use]
    pub(super) fn fps(&self) -> u32 {
        u32::try_from(1000 / self.interval.as_millis().max(1)).unwrap_or(1).clamp(1, 60)
    }

    /// When the picture counts as still, if no frame comes before.
    fn still_at(&self) -> Instant {
        self.last + (self.interval * 3).clamp(STILL.0, STILL.1)
    }

    fn frame(&mut self, now: Instant) {
        let step = now.saturating_duration_since(self.last).min(TIMEOUT);
        self.interval = (self.interval * 7 + step) / 8;
        self.last = now;
        self.still = false;
    }
}

/// All streams of one device.
#[derive(Debug, Default)]
pub(super) struct Streams {
    live: Vec<Stream>,
    detector: Detector,
    last_key: u64,
    last_id: u32,
}

impl Streams {
    /// Looks at a command: whether it is a frame of a stream, perhaps the first that is shown as one.
    pub(super) fn look(
        &mut self,
        drawable: &Drawable,
        settings: &DisplaySettings,
        now: Instant,
    ) -> Option<Stream> {
        let ImageData::Bitmap(bitmap) = &frame_of(drawable)?.data else { return None };
        let shape = Shape { width: bitmap.width, height: bitmap.height, dest: drawable.bbox };
        if let Some(stream) = self.next_frame(shape, now) {
            return Some(stream);
        }
        let filter = match settings.streaming {
            StreamingVideo::Off => return None,
            StreamingVideo::Filter => true,
            StreamingVideo::All => false,
        };
        if filter && shape.pixels() < MIN_PIXELS {
            return None;
        }
        let like_video = || !filter || grade(&bitmap.view()).is_some_and(|g| g != Graduality::Low);
        let Seen::Video { interval } = self.detector.frame(shape, like_video, now) else { return None };
        self.begin(shape, interval, now)
    }

    /// A frame of this shape was composed of pieces: the stream that it belongs to, perhaps as its first.
    pub(super) fn composed(&mut self, shape: Shape, interval: Duration, now: Instant) -> Option<Stream> {
        self.next_frame(shape, now).or_else(|| self.begin(shape, interval, now))
    }

    fn next_frame(&mut self, shape: Shape, now: Instant) -> Option<Stream> {
        let stream = self.live.iter_mut().find(|s| s.shape == shape && now < s.last + TIMEOUT)?;
        stream.frame(now);
        Some(*stream)
    }

    fn begin(&mut self, shape: Shape, interval: Duration, now: Instant) -> Option<Stream> {
        if self.live.len() >= MAX_LIVE {
            return None;
        }
        let id = self.free_id()?;
        self.last_key += 1;
        let key = StreamKey(self.last_key);
        let stream = Stream { key, id, shape, last: now, interval, still: false };
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
    pub(super) fn expire(&mut self, now: Instant) -> Vec<StreamKey> {
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

    /// Streams whose picture stands still by now; each is named once until its next frame.
    pub(super) fn still(&mut self, now: Instant) -> Vec<StreamKey> {
        let still = self.live.iter_mut().filter(|s| !s.still && s.still_at() <= now);
        still
            .map(|stream| {
                stream.still = true;
                stream.key
            })
            .collect()
    }

    /// All streams end.
    pub(super) fn clear(&mut self) -> Vec<StreamKey> {
        self.detector = Detector::default();
        self.live.drain(..).map(|s| s.key).collect()
    }

    /// When the next stream may end or stand still.
    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.live.iter().map(|s| if s.still { s.last + TIMEOUT } else { s.still_at() }).min()
    }
}

/// Begins a stream at a client, with the first of these codecs that works. The first frame, which is about to be queued,
/// covers `region`. `None`: no codec works.
#[must_use]
pub(super) fn begin(
    stream: Stream,
    region: &Region,
    services: &Services,
    codecs: Vec<Codec>,
    client: StreamClient,
    now: Instant,
) -> Option<Agent> {
    let coder = Coder::new(services, &stream, codecs, client, now)?;
    Some(Agent::new(stream, region, client, coder))
}

/// The properties of a client that matter to its streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamClient {
    /// It says how it gets on.
    pub reports: bool,
    pub low_bandwidth: bool,
    /// It scales frames that are smaller than the stream.
    pub scales: bool,
    /// The id of its reports.
    pub unique_id: u32,
}
