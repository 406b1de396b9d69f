//! Opus over the system's libopus: stereo, 16 bits, and nothing but what SPICE's sound channels need. The crate holds the
//! only unsafe code for that library. Where the library was not found at build time, no codec can be made, and whoever
//! asks sends and takes raw samples instead.

#[cfg_attr(system_opus, path = "system.rs")]
#[cfg_attr(not(system_opus), path = "absent.rs")]
mod codec;

pub use codec::{Decoder, Encoder};

/// Whether this build has the codec.
pub const AVAILABLE: bool = cfg!(system_opus);

/// Channels of audio; samples of both alternate.
pub const CHANNELS: usize = 2;

/// The library's error code for a packet or a frame that it does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub i32);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let meaning = match self.0 {
            -1 => "bad argument",
            -2 => "buffer too small",
            -4 => "corrupted packet",
            _ => "library error",
        };
        write!(f, "Opus: {meaning} ({})", self.0)
    }
}

impl std::error::Error for Error {}

#[cfg(all(test, system_opus))]
mod tests;
