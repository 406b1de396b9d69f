//! A loaded shared object.

use crate::abi::{self, Table};
use crate::{Encoder, Error, Spec};
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

/// How much a line of the shared object's log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warning,
}

/// Where lines go.
type Log = fn(Level, &str);

static LOG: OnceLock<Log> = OnceLock::new();

/// A shared object with encoders. It is never unloaded: its threads and types may outlive any encoder.
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    table: &'static Table,
}

impl Plugin {
    /// Loads and starts a shared object; may take seconds. `log` gets its lines: that of the first call in this process.
    ///
    /// # Errors
    /// [`Error::Load`], [`Error::Version`], or [`Error::Failed`] if its encoders cannot be started.
    pub fn load(path: &Path, log: Log) -> Result<Self, Error> {
        let _ = LOG.set(log);
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::Load("a NUL byte in the path".into()))?;
        let flags: c_int = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE;
        // SAFETY: the name ends with NUL. Loading runs the initializers of the shared object and what it needs; that they
        // do no harm is what installing it beside the library, or naming it, vouches for.
        let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
        if handle.is_null() {
            return Err(Error::Load(linker_error()));
        }
        // SAFETY: the handle is open and stays so; the name ends with NUL.
        let entry = unsafe { libc::dlsym(handle, abi::ENTRY.as_ptr()) };
        if entry.is_null() {
            return Err(Error::Version);
        }
        // SAFETY: a shared object that exports this name has this function there; it may be called from any thread and
        // gives NULL or a table that is valid for ever.
        let table = unsafe {
            let entry = std::mem::transmute::<*mut libc::c_void, abi::Entry>(entry);
            entry(abi::VERSION).as_ref()
        };
        let table = table.ok_or(Error::Version)?;
        if table.version != abi::VERSION || (table.size as usize) < size_of::<Table>() {
            return Err(Error::Version);
        }
        // SAFETY: the interface allows the call from any thread.
        Error::check(unsafe { (table.start)(Some(write_log)) })?;
        Ok(Self { table })
    }

    #[cfg(test)]
    pub(crate) fn of(table: &'static Table) -> Self {
        Self { table }
    }

    /// The codecs that there are encoders for: bit n for codec n.
    #[must_use]
    pub fn codecs(&self) -> u32 {
        // SAFETY: the shared object was started.
        unsafe { (self.table.codecs)() }
    }

    /// The names of a codec's encoders, best first; for logs.
    #[must_use]
    pub fn describe(&self, codec: u8) -> String {
        let mut text = [0u8; 256];
        // SAFETY: the function writes at most so many bytes there.
        unsafe { (self.table.describe)(codec.into(), text.as_mut_ptr().cast(), text.len()) };
        CStr::from_bytes_until_nul(&text).map(|t| t.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Makes an encoder.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Failed`], [`Error::TimedOut`].
    pub fn create(&self, spec: &Spec) -> Result<Encoder, Error> {
        let wanted = abi::Spec {
            size: size_of::<abi::Spec>() as u32,
            codec: spec.codec.into(),
            width: spec.width,
            height: spec.height,
            fps: spec.fps,
            threads: spec.threads,
            bit_rate: spec.bit_rate,
            limit_ms: spec.limit_ms,
            reserved: 0,
        };
        let mut out = std::ptr::null_mut();
        // SAFETY: both pointers are valid for the call.
        Error::check(unsafe { (self.table.create)(&raw const wanted, &raw mut out) })?;
        if out.is_null() {
            return Err(Error::Failed);
        }
        Ok(Encoder::new(self.table, out, *spec))
    }
}

/// What the dynamic linker last said on this thread.
fn linker_error() -> String {
    // SAFETY: dlerror gives NULL or a string that is valid until the thread's next call of its kind.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            return "cannot be loaded".into();
        }
        OsStr::from_bytes(CStr::from_ptr(text).to_bytes()).to_string_lossy().into_owned()
    }
}

/// The [`abi::Log`] of this process.
unsafe extern "C" fn write_log(level: u32, text: *const c_char) {
    let (Some(log), false) = (LOG.get(), text.is_null()) else { return };
    // SAFETY: the interface promises a string that ends with NUL.
    let text = unsafe { CStr::from_ptr(text) };
    let level = match level {
        0 => Level::Debug,
        1 => Level::Info,
        _ => Level::Warning,
    };
    // A panic must not reach C.
    let _ = std::panic::catch_unwind(|| log(level, &text.to_string_lossy()));
}
