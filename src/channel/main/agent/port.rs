//! The state of the agent port: the device, the clients that talk to it, and the messages of the server.

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

/// Messages that a client may have sent and that the guest has not taken yet.
pub(crate) const AGENT_TOKENS: u32 = 10;
/// The server returns this many tokens at a time.
const TOKENS_RETURNED: u32 = 5;

/// Who sent the bytes that are written to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This client. The bytes occupy one of its tokens.
    Client(ConnectionId),
    /// This client, which brought the bytes from the source of a migration. They occupy so many of its tokens. They may begin in
    /// the middle of a chunk, so the guest gets them even if the client leaves.
    Restored(ConnectionId, u32),
    /// The server, about pointer or displays. One such message is under way at a time, so that the latest state is what waits.
    Server,
    /// The server, about the end of the last client.
    Farewell,
}

/// One client.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// It has sent AGENT_START since the present agent was attached.
    pub(super) started: bool,
    /// Messages that it may still send, and messages that the guest took since the last AGENT_TOKEN.
    pub(super) window: u32,
    pub(super) taken: u32,
    /// Messages that the server may still send to it.
    pub(super) tokens: u64,
    /// It has received the beginning of the guest's current message.
    pub(super) follows: bool,
    pub(super) filter: Filter,
    pub(super) monitors: Collector,
    /// Messages that wait for tokens, and since when they do.
    pub(super) waiting: VecDeque<Vec<u8>>,
    pub(super) since: Option<Instant>,
    /// See [`AgentPort::hold`].
    pub(super) held: Option<Held>,
}

/// The agent's device, its clients, and the messages of the server to the agent.
#[derive(Debug)]
pub(crate) struct AgentPort {
    pub(super) io: Option<DeviceIo<Origin>>,
    /// The guest broke the protocol. The server no longer reads or writes the device.
    pub(super) broken: bool,
    /// When the server tells the host so. Hosts do not expect this inside the call in which the guest broke the protocol.
    pub(super) tell_at: Option<Instant>,
    pub(super) chunks: Chunks,
    pub(super) filter: Filter,
    pub(super) copy_paste: bool,
    pub(super) file_xfer: bool,
    pub(super) takes_monitors: bool,
    /// The agent has asked for GRAPHICS_DEVICE_INFO.
    pub(super) wants_displays: bool,
    pub(super) clients: BTreeMap<ConnectionId, Client>,
    /// The guest has not taken the server's last message yet.
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
    /// Whether there is an agent port whose guest has not broken the protocol.
    #[must_use]
    pub(crate) fn is_attached(&self) -> bool {
        self.io.is_some() && !self.broken
    }

    /// Whether this device is attached, broken or not.
    #[must_use]
    pub(crate) fn is(&self, device: DeviceId) -> bool {
        self.io.as_ref().is_some_and(|io| io.id() == device)
    }

    /// Whether any device is attached, broken or not.
    #[must_use]
    pub(crate) fn has_device(&self) -> bool {
        self.io.is_some()
    }

    /// Attaches the device and tells the clients.
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

    /// Detaches the device and tells the clients. Returns whether the host must be told, too.
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

    /// Stops using the device, because the guest broke the protocol.
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

    /// Sets what the host allows from now on.
    pub(crate) fn allow(&mut self, copy_paste: bool, file_xfer: bool) {
        (self.copy_paste, self.file_xfer) = (copy_paste, file_xfer);
    }

    /// Sets whether the QXL devices take the clients' monitors configurations.
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

    /// A client has gone. Its messages are dropped, except for one of which the guest has taken a part.
    pub(crate) fn close(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        if self.clients.remove(&at).is_none() {
            return;
        }
        let last = self.clients.is_empty();
        if let Some(io) = self.io.as_mut().filter(|_| !self.broken) {
            io.give_up(false, |origin| origin == Origin::Client(at));
            if last {
                // However often clients come and go while the guest takes nothing, one farewell is enough.
                io.give_up(false, |origin| origin == Origin::Farewell);
                io.push(server_message(message::CLIENT_DISCONNECTED, &[]), Origin::Farewell);
            }
        }
        self.pump(out);
    }

    /// AGENT_START: the client gives the server this many tokens.
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

    /// AGENT_TOKEN: the client gives this many more tokens. It means nothing before AGENT_START.
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
    /// The client has no token left, or broke the agent's protocol.
    pub(crate) fn data(
        &mut self,
        at: ConnectionId,
        data: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(), AgentError> {
        let (attached, takes_monitors) = (self.is_attached(), self.takes_monitors);
        let rules = self.rules();
        let Some(client) = self.clients.get_mut(&at) else { return Ok(()) };
        // If not, the client means an agent that has gone, or sends before AGENT_START, or there is no agent.
        let is_heard = attached && client.started;
        let rules = Rules { monitors: takes_monitors, only_monitors: !is_heard, ..rules };
        if client.started {
            client.window = client.window.checked_sub(1).ok_or(AgentError::NoToken)?;
        }
        let judged = match client.filter.judge(data, rules) {
            Err(_) if !is_heard => {
                // Nobody receives it, so it does no harm.
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

    /// The guest took this many messages of the client, or the server dropped them.
    pub(super) fn give_tokens_back(&mut self, at: ConnectionId, count: u32, out: &mut Out<'_>) {
        let Some(client) = self.clients.get_mut(&at).filter(|client| client.started) else { return };
        client.taken += count;
        if client.taken >= TOKENS_RETURNED {
            let count = std::mem::take(&mut client.taken);
            client.window += count;
            out.send(at, main_channel::agent_token(count));
        }
    }

    /// Queues a pointer state for the agent. A state replaces the one before it if only the position differs. Every change of a
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

    /// Sets the body of the next GRAPHICS_DEVICE_INFO, which says which display is which.
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

    /// The host called `wakeup`: the device has something to read, or room for a write.
    pub(crate) fn wakeup(&mut self, out: &mut Out<'_>) {
        if let Some(io) = &mut self.io {
            io.wake();
        }
        self.pump(out);
    }

    /// The machine started or stopped.
    pub(crate) fn set_running(&mut self, running: bool, out: &mut Out<'_>) {
        if let Some(io) = &mut self.io {
            io.set_running(running);
        }
        self.pump(out);
    }

    /// Makes the device calls that are possible now.
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

    /// Handles the result of a write.
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

    /// Handles the result of a read.
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

    /// Passes a piece of the guest on to the clients.
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

    /// The agent announces its capabilities. The server removes from them what the host does not allow.
    fn on_capabilities(&mut self, piece: &mut [u8], out: &mut Out<'_>) {
        // The first word after the header says whether the agent wants an answer.
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

    /// [`Self::next_deadline`] has come.
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
