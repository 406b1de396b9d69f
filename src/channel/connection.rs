//! A linked and authenticated connection on its way to the thread of its channel.

pub use crate::host::ConnectionId;
use crate::net::stream::ChannelStream;
use crate::protocol::{Caps, ChannelType};
use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// One client of the server, i.e. one main channel and what links to it. Never reused within a server; not the session
/// id, which the client of a migration chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// A connection whose link stage is over, result OK written. Owned by one thread at a time; dropping it closes the socket
/// and then tells the host (fields drop in order: the guard after the stream).
#[derive(Debug)]
pub struct ChannelConnection {
    /// At the start of the message stage.
    pub stream: ChannelStream,
    pub channel_type: ChannelType,
    pub channel_id: u8,
    pub client: ClientId,
    /// Capabilities that the client offered.
    pub common_caps: Caps,
    pub channel_caps: Caps,
    /// Below 10 Mbit/s by the main channel's net test as far as known now (server.md 6.2).
    pub low_bandwidth: bool,
    /// Round trip of the net test in milliseconds; 0: unknown.
    pub round_trip_ms: u32,
    /// What the client's channels on different threads share.
    pub shared: Arc<SharedPlace>,
    /// The client's address, for logs.
    pub peer: String,
    /// The client comes from a migration: nothing is sent before its data or the end of migration.
    pub migration_target: bool,
    pub guard: ConnectionGuard,
}

impl ChannelConnection {
    /// A connection that no server knows of, for tests.
    #[must_use]
    pub fn detached(stream: ChannelStream, channel_type: ChannelType, client: ClientId) -> Self {
        Self {
            stream,
            channel_type,
            channel_id: 0,
            client,
            common_caps: Caps::default(),
            channel_caps: Caps::default(),
            low_bandwidth: false,
            round_trip_ms: 0,
            shared: Arc::default(),
            peer: "detached".into(),
            migration_target: false,
            guard: ConnectionGuard::default(),
        }
    }

    /// How logs name the connection: `display:0 (127.0.0.1:4711)`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}:{} ({})", self.channel_type.name(), self.channel_id, self.peer)
    }
}

/// A place for what the channels of one client share across threads, such as the displays' image caches. Whoever comes first
/// fills it; what it is, only those channels know.
#[derive(Debug, Default)]
pub struct SharedPlace {
    value: OnceLock<Arc<dyn Any + Send + Sync>>,
    last_input: Mutex<Option<Instant>>,
}

impl SharedPlace {
    /// The client pressed or released a key or a button.
    pub fn note_input(&self, now: Instant) {
        *self.last_input.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// When it did so last.
    #[must_use]
    pub fn last_input(&self) -> Option<Instant> {
        *self.last_input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in the place, made if it is empty. A place holds one type; asked for another, it gives a fresh value that
    /// nobody shares.
    #[must_use]
    pub fn get<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let value = self.value.get_or_init(|| Arc::new(T::default()));
        Arc::clone(value).downcast().unwrap_or_default()
    }
}

/// Posts to the host thread that the socket is gone, when dropped: the one DISCONNECTED event of a connection comes from
/// there (server.md 3.2). Must outlive the stream.
#[derive(Default)]
pub struct ConnectionGuard(Option<Box<dyn FnOnce() + Send>>);

impl ConnectionGuard {
    /// A guard that calls `gone` once, on whatever thread drops it; `gone` may only post.
    #[must_use]
    pub fn new(gone: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(gone)))
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if let Some(gone) = self.0.take() {
            gone();
        }
    }
}

impl fmt::Debug for ConnectionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionGuard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket::SocketTransport;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn socket_is_closed_before_the_guard_speaks() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let stream = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
        let mut connection = ChannelConnection::detached(stream, ChannelType::Display, ClientId(1));
        let (tx, rx) = std::sync::mpsc::channel();
        connection.guard =
            ConnectionGuard::new(move || tx.send(theirs.read(&mut [0; 1]).is_ok_and(|n| n == 0)).unwrap());
        drop(connection);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [true]);
    }
}
