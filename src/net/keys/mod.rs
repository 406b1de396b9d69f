//! Ticket keys, TLS handshakes and slow logins, on threads of their own.
//!
//! All of these cost time that the host thread does not have (server.md 5.1, 13 trap 22): making a key 10 to 100 ms,
//! opening a ticket or answering a ClientHello about 1 ms, asking a directory server seconds. [`Keys`] keeps the ticket
//! keys and hands jobs to its threads; results come back through the function that [`Keys::start`] was given, as
//! [`KeyEvent`]s with the number of their link.
//!
//! No job can end a thread: one that panics costs its own link (or, for a key, the attempt), see [`crate::panic`].
//! Queues are bounded, and a link that is given up takes its job out of them (`pool.rs`).

mod pool;
mod ticket;

pub(crate) use pool::{CancelToken, Cancelled, PoolError, SlowJob};
pub(crate) use ticket::TicketKey;

use crate::limits::{TICKET_KEY_LIFETIME, TICKET_KEY_LINKS};
use crate::net::descriptors::reserve_table;
use crate::net::tls::{Handshake, Step};
use crate::panic::guarded;
use crate::protocol::link::TICKET_SIZE;
use pool::{Job, Kind, Pool};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{fmt, io};

/// What the threads post.
#[derive(Debug)]
pub(crate) enum KeyEvent {
    /// [`Keys::current`] has a key now, or a newer one.
    Ready,
    /// A ticket was tried.
    Opened {
        /// Whose ticket it is.
        link: u64,
        /// `None` if the ticket cannot be opened.
        password: Option<Vec<u8>>,
    },
    /// A TLS handshake went on as far as its socket let it.
    Handshake {
        /// Whose handshake it is.
        link: u64,
        /// The connection, to go on with.
        handshake: Handshake,
        /// What the handshake waits for, or why it failed.
        step: io::Result<Step>,
    },
}

/// The cryptography itself, apart so that tests can let it fail.
trait Crypto: Send + Sync {
    fn generate(&self) -> io::Result<TicketKey> {
        TicketKey::generate()
    }

    fn open(&self, key: &TicketKey, ticket: &[u8; TICKET_SIZE]) -> Option<Vec<u8>> {
        key.open(ticket)
    }

    fn step(&self, handshake: &mut Handshake) -> io::Result<Step> {
        handshake.step()
    }
}

struct OpenSsl;

impl Crypto for OpenSsl {}

#[derive(Debug, Default)]
struct Store {
    current: Option<(Arc<TicketKey>, Instant)>,
    next: Option<Arc<TicketKey>>,
    /// Links that were given the current key.
    links: u32,
    /// A key is being made.
    ordered: bool,
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ticket keys of a server, and the threads that make and use them. Dropping it forgets the jobs that wait and ends
/// the threads.
pub(crate) struct Keys {
    pool: Pool,
    store: Arc<Mutex<Store>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Starts the thread for cryptography, which makes a key at once if links are `expected`, otherwise when the first
    /// link asks for one. The threads call `post` with their results; it may only post them to another thread.
    ///
    /// # Errors
    /// The system gave no thread.
    pub(crate) fn start(expected: bool, post: impl Fn(KeyEvent) + Send + Sync + 'static) -> io::Result<Self> {
        Self::start_with(expected, OpenSsl, post)
    }

    fn start_with(
        expected: bool,
        crypto: impl Crypto + 'static,
        post: impl Fn(KeyEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let store = Arc::new(Mutex::new(Store::default()));
        let shared = Arc::clone(&store);
        let pool = Pool::start(
            reserve_table,
            Box::new(move |job, cancelled| execute(&crypto, &shared, &post, job, cancelled)),
        )?;
        let keys = Self { pool, store };
        if expected {
            keys.order(&mut lock(&keys.store));
        }
        Ok(keys)
    }

    fn order(&self, store: &mut Store) {
        if !store.ordered
            && let Ok(place) = self.pool.reserve(Kind::Generate)
        {
            place.fill_detached(Job::Generate);
            store.ordered = true;
        }
    }

    /// A key for another link; `None` until [`KeyEvent::Ready`] is posted. Orders a new key when this one has served long
    /// enough, and goes on with the old one until the new one is there.
    pub(crate) fn current(&self, now: Instant) -> Option<Arc<TicketKey>> {
        let store = &mut *lock(&self.store);
        let worn = store.current.as_ref().is_none_or(|(_, born)| {
            store.links >= TICKET_KEY_LINKS || now.saturating_duration_since(*born) > TICKET_KEY_LIFETIME
        });
        if worn {
            match store.next.take() {
                Some(next) => {
                    store.current = Some((next, now));
                    store.links = 0;
                }
                None => self.order(store),
            }
        }
        store.links = store.links.saturating_add(1);
        store.current.as_ref().map(|(key, _)| key.clone())
    }

    /// Moves a handshake on as far as its socket lets it; [`KeyEvent::Handshake`] brings it back. If the token is dropped
    /// before, the handshake and its socket are dropped too, most often at once.
    ///
    /// # Errors
    /// Too many handshakes wait; gives this one back.
    pub(crate) fn handshake(
        &self,
        link: u64,
        handshake: Handshake,
    ) -> Result<CancelToken, (Handshake, PoolError)> {
        match self.pool.reserve(Kind::Handshake) {
            Ok(place) => Ok(place.fill(Job::Handshake { link, handshake })),
            Err(error) => Err((handshake, error)),
        }
    }

    /// Tries a ticket. [`KeyEvent::Opened`] brings the password unless the token is dropped before.
    ///
    /// # Errors
    /// Too many tickets wait.
    pub(crate) fn open(
        &self,
        link: u64,
        key: Arc<TicketKey>,
        ticket: Box<[u8; TICKET_SIZE]>,
    ) -> Result<CancelToken, PoolError> {
        Ok(self.pool.reserve(Kind::Open)?.fill(Job::Open { link, key, ticket }))
    }

    /// Runs a job that may wait for seconds, apart from all cryptography.
    ///
    /// # Errors
    /// Too many slow jobs wait, or the system gives no thread.
    pub(crate) fn slow(&self, job: Box<dyn SlowJob>) -> Result<CancelToken, PoolError> {
        Ok(self.pool.reserve(Kind::Slow)?.fill(Job::Slow(job)))
    }

    /// TLS handshakes that wait for the thread or are on it: descriptors that no link holds.
    #[cfg(test)]
    pub(crate) fn handshakes_in_flight(&self) -> usize {
        self.pool.in_flight(Kind::Handshake)
    }
}

/// Does a job, on a thread of the pool. A panic of the work itself becomes the job's failure; only what comes after it is
/// left to the pool's boundary.
fn execute(
    crypto: &dyn Crypto,
    store: &Mutex<Store>,
    post: &dyn Fn(KeyEvent),
    job: Job,
    cancelled: &Cancelled,
) {
    match job {
        Job::Generate => {
            let key = guarded("making a ticket key", || crypto.generate());
            let mut store = lock(store);
            store.ordered = false;
            match key {
                Some(Ok(key)) => {
                    store.next = Some(Arc::new(key));
                    drop(store);
                    post(KeyEvent::Ready);
                }
                // The next link that asks for a key orders one again.
                Some(Err(error)) => crate::warning_limited!("no ticket key: {error}"),
                None => {}
            }
        }
        Job::Open { link, key, ticket } => {
            let password = guarded("opening a ticket", || crypto.open(&key, &ticket)).flatten();
            if !cancelled.is_cancelled() {
                post(KeyEvent::Opened { link, password });
            }
        }
        Job::Handshake { link, mut handshake } => {
            let step = guarded("a TLS handshake", || crypto.step(&mut handshake))
                .unwrap_or_else(|| Err(io::Error::other("internal fault in the TLS handshake")));
            if !cancelled.is_cancelled() {
                post(KeyEvent::Handshake { link, handshake, step });
            }
        }
        Job::Slow(mut job) => {
            let completed = guarded(job.what(), || job.run(cancelled)).is_some();
            if !cancelled.is_cancelled() {
                job.finish(completed);
            }
        }
    }
}

#[cfg(test)]
mod tests;
