//! Types that C sees only through pointers, and the integers that stand for C enums (a C caller can pass any
//! value, so they are never Rust enums). Headers declare them in their hand-written part.

use libc::{c_int, c_uint};

macro_rules! opaque {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[repr(C)]
        pub struct $name {
            _opaque: [u8; 0],
        }
    )*};
}

opaque! {
    /// A server; its address is a key of [`crate::handle`], nothing is ever read through it.
    SpiceServer;
    /// A watch of the host.
    SpiceWatch;
    /// A timer of the host.
    SpiceTimer;
    SpiceKbdState;
    SpiceMouseState;
    SpiceTabletState;
    SpicePlaybackState;
    SpiceRecordState;
    SpiceCharDeviceState;
    SpiceMigrateState;
    QXLState;
    QXLWorker;
    /// A recording being replayed.
    SpiceReplay;
}

pub type spice_compat_version_t = c_uint;
pub type SpiceImageCompression = c_uint;
pub type spice_wan_compression_t = c_uint;
pub type spice_char_device_flags = c_uint;
/// Called with the watched descriptor, `SPICE_WATCH_EVENT_*` bits and the opaque value.
pub type SpiceWatchFunc = Option<unsafe extern "C" fn(fd: c_int, event: c_int, opaque: *mut libc::c_void)>;
/// Called with the opaque value.
pub type SpiceTimerFunc = Option<unsafe extern "C" fn(opaque: *mut libc::c_void)>;
