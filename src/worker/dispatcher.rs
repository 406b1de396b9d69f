//! How requests reach a worker: a queue keeps them in the order of the calls, and a socketpair wakes the worker's poll, if the
//! worker polls (ARCHITECTURE.md, Threads).

use super::draws::Draws;
use super::reply::{self, NoAnswer};
use super::request::{Answer, Request};
use crate::channel::connection::InputListener;
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
    /// A byte was written that the worker's poll has not reported.
    poked: Arc<AtomicBool>,
    /// Signalled when the worker has taken the queued requests.
    taken: Condvar,
    /// Signalled when a request or a client's input comes while the worker naps.
    came: Condvar,
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
    /// Callers that wait until the worker has taken the requests.
    waiting: usize,
    /// The worker naps, and is woken by the next request or input.
    napping: bool,
    /// A client's input has come since the worker last napped.
    input: bool,
    /// The worker does not look at the queue before its poll ends.
    polling: bool,
    closed: bool,
}

/// The worker's end of the socketpair. The poll is edge-triggered, so that it reports each byte although those before it were not
/// read: the worker reads them many at a time, since guests may cause a request for each of their commands.
#[derive(Debug)]
pub(super) struct WakeSource {
    socket: UnixStream,
    poked: Arc<AtomicBool>,
    /// Bytes that the poll has reported and the worker has not read.
    unread: usize,
}

/// Bytes that the worker leaves in its socket at most. The kernel has room for more than two hundred.
const MAX_UNREAD: usize = 64;

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
        let poked = Arc::new(AtomicBool::new(false));
        let source = WakeSource { socket: source, poked: Arc::clone(&poked), unread: 0 };
        let dispatcher = Self {
            queue: Mutex::default(),
            poked,
            taken: Condvar::new(),
            came: Condvar::new(),
            waker,
            wakeup_pending: AtomicBool::new(false),
            oom_pending: AtomicBool::new(false),
            worker: OnceLock::new(),
            access,
            draws: Draws::new(completer),
            patience: MAX_SYNC_REQUEST,
        };
        Ok((dispatcher, source))
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
        let (napping, polling) = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            // A guest or a client may cause requests faster than a busy worker takes them. Then the caller waits a little.
            // With the original it waits too, because the socketpair is full.
            if queue.requests.len() >= MAX_QUEUED_REQUESTS && !self.on_worker() {
                let full = |queue: &mut Queue| queue.requests.len() >= MAX_QUEUED_REQUESTS && !queue.closed;
                queue.waiting += 1;
                let waited = self.taken.wait_timeout_while(queue, QUEUE_WAIT, full);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                queue.waiting -= 1;
            }
            let queue = &mut *queue;
            if queue.closed {
                return Err(request);
            }
            queue.requests.push_back(request);
            (std::mem::take(&mut queue.napping), std::mem::take(&mut queue.polling))
        };
        if napping {
            self.came.notify_one();
        } else if polling {
            self.poke();
        }
        Ok(())
    }

    /// Wakes the worker up.
    pub(super) fn poke(&self) {
        // Else a byte is on its way, and the worker looks at the queue after it.
        if !self.poked.swap(true, Ordering::SeqCst)
            && let Err(error) = (&self.waker).write(&[0])
        {
            self.poked.store(false, Ordering::SeqCst);
            crate::warning_limited!("the worker cannot be woken: {error}");
        }
    }

    /// Queues a request unless one of its kind is queued already.
    fn post_once(&self, pending: &AtomicBool, request: Request) {
        if !pending.swap(true, Ordering::SeqCst) {
            let _ = self.post(request);
        }
    }

    pub(super) fn wakeup(&self) {
        self.post_once(&self.wakeup_pending, Request::Wakeup);
    }

    pub(super) fn oom(&self) {
        self.post_once(&self.oom_pending, Request::Oom);
    }

    /// The worker calls this before it reads the rings, so that no wakeup gets lost. It exchanges the flag: the caller of
    /// [`Self::wakeup`] might see a mere store only after the worker has read an empty ring.
    pub(super) fn wakeup_handled(&self) {
        self.wakeup_pending.swap(false, Ordering::SeqCst);
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

    /// Lets the worker sleep until a request comes, but not longer than this. Whether one came: then the worker must take it, for
    /// its poll may know nothing of it. That costs the caller and the worker less than a poke and a poll.
    ///
    /// A client's input ends the nap too, since nothing may delay what the guest answers. Input that came before it, and after
    /// the nap before, ends it at once: the worker may not have known of it when it decided to sleep.
    #[must_use]
    pub(super) fn nap(&self, time: Duration) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.napping = queue.requests.is_empty() && !queue.input;
        let slept = self.came.wait_timeout_while(queue, time, |queue| queue.napping);
        let queue = &mut *slept.unwrap_or_else(PoisonError::into_inner).0;
        (queue.napping, queue.input) = (false, false);
        !queue.requests.is_empty()
    }

    /// Whether the worker naps.
    #[cfg(test)]
    pub(super) fn naps(&self) -> bool {
        self.queue.lock().unwrap().napping
    }

    /// The same, but wakeups do not end the nap: some hosts wake the worker for each command. It must read both rings after
    /// that.
    #[must_use]
    pub(super) fn nap_through_wakeups(&self, time: Duration) -> bool {
        self.wakeup_pending.swap(true, Ordering::SeqCst);
        let came = self.nap(time);
        self.wakeup_handled();
        came
    }

    /// The worker calls this before it polls. `false`: there are requests, so it should not wait for others.
    #[must_use]
    pub(super) fn polls(&self) -> bool {
        let queue = &mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.polling = queue.requests.is_empty();
        queue.polling
    }

    /// Takes all queued requests, in exchange for an empty queue to fill. The worker calls this after [`WakeSource::woke`] or
    /// [`Self::nap`].
    pub(super) fn take(&self, empty: VecDeque<Request>) -> VecDeque<Request> {
        self.take_from(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner), empty)
    }

    /// Takes all queued requests and refuses later ones.
    pub(super) fn close(&self) -> VecDeque<Request> {
        let queue = &mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        self.take_from(queue, VecDeque::new())
    }

    fn take_from(&self, queue: &mut Queue, empty: VecDeque<Request>) -> VecDeque<Request> {
        // Hardly ever does a caller wait, and waking nobody is a call of the kernel, too.
        if queue.waiting > 0 {
            self.taken.notify_all();
        }
        std::mem::replace(&mut queue.requests, empty)
    }
}

impl InputListener for Dispatcher {
    fn input(&self) {
        let napping = {
            let queue = &mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.input = true;
            std::mem::take(&mut queue.napping)
        };
        if napping {
            self.came.notify_one();
        }
    }
}

impl WakeSource {
    pub(super) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The poll has reported the socket. The worker calls this before it takes the queue.
    pub(super) fn woke(&mut self) {
        self.unread += 1;
        if self.unread >= MAX_UNREAD {
            self.unread = 0;
            let mut buffer = [0; 2 * MAX_UNREAD];
            while matches!((&self.socket).read(&mut buffer), Ok(n) if n == buffer.len()) {}
        }
        // Only now: a byte that comes before the read would be read with the others, the poll would not report it, and no caller
        // would write another.
        self.poked.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};
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

    #[test]
    fn a_caller_that_waits_for_room_goes_on_when_the_worker_takes_the_requests() {
        let (dispatcher, _wake) = Dispatcher::new(None, None).unwrap();
        let request = || Request::DelMemslot { group_id: 0, slot_id: 7 };
        for _ in 0..MAX_QUEUED_REQUESTS {
            dispatcher.post(request()).unwrap();
        }
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| dispatcher.post(request()).unwrap());
            while dispatcher.queue.lock().unwrap().waiting == 0 && !caller.is_finished() {
                std::thread::yield_now();
            }
            assert_eq!(dispatcher.take(VecDeque::new()).len(), MAX_QUEUED_REQUESTS);
            caller.join().unwrap();
        });
        assert_eq!(dispatcher.queue.lock().unwrap().waiting, 0);
        assert_eq!(dispatcher.take(VecDeque::new()).len(), 1);
    }

    /// Calls `wake` during a nap, then posts a request if that has not ended the nap.
    fn naps_until_a_request(
        dispatcher: &Dispatcher,
        nap: fn(&Dispatcher, Duration) -> bool,
        wake: fn(&Dispatcher),
    ) -> VecDeque<Request> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| nap(dispatcher, Duration::from_secs(60)));
            while !dispatcher.naps() {
                std::thread::yield_now();
            }
            wake(dispatcher);
            if dispatcher.naps() {
                dispatcher.post(Request::DelMemslot { group_id: 0, slot_id: 7 }).unwrap();
            }
            assert!(worker.join().unwrap());
        });
        // Who did not take it does not nap.
        assert!(dispatcher.nap(Duration::from_secs(60)));
        dispatcher.take(VecDeque::new())
    }

    #[test]
    fn a_request_ends_a_nap_and_the_poll_hears_nothing_of_it() {
        let (dispatcher, wake) = Dispatcher::new(None, None).unwrap();
        let (nap, through) = (Dispatcher::nap, Dispatcher::nap_through_wakeups);
        let came = |nap, wake| naps_until_a_request(&dispatcher, nap, wake);
        for taken in [came(nap, |_| {}), came(through, |_| {}), came(through, Dispatcher::wakeup)] {
            assert!(matches!(taken.as_slices().0, [Request::DelMemslot { .. }]));
        }
        assert!(matches!(came(nap, Dispatcher::wakeup).as_slices().0, [Request::Wakeup]));
        dispatcher.wakeup_handled();
        assert!(matches!((&wake.socket).read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock));
        assert!(!dispatcher.nap(Duration::from_millis(1)));
        assert!(!dispatcher.nap_through_wakeups(Duration::from_millis(1)));
        // Awake, the worker looks at the queue before it polls.
        dispatcher.wakeup();
        assert!(!dispatcher.polls());
        assert!(matches!((&wake.socket).read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock));
        assert_eq!(dispatcher.take(VecDeque::new()).len(), 1);
        dispatcher.wakeup_handled();
        // While it polls it has to be poked, and hears of wakeups.
        assert!(dispatcher.polls());
        dispatcher.wakeup();
        assert!(matches!((&wake.socket).read(&mut [0]), Ok(1)));
        assert!(matches!(dispatcher.take(VecDeque::new()).pop_front(), Some(Request::Wakeup)));
    }

    #[test]
    fn input_ends_a_nap_and_only_one() {
        const LONG: Duration = Duration::from_secs(60);
        let (dispatcher, _wake) = Dispatcher::new(None, None).unwrap();
        let start = Instant::now();
        for nap in [Dispatcher::nap, Dispatcher::nap_through_wakeups] {
            std::thread::scope(|scope| {
                let worker = scope.spawn(|| nap(&dispatcher, LONG));
                while !dispatcher.naps() {
                    std::thread::yield_now();
                }
                dispatcher.input();
                assert!(!worker.join().unwrap());
            });
            // Input that came when the worker was about to nap.
            dispatcher.input();
            assert!(!nap(&dispatcher, LONG));
        }
        assert!(start.elapsed() < LONG);
        let start = Instant::now();
        let short = Duration::from_millis(2);
        assert!(!dispatcher.nap_through_wakeups(short));
        assert!(start.elapsed() >= short);
    }

    /// A dispatcher and the worker's end, with a poll that reports it.
    fn polled() -> (Dispatcher, WakeSource, Poll) {
        let (dispatcher, wake) = Dispatcher::new(None, None).unwrap();
        let poll = Poll::new().unwrap();
        poll.registry().register(&mut SourceFd(&wake.raw_fd()), Token(0), Interest::READABLE).unwrap();
        (dispatcher, wake, poll)
    }

    #[test]
    fn every_poke_wakes_the_worker_though_it_seldom_reads() {
        let (dispatcher, mut wake, mut poll) = polled();
        let mut events = Events::with_capacity(4);
        for _ in 0..10 * MAX_UNREAD {
            for _ in 0..3 {
                dispatcher.poke();
            }
            poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
            assert!(events.iter().any(mio::event::Event::is_readable));
            wake.woke();
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            assert!(events.is_empty());
        }
    }

    /// A byte that comes while the worker reads those before it must not get lost: everybody would take the worker for poked.
    #[test]
    fn a_poke_while_the_worker_reads_wakes_it_too() {
        let (dispatcher, mut wake, mut poll) = polled();
        let mut events = Events::with_capacity(4);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        dispatcher.poke();
                    }
                });
            }
            let mut woken = 0;
            for _ in 0..2000 * MAX_UNREAD {
                poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
                if events.is_empty() {
                    break;
                }
                wake.woke();
                woken += 1;
            }
            done.store(true, Ordering::SeqCst);
            assert_eq!(woken, 2000 * MAX_UNREAD);
        });
    }
}
