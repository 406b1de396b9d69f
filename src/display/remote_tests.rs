//! GL scanouts at model clients that cannot show them.

use super::*;
use crate::display::gl::source_tests::{memory, scanout};
use std::fs::File;
use std::os::unix::fs::FileExt;

const SIDE: u32 = 300;
const SCREEN: Rect = Rect::new(0, 0, SIDE as i32, SIDE as i32);

/// A screen in memory that stands for a dmabuf.
struct Screen(File);

impl Screen {
    fn new(value: u8) -> Self {
        Self(memory(&vec![value; (SIDE * SIDE * 4) as usize]))
    }

    fn paint(&self, area: Rect, value: u8) {
        for y in area.top..area.bottom {
            let at = (y as u64 * u64::from(SIDE) + area.left as u64) * 4;
            self.0.write_all_at(&vec![value; area.width() as usize * 4], at).unwrap();
        }
    }

    fn scanout(&self) -> GlScanout {
        scanout(&self.0, SIDE, SIDE)
    }

    fn pixels(&self) -> Vec<u8> {
        let mut all = vec![0; (SIDE * SIDE * 4) as usize];
        self.0.read_exact_at(&mut all, 0).unwrap();
        clear_unused(SurfaceFormat::Xrgb32, &mut all);
        all
    }
}

fn rig() -> Rig {
    let mut rig = Rig::new(DisplaySettings { streaming: StreamingVideo::All, ..DisplaySettings::default() });
    rig.remote = true;
    rig
}

/// What a client sees. `None`: nothing.
fn seen(rig: &Rig, client: usize) -> Option<Vec<u8>> {
    let mut all = pixels(rig.clients[client].1.surfaces.get(&0)?);
    clear_unused(SurfaceFormat::Xrgb32, &mut all);
    Some(all)
}

fn change(rig: &mut Rig, screen: &Screen, area: Rect, value: u8) {
    screen.paint(area, value);
    assert!(!rig.channel.gl_draw(area, 1, rig.now), "nobody is waited for");
    rig.now += Duration::from_millis(33);
    rig.drain();
}

#[test]
fn a_remote_client_sees_the_scanout_though_the_guest_draws_nothing() {
    let mut rig = rig();
    let screen = Screen::new(7);
    rig.channel.set_scanout(screen.scanout(), rig.now);
    let before = rig.now;
    rig.attach(1000);
    rig.drain();
    assert!(rig.now < before + Duration::from_millis(100));
    assert_eq!(seen(&rig, 0), Some(screen.pixels()));
    assert!(rig.clients[0].1.marked);
    assert_eq!(rig.channel.primary_size(), None, "the guest knows of none");
    // So does one that comes later, and one that was there before.
    change(&mut rig, &screen, Rect::new(5, 6, 70, 200), 99);
    rig.attach(1000);
    rig.drain();
    assert_eq!((seen(&rig, 0), seen(&rig, 1)), (Some(screen.pixels()), Some(screen.pixels())));
}

#[test]
fn a_changed_line_costs_little() {
    let mut rig = rig();
    rig.attach(1000);
    let screen = Screen::new(7);
    rig.channel.set_scanout(screen.scanout(), rig.now);
    rig.drain();
    assert_eq!(seen(&rig, 0), Some(screen.pixels()));
    let before = rig.clients[0].1.log.len();
    change(&mut rig, &screen, SCREEN, 7);
    assert_eq!(rig.clients[0].1.log.len(), before, "nothing has changed");
    screen.paint(Rect::new(0, 100, SIDE as i32, 101), 200);
    rig.channel.gl_draw(SCREEN, 1, rig.now);
    rig.now += Duration::from_millis(33);
    rig.drain();
    assert_eq!(seen(&rig, 0), Some(screen.pixels()));
    assert_eq!(rig.clients[0].1.log[before..], [server::DRAW_COPY], "one small image");
}

#[test]
fn video_in_a_scanout_is_a_stream_and_ends_with_the_true_picture() {
    let mut rig = rig();
    rig.attach(1000);
    let screens = [Screen::new(7), Screen::new(7)];
    let video = Rect::new(30, 40, 250, 220);
    for n in 0..60usize {
        // Guests show one buffer and draw the next.
        let screen = &screens[n % 2];
        screen.paint(video, n as u8);
        rig.channel.set_scanout(screen.scanout(), rig.now);
        change(&mut rig, screen, video, n as u8);
    }
    let log = &rig.clients[0].1.log;
    let count = |what: u16| log.iter().filter(|&&logged| logged == what).count();
    assert_eq!(count(server::STREAM_CREATE), 1);
    assert_eq!(count(server::SURFACE_CREATE), 1, "the same surface all the time");
    assert!(count(server::STREAM_DATA) > 25, "{}", count(server::STREAM_DATA));
    rig.now += Duration::from_millis(250);
    rig.drain();
    assert_eq!(seen(&rig, 0), Some(screens[1].pixels()));
}

#[test]
fn large_frames_come_from_the_pool() {
    let mut rig = rig();
    rig.attach(1000);
    let screen = Screen::new(7);
    rig.channel.set_scanout(screen.scanout(), rig.now);
    let frames = |rig: &Rig| rig.clients[0].1.log.iter().filter(|&&m| m == server::STREAM_DATA).count();
    let end = Instant::now() + Duration::from_secs(60);
    for n in 0.. {
        if frames(&rig) >= 10 {
            break;
        }
        assert!(Instant::now() < end, "{} frames", frames(&rig));
        change(&mut rig, &screen, SCREEN, n as u8);
        // The pool has a time of its own.
        std::thread::sleep(Duration::from_millis(1));
    }
    rig.now += Duration::from_millis(250);
    rig.drain();
    assert_eq!(seen(&rig, 0), Some(screen.pixels()));
}

#[test]
fn the_screen_comes_and_goes_with_scanout_and_primary_surface() {
    let mut rig = rig();
    rig.attach(1000);
    let screen = Screen::new(3);
    rig.channel.set_scanout(screen.scanout(), rig.now);
    rig.drain();
    assert_eq!(seen(&rig, 0), Some(screen.pixels()));
    rig.channel.set_scanout(GlScanout::default(), rig.now);
    rig.drain();
    assert_eq!(seen(&rig, 0), None);
    rig.channel.set_scanout(screen.scanout(), rig.now);
    rig.drain();
    // The guest's own screen takes its place.
    rig.primary();
    rig.check();
    rig.no_primary();
    rig.drain();
    assert_eq!(seen(&rig, 0), Some(screen.pixels()));
    rig.channel.destroy_all_surfaces(rig.now);
    rig.drain();
    assert_eq!(seen(&rig, 0), Some(screen.pixels()));
    // Nobody looks: nothing is kept.
    let id = rig.clients[0].0;
    rig.channel.detach(id, rig.now);
    rig.turn();
    assert!(rig.channel.remote.is_none() && rig.channel.surfaces.ids().is_empty());
}

#[test]
fn scanouts_that_cannot_be_read_end_remote_clients_alone() {
    for (change, why) in [
        ((|s| s.modifier = 5) as fn(&mut GlScanout), "tiles"),
        (|s| s.planes[0].offset = 1, "memory"),
        (|s| s.planes[0].stride = 8, "stride"),
    ] {
        let mut rig = rig();
        rig.attach(1000);
        let mut scanout = Screen::new(1).scanout();
        change(&mut scanout);
        rig.channel.set_scanout(scanout, rig.now);
        rig.turn();
        assert!(rig.channel.clients.is_empty(), "{why}");
        assert!(!rig.channel.gl_draw(SCREEN, 1, rig.now), "the cookie is done");
    }
}

#[test]
fn impossible_scanouts_are_none_and_their_descriptors_are_closed() {
    for (width, height) in [(0, 8), (8, 0), (u32::MAX, 8), (16_384, 16_384)] {
        let mut rig = rig();
        rig.attach(1000);
        let (reader, writer) = std::io::pipe().unwrap();
        let planes = vec![GlPlane { fd: writer.into(), offset: 0, stride: 4 }];
        rig.channel.set_scanout(GlScanout { planes, width, height, ..GlScanout::default() }, rig.now);
        rig.drain();
        assert_eq!(rig.channel.clients.len(), 1);
        let mut rest = Vec::new();
        assert_eq!(std::io::Read::read_to_end(&mut { reader }, &mut rest).unwrap(), 0, "closed");
        assert!(!rig.channel.gl_draw(SCREEN, 1, rig.now), "the cookie is done");
    }
}

#[test]
fn local_clients_show_the_scanout_themselves_beside_remote_ones() {
    let mut rig = rig();
    rig.attach(1000);
    let screen = Screen::new(9);
    rig.channel.set_scanout(screen.scanout(), rig.now);
    rig.drain();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stream = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
    let mut connection = ChannelConnection::detached(stream, ChannelType::Display, ClientId(77));
    connection.channel_caps.set(cap::GL_SCANOUT);
    rig.channel.attach(ConnectionId(77), connection, rig.now);
    let mut wire = theirs.try_clone().unwrap();
    ModelClient::new(theirs).init(1000);
    rig.turn();
    screen.paint(SCREEN, 50);
    assert!(rig.channel.gl_draw(SCREEN, 8, rig.now), "the local client is asked");
    rig.now += Duration::from_millis(33);
    rig.turn();
    assert_eq!(rig.channel.take_async_completions(rig.now), [8], "but not for long");
    rig.drain();
    assert_eq!(seen(&rig, 0), Some(screen.pixels()));
    rig.channel.detach(ClientId(77), rig.now);
    // It was told of no surface.
    let types = message_types(&mut wire);
    assert!(
        types.contains(&server::GL_SCANOUT_UNIX) && !types.contains(&server::SURFACE_CREATE),
        "{types:?}"
    );
}

/// The types of the messages on a wire, whose other end is closed.
fn message_types(wire: &mut UnixStream) -> Vec<u16> {
    let mut bytes = Vec::new();
    wire.set_nonblocking(false).unwrap();
    std::io::Read::read_to_end(wire, &mut bytes).unwrap();
    let (mut types, mut rest) = (Vec::new(), &bytes[..]);
    while let [a, b, s0, s1, s2, s3, after @ ..] = rest {
        let (kind, size) = (u16::from_le_bytes([*a, *b]), u32::from_le_bytes([*s0, *s1, *s2, *s3]));
        types.push(kind);
        // The byte with the descriptor comes behind its message.
        rest = &after[size as usize + usize::from(kind == server::GL_SCANOUT_UNIX)..];
    }
    types
}
