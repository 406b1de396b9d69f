//! Loads the shared object as the library does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test program")]

mod common;

use common::{decode, picture, psnr};
use spice_video_loader::{Error, Frame, Level, Plugin, Spec};
use std::path::PathBuf;

/// The shared object that cargo built for this test.
fn path() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let folder = program.parent().unwrap();
    let places = [folder.join("libspice_server_gst.so"), folder.join("../libspice_server_gst.so")];
    places.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("nothing in {}", folder.display()))
}

fn log(level: Level, text: &str) {
    assert!(level != Level::Warning, "{text}");
}

#[test]
fn the_library_loads_it_and_encodes_each_codec() {
    let plugin = Plugin::load(&path(), log).unwrap();
    let codecs = plugin.codecs();
    assert!(
        codecs & 0b11100 == 0b11100,
        "VP8, H.264 and VP9 of {codecs:#b}: scripts/packages test installs them"
    );
    let (width, height) = (640, 360);
    for codec in (0..8).filter(|codec| codecs & 1 << codec != 0) {
        let name = plugin.describe(codec);
        assert!(!name.is_empty());
        let spec = Spec { codec, width, height, fps: 30, threads: 1, bit_rate: 4_000_000, limit_ms: 20_000 };
        let mut encoder = plugin.create(&spec).unwrap();
        let mut frames = Vec::new();
        for n in 0..10 {
            let pixels = picture(n, width, height);
            let frame = Frame { pixels: &pixels, stride: width * 4, time_ms: 40 * n, force_key: n == 5 };
            let output = encoder.encode(&frame, 1 << 20).unwrap();
            assert_eq!(output.key, n == 0 || n == 5, "{name}: frame {n}");
            // The same again is no change: with x265enc a change costs a key frame.
            encoder.set_bit_rate(4_000_000).unwrap();
            frames.push(output.bytes);
        }
        let decoded = decode(codec.into(), &frames, width, height);
        assert!(psnr(&decoded[9], &picture(9, width, height)) > 35.0, "{name}");
    }
}

#[test]
fn impossible_encoders_are_refused() {
    let plugin = Plugin::load(&path(), log).unwrap();
    let spec = Spec { codec: 2, width: 64, height: 64, fps: 30, threads: 1, bit_rate: 1, limit_ms: 20_000 };
    for bad in [
        Spec { codec: 1, ..spec },
        Spec { codec: 255, ..spec },
        Spec { width: 0, ..spec },
        Spec { height: u32::MAX, ..spec },
        Spec { codec: 3, width: 65, ..spec },
    ] {
        assert_eq!(plugin.create(&bad).err(), Some(Error::Unsupported), "{bad:?}");
    }
    assert!(plugin.create(&Spec { fps: 0, threads: 0, bit_rate: u64::MAX, ..spec }).is_ok());
}
