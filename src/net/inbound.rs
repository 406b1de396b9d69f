//! The receiving half of a channel's stream (wire.md 2): headers and bodies from the bytes of a client.
//!
//! A client that sends much sends messages of one size, one after the other. So the read that brings the end of a long body takes
//! the next header along, and a header after a long body is read together with a body as long as that one. What such a read
//! brings too much goes back to [`ReadAhead`]. A long message then costs one call of the kernel.

use super::ahead::ReadAhead;
use super::transport::Transport;
use crate::limits::MAX_BYTES_PER_TURN;
use crate::memory::has_room;
use crate::spare;
use std::io::{self, IoSliceMut, Read};
use thiserror::Error;

const MINI_HEADER_SIZE: usize = 6;
/// Bytes of a header for clients without mini headers.
pub(super) const FULL_HEADER_SIZE: usize = 18;
/// Growth of a body buffer per read.
pub(super) const READ_STEP: usize = 64 * 1024;
/// The shortest body after which the next one is expected to be as long.
const LONG: usize = 32 * 1024;
/// Bytes that a read of fewer counts as: a client that sends single bytes costs us a system call for each.
pub(super) const LEAST_READ_COST: usize = 64;

/// Why a stream ended.
#[derive(Debug, Error)]
pub enum StreamError {
    #[error("closed by the client")]
    Closed,
    #[error("message type {msg_type} with {size} bytes, at most {limit} are allowed")]
    TooLong { msg_type: u16, size: u32, limit: usize },
    #[error("message type {0} is not known on this channel")]
    UnknownType(u16),
    #[error("a message of ours is longer than the protocol can say")]
    OwnMessageTooLong,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A message of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    pub msg_type: u16,
    pub body: Vec<u8>,
}

/// Bytes that one turn of reading may still take. The budget is full again when the socket is empty, and for the call after
/// it was used up.
struct ReadTurn {
    left: usize,
    used_up: bool,
}

impl Default for ReadTurn {
    fn default() -> Self {
        Self { left: MAX_BYTES_PER_TURN, used_up: false }
    }
}

impl ReadTurn {
    /// Reads once. 0: nothing is there, or the turn is over. End of file is an error.
    fn read(&mut self, mut read: impl FnMut() -> io::Result<usize>) -> Result<usize, StreamError> {
        if self.left == 0 {
            self.used_up = true;
            return Ok(0);
        }
        loop {
            match read() {
                Ok(0) => return Err(StreamError::Closed),
                Ok(n) => {
                    self.left = self.left.saturating_sub(n.max(LEAST_READ_COST));
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    *self = Self::default();
                    return Ok(0);
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(StreamError::Closed),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

struct BodyInProgress {
    msg_type: u16,
    size: usize,
    bytes: Vec<u8>,
    filled: usize,
}

/// Reads the messages of one client.
pub(super) struct Inbound {
    header_size: usize,
    header: [u8; FULL_HEADER_SIZE],
    header_filled: usize,
    body: Option<BodyInProgress>,
    turn: ReadTurn,
    /// The size of the next body if it is like the last, which was long; 0: unknown.
    expected: usize,
    /// The poll of the socket reports again what was not read.
    repeats: bool,
    /// The last message took all that the socket had, and the poll tells when there is more.
    drained: bool,
    bytes_received: u64,
}

impl Inbound {
    /// The state at the start of the message stage.
    pub(super) fn new(mini_header: bool) -> Self {
        Self {
            header_size: if mini_header { MINI_HEADER_SIZE } else { FULL_HEADER_SIZE },
            header: [0; FULL_HEADER_SIZE],
            header_filled: 0,
            body: None,
            turn: ReadTurn::default(),
            expected: 0,
            repeats: false,
            drained: false,
            bytes_received: 0,
        }
    }

    /// Bytes read so far.
    pub(super) fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// Whether the turn is over, or the header of a message without a body is here already.
    pub(super) fn has_more(&self) -> bool {
        self.turn.used_up || (self.body.is_none() && self.header_filled == self.header_size)
    }

    /// Says that the poll of the socket reports again what was not read. After a message that took all that the socket had, the
    /// reader then does not ask it for more. An edge-triggered poll would never report the end of a connection that the client
    /// shut down right behind the message.
    pub(super) fn poll_repeats(&mut self) {
        self.repeats = true;
    }

    /// Looks at the socket again, even if the last message took all that it had.
    pub(super) fn look_again(&mut self) {
        self.drained = false;
    }

    /// The next message. `None`: no complete message is there now, or the turn is over.
    pub(super) fn receive(
        &mut self,
        transport: &mut ReadAhead,
        max_body: &dyn Fn(u16) -> Option<usize>,
    ) -> Result<Option<Incoming>, StreamError> {
        if self.turn.used_up {
            self.turn = ReadTurn::default();
        }
        if std::mem::take(&mut self.drained) {
            self.turn = ReadTurn::default();
            return Ok(None);
        }
        loop {
            if self.body.is_none() && !self.receive_header(transport, max_body)? {
                return Ok(None);
            }
            let Some(body) = &mut self.body else { continue };
            while body.filled < body.size {
                if body.filled == body.bytes.len() {
                    let left = body.size - body.filled;
                    let step = body.filled.max(READ_STEP).min(left);
                    let length = body.filled + step + if step == left { self.header_size } else { 0 };
                    match body.filled {
                        0 => body.bytes = spare::take(length),
                        _ if !has_room(length) => {
                            return Err(io::Error::from(io::ErrorKind::OutOfMemory).into());
                        }
                        _ => body.bytes.resize(length, 0),
                    }
                }
                let room = body.bytes.get_mut(body.filled..).unwrap_or_default();
                let room = match room.len() {
                    ..=MAX_BYTES_PER_TURN => room,
                    _ => room.get_mut(..MAX_BYTES_PER_TURN).unwrap_or_default(),
                };
                match self.turn.read(|| transport.read(room))? {
                    0 => return Ok(None),
                    n => {
                        body.filled += n;
                        self.bytes_received = self.bytes_received.wrapping_add(n as u64);
                    }
                }
            }
            if let Some(mut done) = self.body.take() {
                let next = done.bytes.get(done.size..done.filled).unwrap_or_default();
                self.header[..next.len()].copy_from_slice(next);
                self.header_filled = next.len();
                self.drained = self.repeats && next.is_empty() && transport.is_drained();
                self.expected = if done.size >= LONG { done.size.min(READ_STEP) } else { 0 };
                done.bytes.truncate(done.size);
                return Ok(Some(Incoming { msg_type: done.msg_type, body: done.bytes }));
            }
        }
    }

    /// Reads the rest of the header. True: it is complete, and its body was begun.
    fn receive_header(
        &mut self,
        transport: &mut ReadAhead,
        max_body: &dyn Fn(u16) -> Option<usize>,
    ) -> Result<bool, StreamError> {
        let mut bytes = Vec::new();
        let mut filled = 0;
        while self.header_filled < self.header_size {
            let header = &mut self.header[self.header_filled..self.header_size];
            let missing = header.len();
            let n = match self.expected {
                0 => self.turn.read(|| transport.read(header))?,
                expected => {
                    bytes = spare::take(expected + self.header_size);
                    let both = || {
                        transport.read_vectored(&mut [IoSliceMut::new(header), IoSliceMut::new(&mut bytes)])
                    };
                    self.turn.read(both)?
                }
            };
            if n == 0 {
                spare::give(bytes);
                return Ok(false);
            }
            self.expected = 0;
            self.header_filled += n.min(missing);
            filled = n.saturating_sub(missing);
            self.bytes_received = self.bytes_received.wrapping_add(n as u64);
        }
        // The serial and the sub-message list of client messages are ignored (wire.md 2.1).
        let at = if self.header_size == MINI_HEADER_SIZE { 0 } else { 8 };
        let h = &self.header;
        let msg_type = u16::from_le_bytes([h[at], h[at + 1]]);
        let size = u32::from_le_bytes([h[at + 2], h[at + 3], h[at + 4], h[at + 5]]);
        let limit = max_body(msg_type).ok_or(StreamError::UnknownType(msg_type))?;
        let bounded = usize::try_from(size).ok().filter(|&s| s <= limit);
        let size = bounded.ok_or(StreamError::TooLong { msg_type, size, limit })?;
        // What is behind the body and the next header belongs to later messages.
        let most = size + self.header_size;
        if filled > most {
            transport.put_back(bytes.get(most..filled).unwrap_or_default());
            self.bytes_received = self.bytes_received.wrapping_sub((filled - most) as u64);
            filled = most;
        }
        if filled == 0 || most < LONG {
            // A short message must not hold a long buffer, which may wait in a queue.
            let kept = bytes.get(..filled).unwrap_or_default().to_vec();
            spare::give(std::mem::replace(&mut bytes, kept));
        } else {
            bytes.truncate(most);
        }
        self.body = Some(BodyInProgress { msg_type, size, bytes, filled });
        Ok(true)
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
