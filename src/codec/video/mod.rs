//! Video codecs, which turn the frames of a stream into bytes for the client's decoder (display.md 11).
//!
//! - [`VideoEncoder`] encodes one stream for one client; [`VideoEncoders`] makes them.
//! - [`mjpeg`]: built in, always there. [`plugin`]: all others, from a shared object where one is installed.
//! - [`Pooled`]: the built-in encoder on the threads of the pool.
//! - [`Supervised`]: an encoder of the shared object on a thread of its own. One that fails, stalls or eats memory costs its
//!   stream, and nothing else.
//! - [`choice`]: chooses the codecs of a client.

pub(crate) mod choice;
mod meter;
pub(crate) mod mjpeg;
mod picture;
pub(crate) mod plugin;
mod pooled;
mod supervised;

pub(crate) use pooled::Pooled;
pub(crate) use supervised::Supervised;

use crate::image::ImageView;
use std::fmt;

/// A video codec, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Codec {
    /// Motion JPEG: each frame is a JPEG file.
    Mjpeg = 1,
    /// VP8.
    Vp8 = 2,
    /// H.264, constrained baseline profile with halved chroma, as a byte stream.
    H264 = 3,
    /// VP9, profile 0.
    Vp9 = 4,
    /// H.265, main profile, as a byte stream.
    H265 = 5,
}

impl Codec {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Mjpeg, Self::Vp8, Self::H264, Self::Vp9, Self::H265];

    /// Its name in the list of spice_server_set_video_codecs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mjpeg => "mjpeg",
            Self::Vp8 => "vp8",
            Self::H264 => "h264",
            Self::Vp9 => "vp9",
            Self::H265 => "h265",
        }
    }

    /// The codec of a name, which is written in small letters.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Its number in STREAM_CREATE.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl TryFrom<u8> for Codec {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        Self::ALL.into_iter().find(|codec| codec.number() == number).ok_or(number)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Several codecs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodecSet(u32);

impl CodecSet {
    /// No codec.
    pub const NONE: Self = Self(0);

    /// The codecs whose numbers are set as bits; other bits mean nothing.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Codec::ALL.into_iter().filter(|codec| bits & 1 << codec.number() != 0).collect()
    }

    /// Whether it holds `codec`.
    #[must_use]
    pub const fn contains(self, codec: Codec) -> bool {
        self.0 & 1 << codec.number() != 0
    }

    /// The same with `codec`.
    #[must_use]
    pub const fn with(self, codec: Codec) -> Self {
        Self(self.0 | 1 << codec.number())
    }

    /// The same without `codec`.
    #[must_use]
    pub const fn without(self, codec: Codec) -> Self {
        Self(self.0 & !(1 << codec.number()))
    }

    /// Its codecs in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Codec> {
        Codec::ALL.into_iter().filter(move |&codec| self.contains(codec))
    }
}

impl FromIterator<Codec> for CodecSet {
    fn from_iter<I: IntoIterator<Item = Codec>>(codecs: I) -> Self {
        codecs.into_iter().fold(Self::NONE, Self::with)
    }
}

/// What an encoder is to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoSpec {
    /// What it is to make.
    pub codec: Codec,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second that are expected; they may come at any time.
    pub fps: u32,
    /// Bits per second.
    pub bit_rate: u64,
    /// Frames may be smaller than that: the client scales each to its place.
    pub may_shrink: bool,
}

/// One encoded frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedFrame {
    /// The bytes for the client's decoder.
    pub data: Vec<u8>,
    /// The decoder needs no frame before it.
    pub key: bool,
    /// Its width and height, if they are others than those of the stream.
    pub size: Option<(u32, u32)>,
}

/// Why an encoder or a frame cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VideoError {
    /// No encoder for this codec and size at present.
    #[error("there is no encoder for {0}")]
    Unavailable(Codec),
    /// The codec cannot carry this frame: it is of another size than the stream, or of a format without colours.
    #[error("the codec cannot carry the frame")]
    BadFrame,
    /// The frame before is not encoded yet.
    #[error("the encoder is still busy")]
    Busy,
    /// More bytes than a frame may have.
    #[error("the encoded frame is too large")]
    TooLarge,
    /// Memory or threads are short.
    #[error("no resources for an encoder: {0}")]
    NoResources(String),
    /// The encoder gave no frame in time.
    #[error("the encoder gave no frame in time")]
    Stalled,
    /// The memory of the process grows by more than the encoder may need.
    #[error("the encoder eats memory")]
    EatsMemory,
    /// The encoder's own reason.
    #[error("the encoder failed: {0}")]
    Failed(String),
}

impl VideoError {
    /// Whether the encoder is of no use any more.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::BadFrame | Self::Busy)
    }
}

/// Encodes the frames of one stream for one client. Each frame comes out before the next goes in; the first one is a key
/// frame, and none refers to later ones.
pub trait VideoEncoder: Send + fmt::Debug {
    /// What it makes.
    fn codec(&self) -> Codec;

    /// Encodes a frame, which is to be shown at `time` (milliseconds, wraps around). `force_key`: it must be a key frame.
    ///
    /// # Errors
    /// [`VideoError`]; for which of them the encoder may be used on, [`VideoError::is_final`] says.
    fn encode(
        &mut self,
        frame: &ImageView<'_>,
        time: u32,
        force_key: bool,
    ) -> Result<EncodedFrame, VideoError>;

    /// Changes the bit rate (bits per second) from the next frame on.
    fn set_bit_rate(&mut self, bits_per_second: u64);

    /// Bytes that a frame should have at most, from the next one on; `None`: what the bit rate allows. A frame that keeps a thin
    /// link busy for long makes others wait.
    fn set_most(&mut self, bytes: Option<u64>) {
        let _ = bytes;
    }
}

/// Makes encoders. Shared by all displays of a process.
pub trait VideoEncoders: Send + Sync + fmt::Debug {
    /// Begins to look for encoders that are not known yet, and does not wait for the result. The display channel calls this
    /// when a client may need them.
    fn prepare(&self) {}

    /// The codecs that there are encoders for at present: [`Self::prepare`] may add some, [`Self::failed`] take some away.
    fn available(&self) -> CodecSet;

    /// Makes an encoder. This may take as long as a frame, so [`Supervised`] calls it on the encoder's thread.
    ///
    /// # Errors
    /// [`VideoError::Unavailable`], [`VideoError::NoResources`], [`VideoError::Failed`].
    fn create(&self, spec: &VideoSpec) -> Result<Box<dyn VideoEncoder>, VideoError>;

    /// An encoder of this codec became useless while it ran.
    fn failed(&self, codec: Codec) {
        let _ = codec;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_have_the_numbers_and_names_of_the_protocol() {
        for (number, name) in [(1, "mjpeg"), (2, "vp8"), (3, "h264"), (4, "vp9"), (5, "h265")] {
            let codec = Codec::try_from(number).unwrap();
            assert_eq!((codec.number(), codec.name()), (number, name));
            assert_eq!(Codec::by_name(name), Some(codec));
        }
        assert_eq!((Codec::try_from(0), Codec::try_from(6)), (Err(0), Err(6)));
        assert_eq!((Codec::by_name("MJPEG"), Codec::by_name("")), (None, None));
    }

    #[test]
    fn sets_keep_known_codecs_alone() {
        let set = CodecSet::from_bits(u32::MAX);
        assert_eq!(set.iter().collect::<Vec<_>>(), Codec::ALL);
        assert_eq!(set, Codec::ALL.into_iter().collect());
        let set = CodecSet::NONE.with(Codec::Vp9).with(Codec::Mjpeg).without(Codec::Vp9);
        assert!(set.contains(Codec::Mjpeg) && !set.contains(Codec::Vp9));
    }
}
