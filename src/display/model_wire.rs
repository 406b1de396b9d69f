//! What the model client reads of drawing commands: operations, images of all codecs, and its caches.

use crate::codec::glz::{self, inflate};
use crate::codec::lz::{self, LzType};
use crate::codec::lz4;
use crate::draw::{
    AlphaBlend, Brush, Composite, Copy, DrawOp, Fill, Glyph, GlyphString, Mask, Opaque, PathSegment, Rop,
    Rop3, ScaleMode, Stroke, Text, Transform, Transparent,
};
use crate::geometry::{Point, Point16, PointFix, Rect};
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, Palette, SurfaceFormat};
use crate::protocol::display::server;
use std::collections::HashMap;
use std::sync::Arc;

/// A cached image.
struct Kept {
    image: Arc<Image>,
    lossy: bool,
    /// Of the surface that it was first drawn on: a client keeps the colours of palettes as that took them.
    format: SurfaceFormat,
}

/// The image caches of a client.
#[derive(Default)]
pub(super) struct Images {
    kept: HashMap<u64, Kept>,
    palettes: HashMap<u64, Arc<Palette>>,
    glz: glz::Decoder,
    /// Id, width and height of the surfaces that the last operation named as sources.
    pub surfaces_read: Vec<(u32, u32, u32)>,
}

impl Images {
    pub(super) fn forget(&mut self, id: u64) {
        self.kept.remove(&id).expect("invalidated image is cached");
    }

    pub(super) fn forget_palette(&mut self, unique: u64) {
        self.palettes.remove(&unique).expect("invalidated palette is cached");
    }

    pub(super) fn forget_palettes(&mut self) {
        self.palettes.clear();
    }

    /// The operation of a message behind its base.
    pub(super) fn operation(&mut self, msg_type: u16, r: &mut Cursor<'_>, target: SurfaceFormat) -> DrawOp {
        let rop = |r: &mut Cursor<'_>| Rop::from_bits_retain(r.u16());
        let scale =
            |r: &mut Cursor<'_>| if r.u8() == 0 { ScaleMode::Interpolate } else { ScaleMode::Nearest };
        match msg_type {
            server::COPY_BITS => DrawOp::CopyBits(r.point()),
            server::DRAW_FILL => {
                let brush = self.brush(r, target);
                DrawOp::Fill(Fill { brush, rop: rop(r), mask: self.mask(r, target) })
            }
            server::DRAW_COPY | server::DRAW_BLEND => {
                let (src, src_area) = self.source(r, target);
                let (rop, scale_mode) = (rop(r), scale(r));
                let copy = Copy { src, src_area, rop, scale_mode, mask: self.mask(r, target) };
                if msg_type == server::DRAW_COPY { DrawOp::Copy(copy) } else { DrawOp::Blend(copy) }
            }
            server::DRAW_OPAQUE => {
                let (src, src_area) = self.source(r, target);
                let brush = self.brush(r, target);
                let (rop, scale_mode) = (rop(r), scale(r));
                let mask = self.mask(r, target);
                DrawOp::Opaque(Opaque { src: Some(src), src_area, brush, rop, scale_mode, mask })
            }
            server::DRAW_ROP3 => {
                let (src, src_area) = self.source(r, target);
                let brush = self.brush(r, target);
                let (rop3, scale_mode) = (r.u8(), scale(r));
                let mask = self.mask(r, target);
                DrawOp::Rop3(Rop3 { src: Some(src), src_area, brush, rop3, scale_mode, mask })
            }
            server::DRAW_TRANSPARENT => {
                let (src, src_area) = self.source(r, target);
                let (src_color, true_color) = (r.u32(), r.u32());
                DrawOp::Transparent(Transparent { src: Some(src), src_area, src_color, true_color })
            }
            server::DRAW_ALPHA_BLEND => {
                let (flags, alpha) = (r.u8().into(), r.u8());
                let (src, src_area) = self.source(r, target);
                DrawOp::AlphaBlend(AlphaBlend { flags, alpha, src: Some(src), src_area })
            }
            server::DRAW_COMPOSITE => self.composite(r, target),
            server::DRAW_STROKE => self.stroke(r, target),
            server::DRAW_TEXT => self.text(r, target),
            server::DRAW_BLACKNESS => DrawOp::Blackness(self.mask(r, target)),
            server::DRAW_WHITENESS => DrawOp::Whiteness(self.mask(r, target)),
            server::DRAW_INVERS => DrawOp::Invers(self.mask(r, target)),
            other => panic!("message {other} is not known to the model"),
        }
    }

    fn composite(&mut self, r: &mut Cursor<'_>, target: SurfaceFormat) -> DrawOp {
        let flags = r.u32();
        let src = self.pointed(r, target);
        assert!(src.is_some(), "COMPOSITE has a source");
        let mask = if flags & Composite::HAS_MASK != 0 { self.pointed(r, target) } else { None };
        let transform = |r: &mut Cursor<'_>, flag| {
            (flags & flag != 0).then(|| Transform(std::array::from_fn(|_| r.u32() as i32)))
        };
        let src_transform = transform(r, Composite::HAS_SRC_TRANSFORM);
        let mask_transform = transform(r, Composite::HAS_MASK_TRANSFORM);
        let mut point = || Point16 { x: r.u16() as i16, y: r.u16() as i16 };
        let (src_origin, mask_origin) = (point(), point());
        DrawOp::Composite(Composite {
            flags,
            src,
            src_transform,
            mask,
            mask_transform,
            src_origin,
            mask_origin,
        })
    }

    fn stroke(&mut self, r: &mut Cursor<'_>, target: SurfaceFormat) -> DrawOp {
        let mut at_path = r.at_pointer().expect("STROKE has a path");
        let path = (0..at_path.u32())
            .map(|_| {
                let flags = at_path.u8().into();
                let points = (0..at_path.u32())
                    .map(|_| PointFix { x: at_path.u32() as i32, y: at_path.u32() as i32 })
                    .collect();
                PathSegment { flags, points }
            })
            .collect();
        let line_flags = r.u8();
        let mut style: Arc<[i32]> = Arc::new([]);
        if line_flags & Stroke::STYLED != 0 {
            let count = r.u8();
            let mut dashes = r.at_pointer().expect("a styled line has dashes");
            style = (0..count).map(|_| dashes.u32() as i32).collect();
        }
        let brush = self.brush(r, target);
        let (fore_mode, back_mode) = (r.u16(), r.u16());
        let [fore_mode, back_mode] = [fore_mode, back_mode].map(Rop::from_bits_retain);
        DrawOp::Stroke(Stroke { path, line_flags, style, brush, fore_mode, back_mode })
    }

    fn text(&mut self, r: &mut Cursor<'_>, target: SurfaceFormat) -> DrawOp {
        let mut at_string = r.at_pointer().expect("TEXT has a string");
        let (count, flags) = (at_string.u16(), at_string.u8());
        assert_eq!(u16::from(flags), GlyphString::A1, "the server's own text is of this kind");
        let glyphs = (0..count)
            .map(|_| {
                let (render_pos, origin) = (at_string.point(), at_string.point());
                let (width, height) = (at_string.u16(), at_string.u16());
                let data = at_string.bytes(usize::from(width.div_ceil(8)) * usize::from(height));
                Glyph { render_pos, origin, width, height, data }
            })
            .collect();
        let string = Arc::new(GlyphString { flags: flags.into(), glyphs });
        let back_area = r.rect();
        let (fore_brush, back_brush) = (self.brush(r, target), self.brush(r, target));
        let [fore_mode, back_mode] = [r.u16(), r.u16()].map(Rop::from_bits_retain);
        DrawOp::Text(Text { string, back_area, fore_brush, back_brush, fore_mode, back_mode })
    }

    fn source(&mut self, r: &mut Cursor<'_>, target: SurfaceFormat) -> (Arc<Image>, Rect) {
        let src = self.pointed(r, target).expect("there is a source");
        (src, r.rect())
    }

    fn brush(&mut self, r: &mut Cursor<'_>, target: SurfaceFormat) -> Brush {
        match r.u8() {
            0 => Brush::None,
            1 => Brush::Solid(r.u32()),
            2 => {
                let image = self.pointed(r, target).expect("a pattern has an image");
                Brush::Pattern { image, origin: r.point() }
            }
            other => panic!("brush of type {other}"),
        }
    }

    fn mask(&mut self, r: &mut Cursor<'_>, target: SurfaceFormat) -> Option<Mask> {
        let (flags, origin) = (r.u8(), r.point());
        let image = self.pointed(r, target)?;
        assert!(matches!(&image.data, ImageData::Bitmap(b) if b.format.bits_per_pixel() == 1));
        Some(Mask { inverse: flags & 1 != 0, origin, image })
    }

    /// The image that a pointer leads to.
    fn pointed(&mut self, r: &mut Cursor<'_>, target: SurfaceFormat) -> Option<Arc<Image>> {
        let mut at = r.at_pointer()?;
        Some(self.image(&mut at, target))
    }

    fn image(&mut self, r: &mut Cursor<'_>, target: SurfaceFormat) -> Arc<Image> {
        let id = r.u64();
        let (image_type, flags) = (r.u8(), r.u8());
        let (width, height) = (r.u32(), r.u32());
        let packed = |format: BitmapFormat, top_down, palette, pixels: Vec<u8>| {
            ImageData::Bitmap(Bitmap {
                format,
                width,
                height,
                stride: format.min_stride(width) as u32,
                top_down,
                unstable: false,
                palette,
                pixels: Arc::new(pixels),
            })
        };
        let lossy = matches!(image_type, 105 | 108);
        let data = match image_type {
            0 => {
                let format = BitmapFormat::try_from(r.u8()).unwrap();
                let flags = r.u8();
                assert_eq!((r.u32(), r.u32()), (width, height));
                let stride = r.u32();
                let palette = self.palette(r, flags);
                let pixels = Arc::new(r.bytes((stride * height) as usize));
                let top_down = flags & 4 != 0;
                ImageData::Bitmap(Bitmap {
                    format,
                    width,
                    height,
                    stride,
                    top_down,
                    unstable: false,
                    palette,
                    pixels,
                })
            }
            1 => ImageData::Quic(r.sized().into()),
            100 => {
                let flags = r.u8();
                let size = r.u32();
                let palette = self.palette(r, flags);
                assert!(palette.is_some(), "LZ_PLT has a palette");
                let mut pixels = Vec::new();
                let header = lz::decode(&r.bytes(size as usize), width, height, &mut pixels).unwrap();
                assert_eq!(header.top_down, flags & 4 != 0);
                packed(lz_format(header.kind), header.top_down, palette, pixels)
            }
            101 => {
                let mut pixels = Vec::new();
                let header = lz::decode(&r.sized(), width, height, &mut pixels).unwrap();
                packed(lz_format(header.kind), header.top_down, None, pixels)
            }
            102 | 107 => {
                let glz_size = (image_type == 107).then(|| r.u32() as usize);
                let mut data = r.sized();
                if let Some(size) = glz_size {
                    data = inflate(&data, size).expect("zlib stream");
                }
                let decoded = self.glz.decode(&data).unwrap();
                assert_eq!((decoded.width, decoded.height), (width, height));
                packed(lz_format(decoded.kind), decoded.top_down, None, decoded.pixels)
            }
            109 => {
                let mut pixels = Vec::new();
                let (format, top_down) = lz4::decode(&r.sized(), width, height, &mut pixels).unwrap();
                packed(format, top_down, None, pixels)
            }
            105 => {
                // Whatever depends on lossy pixels must be repaired, so these are as wrong as can be.
                let bytes = r.sized().into_iter().cycle().take((width * height * 4) as usize).collect();
                packed(BitmapFormat::ThirtyTwoBit, true, None, bytes)
            }
            108 => packed(BitmapFormat::Rgba, true, None, vec![0x77; (width * height * 4) as usize]),
            103 | 106 => {
                let kept = self.kept.get(&id).expect("image from the cache is there");
                assert!(image_type == 103 || !kept.lossy, "the cached image is lossless");
                assert!(!has_palette(&kept.image) || kept.format == target, "colours of {:?}", kept.format);
                return kept.image.clone();
            }
            104 => {
                let id = r.u32();
                self.surfaces_read.push((id, width, height));
                ImageData::Surface(id)
            }
            other => panic!("image type {other} is not known to the model"),
        };
        let (cache_me, high_bits_set) = (flags & 5 != 0, flags & 2 != 0);
        let image = Arc::new(Image { id, cache_me, high_bits_set, width, height, data });
        let known = matches!(target, SurfaceFormat::Xrgb32 | SurfaceFormat::Rgb555);
        assert!(known || !has_palette(&image), "nobody knows what colours are on {target:?}");
        if cache_me {
            let kept = Kept { image: as_kept(&image, target), lossy, format: target };
            let replaced = self.kept.insert(id, kept);
            assert_eq!(
                replaced.is_some(),
                flags & 4 != 0,
                "image is cached twice, or there is none to replace"
            );
            assert!(replaced.is_none_or(|r| r.lossy) && !(lossy && flags & 4 != 0));
        }
        image
    }

    fn palette(&mut self, r: &mut Cursor<'_>, flags: u8) -> Option<Arc<Palette>> {
        if flags & 2 != 0 {
            return Some(self.palettes.get(&r.u64()).expect("palette from the cache is there").clone());
        }
        let mut at = r.at_pointer()?;
        let unique = at.u64();
        let entries = (0..at.u16()).map(|_| at.u32()).collect();
        let palette = Arc::new(Palette { unique, entries });
        if flags & 1 != 0 {
            assert!(unique != 0 && self.palettes.insert(unique, palette.clone()).is_none());
        }
        Some(palette)
    }
}

fn has_palette(image: &Image) -> bool {
    matches!(&image.data, ImageData::Bitmap(b) if b.palette.is_some())
}

/// What a client's cache keeps of an image. On a surface of 32 bits, palettes give true colours, which stay right on any
/// other surface. Elsewhere they give native values of that surface.
fn as_kept(image: &Arc<Image>, target: SurfaceFormat) -> Arc<Image> {
    let ImageData::Bitmap(bitmap) = &image.data else { return image.clone() };
    let Some(palette) = bitmap.palette.as_ref().filter(|_| target == SurfaceFormat::Xrgb32) else {
        return image.clone();
    };
    let mut pixels = Vec::new();
    for row in bitmap.to_bytes().chunks(bitmap.stride as usize) {
        for x in 0..bitmap.width as usize {
            let index = match bitmap.format {
                BitmapFormat::OneBitLe => row[x / 8] >> (x % 8) & 1,
                BitmapFormat::OneBitBe => row[x / 8] >> (7 - x % 8) & 1,
                BitmapFormat::FourBitLe => row[x / 2] >> (x % 2 * 4) & 15,
                BitmapFormat::FourBitBe => row[x / 2] >> (4 - x % 2 * 4) & 15,
                _ => row[x],
            };
            let colour = palette.entries.get(usize::from(index)).copied().unwrap_or(0);
            pixels.extend_from_slice(&colour.to_le_bytes());
        }
    }
    let (format, stride, pixels) = (BitmapFormat::ThirtyTwoBit, bitmap.width * 4, Arc::new(pixels));
    let bitmap = Bitmap { format, stride, palette: None, pixels, ..*bitmap };
    Arc::new(Image { data: ImageData::Bitmap(bitmap), ..Image::clone(image) })
}

/// The bitmap format of what the LZ family decodes.
fn lz_format(kind: LzType) -> BitmapFormat {
    match kind {
        LzType::Plt1Le => BitmapFormat::OneBitLe,
        LzType::Plt1Be => BitmapFormat::OneBitBe,
        LzType::Plt4Le => BitmapFormat::FourBitLe,
        LzType::Plt4Be => BitmapFormat::FourBitBe,
        LzType::Plt8 => BitmapFormat::EightBit,
        LzType::Rgb16 => BitmapFormat::SixteenBit,
        LzType::Rgb24 => BitmapFormat::TwentyFourBit,
        LzType::Rgb32 => BitmapFormat::ThirtyTwoBit,
        LzType::Rgba => BitmapFormat::Rgba,
        LzType::A8 => BitmapFormat::EightBitA,
        LzType::Xxxa => panic!("no image of its own"),
    }
}

/// Reads the body of a message.
pub(super) struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// What the pointer that comes next leads to.
    fn at_pointer(&mut self) -> Option<Self> {
        let at = self.u32() as usize;
        (at != 0).then_some(Self { body: self.body, at })
    }

    pub(super) fn bytes(&mut self, n: usize) -> Vec<u8> {
        let bytes = self.body[self.at..self.at + n].to_vec();
        self.at += n;
        bytes
    }
    fn sized(&mut self) -> Vec<u8> {
        let size = self.u32() as usize;
        self.bytes(size)
    }
    pub(super) fn u8(&mut self) -> u8 {
        self.bytes(1)[0]
    }
    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes(2).try_into().unwrap())
    }
    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes(4).try_into().unwrap())
    }
    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes(8).try_into().unwrap())
    }
    pub(super) fn clip_rects(&mut self) -> Vec<Rect> {
        assert_eq!(self.u8(), 1);
        (0..self.u32()).map(|_| self.rect()).collect()
    }
    pub(super) fn point(&mut self) -> Point {
        Point { x: self.u32() as i32, y: self.u32() as i32 }
    }
    pub(super) fn rect(&mut self) -> Rect {
        let (top, left, bottom, right) = (self.u32(), self.u32(), self.u32(), self.u32());
        Rect::new(left as i32, top as i32, right as i32, bottom as i32)
    }
}
