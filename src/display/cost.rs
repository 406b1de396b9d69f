//! An estimate of what it costs to draw a command, made before anything is drawn, so that the channel can bound what waits.
//!
//! The unit is about a nanosecond of a processor of 2020. The estimate uses only the numbers in the command. It must not be too
//! low for any command, and may be too high for unusual ones.

use crate::canvas::Region;
use crate::draw::{Brush, Composite, DrawOp, Drawable, GlyphString, ImageTotals, PathSegment, Rop, Stroke};
use crate::geometry::Rect;
use crate::image::{Image, ImageData};
use crate::limits::MAX_PATH_POINTS;

/// Cost of each command, whatever it draws.
const COMMAND: u64 = 1000;
/// For each rectangle of a region.
const RECT: u64 = 200;
/// For each pixel of a QUIC image that is decoded.
const DECODE: u64 = 12;
/// For each pixel of an image that is copied before it is read.
const OPEN: u64 = 3;
/// For each pixel around the region of a command with a 1-bit mask.
const MASK: u64 = 4;
/// For each run of pixels of a line.
const SPAN: u64 = 40;
/// For each curve of a path, and for all of them together: the number of points that they may become is bounded.
const CURVE: u64 = 2000;
const CURVES: u64 = 30 * MAX_PATH_POINTS as u64;

/// What a command costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Cost each time that a part of the command is drawn.
    pub fixed: u64,
    /// Cost of all pixels together.
    pub drawing: u64,
    /// Not a cost, but found on the way: the number of pixels of all images that have to be sent with the operation.
    pub image_pixels: u64,
}

impl Cost {
    /// The cost of drawing a command with these images in a region. `read` gives the number of pixels that it may read of
    /// another surface.
    #[must_use]
    pub(super) fn of(
        drawable: &Drawable,
        images: &ImageTotals,
        region: &Region,
        read: impl Fn(u32) -> u64,
    ) -> Self {
        let bounds = region.bounds();
        let rects = count(region.rects().len());
        let mut fixed = rects.saturating_mul(RECT).saturating_add(COMMAND);
        fixed = fixed.saturating_add(images.coded_pixels.saturating_mul(DECODE));
        if images.masked {
            fixed = fixed.saturating_add(bounds.area().saturating_mul(MASK));
        }
        let drawing = match &drawable.op {
            DrawOp::Stroke(stroke) => cost_of_stroke(stroke, &bounds),
            DrawOp::Text(text) => {
                // The canvas first collects the glyphs in a buffer of that size.
                bounds.area().saturating_mul(8).saturating_add(cost_of_glyphs(&text.string, &bounds))
            }
            DrawOp::Composite(op) => {
                fixed = fixed.saturating_add(cost_to_open(op, drawable, read));
                region.area().saturating_mul(cost_of_composite(op))
            }
            op => region.area().saturating_mul(cost_of_pixel(op, &drawable.bbox)),
        };
        Self { fixed, drawing, image_pixels: images.pixels }
    }

    /// The cost of the whole command, drawn at once.
    #[must_use]
    pub(super) fn total(self) -> u64 {
        self.fixed.saturating_add(self.drawing)
    }

    /// The cost of drawing `part` of the command's `whole` pixels.
    #[must_use]
    pub(super) fn of_part(self, part: u64, whole: u64) -> u64 {
        let share = u128::from(self.drawing) * u128::from(part) / u128::from(whole.max(1));
        self.fixed.saturating_add(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// Into how many pieces the command should be cut, if each may cost about `piece`.
    #[must_use]
    pub(super) fn pieces(self, piece: u64) -> u64 {
        self.drawing.div_ceil(piece.max(self.fixed).max(1)).max(1)
    }
}

/// Cost of a pixel, for operations whose cost depends on nothing else.
fn cost_of_pixel(op: &DrawOp, bbox: &Rect) -> u64 {
    match op {
        DrawOp::Nop | DrawOp::Blackness(_) | DrawOp::Whiteness(_) => 1,
        DrawOp::Fill(fill) => match fill.brush {
            Brush::Pattern { .. } => 6,
            _ if fill.rop == Rop::PUT => 1,
            _ => 3,
        },
        DrawOp::Invers(_) | DrawOp::CopyBits(_) => 2,
        DrawOp::Copy(copy) | DrawOp::Blend(copy) => {
            let rop = if copy.rop == Rop::PUT { 0 } else { 3 };
            rop + if same_size(&copy.src_area, bbox) { 3 } else { 12 }
        }
        DrawOp::Transparent(_) => 12,
        DrawOp::AlphaBlend(blend) if same_size(&blend.src_area, bbox) => 5,
        _ => 15,
    }
}

fn cost_of_composite(op: &Composite) -> u64 {
    let bits = |shift: u32, count: u32| op.flags >> shift & ((1 << count) - 1);
    // These operators divide, so the canvas computes them in floating point.
    let wide = !matches!(bits(0, 8), 0..=12 | 0x10..=0x12 | 0x20..=0x22 | 0x30..=0x34 | 0x37 | 0x39 | 0x3a);
    let sampled = |filter: u32, transformed: bool| match (transformed, filter) {
        (false, _) => 2,
        (true, 0 | 3) => 5,
        (true, _) => 8,
    };
    let source = sampled(bits(8, 3), op.src_transform.is_some());
    let mask = op.mask.as_ref().map_or(0, |_| 3 + sampled(bits(11, 3), op.mask_transform.is_some()));
    (3 + source + mask) * if wide { 6 } else { 1 }
}

/// A composite copies those parts of its images that it may sample.
fn cost_to_open(op: &Composite, drawable: &Drawable, read: impl Fn(u32) -> u64) -> u64 {
    let image = |image: &Image, repeat: u32, transformed: bool| {
        let whole = match image.data {
            ImageData::Surface(id) => read(id),
            _ => pixels_of(image),
        };
        if repeat == 0 && !transformed { whole.min(drawable.bbox.area()) } else { whole }
    };
    let source = op.src.as_ref().map_or(0, |i| image(i, op.flags >> 14 & 3, op.src_transform.is_some()));
    let mask = op.mask.as_ref().map_or(0, |i| image(i, op.flags >> 16 & 3, op.mask_transform.is_some()));
    source.saturating_add(mask).saturating_mul(OPEN)
}

fn cost_of_stroke(stroke: &Stroke, bounds: &Rect) -> u64 {
    let styled = stroke.line_flags & Stroke::STYLED != 0;
    let visible = |p: &crate::geometry::PointFix| {
        let clamp = |v: i32, low: i32, high: i32| i64::from(v >> 4).clamp(low.into(), high.into());
        (clamp(p.x, bounds.left, bounds.right), clamp(p.y, bounds.top, bounds.bottom))
    };
    let (mut cost, mut curves) = (0u64, 0u64);
    let mut last = None;
    for segment in stroke.path.iter() {
        if segment.flags & PathSegment::BEZIER != 0 {
            curves = curves.saturating_add(count(segment.points.len() / 3).saturating_mul(CURVE));
        }
        for point in segment.points.iter().map(visible) {
            let (x, y) = last.replace(point).unwrap_or(point);
            let (wide, high) = (x.abs_diff(point.0), y.abs_diff(point.1));
            let pixels = wide.max(high).saturating_add(1);
            // Each dash is a run. A solid line has one in each row.
            let spans = if styled { pixels } else { high.saturating_add(1) };
            let line = spans.saturating_mul(SPAN).saturating_add(pixels.saturating_mul(3));
            cost = cost.saturating_add(line);
        }
    }
    cost.saturating_add(curves.min(CURVES))
}

fn cost_of_glyphs(string: &GlyphString, bounds: &Rect) -> u64 {
    string.glyphs.iter().fold(0, |sum: u64, glyph| {
        let (width, height) = (u64::from(glyph.width), u64::from(glyph.height));
        let visible = width.min(bounds.width().into()) * height.min(bounds.height().into());
        sum.saturating_add(visible.saturating_mul(3)).saturating_add(20)
    })
}

fn pixels_of(image: &Image) -> u64 {
    u64::from(image.width) * u64::from(image.height)
}

fn same_size(a: &Rect, b: &Rect) -> bool {
    (a.width(), a.height()) == (b.width(), b.height())
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Clip, Effect, Fill, Glyph, Text};
    use crate::geometry::{Point, PointFix};
    use crate::limits::MAX_COMMAND_COST;
    use std::sync::Arc;

    fn command(bbox: Rect, op: DrawOp) -> Drawable {
        Drawable {
            surface_id: 0,
            effect: Effect::Blend,
            bbox,
            clip: Clip::None,
            mm_time: 0,
            self_bitmap: None,
            deps: [None; 3],
            op,
            release: None,
        }
    }

    fn cost(op: DrawOp, side: u32) -> u64 {
        let bbox = Rect::of_size(side, side);
        let images = op.image_totals();
        Cost::of(&command(bbox, op), &images, &Region::from(bbox), |_| 0).total()
    }

    fn stroke(points: i32, line_flags: u8) -> DrawOp {
        let zigzag = (0..points).map(|i| PointFix { x: i % 2 * 1024 * 16, y: i % 1024 * 16 }).collect();
        DrawOp::Stroke(Stroke {
            path: vec![PathSegment { flags: PathSegment::BEGIN, points: zigzag }].into(),
            line_flags,
            style: Vec::new().into(),
            brush: Brush::Solid(0),
            fore_mode: Rop::PUT,
            back_mode: Rop::PUT,
        })
    }

    fn text(glyphs: usize) -> DrawOp {
        let glyph = Glyph {
            render_pos: Point::default(),
            origin: Point::default(),
            width: 900,
            height: 900,
            data: Vec::new(),
        };
        DrawOp::Text(Text {
            string: Arc::new(GlyphString { flags: GlyphString::A1, glyphs: vec![glyph; glyphs] }),
            back_area: Rect::default(),
            fore_brush: Brush::Solid(0),
            back_brush: Brush::None,
            fore_mode: Rop::PUT,
            back_mode: Rop::PUT,
        })
    }

    #[test]
    fn cost_grows_with_lines_glyphs_and_rectangles_alike() {
        let rects = |n: i32| {
            let rects: Vec<Rect> = (0..n).map(|i| Rect::new(2 * i, 0, 2 * i + 1, 1)).collect();
            let fill = Fill { brush: Brush::Solid(0), rop: Rop::PUT, mask: None };
            let command = command(Rect::of_size(1 << 17, 1), DrawOp::Fill(fill));
            Cost::of(&command, &ImageTotals::default(), &Region::from_rects(&rects), |_| 0).total()
        };
        let growths: [(&str, &dyn Fn(i32) -> u64); 4] = [
            ("rectangles", &rects),
            ("lines", &|n| cost(stroke(n, 0), 1024)),
            ("dashes", &|n| cost(stroke(n, Stroke::STYLED), 1024)),
            ("glyphs", &|n| cost(text(usize::try_from(n).unwrap()), 1024)),
        ];
        for (what, of) in growths {
            let [once, twice, four] = [of(1000), of(2000), of(4000)];
            let linear = once < twice && twice * 10 <= once * 21 && four * 10 <= twice * 21;
            assert!(linear, "{what}: {once} {twice} {four}");
        }
    }

    #[test]
    fn lines_and_glyphs_without_end_are_beyond_the_limit() {
        assert!(cost(stroke(1_000_000, 0), 1024) > MAX_COMMAND_COST);
        assert!(cost(text(10_000), 1024) > MAX_COMMAND_COST);
        assert!(cost(stroke(1000, 0), 1024) < MAX_COMMAND_COST);
        assert!(cost(text(10), 1024) < MAX_COMMAND_COST);
    }

    #[test]
    fn ordinary_commands_on_the_largest_screens_stay_below_the_limit() {
        for op in [
            DrawOp::Blackness(None),
            DrawOp::Invers(None),
            DrawOp::Fill(Fill { brush: Brush::Solid(0), rop: Rop::PUT, mask: None }),
            DrawOp::CopyBits(Point::default()),
        ] {
            assert!(cost(op, 8192) < MAX_COMMAND_COST);
        }
    }

    #[test]
    fn pieces_repeat_what_each_needs() {
        let cost = Cost { fixed: 10, drawing: 1000, image_pixels: 0 };
        assert_eq!((cost.pieces(100), cost.pieces(5), cost.pieces(5000)), (10, 100, 1));
        assert_eq!((cost.of_part(1, 4), cost.of_part(4, 4), cost.of_part(1, 0)), (260, 1010, 1010));
    }
}
