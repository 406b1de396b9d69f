//! Reading ahead: a client's messages are often smaller than what one call of the kernel could bring. Small reads, which are of
//! headers and short bodies, take what is there into a buffer; large ones go past it once it is empty.

use super::link_estimate::KernelLink;
use super::transport::Transport;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

/// Bytes read ahead at most. A message of this size is worth a call of its own.
const ROOM: usize = 4096;

/// A transport that is read ahead of.
pub(super) struct ReadAhead {
    below: Box<dyn Transport>,
    /// Empty until the first small read.
    room: Vec<u8>,
    unread: Range<usize>,
    /// The last read was a large one. Then the header of another long message probably follows, and what would be read ahead is
    /// the beginning of its body, which would have to be copied.
    was_large: bool,
}

impl ReadAhead {
    pub(super) fn new(below: Box<dyn Transport>) -> Self {
        Self { below, room: Vec::new(), unread: 0..0, was_large: false }
    }

    /// Bytes of memory that wait for the next read.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.room.capacity()
    }

    /// Takes bytes back, of those that were read last. They are read again before all others.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        self.room.splice(..self.unread.start, bytes.iter().copied());
        self.unread = 0..self.unread.len() + bytes.len();
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            let is_large = buf.len() >= ROOM;
            if is_large || std::mem::take(&mut self.was_large) {
                let count = self.below.read(buf)?;
                self.was_large = is_large;
                return Ok(count);
            }
            self.room.resize(ROOM, 0);
            self.unread = 0..self.below.read(&mut self.room)?;
        }
        let mut ready = self.room.get(self.unread.clone()).unwrap_or_default();
        let count = ready.read(buf)?;
        self.unread.start += count;
        if self.unread.is_empty() && self.room.len() > ROOM {
            // Bytes that were put back made it long. A client that says no more must not hold that.
            self.room = Vec::new();
        }
        Ok(count)
    }

    /// Fills the buffers from the socket, past those of this reader, if nothing was read ahead. Otherwise fills only the first.
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if !self.unread.is_empty() {
            return bufs.iter_mut().find(|buf| !buf.is_empty()).map_or(Ok(0), |buf| self.read(buf));
        }
        let count = self.below.read_vectored(bufs)?;
        self.was_large = count >= ROOM;
        Ok(count)
    }
}

impl Write for ReadAhead {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.below.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.below.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.below.flush()
    }
}

impl AsFd for ReadAhead {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.below.as_fd()
    }
}

impl Transport for ReadAhead {
    fn raw_fd(&self) -> RawFd {
        self.below.raw_fd()
    }

    fn is_unix(&self) -> bool {
        self.below.is_unix()
    }

    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.below.set_nodelay(nodelay)
    }

    fn send_fds(&mut self, byte: u8, fds: &[RawFd]) -> io::Result<()> {
        self.below.send_fds(byte, fds)
    }

    fn kernel_queue(&self) -> Option<usize> {
        self.below.kernel_queue()
    }

    fn kernel_link(&self) -> Option<KernelLink> {
        self.below.kernel_link()
    }

    fn is_drained(&self) -> bool {
        self.unread.is_empty() && self.below.is_drained()
    }

    fn has_more(&self) -> bool {
        !self.unread.is_empty() || self.below.has_more()
    }

    fn cipher_bits(&self) -> u32 {
        self.below.cipher_bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket::SocketTransport;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_come_in_order_whatever_is_asked_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ahead = ReadAhead::new(Box::new(SocketTransport::new(ours.into()).unwrap()));
        let sent: Vec<u8> = (0..20_000u32).map(|i| (i * 7 / 8) as u8).collect();
        theirs.write_all(&sent).unwrap();
        let mut got = Vec::new();
        for size in [6, 1, 4096, 100, 8000, 4095, 2, 20_000] {
            let mut buf = vec![0; size];
            let count = ahead.read(&mut buf).unwrap();
            assert!(count > 0, "it waits though bytes are there");
            got.extend_from_slice(&buf[..count]);
        }
        assert_eq!(got, sent[..got.len()]);
        while got.len() < sent.len() {
            let mut buf = [0; 6];
            let count = ahead.read(&mut buf).unwrap();
            got.extend_from_slice(&buf[..count]);
            let in_buffer = ahead.unread.len();
            assert_eq!(ahead.has_more(), in_buffer > 0);
        }
        assert_eq!(got, sent);
        assert!(!ahead.has_more());
        assert_eq!(ahead.read(&mut [0; 6]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        assert_eq!(ahead.read(&mut [0; 6]).unwrap(), 0, "the end is seen");
    }

    #[test]
    fn nothing_is_read_ahead_of_a_header_among_long_messages() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ahead = ReadAhead::new(Box::new(SocketTransport::new(ours.into()).unwrap()));
        theirs.write_all(&[7; 20_000]).unwrap();
        assert_eq!(ahead.read(&mut [0; ROOM]).unwrap(), ROOM);
        assert_eq!((ahead.read(&mut [0; 6]).unwrap(), ahead.has_more()), (6, false));
        // A short body: the messages are short again.
        assert_eq!((ahead.read(&mut [0; 6]).unwrap(), ahead.has_more()), (6, true));
    }
}
