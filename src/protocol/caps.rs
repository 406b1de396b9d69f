//! Capability sets: bits in words, as link messages carry them (wire.md 1.3, 5.1).

/// A set of capability bits. Bits beyond the words are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps(Vec<u32>);

impl Caps {
    /// A set of the words that a peer sent.
    #[must_use]
    pub fn from_words(words: Vec<u32>) -> Self {
        Self(words)
    }

    /// A set with these bits.
    #[must_use]
    pub fn from_bits(bits: &[u32]) -> Self {
        let mut caps = Self::default();
        for &bit in bits {
            caps.set(bit);
        }
        caps
    }

    /// The words, lowest bits first.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.0
    }

    /// Whether bit `bit` is in the set.
    #[must_use]
    pub fn has(&self, bit: u32) -> bool {
        self.0.get((bit / 32) as usize).is_some_and(|word| word >> (bit % 32) & 1 == 1)
    }

    /// Adds a bit. The words grow to hold it, so `bit` must not come from a peer.
    pub fn set(&mut self, bit: u32) {
        let word = (bit / 32) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (bit % 32);
    }

    /// Removes a bit. The number of words does not change.
    pub fn clear(&mut self, bit: u32) {
        if let Some(word) = self.0.get_mut((bit / 32) as usize) {
            *word &= !(1 << (bit % 32));
        }
    }
}

/// Capabilities common to all channels.
pub(crate) mod common {
    pub(crate) const AUTH_SELECTION: u32 = 0;
    pub(crate) const AUTH_SPICE: u32 = 1;
    pub(crate) const AUTH_SASL: u32 = 2;
    pub(crate) const MINI_HEADER: u32 = 3;
}

/// Main channel capabilities.
pub(crate) mod main {
    pub(crate) const SEMI_SEAMLESS_MIGRATE: u32 = 0;
    pub(crate) const NAME_AND_UUID: u32 = 1;
    pub(crate) const AGENT_CONNECTED_TOKENS: u32 = 2;
    pub(crate) const SEAMLESS_MIGRATE: u32 = 3;
}

/// Display channel capabilities.
pub(crate) mod display {
    pub(crate) const SIZED_STREAM: u32 = 0;
    pub(crate) const MONITORS_CONFIG: u32 = 1;
    pub(crate) const COMPOSITE: u32 = 2;
    pub(crate) const A8_SURFACE: u32 = 3;
    pub(crate) const STREAM_REPORT: u32 = 4;
    pub(crate) const LZ4_COMPRESSION: u32 = 5;
    pub(crate) const PREF_COMPRESSION: u32 = 6;
    pub(crate) const GL_SCANOUT: u32 = 7;
    pub(crate) const MULTI_CODEC: u32 = 8;
    pub(crate) const CODEC_MJPEG: u32 = 9;
    pub(crate) const CODEC_VP8: u32 = 10;
    pub(crate) const CODEC_H264: u32 = 11;
    pub(crate) const PREF_VIDEO_CODEC_TYPE: u32 = 12;
    pub(crate) const CODEC_VP9: u32 = 13;
    pub(crate) const CODEC_H265: u32 = 14;
    pub(crate) const GL_SCANOUT2: u32 = 15;
}

/// Inputs channel capabilities.
pub(crate) mod inputs {
    pub(crate) const KEY_SCANCODE: u32 = 0;
}

/// Playback channel capabilities.
#[allow(dead_code, reason = "the table is as whole as that of the specification")]
pub(crate) mod playback {
    pub(crate) const CELT: u32 = 0;
    pub(crate) const VOLUME: u32 = 1;
    pub(crate) const LATENCY: u32 = 2;
    pub(crate) const OPUS: u32 = 3;
}

/// Record channel capabilities.
#[allow(dead_code, reason = "the table is as whole as that of the specification")]
pub(crate) mod record {
    pub(crate) const CELT: u32 = 0;
    pub(crate) const VOLUME: u32 = 1;
    pub(crate) const OPUS: u32 = 2;
}

/// Capabilities of usbredir, port and webdav channels.
pub(crate) mod spicevmc {
    pub(crate) const DATA_COMPRESS_LZ4: u32 = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_words_are_absent() {
        let mut caps = Caps::from_bits(&[common::AUTH_SELECTION, common::AUTH_SPICE, common::MINI_HEADER]);
        assert_eq!(caps.words(), [0x0b]);
        assert!(!caps.has(32) && !caps.has(u32::MAX) && caps.has(3));
        caps.clear(3);
        caps.clear(999);
        assert_eq!(caps.words(), [3]);
        assert!(!Caps::default().has(0));
    }
}
