//! Starts GStreamer, once, in a way that suits a process which runs a virtual machine.

use crate::log;
use gstreamer as gst;
use std::sync::OnceLock;

/// Starts GStreamer. Only the first call does so; later calls give its result again. It takes seconds where GStreamer has to
/// look through all plugins of the machine, because its cache of them is old or cannot be written.
///
/// # Errors
/// GStreamer's own words.
pub fn start() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED.get_or_init(start_once).clone()
}

fn start_once() -> Result<(), String> {
    // SAFETY: both calls set a flag that GStreamer reads later, and are meant to be made before it is started.
    unsafe {
        // GStreamer would catch SIGSEGV of the whole process while it loads a plugin. Signals are the host's business.
        gst::ffi::gst_segtrap_set_enabled(gst::glib::ffi::GFALSE);
        // GStreamer looks through unknown plugins in a child process, so that their faults do not reach the host. But the
        // system call filter of a sandboxed host may end the host when it makes a child.
        if has_system_call_filter() {
            gst::ffi::gst_registry_fork_set_enabled(gst::glib::ffi::GFALSE);
        }
    }
    gst::init().map_err(|error| error.to_string())?;
    log::info(&format!("video encoders of {}", gst::version_string()));
    Ok(())
}

/// Whether the kernel filters the system calls of this process (seccomp). `true`, too, if it does not say.
fn has_system_call_filter() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    filter_in(&status)
}

fn filter_in(status: &str) -> bool {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_seen_in_the_status_of_the_process() {
        assert!(filter_in("Name:\tqemu\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!filter_in("Name:\tqemu\nSeccomp:\t0\nSeccomp_filters:\t0\n"));
        assert!(!filter_in("Name:\ta kernel without filters\n"));
    }
}
