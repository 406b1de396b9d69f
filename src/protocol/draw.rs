//! Draw messages of the display channel, byte for byte in the original's block order (wire.md 2.4, 5.2, 5.3,
//! 5.6).
//!
//! The form of an image on the wire depends on the client (codec, caches), so operations and images are
//! separate: [`draw`] takes the operation and, per image slot, a [`WireImage`] made for one client.

use super::body::{Message, Segment};
use super::display::{put_clip, server};
use super::writer::{BlockId, Marshaller, Put, count32};
use crate::draw::{Brush, Clip, Composite, DrawOp, Mask, PathSegment, Stroke, Text, Transform};
use crate::geometry::{Point, Rect};
use crate::image::{BitmapFormat, Palette, WireImageType};
use std::sync::Arc;

/// Image descriptor flag: the client caches the image under its id.
pub(crate) const IMAGE_CACHE_ME: u8 = 1;
/// Image descriptor flag: the top byte of each pixel counts as 0xff.
pub(crate) const IMAGE_HIGH_BITS_SET: u8 = 2;
/// Image descriptor flag: lossless data for an image that the client has cached in lossy form.
pub(crate) const IMAGE_CACHE_REPLACE_ME: u8 = 4;

const BITMAP_PAL_CACHE_ME: u8 = 1;
const BITMAP_PAL_FROM_CACHE: u8 = 2;
const BITMAP_TOP_DOWN: u8 = 4;
const MASK_INVERS: u8 = 1;

/// The form in which a client receives a palette.
#[derive(Clone, Debug)]
pub(crate) enum WirePalette {
    /// No palette; not for LZ_PLT.
    None,
    Inline {
        palette: Arc<Palette>,
        cache_me: bool,
    },
    /// The client has it in its cache under this `unique`.
    FromCache(u64),
}

impl WirePalette {
    fn flags(&self) -> u8 {
        match self {
            Self::Inline { cache_me: true, .. } => BITMAP_PAL_CACHE_ME,
            Self::FromCache(_) => BITMAP_PAL_FROM_CACHE,
            _ => 0,
        }
    }
}

/// The form in which a client receives the data of an image.
#[derive(Clone, Debug)]
pub(crate) enum WireImageData {
    /// Uncompressed, `stride * height` bytes.
    Bitmap {
        format: BitmapFormat,
        top_down: bool,
        stride: u32,
        palette: WirePalette,
        data: Segment,
    },
    Quic(Segment),
    LzPlt {
        top_down: bool,
        palette: WirePalette,
        data: Segment,
    },
    LzRgb(Segment),
    GlzRgb(Segment),
    FromCache,
    FromCacheLossless,
    Surface(u32),
    Jpeg(Segment),
    /// `glz_size` is the number of bytes after decompression.
    ZlibGlzRgb {
        glz_size: u32,
        data: Segment,
    },
    /// `data` is a JPEG of `jpeg_size` bytes, followed by the alpha plane as LZ.
    JpegAlpha {
        top_down: bool,
        jpeg_size: u32,
        data: Segment,
    },
    Lz4(Segment),
}

impl WireImageData {
    /// The type in the image descriptor.
    #[must_use]
    pub(crate) const fn image_type(&self) -> WireImageType {
        match self {
            Self::Bitmap { .. } => WireImageType::Bitmap,
            Self::Quic(_) => WireImageType::Quic,
            Self::LzPlt { .. } => WireImageType::LzPlt,
            Self::LzRgb(_) => WireImageType::LzRgb,
            Self::GlzRgb(_) => WireImageType::GlzRgb,
            Self::FromCache => WireImageType::FromCache,
            Self::FromCacheLossless => WireImageType::FromCacheLossless,
            Self::Surface(_) => WireImageType::Surface,
            Self::Jpeg(_) => WireImageType::Jpeg,
            Self::ZlibGlzRgb { .. } => WireImageType::ZlibGlzRgb,
            Self::JpegAlpha { .. } => WireImageType::JpegAlpha,
            Self::Lz4(_) => WireImageType::Lz4,
        }
    }
}

/// An image in the form that one client receives.
#[derive(Clone, Debug)]
pub(crate) struct WireImage {
    pub id: u64,
    /// IMAGE_ flags.
    pub flags: u8,
    pub width: u32,
    pub height: u32,
    pub data: WireImageData,
}

/// The surface, box and clip of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrawBase<'a> {
    pub surface_id: u32,
    pub bbox: Rect,
    pub clip: &'a Clip,
}

/// The images of one command by slot. Slots that the operation does not have stay `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct DrawImages {
    pub src: Option<WireImage>,
    /// Pattern of the brush; of the fore brush for TEXT.
    pub brush: Option<WireImage>,
    /// Pattern of the back brush of TEXT.
    pub back_brush: Option<WireImage>,
    /// Mask of QMask operations and of COMPOSITE.
    pub mask: Option<WireImage>,
}

/// The message for an operation; `None` for [`DrawOp::Nop`].
#[must_use]
pub(crate) fn draw(base: &DrawBase<'_>, op: &DrawOp, images: DrawImages) -> Option<Message> {
    let mut d = DrawWriter { m: Marshaller::new(), images, filled: Vec::new() };
    d.m.u32(base.surface_id).rect(&base.bbox);
    put_clip(&mut d.m, base.clip);
    let msg_type = d.operation(op)?;
    for (block, image) in std::mem::take(&mut d.filled) {
        d.m.select(block);
        put_image(&mut d.m, image);
    }
    Some(Message::new(msg_type, d.m.finish()))
}

struct DrawWriter {
    m: Marshaller,
    images: DrawImages,
    /// The blocks whose image follows the fixed part, in the order of their pointers.
    filled: Vec<(BlockId, WireImage)>,
}

impl DrawWriter {
    fn operation(&mut self, op: &DrawOp) -> Option<u16> {
        Some(match op {
            DrawOp::Nop => return None,
            DrawOp::Fill(fill) => {
                self.fore_brush(&fill.brush);
                self.m.u16(fill.rop.bits());
                self.mask(fill.mask.as_ref());
                server::DRAW_FILL
            }
            DrawOp::Opaque(o) => {
                self.src(&o.src_area);
                self.fore_brush(&o.brush);
                self.m.u16(o.rop.bits()).u8(o.scale_mode as u8);
                self.mask(o.mask.as_ref());
                server::DRAW_OPAQUE
            }
            DrawOp::Copy(c) | DrawOp::Blend(c) => {
                self.src(&c.src_area);
                self.m.u16(c.rop.bits()).u8(c.scale_mode as u8);
                self.mask(c.mask.as_ref());
                if matches!(op, DrawOp::Copy(_)) { server::DRAW_COPY } else { server::DRAW_BLEND }
            }
            DrawOp::CopyBits(src_pos) => {
                self.m.point(*src_pos);
                server::COPY_BITS
            }
            DrawOp::Blackness(mask) => {
                self.mask(mask.as_ref());
                server::DRAW_BLACKNESS
            }
            DrawOp::Whiteness(mask) => {
                self.mask(mask.as_ref());
                server::DRAW_WHITENESS
            }
            DrawOp::Invers(mask) => {
                self.mask(mask.as_ref());
                server::DRAW_INVERS
            }
            DrawOp::Rop3(r) => {
                self.src(&r.src_area);
                self.fore_brush(&r.brush);
                self.m.u8(r.rop3).u8(r.scale_mode as u8);
                self.mask(r.mask.as_ref());
                server::DRAW_ROP3
            }
            DrawOp::Stroke(s) => {
                self.stroke(s);
                server::DRAW_STROKE
            }
            DrawOp::Text(t) => {
                self.text(t);
                server::DRAW_TEXT
            }
            DrawOp::Transparent(t) => {
                self.src(&t.src_area);
                self.m.u32(t.src_color).u32(t.true_color);
                server::DRAW_TRANSPARENT
            }
            DrawOp::AlphaBlend(a) => {
                self.m.u8((a.flags & 0xff) as u8).u8(a.alpha);
                self.src(&a.src_area);
                server::DRAW_ALPHA_BLEND
            }
            DrawOp::Composite(c) => {
                self.composite(c);
                server::DRAW_COMPOSITE
            }
        })
    }

    /// Writes a pointer to an image that `filled` writes later; a null pointer for `None`.
    fn image(&mut self, image: Option<WireImage>) {
        match image {
            Some(image) => {
                let block = self.m.pointer();
                self.filled.push((block, image));
            }
            None => self.m.null(),
        }
    }

    fn src(&mut self, area: &Rect) {
        let src = self.images.src.take();
        self.image(src);
        self.m.rect(area);
    }

    fn fore_brush(&mut self, brush: &Brush) {
        let pattern = self.images.brush.take();
        self.brush(brush, pattern);
    }

    fn brush(&mut self, brush: &Brush, pattern: Option<WireImage>) {
        match brush {
            Brush::None => {
                self.m.u8(0);
            }
            Brush::Solid(color) => {
                self.m.u8(1).u32(*color);
            }
            Brush::Pattern { origin, .. } => {
                self.m.u8(2);
                self.image(pattern);
                self.m.point(*origin);
            }
        }
    }

    fn mask(&mut self, mask: Option<&Mask>) {
        let (flags, origin, image) = match mask {
            Some(mask) => (if mask.inverse { MASK_INVERS } else { 0 }, mask.origin, self.images.mask.take()),
            None => (0, Point::default(), None),
        };
        self.m.u8(flags).point(origin);
        self.image(image);
    }

    fn stroke(&mut self, s: &Stroke) {
        let path = self.m.pointer();
        let styled = s.line_flags & Stroke::STYLED != 0;
        self.m.u8(s.line_flags);
        let dashes = &s.style[..s.style.len().min(255)];
        let style = styled.then(|| {
            self.m.u8(u8::try_from(dashes.len()).unwrap_or(u8::MAX));
            self.m.pointer()
        });
        self.fore_brush(&s.brush);
        self.m.u16(s.fore_mode.bits()).u16(s.back_mode.bits());
        self.m.select(path);
        put_path(&mut self.m, &s.path);
        if let Some(style) = style {
            self.m.select(style);
            for &dash in dashes {
                self.m.i32(dash);
            }
        }
    }

    fn text(&mut self, t: &Text) {
        let string = self.m.pointer();
        self.m.rect(&t.back_area);
        self.fore_brush(&t.fore_brush);
        let back = self.images.back_brush.take();
        self.brush(&t.back_brush, back);
        self.m.u16(t.fore_mode.bits()).u16(t.back_mode.bits());
        self.m.select(string);
        let glyphs = &t.string.glyphs[..t.string.glyphs.len().min(usize::from(u16::MAX))];
        self.m.u16(u16::try_from(glyphs.len()).unwrap_or(u16::MAX)).u8((t.string.flags & 0xff) as u8);
        for g in glyphs {
            self.m.point(g.render_pos).point(g.origin).u16(g.width).u16(g.height);
            self.m.put(&g.data);
        }
    }

    fn composite(&mut self, c: &Composite) {
        let mask = self.images.mask.take();
        let mut flags =
            c.flags & !(Composite::HAS_MASK | Composite::HAS_SRC_TRANSFORM | Composite::HAS_MASK_TRANSFORM);
        let mut set = |present: bool, bit: u32| flags |= if present { bit } else { 0 };
        set(mask.is_some(), Composite::HAS_MASK);
        set(c.src_transform.is_some(), Composite::HAS_SRC_TRANSFORM);
        set(c.mask_transform.is_some(), Composite::HAS_MASK_TRANSFORM);
        self.m.u32(flags);
        let src = self.images.src.take();
        self.image(src);
        if mask.is_some() {
            self.image(mask);
        }
        for Transform(matrix) in [c.src_transform, c.mask_transform].into_iter().flatten() {
            for cell in matrix {
                self.m.i32(cell);
            }
        }
        self.m.point16(c.src_origin).point16(c.mask_origin);
    }
}

fn put_path(m: &mut Marshaller, path: &[PathSegment]) {
    m.u32(count32(path.len()));
    for segment in path {
        m.u8((segment.flags & 0xff) as u8).u32(count32(segment.points.len()));
        for p in &segment.points {
            m.i32(p.x).i32(p.y);
        }
    }
}

fn put_image(m: &mut Marshaller, image: WireImage) {
    m.u64(image.id).u8(image.data.image_type() as u8).u8(image.flags).u32(image.width).u32(image.height);
    let sized = |m: &mut Marshaller, data: Segment| {
        m.u32(count32(data.len()));
        m.segment(data);
    };
    match image.data {
        WireImageData::Bitmap { format, top_down, stride, palette, data } => {
            m.u8(format as u8).u8(palette.flags() | top_down_flag(top_down));
            m.u32(image.width).u32(image.height).u32(stride);
            put_palette(m, &palette);
            m.segment(data);
        }
        WireImageData::LzPlt { top_down, palette, data } => {
            m.u8(palette.flags() | top_down_flag(top_down)).u32(count32(data.len()));
            put_palette(m, &palette);
            m.segment(data);
        }
        WireImageData::FromCache | WireImageData::FromCacheLossless => {}
        WireImageData::Surface(id) => {
            m.u32(id);
        }
        WireImageData::ZlibGlzRgb { glz_size, data } => {
            m.u32(glz_size);
            sized(m, data);
        }
        WireImageData::JpegAlpha { top_down, jpeg_size, data } => {
            m.u8(top_down.into()).u32(jpeg_size);
            sized(m, data);
        }
        WireImageData::Quic(data)
        | WireImageData::LzRgb(data)
        | WireImageData::GlzRgb(data)
        | WireImageData::Jpeg(data)
        | WireImageData::Lz4(data) => sized(m, data),
    }
}

const fn top_down_flag(top_down: bool) -> u8 {
    if top_down { BITMAP_TOP_DOWN } else { 0 }
}

/// Writes a palette. Its block comes after all blocks that exist now, but its content is written at once.
fn put_palette(m: &mut Marshaller, palette: &WirePalette) {
    match palette {
        WirePalette::None => m.null(),
        WirePalette::FromCache(id) => {
            m.u64(*id);
        }
        WirePalette::Inline { palette, .. } => {
            let block = m.pointer();
            let image = m.select(block);
            m.u64(palette.unique).u16(u16::try_from(palette.entries.len()).unwrap_or(u16::MAX));
            for &entry in palette.entries.iter().take(usize::from(u16::MAX)) {
                m.u32(entry);
            }
            m.select(image);
        }
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
