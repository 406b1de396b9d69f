//! The links of one channel's clients, and which of them have something to flush.

use super::connection::ConnectionId;
use super::link::ChannelLink;
use std::collections::{BTreeMap, BTreeSet};

/// The links of a channel.
#[derive(Debug, Default)]
pub struct Links {
    links: BTreeMap<ConnectionId, ChannelLink>,
    /// Links that something may have been sent to since their last flush.
    touched: Vec<ConnectionId>,
    /// Links whose turn ended while the channel had more to send.
    unfinished: BTreeSet<ConnectionId>,
}

impl Links {
    /// Adds a link, which is flushed at the end of the turn.
    pub(super) fn insert(&mut self, at: ConnectionId, link: ChannelLink) {
        self.links.insert(at, link);
        self.touched.push(at);
    }

    /// Takes a link out.
    pub(super) fn remove(&mut self, at: ConnectionId) -> Option<ChannelLink> {
        self.unfinished.remove(&at);
        self.links.remove(&at)
    }

    /// A link, to send something: it is flushed at the end of the turn.
    pub(super) fn touch(&mut self, at: ConnectionId) -> Option<&mut ChannelLink> {
        let link = self.links.get_mut(&at)?;
        if self.touched.last() != Some(&at) {
            self.touched.push(at);
        }
        Some(link)
    }

    /// A link, for a caller that flushes it itself.
    pub(super) fn get_mut(&mut self, at: ConnectionId) -> Option<&mut ChannelLink> {
        self.links.get_mut(&at)
    }

    /// A link, to look at.
    #[must_use]
    pub(crate) fn get(&self, at: ConnectionId) -> Option<&ChannelLink> {
        self.links.get(&at)
    }

    /// How many connections there are.
    pub(super) fn count(&self) -> usize {
        self.links.len()
    }

    /// All connections, oldest first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.links.keys().copied()
    }

    /// All links, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &ChannelLink)> {
        self.links.iter().map(|(&at, link)| (at, link))
    }

    /// Whether a link waits to be flushed.
    pub(super) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Whether a link waited to be flushed. It no longer does.
    pub(super) fn take_touch(&mut self, at: ConnectionId) -> bool {
        let before = self.touched.len();
        if before > 0 {
            self.touched.retain(|&touched| touched != at);
        }
        self.touched.len() != before
    }

    /// The oldest link that waits to be flushed. It no longer does.
    pub(super) fn next_touched(&mut self) -> Option<ConnectionId> {
        let next = self.touched.iter().copied().min()?;
        self.touched.retain(|&touched| touched != next);
        Some(next)
    }

    /// Notes whether a link's turn ended while the channel had more to send.
    pub(super) fn set_unfinished(&mut self, at: ConnectionId, unfinished: bool) {
        if unfinished {
            self.unfinished.insert(at);
        } else if !self.unfinished.is_empty() {
            self.unfinished.remove(&at);
        }
    }

    /// Whether the link's turn ended while the channel had more to send.
    pub(super) fn is_unfinished(&self, at: ConnectionId) -> bool {
        self.unfinished.contains(&at)
    }
}
