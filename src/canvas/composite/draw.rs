//! COMPOSITE on a surface.

use super::operator::Operator;
use super::sample::{Filter, Placement, Repeat, Sampler, Texture};
use super::{Composer, Request};
use crate::canvas::area::Area;
use crate::canvas::picture::Want;
use crate::canvas::target::{Canvas, index, index_i32};
use crate::canvas::{DrawError, Env, source_of};
use crate::draw::{Composite, Transform};
use crate::geometry::{Point16, Rect};
use crate::image::{Image, ImageData, SurfaceFormat};
use crate::limits::MAX_DECODED_PIXELS;

impl Canvas {
    pub(in crate::canvas) fn draw_composite<'a>(
        &mut self,
        area: &Area,
        bbox: &Rect,
        op: &'a Composite,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        let bits = |shift: u32, count: u32| op.flags >> shift & ((1 << count) - 1);
        let operator = u8::try_from(bits(0, 8)).ok().and_then(Operator::from_number);
        let operator = operator.ok_or(DrawError::BadComposite)?;
        let placement = |filter: u32, repeat: u32, transform: Option<Transform>, origin: Point16| {
            let filter = Filter::from_number(filter).ok_or(DrawError::BadComposite)?;
            Ok(Placement { filter, repeat: Repeat::from_number(repeat), transform, origin })
        };

        let image = source_of(op.src.as_ref())?;
        let source = placement(bits(8, 3), bits(14, 2), op.src_transform, op.src_origin)?;
        let mask = match &op.mask {
            Some(mask) => {
                let placement = placement(bits(11, 3), bits(16, 2), op.mask_transform, op.mask_origin)?;
                Some((mask, placement))
            }
            None => None,
        };
        let Some(mut source) = self.sampler(image, source, bbox, env)? else { return Ok(()) };
        if op.flags & Composite::SOURCE_OPAQUE != 0
            && matches!(image.data, ImageData::Surface(_))
            && source.texture.format == SurfaceFormat::Argb32
        {
            source.texture.format = SurfaceFormat::Xrgb32;
        }
        let mask = match mask {
            Some((image, placement)) => match self.sampler(image, placement, bbox, env)? {
                Some(sampler) => Some(sampler),
                None => return Ok(()),
            },
            None => None,
        };
        let component_alpha = bits(18, 1) != 0;
        let request = Request { op: operator, source, mask, component_alpha, dest: self.format() };
        self.compose(area, bbox, Composer::new(request));
        Ok(())
    }

    /// Opens source or mask; `None` if its samples lie so far out that nothing can be drawn.
    fn sampler<'a>(
        &self,
        image: &'a Image,
        placement: Placement,
        bbox: &Rect,
        env: &mut Env<'a>,
    ) -> Result<Option<Sampler>, DrawError> {
        let (width, height) = env.size_of(image, self)?;
        let size = Rect::new(0, 0, width, height);
        if size.is_empty() {
            return Err(DrawError::BadImage);
        }
        let size = (size.width(), size.height());
        let Some(extent) = placement.extent(size, (bbox.width(), bbox.height())) else { return Ok(None) };
        let window = placement.needed(size, &extent);
        if window.area() > MAX_DECODED_PIXELS {
            return Err(DrawError::BadComposite);
        }
        let mut picture = env.open(image, self, Want::ConvertedBitmap, &window)?;
        let mut pixels = vec![0; index(window.width()) * index(window.height())];
        if !window.is_empty() {
            for (row, y) in pixels.chunks_exact_mut(index(window.width())).zip(window.top..) {
                picture.read(window.left, y, row);
            }
        }
        let texture = Texture { size, format: picture.format(), window, pixels };
        Ok(Some(Sampler { texture, placement, covered: extent.covered }))
    }

    fn compose(&mut self, area: &Area, bbox: &Rect, mut composer: Composer) {
        let bounds = area.bounds();
        let mut row = vec![0; index(bounds.width())];
        let offset = |v: i32, origin: i32| u32::try_from(v - origin).unwrap_or(0);
        let top = if composer.needs_all_rows() { bbox.top } else { bounds.top };
        for y in top..bounds.bottom {
            let shown = area.region().row(y);
            if shown.is_empty() && !composer.needs_all_rows() {
                continue;
            }
            self.read_row(bounds.left, y, &mut row);
            composer.row(offset(bounds.left, bbox.left), offset(y, bbox.top), &mut row);
            for part in shown {
                let start = index_i32(part.left - bounds.left);
                self.write_row(part.left, y, &row[start..start + index(part.width())]);
            }
        }
    }
}
