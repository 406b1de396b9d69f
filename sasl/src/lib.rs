//! A thin safe binding of the server side of Cyrus SASL, as far as SPICE needs it (server.md 5.3).
//!
//! Only Cyrus SASL honours what administrators configure for it: the files of `/etc/sasl2`, the plugins of mechanisms and
//! of user databases, saslauthd. So there is no SASL of our own.
//!
//! The library is linked, not loaded at run time: package managers see the dependency, a missing library shows when the
//! host starts and not when somebody logs in, and no search path decides which code checks passwords. A build without
//! SASL does not need it at all; where it was not found at build time this crate is empty.
//!
//! - `ffi.rs`: the C declarations.
//! - `library.rs`: what is done once in a process: locks for its threads, plugins, configuration.
//! - `server.rs`: [`SaslServer`], the server's side of one connection.
//!
//! All `unsafe` code that SASL takes is in here.
#![cfg(have_sasl2)]

mod ffi;
mod library;
mod server;

pub use library::initialise;
pub use server::{Reply, SaslServer, Security};

use thiserror::Error;

/// Security strength (bits) that a connection without TLS needs from SASL's own layer.
pub const MIN_SSF: u32 = 56;

/// Bytes of one packet of the security layer that the client may send.
pub const MAX_BUFFER: u32 = 8192;

/// Why SASL does not go on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SaslError {
    /// A string that C cannot take.
    #[error("a NUL byte in {0}")]
    Nul(&'static str),
    #[error("more bytes than libsasl2 takes")]
    TooLong,
    #[error("out of memory")]
    NoMemory,
    /// libsasl2's own words, for the log alone: they may say whether a user exists.
    #[error("{call}: {detail}")]
    Failed { call: &'static str, detail: String },
}

#[cfg(test)]
mod tests;
