//! The security layer of SASL as a transport: every byte goes through it, in packets of some kilobytes.

use super::{SaslFault, SaslSession};
use crate::limits::{MAX_DATALESS_READS, MAX_SASL_BARREN};
use crate::net::link_estimate::KernelLink;
use crate::net::transport::Transport;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes read or gathered at a time, about one packet.
const PIECE: usize = 8192;

/// A connection inside of a SASL security layer.
pub(crate) struct SaslTransport {
    inner: Box<dyn Transport>,
    session: Box<dyn SaslSession>,
    ssf: u32,
    /// Unwrapped bytes, of which `taken` have been read.
    plain: Vec<u8>,
    taken: usize,
    /// Wrapped bytes since the last packet with data.
    barren: usize,
    /// The last read stopped early: the connection may have more.
    more: bool,
    /// Packets for the client, of which `sent` bytes are written.
    wrapped: Vec<u8>,
    sent: usize,
    gathered: Vec<u8>,
}

impl std::fmt::Debug for SaslTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaslTransport").field("ssf", &self.ssf).finish_non_exhaustive()
    }
}

fn broken(fault: &SaslFault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault.to_string())
}

impl SaslTransport {
    /// Puts the layer of a finished exchange around a connection. The connection must have no bytes left to write, and none of
    /// the client's packets may have been read.
    #[must_use]
    pub(crate) fn new(inner: Box<dyn Transport>, mut session: Box<dyn SaslSession>) -> Self {
        let ssf = session.ssf();
        Self {
            inner,
            session,
            ssf,
            plain: Vec::new(),
            taken: 0,
            barren: 0,
            more: false,
            wrapped: Vec::new(),
            sent: 0,
            gathered: Vec::new(),
        }
    }

    fn unread(&self) -> &[u8] {
        self.plain.get(self.taken..).unwrap_or_default()
    }

    /// Writes wrapped packets.
    fn write_wrapped(&mut self) -> io::Result<()> {
        while let Some(rest) = self.wrapped.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.inner.write(rest)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => self.sent += n,
            }
        }
        self.wrapped.clear();
        self.sent = 0;
        Ok(())
    }
}

impl Read for SaslTransport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.more = false;
        for _ in 0..MAX_DATALESS_READS {
            let n = self.unread().len().min(buf.len());
            if let (Some(to), Some(from)) = (buf.get_mut(..n), self.unread().get(..n).filter(|_| n > 0)) {
                to.copy_from_slice(from);
                self.taken += n;
                return Ok(n);
            }
            let mut piece = [0; PIECE];
            let n = self.inner.read(&mut piece)?;
            if n == 0 {
                return Ok(0);
            }
            self.plain.clear();
            self.taken = 0;
            let wrapped = piece.get(..n).unwrap_or_default();
            self.session.decode(wrapped, &mut self.plain).map_err(|fault| broken(&fault))?;
            self.barren = if self.plain.is_empty() { self.barren.saturating_add(n) } else { 0 };
            if self.barren > MAX_SASL_BARREN {
                return Err(broken(&SaslFault("packets without data".into())));
            }
        }
        self.more = true;
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for SaslTransport {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        // One packet at a time, so that a client that does not read costs no more than that.
        self.write_wrapped()?;
        let n = self.session.encode(buf, &mut self.wrapped).map_err(|fault| broken(&fault))?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        match self.write_wrapped() {
            // The packet is accepted; its rest goes with the next write or flush.
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(n),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.clear();
        for buf in bufs {
            let room = PIECE.saturating_sub(gathered.len());
            gathered.extend_from_slice(buf.get(..buf.len().min(room)).unwrap_or_default());
        }
        let result = self.write(&gathered);
        self.gathered = gathered;
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_wrapped()?;
        self.inner.flush()
    }
}

impl AsFd for SaslTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// Not a unix socket, whatever lies below: no descriptors can be passed beside the packets.
impl Transport for SaslTransport {
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.inner.set_nodelay(nodelay)
    }

    fn kernel_link(&self) -> Option<KernelLink> {
        self.inner.kernel_link()
    }

    fn kernel_queue(&self) -> Option<usize> {
        let ours = self.wrapped.len().saturating_sub(self.sent);
        self.inner.kernel_queue().map(|bytes| bytes.saturating_add(ours))
    }

    fn has_more(&self) -> bool {
        self.more || !self.unread().is_empty() || self.inner.has_more()
    }

    fn cipher_bits(&self) -> u32 {
        self.ssf
    }
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
