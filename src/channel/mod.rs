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
//! clients share: a keyboard, a screen, a device. It does no I/O: it is given messages, and says through [`Out`] what is to
//! be sent, which calls of the host are to be made, and what the server is asked for. `docs/adding-a-channel.md` shows a
//! whole one.

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

    /// A client linked; the first messages to it may be sent. Its own messages are read once the link reads, which is
    /// at once unless this pauses it. A link with [`link::ChannelLink::awaits_migrate_data`] gets [`Self::restore`] next
    /// and wants no greeting; its client reads nothing before.
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

    /// All that was sent to this client is with the kernel: a channel that held data back may go on.
    fn on_drained(&mut self, _at: ConnectionId, _out: &mut Out<'_>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// Whether more waits for this client than its link was given. A client that leaves it waiting is judged by
    /// whether bytes move.
    fn is_waiting(&self, _at: ConnectionId) -> bool {
        false
    }

    /// The turn of a worker's event loop ends. Called once, before [`Self::push`] for each client.
    fn on_turn_end(&mut self, _out: &mut Out<'_>) {}

    /// The turn of the event loop ends: what waits for this client may be sent. Called in every turn of a worker, whose
    /// channels first collect what all commands of a turn change; channels of the host thread send at once instead.
    fn push(&mut self, _at: ConnectionId, _out: &mut Out<'_>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// When [`Self::on_client_timer`] or [`Self::push`] wants to be called for one client, which may depend on whether its
    /// link can send. A time that has passed: at once.
    fn client_deadline(&self, _at: ConnectionId, _link: &ChannelLink, _now: Instant) -> Option<Instant> {
        None
    }

    /// [`Self::client_deadline`] has come, or an earlier time.
    fn on_client_timer(&mut self, _at: ConnectionId, _out: &mut Out<'_>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// The link is gone, for whatever reason: nothing can be sent to it any more.
    fn on_closed(&mut self, _at: ConnectionId, _out: &mut Out<'_>) {}

    /// The host answered a call that this channel made.
    fn on_reply(&mut self, _reply: HostReply, _out: &mut Out<'_>) {}

    /// When [`Self::on_timer`] wants to be called; a time that has passed: at once.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// [`Self::next_deadline`] has come, or an earlier time.
    fn on_timer(&mut self, _out: &mut Out<'_>) {}

    /// Whether clients of a seamless migration carry state of this channel from source to target, by
    /// [`Self::migrate_data`] and [`Self::restore`].
    fn migrates_data(&self) -> bool {
        self.profile().channel_type.migrates_data()
    }

    /// The machine has moved and the client follows it: says what is left to be said, then [`Out::hand_over`], now or soon.
    fn on_migrate(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        out.hand_over(at, self.migrates_data());
    }

    /// The state of a client that the target of a seamless migration needs (wire.md 3.4), after the last of the client's own
    /// messages. `None`: there is none, and the client is given up.
    fn migrate_data(&mut self, _at: ConnectionId, _out: &mut Out<'_>) -> Option<Vec<u8>> {
        None
    }

    /// Takes over what [`Self::migrate_data`] gave at the source, in the place of a greeting. The bytes come through the
    /// client and are not trusted.
    fn restore(&mut self, _at: ConnectionId, _data: &[u8], _out: &mut Out<'_>) -> Result<(), ChannelError> {
        Err(ChannelError::Refused("this channel takes no migration data".into()))
    }
}
