//! A client in memory, for oracles. It checks that everything the server sends is framed.

use crate::channel::connection::{ChannelConnection, ClientId};
use crate::net::stream::ChannelStream;
use crate::net::transport::Transport;
use crate::protocol::{Caps, ChannelType};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Wire {
    input: VecDeque<u8>,
    output: Vec<u8>,
    /// Number of bytes that the socket still accepts.
    room: usize,
    closed: bool,
    gone: bool,
}

/// The client's end of a connection with mini headers.
#[derive(Clone, Debug, Default)]
pub struct MemoryPeer(Arc<Mutex<Wire>>);

/// The server's end of the connection.
struct MemoryTransport(MemoryPeer, bool, io::Stdin);

impl MemoryPeer {
    /// Both ends of a connection: the server's and the client's. The socket accepts everything at first. A
    /// local connection needs no pings.
    #[must_use]
    pub fn transport(local: bool) -> (Box<dyn Transport>, Self) {
        let peer = Self::default();
        peer.set_room(usize::MAX);
        (Box::new(MemoryTransport(peer.clone(), local, io::stdin())), peer)
    }

    /// A linked connection whose client has the capabilities `caps`. The socket accepts everything at first.
    #[must_use]
    pub fn connect(
        channel_type: ChannelType,
        client: ClientId,
        caps: u32,
        low: bool,
    ) -> (ChannelConnection, Self) {
        let (transport, peer) = Self::transport(false);
        let stream = ChannelStream::new(transport, true);
        let mut connection = ChannelConnection::detached(stream, channel_type, client);
        connection.channel_caps = Caps::from_words(vec![caps]);
        connection.low_bandwidth = low;
        (connection, peer)
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends bytes to the server.
    pub fn send_bytes(&self, bytes: &[u8]) {
        self.wire().input.extend(bytes);
    }

    /// Sends a message with its header.
    pub fn send(&self, msg_type: u16, body: &[u8]) {
        self.send_bytes(&msg_type.to_le_bytes());
        self.send_bytes(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.send_bytes(body);
    }

    /// Sets how many more bytes the socket accepts.
    pub fn set_room(&self, bytes: usize) {
        self.wire().room = bytes;
    }

    /// Closes the client's end.
    pub fn close(&self) {
        self.wire().closed = true;
    }

    /// Whether the server has dropped the connection.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.wire().gone
    }

    /// Takes the complete messages that have arrived: type and body.
    ///
    /// # Panics
    /// If the stream is not framed: the server sends no message of such a length.
    pub fn take_messages(&self, mut each: impl FnMut(u16, &[u8])) {
        let output = std::mem::take(&mut self.wire().output);
        let mut rest = &*output;
        while let Some((&[t0, t1, s0, s1, s2, s3], tail)) = rest.split_first_chunk() {
            let size = u32::from_le_bytes([s0, s1, s2, s3]);
            assert!(size < 1 << 26, "message of {size} bytes");
            let Some((body, tail)) = usize::try_from(size).ok().and_then(|size| tail.split_at_checked(size))
            else {
                break;
            };
            each(u16::from_le_bytes([t0, t1]), body);
            rest = tail;
        }
        if !rest.is_empty() {
            self.wire().output = rest.to_vec();
        }
    }
}

impl Read for MemoryTransport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.wire();
        match wire.input.read(buf)? {
            0 if wire.closed => Ok(0),
            0 => Err(ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for MemoryTransport {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.wire();
        if wire.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let taken = buf.len().min(wire.room);
        if taken == 0 && !buf.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.room -= taken;
        wire.output.extend_from_slice(buf.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.0.wire().gone = true;
    }
}

impl AsFd for MemoryTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.2.as_fd()
    }
}

impl Transport for MemoryTransport {
    fn is_unix(&self) -> bool {
        self.1
    }
}
