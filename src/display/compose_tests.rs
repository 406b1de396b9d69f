//! Videos that are drawn in pieces.

use super::*;

const PLACE: Rect = Rect { left: 4, top: 4, right: 28, bottom: 24 };

fn rig() -> Rig {
    let settings = DisplaySettings { streaming: StreamingVideo::All, ..DisplaySettings::default() };
    let mut rig = Rig::new(DisplaySettings { image_compression: ImageCompression::Off, ..settings });
    rig.primary();
    rig.attach(1000);
    rig.drain();
    rig
}

/// Three columns of a frame, which do not reach the edges in each frame.
fn draw_frame(rig: &mut Rig, n: i32) {
    for column in 0..3 {
        let left = PLACE.left + column * 8;
        let piece =
            Rect::new(left, PLACE.top + (n + column) % 3, left + 8, PLACE.bottom - (n * 2 + column) % 3);
        let image = bitmap_image(0, false, piece.width(), piece.height(), (n * 3 + column) as u8);
        let area = Rect::of_size(piece.width(), piece.height());
        rig.draw(0, Effect::Opaque, piece, Clip::None, copy(image, area));
    }
}

fn play(rig: &mut Rig, frames: std::ops::Range<i32>) {
    for n in frames {
        draw_frame(rig, n);
        let next = rig.now + Duration::from_millis(40);
        while rig.now < next {
            rig.turn();
            for (_, client) in &mut rig.clients {
                client.pump(usize::MAX);
            }
            rig.now += Duration::from_millis(2);
        }
    }
}

/// Until the last frame is composed and the stream is over.
fn settle(rig: &mut Rig) {
    for _ in 0..4 {
        rig.now += Duration::from_secs(1);
        rig.drain();
    }
}

fn count(rig: &Rig, kind: u16) -> usize {
    rig.clients[0].1.log.iter().filter(|&&t| t == kind).count()
}

#[test]
fn a_video_in_pieces_becomes_a_stream_of_whole_frames() {
    let mut rig = rig();
    play(&mut rig, 0..40);
    assert_eq!(count(&rig, server::STREAM_CREATE), 1);
    // One frame of the stream for each of the video, and no pieces beside them.
    let frames = count(&rig, server::STREAM_DATA);
    assert!((25..=30).contains(&frames), "{frames} frames");
    let copies = count(&rig, server::DRAW_COPY);
    play(&mut rig, 40..60);
    assert_eq!(count(&rig, server::DRAW_COPY), copies);
    assert_eq!(count(&rig, server::STREAM_DATA), frames + 20);
    settle(&mut rig);
    rig.check();
    assert_eq!(count(&rig, server::STREAM_DESTROY), 1);
}

#[test]
fn what_is_drawn_over_pieces_that_wait_comes_after_them() {
    let mut rig = rig();
    play(&mut rig, 0..30);
    draw_frame(&mut rig, 30);
    // Over the pieces, and from them to another place.
    rig.draw(0, Effect::Opaque, Rect::new(6, 6, 12, 12), Clip::None, fill(0x12_3456, Rop::PUT));
    let to = Rect::new(30, 26, 36, 30);
    rig.draw(0, Effect::Opaque, to, Clip::None, DrawOp::CopyBits(Point { x: 10, y: 10 }));
    draw_frame(&mut rig, 31);
    settle(&mut rig);
    rig.check();
}

#[test]
fn pieces_are_let_go_with_the_surface_and_with_the_stream() {
    let mut rig = rig();
    play(&mut rig, 0..30);
    draw_frame(&mut rig, 30);
    rig.no_primary();
    rig.primary();
    rig.check();
    play(&mut rig, 0..30);
    draw_frame(&mut rig, 30);
    let ended = rig.channel.streams.clear();
    let now = rig.now;
    rig.channel.end_streams(&ended, now);
    settle(&mut rig);
    rig.check();
}

#[test]
fn a_caret_in_a_place_where_a_video_was_is_drawn_as_itself() {
    let mut rig = rig();
    play(&mut rig, 0..30);
    for n in 0..60u32 {
        let image = bitmap_image(0, false, 2, 4, n as u8);
        rig.draw(0, Effect::Opaque, Rect::new(8, 8, 10, 12), Clip::None, copy(image, Rect::of_size(2, 4)));
        rig.now += Duration::from_millis(60);
        rig.turn();
        rig.drain();
    }
    assert!(rig.channel.composer.area().is_none());
    settle(&mut rig);
    rig.check();
}
