//! The answer to a synchronous request, and what becomes of a request whose caller has given up waiting.
//!
//! A caller that gives up goes on as if the request were done: after a `stop` the host may save the guest's memory, after a
//! `destroy` it may unmap it. But the worker is still busy with older work, which must not touch that memory any more. So the
//! caller cuts the device off from the guest. The worker restores the access when it reaches the end of the request.

use crate::host::GuestAccess;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug)]
enum State<T> {
    Open {
        /// The caller sleeps. Waking nobody is a call of the kernel, too.
        waits: bool,
    },
    /// The worker is done with the request.
    Answered(T),
    /// The request ended without an answer, or the caller has taken it.
    Ended,
    /// The caller has given up.
    Expired,
}

/// What both sides know of one request. Some guests cause one for each word that they draw, so it is a single allocation.
#[derive(Debug)]
struct Call<T> {
    state: Mutex<State<T>>,
    /// Signalled when the worker is done.
    done: Condvar,
    access: Option<Arc<dyn GuestAccess>>,
}

impl<T> Call<T> {
    /// The worker is done. If the caller had given up, the worker may access the guest again.
    fn end(&self, end: State<T>) {
        let waits = {
            let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match *state {
                State::Open { waits } => {
                    *state = end;
                    waits
                }
                State::Expired => {
                    if let Some(access) = &self.access {
                        access.restore();
                    }
                    *state = State::Ended;
                    false
                }
                State::Answered(_) | State::Ended => false,
            }
        };
        // Without the lock, which the caller takes as soon as it wakes up.
        if waits {
            self.done.notify_one();
        }
    }
}

/// The worker's side. If it is dropped without an answer, because the request panicked or the worker ended, the caller learns
/// that.
#[derive(Debug)]
pub(super) struct Reply<T>(Arc<Call<T>>);

impl<T> Reply<T> {
    /// Ends the request.
    pub(super) fn give(self, value: T) {
        self.0.end(State::Answered(value));
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.0.end(State::Ended);
    }
}

/// The caller's side.
#[derive(Debug)]
pub(super) struct Waiter<T>(Arc<Call<T>>);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The request took too long. The worker cannot touch the guest until it reaches the end of the request.
    Expired,
    /// The request panicked, or the worker has ended.
    Dropped,
}

/// Both sides of a request to a worker with this access to the guest.
pub(super) fn request<T>(access: Option<Arc<dyn GuestAccess>>) -> (Reply<T>, Waiter<T>) {
    let call =
        Arc::new(Call { state: Mutex::new(State::Open { waits: false }), done: Condvar::new(), access });
    (Reply(call.clone()), Waiter(call))
}

impl<T> Waiter<T> {
    /// Waits for the answer.
    pub(super) fn wait(self, patience: Duration) -> Result<T, NoAnswer> {
        let call = &*self.0;
        let mut state = call.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |state: &mut State<T>| matches!(state, State::Open { .. });
        if is_open(&mut state) {
            *state = State::Open { waits: true };
        }
        let waited = call.done.wait_timeout_while(state, patience, is_open);
        let state = &mut *waited.unwrap_or_else(PoisonError::into_inner).0;
        match std::mem::replace(state, State::Ended) {
            State::Answered(value) => Ok(value),
            State::Ended | State::Expired => Err(NoAnswer::Dropped),
            State::Open { .. } => {
                if let Some(access) = &call.access {
                    access.cut_off();
                }
                *state = State::Expired;
                Err(NoAnswer::Expired)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI32, Ordering};

    #[derive(Debug, Default)]
    struct Access(AtomicI32);

    impl GuestAccess for Access {
        fn cut_off(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }

        fn restore(&self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn pair() -> (Arc<Access>, Reply<u32>, Waiter<u32>) {
        let access = Arc::new(Access::default());
        let (reply, waiter) = request(Some(access.clone()));
        (access, reply, waiter)
    }

    #[test]
    fn an_answer_in_time_cuts_nothing_off() {
        let (access, reply, waiter) = pair();
        reply.give(7);
        assert_eq!(waiter.wait(Duration::ZERO), Ok(7));
        assert_eq!(access.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_guest_is_cut_off_until_an_expired_request_ends() {
        for panics in [false, true] {
            let (access, reply, waiter) = pair();
            assert_eq!(waiter.wait(Duration::ZERO), Err(NoAnswer::Expired));
            assert_eq!(access.0.load(Ordering::SeqCst), 1);
            if panics {
                drop(reply)
            } else {
                reply.give(7)
            }
            assert_eq!(access.0.load(Ordering::SeqCst), 0);
        }
    }

    #[test]
    fn a_request_that_ended_without_an_answer_is_told() {
        let (access, reply, waiter) = pair();
        drop(reply);
        assert_eq!(waiter.wait(Duration::from_secs(60)), Err(NoAnswer::Dropped));
        assert_eq!(access.0.load(Ordering::SeqCst), 0);
    }
}
