//! Where log lines go: to GLib's `g_log` (domain "Spice") where the process has GLib, so that a host that collects or prints its
//! programs' messages has ours too; otherwise to stderr, in the same form:
//! `(process:1234): Spice-WARNING **: 12:00:00.000: file:line: text`.

use libc::{c_char, c_int, c_void};
use spice_server_core::log::{Level, Sink, set_sink};
use std::ffi::CString;
use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

/// `void g_log(const gchar *domain, GLogLevelFlags level, const gchar *format, ...)`
type GLog = unsafe extern "C" fn(*const c_char, c_int, *const c_char, ...);

/// GLogLevelFlags.
const fn glib_level(level: Level) -> c_int {
    match level {
        Level::Warning => 1 << 4,
        Level::Info => 1 << 6,
        Level::Debug => 1 << 7,
    }
}

/// The host's `g_log`, if it has GLib. The library itself does not need it, so it is looked up and not linked.
fn g_log() -> Option<GLog> {
    static FOUND: OnceLock<Option<GLog>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: looking a name up among the libraries that are loaded has no effect on them.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"g_log".as_ptr()) };
        // SAFETY: a symbol of this name is GLib's function, whose C type this is; NULL becomes None.
        unsafe { std::mem::transmute::<*mut c_void, Option<GLog>>(found) }
    })
}

/// Writes to `g_log` or stderr; debug and info lines only if `G_MESSAGES_DEBUG` asks for the domain.
#[derive(Debug)]
struct GlibStyle {
    verbose: bool,
}

/// Installs the sink, once per process.
pub(crate) fn install() {
    let wanted = std::env::var("G_MESSAGES_DEBUG").unwrap_or_default();
    set_sink(Box::new(GlibStyle { verbose: names_domain(&wanted) }));
}

fn names_domain(list: &str) -> bool {
    list.split([' ', ',', ';', ':']).any(|word| word == "all" || word == "Spice")
}

impl Sink for GlibStyle {
    fn enabled(&self, level: Level) -> bool {
        self.verbose || level == Level::Warning
    }

    fn write(&self, level: Level, file: &str, line: u32, text: fmt::Arguments<'_>) {
        let file = file.rsplit('/').next().unwrap_or(file);
        if let Some(g_log) = g_log()
            && let Ok(text) = CString::new(format!("{file}:{line}: {text}").replace('\0', " "))
        {
            // SAFETY: all three strings end in NUL and outlive the call, and "%s" takes the one argument that follows.
            unsafe { g_log(c"Spice".as_ptr(), glib_level(level), c"%s".as_ptr(), text.as_ptr()) };
            return;
        }
        let level = match level {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARNING **",
        };
        let (hours, minutes, seconds, millis) = local_time();
        // One write per line, so that lines of several threads do not mix. A closed stderr is not our problem.
        let line = format!(
            "(process:{}): Spice-{level}: {hours:02}:{minutes:02}:{seconds:02}.{millis:03}: {file}:{line}: {text}\n",
            std::process::id()
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Hours, minutes, seconds and milliseconds of the local time.
fn local_time() -> (i32, i32, i32, u32) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = libc::time_t::try_from(now.as_secs()).unwrap_or(0);
    // SAFETY: all-zero bytes are a valid `tm` (integers and a pointer that may be NULL).
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals; localtime_r keeps neither.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut parts) };
    (parts.tm_hour, parts.tm_min, parts.tm_sec, now.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::names_domain;

    #[test]
    fn the_domain_is_a_word_of_the_list() {
        assert!(names_domain("all"));
        assert!(names_domain("GLib Spice"));
        assert!(!names_domain("GSpice"));
        assert!(!names_domain(""));
    }
}
