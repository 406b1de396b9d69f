//! Structures of the guest agent port (wire.md 9.1, 9.2, 9.4): chunk and message headers, and messages that
//! the server makes or edits itself. `channel::main::agent` has the rules of the stream.

use super::error::ProtocolError;
use super::reader::Reader;
use super::writer::{Put, count32};

/// Bytes of a chunk header on the device.
pub(crate) const CHUNK_HEADER_SIZE: usize = 8;
/// Bytes of a message header.
pub(crate) const MESSAGE_HEADER_SIZE: usize = 20;
/// Largest piece of a message.
pub(crate) const MAX_PIECE: usize = 2048;
/// The only version of the agent protocol.
pub(crate) const PROTOCOL: u32 = 1;
/// Chunk port of messages between client and guest.
pub(crate) const CLIENT_PORT: u32 = 1;
/// Chunk port of messages between server and guest.
pub(crate) const SERVER_PORT: u32 = 2;

/// Agent message types.
#[allow(dead_code, reason = "the table is as whole as that of the specification")]
pub(crate) mod message {
    pub(crate) const MOUSE_STATE: u32 = 1;
    pub(crate) const MONITORS_CONFIG: u32 = 2;
    pub(crate) const REPLY: u32 = 3;
    pub(crate) const CLIPBOARD: u32 = 4;
    pub(crate) const DISPLAY_CONFIG: u32 = 5;
    pub(crate) const ANNOUNCE_CAPABILITIES: u32 = 6;
    pub(crate) const CLIPBOARD_GRAB: u32 = 7;
    pub(crate) const CLIPBOARD_REQUEST: u32 = 8;
    pub(crate) const CLIPBOARD_RELEASE: u32 = 9;
    pub(crate) const FILE_XFER_START: u32 = 10;
    pub(crate) const FILE_XFER_STATUS: u32 = 11;
    pub(crate) const FILE_XFER_DATA: u32 = 12;
    pub(crate) const CLIENT_DISCONNECTED: u32 = 13;
    pub(crate) const MAX_CLIPBOARD: u32 = 14;
    pub(crate) const AUDIO_VOLUME_SYNC: u32 = 15;
    pub(crate) const GRAPHICS_DEVICE_INFO: u32 = 16;
}

/// Agent capability bits.
pub(crate) mod cap {
    pub(crate) const CLIPBOARD: u32 = 3;
    pub(crate) const CLIPBOARD_BY_DEMAND: u32 = 5;
    pub(crate) const CLIPBOARD_SELECTION: u32 = 6;
    pub(crate) const FILE_XFER_DISABLED: u32 = 13;
    pub(crate) const GRAPHICS_DEVICE_INFO: u32 = 15;
}

/// Header of a chunk on the device: u32 port, u32 size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkHeader {
    pub port: u32,
    pub size: u32,
}

impl ChunkHeader {
    /// Reads the header.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut r = Reader::new("agent", "VDIChunkHeader", bytes);
        Ok(Self { port: r.u32("port")?, size: r.u32("size")? })
    }

    /// Appends the header.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.u32(self.port).u32(self.size);
    }
}

/// Header of an agent message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageHeader {
    pub protocol: u32,
    pub message_type: u32,
    pub opaque: u64,
    /// Bytes of data in all pieces that follow.
    pub size: u32,
}

impl MessageHeader {
    /// Reads the header.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut r = Reader::new("agent", "VDAgentMessage", bytes);
        Ok(Self {
            protocol: r.u32("protocol")?,
            message_type: r.u32("type")?,
            opaque: r.u64("opaque")?,
            size: r.u32("size")?,
        })
    }

    /// Appends the header.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.u32(self.protocol).u32(self.message_type).u64(self.opaque).u32(self.size);
    }
}

/// A message from the server to the guest: a chunk on the server port with header and data.
#[must_use]
pub(crate) fn server_message(message_type: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(CHUNK_HEADER_SIZE + MESSAGE_HEADER_SIZE + data.len());
    ChunkHeader { port: SERVER_PORT, size: count32(MESSAGE_HEADER_SIZE + data.len()) }.put(&mut out);
    MessageHeader { protocol: PROTOCOL, message_type, opaque: 0, size: count32(data.len()) }.put(&mut out);
    out.extend_from_slice(data);
    out
}

/// MOUSE_STATE data. `buttons` is the agent's mask (2 left, 4 middle, 8 right, 16 up, 32 down).
#[must_use]
pub(crate) fn mouse_state(x: u32, y: u32, buttons: u32, display_id: u8) -> Vec<u8> {
    let mut v = Vec::new();
    v.u32(x).u32(y).u32(buttons).u8(display_id);
    v
}

/// One display in GRAPHICS_DEVICE_INFO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GraphicsDevice {
    pub channel_id: u32,
    pub monitor_id: u32,
    pub device_display_id: u32,
    pub address: String,
}

/// GRAPHICS_DEVICE_INFO data. Address lengths include a NUL.
#[must_use]
pub(crate) fn graphics_device_info(devices: &[GraphicsDevice]) -> Vec<u8> {
    let mut v = Vec::new();
    v.u32(count32(devices.len()));
    for d in devices {
        v.u32(d.channel_id).u32(d.monitor_id).u32(d.device_display_id).u32(count32(d.address.len() + 1));
        v.put(d.address.as_bytes());
        v.u8(0);
    }
    v
}

/// Fuzz oracle: reads headers from any bytes without a panic.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_agent(bytes: &[u8]) {
    let _ = (ChunkHeader::decode(bytes), MessageHeader::decode(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mouse_state_message_is_41_bytes() {
        let m = server_message(message::MOUSE_STATE, &mouse_state(1, 2, 2, 0));
        assert_eq!(m.len(), 8 + 20 + 13);
        assert_eq!(ChunkHeader::decode(&m), Ok(ChunkHeader { port: 2, size: 33 }));
        let header = MessageHeader::decode(&m[8..]).unwrap();
        assert_eq!((header.protocol, header.message_type, header.size), (1, 1, 13));
        assert!(MessageHeader::decode(&m[..19]).is_err());
    }

    #[test]
    fn device_addresses_end_in_a_counted_nul() {
        let device =
            GraphicsDevice { channel_id: 0, monitor_id: 0, device_display_id: 0, address: "pci".into() };
        assert_eq!(graphics_device_info(&[device])[16..], [4, 0, 0, 0, b'p', b'c', b'i', 0]);
    }
}
