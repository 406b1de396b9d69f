//! Words that are drawn one by one, and sent as lines.

use super::*;

fn rig() -> Rig {
    let mut rig = Rig::new(DisplaySettings::default());
    rig.remote = true;
    rig.primary();
    rig.attach(1000);
    rig.drain();
    rig
}

/// A picture of so many colours, in a format of so many bytes per pixel.
fn word(format: BitmapFormat, width: u32, height: u32, colours: u32, alpha: u8) -> Arc<Image> {
    let colour = |i: u32| (i * 5 / 3 % colours * 0x01_0b07).to_le_bytes();
    let pixel = |i: u32| match (colour(i), format) {
        ([b, g, r, _], BitmapFormat::TwentyFourBit) => vec![b, g, r],
        ([b, g, r, _], _) => vec![b, g, r, alpha],
    };
    let pixels: Vec<u8> = (0..width * height).flat_map(pixel).collect();
    let bitmap = Bitmap {
        format,
        width,
        height,
        stride: pixels.len() as u32 / height,
        top_down: colours.is_multiple_of(2),
        unstable: false,
        palette: None,
        pixels: Arc::new(pixels),
    };
    let data = ImageData::Bitmap(bitmap);
    Arc::new(Image { id: 0, cache_me: false, high_bits_set: false, width, height, data })
}

fn draw(rig: &mut Rig, left: i32, image: Arc<Image>) -> i32 {
    let bbox = Rect::of_size(image.width, image.height).translate(left, 3);
    let area = Rect::of_size(image.width, image.height);
    rig.draw(0, Effect::Opaque, bbox, Clip::None, copy(image, area));
    bbox.right
}

fn copies(rig: &Rig) -> usize {
    rig.clients[0].1.log.iter().filter(|&&kind| kind == server::DRAW_COPY).count()
}

#[test]
fn words_of_few_colours_go_as_one_message() {
    let mut rig = rig();
    let before = copies(&rig);
    let mut right = 1;
    for colours in 2..6 {
        right = draw(&mut rig, right, word(BitmapFormat::Rgba, 7, 11, colours, 0));
    }
    rig.check();
    assert_eq!(copies(&rig), before + 1);
}

#[test]
fn a_word_of_many_colours_ends_the_line() {
    let mut rig = rig();
    let before = copies(&rig);
    let mut right = 1;
    for colours in [2, 3, 17, 4, 5] {
        right = draw(&mut rig, right, word(BitmapFormat::ThirtyTwoBit, 7, 11, colours, 0));
    }
    rig.check();
    assert_eq!(copies(&rig), before + 3);
}

#[test]
fn gaps_alpha_and_other_codecs_end_the_line() {
    let two = |rig: &mut Rig, gap: i32, alpha: u8| {
        let before = copies(rig);
        let right = draw(rig, 1, word(BitmapFormat::Rgba, 7, 11, 2, 0));
        draw(rig, right + gap, word(BitmapFormat::Rgba, 7, 11, 2, alpha));
        rig.check();
        copies(rig) - before
    };
    let mut rig = rig();
    assert_eq!(two(&mut rig, 0, 0), 1);
    assert_eq!(two(&mut rig, 1, 0), 2);
    assert_eq!(two(&mut rig, 0, 9), 2);
    let mut other =
        Rig::new(DisplaySettings { image_compression: ImageCompression::Quic, ..DisplaySettings::default() });
    other.remote = true;
    other.primary();
    other.attach(1000);
    other.drain();
    assert_eq!(two(&mut other, 0, 0), 2);
}

proptest! {
    #![proptest_config(crate::testing::cases(64))]

    /// Whatever comes between the words and whenever they are sent, the client has the pixels of the server.
    #[test]
    fn lines_look_like_their_words(
        words in proptest::collection::vec((0..3usize, 1..9u32, 1..20u32, 0..12u8, 0..10i32), 1..40),
    ) {
        let mut rig = rig();
        let mut right = 0;
        for (format, width, colours, event, offset) in words {
            let format = [BitmapFormat::ThirtyTwoBit, BitmapFormat::Rgba, BitmapFormat::TwentyFourBit][format];
            match event {
                0 => right = offset,
                1 => rig.turn(),
                2 => rig.draw(0, Effect::Blend, Rect::new(offset, 2, offset + 9, 9), Clip::None, fill(7, Rop::XOR)),
                _ => {}
            }
            if right + 9 > W as i32 {
                right = offset;
            }
            let height = if event == 3 { 12 } else { 11 };
            let alpha = if event == 4 { 0x80 } else { 0 };
            right = draw(&mut rig, right, word(format, width, height, colours, alpha));
        }
        rig.check();
    }
}
