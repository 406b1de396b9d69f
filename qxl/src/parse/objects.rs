//! Clip lists, paths, dash styles, glyph strings and transforms (qxl.md B5).

use super::chunks::{CHUNK_HEADER, Excess};
use super::fields::Fields;
use super::{Context, ParseError, Result, bad};
use spice_server_core::draw::{Clip, Glyph, GlyphString, PathSegment, Transform};
use spice_server_core::geometry::{PointFix, Rect};
use spice_server_core::limits;
use std::mem::size_of;
use std::sync::Arc;

/// Bytes of a path: all its points, and as much for the segments' headers.
const MAX_PATH_BYTES: u64 = 16 * 1_000_000;
const _: () = assert!(limits::MAX_PATH_POINTS == 1_000_000);

const GLYPH_HEADER: usize = 20;

impl Context<'_> {
    /// QXLClip at the start of `f`, 12 bytes.
    pub(super) fn clip(&self, f: Fields<'_>) -> Result<Clip> {
        match f.u32(0) {
            0 => Ok(Clip::None),
            1 => self.clip_rects(f.u64(4)),
            other => bad("clip type", other, "unknown"),
        }
    }

    fn clip_rects(&self, address: u64) -> Result<Clip> {
        let header = self.range("clip", address, 4 + CHUNK_HEADER)?;
        let count = Fields(&header.read_array::<4>(0)).u32(0);
        if count > limits::MAX_CLIP_RECTS {
            return bad("clip num_rects", count, "too many");
        }
        let size = 16 * u64::from(count);
        let chunk = header.following(4, CHUNK_HEADER).map_err(|e| ParseError::Memory("clip", e))?;
        let bytes = self.chunk_bytes("clip rects", chunk, size, Excess::Reject)?;
        if u64::try_from(bytes.len()).ok() != Some(size) {
            return bad("clip rects", bytes.len(), "bytes differ from the announced number of rectangles");
        }
        let rects = bytes.chunks_exact(16).map(|rect| Fields(rect).rect(0));
        Ok(Clip::Rects(rects.filter(|rect| !rect.is_empty()).collect()))
    }

    /// QXLPath. What drawing demands of the order of segments is checked here, because it must not reach a client
    /// either (canvas.md 10.2).
    pub(super) fn path(&self, address: u64) -> Result<Arc<[PathSegment]>> {
        let header = self.range("path", address, 4 + CHUNK_HEADER)?;
        let chunk = header.following(4, CHUNK_HEADER).map_err(|e| ParseError::Memory("path", e))?;
        let bytes = self.chunk_bytes("path", chunk, MAX_PATH_BYTES, Excess::Reject)?;
        // The shortest segment has 8 bytes here, and is kept twice when its list becomes a shared one.
        self.room("path", bytes.len() / 8 * 2 * size_of::<PathSegment>())?;
        let mut segments = Vec::new();
        let mut points_in_all = 0usize;
        // Whether a polyline has been begun, so that there is a last point to go on from.
        let mut begun = false;
        let mut rest = bytes.as_slice();
        while rest.len() > 8 {
            let (head, body) = rest.split_at(8);
            let (flags, count) = (Fields(head).u32(0), Fields(head).u32(4));
            let points = usize::try_from(count).ok().and_then(|n| body.get(..n.checked_mul(8)?));
            let Some(points) = points else {
                return bad("path segment", count, "points do not fit into the path");
            };
            rest = &body[points.len()..];
            points_in_all += points.len() / 8;
            if points_in_all > limits::MAX_PATH_POINTS {
                return bad("path", points_in_all, "points are more than allowed");
            }
            check_segment(flags, points.len() / 8, &mut begun)?;
            let points = points.chunks_exact(8).map(|p| path_point(Fields(p))).collect::<Result<Vec<_>>>()?;
            self.charge("path", size_of::<PathSegment>())?;
            segments.push(PathSegment { flags, points });
        }
        Ok(segments.into())
    }

    /// The dash array of a styled line.
    pub(super) fn style(&self, address: u64, count: u8) -> Result<Arc<[i32]>> {
        if address == 0 || count == 0 {
            return bad("line style", count, "dashes, but no address of them");
        }
        let range = self.range("line style", address, 4 * u64::from(count))?;
        let mut bytes = vec![0; range.len()];
        range.read_at(0, &mut bytes);
        let dashes: Arc<[i32]> = bytes.chunks_exact(4).map(|dash| Fields(dash).i32(0)).collect();
        if let Some(&negative) = dashes.iter().find(|&&dash| dash < 0) {
            return bad("line style", negative, "is negative");
        }
        if dashes.iter().all(|&dash| dash == 0) {
            return bad("line style", 0, "has no length");
        }
        Ok(dashes)
    }

    /// QXLString.
    pub(super) fn string(&self, address: u64) -> Result<Arc<GlyphString>> {
        let header = self.range("string", address, 8 + CHUNK_HEADER)?;
        let bytes = header.read_array::<8>(0);
        let f = Fields(&bytes);
        let (size, length, flags) = (u64::from(f.u32(0)), f.u16(4), f.u16(6));
        let bits_per_pixel = match flags {
            _ if flags & GlyphString::A1 != 0 => 1,
            _ if flags & GlyphString::A4 != 0 => 4,
            _ if flags & GlyphString::A8 != 0 => 8,
            _ => return bad("string flags", flags, "without a depth"),
        };
        let chunk = header.following(8, CHUNK_HEADER).map_err(|e| ParseError::Memory("string", e))?;
        let bytes = self.chunk_bytes("string", chunk, size, Excess::Reject)?;
        if u64::try_from(bytes.len()).ok() != Some(size) {
            return bad("string", bytes.len(), "bytes differ from the announced size");
        }
        self.charge("string", usize::from(length) * size_of::<Glyph>())?;
        self.room("string", usize::from(length) * 2 * size_of::<Glyph>())?;
        let mut glyphs = Vec::new();
        let mut rest = bytes.as_slice();
        for _ in 0..length {
            let Some((head, body)) = rest.split_at_checked(GLYPH_HEADER) else {
                return bad("string length", length, "glyphs do not fit into the string");
            };
            let f = Fields(head);
            let (width, height) = (f.u16(16), f.u16(18));
            let row = (usize::from(width) * bits_per_pixel).div_ceil(8);
            let Some((data, after)) = body.split_at_checked(row * usize::from(height)) else {
                return bad("glyph height", height, "rows do not fit into the glyph");
            };
            glyphs.push(Glyph {
                render_pos: f.point(0),
                origin: f.point(8),
                width,
                height,
                data: data.to_vec(),
            });
            rest = after;
        }
        if !rest.is_empty() {
            return bad("string length", length, "glyphs leave bytes of the string over");
        }
        check_string_box(&glyphs)?;
        Ok(Arc::new(GlyphString { flags, glyphs }))
    }

    /// A transform that may be absent.
    pub(super) fn transform(&self, field: &'static str, address: u64) -> Result<Option<Transform>> {
        if address == 0 {
            return Ok(None);
        }
        let bytes = self.range(field, address, 24)?.read_array::<24>(0);
        let f = Fields(&bytes);
        Ok(Some(Transform([f.i32(0), f.i32(4), f.i32(8), f.i32(12), f.i32(16), f.i32(20)])))
    }
}

/// Which segments can follow which.
fn check_segment(flags: u32, points: usize, begun: &mut bool) -> Result<()> {
    let mut left = points;
    if flags & PathSegment::BEGIN != 0 {
        if left == 0 {
            return bad("path segment", flags, "begins without a point");
        }
        left -= 1;
        *begun = true;
    }
    if flags & PathSegment::BEZIER != 0 {
        if !*begun {
            return bad("path segment", flags, "is a curve without a first point");
        }
        if !left.is_multiple_of(3) {
            return bad("path segment", left, "points are no whole number of curves");
        }
    } else if left > 0 {
        *begun = true;
    }
    if flags & PathSegment::END != 0 {
        *begun = false;
    }
    Ok(())
}

fn path_point(f: Fields<'_>) -> Result<PointFix> {
    let point = PointFix { x: f.i32(0), y: f.i32(4) };
    let most = limits::MAX_PATH_COORDINATE.unsigned_abs();
    match [point.x, point.y].into_iter().find(|c| c.unsigned_abs() >= most) {
        Some(far) => bad("path point", far, "is too far away"),
        None => Ok(point),
    }
}

/// Clients allocate a mask of the size of the whole string, in pixman's bounds.
fn check_string_box(glyphs: &[Glyph]) -> Result<()> {
    let side = |low: fn(&Glyph) -> i64, size: fn(&Glyph) -> u16| {
        let first = glyphs.iter().map(low).min().unwrap_or(0);
        glyphs.iter().map(|g| low(g) + i64::from(size(g))).max().unwrap_or(0) - first
    };
    let width = side(|g| i64::from(g.render_pos.x) + i64::from(g.origin.x), |g| g.width);
    let height = side(|g| i64::from(g.render_pos.y) + i64::from(g.origin.y), |g| g.height);
    let most = i64::from(limits::MAX_DECODED_SIDE);
    if width > most || height > most {
        return bad("string", width.max(height), "pixels wide or high");
    }
    if u64::try_from(width * height).is_ok_and(|area| area > limits::MAX_DECODED_PIXELS) {
        return bad("string", width * height, "pixels large");
    }
    Ok(())
}

/// The part of a rectangle with coordinates that a surface can have; inverted ones become empty.
pub(super) fn on_surface(rect: Rect) -> Rect {
    let cut = rect.intersect(&Rect::new(0, 0, i32::MAX, i32::MAX));
    if cut.is_empty() { Rect::default() } else { cut }
}
