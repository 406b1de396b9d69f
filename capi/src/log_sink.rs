//! Log lines as GLib programs write them: `(process:1234): Spice-WARNING **: 12:00:00.000: file:line: text`.

use spice_server_core::log::{Level, Sink, set_sink};
use std::fmt;
use std::io::Write;

/// Writes to stderr; debug and info lines only if `G_MESSAGES_DEBUG` asks for the domain.
#[derive(Debug)]
struct GlibStyle {
    verbose: bool,
}

/// Installs the sink, once per process.
pub fn install() {
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
        let level = match level {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARNING **",
        };
        let file = file.rsplit('/').next().unwrap_or(file);
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
