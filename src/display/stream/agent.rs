//! One stream at one client.

use super::coder::{Coder, FrameOutcome};
use super::lead::Lead;
use super::rate::LinkShare;
use super::{Stream, StreamClient};
use crate::canvas::Region;
use crate::codec::video::{Codec, EncodedFrame};
use crate::display::pending::PendingDrawable;
use crate::draw::Clip;
use crate::limits::MAX_STREAM_CLIP;
use crate::protocol::Message;
use crate::protocol::display::{
    StreamCreate, StreamReport, stream_activate_report, stream_clip, stream_data, stream_data_sized,
    stream_destroy,
};
use std::sync::Arc;
use std::time::Instant;

/// Frames per report of the client, and the longest time between reports (milliseconds).
const REPORT_FRAMES: u32 = 5;
const REPORT_TIMEOUT: u32 = 1000;

/// One stream at one client: its encoder, its bit rate and the multimedia times of its frames.
#[derive(Debug)]
pub(crate) struct Agent {
    stream: Stream,
    /// Where the client's pixels come from the stream.
    pub area: Region,
    /// Where the client paints the frames that are queued from now on.
    clip: Region,
    /// Where it paints those that it has been sent so far.
    sent_clip: Region,
    /// STREAM_CREATE was sent.
    told: bool,
    /// No frames follow: the stream is over, or the client cannot decode it.
    ended: bool,
    /// The client says how it gets on, in reports with this id.
    reports: bool,
    unique_id: u32,
    lead: Lead,
    coder: Coder,
}

/// What the display channel has to do after a frame was queued, encoded or reported on.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// To be sent, in this order.
    pub messages: Vec<Message>,
    /// The stream ended: true pixels are to be sent of this area.
    pub stale: Region,
}

impl Agent {
    /// The first frame, which is about to be queued, covers `region`.
    #[must_use]
    pub(super) fn new(stream: Stream, region: &Region, client: StreamClient, coder: Coder) -> Self {
        let StreamClient { reports, unique_id, .. } = client;
        Self {
            stream,
            area: region.clone(),
            clip: region.clone(),
            sent_clip: region.clone(),
            told: false,
            ended: false,
            reports,
            unique_id,
            lead: Lead::default(),
            coder,
        }
    }

    /// The stream's id on the wire.
    #[must_use]
    pub(crate) fn id(&self) -> u32 {
        self.stream.id
    }

    /// Whether frames are sent as such.
    #[must_use]
    pub(crate) fn is_live(&self) -> bool {
        !self.ended
    }

    /// Ends the stream. The caller has to repair the area that this returns.
    pub(crate) fn end(&mut self) -> Region {
        self.ended = true;
        self.clip = Region::new();
        std::mem::take(&mut self.area)
    }

    /// A frame that covers `region` is queued. What STREAM_CLIP is to be queued before it, if any.
    ///
    /// Clips are values in the order of the pipe: a frame painted with a later, wider clip would spoil what commands
    /// between the two read.
    pub(crate) fn frame_queued(&mut self, region: &Region) -> Option<Region> {
        self.area = self.area.union(region);
        self.set_clip(region.clone())
    }

    /// A frame that covers `region` is about to come: until then nobody counts on the client's pixels there.
    pub(crate) fn awaits(&mut self, region: &Region) {
        self.area = self.area.union(region);
    }

    /// Something else is drawn over the stream: frames must not cover it. As [`Self::frame_queued`].
    pub(crate) fn covered(&mut self, region: &Region) -> Option<Region> {
        self.area = self.area.subtract(region);
        self.set_clip(self.clip.subtract(region))
    }

    /// Whether the clip stays simple when something else is drawn over the stream.
    pub(crate) fn clip_stays_simple(&self, region: &Region) -> bool {
        self.clip.subtract_within(region, MAX_STREAM_CLIP).is_some()
    }

    /// True pixels are needed: takes the area. As [`Self::frame_queued`].
    pub(crate) fn detach(&mut self) -> (Region, Option<Region>) {
        (std::mem::take(&mut self.area), self.set_clip(Region::new()))
    }

    fn set_clip(&mut self, clip: Region) -> Option<Region> {
        if self.ended || clip == self.clip {
            return None;
        }
        self.clip = clip;
        Some(self.clip.clone())
    }

    /// What the client's link has room for; `None`: for anything.
    pub(crate) fn set_link(&mut self, share: Option<LinkShare>) {
        self.coder.rate().set_link(share);
    }

    /// A queued frame was replaced by a later one.
    pub(crate) fn overtaken(&mut self) {
        self.coder.rate().overtaken();
    }

    /// Lets go of the frame that waits for the one before it. The area still counts as the stream's.
    pub(crate) fn forget_waiting(&mut self) {
        self.coder.forget_waiting();
    }

    /// STREAM_CREATE and what belongs to it; nothing for a stream that is over by now.
    pub(crate) fn create(&mut self) -> Vec<Message> {
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
            codec: self.coder.codec().number(),
            stream_width: shape.width,
            stream_height: shape.height,
            src_width: shape.width,
            src_height: shape.height,
            dest: shape.dest,
            clip: clip_of(&self.sent_clip),
        };
        let mut messages = vec![create.encode()];
        if self.reports {
            messages.push(stream_activate_report(id, self.unique_id, REPORT_FRAMES, REPORT_TIMEOUT));
        }
        messages
    }

    /// STREAM_CLIP, if the client knows the stream: even of one that is over, since clients paint late frames until they
    /// see it destroyed.
    #[must_use]
    pub(crate) fn clip(&mut self, clip: &Region) -> Option<Message> {
        self.sent_clip.clone_from(clip);
        self.told.then(|| stream_clip(self.stream.id, &clip_of(clip)))
    }

    /// A frame is to be sent, now or when it is encoded. `None`: the command is to be sent as an image.
    pub(crate) fn frame(&mut self, pending: &Arc<PendingDrawable>, now: Instant) -> Option<Output> {
        let mut output = Output::default();
        while self.told && !self.ended {
            match self.coder.frame(pending, now) {
                FrameOutcome::Frame(frame) => output.messages.push(self.data(frame, now)),
                FrameOutcome::Later => {}
                FrameOutcome::Unfit => return None,
                FrameOutcome::Broken => {
                    self.change_codec(&mut output, now);
                    continue;
                }
            }
            return Some(output);
        }
        // A stream that ended with this frame has its area painted anew.
        (!output.stale.is_empty()).then_some(output)
    }

    /// What the encoder has done on another thread since; `None`: nothing.
    pub(crate) fn collect(&mut self, now: Instant) -> Option<Output> {
        if !self.told || self.ended {
            return None;
        }
        let coded = self.coder.poll(now)?;
        let mut output = Output::default();
        match coded {
            FrameOutcome::Frame(frame) => output.messages.push(self.data(frame, now)),
            FrameOutcome::Broken => self.change_codec(&mut output, now),
            FrameOutcome::Later | FrameOutcome::Unfit => {}
        }
        Some(output)
    }

    /// When [`Self::collect`] is due, if the encoder does not answer.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.coder.deadline().filter(|_| !self.ended)
    }

    /// The client now decodes these codecs best, or the host wants them.
    pub(crate) fn set_codecs(&mut self, codecs: Vec<Codec>, now: Instant) -> Output {
        let mut output = Output::default();
        if !self.ended && self.coder.set_codecs(codecs) {
            self.change_codec(&mut output, now);
        }
        output
    }

    /// Goes on with the next codec, in a stream of the same id; without one the stream ends.
    fn change_codec(&mut self, output: &mut Output, now: Instant) {
        self.coder.forget_waiting();
        if !self.coder.next(now) {
            output.stale = output.stale.union(&self.end());
            return;
        }
        if self.told {
            output.messages.extend(self.destroy());
            self.unique_id = self.unique_id.wrapping_add(2);
            output.messages.extend(self.create());
        }
    }

    fn data(&mut self, frame: EncodedFrame, now: Instant) -> Message {
        self.coder.rate().sent(now);
        let (Stream { id, shape, .. }, time) = (self.stream, self.lead.stamp(now));
        match frame.size {
            Some(size) => stream_data_sized(id, time, size, &shape.dest, frame.data),
            None => stream_data(id, time, frame.data),
        }
    }

    /// STREAM_DESTROY, if the client knows the stream.
    #[must_use]
    pub(crate) fn destroy(&self) -> Option<Message> {
        self.told.then(|| stream_destroy(self.stream.id))
    }

    /// The client's report.
    pub(crate) fn report(&mut self, report: &StreamReport, now: Instant) -> Output {
        let mut output = Output::default();
        if report.unique_id != self.unique_id || self.ended {
            return output;
        }
        if report.num_frames == 0 && report.num_drops == u32::MAX {
            crate::warning_limited!("a client cannot decode {}", self.coder.codec());
            self.change_codec(&mut output, now);
            return output;
        }
        self.coder.rate().report(report, now);
        self.lead.report(report);
        output
    }
}

fn clip_of(region: &Region) -> Clip {
    Clip::Rects(region.rects().into())
}
