//! The display channel of a streaming device, which owns the port to the guest.

use super::parser::{Parsed, Parser};
use super::pointer::PointerChange;
use super::viewer::{Frame, Stream, Viewer};
use crate::channel::connection::ConnectionId;
use crate::channel::link::{ChannelError, ChannelLink, LinkOptions, PING_PERIOD};
use crate::channel::{Channel, Out, Profile, ServerRequest};
use crate::clock::mm_time;
use crate::device::DeviceIo;
use crate::host::call::HostReply;
use crate::limits::{STREAM_PATIENCE, STREAM_RESTART_PAUSE};
use crate::net::stream::Incoming;
use crate::protocol::caps::display as cap;
use crate::protocol::display::{self, DisplayMessage};
use crate::protocol::stream_device::{self, CODECS, Format, MJPEG, StreamMessage, Violation};
use crate::protocol::{ChannelType, Message};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// What the link reply announces, as the original does; the server makes no use of the clients' answers.
const CAPS: &[u32] = &[cap::MONITORS_CONFIG, cap::STREAM_REPORT, cap::PREF_VIDEO_CODEC_TYPE];

static PROFILE: Profile = Profile {
    channel_type: ChannelType::Display,
    caps: CAPS,
    shared: true,
    options: LinkOptions { max_body: display::max_body, window: true, ping_period: PING_PERIOD },
};

/// Events of the guest's side of the port.
const OPENED: u8 = 0;
const CLOSED: u8 = 1;

/// Ids of streams on the wire, which come again in turn.
const STREAM_IDS: u32 = 50;

/// What is written to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// CAPABILITIES or NOTIFY_ERROR.
    Once,
    /// START_STOP: a newer one makes it void.
    StartStop,
}

/// The display channel of one streaming device.
#[derive(Debug)]
pub(crate) struct DisplayPart {
    /// The channel's id.
    id: u8,
    io: DeviceIo<Answer>,
    parser: Parser,
    /// The guest's side of the port is open.
    opened: bool,
    /// When the guest is told by the port's state that it broke the protocol: never from inside of a call of the device.
    fail_at: Option<Instant>,
    /// Size of the picture.
    size: Option<(u32, u32)>,
    stream: Option<Stream>,
    next_id: u32,
    serial: u64,
    viewers: BTreeMap<ConnectionId, Viewer>,
    /// When the guest is asked to begin its stream anew, and when it was last asked.
    restart_at: Option<Instant>,
    restarted: Option<Instant>,
}

impl DisplayPart {
    /// The channel with this id, which nobody sees yet.
    #[must_use]
    pub(crate) fn new(id: u8, io: DeviceIo<Answer>) -> Self {
        Self {
            id,
            io,
            parser: Parser::default(),
            opened: false,
            fail_at: None,
            size: None,
            stream: None,
            next_id: 0,
            serial: 0,
            viewers: BTreeMap::new(),
            restart_at: None,
            restarted: None,
        }
    }

    /// The host has something to read, or room to write.
    pub(crate) fn wakeup(&mut self, out: &mut Out<'_>) {
        self.io.wake();
        self.pump(out);
    }

    /// The machine runs, or it stopped.
    pub(crate) fn set_running(&mut self, running: bool, out: &mut Out<'_>) {
        self.io.set_running(running);
        self.pump(out);
    }

    /// The guest opened (0) or closed (1) its side of the port: both begin anew. Other events mean nothing.
    pub(crate) fn port_event(&mut self, event: u8, out: &mut Out<'_>) {
        if !matches!(event, OPENED | CLOSED) {
            return;
        }
        self.opened = event == OPENED;
        self.parser = Parser::default();
        self.fail_at = None;
        self.end_picture();
        self.io.give_up(true, |_| true);
        if self.opened {
            self.io.push(stream_device::capabilities(), Answer::Once);
        }
        if !self.viewers.is_empty() {
            self.tell_codecs();
        }
        self.pump(out);
        out.call(self.io.state(true));
    }

    /// There is no picture until the guest sends the next FORMAT.
    fn end_picture(&mut self) {
        (self.size, self.stream, self.next_id) = (None, None, 0);
        self.viewers.values_mut().for_each(Viewer::stream_ended);
    }

    /// START_STOP: the codecs that all clients decode. The guest begins its stream anew with it.
    fn tell_codecs(&mut self) {
        if !self.opened {
            return;
        }
        let all_decode = |codec: &u8| self.viewers.values().all(|viewer| viewer.decodes(*codec));
        let codecs: Vec<u8> =
            if self.viewers.is_empty() { Vec::new() } else { CODECS.filter(all_decode).collect() };
        self.io.give_up(false, |answer| answer == Answer::StartStop);
        self.io.push(stream_device::start_stop(&codecs), Answer::StartStop);
    }

    /// Reads what the guest said before the channel was there.
    pub(crate) fn begin_reading(&mut self, out: &mut Out<'_>) {
        self.pump(out);
    }

    /// Tells the clients what they can take, and makes the calls of the device that can be made now.
    fn pump(&mut self, out: &mut Out<'_>) {
        self.show(out);
        let busy = self.is_busy(out);
        let most = if busy && !self.parser.is_failed() { 0 } else { self.parser.wants() };
        let now = out.now;
        self.io.pump(now, most, |call| out.call(call));
    }

    /// Sends each client what it can take of what it does not know yet.
    fn show(&mut self, out: &mut Out<'_>) {
        let (size, stream) = (self.size, self.stream.as_ref());
        for (&at, viewer) in &mut self.viewers {
            while viewer.is_due(size, stream) && out.look(at).is_some_and(ChannelLink::may_send) {
                for message in viewer.messages(size, stream) {
                    out.send(at, message);
                }
            }
        }
    }

    /// Whether frames need those before, so that all have to wait for the slowest client.
    fn waits_for_all(&self) -> bool {
        self.stream.is_some_and(|stream| stream.format.codec != MJPEG)
    }

    /// Whether the next message of the guest has to wait for clients. Clients that keep others waiting for too long miss
    /// frames.
    fn is_busy(&mut self, out: &Out<'_>) -> bool {
        let (now, for_all) = (out.now, self.waits_for_all());
        let drained = |at| out.look(at).is_none_or(ChannelLink::is_drained);
        let ready = self.viewers.iter().filter(|(at, viewer)| !viewer.is_awaited(drained(**at))).count();
        let mut busy = false;
        let mut restart = false;
        for (&at, viewer) in &mut self.viewers {
            let awaited = viewer.is_awaited(drained(at));
            let since = viewer.set_awaited(awaited && for_all && ready > 0, now);
            if since.is_some_and(|since| now >= since + STREAM_PATIENCE) {
                viewer.leave_behind();
            } else {
                busy |= awaited;
            }
            if drained(at) {
                restart |= viewer.catch_up(self.stream.as_ref());
            }
        }
        if restart && self.restart_at.is_none() {
            self.restart_at = Some(self.restarted.map_or(now, |last| now.max(last + STREAM_RESTART_PAUSE)));
        }
        if for_all { busy } else { ready == 0 && !self.viewers.is_empty() }
    }

    /// Bytes of the guest, no more than the parser wanted.
    fn hear(&mut self, bytes: Vec<u8>, out: &mut Out<'_>) {
        match self.parser.feed(bytes, out.now) {
            Ok(Some(parsed)) => self.on_message(parsed, out),
            Ok(None) => {}
            Err(violation) => self.fail(violation, out.now),
        }
    }

    fn on_message(&mut self, Parsed { message, began }: Parsed, out: &mut Out<'_>) {
        match message {
            StreamMessage::Capabilities => {}
            StreamMessage::Format(format) => self.begin(format),
            StreamMessage::Data(data) => {
                let Some(stream) = self.stream.as_ref().filter(|_| !data.is_empty()) else { return };
                let frame = Frame { time: mm_time(began), data: Arc::new(data) };
                self.viewers.values_mut().for_each(|viewer| viewer.offer(&frame, stream));
            }
            StreamMessage::CursorSet(shape) => self.tell_pointer(PointerChange::Shape(Arc::new(shape)), out),
            StreamMessage::CursorMove(position) => self.tell_pointer(PointerChange::Place(position), out),
            StreamMessage::DisplayInfo(Some(info)) => out.tell(ServerRequest::StreamPlace(self.id, info)),
            StreamMessage::DisplayInfo(None) => {
                crate::warning_limited!("streaming device {}: a display without a valid address", self.id);
            }
        }
    }

    fn tell_pointer(&self, change: PointerChange, out: &mut Out<'_>) {
        out.tell(ServerRequest::StreamPointer(self.id, change));
    }

    fn begin(&mut self, format: Format) {
        self.viewers.values_mut().for_each(Viewer::stream_ended);
        self.size = Some((format.width, format.height));
        self.serial += 1;
        self.stream = Some(Stream { id: self.next_id, serial: self.serial, format });
        self.next_id = (self.next_id + 1) % STREAM_IDS;
    }

    fn fail(&mut self, violation: Violation, now: Instant) {
        crate::warning_limited!("streaming device {}: disabled: {violation}", self.id);
        self.io.push(stream_device::notify_error(violation), Answer::Once);
        self.fail_at = Some(now);
    }
}

impl Channel for DisplayPart {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let Some(link) = out.link(at) else { return Ok(()) };
        // The client misses the beginning of the present stream; the guest is asked for another.
        let mut viewer = Viewer::new(&link.connection().channel_caps, self.serial + 1);
        let greeting: Vec<Message> = viewer.greeting(self.size);
        for message in greeting {
            link.send(message);
        }
        self.viewers.insert(at, viewer);
        self.tell_codecs();
        self.pump(out);
        Ok(())
    }

    fn on_message(
        &mut self,
        _at: ConnectionId,
        message: Incoming,
        _out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        match DisplayMessage::decode(message.msg_type, &message.body)? {
            DisplayMessage::GlDrawDone => Err(ChannelError::Refused("GL_DRAW_DONE without GL_DRAW".into())),
            // There are no images, and the guest chooses codec and rate.
            DisplayMessage::Common(_)
            | DisplayMessage::Init(_)
            | DisplayMessage::StreamReport(_)
            | DisplayMessage::PreferredCompression(_)
            | DisplayMessage::PreferredVideoCodecType(_) => Ok(()),
        }
    }

    fn on_drained(&mut self, _at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.pump(out);
        Ok(())
    }

    fn on_closed(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        if self.viewers.remove(&at).is_some() && self.viewers.is_empty() {
            self.end_picture();
            self.restart_at = None;
            self.tell_codecs();
        }
        self.pump(out);
    }

    fn on_reply(&mut self, reply: HostReply, out: &mut Out<'_>) {
        let now = out.now;
        match reply {
            HostReply::DeviceWritten { device, bytes, taken } if device == self.io.id() => {
                self.io.on_written(bytes, taken, now);
            }
            HostReply::DeviceRead { device, bytes } if device == self.io.id() => {
                self.io.on_read(bytes.len(), now);
                self.hear(bytes, out);
            }
            _ => return,
        }
        self.pump(out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let patience = self.viewers.values().filter_map(Viewer::awaited_since).min();
        let patience = patience.map(|since| since + STREAM_PATIENCE);
        [self.io.next_deadline(), self.fail_at, self.restart_at, patience].into_iter().flatten().min()
    }

    fn on_timer(&mut self, out: &mut Out<'_>) {
        let now = out.now;
        self.io.on_timer(now);
        if self.fail_at.take_if(|at| *at <= now).is_some() && self.opened {
            out.call(self.io.state(false));
        }
        if self.restart_at.take_if(|at| *at <= now).is_some() {
            self.restarted = Some(now);
            self.tell_codecs();
        }
        self.pump(out);
    }
}
