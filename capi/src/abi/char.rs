//! `spice-char.h`: character devices.

use super::core::{SpiceBaseInstance, SpiceBaseInterface};
use super::opaque::{SpiceCharDeviceState, spice_char_device_flags};
use libc::{c_char, c_int};

pub const SPICE_INTERFACE_CHAR_DEVICE: &str = "char_device";
pub const SPICE_INTERFACE_CHAR_DEVICE_MAJOR: u32 = 1;
pub const SPICE_INTERFACE_CHAR_DEVICE_MINOR: u32 = 3;

/// A byte stream of the guest. No callback may block. A callback may call back into the library, also for the same
/// instance.
#[repr(C)]
pub struct SpiceCharDeviceInterface {
    pub base: SpiceBaseInterface,
    /// 1: the library uses the device; 0: it stopped doing so, for instance after bad data from the guest.
    pub state: Option<unsafe extern "C" fn(sin: *mut SpiceCharDeviceInstance, connected: c_int)>,
    /// Takes up to len bytes for the guest; returns how many it took, which may be 0. Negative means 0.
    pub write:
        Option<unsafe extern "C" fn(sin: *mut SpiceCharDeviceInstance, buf: *const u8, len: c_int) -> c_int>,
    /// Gives up to len bytes of the guest; returns how many, 0 when there are none. Negative means 0.
    pub read:
        Option<unsafe extern "C" fn(sin: *mut SpiceCharDeviceInstance, buf: *mut u8, len: c_int) -> c_int>,
    /// Event of a port channel's client (SPICE_PORT_EVENT_*); used with minor version 2 or more.
    pub event: Option<unsafe extern "C" fn(sin: *mut SpiceCharDeviceInstance, event: u8)>,
    /// SPICE_CHAR_DEVICE_* bits; read with minor version 3 or more.
    pub flags: spice_char_device_flags,
}

/// Filled by the host but for st, which the library sets while the instance is attached.
#[repr(C)]
pub struct SpiceCharDeviceInstance {
    pub base: SpiceBaseInstance,
    /// One of spice_server_char_device_recognized_subtypes(), or "port".
    pub subtype: *const c_char,
    pub st: *mut SpiceCharDeviceState,
    /// Name of a port, for subtype "port".
    pub portname: *const c_char,
}
