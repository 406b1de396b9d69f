//! Fuzz oracle of smartcard readers: several readers and several clients, each of which says what it likes.
//!
//! What must hold, besides that nothing panics: each reader hears the messages of the client that it is bound to, whole, in order
//! and under its own id, and a reader that is added is removed before it is added again; a client hears what its readers say; the
//! host is told of every change of a reader's use, once.

use super::Script;
use super::guests::{Arrival, Bench, Guest, Model};
use crate::channel::connection::ConnectionId;
use crate::channel::link::ChannelLink;
use crate::channel::smartcard::SmartcardChannel;
use crate::device::Silent;
use crate::host::DeviceId;
use crate::limits::{MAX_CARD_MESSAGE, MAX_DEVICE_STATE};
use crate::protocol::common;
use crate::protocol::spicevmc::SMARTCARD;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const MAX_READERS: usize = 4;
const MAX_CLIENTS: usize = 3;
/// Bytes that a script may let guests and clients say.
const MAX_SAID: usize = 1 << 20;
/// Turns in which everything must have arrived when nobody holds anything back.
const MAX_TURNS: usize = 1000;
const HEADER: usize = 12;

const INIT: u32 = 1;
const ERROR: u32 = 2;
const READER_ADD: u32 = 3;
const READER_REMOVE: u32 = 4;
const CARD_REMOVE: u32 = 6;
const APDU: u32 = 7;

/// Kind, reader and data of a message.
type Card = (u32, u32, Vec<u8>);

fn encode(card: &Card, word: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let size = u32::try_from(card.2.len()).unwrap_or(u32::MAX);
    [[card.0, card.1, size].map(word).as_flattened(), &card.2].concat()
}

/// The first message of these bytes and its length; the length alone if it is not complete.
fn decode(bytes: &[u8], word: fn([u8; 4]) -> u32) -> Option<(usize, Option<Card>)> {
    let (head, rest) = bytes.split_first_chunk::<HEADER>()?;
    let [kind, id, size] =
        [0, 4, 8].map(|at| head.get(at..).and_then(|w| w.first_chunk()).map_or(0, |w| word(*w)));
    let size = size as usize;
    Some((size, rest.get(..size).map(|data| (kind, id, data.to_vec()))))
}

/// What a reader's guest has said and heard.
#[derive(Debug, Default)]
struct Reader {
    id: Option<u32>,
    /// Said, but not a whole message.
    part: Vec<u8>,
    /// It broke the protocol.
    broken: bool,
    /// Heard, but not a whole message.
    heard: Vec<u8>,
    /// The guest sees a reader of a client.
    added: bool,
}

/// A message for a reader.
#[derive(Debug)]
struct Sent {
    from: ConnectionId,
    kind: u32,
    data: Vec<u8>,
    /// It may be lost, because its client has left.
    optional: bool,
}

#[derive(Debug, Default)]
struct Client {
    expects: VecDeque<Card>,
    /// Messages that the server itself may have answered with an error.
    errors: usize,
    /// It was told to go to another host.
    moves: bool,
}

#[derive(Debug, Default)]
struct Cards {
    readers: BTreeMap<DeviceId, Reader>,
    clients: BTreeMap<ConnectionId, Client>,
    /// What the readers have yet to hear, by their ids.
    sent: BTreeMap<u32, VecDeque<Sent>>,
}

impl Model<SmartcardChannel> for Cards {
    fn is_read(&mut self, channel: &SmartcardChannel, device: DeviceId, bytes: &[u8]) {
        let (Some(reader), Some((id, client, _))) = (self.readers.get_mut(&device), channel.reader(device))
        else {
            return;
        };
        assert!(!reader.broken, "a read of a reader that was given up");
        reader.part.extend(bytes);
        while let Some((size, whole)) = decode(&reader.part, u32::from_be_bytes) {
            if size > MAX_CARD_MESSAGE {
                reader.broken = true;
                return;
            }
            let Some((kind, _, data)) = whole else { break };
            reader.part.drain(..HEADER + size);
            if let Some(client) = client.filter(|_| kind != INIT).and_then(|at| self.clients.get_mut(&at)) {
                client.expects.push_back((kind, id, data));
            }
        }
    }

    fn is_taken(&mut self, device: DeviceId, bytes: &[u8]) {
        let Some(reader) = self.readers.get_mut(&device) else { return };
        assert!(!reader.broken, "a write to a reader that was given up");
        reader.heard.extend(bytes);
        while let Some((size, Some((kind, id, data)))) = decode(&reader.heard, u32::from_be_bytes) {
            reader.heard.drain(..HEADER + size);
            assert_eq!(Some(id), reader.id, "the id of another reader");
            match kind {
                READER_ADD => assert!(!std::mem::replace(&mut reader.added, true), "added twice"),
                READER_REMOVE => {
                    assert!(std::mem::replace(&mut reader.added, false), "removed without being there")
                }
                _ => {
                    let queue = self.sent.entry(id).or_default();
                    // The messages of each client come in order; which client comes first is not known here.
                    let is_next = |optional: bool| {
                        let fits = |at: &usize| {
                            queue.get(*at).is_some_and(|this| {
                                let mut before = queue.iter().take(*at);
                                (this.optional, this.kind, &this.data) == (optional, kind, &data)
                                    && before.all(|sent| sent.optional || sent.from != this.from)
                            })
                        };
                        (0..queue.len()).find(fits)
                    };
                    let found = is_next(false).or_else(|| is_next(true));
                    let heard = found.and_then(|at| queue.remove(at));
                    assert!(heard.is_some(), "lost, reordered or never sent: {kind}, {} bytes", data.len());
                }
            }
        }
    }

    fn is_closed(&mut self, _channel: &SmartcardChannel, at: ConnectionId) {
        self.clients.remove(&at);
        for sent in self.sent.values_mut().flatten().filter(|sent| sent.from == at) {
            sent.optional = true;
        }
    }
}

type CardBench = Bench<SmartcardChannel, Cards>;

fn bench() -> CardBench {
    Bench::new(SmartcardChannel::default(), Cards::default(), SmartcardChannel::wakeup)
}

struct Desk {
    bench: CardBench,
    next: u64,
    left: usize,
}

impl Desk {
    fn step(&mut self, s: &mut Script<'_>) {
        let clients: Vec<ConnectionId> = self.bench.model.clients.keys().copied().collect();
        let devices: Vec<DeviceId> = self.bench.guests.keys().copied().collect();
        let which = usize::from(s.byte());
        let at = clients.get(which % clients.len().max(1)).copied();
        let device = devices.get(which / 16 % devices.len().max(1)).copied();
        match (s.byte() % 20, at, device) {
            (0, ..) if clients.len() < MAX_CLIENTS => {
                let arrival = Arrival { caps: 0, local: s.byte() & 1 != 0, migrates: false };
                self.arrive(arrival);
            }
            (1, Some(at), _) => self.bench.close(at),
            (2, Some(at), _) => self.bench.set_room(at, usize::from(s.byte()) << (s.byte() % 16)),
            (3, Some(at), _) => self.bench.set_room(at, usize::MAX),
            (4, Some(at), _) => self.send(at, READER_ADD, NAME_ID, b"name"),
            (5, Some(at), _) => self.send(at, READER_REMOVE, u32::from(s.byte() % 5), &[]),
            (6..9, Some(at), _) => {
                let kind =
                    [ERROR, 5, CARD_REMOVE, APDU].get(usize::from(s.byte() % 4)).copied().unwrap_or(APDU);
                let id = u32::from(s.byte() % 16).saturating_sub(12);
                let data = self.content(s);
                self.send(at, kind, id, &data);
            }
            (9, Some(at), _) => {
                let (kind, id, count) = (s.byte() % 12, s.byte() % 5, usize::from(s.byte()));
                let id = if id == 4 { u32::MAX } else { id.into() };
                let data = s.take(count).to_vec();
                self.send(at, kind.into(), id, &data);
            }
            (10, Some(at), _) => self.hostile(at, s),
            (11, Some(at), _) => self.move_away(at, s),
            (12, _, Some(device)) => {
                let (room, wakes) = (usize::from(s.byte()) << (s.byte() % 12), s.byte() % 32);
                let guest = self.bench.guests.entry(device).or_default();
                (guest.room, guest.wakes) = (room, wakes);
                self.bench.wake(device);
            }
            (13, _, Some(device)) => {
                self.bench.guests.entry(device).or_default().room = usize::MAX;
                self.bench.wake(device);
            }
            (14 | 15, _, Some(device)) => {
                let kind = u32::from(s.byte() % 10);
                let data = self.content(s);
                self.say(device, &encode(&(kind, 0, data), u32::to_be_bytes));
            }
            (16, _, Some(device)) => {
                let count = usize::from(s.byte() % 64);
                let bytes = s.take(count).to_vec();
                self.say(device, &bytes);
            }
            (17, _, Some(device)) if s.byte() & 1 != 0 => self.remove(device),
            (18, ..) => {
                let running = s.byte() & 1 != 0;
                self.bench.run(running, SmartcardChannel::set_running);
            }
            (19, ..) => self.bench.turn(Duration::from_millis(s.byte().into())),
            _ if devices.len() < MAX_READERS => {
                self.next += 1;
                self.add(
                    DeviceId(self.next),
                    s.byte() & 1 != 0,
                    Guest { room: usize::MAX, ..Guest::default() },
                );
            }
            _ => {}
        }
        self.check();
    }

    fn content(&mut self, s: &mut Script<'_>) -> Vec<u8> {
        let (first, shift) = (s.byte(), s.byte() % 10);
        let size = (usize::from(s.byte()) << shift).min(self.left).min(MAX_CARD_MESSAGE);
        self.left -= size;
        (0..size).map(|n| first.wrapping_add((n % 251) as u8)).collect()
    }

    fn arrive(&mut self, arrival: Arrival) -> ConnectionId {
        self.bench.model.clients.insert(self.bench.next_connection(), Client::default());
        let at = self.bench.connect(arrival);
        assert!(self.bench.is_linked(at), "a client that may wait for a reader");
        at
    }

    fn add(&mut self, device: DeviceId, tells: bool, guest: Guest) {
        self.bench.guests.insert(device, guest);
        self.bench.model.readers.insert(device, Reader::default());
        let running = self.bench.running;
        self.bench.change(|channel, out| channel.add(device, Arc::new(Silent(tells)), running, out));
        let id = self.bench.served.channel().reader(device).map(|(id, ..)| id);
        let others = self.bench.model.readers.iter().filter(|(other, _)| **other != device);
        assert!(id.is_some() && others.map(|(_, reader)| reader.id).all(|other| other != id), "an id twice");
        self.bench.model.readers.entry(device).or_default().id = id;
    }

    fn remove(&mut self, device: DeviceId) {
        let told = self.bench.change(|channel, _| channel.remove(device));
        let used = self.bench.guests.remove(&device).is_some_and(|guest| guest.used);
        assert_eq!(told, used, "what the host is told at the end");
        let id = self.bench.model.readers.remove(&device).and_then(|reader| reader.id);
        let queue = id.and_then(|id| self.bench.model.sent.get_mut(&id));
        queue.into_iter().flatten().for_each(|sent| sent.optional = true);
    }

    fn say(&mut self, device: DeviceId, bytes: &[u8]) {
        self.bench.guests.entry(device).or_default().says.extend(bytes);
        self.bench.wake(device);
    }

    fn send(&mut self, at: ConnectionId, kind: u32, id: u32, data: &[u8]) {
        match kind {
            READER_ADD | READER_REMOVE => {
                self.bench.model.clients.entry(at).or_default().errors += 1;
            }
            ERROR | 5..=APDU => {
                let sent = Sent { from: at, kind, data: data.to_vec(), optional: false };
                self.bench.model.sent.entry(id).or_default().push_back(sent);
            }
            _ => {}
        }
        self.bench.send(at, SMARTCARD, &encode(&(kind, id, data.to_vec()), u32::to_le_bytes));
    }

    /// What no client should send.
    fn hostile(&mut self, at: ConnectionId, s: &mut Script<'_>) {
        let (kind, count) = (u16::from(s.byte()), usize::from(s.byte() % 32));
        let body = s.take(count).to_vec();
        if kind != SMARTCARD {
            self.bench.send(at, kind, &body);
        } else if decode(&body, u32::from_le_bytes).is_none_or(|(_, whole)| whole.is_none()) {
            self.bench.send(at, kind, &body);
            let reads = self.bench.served.links().get(at).is_some_and(|link| link.interest().read);
            assert!(!reads, "a message that is too short was accepted");
        }
    }

    /// A machine with one reader moves, and the client with it.
    fn move_away(&mut self, at: ConnectionId, s: &mut Script<'_>) {
        let channel = self.bench.served.channel();
        let bound = self.bench.guests.keys().filter_map(|device| Some((*device, channel.reader(*device)?)));
        let mine: Vec<_> = bound.filter(|(_, (_, client, _))| *client == Some(at)).collect();
        let [(device, (0, _, false))] = mine[..] else { return };
        let late = self.content(s);
        self.bench.set_room(at, usize::MAX);
        self.bench.run(false, SmartcardChannel::set_running);
        self.bench.hand_over(at);
        self.send(at, APDU, 0, &late);
        self.bench.send(at, common::client::MIGRATE_FLUSH_MARK, &[]);
        let mut turns = 0;
        let state = loop {
            if let Some(state) = self.check().remove(&at) {
                break state;
            }
            if !self.bench.is_linked(at) {
                return;
            }
            turns += 1;
            assert!(turns < MAX_TURNS, "the client waits for its state in vain");
            self.bench.turn(Duration::from_millis(1));
        };
        // Nobody else follows.
        let guest = self.bench.guests.remove(&device).unwrap_or_default();
        let reader = self.bench.model.readers.remove(&device).unwrap_or_default();
        let mut sent = self.bench.model.sent.remove(&0).unwrap_or_default();
        self.bench = bench();
        // Devices rest until the machine is here.
        self.bench.running = false;
        self.add(device, s.byte() & 1 != 0, Guest { used: false, ..guest });
        let at = self.arrive(Arrival { caps: 0, local: s.byte() & 1 != 0, migrates: true });
        sent.iter_mut().for_each(|sent| sent.from = at);
        self.bench.model.sent.insert(0, sent);
        self.bench.model.readers.insert(device, Reader { id: Some(0), ..reader });
        assert!(state.len() <= MAX_DEVICE_STATE, "a state of {} bytes", state.len());
        self.bench.send(at, common::client::MIGRATE_DATA, &state);
        // Much is read bit by bit.
        for _ in 0..MAX_TURNS {
            if !self.bench.served.links().get(at).is_some_and(ChannelLink::awaits_migrate_data) {
                break;
            }
            self.bench.turn(Duration::from_millis(1));
        }
        assert!(self.bench.is_linked(at), "the target refuses the source's state");
        self.bench.run(true, SmartcardChannel::set_running);
    }

    /// Reads what the clients were sent, and returns the states that they shall carry.
    fn check(&mut self) -> BTreeMap<ConnectionId, Vec<u8>> {
        let mut states = BTreeMap::new();
        for (at, client) in &mut self.bench.model.clients {
            let Some(peer) = self.bench.peers.get(at) else { continue };
            peer.take_messages(|kind, body| {
                assert!(
                    !client.moves || kind == common::server::MIGRATE_DATA,
                    "message {kind} after MIGRATE"
                );
                match kind {
                    SMARTCARD => client.hear(body),
                    common::server::MIGRATE => client.moves = true,
                    common::server::MIGRATE_DATA => drop(states.insert(*at, body.to_vec())),
                    other => assert!(other < 100, "message {other}"),
                }
            });
        }
        states
    }

    /// Nobody holds anything back any more: everything arrives.
    fn finish(&mut self) {
        let clients: Vec<ConnectionId> = self.bench.model.clients.keys().copied().collect();
        for guest in self.bench.guests.values_mut() {
            guest.room = usize::MAX;
        }
        self.bench.run(true, SmartcardChannel::set_running);
        for at in clients {
            self.bench.set_room(at, usize::MAX);
        }
        let devices: Vec<DeviceId> = self.bench.guests.keys().copied().collect();
        for device in devices {
            self.bench.wake(device);
        }
        for _ in 0..MAX_TURNS {
            self.check();
            if self.unheard().is_none() {
                return;
            }
            self.bench.turn(Duration::from_millis(1));
        }
        let unheard = self.unheard();
        assert!(unheard.is_none(), "{}", unheard.unwrap_or_default());
    }

    /// What somebody has yet to hear.
    fn unheard(&self) -> Option<&'static str> {
        let model = &self.bench.model;
        if model.clients.values().any(|client| !client.expects.is_empty()) {
            return Some("a client does not hear its reader");
        }
        for (device, reader) in &model.readers {
            if reader.broken {
                continue;
            }
            let queue = reader.id.and_then(|id| model.sent.get(&id));
            if queue.is_some_and(|queue| queue.iter().any(|sent| !sent.optional)) {
                return Some("a reader does not hear its client");
            }
            if self.bench.guests.get(device).is_some_and(|guest| !guest.says.is_empty()) {
                return Some("the host does not read a reader");
            }
            let bound =
                self.bench.served.channel().reader(*device).is_some_and(|(_, client, _)| client.is_some());
            if reader.added && !bound {
                return Some("a reader stays although its client has left");
            }
        }
        None
    }
}

/// The reader that a client names before it knows one.
const NAME_ID: u32 = u32::MAX;

impl Client {
    fn hear(&mut self, body: &[u8]) {
        let whole = decode(body, u32::from_le_bytes).and_then(|(_, whole)| whole);
        assert!(whole.is_some(), "a message without an end: {body:?}");
        let Some(card) = whole else { return };
        if self.expects.front() == Some(&card) {
            self.expects.pop_front();
            return;
        }
        assert!(card.0 == ERROR && card.2.len() == 4 && self.errors > 0, "never said: {card:?}");
        self.errors -= 1;
    }
}

/// Readers and clients under a script.
///
/// # Panics
/// When something does not hold.
pub fn fuzz_smartcard(data: &[u8]) {
    let s = &mut Script(data);
    let mut desk = Desk { bench: bench(), next: 0, left: MAX_SAID };
    desk.add(DeviceId(0), s.byte() & 1 != 0, Guest { room: usize::MAX, ..Guest::default() });
    while !s.0.is_empty() {
        desk.step(s);
    }
    desk.finish();
}
