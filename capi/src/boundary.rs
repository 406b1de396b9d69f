//! The one place where panics stop: nothing may unwind into the host.

use spice_server_core::warning;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an exported function returns when it failed inside.
pub trait Failure {
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
pub fn guard<T: Failure>(function: &'static str, body: impl FnOnce() -> T) -> T {
    guard_or(function, T::VALUE, body)
}

/// Like [`guard`] with another value for failures. Also used around our callbacks that the host calls.
pub fn guard_or<T>(function: &'static str, failure: T, body: impl FnOnce() -> T) -> T {
    // What a panic left half done is behind the core's own poison handling; dropping the call is the best we can do.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(cause) => {
            let text = cause
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| cause.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("unknown cause");
            warning!("{function}: internal error: {text}");
            // A payload whose own Drop panics must not undo all this.
            std::mem::forget(cause);
            failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_error_value() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let int: libc::c_int = guard("test", || panic!("oops"));
        let pointer: *mut u8 = guard("test", || panic!("oops {}", 1));
        std::panic::set_hook(hook);
        assert_eq!(int, -1);
        assert!(pointer.is_null());
    }

    #[test]
    fn a_value_passes_through() {
        assert_eq!(guard("test", || 7u32), 7);
    }
}
