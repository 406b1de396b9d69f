//! The link stage of one connection as a state machine without I/O (server.md 5.1, wire.md 1).
//!
//! The driver reads at most [`LinkMachine::wanted`] bytes (more would belong to the message stage), gives them to
//! [`LinkMachine::feed`] and acts on the [`LinkEvent`]s. The machine collects its answers until [`LinkMachine::output`] takes
//! them. Where it needs to know the server (security, channels, keys, passwords), an event asks the driver, which answers by
//! [`LinkMachine::accept`], [`LinkMachine::refuse`] or [`LinkMachine::finish`].

use crate::limits::MAX_UPGRADE_REQUEST;
use crate::net::sasl::{SaslAnswer, SaslEvent, SaslExchange, SaslFault, SaslJob};
use crate::protocol::Caps;
use crate::protocol::caps::common;
use crate::protocol::link::{
    HeaderVerdict, LinkError, LinkMessage, MAGIC, PUBLIC_KEY_SIZE, TICKET_SIZE, auth, check_header,
    error_reply, reply, result,
};

/// What the driver must act on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// A complete HTTP request instead of a link: answer it and [`LinkMachine::restart`], or refuse.
    Upgrade(Vec<u8>),
    /// Judge the channel, then `accept`, `refuse` or drop the connection.
    Message(LinkMessage),
    /// Check the encrypted ticket, then `finish`.
    Ticket(Box<[u8; TICKET_SIZE]>),
    /// The client chose SASL: begin an exchange, then call [`LinkMachine::sasl_answer`].
    Sasl,
    /// Do this step of the exchange, then call [`LinkMachine::sasl_answer`].
    SaslJob(SaslJob),
    /// SASL has authenticated the client as `user`. Write the output, pass all later bytes through the security layer if
    /// `layer` says that there is one, then `finish`.
    Authenticated { user: String, layer: bool },
    /// The link failed for this reason: write the output and close.
    Failed(String),
}

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Method {
    /// The one password of the server, encrypted as a ticket.
    #[default]
    Ticket,
    /// A SASL exchange. `needs_layer`: the connection is not encrypted, so the mechanism must encrypt it.
    Sasl { needs_layer: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Magic,
    /// Reading an HTTP request that ends in an empty line.
    Upgrade,
    Header,
    Message,
    /// The driver judges the message.
    Judging,
    Mechanism,
    Ticket,
    /// The client talks with [`LinkMachine::sasl`].
    Sasl,
    /// The driver checks the ticket, or acts on the end of the SASL exchange.
    Checking,
    Over,
}

/// The link stage of one connection, fed with the client's bytes.
#[derive(Debug)]
pub(crate) struct LinkMachine {
    state: State,
    /// Bytes of the present step.
    input: Vec<u8>,
    need: usize,
    output: Vec<u8>,
    auth_selection: bool,
    method: Method,
    sasl: Option<SaslExchange>,
    /// Inside a WebSocket: no second upgrade.
    upgraded: bool,
}

impl Default for LinkMachine {
    fn default() -> Self {
        Self {
            state: State::Magic,
            input: Vec::new(),
            need: MAGIC.len(),
            output: Vec::new(),
            auth_selection: false,
            method: Method::default(),
            sasl: None,
            upgraded: false,
        }
    }
}

impl LinkMachine {
    /// How many bytes the driver may read now. 0: the machine waits for an answer of the driver, or the link is over.
    #[must_use]
    pub(crate) fn wanted(&self) -> usize {
        match self.state {
            State::Judging | State::Checking | State::Over => 0,
            State::Sasl => self.sasl.as_ref().map_or(0, SaslExchange::wanted),
            _ => self.need.saturating_sub(self.input.len()),
        }
    }

    /// Takes the bytes that the driver is to write now.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes bytes of the client, at most [`Self::wanted`] of them.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<LinkEvent> {
        if self.state == State::Sasl {
            let event = self.sasl.as_mut()?.feed(bytes)?;
            return Some(self.sasl_event(event));
        }
        self.input.extend_from_slice(bytes);
        if self.state == State::Upgrade {
            return self.upgrade();
        }
        if self.wanted() > 0 || self.input.len() < self.need {
            return None;
        }
        match self.state {
            State::Magic => self.magic(),
            State::Header => self.header(),
            State::Message => {
                let message = LinkMessage::decode(&std::mem::take(&mut self.input));
                match message {
                    Ok(message) => {
                        self.auth_selection = message.common_caps.has(common::AUTH_SELECTION);
                        self.state = State::Judging;
                        Some(LinkEvent::Message(message))
                    }
                    Err(error) => Some(self.fail(LinkError::InvalidData, error.to_string())),
                }
            }
            State::Mechanism => self.mechanism(),
            State::Ticket => {
                let ticket = self.input.first_chunk::<TICKET_SIZE>().copied()?;
                self.input.clear();
                self.state = State::Checking;
                Some(LinkEvent::Ticket(Box::new(ticket)))
            }
            State::Upgrade | State::Judging | State::Sasl | State::Checking | State::Over => None,
        }
    }

    fn step(&mut self, state: State, need: usize) {
        self.state = state;
        self.need = need;
        self.input.clear();
    }

    fn magic(&mut self) -> Option<LinkEvent> {
        if self.input == MAGIC {
            self.step(State::Header, 12);
            return None;
        }
        if self.input == *b"GET " && !self.upgraded {
            self.state = State::Upgrade;
            self.need = MAX_UPGRADE_REQUEST;
            return None;
        }
        Some(self.fail(LinkError::InvalidMagic, format!("bad magic {:02x?}", self.input)))
    }

    fn upgrade(&mut self) -> Option<LinkEvent> {
        if self.input.ends_with(b"\r\n\r\n") {
            self.state = State::Judging;
            return Some(LinkEvent::Upgrade(std::mem::take(&mut self.input)));
        }
        if self.input.len() >= self.need {
            return Some(self.fail(LinkError::InvalidMagic, "HTTP request too long".into()));
        }
        None
    }

    fn header(&mut self) -> Option<LinkEvent> {
        let head = self.input.first_chunk::<12>().copied()?;
        match check_header(&head) {
            HeaderVerdict::Body(size) => {
                self.step(State::Message, size);
                None
            }
            HeaderVerdict::Close => {
                self.state = State::Over;
                Some(LinkEvent::Failed("protocol version 0".into()))
            }
            HeaderVerdict::Refuse(error) => {
                Some(self.fail(error, format!("bad link header {head:02x?}: {error}")))
            }
        }
    }

    fn mechanism(&mut self) -> Option<LinkEvent> {
        let mechanism = u32::from_le_bytes(self.input.first_chunk().copied()?);
        match self.method {
            Method::Ticket if mechanism == auth::SPICE => {
                self.step(State::Ticket, TICKET_SIZE);
                return None;
            }
            Method::Sasl { needs_layer } if mechanism == auth::SASL => {
                self.step(State::Sasl, 0);
                self.sasl = Some(SaslExchange::new(needs_layer));
                return Some(LinkEvent::Sasl);
            }
            Method::Ticket | Method::Sasl { .. } => {}
        }
        Some(
            self.fail(LinkError::InvalidData, format!("authentication mechanism {mechanism} is not offered")),
        )
    }

    fn fail(&mut self, error: LinkError, why: String) -> LinkEvent {
        self.output.extend(error_reply(error));
        self.state = State::Over;
        LinkEvent::Failed(why)
    }

    /// Begins anew inside a WebSocket, after the driver answered an [`LinkEvent::Upgrade`].
    pub(crate) fn restart(&mut self) {
        self.upgraded = true;
        self.step(State::Magic, MAGIC.len());
    }

    /// Answers [`LinkEvent::Message`]: the channel exists, and the client has to authenticate by `method`. Only clients that
    /// will use SASL need no key. An error says why the client cannot go on; the output tells the client.
    pub(crate) fn accept(
        &mut self,
        method: Method,
        public_key: Option<&[u8; PUBLIC_KEY_SIZE]>,
        common: &Caps,
        channel: &Caps,
    ) -> Result<(), String> {
        self.output.extend(reply(public_key.unwrap_or(&[0; PUBLIC_KEY_SIZE]), common, channel));
        self.method = method;
        match method {
            _ if self.auth_selection => self.step(State::Mechanism, 4),
            Method::Ticket => self.step(State::Ticket, TICKET_SIZE),
            Method::Sasl { .. } => {
                // It would send a ticket, but with SASL on there is no password to compare the ticket with.
                self.refuse(LinkError::VersionMismatch);
                return Err("the client is too old for SASL".into());
            }
        }
        Ok(())
    }

    /// Answers [`LinkEvent::Sasl`] and [`LinkEvent::SaslJob`].
    pub(crate) fn sasl_answer(&mut self, answer: Result<SaslAnswer, SaslFault>) -> Option<LinkEvent> {
        let event = self.sasl.as_mut()?.answer(answer, &mut self.output)?;
        Some(self.sasl_event(event))
    }

    fn sasl_event(&mut self, event: SaslEvent) -> LinkEvent {
        match event {
            SaslEvent::Job(job) => LinkEvent::SaslJob(job),
            SaslEvent::Authenticated { user, layer } => {
                self.state = State::Checking;
                LinkEvent::Authenticated { user, layer }
            }
            SaslEvent::Failed { reply: Some(error), why } => self.fail(error, why),
            SaslEvent::Failed { reply: None, why } => {
                self.state = State::Over;
                LinkEvent::Failed(why)
            }
        }
    }

    /// Answers with an error reply. The driver closes when the output is written.
    pub(crate) fn refuse(&mut self, error: LinkError) {
        self.output.extend(error_reply(error));
        self.state = State::Over;
    }

    /// Ends the link stage with its result. Unless it is OK the driver closes when the output is written.
    pub(crate) fn finish(&mut self, link_result: LinkError) {
        self.output.extend(result(link_result));
        self.state = State::Over;
    }
}

/// Fuzz oracle: whatever a client sends, in pieces of `step` bytes, the machine asks for no more bytes than the protocol
/// allows, and ends.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_machine(data: &[u8], step: usize) {
    let mut machine = LinkMachine::default();
    let mut rest = data;
    loop {
        let n = machine.wanted().min(rest.len()).min(step.max(1));
        if n == 0 {
            break;
        }
        let (now, later) = rest.split_at(n);
        rest = later;
        match machine.feed(now) {
            Some(LinkEvent::Message(_)) => {
                let method = if step.is_multiple_of(2) {
                    Method::Ticket
                } else {
                    Method::Sasl { needs_layer: step.is_multiple_of(3) }
                };
                let _ = machine.accept(method, None, &Caps::default(), &Caps::default());
            }
            Some(LinkEvent::Sasl) => {
                machine.sasl_answer(Ok(SaslAnswer::Opened(",A,PLAIN,".into())));
            }
            Some(LinkEvent::SaslJob(_)) => {
                machine.sasl_answer(Ok(SaslAnswer::Continue(None)));
            }
            Some(LinkEvent::Authenticated { .. }) => machine.finish(LinkError::Ok),
            Some(LinkEvent::Upgrade(request)) => {
                let _ = crate::net::upgrade::answer(&request, &crate::net::upgrade::Origins::only("a"));
                machine.restart();
            }
            Some(LinkEvent::Ticket(_)) => machine.finish(LinkError::Ok),
            Some(LinkEvent::Failed(_)) => break,
            None => {}
        }
        let _ = machine.output();
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
