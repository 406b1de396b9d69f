//! Connections on their way from accept to a live channel (server.md 4.1, 5).
//!
//! ```text
//!  accept / add_client
//!        |
//!        | TLS                    plain
//!        v                          |
//!  Tls(handshake) <--> TlsAway      |
//!        | the crypto thread steps  |
//!        +------------+-------------+
//!                     v
//!                  Talking -----> AwaitKey        the link message is judged, the first ticket key is
//!                   |  ^             |            not made yet
//!                   |  +-------------+
//!                   |
//!                   +-----------> Held            the address guessed wrong before: it waits
//!                   |                v
//!                   +-----------> TicketAway      the crypto thread opens the ticket
//!                   |                |
//!                   |  +----------+  |
//!                   +->| SaslAway |  |            or the login threads judge the client, message by message
//!                   |<-+----------+  |
//!                   |       Proven -+|            SASL's own OK is being written, then its layer begins
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
//! - `guesses.rs`: who has been guessing passwords.
//! - `sasl.rs`: the way of clients that use SASL.
//! - `admission.rs`: who is let in: security, channels, tickets, sessions.
//!
//! `net::link` has the protocol of the link stage, as a machine without I/O. This folder runs on the host thread and never waits:
//! the threads of `net::keys` do RSA, TLS and SASL. In the stages whose names end in `Away`, the link holds the token of its job
//! there. A link that is closed drops the token, which cancels the job.

mod admission;
mod driver;
mod guesses;
mod sasl;

pub(crate) use sasl::Sasl;

use super::clients::Clients;
use super::error::ServerError;
use super::state::State;
use crate::channel::connection::{ConnectionGuard, ConnectionId};
use crate::host::call::HostCall;
use crate::host::{ChannelEvent, Readiness, WatchId};
use crate::limits::MAX_PENDING_LINKS;
use crate::net::keys::{CancelToken, TicketKey};
use crate::net::link::LinkMachine;
use crate::net::listener::{addresses, set_connection_options};
use crate::net::sasl::SaslSession;
use crate::net::socket::SocketTransport;
use crate::net::tls::Handshake;
use crate::net::transport::Transport;
use crate::protocol::link::{LinkMessage, TICKET_SIZE};
use guesses::{Guesses, Origin};
use nix::sys::resource::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

const READ: Readiness = Readiness { read: true, write: false };
const WRITE: Readiness = Readiness { read: false, write: true };
const NOTHING: Readiness = Readiness { read: false, write: false };

/// The stage of a connection. The module's documentation has the diagram.
#[derive(Debug)]
enum LinkStage {
    /// A TLS handshake that waits for its socket.
    Tls(Handshake),
    /// The handshake is with the crypto thread.
    TlsAway { _job: CancelToken },
    /// The link machine talks with the client.
    Talking,
    /// The client waits for a ticket key.
    AwaitKey,
    /// The client has to wait until this time, since its address guessed wrong before.
    Held { until: Instant, what: Held },
    /// The ticket is with the crypto thread.
    TicketAway { _job: CancelToken },
    /// A step of the SASL exchange is with the login threads.
    SaslAway { _job: CancelToken },
    /// SASL has accepted the client. Its answer is being written, and then the security layer begins, if there is one.
    Proven { layer: bool },
    /// The refusal is being written. Then the connection is closed for this reason.
    Refused(String),
    /// OK is being written. Then the connection becomes a channel.
    Accepted,
}

/// What waits because the address guessed wrong before.
#[derive(Debug)]
enum Held {
    Ticket(Box<[u8; TICKET_SIZE]>),
    Sasl,
}

/// A connection in the link stage.
pub(crate) struct PendingLink {
    stage: LinkStage,
    /// `None` while a handshake owns the socket, and after the link stage.
    stream: Option<Box<dyn Transport>>,
    /// The output answers a WebSocket upgrade. Frames follow it.
    upgrading: bool,
    machine: LinkMachine,
    output: Vec<u8>,
    pub watch: Option<WatchId>,
    pub interest: Readiness,
    deadline: Instant,
    skip_auth: bool,
    pub tls: bool,
    pub peer: String,
    origin: Origin,
    pub message: LinkMessage,
    /// Whether the link message has come. Until then the client counts as a stranger.
    identified: bool,
    /// The last turn stopped early, so another one must follow.
    again: bool,
    key: Option<Arc<TicketKey>>,
    /// The SASL exchange, when it is not with the login threads.
    session: Option<Box<dyn SaslSession>>,
    /// Tells the host that the socket is closed. It is dropped after the transport.
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
            origin: Origin::of(&peer),
            peer,
            message: LinkMessage::default(),
            identified: false,
            again: false,
            key: None,
            session: None,
            guard,
        }
    }

    /// A connection that has passed the link stage with this message, for oracles.
    #[cfg(any(test, feature = "oracles"))]
    pub(crate) fn linked(
        transport: Box<dyn Transport>,
        message: LinkMessage,
        guard: ConnectionGuard,
        deadline: Instant,
    ) -> Self {
        let stream = Some(transport);
        Self { stream, message, identified: true, ..Self::new("memory".into(), deadline, guard) }
    }

    /// How much is lost if this connection is closed to make room.
    fn promise(&self, clients: &Clients) -> u8 {
        match self.stage {
            LinkStage::Held { .. } | LinkStage::Refused(_) => 0,
            _ if self.origin == Origin::Local || self.skip_auth => 3,
            _ if self.identified && clients.of_session(self.message.connection_id).is_some() => 3,
            // It has said what it wants, or done its part of a TLS handshake.
            _ if self.identified || (self.tls && self.stream.is_some()) => 2,
            _ => 1,
        }
    }

    /// The stream, for the message stage.
    pub(crate) fn take_stream(&mut self) -> Option<Box<dyn Transport>> {
        self.stream.take()
    }
}

/// The connections in the link stage.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<ConnectionId, PendingLink>,
    guesses: Guesses,
    /// How many connections there may be; `None`: not computed yet.
    limit: Option<usize>,
}

impl Links {
    /// When the time of the next connection is over, or it has to go on.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let next = |link: &PendingLink| match link.stage {
            _ if link.again => now,
            LinkStage::Held { until, .. } => until.min(link.deadline),
            _ => link.deadline,
        };
        self.links.values().map(next).min()
    }

    /// How many connections there may be.
    pub(crate) fn limit(&mut self) -> usize {
        *self.limit.get_or_insert_with(|| {
            let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
            usize::try_from(descriptors / 4).unwrap_or(MAX_PENDING_LINKS).clamp(16, MAX_PENDING_LINKS)
        })
    }

    /// Adds a connection, for oracles that make their own links.
    pub(crate) fn insert(&mut self, at: ConnectionId, link: PendingLink) {
        self.links.insert(at, link);
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, at: ConnectionId) -> Option<PendingLink> {
        self.links.remove(&at)
    }

    /// Takes all connections out.
    pub(crate) fn take(&mut self) -> Vec<PendingLink> {
        std::mem::take(&mut self.links).into_values().collect()
    }

    fn unfinished(&self) -> Vec<ConnectionId> {
        self.links.iter().filter(|(_, link)| link.again).map(|(&at, _)| at).collect()
    }

    fn late(&self, now: Instant) -> Vec<ConnectionId> {
        self.links.iter().filter(|(_, link)| link.deadline <= now).map(|(&at, _)| at).collect()
    }

    /// The connection to close when there are too many. Guessers come first, then strangers, then links that have done their part
    /// of a TLS handshake or sent their link message, and last the links of clients that are connected already and sockets that
    /// the host vouches for. Among equals the address with the most links loses its oldest one.
    fn least_promising(&self, clients: &Clients) -> Option<ConnectionId> {
        let mut per_origin: BTreeMap<Origin, usize> = BTreeMap::new();
        for link in self.links.values() {
            *per_origin.entry(link.origin).or_default() += 1;
        }
        let rank = |link: &PendingLink| {
            let crowd = per_origin.get(&link.origin).copied().unwrap_or(0);
            (link.promise(clients), std::cmp::Reverse(crowd))
        };
        // The oldest come first, and `min_by_key` gives the first of equals.
        self.links.iter().min_by_key(|(_, link)| rank(link)).map(|(&at, _)| at)
    }
}

impl State {
    /// Starts the link stage of a connected socket. If this fails, the caller gets the socket back.
    pub(crate) fn add_link(
        &mut self,
        fd: OwnedFd,
        skip_auth: bool,
        tls: bool,
    ) -> Result<(), (OwnedFd, ServerError)> {
        if !self.phase.is_ready() {
            return Err((fd, ServerError::NotInitialized));
        }
        let source = match (tls, &self.tls) {
            (false, _) => None,
            (true, Some(source)) => Some(source.clone()),
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
        match source {
            None => link.stream = Some(Box::new(transport)),
            Some(source) => link.stage = LinkStage::Tls(Handshake::new(source, transport)),
        }
        self.links.insert(at, link);
        self.host_call(HostCall::Event(at, ChannelEvent::Connected(sockets)));
        self.host_call(HostCall::AddWatch { connection: at, fd: raw, interest: READ });
        Ok(())
    }

    fn make_room_for_link(&mut self) {
        while self.links.links.len() >= self.links.limit() {
            let victim = self.links.least_promising(&self.clients);
            let Some(link) = victim.and_then(|at| self.links.remove(at)) else { return };
            self.close_link(link, "too many connections in the link stage");
        }
    }

    /// Goes on with links whose last turn stopped early.
    pub(crate) fn continue_links(&mut self) {
        for at in self.links.unfinished() {
            self.drive_link(at);
        }
    }

    /// Closes the links whose time is over, and goes on with those that had to wait after wrong guesses.
    pub(crate) fn expire_links(&mut self) {
        self.release_held();
        for at in self.links.late(self.now) {
            if let Some(link) = self.links.remove(at) {
                self.close_link(link, "the link stage took too long");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Links from these peers, oldest first; a star in front: it has sent its link message.
    fn links(peers: &[&str]) -> Links {
        let mut links = Links::default();
        for (n, peer) in (1..).zip(peers) {
            let identified = peer.starts_with('*');
            let peer = peer.trim_start_matches('*').to_owned();
            let link = PendingLink::new(peer, Instant::now(), ConnectionGuard::default());
            links.insert(ConnectionId(n), PendingLink { identified, ..link });
        }
        links
    }

    /// Which links go, one after the other.
    fn victims(links: &mut Links) -> Vec<u64> {
        let clients = Clients::default();
        let mut gone = Vec::new();
        while let Some(at) = links.least_promising(&clients) {
            links.remove(at);
            gone.push(at.0);
        }
        gone
    }

    #[test]
    fn a_flood_from_one_address_drops_its_own_oldest_links() {
        let mut links = links(&["10.0.0.1:1", "10.0.0.9:1", "10.0.0.9:2", "10.0.0.9:3", "10.0.0.2:1"]);
        assert_eq!(victims(&mut links), [2, 3, 1, 4, 5]);
    }

    #[test]
    fn who_has_said_what_it_wants_outlasts_strangers_and_the_host_s_own_sockets_outlast_all() {
        let mut links = links(&["unix", "*10.0.0.9:1", "10.0.0.9:2", "*10.0.0.9:3", "10.0.0.2:1"]);
        assert_eq!(victims(&mut links), [3, 5, 2, 4, 1]);
    }

    #[test]
    fn guessers_go_first() {
        let mut links = links(&["10.0.0.9:1", "*10.0.0.1:1", "10.0.0.9:2"]);
        let held = LinkStage::Held { until: Instant::now(), what: Held::Sasl };
        links.links.get_mut(&ConnectionId(2)).unwrap().stage = held;
        assert_eq!(victims(&mut links), [2, 1, 3]);
    }
}
