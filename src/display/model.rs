//! A client for tests: reads the wire like spice-gtk, draws on surfaces of its own, and fails on what a real client would
//! trip over.

use super::model_wire::{Cursor, Images};
use crate::canvas::{Canvas, DrawError, ImageCache, Surfaces};
use crate::draw::{Clip, Drawable, Effect};
use crate::geometry::Rect;
use crate::guest::PrivateSurface;
use crate::host::MappedSurface;
use crate::image::SurfaceFormat;
use crate::protocol::common::server as base;
use crate::protocol::display::server;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// A surface of private memory, zeroed.
pub(super) fn blank(width: u32, height: u32, format: SurfaceFormat) -> MappedSurface {
    let stride = u32::try_from(format.min_stride(width).next_multiple_of(4)).unwrap();
    MappedSurface {
        width,
        height,
        stride: stride as i32,
        format,
        memory: Box::new(PrivateSurface(vec![0; (stride * height) as usize])),
    }
}

/// All pixels of a canvas, without padding.
pub(super) fn pixels(canvas: &Canvas) -> Vec<u8> {
    let mut all = Vec::new();
    for y in 0..canvas.height() {
        let mut row = vec![0; canvas.row_bytes()];
        canvas.read_bytes(0, y as i32, &mut row);
        all.extend(row);
    }
    all
}

struct Lookup<'a>(&'a BTreeMap<u32, Canvas>);

impl Surfaces for Lookup<'_> {
    fn surface(&self, id: u32) -> Option<&Canvas> {
        self.0.get(&id)
    }
}

/// Draws a command on one of these surfaces, which has to exist.
pub(super) fn draw_on(surfaces: &mut BTreeMap<u32, Canvas>, drawable: &Drawable) -> Result<(), DrawError> {
    let mut target = surfaces.remove(&drawable.surface_id).expect("draw on a surface that exists");
    let drawn = target.draw(drawable, &Lookup(surfaces), &mut ImageCache::default());
    surfaces.insert(drawable.surface_id, target);
    drawn
}

/// A client for tests, which keeps surfaces and caches as spice-gtk does and fails where a real client would.
pub(super) struct ModelClient {
    socket: UnixStream,
    bytes: Vec<u8>,
    pub surfaces: BTreeMap<u32, Canvas>,
    images: Images,
    /// Types of all messages, in order.
    pub log: Vec<u16>,
    /// The longest message so far (bytes of its body).
    pub longest: usize,
    since_ack: u32,
    window: u32,
    pub marked: bool,
    pub closed: bool,
    streams: BTreeMap<u32, Playing>,
    /// Codecs of all streams so far.
    pub codecs: Vec<u8>,
    /// Rectangles of the longest clip that a stream has had.
    pub longest_clip: usize,
}

/// A video stream as it plays.
struct Playing {
    dest: Rect,
    clip: Vec<Rect>,
    /// A frame is shown now and, as if it had been late, again before the next message.
    frame: Option<u8>,
}

impl ModelClient {
    pub(super) fn new(socket: UnixStream) -> Self {
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            bytes: Vec::new(),
            surfaces: BTreeMap::new(),
            images: Images::default(),
            log: Vec::new(),
            longest: 0,
            since_ack: 0,
            window: u32::MAX,
            marked: false,
            closed: false,
            streams: BTreeMap::new(),
            codecs: Vec::new(),
            longest_clip: 0,
        }
    }

    pub(super) fn send(&mut self, msg_type: u16, body: &[u8]) {
        let mut bytes = msg_type.to_le_bytes().to_vec();
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(body);
        let _ = self.socket.write_all(&bytes);
    }

    /// DISPLAY_INIT with a pixmap cache of so many pixels.
    pub(super) fn init(&mut self, cache: i64) {
        let mut body = vec![1];
        body.extend(cache.to_le_bytes());
        body.push(1);
        body.extend((1i32 << 20).to_le_bytes());
        self.send(101, &body);
    }

    /// Reads and handles at most this many messages; how many there were.
    pub(super) fn pump(&mut self, most: usize) -> usize {
        let mut chunk = [0; 65536];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
                Err(_) => break,
            }
        }
        let mut handled = 0;
        while handled < most && self.bytes.len() >= 6 {
            let msg_type = u16::from_le_bytes([self.bytes[0], self.bytes[1]]);
            let size = u32::from_le_bytes(self.bytes[2..6].try_into().unwrap()) as usize;
            if self.bytes.len() < 6 + size {
                break;
            }
            let body: Vec<u8> = self.bytes.drain(..6 + size).skip(6).collect();
            self.handle(msg_type, &body);
            handled += 1;
        }
        handled
    }

    fn handle(&mut self, msg_type: u16, body: &[u8]) {
        self.log.push(msg_type);
        self.longest = self.longest.max(body.len());
        self.play();
        let mut r = Cursor::new(body);
        match msg_type {
            server::STREAM_CREATE => {
                assert_eq!(r.u32(), 0);
                let id = r.u32();
                let _top_down = r.u8();
                self.codecs.push(r.u8());
                r.bytes(8 + 16);
                let dest = r.rect();
                let clip = r.clip_rects();
                assert!(self.surfaces.contains_key(&0), "stream without primary");
                assert!(self.streams.insert(id, Playing { dest, clip, frame: None }).is_none());
            }
            server::STREAM_ACTIVATE_REPORT => assert!(self.streams.contains_key(&r.u32())),
            server::STREAM_CLIP => {
                let stream = self.streams.get_mut(&r.u32()).expect("stream to clip exists");
                stream.clip = r.clip_rects();
                self.longest_clip = self.longest_clip.max(stream.clip.len());
                stream.frame = None;
            }
            server::STREAM_DATA_SIZED => {
                let stream = self.streams.get_mut(&r.u32()).expect("stream with data exists");
                assert!(r.u32() > 0, "multimedia time");
                let (width, height, dest) = (r.u32(), r.u32(), r.rect());
                assert!(width > 0 && height > 0 && width <= dest.width() && height <= dest.height());
                stream.frame = Some(r.u32() as u8);
                self.play();
            }
            server::STREAM_DATA => {
                let stream = self.streams.get_mut(&r.u32()).expect("stream with data exists");
                assert!(r.u32() > 0, "multimedia time");
                stream.frame = Some(r.u32() as u8);
                self.play();
            }
            server::STREAM_DESTROY => {
                self.streams.remove(&r.u32()).expect("destroyed stream exists");
            }
            base::SET_ACK => {
                let generation = r.u32();
                self.window = r.u32();
                self.send(1, &generation.to_le_bytes());
                self.since_ack = 0;
            }
            server::MARK => {
                assert!(self.surfaces.contains_key(&0), "MARK without primary");
                self.marked = true;
            }
            server::INVAL_LIST => {
                for _ in 0..r.u16() {
                    assert_eq!(r.u8(), 1);
                    self.images.forget(r.u64());
                }
            }
            server::INVAL_PALETTE => self.images.forget_palette(r.u64()),
            server::INVAL_ALL_PALETTES => self.images.forget_palettes(),
            base::PING => self.send(3, &body[..12]),
            server::MONITORS_CONFIG => {}
            server::STREAM_DESTROY_ALL => self.streams.clear(),
            server::SURFACE_CREATE => {
                let (id, width, height, format, flags) = (r.u32(), r.u32(), r.u32(), r.u32(), r.u32());
                assert_eq!(flags, u32::from(id == 0));
                let format = SurfaceFormat::try_from(format).unwrap();
                let canvas = Canvas::new(blank(width, height, format)).unwrap();
                assert!(self.surfaces.insert(id, canvas).is_none(), "surface {id} exists");
            }
            server::SURFACE_DESTROY => {
                assert!(body[0] != 0 || self.streams.is_empty(), "streams outlive the primary");
                self.surfaces.remove(&r.u32()).expect("destroyed surface exists");
            }
            _ => self.draw(msg_type, r),
        }
        self.since_ack += 1;
        if self.since_ack >= self.window {
            self.since_ack = 0;
            self.send(2, &[]);
        }
    }

    /// Paints what the streams show, which is wrong in every pixel.
    fn play(&mut self) {
        let Some(primary) = self.surfaces.get_mut(&0) else { return };
        let bounds = primary.bounds();
        for stream in self.streams.values() {
            let Some(byte) = stream.frame else { continue };
            for part in stream.clip.iter().map(|r| r.intersect(&stream.dest).intersect(&bounds)) {
                for y in part.top..part.bottom {
                    let row = vec![byte; part.width() as usize * 4];
                    primary.write_bytes(part.left as usize * 4, y, &row);
                }
            }
        }
    }

    fn draw(&mut self, msg_type: u16, mut r: Cursor<'_>) {
        let surface_id = r.u32();
        let bbox = r.rect();
        let clip = match r.u8() {
            0 => Clip::None,
            _ => Clip::Rects((0..r.u32()).map(|_| r.rect()).collect()),
        };
        let target = self.surfaces.get(&surface_id).expect("target exists").format();
        let op = self.images.operation(msg_type, &mut r, target);
        for (id, width, height) in self.images.surfaces_read.drain(..) {
            let canvas = self.surfaces.get(&id).expect("source surface exists");
            assert_eq!((canvas.width(), canvas.height()), (width, height));
        }
        let drawable = Drawable {
            surface_id,
            effect: Effect::Blend,
            bbox,
            clip,
            mm_time: 0,
            self_bitmap: None,
            deps: [None; 3],
            op,
            release: None,
        };
        draw_on(&mut self.surfaces, &drawable).unwrap_or_else(|e| panic!("{e}: {drawable:?}"));
    }
}
