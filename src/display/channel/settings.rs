//! Settings of a display channel. They apply to clients that attach later, except streaming and codecs.

use super::DisplayChannel;
use crate::codec::video::choice::HostCodec;
use crate::display::client::DisplayClient;
use crate::display::settings::{ImageCompression, StreamingVideo, WanCompression};
use std::time::Instant;

impl DisplayChannel {
    pub fn set_image_compression(&mut self, compression: ImageCompression) {
        self.settings.image_compression = compression;
    }

    pub fn set_jpeg(&mut self, jpeg: WanCompression) {
        self.settings.jpeg = jpeg;
    }

    pub fn set_zlib_glz(&mut self, zlib_glz: WanCompression) {
        self.settings.zlib_glz = zlib_glz;
    }

    pub fn set_streaming(&mut self, streaming: StreamingVideo) {
        self.settings.streaming = streaming;
        self.prepare_encoders();
    }

    pub fn set_video_codecs(&mut self, codecs: Vec<HostCodec>, now: Instant) {
        let ended = self.streams.clear();
        self.end_streams(&ended, now);
        self.clients.each(|client| client.set_video_codecs(codecs.clone()));
        self.settings.video_codecs = codecs;
        self.prepare_encoders();
    }

    /// Looking for encoders may take seconds: it begins before there is a stream.
    fn prepare_encoders(&self) {
        if self.settings.streaming != StreamingVideo::Off {
            self.clients.iter().for_each(DisplayClient::prepare_encoders);
        }
    }
}
