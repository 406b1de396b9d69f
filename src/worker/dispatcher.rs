//! How requests reach a worker: a queue keeps them in the order of the calls, and a socketpair wakes the worker's poll
//! (ARCHITECTURE.md, Threads).

use super::draws::Draws;
use super::reply::{self, NoAnswer};
use super::request::{Answer, Request};
use crate::host::{Completer, GuestAccess};
use crate::limits::{MAX_QUEUED_REQUESTS, MAX_SYNC_REQUEST, QUEUE_WAIT};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

/// The callers' side, shared by all threads.
#[derive(Debug)]
pub(super) struct Dispatcher {
    queue: Mutex<Queue>,
    waker: UnixStream,
    /// Signalled when the worker has taken the queued requests.
    taken: Condvar,
    wakeup_pending: AtomicBool,
    oom_pending: AtomicBool,
    worker: OnceLock<ThreadId>,
    access: Option<Arc<dyn GuestAccess>>,
    draws: Draws,
    /// How long a caller waits for a synchronous request.
    patience: Duration,
}

#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Request>,
    closed: bool,
}

/// The worker's end of the socketpair.
#[derive(Debug)]
pub(super) struct WakeSource(UnixStream);

impl Dispatcher {
    /// Makes a dispatcher and the worker's end. `access` cuts the worker off from the guest when a caller gives up; `completer`
    /// completes requests to draw for which the worker has no time.
    pub(super) fn new(
        access: Option<Arc<dyn GuestAccess>>,
        completer: Option<Arc<dyn Completer>>,
    ) -> io::Result<(Self, WakeSource)> {
        let (waker, source) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        source.set_nonblocking(true)?;
        let dispatcher = Self {
            queue: Mutex::default(),
            taken: Condvar::new(),
            waker,
            wakeup_pending: AtomicBool::new(false),
            oom_pending: AtomicBool::new(false),
            worker: OnceLock::new(),
            access,
            draws: Draws::new(completer),
            patience: MAX_SYNC_REQUEST,
        };
        Ok((dispatcher, WakeSource(source)))
    }

    #[cfg(test)]
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The open requests to draw a GL scanout.
    pub(super) fn draws(&self) -> &Draws {
        &self.draws
    }

    /// Remembers the calling thread as the worker's.
    pub(super) fn adopt_thread(&self) {
        let _ = self.worker.set(std::thread::current().id());
    }

    fn on_worker(&self) -> bool {
        self.worker.get() == Some(&std::thread::current().id())
    }

    /// Queues a request. `Err` gives it back: the worker has ended.
    pub(super) fn post(&self, request: Request) -> Result<(), Request> {
        let was_empty = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            // A guest or a client may cause requests faster than a busy worker takes them. Then the caller waits a little.
            // With the original it waits too, because the socketpair is full.
            if queue.requests.len() >= MAX_QUEUED_REQUESTS && !self.on_worker() {
                let full = |queue: &mut Queue| queue.requests.len() >= MAX_QUEUED_REQUESTS && !queue.closed;
                let waited = self.taken.wait_timeout_while(queue, QUEUE_WAIT, full);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let queue = &mut *queue;
            if queue.closed {
                return Err(request);
            }
            let was_empty = queue.requests.is_empty();
            queue.requests.push_back(request);
            was_empty
        };
        if was_empty {
            self.poke();
        }
        Ok(())
    }

    /// Wakes the worker up.
    pub(super) fn poke(&self) {
        // If the socket is full, the worker has bytes to read and wakes up anyway.
        let _ = (&self.waker).write(&[0]);
    }

    /// Queues a request unless one of its kind is queued already.
    fn post_once(&self, pending: &AtomicBool, request: Request) {
        if !pending.swap(true, Ordering::AcqRel) {
            let _ = self.post(request);
        }
    }

    pub(super) fn wakeup(&self) {
        self.post_once(&self.wakeup_pending, Request::Wakeup);
    }

    pub(super) fn oom(&self) {
        self.post_once(&self.oom_pending, Request::Oom);
    }

    /// The worker calls this before it reads the rings, so that no wakeup gets lost.
    pub(super) fn wakeup_handled(&self) {
        self.wakeup_pending.store(false, Ordering::Release);
    }

    /// The worker calls this when it has freed memory.
    pub(super) fn oom_handled(&self) {
        self.oom_pending.store(false, Ordering::Release);
    }

    /// Queues a request and waits until the worker has executed it. `None`: the worker has ended, the caller is the worker
    /// itself, or the worker did not answer within [`MAX_SYNC_REQUEST`]; in the last case it is now cut off from the guest.
    pub(super) fn call<T>(&self, name: &str, request: impl FnOnce(Answer<T>) -> Request) -> Option<T> {
        if self.on_worker() {
            crate::warning!("{name}: called from a callback on the worker's own thread, ignored");
            return None;
        }
        let (reply, waiter) = reply::request(self.access.clone());
        if self.post(request(Answer::Sync(reply))).is_err() {
            crate::debug!("{name}: the worker has ended");
            return None;
        }
        match waiter.wait(self.patience) {
            Ok(value) => Some(value),
            Err(NoAnswer::Expired) => {
                crate::warning!(
                    "{name}: the worker did not answer within {:?}. It cannot access the guest's memory until it has finished the request",
                    self.patience
                );
                None
            }
            Err(NoAnswer::Dropped) => None,
        }
    }

    /// Takes all queued requests. The worker calls this after [`WakeSource::drain`].
    pub(super) fn take(&self) -> VecDeque<Request> {
        let requests =
            std::mem::take(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner).requests);
        self.taken.notify_all();
        requests
    }

    /// Takes all queued requests and refuses later ones.
    pub(super) fn close(&self) -> VecDeque<Request> {
        let queue = &mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        self.taken.notify_all();
        std::mem::take(&mut queue.requests)
    }
}

impl WakeSource {
    pub(super) fn raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Empties the socket. The worker calls this before it takes the queue.
    pub(super) fn drain(&mut self) {
        let mut buffer = [0; 64];
        while matches!((&self.0).read(&mut buffer), Ok(n) if n == buffer.len()) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn who_causes_too_many_requests_waits_for_the_worker_a_little() {
        let (dispatcher, _wake) = Dispatcher::new(None, None).unwrap();
        let request = || Request::DelMemslot { group_id: 0, slot_id: 7 };
        let start = Instant::now();
        for _ in 0..MAX_QUEUED_REQUESTS {
            dispatcher.post(request()).unwrap();
        }
        dispatcher.post(request()).unwrap();
        assert!(start.elapsed() >= QUEUE_WAIT);
        // The worker never waits for itself.
        dispatcher.adopt_thread();
        let start = Instant::now();
        dispatcher.post(request()).unwrap();
        assert!(start.elapsed() < QUEUE_WAIT);
    }
}
