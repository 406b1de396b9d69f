//! What a client is told when it is thrown out: a NOTIFY for its user, then DISCONNECTING with the reason (wire.md 3.1).

use super::clients::MAIN;
use super::state::State;
use crate::channel::connection::ConnectionId;
use crate::channel::link::ChannelError;
use crate::panic::guarded;
use crate::protocol::common::{disconnecting, notify, severity, visibility};
use crate::protocol::link::LinkError;

/// Why a client is thrown out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Goodbye<'a> {
    /// In words, after "disconnected: ", for the log and the user.
    pub why: &'a str,
    /// As DISCONNECTING has it.
    pub reason: LinkError,
}

/// There is one place, and another client has it.
pub(crate) const REPLACED: Goodbye<'static> =
    Goodbye { why: "another client took over", reason: LinkError::BadConnectionId };
/// The host set another password and wants it asked for.
pub(crate) const PASSWORD_CHANGED: Goodbye<'static> =
    Goodbye { why: "the password changed", reason: LinkError::PermissionDenied };
/// The host ends its server.
pub(crate) const SERVER_ENDS: Goodbye<'static> =
    Goodbye { why: "the server ends", reason: LinkError::ChannelNotAvailable };

impl<'a> Goodbye<'a> {
    /// For a reason of which the protocol knows no number.
    pub(crate) fn because(why: &'a str) -> Self {
        Self { why, reason: LinkError::Error }
    }

    /// For a fault in a client's connection; `why` says the same in words. `None`: the client went by itself.
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
    /// Tells a client why it has to go, as far as its socket takes that now. The connection is to be closed next.
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
