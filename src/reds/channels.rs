//! The channels that clients can link to, the thread that serves each, and the connections of clients on them. For channels of the
//! host thread this is the driver of [`Served`], on the host's watches.

use super::effect::{ChannelKey, Closing, Effect};
use super::goodbye::Goodbye;
use super::qxl::QxlInstance;
use super::state::State;
use crate::channel::connection::{ChannelConnection, ClientId, ConnectionId};
use crate::channel::link::{ChannelError, ChannelLink};
use crate::channel::out::Said;
use crate::channel::served::Served;
use crate::channel::{Channel, Out, Profile};
use crate::host::call::{HostCall, HostReply};
use crate::host::{Readiness, WatchId};
use crate::panic::guarded;
use crate::protocol::ChannelType;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The thread that serves a channel.
#[derive(Debug)]
pub(crate) enum Home {
    /// On the host thread.
    Host(Served<dyn Channel>),
    /// On the worker of a QXL device. The device is attached when it is `Some`.
    Worker(&'static Profile, Option<Arc<QxlInstance>>),
}

impl Home {
    /// A channel of the host thread.
    pub(crate) fn host(channel: impl Channel) -> Self {
        Self::Host(Served::new(Box::new(channel)))
    }

    fn profile(&self) -> &'static Profile {
        match self {
            Self::Host(served) => served.channel().profile(),
            Self::Worker(profile, _) => profile,
        }
    }
}

/// Where a connection lives.
#[derive(Debug)]
enum Place {
    Host { watch: Option<WatchId>, interest: Readiness },
    Worker,
}

/// One connection of a client on a channel.
#[derive(Debug)]
struct Connection {
    channel: ChannelKey,
    client: ClientId,
    place: Place,
}

/// The registry of channels and their connections.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    /// Newest first, in the order of CHANNELS_LIST. The main channel is among them, but is never listed.
    registry: Vec<(ChannelKey, Home)>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Channels of the host thread that have something to flush, each once, in the order of keys.
    flush_queue: Vec<ChannelKey>,
}

impl Channels {
    /// Registers a channel. Ignores a key that is registered already, which is a mistake of the caller.
    pub(crate) fn register(&mut self, id: u8, home: Home) -> ChannelKey {
        let key = ChannelKey { channel_type: home.profile().channel_type, id };
        if !self.is_registered(key.channel_type.number(), id) {
            self.registry.insert(0, (key, home));
        }
        key
    }

    /// Removes a channel. Its connections on the host thread must be closed already.
    pub(crate) fn unregister(&mut self, key: ChannelKey) {
        self.registry.retain(|(known, _)| *known != key);
    }

    /// The lowest id that no channel of this type has; `None`: all are taken.
    pub(crate) fn free_id(&self, channel_type: ChannelType) -> Option<u8> {
        (0..=u8::MAX).find(|&id| !self.is_registered(channel_type.number(), id))
    }

    /// The connections to a channel of the host thread.
    fn of_channel(&self, key: ChannelKey) -> Vec<ConnectionId> {
        self.connections.iter().filter(|(_, c)| c.channel == key).map(|(&at, _)| at).collect()
    }

    /// Notes that a channel of the host thread may have something to flush.
    fn flush_later(&mut self, key: ChannelKey) {
        if let Err(place) = self.flush_queue.binary_search(&key) {
            self.flush_queue.insert(place, key);
        }
    }

    /// Removes all channels, at the end of the server.
    pub(crate) fn clear(&mut self) {
        self.registry.clear();
    }

    /// Whether nobody is linked to any channel.
    #[cfg(test)]
    pub(crate) fn is_unused(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether clients can link to this type and id.
    pub(crate) fn is_registered(&self, channel_type: u8, id: u8) -> bool {
        self.profile(channel_type, id).is_some()
    }

    /// What is fixed about a channel that clients name.
    pub(crate) fn profile(&self, channel_type: u8, id: u8) -> Option<&'static Profile> {
        let is = |key: &ChannelKey| key.channel_type.number() == channel_type && key.id == id;
        self.registry.iter().find(|(key, _)| is(key)).map(|(_, home)| home.profile())
    }

    /// CHANNELS_LIST: all channels but main. While several clients are connected, it lacks channels that cannot be shared.
    pub(crate) fn list(&self, several_clients: bool) -> Vec<ChannelKey> {
        let listed = |home: &Home| {
            let profile = home.profile();
            profile.channel_type != ChannelType::Main && (profile.shared || !several_clients)
        };
        self.registry.iter().filter(|(_, home)| listed(home)).map(|(key, _)| *key).collect()
    }

    /// Where a channel is served.
    pub(crate) fn home(&mut self, key: ChannelKey) -> Option<&mut Home> {
        self.registry.iter_mut().find(|(known, _)| *known == key).map(|(_, home)| home)
    }

    fn served(&mut self, key: ChannelKey) -> Option<&mut Served<dyn Channel>> {
        match self.home(key)? {
            Home::Host(served) => Some(served),
            Home::Worker(..) => None,
        }
    }

    /// A client's link to a channel of the host thread.
    pub(crate) fn link_mut(&mut self, key: ChannelKey, at: ConnectionId) -> Option<&mut ChannelLink> {
        self.served(key)?.link_mut(at)
    }

    /// A channel of the host thread whose type is `C`, to look at.
    pub(crate) fn look<C: Channel>(&self, key: ChannelKey) -> Option<&C> {
        match &self.registry.iter().find(|(known, _)| *known == key)?.1 {
            Home::Host(served) => (served.channel() as &dyn Any).downcast_ref(),
            Home::Worker(..) => None,
        }
    }

    /// A channel of the host thread whose type is `C`, for a change that says nothing to clients and host.
    pub(crate) fn look_mut<C: Channel>(&mut self, key: ChannelKey) -> Option<&mut C> {
        (self.served(key)?.channel_mut() as &mut dyn Any).downcast_mut()
    }

    /// A client's link to a channel, if it has one already.
    pub(crate) fn link_of(&self, client: ClientId, key: ChannelKey) -> Option<ConnectionId> {
        let is = |c: &Connection| c.client == client && c.channel == key;
        self.connections.iter().find(|(_, c)| is(c)).map(|(&at, _)| at)
    }

    /// Notes a connection that moved to a worker.
    pub(crate) fn note_remote(&mut self, at: ConnectionId, client: ClientId, channel: ChannelKey) {
        self.connections.insert(at, Connection { channel, client, place: Place::Worker });
    }

    /// The client of a connection.
    pub(crate) fn client_of(&self, at: ConnectionId) -> Option<ClientId> {
        self.connections.get(&at).map(|c| c.client)
    }

    /// Whether a connection to a channel of the host thread has messages that the last turn of reading left.
    pub(crate) fn has_unread(&self, at: ConnectionId) -> bool {
        let key = self.key_of(at);
        let home = self.registry.iter().find(|(known, _)| Some(*known) == key).map(|(_, home)| home);
        match home {
            Some(Home::Host(served)) => served.links().get(at).is_some_and(ChannelLink::wants_reading),
            Some(Home::Worker(..)) | None => false,
        }
    }

    /// The channel of a connection.
    pub(crate) fn key_of(&self, at: ConnectionId) -> Option<ChannelKey> {
        self.connections.get(&at).map(|c| c.channel)
    }

    /// The connections of a client on the host thread. The main channel's is the last, since closing the others may send
    /// something on it.
    fn of_client(&self, client: ClientId) -> Vec<ConnectionId> {
        let here = |c: &Connection| c.client == client && matches!(c.place, Place::Host { .. });
        let mut found: Vec<_> =
            self.connections.iter().filter(|(_, c)| here(c)).map(|(&at, c)| (c.channel, at)).collect();
        found.sort_by_key(|(key, _)| key.channel_type == ChannelType::Main);
        found.into_iter().map(|(_, at)| at).collect()
    }

    /// When a channel or a link of the host thread has something to do.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let of = |(_, home): &(ChannelKey, Home)| match home {
            Home::Host(served) => served.next_deadline(now),
            Home::Worker(..) => None,
        };
        self.registry.iter().filter_map(of).min()
    }
}

impl State {
    /// Runs `change` on a channel of the host thread whose type is `C`. `None`: there is no such channel.
    pub(crate) fn with_channel<C: Channel, R>(
        &mut self,
        key: ChannelKey,
        change: impl FnOnce(&mut C, &mut Out<'_>) -> R,
    ) -> Option<R> {
        let (now, mut said) = (self.now, self.said.take().unwrap_or_default());
        let served = self.channels.served(key)?;
        let result = {
            let (channel, mut out) = served.parts(now, &mut said);
            let channel = (channel as &mut dyn Any).downcast_mut::<C>()?;
            change(channel, &mut out)
        };
        let touched = served.is_touched();
        self.hear(key, touched, said);
        Some(result)
    }

    /// Runs `work` on a channel of the host thread. If it panics, the link that it is about is closed, with its client.
    fn drive(
        &mut self,
        key: ChannelKey,
        about: Option<ConnectionId>,
        what: &str,
        work: impl FnOnce(&mut Served<dyn Channel>, Instant, &mut Said),
    ) {
        let (now, mut said) = (self.now, self.said.take().unwrap_or_default());
        let Some(served) = self.channels.served(key) else { return };
        let done = guarded(what, || work(served, now, &mut said));
        if let (None, Some(at)) = (done, about) {
            said.ended.push((at, ChannelError::Fault));
        }
        let touched = served.is_touched();
        self.hear(key, touched, said);
    }

    /// Queues what a channel asked for. `touched`: something may have been sent to its clients.
    fn hear(&mut self, key: ChannelKey, touched: bool, mut said: Box<Said>) {
        if touched {
            self.channels.flush_later(key);
        }
        for call in said.calls.drain(..) {
            self.effects.push_back(Effect::Host { call, from: Some(key) });
        }
        if !said.requests.is_empty() {
            self.requests.extend(said.requests.drain(..));
        }
        if !said.ended.is_empty() {
            for (at, error) in said.ended.drain(..) {
                self.end_connection(at, &error);
            }
        }
        said.clear();
        self.said = Some(said);
    }

    /// Ends a connection of the host thread, with one line in the log. If it is a main channel's, the client is disconnected.
    fn end_connection(&mut self, at: ConnectionId, error: &ChannelError) {
        let Some(connection) = self.channels.connections.get(&at) else { return };
        let (key, client) = (connection.channel, connection.client);
        if let Some(link) = self.channels.served(key).and_then(|served| served.links().get(at)) {
            link.log_end(error);
        }
        if key.channel_type == ChannelType::Main || matches!(error, ChannelError::Fault) {
            self.drop_client(client, Goodbye::of(error, &error.to_string()));
        } else {
            self.close_connection(at);
        }
    }

    /// Closes one connection of the host thread and tells its channel.
    pub(crate) fn close_connection(&mut self, at: ConnectionId) {
        let Some(connection) = self.channels.connections.remove(&at) else { return };
        let Place::Host { watch, .. } = connection.place else { return };
        let key = connection.channel;
        self.on_state_restored(connection.client, key);
        let (now, mut said) = (self.now, self.said.take().unwrap_or_default());
        let link = self.channels.served(key).and_then(|served| served.take(at));
        let touched = self.channels.served(key).is_some_and(|served| {
            guarded("end of a link", || served.on_closed(at, now, &mut said));
            served.is_touched()
        });
        self.hear(key, touched, said);
        if let Some(link) = link {
            self.effects.push_back(Effect::Close(watch, Closing::Linked { _link: Box::new(link) }));
        }
    }

    /// The socket of a connection is closed.
    pub(crate) fn on_connection_gone(&mut self, at: ConnectionId) {
        if let Some(connection) = self.channels.connections.remove(&at) {
            self.on_state_restored(connection.client, connection.channel);
        }
    }

    /// Closes a client's connections on the host thread.
    pub(crate) fn close_connections_of(&mut self, client: ClientId) {
        for at in self.channels.of_client(client) {
            self.close_connection(at);
        }
    }

    /// A client follows its machine to another host. Its channels on the host thread hand over their state.
    pub(crate) fn hand_over_host_channels(&mut self, client: ClientId) {
        for at in self.channels.of_client(client) {
            let Some(key) = self.channels.key_of(at) else { continue };
            self.drive(key, Some(at), "handing a client over", |served, now, said| {
                served.hand_over(at, now, said);
            });
        }
    }

    /// Closes the connections to a channel of the host thread and removes the channel.
    pub(crate) fn close_channel(&mut self, key: ChannelKey) {
        for at in self.channels.of_channel(key) {
            self.close_connection(at);
        }
        self.channels.unregister(key);
    }

    /// Gives a linked connection to its channel on the host thread. The link stage has made its watch.
    pub(crate) fn serve(
        &mut self,
        at: ConnectionId,
        mut connection: ChannelConnection,
        watch: Option<WatchId>,
        interest: Readiness,
    ) {
        connection.stream.poll_repeats();
        let key = ChannelKey { channel_type: connection.channel_type, id: connection.channel_id };
        crate::debug!("{}: connection {}", connection.label(), at.0);
        let place = Place::Host { watch, interest };
        self.channels.connections.insert(at, Connection { channel: key, client: connection.client, place });
        self.drive(key, Some(at), "opening a link", |served, now, said| {
            served.attach(at, connection, now, said)
        });
    }

    /// A connection's socket is ready.
    pub(crate) fn on_connection_ready(&mut self, at: ConnectionId, ready: Readiness) {
        match self.channels.connections.get(&at) {
            Some(connection) => {
                let key = connection.channel;
                self.drive(key, Some(at), "a client's messages", |served, now, said| {
                    served.on_ready(at, ready, now, said);
                });
            }
            None => self.drive_link(at),
        }
    }

    /// The host answered a call.
    pub(crate) fn on_reply(&mut self, reply: HostReply, from: Option<ChannelKey>) {
        if let HostReply::Watch { connection, watch } = reply {
            self.on_watch(connection, watch);
        } else if let Some(key) = from {
            self.drive(key, None, "an answer of the host", |served, now, said| {
                let (channel, mut out) = served.parts(now, said);
                channel.on_reply(reply, &mut out);
            });
        }
    }

    /// Serves the deadlines of links and channels: sends PINGs, gives up silent clients, reads messages that were left unread.
    pub(crate) fn on_channel_timers(&mut self) {
        let keys: Vec<ChannelKey> = self.channels.registry.iter().map(|(key, _)| *key).collect();
        for key in keys {
            let now = self.now;
            for at in self.channels.served(key).map(|served| served.due(now)).unwrap_or_default() {
                self.drive(key, Some(at), "the time of a link", |served, now, said| {
                    served.on_link_timer(at, now, said);
                });
            }
            self.drive(key, None, "the time of a channel", Served::on_channel_timer);
        }
    }

    /// Writes what the channels of the host thread have queued, and changes what the host watches for.
    pub(crate) fn flush_channels(&mut self) {
        while let Some(key) = self.channels.flush_queue.first().copied() {
            match self.channels.served(key).and_then(Served::next_touched) {
                Some(at) => {
                    self.drive(key, Some(at), "sending to a client", |served, now, said| {
                        served.flush(at, now, said);
                    });
                    self.update_watch(key, at);
                }
                None => self.channels.flush_queue.retain(|waiting| *waiting != key),
            }
        }
    }

    fn update_watch(&mut self, key: ChannelKey, at: ConnectionId) {
        let wanted = self.channels.served(key).and_then(|s| s.links().get(at)).map(|link| link.interest());
        let Some(connection) = self.channels.connections.get_mut(&at) else { return };
        let (Some(wanted), Place::Host { watch, interest }) = (wanted, &mut connection.place) else { return };
        if let Some(watch) = watch.filter(|_| *interest != wanted) {
            *interest = wanted;
            self.effects.push_back(Effect::Host { call: HostCall::UpdateWatch(watch, wanted), from: None });
        }
    }
}
