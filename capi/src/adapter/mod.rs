//! The host's callbacks as the traits of the core ([`spice_server_core::host`]). No lock of ours is held while the
//! host runs: it may call back into the library at any time (server.md 3.7).

pub(crate) mod char;
pub(crate) mod event_loop;
pub(crate) mod input;
pub(crate) mod migration;
pub(crate) mod qxl;
#[cfg(have_sasl)]
pub(crate) mod sasl;
pub(crate) mod sound;

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A pointer that belongs to the host. We pass it to the host's own functions (or, for a `FILE`, to those of the C library),
/// on the threads that the contract names for them, and never read or write through it.
pub(crate) struct HostPointer<T>(pub *mut T);

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

// SAFETY: the value of a pointer may be known to any thread. The functions that it is passed to follow the threading rules of
// the contract (server.md 3.5).
unsafe impl<T> Send for HostPointer<T> {}
// SAFETY: as for Send.
unsafe impl<T> Sync for HostPointer<T> {}

/// An object of ours to which the host has a pointer. The object lives until this value is dropped, so the owner drops it
/// when the host is done with the pointer.
pub(crate) struct Lent<T>(NonNull<T>);

impl<T> std::fmt::Debug for Lent<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

// SAFETY: the value owns the object as a Box does.
unsafe impl<T: Send> Send for Lent<T> {}

impl<T> Lent<T> {
    pub(crate) fn new(object: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(object))))
    }

    /// The pointer for the host.
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer comes from a Box, and this is its only owner.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Locks for the length of one statement; what a panic left behind is still the best state we have.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
