//! The connected clients with their sessions, and how a linked connection becomes a channel of a client (server.md 5.4, 6.1).

use super::channels::Home;
use super::effect::{ChannelKey, Closing, Effect, Step};
use super::goodbye::Goodbye;
use super::links::PendingLink;
use super::migration::Arrival;
use super::state::State;
use crate::channel::ServerRequest;
use crate::channel::connection::{ChannelConnection, ClientId, ConnectionId, SharedPlace};
use crate::channel::main::MainChannel;
use crate::channel::main::agent::AGENT_TOKENS;
use crate::channel::main::channel::Greeting;
use crate::channel::pings::LinkQuality;
use crate::host::ChannelEvent;
use crate::host::call::HostCall;
use crate::net::stream::ChannelStream;
use crate::protocol::caps::common;
use crate::protocol::common::{notify, severity, visibility};
use crate::protocol::{Caps, ChannelType, Message, main_channel};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The main channel, of which each client has one link.
pub(crate) const MAIN: ChannelKey = ChannelKey { channel_type: ChannelType::Main, id: 0 };
/// The inputs channel.
pub(crate) const INPUTS: ChannelKey = ChannelKey { channel_type: ChannelType::Inputs, id: 0 };

/// One client.
#[derive(Debug)]
struct Client {
    /// The session id. The client's other channels name it in their link messages.
    session: u32,
    /// Connection of the main channel.
    main: ConnectionId,
    shared: Arc<SharedPlace>,
    quality: LinkQuality,
    /// The client has CHANNELS_LIST, so it is told of each later channel.
    has_list: bool,
    /// Capabilities of its main channel.
    caps: Caps,
    /// If the client comes from the source of a migration: how far it has come.
    arrival: Arrival,
}

/// The clients by id.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    clients: BTreeMap<ClientId, Client>,
}

impl Clients {
    /// Number of clients.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether nobody is connected.
    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether this client is connected.
    pub(crate) fn contains(&self, client: ClientId) -> bool {
        self.clients.contains_key(&client)
    }

    /// The client that a session id belongs to.
    pub(crate) fn of_session(&self, session: u32) -> Option<ClientId> {
        self.clients.iter().find(|(_, c)| c.session == session).map(|(&id, _)| id)
    }

    /// The session ids, oldest client first.
    #[cfg(any(test, feature = "oracles"))]
    pub(crate) fn sessions(&self) -> impl Iterator<Item = u32> + '_ {
        self.clients.values().map(|c| c.session)
    }

    /// A client's main connection.
    pub(crate) fn main_of(&self, client: ClientId) -> Option<ConnectionId> {
        self.clients.get(&client).map(|c| c.main)
    }

    /// All clients, oldest first.
    pub(crate) fn all(&self) -> Vec<ClientId> {
        self.clients.keys().copied().collect()
    }

    /// The capabilities of a client's main channel.
    pub(crate) fn caps_of(&self, client: ClientId) -> Option<&Caps> {
        self.clients.get(&client).map(|c| &c.caps)
    }

    /// If a client comes from the source of a migration: how far it has come.
    pub(crate) fn arrival_mut(&mut self, client: ClientId) -> Option<&mut Arrival> {
        self.clients.get_mut(&client).map(|c| &mut c.arrival)
    }

    /// A client has arrived from the source of a migration. It knows the channels from there.
    pub(crate) fn set_arrived(&mut self, client: ClientId) {
        if let Some(c) = self.clients.get_mut(&client) {
            c.has_list |= !c.arrival.is_done();
            c.arrival = Arrival::Done;
        }
    }

    /// Whether a client is on its way from the source of a migration.
    pub(crate) fn is_arriving(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|c| !c.arrival.is_done())
    }

    /// The clients that are on their way from the source of a migration.
    pub(crate) fn arriving(&self) -> Vec<ClientId> {
        self.clients.iter().filter(|(_, c)| !c.arrival.is_done()).map(|(&id, _)| id).collect()
    }

    /// Main connections of the clients that have the list of channels.
    fn with_list(&self) -> Vec<ConnectionId> {
        self.clients.values().filter(|c| c.has_list).map(|c| c.main).collect()
    }

    /// An unused session id. It must be unpredictable: whoever knows it can link channels as this client.
    fn fresh_session(&self) -> Option<u32> {
        for _ in 0..100 {
            let mut bytes = [0; 4];
            openssl::rand::rand_bytes(&mut bytes).ok()?;
            let session = u32::from_le_bytes(bytes);
            if session != 0 && self.of_session(session).is_none() {
                return Some(session);
            }
        }
        None
    }
}

/// What the host is told of a linked connection.
pub(crate) fn initialized(connection_id: u32, link: &PendingLink) -> ChannelEvent {
    ChannelEvent::Initialized {
        connection_id,
        channel_type: link.message.channel_type,
        channel_id: link.message.channel_id,
        tls: link.tls,
    }
}

impl State {
    /// Registers a channel, and tells the clients that have CHANNELS_LIST.
    pub(crate) fn register(&mut self, id: u8, home: Home) -> ChannelKey {
        let key = self.channels.register(id, home);
        if self.channels.list(self.clients.len() > 1).contains(&key) {
            for main in self.clients.with_list() {
                self.send_to_main(main, main_channel::channels_list(&[(key.channel_type.number(), id)]));
            }
        }
        key
    }

    /// Queues a message for one main connection.
    pub(crate) fn send_to_main(&mut self, main: ConnectionId, message: Message) {
        self.with_channel(MAIN, |_: &mut MainChannel, out| out.send(main, message));
    }

    /// Queues a message for every client's main connection.
    pub(crate) fn send_to_mains(&mut self, message: &Message) {
        self.with_channel(MAIN, |_: &mut MainChannel, out| out.send_to_all(message));
    }

    /// Answers what channels asked for.
    pub(crate) fn answer_requests(&mut self) {
        while let Some((at, request)) = self.requests.pop_front() {
            match request {
                ServerRequest::AgentGone => self.update_mouse_mode(),
                ServerRequest::AgentDisplays => self.tell_agent_displays(),
                ServerRequest::StreamPointer(id, change) => self.change_stream_pointer(id, change),
                ServerRequest::StreamPlace(id, info) => self.place_stream(id, info),
                request => self.answer_client(at, request),
            }
        }
    }

    fn answer_client(&mut self, at: Option<ConnectionId>, request: ServerRequest) {
        if let Some(client) = at.and_then(|at| self.channels.client_of(at)) {
            match request {
                ServerRequest::ListChannels => self.send_channels_list(client),
                ServerRequest::MouseMode(mode) => self.request_mouse_mode(mode),
                ServerRequest::Quality(quality) => {
                    if let Some(c) = self.clients.clients.get_mut(&client) {
                        c.quality = quality;
                    }
                }
                ServerRequest::AgentMouse(mouse) => {
                    self.with_channel(MAIN, |main: &mut MainChannel, out| main.agent.mouse(mouse, out));
                }
                ServerRequest::AgentStarted => {
                    self.ask_monitors();
                    self.tell_agent_displays();
                }
                ServerRequest::Monitors(config) => self.set_client_monitors(&config),
                ServerRequest::Migration(news) => self.on_migration_news(client, news),
                ServerRequest::Restored => {
                    if let Some(key) = at.and_then(|at| self.channels.key_of(at)) {
                        self.on_state_restored(client, key);
                    }
                }
                ServerRequest::AgentGone
                | ServerRequest::AgentDisplays
                | ServerRequest::StreamPointer(..)
                | ServerRequest::StreamPlace(..) => {}
            }
        }
    }

    /// The client sent ATTACH_CHANNELS: sends it CHANNELS_LIST.
    fn send_channels_list(&mut self, client: ClientId) {
        let list: Vec<(u8, u8)> = self
            .channels
            .list(self.clients.len() > 1)
            .into_iter()
            .map(|key| (key.channel_type.number(), key.id))
            .collect();
        let Some(c) = self.clients.clients.get_mut(&client) else { return };
        c.has_list = true;
        let main = c.main;
        self.send_to_main(main, main_channel::channels_list(&list));
    }

    /// The link of a main channel was accepted. Makes the client, tells the host, and then begins the session.
    pub(crate) fn attach_main(&mut self, at: ConnectionId, link: PendingLink) {
        let (session, arrival) = match link.message.connection_id {
            0 => (self.clients.fresh_session(), Arrival::Done),
            session => (Some(session), Arrival::of_migrated()),
        };
        let Some(session) = session else {
            self.close_link(link, "no random numbers");
            return;
        };
        if !arrival.is_done() {
            self.on_arrival();
        }
        let caps = link.message.channel_caps.clone();
        let client = ClientId(self.fresh_key());
        let quality = LinkQuality { round_trip_ms: 0, bitrate: None };
        self.clients.clients.insert(
            client,
            Client { session, main: at, shared: Arc::default(), quality, has_list: false, caps, arrival },
        );
        let event = initialized(session, &link);
        self.effects.push_back(Effect::Announce(at, event, Step::OpenMain(at, client, Box::new(link))));
    }

    fn connection(&self, client: ClientId, mut link: PendingLink) -> Option<ChannelConnection> {
        let c = self.clients.clients.get(&client)?;
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
            migration_target: matches!(c.arrival, Arrival::Bringing(_)),
            guard: link.guard,
        })
    }

    /// The host knows the client now. Begins its session.
    pub(crate) fn open_main(&mut self, at: ConnectionId, client: ClientId, link: PendingLink) {
        if self.phase.is_over() || !self.clients.contains(client) {
            // The client was disconnected while the host was told of it.
            self.close_quietly(link);
            return;
        }
        let (watch, interest) = (link.watch, link.interest);
        let Some(mut connection) = self.connection(client, link) else { return };
        // The client may have given its main channel any number.
        connection.channel_id = MAIN.id;
        crate::info!("{}: client {} connected", connection.label(), client.0);
        self.open_streaming_devices();
        self.serve(at, connection, watch, interest);
        if self.clients.is_arriving(client) {
            self.with_channel(MAIN, |main: &mut MainChannel, out| main.expect(at, out));
            return;
        }
        let init = self.init_of(client);
        let greeting =
            Greeting { init, name: self.config.name.clone(), uuid: self.config.uuid, epoch: self.epoch };
        self.with_channel(MAIN, |main: &mut MainChannel, out| main.greet(at, &greeting, out));
        self.ask_monitors();
    }

    /// The content of a client's main INIT.
    pub(crate) fn init_of(&mut self, client: ClientId) -> main_channel::Init {
        let agent_connected =
            self.with_channel(MAIN, |main: &mut MainChannel, _| main.agent.is_attached()).unwrap_or(false);
        let (supported, current) = self.pointer.modes();
        main_channel::Init {
            session_id: self.clients.clients.get(&client).map_or(0, |c| c.session),
            display_channels_hint: u32::try_from(self.devices.len()).unwrap_or(u32::MAX),
            supported_mouse_modes: supported.into(),
            current_mouse_mode: current.into(),
            agent_connected,
            agent_tokens: AGENT_TOKENS,
            multi_media_time: self.mm_time(),
            ram_hint: self.devices.newest().map_or(0, |q| q.ram_size()),
        }
    }

    /// The link of another channel was accepted, and the host knows it. Gives the connection to the channel.
    pub(crate) fn attach_channel(&mut self, at: ConnectionId, link: PendingLink) {
        let (channel_type, id) = (link.message.channel_type, link.message.channel_id);
        let client = self.clients.of_session(link.message.connection_id);
        let known = !self.phase.is_over() && self.channels.is_registered(channel_type, id);
        let (Some(client), true, Ok(channel_type)) = (client, known, ChannelType::try_from(channel_type))
        else {
            self.close_link(link, "client or channel are gone");
            return;
        };
        let key = ChannelKey { channel_type, id };
        match self.channels.link_of(client, key) {
            Some(old) if key.newest_link_wins() => self.close_connection(old),
            Some(_) => return self.close_link(link, "the client has this channel already"),
            None => {}
        }
        let Some(link) = self.park(client, key, at, link) else { return };
        let (watch, interest, tls) = (link.watch, link.interest, link.tls);
        let Some(connection) = self.connection(client, link) else { return };
        crate::debug!("{}: connected", connection.label());
        match self.channels.home(key) {
            Some(Home::Host(served)) => {
                if connection.migration_target && served.channel().migrates_data() {
                    self.await_state(client, key);
                }
                self.serve(at, connection, watch, interest);
                if key == INPUTS && !tls {
                    self.warn_of_insecure_keyboard(client);
                }
            }
            Some(Home::Worker(_, qxl)) => {
                let worker = qxl.as_ref().and_then(|qxl| qxl.worker());
                if connection.migration_target && channel_type.migrates_data() {
                    self.await_state(client, key);
                }
                self.channels.note_remote(at, client, key);
                if let Some(watch) = watch {
                    self.host_call(HostCall::RemoveWatch(watch));
                }
                self.effects.push_back(Effect::ToWorker { worker, at, connection: Box::new(connection) });
            }
            None => {
                let closing = Closing::Refused { _connection: Box::new(connection) };
                self.effects.push_back(Effect::Close(watch, closing));
            }
        }
    }

    /// Tells the user of an unencrypted client that others may read what is typed.
    fn warn_of_insecure_keyboard(&mut self, client: ClientId) {
        if let Some(main) = self.clients.main_of(client) {
            let (time, text) = (self.notify_time(), "keyboard channel is insecure");
            self.send_to_main(main, notify(time, severity::WARN, visibility::HIGH, 0, text));
        }
    }

    /// Disconnects a client with all its channels. `None`: the client closed its connection itself.
    pub(crate) fn drop_client(&mut self, client: ClientId, goodbye: Option<Goodbye<'_>>) {
        let Some(gone) = self.clients.clients.remove(&client) else { return };
        crate::info!("client {} disconnected: {}", client.0, goodbye.map_or("it left", |g| g.why));
        if self.config.exit_on_disconnect {
            // The host asked that the process ends with its client, so this comes first.
            self.effects.clear();
            self.effects.push_back(Effect::Exit);
            return;
        }
        if let Some(goodbye) = goodbye {
            self.say_goodbye(gone.main, goodbye);
        }
        self.close_connections_of(client);
        for link in gone.arrival.into_parked() {
            self.close_quietly(link);
        }
        for worker in self.devices.workers() {
            self.effects.push_back(Effect::Disconnect(worker, client));
        }
        self.on_client_gone(client);
    }

    /// Disconnects all clients.
    pub(crate) fn drop_all_clients(&mut self, goodbye: Goodbye<'_>) {
        for client in self.clients.all() {
            self.drop_client(client, Some(goodbye));
        }
    }
}
