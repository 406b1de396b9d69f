//! Messages that every channel has (wire.md 3).

use super::body::Message;
use super::error::{ProtocolError, ProtocolErrorKind};
use super::reader::Reader;
use super::writer::{Put, count32};

/// Server message types below 101.
pub(crate) mod server {
    pub(crate) const MIGRATE: u16 = 1;
    pub(crate) const MIGRATE_DATA: u16 = 2;
    pub(crate) const SET_ACK: u16 = 3;
    pub(crate) const PING: u16 = 4;
    pub(crate) const WAIT_FOR_CHANNELS: u16 = 5;
    pub(crate) const DISCONNECTING: u16 = 6;
    pub(crate) const NOTIFY: u16 = 7;
    pub(crate) const LIST: u16 = 8;
}

/// Client message types below 101.
pub(crate) mod client {
    pub(crate) const ACK_SYNC: u16 = 1;
    pub(crate) const ACK: u16 = 2;
    pub(crate) const PONG: u16 = 3;
    pub(crate) const MIGRATE_FLUSH_MARK: u16 = 4;
    pub(crate) const MIGRATE_DATA: u16 = 5;
    pub(crate) const DISCONNECTING: u16 = 6;
}

/// MIGRATE flag: the client must answer with MIGRATE_FLUSH_MARK.
pub(crate) const MIGRATE_NEED_FLUSH: u32 = 1;
/// MIGRATE flag: MIGRATE_DATA follows and goes to the target.
pub(crate) const MIGRATE_NEED_DATA_TRANSFER: u32 = 2;

/// Severity of a NOTIFY.
#[allow(dead_code, reason = "the table is as whole as that of the specification")]
pub(crate) mod severity {
    pub(crate) const INFO: u32 = 0;
    pub(crate) const WARN: u32 = 1;
    pub(crate) const ERROR: u32 = 2;
}

/// Visibility of a NOTIFY.
#[allow(dead_code, reason = "the table is as whole as that of the specification")]
pub(crate) mod visibility {
    pub(crate) const LOW: u32 = 0;
    pub(crate) const MEDIUM: u32 = 1;
    pub(crate) const HIGH: u32 = 2;
}

/// A client message that every channel understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommonMessage {
    AckSync {
        generation: u32,
    },
    Ack,
    /// The timestamp is untrusted: the sender of the PING keeps its own send time by id.
    Pong {
        id: u32,
        timestamp: u64,
    },
    MigrateFlushMark,
    MigrateData(Vec<u8>),
    Disconnecting,
}

impl CommonMessage {
    /// Reads a message of a type below 101. `channel` is the name for errors.
    pub fn decode(channel: &'static str, msg_type: u16, body: &[u8]) -> Result<Self, ProtocolError> {
        let reader = |message| Reader::new(channel, message, body);
        Ok(match msg_type {
            client::ACK_SYNC => Self::AckSync { generation: reader("ACK_SYNC").u32("generation")? },
            client::ACK => Self::Ack,
            client::PONG => {
                let mut r = reader("PONG");
                Self::Pong { id: r.u32("id")?, timestamp: r.u64("timestamp")? }
            }
            client::MIGRATE_FLUSH_MARK => Self::MigrateFlushMark,
            client::MIGRATE_DATA => Self::MigrateData(body.to_vec()),
            client::DISCONNECTING => {
                let mut r = reader("DISCONNECTING");
                r.u64("time_stamp")?;
                r.u32("reason")?;
                Self::Disconnecting
            }
            other => return Err(unknown(channel, other)),
        })
    }
}

/// The error for a message type that the channel does not have.
#[must_use]
pub(crate) fn unknown(channel: &'static str, msg_type: u16) -> ProtocolError {
    ProtocolError { channel, message: "message", kind: ProtocolErrorKind::UnknownType(msg_type) }
}

/// MIGRATE; `flags` are the `MIGRATE_NEED_` constants.
#[must_use]
pub(crate) fn migrate(flags: u32) -> Message {
    Message::new(server::MIGRATE, flags.to_le_bytes().to_vec())
}

/// MIGRATE_DATA: the client forwards the bytes to the target.
#[must_use]
pub(crate) fn migrate_data(data: Vec<u8>) -> Message {
    Message::new(server::MIGRATE_DATA, data)
}

/// SET_ACK: opens the acknowledgement window.
#[must_use]
pub(crate) fn set_ack(generation: u32, window: u32) -> Message {
    let mut v = Vec::new();
    v.u32(generation).u32(window);
    Message::new(server::SET_ACK, v)
}

/// PING with `padding` zero bytes. The caller chooses the unit of `timestamp`, because the client only echoes
/// it.
#[must_use]
pub(crate) fn ping(id: u32, timestamp: u64, padding: usize) -> Message {
    let mut v = Vec::with_capacity(12 + padding);
    v.u32(id).u64(timestamp);
    v.resize(12 + padding, 0);
    Message::new(server::PING, v)
}

/// A point in another channel's message stream (WAIT_FOR_CHANNELS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitFor {
    pub channel_type: u8,
    pub channel_id: u8,
    /// The client waits until it has handled the message with this serial.
    pub serial: u64,
}

/// Writes the body of WAIT_FOR_CHANNELS and INVAL_ALL_PIXMAPS. At most 255 entries.
#[must_use]
pub(crate) fn wait_list(wait: &[WaitFor]) -> Vec<u8> {
    let wait = &wait[..wait.len().min(255)];
    let mut v = Vec::new();
    v.u8(u8::try_from(wait.len()).unwrap_or(u8::MAX));
    for w in wait {
        v.u8(w.channel_type).u8(w.channel_id).u64(w.serial);
    }
    v
}

/// WAIT_FOR_CHANNELS.
#[must_use]
pub(crate) fn wait_for_channels(wait: &[WaitFor]) -> Message {
    Message::new(server::WAIT_FOR_CHANNELS, wait_list(wait))
}

/// DISCONNECTING. The original never sends it.
#[must_use]
pub(crate) fn disconnecting(time_stamp: u64, reason: u32) -> Message {
    let mut v = Vec::new();
    v.u64(time_stamp).u32(reason);
    Message::new(server::DISCONNECTING, v)
}

/// NOTIFY; `time_stamp` in nanoseconds. A NUL follows the text, and the text's length does not include it.
#[must_use]
pub(crate) fn notify(time_stamp: u64, severity: u32, visibility: u32, what: u32, text: &str) -> Message {
    let mut v = Vec::new();
    v.u64(time_stamp).u32(severity).u32(visibility).u32(what).u32(count32(text.len()));
    v.put(text.as_bytes());
    v.u8(0);
    Message::new(server::NOTIFY, v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_has_an_uncounted_nul() {
        let m = notify(
            0x0000_01dc_8fde_8687,
            severity::WARN,
            visibility::HIGH,
            0,
            "keyboard channel is insecure",
        );
        let body = m.body.to_vec();
        assert_eq!(body.len(), 0x35);
        assert_eq!(body[..12], [0x87, 0x86, 0xde, 0x8f, 0xdc, 1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(body[20..28], [0x1c, 0, 0, 0, b'k', b'e', b'y', b'b']);
        assert_eq!(body[0x34], 0);
    }

    #[test]
    fn set_ack_and_ack_sync_match_the_capture() {
        assert_eq!(set_ack(1, 20).body.to_vec(), [1, 0, 0, 0, 20, 0, 0, 0]);
        assert_eq!(
            CommonMessage::decode("display", 1, &[1, 0, 0, 0]),
            Ok(CommonMessage::AckSync { generation: 1 })
        );
    }

    #[test]
    fn longer_body_is_accepted_and_shorter_refused() {
        assert_eq!(CommonMessage::decode("main", 2, &[1, 2, 3]), Ok(CommonMessage::Ack));
        assert!(CommonMessage::decode("main", 3, &[0; 13]).is_ok());
        assert!(CommonMessage::decode("main", 3, &[0; 11]).is_err());
        assert!(CommonMessage::decode("main", 0, &[]).is_err());
    }

    #[test]
    fn main_ping_carries_padding() {
        assert_eq!(ping(3, 5, 256_000).body.len(), 256_012);
    }
}
