//! The host's callbacks as the traits of the core ([`spice_server_core::host`]). No lock of ours is held while the
//! host runs: it may call back into the library at any time (server.md 3.7).

pub mod char;
pub mod event_loop;
pub mod input;
pub mod migration;
pub mod qxl;
#[cfg(have_sasl)]
pub mod sasl;
pub mod sound;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A pointer that belongs to the host. We hand it back to the host's own functions, from whatever thread the
/// contract names for them; the host answers for that.
pub struct HostPointer<T>(pub *mut T);

impl<T> std::fmt::Debug for HostPointer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Clone for HostPointer<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for HostPointer<T> {}

// SAFETY: the pointer is only passed to the host's functions, under the threading rules that the host signed up to
// (server.md 3.5); we never read or write through it concurrently.
unsafe impl<T> Send for HostPointer<T> {}
// SAFETY: as for Send: sharing the value of the pointer is harmless.
unsafe impl<T> Sync for HostPointer<T> {}

/// Locks for the length of one statement; what a panic left behind is still the best state we have.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
