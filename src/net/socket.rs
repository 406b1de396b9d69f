//! A plain socket as a transport.

use super::stream::Transport;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockaddrLike, SockaddrStorage, UnixAddr, getpeername, recv,
    sendmsg, setsockopt, sockopt,
};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A connected stream socket, TCP or unix, set non-blocking. Writing to a closed peer is an error, never a signal.
#[derive(Debug)]
pub struct SocketTransport {
    fd: OwnedFd,
    unix: bool,
}

impl SocketTransport {
    /// Takes over a connected socket and makes it non-blocking.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Self::try_new(fd).map_err(|(_, error)| error)
    }

    /// The same; on failure the socket is given back.
    pub fn try_new(fd: OwnedFd) -> Result<Self, (OwnedFd, io::Error)> {
        match Self::set_nonblocking(&fd) {
            Ok(unix) => Ok(Self { fd, unix }),
            Err(error) => Err((fd, error.into())),
        }
    }

    fn set_nonblocking(fd: &OwnedFd) -> nix::Result<bool> {
        let unix = getpeername::<SockaddrStorage>(fd.as_raw_fd())
            .is_ok_and(|peer| peer.family() == Some(AddressFamily::Unix));
        let flags =
            nix::fcntl::OFlag::from_bits_retain(nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL)?);
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(flags | nix::fcntl::OFlag::O_NONBLOCK))?;
        Ok(unix)
    }
}

impl Read for SocketTransport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.fd.as_raw_fd(), buf, MsgFlags::empty())?)
    }
}

impl Write for SocketTransport {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(sendmsg(self.fd.as_raw_fd(), bufs, &[], MsgFlags::MSG_NOSIGNAL, None::<&UnixAddr>)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for SocketTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Transport for SocketTransport {
    fn is_unix(&self) -> bool {
        self.unix
    }

    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        if !self.unix {
            setsockopt(&self.fd, sockopt::TcpNoDelay, &nodelay)?;
        }
        Ok(())
    }

    fn send_fd(&mut self, byte: u8, fd: Option<RawFd>) -> io::Result<()> {
        let fds: Vec<RawFd> = fd.into_iter().collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights[..] };
        sendmsg(
            self.fd.as_raw_fd(),
            &[IoSlice::new(&[byte])],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None::<&UnixAddr>,
        )?;
        Ok(())
    }
}
