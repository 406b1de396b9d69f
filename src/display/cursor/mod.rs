//! The cursor channel of one QXL device (display.md 13): the pointer's state, and per client what it has to be told.
//!
//! A client that reads slowly never holds anybody up: when too much waits for it, that is replaced by one item that
//! tells the state of the moment when it is sent.

mod cache;
mod client;

#[cfg(test)]
mod tests;

use crate::channel::connection::ConnectionId;
use crate::channel::link::{ChannelError, LinkOptions, PING_PERIOD_RARE};
use crate::channel::{Channel, Out, Profile};
use crate::geometry::Point16;
use crate::guest::ReleaseToken;
use crate::host::{CursorCommand, CursorShape};
use crate::net::stream::Incoming;
use crate::protocol::{ChannelType, common};
use client::{CursorClient, Item};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    clients: BTreeMap<ConnectionId, CursorClient>,
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
        for client in self.clients.values_mut() {
            client.reset();
        }
    }

    /// A primary surface was created: clients show the pointer from now on.
    pub fn primary_created(&mut self) {
        for client in self.clients.values_mut() {
            client.initialise();
        }
    }

    /// Whether clients place the pointer themselves (client mouse mode).
    pub fn set_mouse_mode(&mut self, client: bool) {
        self.client_mouse = client;
    }

    fn queue(&mut self, item: &Item) {
        for client in self.clients.values_mut() {
            client.queue(item.clone());
        }
    }
}

/// A shape of no size would be refused by clients as damaged; it is sent as no shape.
fn has_pixels(shape: &CursorShape) -> bool {
    shape.width > 0 && shape.height > 0 && !shape.data.is_empty()
}

impl Channel for CursorChannel {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let migrated = out.look(at).is_some_and(|link| link.connection().migration_target);
        self.clients.insert(at, CursorClient::new(migrated));
        self.push(at, out)
    }

    /// Cursor channels have no messages of the client.
    fn on_message(
        &mut self,
        _at: ConnectionId,
        message: Incoming,
        _out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        Err(common::unknown("cursor", message.msg_type).into())
    }

    fn on_migrate(&mut self, at: ConnectionId, _out: &mut Out<'_>) {
        if let Some(client) = self.clients.get_mut(&at) {
            client.begin_leaving();
        }
    }

    fn is_waiting(&self, at: ConnectionId) -> bool {
        self.clients.get(&at).is_some_and(CursorClient::is_waiting)
    }

    fn push(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        if let (Some(client), Some(link)) = (self.clients.get_mut(&at), out.link(at)) {
            client.push(&self.state, link);
        }
        Ok(())
    }

    fn on_drained(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.push(at, out)
    }

    fn on_closed(&mut self, at: ConnectionId, _out: &mut Out<'_>) {
        self.clients.remove(&at);
    }
}
