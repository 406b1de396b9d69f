//! The settings of the host (server.md 1.2, 1.4). The setters check values. [`super::Server`] tells workers and clients of changes.

use super::error::ServerError;
use crate::codec::video::choice;
use crate::display::settings::{DisplaySettings, ImageCompression, StreamingVideo, WanCompression};
pub(crate) use crate::net::listener::Family;
pub use crate::net::tls::TlsConfig;
use crate::net::upgrade::Origins;
use crate::protocol::ChannelType;
use std::os::fd::OwnedFd;

/// Connections that a channel type accepts: bits of `set_channel_security`.
pub(crate) mod security {
    /// Plain connections.
    pub(crate) const NONE: u32 = 1;
    /// TLS connections.
    pub(crate) const SSL: u32 = 2;
}

/// Longest string that set_tls and set_addr keep (bytes).
const MAX_STRING: usize = 255;

/// All settings of a server.
#[derive(Debug)]
pub(crate) struct Config {
    pub port: i32,
    pub address: Vec<u8>,
    pub family: Family,
    pub listen_socket: Option<OwnedFd>,
    pub tls: Option<TlsConfig>,
    pub sasl: bool,
    pub sasl_appname: String,
    pub exit_on_disconnect: bool,
    default_security: u32,
    channel_security: Vec<(ChannelType, u32)>,
    renderers: usize,
    pub display: DisplaySettings,
    pub playback_compression: bool,
    pub agent_mouse: bool,
    pub agent_copypaste: bool,
    pub agent_file_xfer: bool,
    pub name: Option<String>,
    pub uuid: Option<[u8; 16]>,
    pub seamless_migration: bool,
    /// SPICE_DEBUG_ALLOW_MC, read at init.
    pub multi_client: bool,
    /// Web pages that may open a WebSocket, read at init.
    pub origins: Origins,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: -1,
            address: Vec::new(),
            family: Family::Unspecified,
            listen_socket: None,
            tls: None,
            sasl: false,
            sasl_appname: "spice".into(),
            exit_on_disconnect: false,
            default_security: security::NONE | security::SSL,
            channel_security: Vec::new(),
            renderers: 0,
            display: DisplaySettings::default(),
            playback_compression: true,
            agent_mouse: true,
            agent_copypaste: true,
            agent_file_xfer: true,
            name: None,
            uuid: None,
            seamless_migration: false,
            multi_client: false,
            origins: Origins::default(),
        }
    }
}

fn value(what: &'static str, value: impl Into<i64>) -> ServerError {
    ServerError::Value { what, value: value.into() }
}

impl Config {
    pub(crate) fn set_port(&mut self, port: i32) -> Result<(), ServerError> {
        if !(0..=65535).contains(&port) {
            return Err(value("port", port));
        }
        self.port = port;
        Ok(())
    }

    /// Sets the address to listen on. `flags`: 1 IPv4, 2 IPv6, 4 unix. Any other value leaves the family as it is.
    pub(crate) fn set_addr(&mut self, address: &[u8], flags: i32) {
        self.address = address.iter().copied().take(MAX_STRING).collect();
        match flags {
            0 => {}
            1 => self.family = Family::Ipv4,
            2 => self.family = Family::Ipv6,
            4 => self.family = Family::Unix,
            other => crate::warning!("set_addr: unknown address flags {other:#x}"),
        }
    }

    pub(crate) fn set_tls(&mut self, tls: TlsConfig) -> Result<(), ServerError> {
        if !(1..=65535).contains(&tls.port) {
            return Err(value("TLS port", tls.port));
        }
        let strings = [Some(&tls.ca_cert_file), Some(&tls.certs_file), Some(&tls.private_key_file)];
        let options = [tls.key_password.as_ref(), tls.dh_key_file.as_ref(), tls.cipher_suite.as_ref()];
        for text in strings.into_iter().chain(options).flatten() {
            if text.len() > MAX_STRING {
                return Err(ServerError::Value { what: "length of a TLS string", value: 256 });
            }
        }
        self.tls = Some(tls);
        Ok(())
    }

    /// Sets the image compression. Logs and ignores a bad value, as the original does.
    pub(crate) fn set_image_compression(&mut self, compression: u32) {
        match ImageCompression::try_from(compression) {
            Ok(c) => self.display.image_compression = c,
            Err(c) => crate::warning!("set_image_compression: bad value {c}"),
        }
    }

    pub(crate) fn set_jpeg(&mut self, compression: u32) -> Result<(), ServerError> {
        self.display.jpeg =
            WanCompression::try_from(compression).map_err(|v| value("jpeg compression", v))?;
        Ok(())
    }

    pub(crate) fn set_zlib_glz(&mut self, compression: u32) -> Result<(), ServerError> {
        self.display.zlib_glz =
            WanCompression::try_from(compression).map_err(|v| value("zlib compression", v))?;
        Ok(())
    }

    pub(crate) fn set_streaming_video(&mut self, mode: u32) -> Result<(), ServerError> {
        self.display.streaming = StreamingVideo::try_from(mode).map_err(|v| value("streaming video", v))?;
        Ok(())
    }

    /// Sets the preferred video codecs: `encoder:codec;...` or `auto`. Skips unknown entries. If no entry is left, this is an error
    /// and the old list stays. Like the original it accepts codecs that cannot be encoded here, since hosts would exit
    /// otherwise: if none of the list can be, the best one is used.
    pub(crate) fn set_video_codecs(&mut self, codecs: &str) -> Result<(), ServerError> {
        let (list, unknown) = choice::parse_list(codecs);
        for entry in unknown {
            crate::warning!("set_video_codecs: {entry:?} is not known");
        }
        if list.is_empty() {
            return Err(ServerError::Unknown { what: "video codecs", text: codecs.into() });
        }
        self.display.video_codecs = list;
        Ok(())
    }

    /// The list in the syntax of [`Self::set_video_codecs`].
    pub(crate) fn video_codecs(&self) -> String {
        choice::format_list(&self.display.video_codecs)
    }

    /// Sets the security of a channel type. `None`: of all types that were not set by name.
    pub(crate) fn set_channel_security(&mut self, name: Option<&str>, bits: u32) -> Result<(), ServerError> {
        let Some(name) = name else {
            self.default_security = bits;
            return Ok(());
        };
        let channel_type = (1..=11u8)
            .filter_map(|n| ChannelType::try_from(n).ok())
            .find(|t| t.name() == name)
            .ok_or_else(|| ServerError::Unknown { what: "channel security", text: name.into() })?;
        self.channel_security.retain(|(t, _)| *t != channel_type);
        self.channel_security.push((channel_type, bits));
        Ok(())
    }

    /// The [`security`] bits of a channel type.
    pub(crate) fn security(&self, channel_type: u8) -> u32 {
        self.channel_security
            .iter()
            .find(|(t, _)| t.number() == channel_type)
            .map_or(self.default_security, |(_, bits)| *bits)
    }

    /// Accepts "sw", at most twice. It has no effect.
    pub(crate) fn add_renderer(&mut self, name: &str) -> Result<(), ServerError> {
        if name != "sw" || self.renderers >= 2 {
            return Err(ServerError::Unknown { what: "renderer", text: name.into() });
        }
        self.renderers += 1;
        Ok(())
    }

    /// The level that the host's `set_compression_level` is told.
    pub(crate) fn compression_level(&self) -> i32 {
        let plain = self.display.streaming == StreamingVideo::Off
            && self.display.image_compression == ImageCompression::Quic;
        i32::from(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_original() {
        let c = Config::default();
        assert_eq!((c.port, c.security(1), c.compression_level()), (-1, 3, 0));
        assert_eq!(c.display.image_compression, ImageCompression::AutoGlz);
        assert_eq!(c.video_codecs(), "");
    }

    #[test]
    fn ports_and_enums_have_bounds() {
        let mut c = Config::default();
        assert!(c.set_port(0).is_ok() && c.set_port(65535).is_ok());
        assert!(c.set_port(-1).is_err() && c.set_port(65536).is_err());
        assert_eq!(c.port, 65535);
        assert!(c.set_jpeg(0).is_err() && c.set_jpeg(3).is_ok() && c.set_zlib_glz(4).is_err());
        assert!(c.set_streaming_video(0).is_err() && c.set_streaming_video(4).is_err());
        c.set_image_compression(8);
        c.set_image_compression(0);
        assert_eq!(c.display.image_compression, ImageCompression::AutoGlz);
    }

    #[test]
    fn address_flags_compare_whole() {
        let mut c = Config::default();
        c.set_addr(b"::1", 2);
        c.set_addr(&[b'x'; 300], 0);
        assert_eq!((c.family, c.address.len()), (Family::Ipv6, 255));
        c.set_addr(b"", 3);
        assert_eq!(c.family, Family::Ipv6);
    }

    #[test]
    fn channel_security_has_a_default_and_exceptions() {
        let mut c = Config::default();
        c.set_channel_security(Some("inputs"), 2).unwrap();
        c.set_channel_security(None, 1).unwrap();
        assert!(c.set_channel_security(Some("Inputs"), 1).is_err());
        assert_eq!((c.security(3), c.security(1), c.security(200)), (2, 1, 1));
    }

    #[test]
    fn codec_list_keeps_known_entries() {
        let mut c = Config::default();
        c.set_video_codecs("auto").unwrap();
        assert_eq!(c.video_codecs(), choice::DEFAULT_LIST);
        c.set_video_codecs("gstreamer:h264;foo:bar;spice:mjpeg;").unwrap();
        assert!(c.set_video_codecs("nothing").is_err() && c.set_video_codecs("").is_err());
        assert_eq!(c.video_codecs(), "gstreamer:h264;spice:mjpeg");
    }

    /// The built-in encoder with codecs that it lacks counts as known, as with the original.
    #[test]
    fn every_known_codec_is_accepted_alone() {
        for encoder in ["spice", "gstreamer"] {
            for codec in ["mjpeg", "vp8", "h264", "vp9"] {
                let (mut c, list) = (Config::default(), format!("{encoder}:{codec}"));
                c.set_video_codecs(&list).unwrap();
                assert_eq!(c.video_codecs(), list);
            }
        }
        for list in [
            "gst:h264",
            "spice:",
            ":mjpeg",
            "mjpeg",
            "spice:MJPEG",
            "spice:mjpeg:x",
            "spice:mjpeg x",
            " spice:mjpeg",
        ] {
            assert!(Config::default().set_video_codecs(list).is_err(), "{list:?}");
        }
    }

    #[test]
    fn renderers_are_sw_twice() {
        let mut c = Config::default();
        assert!(c.add_renderer("gl").is_err());
        assert!(
            c.add_renderer("sw").is_ok() && c.add_renderer("sw").is_ok() && c.add_renderer("sw").is_err()
        );
    }
}
