//! What the server sends a client before it disconnects it: a NOTIFY for the user, then DISCONNECTING with the reason (wire.md 3.1).

use super::clients::MAIN;
use super::state::State;
use crate::channel::connection::ConnectionId;
use crate::channel::link::ChannelError;
use crate::panic::guarded;
use crate::protocol::common::{disconnecting, notify, severity, visibility};
use crate::protocol::link::LinkError;

/// Why the server disconnects a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Goodbye<'a> {
    /// The reason in words, for the log and the user. It follows "disconnected: ".
    pub why: &'a str,
    /// The reason as DISCONNECTING has it.
    pub reason: LinkError,
}

/// Another client took the only place.
pub(crate) const REPLACED: Goodbye<'static> =
    Goodbye { why: "another client took over", reason: LinkError::BadConnectionId };
/// The host set another password, and wants clients to log in anew.
pub(crate) const PASSWORD_CHANGED: Goodbye<'static> =
    Goodbye { why: "the password changed", reason: LinkError::PermissionDenied };
/// The host destroys the server.
pub(crate) const SERVER_ENDS: Goodbye<'static> =
    Goodbye { why: "the server ends", reason: LinkError::ChannelNotAvailable };

impl<'a> Goodbye<'a> {
    /// For a reason that has no number in the protocol.
    pub(crate) fn because(why: &'a str) -> Self {
        Self { why, reason: LinkError::Error }
    }

    /// For an error of a client's connection. `why` gives it in words. `None`: the client closed its connection itself.
    pub(crate) fn of(error: &ChannelError, why: &'a str) -> Option<Self> {
        let reason = match error {
            error if error.is_close() => return None,
            ChannelError::Protocol(_) | ChannelError::Refused(_) => LinkError::InvalidData,
            ChannelError::Stream(_) | ChannelError::Silent(_) | ChannelError::Backlog(_) => LinkError::Error,
            ChannelError::Fault => LinkError::Error,
        };
        Some(Self { why, reason })
    }
}

impl State {
    /// Tells a client why it is disconnected, as far as its socket takes that now. The caller closes the connection next.
    pub(super) fn say_goodbye(&mut self, main: ConnectionId, goodbye: Goodbye<'_>) {
        let time = self.notify_time();
        let text = format!("disconnected: {}", goodbye.why);
        let reason = goodbye.reason.number();
        let last =
            [notify(time, severity::ERROR, visibility::HIGH, reason, &text), disconnecting(time, reason)];
        let now = self.now;
        if let Some(link) = self.channels.link_mut(MAIN, main) {
            guarded("a goodbye", || link.say_last(last, now));
        }
    }

    /// Time stamp of messages to users: nanoseconds since the server was made.
    pub(super) fn notify_time(&self) -> u64 {
        let ns = self.now.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}
