//! Throughput of every codec on full-screen pictures, in bytes of pixels per second.
//!
//! `cargo bench --bench codec -- [filter]`. The bench generates its pictures. If the environment has
//! `CODEC_PICTURES=DIR`, it reads `DIR/photo.raw`, `text.raw` and `gradient.raw` (1920 x 1080, 32 bit)
//! instead.

#![allow(clippy::unwrap_used, reason = "a failure ends the bench")]

#[path = "codec/pictures.rs"]
mod pictures;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use pictures::{HEIGHT, Picture, WIDTH};
use spice_server_core::codec::{glz, graduality, jpeg, lz, lz4, quic};
use spice_server_core::guest::SliceSource;
use spice_server_core::image::{BitmapFormat, ImageView};
use spice_server_core::pool::Pool;
use std::cell::RefCell;
use std::sync::Arc;

fn main() {
    divan::main();
}

const PICTURES: [Picture; 3] = [Picture::Photo, Picture::Text, Picture::Gradient];
const FORMATS: [BitmapFormat; 4] =
    [BitmapFormat::ThirtyTwoBit, BitmapFormat::TwentyFourBit, BitmapFormat::SixteenBit, BitmapFormat::Rgba];

/// Measures `encode` on the picture in this format.
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

/// A photo of 3840 x 2160 in bands as the display channel cuts it, with so many threads beside the caller's.
#[divan::bench(args = [0, 1, 3])]
fn quic_encode_4k_photo_in_bands(bencher: Bencher<'_, '_>, threads: usize) {
    const ROWS: usize = 65_536 / (2 * WIDTH);
    let half = Picture::Photo.pixels(BitmapFormat::ThirtyTwoBit);
    let row = WIDTH * 4;
    // The photo beside itself, twice.
    let wide: Vec<u8> = half.chunks_exact(row).flat_map(|row| [row, row].concat()).collect();
    let pixels = [&wide[..], &wide[..]].concat();
    let bands: Vec<Arc<Vec<u8>>> =
        pixels.chunks(2 * row * ROWS).map(|band| Arc::new(band.to_vec())).collect();
    let pool = Pool::new(threads);
    bencher.counter(BytesCount::new(pixels.len())).bench_local(|| {
        let encoded = pool.map(bands.clone(), move |band| {
            thread_local!(static ENCODER: RefCell<quic::Encoder> = RefCell::default());
            let height = (band.len() / (2 * row)) as u32;
            let (width, stride) = (2 * WIDTH as u32, 2 * row as u32);
            let format = BitmapFormat::ThirtyTwoBit;
            let image = ImageView { format, width, height, stride, top_down: true, source: &*band };
            // As much room as the display channel gives it.
            let mut out = Vec::with_capacity(band.len() / 4);
            ENCODER.with_borrow_mut(|encoder| encoder.encode(&image, usize::MAX, &mut out)).unwrap();
            out
        });
        assert!(encoded.iter().all(Option::is_some));
        encoded
    });
}

/// Measures `decode` on the stream that `encode` makes of the 32-bit picture.
fn bench_decode(
    bencher: Bencher<'_, '_>,
    picture: Picture,
    encode: impl FnOnce(&ImageView<'_>, &mut Vec<u8>),
    mut decode: impl FnMut(&[u8], &mut Vec<u8>),
) {
    let pixels = picture.pixels(BitmapFormat::ThirtyTwoBit);
    let source = SliceSource(&pixels);
    let format = BitmapFormat::ThirtyTwoBit;
    let image = ImageView { format, width: W, height: H, stride: W * 4, top_down: true, source: &source };
    let (mut data, mut out) = (Vec::new(), Vec::new());
    encode(&image, &mut data);
    bencher.counter(BytesCount::new(pixels.len())).bench_local(|| decode(black_box(&data), &mut out));
}

const W: u32 = WIDTH as u32;
const H: u32 = HEIGHT as u32;

#[divan::bench(args = PICTURES)]
fn quic_decode(bencher: Bencher<'_, '_>, picture: Picture) {
    bench_decode(
        bencher,
        picture,
        |image, data| quic::Encoder::default().encode(image, usize::MAX, data).unwrap(),
        |data, out| {
            quic::decode(data, W, H, quic::PixelLayout::Bgra32, out).unwrap();
        },
    );
}

#[divan::bench(args = PICTURES, consts = [0, 1, 2])]
fn jpeg_encode<const FORMAT: usize>(bencher: Bencher<'_, '_>, picture: Picture) {
    let mut encoder = jpeg::Encoder::default();
    bench_encode(bencher, picture, FORMATS[FORMAT], |image, out| {
        encoder.encode(image, usize::MAX, out).unwrap();
    });
}

#[divan::bench(args = PICTURES, consts = [0, 1, 2, 3])]
fn lz_encode<const FORMAT: usize>(bencher: Bencher<'_, '_>, picture: Picture) {
    let mut encoder = lz::Encoder::default();
    bench_encode(bencher, picture, FORMATS[FORMAT], |image, out| {
        encoder.encode(image, usize::MAX, out).unwrap();
    });
}

#[divan::bench(args = PICTURES)]
fn lz_decode(bencher: Bencher<'_, '_>, picture: Picture) {
    bench_decode(
        bencher,
        picture,
        |image, data| lz::Encoder::default().encode(image, usize::MAX, data).unwrap(),
        |data, out| {
            lz::decode(data, W, H, out).unwrap();
        },
    );
}

#[divan::bench(args = PICTURES, consts = [0, 1, 2, 3])]
fn lz4_encode<const FORMAT: usize>(bencher: Bencher<'_, '_>, picture: Picture) {
    let mut encoder = lz4::Encoder::default();
    bench_encode(bencher, picture, FORMATS[FORMAT], |image, out| {
        encoder.encode(image, usize::MAX, out).unwrap();
    });
}

#[divan::bench(args = PICTURES)]
fn lz4_decode(bencher: Bencher<'_, '_>, picture: Picture) {
    bench_decode(
        bencher,
        picture,
        |image, data| lz4::Encoder::default().encode(image, usize::MAX, data).unwrap(),
        |data, out| {
            lz4::decode(data, W, H, out).unwrap();
        },
    );
}

/// Encodes a picture that the dictionary does not have.
#[divan::bench(args = PICTURES, consts = [0, 1, 2, 3])]
fn glz_encode_new<const FORMAT: usize>(bencher: Bencher<'_, '_>, picture: Picture) {
    // The window has room for one picture, so each leaves before the next is encoded.
    let dictionary = glz::Dictionary::new(W * H + 1);
    bench_encode(bencher, picture, FORMATS[FORMAT], |image, out| {
        dictionary.encode(0, image, out).unwrap();
    });
}

/// Encodes a picture that the dictionary has.
#[divan::bench(args = PICTURES, consts = [0, 3])]
fn glz_encode_again<const FORMAT: usize>(bencher: Bencher<'_, '_>, picture: Picture) {
    let dictionary = glz::Dictionary::new(8 << 20);
    bench_encode(bencher, picture, FORMATS[FORMAT], |image, out| {
        dictionary.encode(0, image, out).unwrap();
    });
}

#[divan::bench(args = PICTURES)]
fn graduality(bencher: Bencher<'_, '_>, picture: Picture) {
    bench_encode(bencher, picture, FORMATS[0], |image, _| {
        black_box(graduality::grade(image));
    });
}
