//! The state of a server: a composition of parts, each of which owns its invariants in a file of its own. What is here only
//! routes between them, and sees to the one timer.

use super::channels::Channels;
use super::char_devices::CharDevices;
use super::clients::Clients;
use super::config::Config;
use super::core::{Core, Post};
use super::devices::Devices;
use super::effect::Effect;
use super::links::{Links, Sasl};
use super::listeners::Listeners;
use super::migration::Migration;
use super::pointer::PointerState;
use super::streaming::StreamingDevices;
use super::{ServerError, ticketing::Ticketing};
use crate::channel::ServerRequest;
use crate::channel::connection::{ConnectionGuard, ConnectionId};
use crate::host::call::HostCall;
use crate::host::{EventLoop, TimerId, WatchId};
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::net::keys::Keys;
use crate::net::tls::TlsSource;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The life of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Being configured.
    New,
    /// Between init and destroy.
    Ready,
    /// Destroyed.
    Over,
}

impl Phase {
    /// Interfaces and connections can be added.
    pub(crate) fn is_ready(self) -> bool {
        self == Self::Ready
    }

    /// The server was destroyed.
    pub(crate) fn is_over(self) -> bool {
        self == Self::Over
    }
}

/// What the host gave the server to wait with.
#[derive(Default)]
pub(crate) struct Waiting {
    pub mailbox: Option<WatchId>,
    pub migration: Option<TimerId>,
    /// Handshake limits, pings, pauses, deadlines of channels: one timer for all.
    pub service: Option<TimerId>,
    /// When the service timer fires.
    armed: Option<Instant>,
}

pub(crate) struct State {
    core: Weak<Core>,
    /// Time of the present change.
    pub now: Instant,
    pub epoch: Instant,
    pub phase: Phase,
    pub config: Config,
    pub ticketing: Ticketing,
    pub handshake_timeout: Duration,

    /// What is to be done when the lock is released.
    pub effects: VecDeque<Effect>,
    /// How deep the host's calls from inside our calls of the host are.
    pub nesting: u32,
    /// What channels asked for.
    pub requests: VecDeque<(Option<ConnectionId>, ServerRequest)>,

    pub event_loop: Option<Arc<dyn EventLoop>>,
    pub waiting: Waiting,
    pub keys: Option<Arc<Keys>>,
    /// `None` without a TLS listener.
    pub tls: Option<Arc<TlsSource>>,
    /// `None` in a build without SASL.
    pub sasl: Option<Sasl>,

    pub listeners: Listeners,
    pub links: Links,
    pub channels: Channels,
    pub clients: Clients,
    pub devices: Devices,
    pub char_devices: CharDevices,
    pub streaming: StreamingDevices,
    pub pointer: PointerState,
    pub migration: Migration,
    pub vm_running: bool,
    /// How often sound has given the clients' clock back, as far as they were told.
    pub clock_releases: u64,
    next_key: u64,
}

impl State {
    /// A server that is not initialized, under its core's lock.
    pub(crate) fn new(core: Weak<Core>) -> Self {
        let now = Instant::now();
        Self {
            core,
            now,
            epoch: now,
            phase: Phase::New,
            config: Config::default(),
            ticketing: Ticketing::default(),
            handshake_timeout: HANDSHAKE_TIMEOUT,
            effects: VecDeque::new(),
            nesting: 0,
            requests: VecDeque::new(),
            event_loop: None,
            waiting: Waiting::default(),
            keys: None,
            tls: None,
            sasl: None,
            listeners: Listeners::default(),
            links: Links::default(),
            channels: Channels::default(),
            clients: Clients::default(),
            devices: Devices::default(),
            char_devices: CharDevices::default(),
            streaming: StreamingDevices::default(),
            pointer: PointerState::default(),
            migration: Migration::default(),
            // Observed: devices added before the first vm_start do not start by themselves.
            vm_running: false,
            clock_releases: 0,
            next_key: 1,
        }
    }

    /// Queues a call of the host whose answer, if any, is the server's own.
    pub(crate) fn host_call(&mut self, call: HostCall) {
        self.effects.push_back(Effect::Host { call, from: None });
    }

    /// Interfaces can be added between init and destroy only.
    pub(crate) fn attachable(&self) -> super::Result {
        if self.phase.is_ready() { Ok(()) } else { Err(ServerError::NotInitialized) }
    }

    /// A number that nothing of this server had before.
    pub(crate) fn fresh_key(&mut self) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        key
    }

    /// Posts to the main loop, from any thread, as long as the server lives.
    pub(crate) fn poster(&self) -> impl Fn(Post) + Send + Sync + 'static {
        let core = self.core.clone();
        move |post| {
            if let Some(core) = core.upgrade() {
                core.post(post);
            }
        }
    }

    /// A guard that posts the end of a connection.
    pub(crate) fn guard(&self, at: ConnectionId) -> ConnectionGuard {
        let post = self.poster();
        ConnectionGuard::new(move || post(Post::Gone(at)))
    }

    /// The multimedia time that clients are told: real time, as since 0.16.0. How long a client waits before it shows a
    /// frame is its own matter; older servers told it a time 400 ms or more behind the frames'.
    pub(crate) fn mm_time(&self) -> u32 {
        crate::clock::mm_time(self.now)
    }

    /// Does what channels asked for, writes what they queued and sees to the timer; the end of every change.
    pub(crate) fn settle(&mut self) {
        loop {
            self.answer_requests();
            self.flush_channels();
            // Clients that end while they are sent to may leave more behind.
            let clock_told = self.settle_clock();
            if self.requests.is_empty() && !clock_told {
                break;
            }
        }
        self.arm_timer();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let parts = [
            self.links.next_deadline(self.now),
            self.channels.next_deadline(self.now),
            self.listeners.next_deadline(),
            self.migration.next_deadline(),
        ];
        parts.into_iter().flatten().min()
    }

    /// Starts the service timer when something is due before it fires. A timer that fires too early costs one look.
    fn arm_timer(&mut self) {
        let Some(due) = self.next_deadline() else { return };
        let soon_enough = self.waiting.armed.is_some_and(|armed| armed <= due);
        if soon_enough || self.event_loop.is_none() || self.phase.is_over() {
            return;
        }
        self.waiting.armed = Some(due);
        let wait = due.saturating_duration_since(self.now);
        // Rounded up, or the timer fires just before its time.
        let ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).saturating_add(1);
        self.effects.push_back(Effect::ArmTimer(ms));
    }

    /// The service timer fired.
    pub(crate) fn on_timer(&mut self) {
        self.waiting.armed = None;
        self.expire_links();
        self.continue_links();
        self.resume_listeners();
        self.on_migration_timer();
        self.on_channel_timers();
    }
}
