//! Bodies of events: commands and primary surfaces, line by line as the original writes them (qxl.md C2, C3).

use super::text::Text;
use crate::bytes::Bytes;
use crate::parse::command_type;
use crate::parse::draw::draw_type;
use spice_server_core::draw::{
    AlphaBlend, Brush, Clip, Composite, Copy, DrawOp, Drawable, Fill, GlyphString, Mask, Opaque, PathSegment,
    Rop3, Stroke, Text as TextOp, Transform, Transparent,
};
use spice_server_core::geometry::{Point, Rect};
use spice_server_core::guest::{ByteSource, SliceSource};
use spice_server_core::host::{
    CursorCommand, CursorShape, DisplayCommand, MappedSurface, SurfaceCommand, SurfaceSpec,
};
use spice_server_core::image::{Bitmap, Image, ImageData};

/// Writes a command of the display ring; gives its type.
pub(super) fn display(t: &mut Text, command: &DisplayCommand) -> u32 {
    match command {
        DisplayCommand::Draw(drawable) => {
            t.line("drawable");
            draw(t, drawable);
            command_type::DRAW
        }
        DisplayCommand::Update(update) => {
            t.line("update");
            t.rect("area", update.area);
            t.u32("update_id", update.update_id);
            t.u32("surface_id", update.surface_id);
            command_type::UPDATE
        }
        DisplayCommand::Message { text, .. } => {
            t.binary("message", text.as_bytes());
            command_type::MESSAGE
        }
        DisplayCommand::Surface(surface) => {
            t.line("surface_cmd");
            surface_command(t, surface);
            command_type::SURFACE
        }
    }
}

fn surface_command(t: &mut Text, command: &SurfaceCommand) {
    match command {
        SurfaceCommand::Create { surface_id, surface, keep_data, .. } => {
            t.u32("surface_id", *surface_id);
            t.u32("type", 0);
            t.u32("flags", u32::from(*keep_data));
            t.u32("u.surface_create.format", u32::from(format_number(surface)));
            t.u32("u.surface_create.width", surface.width);
            t.u32("u.surface_create.height", surface.height);
            t.int("u.surface_create.stride", surface.stride);
            if *keep_data {
                let mut pixels = vec![0; surface.memory.len()];
                surface.memory.read_at(0, &mut pixels);
                t.binary("data", &pixels);
            }
        }
        SurfaceCommand::Destroy { surface_id, .. } => {
            t.u32("surface_id", *surface_id);
            t.u32("type", 1);
            t.u32("flags", 0);
        }
    }
}

fn format_number(surface: &MappedSurface) -> u8 {
    use spice_server_core::image::SurfaceFormat::{A1, A8, Argb32, Rgb555, Rgb565, Xrgb32};
    match surface.format {
        A1 => 1,
        A8 => 8,
        Rgb555 => 16,
        Xrgb32 => 32,
        Rgb565 => 80,
        Argb32 => 96,
    }
}

/// Writes a primary surface with its pixels.
pub(super) fn primary(t: &mut Text, spec: &SurfaceSpec, pixels: &dyn ByteSource) {
    t.line(format_args!("{} {} {} {}", spec.width, spec.height, spec.stride, spec.format));
    // Position and type are without meaning; a mouse mode of 1 allows the client's.
    t.line(format_args!("0 1 {} 0", u32::from(spec.keep_data)));
    t.flat("data", pixels);
}

/// Writes a command of the cursor ring.
pub(super) fn cursor(t: &mut Text, command: &CursorCommand) {
    t.line("cursor_cmd");
    match command {
        CursorCommand::Set { position, visible, shape, .. } => {
            t.u32("type", 0);
            t.point16(*position);
            t.u32("u.set.visible", u32::from(*visible));
            cursor_shape(t, shape);
        }
        CursorCommand::Move { position, .. } => {
            t.u32("type", 1);
            t.point16(*position);
        }
        CursorCommand::Hide { .. } => t.u32("type", 2),
        CursorCommand::Trail { length, frequency, .. } => {
            t.u32("type", 3);
            t.int("u.trail.length", length);
            t.int("u.trail.frequency", frequency);
        }
    }
}

fn cursor_shape(t: &mut Text, shape: &CursorShape) {
    t.int("header.unique", shape.unique);
    t.int("header.type", shape.cursor_type);
    t.int("header.width", shape.width);
    t.int("header.height", shape.height);
    t.int("header.hot_spot_x", shape.hot_x);
    t.int("header.hot_spot_y", shape.hot_y);
    t.int("data_size", shape.data.len());
    t.chunk("cursor", &shape.data);
}

/// Old guests' drawables are written like native ones, which makes them replayable.
fn draw(t: &mut Text, drawable: &Drawable) {
    t.rect("bbox", drawable.bbox);
    clip(t, &drawable.clip);
    t.u32("effect", u32::from(drawable.effect as u8));
    t.u32("mm_time", drawable.mm_time);
    t.u32("self_bitmap", u32::from(drawable.self_bitmap.is_some()));
    t.rect("self_bitmap_area", drawable.self_bitmap.unwrap_or_default());
    t.u32("surface_id", drawable.surface_id);
    for dep in drawable.deps {
        match dep {
            Some(dep) => t.u32("surfaces_dest", dep.surface_id),
            None => t.int("surfaces_dest", -1),
        }
        t.rect("surfaces_rects", dep.map(|dep| dep.area).unwrap_or_default());
    }
    operation(t, &drawable.op);
}

fn clip(t: &mut Text, clip: &Clip) {
    match clip {
        Clip::None => t.u32("type", 0),
        Clip::Rects(rects) => {
            t.u32("type", 1);
            t.int("num_rects", rects.len());
            t.chunk("clip_rects", &rects.iter().fold(Bytes::new(), |bytes, &rect| bytes.rect(rect)).0);
        }
    }
}

fn operation(t: &mut Text, op: &DrawOp) {
    let kind = |t: &mut Text, number: u8| t.int("type", number);
    match op {
        DrawOp::Nop => kind(t, draw_type::NOP),
        DrawOp::Fill(Fill { brush: with, rop, mask: by }) => {
            kind(t, draw_type::FILL);
            brush(t, with);
            t.int("rop_descriptor", rop.bits());
            mask(t, by.as_ref());
        }
        DrawOp::Opaque(Opaque { src, src_area, brush: with, rop, scale_mode, mask: by }) => {
            kind(t, draw_type::OPAQUE);
            source(t, src.as_deref(), *src_area);
            brush(t, with);
            t.int("rop_descriptor", rop.bits());
            t.int("scale_mode", *scale_mode as u8);
            mask(t, by.as_ref());
        }
        DrawOp::Copy(op) => {
            kind(t, draw_type::COPY);
            copy(t, op);
        }
        DrawOp::Blend(op) => {
            kind(t, draw_type::BLEND);
            copy(t, op);
        }
        DrawOp::CopyBits(from) => {
            kind(t, draw_type::COPY_BITS);
            t.point(*from);
        }
        DrawOp::Blackness(by) => {
            kind(t, draw_type::BLACKNESS);
            mask(t, by.as_ref());
        }
        DrawOp::Whiteness(by) => {
            kind(t, draw_type::WHITENESS);
            mask(t, by.as_ref());
        }
        DrawOp::Invers(by) => {
            kind(t, draw_type::INVERS);
            mask(t, by.as_ref());
        }
        DrawOp::Rop3(Rop3 { src, src_area, brush: with, rop3, scale_mode, mask: by }) => {
            kind(t, draw_type::ROP3);
            source(t, src.as_deref(), *src_area);
            brush(t, with);
            t.int("rop3", rop3);
            t.int("scale_mode", *scale_mode as u8);
            mask(t, by.as_ref());
        }
        DrawOp::Stroke(op) => {
            kind(t, draw_type::STROKE);
            stroke(t, op);
        }
        DrawOp::Text(op) => {
            kind(t, draw_type::TEXT);
            text(t, op);
        }
        DrawOp::Transparent(Transparent { src, src_area, src_color, true_color }) => {
            kind(t, draw_type::TRANSPARENT);
            source(t, src.as_deref(), *src_area);
            t.u32("src_color", *src_color);
            t.u32("true_color", *true_color);
        }
        DrawOp::AlphaBlend(AlphaBlend { flags, alpha, src, src_area }) => {
            kind(t, draw_type::ALPHA_BLEND);
            t.int("alpha_flags", flags);
            t.int("alpha", alpha);
            source(t, src.as_deref(), *src_area);
        }
        DrawOp::Composite(op) => {
            kind(t, draw_type::COMPOSITE);
            composite(t, op);
        }
    }
}

fn source(t: &mut Text, src: Option<&Image>, area: Rect) {
    image(t, src);
    t.rect("src_area", area);
}

fn copy(t: &mut Text, op: &Copy) {
    source(t, Some(&op.src), op.src_area);
    t.int("rop_descriptor", op.rop.bits());
    t.int("scale_mode", op.scale_mode as u8);
    mask(t, op.mask.as_ref());
}

fn stroke(t: &mut Text, op: &Stroke) {
    t.chunk("path", &path_bytes(&op.path).0);
    t.int("attr.flags", op.line_flags);
    if op.line_flags & Stroke::STYLED != 0 {
        t.int("attr.style_nseg", op.style.len());
        t.binary("style", &op.style.iter().fold(Bytes::new(), |bytes, &dash| bytes.i32(dash)).0);
    }
    brush(t, &op.brush);
    t.int("fore_mode", op.fore_mode.bits());
    t.int("back_mode", op.back_mode.bits());
}

fn path_bytes(path: &[PathSegment]) -> Bytes {
    let mut bytes = Bytes::new();
    for segment in path {
        bytes = bytes.u32(segment.flags).u32(u32::try_from(segment.points.len()).unwrap_or(0));
        for point in &segment.points {
            bytes = bytes.i32(point.x).i32(point.y);
        }
    }
    bytes
}

fn text(t: &mut Text, op: &TextOp) {
    let string = string_bytes(&op.string).0;
    t.int("data_size", string.len());
    t.int("length", op.string.glyphs.len());
    t.int("flags", op.string.flags);
    t.chunk("string", &string);
    t.rect("back_area", op.back_area);
    brush(t, &op.fore_brush);
    brush(t, &op.back_brush);
    t.int("fore_mode", op.fore_mode.bits());
    t.int("back_mode", op.back_mode.bits());
}

fn string_bytes(string: &GlyphString) -> Bytes {
    string.glyphs.iter().fold(Bytes::new(), |bytes, glyph| {
        let head = bytes.point(glyph.render_pos).point(glyph.origin);
        head.u16(glyph.width).u16(glyph.height).bytes(&glyph.data)
    })
}

fn composite(t: &mut Text, op: &Composite) {
    let guest_flags =
        op.flags & !(Composite::HAS_MASK | Composite::HAS_SRC_TRANSFORM | Composite::HAS_MASK_TRANSFORM);
    t.u32("flags", guest_flags);
    image(t, op.src.as_deref());
    transform(t, "src_transform", op.src_transform.as_ref());
    t.u32("mask", u32::from(op.mask.is_some()));
    if op.mask.is_some() {
        image(t, op.mask.as_deref());
    }
    transform(t, "mask_transform", op.mask_transform.as_ref());
    t.line(format_args!("src_origin {} {}", op.src_origin.x, op.src_origin.y));
    t.line(format_args!("mask_origin {} {}", op.mask_origin.x, op.mask_origin.y));
}

fn transform(t: &mut Text, name: &str, transform: Option<&Transform>) {
    t.u32(name, u32::from(transform.is_some()));
    if let Some(Transform(matrix)) = transform {
        t.binary("transform", &matrix.iter().fold(Bytes::new(), |bytes, &v| bytes.i32(v)).0);
    }
}

fn brush(t: &mut Text, brush: &Brush) {
    match brush {
        Brush::None => t.u32("type", 0),
        Brush::Solid(color) => {
            t.u32("type", 1);
            t.u32("u.color", *color);
        }
        Brush::Pattern { image: tile, origin } => {
            t.u32("type", 2);
            image(t, Some(tile));
            t.point(*origin);
        }
    }
}

fn mask(t: &mut Text, mask: Option<&Mask>) {
    t.u32("flags", u32::from(mask.is_some_and(|mask| mask.inverse)));
    t.point(mask.map_or_else(Point::default, |mask| mask.origin));
    image(t, mask.map(|mask| &*mask.image));
}

fn image(t: &mut Text, image: Option<&Image>) {
    let Some(image) = image else { return t.u32("image", 0) };
    t.u32("image", 1);
    t.int("descriptor.id", image.id);
    t.u32(
        "descriptor.type",
        match image.data {
            ImageData::Bitmap(_) => 0,
            ImageData::Quic(_) => 1,
            ImageData::Surface(_) => 104,
        },
    );
    t.u32("descriptor.flags", u32::from(image.cache_me) | u32::from(image.high_bits_set) << 1);
    t.u32("descriptor.width", image.width);
    t.u32("descriptor.height", image.height);
    match &image.data {
        ImageData::Bitmap(pixels) => bitmap(t, pixels),
        ImageData::Quic(data) => {
            t.int("quic.data_size", data.len());
            t.chunks("quic.data", &SliceSource(data));
        }
        ImageData::Surface(id) => t.u32("surface_image.surface_id", *id),
    }
}

fn bitmap(t: &mut Text, bitmap: &Bitmap) {
    let direct = bitmap.pixels.chunk_ends().is_empty();
    let flags = u32::from(direct) | u32::from(bitmap.unstable) << 1 | u32::from(bitmap.top_down) << 2;
    t.int("bitmap.format", bitmap.format as u8);
    t.u32("bitmap.flags", flags);
    t.u32("bitmap.x", bitmap.width);
    t.u32("bitmap.y", bitmap.height);
    t.u32("bitmap.stride", bitmap.stride);
    t.u32("has_palette", u32::from(bitmap.palette.is_some()));
    if let Some(palette) = &bitmap.palette {
        t.int("qp.num_ents", palette.entries.len());
        t.int("unique", palette.unique);
        for &entry in &palette.entries {
            t.u32("ents", entry);
        }
    }
    if direct {
        t.flat("image_data_flat", &*bitmap.pixels);
    } else {
        t.chunks("bitmap.data", &*bitmap.pixels);
    }
}
