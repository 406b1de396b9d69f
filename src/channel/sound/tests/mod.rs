//! The sound channels against clients in memory, whose sockets take as much as the test says.

mod playback;
mod record;

use crate::channel::connection::{ClientId, ConnectionId};
use crate::channel::out::Said;
use crate::channel::served::Served;
use crate::channel::{Channel, Out};
use crate::host::Readiness;
use crate::oracles::memory::MemoryPeer;
use std::collections::BTreeMap;
use std::time::Instant;

/// A message as a client sees it.
type Got = (u16, Vec<u8>);

/// A channel, its clients, and the part of the server that they need.
struct Bench<C: Channel> {
    served: Served<C>,
    peers: BTreeMap<ConnectionId, MemoryPeer>,
    now: Instant,
    next: u64,
}

impl<C: Channel> Bench<C> {
    fn new(channel: C) -> Self {
        Self { served: Served::new(Box::new(channel)), peers: BTreeMap::new(), now: Instant::now(), next: 0 }
    }

    /// A client with these capabilities.
    fn connect(&mut self, caps: u32) -> ConnectionId {
        self.next += 1;
        let (at, channel_type) = (ConnectionId(self.next), self.served.channel().profile().channel_type);
        let (connection, peer) = MemoryPeer::connect(channel_type, ClientId(self.next), caps, false);
        self.peers.insert(at, peer);
        self.change(|served, now, said| served.attach(at, connection, now, said));
        at
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Served<C>, Instant, &mut Said) -> R) -> R {
        let mut said = Said::default();
        let result = change(&mut self.served, self.now, &mut said);
        while self.served.is_touched() {
            while let Some(at) = self.served.next_touched() {
                self.served.flush(at, self.now, &mut said);
            }
        }
        for (at, _) in std::mem::take(&mut said.ended) {
            self.close(at);
        }
        result
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut C, &mut Out<'_>) -> R) -> R {
        self.change(|served, now, said| {
            let (channel, mut out) = served.parts(now, said);
            call(channel, &mut out)
        })
    }

    fn close(&mut self, at: ConnectionId) {
        if self.served.take(at).is_some() {
            self.change(|served, now, said| served.on_closed(at, now, said));
        }
    }

    /// The client's messages are read.
    fn read(&mut self, at: ConnectionId) {
        let ready = Readiness { read: true, write: false };
        self.change(|served, now, said| served.on_ready(at, ready, now, said));
    }

    /// The client's socket takes so many more bytes.
    fn set_room(&mut self, at: ConnectionId, room: usize) {
        self.peers[&at].set_room(room);
        self.change(|served, now, said| served.flush(at, now, said));
    }

    /// What the client received since the last time, pings left out.
    fn got(&self, at: ConnectionId) -> Vec<Got> {
        let mut got = Vec::new();
        self.peers[&at].take_messages(|kind, body| got.push((kind, body.to_vec())));
        got.retain(|(kind, _)| *kind > 100);
        got
    }

    fn types(&self, at: ConnectionId) -> Vec<u16> {
        self.got(at).into_iter().map(|(kind, _)| kind).collect()
    }

    fn is_linked(&self, at: ConnectionId) -> bool {
        self.served.links().get(at).is_some()
    }
}
