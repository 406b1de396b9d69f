//! The driver of a channel in the worker's poll loop. The other driver of [`Served`] channels, on the watches of the host
//! thread, is `reds/channels.rs`.
//!
//! The poll is edge-triggered. In each turn the worker calls:
//!
//! ```text
//! before the poll:          sockets(), next_deadline()
//! a socket is ready:        on_ready()
//! next_deadline() reached:  on_timer()
//! at the end of the turn:   push()
//! ```
//!
//! Each step that is about one client is a boundary for panics. A panic ends that client's link; the channel and its other
//! clients go on.

use super::connection::{ChannelConnection, ClientId, ConnectionId};
use super::link::{ChannelError, ChannelLink};
use super::out::Said;
use super::served::Served;
use super::{Channel, Out, ServerRequest};
use crate::host::Readiness;
use crate::panic::guarded;
use std::ops::{Deref, DerefMut};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// How long the driver ignores a channel's own deadline after its timer panicked, so that it does not keep the loop busy.
const AFTER_FAULT: Duration = Duration::from_millis(100);

/// A connection for the worker to poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The connection.
    pub at: ConnectionId,
    /// The descriptor. The connection owns it.
    pub fd: RawFd,
    /// What the worker polls it for.
    pub interest: Readiness,
}

/// A channel with its links. It can be used like the channel itself where no link is needed.
#[derive(Debug)]
pub struct Polled<C: Channel> {
    served: Served<C>,
    /// The driver ignores the channel's own deadline until this time.
    faulty_until: Option<Instant>,
    /// Clients that have brought their state from the source of a migration.
    restored: Vec<ClientId>,
    /// Empty lists for what the channel says in its next step. `None` while a step uses them.
    said: Option<Box<Said>>,
}

impl<C: Channel> Polled<C> {
    /// A channel without clients.
    #[must_use]
    pub fn new(channel: C) -> Self {
        Self { served: Served::new(Box::new(channel)), faulty_until: None, restored: Vec::new(), said: None }
    }

    /// All connections.
    #[must_use]
    pub fn sockets(&self) -> Vec<Socket> {
        let links = self.served.links().iter();
        links.map(|(at, link)| Socket { at, fd: link.raw_fd(), interest: link.interest() }).collect()
    }

    /// How many connections there are.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.served.links().count()
    }

    /// When one of the clients last pressed a key or a button.
    #[must_use]
    pub fn last_input(&self) -> Option<Instant> {
        let links = self.served.links();
        links.ids().filter_map(|at| links.get(at)?.connection().shared.last_input()).max()
    }

    /// The links, to look at.
    #[cfg(test)]
    pub(crate) fn links(&self) -> &super::links::Links {
        self.served.links()
    }

    fn connections(&self) -> Vec<ConnectionId> {
        self.served.links().ids().collect()
    }

    /// Takes a new connection over.
    pub fn attach(&mut self, at: ConnectionId, connection: ChannelConnection, now: Instant) {
        self.drive(at, "opening a link", |served, said| served.attach(at, connection, now, said), now);
        self.drive(at, "sending to a client", |served, said| served.flush(at, now, said), now);
    }

    /// Drops all connections of a client.
    pub fn detach(&mut self, client: ClientId, now: Instant) {
        for at in self.served.connections_of(client) {
            self.close(at, now);
        }
    }

    /// Drops all connections.
    pub fn detach_all(&mut self, now: Instant) {
        for at in self.connections() {
            self.close(at, now);
        }
    }

    /// The client follows its machine to another host.
    pub fn hand_over(&mut self, client: ClientId, now: Instant) {
        for at in self.served.connections_of(client) {
            self.drive(at, "handing a client over", |served, said| served.hand_over(at, now, said), now);
        }
    }

    /// Clients that have brought their state from the source of a migration since the last call.
    pub fn take_restored(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.restored)
    }

    /// Runs a step of the channel for every client. An error ends the client's link.
    pub fn each(
        &mut self,
        now: Instant,
        mut work: impl FnMut(&mut C, ConnectionId, &mut Out<'_>) -> Result<(), ChannelError>,
    ) {
        for at in self.connections() {
            let step = |served: &mut Served<C>, said: &mut Said| {
                let (channel, mut out) = served.parts(now, said);
                if let Err(error) = work(channel, at, &mut out) {
                    out.disconnect(at, error);
                }
            };
            self.drive(at, "work for a client", step, now);
        }
    }

    /// A connection's socket is ready. This does not send what the channel holds back for the client: [`Self::push`] does, after
    /// the worker has read the rings.
    pub fn on_ready(&mut self, at: ConnectionId, ready: Readiness, now: Instant) {
        if ready.write {
            self.drive(at, "sending to a client", |served, said| served.flush(at, now, said), now);
        }
        self.drive(at, "a client's messages", |served, said| served.on_ready(at, ready, now, said), now);
    }

    /// Lets the channel send to every client what it can take now.
    pub fn push(&mut self, now: Instant) {
        let (served, mut said) = (&mut self.served, self.said.take().unwrap_or_default());
        guarded("the end of a turn", || served.on_turn_end(now, &mut said));
        self.hear(said, now);
        if self.link_count() == 0 {
            return;
        }
        for at in self.connections() {
            self.drive(at, "sending to a client", |served, said| served.push(at, now, said), now);
        }
    }

    /// When the worker has to call [`Self::on_timer`] or [`Self::push`]. A time in the past means: at once.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.served.next_deadline(now).map(|at| self.faulty_until.map_or(at, |until| until.max(at)))
    }

    /// Does what is due: sends PINGs, gives up silent clients, and serves the channel's deadlines.
    pub fn on_timer(&mut self, now: Instant) {
        if self.faulty_until.is_none_or(|until| until <= now) {
            self.faulty_until = None;
            let mut said = self.said.take().unwrap_or_default();
            let served = &mut self.served;
            if guarded("the time of a channel", || served.on_channel_timer(now, &mut said)).is_none() {
                self.faulty_until = Some(now + AFTER_FAULT);
            }
            self.hear(said, now);
        }
        for at in self.served.due(now) {
            self.drive(at, "the time of a link", |served, said| served.on_link_timer(at, now, said), now);
        }
    }

    /// Runs a step that is about one client. A panic ends this client's link.
    fn drive(
        &mut self,
        at: ConnectionId,
        what: &str,
        step: impl FnOnce(&mut Served<C>, &mut Said),
        now: Instant,
    ) {
        let mut said = self.said.take().unwrap_or_default();
        let served = &mut self.served;
        if guarded(what, || step(served, &mut said)).is_none() {
            said.ended.push((at, ChannelError::Fault));
        }
        self.hear(said, now);
    }

    /// Ends the links that a step gave up. A channel on a worker makes no calls of the host, and tells the server only that a
    /// client was restored.
    fn hear(&mut self, mut said: Box<Said>, now: Instant) {
        if said.is_nothing() {
            self.said = Some(said);
            return;
        }
        for (at, _) in said.requests.iter().filter(|(_, request)| *request == ServerRequest::Restored) {
            let link = at.and_then(|at| self.served.links().get(at));
            self.restored.extend(link.map(ChannelLink::id));
        }
        for (at, error) in said.ended.drain(..) {
            if let Some(link) = self.served.links().get(at) {
                link.log_end(&error);
                self.close(at, now);
            }
        }
        said.clear();
        self.said = Some(said);
    }

    /// Closes one connection and tells the channel.
    fn close(&mut self, at: ConnectionId, now: Instant) {
        let link = self.served.take(at);
        let (served, mut said) = (&mut self.served, self.said.take().unwrap_or_default());
        guarded("end of a link", || served.on_closed(at, now, &mut said));
        guarded("end of a link", || drop(link));
        self.hear(said, now);
    }

    /// Whether the kernel has taken everything that the clients are to be sent.
    #[cfg(test)]
    pub(crate) fn is_drained(&self) -> bool {
        let channel = self.served.channel();
        self.served.links().iter().all(|(at, link)| link.is_drained() && !channel.is_waiting(at))
    }
}

impl<C: Channel> Deref for Polled<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.served.channel()
    }
}

impl<C: Channel> DerefMut for Polled<C> {
    fn deref_mut(&mut self) -> &mut C {
        self.served.channel_mut()
    }
}
