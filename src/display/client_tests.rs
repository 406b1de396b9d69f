//! What clients are told, what they cost, and what becomes of commands.

use super::*;

#[test]
fn attach_sends_what_the_original_sends_in_its_order() {
    let mut rig = Rig::raw();
    rig.primary();
    rig.draw(0, Effect::Opaque, Rect::new(0, 0, 9, 9), Clip::None, fill(0x12_3456, Rop::PUT));
    rig.attach(1000);
    rig.check();
    let log = &rig.clients[0].1.log;
    let expect = [
        3,
        server::INVAL_ALL_PALETTES,
        server::SURFACE_CREATE,
        server::DRAW_COPY,
        server::MONITORS_CONFIG,
        server::MARK,
    ];
    assert_eq!(log[..], expect);
}

#[test]
fn resize_destroys_creates_configures_and_marks() {
    let mut rig = Rig::raw();
    rig.attach(1000);
    rig.drain();
    assert_eq!(rig.clients[0].1.log, [3]);
    rig.primary();
    rig.no_primary();
    rig.primary();
    rig.check();
    let create = [server::SURFACE_CREATE, server::MONITORS_CONFIG, server::MARK];
    assert!(rig.clients[0].1.log.ends_with(&create));
}

#[test]
fn covered_drawable_leaves_the_pipe_and_is_released() {
    let mut rig = Rig::raw();
    rig.primary();
    rig.attach(1000);
    rig.drain();
    let area = Rect::new(2, 2, 20, 20);
    for color in 0..10 {
        rig.draw(0, Effect::Opaque, area, Clip::None, fill(color, Rop::PUT));
    }
    assert_eq!(rig.held(), 1);
    rig.check();
    assert_eq!(rig.clients[0].1.log.iter().filter(|&&t| t == server::DRAW_FILL).count(), 1);
}

#[test]
fn copy_source_stays_drawable_below_an_opaque_cover() {
    let mut rig = Rig::raw();
    rig.primary();
    rig.attach(1000);
    rig.drain();
    let (a, b) = (Rect::new(0, 0, 8, 8), Rect::new(10, 0, 18, 8));
    rig.draw(0, Effect::Opaque, Rect::of_size(W, H), Clip::None, fill(1, Rop::PUT));
    rig.draw(0, Effect::Opaque, a, Clip::None, fill(0xff_ffff, Rop::PUT));
    rig.draw(0, Effect::Opaque, b, Clip::None, DrawOp::CopyBits(Point { x: 0, y: 0 }));
    rig.draw(0, Effect::Opaque, a, Clip::None, fill(0xff, Rop::PUT));
    rig.check();
}

#[test]
fn a_client_that_stops_reading_costs_neither_guest_nor_others() {
    let mut rig = Rig::raw();
    rig.primary();
    rig.attach(1000);
    rig.attach(1000);
    rig.drain();
    for i in 0..5000u32 {
        let x = i32::try_from(i % 30).unwrap();
        rig.draw(0, Effect::Blend, Rect::new(x, x, x + 2, x + 2), Clip::None, fill(i, Rop::XOR));
        if i % 10 == 0 {
            rig.turn();
            rig.clients[1].1.pump(usize::MAX);
            rig.channel.update(0, &Rect::of_size(W, H));
        }
        assert!(rig.held() <= crate::limits::MAX_PIPE_ITEMS as u64 + 50);
    }
    rig.check();
}

/// An image of 18 MB, of which the command draws one pixel.
#[test]
fn a_large_image_is_not_sent_for_a_few_of_its_pixels() {
    let mut rig = Rig::raw();
    rig.primary();
    rig.attach(1000);
    rig.drain();
    let side = 2100;
    assert!(u64::from(side) * u64::from(side) > crate::limits::MAX_IMAGE_PIXELS);
    let image = bitmap_image(0, false, side, side, 5);
    rig.draw(0, Effect::Opaque, Rect::new(3, 3, 4, 4), Clip::None, copy(image, Rect::new(7, 7, 8, 8)));
    rig.check();
    assert!(rig.clients[0].1.longest < 10_000, "{}", rig.clients[0].1.longest);
}

#[test]
fn a_huge_surface_is_shown_to_a_new_client_in_several_images() {
    let mut rig = Rig::raw();
    let pixels = crate::limits::MAX_FULL_IMAGE * 3 / 2;
    let side = u32::try_from(pixels.isqrt()).unwrap();
    rig.primary_of(side, side);
    let all = Rect::of_size(side, side);
    rig.draw(0, Effect::Opaque, all, Clip::None, fill(0x12_3456, Rop::PUT));
    rig.attach(1000);
    rig.check();
    let client = &rig.clients[0].1;
    assert!(client.log.iter().filter(|&&t| t == server::DRAW_COPY).count() > 1);
    let most = usize::try_from(crate::limits::MAX_FULL_IMAGE).unwrap() * 4;
    assert!(client.longest > most / 2 && client.longest < most + 1000, "{}", client.longest);
}

#[test]
fn no_init_in_time_ends_the_connection_and_nothing_else() {
    let mut rig = Rig::raw();
    rig.primary();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stream = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
    let connection = ChannelConnection::detached(stream, ChannelType::Display, ClientId(77));
    rig.channel.attach(ConnectionId(1), connection, rig.now);
    rig.clients.push((ClientId(77), ModelClient::new(theirs)));
    rig.turn();
    assert_eq!(rig.channel.clients.len(), 1);
    let deadline = rig.channel.next_deadline(rig.now).unwrap();
    rig.now = deadline;
    rig.turn();
    assert_eq!(rig.channel.clients.len(), 0);
    rig.clients[0].1.pump(1);
    assert!(rig.clients[0].1.closed);
}

#[test]
fn bad_client_messages_end_that_client() {
    for (msg_type, body) in
        [(101, vec![0; 14]), (102, vec![60; 32]), (104, vec![]), (4, vec![]), (999, vec![])]
    {
        let mut rig = Rig::raw();
        rig.primary();
        rig.attach(1000);
        rig.attach(1000);
        rig.drain();
        rig.clients[0].1.send(msg_type, &body);
        rig.turn();
        assert_eq!(rig.channel.clients.len(), 1, "{msg_type}");
        rig.clients.remove(0);
        rig.check();
    }
}

/// A fault of ours in what is done for all clients, such as queueing a command.
#[test]
fn a_panic_over_one_client_costs_that_client_and_what_waited_for_it() {
    let mut rig = Rig::raw();
    rig.primary();
    for _ in 0..3 {
        rig.attach(1000);
    }
    rig.drain();
    rig.draw(0, Effect::Opaque, Rect::new(0, 0, 4, 4), Clip::None, fill(7, Rop::PUT));
    let mut number = 0;
    rig.channel.clients.each(|_| {
        number += 1;
        assert_ne!(number, 2, "injected");
    });
    assert_eq!((number, rig.channel.clients.len()), (3, 2));
    // The link ends in the same turn.
    rig.turn();
    assert_eq!(rig.channel.sockets().len(), 2);
    let (_, mut victim) = rig.clients.remove(1);
    victim.pump(usize::MAX);
    assert!(victim.closed);
    rig.attach(1000);
    finish(rig);
}

#[test]
fn bad_commands_are_dropped_and_released() {
    let mut rig = Rig::raw();
    rig.primary();
    let fill = || fill(1, Rop::PUT);
    for bbox in [Rect::new(-1, 0, 4, 4), Rect::new(0, 0, 41, 4), Rect::new(5, 5, 5, 9), Rect::new(9, 9, 2, 2)]
    {
        rig.draw(7, Effect::Opaque, Rect::new(0, 0, 4, 4), Clip::None, fill());
        let release = Some(rig.token());
        let drawable = Drawable {
            surface_id: 0,
            effect: Effect::Opaque,
            bbox,
            clip: Clip::None,
            mm_time: 0,
            self_bitmap: None,
            deps: [None; 3],
            op: fill(),
            release,
        };
        rig.channel.draw(Box::new(drawable), rig.now);
    }
    assert_eq!(rig.held(), 0);
}

#[test]
fn stop_and_reset_give_every_command_back() {
    let mut rig = Rig::raw();
    rig.primary();
    rig.surface(1, false);
    rig.attach(1000);
    for i in 0..60 {
        rig.draw(i % 2, Effect::Blend, Rect::new(1, 1, 9, 9), Clip::None, fill(i, Rop::XOR));
    }
    rig.channel.release_all();
    assert_eq!(rig.held(), 1, "only the create command of the surface");
    rig.check();
    rig.draw(1, Effect::Blend, Rect::new(1, 1, 9, 9), Clip::None, fill(5, Rop::XOR));
    rig.channel.destroy_all_surfaces(rig.now);
    rig.expect.clear();
    assert_eq!(rig.held(), 0);
    rig.check();
    let log = &rig.clients[0].1.log;
    assert!(log.ends_with(&[server::INVAL_ALL_PALETTES, server::STREAM_DESTROY_ALL]), "{log:?}");
}

/// What is told without any command adds up too, at a client that takes nothing more but lives.
#[test]
fn pipes_stay_short_without_commands() {
    let mut rig = Rig::raw();
    rig.primary();
    rig.attach(1000);
    rig.drain();
    let mut most = 0;
    for _ in 0..1000 {
        rig.surface(1, false);
        rig.no_surface(1);
        let heads = vec![MonitorHead { width: W, height: H, ..MonitorHead::default() }];
        rig.channel.set_monitors_config(MonitorsConfig { max_allowed: 1, heads }, rig.now);
        most = most.max(rig.channel.clients.iter().next().unwrap().queued());
    }
    assert!(most <= crate::limits::MAX_PIPE_ITEMS + 20, "{most}");
    assert!(rig.held() <= 2);
    rig.check();
}

/// OPAQUE lays its source over the target first: its brush may read that from the target again, so that it has to be
/// drawn in full where something newer covers a part.
#[test]
fn commands_that_read_what_they_draw_are_drawn_in_full() {
    let mut rig = Rig::raw();
    rig.primary();
    let (place, cover) = (Rect::new(4, 4, 20, 20), Rect::new(4, 4, 20, 8));
    let op = DrawOp::Opaque(Opaque {
        src: Some(bitmap_image(0, false, 16, 16, 9)),
        src_area: Rect::of_size(16, 16),
        brush: Brush::Pattern { image: surface_image(0), origin: Point { x: 0, y: 4 } },
        rop: Rop::PUT,
        scale_mode: ScaleMode::Nearest,
        mask: None,
    });
    rig.draw(0, Effect::Blend, place, Clip::None, op);
    rig.draw(0, Effect::Opaque, cover, Clip::None, fill(7, Rop::PUT));
    rig.check();
}

/// Pixels whose source would lie outside of the surface are left alone: if they are stale, that is not over.
#[test]
fn copies_from_beyond_a_surface_do_not_cure_what_they_leave_alone() {
    let all = Rect::of_size(W, H);
    let mut rig = Rig::raw();
    rig.primary();
    rig.surface(1, false);
    rig.attach(1000);
    rig.drain();
    let from_other = copy(surface_image(1), Rect::new(30, 0, 50, 20));
    for (effect, copy) in [
        (Effect::Blend, DrawOp::CopyBits(Point { x: 30, y: 0 })),
        (Effect::Opaque, DrawOp::CopyBits(Point { x: 30, y: 0 })),
        (Effect::Opaque, from_other),
    ] {
        rig.draw(0, Effect::Blend, all, Clip::None, fill(0x12_3456, Rop::XOR));
        rig.channel.clients.each(DisplayClient::collapse);
        rig.draw(0, effect, Rect::new(0, 8, 20, 28), Clip::None, copy);
        rig.check();
    }
}

/// An answer to what was not sent yet is as wrong as one to nothing: else a client that never reads could have its pipe
/// grow by answering.
#[test]
fn early_answers_to_gl_draws_end_that_client() {
    let mut rig = Rig::raw();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stream = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
    let mut connection = ChannelConnection::detached(stream, ChannelType::Display, ClientId(1));
    connection.channel_caps.set(cap::GL_SCANOUT);
    rig.channel.attach(ConnectionId(1), connection, rig.now);
    let mut client = ModelClient::new(theirs);
    client.init(1000);
    rig.turn();
    let planes = vec![GlPlane { fd: std::fs::File::open("/dev/null").unwrap().into(), offset: 0, stride: 4 }];
    let scanout = GlScanout { planes, width: 8, height: 8, drm_fourcc: 0, modifier: 0, y0_top: true };
    rig.channel.set_scanout(scanout, rig.now);
    let mut longest = 0;
    for cookie in 0..1000 {
        rig.channel.gl_draw(Rect::of_size(8, 8), cookie, rig.now);
        client.send(104, &[]);
        rig.turn();
        longest = longest.max(rig.channel.clients.iter().next().map_or(0, DisplayClient::queued));
    }
    assert!(longest < 10, "{longest}");
    assert_eq!(rig.channel.clients.len(), 0);
}

/// Pixels of a guest that nobody can read.
#[derive(Debug)]
struct Broken;

impl crate::guest::ByteSource for Broken {
    fn len(&self) -> usize {
        1 << 20
    }
    fn read_at(&self, _: usize, _: &mut [u8]) {
        panic!("these pixels cannot be read");
    }
}

/// A fault while a command is drawn costs that command, not the surface, also where others are read.
#[test]
fn a_fault_in_drawing_leaves_the_surface_there() {
    let mut rig = Rig::raw();
    rig.primary();
    rig.surface(1, false);
    for dep in [None, Some(SurfaceDep { surface_id: 1, area: Rect::of_size(4, 4) })] {
        let mut image = Arc::unwrap_or_clone(bitmap_image(0, false, 16, 16, 9));
        if let ImageData::Bitmap(bitmap) = &mut image.data {
            bitmap.pixels = Arc::new(Broken);
        }
        let area = Rect::of_size(16, 16);
        let drawable = Drawable {
            surface_id: 0,
            effect: Effect::Opaque,
            bbox: area,
            clip: Clip::None,
            mm_time: 0,
            self_bitmap: None,
            deps: [dep, None, None],
            op: copy(Arc::new(image), area),
            release: None,
        };
        rig.channel.draw(Box::new(drawable), rig.now);
        let fault = std::panic::AssertUnwindSafe(|| rig.channel.render_all());
        assert!(std::panic::catch_unwind(fault).is_err(), "{dep:?}");
        assert_eq!(rig.channel.surfaces.ids(), [0, 1], "{dep:?}");
        rig.draw(0, Effect::Opaque, Rect::new(2, 2, 9, 9), Clip::None, fill(7, Rop::PUT));
        rig.check();
    }
}

/// The original has all drawn that is older than what an area needs, and all that this reads: the host is told of it.
#[test]
fn dirty_is_what_whole_histories_would_draw() {
    let mut rig = Rig::raw();
    rig.primary();
    rig.surface(1, false);
    let (a, b, c) = (Rect::new(0, 0, 4, 4), Rect::new(8, 8, 12, 12), Rect::new(20, 20, 24, 24));
    let read = |from| copy(surface_image(1), from);
    rig.draw(1, Effect::Opaque, a, Clip::None, fill(1, Rop::PUT));
    rig.draw(1, Effect::Opaque, b, Clip::None, fill(2, Rop::PUT));
    rig.draw(1, Effect::Opaque, c, Clip::None, fill(3, Rop::PUT));
    rig.draw(0, Effect::Opaque, c, Clip::None, read(b));
    assert_eq!(rig.update(0, &a, true), []);
    assert_eq!(rig.update(0, &c, true), [c]);
    // Where nothing is drawn: what the copy needed, and what is older.
    assert_eq!(rig.update(1, &Rect::new(30, 0, 40, 8), true), [a, b]);
    assert_eq!(rig.update(1, &c, true), [c]);
    // Who reads a surface counts before anything new is drawn there.
    rig.draw(0, Effect::Opaque, a, Clip::None, read(b));
    rig.draw(1, Effect::Opaque, c, Clip::None, fill(4, Rop::PUT));
    assert_eq!(rig.update(0, &c, true), [a]);
    rig.check();
}

/// What inverts twice is not drawn at all: in the pipes there is neither, or the second one where the first was sent.
#[test]
fn repeated_commands_leave_the_pipes() {
    let mut rig = Rig::raw();
    rig.primary();
    rig.attach(1000);
    rig.drain();
    let place = Rect::new(4, 4, 12, 12);
    let draws = |rig: &Rig| rig.channel.clients.iter().next().unwrap().queued_draws();
    let draw = |rig: &mut Rig, effect, rop| rig.draw(0, effect, place, Clip::None, fill(7, rop));
    draw(&mut rig, Effect::RevertOnDup, Rop::XOR);
    assert_eq!(draws(&rig), 1);
    draw(&mut rig, Effect::RevertOnDup, Rop::XOR);
    assert_eq!((draws(&rig), rig.held()), (0, 0));
    draw(&mut rig, Effect::RevertOnDup, Rop::XOR);
    rig.drain();
    draw(&mut rig, Effect::RevertOnDup, Rop::XOR);
    assert_eq!(draws(&rig), 1);
    rig.drain();
    assert_eq!(rig.held(), 0);
    draw(&mut rig, Effect::NopOnDup, Rop::OR);
    draw(&mut rig, Effect::NopOnDup, Rop::OR);
    assert_eq!(draws(&rig), 1);
    draw(&mut rig, Effect::OpaqueBrush, Rop::PUT);
    draw(&mut rig, Effect::OpaqueBrush, Rop::PUT);
    assert_eq!(draws(&rig), 2);
    rig.check();
}

/// A stream ends while a command over it waits: frames that the client paints late must not hide the command.
#[test]
fn late_frames_of_a_stream_that_is_over_stay_below_later_commands() {
    let settings = DisplaySettings {
        image_compression: ImageCompression::Off,
        streaming: StreamingVideo::All,
        ..DisplaySettings::default()
    };
    let mut rig = Rig::new(settings);
    rig.video = true;
    rig.primary();
    rig.attach(100_000);
    let place = Rect::new(10, 8, 30, 28);
    for i in 0..16 {
        rig.draw(
            0,
            Effect::Opaque,
            place,
            Clip::None,
            copy(bitmap_image(0, false, 20, 20, i), Rect::of_size(20, 20)),
        );
        rig.now += Duration::from_millis(30);
        rig.turn();
    }
    rig.now += Duration::from_millis(500);
    rig.turn();
    rig.draw(0, Effect::Opaque, Rect::new(10, 8, 19, 17), Clip::None, fill(0x12_3456, Rop::PUT));
    rig.now += Duration::from_millis(600);
    rig.turn();
    rig.check();
    let log = &rig.clients[0].1.log;
    assert!(log.contains(&server::STREAM_CREATE) && log.contains(&server::STREAM_DESTROY), "{log:?}");
}

/// What is lossy at the client and about to be destroyed is repaired no more: nothing is left to say, and the turn ends.
#[test]
fn lossy_areas_of_a_destroyed_surface_do_not_hold_up_the_worker() {
    let settings = DisplaySettings {
        image_compression: ImageCompression::Quic,
        jpeg: WanCompression::Always,
        ..DisplaySettings::default()
    };
    let mut rig = Rig::new(settings);
    rig.lossy = true;
    rig.primary();
    rig.attach(100_000);
    rig.surface(1, false);
    let all = Rect::of_size(W, H);
    rig.draw(1, Effect::Opaque, all, Clip::None, copy(bitmap_image(0, false, W, H, 9), all));
    // Sent as an image of the server's: those of commands are raw over a unix socket.
    rig.channel.clients.each(DisplayClient::collapse);
    rig.drain();
    assert!(rig.channel.clients.iter().all(|c| c.has_lossy()));
    // Drawn on our side, still in the client's pipe when the surface goes.
    rig.draw(1, Effect::Blend, all, Clip::None, fill(0x00ff_00ff, Rop::XOR));
    rig.channel.update_area(1, &all, None, false);
    rig.no_surface(1);
    rig.turn();
    rig.check();
    assert!(rig.channel.clients.iter().all(|c| !c.has_more()));
}

#[test]
fn video_becomes_a_stream_and_ends_with_the_true_picture() {
    let settings = DisplaySettings { streaming: StreamingVideo::All, ..DisplaySettings::default() };
    let mut rig = Rig::new(DisplaySettings { image_compression: ImageCompression::Off, ..settings });
    rig.primary();
    rig.attach(1000);
    rig.drain();
    let place = Rect::new(4, 4, 24, 24);
    for i in 0..40 {
        let image = bitmap_image(0, false, 20, 20, i);
        rig.draw(0, Effect::Opaque, place, Clip::None, copy(image, Rect::of_size(20, 20)));
        rig.now += Duration::from_millis(50);
        rig.drain();
    }
    let count = |rig: &Rig, t: u16| rig.clients[0].1.log.iter().filter(|&&l| l == t).count();
    assert_eq!(count(&rig, server::STREAM_CREATE), 1);
    assert_eq!(count(&rig, server::STREAM_DATA), 29);
    assert_eq!(count(&rig, server::STREAM_DESTROY), 0);
    // A late client sees the stream too.
    rig.attach(1000);
    // Something opaque over a part of it.
    rig.draw(0, Effect::Opaque, Rect::new(0, 0, 8, 8), Clip::None, fill(5, Rop::PUT));
    rig.drain();
    assert_eq!(count(&rig, server::STREAM_CLIP), 1);
    rig.now = rig.channel.next_deadline(rig.now).unwrap();
    while count(&rig, server::STREAM_DESTROY) == 0 {
        rig.drain();
        rig.now += Duration::from_millis(100);
    }
    rig.check();
}
