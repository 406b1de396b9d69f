//! Functions of `spice-char.h`.

use crate::abi::*;
use crate::handle::{Kind, ServerEntry};
use crate::lookup::with_instance;
use libc::c_char;
use spice_server_core::host::DeviceId;
use spice_server_core::warning_limited;

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_char.rs"));

/// The list below as C sees it: NULL-terminated and there for ever.
struct Subtypes([*const c_char; 4]);

// SAFETY: pointers to string literals, never written.
unsafe impl Sync for Subtypes {}

static SUBTYPES: Subtypes =
    Subtypes([c"vdagent".as_ptr(), c"smartcard".as_ptr(), c"usbredir".as_ptr(), std::ptr::null()]);

/// Runs `body` with an attached character device and its server.
fn with_device(
    function: &'static str,
    sin: *mut SpiceCharDeviceInstance,
    body: impl FnOnce(&ServerEntry, DeviceId),
) {
    with_instance(function, sin, |instance| match &instance.kind {
        Kind::CharDevice(id) => {
            if let Some(&id) = id.get() {
                body(&instance.server, id);
            }
        }
        _ => warning_limited!("{function}: not a character device"),
    });
}

/// The device has data to read or can take some again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_char_device_wakeup(sin: *mut SpiceCharDeviceInstance) {
    with_device("spice_server_char_device_wakeup", sin, |server, id| server.wake_char_device(id));
}

/// An event (SPICE_PORT_EVENT_*) of the guest for the client of a port.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_port_event(sin: *mut SpiceCharDeviceInstance, event: u8) {
    with_device("spice_server_port_event", sin, |server, id| server.port_event(id, event));
}

/// The subtypes of character devices, NULL-terminated; never freed. Ports (subtype "port") are not in the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_char_device_recognized_subtypes() -> *mut *const c_char {
    SUBTYPES.0.as_ptr().cast_mut()
}
