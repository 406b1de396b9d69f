//! Channels that live on the host thread: main and inputs.

use super::clients::Registered;
use super::state::State;
use crate::channel::connection::{ChannelConnection, ClientId};
use crate::channel::inputs::{InputsAction, InputsChannel, MODIFIERS_DELAY_MS, Pointer};
use crate::channel::main::{MainChannel, MainRequest};
use crate::channel::pings::{LatencyTest, Silence};
use crate::host::{Readiness, WatchId};
use crate::limits::{HOST_CHANNEL_BACKLOG, MAX_HOST_CHANNEL_BACKLOG, MAX_MESSAGES_PER_READ};
use crate::net::stream::{Flush, Incoming, StreamError};
use crate::protocol::common::CommonMessage;
use crate::protocol::{Message, inputs, main_channel};
use std::time::{Duration, Instant};

/// Between latency tests.
const MAIN_PING_PERIOD: Duration = Duration::from_secs(15);
const PING_PERIOD: Duration = Duration::from_secs(300);

/// What a channel is.
#[derive(Debug)]
pub(crate) enum Kind {
    Main(MainChannel),
    Inputs(InputsChannel),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct HostChannel {
    connection: ChannelConnection,
    pub watch: Option<WatchId>,
    pub kind: Kind,
    interest: Readiness,
    /// Nothing is read before the channel's first message is queued.
    reading: bool,
    /// The socket took no more at the last flush.
    blocked: bool,
    /// Reading stopped at the end of a batch.
    unread: bool,
    latency: LatencyTest,
    silence: Silence,
    /// KEY_MODIFIERS is to be sent when the socket takes it.
    leds_due: bool,
}

impl HostChannel {
    /// A channel over a linked connection, whose watch was made in the link stage.
    pub fn new(
        key: u64,
        connection: ChannelConnection,
        (watch, interest): (Option<WatchId>, Readiness),
        kind: Kind,
        state: &State,
    ) -> Self {
        let period = if matches!(kind, Kind::Main(_)) { MAIN_PING_PERIOD } else { PING_PERIOD };
        let mut id = [0; 4];
        if openssl::rand::rand_bytes(&mut id).is_err() {
            id = [0xff, 0, 0, 0];
        }
        let mut latency = LatencyTest::new(period, u32::from_le_bytes(id), state.epoch);
        // Main's begins when the net test is over.
        if !connection.stream.is_unix() && matches!(kind, Kind::Inputs(_)) {
            latency.start(state.now);
        }
        crate::debug!("{}: connection {key}", connection.label());
        Self {
            connection,
            watch,
            kind,
            interest,
            reading: false,
            blocked: false,
            unread: false,
            latency,
            silence: Silence::default(),
            leds_due: false,
        }
    }

    pub fn client(&self) -> ClientId {
        self.connection.client
    }

    pub fn registered(&self) -> Registered {
        Registered { channel_type: self.connection.channel_type, id: self.connection.channel_id }
    }

    /// Queues a message; the caller marks the channel dirty.
    pub fn queue(&mut self, message: Message) {
        self.connection.stream.send(message);
    }

    fn receive(&mut self) -> Result<Option<Incoming>, StreamError> {
        match self.kind {
            Kind::Main(_) => self.connection.stream.receive(&main_channel::max_body),
            Kind::Inputs(_) => self.connection.stream.receive(&inputs::max_body),
        }
    }

    fn watch_silence(&mut self, now: Instant) {
        let testing = matches!(&self.kind, Kind::Main(main) if main.is_testing());
        let owes = self.blocked || testing || self.latency.is_running();
        let stream = &self.connection.stream;
        let bytes = stream.bytes_received().wrapping_add(stream.bytes_sent());
        self.silence.update(owes, bytes, now);
    }

    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let unread = self.unread.then_some(now);
        [unread, self.latency.due(), self.silence.limit()].into_iter().flatten().min()
    }

    fn wanted_interest(&self) -> Readiness {
        let backlog = self.connection.stream.pending_bytes() > HOST_CHANNEL_BACKLOG;
        Readiness { read: self.reading && !backlog, write: self.blocked }
    }
}

impl State {
    /// Queues a message for a connection, if it is (still) a channel of the host thread.
    pub fn send(&mut self, key: u64, message: Message) {
        if let Some(channel) = self.channels.get_mut(&key) {
            channel.queue(message);
            self.dirty.push(key);
        }
    }

    /// The channel's first message is queued: the client is listened to.
    pub fn resume_reading(&mut self, key: u64) {
        if let Some(channel) = self.channels.get_mut(&key) {
            channel.reading = true;
            // Layers below may hold bytes that no watch reports.
            channel.unread = true;
            self.dirty.push(key);
        }
    }

    /// Ends a channel of the host thread; the client goes with its main channel. One line in the log.
    fn end_channel(&mut self, key: u64, closed: bool, why: &str) {
        let Some(channel) = self.channels.get(&key) else { return };
        let label = channel.connection.label();
        if closed {
            crate::info!("{label}: closed by the client");
        } else {
            crate::warning_limited!("{label}: disconnected: {why}");
        }
        let client = channel.client();
        if matches!(channel.kind, Kind::Main(_)) {
            self.drop_client(client, why);
        } else {
            self.close_channel(key);
        }
    }

    fn end_on_stream_error(&mut self, key: u64, error: &StreamError) {
        self.end_channel(key, matches!(error, StreamError::Closed), &error.to_string());
    }

    /// Closes one connection and clears up behind it.
    pub fn close_channel(&mut self, key: u64) {
        let Some(channel) = self.channels.remove(&key) else { return };
        if matches!(channel.kind, Kind::Inputs(_)) {
            self.release_keys();
        }
        let (watch, connection) = (channel.watch, channel.connection);
        self.effect(move |core| core.close(watch, connection));
    }

    /// The socket of a channel is ready.
    pub fn read_channel(&mut self, key: u64) {
        self.dirty.push(key);
        for _ in 0..MAX_MESSAGES_PER_READ {
            let Some(channel) = self.channels.get_mut(&key) else { return };
            channel.unread = false;
            if !channel.wanted_interest().read {
                return;
            }
            match channel.receive() {
                Ok(None) => return,
                Ok(Some(message)) => self.dispatch(key, &message),
                Err(error) => {
                    self.end_on_stream_error(key, &error);
                    return;
                }
            }
        }
        // A transport may hold bytes that no watch reports.
        if let Some(channel) = self.channels.get_mut(&key) {
            channel.unread = true;
        }
    }

    fn dispatch(&mut self, key: u64, message: &Incoming) {
        let Some(channel) = self.channels.get(&key) else { return };
        match channel.kind {
            Kind::Main(_) => self.on_main_message(key, message),
            Kind::Inputs(_) => self.on_inputs_message(key, message),
        }
    }

    fn on_main_message(&mut self, key: u64, message: &Incoming) {
        let now = self.now;
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let client = channel.client();
        let Kind::Main(main) = &mut channel.kind else { return };
        let request = main.on_message(message.msg_type, &message.body, now);
        for reply in main.replies() {
            channel.queue(reply);
        }
        match request {
            Ok(None) => {}
            Ok(Some(request)) => self.on_main_request(key, client, request),
            Err(error) => self.end_channel(key, false, &error.to_string()),
        }
    }

    fn on_main_request(&mut self, key: u64, client: ClientId, request: MainRequest) {
        let now = self.now;
        match request {
            MainRequest::AttachChannels => self.send_channels_list(client),
            MainRequest::MouseMode(mode) => self.request_mouse_mode(mode),
            MainRequest::Pong { id } => {
                if let Some(channel) = self.channels.get_mut(&key) {
                    channel.latency.pong(id, now);
                }
            }
            MainRequest::NetTestDone(quality) => {
                if let Some(c) = self.clients.get_mut(&client) {
                    c.quality = quality;
                }
                if let Some(channel) = self.channels.get_mut(&key) {
                    crate::debug!("{}: net test: {quality:?}", channel.connection.label());
                    channel.latency.start(now);
                }
            }
            // No agent: as the protocol says, these mean nothing then.
            MainRequest::AgentStart { .. } | MainRequest::AgentData(_) | MainRequest::AgentToken { .. } => {}
        }
    }

    fn on_inputs_message(&mut self, key: u64, message: &Incoming) {
        let pointer = self.pointer_target();
        let keyboard = self.keyboard.is_some();
        let Self { channels, key_state, agent_mouse, .. } = self;
        let Some(channel) = channels.get_mut(&key) else { return };
        let Kind::Inputs(inputs) = &mut channel.kind else { return };
        let actions =
            inputs.on_message(message.msg_type, &message.body, keyboard, key_state, pointer, agent_mouse);
        match actions {
            Ok(actions) => {
                for action in actions {
                    self.on_inputs_action(key, action);
                }
            }
            Err(error) => self.end_channel(key, false, &error.to_string()),
        }
    }

    fn on_inputs_action(&mut self, key: u64, action: InputsAction) {
        match action {
            InputsAction::Scan(byte) => self.push_scan_codes(&[byte]),
            InputsAction::StartModifiersTimer => {
                if let Some(timer) = self.modifiers_timer {
                    self.host_effect(move |l| l.timer_start(timer, MODIFIERS_DELAY_MS));
                }
            }
            InputsAction::MotionAck => self.send(key, inputs::mouse_motion_ack()),
            InputsAction::Motion { dx, dy, dz, buttons } => {
                if let Some(mouse) = self.mouse.clone() {
                    self.effect(move |_| mouse.motion(dx, dy, dz, buttons));
                }
            }
            InputsAction::MouseButtons(buttons) => {
                if let Some(mouse) = self.mouse.clone() {
                    self.effect(move |_| mouse.buttons(buttons));
                }
            }
            InputsAction::Position { x, y, buttons } => {
                if let Some((_, tablet)) = self.tablet.clone() {
                    self.effect(move |_| tablet.position(x, y, buttons));
                }
            }
            InputsAction::Wheel { dz, buttons } => {
                if let Some((_, tablet)) = self.tablet.clone() {
                    self.effect(move |_| tablet.wheel(dz, buttons));
                }
            }
            InputsAction::TabletButtons(buttons) => {
                if let Some((_, tablet)) = self.tablet.clone() {
                    self.effect(move |_| tablet.buttons(buttons));
                }
            }
            // Only chosen while an agent is attached.
            InputsAction::Agent(_) => {}
            InputsAction::Common(message) => self.on_inputs_common(key, &message),
        }
    }

    fn on_inputs_common(&mut self, key: u64, message: &CommonMessage) {
        let now = self.now;
        match message {
            CommonMessage::Pong { id, .. } => {
                if let Some(channel) = self.channels.get_mut(&key) {
                    channel.latency.pong(*id, now);
                }
            }
            CommonMessage::MigrateFlushMark => {
                self.end_channel(key, false, "MIGRATE_FLUSH_MARK was not asked for")
            }
            CommonMessage::MigrateData(_) => self.end_channel(key, false, "MIGRATE_DATA was not asked for"),
            CommonMessage::AckSync { .. } | CommonMessage::Ack | CommonMessage::Disconnecting => {}
        }
    }

    fn push_scan_codes(&mut self, bytes: &[u8]) {
        if let Some(keyboard) = self.keyboard.clone() {
            for &byte in bytes {
                let keyboard = keyboard.clone();
                self.effect(move |_| keyboard.push_scan_code(byte));
            }
        }
    }

    /// A client's inputs channel is gone: no key stays down.
    fn release_keys(&mut self) {
        let bytes = self.key_state.release_all();
        self.push_scan_codes(&bytes);
    }

    /// KEY_MODIFIERS to all clients.
    pub fn push_leds(&mut self) {
        let keys: Vec<u64> = self
            .channels
            .iter()
            .filter(|(_, c)| matches!(c.kind, Kind::Inputs(_)))
            .map(|(&k, _)| k)
            .collect();
        for key in keys {
            if let Some(channel) = self.channels.get_mut(&key) {
                channel.leds_due = true;
                self.dirty.push(key);
            }
        }
    }

    /// Writes what is queued, then says what to watch for.
    pub fn flush_channel(&mut self, key: u64) {
        let (now, leds) = (self.now, self.key_state.ideal());
        let Some(channel) = self.channels.get_mut(&key) else { return };
        // Before INIT nothing may be sent; while the socket is full the latest state is enough.
        if channel.leds_due && channel.reading && !channel.connection.stream.has_pending() {
            channel.leds_due = false;
            channel.queue(inputs::key_modifiers(leds));
        }
        match channel.connection.stream.flush() {
            Ok(flush) => channel.blocked = flush == Flush::Blocked,
            Err(error) => {
                self.end_on_stream_error(key, &error);
                return;
            }
        }
        if channel.connection.stream.pending_bytes() > MAX_HOST_CHANNEL_BACKLOG {
            self.end_channel(key, false, "it does not read what it is sent");
            return;
        }
        channel.watch_silence(now);
        let again = channel.leds_due && channel.reading && !channel.blocked;
        let interest = channel.wanted_interest();
        if let Some(watch) = channel.watch.filter(|_| interest != channel.interest) {
            channel.interest = interest;
            self.host_effect(move |l| l.watch_update(watch, interest));
        }
        if again {
            self.dirty.push(key);
        }
    }

    /// Pings, liveness, and messages left unread.
    pub fn on_channel_timer(&mut self, key: u64) {
        let now = self.now;
        let Some(channel) = self.channels.get_mut(&key) else { return };
        channel.watch_silence(now);
        if channel.silence.limit().is_some_and(|limit| limit <= now) {
            self.end_channel(key, false, "no byte moved for too long");
            return;
        }
        let idle = !channel.connection.stream.has_pending();
        if let Some(pings) = channel.latency.begin(idle, now) {
            for ping in pings {
                channel.queue(ping);
            }
            self.dirty.push(key);
        }
        let unread = self.channels.get(&key).is_some_and(|c| c.unread);
        if unread {
            self.read_channel(key);
        }
    }

    /// Where pointer messages go.
    fn pointer_target(&self) -> Pointer {
        if !self.pointer.is_client_mode() {
            Pointer::Mouse
        } else if self.tablet.is_some() {
            Pointer::Tablet
        } else {
            Pointer::Nobody
        }
    }
}
