//! Video encoders of libspice-server over GStreamer: VP8, VP9, H.264 and H.265.
//!
//! The crate makes `libspice-server-gst.so`, which has the C interface of `spice_video_loader::abi`. The library loads it at
//! run time where it is installed. It has the codecs for which the machine's GStreamer has encoder elements.
//!
//! - `table.rs`: the C interface.
//! - `elements.rs`: the encoder elements that the crate uses, and their settings.
//! - `library.rs`: starts GStreamer, once in a process.
//! - `encoder.rs`: one encoder, a pipeline that gives each frame encoded before it takes the next.
//! - `convert.rs`: converts pixels of SPICE to those that encoders take.

pub mod convert;
pub mod elements;
pub mod encoder;
pub mod library;
mod log;
mod table;

pub use table::spice_server_video_plugin;

use thiserror::Error;

/// Why the crate cannot make an encoder or a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncoderError {
    /// No element for this codec and size.
    #[error("no element encodes codec {codec} at {width} x {height}")]
    Unsupported {
        /// Codec number of STREAM_CREATE.
        codec: u32,
        /// Pixels of a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// GStreamer's own words.
    #[error("{element}: {reason}")]
    Failed {
        /// The encoder element.
        element: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// No frame came out in time.
    #[error("{element}: no frame within {limit_ms} ms")]
    TimedOut {
        /// The encoder element.
        element: &'static str,
        /// The time limit.
        limit_ms: u32,
    },
}
