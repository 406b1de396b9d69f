//! What the host configures for the display channels (server.md 1.2, display.md 9).

use crate::codec::video::choice::HostCodec;

/// Image compression (SpiceImageCompression; display.md 9.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ImageCompression {
    Off = 1,
    #[default]
    AutoGlz = 2,
    AutoLz = 3,
    Quic = 4,
    Glz = 5,
    Lz = 6,
    Lz4 = 7,
}

impl TryFrom<u32> for ImageCompression {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        Ok(match value {
            1 => Self::Off,
            2 => Self::AutoGlz,
            3 => Self::AutoLz,
            4 => Self::Quic,
            5 => Self::Glz,
            6 => Self::Lz,
            7 => Self::Lz4,
            other => return Err(other),
        })
    }
}

/// When a WAN-only compression (JPEG, zlib over GLZ) is used (spice_wan_compression_t).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WanCompression {
    /// For clients on a low-bandwidth link.
    #[default]
    Auto = 1,
    Always = 2,
    Never = 3,
}

impl WanCompression {
    /// Whether it applies to a client of this link quality.
    #[must_use]
    pub const fn applies(self, low_bandwidth: bool) -> bool {
        match self {
            Self::Auto => low_bandwidth,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl TryFrom<u32> for WanCompression {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        Ok(match value {
            1 => Self::Auto,
            2 => Self::Always,
            3 => Self::Never,
            other => return Err(other),
        })
    }
}

/// Which areas become video streams (SPICE_STREAM_VIDEO_*; display.md 11.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StreamingVideo {
    Off = 1,
    All = 2,
    #[default]
    Filter = 3,
}

impl TryFrom<u32> for StreamingVideo {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        Ok(match value {
            1 => Self::Off,
            2 => Self::All,
            3 => Self::Filter,
            other => return Err(other),
        })
    }
}

/// The settings of a device's display channel. A change applies to clients that connect later, except `streaming`
/// and `video_codecs`, which apply at once (display.md 9.1, 11.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DisplaySettings {
    pub image_compression: ImageCompression,
    pub jpeg: WanCompression,
    pub zlib_glz: WanCompression,
    pub streaming: StreamingVideo,
    pub video_codecs: Vec<HostCodec>,
}
