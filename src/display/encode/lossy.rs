//! Which areas of a client's surfaces hold lossy pixels, and which operations need lossless input (display.md 9.4).
//! Only used where JPEG is on for the client.

use super::SurfaceSizes;
use crate::canvas::rop::RasterOp;
use crate::draw::{Brush, Clip, DrawOp, Drawable, ImageArgument, ImageRole, ReadArea, Rop};
use crate::geometry::Rect;
use crate::protocol::draw::DrawBase;
use std::collections::BTreeMap;

/// Rectangles of one surface's area before it is rounded up to its bounds. Rounding up costs a needless lossless
/// resend at most.
const MAX_RECTS: usize = 64;

/// A set of pixels that may be too large, never too small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Area(Vec<Rect>);

impl Area {
    fn add(&mut self, rect: &Rect) {
        if rect.is_empty() {
            return;
        }
        self.remove(rect);
        self.0.push(*rect);
        if self.0.len() > MAX_RECTS {
            let bounds = self.bounds();
            self.0 = vec![bounds];
        }
    }

    fn remove(&mut self, rect: &Rect) {
        if !self.intersects(rect) {
            return;
        }
        let mut kept = Vec::with_capacity(self.0.len() + 3);
        for r in &self.0 {
            let cut = r.intersect(rect);
            if cut.is_empty() {
                kept.push(*r);
                continue;
            }
            let around = [
                Rect { bottom: cut.top, ..*r },
                Rect { top: cut.bottom, ..*r },
                Rect { right: cut.left, top: cut.top, bottom: cut.bottom, ..*r },
                Rect { left: cut.right, top: cut.top, bottom: cut.bottom, ..*r },
            ];
            kept.extend(around.into_iter().filter(|r| !r.is_empty()));
        }
        self.0 = kept;
    }

    fn intersects(&self, rect: &Rect) -> bool {
        self.0.iter().any(|r| r.intersects(rect))
    }

    fn bounds(&self) -> Rect {
        self.0.iter().fold(Rect::default(), |all, r| all.union(r))
    }
}

/// The lossy areas of all surfaces that a client has.
#[derive(Clone, Debug, Default)]
pub(super) struct LossyRegions(BTreeMap<u32, Area>);

impl LossyRegions {
    /// The surface was created or destroyed at the client: nothing of it is lossy.
    pub(super) fn forget(&mut self, surface_id: u32) {
        self.0.remove(&surface_id);
    }

    /// The client brings a surface from another host, of which this area is lossy.
    pub(super) fn adopt(&mut self, surface_id: u32, area: &Rect) {
        self.forget(surface_id);
        if !area.is_empty() {
            self.0.entry(surface_id).or_default().add(area);
        }
    }

    /// Whether a pixel of this area is lossy at the client.
    #[must_use]
    pub(super) fn is_lossy(&self, surface_id: u32, area: &Rect) -> bool {
        self.0.get(&surface_id).is_some_and(|a| a.intersects(area))
    }

    /// The bounds of a surface's lossy area; empty if there is none.
    #[must_use]
    pub(super) fn bounds(&self, surface_id: u32) -> Rect {
        self.0.get(&surface_id).map(Area::bounds).unwrap_or_default()
    }

    /// Whether nothing is lossy.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A lossy rectangle: surface and area.
    #[must_use]
    pub(super) fn first(&self) -> Option<(u32, Rect)> {
        self.0.iter().find_map(|(id, area)| Some((*id, *area.0.first()?)))
    }

    /// The areas that are lossy at the client but must not be for this command. They are cut to what is lossy.
    #[must_use]
    pub(super) fn needs(&self, drawable: &Drawable) -> Vec<(u32, Rect)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let dest = (drawable.surface_id, drawable.bbox);
        let mut inputs = lossless_inputs(&drawable.op, dest);
        inputs.retain(|(surface, area)| self.is_lossy(*surface, area));
        for (surface, area) in &mut inputs {
            *area = area.intersect(&self.bounds(*surface));
        }
        inputs
    }

    /// The command is going out; `lossy`: an image of it is lossy. `surfaces`: as the client has them.
    pub(super) fn sent(
        &mut self,
        base: &DrawBase<'_>,
        op: &DrawOp,
        lossy: bool,
        surfaces: &dyn SurfaceSizes,
    ) {
        let DrawBase { surface_id, bbox, clip } = *base;
        let bbox = &bbox;
        let source_lossy = || {
            source_of(op).is_some_and(|source| {
                let area = source.read.around_for_clients(bbox);
                source.surface_id().is_some_and(|id| self.is_lossy(id, &area))
            })
        };
        let (lossy, may_clear) = match op {
            DrawOp::Copy(_) | DrawOp::Opaque(_) => (lossy || source_lossy(), true),
            DrawOp::CopyBits(p) => {
                let source = bbox.translate(p.x.saturating_sub(bbox.left), p.y.saturating_sub(bbox.top));
                (self.is_lossy(surface_id, &source), true)
            }
            DrawOp::AlphaBlend(_) => (lossy || source_lossy(), false),
            DrawOp::Fill(_)
            | DrawOp::Blackness(_)
            | DrawOp::Whiteness(_)
            | DrawOp::Rop3(_)
            | DrawOp::Composite(_) => (false, true),
            DrawOp::Text(text) if text.back_area.contains(bbox) => (false, true),
            DrawOp::Nop
            | DrawOp::Blend(_)
            | DrawOp::Invers(_)
            | DrawOp::Stroke(_)
            | DrawOp::Text(_)
            | DrawOp::Transparent(_) => return,
        };
        let masked =
            |argument: ImageArgument<'_>| matches!(argument.role, ImageRole::Mask | ImageRole::MaskPicture);
        let clears = may_clear && self.0.contains_key(&surface_id) && !op.images().any(masked);
        if !(lossy || clears && covers(base, op, surfaces)) {
            return;
        }
        let area = self.0.entry(surface_id).or_default();
        let mut apply = |rect: &Rect| {
            if lossy {
                area.add(rect);
            } else {
                area.remove(rect);
            }
        };
        match clip {
            Clip::None => apply(bbox),
            Clip::Rects(rects) => rects.iter().for_each(|r| apply(&r.intersect(bbox))),
        }
        if area.0.is_empty() {
            self.0.remove(&surface_id);
        }
    }
}

/// Whether every pixel of the box has a source: others are left alone.
fn covers(base: &DrawBase<'_>, op: &DrawOp, surfaces: &dyn SurfaceSizes) -> bool {
    let size = |id| surfaces.surface_size(id).map(|(width, height)| Rect::of_size(width, height));
    match op {
        DrawOp::CopyBits(p) => {
            let (dx, dy) = (p.x.saturating_sub(base.bbox.left), p.y.saturating_sub(base.bbox.top));
            size(base.surface_id).is_some_and(|size| size.contains(&base.bbox.translate(dx, dy)))
        }
        DrawOp::Copy(_) | DrawOp::Opaque(_) => source_of(op).is_some_and(|source| {
            let area = source.read.around_for_clients(&base.bbox);
            let size = match source.surface_id() {
                Some(id) => size(id),
                None => Some(Rect::of_size(source.image.width, source.image.height)),
            };
            // Scaled sources are stretched over the whole box.
            area == ReadArea::WHOLE || size.is_some_and(|size| size.contains(&area))
        }),
        _ => true,
    }
}

fn source_of(op: &DrawOp) -> Option<ImageArgument<'_>> {
    op.images().find(|argument| argument.role == ImageRole::Source)
}

/// Whether the operation combines bits, which makes any loss visible.
fn combines(rop: Rop) -> bool {
    rop.intersects(Rop::OR | Rop::AND | Rop::XOR)
}

/// Whether the result depends on what was there.
fn reads_dest(rop: Rop, op: RasterOp) -> bool {
    combines(rop) || !op.ignores_dest()
}

/// Whether the source of this operation may be lossy.
#[must_use]
pub(super) fn lossy_source_allowed(op: &DrawOp) -> bool {
    match op {
        DrawOp::Copy(c) => !combines(c.rop),
        DrawOp::Opaque(o) => !combines(o.rop),
        DrawOp::AlphaBlend(_) => true,
        _ => false,
    }
}

/// The areas that must not be lossy at the client for this operation, `dest` being where it draws.
fn lossless_inputs(op: &DrawOp, dest: (u32, Rect)) -> Vec<(u32, Rect)> {
    let lossy_source = lossy_source_allowed(op);
    let exact = |argument: &ImageArgument<'_>| match argument.role {
        ImageRole::Source => !lossy_source,
        // Masks of one bit are never lossy.
        ImageRole::Mask => false,
        ImageRole::Brush | ImageRole::BackBrush | ImageRole::MaskPicture => true,
    };
    let area = |argument: ImageArgument<'_>| {
        Some((argument.surface_id()?, argument.read.around_for_clients(&dest.1)))
    };
    let mut inputs: Vec<_> = op.images().filter(exact).filter_map(area).collect();
    if needs_exact_dest(op) {
        inputs.push(dest);
    }
    inputs
}

/// Whether loss in the pixels that are drawn over would show in the result.
fn needs_exact_dest(op: &DrawOp) -> bool {
    let is_pattern = |brush: &Brush| matches!(brush, Brush::Pattern { .. });
    match op {
        DrawOp::Fill(f) => reads_dest(f.rop, RasterOp::of_brush(f.rop)),
        DrawOp::Copy(c) => reads_dest(c.rop, RasterOp::of_image(c.rop)),
        DrawOp::Blend(_) | DrawOp::Rop3(_) | DrawOp::Composite(_) => true,
        DrawOp::Stroke(s) => is_pattern(&s.brush) && combines(s.fore_mode),
        DrawOp::Text(t) => {
            (is_pattern(&t.fore_brush) && combines(t.fore_mode))
                || (is_pattern(&t.back_brush) && combines(t.back_mode))
        }
        DrawOp::Nop
        | DrawOp::Opaque(_)
        | DrawOp::CopyBits(_)
        | DrawOp::Blackness(_)
        | DrawOp::Whiteness(_)
        | DrawOp::Invers(_)
        | DrawOp::Transparent(_)
        | DrawOp::AlphaBlend(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Copy, Effect, Fill, ScaleMode};
    use crate::geometry::Point;
    use crate::image::{Image, ImageData, SurfaceFormat};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn surface(id: u32) -> Arc<Image> {
        let data = ImageData::Surface(id);
        Arc::new(Image { id: 1, cache_me: false, high_bits_set: false, width: 9, height: 9, data })
    }

    /// All surfaces are of this size.
    struct Sized;

    impl SurfaceSizes for Sized {
        fn surface_size(&self, _: u32) -> Option<(u32, u32)> {
            Some((40, 40))
        }
        fn surface_format(&self, _: u32) -> Option<SurfaceFormat> {
            None
        }
    }

    fn mark(lossy: &mut LossyRegions, surface_id: u32, area: &Rect) {
        lossy.0.entry(surface_id).or_default().add(area);
    }

    /// Something lossless of a command is sent to surface 0.
    fn sent(lossy: &mut LossyRegions, bbox: &Rect, op: &DrawOp) {
        lossy.sent(&DrawBase { surface_id: 0, bbox: *bbox, clip: &Clip::None }, op, false, &Sized);
    }

    /// What has no source is left alone.
    #[test]
    fn copies_from_beyond_a_surface_clear_no_loss() {
        let area = Rect::new(0, 0, 5, 5);
        let mut lossy = LossyRegions::default();
        mark(&mut lossy, 0, &area);
        sent(&mut lossy, &area, &DrawOp::CopyBits(Point { x: 36, y: 9 }));
        let DrawOp::Copy(mut beyond) = copy(3, Rop::PUT) else { unreachable!() };
        beyond.src_area = Rect::new(36, 9, 41, 14);
        sent(&mut lossy, &area, &DrawOp::Copy(beyond));
        assert!(lossy.is_lossy(0, &area));
        sent(&mut lossy, &area, &DrawOp::CopyBits(Point { x: 35, y: 9 }));
        assert!(!lossy.is_lossy(0, &area));
    }

    fn copy(src: u32, rop: Rop) -> DrawOp {
        let src_area = Rect::new(0, 0, 5, 5);
        DrawOp::Copy(Copy { src: surface(src), src_area, rop, scale_mode: ScaleMode::Nearest, mask: None })
    }

    fn drawable(bbox: Rect, op: DrawOp) -> Drawable {
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

    fn fill(rop: Rop) -> DrawOp {
        DrawOp::Fill(Fill { brush: Brush::Solid(1), rop, mask: None })
    }

    #[test]
    fn xor_over_a_lossy_area_needs_it_lossless_first() {
        let mut lossy = LossyRegions::default();
        mark(&mut lossy, 0, &Rect::new(0, 0, 10, 10));
        let d = drawable(Rect::new(5, 5, 20, 20), fill(Rop::XOR));
        assert_eq!(lossy.needs(&d), vec![(0, Rect::new(5, 5, 10, 10))]);
        assert_eq!(lossy.needs(&drawable(Rect::new(5, 5, 20, 20), fill(Rop::PUT))), vec![]);
        assert_eq!(lossy.needs(&drawable(Rect::new(10, 5, 20, 20), fill(Rop::XOR))), vec![]);
    }

    #[test]
    fn copies_spread_and_fills_clear_loss() {
        let mut lossy = LossyRegions::default();
        mark(&mut lossy, 3, &Rect::new(0, 0, 2, 2));
        sent(&mut lossy, &Rect::new(10, 10, 15, 15), &copy(3, Rop::PUT));
        assert!(lossy.is_lossy(0, &Rect::new(14, 14, 15, 15)));
        sent(&mut lossy, &Rect::new(20, 20, 25, 25), &DrawOp::CopyBits(Point { x: 10, y: 10 }));
        assert!(lossy.is_lossy(0, &Rect::new(20, 20, 21, 21)));
        sent(&mut lossy, &Rect::new(0, 0, 30, 30), &fill(Rop::PUT));
        assert!(!lossy.is_lossy(0, &ReadArea::WHOLE));
        lossy.forget(3);
        assert_eq!(lossy.bounds(3), Rect::default());
    }

    #[test]
    fn combining_copies_take_no_lossy_source() {
        assert!(lossy_source_allowed(&copy(1, Rop::PUT)));
        assert!(!lossy_source_allowed(&copy(1, Rop::PUT | Rop::XOR)));
        assert!(!lossy_source_allowed(&fill(Rop::PUT)));
    }

    /// Whatever reads lossy pixels of its target waits for true ones, or leaves them marked.
    #[test]
    fn no_raster_operation_clears_loss_that_it_reads() {
        let area = Rect::new(0, 0, 5, 5);
        for rop in (0..0x800).map(Rop::from_bits_retain) {
            let copy = copy(3, rop);
            let blend = match copy.clone() {
                DrawOp::Copy(c) => DrawOp::Blend(c),
                _ => unreachable!(),
            };
            for (op, ignores) in [
                (fill(rop), RasterOp::of_brush(rop).ignores_dest()),
                (copy, RasterOp::of_image(rop).ignores_dest()),
                (blend, RasterOp::of_image(rop).ignores_dest()),
            ] {
                let mut lossy = LossyRegions::default();
                mark(&mut lossy, 0, &area);
                let waits = !lossy.needs(&drawable(area, op.clone())).is_empty();
                sent(&mut lossy, &area, &op);
                assert!(ignores || waits || lossy.is_lossy(0, &area), "{op:?}");
            }
        }
    }

    /// Scaling interpolates with neighbours of the source area.
    #[test]
    fn scaled_copies_take_loss_from_beside_their_source_area() {
        let mut lossy = LossyRegions::default();
        mark(&mut lossy, 3, &Rect::new(5, 0, 6, 5));
        let (small, large) = (Rect::new(10, 10, 15, 15), Rect::new(10, 10, 30, 30));
        let xor = copy(3, Rop::XOR);
        assert_eq!(lossy.needs(&drawable(small, xor.clone())), vec![]);
        assert!(!lossy.needs(&drawable(large, xor)).is_empty());
        for (bbox, spreads) in [(small, false), (large, true)] {
            sent(&mut lossy, &bbox, &copy(3, Rop::PUT));
            assert_eq!(lossy.is_lossy(0, &bbox), spreads);
        }
    }

    proptest! {
        #![proptest_config(crate::testing::cases(64))]
        /// The area never misses a pixel, and is exact below the bound of rectangles.
        #[test]
        fn area_covers_what_was_added(
            ops in proptest::collection::vec((any::<bool>(), 0i32..16, 0i32..16, 1i32..8, 1i32..8), 1..40)
        ) {
            let mut area = Area::default();
            let mut pixels = [[false; 24]; 24];
            let mut rounded = false;
            for (add, x, y, w, h) in ops {
                let r = Rect::new(x, y, x + w, y + h);
                if add { area.add(&r) } else { area.remove(&r) }
                rounded |= add && area.0.len() == 1;
                for row in &mut pixels[y as usize..(y + h) as usize] {
                    row[x as usize..(x + w) as usize].fill(add);
                }
            }
            for (y, row) in pixels.iter().enumerate() {
                for (x, &p) in row.iter().enumerate() {
                    let (x, y) = (x as i32, y as i32);
                    let hit = area.intersects(&Rect::new(x, y, x + 1, y + 1));
                    prop_assert!(hit == p || (hit && rounded));
                }
            }
        }
    }
}
