//! `spice-input.h`: keyboard, mouse, tablet.

use super::core::{SpiceBaseInstance, SpiceBaseInterface};
use super::opaque::{SpiceKbdState, SpiceMouseState, SpiceTabletState};
use libc::c_int;

pub const SPICE_INTERFACE_KEYBOARD: &str = "keyboard";
pub const SPICE_INTERFACE_KEYBOARD_MAJOR: u32 = 1;
pub const SPICE_INTERFACE_KEYBOARD_MINOR: u32 = 1;

/// A keyboard of the host.
#[repr(C)]
pub struct SpiceKbdInterface {
    pub base: SpiceBaseInterface,
    /// Takes one byte of a PC scan code sequence (set 1).
    pub push_scan_freg: Option<unsafe extern "C" fn(sin: *mut SpiceKbdInstance, frag: u8)>,
    /// Lock lights: bit 0 scroll, 1 num, 2 caps.
    pub get_leds: Option<unsafe extern "C" fn(sin: *mut SpiceKbdInstance) -> u8>,
}

/// Filled by the host but for st, which the library sets while the instance is attached.
#[repr(C)]
pub struct SpiceKbdInstance {
    pub base: SpiceBaseInstance,
    pub st: *mut SpiceKbdState,
}

pub const SPICE_INTERFACE_MOUSE: &str = "mouse";
pub const SPICE_INTERFACE_MOUSE_MAJOR: u32 = 1;
pub const SPICE_INTERFACE_MOUSE_MINOR: u32 = 1;

/// A relative pointer of the host. Button bits: 0 left, 1 right, 2 middle, 6 side, 7 extra.
#[repr(C)]
pub struct SpiceMouseInterface {
    pub base: SpiceBaseInterface,
    /// Moves by dx, dy and turns the wheel by dz (-1 up, 1 down).
    pub motion: Option<
        unsafe extern "C" fn(
            sin: *mut SpiceMouseInstance,
            dx: c_int,
            dy: c_int,
            dz: c_int,
            buttons_state: u32,
        ),
    >,
    /// New state of all buttons.
    pub buttons: Option<unsafe extern "C" fn(sin: *mut SpiceMouseInstance, buttons_state: u32)>,
}

/// Filled by the host but for st, which the library sets while the instance is attached.
#[repr(C)]
pub struct SpiceMouseInstance {
    pub base: SpiceBaseInstance,
    pub st: *mut SpiceMouseState,
}

pub const SPICE_INTERFACE_TABLET: &str = "tablet";
pub const SPICE_INTERFACE_TABLET_MAJOR: u32 = 1;
pub const SPICE_INTERFACE_TABLET_MINOR: u32 = 1;

/// An absolute pointer of the host; buttons as for the mouse.
#[repr(C)]
pub struct SpiceTabletInterface {
    pub base: SpiceBaseInterface,
    /// Range of the positions that follow (pixels).
    pub set_logical_size:
        Option<unsafe extern "C" fn(tablet: *mut SpiceTabletInstance, width: c_int, height: c_int)>,
    /// Pointer position (pixels) and buttons.
    pub position: Option<
        unsafe extern "C" fn(tablet: *mut SpiceTabletInstance, x: c_int, y: c_int, buttons_state: u32),
    >,
    /// Turns the wheel (-1 up, 1 down).
    pub wheel: Option<
        unsafe extern "C" fn(tablet: *mut SpiceTabletInstance, wheel_moution: c_int, buttons_state: u32),
    >,
    /// New state of all buttons.
    pub buttons: Option<unsafe extern "C" fn(tablet: *mut SpiceTabletInstance, buttons_state: u32)>,
}

/// Filled by the host but for st, which the library sets while the instance is attached.
#[repr(C)]
pub struct SpiceTabletInstance {
    pub base: SpiceBaseInstance,
    pub st: *mut SpiceTabletState,
}
