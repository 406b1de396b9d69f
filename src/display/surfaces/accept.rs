//! Which drawing commands a device takes, and what they become (display.md 4.1, steps 1 to 5).

use super::{Surface, Surfaces};
use crate::canvas::Region;
use crate::display::cost::Cost;
use crate::display::encode::SERVER_IMAGE_GROUP;
use crate::display::pending::{PendingDrawable, copy_offset, reach_of_copy};
use crate::display::reads::{Read, SelfRead};
use crate::draw::{Clip, DrawOp, Drawable, ImageTotals};
use crate::geometry::Rect;
use crate::limits::{MAX_COMMAND_COST, MAX_SNAPSHOT};
use std::sync::Arc;

/// Why [`Surfaces::accept`] drops a command. The text is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::display) enum Rejected {
    /// The command is right but changes no pixel.
    #[error("nothing to draw")]
    NothingToDraw,
    #[error("no such surface")]
    NoSurface,
    #[error("box outside of the surface")]
    BoxOutside,
    #[error("its clip is too complicated")]
    ClipTooComplicated,
    #[error("no source image")]
    NoSource,
    #[error("self bitmap outside of the surface")]
    SelfBitmapOutside,
    #[error("self bitmap too large")]
    SelfBitmapTooLarge,
    #[error("surface cannot be read")]
    Unreadable,
    #[error("copy onto itself")]
    CopyOntoItself,
    #[error("reads a surface that is not there")]
    NoSourceSurface,
    #[error("it would take too long to draw")]
    TooCostly,
}

impl Surfaces {
    /// Checks a command against the surfaces, and takes the snapshot that it may need as its source.
    ///
    /// # Errors
    /// Why the command is dropped.
    pub(in crate::display) fn accept(
        &mut self,
        mut drawable: Box<Drawable>,
    ) -> Result<Arc<PendingDrawable>, Rejected> {
        let id = drawable.surface_id;
        let target = self.map.get(&id).ok_or(Rejected::NoSurface)?;
        let (key, bounds) = (target.key, target.bounds());
        if !bounds.contains(&drawable.bbox) || drawable.bbox.left < 0 || drawable.bbox.top < 0 {
            return Err(Rejected::BoxOutside);
        }
        let region = Region::clipped(&drawable.bbox, &drawable.clip);
        let mut images = drawable.op.image_totals();
        self.work = self.work.saturating_add(cost_to_accept(&drawable, &images));
        let mut region = region.ok_or(Rejected::ClipTooComplicated)?;
        if region.is_empty() || matches!(drawable.op, DrawOp::Nop) {
            return Err(Rejected::NothingToDraw);
        }
        let life = target.life.clone();
        // The command keeps its region, and the tree what of it is still to be seen.
        if let Some(release) = &mut drawable.release {
            release.add_cost(2 * size_of_val(region.rects()));
        }
        if images.lacks_source {
            let area = drawable.self_bitmap.ok_or(Rejected::NoSource)?;
            if area.is_empty() || !bounds.contains(&area) {
                return Err(Rejected::SelfBitmapOutside);
            }
            let bytes = usize::try_from(area.area().saturating_mul(4)).unwrap_or(usize::MAX);
            if bytes > MAX_SNAPSHOT {
                return Err(Rejected::SelfBitmapTooLarge);
            }
            // The snapshot counts as memory of the command, so the worker renders such commands before they pile up.
            if let Some(release) = &mut drawable.release {
                release.add_cost(bytes);
            }
            self.render_area(id, &area);
            self.last_image = self.last_image.wrapping_add(1);
            let image_id = u64::from(self.last_image) << 32 | SERVER_IMAGE_GROUP;
            let snapshot = self.map.get(&id).and_then(|s| s.canvas.snapshot(&area, id == 0, image_id));
            drawable.op.set_source(snapshot.ok_or(Rejected::Unreadable)?);
            images = drawable.op.image_totals();
        }
        let mut reads: Vec<Read> = Vec::new();
        let mut self_read = match copy_offset(&drawable) {
            Some((0, 0)) => return Err(Rejected::CopyOntoItself),
            Some((dx, dy)) => SelfRead::Offset(dx, dy),
            None => SelfRead::Nothing,
        };
        let declared = drawable.deps.iter().flatten().map(|d| (d.surface_id, d.area));
        let read = images.reads_surfaces.then(|| drawable.op.surfaces_read(&drawable.bbox));
        for (read_id, area) in read.into_iter().flatten().chain(declared) {
            let surface = self.map.get(&read_id).ok_or(Rejected::NoSourceSurface)?;
            if let Some(reach) = reach_of_copy(&drawable, read_id, &surface.bounds()) {
                region = region.intersect_rect(&reach);
            }
            let area = area.intersect(&surface.bounds());
            if read_id == id {
                if self_read == SelfRead::Nothing {
                    self_read = SelfRead::Area(bounds);
                }
                continue;
            }
            if reads.iter().any(|r| r.surface_id == read_id && r.area.contains(&area)) {
                continue;
            }
            let life = surface.life.clone();
            reads.push(Read { surface_id: read_id, key: surface.key, area, life });
        }
        if let SelfRead::Offset(dx, dy) = self_read {
            region = region.intersect_rect(&bounds.translate(dx.saturating_neg(), dy.saturating_neg()));
        }
        if region.is_empty() {
            return Err(Rejected::NothingToDraw);
        }
        let read = |id| reads.iter().filter(|r| r.surface_id == id).map(|r| r.area.area()).max().unwrap_or(0);
        let cost = Cost::of(&drawable, &images, &region, read);
        if cost.total() > MAX_COMMAND_COST {
            return Err(Rejected::TooCostly);
        }
        self.last_seq += 1;
        let opaque = drawable.is_opaque();
        let seq = self.last_seq;
        Ok(Arc::new(PendingDrawable {
            seq,
            drawable: *drawable,
            key,
            region,
            reads,
            self_read,
            stream: None,
            opaque,
            cost,
            life,
        }))
    }

    /// The cost of a command before it is accepted, as if all of its box were drawn.
    #[must_use]
    pub(in crate::display) fn expected_cost(&self, drawable: &Drawable) -> u64 {
        let area = |id: u32| self.map.get(&id).map_or(Rect::default(), Surface::bounds);
        let region = Region::from(drawable.bbox.intersect(&area(drawable.surface_id)));
        // What costs more is dropped.
        let images = drawable.op.image_totals();
        Cost::of(drawable, &images, &region, |id| area(id).area()).total().min(MAX_COMMAND_COST)
    }
}

/// Estimated cost of checking a command and computing its region, which the worker pays even if nothing is drawn.
fn cost_to_accept(drawable: &Drawable, images: &ImageTotals) -> u64 {
    let rects = match &drawable.clip {
        Clip::None => 0,
        Clip::Rects(rects) => u64::try_from(rects.len()).unwrap_or(u64::MAX),
    };
    let snapshot = drawable.self_bitmap.filter(|_| images.lacks_source).map_or(0, |area| area.area());
    rects.saturating_mul(200).saturating_add(snapshot).saturating_add(1000)
}
