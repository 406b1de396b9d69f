//! One client of a cursor channel: its pipe and what it keeps.

use super::PointerState;
use super::cache::{CacheUse, CursorCache};
use crate::channel::link::ChannelLink;
use crate::geometry::Point16;
use crate::host::CursorShape;
use crate::limits::{MAX_CURSOR_PIPE, MAX_WAITING_SHAPES};
use crate::protocol::Message;
use crate::protocol::common;
use crate::protocol::cursor::{self, WireCursor};
use std::collections::VecDeque;
use std::sync::Arc;

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
    /// A client that just linked. One that comes from a migration has its pointer from the source.
    pub(super) fn new(migrated: bool) -> Self {
        let mut client = Self {
            pipe: VecDeque::new(),
            cache: CursorCache::default(),
            initialised: migrated,
            position: None,
        };
        client.initialise();
        client
    }

    /// Whether something waits to be sent.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pipe.is_empty()
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.pipe.len()
    }

    #[cfg(test)]
    pub(super) fn waiting_shapes(&self) -> usize {
        self.pipe.iter().filter(|item| matches!(item, Item::Set { .. })).count()
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

    /// Sends what the link takes now.
    pub(super) fn push(&mut self, state: &PointerState, link: &mut ChannelLink) {
        while link.may_send() {
            let Some(item) = self.pipe.pop_front() else { break };
            self.send(item, state, link);
        }
    }

    fn send(&mut self, item: Item, state: &PointerState, link: &mut ChannelLink) {
        match item {
            Item::Init => {
                self.cache.clear();
                self.position.get_or_insert(state.position);
                self.send_shape(link, state.shape.as_deref(), |shape| {
                    cursor::init(
                        state.position,
                        state.trail_length,
                        state.trail_frequency,
                        state.visible,
                        shape,
                    )
                });
            }
            Item::Reset => {
                link.send(cursor::reset());
            }
            Item::InvalAll => {
                self.cache.clear();
                link.send(cursor::inval_all());
            }
            Item::Set { position, shape } => {
                self.send_shape(link, shape.as_deref(), |shape| cursor::set(position, state.visible, shape));
            }
            Item::Move(position) => {
                link.send(cursor::move_to(position));
            }
            Item::Hide => {
                link.send(cursor::hide());
            }
            Item::Trail { length, frequency } => {
                link.send(cursor::trail(length, frequency));
            }
            Item::Migrate => link.hand_over(false),
            Item::State => {
                let position = self.position.unwrap_or(state.position);
                self.send_shape(link, state.shape.as_deref(), |shape| {
                    cursor::set(position, state.visible, shape)
                });
                if !state.visible {
                    link.send(cursor::hide());
                }
                link.send(cursor::trail(state.trail_length, state.trail_frequency));
            }
        }
    }

    /// Sends a message with a shape, by way of the client's cache.
    fn send_shape(
        &mut self,
        link: &mut ChannelLink,
        shape: Option<&CursorShape>,
        message: impl FnOnce(WireCursor<'_>) -> Message,
    ) {
        let Some(shape) = shape else {
            link.send(message(WireCursor::None));
            return;
        };
        let mut evicted = None;
        let wire = match self.cache.touch(shape.unique) {
            CacheUse::Never => WireCursor::Inline(shape),
            CacheUse::Hit => WireCursor::FromCache(shape),
            CacheUse::Add { evicted: old } => {
                evicted = old;
                WireCursor::CacheMe(shape)
            }
        };
        link.send(message(wire));
        if let Some(id) = evicted {
            link.send(cursor::inval_one(id));
        }
    }
}
