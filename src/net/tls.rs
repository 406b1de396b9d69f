//! TLS under a channel (server.md 4.4, 4.5): the server's context, the handshake, the transport.

use super::socket::SocketTransport;
use super::stream::Transport;
use crate::reds::config::TlsConfig;
use openssl::dh::Dh;
use openssl::pkey::PKey;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion,
};
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes of one record: messages are gathered up to it.
const RECORD: usize = 16 * 1024;

/// The context of all TLS connections of a server. Reads the files; any that cannot be used is an error.
pub fn context(config: &TlsConfig) -> io::Result<SslContext> {
    let mut ctx = SslContextBuilder::new(SslMethod::tls_server())?;
    ctx.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    // Client-made renegotiation costs only us; compression tells secrets by its length.
    ctx.set_options(SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION | SslOptions::SINGLE_DH_USE);
    ctx.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER | SslMode::AUTO_RETRY);
    ctx.set_session_id_context(b"SPICE")?;
    ctx.set_session_cache_mode(SslSessionCacheMode::OFF);
    ctx.set_verify(SslVerifyMode::NONE);
    named("certificate chain", ctx.set_certificate_chain_file(&config.certs_file))?;
    match &config.key_password {
        None => named("private key", ctx.set_private_key_file(&config.private_key_file, SslFiletype::PEM))?,
        Some(password) => {
            let pem = std::fs::read(&config.private_key_file)?;
            let key = named("private key", PKey::private_key_from_pem_passphrase(&pem, password.as_bytes()))?;
            named("private key", ctx.set_private_key(&key))?;
        }
    }
    named("private key", ctx.check_private_key())?;
    named("CA certificate", ctx.set_ca_file(&config.ca_cert_file))?;
    if let Some(file) = &config.dh_key_file {
        let dh = named("DH parameters", Dh::params_from_pem(&std::fs::read(file)?))?;
        named("DH parameters", ctx.set_tmp_dh(&dh))?;
    }
    if let Some(ciphers) = &config.cipher_suite {
        named("cipher list", ctx.set_cipher_list(ciphers))?;
    }
    Ok(ctx.build())
}

fn named<T>(what: &str, result: Result<T, openssl::error::ErrorStack>) -> io::Result<T> {
    result.map_err(|error| io::Error::other(format!("{what}: {error}")))
}

/// A connection in its handshake.
pub struct Handshake(SslStream<SocketTransport>);

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

/// What a handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Done,
    Read,
    Write,
}

impl Handshake {
    /// Begins on a plain connection.
    pub fn new(context: &SslContext, socket: SocketTransport) -> io::Result<Self> {
        Ok(Self(SslStream::new(Ssl::new(context)?, socket)?))
    }

    /// Goes on as far as the socket lets it. Costs a private-key operation: not for the host thread.
    pub fn step(&mut self) -> io::Result<Step> {
        match self.0.accept() {
            Ok(()) => Ok(Step::Done),
            Err(e) if e.code() == ErrorCode::WANT_READ => Ok(Step::Read),
            Err(e) if e.code() == ErrorCode::WANT_WRITE => Ok(Step::Write),
            Err(e) => Err(io::Error::other(format!("TLS handshake: {e}"))),
        }
    }

    /// The encrypted stream, after [`Step::Done`].
    #[must_use]
    pub fn finish(self) -> TlsTransport {
        TlsTransport { stream: self.0, record: Vec::new() }
    }
}

/// A TLS connection.
pub struct TlsTransport {
    stream: SslStream<SocketTransport>,
    record: Vec<u8>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Read for TlsTransport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf)
    }
}

impl Write for TlsTransport {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(first) = bufs.first().filter(|b| b.len() >= RECORD || bufs.len() == 1) {
            return self.stream.write(first);
        }
        // A write that blocked is repeated with the same bytes, and perhaps more behind them: so is OpenSSL's rule.
        self.record.clear();
        for buf in bufs {
            let room = RECORD.saturating_sub(self.record.len());
            self.record.extend_from_slice(buf.get(..buf.len().min(room)).unwrap_or_default());
        }
        self.stream.write(&self.record)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl AsFd for TlsTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

impl Transport for TlsTransport {
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.stream.get_ref().set_nodelay(nodelay)
    }

    fn kernel_queue(&self) -> Option<usize> {
        self.stream.get_ref().kernel_queue()
    }
}
