//! The worker's poll: the wake socket and the sockets of its clients, edge-triggered.

use super::dispatcher::WakeSource;
use crate::channel::connection::ConnectionId;
use crate::channel::polled::Socket;
use crate::host::Readiness;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

#[derive(Debug)]
struct Registered {
    fd: RawFd,
    interest: Interest,
    token: Token,
}

/// What the worker woke up for.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Requests may be waiting.
    pub(super) requests: bool,
    pub(super) connections: Vec<(ConnectionId, Readiness)>,
}

pub(super) struct PollSet {
    poll: Poll,
    events: Events,
    wake: WakeSource,
    registered: HashMap<ConnectionId, Registered>,
    by_token: HashMap<Token, ConnectionId>,
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

    /// Watches exactly these connections from now on.
    pub(super) fn watch(&mut self, wanted: &[Socket]) {
        let registry = self.poll.registry();
        // Connections that are gone come first: their descriptors may belong to new connections by now.
        let by_token = &mut self.by_token;
        self.registered.retain(|at, known| {
            let stays = wanted.iter().any(|socket| socket.at == *at && socket.fd == known.fd);
            if !stays {
                by_token.remove(&known.token);
                // Closing a descriptor takes it out of the poll, so this usually fails and that is fine.
                let _ = registry.deregister(&mut SourceFd(&known.fd));
            }
            stays
        });
        for socket in wanted {
            let interest = interest_of(socket.interest);
            match self.registered.get_mut(&socket.at) {
                Some(known) if known.interest == interest => {}
                Some(known) => {
                    known.interest = interest;
                    log_failure(registry.reregister(&mut SourceFd(&known.fd), known.token, interest));
                }
                None => {
                    let token = Token(self.next_token);
                    self.next_token = self.next_token.checked_add(1).unwrap_or(1);
                    if log_failure(register(registry, socket.fd, token, interest)) {
                        self.by_token.insert(token, socket.at);
                        self.registered.insert(socket.at, Registered { fd: socket.fd, interest, token });
                    }
                }
            }
        }
    }

    /// Waits until a socket is ready or the time is over; `None`: without end.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Ready {
        let mut ready = Ready::default();
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return ready,
            Err(error) => {
                crate::warning_limited!("worker: poll failed: {error}");
                // If this error persists, the pause keeps the loop from spinning. The worker still looks for requests.
                std::thread::sleep(Duration::from_millis(10));
                ready.requests = true;
                return ready;
            }
        }
        for event in &self.events {
            if event.token() == WAKE {
                ready.requests = true;
            } else if let Some(&at) = self.by_token.get(&event.token()) {
                let read = event.is_readable() || event.is_read_closed() || event.is_error();
                let write = event.is_writable() || event.is_write_closed() || event.is_error();
                ready.connections.push((at, Readiness { read, write }));
            }
        }
        if ready.requests {
            self.wake.woke();
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

/// Logs an error. Returns whether there was none.
fn log_failure(result: io::Result<()>) -> bool {
    if let Err(error) = &result {
        crate::warning_limited!("worker: a connection cannot be polled: {error}");
    }
    result.is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::dispatcher::Dispatcher;
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn socket(at: u64, stream: &UnixStream) -> Socket {
        let interest = Readiness { read: true, write: false };
        Socket { at: ConnectionId(at), fd: stream.as_raw_fd(), interest }
    }

    #[test]
    fn a_connection_that_is_gone_leaves_nothing_in_the_poll_and_its_descriptor_can_come_again() {
        let (_dispatcher, wake) = Dispatcher::new(None, None).unwrap();
        let mut poll = PollSet::new(wake).unwrap();
        let ((first, theirs), (second, _other)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        poll.watch(&[socket(1, &first), socket(2, &second)]);
        assert_eq!((poll.registered.len(), poll.by_token.len()), (2, 2));
        let fd = first.as_raw_fd();
        drop((first, theirs));
        // The kernel gives the lowest free number, but other tests open descriptors too.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let again = if ours.as_raw_fd() == fd { &ours } else { &theirs };
        poll.watch(&[socket(3, again), socket(2, &second)]);
        assert_eq!((poll.registered.len(), poll.by_token.len()), (2, 2));
        drop((ours, theirs));
        poll.watch(&[]);
        assert!(poll.registered.is_empty() && poll.by_token.is_empty());
    }
}
