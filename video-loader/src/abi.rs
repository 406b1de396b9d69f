//! The C interface between the library and a shared object with video encoders.
//!
//! The shared object exports one function, [`ENTRY`], which gives a table of functions. Everything is plain C: the two sides
//! may come from different compilers. A change that old readers would misread raises [`VERSION`]; fields may be added
//! at the end of a structure without that, since each begins with its size.
//!
//! Threads: [`Table::start`] and [`Table::codecs`] may be called from any thread, and may take seconds. An encoder is used by
//! one thread at a time, not always the same. No function may unwind, end the process, or keep a pointer that it was
//! given beyond its return, but for the [`Log`] of [`Table::start`].

use std::ffi::{CStr, c_char, c_void};

/// Version of this interface.
pub const VERSION: u32 = 1;

/// Name of the function that the shared object exports, an [`Entry`].
pub const ENTRY: &CStr = c"spice_server_video_plugin";

/// Gives the table of this version of the interface, valid for ever; NULL if the shared object does not know the version.
pub type Entry = unsafe extern "C" fn(version: u32) -> *const Table;

/// Takes a line for the log: `level` 0 debug, 1 information, 2 warning; `text` is UTF-8 and ends with NUL. Called from any
/// thread.
pub type Log = unsafe extern "C" fn(level: u32, text: *const c_char);

/// Takes one encoded frame, which is `size` bytes at `bytes`, during [`Table::encode`]. `flags`: [`KEY_FRAME`].
pub type Sink = unsafe extern "C" fn(opaque: *mut c_void, bytes: *const u8, size: usize, flags: u32);

/// In the flags of a [`Frame`]: the frame must be a key frame. In those of a [`Sink`]: it is one.
pub const KEY_FRAME: u32 = 1;

/// It is done.
pub const DONE: i32 = 0;
/// This encoder cannot do that: another codec, size or rate may go.
pub const UNSUPPORTED: i32 = -1;
/// The encoder is of no use any more.
pub const FAILED: i32 = -2;
/// The encoder had no frame ready within [`Spec::limit_ms`], and is of no use any more.
pub const TIMED_OUT: i32 = -3;

/// The functions of a shared object.
#[derive(Debug)]
#[repr(C)]
pub struct Table {
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of this structure.
    pub size: u32,
    /// Makes the encoders ready; before anything else, once. [`DONE`] or [`FAILED`].
    pub start: unsafe extern "C" fn(log: Option<Log>) -> i32,
    /// The codecs that there are encoders for: bit n for the codec n of the display channel's STREAM_CREATE.
    pub codecs: unsafe extern "C" fn() -> u32,
    /// Writes the names of the encoders of one codec into `size` bytes at `text`, best first, with commas between them and
    /// NUL at the end, cut where there is no room. Returns the length of the whole text.
    pub describe: unsafe extern "C" fn(codec: u32, text: *mut c_char, size: usize) -> usize,
    /// Makes an encoder. [`DONE`] and the encoder in `out`, or why not.
    pub create: unsafe extern "C" fn(spec: *const Spec, out: *mut *mut c_void) -> i32,
    /// Encodes a frame, and hands the result to `sink` before it returns. [`DONE`] or why not; after anything but
    /// [`DONE`] only [`Self::destroy`] may follow.
    pub encode: unsafe extern "C" fn(
        encoder: *mut c_void,
        frame: *const Frame,
        sink: Option<Sink>,
        opaque: *mut c_void,
    ) -> i32,
    /// Changes the bit rate (bits per second) from the next frame on.
    pub set_bit_rate: unsafe extern "C" fn(encoder: *mut c_void, bits_per_second: u64) -> i32,
    /// Ends an encoder.
    pub destroy: unsafe extern "C" fn(encoder: *mut c_void),
}

/// What an encoder is made for.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Spec {
    /// Bytes of this structure.
    pub size: u32,
    /// Codec number of STREAM_CREATE.
    pub codec: u32,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second that are expected; frames may come at any time.
    pub fps: u32,
    /// Threads that the encoder may use.
    pub threads: u32,
    /// Bits per second.
    pub bit_rate: u64,
    /// Milliseconds that encoding a frame may take.
    pub limit_ms: u32,
    /// Zero.
    pub reserved: u32,
}

/// One frame.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Frame {
    /// Bytes of this structure.
    pub size: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
    /// The top row: pixels of the bytes blue, green, red and one that does not count.
    pub pixels: *const u8,
    /// Bytes at `pixels`.
    pub len: usize,
    /// When the frame is to be shown (milliseconds; wraps around).
    pub time_ms: u32,
    /// [`KEY_FRAME`] or 0.
    pub flags: u32,
}
