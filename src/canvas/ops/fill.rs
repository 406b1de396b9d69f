//! FILL.

use crate::canvas::area::Area;
use crate::canvas::brush::BrushRows;
use crate::canvas::rop::RasterOp;
use crate::canvas::target::Canvas;
use crate::canvas::{DrawError, Env};
use crate::draw::{Brush, Fill};
use crate::geometry::index;

impl Canvas {
    pub(in crate::canvas) fn draw_fill<'a>(
        &mut self,
        area: &Area,
        op: &'a Fill,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        self.combine_brush(area, &op.brush, RasterOp::of_brush(op.rop), env)
    }

    /// `dst = op(brush, dst)` for every pixel of `area`.
    pub(in crate::canvas) fn combine_brush<'a>(
        &mut self,
        area: &Area,
        brush: &'a Brush,
        op: RasterOp,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        let mut brush = BrushRows::open(brush, self, &area.bounds(), env)?;
        match &mut brush {
            BrushRows::Solid(value) if op.ignores_dest() => self.fill(area, op.pixel(*value, 0)),
            BrushRows::Solid(value) => self.modify(area, |_, _, row| op.row_solid(row, *value)),
            BrushRows::Pattern(tile) if op == RasterOp::COPY => {
                self.overwrite(area, |x, y, row| tile.read(x, y, row));
            }
            BrushRows::Pattern(tile) => {
                let mut pattern = vec![0; index(area.bounds().width())];
                self.modify(area, |x, y, row| {
                    let pattern = &mut pattern[..row.len()];
                    tile.read(x, y, pattern);
                    op.row(row, pattern);
                });
            }
        }
        Ok(())
    }
}
