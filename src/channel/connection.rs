//! A linked and authenticated connection on its way to the thread of its channel.

pub use crate::host::ConnectionId;
use crate::net::stream::ChannelStream;
use crate::protocol::{Caps, ChannelType};
use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

/// One client of the server: one main channel and the channels that belong to it. A server never reuses the number. It is not
/// the session id, which a client that comes from a migration chooses itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// A connection whose link stage has ended with OK. One thread at a time owns it. Dropping it closes the socket and then tells
/// the host, since fields drop in order: the guard comes after the stream.
#[derive(Debug)]
pub struct ChannelConnection {
    /// The framed stream, before its first message.
    pub stream: ChannelStream,
    /// The channel type that the client named in its link message.
    pub channel_type: ChannelType,
    /// The channel id that the client named.
    pub channel_id: u8,
    /// The client that the connection belongs to.
    pub client: ClientId,
    /// Capabilities that the client offered.
    pub common_caps: Caps,
    /// The capabilities of this channel that the client offered.
    pub channel_caps: Caps,
    /// The main channel's net test found less than 10 Mbit/s (server.md 6.2). `false` as long as the test is not over.
    pub low_bandwidth: bool,
    /// Round trip that the net test found, in milliseconds; 0: unknown.
    pub round_trip_ms: u32,
    /// State that the client's channels share, though they live on different threads.
    pub shared: Arc<SharedPlace>,
    /// The client's address, for logs.
    pub peer: String,
    /// The client comes from a migration. The server sends nothing before the client's data or the end of the migration has
    /// come.
    pub migration_target: bool,
    /// Tells the host thread when the socket is closed.
    pub guard: ConnectionGuard,
}

impl ChannelConnection {
    /// Makes a connection that no server knows, for tests.
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

/// State that the channels of one client share across threads: its latest input, and one value that only some channels know,
/// such as the displays' image caches.
#[derive(Debug, Default)]
pub struct SharedPlace {
    value: OnceLock<Arc<dyn Any + Send + Sync>>,
    input: Mutex<Input>,
}

#[derive(Debug, Default)]
struct Input {
    last: Option<Instant>,
    listeners: Vec<Weak<dyn InputListener>>,
}

/// Who wants to hear at once that a client pressed or released a key or a button, since the guest is about to answer.
pub trait InputListener: fmt::Debug + Send + Sync {
    /// The host's thread calls this, so it must not wait.
    fn input(&self);
}

impl SharedPlace {
    /// Notes that the client pressed or released a key or a button.
    pub fn note_input(&self, now: Instant) {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.last = Some(now);
        input.listeners.iter().filter_map(Weak::upgrade).for_each(|listener| listener.input());
    }

    /// When the client last pressed or released a key or a button.
    #[must_use]
    pub fn last_input(&self) -> Option<Instant> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// Tells `listener` of input, as long as it exists. One that is known already is told once.
    pub fn tell_of_input(&self, listener: Weak<dyn InputListener>) {
        let listeners = &mut self.input.lock().unwrap_or_else(PoisonError::into_inner).listeners;
        listeners.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&listener));
        listeners.push(listener);
    }

    /// The shared value; the first caller makes it. There is one value of one type. A caller that asks for another type gets a
    /// new value that nobody shares.
    #[must_use]
    pub fn get<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let value = self.value.get_or_init(|| Arc::new(T::default()));
        Arc::clone(value).downcast().unwrap_or_default()
    }
}

/// Tells the host thread when it is dropped, so that the host gets the one DISCONNECTED event of the connection (server.md
/// 3.2). It must be dropped after the stream: the socket is closed then.
#[derive(Default)]
pub struct ConnectionGuard(Option<Box<dyn FnOnce() + Send>>);

impl ConnectionGuard {
    /// Makes a guard that calls `gone` once, on the thread that drops it. `gone` may only post to another thread.
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Debug, Default)]
    struct Count(AtomicUsize);

    impl InputListener for Count {
        fn input(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn listeners_are_told_of_each_input_once_as_long_as_they_exist() {
        let (place, now) = (SharedPlace::default(), Instant::now());
        let (stays, goes) = (Arc::new(Count::default()), Arc::new(Count::default()));
        for listener in [&stays, &goes, &stays] {
            let listener: Weak<Count> = Arc::downgrade(listener);
            place.tell_of_input(listener);
        }
        place.note_input(now);
        assert_eq!(goes.0.load(Ordering::Relaxed), 1);
        drop(goes);
        place.note_input(now);
        assert_eq!(stays.0.load(Ordering::Relaxed), 2);
        place.tell_of_input(Arc::<Count>::downgrade(&stays));
        assert_eq!(place.input.lock().unwrap().listeners.len(), 1);
    }

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
