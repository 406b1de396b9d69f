//! The panic boundary of the worker: a fault costs one command, one request or one client, never the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`; `None` when it panicked, which is logged with `what`.
///
/// The state that the panic leaves is used on: everything reachable is safe code whose broken promises cost at most a
/// picture, and owned values (release tokens, sockets) were dropped by unwinding.
pub(super) fn guarded<T>(what: &str, work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("unknown fault");
            crate::warning_limited!("worker: internal fault in {what}, dropped: {text}");
            // A payload whose own drop panics must not get past the boundary.
            std::mem::forget(payload);
            None
        }
    }
}
