//! The cursor channel of one QXL device (display.md 13): the pointer's state, and per client what it has to be told.
//!
//! A client that reads slowly never holds anybody up: when too much waits for it, that is replaced by one item that
//! tells the state of the moment when it is sent.

mod cache;
mod client;

#[cfg(test)]
mod tests;

use crate::channel::Profile;
use crate::channel::client::{ClientKey, LinkOptions, PING_PERIOD_RARE, PollEntry, WorkerChannel};
use crate::channel::connection::{ChannelConnection, ClientId};
use crate::geometry::Point16;
use crate::guest::ReleaseToken;
use crate::host::{CursorCommand, CursorShape, Readiness};
use crate::protocol::ChannelType;
use client::{CursorClient, Item};
use std::sync::Arc;
use std::time::Instant;

/// The cursor channel's line in the registry.
pub(crate) static PROFILE: Profile = Profile {
    channel_type: ChannelType::Cursor,
    caps: &[],
    shared: true,
    options: LinkOptions { max_body: client::max_body, window: true, ping_period: PING_PERIOD_RARE },
};

/// What the guest last said about its pointer.
#[derive(Debug)]
struct PointerState {
    visible: bool,
    /// Of the last MOVE; a SET does not count (display.md 13.2).
    position: Point16,
    trail_length: u16,
    trail_frequency: u16,
    shape: Option<Arc<CursorShape>>,
}

impl Default for PointerState {
    fn default() -> Self {
        Self { visible: true, position: Point16::default(), trail_length: 0, trail_frequency: 0, shape: None }
    }
}

/// The cursor channel of one QXL device. All methods belong to the worker thread; none of them blocks.
#[derive(Debug, Default)]
pub struct CursorChannel {
    state: PointerState,
    /// The guest gets the command of the current shape back when another one replaces it: on migration the host submits
    /// it again (qxl.md A8.6).
    shape_command: Option<ReleaseToken>,
    client_mouse: bool,
    clients: Vec<(ClientKey, CursorClient)>,
    last_key: u64,
}

impl CursorChannel {
    /// A pointer without shape, in server mouse mode.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// QXL_CMD_CURSOR.
    pub fn command(&mut self, command: CursorCommand) {
        match command {
            CursorCommand::Set { position, visible, shape, release } => {
                self.state.visible = visible;
                let shape = Some(shape).filter(has_pixels).map(Arc::new);
                self.state.shape.clone_from(&shape);
                self.shape_command = Some(release);
                self.queue(&Item::Set { position, shape });
            }
            CursorCommand::Move { position, release: _ } => {
                let was_hidden = !self.state.visible;
                self.state.visible = true;
                self.state.position = position;
                // In client mouse mode the client moves the pointer itself; ours would make it jump.
                if !self.client_mouse || was_hidden {
                    self.queue(&Item::Move(position));
                }
            }
            CursorCommand::Hide { release: _ } => {
                self.state.visible = false;
                self.queue(&Item::Hide);
            }
            CursorCommand::Trail { length, frequency, release: _ } => {
                (self.state.trail_length, self.state.trail_frequency) = (length, frequency);
                self.queue(&Item::Trail { length, frequency });
            }
        }
    }

    /// Pointer without shape, visible, at (0, 0); clients forget their shapes (display.md 13.3).
    pub fn reset(&mut self) {
        self.state = PointerState::default();
        self.shape_command = None;
        for (_, client) in &mut self.clients {
            client.reset();
        }
    }

    /// A primary surface was created: clients show the pointer from now on.
    pub fn primary_created(&mut self) {
        for (_, client) in &mut self.clients {
            client.initialise();
        }
    }

    /// Whether clients place the pointer themselves (client mouse mode).
    pub fn set_mouse_mode(&mut self, client: bool) {
        self.client_mouse = client;
    }

    /// Drops all connections.
    pub fn detach_all(&mut self) {
        self.clients.clear();
    }

    /// Whether everything was given to the kernel for every client.
    #[cfg(test)]
    fn pipes_empty(&self) -> bool {
        self.clients.iter().all(|(_, client)| client.is_idle())
    }

    fn queue(&mut self, item: &Item) {
        for (_, client) in &mut self.clients {
            client.queue(item.clone());
        }
    }

    /// Runs `step` on the clients that `which` names and drops those for which it fails.
    fn each(
        &mut self,
        which: Option<ClientKey>,
        step: impl Fn(&mut CursorClient, &PointerState) -> Result<(), crate::channel::client::ChannelError>,
    ) {
        let state = &self.state;
        self.clients.retain_mut(|(key, client)| {
            if which.is_some_and(|wanted| wanted != *key) {
                return true;
            }
            step(client, state).inspect_err(|error| client.channel().log_end(error)).is_ok()
        });
    }
}

/// A shape of no size would be refused by clients as damaged; it is sent as no shape.
fn has_pixels(shape: &CursorShape) -> bool {
    shape.width > 0 && shape.height > 0 && !shape.data.is_empty()
}

impl WorkerChannel for CursorChannel {
    fn clients(&self) -> Vec<PollEntry> {
        let entry = |(key, client): &(ClientKey, CursorClient)| {
            let channel = client.channel();
            PollEntry { key: *key, fd: channel.raw_fd(), interest: channel.interest() }
        };
        self.clients.iter().map(entry).collect()
    }

    fn attach(&mut self, connection: ChannelConnection, now: Instant) {
        self.last_key += 1;
        let key = ClientKey(self.last_key);
        self.clients.push((key, CursorClient::new(connection, now)));
        // Bytes may be waiting in the transport already.
        self.on_ready(key, Readiness { read: true, write: true }, now);
    }

    fn detach(&mut self, client: ClientId) {
        self.clients.retain(|(_, c)| c.channel().id() != client);
    }

    fn hand_over(&mut self, client: ClientId, now: Instant) {
        self.each(None, |c, state| {
            if c.channel().id() == client {
                c.begin_leaving();
            }
            c.push(state, now)
        });
    }

    fn on_ready(&mut self, key: ClientKey, _readiness: Readiness, now: Instant) {
        self.each(Some(key), |client, state| {
            client.read(now)?;
            client.push(state, now)
        });
    }

    fn push(&mut self, now: Instant) {
        self.each(None, |client, state| client.push(state, now));
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.clients.iter().filter_map(|(_, client)| client.channel().next_deadline(now)).min()
    }

    fn on_timer(&mut self, now: Instant) {
        self.each(None, |client, state| {
            client.on_timer(now)?;
            client.push(state, now)
        });
    }
}
