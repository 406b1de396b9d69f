//! How exported functions begin: the panic boundary, and the object that a pointer of the host names.
//!
//! Each helper runs `body` with the object. If there is no such object, one rate-limited line names the function, and it
//! returns its documented error value, as after a panic.

use crate::abi::{QXLInstance, SpiceBaseInstance, SpiceServer};
use crate::boundary::Failure;
use crate::handle::{self, Instance, ServerEntry};
use libc::c_int;
use spice_server_core::panic::guarded;
use spice_server_core::reds::{QxlInstance, ServerError};
use spice_server_core::warning;
use spice_server_core::worker::WorkerHandle;
use std::sync::Arc;

/// Runs `body` with what `find` finds.
fn with<O, T>(
    function: &'static str,
    failure: T,
    find: impl FnOnce() -> Option<O>,
    body: impl FnOnce(&O) -> T,
) -> T {
    guarded(function, || find().map(|object| body(&object))).flatten().unwrap_or(failure)
}

/// Runs `body` with a server.
pub(crate) fn with_server<T: Failure>(
    function: &'static str,
    s: *mut SpiceServer,
    body: impl FnOnce(&Arc<ServerEntry>) -> T,
) -> T {
    with_server_or(function, s, T::VALUE, body)
}

/// Like [`with_server`], for functions whose error value is not that of their type.
pub(crate) fn with_server_or<T>(
    function: &'static str,
    s: *mut SpiceServer,
    failure: T,
    body: impl FnOnce(&Arc<ServerEntry>) -> T,
) -> T {
    with(function, failure, || handle::server(function, s), body)
}

/// Like [`with_server`], for functions that return 0, or log an error and return -1.
pub(crate) fn server_status(
    function: &'static str,
    s: *mut SpiceServer,
    body: impl FnOnce(&Arc<ServerEntry>) -> Result<(), ServerError>,
) -> c_int {
    with_server(function, s, |server| status(function, body(server)))
}

/// 0, or one line in the log and -1.
pub(crate) fn status(function: &'static str, result: Result<(), ServerError>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => {
            warning!("{function}: {error}");
            -1
        }
    }
}

/// Runs `body` with an attached instance.
pub(crate) fn with_instance<I, T: Failure>(
    function: &'static str,
    instance: *const I,
    body: impl FnOnce(&Arc<Instance>) -> T,
) -> T {
    with(function, T::VALUE, || handle::instance(function, instance.cast::<SpiceBaseInstance>()), body)
}

/// Runs `body` with an attached QXL device.
pub(crate) fn with_qxl<T: Failure>(
    function: &'static str,
    instance: *mut QXLInstance,
    body: impl FnOnce(&Arc<QxlInstance>) -> T,
) -> T {
    with(function, T::VALUE, || handle::qxl(function, instance), body)
}

/// Runs `body` with the worker of an attached QXL device.
pub(crate) fn with_worker<T: Failure>(
    function: &'static str,
    instance: *mut QXLInstance,
    body: impl FnOnce(&Arc<WorkerHandle>) -> T,
) -> T {
    with(function, T::VALUE, || handle::qxl(function, instance)?.worker(), body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spice_server_core::reds::Server;

    #[test]
    fn a_pointer_that_names_nothing_gives_the_error_value() {
        let nothing = std::ptr::null_mut();
        assert_eq!(with_server::<c_int>("test", nothing, |_| 7), -1);
        assert_eq!(with_server_or("test", nothing, 0, |_| 7), 0);
        assert_eq!(server_status("test", nothing, |_| Ok(())), -1);
        let device = std::ptr::null_mut();
        assert_eq!(with_qxl::<c_int>("test", device, |_| 7), -1);
        assert_eq!(with_worker::<c_int>("test", device, |_| 7), -1);
        assert_eq!(with_instance::<QXLInstance, c_int>("test", device, |_| 7), -1);
    }

    #[test]
    fn a_server_is_found_and_its_panics_stop_here() {
        let pointer = handle::add_server(Server::new());
        assert_eq!(with_server::<c_int>("test", pointer, |_| 7), 7);
        assert_eq!(with_server::<c_int>("test", pointer, |_| panic!("injected")), -1);
        assert_eq!(with_server_or("test", pointer, 0, |_| panic!("injected")), 0);
        assert_eq!(server_status("test", pointer, |_| Err(ServerError::NotInitialized)), -1);
        assert_eq!(server_status("test", pointer, |_| Ok(())), 0);
        assert!(handle::remove_server(pointer).is_some());
    }
}
