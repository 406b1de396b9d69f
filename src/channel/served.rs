//! One channel with the links of all its clients, as both event loops drive it. The driver tells it which sockets are ready and
//! what time it is. It reads messages, gives them to the channel, and flushes what the channel sends. It knows no watch and no
//! poll.

use super::connection::{ChannelConnection, ClientId, ConnectionId};
use super::link::{ChannelError, ChannelLink, Received};
use super::links::Links;
use super::out::Said;
use super::{Channel, Out, ServerRequest};
use crate::host::Readiness;
use crate::limits::MAX_WORK_PER_TURN;
use crate::net::stream::Flush;
use std::time::Instant;

/// How often the channel may send more within one flush, before other links get their turn.
const MAX_REFILLS: usize = 64;

/// A channel and its links.
#[derive(Debug)]
pub(crate) struct Served<C: Channel + ?Sized> {
    links: Links,
    channel: Box<C>,
}

impl<C: Channel + ?Sized> Served<C> {
    /// A channel without clients.
    #[must_use]
    pub(crate) fn new(channel: Box<C>) -> Self {
        Self { links: Links::default(), channel }
    }

    /// The links, to look at.
    #[must_use]
    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    /// A link, without the channel learning of it.
    pub(crate) fn link_mut(&mut self, at: ConnectionId) -> Option<&mut ChannelLink> {
        self.links.get_mut(at)
    }

    /// The channel, to look at.
    #[must_use]
    pub(crate) fn channel(&self) -> &C {
        &self.channel
    }

    /// The channel, for calls that need no link.
    pub(crate) fn channel_mut(&mut self) -> &mut C {
        &mut self.channel
    }

    /// The channel, and the [`Out`] for one call of its methods.
    pub(crate) fn parts<'a>(&'a mut self, now: Instant, said: &'a mut Said) -> (&'a mut C, Out<'a>) {
        (&mut *self.channel, Out::new(now, &mut self.links, said))
    }

    /// Takes a connection over and lets the channel greet its client.
    pub(crate) fn attach(
        &mut self,
        at: ConnectionId,
        connection: ChannelConnection,
        now: Instant,
        said: &mut Said,
    ) {
        let arrives = connection.migration_target && self.channel.migrates_data();
        let mut link = ChannelLink::new(connection, self.channel.profile().options, now);
        if arrives {
            link.expect_migrate_data();
        }
        if self.channel.opens_links() {
            link.open();
        }
        // The transport may hold bytes that no watch reports.
        link.resume_reading();
        self.links.insert(at, link);
        let (channel, mut out) = self.parts(now, said);
        let opened = channel.on_open(at, &mut out);
        self.judge(at, opened, said);
    }

    fn judge(&mut self, at: ConnectionId, result: Result<(), ChannelError>, said: &mut Said) {
        if let Err(error) = result {
            said.ended.push((at, error));
        }
    }

    /// Takes a link out; nothing can be sent to it any more. [`Self::on_closed`] must follow.
    pub(crate) fn take(&mut self, at: ConnectionId) -> Option<ChannelLink> {
        self.links.remove(at)
    }

    /// Tells the channel that a link is gone.
    pub(crate) fn on_closed(&mut self, at: ConnectionId, now: Instant, said: &mut Said) {
        let (channel, mut out) = self.parts(now, said);
        channel.on_closed(at, &mut out);
    }

    /// The connections of one client.
    #[must_use]
    pub(crate) fn connections_of(&self, client: ClientId) -> Vec<ConnectionId> {
        self.links.iter().filter(|(_, link)| link.id() == client).map(|(at, _)| at).collect()
    }

    /// A link's socket is ready.
    pub(crate) fn on_ready(&mut self, at: ConnectionId, ready: Readiness, now: Instant, said: &mut Said) {
        if self.links.touch(at).is_some() && ready.read {
            let read = self.read(at, now, said);
            self.judge(at, read, said);
        }
    }

    fn read(&mut self, at: ConnectionId, now: Instant, said: &mut Said) -> Result<(), ChannelError> {
        if let Some(link) = self.links.touch(at) {
            link.begin_reading();
        }
        while let Some(link) = self.links.touch(at) {
            if said.work >= MAX_WORK_PER_TURN {
                link.end_batch(now);
                return Ok(());
            }
            let Some(received) = link.receive(now)? else { return Ok(()) };
            let (channel, mut out) = self.parts(now, said);
            match received {
                Received::Message(message) => channel.on_message(at, message, &mut out)?,
                Received::Pong { id } => channel.on_pong(at, id, &mut out),
                Received::MigrateData(data) => {
                    if let Some(link) = out.link(at) {
                        link.unmute();
                    }
                    channel.restore(at, &data, &mut out)?;
                    out.ask(at, ServerRequest::Restored);
                }
                Received::FlushMark => {
                    let data = channel.migrate_data(at, &mut out).ok_or_else(no_state)?;
                    if let Some(link) = out.link(at) {
                        link.send_migrate_data(data);
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells the channel that the client follows the machine to another host.
    pub(crate) fn hand_over(&mut self, at: ConnectionId, now: Instant, said: &mut Said) {
        let (channel, mut out) = self.parts(now, said);
        channel.on_migrate(at, &mut out);
    }

    /// The oldest link that something was sent to since its last flush. [`Self::flush`] must follow.
    pub(crate) fn next_touched(&mut self) -> Option<ConnectionId> {
        self.links.next_touched()
    }

    /// Whether something was sent to a link since the last flush.
    #[must_use]
    pub(crate) fn is_touched(&self) -> bool {
        self.links.is_touched()
    }

    /// Writes what was sent to a link. When the kernel has taken everything, the channel may send more.
    pub(crate) fn flush(&mut self, at: ConnectionId, now: Instant, said: &mut Said) {
        let flushed = self.flush_link(at, now, said);
        self.judge(at, flushed, said);
    }

    fn flush_link(&mut self, at: ConnectionId, now: Instant, said: &mut Said) -> Result<(), ChannelError> {
        self.links.set_unfinished(at, false);
        for _ in 0..MAX_REFILLS {
            let waiting = self.channel.is_waiting(at);
            let Some(link) = self.links.get_mut(at) else { return Ok(()) };
            if link.flush(waiting, now)? == Flush::Blocked {
                return Ok(());
            }
            let (channel, mut out) = self.parts(now, said);
            channel.on_drained(at, &mut out)?;
            self.links.take_touch(at);
            if self.links.get(at).is_none_or(ChannelLink::is_drained) {
                return Ok(());
            }
        }
        self.links.set_unfinished(at, true);
        Ok(())
    }

    /// Tells the channel that the turn ends. [`Self::push`] for each client must follow.
    pub(crate) fn on_turn_end(&mut self, now: Instant, said: &mut Said) {
        let (channel, mut out) = self.parts(now, said);
        channel.on_turn_end(&mut out);
    }

    /// Lets the channel send what waits for a client, and writes it.
    pub(crate) fn push(&mut self, at: ConnectionId, now: Instant, said: &mut Said) {
        let (channel, mut out) = self.parts(now, said);
        let mut pushed = channel.push(at, &mut out);
        if pushed.is_ok() && self.links.take_touch(at) {
            pushed = self.flush_link(at, now, said);
        }
        self.judge(at, pushed, said);
    }

    /// When a link, or the channel for its client, has something to do.
    fn deadline_of(&self, at: ConnectionId, link: &ChannelLink, now: Instant) -> Option<Instant> {
        let unfinished = self.links.is_unfinished(at).then_some(now);
        let client = self.channel.client_deadline(at, link, now);
        [link.next_deadline(now), client, unfinished].into_iter().flatten().min()
    }

    /// When the driver has to call [`Self::on_link_timer`] or [`Self::on_channel_timer`].
    #[must_use]
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let links = self.links.iter().filter_map(|(at, link)| self.deadline_of(at, link, now));
        links.chain(self.channel.next_deadline()).min()
    }

    /// Links that have something to do by now.
    #[must_use]
    pub(crate) fn due(&self, now: Instant) -> Vec<ConnectionId> {
        let is_due = |(at, link): &(ConnectionId, &ChannelLink)| {
            self.deadline_of(*at, link, now).is_some_and(|due| due <= now)
        };
        self.links.iter().filter(is_due).map(|(at, _)| at).collect()
    }

    /// Serves the deadlines of one link: sends PINGs, gives up a silent client, reads messages that were left unread, and lets the
    /// channel do what is due for this client.
    pub(crate) fn on_link_timer(&mut self, at: ConnectionId, now: Instant, said: &mut Said) {
        let Some(link) = self.links.touch(at) else { return };
        link.end_rest(now);
        let wants_reading = link.wants_reading();
        let mut result = link.on_timer(now);
        if result.is_ok() && wants_reading {
            result = self.read(at, now, said);
        }
        if result.is_ok() {
            let (channel, mut out) = self.parts(now, said);
            result = channel.on_client_timer(at, &mut out);
        }
        self.judge(at, result, said);
    }

    /// Serves the channel's own deadline.
    pub(crate) fn on_channel_timer(&mut self, now: Instant, said: &mut Said) {
        if self.channel.next_deadline().is_some_and(|at| at <= now) {
            let (channel, mut out) = self.parts(now, said);
            channel.on_timer(&mut out);
        }
    }
}

fn no_state() -> ChannelError {
    ChannelError::Refused("the channel has no state for the target of the migration".into())
}
