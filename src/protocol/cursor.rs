//! Cursor channel messages (wire.md 6.3). Clients send only the common ones.

use super::body::{Message, Segment};
use super::common::{self, CommonMessage};
use super::error::ProtocolError;
use super::writer::{Marshaller, Put};
use crate::geometry::Point16;
use crate::qxl_command::CursorShape;

/// Server message types.
pub(crate) mod server {
    pub(crate) const INIT: u16 = 101;
    pub(crate) const RESET: u16 = 102;
    pub(crate) const SET: u16 = 103;
    pub(crate) const MOVE: u16 = 104;
    pub(crate) const HIDE: u16 = 105;
    pub(crate) const TRAIL: u16 = 106;
    pub(crate) const INVAL_ONE: u16 = 107;
    pub(crate) const INVAL_ALL: u16 = 108;
}

const FLAG_NONE: u16 = 1;
const FLAG_CACHE_ME: u16 = 2;
const FLAG_FROM_CACHE: u16 = 4;

/// The form in which a client receives a shape.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WireCursor<'a> {
    /// No shape.
    None,
    /// With its pixels. The client does not cache it.
    Inline(&'a CursorShape),
    /// With its pixels. The client caches it under its `unique`.
    CacheMe(&'a CursorShape),
    /// Without pixels: the client has it in its cache.
    FromCache(&'a CursorShape),
}

fn put_cursor(m: &mut Marshaller, cursor: WireCursor<'_>) {
    let (flags, shape) = match cursor {
        WireCursor::None => {
            m.u16(FLAG_NONE);
            return;
        }
        WireCursor::Inline(shape) => (0, shape),
        WireCursor::CacheMe(shape) => (FLAG_CACHE_ME, shape),
        WireCursor::FromCache(shape) => (FLAG_FROM_CACHE, shape),
    };
    m.u16(flags).u64(shape.unique).u8(shape.cursor_type);
    m.u16(shape.width).u16(shape.height).u16(shape.hot_x).u16(shape.hot_y);
    if flags != FLAG_FROM_CACHE {
        m.segment(Segment::Shared(shape.data.clone()));
    }
}

/// INIT. The client empties its cursor cache before it stores this shape.
#[must_use]
pub(crate) fn init(
    position: Point16,
    trail_length: u16,
    trail_frequency: u16,
    visible: bool,
    cursor: WireCursor<'_>,
) -> Message {
    let mut m = Marshaller::new();
    m.point16(position).u16(trail_length).u16(trail_frequency).u8(visible.into());
    put_cursor(&mut m, cursor);
    Message::new(server::INIT, m.finish())
}

/// SET.
#[must_use]
pub(crate) fn set(position: Point16, visible: bool, cursor: WireCursor<'_>) -> Message {
    let mut m = Marshaller::new();
    m.point16(position).u8(visible.into());
    put_cursor(&mut m, cursor);
    Message::new(server::SET, m.finish())
}

/// RESET.
#[must_use]
pub(crate) fn reset() -> Message {
    Message::bare(server::RESET)
}

/// MOVE.
#[must_use]
pub(crate) fn move_to(position: Point16) -> Message {
    let mut v = Vec::new();
    v.point16(position);
    Message::new(server::MOVE, v)
}

/// HIDE.
#[must_use]
pub(crate) fn hide() -> Message {
    Message::bare(server::HIDE)
}

/// TRAIL.
#[must_use]
pub(crate) fn trail(length: u16, frequency: u16) -> Message {
    let mut v = Vec::new();
    v.u16(length).u16(frequency);
    Message::new(server::TRAIL, v)
}

/// INVAL_ONE.
#[must_use]
pub(crate) fn inval_one(id: u64) -> Message {
    Message::new(server::INVAL_ONE, id.to_le_bytes().to_vec())
}

/// INVAL_ALL.
#[must_use]
pub(crate) fn inval_all() -> Message {
    Message::bare(server::INVAL_ALL)
}

/// Reads a message of the client.
pub(crate) fn decode(msg_type: u16, body: &[u8]) -> Result<CommonMessage, ProtocolError> {
    match msg_type {
        ..=100 => CommonMessage::decode("cursor", msg_type, body),
        other => Err(common::unknown("cursor", other)),
    }
}

/// Fuzz oracle: decodes any body of any type without a panic.
#[cfg(any(test, feature = "oracles"))]
pub(crate) fn fuzz_cursor(msg_type: u16, body: &[u8]) {
    let _ = decode(msg_type, body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> CursorShape {
        CursorShape {
            unique: 0x1234,
            cursor_type: 0,
            width: 16,
            height: 16,
            hot_x: 3,
            hot_y: 4,
            data: vec![7; 1024].into(),
        }
    }

    #[test]
    fn init_without_shape_matches_the_capture() {
        let m = init(Point16::default(), 0, 0, true, WireCursor::None);
        assert_eq!(m.body.to_vec(), [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]);
    }

    #[test]
    fn set_matches_the_captures() {
        let s = shape();
        let m = set(Point16 { x: 0x64, y: 0x78 }, true, WireCursor::CacheMe(&s));
        let body = m.body.to_vec();
        assert_eq!(body.len(), 0x418);
        let head = b"\x64\0\x78\0\x01\x02\0\x34\x12\0\0\0\0\0\0\0\x10\0\x10\0\x03\0\x04\0";
        assert_eq!(body[..24], *head);
        let m = set(Point16 { x: 0x65, y: 0x79 }, true, WireCursor::FromCache(&s));
        let head = b"\x65\0\x79\0\x01\x04\0\x34\x12\0\0\0\0\0\0\0\x10\0\x10\0\x03\0\x04\0";
        assert_eq!(m.body.to_vec(), head);
    }

    #[test]
    fn client_messages_of_other_channels_are_unknown() {
        assert!(decode(101, &[0; 64]).is_err());
        assert_eq!(decode(2, &[]), Ok(CommonMessage::Ack));
    }
}
