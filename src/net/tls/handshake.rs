//! A TLS connection until both sides have their keys.

use super::source::TlsSource;
use super::transport::{Metered, TlsTransport, describe};
use crate::limits::{MAX_TLS_HANDSHAKE, MAX_TLS_READS};
use crate::net::socket::SocketTransport;
use openssl::ssl::{ErrorCode, Ssl, SslStream};
use std::sync::Arc;
use std::{fmt, io};

/// A connection in its handshake.
pub(crate) struct Handshake(Stage);

enum Stage {
    /// Not begun: the thread that takes the first step chooses the context.
    New(Arc<TlsSource>, SocketTransport),
    Running(SslStream<Metered>),
    /// OpenSSL could not begin.
    Failed,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

/// What a handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Done,
    Read,
    Write,
}

impl Handshake {
    /// Begins on a plain connection.
    #[must_use]
    pub(crate) fn new(source: Arc<TlsSource>, socket: SocketTransport) -> Self {
        Self(Stage::New(source, socket))
    }

    /// Goes on as far as the socket allows. Costs a private-key operation, and may read files: not for the host thread.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        if let Stage::New(..) = self.0
            && let Stage::New(source, socket) = std::mem::replace(&mut self.0, Stage::Failed)
        {
            let socket = Metered::new(socket, MAX_TLS_HANDSHAKE);
            self.0 = Stage::Running(SslStream::new(Ssl::new(&source.current())?, socket)?);
        }
        let Stage::Running(stream) = &mut self.0 else {
            return Err(io::Error::other("TLS handshake: used after it failed"));
        };
        stream.get_mut().allow(MAX_TLS_READS);
        match stream.accept() {
            Ok(()) => Ok(Step::Done),
            Err(e) if e.code() == ErrorCode::WANT_READ => Ok(Step::Read),
            Err(e) if e.code() == ErrorCode::WANT_WRITE => Ok(Step::Write),
            Err(e) => Err(io::Error::other(format!("TLS handshake: {}", describe(&e)))),
        }
    }

    /// The encrypted stream, after [`Step::Done`].
    pub(crate) fn finish(self) -> io::Result<TlsTransport> {
        match self.0 {
            Stage::Running(stream) => Ok(TlsTransport::new(stream)),
            Stage::New(..) | Stage::Failed => Err(io::Error::other("TLS handshake: not complete")),
        }
    }
}
