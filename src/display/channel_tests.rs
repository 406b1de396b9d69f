use super::*;
use crate::canvas::Canvas;
use crate::channel::connection::{ChannelConnection, ClientId};
use crate::channel::polled::Polled;
use crate::display::client::DisplayClient;
use crate::display::model::{ModelClient, blank, draw_on, pixels};
use crate::display::settings::{ImageCompression, StreamingVideo, WanCompression};
use crate::draw::{Brush, Clip, Copy, DrawOp, Effect, Fill, Opaque, Rop, ScaleMode, SurfaceDep};
use crate::geometry::Point;
use crate::guest::{ReleaseInfo, ReleaseQueue};
use crate::host::{GlPlane, Readiness};
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, SurfaceFormat};
use crate::net::socket::SocketTransport;
use crate::net::stream::{ChannelStream, Transport};
use crate::protocol::ChannelType;
use crate::protocol::display::server;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

#[path = "compose_tests.rs"]
mod compose;
#[path = "drawing_tests.rs"]
mod drawing;
#[path = "order_tests.rs"]
mod order;
#[path = "remote_tests.rs"]
mod remote_screens;
#[path = "stream_tests.rs"]
mod streams;

const W: u32 = 40;
const H: u32 = 32;

/// A device, its clients, and what the surfaces should look like.
struct Rig {
    channel: Polled<DisplayChannel>,
    clients: Vec<(ClientId, ModelClient)>,
    last_client: u64,
    expect: BTreeMap<u32, Canvas>,
    /// What a host knows that looks at what update_area calls dirty.
    host: BTreeMap<u32, Vec<u8>>,
    queue: Arc<ReleaseQueue>,
    commands: u64,
    released: u64,
    now: Instant,
    lossy: bool,
    video: bool,
    /// Formats of the surfaces by id; the primary one's is fixed.
    formats: [SurfaceFormat; 4],
    /// Clients have all capabilities, every other one that of COMPOSITE.
    capable: bool,
    /// Clients sit on what does not look like a unix socket.
    remote: bool,
    /// Unused bits of surfaces are not compared.
    ignore_unused: bool,
    /// Pixels from which on every other client is sent images in slices.
    slice_pixels: Option<u64>,
}

/// A unix socket that does not look like one, as bytes arrive at once there.
struct Far(SocketTransport);

impl std::io::Read for Far {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl std::io::Write for Far {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl AsFd for Far {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Transport for Far {}

impl Rig {
    fn new(settings: DisplaySettings) -> Self {
        Self {
            channel: Polled::new(DisplayChannel::new(0, 8, settings)),
            clients: Vec::new(),
            last_client: 0,
            expect: BTreeMap::new(),
            host: BTreeMap::new(),
            queue: Arc::default(),
            commands: 0,
            released: 0,
            now: Instant::now(),
            lossy: false,
            video: false,
            formats: [SurfaceFormat::Argb32; 4],
            capable: false,
            remote: false,
            ignore_unused: false,
            slice_pixels: None,
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
        let canvas = Canvas::new(blank(W, H, SurfaceFormat::Xrgb32)).unwrap();
        self.host.insert(0, pixels(&canvas));
        self.expect.insert(0, canvas);
    }

    fn no_primary(&mut self) {
        self.channel.destroy_primary(self.now);
        self.expect.remove(&0);
    }

    /// A surface whose memory shows a pattern if `keep`.
    fn surface(&mut self, id: u32, keep: bool) {
        let format = self.formats[id as usize % 4];
        let make = || {
            let mut s = blank(W, H, format);
            if keep {
                let bytes: Vec<u8> = (0..s.memory.len()).map(|i| (i * 7 + 3) as u8).collect();
                s.memory.write_at(0, &bytes);
            }
            s
        };
        let release = self.token();
        let command = SurfaceCommand::Create { surface_id: id, surface: make(), keep_data: keep, release };
        self.channel.surface_command(command, self.now);
        if !self.expect.contains_key(&id) {
            let canvas = Canvas::new(make()).unwrap();
            self.host.insert(id, pixels(&canvas));
            self.expect.insert(id, canvas);
        }
    }

    fn no_surface(&mut self, id: u32) {
        let release = self.token();
        self.channel.surface_command(SurfaceCommand::Destroy { surface_id: id, release }, self.now);
        self.expect.remove(&id);
    }

    fn draw(&mut self, surface_id: u32, effect: Effect, bbox: Rect, clip: Clip, op: DrawOp) {
        let release = Some(self.token());
        let (mm_time, self_bitmap, mut deps) = (0, None, [None; 3]);
        for (dep, (surface_id, area)) in deps.iter_mut().zip(op.surfaces_read(&bbox)) {
            *dep = Some(SurfaceDep { surface_id, area });
        }
        let drawable = Drawable { surface_id, effect, bbox, clip, mm_time, self_bitmap, deps, op, release };
        let legal = self.expect.contains_key(&surface_id)
            && drawable.op.surfaces_read(&bbox).all(|(id, _)| self.expect.contains_key(&id));
        // What cannot be drawn is not sent: what clients make of it is not ours to say.
        if legal && draw_on(&mut self.expect, &drawable).is_err() {
            return;
        }
        self.channel.draw(Box::new(drawable), self.now);
    }

    /// The area is as it should be afterwards, and what the host is told is dirty is all that has changed.
    fn update(&mut self, id: u32, area: &Rect, clear: bool) -> Vec<Rect> {
        let dirty = self.channel.update_area(id, area, None, clear);
        if let (Some(known), Some(want)) = (self.host.get_mut(&id), self.expect.get(&id)) {
            let memory = self.channel.surfaces.pixels(id);
            let row = |r: &Rect, y: i32| row_of(want, r, y);
            for r in &dirty {
                for y in r.top..r.bottom {
                    known[row(r, y)].copy_from_slice(&memory[row(r, y)]);
                }
            }
            assert!(*known == memory, "surface {id} has changed where it is not dirty");
            let (format, mut memory, mut want) = (want.format(), memory, pixels(want));
            if self.ignore_unused {
                clear_unused(format, &mut memory);
                clear_unused(format, &mut want);
            }
            for y in area.top..area.bottom {
                assert!(
                    memory[row(area, y)] == want[row(area, y)],
                    "surface {id} after update_area, row {y}"
                );
            }
        }
        dirty
    }

    fn attach(&mut self, cache: i64) -> usize {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let socket = SocketTransport::new(ours.into()).unwrap();
        let transport: Box<dyn Transport> =
            if self.remote { Box::new(Far(socket)) } else { Box::new(socket) };
        let stream = ChannelStream::new(transport, true);
        self.last_client += 1;
        let id = ClientId(self.last_client);
        let mut connection = ChannelConnection::detached(stream, ChannelType::Display, id);
        connection.channel_caps.set(cap::MONITORS_CONFIG);
        if self.capable {
            connection.channel_caps.set(cap::A8_SURFACE);
            connection.channel_caps.set(cap::LZ4_COMPRESSION);
            if !self.last_client.is_multiple_of(2) {
                connection.channel_caps.set(cap::COMPOSITE);
            }
        }
        self.channel.attach(ConnectionId(id.0), connection, self.now);
        if let (Some(pixels), true) = (self.slice_pixels, self.last_client % 2 == 1) {
            self.channel.clients.get_mut(ConnectionId(id.0)).unwrap().set_slice_pixels(pixels);
        }
        let mut client = ModelClient::new(theirs);
        client.init(cache);
        self.clients.push((id, client));
        self.turn();
        self.clients.len() - 1
    }

    /// One turn of the worker: sockets, then the channel.
    fn turn(&mut self) {
        for socket in self.channel.sockets() {
            self.channel.on_ready(socket.at, Readiness { read: true, write: true }, self.now);
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
            if read == 0 && self.channel.is_drained() {
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
            let (mut is, mut want) = (self.channel.surfaces.pixels(*id), pixels(canvas));
            if self.ignore_unused {
                clear_unused(canvas.format(), &mut is);
                clear_unused(canvas.format(), &mut want);
            }
            let wrong = first_difference(canvas, &is, &want);
            assert_eq!(wrong, None, "server's surface {id} differs at");
        }
        for (n, (_, client)) in self.clients.iter().enumerate() {
            assert!(!client.closed, "client {n} was disconnected");
            assert_eq!(client.surfaces.contains_key(&0), self.expect.contains_key(&0), "client {n}");
            for (id, canvas) in &client.surfaces {
                let expect = self.expect.get(id).expect("surface of a client exists");
                let visible = |c: &Canvas| {
                    let mut all = pixels(c);
                    // Codecs do not carry unused bytes, which copies to surfaces with alpha would show.
                    if self.ignore_unused {
                        clear_unused(c.format(), &mut all);
                    } else if *id == 0 || self.lossy {
                        clear_unused(SurfaceFormat::Xrgb32, &mut all);
                    }
                    all
                };
                let wrong = first_difference(canvas, &visible(canvas), &visible(expect));
                assert_eq!(wrong, None, "client {n}'s surface {id} differs at");
            }
        }
    }
}

/// Sets bits of pixels that mean nothing to 0.
fn clear_unused(format: SurfaceFormat, pixels: &mut [u8]) {
    match format {
        SurfaceFormat::Xrgb32 => pixels.chunks_exact_mut(4).for_each(|p| p[3] = 0),
        SurfaceFormat::Rgb555 => pixels.chunks_exact_mut(2).for_each(|p| p[1] &= 0x7f),
        _ => {}
    }
}

/// Where the pixels of a canvas are not what they should be: x, y, and the bytes.
fn first_difference(canvas: &Canvas, is: &[u8], want: &[u8]) -> Option<(usize, usize, Vec<u8>, Vec<u8>)> {
    let bytes = canvas.row_bytes() / W as usize;
    let mut pairs = is.chunks(bytes).zip(want.chunks(bytes)).enumerate();
    let (i, (is, want)) = pairs.find(|(_, (is, want))| is != want)?;
    Some((i % W as usize, i / W as usize, is.to_vec(), want.to_vec()))
}

/// Where the bytes of a row of an area are.
fn row_of(canvas: &Canvas, r: &Rect, y: i32) -> std::ops::Range<usize> {
    let bytes = canvas.row_bytes() / W as usize;
    let start = (y as usize * W as usize + r.left as usize) * bytes;
    start..start + r.width() as usize * bytes
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
            // In pieces of changing shape, which the channel puts together.
            let whole = n[5].is_multiple_of(2);
            for i in 0..n[1] % 16 {
                if !whole {
                    for column in 0..3 {
                        let left = place.left + column * 5;
                        let top = place.top + i32::from(i) % 3;
                        let piece = Rect::new(left, top, left + 5, place.bottom - column);
                        let seed = n[2].wrapping_add(i) as u8;
                        let image = bitmap_image(0, false, piece.width(), piece.height(), seed);
                        let area = Rect::of_size(piece.width(), piece.height());
                        rig.draw(0, Effect::Opaque, piece, Clip::None, copy(image, area));
                    }
                    rig.now += Duration::from_millis(30);
                    if n[3].is_multiple_of(3) {
                        rig.turn();
                    }
                    continue;
                }
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
        3 if n[3].is_multiple_of(2) => {
            // Commands that come twice, at one of two places.
            let place = if n[4].is_multiple_of(4) { Rect::new(3, 3, 9, 9) } else { Rect::new(6, 6, 20, 20) };
            let (effect, rop) = [
                (Effect::RevertOnDup, Rop::XOR),
                (Effect::NopOnDup, Rop::OR),
                (Effect::OpaqueBrush, Rop::PUT),
            ][usize::from(n[1] % 3)];
            let color = 0x1234 << (n[2] % 2);
            for _ in 0..=n[2] / 2 % 3 {
                rig.draw(surface, effect, place, Clip::None, fill(color, rop));
            }
        }
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
        17 if n[5].is_multiple_of(2) => {
            // The guest looks.
            rig.channel.update_area(surface, &bbox, Some(0), false);
            if let Some(canvas) = rig.expect.get(&surface) {
                let pixels_of = |mut all: Vec<u8>| -> Vec<u8> {
                    if rig.ignore_unused {
                        clear_unused(canvas.format(), &mut all);
                    }
                    let rows = (bbox.top..bbox.bottom).map(|y| row_of(canvas, &bbox, y));
                    rows.flat_map(|range| all[range].to_vec()).collect()
                };
                let memory = pixels_of(rig.channel.surfaces.pixels(surface));
                assert!(memory == pixels_of(pixels(canvas)), "surface {surface} as the guest sees it");
            }
        }
        17 => {
            rig.update(surface, &bbox, n[1].is_multiple_of(2));
        }
        18 if rig.clients.len() < 3 => {
            rig.attach(if n[1].is_multiple_of(2) { 100 } else { 100_000 });
        }
        19 if !rig.clients.is_empty() && n[2].is_multiple_of(4) => {
            let (id, _) = rig.clients.remove(usize::from(n[1]) % rig.clients.len());
            rig.channel.detach(id, rig.now);
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
                rig.channel.free_some();
            }
            2 => rig.channel.release_all(),
            3 => {
                rig.channel.clear_surface(surface);
            }
            4..=6 => {
                rig.channel.surfaces.render_piece();
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
    rig.slice_pixels = Some(60);
    rig.primary();
    rig.attach(100);
    for (op, n) in steps {
        step(&mut rig, op, n, lossy);
    }
    finish(rig);
}

/// The end of a run: everybody has the right picture, and everything is given back.
fn finish(mut rig: Rig) {
    let lossy = rig.lossy;
    rig.drain();
    if rig.video {
        // First the last pieces are shown as a frame, then the streams end.
        for _ in 0..3 {
            rig.now += Duration::from_secs(2);
            rig.drain();
        }
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
    rig.channel.detach_all(rig.now);
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
