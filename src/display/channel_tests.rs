use super::*;
use crate::canvas::Canvas;
use crate::display::model::{ModelClient, blank, draw_on, pixels};
use crate::draw::{Brush, Clip, Copy, DrawOp, Effect, Fill, Opaque, Rop, ScaleMode};
use crate::geometry::Point;
use crate::guest::{ReleaseInfo, ReleaseQueue};
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, SurfaceFormat};
use crate::net::socket::SocketTransport;
use crate::net::stream::ChannelStream;
use crate::protocol::ChannelType;
use crate::protocol::display::server;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

const W: u32 = 40;
const H: u32 = 32;

/// A device, its clients, and what the surfaces should look like.
struct Rig {
    channel: DisplayChannel,
    clients: Vec<(ClientId, ModelClient)>,
    last_client: u64,
    expect: BTreeMap<u32, Canvas>,
    queue: Arc<ReleaseQueue>,
    commands: u64,
    released: u64,
    now: Instant,
    lossy: bool,
    video: bool,
}

impl Rig {
    fn new(settings: DisplaySettings) -> Self {
        Self {
            channel: DisplayChannel::new(0, 8, settings),
            clients: Vec::new(),
            last_client: 0,
            expect: BTreeMap::new(),
            queue: Arc::default(),
            commands: 0,
            released: 0,
            now: Instant::now(),
            lossy: false,
            video: false,
        }
    }

    fn raw() -> Self {
        Self::new(DisplaySettings { image_compression: ImageCompression::Off, ..DisplaySettings::default() })
    }

    fn token(&mut self) -> ReleaseToken {
        self.commands += 1;
        ReleaseToken::new(self.queue.clone(), ReleaseInfo { address: self.commands, group_id: 0 })
    }

    fn held(&mut self) -> u64 {
        self.released += self.queue.take().len() as u64;
        self.commands - self.released
    }

    fn primary(&mut self) {
        assert!(self.channel.create_primary(blank(W, H, SurfaceFormat::Xrgb32), false, self.now));
        self.expect.insert(0, Canvas::new(blank(W, H, SurfaceFormat::Xrgb32)).unwrap());
    }

    fn no_primary(&mut self) {
        self.channel.destroy_primary(self.now);
        self.expect.remove(&0);
    }

    /// A surface whose memory shows a pattern if `keep`.
    fn surface(&mut self, id: u32, keep: bool) {
        let make = || {
            let mut s = blank(W, H, SurfaceFormat::Argb32);
            if keep {
                let bytes: Vec<u8> = (0..s.memory.len()).map(|i| (i * 7 + 3) as u8).collect();
                s.memory.write_at(0, &bytes);
            }
            s
        };
        let release = self.token();
        let command = SurfaceCommand::Create { surface_id: id, surface: make(), keep_data: keep, release };
        self.channel.surface_command(command, self.now);
        self.expect.entry(id).or_insert_with(|| Canvas::new(make()).unwrap());
    }

    fn no_surface(&mut self, id: u32) {
        let release = self.token();
        self.channel.surface_command(SurfaceCommand::Destroy { surface_id: id, release }, self.now);
        self.expect.remove(&id);
    }

    fn draw(&mut self, surface_id: u32, effect: Effect, bbox: Rect, clip: Clip, op: DrawOp) {
        let release = Some(self.token());
        let (mm_time, self_bitmap, deps) = (0, None, [None; 3]);
        let drawable = Drawable { surface_id, effect, bbox, clip, mm_time, self_bitmap, deps, op, release };
        let legal = self.expect.contains_key(&surface_id)
            && super::super::queued::surface_arguments(&drawable.op, &bbox)
                .iter()
                .all(|(id, _)| self.expect.contains_key(id));
        if legal {
            draw_on(&mut self.expect, &drawable);
        }
        self.channel.draw(Box::new(drawable), self.now);
    }

    fn attach(&mut self, cache: i64) -> usize {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
        self.last_client += 1;
        let id = ClientId(self.last_client);
        let mut connection = ChannelConnection::detached(stream, ChannelType::Display, id);
        connection.channel_caps.set(cap::MONITORS_CONFIG);
        self.channel.attach(connection, self.now);
        let mut client = ModelClient::new(theirs);
        client.init(cache);
        self.clients.push((id, client));
        self.turn();
        self.clients.len() - 1
    }

    /// One turn of the worker: sockets, then the channel.
    fn turn(&mut self) {
        for entry in self.channel.clients() {
            self.channel.on_ready(entry.key, Readiness { read: true, write: true }, self.now);
        }
        self.channel.on_timer(self.now);
        self.channel.push(self.now);
    }

    /// Until nobody has anything to say.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            self.now += Duration::from_millis(5);
            self.turn();
            let read: usize = self.clients.iter_mut().map(|(_, c)| c.pump(usize::MAX)).sum();
            if read == 0 && self.channel.pipes_empty() {
                return;
            }
        }
        panic!("never drained");
    }

    /// The server's surfaces are as they should be, and the clients' equal them.
    fn check(&mut self) {
        self.drain();
        self.channel.render_all();
        assert_eq!(self.channel.surfaces.ids(), self.expect.keys().copied().collect::<Vec<_>>());
        for (id, canvas) in &self.expect {
            assert!(self.channel.surfaces.pixels(*id) == pixels(canvas), "server's surface {id}");
        }
        for (n, (_, client)) in self.clients.iter().enumerate() {
            assert!(!client.closed, "client {n} was disconnected");
            assert_eq!(client.surfaces.contains_key(&0), self.expect.contains_key(&0), "client {n}");
            for (id, canvas) in &client.surfaces {
                let expect = self.expect.get(id).expect("surface of a client exists");
                let visible = |c: &Canvas| {
                    let mut all = pixels(c);
                    // Codecs do not carry unused bytes, which copies to surfaces with alpha would show.
                    if *id == 0 || self.lossy {
                        all.chunks_exact_mut(4).for_each(|p| p[3] = 0);
                    }
                    all
                };
                let (is, want) = (visible(canvas), visible(expect));
                let wrong = (0..is.len())
                    .find(|&i| is[i] != want[i])
                    .map(|i| (i / 4 % W as usize, i / 4 / W as usize));
                assert_eq!(wrong, None, "client {n}'s surface {id} differs at");
            }
        }
    }
}

fn bitmap_image(id: u64, cache_me: bool, width: u32, height: u32, seed: u8) -> Arc<Image> {
    let pixels: Vec<u8> = (0..width * height * 4).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect();
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
    Arc::new(Image { id, cache_me, high_bits_set: false, width, height, data: ImageData::Bitmap(bitmap) })
}

fn surface_image(id: u32) -> Arc<Image> {
    Arc::new(Image {
        id: 0,
        cache_me: false,
        high_bits_set: false,
        width: W,
        height: H,
        data: ImageData::Surface(id),
    })
}

fn copy(src: Arc<Image>, src_area: Rect) -> DrawOp {
    DrawOp::Copy(Copy { src, src_area, rop: Rop::PUT, scale_mode: ScaleMode::Interpolate, mask: None })
}

fn fill(color: u32, rop: Rop) -> DrawOp {
    DrawOp::Fill(Fill { brush: Brush::Solid(color), rop, mask: None })
}

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

#[test]
fn no_init_in_time_ends_the_connection_and_nothing_else() {
    let mut rig = Rig::raw();
    rig.primary();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stream = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
    let connection = ChannelConnection::detached(stream, ChannelType::Display, ClientId(77));
    rig.channel.attach(connection, rig.now);
    rig.clients.push((ClientId(77), ModelClient::new(theirs)));
    rig.turn();
    assert_eq!(rig.channel.client_count(), 1);
    let deadline = rig.channel.next_deadline(rig.now).unwrap();
    rig.now = deadline;
    rig.turn();
    assert_eq!(rig.channel.client_count(), 0);
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
        assert_eq!(rig.channel.client_count(), 1, "{msg_type}");
        rig.clients.remove(0);
        rig.check();
    }
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
    rig.channel.release_all(rig.now);
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
        most = most.max(rig.channel.clients[0].queued());
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

/// One random step, from numbers.
fn step(rig: &mut Rig, op: u8, n: [u16; 6], lossy: bool) {
    let surface = u32::from(n[0] % 4);
    let rect = |a: u16, b: u16| {
        let (x, y) = (i32::from(a % W as u16), i32::from(b % H as u16));
        let (w, h) = (i32::from(a / 64 % 24) + 1, i32::from(b / 64 % 24) + 1);
        Rect::new(x, y, (x + w).min(W as i32), (y + h).min(H as i32))
    };
    let bbox = rect(n[1], n[2]);
    let clip = if n[5].is_multiple_of(5) {
        Clip::Rects([rect(n[3], n[4]), rect(n[4], n[5])].into())
    } else {
        Clip::None
    };
    let color = u32::from(n[3]) << 8 | u32::from(n[4]);
    match op % if rig.video { 32 } else { 24 } {
        24.. => {
            let place =
                if n[0].is_multiple_of(4) { Rect::new(2, 3, 18, 15) } else { Rect::new(10, 8, 30, 28) };
            for i in 0..n[1] % 8 {
                let image = bitmap_image(0, false, place.width(), place.height(), n[2].wrapping_add(i) as u8);
                let area = Rect::of_size(place.width(), place.height());
                rig.draw(0, Effect::Opaque, place, clip.clone(), copy(image, area));
                rig.now += Duration::from_millis(30);
                if n[3].is_multiple_of(3) {
                    rig.turn();
                }
            }
        }
        0..=2 => rig.draw(surface, Effect::Opaque, bbox, clip, fill(color, Rop::PUT)),
        3 | 4 => rig.draw(surface, Effect::Blend, bbox, clip, fill(color, Rop::XOR)),
        5 => rig.draw(surface, Effect::Blend, bbox, clip, DrawOp::Invers(None)),
        6..=8 => {
            let cached = n[4].is_multiple_of(2);
            let kind = n[3] % 6;
            let id = if cached { u64::from(kind) + 1 } else { 0 };
            let (w, h, seed) = if cached {
                (u32::from(kind) + 4, 9, kind as u8)
            } else {
                (bbox.width(), bbox.height(), n[3] as u8)
            };
            let bbox = Rect::new(bbox.left, bbox.top, bbox.left + w as i32, bbox.top + h as i32)
                .intersect(&Rect::of_size(W, H));
            let area = Rect::of_size(bbox.width(), bbox.height());
            rig.draw(surface, Effect::Opaque, bbox, clip, copy(bitmap_image(id, cached, w, h, seed), area));
        }
        9..=11 => {
            let from = rect(n[3], n[4]);
            let bbox = Rect::new(
                bbox.left,
                bbox.top,
                bbox.left + from.width() as i32,
                bbox.top + from.height() as i32,
            )
            .intersect(&Rect::of_size(W, H));
            let effect = if n[5].is_multiple_of(2) { Effect::Opaque } else { Effect::Blend };
            let from = Point { x: from.left, y: from.top };
            rig.draw(surface, effect, bbox, clip, DrawOp::CopyBits(from));
        }
        12..=14 => {
            let from = rect(n[3], n[4]);
            let bbox = Rect::new(
                bbox.left,
                bbox.top,
                bbox.left + from.width() as i32,
                bbox.top + from.height() as i32,
            )
            .intersect(&Rect::of_size(W, H));
            let area = Rect::new(
                from.left,
                from.top,
                from.left + bbox.width() as i32,
                from.top + bbox.height() as i32,
            );
            let source = u32::from(n[5] % 4);
            if source != surface {
                rig.draw(surface, Effect::Opaque, bbox, clip, copy(surface_image(source), area));
            }
        }
        15 if surface != 0 => rig.surface(surface, n[1].is_multiple_of(2)),
        16 if surface != 0 && n[1].is_multiple_of(3) => rig.no_surface(surface),
        17 => {
            rig.channel.update_area(surface, &bbox, None, n[1].is_multiple_of(2));
        }
        18 if rig.clients.len() < 3 => {
            rig.attach(if n[1].is_multiple_of(2) { 100 } else { 100_000 });
        }
        19 if !rig.clients.is_empty() && n[2].is_multiple_of(4) => {
            let (id, _) = rig.clients.remove(usize::from(n[1]) % rig.clients.len());
            rig.channel.detach(id);
        }
        20 => rig.turn(),
        21 => {
            if let Some(i) = usize::from(n[0]).checked_rem(rig.clients.len()) {
                rig.clients[i].1.pump(usize::from(n[1] % 30));
            }
            rig.turn();
        }
        22 => {
            rig.now += Duration::from_millis(u64::from(n[1] % 700));
            if !lossy {
                rig.turn();
            }
        }
        23 => match n[1] % 8 {
            0 => {
                rig.no_primary();
                rig.primary();
            }
            1 => {
                rig.channel.free_some(rig.now);
            }
            2 => rig.channel.release_all(rig.now),
            3 => {
                rig.channel.clear_surface(surface, rig.now);
            }
            _ => {}
        },
        _ => {}
    }
}

fn run(settings: DisplaySettings, steps: Vec<(u8, [u16; 6])>, lossy: bool) {
    let mut rig = Rig::new(settings);
    rig.lossy = lossy;
    rig.video = rig.channel.settings.streaming == StreamingVideo::All;
    rig.primary();
    rig.attach(100);
    for (op, n) in steps {
        step(&mut rig, op, n, lossy);
    }
    rig.drain();
    if rig.video {
        rig.now += Duration::from_secs(2);
        rig.drain();
        for (_, client) in &rig.clients {
            let count = |t: u16| client.log.iter().filter(|&&l| l == t).count();
            let all_gone = count(server::STREAM_DESTROY_ALL) > 0;
            assert!(all_gone || count(server::STREAM_CREATE) == count(server::STREAM_DESTROY));
        }
    }
    // Time for the refinement of lossy areas.
    while lossy && rig.channel.clients.iter().any(|c| c.has_lossy()) {
        rig.now += Duration::from_secs(1);
        rig.drain();
    }
    rig.check();
    drop(std::mem::take(&mut rig.clients));
    rig.channel.detach_all();
    rig.channel.destroy_all_surfaces(rig.now);
    assert_eq!(rig.held(), 0, "every command is released");
}

fn steps(n: usize) -> impl Strategy<Value = Vec<(u8, [u16; 6])>> {
    proptest::collection::vec((any::<u8>(), any::<[u16; 6]>()), 1..n)
}

proptest! {
    #![proptest_config(crate::testing::cases(64))]

    /// Whatever is drawn, whoever attaches when and reads how fast: every client ends with the server's pixels, and those
    /// are what drawing each command at once gives.
    #[test]
    fn clients_end_with_the_pixels_of_the_server(steps in steps(400)) {
        let settings = DisplaySettings { image_compression: ImageCompression::Off, ..DisplaySettings::default() };
        run(settings, steps, false);
    }

    /// The same where images are lossy: in the end everything is refined.
    #[test]
    fn lossy_areas_spoil_nothing_and_are_refined(steps in steps(200)) {
        let settings = DisplaySettings {
            image_compression: ImageCompression::Quic,
            jpeg: WanCompression::Always,
            ..DisplaySettings::default()
        };
        run(settings, steps, true);
    }

    /// The same with areas that become video streams: when they end, the true pixels are there.
    #[test]
    fn streams_leave_nothing_wrong_behind(steps in steps(300)) {
        let settings = DisplaySettings {
            image_compression: ImageCompression::Off,
            streaming: StreamingVideo::All,
            ..DisplaySettings::default()
        };
        run(settings, steps, false);
    }
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
    rig.channel.clients.iter_mut().for_each(DisplayClient::collapse);
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
