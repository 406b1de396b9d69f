//! The surfaces of a device with their pending commands, drawn as late as possible (display.md 4).
//!
//! A command passes three files: `accept.rs` checks it, this file puts it into the tree of its surface, `render.rs` draws
//! it. Beside that, `count.rs` decides which commands the host is told about, and `host_dirty.rs` keeps their rectangles;
//! `peek.rs` reads pixels without drawing commands; `scroll.rs` lets copies within the screen wait while
//! newer commands are drawn.
//!
//! Rendering keeps this order: of two commands on one surface that have pixels in common, the older one is rendered first,
//! and what a command reads of other surfaces is up to date just before the command is rendered. Before a new command
//! enters the tree, all commands are rendered that read what it draws over. So each pending command of a surface is older
//! than all pending readers of its pixels, and rendering a command never requires a newer one.

mod accept;
mod count;
mod host_dirty;
mod peek;
mod render;
mod scroll;

pub(super) use accept::Rejected;

use super::pending::{PendingDrawable, Repeat, repeats};
use super::reads::{SurfaceKey, SurfaceLife};
use super::scroll::StripMemory;
use super::tree::Tree;
use crate::canvas::{Canvas, ImageCache};
use crate::draw::DrawOp;
use crate::geometry::Rect;
use crate::guest::ReleaseToken;
use crate::host::MappedSurface;
use crate::image::SurfaceFormat;
use crate::limits::{
    MAX_COMMAND_COST, MAX_DRAWABLES, MAX_DRAWN_AT_ONCE, MAX_PENDING_COST, MAX_SURFACES, MIN_PENDING_PICTURES,
};
use host_dirty::HostDirty;
use peek::SpareFrame;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A host that has read so often without asking for rectangles does not want to know them.
const READS_WITHOUT_RECTS: u32 = 256;
/// With this many pending readers of a surface, rendering all of them costs less than finding those that matter.
const MAX_READERS: usize = 8;

/// One surface.
#[derive(Debug)]
pub(super) struct Surface {
    pub key: SurfaceKey,
    pub width: u32,
    pub height: u32,
    pub format: SurfaceFormat,
    canvas: Canvas,
    host_dirty: HostDirty,
    tree: Tree,
    /// Pending commands of other surfaces that read this one.
    readers: Vec<Reader>,
    life: Arc<SurfaceLife>,
}

/// A pending command that reads another surface.
#[derive(Clone, Copy, Debug)]
struct Reader {
    target: u32,
    seq: u64,
    /// The area that the command draws on its target.
    bbox: Rect,
    /// The area that the command reads.
    area: Rect,
}

impl Surface {
    /// All pixels.
    #[must_use]
    pub(super) fn bounds(&self) -> Rect {
        Rect::of_size(self.width, self.height)
    }

    /// Whether the server can make images of its pixels.
    #[must_use]
    pub(super) fn is_readable(&self) -> bool {
        self.format != SurfaceFormat::A1
    }

    /// Notes that a command was rendered.
    fn painted(&mut self, pending: &PendingDrawable) {
        self.host_dirty.drawn(pending.seq, pending.drawable.bbox.intersect(&self.bounds()));
    }
}

/// Commands that later ones cover completely: clients need not be sent them any more.
pub(super) type Covered = Vec<Arc<PendingDrawable>>;

/// All surfaces of one device, each with its tree of pending commands.
#[derive(Debug)]
pub(super) struct Surfaces {
    map: BTreeMap<u32, Surface>,
    /// Age and target of all pending commands, oldest first. Some entries are of commands that are gone.
    order: VecDeque<(u64, u32)>,
    /// Number of pending commands.
    pending: usize,
    /// Estimated cost of drawing the pending commands.
    pending_cost: u64,
    /// Bytes of the guest's pictures that they show.
    pending_pictures: usize,
    /// Estimated cost of all work for commands so far.
    work: u64,
    limit: u32,
    last_seq: u64,
    last_key: u64,
    last_image: u32,
    decoded: ImageCache,
    frames: SpareFrame,
    strips: StripMemory,
    /// The area that the host has read last.
    host_read: Option<(u32, Rect)>,
    /// How often it has read since it asked for rectangles.
    host_reads: u32,
}

impl Surfaces {
    /// No surfaces; ids are below `limit`.
    #[must_use]
    pub(super) fn new(limit: u32) -> Self {
        Self {
            map: BTreeMap::new(),
            order: VecDeque::new(),
            pending: 0,
            pending_cost: 0,
            pending_pictures: 0,
            work: 0,
            limit: limit.min(MAX_SURFACES),
            last_seq: 0,
            last_key: 0,
            last_image: 0,
            decoded: ImageCache::default(),
            frames: SpareFrame::default(),
            strips: StripMemory::default(),
            host_read: None,
            host_reads: 0,
        }
    }

    #[must_use]
    pub(super) fn get(&self, id: u32) -> Option<&Surface> {
        self.map.get(&id)
    }

    fn surface_mut(&mut self, id: u32) -> Option<&mut Surface> {
        self.map.get_mut(&id)
    }

    /// Ids of all surfaces, ascending.
    #[must_use]
    pub(super) fn ids(&self) -> Vec<u32> {
        self.map.keys().copied().collect()
    }

    /// Adds a surface.
    ///
    /// # Errors
    /// The reason for the log; the surface and its token are dropped.
    pub(super) fn create(
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
            tree: Tree::new(Surface::may_save(id, format)),
            readers: Vec::new(),
            life: SurfaceLife::new(token),
        };
        Ok(self.map.entry(id).or_insert(surface))
    }

    /// Removes a surface, after rendering the commands that read it. Its own pending commands are returned without being
    /// rendered.
    pub(super) fn destroy(&mut self, id: u32, token: Option<ReleaseToken>) -> Option<(SurfaceKey, Covered)> {
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

    /// Puts an accepted command into the tree (display.md 4.1, steps 2, 6 to 8).
    pub(super) fn insert(&mut self, pending: &Arc<PendingDrawable>) -> Covered {
        let cost = pending.cost.total();
        // The worker makes room before it takes a command ([`Self::has_excess`]), so this loop rarely runs.
        let too_much = |s: &Self| {
            let waits = s.pending_cost.saturating_add(cost);
            s.pending >= MAX_DRAWABLES || waits > MAX_PENDING_COST.saturating_add(MAX_COMMAND_COST)
        };
        while too_much(self) && self.render_oldest() {}
        let id = pending.drawable.surface_id;
        self.make_way(pending);
        let scroll = self.join_scroll(pending);
        let gone = match self.map.get_mut(&id) {
            Some(surface) => surface.tree.insert(pending.clone(), scroll),
            None => return Vec::new(),
        };
        for gone in gone.covered.iter().chain(&gone.begun) {
            self.forget(gone);
        }
        self.pending += 1;
        self.pending_cost = self.pending_cost.saturating_add(cost);
        self.pending_pictures = self.pending_pictures.saturating_add(pending.drawable.op.picture_bytes());
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
        // A host that draws itself, as Xspice does, reads an area and then draws its new pixels there. They will be read soon, and to
        // draw them costs more when the command has left the processor's cache. Hosts that ask for rectangles would see that.
        if self.host_reads >= READS_WITHOUT_RECTS
            && cost <= MAX_DRAWN_AT_ONCE
            && self.host_read.is_some_and(|(at, area)| at == id && area.contains(&pending.drawable.bbox))
        {
            self.render_if_alone(id, pending.seq);
        }
        gone.covered
    }

    /// Brings an area up to date that the host reads.
    pub(super) fn host_reads(&mut self, id: u32, area: &Rect) {
        self.render_area(id, area);
        self.host_read = Some((id, *area));
        self.host_reads = self.host_reads.saturating_add(1);
    }

    /// The host asks for the rectangles of what is drawn.
    pub(super) fn host_asks(&mut self) {
        self.host_reads = 0;
    }

    /// Renders all commands that read what a new command draws over.
    fn make_way(&mut self, pending: &PendingDrawable) {
        let id = pending.drawable.surface_id;
        let readers = self.map.get(&id).map_or(0, |s| s.readers.len());
        if readers == 0 {
            return;
        }
        self.count_readers(id);
        let many = readers >= MAX_READERS;
        self.render_readers(id, |area| many || pending.region.intersects_rect(area));
    }

    /// Finds a pending command that a new one repeats (display.md 4.2), and removes it unless it stays as it is.
    pub(super) fn repeated(&mut self, pending: &PendingDrawable) -> Option<(Repeat, Arc<PendingDrawable>)> {
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

    /// Takes a command that left its tree off all other lists.
    fn forget(&mut self, pending: &PendingDrawable) {
        self.pending = self.pending.saturating_sub(1);
        self.pending_cost = self.pending_cost.saturating_sub(pending.cost.total());
        self.pending_pictures = self.pending_pictures.saturating_sub(pending.drawable.op.picture_bytes());
        for read in &pending.reads {
            if let Some(surface) = self.map.get_mut(&read.surface_id) {
                surface.readers.retain(|reader| reader.seq != pending.seq);
            }
        }
    }

    /// Drops the decoded images of the guest.
    pub(super) fn reset_image_cache(&mut self) {
        self.decoded.clear();
    }

    /// Whether so many commands wait that the worker should render some before it adds one that costs `next`.
    #[must_use]
    pub(super) fn has_excess(&self, next: u64) -> bool {
        let waits = self.pending_cost.saturating_add(next);
        self.pending >= MAX_DRAWABLES || self.pending > 0 && waits > MAX_PENDING_COST
    }

    /// Whether the pictures that wait are more than twice the screen, and drawing the oldest of them would give the guest its
    /// memory back: no client waits for it.
    #[must_use]
    pub(super) fn holds_many_pictures(&mut self) -> bool {
        let screen = || self.map.get(&0).map_or(0, |screen| screen.bounds().area());
        self.pending > 1
            && self.pending_pictures > MIN_PENDING_PICTURES
            && self.pending_pictures as u64 / 8 > screen()
            && self.oldest().is_some_and(|oldest| Arc::strong_count(oldest) == 1)
    }

    /// The oldest pending command.
    fn oldest(&mut self) -> Option<&Arc<PendingDrawable>> {
        let waits = |(seq, id): &(u64, u32)| self.map.get(id).is_some_and(|s| s.tree.first() == Some(*seq));
        let gone = self.order.iter().position(waits).unwrap_or(self.order.len());
        self.order.drain(..gone);
        let (seq, id) = self.order.front()?;
        self.map.get(id)?.tree.get(*seq)
    }

    /// Estimated cost of drawing the commands that wait.
    #[must_use]
    pub(super) fn pending_cost(&self) -> u64 {
        self.pending_cost
    }

    /// Estimated cost of all work for commands so far (see [`crate::display::cost`]).
    #[must_use]
    pub(super) fn work(&self) -> u64 {
        self.work
    }

    #[cfg(test)]
    pub(super) fn pixels(&self, id: u32) -> Vec<u8> {
        crate::display::model::pixels(&self.map[&id].canvas)
    }

    /// The rectangles that the host has to see as changed. More than `max` are joined into the last one.
    pub(super) fn dirty_rects(&mut self, id: u32, max: Option<usize>, clear: bool) -> Vec<Rect> {
        self.settle(id);
        self.map.get_mut(&id).map(|surface| surface.host_dirty.rects(max, clear)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
