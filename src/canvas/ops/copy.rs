//! COPY, BLEND, OPAQUE, TRANSPARENT, ROP3 and COPY_BITS: operations that move whole pixels.

use crate::canvas::area::Area;
use crate::canvas::brush::BrushRows;
use crate::canvas::picture::{Raw, RawRow};
use crate::canvas::rop::{RasterOp, rop3_row};
use crate::canvas::source::{SamplePhase, Source, SourceSpec};
use crate::canvas::target::{BOUNCE, Canvas};
use crate::canvas::{DrawError, Env, Region, moved, source_coordinate, source_of};
use crate::draw::{Copy, Opaque, Rop3, ScaleMode, Transparent};
use crate::geometry::{Point, Rect, index, index_i32};
use crate::guest::Rows;
use crate::image::{Image, ImageData, SurfaceFormat};

impl Canvas {
    pub(in crate::canvas) fn draw_copy<'a>(
        &mut self,
        area: &Area,
        bbox: &Rect,
        op: &'a Copy,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        check_source_area(&op.src, &op.src_area)?;
        let rop = RasterOp::of_image(op.rop);
        let same_size = (op.src_area.width(), op.src_area.height()) == (bbox.width(), bbox.height());
        if env.is_target(&op.src) && rop == RasterOp::COPY && same_size && !area.is_masked() {
            self.copy_bits(area.region(), bbox, Point { x: op.src_area.left, y: op.src_area.top });
            return Ok(());
        }
        let spec = SourceSpec {
            src_area: op.src_area,
            scale_mode: op.scale_mode,
            phase: SamplePhase::Exact,
            natural: false,
            surface_has_alpha: false,
            samples_unused: self.format() == SurfaceFormat::Xrgb32 || rop != RasterOp::COPY,
        };
        let mut source = Source::open(&op.src, self, bbox, &area.bounds(), &spec, env)?;
        self.combine_source(&area.intersect_rect(&source.valid()), &mut source, rop);
        Ok(())
    }

    pub(in crate::canvas) fn draw_opaque<'a>(
        &mut self,
        area: &Area,
        bbox: &Rect,
        op: &'a Opaque,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        let image = source_of(op.src.as_ref())?;
        let spec = SourceSpec {
            src_area: op.src_area,
            scale_mode: op.scale_mode,
            phase: SamplePhase::Exact,
            natural: false,
            surface_has_alpha: false,
            samples_unused: self.format() == SurfaceFormat::Xrgb32,
        };
        let mut source = Source::open(image, self, bbox, &area.bounds(), &spec, env)?;
        // If the pattern cannot be drawn, this must be known before anything is drawn.
        BrushRows::open(&op.brush, self, &area.bounds(), env)?;
        self.combine_source(&area.intersect_rect(&source.valid()), &mut source, RasterOp::COPY);
        self.combine_brush(area, &op.brush, RasterOp::of_opaque(op.rop), env)
    }

    pub(in crate::canvas) fn combine_source(&mut self, area: &Area, source: &mut Source<'_>, op: RasterOp) {
        if op == RasterOp::COPY {
            if let Some((raw, dx, dy)) = source.raw() {
                self.copy_raw(area, raw, dx, dy);
            } else {
                self.overwrite(area, |x, y, row| source.read(x, y, row));
            }
            return;
        }
        let mut new = vec![0; index(area.bounds().width())];
        self.modify(area, |x, y, row| {
            let new = &mut new[..row.len()];
            source.read(x, y, new);
            op.row(row, new);
        });
    }

    /// Copies bytes. Destination (x, y) gets source (x + dx, y + dy), which must exist.
    fn copy_raw(&mut self, area: &Area, raw: Raw<'_>, dx: i64, dy: i64) {
        let bytes = index(self.format().bits_per_pixel() / 8);
        let mut buffer = [0; BOUNCE];
        area.for_each_block(|block| {
            let (x, y) = (source_coordinate(block.left, -dx), source_coordinate(block.top, -dy));
            let (from, to) = (index_i32(x) * bytes, index_i32(block.left) * bytes);
            let (len, count) = (index(block.width()) * bytes, index(block.height()));
            match raw.row(y) {
                RawRow::Bytes(source, rows) => {
                    let rows = Rows { first: rows.first + from, ..rows };
                    self.write_rows((to, block.top), source, rows, len, count);
                }
                RawRow::Surface(canvas, y) => {
                    for (y, to_y) in (y..).zip(block.top..block.bottom) {
                        for at in (0..len).step_by(BOUNCE) {
                            let part = &mut buffer[..BOUNCE.min(len - at)];
                            canvas.read_bytes(from + at, y, part);
                            self.write_bytes(to + at, to_y, part);
                        }
                    }
                }
            }
        });
    }

    pub(in crate::canvas) fn draw_transparent<'a>(
        &mut self,
        area: &Area,
        bbox: &Rect,
        op: &'a Transparent,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        let image = source_of(op.src.as_ref())?;
        let spec = SourceSpec {
            src_area: op.src_area,
            scale_mode: ScaleMode::Nearest,
            phase: SamplePhase::Exact,
            natural: false,
            surface_has_alpha: false,
            samples_unused: true,
        };
        let mut source = Source::open(image, self, bbox, &area.bounds(), &spec, env)?;
        let k = op.true_color;
        let (key, mask) = match self.format() {
            SurfaceFormat::Xrgb32 | SurfaceFormat::Argb32 => (k & 0x00ff_ffff, 0x00ff_ffff),
            SurfaceFormat::Rgb555 => ((k >> 3) & 0x1f | (k >> 6) & 0x3e0 | (k >> 9) & 0x7c00, 0xffff),
            SurfaceFormat::Rgb565 => ((k >> 3) & 0x1f | (k >> 5) & 0x7e0 | (k >> 8) & 0xf800, 0xffff),
            SurfaceFormat::A8 => (0, 0xff),
            SurfaceFormat::A1 => (0, 1),
        };
        let area = area.intersect_rect(&source.valid());
        let mut new = vec![0; index(area.bounds().width())];
        self.modify(&area, |x, y, row| {
            let new = &mut new[..row.len()];
            source.read(x, y, new);
            for (d, s) in row.iter_mut().zip(&*new) {
                *d = if s & mask == key { *d } else { *s };
            }
        });
        Ok(())
    }

    pub(in crate::canvas) fn draw_rop3<'a>(
        &mut self,
        area: &Area,
        bbox: &Rect,
        op: &'a Rop3,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        if self.format().bits_per_pixel() < 16 {
            return Err(DrawError::BadSurfaceFormat);
        }
        let image = source_of(op.src.as_ref())?;
        let src = op.src_area;
        if src.left < 0 || src.top < 0 {
            return Err(DrawError::BadSourceArea);
        }
        if (src.width(), src.height()) == (bbox.width(), bbox.height()) {
            let (width, height) = env.size_of(image, self)?;
            if !Rect::new(0, 0, width, height).contains(&src) {
                return Err(DrawError::BadSourceArea);
            }
        } else if src.is_empty() {
            return Err(DrawError::BadSourceArea);
        }
        let spec = SourceSpec {
            src_area: src,
            scale_mode: op.scale_mode,
            phase: SamplePhase::Quantised,
            natural: false,
            surface_has_alpha: false,
            samples_unused: true,
        };
        let mut source = Source::open(image, self, bbox, &area.bounds(), &spec, env)?;
        let mut brush = BrushRows::open(&op.brush, self, &area.bounds(), env)?;
        let width = index(area.bounds().width());
        let (mut new, mut pattern) = (vec![0; width], vec![0; width]);
        self.modify(area, |x, y, row| {
            let (new, pattern) = (&mut new[..row.len()], &mut pattern[..row.len()]);
            source.read(x, y, new);
            brush.read(x, y, pattern);
            rop3_row(op.rop3, row, new, pattern);
        });
        Ok(())
    }

    /// COPY_BITS (canvas.md 6.8): every pixel of `region` gets the old value of its source pixel. Pixels
    /// whose source lies outside the surface stay.
    pub(in crate::canvas) fn copy_bits(&mut self, region: &Region, bbox: &Rect, from: Point) {
        let dx = i64::from(bbox.left) - i64::from(from.x);
        let dy = i64::from(bbox.top) - i64::from(from.y);
        if (dx, dy) == (0, 0) {
            return;
        }
        let Some(reachable) = moved(&self.bounds(), dx, dy) else { return };
        let region = region.intersect_rect(&reachable);
        if dx == 0 && region.is_rect() && region.bounds().width() == self.width() && self.is_packed() {
            let rows = region.bounds();
            self.copy_rows(source_coordinate(rows.top, dy), rows.top, index(rows.height()));
            return;
        }
        // No row may be overwritten before it is read. So this walks against the direction of the move, row
        // by row rather than rectangle by rectangle, because the source of a rectangle may lie under its
        // neighbour in the band.
        let mut bands: Vec<&[Rect]> = region.rects().chunk_by(|a, b| a.top == b.top).collect();
        if dy > 0 {
            bands.reverse();
        }
        for band in bands {
            let rows = band[0].bottom - band[0].top;
            for i in 0..rows {
                let y = if dy > 0 { band[0].bottom - 1 - i } else { band[0].top + i };
                let from_y = source_coordinate(y, dy);
                let mut segment = |r: &Rect| self.move_segment(r, y, source_coordinate(r.left, dx), from_y);
                if dy == 0 && dx > 0 {
                    band.iter().rev().for_each(&mut segment);
                } else {
                    band.iter().for_each(&mut segment);
                }
            }
        }
    }

    /// Copies a segment of a row inside the surface.
    fn move_segment(&mut self, to: &Rect, y: i32, from_x: i32, from_y: i32) {
        let (len, bits) = (index(to.width()), index(self.format().bits_per_pixel()));
        if bits < 8 {
            let mut row = vec![0; len];
            self.read_row(from_x, from_y, &mut row);
            self.write_row(to.left, y, &row);
            return;
        }
        let bytes = bits / 8;
        self.copy_bytes((index_i32(from_x) * bytes, from_y), (index_i32(to.left) * bytes, y), len * bytes);
    }
}

/// The check of COPY and BLEND (canvas.md 6.3).
fn check_source_area(image: &Image, area: &Rect) -> Result<(), DrawError> {
    let ordered = 0 <= area.left && area.left <= area.right && 0 <= area.top && area.top <= area.bottom;
    let inside = match &image.data {
        ImageData::Bitmap(bitmap) => {
            let whole = Rect::of_size(bitmap.width, bitmap.height);
            area.right <= whole.right && area.bottom <= whole.bottom
        }
        _ => true,
    };
    if ordered && inside { Ok(()) } else { Err(DrawError::BadSourceArea) }
}
