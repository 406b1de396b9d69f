//! The messages of an exchange as a machine without I/O (wire.md 1.6).
//!
//! The driver reads at most [`SaslExchange::wanted`] bytes and gives them to [`SaslExchange::feed`]. If that returns a job, the
//! driver has it done on another thread and gives its answer to [`SaslExchange::answer`]. Both append the bytes for the client
//! to `output`. The driver limits how long a client and a job may take.

use super::{MIN_SSF, SaslAnswer, SaslFault, SaslJob};
use crate::limits::{MAX_SASL_DATA, MAX_SASL_NAME, MAX_SASL_STEPS};
use crate::protocol::link::LinkError;
use crate::protocol::writer::{Put, count32};
use std::fmt;

/// The server's words for a client whose exchange succeeded with a security layer that is too weak.
const REFUSAL: &[u8] = b"Authentication failed\0";

/// What the driver must do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SaslEvent {
    /// Do this and give the answer to [`SaslExchange::answer`]; until then read nothing.
    Job(SaslJob),
    /// The client is this user. Write `output` as it is; all later bytes, both ways, go through the security layer if there
    /// is one.
    Authenticated { user: String, layer: bool },
    /// The exchange failed: send the error as a link reply if there is one, write `output`, and close.
    Failed { reply: Option<LinkError>, why: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Another thread does a job.
    Busy,
    NameSize,
    Name,
    DataSize,
    Data,
    Over,
}

/// The server's side of one exchange.
pub(crate) struct SaslExchange {
    state: State,
    /// Bytes of the message that is arriving.
    input: Vec<u8>,
    need: usize,
    /// The mechanisms on offer.
    offer: String,
    /// What the client chose, until its first data have come.
    mechanism: Option<String>,
    /// Messages with data so far.
    steps: u32,
    /// The connection needs a security layer.
    needs_layer: bool,
}

impl fmt::Debug for SaslExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The input may be a password.
        f.debug_struct("SaslExchange").field("state", &self.state).finish_non_exhaustive()
    }
}

fn failed(reply: Option<LinkError>, why: impl Into<String>) -> SaslEvent {
    SaslEvent::Failed { reply, why: why.into() }
}

impl SaslExchange {
    /// Begins an exchange. The driver first does a job [`SaslJob::Open`] and gives its answer. `needs_layer`: the connection is
    /// not encrypted.
    #[must_use]
    pub(crate) fn new(needs_layer: bool) -> Self {
        Self {
            state: State::Busy,
            input: Vec::new(),
            need: 0,
            offer: String::new(),
            mechanism: None,
            steps: 0,
            needs_layer,
        }
    }

    /// How many bytes the driver may read now. 0: the exchange waits for an answer, or is over.
    #[must_use]
    pub(crate) fn wanted(&self) -> usize {
        match self.state {
            State::Busy | State::Over => 0,
            _ => self.need.saturating_sub(self.input.len()),
        }
    }

    /// Takes bytes of the client, at most [`Self::wanted`] of them.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<SaslEvent> {
        if matches!(self.state, State::Busy | State::Over) {
            return None;
        }
        // The buffer grows as bytes come, never ahead of them.
        if self.input.try_reserve(bytes.len()).is_err() {
            return Some(self.fail(None, "SASL: out of memory"));
        }
        self.input.extend_from_slice(bytes);
        if self.wanted() > 0 {
            return None;
        }
        let input = std::mem::take(&mut self.input);
        match self.state {
            State::NameSize => match size(&input) {
                n @ 1..=MAX_SASL_NAME => self.read(State::Name, n),
                n => Some(self.fail(None, format!("SASL: a mechanism's name of {n} bytes"))),
            },
            State::Name => self.name(&input),
            State::DataSize => match size(&input) {
                0 => Some(self.data(None)),
                n if n <= MAX_SASL_DATA => self.read(State::Data, n),
                n => {
                    // Only in answer to the first message can a client tell a link error from an answer of SASL.
                    let reply = (self.steps == 0).then_some(LinkError::InvalidData);
                    Some(self.fail(reply, format!("SASL: data of {n} bytes")))
                }
            },
            State::Data => {
                let mut data = input;
                // The last byte is a NUL that does not count.
                data.pop();
                Some(self.data(Some(data)))
            }
            State::Busy | State::Over => None,
        }
    }

    fn read(&mut self, state: State, need: usize) -> Option<SaslEvent> {
        self.state = state;
        self.need = need;
        None
    }

    fn name(&mut self, name: &[u8]) -> Option<SaslEvent> {
        // An entry has no comma, so neither has a name that equals one.
        let entry = self.offer.split(',').find(|entry| entry.as_bytes() == name).map(str::to_owned);
        if entry.is_none() {
            let name = String::from_utf8_lossy(name).escape_debug().to_string();
            let why = format!("SASL: the mechanism {name} is not offered");
            return Some(self.fail(Some(LinkError::InvalidData), why));
        }
        self.mechanism = entry;
        self.read(State::DataSize, 4)
    }

    fn data(&mut self, data: Option<Vec<u8>>) -> SaslEvent {
        self.steps += 1;
        if self.steps > MAX_SASL_STEPS {
            return self.fail(None, "SASL: the exchange does not end");
        }
        self.state = State::Busy;
        SaslEvent::Job(match self.mechanism.take() {
            Some(mechanism) => SaslJob::Start { mechanism, data },
            None => SaslJob::Step { data },
        })
    }

    fn fail(&mut self, reply: Option<LinkError>, why: impl Into<String>) -> SaslEvent {
        self.state = State::Over;
        self.input = Vec::new();
        failed(reply, why)
    }

    /// Takes the answer to the last job. An answer that the exchange does not wait for is ignored.
    pub(crate) fn answer(
        &mut self,
        answer: Result<SaslAnswer, SaslFault>,
        output: &mut Vec<u8>,
    ) -> Option<SaslEvent> {
        if self.state != State::Busy {
            return None;
        }
        match answer {
            // The client is told nothing, so that it cannot find out why the login failed.
            Err(fault) => Some(self.fail(None, fault.to_string())),
            Ok(SaslAnswer::Opened(offer)) => {
                output.u32(count32(offer.len()));
                output.put(offer.as_bytes());
                self.offer = offer;
                self.read(State::NameSize, 4)
            }
            Ok(SaslAnswer::Continue(data)) => {
                write_data(output, data.as_deref(), false);
                self.read(State::DataSize, 4)
            }
            Ok(SaslAnswer::Done { data, user, ssf }) => {
                write_data(output, data.as_deref(), true);
                if self.needs_layer && ssf < MIN_SSF {
                    output.u32(1).u32(count32(REFUSAL.len()));
                    output.put(REFUSAL);
                    let why = format!("SASL: a security layer of {ssf} bits, at least {MIN_SSF} are needed");
                    return Some(self.fail(None, why));
                }
                output.u32(0);
                self.state = State::Over;
                Some(SaslEvent::Authenticated { user, layer: ssf > 0 })
            }
        }
    }
}

fn size(bytes: &[u8]) -> usize {
    let size = bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// Data with a NUL behind them, or none at all.
fn write_data(output: &mut Vec<u8>, data: Option<&[u8]>, done: bool) {
    match data {
        None => {
            output.u32(0);
        }
        Some(data) => {
            output.u32(count32(data.len().saturating_add(1)));
            output.put(data);
            output.u8(0);
        }
    }
    output.u8(u8::from(done));
}

/// Fuzz oracle: whatever a client sends, in pieces of any size, the exchange asks for no more bytes than the protocol allows,
/// and ends.
///
/// # Panics
/// When that does not hold.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_exchange(data: &[u8]) {
    let Some((&flags, rest)) = data.split_first() else { return };
    let mut exchange = SaslExchange::new(flags & 1 != 0);
    let mut output = Vec::new();
    let mut rest = rest;
    let mut event = exchange.answer(Ok(SaslAnswer::Opened(",A,PLAIN,".into())), &mut output);
    for _ in 0..data.len() * 2 + 4 {
        event = match event {
            Some(SaslEvent::Failed { .. } | SaslEvent::Authenticated { .. }) => {
                assert!(exchange.wanted() == 0, "it goes on after its end");
                return;
            }
            Some(SaslEvent::Job(job)) => {
                assert!(exchange.wanted() == 0, "it reads before the answer");
                let said = match &job {
                    SaslJob::Start { data, .. } | SaslJob::Step { data } => data.clone(),
                    SaslJob::Open(_) => None,
                };
                let answer = match said.as_deref().and_then(<[u8]>::first) {
                    Some(b'!') => Err(SaslFault("no".into())),
                    Some(b'.') => {
                        Ok(SaslAnswer::Done { data: said, user: "u".into(), ssf: u32::from(flags) })
                    }
                    _ => Ok(SaslAnswer::Continue(said)),
                };
                exchange.answer(answer, &mut output)
            }
            None => {
                let piece = usize::from(flags >> 4) + 1;
                let n = exchange.wanted().min(rest.len()).min(piece);
                if n == 0 {
                    return;
                }
                let (now, later) = rest.split_at(n);
                rest = later;
                exchange.feed(now)
            }
        };
        assert!(exchange.input.len() <= MAX_SASL_DATA, "it keeps more than it may");
    }
    assert!(rest.is_empty(), "it neither reads nor ends");
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
