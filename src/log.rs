//! The library's log: short lines that go to one sink. The C layer installs a sink that writes lines in
//! GLib's format to stderr. Without a sink nothing is written.
//!
//! Use [`debug!`](crate::debug), [`info!`](crate::info) and [`warning!`](crate::warning), and
//! [`warning_limited!`](crate::warning_limited) for everything that a guest or a client can trigger again and
//! again. Never log passwords. No level ever ends the process.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For developers.
    Debug,
    /// A normal event that is worth knowing.
    Info,
    /// A fault that the host's administrator should see.
    Warning,
}

/// The destination of the log. Any thread may call it.
pub trait Sink: Send + Sync {
    /// Whether the sink wants lines of this level. If not, the text is not even formatted.
    fn enabled(&self, level: Level) -> bool;
    /// Writes one line; `file` and `line` name the code that logs.
    fn write(&self, level: Level, file: &str, line: u32, text: fmt::Arguments<'_>);
}

static SINK: OnceLock<Box<dyn Sink>> = OnceLock::new();

/// Installs the sink of the process. Only the first call has an effect.
pub fn set_sink(sink: Box<dyn Sink>) {
    let _ = SINK.set(sink);
}

thread_local! {
    /// How many [`Held`] values this thread has, and whether lines wait.
    static HELD: Cell<(u32, bool)> = const { Cell::new((0, false)) };
    /// The lines that the thread writes when its last [`Held`] is dropped. Never dropped, so that it is there to the end: a
    /// host may call from functions that run at its exit, when the values of its thread that can be dropped are gone.
    /// Nothing is lost, as no lines are left without a `Held`.
    static WAITING: ManuallyDrop<RefCell<Vec<Line>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Lines that one thread holds back at most; further ones are lost. One change of the state writes a few
/// lines.
const MAX_HELD_LINES: usize = 1000;

struct Line {
    level: Level,
    file: String,
    line: u32,
    text: String,
}

/// While this value lives, the lines of its thread wait. A host's sink may call back into the library and
/// must not find a lock held there, so code that logs under a lock makes this value before it takes the lock.
#[derive(Debug)]
pub struct Held(());

/// Holds back this thread's lines until the returned value is dropped.
#[must_use]
pub fn hold() -> Held {
    HELD.with(|held| {
        let (depth, waits) = held.get();
        held.set((depth + 1, waits));
    });
    Held(())
}

impl Drop for Held {
    fn drop(&mut self) {
        let lines_are_due = HELD.with(|held| {
            let (depth, waits) = held.get();
            let depth = depth.saturating_sub(1);
            held.set((depth, waits && depth > 0));
            waits && depth == 0
        });
        if !lines_are_due {
            return;
        }
        for Line { level, file, line, text } in WAITING.with(|lines| lines.take()) {
            emit(level, &file, line, format_args!("{text}"));
        }
    }
}

/// Stores a line if this thread holds its lines back. `false` if the caller is to write the line now.
fn keep_back(level: Level, file: &str, line: u32, text: fmt::Arguments<'_>) -> bool {
    let holds = HELD.get().0 > 0;
    if holds {
        let text = text.to_string();
        WAITING.with(|waiting| {
            let lines = &mut *waiting.borrow_mut();
            if lines.len() < MAX_HELD_LINES {
                lines.push(Line { level, file: file.to_owned(), line, text });
                HELD.set((HELD.get().0, true));
            }
        });
    }
    holds
}

/// Whether a line of this level would be written.
#[must_use]
pub fn enabled(level: Level) -> bool {
    SINK.get().is_some_and(|sink| sink.enabled(level))
}

/// Writes a line. The macros call this.
pub fn emit(level: Level, file: &str, line: u32, text: fmt::Arguments<'_>) {
    if let Some(sink) = SINK.get().filter(|sink| sink.enabled(level))
        && !keep_back(level, file, line, text)
    {
        sink.write(level, file, line, text);
    }
}

/// Lines that one place in the code may write per [`PERIOD`]. A guest can cause millions per second.
const BURST: u32 = 10;
const PERIOD: Duration = Duration::from_secs(5);

/// The state of one rate-limited place in the code.
#[derive(Debug, Default)]
pub struct RateLimit(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    start: Option<Instant>,
    count: u32,
    suppressed: u64,
}

impl RateLimit {
    /// A limit that nothing has used yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Window { start: None, count: 0, suppressed: 0 }))
    }

    /// `Some(n)` if the caller may write a line now, where `n` is the number of lines left out before it.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.start.is_none_or(|start| now.saturating_duration_since(start) >= PERIOD) {
            window.start = Some(now);
            window.count = 0;
        }
        if window.count >= BURST {
            window.suppressed = window.suppressed.saturating_add(1);
            return None;
        }
        window.count += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

/// Writes a rate-limited warning. [`warning_limited!`](crate::warning_limited) calls this.
pub fn emit_limited(limit: &RateLimit, file: &str, line: u32, text: fmt::Arguments<'_>) {
    if !enabled(Level::Warning) {
        return;
    }
    match limit.admit(Instant::now()) {
        None => {}
        Some(0) => emit(Level::Warning, file, line, text),
        Some(n) => emit(Level::Warning, file, line, format_args!("{text} ({n} similar lines left out)")),
    }
}

/// Logs a line for developers; shown if `G_MESSAGES_DEBUG` contains `Spice` or `all`.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => {
        $crate::log::emit($crate::log::Level::Debug, file!(), line!(), format_args!($($arg)*))
    };
}

/// Logs a normal event that is worth knowing; shown like [`debug!`].
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => {
        $crate::log::emit($crate::log::Level::Info, file!(), line!(), format_args!($($arg)*))
    };
}

/// Logs a fault that the host's administrator should see.
#[macro_export]
macro_rules! warning {
    ($($arg:tt)*) => {
        $crate::log::emit($crate::log::Level::Warning, file!(), line!(), format_args!($($arg)*))
    };
}

/// Like [`warning!`], but limited to a few lines per place in the code and period.
#[macro_export]
macro_rules! warning_limited {
    ($($arg:tt)*) => {{
        static LIMIT: $crate::log::RateLimit = $crate::log::RateLimit::new();
        $crate::log::emit_limited(&LIMIT, file!(), line!(), format_args!($($arg)*))
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_cut_and_counted() {
        let limit = RateLimit::new();
        let start = Instant::now();
        let written = (0..100).filter(|_| limit.admit(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(limit.admit(start + PERIOD), Some(90));
        assert_eq!(limit.admit(start + PERIOD), Some(0));
    }

    #[test]
    fn lines_are_held_back_also_when_a_thread_ends() {
        crate::testing::at_thread_end(|| drop(hold()));
    }

    #[test]
    fn without_a_sink_nothing_happens() {
        crate::warning!("no {}", "sink");
        crate::warning_limited!("no {}", "sink");
        assert!(!enabled(Level::Warning));
    }
}
