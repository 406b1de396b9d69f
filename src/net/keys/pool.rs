//! The threads behind [`super::Keys`] and the bounded queues that feed them.
//!
//! There are two lanes. One thread does the cryptography of links: each job is short (up to 100 ms for a key, about 1 ms
//! for the others), and the thread takes the kinds of jobs in turn, so that a flood of TLS handshakes does not keep
//! tickets waiting. Slow jobs, which may wait seconds for somebody else's answer, have threads of their own, which the
//! pool starts as slow jobs come.
//!
//! A job belongs to whoever holds its [`CancelToken`]. When the token is dropped, the pool removes a job that still waits
//! from its queue on the spot, with the socket that it holds, and throws the result of a running job away. A connection
//! that was given up therefore costs neither a descriptor nor an RSA operation.

use super::TicketKey;
use crate::limits::{MAX_LINK_JOBS, MAX_SLOW_THREADS};
use crate::net::tls::Handshake;
use crate::panic::guarded;
use crate::protocol::link::TICKET_SIZE;
use crate::thread;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

/// Work for another thread that may take seconds, such as asking a directory server about a password.
pub(crate) trait SlowJob: Send {
    /// What the job does, for the log.
    fn what(&self) -> &'static str;

    /// Does the work, on a thread that may wait. A job of several steps should look at `cancelled` between them.
    fn run(&mut self, cancelled: &Cancelled);

    /// Hands the result over, on the same thread: posts it to the main loop. `completed` is false if [`Self::run`]
    /// panicked. Not called for cancelled jobs.
    fn finish(self: Box<Self>, completed: bool);
}

/// Whether the result of a job is still wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    /// True once the job's [`CancelToken`] is gone.
    #[must_use]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The right to the result of a job; dropping it cancels the job (see the [module](self)).
#[must_use = "dropping the token cancels its job"]
pub(crate) struct CancelToken {
    cancelled: Cancelled,
    shared: Weak<Shared>,
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelToken")
    }
}

impl Drop for CancelToken {
    fn drop(&mut self) {
        self.cancelled.0.store(true, Ordering::Release);
        if Arc::strong_count(&self.cancelled.0) > 1
            && let Some(shared) = self.shared.upgrade()
        {
            shared.remove(&self.cancelled);
        }
    }
}

/// Why the pool does not take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolError {
    /// The queue for this kind of jobs is at its limit.
    #[error("too many {0} wait already")]
    Full(&'static str),
    /// The system gave no thread for this kind of jobs.
    #[error("there is no thread for {0}")]
    NoThread(&'static str),
    /// The server is being destroyed.
    #[error("the server ends")]
    Closed,
}

pub(super) enum Job {
    Generate,
    Open { link: u64, key: Arc<TicketKey>, ticket: Box<[u8; TICKET_SIZE]> },
    Handshake { link: u64, handshake: Handshake },
    Slow(Box<dyn SlowJob>),
}

/// The kinds of jobs; each has a queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Generate,
    Open,
    Handshake,
    Slow,
}

impl Kind {
    /// What the thread for cryptography does.
    const CRYPTO: [Self; 3] = [Self::Generate, Self::Open, Self::Handshake];
    const COUNT: usize = 4;

    fn what(self) -> &'static str {
        match self {
            Self::Generate => "ticket keys",
            Self::Open => "tickets",
            Self::Handshake => "TLS handshakes",
            Self::Slow => "logins",
        }
    }

    /// How many may wait.
    fn bound(self) -> usize {
        if self == Self::Generate { 1 } else { MAX_LINK_JOBS }
    }
}

impl Job {
    fn kind(&self) -> Kind {
        match self {
            Self::Generate => Kind::Generate,
            Self::Open { .. } => Kind::Open,
            Self::Handshake { .. } => Kind::Handshake,
            Self::Slow(_) => Kind::Slow,
        }
    }
}

struct Entry {
    job: Job,
    cancelled: Cancelled,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Entry>,
    running: usize,
}

#[derive(Default)]
struct Queues {
    lanes: [Lane; Kind::COUNT],
    /// The kind that the thread for cryptography looks at first.
    turn: usize,
    slow_threads: usize,
    closed: bool,
}

/// What a thread does next.
type Take = fn(&mut Queues) -> Option<Entry>;

impl Queues {
    fn lane(&mut self, kind: Kind) -> &mut Lane {
        let [generate, open, handshake, slow] = &mut self.lanes;
        match kind {
            Kind::Generate => generate,
            Kind::Open => open,
            Kind::Handshake => handshake,
            Kind::Slow => slow,
        }
    }

    fn take(&mut self, kind: Kind) -> Option<Entry> {
        let lane = self.lane(kind);
        // Strangers can cause more handshakes than the thread can do. In turn, each would wait until its connection is
        // closed in favour of newer ones, and nobody would get in. So the newest is served, and the oldest may be lost.
        let entry = if kind == Kind::Handshake { lane.waiting.pop_back() } else { lane.waiting.pop_front() }?;
        lane.running += 1;
        Some(entry)
    }

    /// The next job for the thread for cryptography: the kinds take turns.
    fn take_crypto(&mut self) -> Option<Entry> {
        let start = self.turn;
        let order = Kind::CRYPTO.into_iter().cycle().skip(start).take(Kind::CRYPTO.len());
        for (offset, kind) in order.enumerate() {
            if let Some(entry) = self.take(kind) {
                self.turn = (start + offset + 1) % Kind::CRYPTO.len();
                return Some(entry);
            }
        }
        None
    }
}

/// What the threads do with a job.
pub(super) type Execute = dyn Fn(Job, &Cancelled) + Send + Sync;

struct Shared {
    queues: Mutex<Queues>,
    /// Signalled when a job for the thread for cryptography comes, and at the end.
    crypto_wake: Condvar,
    /// The same for the threads for slow jobs.
    slow_wake: Condvar,
    execute: Box<Execute>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, kind: Kind) {
        if kind == Kind::Slow { self.slow_wake.notify_one() } else { self.crypto_wake.notify_one() }
    }

    /// A thread: takes jobs until the pool is closed.
    fn work(&self, wake: &Condvar, take: Take) {
        while let Some(Entry { job, cancelled }) = self.next(wake, take) {
            let kind = job.kind();
            // The boundary is also around the drop of a job that nobody wants any more.
            guarded(kind.what(), || {
                if !cancelled.is_cancelled() {
                    (self.execute)(job, &cancelled);
                }
            });
            let mut queues = self.lock();
            let lane = queues.lane(kind);
            lane.running = lane.running.saturating_sub(1);
        }
    }

    fn next(&self, wake: &Condvar, take: Take) -> Option<Entry> {
        let mut queues = self.lock();
        loop {
            if queues.closed {
                return None;
            }
            if let Some(entry) = take(&mut queues) {
                return Some(entry);
            }
            queues = wake.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Removes a cancelled job that still waits.
    fn remove(&self, cancelled: &Cancelled) {
        let mut queues = self.lock();
        let entry = queues.lanes.iter_mut().find_map(|lane| {
            let at = lane.waiting.iter().position(|e| Arc::ptr_eq(&e.cancelled.0, &cancelled.0))?;
            lane.waiting.remove(at)
        });
        // What the job holds is dropped without the lock.
        drop(queues);
        drop(entry);
    }
}

/// A place in a queue; the queues stand still while it is held.
pub(super) struct Place<'a> {
    shared: &'a Arc<Shared>,
    queues: MutexGuard<'a, Queues>,
}

impl Place<'_> {
    /// Queues a job and returns the right to its result.
    pub(super) fn fill(self, job: Job) -> CancelToken {
        let shared = Arc::downgrade(self.shared);
        let cancelled = Cancelled::default();
        self.push(job, cancelled.clone());
        CancelToken { cancelled, shared }
    }

    /// Queues a job that nobody cancels.
    pub(super) fn fill_detached(self, job: Job) {
        self.push(job, Cancelled::default());
    }

    fn push(mut self, job: Job, cancelled: Cancelled) {
        let kind = job.kind();
        self.queues.lane(kind).waiting.push_back(Entry { job, cancelled });
        drop(self.queues);
        self.shared.wake(kind);
    }
}

/// The threads and their queues. Dropping it forgets all jobs that wait, and ends the threads.
pub(super) struct Pool {
    shared: Arc<Shared>,
    crypto: Option<JoinHandle<()>>,
}

impl Pool {
    /// Starts the thread for cryptography, which calls `begin` first.
    pub(super) fn start(begin: fn(), execute: Box<Execute>) -> io::Result<Self> {
        let (crypto_wake, slow_wake) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { queues: Mutex::default(), crypto_wake, slow_wake, execute });
        let worker = Arc::clone(&shared);
        let crypto = thread::spawn("SPICE Keys", move || {
            guarded("the start of the crypto thread", begin);
            worker.work(&worker.crypto_wake, Queues::take_crypto);
        })?;
        Ok(Self { shared, crypto: Some(crypto) })
    }

    /// A place in the queue for jobs of this kind.
    pub(super) fn reserve(&self, kind: Kind) -> Result<Place<'_>, PoolError> {
        let mut queues = self.shared.lock();
        if queues.closed {
            return Err(PoolError::Closed);
        }
        if queues.lane(kind).waiting.len() >= kind.bound() {
            return Err(PoolError::Full(kind.what()));
        }
        if kind == Kind::Slow && !self.has_slow_thread(&mut queues) {
            return Err(PoolError::NoThread(kind.what()));
        }
        Ok(Place { shared: &self.shared, queues })
    }

    /// Starts another thread for slow jobs if all are busy and there may be more. False if there is none at all.
    fn has_slow_thread(&self, queues: &mut Queues) -> bool {
        let slow = queues.lane(Kind::Slow);
        let busy = slow.running + slow.waiting.len();
        if busy >= queues.slow_threads && queues.slow_threads < MAX_SLOW_THREADS {
            let worker = Arc::clone(&self.shared);
            let take: Take = |queues| queues.take(Kind::Slow);
            match thread::spawn("SPICE Login", move || worker.work(&worker.slow_wake, take)) {
                // Nobody joins it: how long its jobs take is not in our hands.
                Ok(_) => queues.slow_threads += 1,
                Err(error) => crate::warning_limited!("no thread for a login: {error}"),
            }
        }
        queues.slow_threads > 0
    }

    /// Jobs of a kind that wait or run.
    #[cfg(test)]
    pub(super) fn in_flight(&self, kind: Kind) -> usize {
        let mut queues = self.shared.lock();
        let lane = queues.lane(kind);
        lane.waiting.len() + lane.running
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queues = self.shared.lock();
        queues.closed = true;
        let forgotten: Vec<_> =
            queues.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.waiting)).collect();
        drop(queues);
        self.shared.crypto_wake.notify_all();
        self.shared.slow_wake.notify_all();
        drop(forgotten);
        // The last owner may be the thread itself, through what it posts. Slow jobs are not waited for: the one that
        // runs may last for as long as a directory server does not answer, and its result is thrown away.
        if let Some(thread) = self.crypto.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
