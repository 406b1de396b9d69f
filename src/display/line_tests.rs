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

/// A picture of these two colours: `shape` has a bit for each column of a row, which the rows shift.
fn letters(width: u32, height: u32, shape: u32, [paper, ink]: [u32; 2]) -> Arc<Image> {
    let bit = |x: u32, y: u32| shape.rotate_left(x.wrapping_add(y * 3)) & 1 == 1;
    let row = |y: u32| (0..width).map(move |x| if bit(x, y) && y > 1 { ink } else { paper });
    let pixels: Vec<u8> = (0..height).flat_map(row).flat_map(u32::to_le_bytes).collect();
    let bitmap = Bitmap {
        format: BitmapFormat::ThirtyTwoBit,
        width,
        height,
        stride: width * 4,
        top_down: true,
        unstable: false,
        palette: None,
        pixels: Arc::new(pixels),
    };
    let data = ImageData::Bitmap(bitmap);
    Arc::new(Image { id: 0, cache_me: false, high_bits_set: false, width, height, data })
}

fn sent(rig: &Rig, wanted: u16) -> usize {
    rig.clients[0].1.log.iter().filter(|&&kind| kind == wanted).count()
}

fn copies(rig: &Rig) -> usize {
    sent(rig, server::DRAW_COPY)
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
fn words_of_one_ink_each_go_as_text() {
    const PAPER: u32 = 0x10_1418;
    for left in [0, 1, 8] {
        let mut rig = rig();
        let before = copies(&rig);
        let mut right = left;
        for (shape, ink) in [(0x1234_5678, 0xff_0000), (!0, 0x66_ff66), (0, 3), (0x0f0f_00ff, 0xd0_d0d0)] {
            right = draw(&mut rig, right, letters(8, 11, shape, [PAPER, ink]));
        }
        rig.check();
        assert_eq!((copies(&rig), sent(&rig, server::DRAW_TEXT)), (before, 1));
    }
}

#[test]
fn words_on_other_papers_or_of_several_inks_stay_a_picture() {
    for last in [[9, 3], [3, 9]].map(|colours| letters(8, 11, 0x55, colours)).into_iter().chain([word(
        BitmapFormat::ThirtyTwoBit,
        8,
        11,
        3,
        0,
    )]) {
        let mut rig = rig();
        let before = copies(&rig);
        let mut right = 2;
        for (shape, colours) in [(0x1234_5678, [1, 7]), (0xffff, [1, 8])] {
            right = draw(&mut rig, right, letters(8, 11, shape, colours));
        }
        draw(&mut rig, right, last);
        rig.check();
        assert_eq!((copies(&rig), sent(&rig, server::DRAW_TEXT)), (before + 1, 0));
    }
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

    /// Whatever text a line has, the client has the pixels of the server.
    #[test]
    fn text_looks_like_its_words(
        left in 0..9i32,
        height in 8..14u32,
        words in proptest::collection::vec((any::<u32>(), 1..12u32, 0..5u32, 0..40u32), 1..8),
    ) {
        let mut rig = rig();
        let mut right = left;
        for (shape, width, ink, paper) in words {
            if right + 12 > W as i32 {
                break;
            }
            right = draw(&mut rig, right, letters(width, height, shape, [paper / 39, ink]));
        }
        rig.check();
    }

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
