//! Playback and record as the host uses them, and who keeps the clients' clock: while sound is heard, the sound; otherwise
//! the server (devices.md 7.6).

use super::channels::Home;
use super::effect::ChannelKey;
use super::state::State;
use super::{Result, Server, ServerError};
use crate::channel::sound::{Frame, Loan, PlaybackChannel, RecordChannel};
use crate::channel::{Channel, Out};
use crate::protocol::{ChannelType, main_channel};
use std::sync::Arc;

const PLAYBACK: ChannelKey = ChannelKey { channel_type: ChannelType::Playback, id: 0 };
const RECORD: ChannelKey = ChannelKey { channel_type: ChannelType::Record, id: 0 };

impl State {
    fn add_sound(&mut self, key: ChannelKey, what: &'static str, home: Home) -> Result {
        self.attachable()?;
        if self.channels.is_registered(key.channel_type.number(), key.id) {
            return Err(ServerError::Duplicate(what));
        }
        self.register(key.id, home);
        Ok(())
    }

    fn remove_sound(&mut self, key: ChannelKey, what: &'static str) -> Result {
        if !self.channels.is_registered(key.channel_type.number(), key.id) {
            return Err(ServerError::NotAttached(what));
        }
        let heard = key == PLAYBACK && self.playback().is_some_and(PlaybackChannel::is_heard);
        self.close_channel(key);
        if heard {
            self.tell_time();
        }
        Ok(())
    }

    /// Whether playback is compressed.
    pub(crate) fn set_playback_compression(&mut self, on: bool) {
        self.config.playback_compression = on;
        self.with_channel(PLAYBACK, |playback: &mut PlaybackChannel, out| playback.set_compression(on, out));
    }

    fn playback(&self) -> Option<&PlaybackChannel> {
        self.channels.look(PLAYBACK)
    }

    /// When sound has given the clients' clock back to the server, tells the clients what time it is. Whether it did.
    pub(crate) fn settle_clock(&mut self) -> bool {
        let Some(releases) = self.playback().map(PlaybackChannel::clock_releases) else { return false };
        if std::mem::replace(&mut self.clock_releases, releases) == releases {
            return false;
        }
        self.tell_time();
        true
    }

    fn tell_time(&mut self) {
        self.send_to_mains(&main_channel::multi_media_time(self.mm_time()));
    }
}

/// Playback and record: one of each. Calls for one that is not attached are void.
impl Server {
    fn sound<C: Channel, R>(
        &self,
        key: ChannelKey,
        change: impl FnOnce(&mut C, &mut Out<'_>) -> R,
    ) -> Option<R> {
        self.core.with(|s| s.with_channel(key, change))
    }

    /// Attaches the one sound output.
    pub fn add_playback(&self) -> Result {
        self.core.with(|s| {
            let channel = PlaybackChannel::new(s.config.playback_compression);
            s.add_sound(PLAYBACK, "playback", Home::host(channel))?;
            s.clock_releases = 0;
            Ok(())
        })
    }

    /// Detaches the sound output; clients lose the channel.
    pub fn remove_playback(&self) -> Result {
        self.core.with(|s| s.remove_sound(PLAYBACK, "playback"))
    }

    /// The guest starts to play.
    pub fn playback_start(&self) {
        self.sound(PLAYBACK, PlaybackChannel::start);
    }

    /// The guest stops playing.
    pub fn playback_stop(&self) {
        self.sound(PLAYBACK, PlaybackChannel::stop);
    }

    /// The right to hand in one frame; `None`: none is wanted now.
    #[must_use]
    pub fn playback_lend(&self) -> Option<Loan> {
        self.core.adjust(|s| s.channels.look_mut(PLAYBACK).and_then(PlaybackChannel::lend))
    }

    /// Hands in a frame.
    pub fn playback_put(&self, loan: Loan, samples: Arc<Frame>) {
        self.sound(PLAYBACK, |playback: &mut PlaybackChannel, out| playback.play(loan, samples, out));
    }

    /// The guest's volume, one value per audio channel.
    pub fn playback_set_volume(&self, volumes: Vec<u16>) {
        self.sound(PLAYBACK, |playback: &mut PlaybackChannel, out| playback.set_volume(volumes, out));
    }

    /// Whether the guest's sound is muted.
    pub fn playback_set_mute(&self, mute: bool) {
        self.sound(PLAYBACK, |playback: &mut PlaybackChannel, out| playback.set_mute(mute, out));
    }

    /// Samples a second that the guest plays.
    pub fn set_playback_rate(&self, rate: u32) {
        self.sound(PLAYBACK, |playback: &mut PlaybackChannel, out| playback.set_rate(rate, out));
    }

    /// Attaches the one sound input.
    pub fn add_record(&self) -> Result {
        self.core.with(|s| s.add_sound(RECORD, "record", Home::host(RecordChannel::default())))
    }

    /// Detaches the sound input; clients lose the channel.
    pub fn remove_record(&self) -> Result {
        self.core.with(|s| s.remove_sound(RECORD, "record"))
    }

    /// The guest starts to record.
    pub fn record_start(&self) {
        self.sound(RECORD, RecordChannel::start);
    }

    /// The guest stops recording.
    pub fn record_stop(&self) {
        self.sound(RECORD, RecordChannel::stop);
    }

    /// Up to `max` recorded pairs of samples, oldest first.
    #[must_use]
    pub fn record_samples(&self, max: usize) -> Vec<u32> {
        self.sound(RECORD, |record: &mut RecordChannel, _| record.samples(max)).unwrap_or_default()
    }

    /// The guest's recording volume, one value per audio channel.
    pub fn record_set_volume(&self, volumes: Vec<u16>) {
        self.sound(RECORD, |record: &mut RecordChannel, out| record.set_volume(volumes, out));
    }

    /// Whether the guest's microphone is muted.
    pub fn record_set_mute(&self, mute: bool) {
        self.sound(RECORD, |record: &mut RecordChannel, out| record.set_mute(mute, out));
    }

    /// Samples a second that the guest records.
    pub fn set_record_rate(&self, rate: u32) {
        self.sound(RECORD, |record: &mut RecordChannel, out| record.set_rate(rate, out));
    }
}
