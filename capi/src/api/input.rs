//! Functions of `spice-input.h`.

use crate::abi::*;
use crate::handle::Kind;
use crate::lookup::with_instance;
use libc::c_int;

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_input.rs"));

/// The lock lights of the guest's keyboard changed: bit 0 scroll, 1 num, 2 caps. Returns 0, -1 if sin is not attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_kbd_leds(sin: *mut SpiceKbdInstance, leds: c_int) -> c_int {
    with_instance("spice_server_kbd_leds", sin, |instance| {
        if !matches!(instance.kind, Kind::Keyboard) {
            return -1;
        }
        instance.server.kbd_leds(u8::try_from(leds & 7).unwrap_or(0));
        0
    })
}
