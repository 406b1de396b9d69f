//! SASL in the link stage (wire.md 1.6, server.md 5.3): clients authenticate as users of the administrator's databases, by
//! the mechanisms that the administrator configured, instead of by the one password of a ticket.
//!
//! - `mod.rs`: the interface to an implementation of SASL. The C layer implements it over the system's library.
//! - `exchange.rs`: the messages of client and server as a machine without I/O.
//! - `login.rs`: one step of an exchange as a job of the threads of `net::keys`, since a directory server may take seconds
//!   to answer, and neither the host's loop nor the logins of others may wait for it.
//! - `transport.rs`: the security layer that some mechanisms put around all later bytes.

mod exchange;
mod login;
mod transport;

#[cfg(test)]
pub(crate) mod testing;

#[cfg(any(test, feature = "oracles"))]
pub use exchange::fuzz_exchange;
pub(crate) use exchange::{SaslEvent, SaslExchange};
pub(crate) use login::{SaslDone, SaslLogin};
pub(crate) use transport::SaslTransport;

use std::fmt;
use thiserror::Error;

/// Security strength (bits) that a connection without TLS needs from the layer of the mechanism.
pub const MIN_SSF: u32 = 56;

/// Why an exchange failed. For the log alone, since it may tell whether a user exists.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("SASL: {0}")]
pub struct SaslFault(pub String);

/// What mechanisms may want to know of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaslPeer {
    /// The name of the configuration.
    pub app_name: String,
    /// `host;port` of our end, if it has one.
    pub local: Option<String>,
    /// `host;port` of the client's end, if it has one.
    pub remote: Option<String>,
    /// Bits of the TLS cipher. 0 without TLS: then mechanisms must not show the password, and must bring a security layer.
    pub cipher_bits: u32,
}

/// An implementation of SASL. Every call may take seconds.
pub trait SaslBackend: Send + Sync + fmt::Debug {
    /// Reads the configuration of this name. The server calls it at its start, before the host may lock itself out of the
    /// file system, and again before each exchange; only the first call of a process needs to do something.
    fn prepare(&self, app_name: &str) -> Result<(), SaslFault>;

    /// Begins an exchange.
    fn open(&self, peer: &SaslPeer) -> Result<Box<dyn SaslSession>, SaslFault>;
}

/// The server's side of one exchange, and then of its security layer. It moves between threads, one of which uses it at a time.
pub trait SaslSession: Send {
    /// The mechanisms on offer, with a comma before, between and after them.
    fn mechanisms(&mut self) -> Result<String, SaslFault>;
    /// The client chose a mechanism. `None`: it sent no data with its choice, which differs from empty data.
    fn start(&mut self, mechanism: &str, data: Option<&[u8]>) -> Result<SaslReply, SaslFault>;
    /// The client sent its next message.
    fn step(&mut self, data: Option<&[u8]>) -> Result<SaslReply, SaslFault>;
    /// The user as whom the client authenticated.
    fn user_name(&mut self) -> Option<String>;
    /// Strength of the security layer (bits); 0: there is none.
    fn ssf(&mut self) -> u32;
    /// Wraps as many bytes as fit into one packet, appends it to `out`, and returns their number.
    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, SaslFault>;
    /// Unwraps bytes, in any pieces of packets, and appends the plain bytes to `out`.
    fn decode(&mut self, wrapped: &[u8], out: &mut Vec<u8>) -> Result<(), SaslFault>;
}

/// The server's answer for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslReply {
    /// The exchange goes on.
    Continue(Option<Vec<u8>>),
    /// The client has authenticated.
    Done(Option<Vec<u8>>),
}

/// One step for the implementation.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SaslJob {
    /// Begin an exchange with this client.
    Open(SaslPeer),
    /// The client chose this mechanism, and sent data with its choice or none.
    Start { mechanism: String, data: Option<Vec<u8>> },
    /// The client's next message.
    Step { data: Option<Vec<u8>> },
}

impl fmt::Debug for SaslJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The data may be a password.
        f.write_str(match self {
            Self::Open(_) => "Open",
            Self::Start { .. } => "Start",
            Self::Step { .. } => "Step",
        })
    }
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SaslAnswer {
    /// The mechanisms on offer.
    Opened(String),
    /// The exchange goes on after this answer.
    Continue(Option<Vec<u8>>),
    /// The client has authenticated: the last answer, the user, and the strength of the security layer (bits).
    Done { data: Option<Vec<u8>>, user: String, ssf: u32 },
}

/// Does a step. The first makes the session, which the others need.
pub(crate) fn perform(
    backend: &dyn SaslBackend,
    session: &mut Option<Box<dyn SaslSession>>,
    job: SaslJob,
) -> Result<SaslAnswer, SaslFault> {
    if let SaslJob::Open(peer) = &job {
        backend.prepare(&peer.app_name)?;
        *session = Some(backend.open(peer)?);
    }
    let session = session.as_mut().ok_or_else(|| SaslFault("no exchange was begun".into()))?;
    let reply = match job {
        SaslJob::Open(_) => return session.mechanisms().map(SaslAnswer::Opened),
        SaslJob::Start { mechanism, data } => session.start(&mechanism, data.as_deref())?,
        SaslJob::Step { data } => session.step(data.as_deref())?,
    };
    match reply {
        SaslReply::Continue(data) => Ok(SaslAnswer::Continue(data)),
        SaslReply::Done(data) => {
            let user = session.user_name().ok_or_else(|| SaslFault("the mechanism named no user".into()))?;
            Ok(SaslAnswer::Done { data, user, ssf: session.ssf() })
        }
    }
}
