//! Functions of `spice-replay.h`.

use super::not_built_once;
use crate::abi::*;
use crate::boundary::guard;
use libc::{FILE, c_int};

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_replay.rs"));

/// The next command of the recording; requests before it are given to the device. NULL at the end. Waits while all
/// nsurfaces surfaces are in use, for spice_replay_free_cmd() on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_next_cmd(
    replay: *mut SpiceReplay,
    instance: *mut QXLInstance,
) -> *mut QXLCommandExt {
    let _ = (replay, instance);
    guard("spice_replay_next_cmd", std::ptr::null_mut)
}

/// Frees a command of spice_replay_next_cmd().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_free_cmd(replay: *mut SpiceReplay, cmd: *mut QXLCommandExt) {
    let _ = (replay, cmd);
}

/// Ends the replay and closes its file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_free(replay: *mut SpiceReplay) {
    let _ = replay;
}

/// Starts to replay a recording for a device with nsurfaces surfaces. The file then belongs to the library. NULL if it
/// is no recording; the file stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_new(file: *mut FILE, nsurfaces: c_int) -> *mut SpiceReplay {
    let _ = (file, nsurfaces);
    guard("spice_replay_new", || {
        not_built_once!("replaying recordings is");
        std::ptr::null_mut()
    })
}
