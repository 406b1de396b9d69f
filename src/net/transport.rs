//! What carries the bytes of a connection.

use super::link_estimate::KernelLink;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// The bytes under a channel: a plain socket, or TLS, SASL or WebSocket over one. Non-blocking: reads and writes
/// that cannot go on fail with `WouldBlock`.
pub trait Transport: Read + Write + AsFd + Send {
    /// The descriptor to poll.
    fn raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }

    /// Whether this is a plain unix socket: no pings, uncompressed images, descriptor passing.
    fn is_unix(&self) -> bool {
        false
    }

    /// Switches Nagle's algorithm off or on where there is one.
    fn set_nodelay(&self, _nodelay: bool) -> io::Result<()> {
        Ok(())
    }

    /// Sends one byte with descriptors (or none) beside the stream (wire.md 5.10). Only plain unix sockets can.
    fn send_fds(&mut self, _byte: u8, _fds: &[RawFd]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Bytes that wait in the kernel for the peer, if that can be known.
    fn kernel_queue(&self) -> Option<usize> {
        None
    }

    /// What the kernel knows of the connection, if it is one of TCP.
    fn kernel_link(&self) -> Option<KernelLink> {
        None
    }

    /// Whether bytes may be there that no poll of the descriptor reports: the transport read them already, or the last read
    /// ended with `WouldBlock` because its turn was over. The caller then reads again soon without waiting for the poll.
    fn has_more(&self) -> bool {
        false
    }

    /// Whether the last read took all that was there, so that the next one would wait. `false` says nothing.
    fn is_drained(&self) -> bool {
        false
    }

    /// Bits of the key that encrypts the connection; 0: it is not encrypted.
    fn cipher_bits(&self) -> u32 {
        0
    }
}
