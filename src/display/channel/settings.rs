//! The settings of a display channel.

use super::DisplayChannel;
use crate::display::client::DisplayClient;
use crate::display::settings::{DisplaySettings, StreamingVideo};
use std::time::Instant;

impl DisplayChannel {
    /// What the host has configured.
    #[must_use]
    pub fn settings(&self) -> &DisplaySettings {
        &self.settings
    }

    /// The host changed its configuration. Video applies at once, the rest to clients that connect later.
    pub fn set_settings(&mut self, settings: DisplaySettings, now: Instant) {
        let old = std::mem::replace(&mut self.settings, settings);
        if old.video_codecs != self.settings.video_codecs {
            let ended = self.streams.clear();
            self.end_streams(&ended, now);
            let codecs = &self.settings.video_codecs;
            self.clients.each(|client| client.set_video_codecs(codecs.clone()));
        }
        if old.video_codecs != self.settings.video_codecs || old.streaming != self.settings.streaming {
            self.prepare_encoders();
        }
    }

    /// Looking for encoders may take seconds: it begins before there is a stream.
    fn prepare_encoders(&self) {
        if self.settings.streaming != StreamingVideo::Off {
            self.clients.iter().for_each(DisplayClient::prepare_encoders);
        }
    }
}
