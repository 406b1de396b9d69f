//! One client of a cursor channel: its pipe and what it keeps.

use super::PointerState;
use super::cache::{CacheUse, CursorCache};
use crate::channel::client::{ChannelClient, ChannelError, Received};
use crate::channel::connection::ChannelConnection;
use crate::geometry::Point16;
use crate::host::CursorShape;
use crate::limits::{MAX_CURSOR_PIPE, MAX_WAITING_SHAPES};
use crate::net::stream::Flush;
use crate::protocol::Message;
use crate::protocol::common;
use crate::protocol::cursor::{self, WireCursor};
use crate::protocol::error::ProtocolError;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Something to be told to a client; becomes a message when the socket can take it.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// The whole state of the moment when it is sent.
    Init,
    Reset,
    InvalAll,
    Set {
        position: Point16,
        shape: Option<Arc<CursorShape>>,
    },
    Move(Point16),
    Hide,
    Trail {
        length: u16,
        frequency: u16,
    },
    /// The last message to a client that follows its machine to another host.
    Migrate,
    /// What a collapsed pipe comes to: the pointer where it is to be, with shape, visibility and trail of the moment when
    /// it is sent.
    State,
}

#[derive(Debug)]
pub(super) struct CursorClient {
    channel: ChannelClient,
    pipe: VecDeque<Item>,
    cache: CursorCache,
    /// INIT was sent or is queued, and no RESET since: another INIT would be refused by the client (display.md 13.5).
    initialised: bool,
    /// Where the last message that was sent or waits put the pointer; `None`: that will be an INIT that waits, if any.
    position: Option<Point16>,
}

/// Bounds of the client's messages: only base messages exist.
pub(super) fn max_body(msg_type: u16) -> Option<usize> {
    matches!(msg_type, common::client::ACK_SYNC..=common::client::DISCONNECTING)
        .then(|| crate::protocol::display::max_body(msg_type))
        .flatten()
}

impl CursorClient {
    pub(super) fn new(connection: ChannelConnection, now: Instant) -> Self {
        let migrated = connection.migration_target;
        let mut channel = ChannelClient::new(connection, super::PROFILE.options, now);
        channel.open();
        let mut client = Self {
            channel,
            pipe: VecDeque::new(),
            cache: CursorCache::default(),
            // A migrated client has its pointer from the source.
            initialised: migrated,
            position: None,
        };
        client.initialise();
        client
    }

    pub(super) fn channel(&self) -> &ChannelClient {
        &self.channel
    }

    /// Whether everything was given to the kernel.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.pipe.is_empty() && self.channel.is_drained()
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.pipe.len()
    }

    /// Queues INIT unless the client has it.
    pub(super) fn initialise(&mut self) {
        if !self.initialised {
            self.initialised = true;
            self.pipe.push_back(Item::Init);
        }
    }

    /// Forgets what waits, which the reset makes void.
    pub(super) fn reset(&mut self) {
        self.pipe.clear();
        self.pipe.push_back(Item::InvalAll);
        self.pipe.push_back(Item::Reset);
        self.initialised = false;
        self.position = None;
    }

    /// The client goes to another host, where its shapes are sent anew.
    pub(super) fn begin_leaving(&mut self) {
        self.pipe.push_back(Item::InvalAll);
        self.pipe.push_back(Item::Migrate);
    }

    /// Queues what the guest changed; before INIT the state that INIT will carry says it all.
    pub(super) fn queue(&mut self, item: Item) {
        if !self.initialised {
            self.initialise();
            return;
        }
        if let Item::Set { position, .. } | Item::Move(position) = &item {
            self.position = Some(*position);
        }
        if let (Item::Move(position), Some(Item::Move(waiting))) = (&item, self.pipe.back_mut()) {
            *waiting = *position;
            return;
        }
        if matches!(item, Item::Set { .. }) {
            let is_set = |item: &Item| matches!(item, Item::Set { .. });
            // The new shape takes the place of those that still wait.
            if self.pipe.iter().filter(|item| is_set(item)).count() >= MAX_WAITING_SHAPES {
                self.pipe.retain(|item| !is_set(item));
            }
        }
        self.pipe.push_back(item);
        if self.pipe.len() > MAX_CURSOR_PIPE {
            self.pipe
                .retain(|item| matches!(item, Item::Init | Item::Reset | Item::InvalAll | Item::Migrate));
            self.pipe.push_back(Item::State);
        }
    }

    /// Reads what the client sent.
    pub(super) fn read(&mut self, now: Instant) -> Result<(), ChannelError> {
        self.channel.begin_reading();
        while let Some(received) = self.channel.receive(now)? {
            match received {
                Received::Message(message) => {
                    let error: ProtocolError = common::unknown("cursor", message.msg_type);
                    return Err(error.into());
                }
                Received::Pong { .. } | Received::FlushMark | Received::MigrateData(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn on_timer(&mut self, now: Instant) -> Result<(), ChannelError> {
        if self.channel.wants_reading() {
            self.read(now)?;
        }
        self.channel.on_timer(now)
    }

    /// Sends what the socket and the window take.
    pub(super) fn push(&mut self, state: &PointerState, now: Instant) -> Result<(), ChannelError> {
        loop {
            while self.channel.may_send() {
                let Some(item) = self.pipe.pop_front() else { break };
                self.send(item, state);
            }
            let flush = self.channel.flush(!self.pipe.is_empty(), now)?;
            if flush == Flush::Blocked || self.pipe.is_empty() || !self.channel.may_send() {
                return Ok(());
            }
        }
    }

    fn send(&mut self, item: Item, state: &PointerState) {
        match item {
            Item::Init => {
                self.cache.clear();
                self.position.get_or_insert(state.position);
                self.send_shape(state.shape.as_deref(), |shape| {
                    cursor::init(
                        state.position,
                        state.trail_length,
                        state.trail_frequency,
                        state.visible,
                        shape,
                    )
                });
            }
            Item::Reset => self.send_message(cursor::reset()),
            Item::InvalAll => {
                self.cache.clear();
                self.send_message(cursor::inval_all());
            }
            Item::Set { position, shape } => {
                self.send_shape(shape.as_deref(), |shape| cursor::set(position, state.visible, shape));
            }
            Item::Move(position) => self.send_message(cursor::move_to(position)),
            Item::Hide => self.send_message(cursor::hide()),
            Item::Migrate => self.channel.hand_over(false),
            Item::Trail { length, frequency } => self.send_message(cursor::trail(length, frequency)),
            Item::State => {
                let position = self.position.unwrap_or(state.position);
                self.send_shape(state.shape.as_deref(), |shape| cursor::set(position, state.visible, shape));
                if !state.visible {
                    self.send_message(cursor::hide());
                }
                self.send_message(cursor::trail(state.trail_length, state.trail_frequency));
            }
        }
    }

    fn send_message(&mut self, message: Message) {
        self.channel.send(message);
    }

    /// Sends a message with a shape, by way of the client's cache.
    fn send_shape(&mut self, shape: Option<&CursorShape>, message: impl FnOnce(WireCursor<'_>) -> Message) {
        let Some(shape) = shape else {
            self.send_message(message(WireCursor::None));
            return;
        };
        match self.cache.touch(shape.unique) {
            CacheUse::Never => self.send_message(message(WireCursor::Inline(shape))),
            CacheUse::Hit => self.send_message(message(WireCursor::FromCache(shape))),
            CacheUse::Add { evicted } => {
                self.send_message(message(WireCursor::CacheMe(shape)));
                if let Some(id) = evicted {
                    self.send_message(cursor::inval_one(id));
                }
            }
        }
    }
}
