//! ALPHA_BLEND (canvas.md 6.7).

use crate::canvas::area::Area;
use crate::canvas::blend::{over, over_row, scale};
use crate::canvas::pixel;
use crate::canvas::source::{Phase, Source, SourceSpec};
use crate::canvas::target::{Canvas, index};
use crate::canvas::{DrawError, Env};
use crate::draw::{AlphaBlend, ScaleMode};
use crate::geometry::Rect;
use crate::image::{ImageData, SurfaceFormat};

impl Canvas {
    pub(in crate::canvas) fn draw_alpha_blend<'a>(
        &mut self,
        area: &Area,
        bbox: &Rect,
        op: &'a AlphaBlend,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        if op.alpha == 0 {
            return Ok(());
        }
        let image = env.source(op.src.as_ref())?;
        let is_surface = matches!(image.data, ImageData::Surface(_));
        let spec = SourceSpec {
            src_area: op.src_area,
            scale_mode: ScaleMode::Nearest,
            phase: Phase::Exact,
            natural: true,
            surface_has_alpha: is_surface && op.flags & AlphaBlend::SRC_SURFACE_HAS_ALPHA != 0,
        };
        let mut source = Source::open(image, self, bbox, &area.bounds(), &spec, env)?;
        let format = match self.format() {
            SurfaceFormat::Xrgb32 if op.flags & AlphaBlend::DEST_HAS_ALPHA != 0 => SurfaceFormat::Argb32,
            format => format,
        };
        let area = area.intersect_rect(&source.valid());
        let mut new = vec![0; index(area.bounds().width())];
        let alpha = u32::from(op.alpha);
        self.modify(&area, |x, y, row| {
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
        Ok(())
    }
}
