//! The SPICE wire protocol 2.2, server side (spec: wire.md). No I/O, no state.
//!
//! Client to server: `XxxMessage::decode(msg_type, body)` of a channel's module, a pure function of its arguments
//! (also the fuzz oracles `fuzz_xxx`). A body that is too short or of unknown type is a [`ProtocolError`]; a longer
//! one is accepted. Values are not judged here, only layout.
//!
//! Server to client: functions and structs that give a [`Message`], whose [`Body`] is a list of segments so that
//! payloads are not copied again. Bodies with pointers are laid out by [`writer::Marshaller`].

pub mod agent;
pub mod body;
pub mod caps;
pub mod channel_type;
pub mod common;
pub mod cursor;
pub mod display;
pub mod draw;
pub mod error;
pub mod inputs;
pub mod link;
pub mod main_channel;
pub mod migrate;
pub mod reader;
pub mod sound;
pub mod spicevmc;
pub mod writer;

pub use body::{Body, Message, Segment};
pub use caps::Caps;
pub use channel_type::ChannelType;
pub use error::{ProtocolError, ProtocolErrorKind};
