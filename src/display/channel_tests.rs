//! A display channel with clients whose pictures are compared with the server's. The tests are in the modules.

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
use crate::net::stream::ChannelStream;
use crate::net::transport::Transport;
use crate::protocol::ChannelType;
use crate::protocol::display::server;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

#[path = "area_tests.rs"]
mod areas;
#[path = "client_tests.rs"]
mod clients;
#[path = "compose_tests.rs"]
mod compose;
#[path = "drawing_tests.rs"]
mod drawing;
#[path = "line_tests.rs"]
mod lines;
#[path = "order_tests.rs"]
mod order;
#[path = "random_tests.rs"]
mod random;
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
        self.primary_of(W, H);
    }

    fn primary_of(&mut self, width: u32, height: u32) {
        let make = || blank(width, height, SurfaceFormat::Xrgb32);
        assert!(self.channel.create_primary(make(), false, self.now));
        let canvas = Canvas::new(make()).unwrap();
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
