//! How much of a guest's commands may wait, and how it is drawn in the end.

use super::render::PIECE;
use super::*;
use crate::display::model::blank;
use crate::draw::{Clip, Copy, Drawable, Effect, Fill, Mask, Rop, ScaleMode, Transparent};
use crate::geometry::Point;
use crate::guest::{ReleaseInfo, ReleaseQueue, ReleaseToken};
use crate::image::{Bitmap, BitmapFormat, Image, ImageData};

fn screen(width: u32, height: u32, format: SurfaceFormat) -> Surfaces {
    let mut surfaces = Surfaces::new(8);
    surfaces.create(0, blank(width, height, format), None).unwrap();
    surfaces
}

pub(in crate::display::surfaces) fn command(bbox: Rect, effect: Effect, op: DrawOp) -> Box<Drawable> {
    Box::new(Drawable {
        surface_id: 0,
        effect,
        bbox,
        clip: Clip::None,
        mm_time: 0,
        self_bitmap: None,
        deps: [None; 3],
        op,
        release: None,
    })
}

fn insert(surfaces: &mut Surfaces, command: Box<Drawable>) {
    let pending = surfaces.accept(command).unwrap();
    surfaces.insert(&pending);
}

fn fill(color: u32) -> DrawOp {
    DrawOp::Fill(Fill { brush: crate::draw::Brush::Solid(color), rop: Rop::PUT, mask: None })
}

#[test]
fn a_large_command_is_drawn_in_pieces() {
    let mut surfaces = screen(256, 256, SurfaceFormat::Xrgb32);
    insert(&mut surfaces, command(Rect::of_size(256, 256), Effect::Blend, DrawOp::Invers(None)));
    let mut pieces = 0;
    let mut before = surfaces.work();
    while surfaces.render_piece() {
        assert!(surfaces.work() - before <= 2 * PIECE, "piece {pieces} costs {}", surfaces.work() - before);
        before = surfaces.work();
        pieces += 1;
    }
    assert!(pieces > 60, "{pieces}");
    assert!(surfaces.pixels(0).iter().all(|byte| *byte == 0xff));
    assert_eq!((surfaces.pending, surfaces.pending_cost), (0, 0));
}

#[test]
fn what_covers_a_command_half_drawn_is_seen() {
    let mut surfaces = screen(256, 256, SurfaceFormat::Xrgb32);
    let all = Rect::of_size(256, 256);
    insert(&mut surfaces, command(all, Effect::Blend, DrawOp::Invers(None)));
    assert!(surfaces.render_piece());
    insert(&mut surfaces, command(all, Effect::Opaque, fill(0x12_3456)));
    assert_eq!(surfaces.pending, 1);
    surfaces.render_all();
    assert!(surfaces.pixels(0).as_chunks::<4>().0.iter().all(|p| p[..3] == [0x56, 0x34, 0x12]));
    assert_eq!((surfaces.pending, surfaces.pending_cost), (0, 0));
}

#[test]
fn what_waits_is_bounded_by_what_it_costs() {
    let mut surfaces = screen(2048, 2048, SurfaceFormat::Rgb555);
    let mut most = 0;
    for _ in 0..12 {
        let command = command(Rect::of_size(2048, 2048), Effect::Blend, DrawOp::Invers(None));
        while surfaces.has_excess(surfaces.expected_cost(&command)) {
            assert!(surfaces.render_oldest());
        }
        insert(&mut surfaces, command);
        most = most.max(surfaces.pending_cost);
    }
    assert!(most > MAX_PENDING_COST / 2 && most <= MAX_PENDING_COST);
    assert!(surfaces.pending < 12);
    // Of two that cost more, the second waits until the first is drawn; that one waits for nothing.
    assert!(surfaces.has_excess(MAX_COMMAND_COST));
    surfaces.render_all();
    assert!(!surfaces.has_excess(MAX_COMMAND_COST));
}

/// A command that shows rows of a picture from `top` on.
fn picture(side: u32, top: i32) -> Box<Drawable> {
    let stride = side * 4;
    let bitmap = Bitmap {
        format: BitmapFormat::ThirtyTwoBit,
        width: side,
        height: side,
        stride,
        top_down: true,
        unstable: false,
        palette: None,
        pixels: Arc::new(vec![top as u8; (stride * side) as usize]),
    };
    let data = ImageData::Bitmap(bitmap);
    let src =
        Arc::new(Image { id: 1, cache_me: false, high_bits_set: false, width: side, height: side, data });
    let bbox = Rect { top, ..Rect::of_size(side, side) };
    let copy = Copy { src, src_area: bbox, rop: Rop::PUT, scale_mode: ScaleMode::Nearest, mask: None };
    command(bbox, Effect::Opaque, DrawOp::Copy(copy))
}

#[test]
fn pictures_of_which_little_is_visible_are_drawn() {
    let mut surfaces = screen(1024, 1024, SurfaceFormat::Xrgb32);
    let mut most = 0;
    for top in 0..8 {
        insert(&mut surfaces, picture(1024, top));
        most = most.max(surfaces.pending_pictures);
        while surfaces.holds_many_pictures() {
            assert!(surfaces.render_piece());
        }
        assert!(surfaces.pending_pictures <= 8 << 20);
    }
    assert_eq!(most, 12 << 20);
    surfaces.render_all();
    assert_eq!(surfaces.pending_pictures, 0);
    let pixels = surfaces.pixels(0);
    let rows: Vec<u8> = pixels.chunks(4096).map(|row| row[5]).collect();
    assert_eq!(rows[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(rows[8..].iter().all(|row| *row == 7));
}

#[test]
fn pictures_that_a_client_waits_for_and_those_of_small_screens_stay() {
    let mut surfaces = screen(1024, 1024, SurfaceFormat::Xrgb32);
    let waits = surfaces.accept(picture(1024, 0)).unwrap();
    surfaces.insert(&waits);
    insert(&mut surfaces, picture(1024, 1));
    insert(&mut surfaces, picture(1024, 2));
    assert!(!surfaces.holds_many_pictures());
    drop(waits);
    assert!(surfaces.holds_many_pictures());
    let mut surfaces = screen(128, 128, SurfaceFormat::Xrgb32);
    (0..60).for_each(|top| insert(&mut surfaces, picture(128, top)));
    assert!(surfaces.pending == 60 && !surfaces.holds_many_pictures());
}

#[test]
fn commands_that_take_too_long_are_dropped() {
    let mut surfaces = screen(20_000, 20_000, SurfaceFormat::A1);
    let pixels = Arc::new(Vec::new());
    let bitmap = Bitmap {
        format: BitmapFormat::OneBitBe,
        width: 20_000,
        height: 20_000,
        stride: 2500,
        top_down: true,
        unstable: false,
        palette: None,
        pixels,
    };
    let data = ImageData::Bitmap(bitmap);
    let image = Image { id: 1, cache_me: false, high_bits_set: false, width: 20_000, height: 20_000, data };
    let image = Arc::new(image);
    let mask = Mask { inverse: false, origin: Point::default(), image: image.clone() };
    let transparent = |area: Rect| {
        let src = Some(image.clone());
        DrawOp::Transparent(Transparent { src, src_area: area, src_color: 0, true_color: 0 })
    };
    let (whole, small) = (Rect::of_size(20_000, 20_000), Rect::of_size(100, 100));
    for op in [DrawOp::Invers(None), DrawOp::Blackness(Some(mask)), transparent(whole)] {
        assert!(surfaces.accept(command(whole, Effect::Blend, op)).is_err());
    }
    surfaces.accept(command(small, Effect::Blend, transparent(small))).unwrap();
}

/// A command whose release is counted.
fn counted(queue: &Arc<ReleaseQueue>, clip: Clip, op: DrawOp) -> Box<Drawable> {
    let release = ReleaseToken::new(queue.clone(), ReleaseInfo { address: 1, group_id: 0 });
    let drawable = *command(Rect::of_size(64, 64), Effect::Blend, op);
    Box::new(Drawable { clip, release: Some(release), self_bitmap: Some(Rect::of_size(64, 64)), ..drawable })
}

#[test]
fn complicated_regions_count_as_held_memory() {
    let (mut surfaces, queue) = (screen(64, 64, SurfaceFormat::Xrgb32), Arc::default());
    let lines =
        (0..32).flat_map(|n| [Rect::new(2 * n, 0, 2 * n + 1, 64), Rect::new(0, 2 * n, 64, 2 * n + 1)]);
    let pending = surfaces.accept(counted(&queue, Clip::Rects(lines.collect()), fill(1))).unwrap();
    let rects = pending.region.rects().len();
    assert!(
        rects > 1000 && queue.held_bytes() >= 2 * rects * size_of::<Rect>(),
        "{rects}: {}",
        queue.held_bytes()
    );
    drop(pending);
    assert_eq!(queue.held_bytes(), 0);
}

#[test]
fn snapshots_count_as_held_memory() {
    let (mut surfaces, queue) = (screen(64, 64, SurfaceFormat::Xrgb32), Arc::default());
    let transparent = Transparent { src: None, src_area: Rect::of_size(64, 64), src_color: 0, true_color: 0 };
    let pending = surfaces.accept(counted(&queue, Clip::None, DrawOp::Transparent(transparent))).unwrap();
    assert!(queue.held_bytes() >= 64 * 64 * 4);
    drop(pending);
    assert_eq!(queue.held_bytes(), 0);
}

/// Commands of one pixel each over the same columns: what they and one synchronous request cost.
fn work_of(commands: u32) -> u64 {
    let mut surfaces = screen(64, 64, SurfaceFormat::Xrgb32);
    for n in 0..commands {
        let x = i32::try_from(n % 64).unwrap();
        insert(&mut surfaces, command(Rect::new(x, 0, x + 1, 1), Effect::Blend, DrawOp::Invers(None)));
    }
    surfaces.render_area(0, &Rect::of_size(64, 64));
    surfaces.work()
}

#[test]
fn the_cost_of_commands_is_linear_in_their_number() {
    let [once, twice, four] = [work_of(2000), work_of(4000), work_of(8000)];
    assert!(twice <= 2 * once && four <= 4 * once, "{once} {twice} {four}");
}

#[test]
fn what_is_drawn_where_the_host_has_read_is_drawn_at_once() {
    let read = |surfaces: &mut Surfaces, area: &Rect| (0..256).for_each(|_| surfaces.host_reads(0, area));
    let mut surfaces = screen(64, 64, SurfaceFormat::Xrgb32);
    let word = Rect::new(8, 8, 40, 21);
    read(&mut surfaces, &word);
    for (bbox, waits) in [(word, 0), (Rect::new(8, 8, 41, 21), 1)] {
        insert(&mut surfaces, command(bbox, Effect::Opaque, fill(7)));
        assert_eq!(surfaces.pending, waits);
    }
    let mut surfaces = screen(1024, 1024, SurfaceFormat::Xrgb32);
    let all = Rect::of_size(1024, 1024);
    read(&mut surfaces, &all);
    insert(&mut surfaces, command(all, Effect::Opaque, fill(7)));
    assert_eq!(surfaces.pending, 1, "that takes long");
    let mut surfaces = screen(64, 64, SurfaceFormat::Xrgb32);
    read(&mut surfaces, &word);
    insert(&mut surfaces, command(Rect::of_size(64, 64), Effect::Blend, DrawOp::Invers(None)));
    insert(&mut surfaces, command(word, Effect::Blend, DrawOp::Invers(None)));
    assert_eq!(surfaces.pending, 2, "that needs another one");
    let mut surfaces = screen(64, 64, SurfaceFormat::Xrgb32);
    read(&mut surfaces, &word);
    surfaces.host_asks();
    insert(&mut surfaces, command(word, Effect::Opaque, fill(7)));
    assert_eq!(surfaces.pending, 1, "the host would see that in the rectangles");
}
