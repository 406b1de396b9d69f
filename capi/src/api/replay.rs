//! Functions of `spice-replay.h`.

use crate::abi::*;
use crate::adapter::{HostPointer, locked};
use crate::boundary::guard;
use crate::handle;
use libc::{FILE, c_int};
use spice_qxl::{Replay, ReplayHost, ReplayPrimary};
use spice_server_core::reds::QxlInstance;
use spice_server_core::{warning, warning_limited};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_replay.rs"));

/// Replays by the pointer that the host has: the address of the entry.
static REPLAYS: Mutex<Option<HashMap<usize, Arc<Entry>>>> = Mutex::new(None);

/// A replay and the file that it owns.
struct Entry {
    replay: Replay,
    file: HostPointer<FILE>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: the host gave the file away with `spice_replay_new`, and nobody reads it any more.
        unsafe { libc::fclose(self.file.0) };
    }
}

/// Reads the host's file; closing it is the business of [`Entry`].
struct FileReader(HostPointer<FILE>);

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the file stays open as long as the replay, and the buffer is as long as it says.
        let read = unsafe { libc::fread(buffer.as_mut_ptr().cast(), 1, buffer.len(), self.0.0) };
        // SAFETY: as above.
        if read == 0 && !buffer.is_empty() && unsafe { libc::ferror(self.0.0) } != 0 {
            return Err(io::Error::other("read error"));
        }
        Ok(read)
    }
}

/// Passes the requests of a recording to a device.
struct Requests(Option<Arc<QxlInstance>>);

impl ReplayHost for Requests {
    fn create_primary(&mut self, primary: &ReplayPrimary) {
        if let Some(device) = &self.0 {
            device.create_primary(0, &primary.spec, primary.mouse_mode);
        }
    }

    fn destroy_primary(&mut self) {
        if let Some(device) = &self.0 {
            device.destroy_primary(0);
        }
    }

    fn destroy_surfaces(&mut self) {
        if let Some(worker) = self.0.as_ref().and_then(|device| device.worker()) {
            worker.destroy_surfaces();
        }
    }
}

fn find(function: &'static str, replay: *mut SpiceReplay) -> Option<Arc<Entry>> {
    let found = locked(&REPLAYS).as_ref().and_then(|replays| replays.get(&replay.addr()).cloned());
    if found.is_none() {
        warning_limited!("{function}: NULL or no replay");
    }
    found
}

/// The next command of the recording; requests before it are given to the device. NULL at the end. Waits while all
/// nsurfaces surfaces are in use, for spice_replay_free_cmd() on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_next_cmd(
    replay: *mut SpiceReplay,
    instance: *mut QXLInstance,
) -> *mut QXLCommandExt {
    guard("spice_replay_next_cmd", || {
        let Some(entry) = find("spice_replay_next_cmd", replay) else { return std::ptr::null_mut() };
        let mut requests = Requests(handle::qxl("spice_replay_next_cmd", instance));
        let command =
            entry.replay.next_command(&mut requests).and_then(|address| usize::try_from(address).ok());
        // The replay's memory, whose address was exposed when it was allocated.
        command.map_or(std::ptr::null_mut(), std::ptr::with_exposed_provenance_mut)
    })
}

/// Frees a command of spice_replay_next_cmd().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_free_cmd(replay: *mut SpiceReplay, cmd: *mut QXLCommandExt) {
    guard("spice_replay_free_cmd", || {
        let Some(entry) = find("spice_replay_free_cmd", replay) else { return };
        entry.replay.free_command(u64::try_from(cmd.addr()).unwrap_or(0));
    });
}

/// Ends the replay and closes its file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_free(replay: *mut SpiceReplay) {
    guard("spice_replay_free", || {
        let entry = locked(&REPLAYS).as_mut().and_then(|replays| replays.remove(&replay.addr()));
        if entry.is_none() {
            warning!("spice_replay_free: NULL or no replay");
        }
    });
}

/// Starts to replay a recording for a device with nsurfaces surfaces. The file then belongs to the library. NULL if it
/// is no recording; the file stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_new(file: *mut FILE, nsurfaces: c_int) -> *mut SpiceReplay {
    guard("spice_replay_new", || {
        if file.is_null() {
            warning!("spice_replay_new: NULL file");
            return std::ptr::null_mut();
        }
        let file = HostPointer(file);
        match Replay::new(Box::new(FileReader(file)), u32::try_from(nsurfaces).unwrap_or(1)) {
            Ok(replay) => {
                let entry = Arc::new(Entry { replay, file });
                let pointer = Arc::as_ptr(&entry).cast::<SpiceReplay>().cast_mut();
                locked(&REPLAYS).get_or_insert_default().insert(pointer.addr(), entry);
                pointer
            }
            Err(error) => {
                warning!("spice_replay_new: {error}");
                std::ptr::null_mut()
            }
        }
    })
}
