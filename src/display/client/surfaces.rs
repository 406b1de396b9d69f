//! The surfaces of one client: those that it was told of, and those that it will have when its pipe is sent.

use super::stale::StaleAreas;
use crate::canvas::Region;
use crate::display::encode::SurfaceSizes;
use crate::display::pending::PendingDrawable;
use crate::display::reads::SurfaceKey;
use crate::display::surfaces::{Surface, Surfaces};
use crate::geometry::Rect;
use crate::image::SurfaceFormat;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Size and format of a surface.
#[derive(Clone, Copy, Debug)]
struct Shape {
    width: u32,
    height: u32,
    format: SurfaceFormat,
}

/// What a client has of the device's surfaces.
///
/// *Queued* is the state at the end of its pipe, *told* that of the messages sent so far. The pixels at the end of the pipe
/// equal the server's but for what is *stale*.
#[derive(Debug, Default)]
pub(in crate::display) struct ClientSurfaces {
    /// Surfaces at the end of the pipe, with their incarnation.
    pending: BTreeMap<u32, SurfaceKey>,
    /// What of them is not right at the end of the pipe.
    stale: StaleAreas,
    /// Surfaces that the client was told of.
    told: BTreeMap<u32, Shape>,
}

/// An area that a client is to be sent as an image.
#[derive(Clone, Copy, Debug)]
pub(in crate::display) struct Update {
    pub id: u32,
    pub area: Rect,
}

impl ClientSurfaces {
    // The end of the pipe.

    /// The surface of this id.
    pub(super) fn queued(&self, id: u32) -> Option<SurfaceKey> {
        self.pending.get(&id).copied()
    }

    /// The primary surface, unless nothing of it is known before its image.
    pub(super) fn shown_primary(&self) -> Option<SurfaceKey> {
        self.queued(0).filter(|key| !self.stale.get(*key).is_some_and(|stale| stale.whole))
    }

    /// A surface that is to be shown. With `blank` all its pixels are zero; without, they are unknown until its full image.
    pub(super) fn add(&mut self, id: u32, key: SurfaceKey, blank: bool) {
        self.pending.insert(id, key);
        if !blank {
            self.stale.entry(key).whole = true;
        }
    }

    /// A surface is gone. Whether it was there.
    pub(super) fn remove(&mut self, id: u32, key: SurfaceKey) -> bool {
        self.stale.remove(key);
        let known = self.queued(id) == Some(key);
        if known {
            self.pending.remove(&id);
        }
        known
    }

    /// A command comes behind all that waits. Whether it is to be sent (see [`StaleAreas::pass`]).
    pub(super) fn pass(&mut self, pending: &PendingDrawable, knows_composite: bool) -> bool {
        self.stale.pass(pending, knows_composite)
    }

    /// The client's pixels of an area are not right once the pipe is sent.
    pub(super) fn spoil(&mut self, key: SurfaceKey, region: &Region) {
        if !region.is_empty() {
            self.stale.entry(key).add(region);
        }
    }

    /// The same of the primary surface, if there is one.
    pub(super) fn spoil_primary(&mut self, region: &Region) {
        if let Some(primary) = self.queued(0) {
            self.spoil(primary, region);
        }
    }

    /// Commands in the pipe are not sent after all.
    pub(super) fn drop_commands(&mut self, commands: &[Arc<PendingDrawable>]) {
        let mut dropped: BTreeMap<SurfaceKey, Vec<&Region>> = BTreeMap::new();
        for pending in commands.iter().filter(|pending| self.awaits(pending)) {
            dropped.entry(pending.key).or_default().push(&pending.region);
        }
        for (key, regions) in dropped {
            self.stale.entry(key).add_all(&regions);
        }
    }

    /// A part of a command is not sent after all.
    pub(super) fn drop_part(&mut self, pending: &PendingDrawable, part: &Region) {
        if self.awaits(pending) {
            self.spoil(pending.key, part);
        }
    }

    /// Whether the surface of a command is there. Commands may still be on their way to surfaces that are gone: those have
    /// nothing to be brought up to date.
    fn awaits(&self, pending: &PendingDrawable) -> bool {
        self.queued(pending.drawable.surface_id) == Some(pending.key)
    }

    /// These pixels too are not right, of surfaces that are still there.
    pub(super) fn spoil_all(&mut self, extra: &StaleAreas) {
        for (key, stale) in extra.iter() {
            if self.pending.values().any(|known| *known == key) {
                self.spoil(key, &stale.region);
            }
        }
    }

    /// The full image of a surface is being sent.
    pub(super) fn refreshed(&mut self, key: SurfaceKey) {
        self.stale.remove(key);
    }

    /// Whether some area is to be brought up to date.
    pub(super) fn has_stale(&self) -> bool {
        self.stale_surface().is_some()
    }

    /// The surface with the lowest id of which something is to be brought up to date.
    fn stale_surface(&self) -> Option<(u32, SurfaceKey)> {
        self.stale.iter().next()?;
        let is_stale = |key| self.stale.get(key).is_some_and(|s| !s.region.is_empty());
        self.pending.iter().map(|(id, key)| (*id, *key)).find(|(_, key)| is_stale(*key))
    }

    /// Takes out the next area to bring up to date, of about `most` pixels: of the surface with the lowest id.
    pub(super) fn take_update(&mut self, surfaces: &Surfaces, most: u64) -> Option<Update> {
        let (id, key) = self.stale_surface()?;
        let bounds = surfaces.get(id).filter(|s| s.key == key).map(Surface::bounds);
        let region = &self.stale.get(key)?.region;
        // One image around everything costs less than many that nearly fill it.
        let around = region.bounds();
        let whole = around.area() <= region.area().saturating_mul(5) / 4;
        let area = if whole { around } else { *region.rects().first()? };
        let area = bounds.map(|b| area.intersect(&b)).filter(|a| !a.is_empty());
        let Some(area) = area.map(|area| top_of(area, most)) else {
            // Nothing can be sent of it.
            self.stale.remove(key);
            return self.take_update(surfaces, most);
        };
        let stale = self.stale.entry(key);
        stale.region = stale.region.subtract_rect(&area);
        if stale.region.is_empty() {
            self.stale.remove(key);
        }
        Some(Update { id, area })
    }

    // What the client was told.

    /// SURFACE_CREATE is being sent.
    pub(super) fn told_created(&mut self, id: u32, width: u32, height: u32, format: SurfaceFormat) {
        self.told.insert(id, Shape { width, height, format });
    }

    /// The client brings a surface from the source of a migration, whose pixels are those of ours.
    pub(super) fn adopt(&mut self, id: u32, surface: &Surface) {
        self.pending.insert(id, surface.key);
        self.told_created(id, surface.width, surface.height, surface.format);
    }

    /// The surfaces that the client has.
    pub(super) fn told_ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.told.keys().copied()
    }

    /// SURFACE_DESTROY is due; `false`: the client does not know the surface.
    pub(super) fn told_destroyed(&mut self, id: u32) -> bool {
        self.told.remove(&id).is_some()
    }

    /// Whether the client has a primary surface.
    pub(super) fn has_primary(&self) -> bool {
        self.told.contains_key(&0)
    }
}

impl SurfaceSizes for ClientSurfaces {
    fn surface_size(&self, surface_id: u32) -> Option<(u32, u32)> {
        self.told.get(&surface_id).map(|shape| (shape.width, shape.height))
    }

    fn surface_format(&self, surface_id: u32) -> Option<SurfaceFormat> {
        self.told.get(&surface_id).map(|shape| shape.format)
    }
}

/// The top of an area, with about `most` pixels.
pub(super) fn top_of(area: Rect, most: u64) -> Rect {
    let rows = (most / u64::from(area.width()).max(1)).max(1);
    let rows = i32::try_from(rows).unwrap_or(i32::MAX);
    Rect { bottom: area.bottom.min(area.top.saturating_add(rows)), ..area }
}
