//! A plain socket as a transport.

use super::link_estimate::KernelLink;
use super::transport::Transport;
use crate::limits::MAX_UNSENT;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockaddrLike, SockaddrStorage, UnixAddr, getpeername,
    getsockopt, recv, sendmsg, setsockopt, sockopt,
};
use nix::sys::uio::readv;
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

sockopt_impl!(
    /// Unsent bytes at which the kernel takes no more from us.
    UnsentLowWater, Both, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, u32
);
sockopt_impl!(
    /// The kernel's memory accounts of a socket; see [`QUEUED`].
    MemoryInfo, GetOnly, libc::SOL_SOCKET, libc::SO_MEMINFO, [u32; 9]
);
sockopt_impl!(
    /// The kernel's account of a TCP connection: the first part of `struct tcp_info`, as words. See [`tcp_info`].
    TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, [u32; 42]
);

/// Positions in `struct tcp_info` (linux/tcp.h), in words of four bytes.
mod tcp_info {
    pub(super) const SEGMENT_BYTES: usize = 4;
    pub(super) const UNACKNOWLEDGED_SEGMENTS: usize = 6;
    pub(super) const UNSENT_BYTES: usize = 36;
    pub(super) const LEAST_ROUND_TRIP_US: usize = 37;
    /// Two words, the low one first on little-endian machines.
    pub(super) const DELIVERY_RATE: usize = 40;
}

/// SK_MEMINFO_WMEM_QUEUED: bytes in the send queue, sent or not, that the peer has not acknowledged.
const QUEUED: usize = 5;

/// Bounds the bytes that the kernel holds unsent for a client on TCP: they are the screen's past, which a slow client would
/// have to receive before anything new.
pub(super) fn set_unsent_limit(fd: &OwnedFd) -> nix::Result<()> {
    setsockopt(fd, UnsentLowWater, &MAX_UNSENT)
}

/// Lets the kernel hold as much unsent data as its buffers take: throughput counts more than the delay of what is sent later.
/// Unix sockets have no such option, so errors do not matter.
pub(super) fn set_bulk(socket: &impl AsFd) {
    let _ = setsockopt(socket, UnsentLowWater, &u32::MAX);
}

/// Asks the network for low delay. Unix sockets have no such option and networks may ignore it, so errors do not matter.
pub(super) fn set_low_delay(socket: &impl AsFd) {
    const PRIORITY: i32 = 6;
    let _ = setsockopt(socket, sockopt::Priority, &PRIORITY);
    let _ = setsockopt(socket, sockopt::Ipv4Tos, &i32::from(libc::IPTOS_LOWDELAY));
    let _ = setsockopt(socket, sockopt::Ipv6TClass, &i32::from(libc::IPTOS_LOWDELAY));
}

/// A connected stream socket, TCP or unix, set non-blocking. Writing to a closed peer is an error, never a signal.
#[derive(Debug)]
pub(crate) struct SocketTransport {
    fd: OwnedFd,
    unix: bool,
    /// The last read brought less than it asked for.
    drained: bool,
}

impl SocketTransport {
    /// Takes over a connected socket and makes it non-blocking.
    #[cfg(any(test, feature = "oracles"))]
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Self::try_new(fd).map_err(|(_, error)| error)
    }

    /// Takes over a connected socket and makes it non-blocking. Gives the socket back on failure.
    pub(crate) fn try_new(fd: OwnedFd) -> Result<Self, (OwnedFd, io::Error)> {
        match Self::set_nonblocking(&fd) {
            Ok(unix) => Ok(Self { fd, unix, drained: false }),
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
        let count = recv(self.fd.as_raw_fd(), buf, MsgFlags::empty())?;
        self.drained = count < buf.len();
        Ok(count)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = readv(&self.fd, bufs)?;
        self.drained = count < bufs.iter().map(|buf| buf.len()).sum();
        Ok(count)
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

    fn is_drained(&self) -> bool {
        self.drained
    }

    fn kernel_queue(&self) -> Option<usize> {
        let info = getsockopt(&self.fd, MemoryInfo).ok()?;
        usize::try_from(*info.get(QUEUED)?).ok()
    }

    fn kernel_link(&self) -> Option<KernelLink> {
        let info = if self.unix { return None } else { getsockopt(&self.fd, TcpInfo).ok()? };
        let word = |at: usize| info.get(at).map(|&word| u64::from(word));
        let rate = [info.get(tcp_info::DELIVERY_RATE)?, info.get(tcp_info::DELIVERY_RATE + 1)?];
        let [a, b] = rate.map(|word| word.to_ne_bytes());
        Some(KernelLink {
            unsent: word(tcp_info::UNSENT_BYTES)?,
            unacknowledged: word(tcp_info::UNACKNOWLEDGED_SEGMENTS)? * word(tcp_info::SEGMENT_BYTES)?,
            delivery_rate: u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]),
            round_trip: Duration::from_micros(word(tcp_info::LEAST_ROUND_TRIP_US)?),
        })
    }

    fn send_fds(&mut self, byte: u8, fds: &[RawFd]) -> io::Result<()> {
        let rights = [ControlMessage::ScmRights(fds)];
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (SocketTransport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let fd: OwnedFd = listener.accept().unwrap().0.into();
        crate::net::listener::set_connection_options(&fd);
        (SocketTransport::new(fd).unwrap(), peer)
    }

    #[test]
    fn kernel_queue_is_what_the_peer_has_not_acknowledged() {
        let (mut ours, mut peer) = pair();
        assert_eq!(ours.kernel_queue(), Some(0));
        while ours.write(&[7; 60_000]).is_ok() {}
        assert!(ours.kernel_queue().unwrap() > 0);
        peer.set_nonblocking(true).unwrap();
        while ours.kernel_queue() != Some(0) {
            let _ = peer.read(&mut [0; 60_000]);
        }
    }

    #[test]
    fn the_kernel_knows_what_is_unsent_and_how_fast_the_peer_reads() {
        let (mut ours, mut peer) = pair();
        while ours.write(&[7; 60_000]).is_ok() {}
        let link = ours.kernel_link().unwrap();
        assert!(link.unsent > 0, "{link:?}");
        peer.set_nonblocking(true).unwrap();
        while ours.kernel_queue() != Some(0) {
            let _ = peer.read(&mut [0; 60_000]);
        }
        let link = ours.kernel_link().unwrap();
        assert_eq!((link.unsent, link.unacknowledged), (0, 0));
        assert!(link.delivery_rate > 0 && link.round_trip < Duration::from_secs(60), "{link:?}");
    }

    #[test]
    fn a_peer_that_does_not_read_costs_the_kernel_little() {
        let (mut ours, peer) = pair();
        nix::sys::socket::setsockopt(&peer, sockopt::RcvBuf, &16_384).unwrap();
        let mut written = 0;
        while let Ok(n) = ours.write(&[7; 60_000]) {
            written += n;
        }
        // The peer's buffer, the limit, and what one write may exceed it by. The kernel's own bound would be megabytes.
        assert!(written < 1 << 20, "{written} bytes");
        assert!(written >= 64 << 10, "{written} bytes");
    }
}
