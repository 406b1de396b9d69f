//! What one client of the playback channel is still to be told. Each thing is a flag and not an item of a queue: a client
//! that was slow is told the latest state, in the order that the protocol needs.

use super::{CHANNELS, FRAME, Frame, Mixer, mode, pair};
use crate::channel::link::ChannelError;
use crate::limits::MAX_OPUS_PACKET;
use crate::protocol::Message;
use crate::protocol::sound::{self, AudioMode, DATA_HEAD, playback};
use spice_opus::Encoder;
use std::sync::Arc;

/// What the client can do, by its link message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Abilities {
    pub volume: bool,
    pub opus: bool,
}

/// A frame that the guest played.
#[derive(Clone, Debug)]
pub(super) struct Played {
    /// When it was handed over, on the multimedia clock.
    pub time: u32,
    pub samples: Arc<Frame>,
}

/// What the channel's settings are at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    pub compress: bool,
    pub rate: u32,
    pub mixer: &'a Mixer,
    /// Milliseconds of the multimedia clock.
    pub time: u32,
}

/// One client of the playback channel, with flags for what it is still to be told.
#[derive(Debug)]
pub(super) struct PlaybackClient {
    pub abilities: Abilities,
    mode: AudioMode,
    /// Made when it is first needed, dropped with the stream that it belongs to.
    encoder: Option<Encoder>,
    mode_due: bool,
    start_due: bool,
    stop_due: bool,
    volume_due: bool,
    mute_due: bool,
    /// START was sent and STOP was not.
    active: bool,
    /// The mode in which the last START was sent: the client made its decoder for it.
    started_in: AudioMode,
    pending: Option<Played>,
}

impl PlaybackClient {
    /// A client that has just linked.
    pub(super) fn new(abilities: Abilities, playing: bool, settings: Settings<'_>) -> Self {
        let volume_known = !settings.mixer.volumes.is_empty();
        let mode = mode(settings.compress, abilities.opus, settings.rate);
        Self {
            abilities,
            mode,
            encoder: None,
            mode_due: true,
            start_due: playing,
            stop_due: false,
            volume_due: volume_known && abilities.volume,
            mute_due: volume_known && abilities.volume,
            active: false,
            started_in: mode,
            pending: None,
        }
    }

    /// The guest starts to play. A STOP that was not sent yet is taken back.
    pub(super) fn start(&mut self) {
        if self.stop_due {
            self.stop_due = false;
        } else {
            self.start_due = true;
        }
    }

    /// The guest stops playing. A START that was not sent yet is taken back, and the sound with it.
    pub(super) fn stop(&mut self) {
        if std::mem::take(&mut self.start_due) {
            self.pending = None;
        }
        self.stop_due = self.active;
    }

    /// Option or rate changed: the mode may be another from the next frame on.
    pub(super) fn refresh_mode(&mut self, settings: Settings<'_>) {
        let mode = mode(settings.compress, self.abilities.opus, settings.rate);
        if mode != self.mode {
            self.mode = mode;
            self.mode_due = true;
        }
    }

    /// The rate changed: what the client plays with was made for the old one.
    pub(super) fn restart(&mut self) {
        self.encoder = None;
        self.start_again();
    }

    /// What the client has of the stream does not fit any more: START comes again, unless STOP is all that follows.
    fn start_again(&mut self) {
        if self.stop_due {
            self.pending = None;
        } else {
            self.start_due |= self.active;
        }
    }

    /// The guest changed its volume.
    pub(super) fn tell_volume(&mut self) {
        self.volume_due = self.abilities.volume;
    }

    /// The guest muted its sound or stopped doing so.
    pub(super) fn tell_mute(&mut self) {
        self.mute_due = self.abilities.volume;
    }

    /// The guest played a frame: it replaces one that could not be sent yet.
    pub(super) fn play(&mut self, played: Played) {
        self.pending = Some(played);
    }

    /// The next message that is due.
    pub(super) fn next_message(&mut self, settings: Settings<'_>) -> Result<Option<Message>, ChannelError> {
        if std::mem::take(&mut self.mode_due) {
            // Clients make their decoder at START only.
            let decodes = self.mode == AudioMode::Raw || self.started_in == AudioMode::Opus;
            if !decodes {
                self.start_again();
            }
            return Ok(Some(sound::playback_mode(settings.time, self.mode)));
        }
        // A START that is due although the last is in force comes before the sound that it is for.
        if self.active
            && !self.start_due
            && let Some(played) = self.pending.take()
        {
            return self.data(&played, settings.rate).map(Some);
        }
        if std::mem::take(&mut self.start_due) {
            self.active = true;
            self.started_in = self.mode;
            return Ok(Some(sound::playback_start(CHANNELS, settings.rate, settings.time)));
        }
        if std::mem::take(&mut self.stop_due) {
            self.active = false;
            return Ok(Some(sound::playback_stop()));
        }
        if std::mem::take(&mut self.volume_due) && !settings.mixer.volumes.is_empty() {
            return Ok(Some(sound::volume(playback::VOLUME, &settings.mixer.volumes)));
        }
        Ok(std::mem::take(&mut self.mute_due).then(|| sound::mute(playback::MUTE, settings.mixer.mute)))
    }

    fn data(&mut self, played: &Played, rate: u32) -> Result<Message, ChannelError> {
        if self.mode == AudioMode::Raw {
            let mut body = Vec::with_capacity(DATA_HEAD + size_of::<Frame>());
            body.extend_from_slice(&[0; DATA_HEAD]);
            body.extend(played.samples.iter().flat_map(|sample| sample.to_le_bytes()));
            return Ok(sound::playback_data(played.time, body));
        }
        if self.encoder.is_none() {
            self.encoder = Encoder::new(rate);
        }
        let Some(encoder) = &mut self.encoder else {
            return Err(ChannelError::Refused(format!("no Opus encoder for {rate} Hz")));
        };
        let mut samples = [0; 2 * FRAME];
        for (to, &from) in samples.chunks_exact_mut(2).zip(played.samples.iter()) {
            to.copy_from_slice(&pair(from));
        }
        let mut body = vec![0; DATA_HEAD + MAX_OPUS_PACKET];
        let size = encoder
            .encode(&samples, &mut body[DATA_HEAD..])
            .map_err(|error| ChannelError::Refused(format!("encoding failed: {error}")))?;
        body.truncate(DATA_HEAD + size);
        Ok(sound::playback_data(played.time, body))
    }
}
