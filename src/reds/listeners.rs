//! The listening sockets with their watches. They pause when the process has no descriptors left.

use super::state::State;
use crate::host::call::HostCall;
use crate::host::{Readiness, WatchId};
use crate::limits::{ACCEPT_PAUSE, MAX_ACCEPTS_PER_TURN};
use crate::net::listener::Listener;
use std::io;
use std::sync::Arc;
use std::time::Instant;

const READ: Readiness = Readiness { read: true, write: false };
const NOTHING: Readiness = Readiness { read: false, write: false };

/// A listening socket and its watch.
#[derive(Debug)]
struct Listening {
    listener: Arc<Listener>,
    watch: Option<WatchId>,
    tls: bool,
    /// Accepts nothing until this time, since the process ran out of descriptors.
    paused_until: Option<Instant>,
}

/// The listening sockets.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    all: Vec<Listening>,
}

impl Listeners {
    /// Adds a socket whose watch is not made yet, and returns its index.
    pub(crate) fn add(&mut self, listener: Listener, tls: bool) -> usize {
        self.all.push(Listening { listener: Arc::new(listener), watch: None, tls, paused_until: None });
        self.all.len() - 1
    }

    /// Notes the watch of a socket.
    pub(crate) fn set_watch(&mut self, index: usize, watch: WatchId) {
        if let Some(listening) = self.all.get_mut(index) {
            listening.watch = Some(watch);
        }
    }

    /// Takes all sockets out, with their watches. The caller removes the watches, and then drops the sockets, which closes
    /// them.
    pub(crate) fn take(&mut self) -> Vec<(Option<WatchId>, Arc<Listener>)> {
        std::mem::take(&mut self.all).into_iter().map(|l| (l.watch, l.listener)).collect()
    }

    /// The TCP port of the first socket.
    #[cfg(test)]
    pub(crate) fn port(&self) -> Option<u16> {
        self.all.first().and_then(|l| l.listener.port())
    }

    /// When a pause is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.all.iter().filter_map(|l| l.paused_until).min()
    }
}

impl State {
    /// Accepts connections of a listener.
    pub(crate) fn accept_links(&mut self, index: usize) {
        for _ in 0..MAX_ACCEPTS_PER_TURN {
            let Some(listening) = self.listeners.all.get(index) else { return };
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
        let Some(listening) = self.listeners.all.get_mut(index) else { return };
        listening.paused_until = Some(until);
        if let Some(watch) = listening.watch {
            self.host_call(HostCall::UpdateWatch(watch, NOTHING));
        }
    }

    /// Ends the pauses that are over.
    pub(crate) fn resume_listeners(&mut self) {
        let now = self.now;
        let mut watches = Vec::new();
        for listening in &mut self.listeners.all {
            if listening.paused_until.take_if(|until| *until <= now).is_some() {
                watches.extend(listening.watch);
            }
        }
        for watch in watches {
            self.host_call(HostCall::UpdateWatch(watch, READ));
        }
    }
}
