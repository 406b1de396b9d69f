//! Milliseconds for one frame of a moving picture, by encoder element and size: `cargo bench -p spice-video-gst`.
#![allow(clippy::unwrap_used, reason = "a bench")]

#[path = "../tests/common/mod.rs"]
mod common;

use divan::Bencher;
use spice_server_gst::convert::{Matrix, Planes, to_i420};
use spice_server_gst::elements::{ELEMENTS, Element, of_codec};
use spice_server_gst::encoder::{Encoder, Frame};
use spice_server_gst::library;
use spice_video_loader::Spec;

/// Width, height, bits per second.
const SIZES: [(u32, u32, u64); 2] = [(1280, 720, 6_000_000), (1920, 1080, 10_000_000)];

fn main() {
    library::start().unwrap();
    divan::main();
}

fn cases() -> Vec<(&'static str, u32)> {
    library::start().unwrap();
    let there = |e: &&Element| of_codec(e.codec).any(|found| found.name == e.name);
    ELEMENTS.iter().filter(there).flat_map(|e| SIZES.map(|(_, height, _)| (e.name, height))).collect()
}

#[divan::bench(args = cases(), sample_count = 60, sample_size = 1)]
fn encode(bencher: Bencher, (name, height): &(&'static str, u32)) {
    let element = ELEMENTS.iter().find(|e| e.name == *name).unwrap();
    let (width, height, bit_rate) = SIZES.into_iter().find(|size| size.1 == *height).unwrap();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u32).min(4);
    let spec =
        Spec { codec: element.codec as u8, width, height, fps: 30, threads, bit_rate, limit_ms: 10_000 };
    let mut encoder = Encoder::with(element, &spec).unwrap();
    let pictures: Vec<_> = (0..10).map(|n| common::picture(n, width, height)).collect();
    let mut n = 0;
    bencher.bench_local(|| {
        // There and back, so that the picture never jumps.
        let at = if n / 9 % 2 == 0 { n % 9 } else { 9 - n % 9 };
        let pixels = &pictures[at as usize];
        n += 1;
        let frame = Frame { pixels, stride: width as usize * 4, time_ms: n * 33, force_key: false };
        let mut size = 0;
        encoder.encode(&frame, &mut |bytes, _| size += bytes.len()).unwrap();
        size
    });
}

#[divan::bench(args = SIZES, sample_count = 60)]
fn convert(bencher: Bencher, (width, height, _): (u32, u32, u64)) {
    let (w, h) = (width as usize, height as usize);
    let pixels = common::picture(0, width, height);
    let (mut y, mut u, mut v) = (vec![0; w * h], vec![0; w * h / 4], vec![0; w * h / 4]);
    bencher.bench_local(|| {
        let out = Planes { y: &mut y, u: &mut u, v: &mut v, y_stride: w, uv_stride: w / 2 };
        to_i420(&pixels, w * 4, w, h, Matrix::Bt709, out);
    });
}
