//! Fuzz oracle of a streaming device: a guest that writes what it likes, clients that come, read as they like, and go.

use super::{DisplayPart, PointerPart};
use crate::channel::connection::{ChannelConnection, ClientId, ConnectionId};
use crate::channel::out::Said;
use crate::channel::served::Served;
use crate::channel::{Channel, Out, ServerRequest};
use crate::device::{DeviceIo, Silent};
use crate::host::call::{HostCall, HostReply};
use crate::host::{DeviceId, Readiness};
use crate::limits::{DEVICE_READ, MAX_STREAM_FRAME};
use crate::oracles::Script;
use crate::oracles::memory::MemoryPeer;
use crate::protocol::stream_device::DisplayInfo;
use crate::protocol::{ChannelType, cursor, display};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEVICE: DeviceId = DeviceId(7);

/// The guest's side of the port.
#[derive(Debug, Default)]
pub(super) struct Guest {
    /// What it says and nobody has read.
    pub says: VecDeque<u8>,
    /// What it was told.
    pub heard: Vec<u8>,
    /// Bytes that it still takes.
    pub room: usize,
    pub states: Vec<bool>,
}

impl Guest {
    fn answer(&mut self, call: HostCall) -> Option<HostReply> {
        match call {
            HostCall::DeviceRead { max, .. } => {
                assert!((1..=DEVICE_READ).contains(&max), "a read of {max} bytes");
                let bytes = self.says.drain(..max.min(self.says.len())).collect();
                Some(HostReply::DeviceRead { device: DEVICE, bytes })
            }
            HostCall::DeviceWrite { bytes, offset, .. } => {
                let rest = bytes.get(offset..).unwrap_or_default();
                let taken = rest.len().min(self.room);
                self.room -= taken;
                self.heard.extend(rest.iter().take(taken));
                Some(HostReply::DeviceWritten { device: DEVICE, bytes, taken })
            }
            HostCall::DeviceState { connected, .. } => {
                self.states.push(connected);
                None
            }
            _ => None,
        }
    }
}

/// What a client has on its display, by what it was sent. Breaks of the protocol that would harm a client are panics.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub surface: Option<[u32; 2]>,
    /// Id and codec.
    pub stream: Option<(u32, u8)>,
    /// The first byte of each frame.
    pub frames: Vec<u8>,
    /// Types of all messages.
    pub types: Vec<u16>,
    has_pointer: bool,
}

fn word(body: &[u8], at: usize) -> u32 {
    body.get(at..).and_then(|rest| rest.first_chunk()).map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes))
}

impl Screen {
    fn on_display(&mut self, kind: u16, body: &[u8]) {
        self.types.push(kind);
        match kind {
            display::server::SURFACE_CREATE => {
                assert!(self.surface.is_none() && self.stream.is_none(), "a second surface");
                self.surface = Some([word(body, 4), word(body, 8)]);
            }
            display::server::SURFACE_DESTROY => {
                assert!(self.stream.is_none(), "the surface under a stream is destroyed");
                assert!(self.surface.take().is_some(), "no surface to destroy");
            }
            display::server::STREAM_CREATE => {
                assert!(self.stream.is_none(), "a second stream");
                assert_eq!(self.surface, Some([word(body, 18), word(body, 22)]), "a stream of another size");
                self.stream = Some((word(body, 4), body.get(9).copied().unwrap_or(0)));
            }
            display::server::STREAM_DESTROY => {
                assert_eq!(self.stream.take().map(|(id, _)| id), Some(word(body, 0)), "another stream");
            }
            display::server::STREAM_DATA => {
                assert_eq!(self.stream.map(|(id, _)| id), Some(word(body, 0)), "a frame of another stream");
                assert!(word(body, 4) != 0, "a frame without a time");
                self.frames.extend(body.get(12));
            }
            _ => {}
        }
    }

    fn on_cursor(&mut self, kind: u16, _body: &[u8]) {
        self.types.push(kind);
        match kind {
            cursor::server::INIT => assert!(!std::mem::replace(&mut self.has_pointer, true), "a second INIT"),
            1..=100 => {}
            _ => assert!(self.has_pointer, "a pointer before INIT"),
        }
    }
}

/// One client's connection to one of the two channels.
struct Peer {
    peer: MemoryPeer,
    is_display: bool,
    screen: Screen,
}

/// A device with its channels, its guest and its clients.
pub(super) struct Bench {
    display: Served<DisplayPart>,
    pointer: Served<PointerPart>,
    pub guest: Guest,
    peers: BTreeMap<ConnectionId, Peer>,
    /// What the server was told about the guest's displays.
    pub places: Vec<DisplayInfo>,
    pub now: Instant,
    next: u64,
}

impl Bench {
    /// A device whose port is closed.
    pub(super) fn new() -> Self {
        let io = DeviceIo::new(DEVICE, Arc::new(Silent(true)), true);
        Self {
            display: Served::new(Box::new(DisplayPart::new(3, io))),
            pointer: Served::new(Box::default()),
            guest: Guest { room: usize::MAX, ..Guest::default() },
            peers: BTreeMap::new(),
            places: Vec::new(),
            now: Instant::now(),
            next: 0,
        }
    }

    /// A client of one of the channels, with these display capabilities.
    pub(super) fn connect(&mut self, is_display: bool, caps: u32) -> ConnectionId {
        self.next += 1;
        let at = ConnectionId(self.next);
        let kind = if is_display { ChannelType::Display } else { ChannelType::Cursor };
        let (connection, peer) = MemoryPeer::connect(kind, ClientId(self.next), caps, false);
        self.peers.insert(at, Peer { peer, is_display, screen: Screen::default() });
        self.attach(at, connection, is_display);
        at
    }

    fn attach(&mut self, at: ConnectionId, connection: ChannelConnection, is_display: bool) {
        let mut said = Said::default();
        if is_display {
            self.display.attach(at, connection, self.now, &mut said);
        } else {
            self.pointer.attach(at, connection, self.now, &mut said);
        }
        self.settle(said);
    }

    /// Does something to the display channel, and everything that follows from it.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut DisplayPart, &mut Out<'_>)) {
        let mut said = Said::default();
        {
            let (part, mut out) = self.display.parts(self.now, &mut said);
            change(part, &mut out);
        }
        self.settle(said);
    }

    fn settle(&mut self, mut said: Said) {
        let mut calls = VecDeque::new();
        loop {
            while self.display.is_touched() || self.pointer.is_touched() {
                while let Some(at) = self.display.next_touched() {
                    self.display.flush(at, self.now, &mut said);
                }
                while let Some(at) = self.pointer.next_touched() {
                    self.pointer.flush(at, self.now, &mut said);
                }
            }
            calls.extend(said.calls.drain(..));
            for (_, request) in std::mem::take(&mut said.requests) {
                match request {
                    ServerRequest::StreamPointer(3, change) => {
                        let (part, mut out) = self.pointer.parts(self.now, &mut said);
                        part.change(change, &mut out);
                    }
                    ServerRequest::StreamPlace(3, info) => self.places.push(info),
                    other => assert!(matches!(other, ServerRequest::ListChannels), "{other:?}"),
                }
            }
            for (at, _) in std::mem::take(&mut said.ended) {
                self.forget(at, &mut said);
            }
            // A connection that ends may leave its channel something to do.
            if self.display.is_touched() || self.pointer.is_touched() || !said.calls.is_empty() {
                continue;
            }
            let Some(call) = calls.pop_front() else { break };
            if let Some(reply) = self.guest.answer(call) {
                let (part, mut out) = self.display.parts(self.now, &mut said);
                part.on_reply(reply, &mut out);
            }
        }
    }

    fn forget(&mut self, at: ConnectionId, said: &mut Said) {
        if self.display.take(at).is_some() {
            self.display.on_closed(at, self.now, said);
        }
        if self.pointer.take(at).is_some() {
            self.pointer.on_closed(at, self.now, said);
        }
    }

    /// The client goes.
    pub(super) fn close(&mut self, at: ConnectionId) {
        let mut said = Said::default();
        self.forget(at, &mut said);
        self.settle(said);
    }

    /// The client's socket takes so many more bytes.
    pub(super) fn set_room(&mut self, at: ConnectionId, room: usize) {
        let Some(peer) = self.peers.get(&at) else { return };
        peer.peer.set_room(room);
        let mut said = Said::default();
        self.display.flush(at, self.now, &mut said);
        self.pointer.flush(at, self.now, &mut said);
        self.settle(said);
    }

    /// The client sends a message.
    pub(super) fn send(&mut self, at: ConnectionId, kind: u16, body: &[u8]) {
        let Some(peer) = self.peers.get(&at) else { return };
        peer.peer.send(kind, body);
        let (ready, mut said) = (Readiness { read: true, write: false }, Said::default());
        self.display.on_ready(at, ready, self.now, &mut said);
        self.pointer.on_ready(at, ready, self.now, &mut said);
        self.settle(said);
    }

    /// Time passes.
    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        let mut said = Said::default();
        self.display.on_channel_timer(self.now, &mut said);
        self.settle(said);
    }

    /// The guest says these bytes.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.guest.says.extend(bytes);
        self.change(DisplayPart::wakeup);
    }

    /// What a client has, after everything that it received.
    pub(super) fn screen(&mut self, at: ConnectionId) -> &mut Screen {
        let peer = self.peers.entry(at).or_insert_with(|| Peer {
            peer: MemoryPeer::default(),
            is_display: true,
            screen: Screen::default(),
        });
        let (screen, is_display) = (&mut peer.screen, peer.is_display);
        peer.peer.take_messages(|kind, body| {
            if is_display {
                screen.on_display(kind, body);
            } else {
                screen.on_cursor(kind, body);
            }
        });
        screen
    }

    /// Whether the client is still linked.
    #[cfg(test)]
    pub(super) fn is_linked(&self, at: ConnectionId) -> bool {
        self.display.links().get(at).is_some() || self.pointer.links().get(at).is_some()
    }
}

/// A message of the guest with its header.
pub(super) fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&[1, 0][..], &kind.to_le_bytes(), &size.to_le_bytes(), body].concat()
}

/// FORMAT.
pub(super) fn format(width: u32, height: u32, codec: u8) -> Vec<u8> {
    message(2, &[&width.to_le_bytes()[..], &height.to_le_bytes(), &[codec, 0, 0, 0]].concat())
}

/// What must hold: no panic, each client gets messages in an order that its decoder understands, reads of the port are
/// bounded, a client that reads in the end has the picture of the guest, and one that always reads misses no frame.
///
/// # Panics
/// When something does not hold.
pub fn fuzz_stream_device(data: &[u8]) {
    let s = &mut Script(data);
    let mut bench = Bench::new();
    let mut clients: Vec<ConnectionId> = Vec::new();
    let (mut frame, mut steps) = (0u8, 0u32);
    while !s.0.is_empty() && steps < 2000 {
        steps += 1;
        let which = clients.get(usize::from(s.byte()) % clients.len().max(1)).copied();
        match (s.byte() % 16, which) {
            (0, _) if clients.len() < 4 => {
                let caps = u32::from(s.byte()) << 8 | u32::from(s.byte());
                clients.push(bench.connect(!s.byte().is_multiple_of(4), caps));
            }
            (1, Some(at)) => {
                clients.retain(|client| *client != at);
                bench.close(at);
            }
            (2, Some(at)) => bench.set_room(at, usize::from(s.byte()) << (s.byte() % 16)),
            (3, Some(at)) => bench.set_room(at, usize::MAX),
            (4, Some(at)) => {
                let (kind, count) = (u16::from(s.byte() % 110), usize::from(s.byte() % 40));
                bench.send(at, kind, s.take(count));
            }
            (5, _) => bench.wait(Duration::from_millis(u64::from(s.byte()) << (s.byte() % 8))),
            (6, _) => {
                let event = s.byte() % 3;
                bench.change(|part, out| part.port_event(event, out));
            }
            (7, _) => {
                let running = s.byte() & 1 != 0;
                bench.change(|part, out| part.set_running(running, out));
            }
            (8, _) => bench.guest.room = usize::from(s.byte()),
            (9, _) => bench.say(&format(s.byte().into(), s.byte().into(), s.byte() % 7)),
            (10 | 11, _) => {
                frame = frame.wrapping_add(1);
                let size = (usize::from(s.byte()) << (s.byte() % 12)).min(MAX_STREAM_FRAME);
                bench.say(&message(3, &vec![frame; size]));
            }
            (12, _) => {
                let (kind, count) = (u16::from(s.byte() % 10), usize::from(s.byte()));
                bench.say(&message(kind, s.take(count)));
            }
            (_, _) => {
                let count = usize::from(s.byte());
                bench.say(s.take(count));
            }
        }
        for at in &clients {
            bench.screen(*at);
        }
    }
    finish(&mut bench, &clients);
}

/// Everybody reads and runs again, and the guest begins anew: all see its frames.
fn finish(bench: &mut Bench, clients: &[ConnectionId]) {
    bench.guest.room = usize::MAX;
    bench.guest.says.clear();
    bench.change(|part, out| part.set_running(true, out));
    for at in clients {
        bench.set_room(*at, usize::MAX);
    }
    bench.change(|part, out| part.port_event(0, out));
    bench.wait(Duration::from_secs(60));
    bench.say(&format(5, 6, 1));
    for number in 0..3 {
        bench.say(&message(3, &[number; 9]));
    }
    let is_displayed = |at: &&ConnectionId| bench.display.links().get(**at).is_some();
    let viewers: Vec<ConnectionId> = clients.iter().filter(is_displayed).copied().collect();
    for at in viewers {
        // A window that the client never acknowledges stays shut.
        let acknowledges = bench.screen(at).types.len() < 20;
        let screen = bench.screen(at);
        if acknowledges {
            assert_eq!(screen.surface, Some([5, 6]));
            assert!(screen.frames.ends_with(&[0, 1, 2]), "{:?}", screen.frames);
        }
    }
}

#[cfg(test)]
mod tests {
    /// A client breaks the protocol while the guest speaks; the call that follows from its end was lost once.
    #[test]
    fn reading_goes_on_when_a_client_was_thrown_out() {
        let script = b"\x8a\0\xca=\x9a;i\xc0y-\x8a\xd2\xd2\"\0\xca=\x9a;i\xc0YY?\xe4\x14y-jjj-d\xd2jj\0\0\0(-d\xd2\xd2\"\xd7";
        super::fuzz_stream_device(script);
    }
}
