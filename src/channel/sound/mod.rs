//! The sound channels (devices.md 7 and 8): playback takes what the guest plays to the clients, record takes what one
//! client's microphone hears to the guest.
//!
//! Sound is worth nothing late. So there are no queues: playback keeps the newest frame that a client could not take yet,
//! record keeps a short ring of the newest samples, and settings are flags that are sent when there is room.

pub(crate) mod playback;
mod playback_client;
pub(crate) mod record;
mod record_stream;
#[cfg(test)]
mod tests;

pub use playback::{Loan, PlaybackChannel};
pub use record::RecordChannel;
#[cfg(any(test, feature = "oracles"))]
pub use record::fuzz_record_channel;

use crate::protocol::sound::AudioMode;

/// Pairs of samples in each frame, whatever the rate.
pub const FRAME: usize = 480;

/// Channels of audio: stereo.
pub const CHANNELS: u32 = 2;

/// Samples a second until the host says otherwise, and what it is advised to say.
pub const BEST_RATE: u32 = 48_000;

/// One frame: pairs of samples, left in the low half.
pub type Frame = [u32; FRAME];

/// The two samples of a pair.
fn pair(sample: u32) -> [i16; 2] {
    let [l0, l1, r0, r1] = sample.to_le_bytes();
    [i16::from_le_bytes([l0, l1]), i16::from_le_bytes([r0, r1])]
}

/// The opposite of [`pair`].
fn joined(left: i16, right: i16) -> u32 {
    let ([l0, l1], [r0, r1]) = (left.to_le_bytes(), right.to_le_bytes());
    u32::from_le_bytes([l0, l1, r0, r1])
}

/// Whether frames of 480 samples are packets of Opus at this rate: at 16 kHz they would last 30 ms, which Opus does not
/// have, although it has the rate.
#[must_use]
pub fn is_opus_rate(rate: u32) -> bool {
    spice_opus::AVAILABLE && matches!(rate, 8_000 | 12_000 | 24_000 | 48_000)
}

/// How sound goes to a client: compressed if all agree.
fn mode(wanted: bool, client_can: bool, rate: u32) -> AudioMode {
    if wanted && client_can && is_opus_rate(rate) { AudioMode::Opus } else { AudioMode::Raw }
}

/// The guest's mixer for one direction. Told to clients that know of volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mixer {
    volumes: Vec<u16>,
    mute: bool,
}
