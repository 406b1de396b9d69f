//! The answer to a synchronous request, and what becomes of a request whose caller has given up waiting.
//!
//! A caller that gives up goes on as if the request were done: after a `stop` the host may save the guest's memory, after a
//! `destroy` it may unmap it. But the worker is still busy with older work, which must not touch that memory any more. So the
//! caller cuts the device off from the guest. The worker restores the access when it reaches the end of the request.

use crate::host::GuestAccess;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The worker is done with the request.
    Done,
    /// The caller has given up.
    Expired,
}

/// What both sides know of one request.
#[derive(Debug)]
struct Call {
    state: Mutex<State>,
    access: Option<Arc<dyn GuestAccess>>,
}

impl Call {
    /// The worker is done. If the caller had given up, the worker may access the guest again.
    fn done(&self) {
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Expired
            && let Some(access) = &self.access
        {
            access.restore();
        }
        *state = State::Done;
    }

    /// The caller gives up. `false`: the worker finished just before.
    fn expire(&self) -> bool {
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != State::Open {
            return false;
        }
        if let Some(access) = &self.access {
            access.cut_off();
        }
        *state = State::Expired;
        true
    }
}

/// The worker's side. If it is dropped without an answer, because the request panicked or the worker ended, the caller learns
/// that.
#[derive(Debug)]
pub(super) struct Reply<T> {
    sender: SyncSender<T>,
    call: Arc<Call>,
}

impl<T> Reply<T> {
    /// Ends the request.
    pub(super) fn give(self, value: T) {
        // The channel has room for one value, so this never blocks. It fails if the caller has given up.
        let _ = self.sender.try_send(value);
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.call.done();
    }
}

/// The caller's side.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    receiver: Receiver<T>,
    call: Arc<Call>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The worker did not answer in time. It cannot touch the guest until it reaches the end of the request.
    Expired,
    /// The request panicked, or the worker has ended.
    Dropped,
}

/// Both sides of a request to a worker with this access to the guest.
pub(super) fn request<T>(access: Option<Arc<dyn GuestAccess>>) -> (Reply<T>, Waiter<T>) {
    let (sender, receiver) = sync_channel(1);
    let call = Arc::new(Call { state: Mutex::default(), access });
    (Reply { sender, call: call.clone() }, Waiter { receiver, call })
}

impl<T> Waiter<T> {
    /// Waits for the answer.
    pub(super) fn wait(self, patience: Duration) -> Result<T, NoAnswer> {
        match self.receiver.recv_timeout(patience) {
            Ok(value) => Ok(value),
            Err(RecvTimeoutError::Disconnected) => Err(NoAnswer::Dropped),
            Err(RecvTimeoutError::Timeout) if self.call.expire() => Err(NoAnswer::Expired),
            Err(RecvTimeoutError::Timeout) => self.receiver.recv().map_err(|_| NoAnswer::Dropped),
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
