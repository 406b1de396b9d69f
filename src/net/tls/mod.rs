//! TLS under a channel (server.md 4.4, 4.5).
//!
//! - `config.rs`: the host's configuration.
//! - `files.rs`: reads the operator's files into an OpenSSL context, and reports what is wrong with them.
//! - `source.rs`: the context for the next connection, which follows the files when they are renewed.
//! - `handshake.rs`: a connection until both sides have their keys; runs on the crypto thread.
//! - `transport.rs`: the encrypted stream, and a limit on records without data.

mod config;
mod files;
mod handshake;
#[cfg(any(test, feature = "oracles"))]
#[allow(clippy::unwrap_used, reason = "an oracle fails by panics")]
mod oracle;
mod source;
mod transport;

pub use config::TlsConfig;
pub(crate) use handshake::{Handshake, Step};
#[cfg(any(test, feature = "oracles"))]
pub use oracle::fuzz_tls_link;
pub(crate) use source::TlsSource;

#[cfg(any(test, feature = "oracles"))]
#[allow(clippy::unwrap_used, reason = "for tests and the oracle")]
#[cfg_attr(not(test), allow(dead_code, reason = "the oracle needs a part of it"))]
pub(crate) mod testing;
