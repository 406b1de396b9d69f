//! Image codecs: no I/O, no clients (spec: codecs.md).
//!
//! Encoders are values with reused scratch buffers and share one convention:
//! `encode(&mut self, image: &ImageView, max_len: usize, out: &mut Vec<u8>) -> Result<.., EncodeError>`
//! appends the stream to `out`. A result that would be longer than `max_len` bytes gives
//! [`EncodeError::TooLarge`], and on every error `out` is as long as before, so the caller can send the
//! pixels raw instead. Rows are copied out of the guest through [`crate::image::ImageView`] one strip at a
//! time, never the image as a whole.

pub mod glz;
pub mod graduality;
pub mod jpeg;
pub mod lz;
pub mod lz4;
pub mod quic;

#[cfg(test)]
pub(crate) mod vectors;

/// Why an image was not encoded. All of them mean: send it raw (or choose another codec).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The codec has no way to carry this pixel format.
    #[error("the codec cannot carry this pixel format")]
    UnsupportedFormat,
    /// Width, height or stride are zero, contradict each other, or exceed what the codec's header holds.
    #[error("the codec cannot carry this image geometry")]
    UnsupportedGeometry,
    /// The stream would be longer than the caller's limit.
    #[error("the encoded image would be larger than allowed")]
    TooLarge,
}

/// Why a stream was rejected. Nothing may be drawn from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The header does not belong to this codec or version, or contradicts itself.
    #[error("bad {field} in the image stream's header")]
    Header {
        /// Name of the header field.
        field: &'static str,
    },
    /// The header names another width or height than the image descriptor.
    #[error("the image stream's size differs from the image's")]
    SizeMismatch,
    /// The image is larger than `limits` allow.
    #[error("the encoded image is too large")]
    TooLarge,
    /// The pixels cannot be converted to the wanted format.
    #[error("the image stream has another pixel type than wanted")]
    WrongType,
    /// The stream ends too early.
    #[error("the image stream ends too early")]
    Truncated,
    /// The stream is impossible: a run or match beyond the image, trailing bytes and so on.
    #[error("corrupt image stream: {reason}")]
    Corrupt {
        /// What is wrong with it.
        reason: &'static str,
    },
}
