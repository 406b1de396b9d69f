//! `spice-core.h`: base types and the host's main loop.

use super::opaque::{SpiceTimer, SpiceTimerFunc, SpiceWatch, SpiceWatchFunc};
use libc::{c_char, c_int, c_void, sockaddr, sockaddr_storage, socklen_t};

/// Type string of the host's main loop interface.
pub const SPICE_INTERFACE_CORE: &str = "core";
pub const SPICE_INTERFACE_CORE_MAJOR: u32 = 1;
pub const SPICE_INTERFACE_CORE_MINOR: u32 = 3;

/// The descriptor can be read.
pub const SPICE_WATCH_EVENT_READ: c_int = 1;
/// The descriptor can be written.
pub const SPICE_WATCH_EVENT_WRITE: c_int = 2;

/// A socket was accepted or handed in; nothing has been read from it.
pub const SPICE_CHANNEL_EVENT_CONNECTED: c_int = 1;
/// The client authenticated: connection, type and id are known.
pub const SPICE_CHANNEL_EVENT_INITIALIZED: c_int = 2;
/// The socket is gone; the info structure is freed after this call.
pub const SPICE_CHANNEL_EVENT_DISCONNECTED: c_int = 3;

/// The connection is encrypted.
pub const SPICE_CHANNEL_EVENT_FLAG_TLS: c_int = 1;
/// The `*_ext` addresses are valid.
pub const SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT: c_int = 2;

/// Start of every interface: what it is and which version of it the host implements.
#[repr(C)]
pub struct SpiceBaseInterface {
    /// One of the SPICE_INTERFACE_* strings.
    pub r#type: *const c_char,
    /// For people; not interpreted.
    pub description: *const c_char,
    pub major_version: u32,
    pub minor_version: u32,
}

/// Start of every instance.
#[repr(C)]
pub struct SpiceBaseInstance {
    pub sif: *const SpiceBaseInterface,
}

/// A client's connection. The same pointer is passed for all events of one socket and stays readable at its address
/// until the callback for SPICE_CHANNEL_EVENT_DISCONNECTED has returned.
#[repr(C)]
pub struct SpiceChannelEventInfo {
    /// Session id (all 32 bits are used); 0 before SPICE_CHANNEL_EVENT_INITIALIZED.
    pub connection_id: c_int,
    /// Channel type (SPICE_CHANNEL_*).
    pub r#type: c_int,
    /// Number of the channel within its type.
    pub id: c_int,
    /// SPICE_CHANNEL_EVENT_FLAG_* bits.
    pub flags: c_int,
    /// Truncated, kept for old hosts: use laddr_ext.
    pub laddr: sockaddr,
    /// Truncated, kept for old hosts: use paddr_ext.
    pub paddr: sockaddr,
    pub llen: socklen_t,
    pub plen: socklen_t,
    /// Local address; valid with SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT.
    pub laddr_ext: sockaddr_storage,
    /// Address of the client; valid with SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT.
    pub paddr_ext: sockaddr_storage,
    pub llen_ext: socklen_t,
    pub plen_ext: socklen_t,
}

/// The host's main loop. All but channel_event are mandatory. The library calls them on host threads only, and a
/// callback that was removed must not run any more.
#[repr(C)]
pub struct SpiceCoreInterface {
    pub base: SpiceBaseInterface,
    /// Makes a one-shot timer that is not running; NULL when it cannot.
    pub timer_add: Option<unsafe extern "C" fn(func: SpiceTimerFunc, opaque: *mut c_void) -> *mut SpiceTimer>,
    /// Runs the timer once, in ms milliseconds; a running timer starts again.
    pub timer_start: Option<unsafe extern "C" fn(timer: *mut SpiceTimer, ms: u32)>,
    /// Stops the timer if it runs.
    pub timer_cancel: Option<unsafe extern "C" fn(timer: *mut SpiceTimer)>,
    /// Stops and frees the timer; may be called from the timer's own callback.
    pub timer_remove: Option<unsafe extern "C" fn(timer: *mut SpiceTimer)>,
    /// Watches a descriptor for SPICE_WATCH_EVENT_* bits; NULL when it cannot.
    pub watch_add: Option<
        unsafe extern "C" fn(
            fd: c_int,
            event_mask: c_int,
            func: SpiceWatchFunc,
            opaque: *mut c_void,
        ) -> *mut SpiceWatch,
    >,
    /// Replaces the bits that the watch waits for.
    pub watch_update_mask: Option<unsafe extern "C" fn(watch: *mut SpiceWatch, event_mask: c_int)>,
    /// Frees the watch; may be called from the watch's own callback.
    pub watch_remove: Option<unsafe extern "C" fn(watch: *mut SpiceWatch)>,
    /// Tells about a client's connection (SPICE_CHANNEL_EVENT_*); used with minor version 3 or more. May be NULL.
    pub channel_event: Option<unsafe extern "C" fn(event: c_int, info: *mut SpiceChannelEventInfo)>,
}
