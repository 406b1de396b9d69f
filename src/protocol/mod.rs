//! The SPICE wire protocol 2.2, server side (wire.md): no I/O, no state.
//!
//! Client to server: each channel's module has `XxxMessage::decode(msg_type, body)`, a pure function. A body
//! that is too short, or a type that the channel does not have, is a [`ProtocolError`]; a longer body is
//! accepted. Decoding checks only the layout, the channels check values. The fuzz oracles `fuzz_xxx` call the
//! same functions.
//!
//! Server to client: functions and structures make a [`Message`]. Its [`Body`] is a list of segments, so that
//! payloads are not copied again. [`writer::Marshaller`] lays out bodies with pointers.
#![allow(missing_docs, reason = "messages and fields have the names of the specification")]

pub(crate) mod agent;
pub(crate) mod body;
pub(crate) mod caps;
pub(crate) mod channel_type;
pub(crate) mod common;
pub(crate) mod cursor;
pub(crate) mod display;
pub(crate) mod draw;
pub(crate) mod error;
pub(crate) mod inputs;
pub mod link;
pub mod main_channel;
pub(crate) mod migrate;
pub(crate) mod reader;
pub(crate) mod sound;
pub mod spicevmc;
pub(crate) mod stream_device;
pub(crate) mod writer;

pub use body::{Body, Message, Segment};
pub use caps::Caps;
pub use channel_type::ChannelType;
pub use error::{ProtocolError, ProtocolErrorKind};
