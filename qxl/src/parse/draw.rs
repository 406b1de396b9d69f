//! QXL_CMD_DRAW: QXLDrawable, QXLCompatDrawable and the bodies of all operations (qxl.md B2, B3).

use super::fields::Fields;
use super::objects::on_surface;
use super::{Context, Result, bad};
use crate::memory::GuestRange;
use spice_server_core::draw::{
    AlphaBlend, Brush, Clip, Composite, Copy, DrawOp, Drawable, Effect, Fill, Opaque, Rop, Rop3, ScaleMode,
    Stroke, SurfaceDep, Text, Transparent,
};
use spice_server_core::geometry::Rect;
use spice_server_core::image::{Image, ImageData};
use std::sync::Arc;

pub(super) const NATIVE_SIZE: u64 = 191;
pub(super) const COMPAT_SIZE: u64 = 128;

/// Operations by number (QXL_DRAW_*).
#[allow(missing_docs, reason = "names of the specification, qxl.md B2")]
#[cfg_attr(not(any(test, feature = "mock")), allow(unreachable_pub, reason = "the mock guest exports it"))]
pub mod draw_type {
    pub const NOP: u8 = 0;
    pub const FILL: u8 = 1;
    pub const OPAQUE: u8 = 2;
    pub const COPY: u8 = 3;
    pub const COPY_BITS: u8 = 4;
    pub const BLEND: u8 = 5;
    pub const BLACKNESS: u8 = 6;
    pub const WHITENESS: u8 = 7;
    pub const INVERS: u8 = 8;
    pub const ROP3: u8 = 9;
    pub const STROKE: u8 = 10;
    pub const TEXT: u8 = 11;
    pub const TRANSPARENT: u8 = 12;
    pub const ALPHA_BLEND: u8 = 13;
    pub const COMPOSITE: u8 = 14;
}

/// What the bodies need of the command around them.
struct Frame {
    bbox: Rect,
    self_bitmap: Option<Rect>,
}

impl Context<'_> {
    /// A drawable from its header, which is mapped in full; the release token is still to be added.
    pub(super) fn drawable(&self, header: &GuestRange) -> Result<Drawable> {
        if self.compat { self.compat_drawable(header) } else { self.native_drawable(header) }
    }

    fn native_drawable(&self, header: &GuestRange) -> Result<Drawable> {
        let bytes = header.read_array::<191>(0);
        let f = Fields(&bytes);
        let draw_type = f.u8(13);
        let surface_id = self.surface_id("surface_id", f.u32(8))?;
        let frame = frame(draw_type, f.rect(31), f.u8(14) != 0, f.rect(15))?;
        let clip = self.clip(f.from(47))?;
        let mut deps = [None; 3];
        for (i, dep) in deps.iter_mut().enumerate() {
            let id = f.i32(63 + 4 * i);
            if id != -1 {
                let Ok(id) = u32::try_from(id) else { return bad("surfaces_dest", id, "no such surface") };
                let surface_id = self.surface_id("surfaces_dest", id)?;
                *dep = Some(SurfaceDep { surface_id, area: on_surface(f.rect(75 + 16 * i)) });
            }
        }
        let op = self.operation(draw_type, f.from(123), &frame)?;
        Ok(drawable(surface_id, f.u8(12), frame, clip, f.u32(59), deps, op))
    }

    fn compat_drawable(&self, header: &GuestRange) -> Result<Drawable> {
        let bytes = header.read_array::<128>(0);
        let f = Fields(&bytes);
        let draw_type = f.u8(9);
        let frame = frame(draw_type, f.rect(28), f.u16(10) != 0, f.rect(12))?;
        let clip = self.clip(f.from(44))?;
        let op = self.operation(draw_type, f.from(60), &frame)?;
        let mut deps = [None; 3];
        if let DrawOp::CopyBits(from) = op {
            let source = Rect::of_size(frame.bbox.width(), frame.bbox.height()).translate(from.x, from.y);
            deps[0] = Some(SurfaceDep { surface_id: 0, area: on_surface(source) });
        }
        Ok(drawable(0, f.u8(8), frame, clip, f.u32(56), deps, op))
    }

    fn operation(&self, draw_type: u8, f: Fields<'_>, frame: &Frame) -> Result<DrawOp> {
        Ok(match draw_type {
            draw_type::NOP => DrawOp::Nop,
            draw_type::FILL => DrawOp::Fill(Fill {
                brush: self.brush("brush", f)?,
                rop: rop(f.u16(20)),
                mask: self.mask(f.from(22))?,
            }),
            draw_type::OPAQUE => self.opaque(f, frame)?,
            draw_type::COPY => DrawOp::Copy(self.copy(f, frame)?),
            draw_type::COPY_BITS => DrawOp::CopyBits(f.point(0)),
            draw_type::BLEND => DrawOp::Blend(self.copy(f, frame)?),
            draw_type::BLACKNESS => DrawOp::Blackness(self.mask(f)?),
            draw_type::WHITENESS => DrawOp::Whiteness(self.mask(f)?),
            draw_type::INVERS => DrawOp::Invers(self.mask(f)?),
            draw_type::ROP3 => self.rop3(f, frame)?,
            draw_type::STROKE => self.stroke(f)?,
            draw_type::TEXT => self.text(f)?,
            draw_type::TRANSPARENT => {
                let src = self.source(f.u64(0), frame)?;
                DrawOp::Transparent(Transparent {
                    src_area: area(f.rect(8))?,
                    src,
                    src_color: f.u32(24),
                    true_color: f.u32(28),
                })
            }
            draw_type::ALPHA_BLEND => {
                // The old form has no flags.
                let (flags, at) = if self.compat { (0, 0) } else { (f.u16(0), 2) };
                DrawOp::AlphaBlend(AlphaBlend {
                    flags,
                    alpha: f.u8(at),
                    src: self.source(f.u64(at + 1), frame)?,
                    src_area: area(f.rect(at + 9))?,
                })
            }
            draw_type::COMPOSITE if !self.compat => self.composite(f, frame)?,
            other => return bad("draw type", other, "unknown"),
        })
    }

    /// The source image, which may be missing where a snapshot takes its place.
    fn source(&self, address: u64, frame: &Frame) -> Result<Option<Arc<Image>>> {
        if address == 0 && frame.self_bitmap.is_none() {
            return bad("src image", 0, "is missing");
        }
        self.optional_image("src image", address)
    }

    fn opaque(&self, f: Fields<'_>, frame: &Frame) -> Result<DrawOp> {
        let src_area = area(f.rect(8))?;
        Ok(DrawOp::Opaque(Opaque {
            src: self.source(f.u64(0), frame)?,
            src_area,
            brush: self.brush("brush", f.from(24))?,
            rop: rop(f.u16(44)),
            scale_mode: scale_mode(f.u8(46), src_area, frame)?,
            mask: self.mask(f.from(47))?,
        }))
    }

    fn copy(&self, f: Fields<'_>, frame: &Frame) -> Result<Copy> {
        let src_area = area(f.rect(8))?;
        let src = self.image("src image", f.u64(0))?;
        if src_area.left < 0 || src_area.top < 0 {
            return bad("src_area", src_area.left.min(src_area.top), "is outside the image");
        }
        if !matches!(src.data, ImageData::Surface(_))
            && !inside(src_area, &Rect::of_size(src.width, src.height))
        {
            return bad("src_area", src_area.right, "is outside the image");
        }
        Ok(Copy {
            src,
            src_area,
            rop: rop(f.u16(24)),
            scale_mode: scale_mode(f.u8(26), src_area, frame)?,
            mask: self.mask(f.from(27))?,
        })
    }

    fn rop3(&self, f: Fields<'_>, frame: &Frame) -> Result<DrawOp> {
        let src_area = area(f.rect(8))?;
        let src = self.source(f.u64(0), frame)?;
        // The whole box is computed, so the source has to cover it (canvas.md 6.5).
        if src_area.left < 0 || src_area.top < 0 || src_area.is_empty() {
            return bad("src_area", src_area.left.min(src_area.top), "does not cover the box");
        }
        let scaled = is_scaled(src_area, frame);
        let size = match &src {
            Some(image) if matches!(image.data, ImageData::Surface(_)) => None,
            Some(image) => Some(Rect::of_size(image.width, image.height)),
            None => frame.self_bitmap.map(|area| Rect::of_size(area.width(), area.height())),
        };
        if !scaled && size.is_some_and(|size| !inside(src_area, &size)) {
            return bad("src_area", src_area.right, "does not cover the box");
        }
        Ok(DrawOp::Rop3(Rop3 {
            src,
            src_area,
            brush: self.brush("brush", f.from(24))?,
            rop3: f.u8(44),
            scale_mode: scale_mode(f.u8(45), src_area, frame)?,
            mask: self.mask(f.from(46))?,
        }))
    }

    fn stroke(&self, f: Fields<'_>) -> Result<DrawOp> {
        let line_flags = f.u8(8) & (Stroke::START_WITH_GAP | Stroke::STYLED);
        let styled = line_flags & Stroke::STYLED != 0;
        Ok(DrawOp::Stroke(Stroke {
            path: self.path(f.u64(0))?,
            line_flags,
            style: if styled { self.style(f.u64(20), f.u8(11))? } else { Arc::new([]) },
            brush: self.brush("brush", f.from(28))?,
            fore_mode: rop(f.u16(48)),
            back_mode: rop(f.u16(50)),
        }))
    }

    fn text(&self, f: Fields<'_>) -> Result<DrawOp> {
        let string = self.string(f.u64(0))?;
        let (back_area, fore_mode) = (f.rect(8), rop(f.u16(64)));
        if !back_area.is_empty() && fore_mode != Rop::PUT {
            return bad("fore_mode", fore_mode.bits(), "with a background is not PUT");
        }
        let mut fore_brush = self.brush("fore brush", f.from(24))?;
        if string.glyphs.is_empty() {
            // Clients cannot make a mask of no glyphs; without a brush they do not try.
            fore_brush = Brush::None;
        }
        Ok(DrawOp::Text(Text {
            string,
            back_area,
            fore_brush,
            back_brush: self.brush("back brush", f.from(44))?,
            fore_mode,
            back_mode: rop(f.u16(66)),
        }))
    }

    fn composite(&self, f: Fields<'_>, frame: &Frame) -> Result<DrawOp> {
        let guest_flags = f.u32(0);
        let operator = guest_flags & 0xff;
        if !matches!(operator, 0..=0x0d | 0x10..=0x1b | 0x20..=0x2b | 0x30..=0x3e) {
            return bad("composite operator", operator, "unknown");
        }
        // Filters beyond bilinear need parameters, which no command carries.
        if let Some(filter) = [8, 11].map(|at| (guest_flags >> at) & 7).into_iter().find(|&filter| filter > 4)
        {
            return bad("composite filter", filter, "unknown");
        }
        let src = self.source(f.u64(4), frame)?;
        let src_transform = self.transform("src_transform", f.u64(12))?;
        let mask = self.optional_image("mask", f.u64(20))?;
        let mask_transform = match mask {
            Some(_) => self.transform("mask_transform", f.u64(28))?,
            None => None,
        };
        let kept = 0x0007_ffff | Composite::SOURCE_OPAQUE | Composite::MASK_OPAQUE | Composite::DEST_OPAQUE;
        let mut flags = guest_flags & kept;
        for (present, flag) in [
            (mask.is_some(), Composite::HAS_MASK),
            (src_transform.is_some(), Composite::HAS_SRC_TRANSFORM),
            (mask_transform.is_some(), Composite::HAS_MASK_TRANSFORM),
        ] {
            if present {
                flags |= flag;
            }
        }
        Ok(DrawOp::Composite(Composite {
            flags,
            src,
            src_transform,
            mask,
            mask_transform,
            src_origin: f.point16(36),
            mask_origin: f.point16(40),
        }))
    }
}

fn drawable(
    surface_id: u32,
    effect: u8,
    frame: Frame,
    clip: Clip,
    mm_time: u32,
    deps: [Option<SurfaceDep>; 3],
    op: DrawOp,
) -> Drawable {
    let Frame { bbox, self_bitmap } = frame;
    let effect = Effect::from(effect);
    Drawable { surface_id, effect, bbox, clip, mm_time, self_bitmap, deps, op, release: None }
}

/// Checks what every command has: the box and the area of the snapshot.
fn frame(draw_type: u8, bbox: Rect, self_bitmap: bool, self_bitmap_area: Rect) -> Result<Frame> {
    if bbox.left < 0 || bbox.top < 0 {
        return bad("bbox", bbox.left.min(bbox.top), "is negative");
    }
    if bbox.right < bbox.left || bbox.bottom < bbox.top {
        return bad("bbox", bbox.right, "is inverted");
    }
    if bbox.is_empty() {
        return Err(super::ParseError::Empty);
    }
    let self_bitmap = self_bitmap && !matches!(draw_type, draw_type::COPY | draw_type::BLEND);
    if self_bitmap && (self_bitmap_area.is_empty() || self_bitmap_area.left < 0 || self_bitmap_area.top < 0) {
        return bad("self_bitmap_area", self_bitmap_area.left, "is empty or negative");
    }
    Ok(Frame { bbox, self_bitmap: self_bitmap.then_some(self_bitmap_area) })
}

/// A source area: not inverted.
fn area(rect: Rect) -> Result<Rect> {
    if rect.right < rect.left || rect.bottom < rect.top {
        return bad("src_area", rect.right, "is inverted");
    }
    Ok(rect)
}

/// Like `Rect::contains`, but an empty rectangle has to be inside, too.
fn inside(inner: Rect, outer: &Rect) -> bool {
    inner.left >= outer.left
        && inner.top >= outer.top
        && inner.right <= outer.right
        && inner.bottom <= outer.bottom
}

fn is_scaled(src_area: Rect, frame: &Frame) -> bool {
    (src_area.width(), src_area.height()) != (frame.bbox.width(), frame.bbox.height())
}

/// The scale mode, which counts only where something is scaled.
fn scale_mode(value: u8, src_area: Rect, frame: &Frame) -> Result<ScaleMode> {
    match value {
        0 => Ok(ScaleMode::Interpolate),
        1 => Ok(ScaleMode::Nearest),
        other if is_scaled(src_area, frame) => bad("scale_mode", other, "unknown"),
        _ => Ok(ScaleMode::Interpolate),
    }
}

fn rop(bits: u16) -> Rop {
    Rop::from_bits_retain(bits)
}
