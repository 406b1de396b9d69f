//! Channel types (wire.md 1.9).

/// The type of a channel, as in link messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ChannelType {
    Main = 1,
    Display = 2,
    Inputs = 3,
    Cursor = 4,
    Playback = 5,
    Record = 6,
    /// Obsolete: the server never creates it, and it has no messages.
    Tunnel = 7,
    Smartcard = 8,
    Usbredir = 9,
    Port = 10,
    Webdav = 11,
}

impl ChannelType {
    /// The name that configuration and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Display => "display",
            Self::Inputs => "inputs",
            Self::Cursor => "cursor",
            Self::Playback => "playback",
            Self::Record => "record",
            Self::Tunnel => "tunnel",
            Self::Smartcard => "smartcard",
            Self::Usbredir => "usbredir",
            Self::Port => "port",
            Self::Webdav => "webdav",
        }
    }

    /// Whether clients of a seamless migration carry state of such a channel to the target (wire.md 3.4).
    #[must_use]
    pub const fn migrates_data(self) -> bool {
        match self {
            Self::Main | Self::Display | Self::Inputs | Self::Smartcard => true,
            Self::Usbredir | Self::Port | Self::Webdav => true,
            Self::Cursor | Self::Playback | Self::Record | Self::Tunnel => false,
        }
    }

    /// The wire number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl TryFrom<u8> for ChannelType {
    type Error = u8;

    fn try_from(value: u8) -> Result<Self, u8> {
        Ok(match value {
            1 => Self::Main,
            2 => Self::Display,
            3 => Self::Inputs,
            4 => Self::Cursor,
            5 => Self::Playback,
            6 => Self::Record,
            7 => Self::Tunnel,
            8 => Self::Smartcard,
            9 => Self::Usbredir,
            10 => Self::Port,
            11 => Self::Webdav,
            other => return Err(other),
        })
    }
}
