//! The encrypted stream.
//!
//! OpenSSL reads on inside one call for as long as records without data come: KeyUpdate messages, attempts to renegotiate,
//! empty records. A peer that sends them faster than they are read would keep the thread for ever. So OpenSSL reads
//! through [`Metered`], which pretends after a while that nothing more is there, and ends the connection when too much
//! came without a byte for us.

use super::files::reasons;
use crate::limits::{MAX_TLS_BARREN, MAX_TLS_READS};
use crate::net::link_estimate::KernelLink;
use crate::net::socket::SocketTransport;
use crate::net::transport::Transport;
use openssl::ssl::{self, ErrorCode, SslStream};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes of one record: messages are gathered up to it.
const RECORD: usize = 16 * 1024;

/// The socket under TLS, with a limit on how much OpenSSL reads from it.
pub(super) struct Metered {
    socket: SocketTransport,
    /// Reads that the present call of OpenSSL may still make.
    reads: u32,
    /// The present call would have read more.
    paused: bool,
    /// Bytes read since OpenSSL last had data for us.
    barren: usize,
    /// How many these may be.
    limit: usize,
}

impl Metered {
    pub(super) fn new(socket: SocketTransport, limit: usize) -> Self {
        Self { socket, reads: 0, paused: false, barren: 0, limit }
    }

    /// Begins a call of OpenSSL.
    pub(super) fn allow(&mut self, reads: u32) {
        self.reads = reads;
        self.paused = false;
    }
}

impl Read for Metered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.barren > self.limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many TLS records without data"));
        }
        let Some(reads) = self.reads.checked_sub(1) else {
            self.paused = true;
            return Err(io::ErrorKind::WouldBlock.into());
        };
        self.reads = reads;
        let n = self.socket.read(buf)?;
        self.barren = self.barren.saturating_add(n);
        Ok(n)
    }
}

impl Write for Metered {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// A TLS connection.
pub(crate) struct TlsTransport {
    stream: SslStream<Metered>,
    record: Vec<u8>,
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl TlsTransport {
    /// A stream whose handshake is complete.
    pub(super) fn new(mut stream: SslStream<Metered>) -> Self {
        let socket = stream.get_mut();
        (socket.barren, socket.limit) = (0, MAX_TLS_BARREN);
        Self { stream, record: Vec::new() }
    }
}

impl Read for TlsTransport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.stream.get_mut().allow(MAX_TLS_READS);
        match self.stream.ssl_read(buf) {
            Ok(n) => {
                self.stream.get_mut().barren = 0;
                Ok(n)
            }
            Err(e) if e.code() == ErrorCode::ZERO_RETURN => Ok(0),
            Err(e) if e.code() == ErrorCode::SYSCALL && e.io_error().is_none() => Ok(0),
            Err(e) if matches!(e.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(e) => Err(e.into_io_error().unwrap_or_else(|e| io::Error::other(describe(&e)))),
        }
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
        self.stream.get_ref().socket.as_fd()
    }
}

impl Transport for TlsTransport {
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.stream.get_ref().socket.set_nodelay(nodelay)
    }

    fn kernel_link(&self) -> Option<KernelLink> {
        self.stream.get_ref().socket.kernel_link()
    }

    fn kernel_queue(&self) -> Option<usize> {
        self.stream.get_ref().socket.kernel_queue()
    }

    fn has_more(&self) -> bool {
        self.stream.get_ref().paused || self.stream.ssl().pending() > 0
    }

    fn cipher_bits(&self) -> u32 {
        let bits = self.stream.ssl().current_cipher().map_or(0, |cipher| cipher.bits().secret);
        u32::try_from(bits).unwrap_or(0)
    }
}

/// An error of OpenSSL in a few words.
pub(super) fn describe(error: &ssl::Error) -> String {
    match (error.ssl_error(), error.io_error()) {
        (Some(errors), _) => reasons(errors),
        (None, Some(error)) => error.to_string(),
        (None, None) => "closed by the client".into(),
    }
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
