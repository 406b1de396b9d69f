//! One stream at one client.

use super::frame::{Frame, FrameJob, frame_of};
use super::lead::Lead;
use super::rate::Rate;
use super::{MJPEG, Stream};
use crate::canvas::Region;
use crate::codec::jpeg;
use crate::draw::{Clip, Drawable};
use crate::limits::MAX_STREAM_CLIP;
use crate::protocol::Message;
use crate::protocol::display::{
    StreamCreate, StreamReport, stream_activate_report, stream_clip, stream_data, stream_destroy,
};
use std::time::Instant;

/// Frames per report of the client, and the longest time between reports (milliseconds).
const REPORT_FRAMES: u32 = 5;
const REPORT_TIMEOUT: u32 = 1000;

/// See the module.
#[derive(Debug)]
pub struct Agent {
    stream: Stream,
    /// Where the client's pixels come from the stream.
    pub area: Region,
    /// Where the client paints the frames that are queued from now on.
    clip: Region,
    /// The same for STREAM_CREATE.
    first_clip: Region,
    /// STREAM_CREATE was sent.
    told: bool,
    /// No frames follow: the stream is over, or the client cannot decode it.
    ended: bool,
    unique_id: u32,
    rate: Rate,
    lead: Lead,
    /// `None` while a frame is being compressed.
    encoder: Option<Box<jpeg::Encoder>>,
}

impl Agent {
    /// The first frame, which is about to be queued, covers `region`.
    #[must_use]
    pub fn new(stream: Stream, region: &Region, unique_id: u32, low_bandwidth: bool, now: Instant) -> Self {
        let rate = Rate::new(low_bandwidth, now);
        let encoder = Some(Box::new(jpeg::Encoder::new(rate.quality())));
        Self {
            stream,
            area: region.clone(),
            clip: region.clone(),
            first_clip: region.clone(),
            told: false,
            ended: false,
            unique_id,
            rate,
            lead: Lead::default(),
            encoder,
        }
    }

    /// The stream's id on the wire.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.stream.id
    }

    /// Whether frames are sent as such.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.ended
    }

    /// No frames any more. The area is the caller's to repair.
    pub fn end(&mut self) -> Region {
        self.ended = true;
        self.clip = Region::new();
        std::mem::take(&mut self.area)
    }

    /// A frame that covers `region` is queued. What STREAM_CLIP is to be queued before it, if any.
    ///
    /// Clips are values in the order of the pipe: a frame painted with a later, wider clip would spoil what commands
    /// between the two read.
    pub fn frame_queued(&mut self, region: &Region) -> Option<Region> {
        self.area = self.area.union(region);
        self.set_clip(region.clone())
    }

    /// Something else is drawn over the stream: frames must not cover it. As [`Self::frame_queued`].
    pub fn covered(&mut self, region: &Region) -> Option<Region> {
        self.area = self.area.subtract(region);
        self.set_clip(self.clip.subtract(region))
    }

    /// Whether the clip stays simple when something else is drawn over the stream.
    pub fn clip_stays_simple(&self, region: &Region) -> bool {
        self.clip.subtract_within(region, MAX_STREAM_CLIP).is_some()
    }

    /// True pixels are needed: takes the area. As [`Self::frame_queued`].
    pub fn detach(&mut self) -> (Region, Option<Region>) {
        (std::mem::take(&mut self.area), self.set_clip(Region::new()))
    }

    fn set_clip(&mut self, clip: Region) -> Option<Region> {
        if self.ended || clip == self.clip {
            return None;
        }
        self.clip = clip;
        Some(self.clip.clone())
    }

    /// A queued frame was replaced by a later one.
    pub fn overtaken(&mut self) {
        self.rate.overtaken();
    }

    /// STREAM_CREATE and what belongs to it; nothing for a stream that is over by now.
    pub fn create(&mut self, reports: bool) -> Vec<Message> {
        if self.ended {
            return Vec::new();
        }
        self.told = true;
        let Stream { id, shape, .. } = self.stream;
        let create = StreamCreate {
            surface_id: 0,
            id,
            // The encoder always begins with the top row.
            top_down: true,
            codec: MJPEG,
            stream_width: shape.width,
            stream_height: shape.height,
            src_width: shape.width,
            src_height: shape.height,
            dest: shape.dest,
            clip: clip_of(&self.first_clip),
        };
        let mut messages = vec![create.encode()];
        if reports {
            messages.push(stream_activate_report(id, self.unique_id, REPORT_FRAMES, REPORT_TIMEOUT));
        }
        messages
    }

    /// STREAM_CLIP, if the client knows the stream: even of one that is over, since clients paint late frames until they
    /// see it destroyed.
    #[must_use]
    pub fn clip(&self, clip: &Region) -> Option<Message> {
        self.told.then(|| stream_clip(self.stream.id, &clip_of(clip)))
    }

    /// The compression of a frame that is to be sent now. `None`: the command is to be sent as an image.
    pub fn plan_frame(&mut self, drawable: &Drawable) -> Option<FrameJob> {
        if !self.told || self.ended {
            return None;
        }
        let image = frame_of(drawable)?;
        Some(FrameJob::new(image, self.encoder.take()?, self.rate.quality()))
    }

    /// STREAM_DATA with a planned frame. `None`: the command is to be sent as an image.
    pub fn finish_frame(&mut self, frame: Frame, now: Instant) -> Option<Message> {
        self.encoder = Some(frame.encoder);
        let data = frame.data?;
        self.rate.sent(now);
        Some(stream_data(self.stream.id, self.lead.stamp(now), data))
    }

    /// STREAM_DESTROY, if the client knows the stream.
    #[must_use]
    pub fn destroy(&self) -> Option<Message> {
        self.told.then(|| stream_destroy(self.stream.id))
    }

    /// The client's report. `false`: it cannot decode the stream.
    pub fn report(&mut self, report: &StreamReport, now: Instant) -> bool {
        if report.unique_id != self.unique_id {
            return true;
        }
        if report.num_frames == 0 && report.num_drops == u32::MAX {
            return false;
        }
        self.rate.report(report, now);
        self.lead.report(report);
        true
    }
}

fn clip_of(region: &Region) -> Clip {
    Clip::Rects(region.rects().into())
}
