//! The one place where panics stop: nothing may unwind into the host.

use spice_server_core::panic::guarded;

/// What an exported function returns when it failed inside.
pub(crate) trait Failure {
    /// The documented error value of functions with this return type.
    const VALUE: Self;
}

impl Failure for () {
    const VALUE: Self = ();
}

impl Failure for libc::c_int {
    const VALUE: Self = -1;
}

impl Failure for u32 {
    const VALUE: Self = 0;
}

impl<T> Failure for *mut T {
    const VALUE: Self = std::ptr::null_mut();
}

impl<T> Failure for *const T {
    const VALUE: Self = std::ptr::null();
}

/// Runs the body of an exported function; a panic becomes [`Failure::VALUE`].
pub(crate) fn guard<T: Failure>(function: &'static str, body: impl FnOnce() -> T) -> T {
    guard_or(function, T::VALUE, body)
}

/// Like [`guard`] with another value for failures. Also used around our callbacks that the host calls.
pub(crate) fn guard_or<T>(function: &'static str, failure: T, body: impl FnOnce() -> T) -> T {
    guarded(function, body).unwrap_or(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_error_value() {
        let int: libc::c_int = guard("test", || panic!("oops"));
        let pointer: *mut u8 = guard("test", || panic!("oops {}", 1));
        assert_eq!(int, -1);
        assert!(pointer.is_null());
    }

    #[test]
    fn a_value_passes_through() {
        assert_eq!(guard("test", || 7u32), 7);
    }
}
