//! Inputs channel messages (wire.md 6.1, 6.2).

use super::body::Message;
use super::common::{self, CommonMessage};
use super::error::ProtocolError;
use super::reader::Reader;

/// Server message types.
pub(crate) mod server {
    pub(crate) const INIT: u16 = 101;
    pub(crate) const KEY_MODIFIERS: u16 = 102;
    pub(crate) const MOUSE_MOTION_ACK: u16 = 111;
}

/// Client message types.
pub(crate) mod client {
    pub(crate) const KEY_DOWN: u16 = 101;
    pub(crate) const KEY_UP: u16 = 102;
    pub(crate) const KEY_MODIFIERS: u16 = 103;
    pub(crate) const KEY_SCANCODE: u16 = 104;
    pub(crate) const MOUSE_MOTION: u16 = 111;
    pub(crate) const MOUSE_POSITION: u16 = 112;
    pub(crate) const MOUSE_PRESS: u16 = 113;
    pub(crate) const MOUSE_RELEASE: u16 = 114;
}

/// Keyboard LED bits.
pub(crate) mod modifiers {
    pub(crate) const SCROLL_LOCK: u16 = 1;
    pub(crate) const NUM_LOCK: u16 = 2;
    pub(crate) const CAPS_LOCK: u16 = 4;
}

/// Button numbers of PRESS and RELEASE.
#[allow(dead_code, reason = "the table is as whole as that of the specification")]
pub(crate) mod button {
    pub(crate) const LEFT: u8 = 1;
    pub(crate) const MIDDLE: u8 = 2;
    pub(crate) const RIGHT: u8 = 3;
    pub(crate) const UP: u8 = 4;
    pub(crate) const DOWN: u8 = 5;
    pub(crate) const SIDE: u8 = 6;
    pub(crate) const EXTRA: u8 = 7;
}

/// Button mask bits.
#[allow(dead_code, reason = "the table is as whole as that of the specification")]
pub(crate) mod button_mask {
    pub(crate) const LEFT: u16 = 1;
    pub(crate) const MIDDLE: u16 = 2;
    pub(crate) const RIGHT: u16 = 4;
    pub(crate) const UP: u16 = 8;
    pub(crate) const DOWN: u16 = 16;
    pub(crate) const SIDE: u16 = 32;
    pub(crate) const EXTRA: u16 = 64;
}

/// Number of motion messages per MOUSE_MOTION_ACK.
pub(crate) const MOTION_ACK_BUNCH: u32 = 4;

/// Largest body that the channel accepts (wire.md 2.3).
pub(crate) const MAX_BODY: usize = 2048;

/// The body limit for [`crate::net::stream::ChannelStream::receive`].
#[must_use]
pub(crate) fn max_body(_msg_type: u16) -> Option<usize> {
    Some(MAX_BODY)
}

/// INIT with the guest's LEDs.
#[must_use]
pub(crate) fn init(modifiers: u16) -> Message {
    Message::new(server::INIT, modifiers.to_le_bytes().to_vec())
}

/// KEY_MODIFIERS with the guest's LEDs.
#[must_use]
pub(crate) fn key_modifiers(modifiers: u16) -> Message {
    Message::new(server::KEY_MODIFIERS, modifiers.to_le_bytes().to_vec())
}

/// MOUSE_MOTION_ACK.
#[must_use]
pub(crate) fn mouse_motion_ack() -> Message {
    Message::bare(server::MOUSE_MOTION_ACK)
}

/// A message of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InputsMessage {
    Common(CommonMessage),
    /// Up to four scan-code bytes, lowest first. A zero byte ends the code.
    KeyDown {
        code: u32,
    },
    KeyUp {
        code: u32,
    },
    KeyModifiers {
        modifiers: u16,
    },
    /// Scan-code bytes for the keyboard, in order.
    KeyScancode(Vec<u8>),
    MouseMotion {
        dx: i32,
        dy: i32,
        buttons: u16,
    },
    MousePosition {
        x: u32,
        y: u32,
        buttons: u16,
        display_id: u8,
    },
    MousePress {
        button: u8,
        buttons: u16,
    },
    MouseRelease {
        button: u8,
        buttons: u16,
    },
}

impl InputsMessage {
    /// Reads a message of the client.
    pub(crate) fn decode(msg_type: u16, body: &[u8]) -> Result<Self, ProtocolError> {
        let reader = |message| Reader::new("inputs", message, body);
        Ok(match msg_type {
            ..=100 => Self::Common(CommonMessage::decode("inputs", msg_type, body)?),
            client::KEY_DOWN => Self::KeyDown { code: reader("KEY_DOWN").u32("code")? },
            client::KEY_UP => Self::KeyUp { code: reader("KEY_UP").u32("code")? },
            client::KEY_MODIFIERS => {
                Self::KeyModifiers { modifiers: reader("KEY_MODIFIERS").u16("modifiers")? }
            }
            client::KEY_SCANCODE => Self::KeyScancode(body.to_vec()),
            client::MOUSE_MOTION => {
                let mut r = reader("MOUSE_MOTION");
                Self::MouseMotion { dx: r.i32("dx")?, dy: r.i32("dy")?, buttons: r.u16("buttons_state")? }
            }
            client::MOUSE_POSITION => {
                let mut r = reader("MOUSE_POSITION");
                Self::MousePosition {
                    x: r.u32("x")?,
                    y: r.u32("y")?,
                    buttons: r.u16("buttons_state")?,
                    display_id: r.u8("display_id")?,
                }
            }
            client::MOUSE_PRESS => {
                let mut r = reader("MOUSE_PRESS");
                Self::MousePress { button: r.u8("button")?, buttons: r.u16("buttons_state")? }
            }
            client::MOUSE_RELEASE => {
                let mut r = reader("MOUSE_RELEASE");
                Self::MouseRelease { button: r.u8("button")?, buttons: r.u16("buttons_state")? }
            }
            other => return Err(common::unknown("inputs", other)),
        })
    }
}

/// Fuzz oracle: decodes any body of any type without a panic.
#[cfg(any(test, feature = "oracles"))]
pub(crate) fn fuzz_inputs(msg_type: u16, body: &[u8]) {
    let _ = InputsMessage::decode(msg_type, body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_wire_sizes() {
        for (msg_type, size) in
            [(101, 4), (102, 4), (103, 2), (104, 0), (111, 10), (112, 11), (113, 3), (114, 3)]
        {
            assert!(InputsMessage::decode(msg_type, &vec![0; size]).is_ok(), "{msg_type}");
            assert!(InputsMessage::decode(msg_type, &vec![0; size + 3]).is_ok(), "{msg_type}");
            if size > 0 {
                assert!(InputsMessage::decode(msg_type, &vec![0; size - 1]).is_err(), "{msg_type}");
            }
        }
    }

    #[test]
    fn position_is_read_in_order() {
        assert_eq!(
            InputsMessage::decode(112, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 4]),
            Ok(InputsMessage::MousePosition { x: 1, y: 2, buttons: 3, display_id: 4 })
        );
    }
}
