//! ALPHA_BLEND (canvas.md 6.7).

use crate::blend::{over, over_row, scale};
use crate::canvas::area::Area;
use crate::canvas::picture::Raw;
use crate::canvas::pixel;
use crate::canvas::rop::RasterOp;
use crate::canvas::source::{SamplePhase, Source, SourceSpec};
use crate::canvas::target::{BOUNCE, Canvas};
use crate::canvas::{DrawError, Env, Region, source_coordinate, source_of};
use crate::draw::{AlphaBlend, ScaleMode};
use crate::geometry::{Rect, index, index_i32};
use crate::image::{ImageData, SurfaceFormat};

impl Canvas {
    pub(in crate::canvas) fn draw_alpha_blend<'a>(
        &mut self,
        area: &Area,
        extents: &Rect,
        bbox: &Rect,
        op: &'a AlphaBlend,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        if op.alpha == 0 {
            return Ok(());
        }
        let image = source_of(op.src.as_ref())?;
        let is_surface = matches!(image.data, ImageData::Surface(_));
        let spec = SourceSpec {
            src_area: op.src_area,
            scale_mode: ScaleMode::Nearest,
            phase: SamplePhase::Exact,
            natural: true,
            surface_has_alpha: is_surface && op.flags & AlphaBlend::SRC_SURFACE_HAS_ALPHA != 0,
            samples_unused: false,
        };
        let mut source = Source::open(image, self, bbox, &area.bounds(), &spec, env)?;
        if op.alpha == 255 && source.replaces(extents) {
            // Nothing is blended, so the unused bits are copied.
            self.combine_source(area, &mut source, RasterOp::COPY);
            if self.format() == SurfaceFormat::Xrgb32 && op.flags & AlphaBlend::DEST_HAS_ALPHA == 0 {
                self.clear_unused_bytes(&bbox.intersect(&self.bounds()));
            }
            return Ok(());
        }
        // The unused byte of xRGB is always blended like alpha. Without the flag, the result in it does not
        // matter.
        let format = match self.format() {
            SurfaceFormat::Xrgb32 => SurfaceFormat::Argb32,
            format => format,
        };
        let area = area.intersect_rect(&source.valid());
        if format == SurfaceFormat::Argb32
            && let Some((raw, dx, dy)) = source.raw_argb()
        {
            self.blend_raw(&area, raw, (dx, dy), op.alpha);
        } else {
            self.blend_rows(&area, &mut source, format, op.alpha.into());
        }
        if self.format() == SurfaceFormat::Xrgb32 && op.flags & AlphaBlend::DEST_HAS_ALPHA == 0 {
            self.clear_unused_bytes(&bbox.intersect(&self.bounds()));
        }
        Ok(())
    }

    /// Blends pixels of any format.
    fn blend_rows(&mut self, area: &Area, source: &mut Source<'_>, format: SurfaceFormat, alpha: u32) {
        let mut new = vec![0; index(area.bounds().width())];
        self.modify(area, |x, y, row| {
            let new = &mut new[..row.len()];
            source.read_argb(x, y, new);
            pixel::row_to_argb(format, row);
            if alpha == 255 {
                over_row(row, new);
            } else {
                for (d, s) in row.iter_mut().zip(&*new) {
                    *d = over(scale(*s, alpha), *d);
                }
            }
            pixel::row_from_argb(format, row);
        });
    }

    /// Blends pixels whose bytes are in the destination's order. Destination (x, y) uses source (x + dx, y +
    /// dy), which must exist.
    fn blend_raw(&mut self, area: &Area, raw: Raw<'_>, (dx, dy): (i64, i64), alpha: u8) {
        let mut buffer = [0; BOUNCE];
        area.for_each_span(|span| {
            let (x, y) = (source_coordinate(span.left, -dx), source_coordinate(span.y, -dy));
            let from = index_i32(x) * 4;
            let row = raw.row(y);
            let (to, len) = (index_i32(span.left) * 4, span.len() * 4);
            // The source may be guest memory, which has to be copied first.
            for at in (0..len).step_by(BOUNCE) {
                let n = BOUNCE.min(len - at);
                self.blend_bytes(to + at, span.y, row.bytes(from + at, &mut buffer[..n]), alpha);
            }
        });
    }

    /// After a blend on xRGB, the unused bytes of the whole rectangle become 0 if that of its first pixel is
    /// 0xff, whatever the clip. Later blends may read them as alpha (6.7), so clients and server must agree.
    pub(in crate::canvas) fn clear_unused_bytes(&mut self, rect: &Rect) {
        let mut first = [0];
        self.read_row(rect.left, rect.top, &mut first);
        if first[0] >> 24 == 0xff {
            self.modify(&Area::from(Region::from(*rect)), |_, _, row| {
                row.iter_mut().for_each(|p| *p &= 0x00ff_ffff);
            });
        }
    }
}
