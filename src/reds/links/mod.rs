//! Connections on their way from accept to a live channel (server.md 4.1, 5).
//!
//! ```text
//!  accept / add_client
//!        |
//!        | TLS                    plain
//!        v                          |
//!  Tls(handshake) <--> TlsAway      |
//!        |  the crypto threads step |
//!        +------------+-------------+
//!                     v
//!                  Talking -----> AwaitKey        the link message is judged, the first ticket key is
//!                   |  ^             |            not made yet
//!                   |  +-------------+
//!                   |
//!                   +-----------> TicketAway      the crypto threads open the ticket
//!                   |                |
//!                   v                v
//!               Refused(why)      Accepted        the result is being written
//!                   |                |
//!                   v                v
//!                 closed     the host is told, then the channel gets the connection (clients.rs)
//! ```
//!
//! - `mod.rs`: the stages, the set of pending links, which ones go when there are too many.
//! - `driver.rs`: reads and writes as far as the socket goes, on the host's watch.
//! - `admission.rs`: who is let in: security, channels, tickets, sessions.
//!
//! The protocol of the link stage itself is a machine without I/O, `net::link`. Everything in here runs on the host thread
//! and never waits; RSA and TLS run on the crypto threads (`net::keys`).

mod admission;
mod driver;

use super::error::ServerError;
use super::state::State;
use crate::channel::connection::{ConnectionGuard, ConnectionId};
use crate::host::call::HostCall;
use crate::host::{ChannelEvent, Readiness, WatchId};
use crate::limits::MAX_PENDING_LINKS;
use crate::net::keys::TicketKey;
use crate::net::link::LinkMachine;
use crate::net::listener::{addresses, set_connection_options};
use crate::net::socket::SocketTransport;
use crate::net::stream::Transport;
use crate::net::tls::Handshake;
use crate::protocol::link::LinkMessage;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

const READ: Readiness = Readiness { read: true, write: false };
const WRITE: Readiness = Readiness { read: false, write: true };
const NOTHING: Readiness = Readiness { read: false, write: false };

/// Where a connection is on its way; the module's documentation has the diagram.
#[derive(Debug)]
enum LinkStage {
    /// A TLS handshake at rest until its socket is ready.
    Tls(Handshake),
    /// The handshake is with the crypto threads.
    TlsAway,
    /// The link machine talks with the client.
    Talking,
    /// The client waits for a ticket key.
    AwaitKey,
    /// The ticket is with the crypto threads.
    TicketAway,
    /// The refusal is being written, then the connection is closed for this reason.
    Refused(String),
    /// OK is being written, then the connection becomes a channel.
    Accepted,
}

/// A connection in the link stage.
pub(crate) struct PendingLink {
    stage: LinkStage,
    /// `None` while a handshake owns the socket, and at the end.
    stream: Option<Box<dyn Transport>>,
    /// The output answers an upgrade: after it frames begin.
    upgrading: bool,
    machine: LinkMachine,
    output: Vec<u8>,
    pub watch: Option<WatchId>,
    pub interest: Readiness,
    deadline: Instant,
    skip_auth: bool,
    pub tls: bool,
    pub peer: String,
    pub message: LinkMessage,
    /// The link message has come: the client is more than a stranger.
    identified: bool,
    key: Option<Arc<TicketKey>>,
    /// After the transport: tells that the socket is closed.
    pub guard: ConnectionGuard,
}

impl fmt::Debug for PendingLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLink")
            .field("peer", &self.peer)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl PendingLink {
    fn new(peer: String, deadline: Instant, guard: ConnectionGuard) -> Self {
        Self {
            stage: LinkStage::Talking,
            stream: None,
            upgrading: false,
            machine: LinkMachine::default(),
            output: Vec::new(),
            watch: None,
            interest: READ,
            deadline,
            skip_auth: false,
            tls: false,
            peer,
            message: LinkMessage::default(),
            identified: false,
            key: None,
            guard,
        }
    }

    /// A connection that has passed the link stage with this message, for oracles.
    pub fn linked(
        transport: Box<dyn Transport>,
        message: LinkMessage,
        guard: ConnectionGuard,
        deadline: Instant,
    ) -> Self {
        let stream = Some(transport);
        Self { stream, message, identified: true, ..Self::new("memory".into(), deadline, guard) }
    }

    /// The stream, for the message stage.
    pub fn take_stream(&mut self) -> Option<Box<dyn Transport>> {
        self.stream.take()
    }
}

/// The connections in the link stage.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<ConnectionId, PendingLink>,
}

impl Links {
    /// When the next one has used up its time.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.links.values().map(|link| link.deadline).min()
    }

    /// Adds a connection; for oracles, which make links of their own.
    pub fn insert(&mut self, at: ConnectionId, link: PendingLink) {
        self.links.insert(at, link);
    }

    /// Takes a connection out.
    pub fn remove(&mut self, at: ConnectionId) -> Option<PendingLink> {
        self.links.remove(&at)
    }

    /// Takes all connections out.
    pub fn take(&mut self) -> Vec<PendingLink> {
        std::mem::take(&mut self.links).into_values().collect()
    }

    fn late(&self, now: Instant) -> Vec<ConnectionId> {
        self.links.iter().filter(|(_, link)| link.deadline <= now).map(|(&at, _)| at).collect()
    }

    /// The one to go when there are too many: the oldest that has not even sent its link message, or else the oldest.
    fn least_promising(&self) -> Option<ConnectionId> {
        let early = self.links.iter().find(|(_, link)| link.machine.is_early());
        early.or_else(|| self.links.first_key_value()).map(|(&at, _)| at)
    }
}

impl State {
    /// Starts the link stage of a connected socket. On failure the socket is given back.
    pub fn add_link(
        &mut self,
        fd: OwnedFd,
        skip_auth: bool,
        tls: bool,
    ) -> Result<(), (OwnedFd, ServerError)> {
        if !self.phase.is_ready() {
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
        let at = ConnectionId(self.fresh_key());
        let deadline = self.now + self.handshake_timeout;
        let mut link = PendingLink { skip_auth, tls, ..PendingLink::new(peer, deadline, self.guard(at)) };
        match context {
            None => link.stream = Some(Box::new(transport)),
            Some(context) => match Handshake::new(&context, transport) {
                Ok(handshake) => link.stage = LinkStage::Tls(handshake),
                // The socket is closed by now, and the host must not close its number again.
                Err(error) => {
                    crate::warning!("TLS: {error}");
                    return Ok(());
                }
            },
        }
        self.links.insert(at, link);
        self.host_call(HostCall::Event(at, ChannelEvent::Connected(sockets)));
        self.host_call(HostCall::AddWatch { connection: at, fd: raw, interest: READ });
        Ok(())
    }

    fn make_room_for_link(&mut self) {
        while self.links.links.len() >= MAX_PENDING_LINKS {
            let Some(link) = self.links.least_promising().and_then(|at| self.links.remove(at)) else {
                return;
            };
            self.close_link(link, "too many connections in the link stage");
        }
    }

    /// Closes the links that have used up their time.
    pub fn expire_links(&mut self) {
        for at in self.links.late(self.now) {
            if let Some(link) = self.links.remove(at) {
                self.close_link(link, "the link stage took too long");
            }
        }
    }
}
