//! One channel of character devices under an oracle: the guests behind the devices, and the clients in memory.

use super::memory::MemoryPeer;
use crate::channel::connection::{ChannelConnection, ClientId, ConnectionId};
use crate::channel::out::Said;
use crate::channel::served::Served;
use crate::channel::{Channel, Out};
use crate::host::call::{HostCall, HostReply};
use crate::host::{DeviceId, Readiness};
use crate::limits::DEVICE_READ;
use crate::net::stream::ChannelStream;
use crate::protocol::Caps;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The guest's side of one device.
#[derive(Debug, Default)]
pub(super) struct Guest {
    /// What it says and the host has not read.
    pub says: VecDeque<u8>,
    /// Bytes that it still takes.
    pub room: usize,
    /// So many times the host calls `wakeup` from inside of its callbacks.
    pub wakes: u8,
    /// What the host was told last: whether a client uses the device.
    pub used: bool,
}

/// What an oracle expects of its channel. It hears everything that passes between channel and guests.
pub(super) trait Model<C> {
    /// The host has read these bytes, and the channel does not know them yet.
    fn is_read(&mut self, channel: &C, device: DeviceId, bytes: &[u8]);
    /// The guest has taken these bytes.
    fn is_taken(&mut self, device: DeviceId, bytes: &[u8]);
    /// The channel has lost this client, whoever ended the link.
    fn is_closed(&mut self, channel: &C, at: ConnectionId);
}

/// What a client is when it links.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub caps: u32,
    /// Over a unix socket.
    pub local: bool,
    /// It brings the state that it had at another host.
    pub migrates: bool,
}

/// A channel with its guests, its clients, and the oracle's model of it.
pub(super) struct Bench<C: Channel, M: Model<C>> {
    pub served: Served<C>,
    pub guests: BTreeMap<DeviceId, Guest>,
    pub peers: BTreeMap<ConnectionId, MemoryPeer>,
    pub model: M,
    pub now: Instant,
    pub running: bool,
    wake: fn(&mut C, DeviceId, &mut Out<'_>),
    next: u64,
}

impl<C: Channel, M: Model<C>> Bench<C, M> {
    /// A channel of a machine that runs. `wake` is the channel's method for the host's `wakeup`.
    pub(super) fn new(channel: C, model: M, wake: fn(&mut C, DeviceId, &mut Out<'_>)) -> Self {
        Self {
            served: Served::new(Box::new(channel)),
            guests: BTreeMap::new(),
            peers: BTreeMap::new(),
            model,
            now: Instant::now(),
            running: true,
            wake,
            next: 0,
        }
    }

    /// What the next connection will be.
    pub(super) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next + 1)
    }

    /// A client links. It need not be accepted.
    pub(super) fn connect(&mut self, arrival: Arrival) -> ConnectionId {
        self.next += 1;
        let at = ConnectionId(self.next);
        let (transport, peer) = MemoryPeer::transport(arrival.local);
        let stream = ChannelStream::new(transport, true);
        let channel_type = self.served.channel().profile().channel_type;
        let mut connection = ChannelConnection::detached(stream, channel_type, ClientId(self.next));
        connection.channel_caps = Caps::from_words(vec![arrival.caps]);
        connection.migration_target = arrival.migrates;
        self.peers.insert(at, peer);
        let mut said = Said::default();
        self.served.attach(at, connection, self.now, &mut said);
        self.settle(said);
        at
    }

    /// Does something to the channel, and everything that follows from it.
    pub(super) fn change<R>(&mut self, change: impl FnOnce(&mut C, &mut Out<'_>) -> R) -> R {
        let mut said = Said::default();
        let result = {
            let (channel, mut out) = self.served.parts(self.now, &mut said);
            change(channel, &mut out)
        };
        self.settle(said);
        result
    }

    /// The host calls `wakeup`.
    pub(super) fn wake(&mut self, device: DeviceId) {
        let wake = self.wake;
        self.change(|channel, out| wake(channel, device, out));
    }

    /// Sends, tells and answers until nobody has anything to say.
    fn settle(&mut self, mut said: Said) {
        let mut calls = VecDeque::new();
        loop {
            while let Some(at) = self.served.next_touched() {
                self.served.flush(at, self.now, &mut said);
            }
            calls.extend(said.calls.drain(..));
            said.requests.clear();
            for (at, _) in std::mem::take(&mut said.ended) {
                self.forget(at, &mut said);
            }
            if self.served.is_touched() || !said.calls.is_empty() {
                continue;
            }
            let Some(call) = calls.pop_front() else { break };
            if let Some(reply) = self.answer(call, &mut said) {
                let (channel, mut out) = self.served.parts(self.now, &mut said);
                channel.on_reply(reply, &mut out);
            }
        }
    }

    fn answer(&mut self, call: HostCall, said: &mut Said) -> Option<HostReply> {
        match call {
            HostCall::DeviceRead { device, max } => {
                assert!(self.running, "a read of a stopped machine");
                assert!((1..=DEVICE_READ).contains(&max), "a read of {max} bytes");
                let guest = self.guests.get_mut(&device.id)?;
                let bytes: Vec<u8> = guest.says.drain(..max.min(guest.says.len())).collect();
                self.wake_inside(device.id, said);
                self.model.is_read(self.served.channel(), device.id, &bytes);
                Some(HostReply::DeviceRead { device: device.id, bytes })
            }
            HostCall::DeviceWrite { device, bytes, offset } => {
                assert!(self.running, "a write to a stopped machine");
                let guest = self.guests.get_mut(&device.id)?;
                let rest = bytes.get(offset..).unwrap_or_default();
                assert!(!rest.is_empty(), "a write of nothing");
                let taken = rest.len().min(guest.room);
                guest.room -= taken;
                self.model.is_taken(device.id, rest.get(..taken).unwrap_or_default());
                self.wake_inside(device.id, said);
                Some(HostReply::DeviceWritten { device: device.id, bytes, taken })
            }
            HostCall::DeviceState { device, connected } => {
                let guest = self.guests.get_mut(&device.id)?;
                assert_ne!(guest.used, connected, "the host is told twice");
                guest.used = connected;
                self.wake_inside(device.id, said);
                None
            }
            _ => None,
        }
    }

    fn wake_inside(&mut self, device: DeviceId, said: &mut Said) {
        let Some(guest) = self.guests.get_mut(&device) else { return };
        if guest.wakes > 0 {
            guest.wakes -= 1;
            let wake = self.wake;
            let (channel, mut out) = self.served.parts(self.now, said);
            wake(channel, device, &mut out);
        }
    }

    fn forget(&mut self, at: ConnectionId, said: &mut Said) {
        if self.served.take(at).is_some() {
            self.served.on_closed(at, self.now, said);
            self.model.is_closed(self.served.channel(), at);
        }
    }

    /// The client goes.
    pub(super) fn close(&mut self, at: ConnectionId) {
        let mut said = Said::default();
        self.forget(at, &mut said);
        self.settle(said);
        self.peers.remove(&at);
    }

    /// Whether the client is still linked.
    pub(super) fn is_linked(&self, at: ConnectionId) -> bool {
        self.served.links().get(at).is_some()
    }

    /// The client's socket takes so many more bytes.
    pub(super) fn set_room(&mut self, at: ConnectionId, room: usize) {
        let Some(peer) = self.peers.get(&at) else { return };
        peer.set_room(room);
        let mut said = Said::default();
        self.served.flush(at, self.now, &mut said);
        self.settle(said);
    }

    /// The client sends a message.
    pub(super) fn send(&mut self, at: ConnectionId, kind: u16, body: &[u8]) {
        let Some(peer) = self.peers.get(&at) else { return };
        peer.send(kind, body);
        // A watch tells of the socket only while the link wants to read.
        if self.served.links().get(at).is_some_and(|link| link.interest().read) {
            let (ready, mut said) = (Readiness { read: true, write: false }, Said::default());
            self.served.on_ready(at, ready, self.now, &mut said);
            self.settle(said);
        }
    }

    /// The machine stops or goes on.
    pub(super) fn run(&mut self, running: bool, set: fn(&mut C, bool, &mut Out<'_>)) {
        self.running = running;
        self.change(|channel, out| set(channel, running, out));
    }

    /// The machine has moved: the client shall follow it.
    pub(super) fn hand_over(&mut self, at: ConnectionId) {
        let mut said = Said::default();
        self.served.hand_over(at, self.now, &mut said);
        self.settle(said);
    }

    /// One turn of the main loop after this time.
    pub(super) fn turn(&mut self, time: Duration) {
        self.now += time;
        for at in self.served.due(self.now) {
            let mut said = Said::default();
            self.served.on_link_timer(at, self.now, &mut said);
            self.settle(said);
        }
        let readable: Vec<ConnectionId> = self.served.links().ids().collect();
        for at in readable {
            if self.served.links().get(at).is_some_and(|link| link.interest().read) {
                let (ready, mut said) = (Readiness { read: true, write: false }, Said::default());
                self.served.on_ready(at, ready, self.now, &mut said);
                self.settle(said);
            }
        }
        let mut said = Said::default();
        self.served.on_channel_timer(self.now, &mut said);
        self.settle(said);
    }
}
