//! COMPOSITE on a surface.

use super::operator::Operator;
use super::sample::{Extent, Filter, Placement, Repeat, Sampler, Texture};
use super::{Composer, Request};
use crate::canvas::area::Area;
use crate::canvas::picture::Want;
use crate::canvas::target::Canvas;
use crate::canvas::zeroed::zeroed;
use crate::canvas::{DrawError, Env, source_of};
use crate::draw::{Composite, Transform};
use crate::geometry::{Point16, Rect, index, index_i32};
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
        // What the operation reads for these pixels. Some operators depend on the rows above.
        let mut part = area.bounds();
        if operator.is_wide() {
            part.top = bbox.top;
        }
        let part = part.translate(bbox.left.saturating_neg(), bbox.top.saturating_neg());
        let size = (bbox.width(), bbox.height());
        let Some(mut source) = self.sampler(image, source, size, &part, env)? else { return Ok(()) };
        if op.flags & Composite::SOURCE_OPAQUE != 0
            && matches!(image.data, ImageData::Surface(_))
            && source.texture.format == SurfaceFormat::Argb32
        {
            source.texture.format = SurfaceFormat::Xrgb32;
        }
        let mask = match mask {
            Some((image, placement)) => match self.sampler(image, placement, size, &part, env)? {
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

    /// Opens source or mask for `part` of a box of size `box_size`; `None` if the samples of the box lie so
    /// far out that nothing can be drawn.
    fn sampler<'a>(
        &self,
        image: &'a Image,
        placement: Placement,
        box_size: (u32, u32),
        part: &Rect,
        env: &mut Env<'a>,
    ) -> Result<Option<Sampler>, DrawError> {
        let (width, height) = env.size_of(image, self)?;
        let size = Rect::new(0, 0, width, height);
        if size.is_empty() {
            return Err(DrawError::BadImage);
        }
        let size = (size.width(), size.height());
        let Some(extent) = placement.extent(size, box_size) else { return Ok(None) };
        let covered = extent.covered;
        let part = placement.extent_of(size, part).unwrap_or(extent);
        let window = placement.needed(size, &Extent { covered, ..part });
        if window.area() > MAX_DECODED_PIXELS {
            return Err(DrawError::BadComposite);
        }
        let mut picture = env.open(image, self, Want::ConvertedBitmap, &window)?;
        let mut pixels = zeroed(index(window.width()) * index(window.height()))?;
        if !window.is_empty() {
            for (row, y) in pixels.chunks_exact_mut(index(window.width())).zip(window.top..) {
                picture.read(window.left, y, row);
            }
        }
        let texture = Texture { size, format: picture.format(), window, pixels };
        Ok(Some(Sampler { texture, placement, covered }))
    }

    fn compose(&mut self, area: &Area, bbox: &Rect, mut composer: Composer) {
        let bounds = area.bounds();
        let mut row = vec![0; index(bounds.width())];
        let offset = |v: i32, origin: i32| u32::try_from(v - origin).unwrap_or(0);
        if !composer.needs_all_rows() {
            for rect in area.region().rects() {
                let row = &mut row[..index(rect.width())];
                for y in rect.top..rect.bottom {
                    self.read_row(rect.left, y, row);
                    composer.row(offset(rect.left, bbox.left), offset(y, bbox.top), row);
                    self.write_row(rect.left, y, row);
                }
            }
            return;
        }
        for y in bbox.top..bounds.bottom {
            self.read_row(bounds.left, y, &mut row);
            composer.row(offset(bounds.left, bbox.left), offset(y, bbox.top), &mut row);
            for part in area.region().row(y) {
                let start = index_i32(part.left - bounds.left);
                self.write_row(part.left, y, &row[start..start + index(part.width())]);
            }
        }
    }
}
