//! Functions of `spice-char.h`.

use crate::abi::*;
use crate::boundary::guard;
use crate::handle;
use libc::c_char;

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_char.rs"));

/// The list below as C sees it: NULL-terminated and there for ever.
struct Subtypes([*const c_char; 4]);

// SAFETY: pointers to string literals, never written.
unsafe impl Sync for Subtypes {}

static SUBTYPES: Subtypes =
    Subtypes([c"vdagent".as_ptr(), c"smartcard".as_ptr(), c"usbredir".as_ptr(), std::ptr::null()]);

/// Warns about pointers to nothing. Devices that could not be attached were told of when they were added; hosts go on
/// calling for every byte that the guest writes.
fn known(function: &'static str, sin: *mut SpiceCharDeviceInstance) {
    if sin.is_null() {
        let _ = handle::instance(function, sin);
    }
}

/// The device has data to read or can take some again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_char_device_wakeup(sin: *mut SpiceCharDeviceInstance) {
    guard("spice_server_char_device_wakeup", || {
        known("spice_server_char_device_wakeup", sin);
    });
}

/// An event (SPICE_PORT_EVENT_*) of the guest for the client of a port.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_port_event(sin: *mut SpiceCharDeviceInstance, event: u8) {
    let _ = event;
    guard("spice_server_port_event", || {
        known("spice_server_port_event", sin);
    });
}

/// The subtypes of character devices, NULL-terminated; never freed. Ports (subtype "port") are not in the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_char_device_recognized_subtypes() -> *mut *const c_char {
    SUBTYPES.0.as_ptr().cast_mut()
}
