//! Plays a script: makes the commands that a device would make, and draws each at once, in order.

use super::generate::{Layout, Prng, rows};
use super::script::{Line, fixed, number, numbers, rect, word};
use spice_server_core::canvas::{Canvas, DrawError, ImageCache, Surfaces};
use spice_server_core::draw::{
    AlphaBlend, Brush, Clip, Composite, Copy, DrawOp, Drawable, Effect, Fill, Glyph, GlyphString, Mask,
    Opaque, PathSegment, Rop, Rop3, ScaleMode, Stroke, Text, Transform, Transparent,
};
use spice_server_core::geometry::{Point, Point16, PointFix, Rect};
use spice_server_core::guest::PrivateSurface;
use spice_server_core::host::MappedSurface;
use spice_server_core::image::{Bitmap, BitmapFormat, Image, ImageData, Palette, SurfaceFormat};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// The pixels of one surface at the moment of a dump.
pub(crate) struct Dump {
    pub id: String,
    /// Surface, size and format, written as in EXPECTED.sums.
    pub surface: String,
    /// Rows without padding.
    pub pixels: Vec<u8>,
    /// Digest of all bits.
    pub raw: String,
    /// Digest without the unused bits.
    pub rgb: String,
}

struct NamedGlyph {
    bpp: u16,
    width: u16,
    height: u16,
    origin: Point,
    data: Vec<u8>,
}

/// The device: its surfaces, and the images and other objects that the script has named.
pub(crate) struct Player {
    directory: PathBuf,
    surfaces: Table,
    images: HashMap<String, Arc<Image>>,
    palettes: HashMap<String, Arc<Palette>>,
    glyphs: HashMap<String, NamedGlyph>,
    cache: ImageCache,
    counter: u64,
    dumps: Vec<Dump>,
}

#[derive(Default)]
struct Table(HashMap<u32, Canvas>);

impl Surfaces for Table {
    fn surface(&self, id: u32) -> Option<&Canvas> {
        self.0.get(&id)
    }
}

impl Player {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            surfaces: Table::default(),
            images: HashMap::new(),
            palettes: HashMap::new(),
            glyphs: HashMap::new(),
            cache: ImageCache::default(),
            counter: 0,
            dumps: Vec::new(),
        }
    }

    pub(crate) fn play(&mut self, script: &str) -> Vec<Dump> {
        for line in script.lines().filter_map(Line::parse) {
            match line.verb {
                "arena" | "update" => {}
                "primary" => self.create(&line, 0),
                "surface" => self.create(&line, word(line.number("id", 1))),
                "destroy" => {
                    self.surfaces.0.remove(&word(line.number("id", 1)));
                }
                "palette" => self.palette(&line),
                "image" => self.image(&line),
                "glyph" => self.glyph(&line),
                "dump" => self.dump(word(line.number("s", 0))),
                _ => self.draw(&line),
            }
        }
        std::mem::take(&mut self.dumps)
    }

    fn create(&mut self, line: &Line<'_>, id: u32) {
        let (width, height) = (word(line.number("w", 0)), word(line.number("h", 0)));
        let (format, layout) = match line.get("fmt").unwrap_or("xrgb") {
            "a1" => (SurfaceFormat::A1, Layout::Bit1Lsb),
            "a8" => (SurfaceFormat::A8, Layout::Alpha8),
            "555" => (SurfaceFormat::Rgb555, Layout::Rgb555),
            "565" => (SurfaceFormat::Rgb565, Layout::Rgb565),
            "xrgb" => (SurfaceFormat::Xrgb32, Layout::Xrgb32),
            "argb" => (SurfaceFormat::Argb32, Layout::Rgba32),
            other => panic!("surface format {other}"),
        };
        let tight = (width as usize * layout.bits()).div_ceil(32) * 4;
        let stride = i32::try_from(line.number("stride", i64::try_from(tight).unwrap())).unwrap();
        let bytes = stride.unsigned_abs() as usize;
        let mut memory = match line.get("init") {
            None => vec![0; bytes * height as usize],
            Some(source) => rows(
                layout,
                (width as usize, height as usize),
                bytes,
                source,
                word(line.number("seed", 1)),
                &self.directory,
            ),
        };
        if stride < 0 {
            memory = memory.chunks_exact(bytes).rev().flatten().copied().collect();
        }
        let memory = Box::new(PrivateSurface(memory));
        let surface = MappedSurface { width, height, stride, format, memory };
        self.surfaces.0.insert(id, Canvas::new(surface).unwrap());
    }

    fn palette(&mut self, line: &Line<'_>) {
        self.counter += 1;
        let entries = match line.get("rand") {
            Some(seed) => {
                let mut random = Prng::new(word(number(seed)));
                let mask = word(line.number("mask", 0xff_ffff));
                let mut entry = || u32::from_be_bytes(std::array::from_fn(|_| random.byte())) & mask;
                (0..line.number("n", 256)).map(|_| entry()).collect()
            }
            None => numbers(line.need("ents")).into_iter().map(word).collect(),
        };
        let palette = Palette { unique: self.counter, entries };
        self.palettes.insert(line.need("name").to_owned(), Arc::new(palette));
    }

    fn image(&mut self, line: &Line<'_>) {
        self.counter += 1;
        let id = u64::from(word(line.number("id", i64::try_from(self.counter).unwrap()))) << 32 | 1;
        let (width, height, data) = if let Some(surface) = line.get("surface") {
            let id = word(number(surface));
            let canvas = &self.surfaces.0[&id];
            (canvas.width(), canvas.height(), ImageData::Surface(id))
        } else {
            let bitmap = self.bitmap(line);
            (bitmap.width, bitmap.height, ImageData::Bitmap(bitmap))
        };
        let image = Image {
            id,
            cache_me: line.number("cache", 0) != 0,
            high_bits_set: line.number("highbits", 0) != 0,
            width,
            height,
            data,
        };
        self.images.insert(line.need("name").to_owned(), Arc::new(image));
    }

    fn bitmap(&self, line: &Line<'_>) -> Bitmap {
        let (format, layout) = match line.need("fmt") {
            "1be" => (BitmapFormat::OneBitBe, Layout::Bit1Msb),
            "1le" => (BitmapFormat::OneBitLe, Layout::Bit1Lsb),
            "4be" => (BitmapFormat::FourBitBe, Layout::Bit4Msb),
            "4le" => (BitmapFormat::FourBitLe, Layout::Bit4Lsb),
            "8" => (BitmapFormat::EightBit, Layout::Index8),
            "16" => (BitmapFormat::SixteenBit, Layout::Rgb555),
            "24" => (BitmapFormat::TwentyFourBit, Layout::Rgb24),
            "32" => (BitmapFormat::ThirtyTwoBit, Layout::Xrgb32),
            "rgba" => (BitmapFormat::Rgba, Layout::Rgba32),
            "a8" => (BitmapFormat::EightBitA, Layout::Alpha8),
            other => panic!("image format {other}"),
        };
        let (width, height) = (word(line.number("w", 0)), word(line.number("h", 0)));
        let tight = i64::try_from(format.min_stride(width)).unwrap();
        let stride = word(line.number("stride", tight));
        let pixels = rows(
            layout,
            (width as usize, height as usize),
            stride as usize,
            line.get("gen").unwrap_or("rand"),
            word(line.number("seed", 1)),
            &self.directory,
        );
        Bitmap {
            format,
            width,
            height,
            stride,
            top_down: line.number("topdown", 1) != 0,
            unstable: false,
            palette: line.get("pal").map(|name| self.palettes[name].clone()),
            pixels: Arc::new(pixels),
        }
    }

    fn glyph(&mut self, line: &Line<'_>) {
        let size = |key: &str| u16::try_from(line.number(key, 0)).unwrap();
        let offset = |key: &str| i32::try_from(line.number(key, 0)).unwrap();
        let bpp = u16::try_from(line.number("bpp", 1)).unwrap();
        let layout = match bpp {
            1 => Layout::Bit1Msb,
            4 => Layout::Bit4Msb,
            _ => Layout::Index8,
        };
        let (width, height) = (size("w"), size("h"));
        let data = rows(
            layout,
            (width.into(), height.into()),
            (usize::from(width) * usize::from(bpp)).div_ceil(8),
            line.get("gen").unwrap_or("rand"),
            word(line.number("seed", 1)),
            &self.directory,
        );
        let origin = Point { x: offset("ox"), y: offset("oy") };
        self.glyphs.insert(line.need("name").to_owned(), NamedGlyph { bpp, width, height, origin, data });
    }

    fn dump(&mut self, id: u32) {
        let canvas = &self.surfaces.0[&id];
        let (mut pixels, mut rgb) = (Vec::new(), Vec::new());
        let mut row = vec![0; canvas.row_bytes()];
        for y in 0..i32::try_from(canvas.height()).unwrap() {
            canvas.read_bytes(0, y, &mut row);
            if canvas.format() == SurfaceFormat::A1 && !canvas.width().is_multiple_of(8) {
                *row.last_mut().unwrap() &= (1 << (canvas.width() % 8)) - 1;
            }
            pixels.extend_from_slice(&row);
            match canvas.format() {
                SurfaceFormat::Xrgb32 | SurfaceFormat::Argb32 => {
                    row.chunks_exact_mut(4).for_each(|p| p[3] = 0);
                }
                SurfaceFormat::Rgb555 => row.chunks_exact_mut(2).for_each(|p| p[1] &= 0x7f),
                _ => {}
            }
            rgb.extend_from_slice(&row);
        }
        let format = match canvas.format() {
            SurfaceFormat::A1 => "a1",
            SurfaceFormat::A8 => "a8",
            SurfaceFormat::Rgb555 => "555",
            SurfaceFormat::Rgb565 => "565",
            SurfaceFormat::Xrgb32 => "xrgb",
            SurfaceFormat::Argb32 => "argb",
        };
        self.dumps.push(Dump {
            id: format!("s{id}"),
            surface: format!("s{id} {}x{} {format}", canvas.width(), canvas.height()),
            raw: sha256(&pixels),
            rgb: sha256(&rgb),
            pixels,
        });
    }

    fn draw(&mut self, line: &Line<'_>) {
        let surface_id = word(line.number("s", 0));
        let bbox = line.rect("box").unwrap_or_else(|| panic!("{}: box= is missing", line.verb));
        let clip = match line.get("clip") {
            None => Clip::None,
            Some("empty") => Clip::Rects([].into()),
            Some(list) => Clip::Rects(numbers(list).chunks(4).map(rect).collect()),
        };
        let compat = line.number("cflags", 0) & 2 != 0;
        let Some(op) = self.operation(line, &bbox, compat) else { return };
        let self_bitmap = (line.get("src") == Some("self"))
            .then(|| line.rect("selfarea").unwrap_or_else(|| source_area(line, &bbox)));
        let mut drawable = Drawable {
            surface_id,
            effect: Effect::from(u8::try_from(line.number("effect", 0)).unwrap()),
            bbox,
            clip,
            mm_time: 0,
            self_bitmap,
            deps: [None; 3],
            op,
            release: None,
        };
        let Some(mut canvas) = self.surfaces.0.remove(&surface_id) else { return };
        let snapshot = self_bitmap.and_then(|area| canvas.snapshot(&area, surface_id == 0, 2));
        if let Some(snapshot) = snapshot.filter(|_| drawable.op.lacks_source()) {
            drawable.op.set_source(snapshot);
        }
        let result = canvas.draw(&drawable, &self.surfaces, &mut self.cache);
        assert_ne!(result, Err(DrawError::Unsupported));
        self.surfaces.0.insert(surface_id, canvas);
    }

    /// The operation; `None` if the device would drop the command while it reads it.
    fn operation(&self, line: &Line<'_>, bbox: &Rect, compat: bool) -> Option<DrawOp> {
        let src_area = source_area(line, bbox);
        let scale_mode = match line.get("scale") {
            None | Some("interp" | "0") => ScaleMode::Interpolate,
            Some("nearest" | "1") => ScaleMode::Nearest,
            Some(_) => return None,
        };
        let src = || match line.need("src") {
            "self" => None,
            name => Some(self.widened(name, compat)),
        };
        let brush = |key: &str| self.brush(line.get(key), compat);
        let copy = || {
            Some(Copy { src: src()?, src_area, rop: rop(line.get("rop")), scale_mode, mask: self.mask(line) })
        };
        Some(match line.verb {
            "nop" => DrawOp::Nop,
            "fill" => {
                DrawOp::Fill(Fill { brush: brush("brush"), rop: rop(line.get("rop")), mask: self.mask(line) })
            }
            "opaque" => DrawOp::Opaque(Opaque {
                src: src(),
                src_area,
                brush: brush("brush"),
                rop: rop(line.get("rop")),
                scale_mode,
                mask: self.mask(line),
            }),
            "copy" => DrawOp::Copy(copy()?),
            "blend" => DrawOp::Blend(copy()?),
            "copybits" => {
                let v = numbers(line.need("from"));
                DrawOp::CopyBits(point(&v))
            }
            "black" => DrawOp::Blackness(self.mask(line)),
            "white" => DrawOp::Whiteness(self.mask(line)),
            "invers" => DrawOp::Invers(self.mask(line)),
            "rop3" => DrawOp::Rop3(Rop3 {
                src: src(),
                src_area,
                brush: brush("brush"),
                rop3: u8::try_from(number(line.need("rop3"))).unwrap(),
                scale_mode,
                mask: self.mask(line),
            }),
            "transparent" => {
                let key = word(number(line.need("key")));
                DrawOp::Transparent(Transparent {
                    src: src(),
                    src_area,
                    src_color: word(line.number("srckey", key.into())),
                    true_color: key,
                })
            }
            "alpha" => DrawOp::AlphaBlend(AlphaBlend {
                flags: u16::try_from(line.number("flags", 0)).unwrap(),
                alpha: u8::try_from(line.number("alpha", 255)).unwrap(),
                src: src(),
                src_area,
            }),
            "stroke" => DrawOp::Stroke(self.stroke(line, compat)),
            "text" => DrawOp::Text(self.text(line, compat)),
            "composite" => DrawOp::Composite(self.composite(line, src())),
            other => panic!("unknown command '{other}'"),
        })
    }

    fn stroke(&self, line: &Line<'_>, compat: bool) -> Stroke {
        let segment = |text: &str| {
            let (letters, points) = text.split_once(':').unwrap_or((text, ""));
            let flag = |c: char| match c {
                'b' => PathSegment::BEGIN,
                'e' => PathSegment::END,
                'c' => PathSegment::CLOSE,
                'z' => PathSegment::BEZIER,
                _ => 0,
            };
            let v: Vec<i32> = points.split([',', ':']).filter(|s| !s.is_empty()).map(fixed).collect();
            PathSegment {
                flags: letters.chars().map(flag).fold(0, |a, b| a | b),
                points: v.chunks_exact(2).map(|p| PointFix { x: p[0], y: p[1] }).collect(),
            }
        };
        let style = line.get("style");
        let gap = if line.number("gap", 0) != 0 { Stroke::START_WITH_GAP } else { 0 };
        Stroke {
            path: line.all("seg").map(segment).collect(),
            line_flags: if style.is_some() { Stroke::STYLED | gap } else { 0 },
            style: style.into_iter().flat_map(|s| s.split([',', ':'])).map(fixed).collect(),
            brush: self.brush(Some(line.need("brush")), compat),
            fore_mode: rop(line.get("fore")),
            back_mode: rop(line.get("back")),
        }
    }

    fn text(&self, line: &Line<'_>, compat: bool) -> Text {
        let (mut glyphs, mut flags) = (Vec::new(), GlyphString::A8);
        for part in line.need("str").split(';').filter(|s| !s.is_empty()) {
            let (name, position) = part.split_once('@').unwrap();
            let glyph = &self.glyphs[name];
            flags = match glyph.bpp {
                1 => GlyphString::A1,
                4 => GlyphString::A4,
                _ => GlyphString::A8,
            };
            glyphs.push(Glyph {
                render_pos: point(&numbers(position)),
                origin: glyph.origin,
                width: glyph.width,
                height: glyph.height,
                data: glyph.data.clone(),
            });
        }
        Text {
            string: Arc::new(GlyphString { flags, glyphs }),
            back_area: line.rect("back").unwrap_or_default(),
            fore_brush: self.brush(Some(line.get("fg").unwrap_or("solid:0")), compat),
            back_brush: self.brush(line.get("bg"), compat),
            fore_mode: rop(line.get("fmode")),
            back_mode: rop(line.get("bmode")),
        }
    }

    fn composite(&self, line: &Line<'_>, src: Option<Arc<Image>>) -> Composite {
        let transform = |key: &str| {
            line.get(key).map(|v| {
                let v = numbers(v);
                Transform(std::array::from_fn(|i| i32::try_from(v[i]).unwrap()))
            })
        };
        let origin = |key: &str| {
            line.get(key).map_or(Point16::default(), |v| {
                let v: Vec<i16> = numbers(v).iter().map(|v| i16::try_from(*v).unwrap()).collect();
                Point16 { x: v[0], y: v[1] }
            })
        };
        let bits = |key: &str, default: i64, shift: u32| word(line.number(key, default)) << shift;
        let mask = line.get("mask").map(|name| self.images[name].clone());
        let (src_transform, mask_transform) = (transform("st"), transform("mt"));
        let derived = Composite::HAS_MASK | Composite::HAS_SRC_TRANSFORM | Composite::HAS_MASK_TRANSFORM;
        let when = |set: bool, flag: u32| if set { flag } else { 0 };
        let flags = (bits("op", 3, 0)
            | bits("sfilter", 0, 8)
            | bits("mfilter", 0, 11)
            | bits("srepeat", 0, 14)
            | bits("mrepeat", 0, 16)
            | bits("ca", 0, 18)
            | bits("xflags", 0, 0))
            & !derived
            | when(mask.is_some(), Composite::HAS_MASK)
            | when(src_transform.is_some(), Composite::HAS_SRC_TRANSFORM)
            | when(mask_transform.is_some(), Composite::HAS_MASK_TRANSFORM);
        Composite {
            flags,
            src,
            src_transform,
            mask,
            mask_transform,
            src_origin: origin("so"),
            mask_origin: origin("mo"),
        }
    }

    fn brush(&self, text: Option<&str>, compat: bool) -> Brush {
        let Some((kind, rest)) = text.unwrap_or("none").split_once(':') else { return Brush::None };
        match kind {
            "solid" => {
                let color = word(number(rest));
                Brush::Solid(if compat { widen(color) } else { color })
            }
            "pat" => {
                let (name, position) = rest.split_once(':').unwrap_or((rest, "0:0"));
                Brush::Pattern { image: self.widened(name, compat), origin: point(&numbers(position)) }
            }
            other => panic!("unknown brush '{other}'"),
        }
    }

    fn mask(&self, line: &Line<'_>) -> Option<Mask> {
        let text = line.get("mask")?;
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let v = numbers(rest);
        let at = |i: usize| v.get(i).copied().unwrap_or(0);
        let origin = point(&[at(0), at(1)]);
        Some(Mask { inverse: at(2) != 0, origin, image: self.images[name].clone() })
    }

    /// The image as the device reads it. With 16-bit colours its palette is widened.
    fn widened(&self, name: &str, compat: bool) -> Arc<Image> {
        let image = self.images.get(name).unwrap_or_else(|| panic!("no image '{name}'"));
        if !compat {
            return image.clone();
        }
        let mut image = Image::clone(image);
        if let ImageData::Bitmap(bitmap) = &mut image.data {
            bitmap.palette = bitmap.palette.as_ref().map(|p| {
                let entries = p.entries.iter().map(|v| widen(*v)).collect();
                Arc::new(Palette { unique: p.unique, entries })
            });
        }
        Arc::new(image)
    }
}

/// 555 to 888 (COMPAT_16BPP).
fn widen(color: u32) -> u32 {
    let channel = |shift: u32| {
        let v = color >> shift & 31;
        v << 3 | v >> 2
    };
    channel(10) << 16 | channel(5) << 8 | channel(0)
}

fn source_area(line: &Line<'_>, bbox: &Rect) -> Rect {
    let size = Rect::new(0, 0, bbox.right.wrapping_sub(bbox.left), bbox.bottom.wrapping_sub(bbox.top));
    line.rect("srect").unwrap_or(size)
}

fn point(v: &[i64]) -> Point {
    Point { x: i32::try_from(v[0]).unwrap(), y: i32::try_from(v[1]).unwrap() }
}

fn rop(text: Option<&str>) -> Rop {
    let Some(text) = text else { return Rop::PUT };
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Rop::from_bits_retain(u16::try_from(number(text)).unwrap());
    }
    let one = |name: &str| match name {
        "isrc" => Rop::INVERS_SRC,
        "ibrush" => Rop::INVERS_BRUSH,
        "idst" => Rop::INVERS_DEST,
        "put" => Rop::PUT,
        "or" => Rop::OR,
        "and" => Rop::AND,
        "xor" => Rop::XOR,
        "black" => Rop::BLACKNESS,
        "white" => Rop::WHITENESS,
        "inv" => Rop::INVERS,
        "ires" => Rop::INVERS_RES,
        other => panic!("bad rop '{other}'"),
    };
    text.split('+').filter(|s| !s.is_empty()).map(one).fold(Rop::empty(), |a, b| a | b)
}

fn sha256(bytes: &[u8]) -> String {
    openssl::sha::sha256(bytes).iter().fold(String::new(), |mut out, b| {
        write!(out, "{b:02x}").unwrap();
        out
    })
}
