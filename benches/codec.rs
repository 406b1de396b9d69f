//! Throughput of every codec on full-screen pictures, in bytes of pixels per second.
//!
//! `cargo bench --bench codec -- [filter]`. The pictures are generated here; with `CODEC_PICTURES=DIR` in the
//! environment `DIR/photo.raw`, `text.raw` and `gradient.raw` (1920 x 1080, 32 bit) are taken instead.

#![allow(clippy::unwrap_used, reason = "a failure ends the bench")]

#[path = "codec/pictures.rs"]
mod pictures;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use pictures::{HEIGHT, Picture, WIDTH};
use spice_server::codec::{jpeg, quic};
use spice_server::guest::SliceSource;
use spice_server::image::{BitmapFormat, ImageView};

fn main() {
    divan::main();
}

const PICTURES: [Picture; 3] = [Picture::Photo, Picture::Text, Picture::Gradient];
const FORMATS: [BitmapFormat; 4] =
    [BitmapFormat::ThirtyTwoBit, BitmapFormat::TwentyFourBit, BitmapFormat::SixteenBit, BitmapFormat::Rgba];

/// Runs `encode` on the picture in this format.
fn bench_encode(
    bencher: Bencher<'_, '_>,
    picture: Picture,
    format: BitmapFormat,
    mut encode: impl FnMut(&ImageView<'_>, &mut Vec<u8>),
) {
    let pixels = picture.pixels(format);
    let source = SliceSource(&pixels);
    let stride = (pixels.len() / HEIGHT) as u32;
    let (width, height) = (WIDTH as u32, HEIGHT as u32);
    let image = ImageView { format, width, height, stride, top_down: true, source: &source };
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(pixels.len())).bench_local(|| {
        out.clear();
        encode(black_box(&image), &mut out);
        out.len()
    });
}

#[divan::bench(args = PICTURES, consts = [0, 1, 2, 3])]
fn quic_encode<const FORMAT: usize>(bencher: Bencher<'_, '_>, picture: Picture) {
    let mut encoder = quic::Encoder::default();
    bench_encode(bencher, picture, FORMATS[FORMAT], |image, out| {
        encoder.encode(image, usize::MAX, out).unwrap();
    });
}

#[divan::bench(args = PICTURES)]
fn quic_decode(bencher: Bencher<'_, '_>, picture: Picture) {
    let pixels = picture.pixels(BitmapFormat::ThirtyTwoBit);
    let source = SliceSource(&pixels);
    let (width, height) = (WIDTH as u32, HEIGHT as u32);
    let format = BitmapFormat::ThirtyTwoBit;
    let image = ImageView { format, width, height, stride: width * 4, top_down: true, source: &source };
    let (mut data, mut out) = (Vec::new(), Vec::new());
    quic::Encoder::default().encode(&image, usize::MAX, &mut data).unwrap();
    bencher.counter(BytesCount::new(pixels.len())).bench_local(|| {
        quic::decode(black_box(&data), width, height, quic::PixelLayout::Bgra32, &mut out).unwrap();
    });
}

#[divan::bench(args = PICTURES, consts = [0, 1, 2])]
fn jpeg_encode<const FORMAT: usize>(bencher: Bencher<'_, '_>, picture: Picture) {
    let mut encoder = jpeg::Encoder::default();
    bench_encode(bencher, picture, FORMATS[FORMAT], |image, out| {
        encoder.encode(image, usize::MAX, out).unwrap();
    });
}
