//! The guest agent port (server.md 8). Clients and the guest's agent talk to each other through the main channel, with tokens
//! in both directions, and the server sends messages of its own to the agent. The main channel owns this and calls it for each
//! event.

mod chunks;
mod filter;
mod held;
mod migrate;
mod monitors;
mod port;

pub(crate) use port::{AGENT_TOKENS, AgentPort};

use crate::protocol::error::ProtocolError;
use thiserror::Error;

/// A violation of the agent's protocol. If the guest is at fault, the server gives up its device. If a client is, the server
/// disconnects it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AgentError {
    #[error(transparent)]
    Format(#[from] ProtocolError),
    #[error("agent chunk for port {0}")]
    Port(u32),
    #[error("agent chunk without a byte")]
    EmptyChunk,
    #[error("agent data of {0} bytes, more than allowed or than its message has left")]
    Piece(usize),
    #[error("agent protocol {0}")]
    Protocol(u32),
    #[error("agent data without a token")]
    NoToken,
    #[error("the state of an agent that gave {0} tokens more than it had")]
    Tokens(u32),
    #[error("a monitors configuration that does not hold what it counts")]
    Monitors,
}

/// Fuzz oracle: judges any bytes of an agent port or of a client's agent data without a panic, and lets only whole messages
/// pass.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_agent_stream(data: &[u8]) {
    let rules = filter::Rules { copy_paste: false, file_xfer: true, monitors: true, only_monitors: false };
    let (mut parser, mut filter, mut collector) =
        (chunks::Chunks::default(), filter::Filter::default(), monitors::Collector::default());
    let mut judge = |piece: &[u8]| -> Result<(), AgentError> {
        let judged = filter.judge(piece, rules)?;
        if judged.verdict == filter::Verdict::Monitors {
            collector.take(piece, judged.begins.is_some(), judged.ends)?;
        }
        Ok(())
    };
    let mut rest = data;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(parser.wanted().min(rest.len()));
        rest = later;
        match parser.take(now) {
            Ok(Some(piece)) if judge(&piece.bytes).is_err() => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(128))]
        #[test]
        fn arbitrary_streams_do_not_panic(mut data in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..4, any::<u8>()], 0..300)) {
            fuzz_agent_stream(&data);
            // A header that makes sense.
            data.splice(0..0, [1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
            fuzz_agent_stream(&data);
        }
    }
}
