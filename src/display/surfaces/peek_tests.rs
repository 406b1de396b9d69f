//! Frames that are read without drawing what waits.

use super::super::tests::command;
use super::super::*;
use super::*;
use crate::display::model::blank;
use crate::draw::{Brush, Clip, Drawable, Effect, Fill, ScaleMode};
use crate::image::Image;
use proptest::prelude::*;

const SIDE: u32 = 48;

/// A copy of a picture that is larger than the box by `margin` on each side.
fn copy(bbox: Rect, format: BitmapFormat, margin: u32, top_down: bool, seed: u8) -> DrawOp {
    let (width, height) = (bbox.width() + 2 * margin, bbox.height() + 2 * margin);
    let pixels: Vec<u8> = (0..width * height * 4).map(|i| (i * 13 + i / 97) as u8 ^ seed).collect();
    let pixels = Arc::new(pixels);
    let bitmap =
        Bitmap { format, width, height, stride: width * 4, top_down, unstable: false, palette: None, pixels };
    let data = ImageData::Bitmap(bitmap);
    let src = Arc::new(Image { id: 0, cache_me: false, high_bits_set: false, width, height, data });
    let margin = i32::try_from(margin).expect("small");
    let src_area = Rect::of_size(bbox.width(), bbox.height()).translate(margin, margin);
    DrawOp::Copy(Copy { src, src_area, rop: Rop::PUT, scale_mode: ScaleMode::Nearest, mask: None })
}

fn insert(surfaces: &mut Surfaces, bbox: Rect, clip: Clip, op: DrawOp) {
    insert_as(surfaces, Effect::Opaque, bbox, clip, op);
}

fn insert_as(surfaces: &mut Surfaces, effect: Effect, bbox: Rect, clip: Clip, op: DrawOp) {
    let drawable = Drawable { clip, ..*command(bbox, effect, op) };
    if let Ok(pending) = surfaces.accept(Box::new(drawable)) {
        surfaces.insert(&pending);
    }
}

fn colours(pixels: &AreaPixels) -> Vec<[u8; 3]> {
    let view = pixels.bitmap.view();
    let mut row = vec![0; view.row_bytes()];
    let mut all = Vec::new();
    for y in 0..pixels.bitmap.height {
        view.read_row(y, &mut row);
        all.extend(row.as_chunks::<4>().0.iter().map(|[b, g, r, _]| [*b, *g, *r]));
    }
    all
}

fn screen() -> Surfaces {
    let mut surfaces = Surfaces::new(1);
    surfaces.create(0, blank(SIDE, SIDE, SurfaceFormat::Xrgb32), None).expect("a surface");
    surfaces
}

#[test]
fn copies_stay_pending_and_the_buffer_is_used_again() {
    let mut surfaces = screen();
    let area = Rect::new(0, 0, 40, 40);
    let mut places = Vec::new();
    for seed in 0..3 {
        insert(&mut surfaces, area, Clip::None, copy(area, BitmapFormat::ThirtyTwoBit, 0, true, seed));
        let frame = surfaces.peek(&area).expect("a frame");
        places.extend(frame.bitmap.pixels.as_private().map(<[u8]>::as_ptr));
        assert_eq!(surfaces.pending, 1);
    }
    assert_eq!(surfaces.work(), 3 * 1000, "nothing was drawn");
    assert_eq!((places[1], places[2]), (places[0], places[0]));
    surfaces.forget_frames();
    assert!(surfaces.frames.0.lock().unwrap().is_none());
}

#[test]
fn copies_in_many_rectangles_are_drawn() {
    let mut surfaces = Surfaces::new(1);
    surfaces.create(0, blank(400, 30, SurfaceFormat::Xrgb32), None).expect("a surface");
    for n in 0..30 {
        let bbox = Rect::of_size(400, 1).translate(0, n);
        let clip = (0..MAX_PEEKED as i32 / 29).map(|x| Rect::new(2 * x, 0, 2 * x + 1, 30)).collect();
        insert(
            &mut surfaces,
            bbox,
            Clip::Rects(clip),
            copy(bbox, BitmapFormat::ThirtyTwoBit, 0, true, n as u8),
        );
    }
    assert_eq!(surfaces.pending, 30);
    let area = Rect::of_size(400, 30);
    let first = colours(&surfaces.peek(&area).expect("pixels"));
    assert_eq!(surfaces.pending, 0);
    assert_eq!(first, colours(&surfaces.read(0, &area).expect("pixels")));
}

#[test]
fn copies_that_do_not_cover_each_other_are_drawn_once() {
    let mut surfaces = screen();
    let area = Rect::of_size(SIDE, SIDE);
    for seed in 0..5 {
        let op = copy(area, BitmapFormat::ThirtyTwoBit, 0, true, seed);
        insert_as(&mut surfaces, Effect::Blend, area, Clip::None, op);
    }
    assert_eq!(surfaces.pending, 5, "the effect says that they may show what is below");
    let first = colours(&surfaces.peek(&area).expect("pixels"));
    assert_eq!(surfaces.pending, 0);
    assert_eq!(first, colours(&surfaces.read(0, &area).expect("pixels")));
}

proptest! {
    #![proptest_config(crate::testing::cases(128))]

    /// Whatever waits, a frame shows what is there once it is drawn.
    #[test]
    fn a_frame_shows_what_would_be_drawn(
        commands in proptest::collection::vec((0..40i32, 0..40i32, 1..20u32, 1..20u32, 0..16u8), 1..30),
        (left, top, width, height) in (0..40i32, 0..40i32, 1..40u32, 1..40u32),
    ) {
        let mut surfaces = screen();
        let area = Rect::of_size(width, height).translate(left, top);
        for (n, (left, top, width, height, kind)) in commands.into_iter().enumerate() {
            let bbox = Rect::of_size(width, height).translate(left, top).intersect(&Rect::of_size(SIDE, SIDE));
            let seed = (n as u8).wrapping_mul(37);
            let clip = if kind & 3 == 1 {
                Clip::Rects(Arc::from([Rect::new(0, 0, 20, 48), Rect::new(22, 5, 48, 30)]))
            } else {
                Clip::None
            };
            let op = match kind {
                0 => DrawOp::Invers(None),
                1 => DrawOp::Fill(Fill { brush: Brush::Solid(0x12_3456), rop: Rop::PUT, mask: None }),
                2 => copy(bbox, BitmapFormat::Rgba, 1, n % 2 == 0, seed),
                _ => copy(bbox, BitmapFormat::ThirtyTwoBit, u32::from(kind & 1), n % 2 == 0, seed),
            };
            insert(&mut surfaces, bbox, clip, op);
            if kind == 3 {
                surfaces.render_piece();
            }
            let seen = surfaces.peek(&area).map(|pixels| colours(&pixels));
            if kind == 4 {
                prop_assert_eq!(seen, surfaces.read(0, &area).map(|pixels| colours(&pixels)));
            }
        }
        let seen = surfaces.peek(&area).map(|pixels| colours(&pixels));
        surfaces.render_all();
        prop_assert_eq!(seen, surfaces.read(0, &area).map(|pixels| colours(&pixels)));
    }
}
