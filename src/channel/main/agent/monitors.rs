//! Collects a client's monitors configurations and checks them for the QXL devices (server.md 8.7).

use super::AgentError;
use crate::protocol::agent::MESSAGE_HEADER_SIZE;
use crate::protocol::error::ProtocolError;
use crate::protocol::reader::Reader;
use std::sync::Arc;

/// The most monitors of one client. This bounds the collected bytes.
const MAX_MONITORS: usize = 256;
/// Bytes of one monitor and of one physical size.
const MONITOR: usize = 20;
const PHYSICAL_SIZE: usize = 4;
/// Bytes of the body before the first monitor.
const HEAD: usize = 8;
/// Flag: the physical sizes follow the monitors.
const HAS_PHYSICAL_SIZES: u32 = 2;

/// The pieces of the message that have come so far.
#[derive(Debug, Default)]
pub(super) struct Collector(Vec<u8>);

impl Collector {
    /// Takes the next piece of a message. Returns the configuration if the piece `ends` it.
    ///
    /// # Errors
    /// The message is too long, or shorter than its number of monitors needs.
    pub(super) fn take(
        &mut self,
        piece: &[u8],
        begins: bool,
        ends: bool,
    ) -> Result<Option<Arc<[u8]>>, AgentError> {
        if begins {
            self.0.clear();
        }
        let most = MESSAGE_HEADER_SIZE + HEAD + MAX_MONITORS * (MONITOR + PHYSICAL_SIZE);
        if self.0.len() + piece.len() > most {
            return Err(AgentError::Monitors);
        }
        self.0.extend_from_slice(piece);
        if !ends {
            return Ok(None);
        }
        let message = std::mem::take(&mut self.0);
        let config = message.get(MESSAGE_HEADER_SIZE..).unwrap_or_default();
        if fits(config)? { Ok(Some(config.into())) } else { Err(AgentError::Monitors) }
    }
}

/// Whether the body is long enough for its number of monitors.
fn fits(config: &[u8]) -> Result<bool, ProtocolError> {
    let mut r = Reader::new("agent", "MONITORS_CONFIG", config);
    let (count, flags) = (r.u32("num_of_monitors")?, r.u32("flags")?);
    let each = if flags & HAS_PHYSICAL_SIZES != 0 { MONITOR + PHYSICAL_SIZE } else { MONITOR };
    let needed = usize::try_from(count).ok().and_then(|count| count.checked_mul(each));
    Ok(needed.is_some_and(|needed| needed <= config.len().saturating_sub(HEAD)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(count: u32, flags: u32, bytes: usize) -> Vec<u8> {
        let head = [vec![0; MESSAGE_HEADER_SIZE], count.to_le_bytes().to_vec(), flags.to_le_bytes().to_vec()];
        [head.concat(), vec![7; bytes]].concat()
    }

    #[test]
    fn configurations_pass_whole_in_one_piece_or_many() {
        for whole in [message(2, 0, 40), message(2, 2, 48), message(0, 1, 0)] {
            let expect = Some(Arc::from(&whole[20..]));
            let mut collector = Collector::default();
            assert_eq!(collector.take(&whole, true, true), Ok(expect.clone()));
            let mut got = None;
            for (i, byte) in whole.iter().enumerate() {
                got = collector.take(&[*byte], i == 0, i + 1 == whole.len()).unwrap();
            }
            assert_eq!(got, expect);
        }
    }

    #[test]
    fn counts_that_lie_are_refused() {
        for bad in
            [message(2, 0, 39), message(2, 2, 47), message(u32::MAX, 0, 40), vec![0; 27], vec![0; 6173]]
        {
            assert!(Collector::default().take(&bad, true, true).is_err());
        }
        assert!(Collector::default().take(&message(256, 2, 6144), true, true).is_ok());
    }
}
