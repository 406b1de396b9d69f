//! Pictures that clients are sent in another form.

use super::*;

/// Image type of a copy to a surface with 32 bits per pixel, and what follows the descriptor.
fn on_screen(c: &mut Client, src: &Arc<Image>) -> (u8, Vec<u8>) {
    let serials = Serials { last: c.serial, mini_header: c.mini };
    let command = Drawable { bbox: Rect::of_size(src.width, src.height), ..copy(src.clone()) };
    let sent = c.encode(serials, &command, &One(SurfaceFormat::Xrgb32)).unwrap();
    c.serial += sent.len() as u64;
    let body = sent[0].message.body.to_vec();
    (body[57 + 8], body[57 + 18..].to_vec())
}

#[test]
fn clients_that_ask_for_no_compression_get_32_bits() {
    let palette = image(1, false, bitmap(BitmapFormat::EightBit, 64));
    let mut c = Client::new(&ClientShared::default(), 0, 0, off());
    let (kind, data) = on_screen(&mut c, &palette);
    assert_eq!((kind, data[0]), (0, BitmapFormat::EightBit as u8));
    assert!(c.encoder.set_preferred_compression(ImageCompression::Off as u8));
    let (kind, data) = on_screen(&mut c, &palette);
    assert_eq!((kind, data[0]), (0, BitmapFormat::ThirtyTwoBit as u8));
}

#[test]
fn small_pictures_of_few_colours_go_as_indexes() {
    let mut c = Client::new(&ClientShared::default(), 0, 0, with(ImageCompression::AutoGlz));
    let mut text = bitmap(BitmapFormat::ThirtyTwoBit, 64);
    let white = |i: u32| if i * i / 7 % 5 < 2 { 0xff } else { 0 };
    text.pixels = Arc::new((0..64 * 64).flat_map(|i| [white(i), white(i), white(i), 0]).collect::<Vec<u8>>());
    let text = image(1, false, text);
    let (kind, data) = on_screen(&mut c, &text);
    assert!(kind == 100 || kind == 0, "{kind}");
    assert!(data.len() < 64 * 64 / 8 + 64, "{} bytes", data.len());
    // Where colours could be taken for something else, and where a client asks for another codec, they stay.
    assert_eq!(coded(&mut c, &text).0, 102);
    assert!(c.encoder.set_preferred_compression(ImageCompression::Glz as u8));
    assert_eq!(on_screen(&mut c, &text).0, 102);
}

#[test]
fn a_host_that_wants_lz4_gets_small_pictures_of_few_colours_as_indexes() {
    let mut c = Client::new(&ClientShared::default(), 0, 0, with(ImageCompression::Lz4));
    c.encoder.settings.lz4 = true;
    let few = |side| image(1, false, bitmap(BitmapFormat::ThirtyTwoBit, side));
    assert_eq!(on_screen(&mut c, &few(64)).0, 100);
    assert_eq!(on_screen(&mut c, &few(256)).0, 109);
    assert!(c.encoder.set_preferred_compression(ImageCompression::Lz4 as u8));
    assert_eq!(on_screen(&mut c, &few(64)).0, 109);
}

/// They draw LZ and raw pixels of 32 bits only, as spice-html5 does.
#[test]
fn clients_without_a_glz_window_get_no_indexes() {
    let init =
        DisplayInit { pixmap_cache_id: 1, pixmap_cache_size: 0, glz_dictionary_id: 0, glz_window_size: 0 };
    let mut c = Client::new(&ClientShared::default(), 0, 0, with(ImageCompression::AutoGlz));
    c.encoder = ImageEncoder::new(0, with(ImageCompression::AutoGlz));
    c.encoder.init(&ClientShared::default(), &init).unwrap();
    let mut text = bitmap(BitmapFormat::ThirtyTwoBit, 64);
    text.pixels = Arc::new((0..64 * 64).flat_map(|i| [(i / 9 % 2) as u8; 4]).collect::<Vec<u8>>());
    assert_eq!(on_screen(&mut c, &image(1, false, text)).0, 101);
    assert!(!c.encoder.joins_lines(0, &One(SurfaceFormat::Xrgb32)));
}

/// Text of X programs, whose pictures have an alpha channel that nobody set.
#[test]
fn pictures_whose_alpha_is_zero_go_as_indexes_where_alpha_is_lost() {
    let text = |alpha: u8, cache_me: bool, side: u32| {
        let mut b = bitmap(BitmapFormat::Rgba, side);
        let pixel = |i: u32| if i * i / 7 % 5 < 2 { [0xff, 0xff, 0xff, alpha] } else { [0, 0, 0, alpha] };
        b.pixels = Arc::new((0..side * side).flat_map(pixel).collect::<Vec<u8>>());
        image(u64::from(alpha) << 32 | u64::from(side), cache_me, b)
    };
    let mut c = Client::new(&ClientShared::default(), 0, 5000, with(ImageCompression::AutoGlz));
    let is_indexed = |kind: u8| kind == 100 || kind == 0;
    assert!(is_indexed(on_screen(&mut c, &text(0, false, 64)).0));
    // It cannot be taken from the cache: another command could need the alpha.
    for _ in 0..2 {
        assert!(is_indexed(on_screen(&mut c, &text(0, true, 64)).0));
    }
    // A character can.
    assert_eq!(on_screen(&mut c, &text(0, true, 8)).0, 102);
    assert_eq!(on_screen(&mut c, &text(0, true, 8)).0, 103);
    assert_eq!(on_screen(&mut c, &text(9, false, 64)).0, 102);
    // The surface keeps alpha.
    assert_eq!(coded(&mut c, &text(0, false, 64)).0, 102);
    assert!(c.encoder.set_preferred_compression(ImageCompression::Glz as u8));
    assert_eq!(on_screen(&mut c, &text(0, false, 64)).0, 102);
}
