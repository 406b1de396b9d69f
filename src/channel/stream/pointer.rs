//! The cursor channel of a streaming device: the newest shape and the newest place, to every client that can take them.

use crate::channel::connection::ConnectionId;
use crate::channel::link::{ChannelError, ChannelLink, LinkOptions, PING_PERIOD_RARE};
use crate::channel::{Channel, Out, Profile};
use crate::geometry::Point16;
use crate::net::stream::Incoming;
use crate::protocol::ChannelType;
use crate::protocol::cursor::{self, WireCursor};
use crate::protocol::display;
use crate::qxl_command::CursorShape;
use std::collections::BTreeMap;
use std::sync::Arc;

static PROFILE: Profile = Profile {
    channel_type: ChannelType::Cursor,
    caps: &[],
    shared: true,
    options: LinkOptions { max_body: display::max_body, window: true, ping_period: PING_PERIOD_RARE },
};

/// What the guest says about its pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointerChange {
    /// Another shape.
    Shape(Arc<CursorShape>),
    /// Another place.
    Place(Point16),
}

/// What a client is still to be told.
#[derive(Debug, Default)]
struct Due {
    shape: bool,
    place: bool,
}

/// The cursor channel of one streaming device.
#[derive(Debug, Default)]
pub(crate) struct PointerPart {
    shape: Option<Arc<CursorShape>>,
    position: Point16,
    clients: BTreeMap<ConnectionId, Due>,
}

impl PointerPart {
    /// The guest changed its pointer.
    pub(crate) fn change(&mut self, change: PointerChange, out: &mut Out<'_>) {
        match change {
            PointerChange::Shape(shape) => {
                // A shape of no size would be refused by clients as damaged.
                self.shape = Some(shape).filter(|shape| shape.width > 0 && shape.height > 0);
                self.clients.values_mut().for_each(|due| due.shape = true);
            }
            PointerChange::Place(position) => {
                self.position = position;
                self.clients.values_mut().for_each(|due| due.place = true);
            }
        }
        for at in out.connections() {
            self.pump(at, out);
        }
    }

    fn wire_shape(&self) -> WireCursor<'_> {
        self.shape.as_deref().map_or(WireCursor::None, WireCursor::Inline)
    }

    /// Sends a client what is due, unless something is still on its way.
    fn pump(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        let ready = |link: &ChannelLink| link.is_drained() && link.may_send();
        let Some(due) = self.clients.get_mut(&at).filter(|due| due.shape || due.place) else { return };
        if !out.look(at).is_some_and(ready) {
            return;
        }
        let Due { shape, place } = std::mem::take(due);
        if shape {
            // Where SET puts the pointer is what the original says; MOVE tells the place.
            out.send(at, cursor::set(Point16::default(), true, self.wire_shape()));
        }
        if place {
            out.send(at, cursor::move_to(self.position));
        }
    }
}

impl Channel for PointerPart {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.clients.insert(at, Due::default());
        out.send(at, cursor::init(self.position, 0, 0, true, self.wire_shape()));
        Ok(())
    }

    /// Clients of this channel have nothing to say.
    fn on_message(
        &mut self,
        _at: ConnectionId,
        message: Incoming,
        _out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        Ok(cursor::decode(message.msg_type, &message.body).map(drop)?)
    }

    fn on_drained(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.pump(at, out);
        Ok(())
    }

    fn on_closed(&mut self, at: ConnectionId, _out: &mut Out<'_>) {
        self.clients.remove(&at);
    }
}
