use super::*;
use crate::codec::vectors::{self, sha256};
use crate::guest::SliceSource;
use crate::image::{BitmapFormat, ImageView};
use crate::limits::MAX_GLZ_IMAGES;
use proptest::prelude::*;

fn view<'a>(format: BitmapFormat, width: u32, source: &'a SliceSource<'a>) -> ImageView<'a> {
    let stride = format.min_stride(width) as u32;
    let height = source.0.len() as u32 / stride;
    ImageView { format, width, height, stride, top_down: true, source }
}

/// Clears the bits that a client ignores.
fn visible(kind: LzType, pixels: &mut [u8]) {
    match kind {
        LzType::Rgb16 => pixels.as_chunks_mut::<2>().0.iter_mut().for_each(|p| p[1] &= 0x7f),
        LzType::Rgb32 => pixels.as_chunks_mut::<4>().0.iter_mut().for_each(|p| p[3] = 0),
        _ => {}
    }
}

#[test]
fn vectors_decode_to_their_pixels() {
    let mut decoder = Decoder::default();
    let mut tested = 0;
    for vector in vectors::of("GLZ") {
        if vector.id == 0 {
            decoder = Decoder::default();
        }
        let encoded = vector.encoded();
        if let Some(zlib) = vector.zlib() {
            assert!(zlib::inflate(&zlib, encoded.len()).unwrap() == encoded);
        }
        let mut decoded = decoder.decode(&encoded).unwrap();
        visible(decoded.kind, &mut decoded.pixels);
        assert_eq!(sha256(&decoded.pixels), vector.decoded_sha256, "{} {}", vector.name, vector.id);
        assert_eq!((decoded.id, decoded.win_head_dist), (vector.id, vector.win_head_dist));
        assert_eq!(decoded.top_down, vector.top_down);
        tested += 1;
    }
    assert!(tested > 90);
}

#[test]
fn sequences_are_as_short_as_the_reference_encoders() {
    let (mut decoder, mut dictionary) = (Decoder::default(), Dictionary::new(0));
    let mut sizes: Vec<(String, usize, usize)> = Vec::new();
    for vector in vectors::of("GLZ") {
        if vector.id == 0 {
            (decoder, dictionary) = (Decoder::default(), Dictionary::new(vector.window));
            sizes.push((vector.name.clone(), 0, 0));
        }
        let raw = vector.raw().unwrap();
        let source = SliceSource(&raw);
        let image = vectors::view(&vector, vector.format.unwrap(), &source);
        let mut data = Vec::new();
        dictionary.encode(0, &image, &mut data).unwrap();
        let mut decoded = decoder.decode(&data).unwrap();
        visible(decoded.kind, &mut decoded.pixels);
        assert_eq!(sha256(&decoded.pixels), vector.decoded_sha256, "{} {}", vector.name, vector.id);
        assert_eq!(decoded.win_head_dist, vector.win_head_dist);
        assert!(decoder.units() <= vector.window as usize);
        let last = sizes.last_mut().unwrap();
        last.1 += data.len();
        last.2 += vector.encoded().len();
    }
    for (name, ours, reference) in sizes {
        println!("{name}: {ours} {reference}");
        assert!(ours * 100 <= reference * 101, "{name}: {ours} {reference}");
    }
}

#[test]
fn images_as_large_as_the_window_and_other_formats_are_refused() {
    let pixels = vec![1u8; 400];
    let source = SliceSource(&pixels);
    let dictionary = Dictionary::new(100);
    let mut out = vec![9];
    let image = view(BitmapFormat::ThirtyTwoBit, 10, &source);
    assert_eq!(dictionary.encode(0, &image, &mut out), Err(Refused));
    assert_eq!(dictionary.encode(0, &view(BitmapFormat::EightBitA, 10, &source), &mut out), Err(Refused));
    assert_eq!(Dictionary::new(0).encode(0, &image, &mut out), Err(Refused));
    let dictionary = Dictionary::new(101);
    dictionary.encode(0, &image, &mut out).unwrap();
    assert_eq!(dictionary.freeze(), State { window: 101, next_id: 1 });
    let len = out.len();
    assert_eq!(dictionary.encode(0, &image, &mut out), Err(Refused));
    assert_eq!(out.len(), len);
}

#[test]
fn restored_dictionary_goes_on_with_ids_and_refers_to_nothing_older() {
    let pixels = vec![1u8; 400];
    let source = SliceSource(&pixels);
    let dictionary = Dictionary::restore(State { window: 1000, next_id: 7 });
    let mut out = Vec::new();
    dictionary.encode(0, &view(BitmapFormat::ThirtyTwoBit, 10, &source), &mut out).unwrap();
    assert_eq!(out[21..33], [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0]);
}

#[test]
fn images_of_a_display_that_is_gone_are_not_referred_to() {
    let pixels: Vec<u8> =
        (0..4000u32).flat_map(|i| sha256(&i.to_le_bytes()).as_bytes()[..4].to_vec()).collect();
    let source = SliceSource(&pixels);
    let image = view(BitmapFormat::ThirtyTwoBit, 40, &source);
    let dictionary = Dictionary::new(100_000);
    let size = |channel| {
        let mut out = Vec::new();
        dictionary.encode(channel, &image, &mut out).unwrap();
        out.len()
    };
    let whole = size(1);
    assert!(size(0) < whole / 10);
    let dictionary = Dictionary::new(100_000);
    let size = |channel| {
        let mut out = Vec::new();
        dictionary.encode(channel, &image, &mut out).unwrap();
        out.len()
    };
    size(1);
    dictionary.channel_gone(1);
    assert!(size(0) > whole * 9 / 10);
}

#[test]
fn memory_stays_within_twice_the_window() {
    let dictionary = Dictionary::new(50_000);
    let mut decoder = Decoder::default();
    for i in 0..200u32 {
        let pixels: Vec<u8> = (0..(i * 7919 % 12_000 + 1) * 4).map(|k| (k / 9 + i) as u8).collect();
        let source = SliceSource(&pixels);
        let mut out = Vec::new();
        dictionary.encode(0, &view(BitmapFormat::ThirtyTwoBit, 1, &source), &mut out).unwrap();
        decoder.decode(&out).unwrap();
        assert!(decoder.units() <= 50_000);
        assert!(dictionary.memory() <= 2 * 3 * 50_000 + 2 * 4096 * 200);
    }
}

#[test]
fn the_number_of_images_is_bounded_however_small_they_are() {
    let dictionary = Dictionary::new(1 << 25);
    let mut decoder = Decoder::default();
    for n in 0..MAX_GLZ_IMAGES as u32 + 100 {
        let pixels = n.to_le_bytes();
        let source = SliceSource(&pixels);
        let mut out = Vec::new();
        dictionary.encode(0, &view(BitmapFormat::ThirtyTwoBit, 1, &source), &mut out).unwrap();
        if n % 1000 == 0 || n as usize > MAX_GLZ_IMAGES {
            // The header names the oldest image that is kept.
            assert!(dictionary.count() <= MAX_GLZ_IMAGES);
        }
        decoder.decode(&out).unwrap();
    }
    assert_eq!(dictionary.count(), MAX_GLZ_IMAGES);
}

#[test]
fn displays_on_several_threads_share_one_dictionary() {
    let dictionary = Dictionary::new(60_000);
    let streams: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4u8)
            .map(|channel| {
                let dictionary = &dictionary;
                scope.spawn(move || {
                    (0..30u32)
                        .map(|i| {
                            let pixels: Vec<u8> =
                                (0..8000u32).map(|k| (k * (i % 5 + 1) / 40) as u8).collect();
                            let source = SliceSource(&pixels);
                            let mut out = Vec::new();
                            dictionary
                                .encode(channel, &view(BitmapFormat::Rgba, 20, &source), &mut out)
                                .unwrap();
                            out
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    let mut in_order = streams;
    in_order.sort_by_key(|s| s[21..29].to_vec());
    let mut decoder = Decoder::default();
    for stream in &in_order {
        decoder.decode(stream).unwrap();
    }
}

#[test]
fn zlib_is_used_where_it_shortens() {
    let mut zlib = Zlib::default();
    assert!(zlib.shorten(&[0; 99]).is_none());
    for _ in 0..2 {
        let short = zlib.shorten(&[5; 1000]).unwrap();
        assert_eq!(zlib::inflate(&short, 1000).unwrap(), [5; 1000]);
    }
    let noise: Vec<u8> = (0..40u32).flat_map(|i| openssl::sha::sha256(&i.to_le_bytes())).collect();
    assert!(zlib.shorten(&noise).is_none());
}

proptest! {
    #![proptest_config(crate::testing::cases(150))]

    #[test]
    fn decoded_sequences_are_the_encoded_ones(
        window in 100u32..20_000,
        images in proptest::collection::vec((6u8..10, 1u32..120, crate::codec::lz::tests::contents(), any::<bool>()), 1..12),
    ) {
        let dictionary = Dictionary::new(window);
        let mut decoder = Decoder::default();
        let mut last: Vec<u8> = Vec::new();
        for (format, width, bytes, again) in images {
            let format = BitmapFormat::try_from(format).unwrap();
            let stride = format.min_stride(width) as usize;
            let mut pixels = if again { [&bytes[..bytes.len().min(40)], &last].concat() } else { bytes };
            let height = pixels.len().div_ceil(stride);
            pixels.resize(stride * height, 0x5a);
            prop_assume!(height < 32_768);
            last.clone_from(&pixels);
            let source = SliceSource(&pixels);
            let image = view(format, width, &source);
            let mut data = Vec::new();
            if dictionary.encode(0, &image, &mut data).is_err() {
                prop_assert!(width * height as u32 >= window);
                continue;
            }
            let mut decoded = decoder.decode(&data).unwrap();
            prop_assert!(decoder.units() <= window as usize);
            visible(decoded.kind, &mut decoded.pixels);
            visible(decoded.kind, &mut pixels);
            prop_assert!(decoded.pixels == pixels);
        }
    }

    #[test]
    fn mutated_streams_do_not_panic(bytes in crate::codec::lz::tests::contents(), at in any::<proptest::sample::Index>(), value: u8) {
        let dictionary = Dictionary::new(1 << 20);
        let mut decoder = Decoder::default();
        for _ in 0..2 {
            let mut data = Vec::new();
            let mut pixels = bytes.clone();
            pixels.resize(bytes.len().next_multiple_of(40), 0);
            let source = SliceSource(&pixels);
            dictionary.encode(0, &view(BitmapFormat::Rgba, 10, &source), &mut data).unwrap();
            let mut bad = data.clone();
            let at = at.index(bad.len());
            bad[at] = value;
            if bad == data || decoder.decode(&bad).is_err() {
                let _ = decoder.decode(&data);
            }
        }
    }
}
