//! What a channel may do in a turn: send to its clients, call the host, ask the server.

use super::connection::ConnectionId;
use super::inputs::AgentMouse;
use super::link::{ChannelError, ChannelLink};
use super::links::Links;
use super::pings::LinkQuality;
use super::stream::PointerChange;
use crate::host::call::HostCall;
use crate::protocol::Message;
use crate::protocol::stream_device::DisplayInfo;
use std::sync::Arc;
use std::time::Instant;

/// What a channel asks of the server on behalf of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerRequest {
    /// The client wants the list of channels.
    ListChannels,
    /// The client wants this mouse mode.
    MouseMode(u16),
    /// The client's net test is over.
    Quality(LinkQuality),
    /// The server shall tell the guest agent the pointer's state.
    AgentMouse(AgentMouse),
    /// The client talks to the guest agent from now on.
    AgentStarted,
    /// The server shall give the QXL devices this monitors configuration.
    Monitors(Arc<[u8]>),
    /// The guest agent is gone.
    AgentGone,
    /// The guest agent may want to know which display is which.
    AgentDisplays,
    /// The guest of the streaming device with this channel id changed its pointer.
    StreamPointer(u8, PointerChange),
    /// The guest says which of its displays the streaming device with this channel id shows.
    StreamPlace(u8, DisplayInfo),
    /// The client sent a message about a migration.
    Migration(MigrationNews),
    /// The channel has taken over the state that the client brought from the source of a migration.
    Restored,
}

/// A client's message about a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationNews {
    /// To the source: its links to the target are up, and it will begin anew there.
    Connected,
    /// To the source: its links to the target are up, and the target takes its state.
    ConnectedSeamless,
    /// To the source: it does not get through to the target.
    ConnectError,
    /// To the target: the machine has moved, the session may begin.
    End,
    /// To the target: it will bring its state, in this version of the protocol.
    DoSeamless {
        /// Version of the source.
        version: u32,
    },
}

/// Calls and requests for which the lists of [`Said`] keep their memory.
const KEPT: usize = 64;

/// What a channel asked for in one turn. The messages that it sent are with the links already.
#[derive(Debug, Default)]
pub struct Said {
    /// Calls of the host, in the order of their making.
    pub calls: Vec<HostCall>,
    /// Requests to the server, in order, each with the connection that it is about, if there is one.
    pub requests: Vec<(Option<ConnectionId>, ServerRequest)>,
    /// Links that the channel ends, with the reasons.
    pub ended: Vec<(ConnectionId, ChannelError)>,
    /// Work of the turn so far, in units of one host callback.
    pub work: usize,
}

impl Said {
    /// Whether the turn has said nothing at all.
    pub(crate) fn is_nothing(&self) -> bool {
        self.work == 0 && self.calls.is_empty() && self.requests.is_empty() && self.ended.is_empty()
    }

    /// Empties the lists, so that another turn uses their memory, unless this turn made them long.
    pub(crate) fn clear(&mut self) {
        fn empty<T>(list: &mut Vec<T>) {
            list.clear();
            if list.capacity() > KEPT {
                list.shrink_to(KEPT);
            }
        }
        empty(&mut self.calls);
        empty(&mut self.requests);
        empty(&mut self.ended);
        self.work = 0;
    }
}

/// What a method of a channel may use: the time, the links of its clients, calls of the host, and requests to the server.
#[derive(Debug)]
pub struct Out<'a> {
    /// Time of the present turn.
    pub now: Instant,
    links: &'a mut Links,
    said: &'a mut Said,
}

impl<'a> Out<'a> {
    /// For one turn over the links of a channel.
    pub fn new(now: Instant, links: &'a mut Links, said: &'a mut Said) -> Self {
        Self { now, links, said }
    }

    /// A client's link, if it still exists. The driver flushes it at the end of the turn.
    pub fn link(&mut self, at: ConnectionId) -> Option<&mut ChannelLink> {
        self.links.touch(at)
    }

    /// A client's link, for a method that flushes it itself because it sends as much as the socket takes.
    pub fn flushed_link(&mut self, at: ConnectionId) -> Option<&mut ChannelLink> {
        self.links.get_mut(at)
    }

    /// A client's link, to look at. It is not flushed for that.
    #[must_use]
    pub fn look(&self, at: ConnectionId) -> Option<&ChannelLink> {
        self.links.get(at)
    }

    /// Queues a message for a client. Does nothing if the link is gone.
    pub fn send(&mut self, at: ConnectionId, message: Message) {
        if let Some(link) = self.links.touch(at) {
            link.send(message);
        }
    }

    /// Queues a message for every client of the channel.
    pub fn send_to_all(&mut self, message: &Message) {
        for at in self.connections() {
            self.send(at, message.clone());
        }
    }

    /// The connections of the channel's clients.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionId> {
        self.links.ids().collect()
    }

    /// Tells a client to go on at the target of a migration. `with_data`: the client carries the state of
    /// [`super::Channel::migrate_data`] there.
    pub fn hand_over(&mut self, at: ConnectionId, with_data: bool) {
        if let Some(link) = self.links.touch(at) {
            link.hand_over(with_data);
        }
    }

    /// Calls the host when the turn is over.
    pub fn call(&mut self, call: HostCall) {
        self.said.work += match &call {
            HostCall::ScanCodes(_, bytes) => bytes.len(),
            _ => 1,
        };
        self.said.calls.push(call);
    }

    /// Asks something of the server on behalf of a client.
    pub fn ask(&mut self, at: ConnectionId, request: ServerRequest) {
        self.said.work += 1;
        self.said.requests.push((Some(at), request));
    }

    /// Asks the server something that is about no client.
    pub fn tell(&mut self, request: ServerRequest) {
        self.said.work += 1;
        self.said.requests.push((None, request));
    }

    /// Ends a client's link at the end of the turn.
    pub fn disconnect(&mut self, at: ConnectionId, error: ChannelError) {
        self.said.ended.push((at, error));
    }

    /// What the turn has cost so far, in units of one host callback.
    #[must_use]
    pub fn work(&self) -> usize {
        self.said.work
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_begins_with_nothing_said_and_little_memory() {
        let mut said = Said::default();
        for i in 0..1000 {
            said.requests.push((Some(ConnectionId(i)), ServerRequest::ListChannels));
            said.calls.push(HostCall::RemoveWatch(crate::host::WatchId(i)));
        }
        said.ended.push((ConnectionId(1), ChannelError::Fault));
        said.work = 2000;
        assert!(!said.is_nothing());
        said.clear();
        assert!(said.is_nothing());
        assert!(said.calls.capacity() <= KEPT && said.requests.capacity() <= KEPT);
    }
}
