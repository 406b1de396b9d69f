//! The state of a server, and the small changes to it. The larger ones are in the modules by theme: `links`, `clients`,
//! `channels`, `pointer`, `qxl`.

use super::channels::HostChannel;
use super::clients::{Client, Registered, Remote};
use super::config::Config;
use super::core::{Core, Effect};
use super::links::PendingLink;
use super::pointer::PointerState;
use super::ticketing::Ticketing;
use super::{QxlInstance, TabletId};
use crate::channel::connection::{ClientId, ConnectionGuard};
use crate::channel::inputs::{AgentMouse, KeyState};
use crate::host::{EventLoop, Keyboard, Mouse, Readiness, Tablet, TimerId, WatchId};
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::net::keys::Keys;
use crate::net::listener::Listener;
use openssl::ssl::SslContext;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Milliseconds that the multimedia clock lags behind, so that clients can buffer.
pub(crate) const DEFAULT_LATENCY_MS: u32 = 400;

/// A listening socket and its watch.
#[derive(Debug)]
pub(crate) struct Listening {
    pub listener: Arc<Listener>,
    pub watch: Option<WatchId>,
    pub tls: bool,
    /// Accepting rests until then, after the process ran out of descriptors.
    pub paused_until: Option<Instant>,
}

pub(crate) struct State {
    pub core: Weak<Core>,
    pub config: Config,
    pub ticketing: Ticketing,
    pub effects: VecDeque<Effect>,
    pub nesting: u32,
    /// Time of the present change.
    pub now: Instant,
    pub epoch: Instant,

    pub event_loop: Option<Arc<dyn EventLoop>>,
    pub initialized: bool,
    pub destroyed: bool,
    pub keys: Option<Arc<Keys>>,
    pub tls: Option<SslContext>,
    pub mailbox_watch: Option<WatchId>,
    pub migration_timer: Option<TimerId>,
    pub modifiers_timer: Option<TimerId>,
    /// Handshake limits, pings, pauses: one timer for all.
    pub service_timer: Option<TimerId>,
    pub armed: Option<Instant>,
    pub handshake_timeout: Duration,

    pub listening: Vec<Listening>,
    pub links: BTreeMap<u64, PendingLink>,
    pub channels: BTreeMap<u64, HostChannel>,
    pub remotes: BTreeMap<u64, Remote>,
    pub clients: BTreeMap<ClientId, Client>,
    pub registry: Vec<Registered>,
    /// Channels with something to flush.
    pub dirty: Vec<u64>,
    pub next_key: u64,

    pub keyboard: Option<Arc<dyn Keyboard>>,
    pub mouse: Option<Arc<dyn Mouse>>,
    pub tablet: Option<(TabletId, Arc<dyn Tablet>)>,
    pub key_state: KeyState,
    pub agent_mouse: AgentMouse,
    pub pointer: PointerState,
    pub qxls: Vec<Arc<QxlInstance>>,
    pub vm_running: bool,
    pub latency_ms: u32,
}

impl State {
    pub fn new(core: Weak<Core>) -> Self {
        let now = Instant::now();
        Self {
            core,
            config: Config::default(),
            ticketing: Ticketing::default(),
            effects: VecDeque::new(),
            nesting: 0,
            now,
            epoch: now,
            event_loop: None,
            initialized: false,
            destroyed: false,
            keys: None,
            tls: None,
            mailbox_watch: None,
            migration_timer: None,
            modifiers_timer: None,
            service_timer: None,
            armed: None,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            listening: Vec::new(),
            links: BTreeMap::new(),
            channels: BTreeMap::new(),
            remotes: BTreeMap::new(),
            clients: BTreeMap::new(),
            registry: Vec::new(),
            dirty: Vec::new(),
            next_key: 1,
            keyboard: None,
            mouse: None,
            tablet: None,
            key_state: KeyState::default(),
            agent_mouse: AgentMouse::default(),
            pointer: PointerState::default(),
            qxls: Vec::new(),
            // Observed: devices added before the first vm_start do not start by themselves.
            vm_running: false,
            latency_ms: DEFAULT_LATENCY_MS,
        }
    }

    /// Queues what is to be done without the lock.
    pub fn effect(&mut self, effect: impl FnOnce(&Arc<Core>) + Send + 'static) {
        self.effects.push_back(Box::new(effect));
    }

    /// Queues a call of the host's loop.
    pub fn host_effect(&mut self, call: impl FnOnce(&dyn EventLoop) + Send + 'static) {
        if let Some(event_loop) = self.event_loop.clone() {
            self.effect(move |_| call(&*event_loop));
        }
    }

    /// Interfaces can be added between init and destroy only.
    pub fn attachable(&self) -> super::Result {
        if self.initialized && !self.destroyed { Ok(()) } else { Err(super::ServerError::NotInitialized) }
    }

    pub fn fresh_key(&mut self) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        key
    }

    /// A guard that posts the end of a connection.
    pub fn guard(&self, key: u64) -> ConnectionGuard {
        let core = self.core.clone();
        ConnectionGuard::new(move || {
            if let Some(core) = core.upgrade() {
                core.post(super::core::Post::Gone(key));
            }
        })
    }

    /// The multimedia clock in milliseconds.
    pub fn mm_time(&self) -> u32 {
        crate::clock::mm_time(self.now).wrapping_sub(self.latency_ms)
    }

    /// Notes the watch of a connection; gives it back if the connection is gone meanwhile.
    pub fn set_watch(&mut self, key: u64, watch: Option<WatchId>) -> Option<WatchId> {
        let Some(id) = watch else {
            self.fail_connection(key, "the host refused a watch");
            return None;
        };
        if let Some(link) = self.links.get_mut(&key) {
            link.watch = watch;
            let interest = link.interest;
            self.host_effect(move |l| l.watch_update(id, interest));
            return None;
        }
        watch
    }

    fn fail_connection(&mut self, key: u64, why: &str) {
        if let Some(link) = self.links.remove(&key) {
            self.close_link(link, why);
        }
    }

    pub fn on_connection_ready(&mut self, key: u64, _ready: Readiness) {
        if self.links.contains_key(&key) {
            self.drive_link(key);
        } else {
            self.read_channel(key);
        }
    }

    /// A connection of a worker's channel, or any other, was closed.
    pub fn on_gone(&mut self, key: u64) {
        self.remotes.remove(&key);
    }

    /// Writes what was queued and sees to the timer; the end of every change.
    pub fn settle(&mut self) {
        while let Some(key) = self.dirty.pop() {
            self.flush_channel(key);
        }
        self.arm_timer();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let links = self.links.values().map(|l| l.deadline);
        let channels = self.channels.values().filter_map(|c| c.next_deadline(self.now));
        let pauses = self.listening.iter().filter_map(|l| l.paused_until);
        links.chain(channels).chain(pauses).min()
    }

    /// Starts the service timer when something is due before it fires. A timer that fires too early costs one look.
    fn arm_timer(&mut self) {
        let Some(due) = self.next_deadline() else { return };
        if self.armed.is_some_and(|armed| armed <= due) || self.event_loop.is_none() || self.destroyed {
            return;
        }
        self.armed = Some(due);
        let wait = due.saturating_duration_since(self.now);
        // Rounded up, or the timer fires just before its time.
        let ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).saturating_add(1);
        self.effect(move |core| core.start_service_timer(ms));
    }

    /// The service timer fired.
    pub fn on_timer(&mut self) {
        self.armed = None;
        let now = self.now;
        let late: Vec<u64> = self.links.iter().filter(|(_, l)| l.deadline <= now).map(|(&k, _)| k).collect();
        for key in late {
            if let Some(link) = self.links.remove(&key) {
                self.close_link(link, "the link stage took too long");
            }
        }
        self.resume_listeners();
        let keys: Vec<u64> = self.channels.keys().copied().collect();
        for key in keys {
            self.on_channel_timer(key);
        }
    }
}
