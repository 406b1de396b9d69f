//! The framed stream of one linked and authenticated channel (wire.md 2).
//!
//! Sending: [`ChannelStream::send`] only queues; [`ChannelStream::flush`] writes with gather writes until the queue is
//! empty or the socket is full. The queue has no limit of its own: the caller looks at [`ChannelStream::has_pending`] or
//! [`ChannelStream::pending_bytes`] before it makes another message, so that a client that stops reading costs little
//! memory.
//!
//! Receiving (`inbound.rs`): [`ChannelStream::receive`] returns one message per call; the caller calls it until it returns `None`,
//! since transports may hold decrypted bytes that no poll reports. The buffer of a body grows as bytes arrive, never ahead of
//! them by more than one read, and never beyond the bound of the message's type.

use super::ahead::ReadAhead;
use super::inbound::{FULL_HEADER_SIZE, Inbound};
pub(crate) use super::inbound::{Incoming, StreamError};
use super::link_estimate::KernelLink;
use super::transport::Transport;
use crate::limits::MAX_BYTES_PER_TURN;
use crate::protocol::body::{Message, Segment};
use crate::protocol::common::server::LIST;
use crate::protocol::writer::{Put, count32};
use crate::spare;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, RawFd};

/// A message to the client, with messages to be handled just before it (wire.md 2.2): with full headers they travel
/// inside it, with mini headers ahead of it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub message: Message,
    /// In handling order, WAIT_FOR_CHANNELS first.
    pub sub_messages: Vec<Message>,
}

impl From<Message> for Outgoing {
    fn from(message: Message) -> Self {
        Self { message, sub_messages: Vec::new() }
    }
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// All queued bytes are with the kernel.
    Drained,
    /// The socket is full: wait until it is writable.
    Blocked,
}

/// Buffers of one gather write; the kernel allows 1024.
const GATHER: usize = 64;
/// One channel of one client: what the server queues for it, and what the client sends.
pub struct ChannelStream {
    transport: ReadAhead,
    mini_header: bool,
    /// Serial of the last message sent.
    serial: u64,
    pending: VecDeque<Segment>,
    /// Bytes of the first pending segment that the kernel has already.
    front_sent: usize,
    pending_bytes: usize,
    own_message_too_long: bool,
    inbound: Inbound,
    bytes_sent: u64,
}

impl std::fmt::Debug for ChannelStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelStream")
            .field("fd", &self.raw_fd())
            .field("mini_header", &self.mini_header)
            .field("serial", &self.serial)
            .field("pending_bytes", &self.pending_bytes)
            .finish_non_exhaustive()
    }
}

impl ChannelStream {
    /// A stream at the start of the message stage.
    #[must_use]
    pub fn new(transport: Box<dyn Transport>, mini_header: bool) -> Self {
        Self {
            transport: ReadAhead::new(transport),
            mini_header,
            serial: 0,
            pending: VecDeque::new(),
            front_sent: 0,
            pending_bytes: 0,
            own_message_too_long: false,
            inbound: Inbound::new(mini_header),
            bytes_sent: 0,
        }
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.transport.raw_fd()
    }

    /// Whether the client is connected by a plain unix socket.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.transport.is_unix()
    }

    /// Whether both sides use the mini header.
    #[must_use]
    pub fn mini_header(&self) -> bool {
        self.mini_header
    }

    /// Serial of the last message sent, 0 before any. Sub-messages with full headers do not count.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Continues another stream's count (target of a seamless migration): the next message has `last` + 1.
    pub fn set_serial(&mut self, last: u64) {
        self.serial = last;
    }

    /// The serial that the carrier of the next [`Self::send`] gets.
    #[must_use]
    pub fn next_serial(&self, with_sub_messages: bool) -> u64 {
        self.serial.wrapping_add(if with_sub_messages && self.mini_header { 2 } else { 1 })
    }

    /// Whether queued bytes are not with the kernel yet.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.pending_bytes > 0
    }

    /// Number of queued bytes that are not with the kernel yet.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Bytes received since the start, for liveness.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.inbound.bytes_received()
    }

    /// Bytes given to the kernel since the start, for liveness.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Switches Nagle's algorithm off or on; errors do not matter.
    pub fn set_nodelay(&self, nodelay: bool) {
        let _ = self.transport.set_nodelay(nodelay);
    }

    /// Asks the network for low delay, for sound; errors do not matter.
    pub fn set_low_delay(&self) {
        super::socket::set_low_delay(&self.transport.as_fd());
    }

    /// Lets the kernel queue more than where new messages must not wait behind old ones; errors do not matter.
    pub fn set_bulk(&self) {
        super::socket::set_bulk(&self.transport.as_fd());
    }

    /// Bytes that wait in the kernel for the client, if that can be known.
    #[must_use]
    pub fn kernel_queue(&self) -> Option<usize> {
        self.transport.kernel_queue()
    }

    /// What the kernel knows of the connection, if it is one of TCP.
    #[must_use]
    pub fn kernel_link(&self) -> Option<KernelLink> {
        self.transport.kernel_link()
    }

    /// Throws away what the client has sent, up to what one turn reads.
    pub fn discard_input(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..MAX_BYTES_PER_TURN / buffer.len() {
            if !matches!(self.transport.read(&mut buffer), Ok(n) if n > 0) {
                return;
            }
        }
    }

    /// Sends the byte and descriptors that follow GL_SCANOUT_UNIX and GL_SCANOUT2_UNIX. Only right after a drained flush.
    pub fn send_fds(&mut self, fds: &[RawFd]) -> Result<(), StreamError> {
        Ok(self.transport.send_fds(b'@', fds)?)
    }

    /// Queues a message and returns its serial. Nothing is written before [`Self::flush`].
    pub fn send(&mut self, outgoing: impl Into<Outgoing>) -> u64 {
        let Outgoing { mut message, sub_messages } = outgoing.into();
        if sub_messages.is_empty() {
            return self.queue(message, 0);
        }
        if self.mini_header {
            let mut sub_messages = sub_messages;
            let ahead = match sub_messages.pop() {
                Some(only) if sub_messages.is_empty() => only,
                last => {
                    sub_messages.extend(last);
                    Message::new(LIST, sub_message_list(&sub_messages, 0, true))
                }
            };
            self.queue(ahead, 0);
            return self.queue(message, 0);
        }
        let base = message.body.len();
        let tail = sub_message_list(&sub_messages, base, false);
        let list_offset = (base + tail.len()).saturating_sub(2 + 4 * sub_messages.len());
        message.body.push(tail);
        self.queue(message, count32(list_offset))
    }

    fn queue(&mut self, message: Message, sub_list: u32) -> u64 {
        self.serial = self.serial.wrapping_add(1);
        let size = u32::try_from(message.body.len()).unwrap_or_else(|_| {
            self.own_message_too_long = true;
            u32::MAX
        });
        let mut header = Vec::with_capacity(FULL_HEADER_SIZE);
        if self.mini_header {
            header.u16(message.msg_type).u32(size);
        } else {
            header.u64(self.serial).u16(message.msg_type).u32(size).u32(sub_list);
        }
        // A short body goes into the header's buffer, so that most messages are one segment.
        let mut segments = message.body.into_segments().into_iter();
        let mut first = segments.next();
        if let Some(segment) = first.take_if(|s| s.len() <= 256) {
            header.put(segment.as_slice());
        }
        for segment in std::iter::once(Segment::Owned(header)).chain(first).chain(segments) {
            self.pending_bytes = self.pending_bytes.saturating_add(segment.len());
            self.pending.push_back(segment);
        }
        self.serial
    }

    /// Writes queued bytes until the queue is empty or the socket is full.
    pub fn flush(&mut self) -> Result<Flush, StreamError> {
        if self.own_message_too_long {
            return Err(StreamError::OwnMessageTooLong);
        }
        while self.pending_bytes > 0 {
            let mut slices = [IoSlice::new(&[]); GATHER];
            for (i, (slice, segment)) in slices.iter_mut().zip(&self.pending).enumerate() {
                let skip = if i == 0 { self.front_sent } else { 0 };
                *slice = IoSlice::new(segment.as_slice().get(skip..).unwrap_or_default());
            }
            let count = self.pending.len().min(GATHER);
            match self.transport.write_vectored(slices.get(..count).unwrap_or_default()) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(n) => self.consume(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flush::Blocked),
                Err(e) => return Err(e.into()),
            }
        }
        // TLS and SASL may hold bytes of their own.
        match self.transport.flush() {
            Ok(()) => Ok(Flush::Drained),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Flush::Blocked),
            Err(e) => Err(e.into()),
        }
    }

    fn consume(&mut self, written: usize) {
        self.bytes_sent = self.bytes_sent.wrapping_add(written as u64);
        self.pending_bytes = self.pending_bytes.saturating_sub(written);
        let mut left = written;
        while let Some(front) = self.pending.front() {
            let rest = front.len().saturating_sub(self.front_sent);
            if left < rest {
                self.front_sent += left;
                return;
            }
            left -= rest;
            self.front_sent = 0;
            if let Some(Segment::Owned(sent)) = self.pending.pop_front() {
                spare::give(sent);
            }
        }
    }

    /// Whether the caller must call [`Self::receive`] again soon although the poll reports nothing: it stopped so that other
    /// channels get their turn, a transport holds bytes, or the header of a message without a body is here already.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.inbound.has_more() || self.transport.has_more()
    }

    /// Says that the poll of the socket reports again what was not read, as the watches of hosts do. That saves calls of the kernel.
    pub fn poll_repeats(&mut self) {
        self.inbound.poll_repeats();
    }

    /// Begins a turn of reading: bytes may have come since the last message.
    pub fn begin_receiving(&mut self) {
        self.inbound.look_again();
    }

    /// The next message of the client. `None`: no complete message is there now, or the turn is over (see
    /// [`Self::has_more`]). `max_body` gives the bound for the body of a message type, `None` for types that the channel does
    /// not have. After an error the stream cannot be used.
    pub fn receive(
        &mut self,
        max_body: &dyn Fn(u16) -> Option<usize>,
    ) -> Result<Option<Incoming>, StreamError> {
        self.inbound.receive(&mut self.transport, max_body)
    }
}

/// Sub-messages and their list: the list first in a LIST message, last behind a carrier. The sub-messages stand in
/// reverse of handling order, as in the reference.
fn sub_message_list(subs: &[Message], base: usize, list_first: bool) -> Vec<u8> {
    let list_size = 2 + 4 * subs.len();
    let mut at = base + if list_first { list_size } else { 0 };
    let mut bytes = Vec::new();
    let mut offsets = Vec::new();
    for sub in subs.iter().rev() {
        offsets.push(count32(at));
        bytes.u16(sub.msg_type).u32(count32(sub.body.len()));
        for segment in sub.body.segments() {
            bytes.put(segment.as_slice());
        }
        at += 6 + sub.body.len();
    }
    let mut list = Vec::new();
    list.u16(u16::try_from(subs.len()).unwrap_or(u16::MAX));
    for &offset in offsets.iter().rev() {
        list.u32(offset);
    }
    if list_first {
        list.extend(bytes);
        list
    } else {
        bytes.extend(list);
        bytes
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
