//! Playback and record channel messages (wire.md 7).

use super::body::Message;
use super::common::{self, CommonMessage};
use super::error::ProtocolError;
use super::reader::Reader;
use super::writer::Put;
use crate::limits::MAX_RECORD_BODY;

/// Playback server message types.
#[allow(dead_code, reason = "the table is as whole as that of the specification")]
pub(crate) mod playback {
    pub(crate) const DATA: u16 = 101;
    pub(crate) const MODE: u16 = 102;
    pub(crate) const START: u16 = 103;
    pub(crate) const STOP: u16 = 104;
    pub(crate) const VOLUME: u16 = 105;
    pub(crate) const MUTE: u16 = 106;
    pub(crate) const LATENCY: u16 = 107;
}

/// Record server message types.
pub(crate) mod record {
    pub(crate) const START: u16 = 101;
    pub(crate) const STOP: u16 = 102;
    pub(crate) const VOLUME: u16 = 103;
    pub(crate) const MUTE: u16 = 104;
}

/// Record client message types.
pub(crate) mod record_client {
    pub(crate) const DATA: u16 = 101;
    pub(crate) const MODE: u16 = 102;
    pub(crate) const START_MARK: u16 = 103;
}

/// The encoding of audio data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum AudioMode {
    Raw = 1,
    Opus = 3,
}

impl TryFrom<u16> for AudioMode {
    type Error = u16;

    /// CELT (2) counts as unknown, because no encoder for it is left.
    fn try_from(value: u16) -> Result<Self, u16> {
        Ok(match value {
            1 => Self::Raw,
            3 => Self::Opus,
            other => return Err(other),
        })
    }
}

/// Sample format S16, the only one.
pub(crate) const FORMAT_S16: u16 = 1;

/// Largest body of a client message that is not sound (wire.md 2.3): one frame of samples and some.
pub(crate) const MAX_BODY: usize = 480 * 2 * 2 + 64;

/// Bound of a playback client's messages: it has only the common ones.
#[must_use]
pub(crate) fn max_playback_body(msg_type: u16) -> Option<usize> {
    (msg_type <= 100).then_some(MAX_BODY)
}

/// Bound of a recording client's messages.
#[must_use]
pub(crate) fn max_record_body(msg_type: u16) -> Option<usize> {
    match msg_type {
        record_client::DATA => Some(MAX_RECORD_BODY),
        ..=100 | record_client::MODE | record_client::START_MARK => Some(MAX_BODY),
        _ => None,
    }
}

/// Bytes before the sound of a playback DATA.
pub(crate) const DATA_HEAD: usize = 4;

/// Playback DATA; `time` in milliseconds of the multimedia clock. The first [`DATA_HEAD`] bytes of `body` are for the time, the
/// rest is the sound.
#[must_use]
pub(crate) fn playback_data(time: u32, mut body: Vec<u8>) -> Message {
    if let Some(head) = body.first_chunk_mut() {
        *head = time.to_le_bytes();
    }
    Message::new(playback::DATA, body)
}

/// Playback MODE. The server sends it before the first DATA.
#[must_use]
pub(crate) fn playback_mode(time: u32, mode: AudioMode) -> Message {
    let mut v = Vec::new();
    v.u32(time).u16(mode as u16);
    Message::new(playback::MODE, v)
}

/// Playback START.
#[must_use]
pub(crate) fn playback_start(channels: u32, frequency: u32, time: u32) -> Message {
    let mut v = Vec::new();
    v.u32(channels).u16(FORMAT_S16).u32(frequency).u32(time);
    Message::new(playback::START, v)
}

/// Playback STOP.
#[must_use]
pub(crate) fn playback_stop() -> Message {
    Message::bare(playback::STOP)
}

/// VOLUME on either channel: `msg_type` is `playback::VOLUME` or `record::VOLUME`. One value per audio
/// channel, at most 255 channels.
#[must_use]
pub(crate) fn volume(msg_type: u16, volumes: &[u16]) -> Message {
    let volumes = &volumes[..volumes.len().min(255)];
    let mut v = Vec::new();
    v.u8(u8::try_from(volumes.len()).unwrap_or(u8::MAX));
    for &volume in volumes {
        v.u16(volume);
    }
    Message::new(msg_type, v)
}

/// MUTE on either channel: `msg_type` is `playback::MUTE` or `record::MUTE`.
#[must_use]
pub(crate) fn mute(msg_type: u16, mute: bool) -> Message {
    Message::new(msg_type, vec![u8::from(mute)])
}

/// Record START.
#[must_use]
pub(crate) fn record_start(channels: u32, frequency: u32) -> Message {
    let mut v = Vec::new();
    v.u32(channels).u16(FORMAT_S16).u32(frequency);
    Message::new(record::START, v)
}

/// Record STOP.
#[must_use]
pub(crate) fn record_stop() -> Message {
    Message::bare(record::STOP)
}

/// Reads a message of a playback client. Only the common messages exist.
pub(crate) fn decode_playback(msg_type: u16, body: &[u8]) -> Result<CommonMessage, ProtocolError> {
    match msg_type {
        ..=100 => CommonMessage::decode("playback", msg_type, body),
        other => Err(common::unknown("playback", other)),
    }
}

/// A message of a record client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordMessage {
    Common(CommonMessage),
    /// The samples stand behind the time, to the end of the body: see [`record_samples`].
    Data {
        time: u32,
    },
    /// `mode` is the received number; see [`AudioMode`].
    Mode {
        time: u32,
        mode: u16,
    },
    StartMark {
        time: u32,
    },
}

impl RecordMessage {
    /// Reads a message of the client.
    pub(crate) fn decode(msg_type: u16, body: &[u8]) -> Result<Self, ProtocolError> {
        let reader = |message| Reader::new("record", message, body);
        Ok(match msg_type {
            ..=100 => Self::Common(CommonMessage::decode("record", msg_type, body)?),
            record_client::DATA => Self::Data { time: reader("DATA").u32("time")? },
            record_client::MODE => {
                let mut r = reader("MODE");
                Self::Mode { time: r.u32("time")?, mode: r.u16("mode")? }
            }
            record_client::START_MARK => Self::StartMark { time: reader("START_MARK").u32("time")? },
            other => return Err(common::unknown("record", other)),
        })
    }
}

/// What a record DATA message carries, its body having been decoded.
#[must_use]
pub(crate) fn record_samples(body: &[u8]) -> &[u8] {
    body.get(4..).unwrap_or_default()
}

/// Fuzz oracle: decodes any body of any type without a panic.
#[cfg(any(test, feature = "oracles"))]
pub(crate) fn fuzz_record(msg_type: u16, body: &[u8]) {
    let _ = RecordMessage::decode(msg_type, body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_matches_the_capture() {
        assert_eq!(playback_mode(0x001f_3b6c, AudioMode::Opus).body.to_vec(), [0x6c, 0x3b, 0x1f, 0, 3, 0]);
    }

    #[test]
    fn messages_have_the_wire_sizes() {
        assert_eq!(playback_start(2, 48_000, 1).body.len(), 14);
        assert_eq!(record_start(2, 48_000).body.len(), 10);
        assert_eq!(volume(playback::VOLUME, &[1, 2]).body.to_vec(), [2, 1, 0, 2, 0]);
        assert_eq!(playback_data(7, vec![1; 1924]).body.to_vec()[..6], [7, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn record_data_runs_to_the_end() {
        let data = RecordMessage::decode(101, &[1, 0, 0, 0, 9, 8]);
        assert_eq!(data, Ok(RecordMessage::Data { time: 1 }));
        assert_eq!(record_samples(&[1, 0, 0, 0, 9, 8]), [9, 8]);
        assert!(RecordMessage::decode(101, &[1, 0, 0]).is_err());
        assert!(decode_playback(101, &[0; 9]).is_err());
    }
}
