//! Connections on their way: accepting, the link stage, who is let in (server.md 4.1, 5).

use super::config::security;
use super::core::Core;
use super::error::ServerError;
use super::state::State;
use crate::channel::connection::ConnectionGuard;
use crate::host::{ChannelEvent, Readiness, WatchId};
use crate::limits::{ACCEPT_PAUSE, MAX_ACCEPTS_PER_TURN, MAX_PENDING_LINKS};
use crate::net::keys::TicketKey;
use crate::net::link::{LinkEvent, LinkMachine};
use crate::net::listener::{addresses, set_connection_options};
use crate::net::socket::SocketTransport;
use crate::net::stream::Transport;
use crate::net::tls::{Handshake, Step};
use crate::net::websocket::{self, WebSocketTransport};
use crate::protocol::caps::{common, inputs, main};
use crate::protocol::link::{LinkError, LinkMessage};
use crate::protocol::{Caps, ChannelType};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

const READ: Readiness = Readiness { read: true, write: false };
const WRITE: Readiness = Readiness { read: false, write: true };
const NOTHING: Readiness = Readiness { read: false, write: false };

/// Unread bytes thrown away before a refused connection is closed: closing over them would reset the connection and take
/// our answer away from the client.
const MAX_DISCARD: usize = 64 * 1024;

/// What comes when the output is written.
#[derive(Debug)]
enum End {
    Close(String),
    Attach,
}

/// What a link reads from and writes to.
enum Carrier {
    /// TLS handshake, at rest until its socket is ready.
    Handshake(Handshake),
    /// The handshake is with the key thread, or nothing is left.
    Away,
    Stream(Box<dyn Transport>),
}

/// A connection in the link stage.
pub(crate) struct PendingLink {
    carrier: Carrier,
    /// The output answers an upgrade: after it frames begin.
    upgrading: bool,
    machine: LinkMachine,
    output: Vec<u8>,
    pub watch: Option<WatchId>,
    pub interest: Readiness,
    pub deadline: Instant,
    skip_auth: bool,
    pub tls: bool,
    pub peer: String,
    pub message: LinkMessage,
    /// The message has come.
    identified: bool,
    key: Option<Arc<TicketKey>>,
    waits_for_key: bool,
    end: Option<End>,
    /// After the transport: tells that the socket is closed.
    pub guard: ConnectionGuard,
}

impl PendingLink {
    /// A connection that has passed the link stage with this message, for oracles.
    pub fn linked(
        transport: Box<dyn Transport>,
        message: LinkMessage,
        guard: ConnectionGuard,
        deadline: Instant,
    ) -> Self {
        Self {
            carrier: Carrier::Stream(transport),
            upgrading: false,
            machine: LinkMachine::default(),
            output: Vec::new(),
            watch: None,
            interest: READ,
            deadline,
            skip_auth: true,
            tls: false,
            peer: "memory".into(),
            message,
            identified: true,
            key: None,
            waits_for_key: false,
            end: None,
            guard,
        }
    }

    /// The stream, for the message stage.
    pub fn take_stream(&mut self) -> Option<Box<dyn Transport>> {
        match std::mem::replace(&mut self.carrier, Carrier::Away) {
            Carrier::Stream(stream) => Some(stream),
            Carrier::Handshake(_) | Carrier::Away => None,
        }
    }
}

enum Progress {
    Wait(Readiness),
    Close(String),
    Attach,
}

impl State {
    /// Takes connections from a listener.
    pub fn accept_links(&mut self, index: usize) {
        for _ in 0..MAX_ACCEPTS_PER_TURN {
            let Some(listening) = self.listening.get(index) else { return };
            let tls = listening.tls;
            match listening.listener.accept() {
                Ok(None) => return,
                Ok(Some(fd)) => {
                    if let Err((_, error)) = self.add_link(fd, false, tls) {
                        crate::warning_limited!("accepted connection: {error}");
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    crate::warning_limited!("accept: {error}; the next try is in {ACCEPT_PAUSE:?}");
                    self.pause_listener(index);
                    return;
                }
            }
        }
    }

    fn pause_listener(&mut self, index: usize) {
        let until = self.now + ACCEPT_PAUSE;
        if let Some(listening) = self.listening.get_mut(index) {
            listening.paused_until = Some(until);
            if let Some(watch) = listening.watch {
                self.host_effect(move |l| l.watch_update(watch, NOTHING));
            }
        }
    }

    pub fn resume_listeners(&mut self) {
        let now = self.now;
        let mut watches = Vec::new();
        for listening in &mut self.listening {
            if listening.paused_until.take_if(|until| *until <= now).is_some() {
                watches.extend(listening.watch);
            }
        }
        for watch in watches {
            self.host_effect(move |l| l.watch_update(watch, READ));
        }
    }

    /// Starts the link stage of a connected socket. On failure the socket is given back.
    pub fn add_link(
        &mut self,
        fd: OwnedFd,
        skip_auth: bool,
        tls: bool,
    ) -> Result<(), (OwnedFd, ServerError)> {
        if !self.initialized || self.destroyed {
            return Err((fd, ServerError::NotInitialized));
        }
        let context = match (tls, &self.tls) {
            (false, _) => None,
            (true, Some(context)) => Some(context.clone()),
            (true, None) => return Err((fd, ServerError::NotBuilt("TLS configuration"))),
        };
        set_connection_options(&fd);
        let transport = SocketTransport::try_new(fd)
            .map_err(|(fd, error)| (fd, ServerError::Io { what: "client socket", error }))?;
        let raw = transport.raw_fd();
        let (sockets, peer) = addresses(raw);
        self.make_room_for_link();
        let key = self.fresh_key();
        let carrier = match context {
            None => Carrier::Stream(Box::new(transport)),
            Some(context) => match Handshake::new(&context, transport) {
                Ok(handshake) => Carrier::Handshake(handshake),
                // The socket is closed by now, and the host must not close its number again.
                Err(error) => {
                    crate::warning!("TLS: {error}");
                    return Ok(());
                }
            },
        };
        let link = PendingLink {
            carrier,
            upgrading: false,
            machine: LinkMachine::default(),
            output: Vec::new(),
            watch: None,
            interest: READ,
            deadline: self.now + self.handshake_timeout,
            skip_auth,
            tls,
            peer,
            message: LinkMessage::default(),
            identified: false,
            key: None,
            waits_for_key: false,
            end: None,
            guard: self.guard(key),
        };
        self.links.insert(key, link);
        self.effect(move |core| core.channel_event(key, ChannelEvent::Connected(sockets)));
        self.effect(move |core| core.watch_connection(key, raw, READ));
        Ok(())
    }

    /// Drops the oldest connection that has not even sent its link message, or else the oldest, when there are too many.
    fn make_room_for_link(&mut self) {
        while self.links.len() >= MAX_PENDING_LINKS {
            let early = self.links.iter().find(|(_, l)| l.machine.is_early()).map(|(&k, _)| k);
            let Some(key) = early.or_else(|| self.links.keys().next().copied()) else { return };
            if let Some(link) = self.links.remove(&key) {
                self.close_link(link, "too many connections in the link stage");
            }
        }
    }

    /// Reads and writes as far as the socket goes.
    pub fn drive_link(&mut self, key: u64) {
        let Some(mut link) = self.links.remove(&key) else { return };
        match self.advance(key, &mut link) {
            Progress::Wait(interest) => {
                if link.interest != interest {
                    link.interest = interest;
                    if let Some(watch) = link.watch {
                        self.host_effect(move |l| l.watch_update(watch, interest));
                    }
                }
                self.links.insert(key, link);
            }
            Progress::Close(why) => self.close_link(link, &why),
            Progress::Attach => self.attach_link(key, link),
        }
    }

    fn advance(&mut self, key: u64, link: &mut PendingLink) -> Progress {
        if let Carrier::Handshake(_) = link.carrier
            && let Carrier::Handshake(handshake) = std::mem::replace(&mut link.carrier, Carrier::Away)
            && let Some(keys) = &self.keys
        {
            keys.handshake(key, handshake);
        }
        loop {
            let Carrier::Stream(stream) = &mut link.carrier else { return Progress::Wait(NOTHING) };
            link.output.extend(link.machine.output());
            match write_out(&mut **stream, &mut link.output) {
                Ok(true) if link.upgrading => {
                    link.upgrading = false;
                    let Some(stream) = link.take_stream() else { return Progress::Wait(NOTHING) };
                    link.carrier = Carrier::Stream(Box::new(WebSocketTransport::new(stream)));
                    link.machine.restart();
                    continue;
                }
                Ok(true) => {}
                Ok(false) => return Progress::Wait(WRITE),
                Err(error) => return Progress::Close(error.to_string()),
            }
            match link.end.take() {
                Some(End::Close(why)) => {
                    discard_input(&mut **stream);
                    return Progress::Close(why);
                }
                Some(End::Attach) => return Progress::Attach,
                None => {}
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
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Progress::Wait(READ),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => None,
                Err(error) => return Progress::Close(error.to_string()),
            };
            match event {
                None => {}
                Some(LinkEvent::Upgrade(request)) => match websocket::answer(&request) {
                    Some(reply) => {
                        link.output.extend(reply);
                        link.upgrading = true;
                    }
                    None => {
                        link.machine.refuse(LinkError::InvalidMagic);
                        link.end = Some(End::Close("a HTTP request that asks for no WebSocket".into()));
                    }
                },
                Some(LinkEvent::Message(message)) => self.judge(link, message),
                Some(LinkEvent::Ticket(ticket)) => match (&self.keys, link.key.take()) {
                    (Some(keys), Some(ticket_key)) => keys.open(key, ticket_key, ticket),
                    _ => return Progress::Close("no ticket key".into()),
                },
                Some(LinkEvent::Failed(why)) => link.end = Some(End::Close(why)),
            }
        }
    }

    /// The client said which channel it wants (server.md 5.1 steps 4 and 5).
    fn judge(&mut self, link: &mut PendingLink, message: LinkMessage) {
        let allowed = self.config.security(message.channel_type);
        let (needed, error) = if link.tls {
            (security::SSL, LinkError::NeedUnsecured)
        } else {
            (security::NONE, LinkError::NeedSecured)
        };
        let (channel_type, id) = (message.channel_type, message.channel_id);
        link.message = message;
        link.identified = true;
        if allowed & needed == 0 {
            link.machine.refuse(error);
            link.end = Some(End::Close(format!("channel type {channel_type}: {error}")));
        } else if channel_type != ChannelType::Main.number() && !self.is_registered(channel_type, id) {
            link.end = Some(End::Close(format!("there is no channel of type {channel_type}, id {id}")));
        } else {
            link.waits_for_key = true;
            self.give_key(link);
        }
    }

    fn give_key(&mut self, link: &mut PendingLink) {
        let Some(ticket_key) = self.keys.as_ref().and_then(|keys| keys.current(self.now)) else { return };
        link.waits_for_key = false;
        let ours = Caps::from_bits(&[common::AUTH_SELECTION, common::AUTH_SPICE, common::MINI_HEADER]);
        link.machine.accept(ticket_key.public(), &ours, &channel_caps(link.message.channel_type));
        link.key = Some(ticket_key);
    }

    /// A TLS handshake comes back from the key thread.
    pub fn on_handshake(&mut self, key: u64, handshake: Handshake, step: io::Result<Step>) {
        // Of a link that was given up meanwhile nothing is left but this.
        let Some(mut link) = self.links.remove(&key) else { return };
        let interest = match step {
            Ok(Step::Done) => {
                link.carrier = Carrier::Stream(Box::new(handshake.finish()));
                self.links.insert(key, link);
                self.drive_link(key);
                return;
            }
            Ok(Step::Read) => READ,
            Ok(Step::Write) => WRITE,
            Err(error) => {
                link.carrier = Carrier::Handshake(handshake);
                self.close_link(link, &error.to_string());
                return;
            }
        };
        link.carrier = Carrier::Handshake(handshake);
        link.interest = interest;
        if let Some(watch) = link.watch {
            self.host_effect(move |l| l.watch_update(watch, interest));
        }
        self.links.insert(key, link);
    }

    /// The first key is there, or another.
    pub fn on_key_ready(&mut self) {
        let waiting: Vec<u64> = self.links.iter().filter(|(_, l)| l.waits_for_key).map(|(&k, _)| k).collect();
        for key in waiting {
            if let Some(mut link) = self.links.remove(&key) {
                self.give_key(&mut link);
                self.links.insert(key, link);
                self.drive_link(key);
            }
        }
    }

    /// The ticket of a link was tried. `seconds` is the ticket clock.
    pub fn on_ticket_opened(&mut self, key: u64, password: Option<&[u8]>, seconds: u64) {
        let Some(link) = self.links.get(&key) else { return };
        let is_main = link.message.channel_type == ChannelType::Main.number();
        let session = link.message.connection_id;
        let refusal = if !self.ticketing.admits(password, link.skip_auth, seconds) {
            Some((LinkError::PermissionDenied, "wrong or expired password"))
        } else if is_main && session != 0 {
            Some((LinkError::BadConnectionId, "no migration is under way"))
        } else if !is_main && self.client_of_session(session).is_none() {
            Some((LinkError::BadConnectionId, "no client has this session id"))
        } else {
            None
        };
        if let Some((error, why)) = refusal {
            self.end_link(key, error, why);
            return;
        }
        if is_main && !self.config.multi_client {
            self.drop_all_clients("replaced by a new client");
        }
        // After what the above causes: the old client is gone before the new one is told OK.
        self.effect(move |core| core.within(|s| s.end_link(key, LinkError::Ok, "")));
    }

    fn end_link(&mut self, key: u64, result: LinkError, why: &str) {
        let Some(link) = self.links.get_mut(&key) else { return };
        link.machine.finish(result);
        link.end = Some(if result == LinkError::Ok { End::Attach } else { End::Close(why.into()) });
        self.drive_link(key);
    }

    /// The result is written: tells the host, then the link becomes a channel.
    pub fn attach_link(&mut self, key: u64, link: PendingLink) {
        let event = ChannelEvent::Initialized {
            connection_id: link.message.connection_id,
            channel_type: link.message.channel_type,
            channel_id: link.message.channel_id,
            tls: link.tls,
        };
        if link.message.channel_type == ChannelType::Main.number() {
            self.attach_main(key, link);
        } else {
            self.effect(move |core: &Arc<Core>| {
                core.channel_event(key, event);
                core.within(|s| s.attach_channel(key, link));
            });
        }
    }

    /// Ends a connection of the link stage, with one line in the log.
    pub fn close_link(&mut self, link: PendingLink, why: &str) {
        // Apart, so that a flood of strangers does not keep refused clients out of the log.
        if link.identified {
            crate::warning_limited!("link from {}: {why}", link.peer);
        } else {
            crate::warning_limited!("link from {}: {why}", link.peer);
        }
        self.close_quietly(link);
    }

    pub fn close_quietly(&mut self, link: PendingLink) {
        let watch = link.watch;
        self.effect(move |core| core.close(watch, link));
    }
}

/// What the link reply says that a channel can do.
fn channel_caps(channel_type: u8) -> Caps {
    match ChannelType::try_from(channel_type) {
        Ok(ChannelType::Main) => Caps::from_bits(&[
            main::SEMI_SEAMLESS_MIGRATE,
            main::NAME_AND_UUID,
            main::AGENT_CONNECTED_TOKENS,
            main::SEAMLESS_MIGRATE,
        ]),
        Ok(ChannelType::Inputs) => Caps::from_bits(&[inputs::KEY_SCANCODE]),
        Ok(ChannelType::Display) => {
            use crate::protocol::caps::display::*;
            Caps::from_bits(&[MONITORS_CONFIG, STREAM_REPORT, PREF_COMPRESSION, PREF_VIDEO_CODEC_TYPE])
        }
        _ => Caps::default(),
    }
}

/// Whether all is written; false: the socket is full.
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
