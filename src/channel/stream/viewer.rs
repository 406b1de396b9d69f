//! One client of a streaming device's display channel: what it was told, and what it is to be told next.

use crate::draw::{Brush, Clip, DrawOp, Fill, Rop};
use crate::geometry::Rect;
use crate::image::SurfaceFormat;
use crate::protocol::caps::display as cap;
use crate::protocol::display::{self, StreamCreate, stream_activate_report, stream_data, stream_destroy};
use crate::protocol::draw::{DrawBase, DrawImages, draw};
use crate::protocol::stream_device::{Format, MJPEG};
use crate::protocol::{Caps, Message};
use crate::qxl_command::MonitorHead;
use std::sync::Arc;
use std::time::Instant;

/// Frames per report of the client, and the longest time between reports (milliseconds).
const REPORT_FRAMES: u32 = 5;
const REPORT_TIMEOUT: u32 = 1000;
/// What marks a client's reports as those of a stream; the server does not use them.
const REPORT_ID: u32 = 1;

/// The capability of clients that decode a codec, other than MJPEG, by its number.
const DECODERS: [(u8, u32); 4] =
    [(2, cap::CODEC_VP8), (3, cap::CODEC_H264), (4, cap::CODEC_VP9), (5, cap::CODEC_H265)];

/// What the guest streams at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    /// The stream's id on the wire.
    pub id: u32,
    /// Counts the streams of the device, since ids come again.
    pub serial: u64,
    pub format: Format,
}

/// One frame.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// On the multimedia clock.
    pub time: u32,
    pub data: Arc<Vec<u8>>,
}

/// One client of the display channel of a streaming device.
#[derive(Debug)]
pub(super) struct Viewer {
    /// Codecs that the client decodes, ascending.
    codecs: Vec<u8>,
    multi_codec: bool,
    monitors: bool,
    reports: bool,
    /// Size of the surface that the client has.
    surface: Option<(u32, u32)>,
    /// The stream that the client has: serial and id.
    stream: Option<(u64, u32)>,
    /// The first stream that the client can join: it missed frames of those before.
    joins_at: u64,
    frame: Option<Frame>,
    /// Since when others wait for this client to take its frame.
    awaited_since: Option<Instant>,
    /// The client was too slow, and misses frames until it has taken everything.
    behind: bool,
}

impl Viewer {
    /// A client with these capabilities, to which the next stream will be the first.
    pub(super) fn new(caps: &Caps, joins_at: u64) -> Self {
        let mut codecs = vec![MJPEG];
        codecs.extend(DECODERS.iter().filter(|(_, bit)| caps.has(*bit)).map(|(codec, _)| *codec));
        Self {
            codecs,
            multi_codec: caps.has(cap::MULTI_CODEC),
            monitors: caps.has(cap::MONITORS_CONFIG),
            reports: caps.has(cap::STREAM_REPORT),
            surface: None,
            stream: None,
            joins_at,
            frame: None,
            awaited_since: None,
            behind: false,
        }
    }

    /// Whether the client decodes a codec.
    #[must_use]
    pub(super) fn decodes(&self, codec: u8) -> bool {
        self.codecs.contains(&codec)
    }

    /// The first messages: a black picture of the present size, until there is a stream that the client can join.
    pub(super) fn greeting(&mut self, size: Option<(u32, u32)>) -> Vec<Message> {
        let mut messages = vec![display::inval_all_palettes()];
        if let Some(size) = size {
            messages.extend(self.show(size, true));
        }
        messages
    }

    /// The messages that begin a picture of this size.
    fn show(&mut self, size: (u32, u32), black: bool) -> Vec<Message> {
        self.surface = Some(size);
        let (width, height) = size;
        let streaming = if self.multi_codec { display::SURFACE_STREAMING_MODE } else { 0 };
        let flags = display::SURFACE_PRIMARY | streaming;
        let mut messages = vec![display::surface_create(0, width, height, SurfaceFormat::Xrgb32, flags)];
        if self.monitors {
            let head = MonitorHead { id: 0, surface_id: 0, width, height, x: 0, y: 0, flags: 0 };
            messages.push(display::monitors_config(1, &[head]));
        }
        if black {
            let base = DrawBase { surface_id: 0, bbox: Rect::of_size(width, height), clip: &Clip::None };
            let fill = Fill { brush: Brush::Solid(0), rop: Rop::PUT, mask: None };
            messages.extend(draw(&base, &DrawOp::Fill(fill), DrawImages::default()));
        }
        messages.push(display::mark());
        messages
    }

    /// Gives the client a frame of this stream, if it has the stream or is about to.
    pub(super) fn offer(&mut self, frame: &Frame, stream: &Stream) {
        if !self.behind && self.joins(stream) {
            self.frame = Some(frame.clone());
        }
    }

    fn joins(&self, stream: &Stream) -> bool {
        stream.serial >= self.joins_at && self.decodes(stream.format.codec)
    }

    /// The stream ended: its frame, if one waits, is of no use.
    pub(super) fn stream_ended(&mut self) {
        self.frame = None;
    }

    /// Whether [`Self::messages`] has something to say. `size` and `stream`: the present picture.
    #[must_use]
    pub(super) fn is_due(&self, size: Option<(u32, u32)>, stream: Option<&Stream>) -> bool {
        let wanted = stream.filter(|stream| self.joins(stream)).map(|stream| stream.serial);
        let has = self.stream.map(|(serial, _)| serial);
        (has.is_some() && has != stream.map(|stream| stream.serial))
            || self.surface != size
            || (wanted.is_some() && has != wanted)
            || self.frame.is_some()
    }

    /// The next messages that belong together, or none.
    pub(super) fn messages(&mut self, size: Option<(u32, u32)>, stream: Option<&Stream>) -> Vec<Message> {
        if let Some((_, id)) =
            self.stream.take_if(|(serial, _)| Some(*serial) != stream.map(|stream| stream.serial))
        {
            return vec![stream_destroy(id)];
        }
        if self.surface.is_some() && self.surface != size {
            self.surface = None;
            return vec![display::surface_destroy(0)];
        }
        if let Some(size) = size.filter(|_| self.surface.is_none()) {
            return self.show(size, false);
        }
        let Some(stream) = stream else { return Vec::new() };
        match (self.stream, self.frame.take()) {
            (None, frame) if self.joins(stream) => {
                self.frame = frame;
                self.stream = Some((stream.serial, stream.id));
                self.create(stream)
            }
            (Some((_, id)), Some(frame)) => vec![stream_data(id, frame.time, frame.data)],
            _ => Vec::new(),
        }
    }

    fn create(&self, stream: &Stream) -> Vec<Message> {
        let Format { width, height, codec } = stream.format;
        let create = StreamCreate {
            surface_id: 0,
            id: stream.id,
            top_down: true,
            codec,
            stream_width: width,
            stream_height: height,
            src_width: width,
            src_height: height,
            dest: Rect::of_size(width, height),
            clip: Clip::None,
        };
        let mut messages = vec![create.encode()];
        if self.reports {
            messages.push(stream_activate_report(stream.id, REPORT_ID, REPORT_FRAMES, REPORT_TIMEOUT));
        }
        messages
    }

    /// Whether the next frame has to wait for this client. `drained`: all that was sent is with the kernel.
    #[must_use]
    pub(super) fn is_awaited(&self, drained: bool) -> bool {
        !self.behind && (self.frame.is_some() || !drained)
    }

    /// Notes whether others wait for this client, and since when.
    pub(super) fn set_awaited(&mut self, awaited: bool, now: Instant) -> Option<Instant> {
        self.awaited_since = awaited.then(|| self.awaited_since.unwrap_or(now));
        self.awaited_since
    }

    /// Since when others wait for this client.
    #[must_use]
    pub(super) fn awaited_since(&self) -> Option<Instant> {
        self.awaited_since
    }

    /// Others do not wait for this client any longer.
    pub(super) fn leave_behind(&mut self) {
        self.behind = true;
        self.frame = None;
        self.awaited_since = None;
    }

    /// The client has taken everything. Whether it needs a new stream, because it missed frames that others depend on.
    pub(super) fn catch_up(&mut self, stream: Option<&Stream>) -> bool {
        if !std::mem::take(&mut self.behind) {
            return false;
        }
        match stream {
            Some(stream) if stream.format.codec != MJPEG && self.joins(stream) => {
                self.joins_at = stream.serial + 1;
                true
            }
            _ => false,
        }
    }
}
