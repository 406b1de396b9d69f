//! Clients, the channels that they can link to, and what becomes of linked connections (server.md 5.4, 6.1).

use super::channels::{HostChannel, Kind};
use super::core::Core;
use super::links::PendingLink;
use super::state::State;
use crate::channel::connection::{ChannelConnection, ClientId};
use crate::channel::inputs::InputsChannel;
use crate::channel::main::MainChannel;
use crate::channel::pings::LinkQuality;
use crate::display::encode::ClientShared;
use crate::host::{ChannelEvent, Readiness, WatchId};
use crate::net::stream::ChannelStream;
use crate::protocol::caps::{common, main as main_caps};
use crate::protocol::common::{notify, severity, visibility};
use crate::protocol::{ChannelType, Message, main_channel};
use std::sync::Arc;

/// Tokens that a client gets for agent data.
const AGENT_TOKENS: u32 = 10;

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    /// What other channels name in their link.
    pub session: u32,
    /// Connection of the main channel.
    pub main: u64,
    pub shared: Arc<ClientShared>,
    pub quality: LinkQuality,
    /// CHANNELS_LIST was sent: later channels are announced one by one.
    pub has_list: bool,
}

/// A channel that clients can link to. Main is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub channel_type: ChannelType,
    pub id: u8,
}

/// A connection that lives on a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote {
    pub client: ClientId,
    pub channel: Registered,
}

impl State {
    pub fn is_registered(&self, channel_type: u8, id: u8) -> bool {
        self.registry.iter().any(|r| r.channel_type.number() == channel_type && r.id == id)
    }

    pub fn client_of_session(&self, session: u32) -> Option<ClientId> {
        self.clients.iter().find(|(_, c)| c.session == session).map(|(&id, _)| id)
    }

    /// Makes a channel known, and tells clients that have the list already.
    pub fn register(&mut self, channel_type: ChannelType, id: u8) {
        let channel = Registered { channel_type, id };
        self.registry.insert(0, channel);
        if !self.is_offered(channel) {
            return;
        }
        let mains: Vec<u64> = self.clients.values().filter(|c| c.has_list).map(|c| c.main).collect();
        for key in mains {
            self.send(key, main_channel::channels_list(&[(channel_type.number(), id)]));
        }
    }

    pub fn unregister(&mut self, channel_type: ChannelType, id: u8) {
        self.registry.retain(|r| (r.channel_type, r.id) != (channel_type, id));
    }

    /// While several clients are connected they share no devices.
    fn is_offered(&self, channel: Registered) -> bool {
        self.clients.len() < 2
            || matches!(
                channel.channel_type,
                ChannelType::Display | ChannelType::Cursor | ChannelType::Inputs
            )
    }

    /// ATTACH_CHANNELS.
    pub fn send_channels_list(&mut self, client: ClientId) {
        let list: Vec<(u8, u8)> = self
            .registry
            .iter()
            .filter(|r| self.is_offered(**r))
            .map(|r| (r.channel_type.number(), r.id))
            .collect();
        let Some(c) = self.clients.get_mut(&client) else { return };
        c.has_list = true;
        let main = c.main;
        self.send(main, main_channel::channels_list(&list));
    }

    /// An unused, unpredictable session id: it is all that ties later channels to a client.
    fn fresh_session(&self) -> Option<u32> {
        for _ in 0..100 {
            let mut bytes = [0; 4];
            openssl::rand::rand_bytes(&mut bytes).ok()?;
            let session = u32::from_le_bytes(bytes);
            if session != 0 && self.client_of_session(session).is_none() {
                return Some(session);
            }
        }
        None
    }

    /// A main link got its OK: makes the client, then tells the host, then begins the session.
    pub fn attach_main(&mut self, key: u64, link: PendingLink) {
        let Some(session) = self.fresh_session() else {
            self.close_link(link, "no random numbers");
            return;
        };
        let client = ClientId(self.fresh_key());
        self.clients.insert(
            client,
            Client {
                session,
                main: key,
                shared: Arc::default(),
                quality: LinkQuality { round_trip_ms: 0, bitrate: None },
                has_list: false,
            },
        );
        let event = ChannelEvent::Initialized {
            connection_id: session,
            channel_type: link.message.channel_type,
            channel_id: link.message.channel_id,
            tls: link.tls,
        };
        self.effect(move |core: &Arc<Core>| {
            core.channel_event(key, event);
            core.within(|s| s.open_main(key, client, link));
        });
    }

    fn connection(&self, client: ClientId, mut link: PendingLink) -> Option<ChannelConnection> {
        let c = self.clients.get(&client)?;
        let mini_header = link.message.common_caps.has(common::MINI_HEADER);
        Some(ChannelConnection {
            stream: ChannelStream::new(link.take_stream()?, mini_header),
            channel_type: ChannelType::try_from(link.message.channel_type).ok()?,
            channel_id: link.message.channel_id,
            client,
            common_caps: link.message.common_caps,
            channel_caps: link.message.channel_caps,
            low_bandwidth: c.quality.is_low_bandwidth(),
            round_trip_ms: c.quality.round_trip_ms,
            shared: c.shared.clone(),
            peer: link.peer,
            migration_target: false,
            guard: link.guard,
        })
    }

    fn open_main(&mut self, key: u64, client: ClientId, link: PendingLink) {
        if self.destroyed || !self.clients.contains_key(&client) {
            // Dropped while the host was told of it.
            self.close_quietly(link);
            return;
        }
        let watch = (link.watch, link.interest);
        let Some(connection) = self.connection(client, link) else { return };
        let names = connection.channel_caps.has(main_caps::NAME_AND_UUID);
        let local = connection.stream.is_unix();
        crate::info!("{}: client {} connected", connection.label(), client.0);
        let mut channel = HostChannel::new(key, connection, watch, Kind::Main(MainChannel::default()), self);
        let session = self.clients.get(&client).map_or(0, |c| c.session);
        channel.queue(self.init_message(session).encode());
        if names {
            if let Some(name) = &self.config.name {
                channel.queue(main_channel::name(name));
            }
            if let Some(uuid) = &self.config.uuid {
                channel.queue(main_channel::uuid(uuid));
            }
        }
        if !local && let Kind::Main(main) = &mut channel.kind {
            for ping in main.begin_net_test(self.epoch, self.now) {
                channel.queue(ping);
            }
        }
        self.channels.insert(key, channel);
        self.dirty.push(key);
        self.resume_reading(key);
    }

    fn init_message(&self, session_id: u32) -> main_channel::Init {
        let (supported, current) = self.pointer.modes();
        main_channel::Init {
            session_id,
            display_channels_hint: u32::try_from(self.qxls.len()).unwrap_or(u32::MAX),
            supported_mouse_modes: supported.into(),
            current_mouse_mode: current.into(),
            agent_connected: false,
            agent_tokens: AGENT_TOKENS,
            multi_media_time: self.mm_time(),
            ram_hint: self.qxls.last().map_or(0, |q| q.ram_size()),
        }
    }

    /// A link to another channel got its OK and the host knows.
    pub fn attach_channel(&mut self, key: u64, link: PendingLink) {
        let client = self.client_of_session(link.message.connection_id);
        let (channel_type, id) = (link.message.channel_type, link.message.channel_id);
        let Some(client) = client.filter(|_| !self.destroyed && self.is_registered(channel_type, id)) else {
            self.close_link(link, "client or channel are gone");
            return;
        };
        let of_client = |c: &Registered| c.channel_type.number() == channel_type && c.id == id;
        let taken = self.channels.values().any(|c| c.client() == client && of_client(&c.registered()))
            || self.remotes.values().any(|r| r.client == client && of_client(&r.channel));
        if taken {
            self.close_link(link, "the client has this channel already");
            return;
        }
        let (watch, interest, tls) = (link.watch, link.interest, link.tls);
        let Some(connection) = self.connection(client, link) else { return };
        crate::debug!("{}: connected", connection.label());
        match connection.channel_type {
            ChannelType::Inputs => {
                self.open_inputs(key, connection, (watch, interest));
                if !tls {
                    self.warn_of_insecure_keyboard(client);
                }
            }
            ChannelType::Display | ChannelType::Cursor => self.move_to_worker(key, connection, watch),
            other => {
                crate::warning_limited!("{}: nothing serves {}", connection.label(), other.name());
                self.effect(move |core| core.close(watch, connection));
            }
        }
    }

    fn open_inputs(&mut self, key: u64, connection: ChannelConnection, watch: (Option<WatchId>, Readiness)) {
        let channel = HostChannel::new(key, connection, watch, Kind::Inputs(InputsChannel::default()), self);
        self.channels.insert(key, channel);
        let keyboard = self.keyboard.clone();
        self.effect(move |core| {
            let leds = keyboard.map_or(0, |k| k.leds());
            core.within(|s| {
                s.send(key, crate::protocol::inputs::init(leds.into()));
                s.resume_reading(key);
            });
        });
    }

    /// Passwords typed travel in the clear: the user is told.
    fn warn_of_insecure_keyboard(&mut self, client: ClientId) {
        if let Some(main) = self.clients.get(&client).map(|c| c.main) {
            let ns = self.now.saturating_duration_since(self.epoch).as_nanos();
            let text = "keyboard channel is insecure";
            let ns = u64::try_from(ns).unwrap_or(u64::MAX);
            self.send(main, notify(ns, severity::WARN, visibility::HIGH, 0, text));
        }
    }

    fn move_to_worker(&mut self, key: u64, connection: ChannelConnection, watch: Option<WatchId>) {
        let (client, id, channel_type) = (connection.client, connection.channel_id, connection.channel_type);
        let worker = self.qxls.iter().find(|q| q.id() == id).and_then(|q| q.worker());
        self.remotes.insert(key, Remote { client, channel: Registered { channel_type, id } });
        self.effect(move |core| {
            if let (Some(watch), Some(event_loop)) = (watch, core.event_loop()) {
                event_loop.watch_remove(watch);
            }
            match worker {
                Some(worker) if channel_type == ChannelType::Display => worker.connect_display(connection),
                Some(worker) => worker.connect_cursor(connection),
                None => drop(connection),
            }
            core.take_posts_if_on_loop();
        });
    }

    /// Disconnects a client with all its channels.
    pub fn drop_client(&mut self, client: ClientId, why: &str) {
        let Some(c) = self.clients.remove(&client) else { return };
        crate::info!("client {} disconnected: {why}", client.0);
        if self.config.exit_on_disconnect {
            // Before anything else: nothing of this process is to outlive its client.
            self.effects.clear();
            self.effect(|_| {
                crate::info!("the client is gone, and the host asked to exit then");
                std::process::exit(0)
            });
            return;
        }
        let mut keys: Vec<u64> =
            self.channels.iter().filter(|(_, ch)| ch.client() == client).map(|(&k, _)| k).collect();
        // Main is the last to go, as what the others leave behind may concern it.
        keys.sort_by_key(|&k| k == c.main);
        for key in keys {
            self.close_channel(key);
        }
        for qxl in &self.qxls.clone() {
            if let Some(worker) = qxl.worker() {
                self.effect(move |_| worker.disconnect_client(client));
            }
        }
    }

    pub fn drop_all_clients(&mut self, why: &str) {
        let all: Vec<ClientId> = self.clients.keys().copied().collect();
        for client in all {
            self.drop_client(client, why);
        }
    }

    /// To every client's main channel.
    pub fn send_to_mains(&mut self, message: &Message) {
        let mains: Vec<u64> = self.clients.values().map(|c| c.main).collect();
        for key in mains {
            self.send(key, message.clone());
        }
    }

    /// The displays of a client need more time ahead; the latency is only ever raised.
    pub fn raise_latency(&mut self, client: ClientId, milliseconds: u32) {
        if !self.clients.contains_key(&client) || milliseconds <= self.latency_ms {
            return;
        }
        self.latency_ms = milliseconds;
        self.send_to_mains(&main_channel::multi_media_time(self.mm_time()));
    }
}
