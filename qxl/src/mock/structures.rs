//! Builders of guest structures (qxl.md part B). Those that live in guest memory return their address; the parts of
//! other structures return bytes.

use super::{Bytes, MockGuest};
use spice_server_core::geometry::{Point, Point16, Rect};

/// Draw types by number.
pub use crate::parse::draw::draw_type;

/// ROP_PUT, which copies the source.
pub const PUT: u16 = 8;

/// A drawable without its body.
#[derive(Clone, Debug)]
pub struct DrawableSpec {
    pub release_id: u64,
    pub surface_id: u32,
    pub effect: u8,
    pub draw_type: u8,
    pub self_bitmap: Option<Rect>,
    pub bbox: Rect,
    /// Type and address.
    pub clip: (u32, u64),
    pub deps: [(i32, Rect); 3],
}

impl DrawableSpec {
    /// An opaque, unclipped command of surface 0.
    #[must_use]
    pub fn new(draw_type: u8, bbox: Rect) -> Self {
        Self {
            release_id: 0,
            surface_id: 0,
            effect: 1,
            draw_type,
            self_bitmap: None,
            bbox,
            clip: (0, 0),
            deps: [(-1, Rect::default()); 3],
        }
    }

    /// The bytes of a QXLDrawable.
    #[must_use]
    pub fn native(&self, body: &Bytes) -> Bytes {
        let mut bytes = Bytes::new()
            .u64(self.release_id)
            .u32(self.surface_id)
            .u8(self.effect)
            .u8(self.draw_type)
            .u8(u8::from(self.self_bitmap.is_some()))
            .rect(self.self_bitmap.unwrap_or_default())
            .rect(self.bbox)
            .u32(self.clip.0)
            .u64(self.clip.1)
            .u32(0);
        for (id, _) in self.deps {
            bytes = bytes.i32(id);
        }
        for (_, area) in self.deps {
            bytes = bytes.rect(area);
        }
        bytes.bytes(&body.0).pad_to(191)
    }

    /// The bytes of a QXLCompatDrawable.
    #[must_use]
    pub fn compat(&self, body: &Bytes) -> Bytes {
        Bytes::new()
            .u64(self.release_id)
            .u8(self.effect)
            .u8(self.draw_type)
            .u16(u16::from(self.self_bitmap.is_some()))
            .rect(self.self_bitmap.unwrap_or_default())
            .rect(self.bbox)
            .u32(self.clip.0)
            .u64(self.clip.1)
            .u32(0)
            .bytes(&body.0)
            .pad_to(128)
    }
}

/// A bitmap image.
#[derive(Clone, Debug)]
pub struct BitmapSpec<'a> {
    pub id: u64,
    pub descriptor_flags: u8,
    pub format: u8,
    /// 1 direct, 2 unstable, 4 top-down.
    pub flags: u8,
    pub width: u32,
    pub height: u32,
    pub stride: u32,
    /// Address.
    pub palette: u64,
    /// Pixels, in the chunks in which they are stored unless direct.
    pub chunks: &'a [&'a [u8]],
}

/// QXLBrush.
pub mod brush {
    use super::{Bytes, Point};

    #[must_use]
    pub fn none() -> Bytes {
        Bytes::new().pad_to(20)
    }

    #[must_use]
    pub fn solid(color: u32) -> Bytes {
        Bytes::new().u32(1).u32(color).pad_to(20)
    }

    #[must_use]
    pub fn pattern(image: u64, origin: Point) -> Bytes {
        Bytes::new().u32(2).u64(image).point(origin)
    }
}

/// QXLQMask; address 0 for no mask.
#[must_use]
pub fn mask(flags: u8, origin: Point, image: u64) -> Bytes {
    Bytes::new().u8(flags).point(origin).u64(image)
}

/// No mask.
#[must_use]
pub fn no_mask() -> Bytes {
    Bytes::new().pad_to(17)
}

/// Bodies of drawables.
pub mod body {
    use super::{Bytes, Point, Point16, Rect};

    #[must_use]
    pub fn fill(brush: &Bytes, rop: u16, mask: &Bytes) -> Bytes {
        Bytes::new().bytes(&brush.0).u16(rop).bytes(&mask.0)
    }

    #[must_use]
    pub fn opaque(src: u64, area: Rect, brush: &Bytes, rop: u16, scale: u8, mask: &Bytes) -> Bytes {
        Bytes::new().u64(src).rect(area).bytes(&brush.0).u16(rop).u8(scale).bytes(&mask.0)
    }

    /// COPY and BLEND.
    #[must_use]
    pub fn copy(src: u64, area: Rect, rop: u16, scale: u8, mask: &Bytes) -> Bytes {
        Bytes::new().u64(src).rect(area).u16(rop).u8(scale).bytes(&mask.0)
    }

    #[must_use]
    pub fn copy_bits(from: Point) -> Bytes {
        Bytes::new().point(from)
    }

    #[must_use]
    pub fn rop3(src: u64, area: Rect, brush: &Bytes, code: u8, scale: u8, mask: &Bytes) -> Bytes {
        Bytes::new().u64(src).rect(area).bytes(&brush.0).u8(code).u8(scale).bytes(&mask.0)
    }

    /// `style`: count and address.
    #[must_use]
    pub fn stroke(path: u64, flags: u8, style: (u8, u64), brush: &Bytes, fore: u16) -> Bytes {
        let attr = Bytes::new().u64(path).u8(flags).u8(0).u8(0).u8(style.0).u32(0).u32(0).u64(style.1);
        attr.bytes(&brush.0).u16(fore).u16(0)
    }

    #[must_use]
    pub fn text(string: u64, back_area: Rect, fore: &Bytes, back: &Bytes, fore_mode: u16) -> Bytes {
        Bytes::new().u64(string).rect(back_area).bytes(&fore.0).bytes(&back.0).u16(fore_mode).u16(0)
    }

    #[must_use]
    pub fn transparent(src: u64, area: Rect, src_color: u32, true_color: u32) -> Bytes {
        Bytes::new().u64(src).rect(area).u32(src_color).u32(true_color)
    }

    #[must_use]
    pub fn alpha_blend(flags: u16, alpha: u8, src: u64, area: Rect) -> Bytes {
        Bytes::new().u16(flags).u8(alpha).u64(src).rect(area)
    }

    #[must_use]
    pub fn compat_alpha_blend(alpha: u8, src: u64, area: Rect) -> Bytes {
        Bytes::new().u8(alpha).u64(src).rect(area)
    }

    /// Addresses of source, its transform, mask, its transform.
    #[must_use]
    pub fn composite(flags: u32, addresses: [u64; 4], src_origin: Point16, mask_origin: Point16) -> Bytes {
        let [src, src_transform, mask, mask_transform] = addresses;
        let images = Bytes::new().u32(flags).u64(src).u64(src_transform).u64(mask).u64(mask_transform);
        images.point16(src_origin).point16(mask_origin)
    }
}

impl MockGuest {
    /// A chunk list; the first chunk can be told from its address.
    pub fn chunk_list(&mut self, chunks: &[&[u8]]) -> u64 {
        let first = self.inline_chunks(chunks);
        self.put(&first.0)
    }

    /// The first chunk's bytes, to be put at the end of another structure; the others go to memory.
    pub fn inline_chunks(&mut self, chunks: &[&[u8]]) -> Bytes {
        let mut next = 0;
        for chunk in chunks.iter().skip(1).rev() {
            next = self.put(&chunk_bytes(chunk, next).0);
        }
        chunk_bytes(chunks.first().copied().unwrap_or(&[]), next)
    }

    pub fn bitmap(&mut self, spec: &BitmapSpec<'_>) -> u64 {
        let data =
            if spec.flags & 1 != 0 { self.put(&spec.chunks.concat()) } else { self.chunk_list(spec.chunks) };
        let bytes = image_descriptor(spec.id, 0, spec.descriptor_flags, spec.width, spec.height)
            .u8(spec.format)
            .u8(spec.flags)
            .u32(spec.width)
            .u32(spec.height)
            .u32(spec.stride)
            .u64(spec.palette)
            .u64(data);
        self.put(&bytes.0)
    }

    /// A direct, top-down xRGB bitmap without padding.
    pub fn bitmap32(&mut self, id: u64, width: u32, height: u32, pixels: &[u8]) -> u64 {
        self.bitmap(&BitmapSpec {
            id,
            descriptor_flags: 0,
            format: 8,
            flags: 5,
            width,
            height,
            stride: width.saturating_mul(4),
            palette: 0,
            chunks: &[pixels],
        })
    }

    pub fn palette(&mut self, unique: u64, entries: &[u32]) -> u64 {
        let mut bytes = Bytes::new().u64(unique).u16(u16::try_from(entries.len()).unwrap_or(u16::MAX));
        for &entry in entries {
            bytes = bytes.u32(entry);
        }
        self.put(&bytes.0)
    }

    pub fn surface_image(&mut self, surface_id: u32, width: u32, height: u32) -> u64 {
        self.put(&image_descriptor(0, 104, 0, width, height).u32(surface_id).pad_to(48).0)
    }

    pub fn quic_image(&mut self, id: u64, width: u32, height: u32, chunks: &[&[u8]]) -> u64 {
        let size: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let inline = self.inline_chunks(chunks);
        let head = image_descriptor(id, 1, 0, width, height).u32(u32::try_from(size).unwrap_or(0));
        self.put(&head.bytes(&inline.0).pad_to(48).0)
    }

    pub fn clip_rects(&mut self, rects: &[Rect]) -> u64 {
        let data = rects.iter().fold(Bytes::new(), |bytes, &rect| bytes.rect(rect));
        let inline = self.inline_chunks(&[&data.0]);
        self.put(&Bytes::new().u32(u32::try_from(rects.len()).unwrap_or(0)).bytes(&inline.0).0)
    }

    /// Segments: flags and points in 28.4.
    pub fn path(&mut self, segments: &[(u32, &[Point])]) -> u64 {
        let mut data = Bytes::new();
        for (flags, points) in segments {
            data = data.u32(*flags).u32(u32::try_from(points.len()).unwrap_or(0));
            for &point in *points {
                data = data.point(point);
            }
        }
        let inline = self.inline_chunks(&[&data.0]);
        self.put(&Bytes::new().u32(0).bytes(&inline.0).0)
    }

    /// Glyphs: position, width, height, rows.
    pub fn string(&mut self, flags: u16, glyphs: &[(Point, u16, u16, &[u8])]) -> u64 {
        let mut data = Bytes::new();
        for (position, width, height, rows) in glyphs {
            data = data.point(*position).point(Point::default()).u16(*width).u16(*height).bytes(rows);
        }
        let inline = self.inline_chunks(&[&data.0]);
        let head = Bytes::new().u32(u32::try_from(data.0.len()).unwrap_or(0));
        self.put(&head.u16(u16::try_from(glyphs.len()).unwrap_or(0)).u16(flags).bytes(&inline.0).0)
    }

    pub fn transform(&mut self, matrix: [i32; 6]) -> u64 {
        self.put(&matrix.iter().fold(Bytes::new(), |bytes, &v| bytes.i32(v)).0)
    }

    /// A native drawable.
    pub fn drawable(&mut self, spec: &DrawableSpec, body: &Bytes) -> u64 {
        self.put(&spec.native(body).0)
    }

    pub fn update_command(&mut self, surface_id: u32, area: Rect, update_id: u32) -> u64 {
        self.put(&Bytes::new().u64(0).rect(area).u32(update_id).u32(surface_id).0)
    }

    pub fn message(&mut self, text: &[u8]) -> u64 {
        self.put(&Bytes::new().u64(0).bytes(text).u8(0).0)
    }

    pub fn create_surface(&mut self, surface_id: u32, spec: &spice_server_core::host::SurfaceSpec) -> u64 {
        let head = Bytes::new().u64(0).u32(surface_id).u8(0).u32(u32::from(spec.keep_data));
        let body = head.u32(spec.format).u32(spec.width).u32(spec.height).i32(spec.stride).u64(spec.address);
        self.put(&body.0)
    }

    pub fn destroy_surface(&mut self, surface_id: u32) -> u64 {
        self.put(&Bytes::new().u64(0).u32(surface_id).u8(1).pad_to(41).0)
    }

    /// QXLCursor.
    pub fn cursor_shape(
        &mut self,
        unique: u64,
        kind: u16,
        size: (u16, u16),
        hot: (u16, u16),
        data: &[u8],
    ) -> u64 {
        let inline = self.inline_chunks(&[data]);
        let head = Bytes::new().u64(unique).u16(kind).u16(size.0).u16(size.1).u16(hot.0).u16(hot.1);
        self.put(&head.u32(u32::try_from(data.len()).unwrap_or(0)).bytes(&inline.0).0)
    }

    pub fn cursor_set(&mut self, position: Point16, visible: bool, shape: u64) -> u64 {
        let head = Bytes::new().u64(0).u8(0).point16(position).u8(u8::from(visible)).u64(shape);
        self.put(&head.pad_to(150).0)
    }

    pub fn cursor_move(&mut self, position: Point16) -> u64 {
        self.put(&Bytes::new().u64(0).u8(1).point16(position).pad_to(150).0)
    }

    pub fn cursor_hide(&mut self) -> u64 {
        self.put(&Bytes::new().u64(0).u8(2).pad_to(150).0)
    }

    pub fn cursor_trail(&mut self, length: u16, frequency: u16) -> u64 {
        self.put(&Bytes::new().u64(0).u8(3).u16(length).u16(frequency).pad_to(150).0)
    }

    /// QXLMonitorsConfig; heads are id, surface, width, height, x, y, flags.
    pub fn monitors_config(&mut self, max_allowed: u16, heads: &[[u32; 7]]) -> u64 {
        let mut bytes = Bytes::new().u16(u16::try_from(heads.len()).unwrap_or(u16::MAX)).u16(max_allowed);
        for &field in heads.iter().flatten() {
            bytes = bytes.u32(field);
        }
        self.put(&bytes.pad_to(32).0)
    }
}

fn chunk_bytes(data: &[u8], next: u64) -> Bytes {
    Bytes::new().u32(u32::try_from(data.len()).unwrap_or(0)).u64(0).u64(next).bytes(data)
}

fn image_descriptor(id: u64, image_type: u8, flags: u8, width: u32, height: u32) -> Bytes {
    Bytes::new().u64(id).u8(image_type).u8(flags).u32(width).u32(height)
}
