//! A client for tests: the other end of a connection, without a protocol library of its own.

use super::Channel;
use super::connection::{ChannelConnection, ClientId, ConnectionId};
use super::out::Said;
use super::served::Served;
use crate::host::CharDevice;
use crate::net::socket::SocketTransport;
use crate::net::stream::ChannelStream;
use crate::protocol::ChannelType;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// The client's end; both kinds of socket are non-blocking.
pub(crate) enum Peer {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Peer {
    /// A connection over a plain unix socket, with mini headers.
    pub(crate) fn unix(channel_type: ChannelType, client: ClientId) -> (ChannelConnection, Self) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let stream = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
        (ChannelConnection::detached(stream, channel_type, client), Self::Unix(theirs))
    }

    /// A connection over TCP, with mini headers.
    pub(crate) fn tcp(channel_type: ChannelType, client: ClientId) -> (ChannelConnection, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        theirs.set_nodelay(true).unwrap();
        let stream = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
        (ChannelConnection::detached(stream, channel_type, client), Self::Tcp(theirs))
    }

    fn io(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Unix(socket) => socket,
            Self::Tcp(socket) => socket,
        }
    }

    pub(crate) fn send(&mut self, msg_type: u16, body: &[u8]) {
        let mut bytes = msg_type.to_le_bytes().to_vec();
        bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend(body);
        self.io().write_all(&bytes).unwrap();
    }

    /// Waits for exactly so many bytes.
    fn read_exactly(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        let mut filled = 0;
        while filled < size {
            match self.io().read(&mut bytes[filled..]) {
                Ok(0) => panic!("closed by the server"),
                Ok(n) => filled += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(e) => panic!("{e}"),
            }
        }
        bytes
    }

    /// Waits for the next message.
    pub(crate) fn expect(&mut self) -> (u16, Vec<u8>) {
        let header = self.read_exactly(6);
        let size = u32::from_le_bytes(header[2..6].try_into().unwrap());
        (u16::from_le_bytes([header[0], header[1]]), self.read_exactly(size as usize))
    }

    /// Waits for so many messages and returns their types.
    pub(crate) fn expect_types(&mut self, count: usize) -> Vec<u16> {
        (0..count).map(|_| self.expect().0).collect()
    }

    /// Whether no byte is there now. Unix sockets only: there bytes arrive at once.
    pub(crate) fn is_silent(&self) -> bool {
        let Self::Unix(socket) = self else { panic!("cannot be told of TCP") };
        let mut byte = [0; 1];
        let peeked =
            nix::sys::socket::recv(socket.as_raw_fd(), &mut byte, nix::sys::socket::MsgFlags::MSG_PEEK);
        peeked == Err(nix::errno::Errno::EAGAIN)
    }

    /// Waits until the server closes, whatever comes before.
    pub(crate) fn wait_for_close(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.io().read(&mut buffer) {
                Ok(0) => return,
                Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

/// A device for what only makes calls of it: they are data, which the test answers.
pub(crate) struct Untouched;

impl CharDevice for Untouched {
    fn state(&self, _connected: bool) {
        unreachable!()
    }
    fn write(&self, _bytes: &[u8]) -> usize {
        unreachable!()
    }
    fn read(&self, _buffer: &mut [u8]) -> usize {
        unreachable!()
    }
    fn event(&self, _event: u8) {
        unreachable!()
    }
    fn tells_when_writable(&self) -> bool {
        true
    }
}

/// A channel with one client, whose link awaits the state that it had elsewhere.
pub(crate) fn arrival<C: Channel>(channel: C, at: ConnectionId) -> (Served<C>, Peer, Said) {
    let (mut connection, peer) = Peer::unix(channel.profile().channel_type, ClientId(1));
    connection.migration_target = true;
    let (mut served, mut said) = (Served::new(Box::new(channel)), Said::default());
    served.attach(at, connection, Instant::now(), &mut said);
    (served, peer, said)
}

/// The bytes that a hexadecimal text names; blanks do not count.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}
