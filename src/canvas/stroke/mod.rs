//! STROKE: the pixels that a path covers (canvas.md 10). Pure geometry; the canvas fills the spans with brush
//! and raster operation.

mod dash;
mod draw;
mod path;
mod polygon;
mod solid;

pub(super) use path::{PathError, check};

use super::Span;
use super::rop::RasterOp;
use crate::draw::{PathSegment, Rop, Stroke};
use crate::geometry::Rect;
use crate::limits::MAX_STROKE_SPANS;
use dash::DashPattern;

/// Calls `emit` for every span of the stroke inside `bounds`, in drawing order.
///
/// A pixel that is emitted twice is to be combined twice. At most [`MAX_STROKE_SPANS`] spans are drawn.
///
/// # Errors
/// The path cannot be drawn; then nothing has been emitted.
pub(super) fn spans(stroke: &Stroke, bounds: &Rect, emit: &mut dyn FnMut(Span)) -> Result<(), PathError> {
    check(&stroke.path)?;
    let mut left = MAX_STROKE_SPANS;
    let mut emit = |span: Span| {
        if left > 0 {
            left -= 1;
            emit(span);
        }
    };
    if stroke.line_flags & Stroke::STYLED != 0 {
        dashed(stroke, bounds, &mut emit)
    } else {
        solid_lines(&stroke.path, bounds, &mut emit)
    }
}

fn solid_lines(path: &[PathSegment], bounds: &Rect, emit: &mut dyn FnMut(Span)) -> Result<(), PathError> {
    path::polylines(path, &mut |line| {
        for pair in line.windows(2) {
            solid::line(pair[0], pair[1], bounds, emit);
        }
    })
}

fn dashed(stroke: &Stroke, bounds: &Rect, emit: &mut dyn FnMut(Span)) -> Result<(), PathError> {
    let gap_first = stroke.line_flags & Stroke::START_WITH_GAP != 0;
    let Some(mut pattern) = DashPattern::new(&stroke.style, gap_first) else { return Ok(()) };
    let once = !is_idempotent(stroke.fore_mode);
    let mut set = SpanSet::default();
    path::polylines(&stroke.path, &mut |line| {
        if once && line.len() >= 3 {
            pattern.polyline(line, bounds, true, &mut |span| set.add(span));
            set.drain(emit);
        } else {
            pattern.polyline(line, bounds, false, emit);
        }
    })
}

/// Whether combining a pixel twice with the same brush gives the same as once.
fn is_idempotent(rop: Rop) -> bool {
    let op = RasterOp::of_brush(rop);
    // Computes all four combinations of bits at once.
    let (s, d) = (0b1100, 0b1010);
    let once = op.pixel(s, d);
    op.pixel(s, once) & 15 == once & 15
}

/// Spans of one polyline, each pixel once.
#[derive(Debug, Default)]
struct SpanSet {
    spans: Vec<Span>,
    /// Number of spans at which overlapping ones are merged, so that memory stays close to what is visible.
    merge_at: usize,
}

impl SpanSet {
    fn add(&mut self, span: Span) {
        self.spans.push(span);
        if self.spans.len() > self.merge_at.max(65_536) {
            self.merge();
            self.merge_at = 2 * self.spans.len();
        }
    }

    fn merge(&mut self) {
        self.spans.sort_unstable_by_key(|s| (s.y, s.left));
        self.spans.dedup_by(|next, kept| {
            let touches = next.y == kept.y && next.left <= kept.right;
            if touches {
                kept.right = kept.right.max(next.right);
            }
            touches
        });
    }

    fn drain(&mut self, emit: &mut dyn FnMut(Span)) {
        self.merge();
        self.spans.drain(..).for_each(emit);
        self.merge_at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Brush;
    use crate::geometry::PointFix;
    use std::sync::Arc;

    fn stroke(points: &[(i32, i32)], style: Option<&[i32]>, rop: Rop) -> Stroke {
        let points = points.iter().map(|&(x, y)| PointFix { x, y }).collect();
        Stroke {
            path: Arc::from([PathSegment { flags: PathSegment::BEGIN | PathSegment::END, points }]),
            line_flags: if style.is_some() { Stroke::STYLED } else { 0 },
            style: style.unwrap_or_default().into(),
            brush: Brush::Solid(1),
            fore_mode: rop,
            back_mode: Rop::PUT,
        }
    }

    fn pixels(stroke: &Stroke, bounds: &Rect) -> Vec<(i32, i32)> {
        let mut all = Vec::new();
        spans(stroke, bounds, &mut |s| all.extend((s.left..s.right).map(|x| (x, s.y)))).unwrap();
        all
    }

    const AREA: Rect = Rect::new(0, 0, 100, 100);

    #[test]
    fn horizontal_dashes_alternate() {
        let s = stroke(&[(0, 16), (10 * 16, 16)], Some(&[32, 16]), Rop::PUT);
        let xs: Vec<i32> = pixels(&s, &AREA).iter().map(|p| p.0).collect();
        assert_eq!(xs, [0, 1, 3, 4, 6, 7, 9]);
    }

    #[test]
    fn empty_dash_lists_draw_nothing() {
        for style in [&[][..], &[0, 0], &[1, 2, -3], &[256 * 16]] {
            assert!(pixels(&stroke(&[(0, 0), (1600, 1600)], Some(style), Rop::PUT), &AREA).is_empty());
        }
    }

    #[test]
    fn grouped_dashes_touch_each_pixel_once() {
        let s = stroke(&[(0, 0), (1000, 900), (0, 900), (1000, 0)], Some(&[80, 16]), Rop::XOR);
        let mut all = pixels(&s, &AREA);
        let before = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), before);
    }

    #[test]
    fn hostile_dashes_end() {
        let far = [(i32::MIN, i32::MAX), (i32::MAX, i32::MIN), (i32::MIN, 800), (i32::MAX, 810)];
        let points: Vec<_> = far.iter().copied().cycle().take(2000).collect();
        for style in [&[16][..], &[16, 0, 0, 0], &[9, i32::MAX, i32::MIN, 0x7fff_fff0]] {
            for rop in [Rop::PUT, Rop::XOR] {
                pixels(&stroke(&points, Some(style), rop), &AREA);
            }
        }
    }

    #[test]
    fn far_dashed_line_is_seen() {
        let s = stroke(&[(-0x700_0000, 800), (0x700_0000, 800)], Some(&[160, 160]), Rop::PUT);
        assert_eq!(pixels(&s, &AREA).len(), 50);
    }

    #[test]
    fn ops_that_toggle_are_not_idempotent() {
        for (rop, want) in [
            (Rop::PUT, true),
            (Rop::XOR, false),
            (Rop::INVERS, false),
            (Rop::OR, true),
            (Rop::OR | Rop::INVERS_RES, false),
            (Rop::AND | Rop::INVERS_DEST, false),
            (Rop::AND | Rop::INVERS_BRUSH, true),
            (Rop::WHITENESS, true),
        ] {
            assert_eq!(is_idempotent(rop), want, "{rop:?}");
        }
    }
}
