//! Puts the messages of a guest together from the pieces in which they come.

use crate::limits::DEVICE_READ;
use crate::protocol::stream_device::{HEADER_SIZE, Header, StreamMessage, Violation};
use std::time::Instant;

/// A complete message.
#[derive(Debug)]
pub(super) struct Parsed {
    pub message: StreamMessage,
    /// When its header was complete.
    pub began: Instant,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    BetweenMessages,
    Body(Header, Instant),
    /// The guest broke the protocol.
    Failed,
}

/// A parser of the messages of one streaming device, which keeps what is incomplete.
#[derive(Debug, Default)]
pub(super) struct Parser {
    state: State,
    /// Bytes of the header or the body so far.
    part: Vec<u8>,
}

impl Parser {
    /// How many bytes to read next: never more than belong to the present header or body.
    #[must_use]
    pub(super) fn wants(&self) -> usize {
        let missing = match &self.state {
            State::BetweenMessages => HEADER_SIZE.saturating_sub(self.part.len()),
            State::Body(header, _) => header.size.saturating_sub(self.part.len()),
            State::Failed => DEVICE_READ,
        };
        missing.min(DEVICE_READ)
    }

    /// Whether the guest broke the protocol: what it says is ignored.
    #[must_use]
    pub(super) fn is_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// Takes at most [`Self::wants`] bytes, and gives the message that they complete. A violation is told once.
    pub(super) fn feed(&mut self, bytes: Vec<u8>, now: Instant) -> Result<Option<Parsed>, Violation> {
        if self.is_failed() {
            return Ok(None);
        }
        let parsed = self.advance(bytes, now);
        if parsed.is_err() {
            *self = Self { state: State::Failed, part: Vec::new() };
        }
        parsed
    }

    fn advance(&mut self, bytes: Vec<u8>, now: Instant) -> Result<Option<Parsed>, Violation> {
        if self.part.is_empty() {
            self.part = bytes;
        } else {
            // Grows as bytes arrive, not to what the guest announced.
            self.part.try_reserve(bytes.len()).map_err(|_| Violation::Other)?;
            self.part.extend_from_slice(&bytes);
        }
        if let (State::BetweenMessages, Some(header)) = (&self.state, self.part.first_chunk()) {
            self.state = State::Body(Header::decode(*header)?, now);
            self.part.clear();
        }
        match self.state {
            State::Body(header, began) if self.part.len() >= header.size => {
                self.state = State::BetweenMessages;
                let message = StreamMessage::decode(header, std::mem::take(&mut self.part))?;
                Ok(Some(Parsed { message, began }))
            }
            _ => Ok(None),
        }
    }
}
