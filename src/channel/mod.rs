//! Channels: what a channel is ([`Channel`]), the link to one client that all of them share ([`link`]), what serves a
//! channel's links without knowing an event loop ([`served`]), and the channels of the host thread.
//!
//! ```text
//!   host thread: reds/channels.rs, on the host's watches --+
//!                                                          +-- Served { Channel, ChannelLink per client }
//!   worker: polled.rs, in its poll loop -------------------+
//! ```
//!
//! One [`Channel`] object serves all clients that are linked to it, since most channels are about something that the
//! clients share: a keyboard, a screen, a device. It does no I/O. Its driver gives it messages; through [`Out`] it sends messages,
//! calls the host and asks the server. `docs/adding-a-channel.md` shows a whole channel.

pub mod connection;
pub(crate) mod inputs;
pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod main;
pub(crate) mod out;
pub(crate) mod pings;
pub mod polled;
pub(crate) mod served;
pub(crate) mod smartcard;
pub mod sound;
pub(crate) mod stream;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod vmc;

pub use out::{Out, ServerRequest};

use crate::host::call::HostReply;
use crate::net::stream::Incoming;
use crate::protocol::ChannelType;
use connection::ConnectionId;
use link::{ChannelError, ChannelLink, LinkOptions};
use std::any::Any;
use std::fmt::Debug;
use std::time::Instant;

/// What is fixed about a channel type: its line in the registry.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// The type that clients name in their link message.
    pub channel_type: ChannelType,
    /// Capabilities that the link reply announces (bit numbers, wire.md 1.4).
    pub caps: &'static [u32],
    /// Whether the channel is offered while several clients are connected; devices that cannot be shared are not.
    pub shared: bool,
    /// How its links work.
    pub options: LinkOptions,
}

/// What a channel is: one object for all clients linked to one channel (type and id). Sans I/O.
///
/// An error that a method returns ends the link that it is about, with one line in the log.
pub trait Channel: Any + Debug + Send {
    /// What is fixed about the channel.
    fn profile(&self) -> &'static Profile;

    /// Whether the server may send to a client that just linked. A channel that must wait for a message of the client
    /// first opens the link itself, with [`ChannelLink::open`].
    fn opens_links(&self) -> bool {
        true
    }

    /// A client linked. This may send the first messages, and may pause reading the client's. If
    /// [`link::ChannelLink::awaits_migrate_data`] is true, [`Self::restore`] comes next: then this sends no greeting, since the
    /// client reads nothing before.
    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError>;

    /// A client sent a message of the channel's own (types above 100).
    fn on_message(
        &mut self,
        at: ConnectionId,
        message: Incoming,
        out: &mut Out<'_>,
    ) -> Result<(), ChannelError>;

    /// A client answered a PING that the link did not send.
    fn on_pong(&mut self, _at: ConnectionId, _id: u32, _out: &mut Out<'_>) {}

    /// The kernel has taken everything that was sent to this client. A channel that held data back may go on.
    fn on_drained(&mut self, _at: ConnectionId, _out: &mut Out<'_>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// Whether the channel has more to send to this client than it gave to the link. If so and no byte moves for long, the link
    /// gives the client up.
    fn is_waiting(&self, _at: ConnectionId) -> bool {
        false
    }

    /// The turn of the worker's event loop ends. The driver calls this once, and then [`Self::push`] for each client.
    fn on_turn_end(&mut self, _out: &mut Out<'_>) {}

    /// Sends what waits for this client. The driver calls this at the end of every turn of a worker, whose channels first collect
    /// what the commands of the turn change. Channels of the host thread send at once instead.
    fn push(&mut self, _at: ConnectionId, _out: &mut Out<'_>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// When the driver has to call [`Self::on_client_timer`] or [`Self::push`] for one client, which may depend on whether its
    /// link can send. A time in the past means: at once.
    fn client_deadline(&self, _at: ConnectionId, _link: &ChannelLink, _now: Instant) -> Option<Instant> {
        None
    }

    /// The time of [`Self::client_deadline`] has come. It may also be called too early.
    fn on_client_timer(&mut self, _at: ConnectionId, _out: &mut Out<'_>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// The link is gone, for whatever reason: nothing can be sent to it any more.
    fn on_closed(&mut self, _at: ConnectionId, _out: &mut Out<'_>) {}

    /// The host answered a call that this channel made.
    fn on_reply(&mut self, _reply: HostReply, _out: &mut Out<'_>) {}

    /// When the driver has to call [`Self::on_timer`]. A time in the past means: at once.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// The time of [`Self::next_deadline`] has come. It may also be called too early.
    fn on_timer(&mut self, _out: &mut Out<'_>) {}

    /// Whether clients of a seamless migration carry state of this channel from source to target, by
    /// [`Self::migrate_data`] and [`Self::restore`].
    fn migrates_data(&self) -> bool {
        self.profile().channel_type.migrates_data()
    }

    /// The machine has moved, and the client follows it. The channel sends what is left to be said, and calls
    /// [`Out::hand_over`] now or soon.
    fn on_migrate(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        out.hand_over(at, self.migrates_data());
    }

    /// The state that the target of a seamless migration needs of a client (wire.md 3.4). The driver calls this after the
    /// client's last message. `None`: there is no state, and the client loses its link.
    fn migrate_data(&mut self, _at: ConnectionId, _out: &mut Out<'_>) -> Option<Vec<u8>> {
        None
    }

    /// Takes over the state that [`Self::migrate_data`] gave at the source, in place of a greeting. The client carried it, so
    /// the bytes are not trusted.
    fn restore(&mut self, _at: ConnectionId, _data: &[u8], _out: &mut Out<'_>) -> Result<(), ChannelError> {
        Err(ChannelError::Refused("this channel takes no migration data".into()))
    }
}
