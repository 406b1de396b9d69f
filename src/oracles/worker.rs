//! The channels of a worker under a script: client messages, guest commands and time, in any order.
//!
//! Nothing may panic, everything sent must be framed, and when all clients have left, every command must be
//! released.

use super::memory::MemoryPeer;
use crate::channel::connection::{ClientId, ConnectionId};
use crate::channel::polled::Polled;
use crate::codec::video::choice::parse_list;
use crate::display::DisplayChannel;
use crate::display::cursor::CursorChannel;
use crate::display::settings::{DisplaySettings, ImageCompression, StreamingVideo, WanCompression};
use crate::draw::{
    AlphaBlend, Brush, Clip, Composite, Copy, DrawOp, Drawable, Effect, Fill, Mask, Opaque, Rop, ScaleMode,
    Transparent,
};
use crate::geometry::{Point, Point16, Rect};
use crate::guest::{PrivateSurface, ReleaseInfo, ReleaseQueue, ReleaseToken};
use crate::host::{
    CursorCommand, CursorShape, MappedSurface, MonitorHead, MonitorsConfig, Readiness, SurfaceCommand,
};
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, Palette, SurfaceFormat};
use crate::protocol::ChannelType;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of clients at a time.
const MAX_CLIENTS: usize = 3;

/// A fuzzer's choices. After the last one, all are zero.
#[derive(Debug)]
pub struct Script<'a>(pub &'a [u8]);

impl Script<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Up to `count` bytes.
    pub fn take(&mut self, count: usize) -> &[u8] {
        let (head, tail) = self.0.split_at(count.min(self.0.len()));
        self.0 = tail;
        head
    }

    fn bit(&mut self) -> bool {
        self.byte() & 1 != 0
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// A coordinate near the surfaces, sometimes outside.
    fn coordinate(&mut self) -> i32 {
        match self.byte() {
            255 => i32::MAX,
            254 => i32::MIN,
            small => i32::from(small) % 80 - 8,
        }
    }

    fn point(&mut self) -> Point {
        Point { x: self.coordinate(), y: self.coordinate() }
    }

    fn point16(&mut self) -> Point16 {
        let short = |n: i32| i16::try_from(n).unwrap_or(i16::MIN);
        Point16 { x: short(self.coordinate()), y: short(self.coordinate()) }
    }

    /// Any rectangle.
    fn any_rect(&mut self) -> Rect {
        Rect::new(self.coordinate(), self.coordinate(), self.coordinate(), self.coordinate())
    }

    /// A rectangle that the parser accepts.
    fn rect(&mut self) -> Rect {
        let (left, top) = (i32::from(self.byte() % 64), i32::from(self.byte() % 64));
        let (width, height) = (1 + i32::from(self.byte() % 64), 1 + i32::from(self.byte() % 64));
        Rect::new(left, top, left + width, top + height)
    }

    /// Random settings and capabilities.
    pub fn settings(&mut self) -> DisplaySettings {
        let wan = |choice: u8| WanCompression::try_from(u32::from(choice % 3) + 1).unwrap_or_default();
        DisplaySettings {
            image_compression: ImageCompression::try_from(u32::from(self.byte() % 7) + 1).unwrap_or_default(),
            jpeg: wan(self.byte()),
            zlib_glz: wan(self.byte()),
            streaming: StreamingVideo::try_from(u32::from(self.byte() % 3) + 1).unwrap_or_default(),
            video_codecs: if self.bit() { parse_list("spice:mjpeg").0 } else { Vec::new() },
        }
    }
}

/// The worker channel that a client is linked to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Display,
    Cursor,
}

/// A worker's channels, their clients and a guest's commands.
struct Bench {
    display: Polled<DisplayChannel>,
    cursor: Polled<CursorChannel>,
    clients: Vec<(On, ClientId, MemoryPeer)>,
    last_client: u64,
    queue: Arc<ReleaseQueue>,
    tokens: usize,
    released: usize,
    now: Instant,
}

impl Bench {
    fn new(settings: DisplaySettings) -> Self {
        Self {
            display: Polled::new(DisplayChannel::new(0, 8, settings)),
            cursor: Polled::new(CursorChannel::new()),
            clients: Vec::new(),
            last_client: 0,
            queue: Arc::default(),
            tokens: 0,
            released: 0,
            now: Instant::now(),
        }
    }

    fn token(&mut self) -> ReleaseToken {
        self.tokens += 1;
        ReleaseToken::new(self.queue.clone(), ReleaseInfo { address: 0, group_id: 0 })
    }

    fn surface(s: &mut Script<'_>) -> MappedSurface {
        let formats = [SurfaceFormat::Xrgb32, SurfaceFormat::Argb32, SurfaceFormat::Rgb565];
        let formats = [&formats[..], &[SurfaceFormat::A8, SurfaceFormat::Rgb555, SurfaceFormat::A1]].concat();
        let choice = usize::from(s.byte()) % formats.len();
        let format = formats.get(choice).copied().unwrap_or(SurfaceFormat::Xrgb32);
        let (width, height) = (1 + u32::from(s.byte() % 80), 1 + u32::from(s.byte() % 80));
        let stride = u32::try_from(format.min_stride(width).next_multiple_of(4)).unwrap_or(4096);
        let size = usize::try_from(stride * height).unwrap_or(0);
        let up = s.bit();
        let stride = i32::try_from(stride).unwrap_or(0);
        MappedSurface {
            width,
            height,
            stride: if up { -stride } else { stride },
            format,
            memory: Box::new(PrivateSurface(pattern(1, size))),
        }
    }

    /// An image that the parser could have made.
    fn image(s: &mut Script<'_>) -> Arc<Image> {
        let (width, height) = (1 + u32::from(s.byte() % 72), 1 + u32::from(s.byte() % 72));
        let (id, flags) = (u64::from(s.byte() % 8), s.byte());
        let data = if flags & 0x30 == 0x30 {
            ImageData::Surface(u32::from(s.byte() % 9))
        } else {
            let format = BitmapFormat::try_from(s.byte() % 10 + 1).unwrap_or(BitmapFormat::ThirtyTwoBit);
            let stride = u32::try_from(format.min_stride(width)).unwrap_or(0) + u32::from(flags >> 6);
            let size = usize::try_from(stride * height).unwrap_or(0);
            let seed = s.byte();
            let entries = (0..256u32).map(|i| i * 0x0001_0307).take(usize::from(seed) + 1).collect();
            ImageData::Bitmap(Bitmap {
                format,
                width,
                height,
                stride,
                top_down: flags & 8 != 0,
                unstable: flags & 4 != 0,
                palette: (flags & 0x10 != 0)
                    .then(|| Arc::new(Palette { unique: u64::from(seed % 4), entries })),
                pixels: Arc::new(pattern(seed, size)),
            })
        };
        Arc::new(Image { id, cache_me: flags & 1 != 0, high_bits_set: flags & 2 != 0, width, height, data })
    }

    fn brush(s: &mut Script<'_>) -> Brush {
        match s.byte() % 4 {
            0 => Brush::None,
            1 => Brush::Pattern { image: Self::image(s), origin: s.point() },
            _ => Brush::Solid(s.word()),
        }
    }

    fn mask(s: &mut Script<'_>) -> Option<Mask> {
        (s.byte().is_multiple_of(8)).then(|| Mask {
            inverse: s.bit(),
            origin: s.point(),
            image: Self::image(s),
        })
    }

    fn op(s: &mut Script<'_>) -> DrawOp {
        let rop = |s: &mut Script<'_>| match s.byte() % 4 {
            0 => Rop::from_bits_retain(u16::from(s.byte()) << (s.byte() % 8)),
            _ => Rop::PUT,
        };
        let scale_mode = if s.bit() { ScaleMode::Interpolate } else { ScaleMode::Nearest };
        match s.byte() % 12 {
            0 => DrawOp::Nop,
            1 => DrawOp::CopyBits(s.point()),
            2 => DrawOp::Blackness(Self::mask(s)),
            3 => DrawOp::Invers(Self::mask(s)),
            4 => DrawOp::Opaque(Opaque {
                src: s.bit().then(|| Self::image(s)),
                src_area: s.rect(),
                brush: Self::brush(s),
                rop: rop(s),
                scale_mode,
                mask: Self::mask(s),
            }),
            5 => DrawOp::Transparent(Transparent {
                src: s.bit().then(|| Self::image(s)),
                src_area: s.rect(),
                src_color: 0,
                true_color: s.word(),
            }),
            6 => DrawOp::AlphaBlend(AlphaBlend {
                flags: u16::from(s.byte()),
                alpha: s.byte(),
                src: s.bit().then(|| Self::image(s)),
                src_area: s.rect(),
            }),
            7 => DrawOp::Composite(Composite {
                flags: s.word() & !(Composite::HAS_SRC_TRANSFORM | Composite::HAS_MASK_TRANSFORM),
                src: s.bit().then(|| Self::image(s)),
                src_transform: None,
                mask: None,
                mask_transform: None,
                src_origin: s.point16(),
                mask_origin: s.point16(),
            }),
            8 => DrawOp::Fill(Fill { brush: Self::brush(s), rop: rop(s), mask: Self::mask(s) }),
            kind => {
                let src_area = s.rect();
                let copy =
                    Copy { src: Self::image(s), src_area, rop: rop(s), scale_mode, mask: Self::mask(s) };
                if kind == 9 { DrawOp::Blend(copy) } else { DrawOp::Copy(copy) }
            }
        }
    }

    fn draw(&mut self, s: &mut Script<'_>) {
        let clip = if s.byte().is_multiple_of(4) {
            Clip::Rects((0..s.byte() % 4).map(|_| s.any_rect()).collect())
        } else {
            Clip::None
        };
        let drawable = Drawable {
            surface_id: u32::from(s.byte() % 16 / 5),
            effect: Effect::from(s.byte()),
            bbox: s.rect(),
            clip,
            mm_time: 0,
            self_bitmap: s.byte().is_multiple_of(8).then(|| s.any_rect()),
            deps: [None; 3],
            op: Self::op(s),
            release: Some(self.token()),
        };
        self.display.draw(Box::new(drawable), self.now);
    }

    fn guest(&mut self, s: &mut Script<'_>) {
        let id = u32::from(s.byte() % 10);
        match s.byte() % 14 {
            0 => {
                let command = SurfaceCommand::Create {
                    surface_id: id,
                    surface: Self::surface(s),
                    keep_data: s.bit(),
                    release: self.token(),
                };
                if s.bit() {
                    self.display.loadvm_surface(command, self.now);
                } else {
                    self.display.surface_command(command, self.now);
                }
            }
            1 => {
                let release = self.token();
                let command = SurfaceCommand::Destroy { surface_id: id, release };
                self.display.surface_command(command, self.now);
            }
            2 => {
                let _ = self.display.create_primary(Self::surface(s), s.bit(), self.now);
                self.cursor.primary_created();
            }
            3 => self.display.destroy_primary(self.now),
            4 => self.display.update(id, &s.any_rect()),
            5 => drop(self.display.update_area(id, &s.any_rect(), Some(usize::from(s.byte() % 4)), s.bit())),
            6 => drop(self.display.free_some()),
            7 => self.display.release_all(),
            8 => drop(self.display.clear_surface(id)),
            9 => drop(self.display.destroy_surface(id, self.now)),
            10 => self.display.destroy_all_surfaces(self.now),
            11 => {
                let head = MonitorHead { width: s.word(), height: s.word(), ..MonitorHead::default() };
                let heads = vec![head; usize::from(s.byte() % 5)];
                self.display.set_monitors_config(MonitorsConfig { max_allowed: 4, heads }, self.now);
            }
            12 => self.display.set_settings(s.settings(), self.now),
            _ => self.display.reset_image_cache(),
        }
    }

    fn pointer(&mut self, s: &mut Script<'_>) {
        match s.byte() % 8 {
            0 => self.cursor.reset(),
            1 => self.cursor.set_mouse_mode(s.bit()),
            2 => {
                let release = self.token();
                self.cursor.command(CursorCommand::Hide { release });
            }
            3 => {
                let (length, frequency) = (u16::from(s.byte()), u16::from(s.byte()));
                let release = self.token();
                self.cursor.command(CursorCommand::Trail { length, frequency, release });
            }
            4..6 => {
                let (position, release) = (s.point16(), self.token());
                self.cursor.command(CursorCommand::Move { position, release });
            }
            _ => {
                let (width, height) = (u16::from(s.byte()), u16::from(s.byte() % 8));
                let shape = CursorShape {
                    unique: u64::from(s.byte()),
                    cursor_type: s.byte() % 7,
                    width,
                    height,
                    hot_x: u16::from(s.byte()),
                    hot_y: 0,
                    data: vec![1; 4 * usize::from(width) * usize::from(height)].into(),
                };
                let (position, visible, release) = (s.point16(), s.bit(), self.token());
                self.cursor.command(CursorCommand::Set { position, visible, shape, release });
            }
        }
    }

    fn attach(&mut self, s: &mut Script<'_>) {
        if self.clients.len() >= MAX_CLIENTS {
            let (on, id, _) = self.clients.remove(0);
            match on {
                On::Display => self.display.detach(id, self.now),
                On::Cursor => self.cursor.detach(id, self.now),
            }
        }
        self.last_client += 1;
        let (id, at) = (ClientId(self.last_client), ConnectionId(self.last_client));
        let caps = s.word();
        let on = if s.byte().is_multiple_of(4) { On::Cursor } else { On::Display };
        let channel_type = if on == On::Display { ChannelType::Display } else { ChannelType::Cursor };
        let (mut connection, peer) = MemoryPeer::connect(channel_type, id, caps, s.bit());
        connection.migration_target = s.byte().is_multiple_of(8);
        match on {
            On::Display => self.display.attach(at, connection, self.now),
            On::Cursor => self.cursor.attach(at, connection, self.now),
        }
        self.clients.push((on, id, peer));
    }

    /// One action of a client.
    fn client(&mut self, s: &mut Script<'_>) {
        let which = usize::from(s.byte()) % self.clients.len().max(1);
        let Some((_, _, peer)) = self.clients.get(which).cloned() else { return self.attach(s) };
        match s.byte() % 12 {
            0 => {
                let count = usize::from(s.byte());
                peer.send_bytes(s.take(count));
            }
            1..3 => {
                let types = [0u16, 1, 2, 3, 4, 5, 6, 7, 101, 102, 103, 104, 105, 106, 999];
                let msg_type = types.get(usize::from(s.byte()) % types.len()).copied().unwrap_or(0);
                let count = usize::from(s.byte() % 40);
                peer.send(msg_type, s.take(count));
            }
            3..5 => peer.send(101, &init(s)),
            5 => (0..s.byte()).for_each(|_| peer.send(2, &[])),
            6 => peer.send(1, &u32::from(s.byte() % 3).to_le_bytes()),
            7 => peer.set_room(usize::from(s.byte()) << (s.byte() % 16)),
            8 => peer.set_room(usize::MAX),
            9 => peer.send(103, &[s.byte() % 9]),
            10 => {
                let report = [u32::from(s.byte() % 65), s.word(), 1, 2, u32::from(s.byte()), s.word(), 7, 8];
                peer.send(102, report.map(u32::to_le_bytes).as_flattened());
            }
            _ if s.byte().is_multiple_of(4) => peer.close(),
            _ => peer.send(3, &[0; 12]),
        }
    }

    /// One turn of the worker.
    fn turn(&mut self) {
        for socket in self.display.sockets() {
            self.display.on_ready(socket.at, Readiness { read: true, write: true }, self.now);
        }
        for socket in self.cursor.sockets() {
            self.cursor.on_ready(socket.at, Readiness { read: true, write: true }, self.now);
        }
        if self.display.next_deadline(self.now).is_some_and(|at| at <= self.now) {
            self.display.on_timer(self.now);
        }
        if self.cursor.next_deadline(self.now).is_some_and(|at| at <= self.now) {
            self.cursor.on_timer(self.now);
        }
        self.cursor.push(self.now);
        self.display.push(self.now);
        let _ = self.display.take_client_caps(false);
        for (_, _, peer) in &self.clients {
            peer.take_messages(|_, _| {});
        }
        self.clients.retain(|(_, _, peer)| !peer.is_gone());
        self.released += self.queue.take().len();
        assert!(self.released <= self.tokens);
    }

    /// All clients leave.
    fn finish(mut self) {
        self.display.detach_all(self.now);
        self.cursor.detach_all(self.now);
        for (_, _, peer) in &self.clients {
            assert!(peer.is_gone(), "connection outlives its channel");
        }
        self.display.destroy_all_surfaces(self.now);
        self.cursor.reset();
        self.released += self.queue.take().len();
        assert_eq!(self.released, self.tokens, "commands are not released");
    }
}

/// Bytes that differ from row to row and from seed to seed, and cost little time.
fn pattern(seed: u8, size: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..=250u8).map(|b| b.wrapping_mul(seed)).collect();
    let mut bytes = period.repeat(size / period.len() + 1);
    bytes.truncate(size);
    bytes
}

/// A DISPLAY_INIT, usually a valid one.
fn init(s: &mut Script<'_>) -> Vec<u8> {
    let mut body = vec![s.byte() % 5];
    body.extend((i64::from(s.word()) << (s.byte() % 33)).to_le_bytes());
    body.push(s.byte() % 3);
    body.extend(s.word().to_le_bytes());
    if s.byte().is_multiple_of(16) {
        body.truncate(usize::from(s.byte() % 16));
    }
    body
}

/// Runs the display and cursor channels under a script.
///
/// # Panics
/// If one of the module's rules is broken.
pub fn fuzz_worker_channels(data: &[u8]) {
    let s = &mut Script(data);
    let mut bench = Bench::new(s.settings());
    while !s.0.is_empty() {
        match s.byte() % 16 {
            0 => bench.attach(s),
            1..6 => bench.client(s),
            6 | 7 => bench.guest(s),
            8 => bench.pointer(s),
            9 => bench.now += Duration::from_millis(u64::from(s.byte()) << (s.byte() % 8)),
            _ => bench.draw(s),
        }
        if !s.byte().is_multiple_of(4) {
            bench.turn();
        }
    }
    bench.now += Duration::from_millis(50);
    bench.turn();
    bench.finish();
}
