//! Main channel messages (wire.md 4).

use super::body::Message;
use super::common::{self, CommonMessage};
use super::error::ProtocolError;
use super::reader::Reader;
use super::writer::{Marshaller, Put, count32};

/// Server message types.
pub mod server {
    pub const MIGRATE_BEGIN: u16 = 101;
    pub const MIGRATE_CANCEL: u16 = 102;
    pub const INIT: u16 = 103;
    pub const CHANNELS_LIST: u16 = 104;
    pub const MOUSE_MODE: u16 = 105;
    pub const MULTI_MEDIA_TIME: u16 = 106;
    pub const AGENT_CONNECTED: u16 = 107;
    pub const AGENT_DISCONNECTED: u16 = 108;
    pub const AGENT_DATA: u16 = 109;
    pub const AGENT_TOKEN: u16 = 110;
    pub const MIGRATE_SWITCH_HOST: u16 = 111;
    pub const MIGRATE_END: u16 = 112;
    pub const NAME: u16 = 113;
    pub const UUID: u16 = 114;
    pub const AGENT_CONNECTED_TOKENS: u16 = 115;
    pub const MIGRATE_BEGIN_SEAMLESS: u16 = 116;
    pub const MIGRATE_DST_SEAMLESS_ACK: u16 = 117;
    pub const MIGRATE_DST_SEAMLESS_NACK: u16 = 118;
}

/// Client message types.
pub mod client {
    pub const CLIENT_INFO: u16 = 101;
    pub const MIGRATE_CONNECTED: u16 = 102;
    pub const MIGRATE_CONNECT_ERROR: u16 = 103;
    pub const ATTACH_CHANNELS: u16 = 104;
    pub const MOUSE_MODE_REQUEST: u16 = 105;
    pub const AGENT_START: u16 = 106;
    pub const AGENT_DATA: u16 = 107;
    pub const AGENT_TOKEN: u16 = 108;
    pub const MIGRATE_END: u16 = 109;
    pub const MIGRATE_DST_DO_SEAMLESS: u16 = 110;
    pub const MIGRATE_CONNECTED_SEAMLESS: u16 = 111;
    pub const QUALITY_INDICATOR: u16 = 112;
}

/// Mouse mode bits.
pub mod mouse_mode {
    pub const SERVER: u16 = 1;
    pub const CLIENT: u16 = 2;
}

/// Largest AGENT_DATA body.
pub const MAX_AGENT_DATA: usize = 2048;

/// Largest body that the channel accepts (wire.md 2.3): the agent's receive buffers and one message. A client
/// may not send more.
pub const MAX_BODY: usize = 4096 + 11 * MAX_AGENT_DATA;

/// The body limit for [`crate::net::stream::ChannelStream::receive`]. The agent checks AGENT_DATA itself and
/// disconnects clients that send longer pieces.
#[must_use]
pub fn max_body(_msg_type: u16) -> Option<usize> {
    Some(MAX_BODY)
}

/// INIT, 32 bytes (wire.md 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Init {
    pub session_id: u32,
    /// Number of QXL devices.
    pub display_channels_hint: u32,
    /// 1, or 3 when client mode is allowed.
    pub supported_mouse_modes: u32,
    pub current_mouse_mode: u32,
    pub agent_connected: bool,
    pub agent_tokens: u32,
    /// Milliseconds.
    pub multi_media_time: u32,
    /// Bytes of the first QXL device's surface memory.
    pub ram_hint: u32,
}

impl Init {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Message {
        let mut v = Vec::new();
        v.u32(self.session_id)
            .u32(self.display_channels_hint)
            .u32(self.supported_mouse_modes)
            .u32(self.current_mouse_mode)
            .u32(self.agent_connected.into())
            .u32(self.agent_tokens)
            .u32(self.multi_media_time)
            .u32(self.ram_hint);
        Message::new(server::INIT, v)
    }
}

/// CHANNELS_LIST: (type, id) pairs.
#[must_use]
pub fn channels_list(channels: &[(u8, u8)]) -> Message {
    let mut v = Vec::new();
    v.u32(count32(channels.len()));
    for &(channel_type, id) in channels {
        v.u8(channel_type).u8(id);
    }
    Message::new(server::CHANNELS_LIST, v)
}

/// MOUSE_MODE.
#[must_use]
pub fn mouse_mode(supported: u16, current: u16) -> Message {
    let mut v = Vec::new();
    v.u16(supported).u16(current);
    Message::new(server::MOUSE_MODE, v)
}

fn word(msg_type: u16, value: u32) -> Message {
    Message::new(msg_type, value.to_le_bytes().to_vec())
}

/// MULTI_MEDIA_TIME, milliseconds.
#[must_use]
pub fn multi_media_time(time: u32) -> Message {
    word(server::MULTI_MEDIA_TIME, time)
}

/// AGENT_CONNECTED, for clients without the tokens capability.
#[must_use]
pub fn agent_connected() -> Message {
    Message::bare(server::AGENT_CONNECTED)
}

/// AGENT_CONNECTED_TOKENS.
#[must_use]
pub fn agent_connected_tokens(num_tokens: u32) -> Message {
    word(server::AGENT_CONNECTED_TOKENS, num_tokens)
}

/// AGENT_DISCONNECTED.
#[must_use]
pub fn agent_disconnected() -> Message {
    word(server::AGENT_DISCONNECTED, 0)
}

/// AGENT_DATA, 1 to 2048 bytes.
#[must_use]
pub fn agent_data(data: Vec<u8>) -> Message {
    Message::new(server::AGENT_DATA, data)
}

/// AGENT_TOKEN: credit for the client.
#[must_use]
pub fn agent_token(num_tokens: u32) -> Message {
    word(server::AGENT_TOKEN, num_tokens)
}

/// NAME of the virtual machine. The length includes the NUL.
#[must_use]
pub fn name(name: &str) -> Message {
    let mut v = Vec::new();
    v.u32(count32(name.len() + 1)).put(name.as_bytes());
    v.u8(0);
    Message::new(server::NAME, v)
}

/// UUID of the virtual machine.
#[must_use]
pub fn uuid(uuid: &[u8; 16]) -> Message {
    Message::new(server::UUID, uuid.to_vec())
}

/// The server that a client migrates to. Port 0 means no such port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationTarget {
    pub port: u16,
    pub secure_port: u16,
    pub host: String,
    pub cert_subject: Option<String>,
}

impl MigrationTarget {
    fn marshal(&self, src_mig_version: Option<u32>) -> Marshaller {
        let mut m = Marshaller::new();
        m.u16(self.port).u16(self.secure_port);
        m.u32(count32(self.host.len() + 1));
        let host = m.pointer();
        m.u32(self.cert_subject.as_ref().map_or(0, |s| count32(s.len() + 1)));
        let cert = m.pointer();
        if let Some(version) = src_mig_version {
            m.u32(version);
        }
        m.select(host);
        m.put(self.host.as_bytes());
        m.u8(0);
        if let Some(subject) = &self.cert_subject {
            m.select(cert);
            m.put(subject.as_bytes());
            m.u8(0);
        }
        m
    }

    /// MIGRATE_BEGIN.
    #[must_use]
    pub fn begin(&self) -> Message {
        Message::new(server::MIGRATE_BEGIN, self.marshal(None).finish())
    }

    /// MIGRATE_BEGIN_SEAMLESS.
    #[must_use]
    pub fn begin_seamless(&self, src_mig_version: u32) -> Message {
        Message::new(server::MIGRATE_BEGIN_SEAMLESS, self.marshal(Some(src_mig_version)).finish())
    }

    /// MIGRATE_SWITCH_HOST.
    #[must_use]
    pub fn switch_host(&self) -> Message {
        Message::new(server::MIGRATE_SWITCH_HOST, self.marshal(None).finish())
    }
}

/// MIGRATE_CANCEL.
#[must_use]
pub fn migrate_cancel() -> Message {
    Message::bare(server::MIGRATE_CANCEL)
}

/// MIGRATE_END.
#[must_use]
pub fn migrate_end() -> Message {
    Message::bare(server::MIGRATE_END)
}

/// MIGRATE_DST_SEAMLESS_ACK or _NACK.
#[must_use]
pub fn migrate_dst_seamless(accepted: bool) -> Message {
    Message::bare(if accepted { server::MIGRATE_DST_SEAMLESS_ACK } else { server::MIGRATE_DST_SEAMLESS_NACK })
}

/// A message of a main client. CLIENT_INFO and QUALITY_INDICATOR have no meaning here, and the server
/// disconnects clients that send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MainMessage {
    Common(CommonMessage),
    ClientInfo { cache_size: u64 },
    MigrateConnected,
    MigrateConnectError,
    AttachChannels,
    MouseModeRequest { mode: u16 },
    AgentStart { num_tokens: u32 },
    AgentData(Vec<u8>),
    AgentToken { num_tokens: u32 },
    MigrateEnd,
    MigrateDstDoSeamless { src_version: u32 },
    MigrateConnectedSeamless,
    QualityIndicator,
}

impl MainMessage {
    /// Reads a message of the client.
    pub fn decode(msg_type: u16, body: &[u8]) -> Result<Self, ProtocolError> {
        let reader = |message| Reader::new("main", message, body);
        Ok(match msg_type {
            ..=100 => Self::Common(CommonMessage::decode("main", msg_type, body)?),
            client::CLIENT_INFO => Self::ClientInfo { cache_size: reader("CLIENT_INFO").u64("cache_size")? },
            client::MIGRATE_CONNECTED => Self::MigrateConnected,
            client::MIGRATE_CONNECT_ERROR => Self::MigrateConnectError,
            client::ATTACH_CHANNELS => Self::AttachChannels,
            client::MOUSE_MODE_REQUEST => {
                Self::MouseModeRequest { mode: reader("MOUSE_MODE_REQUEST").u16("mode")? }
            }
            client::AGENT_START => Self::AgentStart { num_tokens: reader("AGENT_START").u32("num_tokens")? },
            client::AGENT_DATA => Self::AgentData(body.to_vec()),
            client::AGENT_TOKEN => Self::AgentToken { num_tokens: reader("AGENT_TOKEN").u32("num_tokens")? },
            client::MIGRATE_END => Self::MigrateEnd,
            client::MIGRATE_DST_DO_SEAMLESS => Self::MigrateDstDoSeamless {
                src_version: reader("MIGRATE_DST_DO_SEAMLESS").u32("src_version")?,
            },
            client::MIGRATE_CONNECTED_SEAMLESS => Self::MigrateConnectedSeamless,
            client::QUALITY_INDICATOR => Self::QualityIndicator,
            other => return Err(common::unknown("main", other)),
        })
    }
}

/// Fuzz oracle: decodes any body of any type without a panic.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_main(msg_type: u16, body: &[u8]) {
    let _ = MainMessage::decode(msg_type, body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_matches_the_capture() {
        let init = Init {
            session_id: 0x33d1_589b,
            display_channels_hint: 1,
            supported_mouse_modes: 1,
            current_mouse_mode: 1,
            agent_connected: false,
            agent_tokens: 10,
            multi_media_time: 2_046_380,
            ram_hint: 50_323_456,
        };
        assert_eq!(
            init.encode().body.to_vec(),
            [
                0x9b, 0x58, 0xd1, 0x33, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0xac,
                0x39, 0x1f, 0, 0, 0xe0, 0xff, 2
            ]
        );
    }

    #[test]
    fn channels_list_matches_the_capture() {
        let m = channels_list(&[(6, 0), (5, 0), (9, 0), (2, 0), (4, 0), (10, 0), (3, 0)]);
        assert_eq!(m.body.to_vec(), [7, 0, 0, 0, 6, 0, 5, 0, 9, 0, 2, 0, 4, 0, 10, 0, 3, 0]);
    }

    #[test]
    fn migration_target_strings_follow_the_fixed_part() {
        let target = MigrationTarget { port: 1, secure_port: 2, host: "ab".into(), cert_subject: None };
        let expect = [1, 0, 2, 0, 3, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'a', b'b', 0];
        assert_eq!(target.begin_seamless(1).body.to_vec(), expect);
    }

    #[test]
    fn name_length_counts_the_nul() {
        assert_eq!(name("vm").body.to_vec(), [3, 0, 0, 0, b'v', b'm', 0]);
    }

    #[test]
    fn client_messages_are_read() {
        assert_eq!(MainMessage::decode(104, &[]), Ok(MainMessage::AttachChannels));
        assert_eq!(MainMessage::decode(105, &[2, 0]), Ok(MainMessage::MouseModeRequest { mode: 2 }));
        assert_eq!(MainMessage::decode(106, &[255; 4]), Ok(MainMessage::AgentStart { num_tokens: u32::MAX }));
        assert!(MainMessage::decode(113, &[]).is_err());
        assert!(MainMessage::decode(0, &[]).is_err());
    }
}
