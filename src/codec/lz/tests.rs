use super::*;
use crate::codec::EncodeError;
use crate::codec::vectors::{self, Chunked, sha256};
use crate::guest::SliceSource;
use proptest::prelude::*;

fn kind_of(vector: &vectors::Vector) -> LzType {
    LzType::try_from(vector.codec_type).unwrap()
}

#[test]
fn streams_equal_the_reference_encoders() {
    let mut encoder = Encoder::default();
    let mut tested = 0;
    for vector in vectors::of("LZ") {
        let Some(raw) = vector.raw() else { continue };
        let kind = kind_of(&vector);
        let source = Chunked::rows(raw, vector.stride, &vector.rows_per_chunk);
        let image = vectors::view(&vector, kind.format(), &source);
        let mut out = vec![0xee];
        if kind == LzType::Xxxa {
            encoder.encode_alpha(&image, usize::MAX, &mut out).unwrap();
        } else {
            encoder.encode(&image, usize::MAX, &mut out).unwrap();
        }
        assert!(out[1..] == vector.encoded(), "{}", vector.name);
        tested += 1;
    }
    assert!(tested > 150);
}

#[test]
fn vectors_decode_to_their_pixels() {
    let mut out = Vec::new();
    for vector in vectors::of("LZ") {
        let header = decode(&vector.encoded(), vector.width, vector.height, &mut out).unwrap();
        assert_eq!(header.kind, kind_of(&vector));
        assert_eq!(header.top_down, vector.top_down);
        if header.kind == LzType::Rgb16 {
            out.as_chunks_mut::<2>().0.iter_mut().for_each(|p| p[1] &= 0x7f);
        }
        assert_eq!(sha256(&out), vector.decoded_sha256, "{}", vector.name);
    }
}

#[test]
fn full_screen_picture_gives_the_reference_stream() {
    let (lz, quic) = (vectors::of("LZ"), vectors::of("QUIC"));
    for vector in lz.iter().filter(|v| v.raw().is_none()) {
        let picture = quic.iter().find(|q| q.decoded_sha256 == vector.decoded_sha256).unwrap();
        let mut pixels = Vec::new();
        let layout = crate::codec::quic::PixelLayout::Bgra32;
        crate::codec::quic::decode(&picture.encoded(), vector.width, vector.height, layout, &mut pixels)
            .unwrap();
        let source = SliceSource(&pixels);
        let image = vectors::view(vector, BitmapFormat::ThirtyTwoBit, &source);
        let mut out = Vec::new();
        Encoder::default().encode(&image, usize::MAX, &mut out).unwrap();
        assert!(out == vector.encoded(), "{}", vector.name);
    }
}

#[test]
fn padded_rows_and_too_long_output_are_refused() {
    let pixels = vec![7u8; 1000];
    let source = SliceSource(&pixels);
    let mut image = ImageView {
        format: BitmapFormat::ThirtyTwoBit,
        width: 10,
        height: 10,
        stride: 44,
        top_down: true,
        source: &source,
    };
    let mut encoder = Encoder::default();
    let mut out = vec![1];
    assert_eq!(encoder.encode(&image, usize::MAX, &mut out), Err(EncodeError::UnsupportedGeometry));
    image.stride = 40;
    encoder.encode(&image, usize::MAX, &mut out).unwrap();
    let exact = out.len() - 1;
    out.truncate(1);
    assert_eq!(encoder.encode(&image, exact - 1, &mut out), Err(EncodeError::TooLarge));
    assert_eq!(encoder.encode_alpha(&image, exact, &mut out), Err(EncodeError::UnsupportedFormat));
    assert_eq!(out, [1]);
    encoder.encode(&image, exact, &mut out).unwrap();
}

#[test]
fn truncated_and_trailing_bytes_are_errors() {
    let vector = vectors::of("LZ").into_iter().find(|v| v.name.starts_with("lz_rgba_text")).unwrap();
    let mut data = vector.encoded();
    let mut out = Vec::new();
    for len in 0..data.len() {
        assert!(decode(&data[..len], vector.width, vector.height, &mut out).is_err(), "{len}");
    }
    data.push(0);
    assert!(decode(&data, vector.width, vector.height, &mut out).is_err());
}

/// Pixels that repeat at several scales, with noise in between.
pub(crate) fn contents() -> impl Strategy<Value = Vec<u8>> {
    let piece = (proptest::collection::vec(any::<u8>(), 1..24), 1usize..60);
    proptest::collection::vec(piece, 1..40)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(bytes, times)| bytes.repeat(times)).collect())
}

pub(crate) fn formats() -> impl Strategy<Value = BitmapFormat> {
    (1u8..=10).prop_map(|f| BitmapFormat::try_from(f).unwrap())
}

proptest! {
    #![proptest_config(crate::testing::cases(300))]

    #[test]
    fn decoded_images_are_the_encoded_ones(
        format in formats(), width in 1u32..600, top_down: bool, bytes in contents(), cut in 0usize..5000,
    ) {
        let stride = format.min_stride(width) as usize;
        let height = bytes.len().div_ceil(stride);
        prop_assume!(height < 32_768);
        let mut pixels = bytes;
        pixels.resize(stride * height, 0x5a);
        if format == BitmapFormat::ThirtyTwoBit {
            pixels.as_chunks_mut::<4>().0.iter_mut().for_each(|p| p[3] = 0);
        }
        if format == BitmapFormat::SixteenBit {
            pixels.as_chunks_mut::<2>().0.iter_mut().for_each(|p| p[1] &= 0x7f);
        }
        let cut = cut.min(pixels.len());
        let source = Chunked::new(pixels.clone(), &[cut, pixels.len() - cut]);
        let (height, stride) = (height as u32, stride as u32);
        let image = ImageView { format, width, height, stride, top_down, source: &source };
        let (mut data, mut out) = (Vec::new(), Vec::new());
        Encoder::default().encode(&image, usize::MAX, &mut data).unwrap();
        let header = decode(&data, width, height, &mut out).unwrap();
        prop_assert_eq!(header.top_down, top_down);
        prop_assert!(out == pixels);
    }

    #[test]
    fn mutated_streams_do_not_panic(bytes in contents(), at in any::<proptest::sample::Index>(), value: u8, kind in 1u32..12) {
        let kind = LzType::try_from(kind).unwrap();
        let width = 40;
        let stride = kind.format().min_stride(width) as u32;
        let height = (bytes.len() as u32 / stride).max(1);
        let source = SliceSource(&bytes);
        let image = ImageView { format: kind.format(), width, height, stride, top_down: true, source: &source };
        let (mut data, mut out) = (Vec::new(), Vec::new());
        Encoder::default().encode(&image, usize::MAX, &mut data).unwrap();
        data[8..12].copy_from_slice(&(kind as u32).to_be_bytes());
        let at = at.index(data.len());
        data[at] = value;
        let _ = decode(&data, width, height, &mut out);
    }
}
