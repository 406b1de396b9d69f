//! Writes lines to the library's log.

use spice_video_loader::abi::Log;
use std::ffi::CString;
use std::sync::OnceLock;

static LOG: OnceLock<Log> = OnceLock::new();

/// Sets the function that takes the lines. Only the first call in a process counts.
pub(crate) fn set(log: Log) {
    let _ = LOG.set(log);
}

/// Logs a fault that an administrator can help with.
pub(crate) fn warning(text: &str) {
    write(2, text);
}

/// Logs what the crate found on this machine.
pub(crate) fn info(text: &str) {
    write(1, text);
}

fn write(level: u32, text: &str) {
    let Some(log) = LOG.get() else { return };
    let Ok(text) = CString::new(text.replace('\0', " ")) else { return };
    // SAFETY: the library's function takes any string that ends with NUL, on any thread.
    unsafe { log(level, text.as_ptr()) };
}
