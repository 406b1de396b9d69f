use super::*;
use crate::codec::EncodeError;
use crate::codec::vectors::{self, Chunked, sha256};
use crate::guest::SliceSource;
use proptest::prelude::*;

#[test]
fn vectors_decode_to_their_pixels() {
    let mut out = Vec::new();
    for vector in vectors::of("LZ4") {
        let (format, top_down) = decode(&vector.encoded(), vector.width, vector.height, &mut out).unwrap();
        assert_eq!((Some(format), top_down), (vector.format, vector.top_down));
        assert_eq!(sha256(&out), vector.decoded_sha256, "{}", vector.name);
    }
}

#[test]
fn streams_are_as_short_as_the_reference_encoders() {
    for vector in vectors::of("LZ4") {
        let raw = vector.raw().unwrap();
        let source = SliceSource(&raw);
        let image = vectors::view(&vector, vector.format.unwrap(), &source);
        let (mut data, mut out) = (Vec::new(), Vec::new());
        Encoder::default().encode(&image, usize::MAX, &mut data).unwrap();
        decode(&data, vector.width, vector.height, &mut out).unwrap();
        assert!(out == raw);
        let reference = vector.encoded().len();
        assert!(data.len() * 100 <= reference * 101, "{} {} {reference}", vector.name, data.len());
    }
}

#[test]
fn other_formats_padding_and_too_long_output_are_refused() {
    let pixels = vec![7u8; 1000];
    let source = SliceSource(&pixels);
    let mut image = ImageView {
        format: BitmapFormat::EightBitA,
        width: 10,
        height: 10,
        stride: 10,
        top_down: true,
        source: &source,
    };
    let mut encoder = Encoder::default();
    let mut out = vec![1];
    assert_eq!(encoder.encode(&image, usize::MAX, &mut out), Err(EncodeError::UnsupportedFormat));
    (image.format, image.stride) = (BitmapFormat::ThirtyTwoBit, 44);
    assert_eq!(encoder.encode(&image, usize::MAX, &mut out), Err(EncodeError::UnsupportedGeometry));
    image.stride = 40;
    encoder.encode(&image, usize::MAX, &mut out).unwrap();
    let exact = out.len() - 1;
    out.truncate(1);
    assert_eq!(encoder.encode(&image, exact - 1, &mut out), Err(EncodeError::TooLarge));
    assert_eq!(out, [1]);
}

/// Matches continue to the end of a sharp picture, whose last pixels equal the zeros that the encoder reads
/// after it.
#[test]
fn small_sharp_images_with_a_black_end_come_back() {
    for (count, black) in (1u32..90).flat_map(|count| (0..count).map(move |black| (count, black))) {
        let pixels: Vec<u8> = (0..count)
            .flat_map(|i| if i < count - black { [(i * 90) as u8, (i * 55) as u8, 0, 0] } else { [0; 4] })
            .collect();
        let source = SliceSource(&pixels);
        let image = ImageView {
            format: BitmapFormat::Rgba,
            width: count,
            height: 1,
            stride: count * 4,
            top_down: true,
            source: &source,
        };
        let (mut data, mut out) = (Vec::new(), Vec::new());
        Encoder::default().encode(&image, usize::MAX, &mut data).unwrap();
        decode(&data, count, 1, &mut out).unwrap();
        assert!(out == pixels, "{count} {black}");
    }
}

/// The same in a soft picture, where the encoder searches at single bytes.
#[test]
fn soft_images_with_a_black_end_come_back() {
    for black in 0..80 {
        let mut pixels: Vec<u8> =
            (0..4000u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 28) as u8 | 16).collect();
        pixels[4000 - black..].fill(0);
        let (format, source) = (BitmapFormat::ThirtyTwoBit, SliceSource(&pixels));
        let image =
            ImageView { format, width: 100, height: 10, stride: 400, top_down: true, source: &source };
        let (mut data, mut out) = (Vec::new(), Vec::new());
        Encoder::default().encode(&image, usize::MAX, &mut data).unwrap();
        decode(&data, 100, 10, &mut out).unwrap();
        assert!(out == pixels, "{black}");
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(200))]

    #[test]
    fn decoded_images_are_the_encoded_ones(
        format in 6u8..10, width in 1u32..400, top_down: bool, bytes in crate::codec::lz::tests::contents(), times in 1usize..40,
        private: bool,
    ) {
        let format = BitmapFormat::try_from(format).unwrap();
        let stride = format.min_stride(width) as usize;
        let mut pixels = bytes.repeat(times);
        let height = pixels.len().div_ceil(stride);
        prop_assume!(height < 32_768);
        pixels.resize(stride * height, 0x5a);
        let (chunked, slice) = (Chunked::new(pixels.clone(), &[pixels.len()]), SliceSource(&pixels));
        let source: &dyn crate::guest::ByteSource = if private { &slice } else { &chunked };
        let (height, stride) = (height as u32, stride as u32);
        let image = ImageView { format, width, height, stride, top_down, source };
        let (mut data, mut out) = (Vec::new(), Vec::new());
        let mut encoder = Encoder::default();
        // Matches must not refer to the image before.
        encoder.encode(&image, usize::MAX, &mut data).unwrap();
        data.clear();
        encoder.encode(&image, usize::MAX, &mut data).unwrap();
        prop_assert_eq!(decode(&data, width, height, &mut out), Ok((format, top_down)));
        prop_assert!(out == pixels);
        // An independent implementation decodes the first block.
        let len = u32::from_be_bytes(*data[2..].first_chunk().unwrap()) as usize;
        let first = lz4_flex::block::decompress(&data[6..6 + len], pixels.len()).unwrap();
        prop_assert!(pixels.starts_with(&first));
    }

    #[test]
    fn large_sharp_images_come_back_from_their_halves(
        seed: u32, width in 300u32..1200, extra in 0u32..70, shades in 2u32..9, text: bool, limit in 1usize..100, top_down: bool,
    ) {
        // Neighbours that differ sharply, in long and short repetitions, slightly above the smallest size for
        // pairs.
        let height = (1 << 18) / width + 1 + extra;
        let mut state = seed | 1;
        let mut pixels = Vec::new();
        for i in 0..width * height {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let quiet = text && (i / width) % 16 < 8;
            let shade = if quiet { i / 7 % 2 } else { (state >> 24) % shades };
            pixels.extend_from_slice(&(shade * 0x00ff_7f3f).to_le_bytes());
        }
        let source = Chunked::new(pixels.clone(), &[pixels.len()]);
        let image = ImageView { format: BitmapFormat::ThirtyTwoBit, width, height, stride: width * 4, top_down, source: &source };
        let (mut data, mut out) = (Vec::new(), Vec::new());
        let mut encoder = Encoder::default();
        encoder.encode(&image, usize::MAX, &mut data).unwrap();
        prop_assert_eq!(decode(&data, width, height, &mut out), Ok((BitmapFormat::ThirtyTwoBit, top_down)));
        prop_assert!(out == pixels);
        // A second image with the same encoder, and one that the encoder gives up in the middle.
        let mut again = vec![9];
        encoder.encode(&image, data.len(), &mut again).unwrap();
        prop_assert!(again[1..] == data[..]);
        again.truncate(1);
        let refused = encoder.encode(&image, data.len() * limit / 100 - 1, &mut again);
        prop_assert_eq!((refused, again), (Err(EncodeError::TooLarge), vec![9]));
    }

    #[test]
    fn random_streams_do_not_panic(mut data in proptest::collection::vec(any::<u8>(), 2..200)) {
        (data[0], data[1]) = (1, 8);
        if let Some(len) = data.len().checked_sub(6) {
            data[2..6].copy_from_slice(&(len as u32).to_be_bytes());
        }
        let _ = decode(&data, 40, 40, &mut Vec::new());
    }
}
