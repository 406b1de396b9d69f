//! What has to follow a change of the state when the lock is released: calls of the host, requests to workers, and the next step of
//! a connection after the host was told of the last one. Effects are data, and run in order.

use super::core::Core;
use super::links::PendingLink;
use super::state::State;
use crate::channel::connection::{ChannelConnection, ClientId, ConnectionId};
use crate::channel::link::ChannelLink;
use crate::host::call::{HostCall, HostReply, OnReady};
use crate::host::{ChannelEvent, Readiness, WatchId};
use crate::limits::READ_SLICE;
use crate::protocol::ChannelType;
use crate::worker::WorkerHandle;
use std::sync::Arc;

/// The type and id of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChannelKey {
    pub channel_type: ChannelType,
    pub id: u8,
}

impl ChannelKey {
    /// Whether a client's second link to this channel replaces its first one. If not, the second is refused.
    pub(crate) fn newest_link_wins(self) -> bool {
        matches!(self.channel_type, ChannelType::Playback | ChannelType::Record)
    }
}

/// One thing to do without the lock.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Call the host. Its answer, if there is one, goes to the channel that asked, or to the server.
    Host { call: HostCall, from: Option<ChannelKey> },
    /// Remove a connection's watch and close its socket, which tells the host that it is gone.
    Close(Option<WatchId>, Closing),
    /// Hand a linked connection to the worker of its channel.
    ToWorker { worker: Option<Arc<WorkerHandle>>, at: ConnectionId, connection: Box<ChannelConnection> },
    /// Disconnect a client's channels of a worker.
    Disconnect(Arc<WorkerHandle>, ClientId),
    /// Have a client's channels of a worker hand over their state to the target of a migration.
    HandOver(Arc<WorkerHandle>, ClientId),
    /// Tell a worker who places the pointer.
    MouseMode { worker: Arc<WorkerHandle>, client: bool },
    /// Take a connection's next step, after everything that was queued before.
    Step(Step),
    /// Tell the host about a connection, then take its next step. This is one effect, so that a call which the host makes from
    /// inside of the event cannot end the connection before the event is over.
    Announce(ConnectionId, ChannelEvent, Step),
    /// End the process, as the host asked for when the client is gone.
    Exit,
}

/// The next step of a connection.
#[derive(Debug)]
pub(crate) enum Step {
    /// The client was accepted: tell it so.
    Accept(ConnectionId),
    /// The host knows the client's main channel: begin its session.
    OpenMain(ConnectionId, ClientId, Box<PendingLink>),
    /// The host knows the channel: hand it the connection.
    Attach(ConnectionId, Box<PendingLink>),
}

/// A connection that is closed by being dropped.
#[derive(Debug)]
pub(crate) enum Closing {
    Pending { _link: Box<PendingLink> },
    Linked { _link: Box<ChannelLink> },
    Refused { _connection: Box<ChannelConnection> },
}

impl Core {
    /// Performs one effect. Returns the host's answer, if there is one, and the channel that asked.
    pub(super) fn perform(self: &Arc<Self>, effect: Effect) -> Option<(HostReply, Option<ChannelKey>)> {
        match effect {
            Effect::Host { call: HostCall::Event(connection, event), .. } => {
                self.channel_event(connection, event);
            }
            Effect::Host { call, from } => {
                let event_loop = if call.is_of_loop() { self.event_loop() } else { None };
                let reply = call.perform(event_loop.as_deref(), |connection| self.on_ready_of(connection));
                return reply.map(|reply| (reply, from));
            }
            Effect::Close(watch, closing) => {
                self.remove_watch(watch);
                drop(closing);
                self.take_posts_if_on_loop();
            }
            Effect::ToWorker { worker, at, connection } => {
                match worker {
                    Some(worker) if connection.channel_type == ChannelType::Display => {
                        worker.connect_display(at, *connection);
                    }
                    Some(worker) => worker.connect_cursor(at, *connection),
                    None => drop(connection),
                }
                self.take_posts_if_on_loop();
            }
            Effect::Disconnect(worker, client) => worker.disconnect_client(client),
            Effect::HandOver(worker, client) => worker.hand_over(client),
            Effect::MouseMode { worker, client } => worker.set_mouse_mode(client),
            Effect::Step(step) => self.within(|state| state.step(step)),
            Effect::Announce(connection, event, step) => {
                self.channel_event(connection, event);
                self.within(|state| state.step(step));
            }
            Effect::Exit => {
                crate::info!("the client is gone, and the host asked to exit then");
                std::process::exit(0)
            }
        }
        None
    }

    /// The callback of a connection's watch.
    fn on_ready_of(self: &Arc<Self>, connection: ConnectionId) -> OnReady {
        let weak = Arc::downgrade(self);
        Arc::new(move |ready| {
            if let Some(core) = weak.upgrade() {
                core.adopt_loop_thread();
                core.on_ready(connection, ready);
            }
        })
    }

    /// A connection's socket is ready. Each turn of reading ends with its effects, so that the guest's devices take the data of
    /// one turn before the next is read.
    fn on_ready(self: &Arc<Self>, connection: ConnectionId, mut ready: Readiness) {
        let mut end = None;
        loop {
            let (more, now) = self.within(|state| {
                state.on_connection_ready(connection, ready);
                (state.channels.has_unread(connection), state.now)
            });
            self.run_queue();
            if !more || now >= *end.get_or_insert(now + READ_SLICE) {
                return self.arm_timer();
            }
            ready = Readiness { read: true, write: false };
        }
    }

    /// Removes a connection's watch, which must come before its descriptor is closed.
    pub(super) fn remove_watch(&self, watch: Option<WatchId>) {
        if let (Some(watch), Some(event_loop)) = (watch, self.event_loop()) {
            event_loop.watch_remove(watch);
        }
    }
}

impl State {
    /// Takes the next step of a connection.
    fn step(&mut self, step: Step) {
        match step {
            Step::Accept(at) => self.accept_link(at),
            Step::OpenMain(at, client, link) => self.open_main(at, client, *link),
            Step::Attach(at, link) => self.attach_channel(at, *link),
        }
    }
}
