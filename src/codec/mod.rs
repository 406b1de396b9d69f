//! Image codecs: no I/O, no clients (codecs.md).
//!
//! An encoder is a value that keeps its scratch buffers from image to image. All encoders share one
//! convention: `encode(&mut self, image: &ImageView, max_len: usize, out: &mut Vec<u8>) -> Result<..,
//! EncodeError>` appends the stream to `out`. If the stream would be longer than `max_len` bytes, the result
//! is [`EncodeError::TooLarge`]. After every error `out` is as long as before, so the caller can send the
//! pixels raw instead. Encoders copy rows out of guest memory through [`crate::image::ImageView`], one strip
//! at a time, never the whole image.

pub mod glz;
pub mod graduality;
pub mod jpeg;
pub mod lz;
pub mod lz4;
pub mod photos;
pub mod quic;
pub(crate) mod video;

#[cfg(test)]
pub(crate) mod vectors;

/// Why an image was not encoded. In each case the caller sends it raw, or chooses another codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The codec cannot carry this pixel format.
    #[error("the codec cannot carry this pixel format")]
    UnsupportedFormat,
    /// Width, height or stride is zero, contradicts the others, or exceeds what the codec's header can hold.
    #[error("the codec cannot carry this image geometry")]
    UnsupportedGeometry,
    /// The stream would be longer than the caller's limit.
    #[error("the encoded image would be larger than allowed")]
    TooLarge,
}

/// Why a stream was rejected. Nothing of it may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The header is not one of this codec or version, or contradicts itself.
    #[error("bad {field} in the image stream's header")]
    Header {
        /// The header field.
        field: &'static str,
    },
    /// The header's width or height differs from the image descriptor's.
    #[error("the image stream's size differs from the image's")]
    SizeMismatch,
    /// The image is larger than `limits` allow.
    #[error("the encoded image is too large")]
    TooLarge,
    /// The stream's pixels cannot be converted to the requested format.
    #[error("the image stream's pixel type is not the requested one")]
    WrongType,
    /// The stream ends too early.
    #[error("the image stream ends too early")]
    Truncated,
    /// No encoder writes such a stream: a run or match leaves the image, bytes follow the end, and so on.
    #[error("corrupt image stream: {reason}")]
    Corrupt {
        /// What is wrong with the stream.
        reason: &'static str,
    },
}
