//! Recordings of a device: what the host asked and what the guest drew, as the original library writes it, so that
//! either library replays what the other recorded (qxl.md part C).
//!
//! Commands are written from their parsed form, so that only what was checked gets into the file.

mod commands;
mod filter;
mod text;

use spice_server_core::guest::ByteSource;
use spice_server_core::host::{CursorCommand, DisplayCommand, SurfaceSpec};
use spice_server_core::{info, warning};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use text::Text;

/// First line of a recording.
pub(crate) const HEADER: &[u8] = b"SPICE_REPLAY 1\n";

/// Device requests whose number has a meaning for reading (qxl.md C3).
pub(crate) mod request {
    pub(crate) const DESTROY_SURFACES: u32 = 19;
    pub(crate) const CREATE_PRIMARY: u32 = 20;
    pub(crate) const DESTROY_PRIMARY: u32 = 21;
    pub(crate) const CREATE_PRIMARY_ASYNC: u32 = 29;
}

/// A recording that is being made. Events carry no device, so only the first device writes into it.
pub struct Recorder {
    output: Mutex<Output>,
    start: Instant,
    taken: AtomicBool,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

struct Output {
    writer: BufWriter<Box<dyn Write + Send>>,
    counter: u32,
    dirty: bool,
    /// After an error nothing more is written.
    failed: bool,
    filter: Option<Child>,
}

impl Recorder {
    /// The recording that the environment asks for: `SPICE_WORKER_RECORD_FILENAME`, and
    /// `SPICE_WORKER_RECORD_FILTER` for a command that the text is piped through. A file or filter that cannot be
    /// opened is warned of, and nothing is recorded.
    #[must_use]
    pub fn from_env() -> Option<Arc<Self>> {
        let name = std::env::var_os("SPICE_WORKER_RECORD_FILENAME")?;
        let filter = std::env::var("SPICE_WORKER_RECORD_FILTER").ok().filter(|filter| !filter.is_empty());
        let opened = File::create(&name).and_then(|file| match &filter {
            Some(command) => {
                let (pipe, child) = filter::spawn(command, file)?;
                Ok((pipe, Some(child)))
            }
            None => Ok((Box::new(file) as Box<dyn Write + Send>, None)),
        });
        match opened.and_then(|(writer, filter)| Self::started(writer, filter)) {
            Ok(recorder) => {
                info!("recording to {}", name.display());
                Some(recorder)
            }
            Err(error) => {
                warning!("cannot record to {}: {error}", name.display());
                None
            }
        }
    }

    /// A recording into any writer.
    ///
    /// # Errors
    /// The header could not be written.
    pub fn new(writer: Box<dyn Write + Send>) -> io::Result<Arc<Self>> {
        Self::started(writer, None)
    }

    fn started(writer: Box<dyn Write + Send>, filter: Option<Child>) -> io::Result<Arc<Self>> {
        let mut writer = BufWriter::with_capacity(256 << 10, writer);
        writer.write_all(HEADER)?;
        let output = Output { writer, counter: 0, dirty: true, failed: false, filter };
        Ok(Arc::new(Self {
            output: Mutex::new(output),
            start: Instant::now(),
            taken: AtomicBool::new(false),
        }))
    }

    /// Makes the caller's device the one that is recorded; `false` for all but the first.
    pub(crate) fn claim(&self) -> bool {
        let first = !self.taken.swap(true, Ordering::Relaxed);
        if !first {
            warning!("only the first QXL device is recorded");
        }
        first
    }

    fn event(&self, what: u32, number: u32, body: &[u8]) {
        let time = self.start.elapsed().as_nanos();
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if output.failed {
            return;
        }
        let counter = output.counter;
        output.counter = counter.wrapping_add(1);
        output.dirty = true;
        let written = writeln!(output.writer, "event {counter} {what} {number} {time}")
            .and_then(|()| output.writer.write_all(body));
        if let Err(error) = written {
            warning!("recording ends: {error}");
            output.failed = true;
        }
    }

    /// A command of the display ring.
    pub(crate) fn display_command(&self, command: &DisplayCommand) {
        let mut text = Text::default();
        let number = commands::display(&mut text, command);
        self.event(0, number, &text.0);
    }

    /// A command of the cursor ring.
    pub(crate) fn cursor_command(&self, command: &CursorCommand) {
        let mut text = Text::default();
        commands::cursor(&mut text, command);
        self.event(0, crate::parse::command_type::CURSOR, &text.0);
    }

    /// A request of the host. The primary creates have a body, and are written only with it.
    pub(crate) fn request(&self, number: u32, primary: Option<(&SurfaceSpec, &dyn ByteSource)>) {
        let creates = matches!(number, request::CREATE_PRIMARY | request::CREATE_PRIMARY_ASYNC);
        let mut text = Text::default();
        match primary {
            Some((spec, pixels)) if creates => commands::primary(&mut text, spec, pixels),
            None if !creates => {}
            _ => return,
        }
        self.event(1, number, &text.0);
    }

    /// Writes out what is buffered. Called when the device has nothing to do, since a host that exits does not say so.
    pub(crate) fn flush(&self) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if output.dirty && !output.failed {
            output.dirty = false;
            if let Err(error) = output.writer.flush() {
                warning!("recording ends: {error}");
                output.failed = true;
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.failed && self.writer.flush().is_err() {
            warning!("recording is incomplete");
        }
        if let Some(mut filter) = self.filter.take() {
            // The filter ends when its input does.
            self.writer = BufWriter::new(Box::new(io::sink()));
            let _ = filter.wait();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
