//! The worker's poll: the wake socket and the sockets of its clients, edge-triggered.

use super::dispatcher::WakeSource;
use crate::channel::client::{ClientKey, PollEntry};
use crate::host::Readiness;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// Which of the worker's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ChannelKind {
    Display,
    Cursor,
}

/// A connection of the worker.
pub(super) type ConnectionKey = (ChannelKind, ClientKey);

#[derive(Debug)]
struct Registered {
    fd: RawFd,
    interest: Interest,
    token: Token,
}

/// What a wait brought.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Requests may be waiting.
    pub(super) requests: bool,
    pub(super) connections: Vec<(ConnectionKey, Readiness)>,
}

pub(super) struct PollSet {
    poll: Poll,
    events: Events,
    wake: WakeSource,
    registered: HashMap<ConnectionKey, Registered>,
    by_token: HashMap<Token, ConnectionKey>,
    next_token: usize,
}

const WAKE: Token = Token(0);

impl PollSet {
    pub(super) fn new(wake: WakeSource) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&wake.raw_fd()), WAKE, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(64),
            wake,
            registered: HashMap::new(),
            by_token: HashMap::new(),
            next_token: 1,
        })
    }

    /// Makes the poll watch exactly these connections.
    pub(super) fn watch(&mut self, wanted: &[(ChannelKind, Vec<PollEntry>)]) {
        let entries =
            || wanted.iter().flat_map(|(kind, list)| list.iter().map(|entry| ((*kind, entry.key), entry)));
        let registry = self.poll.registry();
        // First what is gone: its descriptor may be that of a new connection by now.
        let by_token = &mut self.by_token;
        self.registered.retain(|key, known| {
            let stays = entries().any(|(wanted, entry)| wanted == *key && entry.fd == known.fd);
            if !stays {
                by_token.remove(&known.token);
                // Mostly closed and thereby deregistered already.
                let _ = registry.deregister(&mut SourceFd(&known.fd));
            }
            stays
        });
        for (key, entry) in entries() {
            let interest = interest_of(entry.interest);
            match self.registered.get_mut(&key) {
                Some(known) if known.interest == interest => {}
                Some(known) => {
                    known.interest = interest;
                    log_failure(registry.reregister(&mut SourceFd(&known.fd), known.token, interest));
                }
                None => {
                    let token = Token(self.next_token);
                    self.next_token = self.next_token.checked_add(1).unwrap_or(1);
                    if log_failure(register(registry, entry.fd, token, interest)) {
                        self.by_token.insert(token, key);
                        self.registered.insert(key, Registered { fd: entry.fd, interest, token });
                    }
                }
            }
        }
    }

    /// Waits for readiness, at most so long; `None`: for ever.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Ready {
        let mut ready = Ready::default();
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return ready,
            Err(error) => {
                crate::warning_limited!("worker: poll failed: {error}");
                // Not to spin should that persist; requests are still looked for.
                std::thread::sleep(Duration::from_millis(10));
                ready.requests = true;
                return ready;
            }
        }
        for event in &self.events {
            if event.token() == WAKE {
                ready.requests = true;
            } else if let Some(&key) = self.by_token.get(&event.token()) {
                let read = event.is_readable() || event.is_read_closed() || event.is_error();
                let write = event.is_writable() || event.is_write_closed() || event.is_error();
                ready.connections.push((key, Readiness { read, write }));
            }
        }
        if ready.requests {
            self.wake.drain();
        }
        ready
    }
}

fn register(registry: &Registry, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
    registry.register(&mut SourceFd(&fd), token, interest)
}

fn interest_of(readiness: Readiness) -> Interest {
    match readiness {
        Readiness { read: _, write: false } => Interest::READABLE,
        Readiness { read: true, write: true } => Interest::READABLE | Interest::WRITABLE,
        Readiness { read: false, write: true } => Interest::WRITABLE,
    }
}

/// Whether it worked.
fn log_failure(result: io::Result<()>) -> bool {
    if let Err(error) = &result {
        crate::warning_limited!("worker: a connection cannot be polled: {error}");
    }
    result.is_ok()
}
