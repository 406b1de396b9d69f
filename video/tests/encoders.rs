//! Decodes what every encoder element of this machine makes, by GStreamer's decoders.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test program")]

mod common;

use common::{H264, H265, decode, picture, psnr, units};
use spice_server_gst::elements::{self, ELEMENTS, Element};
use spice_server_gst::encoder::{Encoder, Frame};
use spice_server_gst::{EncoderError, library};
use spice_video_loader::Spec;

const FRAMES: u32 = 30;

fn installed() -> Vec<&'static Element> {
    library::start().unwrap();
    let found: Vec<_> =
        ELEMENTS.iter().filter(|e| elements::of_codec(e.codec).any(|there| there.name == e.name)).collect();
    assert!(found.len() >= 3, "this machine lacks encoder elements: scripts/packages test installs them");
    found
}

fn spec(element: &Element, width: u32, height: u32) -> Spec {
    let codec = element.codec as u8;
    Spec { codec, width, height, fps: 30, threads: 2, bit_rate: 6_000_000, limit_ms: 20_000 }
}

/// A frame and whether it is a key frame.
fn encode_one(encoder: &mut Encoder, pixels: &[u8], width: u32, n: u32, force_key: bool) -> (Vec<u8>, bool) {
    let frame = Frame { pixels, stride: width as usize * 4, time_ms: n * 33, force_key };
    let (mut bytes, mut key) = (Vec::new(), false);
    encoder
        .encode(&frame, &mut |part, is_key| {
            bytes.extend_from_slice(part);
            key |= is_key;
        })
        .unwrap_or_else(|error| panic!("frame {n}: {error}"));
    (bytes, key)
}

/// The least likeness of a decoded picture to its source (PSNR, dB).
const GOOD: f64 = 35.0;

fn moving_picture(element: &'static Element, width: u32, height: u32) {
    let name = element.name;
    let mut encoder = Encoder::with(element, &spec(element, width, height)).unwrap();
    let pictures: Vec<_> = (0..FRAMES).map(|n| picture(n, width, height)).collect();
    let mut frames = Vec::new();
    for (n, pixels) in (0..).zip(&pictures) {
        let forced = n == 20;
        let (bytes, key) = encode_one(&mut encoder, pixels, width, n, forced);
        assert_eq!(key, n == 0 || forced, "{name}: frame {n}");
        frames.push(bytes);
    }
    let decoded = decode(element.codec, &frames, width, height);
    assert_eq!(decoded.len(), pictures.len(), "{name}: a picture for each frame");
    for (n, (decoded, original)) in decoded.iter().zip(&pictures).enumerate() {
        let quality = psnr(decoded, original);
        assert!(quality >= GOOD, "{name} {width} x {height}: frame {n} has {quality:.1} dB");
    }
    // A decoder that begins with the key frame that the test asked for gives the same pictures.
    let late = decode(element.codec, &frames[20..], width, height);
    assert_eq!(late.len(), 10, "{name}: from the second key frame on");
    assert!(psnr(&late[9], &decoded[29]) > 50.0, "{name}: both see the same end");
}

#[test]
fn moving_pictures_survive_at_small_and_large_sizes() {
    for element in installed() {
        // BT.601 and BT.709: wrong colours would show here.
        moving_picture(element, 640, 360);
        moving_picture(element, 1280, 720);
    }
}

#[test]
fn odd_sizes_survive_where_they_are_taken() {
    let mut seen = 0;
    for element in installed().into_iter().filter(|e| e.takes(321, 243)) {
        moving_picture(element, 321, 243);
        seen += 1;
    }
    assert!(seen > 0, "VP8 and VP9 take them");
}

#[test]
fn h264_is_constrained_baseline_from_its_first_frame() {
    let elements: Vec<_> = installed().into_iter().filter(|e| e.codec == H264).collect();
    assert!(!elements.is_empty());
    for element in elements {
        let name = element.name;
        let mut encoder = Encoder::with(element, &spec(element, 640, 360)).unwrap();
        let (first, _) = encode_one(&mut encoder, &picture(0, 640, 360), 640, 0, false);
        let kinds: Vec<u8> =
            units(&first).iter().map(|unit| unit[0] & 31).filter(|kind| *kind != 6).collect();
        assert_eq!(kinds[..2], [7, 8], "{name}: parameter sets come first");
        assert!(kinds[2..].iter().all(|&kind| kind == 5), "{name}: then a picture of its own: {kinds:?}");
        let all = units(&first);
        let parameters = all.iter().find(|unit| unit[0] & 31 == 7).unwrap();
        assert_eq!((parameters[1], parameters[2] & 0x40), (66, 0x40), "{name}: constrained baseline");
        let (second, _) = encode_one(&mut encoder, &picture(1, 640, 360), 640, 1, false);
        let kinds: Vec<u8> =
            units(&second).iter().map(|unit| unit[0] & 31).filter(|kind| *kind != 6).collect();
        assert!(kinds.iter().all(|&kind| kind == 1), "{name}: then changes alone: {kinds:?}");
    }
}

/// A picture that takes many bits, because each frame has new noise in places.
fn noisy(n: u32, width: u32, height: u32) -> Vec<u8> {
    let mut pixels = picture(n, width, height);
    let mut seed = n.wrapping_mul(0x9e37_79b9) | 1;
    for pixel in pixels.as_chunks_mut::<4>().0 {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        for colour in &mut pixel[..3] {
            *colour = colour.saturating_add((seed >> 8) as u8 & 31);
        }
    }
    pixels
}

#[test]
fn the_bit_rate_follows_at_run_time() {
    const SECOND: usize = 30;
    for element in installed() {
        let (width, height) = (640, 360);
        let (low, high) = (800_000, 5_000_000);
        let mut encoder =
            Encoder::with(element, &Spec { bit_rate: low, ..spec(element, width, height) }).unwrap();
        let mut seconds = [0; 6];
        for n in 0..6 * SECOND {
            if n == 3 * SECOND {
                encoder.set_bit_rate(high);
            }
            let (bytes, _) =
                encode_one(&mut encoder, &noisy(n as u32, width, height), width, n as u32, false);
            seconds[n / SECOND] += bytes.len() * 8;
        }
        let name = element.name;
        // The encoder has the first second to reach each rate.
        for (bits, rate) in [(seconds[2], low), (seconds[5], high)] {
            let ratio = bits as f64 / rate as f64;
            assert!((0.5..1.5).contains(&ratio), "{name}: {bits} bits in a second at {rate}: {seconds:?}");
        }
    }
}

#[test]
fn sizes_that_no_element_takes_are_told_apart_from_failures() {
    installed();
    for (codec, width, height) in
        [(1, 640, 360), (99, 640, 360), (H264, 641, 360), (2, 0, 0), (2, 1 << 20, 64)]
    {
        let spec =
            Spec { codec: codec as u8, width, height, fps: 30, threads: 1, bit_rate: 1, limit_ms: 1000 };
        let error = Encoder::new(&spec).err();
        assert_eq!(error, Some(EncoderError::Unsupported { codec, width, height }));
    }
}

/// The times of frames may stand still, jump and go back.
#[test]
fn odd_times_of_frames_do_not_stop_the_stream() {
    for element in installed() {
        let (width, height) = (320, 240);
        let mut encoder = Encoder::with(element, &spec(element, width, height)).unwrap();
        for (n, time_ms) in [5, 5, 4, u32::MAX, 0, 1 << 30, 3 << 30, 7, 7].into_iter().enumerate() {
            let pixels = picture(n as u32, width, height);
            let frame = Frame { pixels: &pixels, stride: width as usize * 4, time_ms, force_key: false };
            let mut any = false;
            encoder.encode(&frame, &mut |_, _| any = true).unwrap();
            assert!(any, "{}: frame {n}", element.name);
        }
    }
}

#[test]
fn h265_carries_its_parameter_sets() {
    for element in installed().into_iter().filter(|e| e.codec == H265) {
        let mut encoder = Encoder::with(element, &spec(element, 640, 360)).unwrap();
        let (first, _) = encode_one(&mut encoder, &picture(0, 640, 360), 640, 0, false);
        let kinds: Vec<u8> = units(&first).iter().map(|unit| unit[0] >> 1 & 63).collect();
        assert!([32, 33, 34].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    }
}
