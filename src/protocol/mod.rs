//! The SPICE wire protocol 2.2, server side (wire.md): no I/O, no state.
//!
//! Client to server: each channel's module has `XxxMessage::decode(msg_type, body)`, a pure function. A body
//! that is too short, or a type that the channel does not have, is a [`ProtocolError`]; a longer body is
//! accepted. Decoding checks only the layout, the channels check values. The fuzz oracles `fuzz_xxx` call the
//! same functions.
//!
//! Server to client: functions and structures make a [`Message`]. Its [`Body`] is a list of segments, so that
//! payloads are not copied again. [`writer::Marshaller`] lays out bodies with pointers.

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
pub mod stream_device;
pub mod writer;

pub use body::{Body, Message, Segment};
pub use caps::Caps;
pub use channel_type::ChannelType;
pub use error::{ProtocolError, ProtocolErrorKind};
