//! Structures of the link stage (wire.md 1.2 to 1.8, server.md 5.1). `net::link` has the steps.

use super::caps::Caps;
use super::error::ProtocolError;
use super::reader::Reader;
use super::writer::{Put, count32};
use thiserror::Error;

/// First bytes of every SPICE connection.
pub const MAGIC: [u8; 4] = *b"REDQ";
/// Protocol version, major.
pub const VERSION_MAJOR: u32 = 2;
/// Protocol version, minor. The server ignores the client's.
pub const VERSION_MINOR: u32 = 2;
/// Bytes of the link header.
pub const HEADER_SIZE: usize = 16;
/// Bytes of the link message without capability words.
pub const MESSAGE_SIZE: usize = 18;
/// Largest `size` of a link header. The server reads the link message into a buffer of this size.
pub const MAX_MESSAGE_SIZE: usize = 4096;
/// Most capability words of one kind.
pub const MAX_CAP_WORDS: u32 = 1024;
/// Bytes of the public key field: an RSA key of 1024 bits in DER.
pub const PUBLIC_KEY_SIZE: usize = 162;
/// Bytes of the link reply without header and capability words.
pub const REPLY_SIZE: usize = 178;
/// Bytes of the encrypted ticket.
pub const TICKET_SIZE: usize = 128;

/// Link results and errors (wire.md 1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[repr(u32)]
pub enum LinkError {
    #[error("ok")]
    Ok = 0,
    #[error("error")]
    Error = 1,
    #[error("invalid magic")]
    InvalidMagic = 2,
    #[error("invalid data")]
    InvalidData = 3,
    #[error("version mismatch")]
    VersionMismatch = 4,
    #[error("need secured")]
    NeedSecured = 5,
    #[error("need unsecured")]
    NeedUnsecured = 6,
    #[error("permission denied")]
    PermissionDenied = 7,
    #[error("bad connection id")]
    BadConnectionId = 8,
    #[error("channel not available")]
    ChannelNotAvailable = 9,
}

impl LinkError {
    /// The wire number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// Authentication mechanisms that a client selects, by the numbers of their common capabilities.
pub mod auth {
    pub const SPICE: u32 = 1;
    pub const SASL: u32 = 2;
}

/// What the server does after a link header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderVerdict {
    /// Read a link message of this many bytes.
    Body(usize),
    /// Send an error reply and close.
    Refuse(LinkError),
    /// Close without an answer (major version 0).
    Close,
}

/// Checks the 12 bytes after the magic.
#[must_use]
pub fn check_header(after_magic: &[u8; 12]) -> HeaderVerdict {
    let word = |i: usize| {
        u32::from_le_bytes([after_magic[i], after_magic[i + 1], after_magic[i + 2], after_magic[i + 3]])
    };
    let (major, size) = (word(0), word(8));
    if major == 0 {
        return HeaderVerdict::Close;
    }
    if major != VERSION_MAJOR {
        return HeaderVerdict::Refuse(LinkError::VersionMismatch);
    }
    match usize::try_from(size) {
        Ok(size) if (MESSAGE_SIZE..=MAX_MESSAGE_SIZE).contains(&size) => HeaderVerdict::Body(size),
        _ => HeaderVerdict::Refuse(LinkError::InvalidData),
    }
}

/// A client's link message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkMessage {
    /// 0 for a new session, otherwise the session id from the main channel.
    pub connection_id: u32,
    pub channel_type: u8,
    pub channel_id: u8,
    pub common_caps: Caps,
    pub channel_caps: Caps,
}

impl LinkMessage {
    /// Reads the `size` bytes after the link header. The server answers any error with INVALID_DATA.
    pub fn decode(message: &[u8]) -> Result<Self, ProtocolError> {
        let mut r = Reader::new("link", "LinkMess", message);
        let connection_id = r.u32("connection_id")?;
        let channel_type = r.u8("channel_type")?;
        let channel_id = r.u8("channel_id")?;
        let num_common = r.u32("num_common_caps")?;
        let num_channel = r.u32("num_channel_caps")?;
        let offset = r.u32("caps_offset")?;
        if num_common > MAX_CAP_WORDS {
            return Err(r.bad("num_common_caps", num_common.into()));
        }
        if num_channel > MAX_CAP_WORDS {
            return Err(r.bad("num_channel_caps", num_channel.into()));
        }
        let (num_common, num_channel) = (num_common as usize, num_channel as usize);
        let mut words = Vec::new();
        if num_common + num_channel > 0 {
            let bad = r.bad("caps_offset", offset.into());
            let start = usize::try_from(offset).ok().filter(|&o| o >= MESSAGE_SIZE).ok_or(bad)?;
            let mut caps = Reader::new("link", "LinkMess", message.get(start..).ok_or(bad)?);
            for _ in 0..num_common + num_channel {
                words.push(caps.u32("caps")?);
            }
        }
        let channel_words = words.split_off(num_common);
        Ok(Self {
            connection_id,
            channel_type,
            channel_id,
            common_caps: Caps::from_words(words),
            channel_caps: Caps::from_words(channel_words),
        })
    }
}

fn header(size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_SIZE + size);
    out.put(&MAGIC);
    out.u32(VERSION_MAJOR).u32(VERSION_MINOR).u32(count32(size));
    out
}

/// The reply that accepts a link: header, key and the channel's capabilities. `public_key` is the
/// SubjectPublicKeyInfo, or zero bytes for SASL.
#[must_use]
pub fn reply(public_key: &[u8; PUBLIC_KEY_SIZE], common: &Caps, channel: &Caps) -> Vec<u8> {
    let words = common.words().len() + channel.words().len();
    let mut out = header(REPLY_SIZE + 4 * words);
    out.u32(LinkError::Ok.number()).put(public_key);
    out.u32(count32(common.words().len())).u32(count32(channel.words().len())).u32(count32(REPLY_SIZE));
    for &word in common.words().iter().chain(channel.words()) {
        out.u32(word);
    }
    out
}

/// The reply of 194 bytes that refuses a link. All bytes after the error are zero.
#[must_use]
pub fn error_reply(error: LinkError) -> Vec<u8> {
    let mut out = header(REPLY_SIZE);
    out.u32(error.number());
    out.resize(HEADER_SIZE + REPLY_SIZE, 0);
    out
}

/// The result code that ends the link stage.
#[must_use]
pub fn result(result: LinkError) -> [u8; 4] {
    result.number().to_le_bytes()
}

/// Fuzz oracle: reads header and message from any bytes without a panic.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_link(data: &[u8]) {
    if let Some((head, rest)) = data.split_first_chunk::<12>()
        && let HeaderVerdict::Body(size) = check_header(head)
    {
        let _ = LinkMessage::decode(&rest[..size.min(rest.len())]);
    }
    let _ = LinkMessage::decode(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(common: u32, channel: u32, offset: u32, tail: &[u8]) -> Vec<u8> {
        let mut m = Vec::new();
        m.u32(0).u8(1).u8(0).u32(common).u32(channel).u32(offset).put(tail);
        m
    }

    #[test]
    fn captured_main_link_is_read() {
        let m = message(1, 1, 18, &[0x0b, 0, 0, 0, 0x0f, 0, 0, 0]);
        let link = LinkMessage::decode(&m).unwrap();
        assert_eq!(link.common_caps.words(), [0x0b]);
        assert_eq!(link.channel_caps.words(), [0x0f]);
        assert_eq!((link.connection_id, link.channel_type, link.channel_id), (0, 1, 0));
    }

    #[test]
    fn caps_outside_the_message_are_refused() {
        assert!(LinkMessage::decode(&message(1, 0, 18, &[])).is_err());
        assert!(LinkMessage::decode(&message(1, 0, 14, &[0; 4])).is_err());
        assert!(LinkMessage::decode(&message(1, 0, u32::MAX, &[0; 4])).is_err());
        assert!(LinkMessage::decode(&message(1025, 0, 18, &[0; 4078])).is_err());
        assert!(LinkMessage::decode(&message(0, 1025, 18, &[0; 4078])).is_err());
    }

    #[test]
    fn caps_offset_is_ignored_without_caps() {
        assert!(LinkMessage::decode(&message(0, 0, 0, &[])).is_ok());
        assert!(LinkMessage::decode(&message(0, 0, u32::MAX, &[1; 4078])).is_ok());
    }

    #[test]
    fn header_is_judged_by_version_then_size() {
        let head = |major: u32, minor: u32, size: u32| {
            let mut v = Vec::new();
            v.u32(major).u32(minor).u32(size);
            check_header(&v.try_into().unwrap())
        };
        assert_eq!(head(0, 2, 18), HeaderVerdict::Close);
        assert_eq!(head(1, 2, 18), HeaderVerdict::Refuse(LinkError::VersionMismatch));
        assert_eq!(head(3, 2, 1), HeaderVerdict::Refuse(LinkError::VersionMismatch));
        assert_eq!(head(2, 99, 18), HeaderVerdict::Body(18));
        assert_eq!(head(2, 2, 17), HeaderVerdict::Refuse(LinkError::InvalidData));
        assert_eq!(head(2, 2, 4096), HeaderVerdict::Body(4096));
        assert_eq!(head(2, 2, 4097), HeaderVerdict::Refuse(LinkError::InvalidData));
    }

    #[test]
    fn replies_have_the_captured_layout() {
        let ok = reply(&[0x30; 162], &Caps::from_words(vec![0x0b]), &Caps::from_words(vec![0x0f]));
        assert_eq!(ok.len(), 16 + 186);
        assert_eq!(ok[..20], *b"REDQ\x02\0\0\0\x02\0\0\0\xba\0\0\0\0\0\0\0");
        assert_eq!(ok[16 + 166..], *b"\x01\0\0\0\x01\0\0\0\xb2\0\0\0\x0b\0\0\0\x0f\0\0\0");
        let bad = error_reply(LinkError::NeedSecured);
        assert_eq!(bad.len(), 194);
        assert_eq!(bad[..20], *b"REDQ\x02\0\0\0\x02\0\0\0\xb2\0\0\0\x05\0\0\0");
        assert!(bad[20..].iter().all(|&b| b == 0));
    }

    proptest! {
        #![proptest_config(crate::testing::cases(64))]
        #[test]
        fn arbitrary_links_do_not_panic(data in proptest::collection::vec(any::<u8>(), 0..64)) {
            fuzz_link(&data);
        }
    }
}
