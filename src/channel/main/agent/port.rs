//! The agent port's state: the device, the clients that talk to it, and what the server has to say.

use super::AgentError;
use super::chunks::{Chunks, Piece};
use super::filter::{Filter, Rules, Verdict};
use super::held::Held;
use super::monitors::Collector;
use crate::channel::connection::ConnectionId;
use crate::channel::inputs::AgentMouse;
use crate::channel::link::ChannelError;
use crate::channel::{Out, ServerRequest};
use crate::device::DeviceIo;
use crate::host::DeviceId;
use crate::limits::{MAX_AGENT_QUEUE, MAX_AGENT_STARVED, MAX_DEVICE_BACKLOG, MAX_MOUSE_STATES};
use crate::protocol::agent::{
    CHUNK_HEADER_SIZE, CLIENT_PORT, ChunkHeader, MESSAGE_HEADER_SIZE, cap, message, mouse_state,
    server_message,
};
use crate::protocol::caps::main::AGENT_CONNECTED_TOKENS;
use crate::protocol::main_channel;
use crate::protocol::writer::count32;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Messages that a client may have under way to the guest.
pub(crate) const AGENT_TOKENS: u32 = 10;
/// So many are given back at a time.
const TOKENS_RETURNED: u32 = 5;

/// Whose bytes are written to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// One of this client's tokens is in use.
    Client(ConnectionId),
    /// What the client brought from the source of a migration, and how many of its tokens are in use.
    Restored(ConnectionId, u32),
    /// Pointer or displays: one at a time, so that the latest state is what waits.
    Server,
    /// The end of the last client.
    Farewell,
}

impl Origin {
    /// Whether the client brought it.
    pub(super) fn is_of(self, client: ConnectionId) -> bool {
        matches!(self, Self::Client(at) | Self::Restored(at, _) if at == client)
    }
}

/// One client.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// It sent AGENT_START to the agent that is attached.
    pub(super) started: bool,
    /// Messages that it may send, and those that the guest took since it was last told.
    pub(super) window: u32,
    pub(super) taken: u32,
    /// Messages that it can be sent.
    pub(super) tokens: u64,
    /// It has seen the beginning of the guest's present message.
    pub(super) follows: bool,
    pub(super) filter: Filter,
    pub(super) monitors: Collector,
    /// Messages that wait for tokens, and since when.
    pub(super) waiting: VecDeque<Vec<u8>>,
    pub(super) since: Option<Instant>,
    /// See [`AgentPort::hold`].
    pub(super) held: Option<Held>,
}

/// The agent's device, its clients, and the messages of the server to the agent.
#[derive(Debug)]
pub(crate) struct AgentPort {
    pub(super) io: Option<DeviceIo<Origin>>,
    /// The guest broke the protocol: nothing is read from it or written to it any more.
    pub(super) broken: bool,
    /// When the host is told so: not from inside of the call in which the guest did it, which hosts do not expect.
    pub(super) tell_at: Option<Instant>,
    pub(super) chunks: Chunks,
    pub(super) filter: Filter,
    pub(super) copy_paste: bool,
    pub(super) file_xfer: bool,
    pub(super) takes_monitors: bool,
    /// The agent wants to know which display is which.
    pub(super) wants_displays: bool,
    pub(super) clients: BTreeMap<ConnectionId, Client>,
    /// A message of the server is on its way to the guest.
    pub(super) busy: bool,
    pub(super) mouse: VecDeque<AgentMouse>,
    pub(super) displays: Option<Vec<u8>>,
}

impl Default for AgentPort {
    fn default() -> Self {
        Self {
            io: None,
            broken: false,
            tell_at: None,
            chunks: Chunks::default(),
            filter: Filter::default(),
            copy_paste: true,
            file_xfer: true,
            takes_monitors: false,
            wants_displays: false,
            clients: BTreeMap::new(),
            busy: false,
            mouse: VecDeque::new(),
            displays: None,
        }
    }
}

impl AgentPort {
    /// Whether there is an agent port, and its guest keeps to the protocol.
    #[must_use]
    pub(crate) fn is_attached(&self) -> bool {
        self.io.is_some() && !self.broken
    }

    /// Whether this device is attached, in whatever state.
    #[must_use]
    pub(crate) fn is(&self, device: DeviceId) -> bool {
        self.io.as_ref().is_some_and(|io| io.id() == device)
    }

    /// Whether a device is attached, in whatever state.
    #[must_use]
    pub(crate) fn has_device(&self) -> bool {
        self.io.is_some()
    }

    /// Attaches the device; clients are told.
    pub(crate) fn attach(&mut self, io: DeviceIo<Origin>, out: &mut Out<'_>) {
        self.forget_conversation();
        out.call(io.state(true));
        self.io = Some(io);
        for at in self.clients.keys().copied().collect::<Vec<_>>() {
            if !self.on_attached_while_held(at, out) {
                Self::tell_client_here(at, out);
            }
        }
        self.pump(out);
    }

    pub(super) fn tell_client_here(at: ConnectionId, out: &mut Out<'_>) {
        if let Some(link) = out.link(at) {
            let tokens = link.connection().channel_caps.has(AGENT_CONNECTED_TOKENS);
            link.send(match tokens {
                true => main_channel::agent_connected_tokens(AGENT_TOKENS),
                false => main_channel::agent_connected(),
            });
        }
    }

    /// Detaches the device; clients are told. Whether the host has to be told, too.
    pub(crate) fn detach(&mut self, out: &mut Out<'_>) -> bool {
        let was_attached = self.is_attached();
        let is_to_be_told = was_attached || self.tell_at.is_some();
        self.io = None;
        (self.broken, self.tell_at) = (false, None);
        self.forget_conversation();
        if was_attached {
            self.tell_clients_gone(out);
        }
        is_to_be_told
    }

    fn tell_clients_gone(&mut self, out: &mut Out<'_>) {
        for (at, client) in &mut self.clients {
            match &mut client.held {
                Some(held) => held.on_agent_gone(),
                None => out.send(*at, main_channel::agent_disconnected()),
            }
        }
    }

    fn forget_conversation(&mut self) {
        (self.chunks, self.filter) = (Chunks::default(), Filter::default());
        (self.busy, self.wants_displays, self.displays) = (false, false, None);
        self.mouse.clear();
        for client in self.clients.values_mut() {
            client.filter.forget();
            let (held, filter) = (client.held.take(), std::mem::take(&mut client.filter));
            *client = Client { held, filter, ..Client::default() };
        }
    }

    /// The guest broke the protocol: its device is not used any more.
    pub(super) fn give_up(&mut self, error: &AgentError, out: &mut Out<'_>) {
        crate::warning_limited!("guest agent: given up: {error}");
        (self.broken, self.tell_at) = (true, Some(out.now));
        self.forget_conversation();
        if let Some(io) = &mut self.io {
            io.give_up(true, |_| true);
        }
        self.tell_clients_gone(out);
        out.tell(ServerRequest::AgentGone);
    }

    /// What the host allows from now on.
    pub(crate) fn allow(&mut self, copy_paste: bool, file_xfer: bool) {
        (self.copy_paste, self.file_xfer) = (copy_paste, file_xfer);
    }

    /// Whether the QXL devices take clients' monitors configurations.
    pub(crate) fn set_takes_monitors(&mut self, takes: bool) {
        self.takes_monitors = takes;
    }

    pub(super) fn rules(&self) -> Rules {
        Rules {
            copy_paste: self.copy_paste,
            file_xfer: self.file_xfer,
            monitors: false,
            only_monitors: false,
        }
    }

    /// A client connected.
    pub(crate) fn open(&mut self, at: ConnectionId) {
        self.clients.insert(at, Client::default());
    }

    /// A client is gone: what the guest has no part of does not reach it any more.
    pub(crate) fn close(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        if self.clients.remove(&at).is_none() {
            return;
        }
        let last = self.clients.is_empty();
        if let Some(io) = self.io.as_mut().filter(|_| !self.broken) {
            io.give_up(false, |origin| origin.is_of(at));
            if last {
                // One is enough, however often clients come and go while the guest takes nothing.
                io.give_up(false, |origin| origin == Origin::Farewell);
                io.push(server_message(message::CLIENT_DISCONNECTED, &[]), Origin::Farewell);
            }
        }
        self.pump(out);
    }

    /// AGENT_START: the client can be sent so many messages.
    pub(crate) fn start(&mut self, at: ConnectionId, tokens: u32, out: &mut Out<'_>) {
        let attached = self.is_attached();
        if let Some(client) = self.clients.get_mut(&at).filter(|_| attached) {
            if !client.started {
                client.filter.forget();
                let filter = std::mem::take(&mut client.filter);
                *client = Client { started: true, window: AGENT_TOKENS, filter, ..Client::default() };
            }
            client.tokens = tokens.into();
        }
        self.send_waiting(at, out);
        self.pump(out);
    }

    /// AGENT_TOKEN: and so many more. Without meaning before AGENT_START.
    pub(crate) fn token(&mut self, at: ConnectionId, tokens: u32, out: &mut Out<'_>) {
        if let Some(client) = self.clients.get_mut(&at).filter(|client| client.started) {
            client.tokens = client.tokens.saturating_add(tokens.into());
        }
        self.send_waiting(at, out);
        self.pump(out);
    }

    fn send_waiting(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        let Some(client) = self.clients.get_mut(&at) else { return };
        while client.tokens > 0
            && let Some(bytes) = client.waiting.pop_front()
        {
            client.tokens -= 1;
            out.send(at, main_channel::agent_data(bytes));
        }
        if client.tokens > 0 {
            client.since = None;
        }
    }

    /// AGENT_DATA of a client.
    ///
    /// # Errors
    /// The client has no token left, or breaks the agent's protocol.
    pub(crate) fn data(
        &mut self,
        at: ConnectionId,
        data: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(), AgentError> {
        let (attached, takes_monitors) = (self.is_attached(), self.takes_monitors);
        let rules = self.rules();
        let Some(client) = self.clients.get_mut(&at) else { return Ok(()) };
        // Otherwise it is said to the agent before this one, or too early, or to nobody.
        let is_heard = attached && client.started;
        let rules = Rules { monitors: takes_monitors, only_monitors: !is_heard, ..rules };
        if client.started {
            client.window = client.window.checked_sub(1).ok_or(AgentError::NoToken)?;
        }
        let judged = match client.filter.judge(data, rules) {
            Err(_) if !is_heard => {
                // Said to nobody: whatever it is does no harm.
                client.filter = Filter::default();
                return Ok(());
            }
            judged => judged?,
        };
        if judged.verdict == Verdict::Monitors
            && let Some(config) = client.monitors.take(data, judged.begins.is_some(), judged.ends)?
        {
            out.ask(at, ServerRequest::Monitors(config));
        }
        match &mut self.io {
            Some(io) if judged.verdict == Verdict::Pass && client.started => {
                let mut chunk = Vec::with_capacity(CHUNK_HEADER_SIZE + data.len());
                ChunkHeader { port: CLIENT_PORT, size: count32(data.len()) }.put(&mut chunk);
                chunk.extend_from_slice(data);
                io.push(chunk, Origin::Client(at));
            }
            _ => self.give_tokens_back(at, 1, out),
        }
        self.pump(out);
        Ok(())
    }

    /// The guest took so many messages of the client, or they are for nobody.
    pub(super) fn give_tokens_back(&mut self, at: ConnectionId, count: u32, out: &mut Out<'_>) {
        let Some(client) = self.clients.get_mut(&at).filter(|client| client.started) else { return };
        client.taken += count;
        if client.taken >= TOKENS_RETURNED {
            let count = std::mem::take(&mut client.taken);
            client.window += count;
            out.send(at, main_channel::agent_token(count));
        }
    }

    /// The pointer's state for the agent. States that differ in the place only give way to later ones; every change of a
    /// button reaches the guest.
    pub(crate) fn mouse(&mut self, state: AgentMouse, out: &mut Out<'_>) {
        if !self.is_attached() {
            return;
        }
        let full = self.mouse.len() >= MAX_MOUSE_STATES;
        match self.mouse.back_mut() {
            Some(last) if full || last.buttons == state.buttons => *last = state,
            _ => self.mouse.push_back(state),
        }
        self.pump(out);
    }

    /// Which display is which, as GRAPHICS_DEVICE_INFO has it.
    pub(crate) fn set_displays(&mut self, displays: Vec<u8>, out: &mut Out<'_>) {
        if self.wants_displays && self.is_attached() {
            self.displays = Some(displays);
            self.pump(out);
        }
    }

    fn say_next(&mut self) {
        let Some(io) = self.io.as_mut().filter(|_| !self.busy) else { return };
        let next = match self.mouse.pop_front() {
            Some(mouse) => {
                let state = mouse_state(mouse.x, mouse.y, mouse.buttons, mouse.display_id);
                Some(server_message(message::MOUSE_STATE, &state))
            }
            None => self.displays.take().map(|info| server_message(message::GRAPHICS_DEVICE_INFO, &info)),
        };
        if let Some(bytes) = next {
            self.busy = true;
            io.push(bytes, Origin::Server);
        }
    }

    /// The device has something to read, or room for more.
    pub(crate) fn wakeup(&mut self, out: &mut Out<'_>) {
        if let Some(io) = &mut self.io {
            io.wake();
        }
        self.pump(out);
    }

    /// The machine runs, or it stopped.
    pub(crate) fn set_running(&mut self, running: bool, out: &mut Out<'_>) {
        if let Some(io) = &mut self.io {
            io.set_running(running);
        }
        self.pump(out);
    }

    /// Makes the calls of the device that can be made now.
    pub(crate) fn pump(&mut self, out: &mut Out<'_>) {
        if !self.is_attached() || self.is_held() {
            return;
        }
        self.say_next();
        let mut reads = !self.clients.values().any(|client| client.started);
        for (at, client) in &self.clients {
            let room = out.look(*at).is_some_and(|link| link.stream().pending_bytes() < MAX_DEVICE_BACKLOG);
            reads |= client.started && client.tokens > 0 && room;
        }
        let (now, most) = (out.now, if reads { self.chunks.wanted() } else { 0 });
        if let Some(io) = &mut self.io {
            io.pump(now, most, |call| out.call(call));
        }
    }

    /// The host's answer to a write.
    pub(crate) fn on_written(&mut self, bytes: Vec<u8>, taken: usize, out: &mut Out<'_>) {
        let now = out.now;
        match self.io.as_mut().and_then(|io| io.on_written(bytes, taken, now)) {
            Some(Origin::Client(at)) => self.give_tokens_back(at, 1, out),
            Some(Origin::Restored(at, count)) => self.give_tokens_back(at, count, out),
            Some(Origin::Server) => self.busy = false,
            Some(Origin::Farewell) | None => {}
        }
        self.pump(out);
    }

    /// The host's answer to a read.
    pub(crate) fn on_read(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let now = out.now;
        let Some(io) = &mut self.io else { return };
        io.on_read(bytes.len(), now);
        if self.broken {
            return;
        }
        let heard = self.chunks.take(bytes).and_then(|piece| match piece {
            Some(piece) if piece.for_client => self.hear(piece, out),
            _ => Ok(()),
        });
        match heard {
            Ok(()) => self.pump(out),
            Err(error) => self.give_up(&error, out),
        }
    }

    /// A piece of the guest for its clients.
    pub(super) fn hear(&mut self, piece: Piece, out: &mut Out<'_>) -> Result<(), AgentError> {
        let judged = self.filter.judge(&piece.bytes, self.rules())?;
        let mut bytes = piece.bytes;
        if judged.begins.is_some_and(|head| head.message_type == message::ANNOUNCE_CAPABILITIES) {
            self.on_capabilities(&mut bytes, out);
        }
        let receivers: Vec<_> = self.clients.keys().copied().collect();
        for at in receivers {
            let Some(client) = self.clients.get_mut(&at).filter(|client| client.started) else { continue };
            client.follows |= judged.begins.is_some();
            if judged.verdict != Verdict::Pass || !client.follows {
                continue;
            }
            client.waiting.push_back(bytes.clone());
            if client.tokens == 0 {
                client.since.get_or_insert(out.now);
                if client.waiting.len() > MAX_AGENT_QUEUE {
                    out.disconnect(at, ChannelError::Refused("it gives no tokens for agent data".into()));
                }
            }
            self.send_waiting(at, out);
        }
        Ok(())
    }

    /// The agent says what it can do; clients are told what the host allows of it.
    fn on_capabilities(&mut self, piece: &mut [u8], out: &mut Out<'_>) {
        // The first word asks for an answer.
        let Some(words) = piece.get_mut(MESSAGE_HEADER_SIZE + 4..) else { return };
        let Some(word) = words.first_chunk_mut::<4>() else { return };
        let mut caps = u32::from_le_bytes(*word);
        self.wants_displays = caps & 1 << cap::GRAPHICS_DEVICE_INFO != 0;
        if !self.copy_paste {
            let paste = 1 << cap::CLIPBOARD | 1 << cap::CLIPBOARD_BY_DEMAND | 1 << cap::CLIPBOARD_SELECTION;
            caps &= !paste;
        }
        if !self.file_xfer {
            caps |= 1 << cap::FILE_XFER_DISABLED;
        }
        *word = caps.to_le_bytes();
        out.tell(ServerRequest::AgentDisplays);
    }

    fn starved_at(&self) -> Option<Instant> {
        self.clients.values().filter_map(|client| client.since).min().map(|since| since + MAX_AGENT_STARVED)
    }

    /// When [`Self::on_timer`] wants to be called.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let device = self.io.as_ref().and_then(DeviceIo::next_deadline).filter(|_| !self.broken);
        [device, self.tell_at, self.starved_at()].into_iter().flatten().min()
    }

    /// The time has come.
    pub(crate) fn on_timer(&mut self, out: &mut Out<'_>) {
        let now = out.now;
        if let Some(io) = &mut self.io {
            io.on_timer(now);
            if self.tell_at.take().is_some() {
                out.call(io.state(false));
            }
        }
        for (at, client) in &mut self.clients {
            if client.since.take_if(|since| *since + MAX_AGENT_STARVED <= now).is_some() {
                let why = "it gave no tokens for agent data for too long";
                out.disconnect(*at, ChannelError::Refused(why.into()));
            }
        }
        self.pump(out);
    }
}
