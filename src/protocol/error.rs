//! Why a message or link structure could not be read.

use thiserror::Error;

/// A malformed structure from a peer, with the place and the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{channel} {message}: {kind}")]
pub struct ProtocolError {
    /// Channel name, or "link".
    pub channel: &'static str,
    /// Name of the message or structure, as in the specification.
    pub message: &'static str,
    pub kind: ProtocolErrorKind,
}

/// The fault of a malformed structure.
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
