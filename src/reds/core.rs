//! The engine under [`super::Server`]: the state behind its lock, the effects of changes, and posts of other threads.

use super::effect::{ChannelKey, Effect};
use super::goodbye::Goodbye;
use super::state::State;
use crate::channel::connection::{ClientId, ConnectionId};
use crate::host::call::HostReply;
use crate::host::{ChannelEvent, EventLoop};
use crate::net::keys::KeyEvent;
use crate::net::sasl::SaslDone;
use crate::protocol::ChannelType;
use crate::thread;
use crate::worker::WorkerEvents;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fmt;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
#[cfg(any(test, feature = "oracles"))]
use std::time::Duration;
use std::time::Instant;

/// A host may call the library from inside of its callbacks. Down to this depth such a call runs its effects itself; deeper calls
/// leave them to the outer call, so that a host which does this from every callback does not use up the stack.
const MAX_NESTING: u32 = 8;

/// A message of another thread to the host's main loop.
pub(crate) enum Post {
    /// A connection's socket was closed.
    Gone(ConnectionId),
    Key(KeyEvent),
    Sasl(SaslDone),
    /// A channel event from another thread.
    Event(ConnectionId, ChannelEvent),
    DisconnectClient(ClientId),
    /// A display channel has the state that its client brought from the source of a migration.
    Restored {
        qxl: u8,
        client: ClientId,
    },
    /// An asynchronous request changed the primary surface of a QXL device.
    PrimaryChanged {
        qxl: u8,
        primary: Option<(u32, u32)>,
    },
}

/// The queue of posts, and the descriptor that wakes the main loop.
#[derive(Default)]
struct Mailbox {
    posts: Mutex<Vec<Post>>,
    wake: OnceLock<EventFd>,
}

/// The monotonic clock of a server. Tests and oracles move it.
#[derive(Debug)]
pub(crate) struct Clock {
    pub epoch: Instant,
    #[cfg(any(test, feature = "oracles"))]
    offset: Mutex<Duration>,
}

impl Clock {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            #[cfg(any(test, feature = "oracles"))]
            offset: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        let now = Instant::now();
        #[cfg(any(test, feature = "oracles"))]
        let now = now + *lock(&self.offset);
        now
    }

    /// Whole seconds since the server was made.
    pub(crate) fn seconds(&self) -> u64 {
        self.now().saturating_duration_since(self.epoch).as_secs()
    }

    /// Moves the clock, for tests and oracles.
    #[cfg(any(test, feature = "oracles"))]
    pub(crate) fn advance(&self, by: Duration) {
        *lock(&self.offset) += by;
    }
}

pub(crate) struct Core {
    state: Mutex<State>,
    mailbox: Mailbox,
    /// Number of the thread of the host's main loop, 0 before the first. Only it reports channel events and ends clients.
    loop_thread: AtomicU64,
    pub clock: Clock,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Core")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|weak| Self {
            state: Mutex::new(State::new(weak.clone())),
            mailbox: Mailbox::default(),
            loop_thread: AtomicU64::new(0),
            clock: Clock::new(),
        })
    }

    /// Changes the state, then runs the effects that the change queued. For calls and callbacks of the host.
    pub(crate) fn with<R>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> R) -> R {
        let result = self.within(change);
        self.run_effects();
        result
    }

    /// Changes the state from inside of an effect. The effects that this queues run when the present one is over, in order.
    pub(crate) fn within<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let _lines = crate::log::hold();
        let state = &mut *lock(&self.state);
        state.now = self.clock.now();
        let result = change(state);
        state.settle();
        result
    }

    /// Tells the state the host's answer to a call, from inside of an effect, and takes the next effect. The time of the last
    /// change counts: a device that takes bytes does not change what is due, and clocks of virtual machines are slow.
    fn answer(&self, reply: HostReply, from: Option<ChannelKey>) -> Option<Effect> {
        let _lines = crate::log::hold();
        let state = &mut *lock(&self.state);
        if !reply.is_of_device() {
            state.now = self.clock.now();
        }
        state.on_reply(reply, from);
        state.settle();
        state.effects.pop_front()
    }

    /// Changes the state in a way that has no effects. Cheaper than [`Self::with`].
    pub(crate) fn adjust<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut lock(&self.state))
    }

    /// Looks at the state.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&lock(&self.state))
    }

    /// Runs the queued effects, before control returns to the host.
    pub(crate) fn run_effects(self: &Arc<Self>) {
        self.run_queue();
        self.arm_timer();
    }

    /// Starts the service timer anew if something is due before it fires. Once for all changes of a call is enough, as the timer
    /// cannot fire before the call is over.
    pub(super) fn arm_timer(self: &Arc<Self>) {
        let wait = lock(&self.state).arm_timer();
        if let Some(ms) = wait {
            self.start_service_timer(ms);
        }
    }

    /// Runs the queued effects, for a caller that goes on and lets [`Self::arm_timer`] follow in the end.
    pub(super) fn run_queue(self: &Arc<Self>) {
        struct Nesting<'a>(&'a Core);
        impl Drop for Nesting<'_> {
            fn drop(&mut self) {
                lock(&self.0.state).nesting -= 1;
            }
        }
        let mut next = {
            let state = &mut *lock(&self.state);
            if state.nesting >= MAX_NESTING || state.effects.is_empty() {
                return;
            }
            state.nesting += 1;
            state.effects.pop_front()
        };
        // This happens also if an effect panics.
        let _nesting = Nesting(self);
        while let Some(effect) = next {
            next = match self.perform(effect) {
                Some((reply, from)) => self.answer(reply, from),
                None => lock(&self.state).effects.pop_front(),
            };
        }
    }

    pub(crate) fn event_loop(&self) -> Option<Arc<dyn EventLoop>> {
        self.read(|s| s.event_loop.clone())
    }

    /// Remembers the calling thread as the main loop's.
    pub(crate) fn adopt_loop_thread(&self) {
        self.loop_thread.store(thread::number(), Ordering::Relaxed);
    }

    pub(crate) fn on_loop_thread(&self) -> bool {
        self.loop_thread.load(Ordering::Relaxed) == thread::number()
    }

    /// Makes the descriptor that wakes the main loop.
    pub(crate) fn open_mailbox(&self) -> std::io::Result<i32> {
        if self.mailbox.wake.get().is_none() {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            let _ = self.mailbox.wake.set(EventFd::from_value_and_flags(0, flags)?);
        }
        Ok(self.mailbox.wake.get().map_or(-1, AsRawFd::as_raw_fd))
    }

    /// Queues a post, on any thread, without waiting for another one.
    pub(crate) fn post(&self, post: Post) {
        lock(&self.mailbox.posts).push(post);
        if let Some(wake) = self.mailbox.wake.get() {
            let _ = wake.write(1);
        }
    }

    /// The main loop calls this when the mailbox's descriptor is readable.
    pub(crate) fn on_mailbox(self: &Arc<Self>) {
        self.adopt_loop_thread();
        if let Some(wake) = self.mailbox.wake.get() {
            let _ = wake.read();
        }
        self.take_posts();
        self.run_effects();
    }

    /// Handles what was posted so far, without running effects, if this is the main loop's thread. Otherwise the main loop does
    /// it soon.
    pub(crate) fn take_posts_if_on_loop(self: &Arc<Self>) {
        if self.on_loop_thread() {
            self.take_posts();
        }
    }

    pub(crate) fn take_posts(self: &Arc<Self>) {
        loop {
            let posts = std::mem::take(&mut *lock(&self.mailbox.posts));
            if posts.is_empty() {
                return;
            }
            for post in posts {
                self.take_post(post);
            }
        }
    }

    fn take_post(self: &Arc<Self>, post: Post) {
        match post {
            Post::Gone(at) => {
                self.within(|s| s.on_connection_gone(at));
                self.tell(at, ChannelEvent::Disconnected);
            }
            Post::Event(at, event) => self.tell(at, event),
            Post::Key(KeyEvent::Ready) => self.within(State::on_key_ready),
            Post::Key(KeyEvent::Opened { link, password }) => {
                let seconds = self.clock.seconds();
                self.within(|s| s.on_ticket_opened(ConnectionId(link), password.as_deref(), seconds));
            }
            Post::Key(KeyEvent::Handshake { link, handshake, step }) => {
                self.within(|s| s.on_handshake(ConnectionId(link), handshake, step));
            }
            Post::Sasl(done) => self.within(|s| s.on_sasl_done(done)),
            Post::DisconnectClient(client) => {
                let why = "its display is stuck or broke the protocol";
                self.within(|s| s.drop_client(client, Some(Goodbye::because(why))));
            }
            Post::Restored { qxl, client } => {
                let key = ChannelKey { channel_type: ChannelType::Display, id: qxl };
                self.within(|s| s.on_state_restored(client, key));
            }
            Post::PrimaryChanged { qxl, primary } => self.within(|s| s.on_primary_changed(qxl, primary)),
        }
    }

    fn tell(&self, at: ConnectionId, event: ChannelEvent) {
        if let Some(event_loop) = self.event_loop() {
            event_loop.channel_event(at.0, event);
        }
    }

    /// Reports a channel event, in order with those of other threads. Only the main loop's thread reports them.
    pub(crate) fn channel_event(self: &Arc<Self>, at: ConnectionId, event: ChannelEvent) {
        if self.on_loop_thread() {
            self.take_posts();
            self.tell(at, event);
        } else {
            self.post(Post::Event(at, event));
        }
    }

    /// The service timer fired.
    pub(crate) fn on_timer(self: &Arc<Self>) {
        self.adopt_loop_thread();
        self.with(State::on_timer);
    }
}

/// Posts the news of a worker to the main loop.
pub(crate) struct WorkerPosts {
    pub core: Weak<Core>,
    pub qxl: u8,
}

impl WorkerPosts {
    fn post(&self, post: Post) {
        if let Some(core) = self.core.upgrade() {
            core.post(post);
        }
    }
}

impl WorkerEvents for WorkerPosts {
    fn disconnect_client(&self, client: ClientId) {
        self.post(Post::DisconnectClient(client));
    }

    fn restored(&self, client: ClientId) {
        self.post(Post::Restored { qxl: self.qxl, client });
    }

    fn primary_changed(&self, primary: Option<(u32, u32)>) {
        self.post(Post::PrimaryChanged { qxl: self.qxl, primary });
    }
}
