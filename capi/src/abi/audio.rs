//! `spice-audio.h`: playback and record.

use super::core::{SpiceBaseInstance, SpiceBaseInterface};
use super::opaque::{SpicePlaybackState, SpiceRecordState};

pub const SPICE_INTERFACE_PLAYBACK: &str = "playback";
pub const SPICE_INTERFACE_PLAYBACK_MAJOR: u32 = 1;
pub const SPICE_INTERFACE_PLAYBACK_MINOR: u32 = 3;

/// A sound output of the host; it has no callbacks.
#[repr(C)]
pub struct SpicePlaybackInterface {
    pub base: SpiceBaseInterface,
}

/// Filled by the host but for st, which the library sets while the instance is attached.
#[repr(C)]
pub struct SpicePlaybackInstance {
    pub base: SpiceBaseInstance,
    pub st: *mut SpicePlaybackState,
}

pub const SPICE_INTERFACE_RECORD: &str = "record";
pub const SPICE_INTERFACE_RECORD_MAJOR: u32 = 2;
pub const SPICE_INTERFACE_RECORD_MINOR: u32 = 3;

/// A sound input of the host; it has no callbacks.
#[repr(C)]
pub struct SpiceRecordInterface {
    pub base: SpiceBaseInterface,
}

/// Filled by the host but for st, which the library sets while the instance is attached.
#[repr(C)]
pub struct SpiceRecordInstance {
    pub base: SpiceBaseInstance,
    pub st: *mut SpiceRecordState,
}
