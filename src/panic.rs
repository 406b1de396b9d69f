//! Where panics stop: one boundary for every entry point, thread and event loop of the library.
//!
//! A panic is a fault in the library. It may cost the work in progress (one call, one command, one message,
//! one client) and nothing else: not the thread, and never the host's process. Code that may panic on a
//! thread that must go on runs inside [`guarded`], which logs one line, so that the caller can drop the
//! culprit.
//!
//! The library goes on with the state that a panic leaves behind. All code that reads it is safe code, so
//! broken invariants cost at most a picture, and unwinding has dropped owned values (release tokens,
//! sockets).
//!
//! Rust's default panic hook writes to stderr without limit, so a guest that hits a fault again and again
//! could fill the disk of its host. The first [`guarded`] therefore installs a hook that stays silent for
//! panics which the boundary logs. All other panics still reach the hook that was there before: those outside
//! of a boundary, those of a process without a log (tests and fuzzers, which rely on it), and a panic during
//! unwinding, which may be the last thing that the process says.

use crate::log::{Level, RateLimit, emit_limited, enabled};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// Panics of this process since the first boundary, caught or not.
static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// How many boundaries the thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the panics began that no boundary has caught yet; more than one only when a `drop` panics during
    /// unwinding. Never dropped, so that it is there to the end of the thread: a host may call from functions that run
    /// at its exit. Without panics it holds no memory.
    static PLACES: ManuallyDrop<RefCell<Vec<(String, u32)>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Runs `work`. Returns `None` if it panicked, after one rate-limited log line that says what was being done
/// (`what`), on which thread, where and why.
pub fn guarded<T>(what: &str, work: impl FnOnce() -> T) -> Option<T> {
    install_hook();
    let depth = DEPTH.get();
    DEPTH.set(depth.saturating_add(1));
    let result = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(depth);
    match result {
        Ok(value) => Some(value),
        Err(payload) => {
            report(what, depth, &*payload);
            // Dropping the payload runs its `Drop`, which may panic and so would get past the boundary.
            std::mem::forget(payload);
            None
        }
    }
}

/// How many panics there were, for tests and metrics.
#[must_use]
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

fn report(what: &str, depth: u32, payload: &(dyn Any + Send)) {
    static LIMIT: RateLimit = RateLimit::new();
    let place = PLACES.with(|places| {
        let mut places = places.borrow_mut();
        let place = places.pop();
        if depth == 0 {
            // Left by panics that something else caught inside of `work`.
            *places = Vec::new();
        }
        place
    });
    let (file, line) = place.unwrap_or_else(|| (file!().to_owned(), line!()));
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("cause unknown");
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    emit_limited(&LIMIT, &file, line, format_args!("internal fault in {what} (thread {thread}): {text}"));
}

fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            let first = remember(info);
            if !first || !enabled(Level::Warning) {
                previous(info);
            }
        }));
    });
}

/// Keeps the place of the panic for the boundary that will catch it. False if there is no such boundary, or
/// if the thread already unwinds.
fn remember(info: &PanicHookInfo<'_>) -> bool {
    if DEPTH.get() == 0 {
        return false;
    }
    let Some(at) = info.location() else { return true };
    PLACES.with(|places| {
        places.try_borrow_mut().is_ok_and(|mut places| {
            places.push((at.file().to_owned(), at.line()));
            places.len() == 1
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting_places() -> usize {
        PLACES.with(|places| places.borrow().len())
    }

    #[test]
    fn panics_stop_here_also_when_a_thread_ends() {
        crate::testing::at_thread_end(|| {
            assert_eq!(guarded("the end of a thread", || -> u8 { panic!("late") }), None);
        });
    }

    #[test]
    fn a_value_passes_through() {
        assert_eq!(guarded("a test", || 7), Some(7));
    }

    #[test]
    fn a_panic_becomes_none_and_is_counted() {
        let before = count();
        assert_eq!(guarded("a test", || -> u8 { panic!("of {}", "a test") }), None);
        assert!(count() > before);
        assert_eq!(guarded("the next call", || 1), Some(1));
    }

    #[test]
    fn boundaries_nest_also_while_a_panic_unwinds() {
        struct Inner;
        impl Drop for Inner {
            fn drop(&mut self) {
                assert_eq!(guarded("a drop during unwinding", || -> u8 { panic!("inner") }), None);
                assert_eq!(waiting_places(), 1, "the outer panic still waits for its boundary");
            }
        }
        let outer = guarded("the outer boundary", || {
            let _inner = Inner;
            panic!("outer")
        });
        assert_eq!(outer, None::<()>);
        assert_eq!((DEPTH.get(), waiting_places()), (0, 0));
    }

    #[test]
    fn a_payload_that_panics_when_dropped_stays_inside() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("payload");
            }
        }
        assert_eq!(guarded("a test", || -> u8 { std::panic::panic_any(Bomb) }), None);
    }

    #[test]
    fn panics_that_something_else_caught_leave_nothing_behind() {
        guarded("a test", || {
            assert!(catch_unwind(|| panic!("caught inside")).is_err());
        });
        assert_eq!(guarded("a test", || -> u8 { panic!("again") }), None);
        assert_eq!(waiting_places(), 0);
    }
}
