//! Fuzz oracle of a whole server without its workers: clients come, send what they like on the channels of the host thread,
//! and go, in any order and at any time.
//!
//! What must hold: no panic, what is sent is framed, and after the server's end every connection is closed and every watch
//! and timer removed.

use super::channels::Home;
use super::core::Core;
use super::links::PendingLink;
use super::state::{Phase, State};
use super::{CharKind, Server, TabletId};
use crate::channel::connection::ConnectionId;
use crate::channel::sound::FRAME;
use crate::display;
use crate::host::call::HostCall;
use crate::host::{
    ChannelEvent, CharDevice, DeviceId, EventLoop, Keyboard, MigrationHost, Mouse, Readiness, Tablet,
    TimerId, WatchId,
};
use crate::oracles::Script;
use crate::oracles::memory::MemoryPeer;
use crate::protocol::Caps;
use crate::protocol::link::LinkMessage;
use crate::protocol::main_channel::MigrationTarget;
use crate::protocol::migrate::{
    CharDeviceState, DisplayState, MainState, SmartcardState, encode_inputs, encode_spicevmc,
};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

const READ: Readiness = Readiness { read: true, write: false };

/// Connections at a time.
const MAX_PEERS: usize = 6;

type WatchCallback = Arc<dyn Fn(Readiness) + Send + Sync>;
type TimerCallback = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Registered {
    next: u64,
    watches: BTreeMap<u64, (Readiness, WatchCallback)>,
    timers: BTreeMap<u64, (bool, TimerCallback)>,
}

/// A main loop in which everything is ready at every turn.
#[derive(Default)]
struct EagerLoop(Mutex<Registered>);

impl EagerLoop {
    fn inner(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) {
        let watches: Vec<u64> = self.inner().watches.keys().copied().collect();
        for id in watches {
            // It may have gone on account of another.
            let watch = self.inner().watches.get(&id).cloned();
            if let Some((interest, callback)) = watch.filter(|w| w.0.read || w.0.write) {
                callback(interest);
            }
        }
    }

    fn fire(&self) {
        let timers: Vec<u64> = self.inner().timers.keys().copied().collect();
        for id in timers {
            let due =
                self.inner().timers.get_mut(&id).and_then(|t| std::mem::take(&mut t.0).then(|| t.1.clone()));
            if let Some(callback) = due {
                callback();
            }
        }
    }
}

impl EventLoop for EagerLoop {
    fn watch_add(&self, _fd: RawFd, interest: Readiness, callback: WatchCallback) -> Option<WatchId> {
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        inner.watches.insert(id, (interest, callback));
        Some(WatchId(id))
    }
    fn watch_update(&self, watch: WatchId, interest: Readiness) {
        let mut inner = self.inner();
        let found = inner.watches.get_mut(&watch.0).map(|w| w.0 = interest);
        assert!(found.is_some(), "update of a watch that was removed");
    }
    fn watch_remove(&self, watch: WatchId) {
        assert!(self.inner().watches.remove(&watch.0).is_some(), "watch removed twice");
    }
    fn timer_add(&self, callback: TimerCallback) -> Option<TimerId> {
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        inner.timers.insert(id, (false, callback));
        Some(TimerId(id))
    }
    fn timer_start(&self, timer: TimerId, _milliseconds: u32) {
        let found = self.inner().timers.get_mut(&timer.0).map(|t| t.0 = true);
        assert!(found.is_some(), "start of a timer that was removed");
    }
    fn timer_cancel(&self, timer: TimerId) {
        if let Some(timer) = self.inner().timers.get_mut(&timer.0) {
            timer.0 = false;
        }
    }
    fn timer_remove(&self, timer: TimerId) {
        assert!(self.inner().timers.remove(&timer.0).is_some(), "timer removed twice");
    }
    fn channel_event(&self, _key: u64, _event: ChannelEvent) {}
}

/// Input devices that swallow everything.
struct Sink;

impl Keyboard for Sink {
    fn push_scan_code(&self, _byte: u8) {}
    fn leds(&self) -> u8 {
        2
    }
}

impl Mouse for Sink {
    fn motion(&self, _dx: i32, _dy: i32, _dz: i32, _buttons: u32) {}
    fn buttons(&self, _buttons: u32) {}
}

impl Tablet for Sink {
    fn set_logical_size(&self, _width: i32, _height: i32) {}
    fn position(&self, _x: i32, _y: i32, _buttons: u32) {}
    fn wheel(&self, _dz: i32, _buttons: u32) {}
    fn buttons(&self, _buttons: u32) {}
}

/// A character device that takes what its mood says, offers what it was told, and wakes the server up from inside of its
/// callbacks.
#[derive(Default)]
struct Pipe {
    offers: Mutex<VecDeque<u8>>,
    mood: AtomicUsize,
    inside: AtomicUsize,
    home: OnceLock<(Weak<Core>, DeviceId)>,
}

impl Pipe {
    fn wake(&self) {
        if let Some((core, id)) = self.home.get()
            && let Some(core) = core.upgrade()
        {
            core.with(|state| state.wake_char_device(*id));
        }
    }
}

impl CharDevice for Pipe {
    fn state(&self, _connected: bool) {
        self.wake();
    }
    fn write(&self, bytes: &[u8]) -> usize {
        assert_eq!(self.inside.fetch_add(1, Ordering::Relaxed), 0, "write from inside of write");
        self.wake();
        self.inside.fetch_sub(1, Ordering::Relaxed);
        bytes.len().min(self.mood.load(Ordering::Relaxed))
    }
    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = offers.len().min(buffer.len());
        buffer.iter_mut().zip(offers.drain(..count)).for_each(|(to, from)| *to = from);
        count
    }
    fn event(&self, _event: u8) {
        self.wake();
    }
    fn tells_when_writable(&self) -> bool {
        self.mood.load(Ordering::Relaxed) & 1 != 0
    }
}

struct Bench {
    devices: Vec<(DeviceId, Arc<Pipe>)>,
    server: Server,
    event_loop: Arc<EagerLoop>,
    /// Channel type and client's end.
    peers: Vec<(u8, MemoryPeer)>,
    tablet: Option<TabletId>,
}

impl Bench {
    fn new(s: &mut Script<'_>) -> Self {
        let (server, event_loop) = (Server::new(), Arc::new(EagerLoop::default()));
        let host: Arc<dyn EventLoop> = event_loop.clone();
        let choice = s.byte();
        server.core.adopt_loop_thread();
        // As init leaves it, without sockets and keys.
        server.core.with(|state: &mut State| {
            state.event_loop = Some(host);
            state.phase = Phase::Ready;
            state.config.multi_client = choice & 1 != 0;
            state.open_channels();
            state.register(0, Home::Worker(&display::PROFILE, None));
            state.register(0, Home::Worker(&display::cursor::PROFILE, None));
        });
        server.set_name((choice & 2 != 0).then_some("oracle"));
        if choice & 4 != 0 {
            let _ = server.add_keyboard(Arc::new(Sink));
        }
        if choice & 8 != 0 {
            let _ = server.add_mouse(Arc::new(Sink));
        }
        Self { devices: Vec::new(), server, event_loop, peers: Vec::new(), tablet: None }
    }

    fn core(&self) -> &Arc<Core> {
        &self.server.core
    }

    /// A connection that has passed the link stage.
    fn connect(&mut self, s: &mut Script<'_>) {
        if self.peers.len() >= MAX_PEERS {
            self.peers.remove(0).1.close();
        }
        let channel_type = match s.byte() % 8 {
            0..3 => 1,
            3..6 => 3,
            6 => 5 + s.byte() % 8,
            // Display and cursor: of a worker, which is not there, or of a streaming device.
            _ => 2 + s.byte() % 2 * 2,
        };
        let nth = usize::from(s.byte());
        let is_display = matches!(channel_type, 2 | 4);
        let known: Vec<u32> = self.core().read(|state| state.clients.sessions().collect());
        let session = known.get(nth % known.len().max(1)).copied().unwrap_or(7);
        let message = LinkMessage {
            connection_id: if channel_type == 1 { 0 } else { session },
            channel_type,
            channel_id: u8::from(nth > if is_display { 60 } else { 250 }),
            common_caps: Caps::from_words(vec![8]),
            channel_caps: Caps::from_words(vec![u32::from(s.byte())]),
        };
        // The net test is much to send each time.
        let local = !s.byte().is_multiple_of(16);
        self.link(message, local);
    }

    /// A connection that has passed the link stage with this message.
    fn link(&mut self, message: LinkMessage, local: bool) {
        let channel_type = message.channel_type;
        let (transport, peer) = MemoryPeer::transport(local);
        let raw = transport.raw_fd();
        let core = self.core().clone();
        let key = core.with(|state| {
            let key = ConnectionId(state.fresh_key());
            let link = PendingLink::linked(transport, message, state.guard(key), state.now);
            state.links.insert(key, link);
            state.host_call(HostCall::AddWatch { connection: key, fd: raw, interest: READ });
            key
        });
        core.with(|state| {
            let Some(link) = state.links.remove(key) else { return };
            if channel_type == 1 && !state.config.multi_client {
                state.drop_all_clients(super::goodbye::REPLACED);
            }
            state.attach_link(key, link);
        });
        self.peers.push((channel_type, peer));
    }

    fn client(&mut self, s: &mut Script<'_>) {
        let which = usize::from(s.byte()) % self.peers.len().max(1);
        let Some((channel_type, peer)) = self.peers.get(which).cloned() else { return self.connect(s) };
        let own =
            if channel_type == 3 { 101 + u16::from(s.byte() % 15) } else { 101 + u16::from(s.byte() % 14) };
        match s.byte() % 16 {
            0 => {
                let count = usize::from(s.byte());
                peer.send_bytes(s.take(count));
            }
            1 => peer.send(u16::from(s.byte()), &[]),
            2 => peer.send(3, &[u32::from(s.byte()).to_le_bytes(), [0; 4], [0; 4]].concat()),
            3 => peer.set_room(usize::from(s.byte()) << (s.byte() % 16)),
            4 => peer.set_room(usize::MAX),
            5 if s.byte().is_multiple_of(4) => peer.close(),
            5 => (0..s.byte()).for_each(|_| peer.send(104, &[])),
            6 => peer.send(105, &[s.byte() % 5, 0]),
            7 => device_message(channel_type, &peer, s),
            8 | 9 => {
                let count = usize::from(s.byte() % 24);
                peer.send(own, s.take(count));
            }
            // The sizes that inputs' messages have.
            choice => {
                let size = [0, 1, 2, 3, 4, 10, 11].get(usize::from(s.byte() % 7)).copied().unwrap_or(0);
                peer.send(if choice > 12 { 111 + own % 4 } else { own }, s.take(size));
            }
        }
    }

    fn host(&mut self, s: &mut Script<'_>) {
        match s.byte() % 8 {
            0 => self.server.kbd_leds(s.byte()),
            1 => match self.tablet.take() {
                Some(tablet) => assert!(self.server.remove_tablet(tablet).is_ok()),
                None => self.tablet = self.server.add_tablet(Arc::new(Sink)).ok(),
            },
            2 => self.server.vm_start(),
            3 => self.server.vm_stop(),
            4 => self.server.set_agent_mouse(s.byte() & 1 != 0),
            5 => drop(self.server.set_sasl(s.byte() & 1 != 0)),
            6 => {
                self.core().clock.advance(Duration::from_millis(u64::from(s.byte()) << (s.byte() % 10)));
                self.event_loop.fire();
            }
            _ => self.event_loop.fire(),
        }
    }

    fn device(&mut self, s: &mut Script<'_>) {
        let which = usize::from(s.byte()) % self.devices.len().max(1);
        let choice = s.byte();
        let Some((id, pipe)) = self.devices.get(which).filter(|_| !choice.is_multiple_of(8)) else {
            return self.add_device(s);
        };
        match choice % 8 {
            1 => {
                let (id, _) = self.devices.swap_remove(which);
                assert!(self.server.remove_char_device(id).is_ok());
            }
            2 => self.server.port_event(*id, s.byte()),
            3 => pipe.mood.store(usize::from(s.byte()), Ordering::Relaxed),
            choice => {
                let (kind, count) = (s.byte(), s.byte());
                let head = match choice {
                    4 => [chunk_head(count), agent_head(kind, count)].concat(),
                    5 => {
                        [kind % 9, 0, count].map(|word| u32::from(word).to_be_bytes()).as_flattened().to_vec()
                    }
                    _ => Vec::new(),
                };
                let mut offers = pipe.offers.lock().unwrap_or_else(PoisonError::into_inner);
                offers.extend(head.iter().chain(s.take(count.into())));
                drop(offers);
                self.server.wake_char_device(*id);
            }
        }
    }

    fn add_device(&mut self, s: &mut Script<'_>) {
        let kind = match s.byte() % 7 {
            0 | 1 => CharKind::Agent,
            2 => CharKind::Usbredir,
            3 => CharKind::Smartcard,
            4 => CharKind::Port("port".into()),
            _ => CharKind::Port("org.spice-space.stream.0".into()),
        };
        let (pipe, weak) = (Arc::new(Pipe::default()), Arc::downgrade(self.core()));
        pipe.mood.store(usize::from(s.byte()), Ordering::Relaxed);
        if self.devices.len() < MAX_PEERS
            && let Ok(id) = self.server.add_char_device(kind, pipe.clone(), |id| {
                let _ = pipe.home.set((weak, id));
            })
        {
            self.devices.push((id, pipe));
        }
    }

    /// A host that plays and records as it likes.
    fn sound(&mut self, s: &mut Script<'_>) {
        let (server, value) = (&self.server, s.byte());
        let rate =
            [48_000, 44_100, 16_000, 8_000, 0, u32::MAX].get(usize::from(value % 6)).copied().unwrap_or(0);
        match s.byte() % 16 {
            0 => drop(server.add_playback()),
            1 => drop(server.add_record()),
            2 if value < 64 => drop(server.remove_playback()),
            3 if value < 64 => drop(server.remove_record()),
            4 => server.playback_stop(),
            5 => server.record_stop(),
            6 => server.record_start(),
            7 => assert!(server.record_samples(value.into()).len() <= value.into(), "more than asked for"),
            8 => server.set_playback_compression(value & 1 != 0),
            9 => server.set_playback_rate(rate),
            10 => server.set_record_rate(rate),
            11 => server.playback_set_volume(vec![7; value.into()]),
            12 => server.record_set_mute(value & 1 != 0),
            13 => server.playback_start(),
            _ => {
                if let Some(loan) = server.playback_lend().filter(|_| value < 200) {
                    server.playback_put(loan, Arc::new([value.into(); FRAME]));
                }
            }
        }
    }

    fn turn(&mut self) {
        self.event_loop.turn();
        self.core().on_mailbox();
        for (_, peer) in &self.peers {
            peer.take_messages(|_, _| {});
        }
        self.peers.retain(|(_, peer)| !peer.is_gone());
    }

    fn finish(self) {
        self.server.destroy();
        for (channel_type, peer) in &self.peers {
            assert!(peer.is_gone(), "channel of type {channel_type} outlives its server");
        }
        let inner = self.event_loop.inner();
        assert!(inner.watches.is_empty(), "watches left behind");
        assert!(inner.timers.is_empty(), "timers left behind");
    }
}

/// The header of a message of the agent, in a chunk of its own if it is the guest's.
fn agent_head(kind: u8, size: u8) -> Vec<u8> {
    [1, u32::from(kind % 16), 0, 0, u32::from(size)].map(u32::to_le_bytes).as_flattened().to_vec()
}

fn chunk_head(size: u8) -> Vec<u8> {
    [1, 20 + u32::from(size)].map(u32::to_le_bytes).as_flattened().to_vec()
}

/// A message for a device that is nearly what its channel expects: agent data, a smartcard's, or compressed data.
fn device_message(channel_type: u8, peer: &MemoryPeer, s: &mut Script<'_>) {
    let (kind, size) = (s.byte(), s.byte());
    match channel_type {
        1 if kind < 64 => peer.send(106, &u32::from(size).to_le_bytes()),
        1 => peer.send(107, &[agent_head(kind, size), s.take(size.into()).to_vec()].concat()),
        8 => {
            let head = [kind % 9, s.byte() % 3, size].map(|word| u32::from(word).to_le_bytes());
            peer.send(101, &[head.as_flattened(), s.take(size.into())].concat());
        }
        _ => {
            let told = (u32::from(size) << (kind % 32)).to_le_bytes();
            peer.send(102, &[&[1][..], &told, s.take((kind / 4).into())].concat());
        }
    }
}

/// A server under a script.
///
/// # Panics
/// When something does not hold.
pub fn fuzz_session(data: &[u8]) {
    let s = &mut Script(data);
    let mut bench = Bench::new(s);
    while !s.0.is_empty() {
        match s.byte() % 8 {
            0 => bench.connect(s),
            1 => bench.host(s),
            2 => bench.device(s),
            3 => bench.sound(s),
            _ => bench.client(s),
        }
        if !s.byte().is_multiple_of(4) {
            bench.turn();
        }
    }
    bench.turn();
    bench.finish();
}

/// A server under a script that is about migrations: clients arrive with whatever state, machines come and go.
///
/// # Panics
/// When something does not hold; also when the host hears of the end of a wait twice or never.
pub fn fuzz_migration(data: &[u8]) {
    let s = &mut Script(data);
    let mut bench = Bench::new(s);
    let heard = Arc::new(Heard::default());
    bench.server.set_seamless_migration(s.byte() & 1 != 0);
    let added = bench.server.add_migration(heard.clone());
    assert!(added.is_ok(), "the one migration interface");
    let mut calls = (0, 0);
    while !s.0.is_empty() {
        match s.byte() % 8 {
            0 => bench.arrive(s),
            1 => bench.host_of_migration(s, &mut calls),
            2 => bench.device(s),
            3 => bench.host(s),
            4 => bench.connect(s),
            _ => bench.migrating_client(s),
        }
        if !s.byte().is_multiple_of(4) {
            bench.turn();
        }
    }
    bench.turn();
    bench.finish();
    let counts = (heard.connects.load(Ordering::Relaxed), heard.ends.load(Ordering::Relaxed));
    assert_eq!(counts, calls, "what the host heard, and what it waited for");
}

/// A host that counts what it hears.
#[derive(Default)]
struct Heard {
    connects: AtomicUsize,
    ends: AtomicUsize,
}

impl MigrationHost for Heard {
    fn connect_complete(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }
    fn end_complete(&self) {
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bench {
    /// A client that comes from another host, or another channel of it.
    fn arrive(&mut self, s: &mut Script<'_>) {
        if self.peers.len() >= MAX_PEERS {
            self.peers.remove(0).1.close();
        }
        let types = [1, 1, 3, 3, 2, 4, 5, 8, 9, 10];
        let message = LinkMessage {
            connection_id: 7 + u32::from(s.byte() & 1),
            channel_type: types.get(usize::from(s.byte()) % types.len()).copied().unwrap_or(1),
            channel_id: 0,
            common_caps: Caps::from_words(vec![8]),
            channel_caps: Caps::from_words(vec![15]),
        };
        self.link(message, true);
    }

    /// Waits for the end of what it starts, as counted in `calls`.
    fn host_of_migration(&mut self, s: &mut Script<'_>, calls: &mut (usize, usize)) {
        match s.byte() % 4 {
            0 | 1 => {
                let known = !s.byte().is_multiple_of(8);
                let target = known.then(|| MigrationTarget { port: 1, ..MigrationTarget::default() });
                let _ = self.server.migrate_connect(target);
                calls.0 += 1;
            }
            2 => {
                let _ = self.server.migrate_end(true);
                calls.1 += 1;
            }
            _ => {
                let present = self.core().read(|state| state.clients.len());
                let _ = self.server.migrate_end(false);
                // Of a migration that failed the host hears if nobody is there.
                calls.1 += usize::from(present == 0);
            }
        }
    }

    /// A client that speaks of migrations, and brings state that may be damaged.
    fn migrating_client(&mut self, s: &mut Script<'_>) {
        let which = usize::from(s.byte()) % self.peers.len().max(1);
        let Some((channel_type, peer)) = self.peers.get(which).cloned() else { return self.arrive(s) };
        match s.byte() % 8 {
            0 => peer.send(109, &[]),
            1 => peer.send(110, &[s.byte() % 3, 0, 0, 0]),
            2 => peer.send(102 + u16::from(s.byte() % 2), &[]),
            3 => peer.send(111, &[]),
            4 => peer.send(4, &[]),
            _ => {
                let mut state = state_of(channel_type, s);
                for _ in 0..s.byte() % 4 {
                    let at = usize::from(s.byte()) % state.len().max(1);
                    if let Some(byte) = state.get_mut(at) {
                        *byte = s.byte();
                    }
                }
                state.truncate(if s.byte().is_multiple_of(8) { s.byte().into() } else { usize::MAX });
                peer.send(5, &state);
            }
        }
    }
}

/// State of a channel that can be.
fn state_of(channel_type: u8, s: &mut Script<'_>) -> Vec<u8> {
    let count = usize::from(s.byte() % 32);
    let device = CharDeviceState {
        connected: true,
        num_client_tokens: u32::from(s.byte() % 11),
        num_send_tokens: u32::from(s.byte()),
        write_num_client_tokens: u32::from(s.byte() % 3),
        write_data: s.take(count).to_vec(),
    };
    match channel_type {
        1 => {
            let started = s.byte() & 1 != 0;
            MainState { device, client_agent_started: started, ..MainState::default() }.encode()
        }
        2 => DisplayState::default().encode(),
        3 => encode_inputs(u16::from(s.byte()) << (s.byte() % 9)),
        8 => SmartcardState { device, reader_added: true, read_data: s.take(count).to_vec() }.encode(),
        _ => encode_spicevmc(&device),
    }
}
