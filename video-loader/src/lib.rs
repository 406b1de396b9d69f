//! Video encoders of a shared object that is loaded at run time, where it is installed.
//!
//! The library itself needs no GStreamer, neither to build nor to start: a host without video streams never loads it, and
//! a machine without it has all else. The shared object is `libspice-server-gst.so` (crate `video/`) or anything else that
//! speaks the same C interface ([`abi`]). All `unsafe` code of the library's side is in here.
//!
//! A shared object runs in the host's process and can do there what it wants: it is looked for only where the library
//! itself is installed ([`locate`]), or where the host's own environment says.

pub mod abi;
mod encoder;
pub mod locate;
mod plugin;

pub use encoder::{Encoder, Frame, Output};
pub use plugin::{Level, Plugin};

use thiserror::Error;

/// What an encoder is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Codec number of the display channel's STREAM_CREATE.
    pub codec: u8,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second that are expected.
    pub fps: u32,
    /// Threads that the encoder may use.
    pub threads: u32,
    /// Bits per second.
    pub bit_rate: u64,
    /// Milliseconds that encoding a frame may take.
    pub limit_ms: u32,
}

/// Why there is no shared object, no encoder or no frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The dynamic linker's own words.
    #[error("{0}")]
    Load(String),
    /// It speaks another version of the interface, or none.
    #[error("it does not have version {} of the interface of video encoders", abi::VERSION)]
    Version,
    /// No encoder for this codec, size or rate.
    #[error("no encoder can do that")]
    Unsupported,
    /// The encoder, or making one, failed.
    #[error("the encoder failed")]
    Failed,
    /// No frame in time.
    #[error("the encoder had no frame ready in time")]
    TimedOut,
    /// A frame whose rows are not all there.
    #[error("the frame is shorter than its rows")]
    BadFrame,
    /// More bytes than the caller wants, or than there is memory for.
    #[error("the encoded frame is too large")]
    TooLarge,
    /// The encoder took the frame and gave none.
    #[error("the encoder gave no frame")]
    NoFrame,
}

impl Error {
    /// The meaning of a status of the interface; `Ok` for [`abi::DONE`].
    fn check(status: i32) -> Result<(), Self> {
        match status {
            abi::DONE => Ok(()),
            abi::UNSUPPORTED => Err(Self::Unsupported),
            abi::TIMED_OUT => Err(Self::TimedOut),
            _ => Err(Self::Failed),
        }
    }
}

#[cfg(test)]
mod tests;
