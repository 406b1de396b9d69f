//! Chooses the codecs for the streams of a client: from the host's list, the client's capabilities and preferences, and the
//! encoders of this machine (display.md 11.9).

use super::{Codec, CodecSet};

/// The name of an encoder in a host's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EncoderName {
    /// The encoder that is built in, for MJPEG.
    Spice,
    /// The encoders of the shared object, whatever they are made of.
    GStreamer,
}

impl EncoderName {
    const fn name(self) -> &'static str {
        match self {
            Self::Spice => "spice",
            Self::GStreamer => "gstreamer",
        }
    }
}

/// One entry of a host's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostCodec {
    /// The encoder to use.
    pub encoder: EncoderName,
    /// The codec to use.
    pub codec: Codec,
}

impl HostCodec {
    /// Whether this encoder knows this codec at all. Only `spice:vp8` and the like are impossible: the original accepts them in
    /// its list, and crashes when it uses them.
    const fn is_possible(self) -> bool {
        matches!(self.encoder, EncoderName::GStreamer) || matches!(self.codec, Codec::Mjpeg)
    }

    fn parse(entry: &str) -> Option<Self> {
        let (encoder, codec) = entry.split_once(':')?;
        let encoder =
            [EncoderName::Spice, EncoderName::GStreamer].into_iter().find(|e| e.name() == encoder)?;
        Some(Self { encoder, codec: Codec::by_name(codec)? })
    }
}

/// The list of a host that sets none, or sets `auto`.
pub(crate) const DEFAULT_LIST: &str =
    "spice:mjpeg;gstreamer:mjpeg;gstreamer:h264;gstreamer:vp8;gstreamer:vp9";

/// Reads a host's list: `encoder:codec;...` or `auto`. Returns the known entries, and the unknown ones, which do not count.
/// Empty entries mean nothing.
#[must_use]
pub(crate) fn parse_list(text: &str) -> (Vec<HostCodec>, Vec<&str>) {
    let text = if text == "auto" { DEFAULT_LIST } else { text };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for entry in text.split(';').filter(|entry| !entry.is_empty()) {
        match HostCodec::parse(entry) {
            Some(codec) => known.push(codec),
            None => unknown.push(entry),
        }
    }
    (known, unknown)
}

/// The list in the form that [`parse_list`] reads.
#[must_use]
pub(crate) fn format_list(list: &[HostCodec]) -> String {
    let entries: Vec<_> = list.iter().map(|c| format!("{}:{}", c.encoder.name(), c.codec)).collect();
    entries.join(";")
}

/// The codecs that a client can decode, and those that it prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientCodecs {
    supported: CodecSet,
    /// Best first, each once.
    preferred: Vec<Codec>,
}

impl ClientCodecs {
    /// By the client's capabilities: whether it says which codecs it has (MULTI_CODEC), and which. All others decode MJPEG.
    #[must_use]
    pub(crate) fn new(says_which: bool, supported: CodecSet) -> Self {
        let supported = if says_which { supported } else { CodecSet::NONE.with(Codec::Mjpeg) };
        Self { supported, preferred: Vec::new() }
    }

    /// Takes the codec numbers of a PREFERRED_VIDEO_CODEC_TYPE. Unknown ones and repetitions mean nothing, nor does a
    /// message without any. `true`: the preference is another one now.
    pub(crate) fn prefer(&mut self, numbers: &[u8]) -> bool {
        let mut preferred = Vec::with_capacity(Codec::ALL.len());
        for codec in numbers.iter().filter_map(|&number| Codec::try_from(number).ok()) {
            if !preferred.contains(&codec) {
                preferred.push(codec);
            }
        }
        if preferred.is_empty() || preferred == self.preferred {
            return false;
        }
        self.preferred = preferred;
        true
    }

    /// The codecs to try for a stream, in this order; none: its frames go as images.
    ///
    /// The host's order counts, after the client's where that has said one. A list of codecs of which none can be had says
    /// "one of these if there is one, else the best there is": hosts set `gstreamer:h264` alone, whatever the
    /// machine and the client have.
    #[must_use]
    pub(crate) fn candidates(&self, host: &[HostCodec], available: CodecSet) -> Vec<Codec> {
        let usable = |codec: &Codec| self.supported.contains(*codec) && available.contains(*codec);
        let listed = |codec: Codec| host.iter().any(|entry| entry.codec == codec);
        let in_their_place = !host.is_empty() && !listed(Codec::Mjpeg);
        let mut found = Vec::new();
        let possible = host.iter().filter(|entry| entry.is_possible()).map(|entry| entry.codec);
        self.append(&mut found, possible.filter(usable));
        self.append(&mut found, BEST.into_iter().filter(|codec| in_their_place && usable(codec)));
        self.append(&mut found, Some(Codec::Mjpeg).into_iter().filter(usable));
        found
    }

    /// Appends codecs in the client's order, those that it did not name after the others; each once.
    fn append(&self, found: &mut Vec<Codec>, codecs: impl Iterator<Item = Codec>) {
        let start = found.len();
        for codec in codecs {
            if !found.contains(&codec) {
                found.push(codec);
            }
        }
        let rank = |codec: &Codec| self.preferred.iter().position(|p| p == codec).unwrap_or(usize::MAX);
        if let Some(new) = found.get_mut(start..) {
            new.sort_by_key(rank);
        }
    }
}

/// The codecs that stand in for others, best first. The order weighs their bytes and the time that a busy host needs to encode
/// them.
const BEST: [Codec; 3] = [Codec::H264, Codec::Vp8, Codec::Vp9];

#[cfg(test)]
mod tests {
    use super::*;
    use Codec::{H264, H265, Mjpeg, Vp8, Vp9};

    fn host(text: &str) -> Vec<HostCodec> {
        parse_list(text).0
    }

    fn set(codecs: &[Codec]) -> CodecSet {
        codecs.iter().copied().collect()
    }

    fn all() -> CodecSet {
        set(&Codec::ALL)
    }

    fn client(codecs: &[Codec]) -> ClientCodecs {
        ClientCodecs::new(true, set(codecs))
    }

    #[test]
    fn lists_are_read_and_written() {
        let (known, unknown) = parse_list("gstreamer:h264;;foo:bar;spice:mjpeg;spice:MJPEG;gst:vp8;mjpeg;");
        assert_eq!(format_list(&known), "gstreamer:h264;spice:mjpeg");
        assert_eq!(unknown, ["foo:bar", "spice:MJPEG", "gst:vp8", "mjpeg"]);
        assert_eq!(format_list(&host("auto")), DEFAULT_LIST);
        for text in ["", ";;", "nothing", "auto;auto"] {
            assert!(host(text).is_empty(), "{text:?}");
        }
        for codec in Codec::ALL {
            for encoder in ["spice", "gstreamer"] {
                let entry = format!("{encoder}:{codec}");
                assert_eq!(format_list(&host(&entry)), entry);
            }
        }
    }

    #[test]
    fn the_hosts_order_counts() {
        let client = client(&Codec::ALL);
        assert_eq!(client.candidates(&host("auto"), all()), [Mjpeg, H264, Vp8, Vp9]);
        let list = host("gstreamer:vp8;gstreamer:vp9;spice:mjpeg");
        assert_eq!(client.candidates(&list, all()), [Vp8, Vp9, Mjpeg]);
        assert_eq!(client.candidates(&list, set(&[Mjpeg, Vp9])), [Vp9, Mjpeg]);
    }

    #[test]
    fn the_clients_order_comes_before_the_hosts() {
        let mut client = client(&Codec::ALL);
        assert!(client.prefer(&[4, 2]));
        assert_eq!(client.candidates(&host("auto"), all()), [Vp9, Vp8, Mjpeg, H264]);
        assert!(client.prefer(&[3]));
        assert_eq!(client.candidates(&host("auto"), all()), [H264, Mjpeg, Vp8, Vp9]);
        // What the host did not list is not for the client to choose.
        assert!(client.prefer(&[5]));
        assert_eq!(client.candidates(&host("auto"), all()), [Mjpeg, H264, Vp8, Vp9]);
    }

    #[test]
    fn clients_get_what_they_decode() {
        assert_eq!(client(&[Vp8]).candidates(&host("auto"), all()), [Vp8]);
        assert_eq!(client(&[]).candidates(&host("auto"), all()), []);
        assert_eq!(client(&[H265]).candidates(&host("auto"), all()), []);
        let old = ClientCodecs::new(false, all());
        assert_eq!(old.candidates(&host("auto"), all()), [Mjpeg]);
        assert_eq!(old.candidates(&host("gstreamer:h264"), all()), [Mjpeg]);
    }

    #[test]
    fn a_list_that_cannot_be_had_means_the_best_there_is() {
        let h264 = host("gstreamer:h264");
        let every = client(&Codec::ALL);
        assert_eq!(every.candidates(&h264, all()), [H264, Vp8, Vp9, Mjpeg]);
        assert_eq!(every.candidates(&h264, set(&[Mjpeg, Vp8, Vp9])), [Vp8, Vp9, Mjpeg]);
        assert_eq!(every.candidates(&h264, set(&[Mjpeg])), [Mjpeg]);
        assert_eq!(client(&[Mjpeg, Vp9]).candidates(&h264, all()), [Vp9, Mjpeg]);
        assert_eq!(every.candidates(&host("gstreamer:h265"), set(&[Mjpeg, H264])), [H264, Mjpeg]);
        // What stands in for the host's codec comes after it, in the client's order.
        let mut vp9 = client(&Codec::ALL);
        assert!(vp9.prefer(&[4]));
        assert_eq!(vp9.candidates(&h264, all()), [H264, Vp9, Vp8, Mjpeg]);
        // A host that names MJPEG has said what it wants in place of the others.
        assert_eq!(every.candidates(&host("gstreamer:vp9;spice:mjpeg"), set(&[Mjpeg, H264])), [Mjpeg]);
        assert_eq!(every.candidates(&host("spice:mjpeg"), all()), [Mjpeg]);
        assert_eq!(client(&[H264]).candidates(&host("spice:mjpeg"), all()), []);
        // There is no such encoder.
        assert_eq!(every.candidates(&host("spice:vp9"), all()), [H264, Vp8, Vp9, Mjpeg]);
    }

    #[test]
    fn preferences_of_any_length_and_value_are_clamped_or_ignored() {
        let mut client = client(&Codec::ALL);
        assert!(!client.prefer(&[]));
        assert!(!client.prefer(&[0, 6, 255]));
        assert!(client.prefer(&[200, 2, 2, 0, 1, 2]));
        assert_eq!(client.preferred, [Vp8, Mjpeg]);
        assert!(!client.prefer(&[2, 1]), "the same again");
        assert!(!client.prefer(&[]), "which leaves the last one");
        let every: Vec<u8> = (0..=255).collect();
        assert!(client.prefer(&every));
        assert_eq!(client.preferred, Codec::ALL);
        assert_eq!(client.candidates(&[], all()), [Mjpeg]);
    }
}
