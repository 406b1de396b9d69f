//! Lines for the library's log.

use spice_video_loader::abi::Log;
use std::ffi::CString;
use std::sync::OnceLock;

static LOG: OnceLock<Log> = OnceLock::new();

/// Sets where lines go, once in a process.
pub(crate) fn set(log: Log) {
    let _ = LOG.set(log);
}

/// Something that an administrator can help with.
pub(crate) fn warning(text: &str) {
    write(2, text);
}

/// What was found.
pub(crate) fn info(text: &str) {
    write(1, text);
}

fn write(level: u32, text: &str) {
    let Some(log) = LOG.get() else { return };
    let Ok(text) = CString::new(text.replace('\0', " ")) else { return };
    // SAFETY: the library's function takes any string that ends with NUL, on any thread.
    unsafe { log(level, text.as_ptr()) };
}
