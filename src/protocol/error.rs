//! Why a message or link structure could not be read.

use thiserror::Error;

/// A malformed structure from a peer: where it was, what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{channel} {message}: {kind}")]
pub struct ProtocolError {
    /// Channel name, or "link".
    pub channel: &'static str,
    /// Message or structure name as the specification has it.
    pub message: &'static str,
    pub kind: ProtocolErrorKind,
}

/// See [`ProtocolError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolErrorKind {
    /// The structure ends inside a field.
    #[error("field {field} needs {needed} bytes, received {received}")]
    Short { field: &'static str, needed: usize, received: usize },
    /// A field has a value that cannot be accepted.
    #[error("field {field} has bad value {value}")]
    Value { field: &'static str, value: u64 },
    /// The channel has no message of this type.
    #[error("unknown message type {0}")]
    UnknownType(u16),
}
