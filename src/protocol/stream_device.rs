//! Messages between a streaming agent in the guest and the server (devices.md 9): an 8-byte header, then the body.

use super::error::ProtocolError;
use super::reader::Reader;
use super::writer::{Put, count32};
use crate::geometry::Point16;
use crate::limits::{MAX_CURSOR_SIDE, MAX_STREAM_FRAME, MAX_STREAM_SIDE};
use crate::qxl_command::CursorShape;
use std::sync::Arc;
use thiserror::Error;

/// Bytes of a header.
pub(crate) const HEADER_SIZE: usize = 8;
/// The version that headers name.
pub(crate) const VERSION: u8 = 1;

/// Message types.
pub(crate) mod message {
    pub(crate) const CAPABILITIES: u16 = 1;
    pub(crate) const FORMAT: u16 = 2;
    pub(crate) const DATA: u16 = 3;
    pub(crate) const START_STOP: u16 = 4;
    pub(crate) const NOTIFY_ERROR: u16 = 5;
    pub(crate) const CURSOR_SET: u16 = 6;
    pub(crate) const CURSOR_MOVE: u16 = 7;
    pub(crate) const DEVICE_DISPLAY_INFO: u16 = 8;
}

/// The video codecs, by their numbers in this protocol and in STREAM_CREATE: 1 MJPEG, 2 VP8, 3 H264, 4 VP9, 5 H265.
pub(crate) const CODECS: std::ops::RangeInclusive<u8> = 1..=5;
/// The codec that every client decodes, and whose frames do not need each other.
pub(crate) const MJPEG: u8 = 1;

const MAX_CAPABILITIES: usize = 1024;
const FORMAT_SIZE: usize = 12;
const CURSOR_HEADER: usize = 12;
const MAX_CURSOR_BODY: usize = CURSOR_HEADER + (1024 * 4 + 128) * 1024;
const MOVE_SIZE: usize = 8;
const INFO_HEADER: usize = 12;
const MAX_ADDRESS: usize = 256;

/// How a guest breaks the protocol. The text is what the original tells the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Violation {
    #[error("Invalid message type")]
    UnknownType,
    #[error("Wrong size for StreamMsgCapabilities")]
    CapabilitiesSize,
    #[error("Wrong size for StreamMsgFormat")]
    FormatSize,
    #[error("STREAM_DATA too large")]
    DataSize,
    #[error("Cursor size is invalid")]
    CursorSize,
    #[error("Wrong size for StreamMsgCursorMove")]
    MoveSize,
    #[error("StreamMsgDeviceDisplayInfo too large")]
    InfoSize,
    /// Everything else: the version, and fields of a body.
    #[error("Protocol error")]
    Other,
}

/// A field is missing.
impl From<ProtocolError> for Violation {
    fn from(_: ProtocolError) -> Self {
        Self::Other
    }
}

/// The header of a message from the guest. Its size is one that its type can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub message_type: u16,
    /// Bytes of the body.
    pub size: usize,
}

impl Header {
    /// Reads a header and checks the size against the type.
    pub(crate) fn decode(bytes: [u8; HEADER_SIZE]) -> Result<Self, Violation> {
        let [version, _, t0, t1, s0, s1, s2, s3] = bytes;
        if version != VERSION {
            return Err(Violation::Other);
        }
        let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).unwrap_or(usize::MAX);
        let header = Self { message_type: u16::from_le_bytes([t0, t1]), size };
        let (fits, violation) = match header.message_type {
            message::CAPABILITIES => (size <= MAX_CAPABILITIES, Violation::CapabilitiesSize),
            message::FORMAT => (size == FORMAT_SIZE, Violation::FormatSize),
            message::DATA => (size <= MAX_STREAM_FRAME, Violation::DataSize),
            message::CURSOR_SET => ((CURSOR_HEADER..=MAX_CURSOR_BODY).contains(&size), Violation::CursorSize),
            message::CURSOR_MOVE => (size == MOVE_SIZE, Violation::MoveSize),
            message::DEVICE_DISPLAY_INFO => (size <= INFO_HEADER + MAX_ADDRESS, Violation::InfoSize),
            _ => (false, Violation::UnknownType),
        };
        if fits { Ok(header) } else { Err(violation) }
    }
}

/// FORMAT: how the frames that follow are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub width: u32,
    pub height: u32,
    /// One of [`CODECS`].
    pub codec: u8,
}

/// DEVICE_DISPLAY_INFO: which display of the guest the stream shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayInfo {
    pub stream_id: u32,
    pub device_display_id: u32,
    /// Hardware address, e.g. `pci/0000/02.0`.
    pub address: String,
}

/// A message from the guest.
#[derive(Clone, Debug)]
pub(crate) enum StreamMessage {
    /// What the agent can do; nothing here depends on it.
    Capabilities,
    Format(Format),
    /// One frame. Empty frames have no effect.
    Data(Vec<u8>),
    CursorSet(CursorShape),
    CursorMove(Point16),
    /// `None`: the message names no address that can be used.
    DisplayInfo(Option<DisplayInfo>),
}

impl StreamMessage {
    /// Reads the body of a message whose header was read.
    pub(crate) fn decode(header: Header, body: Vec<u8>) -> Result<Self, Violation> {
        let reader = |name| Reader::new("stream", name, &body);
        Ok(match header.message_type {
            message::CAPABILITIES => Self::Capabilities,
            message::FORMAT => {
                let mut r = reader("FORMAT");
                let format =
                    Format { width: r.u32("width")?, height: r.u32("height")?, codec: r.u8("codec")? };
                let side = 1..=MAX_STREAM_SIDE;
                let sane = side.contains(&format.width) && side.contains(&format.height);
                if !sane || !CODECS.contains(&format.codec) {
                    return Err(Violation::Other);
                }
                Self::Format(format)
            }
            message::DATA => Self::Data(body),
            message::CURSOR_SET => Self::CursorSet(shape(reader("CURSOR_SET"))?),
            message::CURSOR_MOVE => {
                let mut r = reader("CURSOR_MOVE");
                let (x, y) = (r.i32("x")?, r.i32("y")?);
                Self::CursorMove(Point16 { x: clamp(x), y: clamp(y) })
            }
            message::DEVICE_DISPLAY_INFO => Self::DisplayInfo(display_info(reader("DEVICE_DISPLAY_INFO"))?),
            _ => return Err(Violation::UnknownType),
        })
    }
}

fn clamp(coordinate: i32) -> i16 {
    i16::try_from(coordinate).unwrap_or(if coordinate < 0 { i16::MIN } else { i16::MAX })
}

/// A shape with the pixels that its size requires and no more; clients do not check.
fn shape(mut r: Reader<'_>) -> Result<CursorShape, Violation> {
    let (width, height) = (r.u16("width")?, r.u16("height")?);
    let (hot_x, hot_y) = (r.u16("hot_spot_x")?, r.u16("hot_spot_y")?);
    let cursor_type = r.u8("type")?;
    r.bytes("padding", 3)?;
    // Some have a mask of one bit per pixel behind their pixels.
    let bits = match cursor_type {
        0 => 32,
        5 => 24 + 1,
        6 => 32 + 1,
        _ => return Err(Violation::Other),
    };
    if width > MAX_CURSOR_SIDE || height > MAX_CURSOR_SIDE {
        return Err(Violation::Other);
    }
    let needed = (usize::from(width) * usize::from(height) * bits).div_ceil(8);
    let data = Arc::from(r.bytes("data", needed)?);
    Ok(CursorShape { unique: 0, cursor_type, width, height, hot_x, hot_y, data })
}

fn display_info(mut r: Reader<'_>) -> Result<Option<DisplayInfo>, Violation> {
    let (stream_id, device_display_id) = (r.u32("stream_id")?, r.u32("device_display_id")?);
    let length = usize::try_from(r.u32("device_address_len")?).unwrap_or(usize::MAX);
    // The last byte is the terminating NUL, whatever the guest put there.
    let address =
        length.checked_sub(1).and_then(|text| r.bytes("device_address", text + 1).ok()?.get(..text));
    let address = address.and_then(|bytes| bytes.split(|&byte| byte == 0).next());
    let address = address.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    Ok(address.map(|address| DisplayInfo { stream_id, device_display_id, address }))
}

fn framed(message_type: u16, body: &[u8]) -> Vec<u8> {
    let mut v = Vec::with_capacity(HEADER_SIZE + body.len());
    v.u8(VERSION).u8(0).u16(message_type).u32(count32(body.len()));
    v.put(body);
    v
}

/// CAPABILITIES of the server, which has none.
#[must_use]
pub(crate) fn capabilities() -> Vec<u8> {
    framed(message::CAPABILITIES, &[0])
}

/// START_STOP: the guest is to stream in one of these codecs, or, if there is none, to stop.
#[must_use]
pub(crate) fn start_stop(codecs: &[u8]) -> Vec<u8> {
    let count = u8::try_from(codecs.len()).unwrap_or(u8::MAX);
    framed(message::START_STOP, &[&[count], codecs].concat())
}

/// NOTIFY_ERROR: what the guest did wrong.
#[must_use]
pub(crate) fn notify_error(violation: Violation) -> Vec<u8> {
    framed(message::NOTIFY_ERROR, &[&[0; 4], violation.to_string().as_bytes(), &[0]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(message_type: u16, size: u32) -> Result<Header, Violation> {
        let [t0, t1] = message_type.to_le_bytes();
        let [s0, s1, s2, s3] = size.to_le_bytes();
        Header::decode([1, 0, t0, t1, s0, s1, s2, s3])
    }

    fn decode(message_type: u16, body: &[u8]) -> Result<StreamMessage, Violation> {
        let size = u32::try_from(body.len()).unwrap();
        StreamMessage::decode(header(message_type, size)?, body.to_vec())
    }

    #[test]
    fn each_message_has_its_sizes() {
        use Violation::*;
        let cases = [
            (0, 0, UnknownType),
            (1, 1025, CapabilitiesSize),
            (2, 11, FormatSize),
            (2, 13, FormatSize),
            (3, (32 << 20) + 1, DataSize),
            (4, 1, UnknownType),
            (5, 4, UnknownType),
            (6, 11, CursorSize),
            (6, 4_325_389, CursorSize),
            (7, 9, MoveSize),
            (8, 269, InfoSize),
            (9, 4, UnknownType),
            (77, u32::MAX, UnknownType),
        ];
        for (message_type, size, violation) in cases {
            assert_eq!(header(message_type, size), Err(violation), "{message_type} of {size} bytes");
        }
        for (message_type, size) in [(1, 0), (2, 12), (3, 32 << 20), (6, 4_325_388), (7, 8), (8, 268)] {
            assert!(header(message_type, size).is_ok(), "{message_type} of {size} bytes");
        }
        assert_eq!(Header::decode([2, 0, 1, 0, 0, 0, 0, 0]), Err(Other));
    }

    fn format(width: u32, height: u32, codec: u8) -> Result<StreamMessage, Violation> {
        decode(2, &[&width.to_le_bytes()[..], &height.to_le_bytes(), &[codec, 0, 0, 0]].concat())
    }

    #[test]
    fn pictures_without_pixels_and_unknown_codecs_are_violations() {
        assert!(matches!(format(16384, 1, 5), Ok(StreamMessage::Format(_))));
        for (width, height, codec) in
            [(0, 1, 1), (1, 0, 1), (16385, 1, 1), (1, u32::MAX, 1), (1, 1, 0), (1, 1, 6)]
        {
            assert_eq!(
                format(width, height, codec).unwrap_err(),
                Violation::Other,
                "{width}x{height} {codec}"
            );
        }
    }

    fn cursor(width: u16, height: u16, cursor_type: u8, data: usize) -> Result<StreamMessage, Violation> {
        let sizes = [width, height, 1, 1].map(u16::to_le_bytes);
        decode(6, &[sizes.as_flattened(), &[cursor_type, 0, 0, 0], &vec![7; data]].concat())
    }

    #[test]
    fn shapes_have_the_pixels_of_their_size() {
        for (cursor_type, needed) in [(0, 16), (5, 13), (6, 17)] {
            let Ok(StreamMessage::CursorSet(shape)) = cursor(2, 2, cursor_type, needed + 9) else {
                panic!("type {cursor_type} is refused")
            };
            assert_eq!(shape.data.len(), needed);
            assert!(cursor(2, 2, cursor_type, needed - 1).is_err());
        }
        assert!(cursor(1025, 1, 0, 5000).is_err());
        assert!(cursor(2, 2, 1, 100).is_err());
        assert!(cursor(1024, 1024, 0, 4 << 20).is_ok());
    }

    #[test]
    fn pointers_far_outside_stay_outside() {
        let moved = decode(7, &[(-50_000i32).to_le_bytes(), 70_000i32.to_le_bytes()].concat()).unwrap();
        assert!(matches!(moved, StreamMessage::CursorMove(Point16 { x: i16::MIN, y: i16::MAX })));
    }

    fn info(length: u32, address: &[u8]) -> Option<DisplayInfo> {
        let numbers = [7, 3, length].map(u32::to_le_bytes);
        match decode(8, &[numbers.as_flattened(), address].concat()).unwrap() {
            StreamMessage::DisplayInfo(info) => info,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_end_with_a_nul_that_the_server_puts_there() {
        let address = |length, bytes| info(length, bytes).map(|info| info.address);
        assert_eq!(address(14, b"pci/0000/02.0\0").as_deref(), Some("pci/0000/02.0"));
        assert_eq!(address(13, b"pci/0000/02.0").as_deref(), Some("pci/0000/02."));
        assert_eq!(address(7, b"pci\0xx\0").as_deref(), Some("pci"));
        assert_eq!(address(1, b"x").as_deref(), Some(""));
        for (length, bytes) in [(0, &b""[..]), (4, b"xyz"), (u32::MAX, b"xyz"), (3, b"\xff\xfe\0")] {
            assert_eq!(address(length, bytes), None, "{length} {bytes:?}");
        }
        assert_eq!(decode(8, &[0; 11]).unwrap_err(), Violation::Other);
    }

    #[test]
    fn answers_are_those_of_the_original() {
        assert_eq!(capabilities(), [1, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(start_stop(&[1, 2]), [1, 0, 4, 0, 3, 0, 0, 0, 2, 1, 2]);
        assert_eq!(start_stop(&[]), [1, 0, 4, 0, 1, 0, 0, 0, 0]);
        let error = notify_error(Violation::UnknownType);
        assert_eq!(error[..12], [1, 0, 5, 0, 25, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(error[12..], *b"Invalid message type\0");
    }
}
