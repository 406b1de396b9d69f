//! What a client's link takes: how much may be on its way, how large one message may be, and what images are worth.

use super::DisplayClient;
use crate::channel::link::ChannelLink;
use crate::display::stream::LinkShare;
use crate::limits::{MAX_SLICE_PIXELS, MAX_UPDATE_PIXELS};
use crate::net::link_estimate::LinkEstimate;
use crate::net::stream::ChannelStream;
use crate::protocol::common::ping;
use std::time::{Duration, Instant};

/// A message should not keep the link busy for longer than this ...
const MESSAGE_TIME: Duration = Duration::from_millis(5);
/// ... but a message below this is not worth being cut.
const MESSAGE_BYTES: f64 = 16_384.0;
/// What small commands may exceed the window by, and what answers to the client's input may: an image or a frame that is larger
/// than the window does not hold them up a second time.
const SMALL_BYTES: u64 = 8 << 10;
/// See [`SMALL_BYTES`].
const ANSWER_BYTES: u64 = 64 << 10;
/// Below so many bytes per second images lose detail where the settings leave that to the link, as after the net test of the
/// main channel; above so many they no longer do.
const LOW: u64 = 10 * 1024 * 1024 / 8;
/// See [`LOW`].
const NOT_LOW: u64 = 2 * LOW;
/// The rate must have said so for so long.
const CERTAIN: Duration = Duration::from_millis(200);
/// Share of a thin link that the encoders of streams may count on, and that frames take at most. The latter is more, so that
/// frames which do not fit the first become smaller before they become fewer.
const STREAM_SHARE: f64 = 0.3;
/// See [`STREAM_SHARE`].
const FRAME_SHARE: f64 = 0.4;
/// A frame should not keep a thin link busy for longer than this.
const FRAME_TIME: Duration = Duration::from_millis(20);
/// From this round trip on, a client whose window of messages is too small for its link is offered a larger one.
const FAR: Duration = Duration::from_millis(10);
/// Bytes of a pixel in a message before any was sent: text costs less, photographs cost more.
const FIRST_DENSITY: f64 = 1.0;

/// The estimate for a client's link, and what its images cost.
#[derive(Debug)]
pub(in crate::display) struct ClientLink {
    estimate: LinkEstimate,
    /// Clients on unix sockets take what the socket takes.
    local: bool,
    /// Bytes of a pixel in the latest large images.
    density: f64,
    epoch: Instant,
    /// Images may lose detail for the sake of the link.
    low: bool,
    /// Since when the rate says otherwise than `low`.
    otherwise_since: Option<Instant>,
    /// No frame of a stream is sent before.
    frames_from: Option<Instant>,
}

impl ClientLink {
    pub(super) fn new(stream: &ChannelStream, thin: bool, now: Instant) -> Self {
        Self {
            estimate: LinkEstimate::new(thin, now),
            local: stream.is_unix(),
            density: FIRST_DENSITY,
            epoch: now,
            low: thin,
            otherwise_since: None,
            frames_from: None,
        }
    }

    /// What streams may take; `None`: as much as they like.
    fn stream_share(&self, now: Instant) -> Option<LinkShare> {
        let rate = self.estimate.rate(now).filter(|_| self.is_thin(now))? as f64;
        let frame_bytes = (rate * FRAME_TIME.as_secs_f64()) as u64;
        Some(LinkShare { bits_per_second: (rate * 8.0 * STREAM_SHARE) as u64, frame_bytes })
    }

    /// Frames of streams were sent with so many bytes. What comes next should not often find one in front of it.
    pub(super) fn frames_sent(&mut self, bytes: usize, now: Instant) {
        let Some(rate) = self.estimate.rate(now).filter(|_| self.is_thin(now)) else { return };
        let busy = bytes as f64 / (rate as f64).max(1.0) / FRAME_SHARE;
        self.frames_from = Some(now + Duration::from_secs_f64(busy.clamp(0.0, 1.0)));
    }

    /// Until when frames of streams wait for the link.
    pub(super) fn frames_wait_until(&self, now: Instant) -> Option<Instant> {
        self.frames_from.filter(|&from| now < from)
    }

    /// Whether the link is so thin that images are worth choosing.
    pub(super) fn is_thin(&self, now: Instant) -> bool {
        !self.local && self.estimate.is_thin(now)
    }

    /// Follows the rate: whether images may lose detail. Not every hiccup of a client is a thin link.
    fn judge(&mut self, now: Instant) -> bool {
        let Some(rate) = self.estimate.rate(now).filter(|_| !self.local) else { return self.low };
        let otherwise = if self.low { rate > NOT_LOW } else { rate < LOW };
        let since = *self.otherwise_since.get_or_insert(now);
        if !otherwise {
            self.otherwise_since = None;
        } else if now >= since + CERTAIN {
            self.low = !self.low;
            self.otherwise_since = None;
        }
        self.low
    }

    /// Whether something may be sent, as far as the link goes.
    fn has_room(&self, stream: &ChannelStream, extra: u64, now: Instant) -> bool {
        self.local || self.estimate.has_room(position(stream), extra, now)
    }

    /// An image of so many pixels took so many bytes.
    pub(super) fn image_sent(&mut self, pixels: u64, bytes: usize) {
        if pixels >= 1024 {
            let density = (bytes as f64 / pixels as f64).clamp(0.02, 4.0);
            self.density += (density - self.density) / 2.0;
        }
    }

    /// Pixels of which an image can be made whose message does not keep the link for long.
    fn message_pixels(&self, most: u64, now: Instant) -> u64 {
        if !self.is_thin(now) {
            return most;
        }
        let rate = self.estimate.rate(now).map_or(0.0, |rate| rate as f64);
        let bytes = MESSAGE_BYTES.max(rate * MESSAGE_TIME.as_secs_f64());
        ((bytes / self.density) as u64).min(most)
    }

    /// Pixels of one slice of a large command.
    pub(super) fn slice_pixels(&self, now: Instant) -> u64 {
        self.message_pixels(MAX_SLICE_PIXELS, now)
    }

    /// Pixels of one image that refreshes a stale area.
    pub(super) fn update_pixels(&self, now: Instant) -> u64 {
        self.message_pixels(MAX_UPDATE_PIXELS, now)
    }

    /// When to look again although the client has sent nothing.
    pub(super) fn look_again(&self, stream: &ChannelStream, now: Instant) -> Option<Instant> {
        self.estimate.look_again(position(stream), now)
    }
}

/// Bytes of the stream so far, with the kernel or not.
fn position(stream: &ChannelStream) -> u64 {
    stream.bytes_sent().wrapping_add(u64::try_from(stream.pending_bytes()).unwrap_or(u64::MAX))
}

impl DisplayClient {
    /// Whether a message may be made now: the client's window is open, the socket takes data, and the link has room.
    pub(super) fn may_send(&self, link: &ChannelLink, now: Instant) -> bool {
        link.may_send() && self.link.has_room(link.stream(), 0, now)
    }

    /// The same for small commands, for which some room is kept.
    pub(super) fn may_send_small(&self, link: &ChannelLink, now: Instant) -> bool {
        let extra = if self.express.follows_input(now) { ANSWER_BYTES } else { SMALL_BYTES };
        link.may_send() && self.link.has_room(link.stream(), extra, now)
    }

    /// Whether the link alone holds back what waits.
    pub(super) fn is_held_by_link(&self, link: &ChannelLink, now: Instant) -> bool {
        self.has_more() && link.may_send() && !self.link.has_room(link.stream(), 0, now)
    }

    /// Sends a mark behind what was sent, if one is due.
    pub(super) fn mark_link(&mut self, link: &mut ChannelLink, now: Instant) {
        let stream = link.stream();
        let held_back = self.has_more() && !self.link.has_room(stream, 0, now);
        if held_back {
            self.link.estimate.note_held_back();
        }
        let stream = link.stream();
        let (end, estimate) = (position(stream), &self.link.estimate);
        let wanted = estimate.wants_mark(end, held_back) || estimate.wants_lone_mark(end, now);
        if self.link.local || !wanted {
            return;
        }
        let id = self.link.estimate.next_id();
        let since = now.saturating_duration_since(self.link.epoch).as_nanos();
        link.send(ping(id, u64::try_from(since).unwrap_or(u64::MAX), 0));
        self.link.estimate.marked(position(link.stream()), now);
    }

    /// Offers the client a larger window if that alone holds back what waits. The marks bound the bytes on their way, also where
    /// the client is slow rather than the link.
    pub(super) fn fit_window(&self, link: &mut ChannelLink, now: Instant) {
        let estimate = &self.link.estimate;
        let far = !self.link.local && !estimate.ignores_marks(now) && estimate.round_trip() >= FAR;
        if far && self.has_more() && link.is_held_by_window() && self.link.has_room(link.stream(), 0, now) {
            link.offer_window();
        }
    }

    /// The client has answered a mark, or some other PING.
    pub(crate) fn link_answered(&mut self, link: &ChannelLink, id: u32, now: Instant) {
        let stream = link.stream();
        let kernel = stream.kernel_link().map(|kernel| (kernel, stream.bytes_sent()));
        self.link.estimate.answered(id, kernel, now);
    }

    /// Brings what depends on the link up to date, before anything is sent.
    pub(super) fn follow_link(&mut self, link: &ChannelLink, now: Instant) {
        self.link.estimate.advance(position(link.stream()), now);
        if self.link.estimate.ignores_marks(now) {
            self.link.estimate.set_kernel(link.stream().kernel_link());
        }
        self.slices.set_pixels(self.link.slice_pixels(now));
        self.encoder.set_thin(self.link.judge(now));
        self.streams.set_link(self.link.stream_share(now));
    }
}
