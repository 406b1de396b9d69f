//! Functions of `spice-char.h`.

use crate::abi::*;
use crate::boundary::guard;
use crate::handle::{self, Instance, Kind};
use libc::c_char;
use spice_server_core::host::DeviceId;
use spice_server_core::warning_limited;
use std::sync::Arc;

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_char.rs"));

/// The list below as C sees it: NULL-terminated and there for ever.
struct Subtypes([*const c_char; 4]);

// SAFETY: pointers to string literals, never written.
unsafe impl Sync for Subtypes {}

static SUBTYPES: Subtypes =
    Subtypes([c"vdagent".as_ptr(), c"smartcard".as_ptr(), c"usbredir".as_ptr(), std::ptr::null()]);

/// The device of an instance; a warning if it is not attached.
fn device(function: &'static str, sin: *mut SpiceCharDeviceInstance) -> Option<(Arc<Instance>, DeviceId)> {
    let instance = handle::instance(function, sin)?;
    let Kind::CharDevice(id) = &instance.kind else {
        warning_limited!("{function}: not a char device");
        return None;
    };
    let id = *id.get()?;
    Some((instance, id))
}

/// The device has data to read or can take some again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_char_device_wakeup(sin: *mut SpiceCharDeviceInstance) {
    guard("spice_server_char_device_wakeup", || {
        if let Some((instance, id)) = device("spice_server_char_device_wakeup", sin) {
            instance.server.wake_char_device(id);
        }
    });
}

/// An event (SPICE_PORT_EVENT_*) of the guest for the client of a port.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_port_event(sin: *mut SpiceCharDeviceInstance, event: u8) {
    guard("spice_server_port_event", || {
        if let Some((instance, id)) = device("spice_server_port_event", sin) {
            instance.server.port_event(id, event);
        }
    });
}

/// The subtypes of character devices, NULL-terminated; never freed. Ports (subtype "port") are not in the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_char_device_recognized_subtypes() -> *mut *const c_char {
    SUBTYPES.0.as_ptr().cast_mut()
}
