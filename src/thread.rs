//! Threads of the library: named, and deaf to signals.
//!
//! Signals are the host's business. A host that waits for SIGTERM or SIGALRM on a thread of its own must not have its
//! handlers run on one of ours, so every thread of the library blocks all signals except those that a fault of the
//! thread itself raises (server.md 3.5).

use nix::sys::signal::{SigSet, Signal};
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

/// Signals that a faulting instruction raises: if they were blocked, the kernel would kill the process without asking
/// the host's handler.
const FAULTS: [Signal; 4] = [Signal::SIGILL, Signal::SIGFPE, Signal::SIGSEGV, Signal::SIGBUS];

/// A number of the calling thread that no other thread of the process has or had. Never 0. The standard library's id costs an
/// atomic count for each look, and the main loop looks at each event.
pub(crate) fn number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static OWN: Cell<u64> = const { Cell::new(0) };
    }
    if OWN.get() == 0 {
        OWN.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
    }
    OWN.get()
}

/// Starts a thread that takes no signals of the host. Its name, of at most 15 bytes, shows up in debuggers and in `top`.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(move || {
        block_host_signals();
        work()
    })
}

/// Blocks the host's signals on the calling thread, which must be one of ours.
pub(crate) fn block_host_signals() {
    let mut signals = SigSet::all();
    for fault in FAULTS {
        signals.remove(fault);
    }
    if let Err(error) = signals.thread_block() {
        let thread = std::thread::current();
        crate::warning!("thread {}: signals cannot be blocked: {error}", thread.name().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_numbers_of_their_own() {
        let here = number();
        let there = spawn("SPICE Test", || [number(), number()]).unwrap().join().unwrap();
        assert_eq!((number(), there[0]), (here, there[1]));
        assert!(here != there[0] && here > 0);
    }

    #[test]
    fn only_faults_reach_our_threads() {
        let thread = spawn("SPICE Test", || {
            (SigSet::thread_get_mask().unwrap(), std::thread::current().name().map(str::to_owned))
        });
        let (blocked, name) = thread.unwrap().join().unwrap();
        assert_eq!(name.as_deref(), Some("SPICE Test"));
        for signal in [Signal::SIGTERM, Signal::SIGALRM, Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGPIPE] {
            assert!(blocked.contains(signal), "{signal}");
        }
        for signal in FAULTS {
            assert!(!blocked.contains(signal), "{signal}");
        }
    }
}
