//! The order in which a client is sent commands: small ones overtake large ones, and what is drawn again and again waits.

use super::*;

/// A client that has seen the primary surface, and whose log is empty.
fn rig(slice_pixels: Option<u64>) -> Rig {
    let mut rig = Rig::raw();
    rig.slice_pixels = slice_pixels;
    rig.primary();
    rig.attach(1000);
    rig.drain();
    // The rest after the first picture is over.
    rig.now += Duration::from_secs(1);
    rig.clients[0].1.log.clear();
    rig
}

fn read(rig: &mut Rig) -> Vec<u16> {
    rig.clients[0].1.pump(usize::MAX);
    std::mem::take(&mut rig.clients[0].1.log)
}

fn draw_image(rig: &mut Rig, at: Rect, seed: u8) {
    let image = bitmap_image(0, false, at.width(), at.height(), seed);
    rig.draw(0, Effect::Opaque, at, Clip::None, copy(image, Rect::of_size(at.width(), at.height())));
}

fn draw_fill(rig: &mut Rig, at: Rect, color: u32) {
    rig.draw(0, Effect::Opaque, at, Clip::None, fill(color, Rop::PUT));
}

#[test]
fn a_small_command_overtakes_the_slices_of_a_large_one() {
    let mut rig = rig(Some(100));
    draw_image(&mut rig, Rect::new(0, 0, 40, 20), 1);
    draw_fill(&mut rig, Rect::new(0, 24, 8, 30), 0xff);
    rig.turn();
    let log = read(&mut rig);
    let fill_at = log.iter().position(|&t| t == server::DRAW_FILL).unwrap();
    assert!(fill_at <= 1, "{log:?}");
    assert_eq!(log.len(), 11, "{log:?}");
    rig.check();
}

#[test]
fn a_command_that_depends_on_a_large_one_comes_after_it() {
    let mut rig = rig(Some(100));
    draw_image(&mut rig, Rect::new(0, 0, 40, 20), 1);
    // One draws over it, one copies from it, and one draws where that one reads.
    draw_fill(&mut rig, Rect::new(0, 18, 4, 22), 0xff);
    rig.draw(
        0,
        Effect::Opaque,
        Rect::new(20, 24, 24, 28),
        Clip::None,
        DrawOp::CopyBits(Point { x: 4, y: 16 }),
    );
    draw_fill(&mut rig, Rect::new(4, 16, 6, 24), 0xff00);
    rig.turn();
    let log = read(&mut rig);
    assert_eq!(log[10..], [server::DRAW_FILL, server::COPY_BITS, server::DRAW_FILL], "{log:?}");
    rig.check();
}

#[test]
fn what_covers_a_large_command_ends_its_slices() {
    let mut rig = rig(Some(100));
    draw_image(&mut rig, Rect::new(0, 0, 40, 20), 1);
    rig.channel.clients.each(DisplayClient::begin_slices);
    draw_fill(&mut rig, Rect::new(0, 0, 40, 32), 0xff);
    rig.turn();
    let copies = read(&mut rig).iter().filter(|&&t| t == server::DRAW_COPY).count();
    assert_eq!(copies, 0);
    assert_eq!(rig.held(), 1);
    rig.check();
}

#[test]
fn a_new_place_is_drawn_at_once_and_a_busy_one_at_its_pace() {
    let mut rig = rig(None);
    let now = rig.now;
    rig.channel.clients.each(|client| client.use_up_credit(now));
    let (busy, other) = (Rect::new(0, 0, 10, 10), Rect::new(20, 20, 24, 24));
    draw_fill(&mut rig, busy, 1);
    rig.turn();
    assert_eq!(read(&mut rig), [server::DRAW_FILL]);
    rig.now += Duration::from_millis(1);
    draw_fill(&mut rig, busy, 2);
    draw_image(&mut rig, other, 3);
    rig.turn();
    assert_eq!(read(&mut rig), [server::DRAW_COPY]);
    rig.now += Duration::from_millis(60);
    rig.turn();
    assert_eq!(read(&mut rig), [server::DRAW_FILL]);
    rig.check();
}

#[test]
fn what_answers_a_key_is_sent_at_once() {
    let mut rig = rig(None);
    let place = Rect::new(0, 0, 10, 10);
    draw_fill(&mut rig, place, 1);
    rig.turn();
    assert_eq!(read(&mut rig), [server::DRAW_FILL]);
    rig.channel.links().iter().next().unwrap().1.connection().shared.note_input(rig.now);
    draw_fill(&mut rig, place, 2);
    rig.turn();
    assert_eq!(read(&mut rig), [server::DRAW_FILL]);
    rig.check();
}

#[test]
fn a_surface_that_goes_leaves_nothing_unsent_that_others_were_copied_from() {
    let mut rig = rig(Some(100));
    let area = Rect::new(0, 0, 40, 20);
    rig.surface(1, false);
    rig.draw(1, Effect::Opaque, Rect::new(0, 0, 4, 4), Clip::None, fill(0xff, Rop::PUT));
    rig.drain();
    let image = bitmap_image(0, false, area.width(), area.height(), 1);
    rig.draw(1, Effect::Opaque, area, Clip::None, copy(image, area));
    rig.channel.clients.each(DisplayClient::begin_slices);
    rig.draw(0, Effect::Opaque, area, Clip::None, copy(surface_image(1), area));
    rig.no_surface(1);
    rig.check();
}

#[test]
fn what_draws_much_but_carries_nothing_goes_in_the_same_turn_as_what_follows() {
    let mut rig = Rig::raw();
    rig.primary_of(500, 400);
    rig.attach(1000);
    rig.drain();
    rig.now += Duration::from_secs(1);
    rig.clients[0].1.log.clear();
    let (screen, block) = (Rect::of_size(500, 400), Rect::new(480, 380, 490, 390));
    assert!(screen.area() > crate::limits::MAX_SEND_PER_TURN);
    draw_fill(&mut rig, screen, 1);
    let window = Rect::new(20, 20, 470, 370);
    rig.draw(0, Effect::Opaque, window, Clip::None, DrawOp::CopyBits(Point { x: 10, y: 15 }));
    draw_fill(&mut rig, block, 2);
    rig.turn();
    // In order: nothing is gained by overtaking.
    assert_eq!(read(&mut rig), [server::DRAW_FILL, server::COPY_BITS, server::DRAW_FILL]);
    rig.check();
}
