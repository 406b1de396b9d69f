//! Messages of the character-device channels usbredir, port and webdav (wire.md 8.1 to 8.3), and of smartcard
//! (8.4).

use super::body::{Message, Segment};
use super::common::{self, CommonMessage};
use super::error::ProtocolError;
use super::reader::Reader;
use super::writer::{Marshaller, Put, count32};
use crate::limits::MAX_DEVICE_STATE;

pub const DATA: u16 = 101;
pub const COMPRESSED_DATA: u16 = 102;
/// Server: PORT_INIT.
pub const PORT_INIT: u16 = 201;
/// Server: PORT_EVENT.
pub const PORT_EVENT: u16 = 202;
/// Client: PORT_EVENT.
pub const CLIENT_PORT_EVENT: u16 = 201;

/// Compression type LZ4 of COMPRESSED_DATA.
pub const COMPRESSION_LZ4: u8 = 1;

/// Largest DATA of a client. The original has no limit and would buffer gigabytes.
pub const MAX_DATA: usize = 1 << 20;
/// Largest decompressed size of COMPRESSED_DATA. The original allocates whatever the client announces.
pub const MAX_UNCOMPRESSED: usize = 1 << 20;
/// Largest body of any other message.
pub const MAX_BODY: usize = 1024;

/// The body limit for [`crate::net::stream::ChannelStream::receive`].
#[must_use]
pub fn max_body(msg_type: u16) -> Option<usize> {
    Some(match msg_type {
        DATA | COMPRESSED_DATA => MAX_DATA + 1024,
        common::client::MIGRATE_DATA => MAX_DEVICE_STATE,
        _ => MAX_BODY,
    })
}

/// DATA: bytes from the device.
#[must_use]
pub fn data(data: impl Into<Segment>) -> Message {
    let mut m = Marshaller::new();
    m.segment(data);
    Message::new(DATA, m.finish())
}

/// COMPRESSED_DATA with LZ4.
#[must_use]
pub fn compressed_data(uncompressed_size: u32, data: impl Into<Segment>) -> Message {
    let mut m = Marshaller::new();
    m.u8(COMPRESSION_LZ4).u32(uncompressed_size);
    m.segment(data);
    Message::new(COMPRESSED_DATA, m.finish())
}

/// PORT_INIT, the first message on port and webdav channels. The name's size includes a NUL.
#[must_use]
pub fn port_init(name: &str, opened: bool) -> Message {
    let mut m = Marshaller::new();
    m.u32(count32(name.len() + 1));
    let block = m.pointer();
    m.u8(opened.into());
    m.select(block);
    m.put(name.as_bytes());
    m.u8(0);
    Message::new(PORT_INIT, m.finish())
}

/// PORT_EVENT: 0 opened, 1 closed, 2 break.
#[must_use]
pub fn port_event(event: u8) -> Message {
    Message::new(PORT_EVENT, vec![event])
}

/// A message of a usbredir, port or webdav client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpicevmcMessage {
    Common(CommonMessage),
    Data(Vec<u8>),
    /// LZ4. `uncompressed_size` is at most [`MAX_UNCOMPRESSED`].
    CompressedData {
        uncompressed_size: usize,
        data: Vec<u8>,
    },
    PortEvent {
        event: u8,
    },
}

impl SpicevmcMessage {
    /// Reads a message of the client. PORT_EVENT exists only if the channel has a port.
    pub fn decode(
        channel: &'static str,
        is_port: bool,
        msg_type: u16,
        body: &[u8],
    ) -> Result<Self, ProtocolError> {
        let reader = |message| Reader::new(channel, message, body);
        Ok(match msg_type {
            ..=100 => Self::Common(CommonMessage::decode(channel, msg_type, body)?),
            DATA => Self::Data(body.to_vec()),
            COMPRESSED_DATA => {
                let mut r = reader("COMPRESSED_DATA");
                let compression = r.u8("type")?;
                if compression != COMPRESSION_LZ4 {
                    return Err(r.bad("type", compression.into()));
                }
                let size = r.u32("uncompressed_size")?;
                let bounded = usize::try_from(size).ok().filter(|&s| s <= MAX_UNCOMPRESSED);
                let uncompressed_size = bounded.ok_or_else(|| r.bad("uncompressed_size", size.into()))?;
                Self::CompressedData { uncompressed_size, data: r.tail().to_vec() }
            }
            CLIENT_PORT_EVENT if is_port => Self::PortEvent { event: reader("PORT_EVENT").u8("event")? },
            other => return Err(common::unknown(channel, other)),
        })
    }
}

/// The message type of smartcard messages in both directions.
pub const SMARTCARD: u16 = 101;
/// Largest smartcard body. The original has no limit.
pub const MAX_SMARTCARD_BODY: usize = 1 << 18;

/// A smartcard message (wire.md 8.4), little-endian on the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmartcardMessage {
    /// 1 Init 2 Error 3 ReaderAdd 4 ReaderRemove 5 ATR 6 CardRemove 7 APDU.
    pub kind: u32,
    /// `u32::MAX` means undefined.
    pub reader_id: u32,
    pub data: Vec<u8>,
}

impl SmartcardMessage {
    /// Reads the body of a client's smartcard message, and checks the length field against the body.
    pub fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut r = Reader::new("smartcard", "DATA", body);
        let kind = r.u32("type")?;
        let reader_id = r.u32("reader_id")?;
        let length = r.u32("length")?;
        let length = usize::try_from(length).map_err(|_| r.bad("length", length.into()))?;
        Ok(Self { kind, reader_id, data: r.bytes("data", length)?.to_vec() })
    }

    /// The message for the client.
    #[must_use]
    pub fn encode(&self) -> Message {
        let mut v = Vec::with_capacity(12 + self.data.len());
        v.u32(self.kind).u32(self.reader_id).u32(count32(self.data.len())).put(&self.data);
        Message::new(SMARTCARD, v)
    }
}

/// Fuzz oracle: decodes any body of any type without a panic; accepted sizes are within their limits.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_spicevmc(msg_type: u16, body: &[u8]) {
    if let Ok(SpicevmcMessage::CompressedData { uncompressed_size, .. }) =
        SpicevmcMessage::decode("port", true, msg_type, body)
    {
        assert!(uncompressed_size <= MAX_UNCOMPRESSED);
    }
    if let Ok(message) = SmartcardMessage::decode(body) {
        assert!(message.data.len() <= body.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_init_matches_the_capture() {
        let m = port_init("org.test.port.0", false);
        let mut expect = vec![0x10, 0, 0, 0, 9, 0, 0, 0, 0];
        expect.extend_from_slice(b"org.test.port.0\0");
        assert_eq!(m.body.to_vec(), expect);
    }

    #[test]
    fn hostile_sizes_are_refused() {
        let decode = |body: &[u8]| SpicevmcMessage::decode("usbredir", false, 102, body);
        assert!(decode(&[1, 255, 255, 255, 255, 0]).is_err());
        assert!(decode(&[0, 0, 0]).is_err());
        assert!(decode(&[1, 4, 0, 0, 0, 9]).is_ok());
        assert!(SpicevmcMessage::decode("usbredir", false, 201, &[0]).is_err());
        assert!(SpicevmcMessage::decode("port", true, 201, &[0, 1, 2]).is_ok());
        assert!(SmartcardMessage::decode(&[7, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]).is_err());
    }

    #[test]
    fn smartcard_messages_survive() {
        let m = SmartcardMessage { kind: 7, reader_id: 0, data: vec![1, 2, 3] };
        assert_eq!(SmartcardMessage::decode(&m.encode().body.to_vec()), Ok(m));
    }
}
