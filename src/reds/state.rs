//! The state of a server. It is composed of parts, each of which keeps its invariants in a file of its own. This file only connects
//! them, and serves their one timer.

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
use crate::channel::out::Said;
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
    /// The host configures the server.
    New,
    /// Between init and destroy.
    Ready,
    /// Destroyed.
    Over,
}

impl Phase {
    /// Whether the host may add interfaces and connections.
    pub(crate) fn is_ready(self) -> bool {
        self == Self::Ready
    }

    /// Whether the server was destroyed.
    pub(crate) fn is_over(self) -> bool {
        self == Self::Over
    }
}

/// The host's event loop, and the server's timer in it.
#[derive(Default)]
pub(crate) struct Waiting {
    pub mailbox: Option<WatchId>,
    pub migration: Option<TimerId>,
    /// The service timer: one timer for the limits of links, PINGs, pauses and the deadlines of channels.
    pub service: Option<TimerId>,
    /// When the service timer fires.
    armed: Option<Instant>,
    /// The state changed since the service timer was last looked at.
    changed: bool,
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

    /// The effects that run when the lock is released.
    pub effects: VecDeque<Effect>,
    /// How deep the host's calls of the library are nested in the library's calls of the host.
    pub nesting: u32,
    /// Empty lists for what a channel says in its next turn. `None` while a turn uses them.
    pub said: Option<Box<Said>>,
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
    /// How often sound had given the clients' clock back when clients were last told the time.
    pub clock_releases: u64,
    next_key: u64,
}

impl State {
    /// The state of a server that is not initialized.
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
            said: None,
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
            // Observed at the original: devices that are added before the first vm_start do not start by themselves.
            vm_running: false,
            clock_releases: 0,
            next_key: 1,
        }
    }

    /// Queues a call of the host. Its answer, if there is one, goes to the server.
    pub(crate) fn host_call(&mut self, call: HostCall) {
        self.effects.push_back(Effect::Host { call, from: None });
    }

    /// Fails unless the server is between init and destroy.
    pub(crate) fn attachable(&self) -> super::Result {
        if self.phase.is_ready() { Ok(()) } else { Err(ServerError::NotInitialized) }
    }

    /// A number that this server has not used before.
    pub(crate) fn fresh_key(&mut self) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        key
    }

    /// Makes a function that posts to the main loop, on any thread. It does nothing when the server is gone.
    pub(crate) fn poster(&self) -> impl Fn(Post) + Send + Sync + 'static {
        let core = self.core.clone();
        move |post| {
            if let Some(core) = core.upgrade() {
                core.post(post);
            }
        }
    }

    /// Makes the guard that posts the end of a connection.
    pub(crate) fn guard(&self, at: ConnectionId) -> ConnectionGuard {
        let post = self.poster();
        ConnectionGuard::new(move || post(Post::Gone(at)))
    }

    /// The multimedia time for clients: the real time, as in 0.16.0. Clients decide themselves how long they hold a frame back.
    /// Older servers told them a time 400 ms or more behind the frames'.
    pub(crate) fn mm_time(&self) -> u32 {
        crate::clock::mm_time(self.now)
    }

    /// Ends a change: answers what channels asked for, and writes what they queued.
    pub(crate) fn settle(&mut self) {
        loop {
            self.answer_requests();
            self.flush_channels();
            // A client may fail while it is sent to, and ending it may queue more.
            let clock_told = self.settle_clock();
            if self.requests.is_empty() && !clock_told {
                break;
            }
        }
        self.waiting.changed = true;
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

    /// In how many milliseconds the service timer shall fire, if something is due before it would. A timer that fires too early
    /// does no harm.
    pub(crate) fn arm_timer(&mut self) -> Option<u32> {
        if !std::mem::take(&mut self.waiting.changed) || self.event_loop.is_none() || self.phase.is_over() {
            return None;
        }
        let due = self.next_deadline()?;
        if self.waiting.armed.is_some_and(|armed| armed <= due) {
            return None;
        }
        self.waiting.armed = Some(due);
        let wait = due.saturating_duration_since(self.now);
        // This rounds up, or the timer would fire just before its time.
        Some(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).saturating_add(1))
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
