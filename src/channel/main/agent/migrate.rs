//! Seamless migration of a client's conversation with the guest agent (server.md 9.6). The source saves its state, the client
//! carries it, and the target continues from it. At the target, the guest's agent may open its port before or after that.

use super::chunks::Chunks;
use super::filter::{Filter, Verdict};
use super::held::Held;
use super::port::{AGENT_TOKENS, AgentPort, Client, Origin};
use super::{AgentError, chunks::Piece};
use crate::channel::Out;
use crate::channel::connection::ConnectionId;
use crate::protocol::agent::{CHUNK_HEADER_SIZE, ChunkHeader, MESSAGE_HEADER_SIZE};
use crate::protocol::main_channel;
use crate::protocol::migrate::{CharDeviceState, MainState};

/// Codes of verdicts in migration data. The original's ERROR (2) never outlives its client.
const PASS: u8 = 0;
const DROP: u8 = 1;
const MONITORS: u8 = 3;

fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => PASS,
        Verdict::Drop => DROP,
        Verdict::Monitors => MONITORS,
    }
}

/// The verdict on the rest of a message. The rest of a monitors configuration is dropped, because the target does not have its
/// beginning. The original does the same.
fn verdict(code: u8) -> Verdict {
    if code == PASS { Verdict::Pass } else { Verdict::Drop }
}

/// Where the guest's byte stream continues.
fn chunks(state: &MainState) -> Result<Chunks, AgentError> {
    let mut header = ChunkHeader { port: state.chunk_port, size: state.chunk_size };
    if usize::try_from(state.chunk_header_size) != Ok(CHUNK_HEADER_SIZE) {
        let mut part = Vec::new();
        header.put(&mut part);
        part.truncate(usize::try_from(state.chunk_header_size).unwrap_or(0));
        return Chunks::at(None, part);
    }
    let part = if state.msg_header_done { Vec::new() } else { state.msg_header.clone() };
    if header.size == 0 && part.is_empty() {
        return Ok(Chunks::default());
    }
    header.size = header.size.saturating_add(u32::try_from(part.len()).unwrap_or(u32::MAX));
    Chunks::at(Some(header), part)
}

impl AgentPort {
    /// A client arrives from the source of a migration, or leaves for the target. Until [`Self::restore`], [`Self::release`] or
    /// its end, the server tells it nothing about the agent and makes no call of the agent's device.
    pub(crate) fn hold(&mut self, at: ConnectionId) {
        if let Some(client) = self.clients.get_mut(&at) {
            client.held.get_or_insert_default();
        }
    }

    /// The client brings no state. It begins anew, and INIT tells it whether there is an agent.
    pub(crate) fn release(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        if let Some(client) = self.clients.get_mut(&at) {
            client.held = None;
        }
        self.pump(out);
    }

    /// Whether the server makes no calls of the device.
    pub(super) fn is_held(&self) -> bool {
        self.clients.values().any(|client| client.held.is_some())
    }

    /// Sends the incomplete piece of the guest to the clients, unless it is a part of a message's header. Comes before
    /// [`Self::save`].
    pub(crate) fn cut(&mut self, out: &mut Out<'_>) {
        let (chunk, part) = self.chunks.position();
        let in_header = self.filter.position().0 == 0 && part.len() < MESSAGE_HEADER_SIZE;
        if chunk.is_some()
            && !in_header
            && let Some(piece) = self.chunks.cut()
            && let Err(error) = self.hear_part(piece, out)
        {
            self.give_up(&error, out);
        }
    }

    /// The state of the client's conversation. The bytes that the guest has not taken yet move to the target with it.
    pub(crate) fn save(&mut self, at: ConnectionId) -> MainState {
        let Some(client) = self.clients.get(&at).filter(|_| self.is_attached()) else {
            return MainState::default();
        };
        let (chunk, part) = self.chunks.position();
        let mut state = MainState::default();
        match chunk {
            Some(header) => {
                state.chunk_header_size = CHUNK_HEADER_SIZE as u32;
                state.chunk_port = header.port;
                state.chunk_size = header.size.saturating_sub(u32::try_from(part.len()).unwrap_or(0));
                state.msg_header = part.to_vec();
            }
            None => {
                state.chunk_header_size = u32::try_from(part.len()).unwrap_or(0);
                let mut header = part.to_vec();
                header.resize(CHUNK_HEADER_SIZE, 0);
                if let Ok(header) = ChunkHeader::decode(&header) {
                    (state.chunk_port, state.chunk_size) = (header.port, header.size);
                }
            }
        }
        let (rest, guest_verdict) = self.filter.position();
        state.msg_header_done = rest > 0;
        state.msg_remaining = rest;
        state.filter_result = match rest {
            0 => PASS,
            // The client connected in the middle of the message.
            _ if !client.follows => DROP,
            _ => code(guest_verdict),
        };
        if client.started {
            let (rest, client_verdict) = client.filter.position();
            state.client_agent_started = true;
            state.client_msg_remaining = rest;
            state.client_filter_result = if rest > 0 { code(client_verdict) } else { PASS };
            state.device = self.device_state(client);
        }
        if let Some(io) = &mut self.io {
            io.give_up(true, |_| true);
        }
        self.busy = false;
        state
    }

    fn hear_part(&mut self, piece: Piece, out: &mut Out<'_>) -> Result<(), AgentError> {
        if piece.for_client { self.hear(piece, out) } else { Ok(()) }
    }

    fn device_state(&self, client: &Client) -> CharDeviceState {
        let mut device = CharDeviceState {
            connected: true,
            num_client_tokens: client.window,
            num_send_tokens: u32::try_from(client.tokens).unwrap_or(u32::MAX),
            ..CharDeviceState::default()
        };
        for (bytes, origin) in self.io.iter().flat_map(|io| io.unwritten()) {
            device.write_data.extend_from_slice(bytes);
            device.write_num_client_tokens += match origin {
                Origin::Client(_) => 1,
                Origin::Restored(_, count) => count,
                Origin::Server | Origin::Farewell => 0,
            };
        }
        device
    }

    /// Continues from the state that a client brought. Returns whether the client already talks to the agent.
    ///
    /// # Errors
    /// The state is impossible. The server must disconnect the client.
    pub(crate) fn restore(
        &mut self,
        at: ConnectionId,
        state: MainState,
        out: &mut Out<'_>,
    ) -> Result<bool, AgentError> {
        check(&state)?;
        let attached = self.is_attached();
        let Some(client) = self.clients.get_mut(&at) else { return Ok(false) };
        let lost = client.held.take().is_some_and(|held| held.lost);
        let mut started = false;
        match (state.client_agent_started, attached) {
            (true, true) if !lost => started = self.go_on(at, state, out),
            (true, false) if !lost => {
                client.held = Some(Held { lost: false, brought: Some(Box::new(state)) });
            }
            (had_agent, has_agent) => {
                if had_agent {
                    out.send(at, main_channel::agent_disconnected());
                }
                if has_agent {
                    Self::tell_client_here(at, out);
                }
            }
        }
        self.pump(out);
        Ok(started)
    }

    /// An agent's device was attached. Returns whether the client must not be told: it is held, or it knows this agent from the
    /// source.
    pub(super) fn on_attached_while_held(&mut self, at: ConnectionId, out: &mut Out<'_>) -> bool {
        let Some(client) = self.clients.get_mut(&at) else { return false };
        let Some(held) = &mut client.held else { return false };
        if let Some(state) = held.brought.take() {
            client.held = None;
            self.go_on(at, *state, out);
        }
        true
    }

    /// Continues where the source stopped, or begins anew if the device is not at the beginning of its byte stream.
    fn go_on(&mut self, at: ConnectionId, state: MainState, out: &mut Out<'_>) -> bool {
        let fresh = matches!(self.chunks.position(), (None, [])) && self.filter.position().0 == 0;
        let (Some(io), Some(client), Ok(chunks)) =
            (self.io.as_mut().filter(|_| fresh), self.clients.get_mut(&at), chunks(&state))
        else {
            out.send(at, main_channel::agent_disconnected());
            Self::tell_client_here(at, out);
            return false;
        };
        self.chunks = chunks;
        self.filter = Filter::at(state.msg_remaining, verdict(state.filter_result));
        let (window, waiting) = (state.device.num_client_tokens, state.device.write_num_client_tokens);
        *client = Client {
            started: true,
            window,
            taken: AGENT_TOKENS.saturating_sub(window).saturating_sub(waiting),
            tokens: state.device.num_send_tokens.into(),
            follows: true,
            filter: Filter::at(state.client_msg_remaining, verdict(state.client_filter_result)),
            ..Client::default()
        };
        // Of another client that came and left before the machine did.
        let clients = &self.clients;
        io.give_up(false, |origin| matches!(origin, Origin::Restored(at, _) if !clients.contains_key(&at)));
        let without_bytes = if state.device.write_data.is_empty() { waiting } else { 0 };
        io.push(state.device.write_data, Origin::Restored(at, waiting));
        self.give_tokens_back(at, without_bytes, out);
        true
    }
}

/// Whether a state is possible.
fn check(state: &MainState) -> Result<(), AgentError> {
    let device = &state.device;
    let used = device.num_client_tokens.saturating_add(device.write_num_client_tokens);
    if state.client_agent_started && used > AGENT_TOKENS {
        return Err(AgentError::Tokens(used - AGENT_TOKENS));
    }
    Ok(())
}

#[cfg(test)]
#[path = "migrate_tests.rs"]
mod tests;
