//! Decides which messages pass between clients and the guest agent (server.md 8.3), by the first piece of each message.

use super::AgentError;
use crate::protocol::agent::{MAX_PIECE, MESSAGE_HEADER_SIZE, MessageHeader, PROTOCOL, message};

/// The host's permissions, and who receives monitors configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub copy_paste: bool,
    pub file_xfer: bool,
    /// Monitors configurations go to the QXL devices.
    pub monitors: bool,
    /// Only monitors configurations pass.
    pub only_monitors: bool,
}

/// What the server does with a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    #[default]
    Drop,
    /// The server collects it for the QXL devices.
    Monitors,
}

impl Rules {
    fn judge(self, message_type: u32) -> Verdict {
        match message_type {
            message::MONITORS_CONFIG if self.monitors => Verdict::Monitors,
            _ if self.only_monitors => Verdict::Drop,
            message::CLIPBOARD
            | message::CLIPBOARD_GRAB
            | message::CLIPBOARD_REQUEST
            | message::CLIPBOARD_RELEASE
                if !self.copy_paste =>
            {
                Verdict::Drop
            }
            message::FILE_XFER_START | message::FILE_XFER_STATUS | message::FILE_XFER_DATA
                if !self.file_xfer =>
            {
                Verdict::Drop
            }
            _ => Verdict::Pass,
        }
    }
}

/// The decision about one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub verdict: Verdict,
    /// The header, if the piece begins a message.
    pub begins: Option<MessageHeader>,
    /// Whether the piece completes its message.
    pub ends: bool,
}

/// The filter of one direction.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Bytes of the current message that are still to come.
    rest: u32,
    verdict: Verdict,
    /// The current message was for an agent that has gone: see [`Self::forget`].
    stale: bool,
}

impl Filter {
    /// The number of bytes that the current message still lacks, and its verdict.
    #[must_use]
    pub(super) fn position(&self) -> (u32, Verdict) {
        (self.rest, self.verdict)
    }

    /// Continues at a [`Self::position`].
    #[must_use]
    pub(super) fn at(rest: u32, verdict: Verdict) -> Self {
        Self { rest, verdict, stale: false }
    }

    /// The agent that the current message was for has gone. Some clients still send the rest of the message, others never do.
    /// Until as many bytes have come, the filter takes a piece for a new message only if it begins like one, and drops it
    /// otherwise.
    pub(super) fn forget(&mut self) {
        (self.verdict, self.stale) = (Verdict::Drop, self.rest > 0);
    }

    /// Whether the piece belongs to a message that [`Self::forget`] gave up.
    fn is_stale(&mut self, piece: &[u8]) -> bool {
        let begins = MessageHeader::decode(piece).is_ok_and(|header| {
            let known = (message::MOUSE_STATE..=message::GRAPHICS_DEVICE_INFO).contains(&header.message_type);
            header.protocol == PROTOCOL && header.opaque == 0 && known
        });
        if begins {
            (self.rest, self.stale) = (0, false);
            return false;
        }
        self.rest = self.rest.saturating_sub(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        self.stale = self.rest > 0;
        true
    }

    /// Judges the next piece.
    ///
    /// # Errors
    /// The piece is too long, is longer than the rest of its message, or does not begin with a valid header.
    pub(super) fn judge(&mut self, piece: &[u8], rules: Rules) -> Result<Judged, AgentError> {
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        if piece.len() > MAX_PIECE {
            return Err(AgentError::Piece(piece.len()));
        }
        if self.stale && self.is_stale(piece) {
            return Ok(Judged { verdict: Verdict::Drop, begins: None, ends: false });
        }
        let mut begins = None;
        let data = if self.rest > 0 {
            length
        } else {
            let header = MessageHeader::decode(piece)?;
            if header.protocol != PROTOCOL {
                return Err(AgentError::Protocol(header.protocol));
            }
            self.verdict = rules.judge(header.message_type);
            self.rest = header.size;
            begins = Some(header);
            length.saturating_sub(MESSAGE_HEADER_SIZE as u32)
        };
        self.rest = self.rest.checked_sub(data).ok_or(AgentError::Piece(piece.len()))?;
        Ok(Judged { verdict: self.verdict, begins, ends: self.rest == 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rules = Rules { copy_paste: true, file_xfer: true, monitors: false, only_monitors: false };

    fn head(message_type: u32, size: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        MessageHeader { protocol: PROTOCOL, message_type, opaque: 0, size }.put(&mut bytes);
        bytes
    }

    #[test]
    fn messages_are_judged_by_their_first_piece() {
        let no_paste = Rules { copy_paste: false, ..ALL };
        let mut filter = Filter::default();
        let first = filter.judge(&head(message::CLIPBOARD, 3), no_paste).unwrap();
        assert_eq!((first.verdict, first.ends), (Verdict::Drop, false));
        // Allowed meanwhile, but not for the message that is under way.
        assert_eq!(filter.judge(&[1, 2, 3], ALL).unwrap().verdict, Verdict::Drop);
        assert_eq!(filter.judge(&head(message::CLIPBOARD, 0), ALL).unwrap().verdict, Verdict::Pass);
        let no_files = Rules { file_xfer: false, ..ALL };
        assert_eq!(
            filter.judge(&head(message::FILE_XFER_START, 0), no_files).unwrap().verdict,
            Verdict::Drop
        );
        assert_eq!(filter.judge(&head(99, 0), no_files).unwrap().verdict, Verdict::Pass);
        let monitors = Rules { monitors: true, ..ALL };
        assert_eq!(filter.judge(&head(2, 0), monitors).unwrap().verdict, Verdict::Monitors);
        assert_eq!(filter.judge(&head(2, 0), ALL).unwrap().verdict, Verdict::Pass);
    }

    #[test]
    fn the_rest_of_a_message_to_an_agent_that_is_gone_is_dropped() {
        for rest_comes in [true, false] {
            let mut filter = Filter::default();
            filter.judge(&head(message::FILE_XFER_DATA, 5000), ALL).unwrap();
            filter.judge(&[9; 1000], ALL).unwrap();
            filter.forget();
            if rest_comes {
                for size in [2000, 2000] {
                    let judged = filter.judge(&vec![9; size], ALL).unwrap();
                    assert_eq!((judged.verdict, judged.begins), (Verdict::Drop, None));
                }
            }
            let judged = filter.judge(&head(message::CLIPBOARD_GRAB, 0), ALL).unwrap();
            assert_eq!((judged.verdict, judged.begins.is_some()), (Verdict::Pass, true));
            assert!(filter.judge(&[9; 30], ALL).is_err(), "and after it the rules hold");
        }
    }

    #[test]
    fn pieces_that_lie_are_refused() {
        let judge = |piece: &[u8]| Filter::default().judge(piece, ALL).is_ok();
        assert!(!judge(&[0; 2049]));
        assert!(!judge(&head(4, 0)[..19]));
        assert!(!judge(&[head(4, 1), vec![1, 2]].concat()));
        let mut other_protocol = head(4, 0);
        other_protocol[0] = 2;
        assert!(!judge(&other_protocol));
        let mut filter = Filter::default();
        assert!(filter.judge(&head(4, u32::MAX), ALL).is_ok());
        assert!(filter.judge(&[0; 2048], ALL).is_ok());
        let mut filter = Filter::default();
        assert!(filter.judge(&head(4, 2), ALL).is_ok());
        assert!(filter.judge(&[0; 3], ALL).is_err());
    }
}
