//! The clients of a display channel, and a boundary for panics around the work on each of them.
//!
//! The channel drops a client that fails at once, with every command of the guest in its pipe. The client's link ends the next
//! time that the worker asks the channel to do something for it, which is in the same turn.

use super::client::DisplayClient;
use crate::channel::connection::ConnectionId;
use crate::channel::link::ChannelError;
use crate::panic::guarded;
use std::collections::BTreeMap;

/// The clients, by their connections: the oldest first.
#[derive(Debug, Default)]
pub(super) struct Clients {
    clients: BTreeMap<ConnectionId, DisplayClient>,
    /// Clients that failed and whose link is still there, with the reason.
    failed: BTreeMap<ConnectionId, ChannelError>,
}

impl Clients {
    /// Takes a client in.
    pub(super) fn insert(&mut self, at: ConnectionId, client: DisplayClient) {
        self.clients.insert(at, client);
    }

    /// The link of a client is gone.
    pub(super) fn remove(&mut self, at: ConnectionId) {
        self.clients.remove(&at);
        self.failed.remove(&at);
    }

    /// Whether there is no client.
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Number of clients.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// All clients, to look at.
    pub(super) fn iter(&self) -> impl Iterator<Item = &DisplayClient> {
        self.clients.values()
    }

    /// One client, to look at. `None`: it failed, and its link is about to end.
    pub(super) fn get(&self, at: ConnectionId) -> Option<&DisplayClient> {
        self.clients.get(&at)
    }

    /// One client.
    ///
    /// # Errors
    /// Why it failed.
    pub(super) fn get_mut(&mut self, at: ConnectionId) -> Result<&mut DisplayClient, ChannelError> {
        match self.clients.get_mut(&at) {
            Some(client) => Ok(client),
            None => Err(self.failed.remove(&at).unwrap_or(ChannelError::Fault)),
        }
    }

    /// Calls `f` for every client. A client over which `f` panics fails.
    pub(super) fn each(&mut self, mut work: impl FnMut(&mut DisplayClient)) {
        self.try_each(|client| {
            work(client);
            Ok(())
        });
    }

    /// Calls `f` for every client. A client for which `f` returns an error or panics fails.
    pub(super) fn try_each(&mut self, mut work: impl FnMut(&mut DisplayClient) -> Result<(), ChannelError>) {
        let mut failed = Vec::new();
        for (&at, client) in &mut self.clients {
            if let Err(error) =
                guarded("work for a client", || work(client)).unwrap_or(Err(ChannelError::Fault))
            {
                failed.push((at, error));
            }
        }
        for (at, error) in failed {
            let client = self.clients.remove(&at);
            guarded("end of a client", || drop(client));
            self.failed.insert(at, error);
        }
    }
}
