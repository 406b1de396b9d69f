//! Why a call of the host is refused. The C layer turns each into the function's documented error value.
#![allow(missing_docs, reason = "the message of each variant says what it means")]

use thiserror::Error;

/// The reason why a call of the host is refused.
#[derive(Debug, Error)]
pub enum ServerError {
    #[error("{what}: bad value {value}")]
    Value { what: &'static str, value: i64 },
    #[error("{what}: {text:?} is not known")]
    Unknown { what: &'static str, text: String },
    #[error("the server was not initialized")]
    NotInitialized,
    #[error("the server was initialized already")]
    AlreadyInitialized,
    #[error("there is a {0} already")]
    Duplicate(&'static str),
    #[error("{0} is not attached")]
    NotAttached(&'static str),
    #[error("this build has no {0}")]
    NotBuilt(&'static str),
    #[error("a client is connected")]
    ClientConnected,
    #[error("the host refused a {0}")]
    HostRefused(&'static str),
    #[error("{0}")]
    Sasl(crate::net::sasl::SaslFault),
    #[error("{what}: {error}")]
    Io { what: &'static str, error: std::io::Error },
}

impl ServerError {
    /// An I/O error of this operation.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Io { what, error }
    }
}
