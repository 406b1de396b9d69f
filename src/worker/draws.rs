//! The host's requests to draw a GL scanout, until they are complete.
//!
//! The guest draws nothing before such a request is complete, so that must not take long. The worker completes most of them,
//! but it may be busy for longer than the guest is to wait, for instance with the compression of a whole screen. So a thread of
//! its own completes what is still open after [`GL_DRAW_TIMEOUT`]. Whoever takes a request out of the list completes it, so
//! each one is completed once.

use crate::host::Completer;
use crate::limits::GL_DRAW_TIMEOUT;
use crate::panic::guarded;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// The open requests of one device, and the thread that completes late ones.
#[derive(Debug)]
pub(super) struct Draws {
    shared: Arc<Shared>,
    /// How the thread completes a request; `None`: there is no thread.
    completer: Option<Arc<dyn Completer>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The list is not empty any more, or closed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they came, which is the one of their deadlines.
    open: VecDeque<Open>,
    /// Number of the newest request.
    last: u64,
    closed: bool,
}

#[derive(Debug)]
struct Open {
    number: u64,
    cookie: u64,
    until: Instant,
}

impl Draws {
    pub(super) fn new(completer: Option<Arc<dyn Completer>>) -> Self {
        Self { shared: Arc::default(), completer, thread: Mutex::default() }
    }

    /// Begins a request. Returns its number, under which the worker ends it. After [`Self::close`] nobody does.
    pub(super) fn begin(&self, cookie: u64) -> u64 {
        let number = {
            let mut state = self.shared.lock();
            state.last += 1;
            let number = state.last;
            if state.closed {
                return number;
            }
            state.open.push_back(Open { number, cookie, until: Instant::now() + GL_DRAW_TIMEOUT });
            number
        };
        self.start();
        self.shared.changed.notify_one();
        number
    }

    /// Takes a request out of the list. Returns its cookie, which the caller completes; `None`: it is complete.
    pub(super) fn end(&self, number: u64) -> Option<u64> {
        let mut state = self.shared.lock();
        let at = state.open.iter().position(|open| open.number == number)?;
        state.open.remove(at).map(|open| open.cookie)
    }

    /// Ends the thread. Returns the cookies of the open requests, which the caller completes.
    pub(super) fn close(&self) -> Vec<u64> {
        let open = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.open)
        };
        self.shared.changed.notify_one();
        open.into_iter().map(|open| open.cookie).collect()
    }

    /// Waits until the thread has ended, after [`Self::close`]. Afterwards it calls nothing.
    pub(super) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The host may remove the device while the thread calls it.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // It logs its panics itself.
            let _ = thread.join();
        }
    }

    /// Starts the thread with the first request.
    fn start(&self) {
        let Some(completer) = &self.completer else { return };
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return;
        }
        let (shared, completer) = (Arc::clone(&self.shared), Arc::clone(completer));
        match crate::thread::spawn("SPICE Draws", move || shared.complete_late_ones(&*completer)) {
            Ok(started) => *thread = Some(started),
            Err(error) => {
                crate::warning_limited!("no thread that completes late draws of the GL scanout: {error}");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does until the list is closed.
    fn complete_late_ones(&self, completer: &dyn Completer) {
        let mut state = self.lock();
        while !state.closed {
            let left = state.open.front().map(|open| open.until.saturating_duration_since(Instant::now()));
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if !left.is_zero() => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    let late = state.open.pop_front();
                    drop(state);
                    if let Some(Open { cookie, .. }) = late {
                        crate::debug!(
                            "nobody has drawn the GL scanout within {GL_DRAW_TIMEOUT:?}, the guest goes on"
                        );
                        guarded("async_complete", || completer.async_complete(cookie));
                    }
                    self.lock()
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    #[derive(Debug)]
    struct Tell(Mutex<Sender<u64>>);

    impl Completer for Tell {
        fn async_complete(&self, cookie: u64) {
            self.0.lock().unwrap().send(cookie).unwrap();
            assert_ne!(cookie, 666, "of a test");
        }
    }

    #[test]
    fn a_request_that_the_worker_ends_has_its_cookie_once() {
        let draws = Draws::new(None);
        let numbers = [7, 7, 8].map(|cookie| draws.begin(cookie));
        assert_eq!(draws.end(numbers[1]), Some(7));
        assert_eq!(draws.end(numbers[1]), None);
        assert_eq!(draws.end(numbers[2]), Some(8));
        assert_eq!(draws.end(99), None);
        assert_eq!(draws.close(), [7]);
        assert_eq!((draws.end(numbers[0]), draws.close()), (None, vec![]));
    }

    #[test]
    fn late_requests_are_completed_in_order_also_after_a_panic() {
        let (tell, told) = channel();
        let draws = Draws::new(Some(Arc::new(Tell(Mutex::new(tell)))));
        let numbers = [1, 666, 2].map(|cookie| draws.begin(cookie));
        assert_eq!([1, 666, 2], [(); 3].map(|()| told.recv().unwrap()));
        assert_eq!(numbers.map(|number| draws.end(number)), [None; 3]);
        assert_eq!(draws.close(), []);
        draws.join();
        draws.begin(3);
        drop(draws);
        assert!(told.recv().is_err(), "the thread has ended");
    }
}
