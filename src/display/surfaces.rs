//! The surfaces of a device with their pending commands, drawn as late as possible (display.md 4).
//!
//! Order that never breaks: of two commands on one surface that have pixels in common, the older one is rendered first,
//! and what a command reads of other surfaces is rendered up to date just before it. Since a command on a surface first
//! has those rendered that read what it draws over, all that is pending there is older than the pending readers of that area. So
//! rendering a command never leads to newer ones.

use super::cost::Cost;
use super::encode::SERVER_IMAGE_GROUP;
use super::host_dirty::HostDirty;
use super::pending::{
    PendingDrawable, Read, Repeat, SelfRead, SurfaceKey, SurfaceLife, copy_offset, reach_of_copy, repeats,
};
use super::tree::{RenderNeed, RenderPart, Tree};
use crate::canvas::{AreaPixels, Canvas, ImageCache, Region};
use crate::draw::{Clip, DrawOp, Drawable};
use crate::geometry::Rect;
use crate::guest::ReleaseToken;
use crate::host::MappedSurface;
use crate::image::SurfaceFormat;
use crate::limits::{
    MAX_COMMAND_COST, MAX_DRAWABLES, MAX_PENDING_COST, MAX_SNAPSHOT, MAX_SURFACES, RENDER_PIECE,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Pending readers of a surface, beyond which looking for those that matter costs more than rendering all of them.
const MAX_READERS: usize = 8;

/// What is drawn of a large command at a time; those of tests are small.
const PIECE: u64 = if cfg!(test) { 2000 } else { RENDER_PIECE };

/// Why [`Surfaces::accept`] drops commands that are right but change no pixel.
pub const NOTHING_TO_DRAW: &str = "nothing to draw";

/// One surface.
#[derive(Debug)]
pub struct Surface {
    pub key: SurfaceKey,
    pub width: u32,
    pub height: u32,
    pub format: SurfaceFormat,
    canvas: Canvas,
    pub(super) host_dirty: HostDirty,
    pub(super) tree: Tree,
    /// Pending commands of other surfaces that read this one.
    pub(super) readers: Vec<Reader>,
    life: Arc<SurfaceLife>,
}

/// A pending command that reads another surface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub target: u32,
    pub seq: u64,
    /// Where it draws.
    pub bbox: Rect,
    /// What it reads.
    area: Rect,
}

impl Surface {
    /// All pixels.
    #[must_use]
    pub fn bounds(&self) -> Rect {
        Rect::of_size(self.width, self.height)
    }

    /// Whether images can be made of its pixels.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.format != SurfaceFormat::A1
    }

    /// A command was rendered.
    fn painted(&mut self, pending: &PendingDrawable) {
        self.host_dirty.drawn(pending.seq, pending.drawable.bbox.intersect(&self.bounds()));
    }
}

/// Commands that came to nothing because of what followed them: they may leave the pipes.
pub type Covered = Vec<Arc<PendingDrawable>>;

/// All surfaces of one device, each with its tree of pending commands.
#[derive(Debug)]
pub struct Surfaces {
    map: BTreeMap<u32, Surface>,
    /// Age and target of all pending commands, oldest first, and of some that are gone.
    order: VecDeque<(u64, u32)>,
    /// Number of pending commands.
    pending: usize,
    /// What drawing them is expected to cost.
    pending_cost: u64,
    /// What all that was done for commands so far was expected to cost.
    work: u64,
    limit: u32,
    last_seq: u64,
    last_key: u64,
    last_image: u32,
    decoded: ImageCache,
}

impl Surfaces {
    /// No surfaces; ids are below `limit`.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            map: BTreeMap::new(),
            order: VecDeque::new(),
            pending: 0,
            pending_cost: 0,
            work: 0,
            limit: limit.min(MAX_SURFACES),
            last_seq: 0,
            last_key: 0,
            last_image: 0,
            decoded: ImageCache::default(),
        }
    }

    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Surface> {
        self.map.get(&id)
    }

    pub(super) fn surface_mut(&mut self, id: u32) -> Option<&mut Surface> {
        self.map.get_mut(&id)
    }

    /// Ids of all surfaces, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        self.map.keys().copied().collect()
    }

    /// Enters a surface.
    ///
    /// # Errors
    /// Why not; the surface and its token are dropped.
    pub fn create(
        &mut self,
        id: u32,
        mapped: MappedSurface,
        token: Option<ReleaseToken>,
    ) -> Result<&Surface, &'static str> {
        if id >= self.limit {
            return Err("surface id out of range");
        }
        if self.map.contains_key(&id) {
            return Err("surface exists already");
        }
        let (width, height, format) = (mapped.width, mapped.height, mapped.format);
        let canvas = Canvas::new(mapped).map_err(|_| "surface memory does not hold its rows")?;
        self.last_key += 1;
        let surface = Surface {
            key: SurfaceKey(self.last_key),
            width,
            height,
            format,
            canvas,
            host_dirty: HostDirty::default(),
            tree: Tree::default(),
            readers: Vec::new(),
            life: SurfaceLife::new(token),
        };
        Ok(self.map.entry(id).or_insert(surface))
    }

    /// Removes a surface. Who reads it is rendered before; its own pending commands are not, and are returned.
    pub fn destroy(&mut self, id: u32, token: Option<ReleaseToken>) -> Option<(SurfaceKey, Covered)> {
        self.count_readers(id);
        self.render_readers(id, |_| true);
        let mut surface = self.map.remove(&id)?;
        let dropped = surface.tree.clear();
        for pending in dropped.covered.iter().chain(&dropped.begun) {
            self.forget(pending);
        }
        if let Some(token) = token {
            surface.life.ended(token);
        }
        Some((surface.key, dropped.covered))
    }

    /// Checks a command against the surfaces, and takes the snapshot that it may want (display.md 4.1, steps 1 to 5).
    ///
    /// # Errors
    /// Why it is dropped.
    pub fn accept(&mut self, mut drawable: Box<Drawable>) -> Result<PendingDrawable, &'static str> {
        let id = drawable.surface_id;
        let target = self.map.get(&id).ok_or("no such surface")?;
        let (key, bounds) = (target.key, target.bounds());
        if !bounds.contains(&drawable.bbox) || drawable.bbox.left < 0 || drawable.bbox.top < 0 {
            return Err("box outside of the surface");
        }
        let region = Region::clipped(&drawable.bbox, &drawable.clip);
        self.work = self.work.saturating_add(cost_to_accept(&drawable));
        let mut region = region.ok_or("its clip is too complicated")?;
        if region.is_empty() || matches!(drawable.op, DrawOp::Nop) {
            return Err(NOTHING_TO_DRAW);
        }
        let life = target.life.clone();
        // The command keeps its region, and the tree what of it is still to be seen.
        if let Some(release) = &mut drawable.release {
            release.add_cost(2 * size_of_val(region.rects()));
        }
        if drawable.op.lacks_source() {
            let area = drawable.self_bitmap.ok_or("no source image")?;
            if area.is_empty() || !bounds.contains(&area) {
                return Err("self bitmap outside of the surface");
            }
            let bytes = usize::try_from(area.area().saturating_mul(4)).unwrap_or(usize::MAX);
            if bytes > MAX_SNAPSHOT {
                return Err("self bitmap too large");
            }
            // It counts as held for the command, so that commands with snapshots are rendered before they pile up.
            if let Some(release) = &mut drawable.release {
                release.add_cost(bytes);
            }
            self.render_area(id, &area);
            self.last_image = self.last_image.wrapping_add(1);
            let image_id = u64::from(self.last_image) << 32 | SERVER_IMAGE_GROUP;
            let snapshot = self.map.get(&id).and_then(|s| s.canvas.snapshot(&area, id == 0, image_id));
            drawable.op.set_source(snapshot.ok_or("surface cannot be read")?);
        }
        let mut reads: Vec<Read> = Vec::new();
        let mut self_read = match copy_offset(&drawable) {
            Some((0, 0)) => return Err("copy onto itself"),
            Some((dx, dy)) => SelfRead::Offset(dx, dy),
            None => SelfRead::Nothing,
        };
        let declared = drawable.deps.iter().flatten().map(|d| (d.surface_id, d.area));
        for (read_id, area) in drawable.op.surfaces_read(&drawable.bbox).chain(declared) {
            let surface = self.map.get(&read_id).ok_or("reads a surface that is not there")?;
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
            return Err(NOTHING_TO_DRAW);
        }
        let cost = Cost::of(&drawable, &region, &reads);
        if cost.total() > MAX_COMMAND_COST {
            return Err("it would take too long to draw");
        }
        self.last_seq += 1;
        let opaque = drawable.is_opaque();
        let seq = self.last_seq;
        Ok(PendingDrawable { seq, drawable, key, region, reads, self_read, stream: None, opaque, cost, life })
    }

    /// Puts an accepted command into the tree (display.md 4.1, steps 2, 6 to 8).
    pub fn insert(&mut self, pending: &Arc<PendingDrawable>) -> Covered {
        let cost = pending.cost.total();
        // Whoever submits commands makes room before ([`Self::has_excess`]), so that this is never much work.
        let too_much = |s: &Self| {
            let waits = s.pending_cost.saturating_add(cost);
            s.pending >= MAX_DRAWABLES || waits > MAX_PENDING_COST.saturating_add(MAX_COMMAND_COST)
        };
        while too_much(self) && self.render_oldest() {}
        let id = pending.drawable.surface_id;
        self.make_way(pending);
        let gone = match self.map.get_mut(&id) {
            Some(surface) => surface.tree.insert(pending.clone()),
            None => return Vec::new(),
        };
        for gone in gone.covered.iter().chain(&gone.begun) {
            self.forget(gone);
        }
        self.pending += 1;
        self.pending_cost = self.pending_cost.saturating_add(cost);
        self.order.push_back((pending.seq, id));
        if self.order.len() > 2 * self.pending + 64 {
            let map = &self.map;
            self.order.retain(|(seq, id)| map.get(id).is_some_and(|s| s.tree.contains(*seq)));
        }
        for read in &pending.reads {
            if let Some(surface) = self.map.get_mut(&read.surface_id) {
                let bbox = pending.drawable.bbox;
                surface.readers.push(Reader { target: id, seq: pending.seq, bbox, area: read.area });
            }
        }
        gone.covered
    }

    /// Has all drawn that reads what a new command draws over.
    fn make_way(&mut self, pending: &PendingDrawable) {
        let id = pending.drawable.surface_id;
        self.count_readers(id);
        let many = self.map.get(&id).is_some_and(|s| s.readers.len() >= MAX_READERS);
        self.render_readers(id, |area| many || pending.region.intersects_rect(area));
    }

    /// Looks for a pending command that a new one repeats, and takes it away if nothing is left of it.
    pub fn repeated(&mut self, pending: &PendingDrawable) -> Option<(Repeat, Arc<PendingDrawable>)> {
        if !matches!(pending.drawable.op, DrawOp::Fill(_) | DrawOp::Stroke(_)) {
            return None;
        }
        let id = pending.drawable.surface_id;
        repeats(&pending.drawable, &pending.drawable)?;
        self.make_way(pending);
        let surface = self.map.get_mut(&id)?;
        let old = surface.tree.newest_at(&pending.region)?.clone();
        let repeat =
            repeats(&pending.drawable, &old.drawable).filter(|_| !surface.host_dirty.counts(old.seq))?;
        if repeat != Repeat::Idles {
            surface.tree.take(old.seq);
            self.forget(&old);
        }
        Some((repeat, old))
    }

    /// Takes a command off the lists around the tree.
    fn forget(&mut self, pending: &PendingDrawable) {
        self.pending = self.pending.saturating_sub(1);
        self.pending_cost = self.pending_cost.saturating_sub(pending.cost.total());
        for read in &pending.reads {
            if let Some(surface) = self.map.get_mut(&read.surface_id) {
                surface.readers.retain(|reader| reader.seq != pending.seq);
            }
        }
    }

    /// Renders pending commands of other surfaces that read such areas of this one.
    fn render_readers(&mut self, id: u32, reads: impl Fn(&Rect) -> bool) {
        let next = |s: &Surface| s.readers.iter().find(|reader| reads(&reader.area)).copied();
        while let Some(reader) = self.map.get(&id).and_then(next) {
            self.render_one(reader.target, reader.seq);
            if let Some(surface) = self.map.get_mut(&id) {
                surface.readers.retain(|r| r.seq != reader.seq);
            }
        }
    }

    /// Renders the commands of a surface that are not newer than `seq`.
    pub(super) fn render_until(&mut self, id: u32, seq: u64) {
        loop {
            let next = self.map.get_mut(&id).and_then(|s| s.tree.take_first_until(seq));
            let Some((pending, visible)) = next else { return };
            self.render(id, &pending, &visible);
        }
    }

    /// Renders what an area needs to be up to date.
    fn render_needed(&mut self, id: u32, area: &Rect) {
        let needed = self.map.get(&id).map(|s| s.tree.needed_for(area)).unwrap_or_default();
        for needed in needed {
            self.render_part(id, &needed);
        }
    }

    /// Renders a command and what it needs.
    fn render_one(&mut self, id: u32, seq: u64) {
        let needed = self.map.get(&id).map(|s| s.tree.needed_by(seq)).unwrap_or_default();
        for needed in needed {
            self.render_part(id, &needed);
        }
    }

    fn render_part(&mut self, id: u32, needed: &RenderNeed) {
        // What one of them reads elsewhere may have led to another one already.
        let Some(surface) = self.map.get_mut(&id) else { return };
        match surface.tree.take_needed(needed) {
            Some(RenderPart { pending, region, whole: true }) => self.render(id, &pending, &region),
            Some(RenderPart { pending, region, whole: false }) => self.paint(id, &pending, &region),
            None => {}
        }
    }

    /// Renders a command that was taken out of its tree after what it reads.
    fn render(&mut self, id: u32, pending: &PendingDrawable, visible: &Region) {
        self.forget(pending);
        for read in &pending.reads {
            self.render_needed(read.surface_id, &read.area);
        }
        self.paint(id, pending, visible);
    }

    /// Draws one command on its surface where it is visible: elsewhere newer ones may have been drawn already.
    fn paint(&mut self, id: u32, pending: &PendingDrawable, region: &Region) {
        let cost = pending.cost.of_part(region.area(), pending.region.area());
        self.work = self.work.saturating_add(cost);
        let drawn = if pending.reads.is_empty() {
            let Some(surface) = self.map.get_mut(&id).filter(|s| s.key == pending.key) else { return };
            let drawn = surface.canvas.draw_region(&pending.drawable, region, &(), &mut self.decoded);
            surface.painted(pending);
            drawn
        } else {
            let Some(mut lent) = BorrowedSurface::of(&mut self.map, id) else { return };
            let BorrowedSurface { map, surface: Some(surface), .. } = &mut lent else { return };
            if surface.key != pending.key {
                return;
            }
            let drawn =
                surface.canvas.draw_region(&pending.drawable, region, &OtherSurfaces(map), &mut self.decoded);
            surface.painted(pending);
            drawn
        };
        if let Err(error) = drawn {
            crate::warning_limited!("a drawing command on surface {id} cannot be rendered: {error}");
        }
    }

    /// Forgets decoded guest images.
    pub fn reset_image_cache(&mut self) {
        self.decoded.clear();
    }

    /// Renders an area, so that it may be read.
    pub fn render_area(&mut self, id: u32, area: &Rect) {
        self.count_area(id, area);
        self.render_needed(id, area);
    }

    /// Renders everything that waits for a surface.
    pub fn render_surface(&mut self, id: u32) {
        if let Some(seq) = self.map.get(&id).and_then(|s| s.tree.newest()) {
            self.count_all_until(id, seq);
            self.render_until(id, seq);
        }
    }

    /// Renders everything.
    pub fn render_all(&mut self) {
        while self.render_oldest() {}
    }

    /// Renders the oldest command of all; `false`: none is left.
    pub fn render_oldest(&mut self) -> bool {
        while let Some((seq, id)) = self.order.pop_front() {
            if self.map.get(&id).is_some_and(|s| s.tree.first() == Some(seq)) {
                self.count_all_until(id, seq);
                self.render_until(id, seq);
                return true;
            }
        }
        false
    }

    /// Whether so much waits that some of it should be rendered before more commands come.
    #[must_use]
    pub fn has_excess(&self) -> bool {
        self.pending >= MAX_DRAWABLES || self.pending_cost > MAX_PENDING_COST
    }

    /// What all that was done for commands so far was expected to cost.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.work
    }

    /// Like [`Self::render_oldest`], but of a command that takes long renders only some rows.
    pub fn render_piece(&mut self) -> bool {
        while let Some((seq, id)) = self.order.front().copied() {
            let tree = self.map.get(&id).map(|s| &s.tree).filter(|tree| tree.first() == Some(seq));
            let Some(pending) = tree.and_then(|tree| tree.get(seq)).cloned() else {
                self.order.pop_front();
                continue;
            };
            let pieces = pending.cost.pieces(PIECE);
            if pieces == 1 || !pending.can_be_drawn_in_bands() {
                return self.render_oldest();
            }
            self.count_all_until(id, seq);
            for read in &pending.reads {
                self.render_needed(read.surface_id, &read.area);
            }
            let height = u64::from(pending.region.bounds().height());
            let rows = u32::try_from(height.div_ceil(pieces)).unwrap_or(u32::MAX);
            match self.map.get_mut(&id).and_then(|s| s.tree.take_rows(seq, rows)) {
                Some(RenderPart { pending, region, whole: true }) => self.render(id, &pending, &region),
                Some(RenderPart { pending, region, whole: false }) => self.paint(id, &pending, &region),
                None => {}
            }
            return true;
        }
        false
    }

    /// Renders the area and copies it out; `None` for bad ids, empty areas and formats that no image has.
    pub fn read(&mut self, id: u32, area: &Rect) -> Option<AreaPixels> {
        let area = area.intersect(&self.map.get(&id)?.bounds());
        self.render_area(id, &area);
        let surface = self.map.get(&id)?;
        surface.canvas.read_area(&area, id == 0)
    }

    #[cfg(test)]
    pub fn pixels(&self, id: u32) -> Vec<u8> {
        super::model::pixels(&self.map[&id].canvas)
    }

    /// The dirty rectangles: at most `max`, the last one then around the rest.
    pub fn dirty_rects(&mut self, id: u32, max: Option<usize>, clear: bool) -> Vec<Rect> {
        self.settle(id);
        self.map.get_mut(&id).map(|surface| surface.host_dirty.rects(max, clear)).unwrap_or_default()
    }
}

/// What it costs to look at a command and to find its region, before it is known whether anything is drawn.
fn cost_to_accept(drawable: &Drawable) -> u64 {
    let rects = match &drawable.clip {
        Clip::None => 0,
        Clip::Rects(rects) => u64::try_from(rects.len()).unwrap_or(u64::MAX),
    };
    let snapshot = drawable.self_bitmap.filter(|_| drawable.op.lacks_source()).map_or(0, |area| area.area());
    rects.saturating_mul(200).saturating_add(snapshot).saturating_add(1000)
}

/// A surface that is out of the map while it is drawn on, and returns to it whatever happens.
struct BorrowedSurface<'a> {
    map: &'a mut BTreeMap<u32, Surface>,
    id: u32,
    surface: Option<Surface>,
}

impl<'a> BorrowedSurface<'a> {
    fn of(map: &'a mut BTreeMap<u32, Surface>, id: u32) -> Option<Self> {
        let surface = Some(map.remove(&id)?);
        Some(Self { map, id, surface })
    }
}

impl Drop for BorrowedSurface<'_> {
    fn drop(&mut self) {
        if let Some(surface) = self.surface.take() {
            self.map.insert(self.id, surface);
        }
    }
}

/// The surfaces that a command may read while its target is being drawn.
struct OtherSurfaces<'a>(&'a BTreeMap<u32, Surface>);

impl crate::canvas::Surfaces for OtherSurfaces<'_> {
    fn surface(&self, id: u32) -> Option<&Canvas> {
        self.0.get(&id).map(|s| &s.canvas)
    }
}

#[cfg(test)]
#[path = "surfaces_tests.rs"]
mod tests;
