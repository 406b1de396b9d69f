//! STROKE on a surface (canvas.md 10.1).

use super::{Span, spans};
use crate::canvas::area::Area;
use crate::canvas::brush::BrushRows;
use crate::canvas::rop::RasterOp;
use crate::canvas::target::Canvas;
use crate::canvas::{DrawError, Env};
use crate::draw::Stroke;
use crate::geometry::index;

impl Canvas {
    pub(in crate::canvas) fn draw_stroke<'a>(
        &mut self,
        area: &Area,
        op: &'a Stroke,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        let bounds = area.bounds();
        let mut brush = BrushRows::open(&op.brush, self, &bounds, env)?;
        let rop = RasterOp::of_brush(op.fore_mode);
        let width = index(bounds.width());
        let (mut pattern, mut pixels) = (vec![0; width], vec![0; width]);
        let mut combine = |span: Span| {
            let row = &mut pixels[..span.len()];
            self.read_row(span.left, span.y, row);
            match &mut brush {
                BrushRows::Solid(value) => rop.row_solid(row, *value),
                BrushRows::Pattern(tile) => {
                    let pattern = &mut pattern[..span.len()];
                    tile.read(span.left, span.y, pattern);
                    rop.row(row, pattern);
                }
            }
            self.write_row(span.left, span.y, row);
        };
        let emit = &mut |span: Span| {
            let band = area.region().row(span.y);
            let first = band.partition_point(|r| r.right <= span.left);
            for rect in &band[first..] {
                if rect.left >= span.right {
                    break;
                }
                combine(Span {
                    y: span.y,
                    left: span.left.max(rect.left),
                    right: span.right.min(rect.right),
                });
            }
        };
        spans(op, &bounds, emit).map_err(|_| DrawError::BadPath)
    }
}
