//! Reads from and writes to a pending link, as far as its socket allows.

use super::{Held, LinkStage, NOTHING, PendingLink, READ, WRITE};
use crate::channel::connection::ConnectionId;
use crate::host::call::HostCall;
use crate::host::{Readiness, WatchId};
use crate::limits::MAX_READS_PER_TURN;
use crate::log::{RateLimit, emit_limited};
use crate::net::link::LinkEvent;
use crate::net::tls::{Handshake, Step};
use crate::net::transport::Transport;
use crate::net::upgrade::{self, Answer};
use crate::net::websocket::WebSocketTransport;
use crate::panic::guarded;
use crate::reds::effect::{Closing, Effect};
use crate::reds::state::State;
use std::io;

/// How many unread bytes are thrown away before a refused connection is closed. If a socket is closed over unread bytes, the
/// kernel resets the connection, and the client may not get the answer.
const MAX_DISCARD: usize = 64 * 1024;

/// What follows a link's turn.
enum Progress {
    Wait(Readiness),
    /// The transport may hold more bytes that no poll reports. Other links get their turn first.
    Again,
    Close(String),
    /// SASL has accepted the client.
    Admit,
    Attach,
}

impl State {
    /// The host made, or refused, the watch of a connection.
    pub(crate) fn on_watch(&mut self, at: ConnectionId, watch: Option<WatchId>) {
        let Some(link) = self.links.links.get_mut(&at) else {
            // The connection was closed meanwhile.
            if let Some(watch) = watch {
                self.host_call(HostCall::RemoveWatch(watch));
            }
            return;
        };
        link.watch = watch;
        let interest = link.interest;
        match watch {
            Some(watch) => self.host_call(HostCall::UpdateWatch(watch, interest)),
            None => {
                if let Some(link) = self.links.remove(at) {
                    self.close_link(link, "the host refused a watch");
                }
            }
        }
    }

    /// Reads and writes as far as the socket goes. A panic costs the link.
    pub(crate) fn drive_link(&mut self, at: ConnectionId) {
        let Some(mut link) = self.links.remove(at) else { return };
        let progress = guarded("the link stage of a connection", || self.advance(at, &mut link))
            .unwrap_or_else(|| Progress::Close("an internal fault".into()));
        match progress {
            Progress::Wait(interest) => {
                self.watch_for(&mut link, interest);
                self.links.insert(at, link);
            }
            Progress::Close(why) => self.close_link(link, &why),
            Progress::Again => {
                link.again = true;
                self.watch_for(&mut link, READ);
                self.links.insert(at, link);
            }
            Progress::Admit => {
                link.enter_layer();
                self.links.insert(at, link);
                self.admit(at);
            }
            Progress::Attach => self.attach_link(at, link),
        }
    }

    fn watch_for(&mut self, link: &mut PendingLink, interest: Readiness) {
        if link.interest != interest {
            link.interest = interest;
            if let Some(watch) = link.watch {
                self.host_call(HostCall::UpdateWatch(watch, interest));
            }
        }
    }

    fn advance(&mut self, at: ConnectionId, link: &mut PendingLink) -> Progress {
        link.again = false;
        if let Err(why) = self.step_tls(at, link) {
            return Progress::Close(why);
        }
        for _ in 0..MAX_READS_PER_TURN {
            let Some(stream) = &mut link.stream else { return Progress::Wait(NOTHING) };
            link.output.extend(link.machine.output());
            match write_out(&mut **stream, &mut link.output) {
                Ok(true) => {}
                Ok(false) => return Progress::Wait(WRITE),
                Err(error) => return Progress::Close(error.to_string()),
            }
            if std::mem::take(&mut link.upgrading) {
                let Some(stream) = link.stream.take() else { return Progress::Wait(NOTHING) };
                link.stream = Some(Box::new(WebSocketTransport::new(stream)));
                link.machine.restart();
                continue;
            }
            match &mut link.stage {
                LinkStage::Refused(why) => {
                    let why = std::mem::take(why);
                    discard_input(&mut **stream);
                    return Progress::Close(why);
                }
                LinkStage::Proven { .. } => return Progress::Admit,
                LinkStage::Accepted => return Progress::Attach,
                _ => {}
            }
            let wanted = link.machine.wanted();
            if wanted == 0 {
                return Progress::Wait(NOTHING);
            }
            let mut buffer = [0; 4096];
            let room = buffer.get_mut(..wanted.min(4096)).unwrap_or_default();
            let event = match stream.read(room) {
                Ok(0) => return Progress::Close("closed by the client in the link stage".into()),
                Ok(n) => link.machine.feed(buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return if stream.has_more() { Progress::Again } else { Progress::Wait(READ) };
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => None,
                Err(error) => return Progress::Close(error.to_string()),
            };
            if let Some(event) = event
                && let Err(why) = self.on_link_event(at, link, event)
            {
                return Progress::Close(why);
            }
        }
        // An honest client's link message takes a few reads. A client that needs more gets its next turn later.
        Progress::Close("the link message comes in too many pieces".into())
    }

    /// Gives a TLS handshake whose socket is ready to the crypto thread.
    fn step_tls(&mut self, at: ConnectionId, link: &mut PendingLink) -> Result<(), String> {
        let (LinkStage::Tls(_), Some(keys)) = (&link.stage, &self.keys) else { return Ok(()) };
        if let LinkStage::Tls(handshake) = std::mem::replace(&mut link.stage, LinkStage::Talking) {
            link.stage = match keys.handshake(at.0, handshake) {
                Ok(job) => LinkStage::TlsAway { _job: job },
                Err((handshake, error)) => {
                    // The socket must stay open until the host's watch is removed.
                    link.stage = LinkStage::Tls(handshake);
                    return Err(error.to_string());
                }
            };
        }
        Ok(())
    }

    fn on_link_event(
        &mut self,
        at: ConnectionId,
        link: &mut PendingLink,
        event: LinkEvent,
    ) -> Result<(), String> {
        match event {
            LinkEvent::Upgrade(request) => match upgrade::answer(&request, &self.config.origins) {
                Answer::Accept(reply) => {
                    link.output.extend(reply);
                    link.upgrading = true;
                }
                Answer::Refuse { reply, why } => {
                    link.output.extend(reply);
                    link.stage = LinkStage::Refused(why.into());
                }
            },
            LinkEvent::Message(message) => self.judge_message(link, message),
            LinkEvent::Ticket(ticket) => {
                let wait =
                    if link.skip_auth { None } else { self.links.guesses.next_try(link.origin, self.now) };
                match wait {
                    Some(until) => link.stage = LinkStage::Held { until, what: Held::Ticket(ticket) },
                    None => self.open_ticket(at, link, ticket)?,
                }
            }
            LinkEvent::Sasl => self.begin_sasl(at, link)?,
            LinkEvent::SaslJob(job) => self.submit_sasl(at, link, job)?,
            LinkEvent::Authenticated { .. } => {
                return Err("SASL ends by an answer, not by what is read".into());
            }
            LinkEvent::Failed(why) => link.stage = LinkStage::Refused(why),
        }
        Ok(())
    }

    /// A TLS handshake comes back from the crypto thread.
    pub(crate) fn on_handshake(&mut self, at: ConnectionId, handshake: Handshake, step: io::Result<Step>) {
        // If the link was closed meanwhile, only this handshake is left of it.
        let Some(mut link) = self.links.remove(at) else { return };
        let interest = match step {
            Ok(Step::Done) => {
                match handshake.finish() {
                    Ok(stream) => link.stream = Some(Box::new(stream)),
                    Err(error) => return self.close_link(link, &error.to_string()),
                }
                link.stage = LinkStage::Talking;
                self.links.insert(at, link);
                return self.drive_link(at);
            }
            Ok(Step::Read) => READ,
            Ok(Step::Write) => WRITE,
            Err(error) => {
                link.stage = LinkStage::Tls(handshake);
                return self.close_link(link, &error.to_string());
            }
        };
        link.stage = LinkStage::Tls(handshake);
        self.watch_for(&mut link, interest);
        self.links.insert(at, link);
    }

    /// Ends a connection of the link stage, with one line in the log.
    pub(crate) fn close_link(&mut self, link: PendingLink, why: &str) {
        // Strangers have a rate limit of their own, so that a flood of them does not keep refused clients out of the log.
        static STRANGERS: RateLimit = RateLimit::new();
        static CLIENTS: RateLimit = RateLimit::new();
        let limit = if link.identified { &CLIENTS } else { &STRANGERS };
        emit_limited(limit, file!(), line!(), format_args!("link from {}: {why}", link.peer));
        self.close_quietly(link);
    }

    /// Ends a connection of the link stage, without a line in the log.
    pub(crate) fn close_quietly(&mut self, link: PendingLink) {
        let watch = link.watch;
        self.effects.push_back(Effect::Close(watch, Closing::Pending { _link: Box::new(link) }));
    }
}

/// Writes what waits. `false`: the socket is full.
fn write_out(transport: &mut dyn Transport, output: &mut Vec<u8>) -> io::Result<bool> {
    while !output.is_empty() {
        match transport.write(output) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => drop(output.drain(..n.min(output.len()))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    match transport.flush() {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}

fn discard_input(transport: &mut dyn Transport) {
    let mut buffer = [0; 4096];
    for _ in 0..MAX_DISCARD / buffer.len() {
        if !matches!(transport.read(&mut buffer), Ok(n) if n > 0) {
            return;
        }
    }
}
