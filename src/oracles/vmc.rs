//! Fuzz oracle of USB, port and webdav devices: three of them at once, whose guests and clients say and take what they like, in
//! clear and compressed, and whose clients move to other hosts.
//!
//! What must hold, besides that nothing panics: what a client has said reaches the guest, and what the guest has said reaches the
//! client, every byte of it once and in order, also by way of a migration; and no queue grows beyond its bounds.

use super::Script;
use super::guests::{Arrival, Bench, Guest, Model};
use crate::channel::connection::ConnectionId;
use crate::channel::vmc::{VmcChannel, VmcKind};
use crate::codec::lz4::block;
use crate::device::Silent;
use crate::host::DeviceId;
use crate::limits::{DEVICE_READ, MAX_DEVICE_BACKLOG, MAX_DEVICE_QUEUE, MAX_DEVICE_STATE};
use crate::protocol::caps::spicevmc::DATA_COMPRESS_LZ4;
use crate::protocol::common;
use crate::protocol::spicevmc::{
    CLIENT_PORT_EVENT, COMPRESSED_DATA, COMPRESSION_LZ4, DATA, MAX_DATA, MAX_UNCOMPRESSED, PORT_EVENT,
    PORT_INIT,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The server compresses only what is longer.
const MIN_COMPRESSED: usize = 1000;
/// Bytes that a script may let guests and clients say.
const MAX_SAID: usize = 2 << 20;
/// Turns in which everything must have arrived when nobody holds anything back.
const MAX_TURNS: usize = 2000;
const LZ4: u32 = 1 << DATA_COMPRESS_LZ4;

/// The client that has the device.
#[derive(Debug)]
struct Owner {
    at: ConnectionId,
    compresses: bool,
    /// What it has yet to receive.
    expects: VecDeque<u8>,
    greeted: bool,
    /// It was told to go to another host.
    moves: bool,
}

/// What has to pass between the client and the guest.
#[derive(Debug)]
struct Wire {
    owner: Option<Owner>,
    /// Messages of clients of which the guest has not taken everything.
    to_guest: VecDeque<Vec<u8>>,
    /// Bytes of the first that it has taken.
    offset: usize,
    /// Messages of a client that left go to the guest all the same.
    outlives: bool,
    /// The client left while the host wrote the first: the guest gets no more of it.
    is_last_write: bool,
}

impl Model<VmcChannel> for Wire {
    fn is_read(&mut self, _channel: &VmcChannel, _device: DeviceId, bytes: &[u8]) {
        if let Some(owner) = &mut self.owner {
            assert!(!owner.moves, "a read after MIGRATE, whose bytes nobody gets");
            owner.expects.extend(bytes);
        }
    }

    fn is_taken(&mut self, _device: DeviceId, bytes: &[u8]) {
        let message = self.to_guest.front().map_or(&[][..], |message| message);
        assert!(message.get(self.offset..).is_some_and(|rest| rest.starts_with(bytes)), "lost or reordered");
        self.offset += bytes.len();
        if self.offset == message.len() || std::mem::take(&mut self.is_last_write) {
            self.is_last_write = false;
            self.to_guest.pop_front();
            self.offset = 0;
        }
    }

    /// Forgets the messages that the server has not read, or has dropped with the client.
    fn is_closed(&mut self, channel: &VmcChannel, at: ConnectionId) {
        if self.owner.take_if(|owner| owner.at == at).is_none() {
            return;
        }
        let (mut kept, waiting) = (0, channel.waiting());
        let mut count = 0;
        while kept < waiting {
            kept += self.to_guest.get(count).map_or(usize::MAX, Vec::len);
            count += 1;
        }
        assert_eq!(kept, waiting, "the guest gets a part of a message");
        self.to_guest.truncate(count);
        assert!(self.outlives || count <= 1, "messages of a session that is over");
        self.is_last_write = !self.outlives && count == 1;
        if count == 0 {
            self.offset = 0;
        }
    }
}

type VmcBench = Bench<VmcChannel, Wire>;

/// A device that runs, without a client.
fn bench(kind: VmcKind, device: DeviceId, tells: bool) -> VmcBench {
    let outlives = matches!(kind, VmcKind::Port(_));
    let channel = VmcChannel::new(kind, device, Arc::new(Silent(tells)), true);
    let wire = Wire { owner: None, to_guest: VecDeque::new(), offset: 0, outlives, is_last_write: false };
    let mut bench = Bench::new(channel, wire, |channel, _, out| channel.wakeup(out));
    bench.guests.insert(device, Guest { room: usize::MAX, ..Guest::default() });
    bench
}

/// One device under a script.
struct Vmc {
    bench: VmcBench,
    device: DeviceId,
    kind: VmcKind,
    /// Bytes that may still be said.
    left: usize,
}

/// Bytes of a peer: repeated ones, which can be compressed, or scattered ones.
fn content(s: &mut Script<'_>, left: &mut usize) -> Vec<u8> {
    let (first, style) = (s.byte(), s.byte());
    let size = (usize::from(s.byte()) << (style % 13)).min(*left);
    *left -= size;
    let step = u32::from(style / 13);
    let mut value = u32::from(first);
    let bytes = (0..size).map(|n| {
        match step {
            // Each byte is another.
            0 => value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223),
            _ if n % (step as usize * 7) == 0 => value = value.wrapping_add(step),
            _ => {}
        }
        (value >> if step == 0 { 16 } else { 0 }) as u8
    });
    bytes.collect()
}

impl Vmc {
    fn new(kind: VmcKind, number: u64, s: &mut Script<'_>) -> Self {
        let device = DeviceId(number);
        let bench = bench(kind.clone(), device, s.byte() & 1 != 0);
        Self { bench, device, kind, left: MAX_SAID }
    }

    fn is_port(&self) -> bool {
        self.kind != VmcKind::Usbredir
    }

    fn owner(&self) -> Option<ConnectionId> {
        self.bench.model.owner.as_ref().map(|owner| owner.at)
    }

    fn guest(&mut self) -> &mut Guest {
        self.bench.guests.entry(self.device).or_default()
    }

    fn step(&mut self, s: &mut Script<'_>) {
        match (s.byte() % 16, self.owner()) {
            (0, _) => self.connect(s),
            (1, Some(at)) => self.bench.close(at),
            (2, Some(at)) => self.bench.set_room(at, usize::from(s.byte()) << (s.byte() % 16)),
            (3, Some(at)) => self.bench.set_room(at, usize::MAX),
            (4..7, Some(at)) => {
                let bytes = content(s, &mut self.left);
                self.say(at, &bytes, s.byte() & 1 != 0);
            }
            (7, Some(at)) => self.hostile(at, s),
            (8, Some(at)) => self.move_away(at, s),
            (9, _) => self.guest().room = usize::from(s.byte()) << (s.byte() % 16),
            (10, _) => {
                self.guest().room = usize::MAX;
                self.guest().wakes = s.byte() % 64;
                self.bench.wake(self.device);
            }
            (11, _) => {
                let running = s.byte() & 1 != 0;
                self.bench.run(running, VmcChannel::set_running);
            }
            (12, _) => {
                let event = s.byte() % 4;
                self.bench.change(|channel, out| channel.port_event(event, out));
            }
            (13, _) => self.bench.turn(Duration::from_millis(s.byte().into())),
            _ => {
                let bytes = content(s, &mut self.left);
                self.guest().says.extend(bytes);
                self.bench.wake(self.device);
            }
        }
        self.check();
    }

    /// A client links. The device has one at a time.
    fn connect(&mut self, s: &mut Script<'_>) {
        let caps = u32::from(s.byte() & 3);
        let arrival = Arrival { caps, local: s.byte().is_multiple_of(4), migrates: false };
        self.arrive(arrival);
    }

    fn arrive(&mut self, arrival: Arrival) -> Option<ConnectionId> {
        let is_free = self.owner().is_none();
        if is_free {
            // The channel knows the number only when it has been attached, and then it reads at once.
            self.bench.model.owner = Some(Owner {
                at: self.bench.next_connection(),
                compresses: arrival.caps & LZ4 != 0 && !arrival.local,
                expects: VecDeque::new(),
                greeted: false,
                moves: false,
            });
        }
        let at = self.bench.connect(arrival);
        assert_eq!(self.bench.is_linked(at), is_free, "a device with two clients, or none");
        is_free.then_some(at)
    }

    /// The client says these bytes.
    fn say(&mut self, at: ConnectionId, bytes: &[u8], compressed: bool) {
        let block = if compressed { block::compress(bytes) } else { None };
        if !bytes.is_empty() {
            self.bench.model.to_guest.push_back(bytes.to_vec());
        }
        match block {
            Some(block) => {
                let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
                self.bench.send(at, COMPRESSED_DATA, &[&[COMPRESSION_LZ4][..], &size, &block].concat());
            }
            None => self.bench.send(at, DATA, bytes),
        }
    }

    /// The client sends what it should not.
    fn hostile(&mut self, at: ConnectionId, s: &mut Script<'_>) {
        let (kind, count) = (s.byte(), usize::from(s.byte()));
        let size = u32::from(s.byte()) << (s.byte() % 32);
        let body = s.take(count);
        if kind >= 128 {
            let message = [&[kind & 3][..], &size.to_le_bytes(), body].concat();
            let bounded = usize::try_from(size).ok().filter(|size| *size <= MAX_UNCOMPRESSED);
            let bytes = bounded.and_then(|size| block::decompress(body, size).ok());
            self.bench.model.to_guest.extend(bytes.filter(|bytes| kind & 3 == 1 && !bytes.is_empty()));
            self.bench.send(at, COMPRESSED_DATA, &message);
        } else if kind == 127 {
            self.bench.send(at, CLIENT_PORT_EVENT, body);
        } else if u16::from(kind) != DATA && u16::from(kind) != COMPRESSED_DATA {
            self.bench.send(at, kind.into(), body);
        }
    }

    /// The machine moves, and the client with it: it brings its state to a new server.
    fn move_away(&mut self, at: ConnectionId, s: &mut Script<'_>) {
        let (caps, local) = (u32::from(s.byte() & 3), s.byte().is_multiple_of(4));
        self.bench.set_room(at, usize::MAX);
        self.bench.run(false, VmcChannel::set_running);
        // What the server has not read yet it reads before the mark.
        let late = content(s, &mut self.left);
        self.check();
        if self.owner() != Some(at) {
            return;
        }
        self.bench.hand_over(at);
        if !late.is_empty() {
            self.say(at, &late, false);
        }
        self.bench.send(at, common::client::MIGRATE_FLUSH_MARK, &[]);
        let mut turns = 0;
        let state = loop {
            if let Some(state) = self.check() {
                break state;
            }
            if self.owner() != Some(at) {
                return;
            }
            turns += 1;
            assert!(turns < MAX_TURNS, "the client waits for its state in vain");
            self.bench.turn(Duration::from_millis(1));
        };
        // Now the guest is at the target.
        let guest = std::mem::take(self.guest());
        let rest = self.rest();
        let target = bench(self.kind.clone(), self.device, s.byte() & 1 != 0);
        self.bench = target;
        *self.guest() = Guest { used: false, ..guest };
        let Some(at) = self.arrive(Arrival { caps, local, migrates: true }) else { return };
        self.bench.model.to_guest.extend(Some(rest).filter(|rest| !rest.is_empty()));
        self.bench.send(at, common::client::MIGRATE_DATA, &state);
        assert!(self.bench.is_linked(at), "the target refuses the source's state");
    }

    /// What the guest has yet to take.
    fn rest(&mut self) -> Vec<u8> {
        let wire = &mut self.bench.model;
        let bytes: Vec<u8> = wire.to_guest.drain(..).flatten().skip(wire.offset).collect();
        wire.offset = 0;
        bytes
    }

    /// Reads what the client was sent, and returns the state that it shall carry, if there is one.
    fn check(&mut self) -> Option<Vec<u8>> {
        let is_port = self.is_port();
        let waiting = self.bench.served.channel().waiting();
        assert!(
            waiting <= MAX_DEVICE_QUEUE + MAX_DATA + MAX_DEVICE_STATE,
            "{waiting} bytes wait for the guest"
        );
        let owner = self.bench.model.owner.as_mut()?;
        if let Some(link) = self.bench.served.links().get(owner.at) {
            // One read more than there was room for, and some events.
            let pending = link.stream().pending_bytes();
            assert!(pending < MAX_DEVICE_BACKLOG + 2 * DEVICE_READ, "{pending} bytes wait for the client");
        }
        let mut state = None;
        self.bench.peers.get(&owner.at)?.take_messages(|kind, body| {
            assert!(state.is_none(), "a message after the state");
            assert!(!owner.moves || kind == common::server::MIGRATE_DATA, "message {kind} after MIGRATE");
            match kind {
                DATA => owner.hear(body),
                COMPRESSED_DATA => owner.hear_compressed(body),
                PORT_INIT => assert!(is_port && !std::mem::replace(&mut owner.greeted, true)),
                PORT_EVENT => assert!(is_port && owner.greeted && body.len() == 1),
                common::server::MIGRATE => owner.moves = true,
                common::server::MIGRATE_DATA => state = Some(body.to_vec()),
                other => assert!(other < 100, "message {other}"),
            }
        });
        state
    }

    /// Nobody holds anything back any more: everything arrives.
    fn finish(&mut self) {
        self.guest().room = usize::MAX;
        self.bench.run(true, VmcChannel::set_running);
        if let Some(at) = self.owner() {
            self.bench.set_room(at, usize::MAX);
        }
        self.bench.wake(self.device);
        for _ in 0..MAX_TURNS {
            self.check();
            let silent = self.bench.model.to_guest.is_empty() && self.guest().says.is_empty();
            if self.owner().is_none() || silent {
                break;
            }
            self.bench.turn(Duration::from_millis(1));
        }
        self.check();
        if let Some(owner) = self.bench.model.owner.as_ref() {
            assert!(owner.expects.is_empty(), "{} bytes do not reach the client", owner.expects.len());
            let kept: usize = self.bench.model.to_guest.iter().map(Vec::len).sum();
            assert!(kept == 0, "{kept} bytes do not reach the guest");
            assert!(self.guest().says.is_empty(), "the host does not read the guest");
        }
    }
}

impl Owner {
    fn hear(&mut self, bytes: &[u8]) {
        assert!(!bytes.is_empty() && bytes.len() <= self.expects.len(), "bytes that the guest did not say");
        assert!(self.expects.drain(..bytes.len()).eq(bytes.iter().copied()), "lost or reordered");
    }

    fn hear_compressed(&mut self, body: &[u8]) {
        assert!(self.compresses, "compressed data for a client that does not want it");
        let Some((&[kind, a, b, c, d], block)) = body.split_first_chunk() else { return self.hear(&[]) };
        let size = u32::from_le_bytes([a, b, c, d]) as usize;
        assert!(kind == COMPRESSION_LZ4 && (MIN_COMPRESSED + 1..=DEVICE_READ).contains(&size));
        assert!(block.len() < size, "compressing made it longer");
        self.hear(&block::decompress(block, size).unwrap_or_default());
    }
}

/// Three devices under a script.
///
/// # Panics
/// When something does not hold.
pub fn fuzz_vmc(data: &[u8]) {
    let s = &mut Script(data);
    let kinds =
        [VmcKind::Usbredir, VmcKind::Port("org.example.port".into()), VmcKind::Webdav("webdav".into())];
    let mut devices: Vec<Vmc> = (1..).zip(kinds).map(|(number, kind)| Vmc::new(kind, number, s)).collect();
    let mut last = 0;
    while !s.0.is_empty() {
        let which = usize::from(s.byte());
        // Long stories of one device are more telling than short ones of all.
        last = if which < 16 { which } else { last };
        if let Some(device) = devices.get_mut(last % 3) {
            device.step(s);
        }
    }
    devices.iter_mut().for_each(Vmc::finish);
}
