//! Random commands of all kinds (but TEXT), with images of all formats, through all codecs and caches, to clients that
//! draw what they are sent: they end with the picture of the server, which is that of drawing each command at once.
//!
//! Unused bits of pixels do not survive codecs, and some operations take them for alpha. Such commands are made only, and
//! unused bits only compared, where all goes raw.

use super::*;
use crate::canvas::rop::RasterOp;
use crate::codec::quic;
use crate::draw::{AlphaBlend, Composite, Mask, PathSegment, Rop3, Stroke, Transform, Transparent};
use crate::geometry::{Point16, PointFix};
use crate::image::Palette;
use proptest::test_runner::TestCaseError;

/// Random numbers of one command, and whether unused bits of images are random too: codecs do not carry them.
struct Dice(u64, bool);

impl Dice {
    fn number(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 16) as u32
    }

    fn below(&mut self, n: u32) -> u32 {
        self.number() % n
    }

    fn within(&mut self, from: i32, to: i32) -> i32 {
        from + self.below((to - from) as u32) as i32
    }

    /// Once in so many times.
    fn once_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    fn pick<T: std::marker::Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }

    fn point(&mut self) -> Point {
        Point { x: self.within(-9, W as i32 + 9), y: self.within(-9, H as i32 + 9) }
    }

    /// A rectangle of at least a pixel inside of so many.
    fn rect(&mut self, width: u32, height: u32) -> Rect {
        let (w, h) = (self.below(width) as i32 + 1, self.below(height) as i32 + 1);
        self.place(w, h, width, height)
    }

    /// Somewhere inside.
    fn place(&mut self, w: i32, h: i32, width: u32, height: u32) -> Rect {
        let (x, y) = (self.within(0, width as i32 - w + 1), self.within(0, height as i32 - h + 1));
        Rect::new(x, y, x + w, y + h)
    }

    fn rop(&mut self) -> Rop {
        let base = self.pick(&[
            Rop::PUT,
            Rop::PUT,
            Rop::PUT,
            Rop::OR,
            Rop::AND,
            Rop::XOR,
            Rop::BLACKNESS,
            Rop::WHITENESS,
            Rop::INVERS,
            Rop::empty(),
        ]);
        let inverse = Rop::INVERS_SRC | Rop::INVERS_BRUSH | Rop::INVERS_DEST | Rop::INVERS_RES;
        if self.once_in(3) { base | Rop::from_bits_retain(self.number() as u16) & inverse } else { base }
    }

    fn scale_mode(&mut self) -> ScaleMode {
        self.pick(&[ScaleMode::Interpolate, ScaleMode::Nearest])
    }

    fn palette(&mut self, colours: u32) -> Arc<Palette> {
        // The same key stands for the same colours.
        let unique = u64::from(self.below(5));
        let mut own = Dice(if unique == 0 { self.number().into() } else { unique }, self.1);
        let short = if own.once_in(3) { own.below(colours) + 1 } else { colours };
        let alpha = own.once_in(2);
        let mask = if alpha { u32::MAX } else { 0x00ff_ffff };
        let entries = (0..short).map(|_| own.number() & mask).collect();
        let unique = if unique == 0 { 0 } else { unique * 1000 + u64::from(colours) };
        Arc::new(Palette { unique, entries })
    }

    fn bitmap(&mut self, format: BitmapFormat, width: u32, height: u32) -> Bitmap {
        let padding = if self.once_in(4) { self.below(5) } else { 0 };
        let stride = format.min_stride(width) as u32 + padding;
        let (kind, start, slope) = (self.below(4), self.number() as u8, self.below(9) as u8);
        let bytes = format.bits_per_pixel().div_ceil(8);
        let mut pixels: Vec<u8> = (0..stride * height)
            .map(|i| match kind {
                0 => self.number() as u8,
                1 => start
                    .wrapping_add(((i % stride / bytes) as u8).wrapping_mul(slope))
                    .wrapping_add((i / stride) as u8 * 3),
                2 => start,
                _ => start.wrapping_add((i / 7 % 3) as u8 * 40),
            })
            .collect();
        match format {
            _ if self.1 => {}
            BitmapFormat::ThirtyTwoBit => {
                for row in pixels.chunks_mut(stride as usize) {
                    row.chunks_exact_mut(4).take(width as usize).for_each(|p| p[3] = 0);
                }
            }
            BitmapFormat::SixteenBit => {
                for row in pixels.chunks_mut(stride as usize) {
                    row.chunks_exact_mut(2).take(width as usize).for_each(|p| p[1] &= 0x7f);
                }
            }
            _ => {}
        }
        let colours = 1 << format.bits_per_pixel().min(8);
        let palette = (format.is_palette()).then(|| self.palette(colours));
        let (top_down, unstable) = (!self.once_in(3), self.once_in(8));
        Bitmap { format, width, height, stride, top_down, unstable, palette, pixels: Arc::new(pixels) }
    }

    /// An image for a target of this format, at least so large.
    fn image(&mut self, target: SurfaceFormat, width: u32, height: u32) -> Arc<Image> {
        if self.once_in(3) && width <= 12 && height <= 12 {
            let id = self.below(6);
            let mut own = Dice(u64::from(id) + 77, self.1);
            let (width, height) = (12 + own.below(4), 12 + own.below(4));
            return own.content(u64::from(id) + 1, true, target, width, height);
        }
        let (width, height) = (width + self.below(3), height + self.below(3));
        self.content(0, false, target, width, height)
    }

    fn content(
        &mut self,
        id: u64,
        cache_me: bool,
        target: SurfaceFormat,
        width: u32,
        height: u32,
    ) -> Arc<Image> {
        use BitmapFormat::{
            EightBit, EightBitA, FourBitBe, OneBitBe, Rgba, SixteenBit, ThirtyTwoBit, TwentyFourBit,
        };
        let formats = [
            ThirtyTwoBit,
            ThirtyTwoBit,
            Rgba,
            Rgba,
            TwentyFourBit,
            SixteenBit,
            EightBit,
            EightBit,
            FourBitBe,
            OneBitBe,
            EightBitA,
        ];
        // The same for all targets, as the same cached image goes to all.
        let mut format = self.pick(&formats);
        if target == SurfaceFormat::A8 && format.is_palette() && !cache_me {
            format = EightBitA;
        }
        // QUIC gives their pixels another unused byte than other codecs.
        if format == SixteenBit && (target == SurfaceFormat::Argb32 || cache_me) && !self.1 {
            format = TwentyFourBit;
        }
        let bitmap = self.bitmap(format, width, height);
        let mut data = ImageData::Bitmap(bitmap.clone());
        if self.once_in(6) {
            let mut stream = Vec::new();
            if quic::Encoder::default().encode(&bitmap.view(), usize::MAX, &mut stream).is_ok() {
                data = ImageData::Quic(stream.into());
            }
        }
        let high_bits_set = self.once_in(4);
        let id = if cache_me || id != 0 { id } else { u64::from(self.number()) << 32 };
        Arc::new(Image { id, cache_me, high_bits_set, width, height, data })
    }

    fn mask(&mut self, bbox: &Rect) -> Option<Mask> {
        if !self.once_in(4) {
            return None;
        }
        let format = self.pick(&[BitmapFormat::OneBitBe, BitmapFormat::OneBitLe]);
        let (width, height) = (bbox.width() + self.below(8), bbox.height() + self.below(4));
        let mut bitmap = self.bitmap(format, width, height);
        bitmap.palette = None;
        let image = Arc::new(Image {
            id: u64::from(self.number()),
            cache_me: self.once_in(3),
            high_bits_set: false,
            width,
            height,
            data: ImageData::Bitmap(bitmap),
        });
        let origin = Point { x: self.within(-2, 6), y: self.within(-2, 4) };
        Some(Mask { inverse: self.once_in(3), origin, image })
    }

    fn path(&mut self, bbox: &Rect) -> Arc<[PathSegment]> {
        let mut segments = Vec::new();
        for _ in 0..=self.below(2) {
            let (bezier, close) = (self.once_in(3), self.once_in(3));
            let count = if bezier { 4 } else { 2 + self.below(4) };
            let points = (0..count)
                .map(|_| PointFix {
                    x: self.within(bbox.left * 16 - 64, bbox.right * 16 + 64),
                    y: self.within(bbox.top * 16 - 64, bbox.bottom * 16 + 64),
                })
                .collect();
            let mut flags = PathSegment::BEGIN | PathSegment::END;
            flags |= if bezier { PathSegment::BEZIER } else { 0 };
            flags |= if close { PathSegment::CLOSE } else { 0 };
            segments.push(PathSegment { flags, points });
        }
        segments.into()
    }

    fn transform(&mut self) -> Option<Transform> {
        if !self.once_in(3) {
            return None;
        }
        let mut cell =
            |unit: i32| if self.once_in(2) { unit << 16 } else { self.within(-0x2_0000, 0x2_0000) };
        let [a, b, c, d] = [cell(1), cell(0), cell(0), cell(1)];
        Some(Transform([a, b, self.within(-8, 8) << 16, c, d, self.within(-8, 8) << 15]))
    }
}

/// A source with an area of it and the box that this is drawn to.
struct Sourced {
    src: Arc<Image>,
    src_area: Rect,
    bbox: Rect,
}

/// Whether pixels of the source may be read on the target without taking an unused byte for alpha.
fn may_read(source: SurfaceFormat, target: SurfaceFormat, alpha: bool) -> bool {
    match source {
        SurfaceFormat::Xrgb32 => matches!(target, SurfaceFormat::Xrgb32 | SurfaceFormat::Rgb555) && !alpha,
        _ => true,
    }
}

impl Rig {
    fn format(&self, id: u32) -> SurfaceFormat {
        self.expect.get(&id).map_or(SurfaceFormat::Xrgb32, Canvas::format)
    }

    /// A surface as the source for this target.
    fn source_surface(&self, d: &mut Dice, target: u32, alpha: bool) -> Option<u32> {
        let to = self.format(target);
        let ids: Vec<u32> = self
            .expect
            .iter()
            .filter(|(_, c)| !self.ignore_unused || may_read(c.format(), to, alpha))
            .map(|(id, _)| *id)
            .collect();
        (!ids.is_empty()).then(|| d.pick(&ids))
    }

    fn sourced(&self, d: &mut Dice, target: u32, alpha: bool) -> Sourced {
        let scaled = d.once_in(4);
        let surface = if d.once_in(3) { self.source_surface(d, target, alpha) } else { None };
        let (src, src_area) = match surface {
            Some(id) => {
                let mut area = d.rect(W, H);
                if d.once_in(10) {
                    area = area.translate(d.within(0, 9), d.within(0, 9));
                }
                (surface_image(id), area)
            }
            None => {
                let (w, h) = if d.once_in(2) { (12, 12) } else { (d.below(30) + 1, d.below(26) + 1) };
                let image = d.image(self.format(target), w, h);
                let whole = Rect::of_size(image.width.min(W), image.height.min(H));
                let area = if d.once_in(2) { whole } else { d.rect(whole.width(), whole.height()) };
                (image, area)
            }
        };
        let bbox = if scaled {
            d.rect(W, H)
        } else {
            d.place(src_area.width() as i32, src_area.height() as i32, W, H)
        };
        Sourced { src, src_area, bbox }
    }

    fn brush(&self, d: &mut Dice, target: u32) -> Brush {
        match d.below(6) {
            0 => Brush::None,
            1 | 2 => Brush::Solid(d.number()),
            3 => match self.source_surface(d, target, false) {
                Some(id) => Brush::Pattern { image: surface_image(id), origin: d.point() },
                None => Brush::Solid(d.number()),
            },
            _ => {
                let (w, h) = (d.below(12) + 1, d.below(12) + 1);
                Brush::Pattern { image: d.image(self.format(target), w, h), origin: d.point() }
            }
        }
    }

    /// The source, or none where a snapshot of the target stands in.
    fn own(
        &self,
        d: &mut Dice,
        target: u32,
        alpha: bool,
        src: Arc<Image>,
    ) -> (Option<Arc<Image>>, Option<Rect>) {
        let readable =
            !self.ignore_unused || !alpha || target == 0 || self.format(target) != SurfaceFormat::Xrgb32;
        if d.once_in(8) && readable { (None, Some(d.rect(W, H))) } else { (Some(src), None) }
    }

    fn composite(&self, d: &mut Dice, target: u32) -> (DrawOp, Rect, Option<Rect>) {
        let Sourced { src, bbox, .. } = self.composite_image(d, target);
        let (src, own) = self.own(d, target, true, src);
        let operator = loop {
            let operator = d.below(0x3f);
            if matches!(operator, 0..=0x0d | 0x10..=0x1b | 0x20..=0x2b | 0x30..=0x3e) {
                break if d.once_in(3) { 3 } else { operator };
            }
        };
        let mask = d.once_in(3).then(|| self.composite_image(d, target).src);
        let mut flags = operator | d.below(5) << 8 | d.below(5) << 11 | d.below(16) << 14;
        flags |= d.below(2) << 18 | d.below(8) << 22;
        let (src_transform, mask_transform) = (d.transform(), d.transform().filter(|_| mask.is_some()));
        for (present, flag) in [
            (mask.is_some(), Composite::HAS_MASK),
            (src_transform.is_some(), Composite::HAS_SRC_TRANSFORM),
            (mask_transform.is_some(), Composite::HAS_MASK_TRANSFORM),
        ] {
            flags |= if present { flag } else { 0 };
        }
        let mut origin = || Point16 { x: d.within(-4, 8) as i16, y: d.within(-4, 8) as i16 };
        let (src_origin, mask_origin) = (origin(), origin());
        let op = Composite { flags, src, src_transform, mask, mask_transform, src_origin, mask_origin };
        (DrawOp::Composite(op), bbox, own)
    }

    fn composite_image(&self, d: &mut Dice, target: u32) -> Sourced {
        self.sourced(d, target, false)
    }

    /// A random command: its operation, its box, and the area to take a snapshot of.
    fn command(&self, d: &mut Dice, target: u32) -> (DrawOp, Rect, Option<Rect>) {
        let to = self.format(target);
        match d.below(28) {
            0..=2 => {
                let bbox = d.rect(W, H);
                let brush = self.brush(d, target);
                (DrawOp::Fill(Fill { brush, rop: d.rop(), mask: d.mask(&bbox) }), bbox, None)
            }
            3..=5 => {
                let Sourced { src, src_area, bbox } = self.sourced(d, target, false);
                let (src, own) = self.own(d, target, false, src);
                let brush = self.brush(d, target);
                let (rop, scale_mode, mask) = (d.rop(), d.scale_mode(), d.mask(&bbox));
                (DrawOp::Opaque(Opaque { src, src_area, brush, rop, scale_mode, mask }), bbox, own)
            }
            6..=10 => {
                let Sourced { src, src_area, bbox } = self.sourced(d, target, false);
                let (rop, scale_mode, mask) = (d.rop(), d.scale_mode(), d.mask(&bbox));
                let copy = Copy { src, src_area, rop, scale_mode, mask };
                (if d.once_in(5) { DrawOp::Blend(copy) } else { DrawOp::Copy(copy) }, bbox, None)
            }
            11 | 12 => {
                let from = d.rect(W, H);
                let bbox = d.place(from.width() as i32, from.height() as i32, W, H);
                let mut from = Point { x: from.left, y: from.top };
                if d.once_in(4) {
                    from = d.point();
                }
                (DrawOp::CopyBits(from), bbox, None)
            }
            13..=15 => {
                let bbox = d.rect(W, H);
                let mask = d.mask(&bbox);
                let op = match d.below(3) {
                    0 => DrawOp::Blackness(mask),
                    1 => DrawOp::Whiteness(mask),
                    _ => DrawOp::Invers(mask),
                };
                (op, bbox, None)
            }
            16 | 17 => {
                let Sourced { src, src_area, bbox } = self.sourced(d, target, false);
                let (src, own) = self.own(d, target, false, src);
                let brush = self.brush(d, target);
                let (rop3, scale_mode, mask) = (d.number() as u8, d.scale_mode(), d.mask(&bbox));
                (DrawOp::Rop3(Rop3 { src, src_area, brush, rop3, scale_mode, mask }), bbox, own)
            }
            18 | 19 => {
                let bbox = d.rect(W, H);
                let styled = d.once_in(2);
                let mut line_flags = if styled { Stroke::STYLED } else { 0 };
                line_flags |= if d.once_in(2) { Stroke::START_WITH_GAP } else { 0 };
                let style =
                    if styled { (0..2 + d.below(3)).map(|_| d.within(1, 90)).collect() } else { [].into() };
                let op = Stroke {
                    path: d.path(&bbox),
                    line_flags,
                    style,
                    brush: self.brush(d, target),
                    fore_mode: d.rop(),
                    back_mode: d.rop(),
                };
                (DrawOp::Stroke(op), bbox, None)
            }
            20 | 21 => {
                let Sourced { mut src, src_area, bbox } = self.sourced(d, target, false);
                // The unused bit counts there.
                if to == SurfaceFormat::Rgb555
                    && matches!(src.data, ImageData::Surface(_))
                    && self.ignore_unused
                {
                    src = d.image(to, src_area.right as u32, src_area.bottom as u32);
                }
                let (src, own) = if to == SurfaceFormat::Rgb555 {
                    (Some(src), None)
                } else {
                    self.own(d, target, false, src)
                };
                let true_color = if d.once_in(2) { 0 } else { d.number() };
                let op = Transparent { src, src_area, src_color: d.number(), true_color };
                (DrawOp::Transparent(op), bbox, own)
            }
            22..=24 => {
                let Sourced { src, src_area, bbox } = self.sourced(d, target, false);
                let flags = d.below(4) as u16;
                let xrgb =
                    matches!(src.data, ImageData::Surface(id) if self.format(id) == SurfaceFormat::Xrgb32);
                let flags =
                    if xrgb && self.ignore_unused { flags & AlphaBlend::DEST_HAS_ALPHA } else { flags };
                // Without the flag unused bytes are cleared or not by what the first of them is, also beside the clip.
                let keep = !self.ignore_unused && to == SurfaceFormat::Xrgb32;
                let flags = if keep { flags | AlphaBlend::DEST_HAS_ALPHA } else { flags };
                let alpha = if d.once_in(2) { 255 } else { d.number() as u8 };
                let (src, own) = self.own(d, target, true, src);
                (DrawOp::AlphaBlend(AlphaBlend { flags, alpha, src, src_area }), bbox, own)
            }
            _ => self.composite(d, target),
        }
    }

    /// Draws a random command on a surface.
    fn draw_any(&mut self, d: &mut Dice, target: u32) {
        if !self.expect.contains_key(&target) {
            return;
        }
        let (mut op, bbox, own) = self.command(d, target);
        let clip = if d.once_in(4) {
            Clip::Rects((0..=d.below(3)).map(|_| d.rect(W, H)).collect())
        } else {
            Clip::None
        };
        let sent = op.clone();
        if let Some(area) = own {
            let Some(image) = self.expect[&target].snapshot(&area, target == 0, 1) else { return };
            op.set_source(image);
        }
        let opaque = self.overwrites(&op, &bbox) && !d.once_in(4);
        let effect = if opaque { Effect::Opaque } else { promise(d, &op) };
        let mut deps = [None; 3];
        for (dep, (surface_id, area)) in deps.iter_mut().zip(sent.surfaces_read(&bbox)) {
            *dep = Some(SurfaceDep { surface_id, area });
        }
        let drawable = |op, release| Drawable {
            surface_id: target,
            effect,
            bbox,
            clip: clip.clone(),
            mm_time: 0,
            self_bitmap: own,
            deps,
            op,
            release,
        };
        if draw_on(&mut self.expect, &drawable(op, None)).is_err() {
            return;
        }
        let release = Some(self.token());
        self.channel.draw(Box::new(drawable(sent, release)), self.now);
    }

    /// Whether no pixel of the box keeps anything of what it was.
    fn overwrites(&self, op: &DrawOp, bbox: &Rect) -> bool {
        let all = Rect::of_size(W, H);
        let within = |src: Option<&Arc<Image>>, area: &Rect| {
            let size = src.map(|s| match s.data {
                ImageData::Surface(_) => all,
                _ => Rect::of_size(s.width, s.height),
            });
            size.is_some_and(|size| size.contains(area))
        };
        match op {
            DrawOp::Fill(f) => f.mask.is_none() && RasterOp::of_brush(f.rop).ignores_dest(),
            DrawOp::Opaque(o) => o.mask.is_none() && within(o.src.as_ref(), &o.src_area),
            DrawOp::Copy(c) => {
                let rop = RasterOp::of_image(c.rop);
                c.mask.is_none() && rop.ignores_dest() && within(Some(&c.src), &c.src_area)
            }
            DrawOp::Blackness(mask) | DrawOp::Whiteness(mask) => mask.is_none(),
            DrawOp::CopyBits(p) => all.contains(&bbox.translate(p.x - bbox.left, p.y - bbox.top)),
            _ => false,
        }
    }
}

/// What a guest may say of a command that is not opaque: what comes of two that are the same.
fn promise(d: &mut Dice, op: &DrawOp) -> Effect {
    let rop = match op {
        DrawOp::Fill(fill) if fill.mask.is_none() => fill.rop,
        DrawOp::Stroke(stroke) => stroke.fore_mode,
        _ => return Effect::Blend,
    };
    let op = RasterOp::of_brush(rop);
    let twice = |v: u32| op.pixel(0xff00, op.pixel(0xff00, v));
    let values = [0, 0x00ff, 0xff00, 0xffff];
    let reverts = values.iter().all(|&v| twice(v) == v);
    let idles = values.iter().all(|&v| twice(v) == op.pixel(0xff00, v));
    let honest =
        [(Effect::RevertOnDup, reverts), (Effect::NopOnDup, idles), (Effect::OpaqueBrush, op.ignores_dest())];
    let (effect, honest) = d.pick(&honest);
    if honest && !d.once_in(4) { effect } else { Effect::Blend }
}

fn settings(compression: ImageCompression, jpeg: bool, zlib: bool) -> DisplaySettings {
    let wan = |on| if on { WanCompression::Always } else { WanCompression::Never };
    DisplaySettings {
        image_compression: compression,
        jpeg: wan(jpeg),
        zlib_glz: wan(zlib),
        ..DisplaySettings::default()
    }
}

fn draw_all(settings: DisplaySettings, remote: bool, third: SurfaceFormat, cache: i64, steps: &[(u8, u64)]) {
    let compression = settings.image_compression;
    let lossy = settings.jpeg == WanCompression::Always;
    let video = settings.streaming == StreamingVideo::All;
    let mut rig = Rig::new(settings);
    rig.lossy = lossy;
    rig.video = video;
    rig.remote = remote;
    rig.capable = true;
    rig.ignore_unused = remote || compression != ImageCompression::Off;
    rig.formats = [SurfaceFormat::Xrgb32, SurfaceFormat::Argb32, SurfaceFormat::Xrgb32, third];
    rig.primary();
    rig.attach(cache);
    for &(kind, seed) in steps {
        let mut d = Dice(seed, !rig.ignore_unused);
        match kind {
            0..170 => {
                let target = d.below(4);
                rig.draw_any(&mut d, target);
            }
            _ => {
                let n = std::array::from_fn(|_| d.number() as u16);
                step(&mut rig, if video && d.once_in(3) { 24 } else { 15 + kind % 9 }, n, lossy);
            }
        }
    }
    finish(rig);
}

proptest! {
    #![proptest_config(crate::testing::cases(48))]

    #[test]
    fn commands_of_all_kinds_end_as_the_same_picture(
        steps in proptest::collection::vec((any::<u8>(), any::<u64>()), 1..150),
        compression in proptest::sample::select(vec![1u32, 1, 1, 2, 3, 4, 5, 6, 7]),
        jpeg: bool,
        zlib: bool,
        remote in proptest::bool::weighted(0.7),
        alpha_surface: bool,
        video in proptest::bool::weighted(0.2),
        cache in proptest::sample::select(vec![300i64, 700, 100_000]),
    ) {
        let compression = ImageCompression::try_from(compression).map_err(|_| TestCaseError::reject("code"))?;
        let third = if alpha_surface { SurfaceFormat::A8 } else { SurfaceFormat::Rgb555 };
        let mut settings = settings(compression, jpeg, zlib);
        if video {
            settings.streaming = StreamingVideo::All;
        }
        draw_all(settings, remote, third, cache, &steps);
    }
}
