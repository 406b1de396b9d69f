//! The encoder elements that this crate uses, and their settings for one viewer of a screen: each frame comes out before
//! the next goes in, and no frame refers to later ones. Only the first frame and those that the caller asks for are key
//! frames, because no frame is lost on the way to the client.

use gstreamer as gst;
use gstreamer::prelude::*;

/// Codec numbers of STREAM_CREATE.
pub mod codec {
    pub const VP8: u32 = 2;
    pub const H264: u32 = 3;
    pub const VP9: u32 = 4;
    pub const H265: u32 = 5;
}

/// An encoder element.
#[derive(Debug)]
pub struct Element {
    /// Name of its factory.
    pub name: &'static str,
    /// Codec number of STREAM_CREATE.
    pub codec: u32,
    /// Caps that its output must have.
    caps: &'static str,
    /// Properties and their values. Properties that the installed version of the element lacks are skipped.
    settings: &'static [(&'static str, &'static str)],
    /// The property for the number of threads; `None`: the element has one thread.
    threads: Option<&'static str>,
    /// The property for the bit rate.
    bit_rate: &'static str,
    /// How many bits per second one unit of that property stands for.
    bit_rate_unit: u64,
    /// Width and height must be even.
    even: bool,
    /// Longest side (pixels).
    max_side: u32,
}

const H264_CAPS: &str = "video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline";

/// All of them; of the same codec, the best comes first.
pub static ELEMENTS: [Element; 5] = [
    Element {
        name: "vp8enc",
        codec: codec::VP8,
        caps: "video/x-vp8",
        settings: &[
            ("deadline", "1"),
            ("cpu-used", "-6"),
            ("end-usage", "cbr"),
            ("lag-in-frames", "0"),
            ("keyframe-mode", "disabled"),
            ("keyframe-max-dist", "1000000"),
            ("dropframe-threshold", "0"),
            ("resize-allowed", "false"),
            ("min-quantizer", "4"),
            ("max-quantizer", "56"),
            ("undershoot", "100"),
            ("overshoot", "15"),
            // Milliseconds: the rate may be exceeded for about so long.
            ("buffer-size", "600"),
            ("buffer-initial-size", "400"),
            ("buffer-optimal-size", "500"),
            // Several threads of this encoder wait for each other by spinning. On a host with busy processors, a frame of
            // 1080 rows took 271 ms with two threads, and 23 ms with one.
            ("threads", "1"),
        ],
        threads: None,
        bit_rate: "target-bitrate",
        bit_rate_unit: 1,
        even: false,
        max_side: 16_383,
    },
    Element {
        name: "vp9enc",
        codec: codec::VP9,
        caps: "video/x-vp9,profile=(string)0",
        settings: &[
            ("deadline", "1"),
            ("cpu-used", "8"),
            ("end-usage", "cbr"),
            ("lag-in-frames", "0"),
            ("keyframe-mode", "disabled"),
            ("keyframe-max-dist", "1000000"),
            ("dropframe-threshold", "0"),
            ("resize-allowed", "false"),
            ("min-quantizer", "4"),
            ("max-quantizer", "56"),
            ("undershoot", "100"),
            ("overshoot", "15"),
            ("buffer-size", "600"),
            ("buffer-initial-size", "400"),
            ("buffer-optimal-size", "500"),
            ("row-mt", "true"),
            ("tile-columns", "2"),
            ("frame-parallel-decoding", "false"),
            ("aq-mode", "cyclic-refresh"),
        ],
        threads: Some("threads"),
        bit_rate: "target-bitrate",
        bit_rate_unit: 1,
        even: false,
        max_side: 16_383,
    },
    Element {
        name: "x264enc",
        codec: codec::H264,
        caps: H264_CAPS,
        settings: &[
            ("tune", "zerolatency"),
            ("speed-preset", "superfast"),
            ("pass", "cbr"),
            ("bframes", "0"),
            ("key-int-max", "1073741824"),
            ("byte-stream", "true"),
            ("aud", "false"),
            ("qp-min", "4"),
            ("vbv-buf-capacity", "400"),
            ("option-string", "scenecut=0"),
        ],
        threads: Some("threads"),
        bit_rate: "bitrate",
        bit_rate_unit: 1000,
        even: true,
        max_side: 8192,
    },
    Element {
        name: "openh264enc",
        codec: codec::H264,
        caps: H264_CAPS,
        settings: &[
            ("rate-control", "bitrate"),
            ("complexity", "low"),
            ("gop-size", "0"),
            ("enable-frame-skip", "false"),
            ("scene-change-detection", "false"),
            ("background-detection", "false"),
        ],
        threads: Some("multi-thread"),
        bit_rate: "bitrate",
        bit_rate_unit: 1,
        even: true,
        // Beyond level 5.2 it encodes nothing.
        max_side: 4096,
    },
    Element {
        name: "x265enc",
        codec: codec::H265,
        caps: "video/x-h265,stream-format=byte-stream,alignment=au,profile=main",
        settings: &[
            ("tune", "zerolatency"),
            ("speed-preset", "ultrafast"),
            ("key-int-max", "1073741824"),
            ("log-level", "none"),
        ],
        threads: None,
        bit_rate: "bitrate",
        bit_rate_unit: 1000,
        even: true,
        max_side: 8192,
    },
];

/// The elements for a codec that this machine has, best first.
pub fn of_codec(codec: u32) -> impl Iterator<Item = &'static Element> {
    ELEMENTS.iter().filter(move |e| e.codec == codec && e.exists())
}

/// The codecs that this machine has elements for: bit n for codec n.
#[must_use]
pub fn codecs() -> u32 {
    ELEMENTS.iter().filter(|e| e.exists()).fold(0, |set, e| set | 1 << e.codec)
}

impl Element {
    fn exists(&self) -> bool {
        gst::ElementFactory::find(self.name).is_some()
    }

    /// Whether it encodes pictures of this size.
    #[must_use]
    pub fn takes(&self, width: u32, height: u32) -> bool {
        let sides = 16..=self.max_side;
        let odd = self.even && (!width.is_multiple_of(2) || !height.is_multiple_of(2));
        sides.contains(&width) && sides.contains(&height) && !odd
    }

    /// Makes the element with all its settings but the bit rate. `None`: GStreamer cannot make it.
    #[must_use]
    pub fn make(&self, threads: u32) -> Option<gst::Element> {
        let element = gst::ElementFactory::make(self.name).build().ok()?;
        for (name, value) in self.settings {
            set(&element, name, value);
        }
        if let Some(name) = self.threads {
            set(&element, name, &threads.to_string());
        }
        if self.codec == codec::H265 {
            // An encoder that works on several frames at a time would give them late.
            let options = format!("bframes=0:scenecut=0:repeat-headers=1:frame-threads=1:pools={threads}");
            set(&element, "option-string", &options);
        }
        Some(element)
    }

    /// The caps of its output.
    #[must_use]
    pub fn caps(&self) -> Option<gst::Caps> {
        self.caps.parse().ok()
    }

    /// Sets the bit rate (bits per second), as near as the element allows. May be called while the element runs.
    pub fn set_bit_rate(&self, element: &gst::Element, bits_per_second: u64) {
        let value = (bits_per_second / self.bit_rate_unit).clamp(1, i32::MAX as u64);
        let Some(property) = element.find_property(self.bit_rate) else { return };
        let value = if let Some(range) = property.downcast_ref::<gst::glib::ParamSpecUInt>() {
            value.clamp(range.minimum().into(), range.maximum().into())
        } else if let Some(range) = property.downcast_ref::<gst::glib::ParamSpecInt>() {
            value.clamp(range.minimum().max(1) as u64, range.maximum().max(1) as u64)
        } else {
            return;
        };
        set(element, self.bit_rate, &value.to_string());
    }
}

/// Sets a property from text, if the element has it.
fn set(element: &gst::Element, name: &str, value: &str) {
    if element.find_property(name).is_some() {
        element.set_property_from_str(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_are_for_encoders_that_have_them() {
        let by_name = |name| ELEMENTS.iter().find(|e| e.name == name).unwrap();
        assert!(by_name("vp8enc").takes(853, 481) && by_name("vp9enc").takes(853, 481));
        assert!(!by_name("x264enc").takes(853, 480) && !by_name("x264enc").takes(854, 481));
        assert!(by_name("x264enc").takes(854, 480));
        assert!(!by_name("vp8enc").takes(8, 100) && !by_name("vp8enc").takes(100, 20_000));
    }

    /// Names and values of properties are strings in this module, so the compiler does not check them. A wrong name would be
    /// skipped, and a wrong value would panic on its first use.
    #[test]
    fn elements_of_this_machine_know_their_settings() {
        crate::library::start().unwrap();
        let mut seen = 0;
        for element in ELEMENTS.iter().filter(|e| e.exists()) {
            let made = element.make(2).unwrap();
            for (name, _) in element.settings {
                assert!(made.find_property(name).is_some(), "{} has no {name}", element.name);
            }
            assert!(element.threads.is_none_or(|name| made.find_property(name).is_some()));
            assert!(element.caps().is_some());
            seen += 1;
        }
        assert!(seen > 0, "no encoder element is installed");
    }

    #[test]
    fn bit_rates_stay_in_the_range_of_the_property() {
        crate::library::start().unwrap();
        for element in ELEMENTS.iter().filter(|e| e.exists()) {
            let made = element.make(1).unwrap();
            for rate in [0, 1, 250_000, 8_000_000, u64::MAX] {
                element.set_bit_rate(&made, rate);
            }
            element.set_bit_rate(&made, 3_000_000);
            let value = made.property_value(element.bit_rate);
            let value = value.get::<u32>().map(u64::from).or_else(|_| value.get::<i32>().map(|v| v as u64));
            assert_eq!(value.map(|v| v * element.bit_rate_unit), Ok(3_000_000), "{}", element.name);
        }
    }
}
