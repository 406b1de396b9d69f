//! From a client's pipe to its socket.

use super::express::{is_big, is_small};
use super::pace::Waiting;
use super::surfaces::{Update, top_of};
use super::{DisplayClient, Shared};
use crate::canvas::Region;
use crate::channel::link::{ChannelError, ChannelLink};
use crate::display::encode::{Drawing, Serials};
use crate::display::pending::PendingDrawable;
use crate::display::pipe::PipeItem;
use crate::display::stream::Output;
use crate::display::surfaces::Surface;
use crate::geometry::Rect;
use crate::host::GlScanout;
use crate::limits::{MAX_FULL_IMAGE, MAX_IMAGE_PIXELS, MAX_PIPE_AGE};
use crate::net::stream::Flush;
use crate::protocol::display::{self, SURFACE_PRIMARY, surface_create, surface_destroy};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

impl DisplayClient {
    /// Sends what socket and window take, up to the budget of a turn.
    pub(crate) fn push(&mut self, shared: &mut Shared<'_>, now: Instant) -> Result<(), ChannelError> {
        self.send_waiting(shared, now)?;
        self.leave_if_done(shared.link, now)
    }

    fn send_waiting(&mut self, shared: &mut Shared<'_>, now: Instant) -> Result<(), ChannelError> {
        if self.is_active()
            && self.pipe.draws() > 0
            && self.pipe.oldest().is_some_and(|since| now >= since + MAX_PIPE_AGE)
        {
            self.collapse();
        }
        let may_send = self.pace.begin_turn(self.waiting(), now);
        if !self.is_active() {
            return Ok(());
        }
        self.follow_link(shared.link, now);
        loop {
            if !self.send_descriptor(shared.link, now)? {
                return Ok(());
            }
            // Frames do not wait for the pace of drawing: encoders make one at a time.
            if self.may_send(shared.link, now) && self.link.frames_wait_until(now).is_none() {
                let frames = self.streams.collect(now);
                self.send_output(frames, shared.link, now);
            }
            let began = Instant::now();
            let sent_all = may_send && self.send_batch(shared, now);
            if !may_send || self.is_held_by_link(shared.link, now) {
                self.send_aside(shared, now);
            }
            self.mark_link(shared.link, now);
            self.fit_window(shared.link, now);
            // A client that owes us answers is not left waiting for ever.
            shared.link.set_owed(self.is_held_by_link(shared.link, now), now);
            let waiting = self.waiting();
            self.pace.end_batch(began.elapsed(), waiting, now);
            let more = waiting != Waiting::Nothing;
            let flush = shared.link.flush(more, now)?;
            if self.gl.descriptor.is_some() && flush == Flush::Drained {
                continue;
            }
            let stop = !may_send || sent_all || !more || self.pace.is_cut_short();
            if stop || flush == Flush::Blocked || !self.may_send(shared.link, now) {
                return Ok(());
            }
        }
    }

    /// What the pipe and the stale areas hold.
    pub(super) fn waiting(&self) -> Waiting {
        if !self.has_more() {
            Waiting::Nothing
        } else if self.pipe.len() == self.pipe.draws() {
            Waiting::Drawing
        } else {
            Waiting::Other
        }
    }

    /// Sends until window, budget or a descriptor says stop. `true`: nothing is left.
    fn send_batch(&mut self, shared: &mut Shared<'_>, now: Instant) -> bool {
        while self.may_send(shared.link, now) && self.gl.descriptor.is_none() && self.pace.may_continue() {
            let before = shared.link.stream().pending_bytes();
            let Some(pixels) = self.send_next(shared, now) else { return true };
            let bytes = shared.link.stream().pending_bytes().saturating_sub(before);
            self.link.image_sent(pixels, bytes);
            self.mark_link(shared.link, now);
            self.pace.sent(pixels.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)), now);
        }
        false
    }

    /// Sends what need not wait for the rest to be over or for room on the link.
    fn send_aside(&mut self, shared: &mut Shared<'_>, now: Instant) {
        self.express.set_input(shared.link.connection().shared.last_input());
        while self.may_send_small(shared.link, now)
            && self.gl.descriptor.is_none()
            && self.pipe.draws() > 0
            && self.express.may_break_rest(now)
        {
            let Self { pipe, express, slices, .. } = self;
            let newest = pipe.newest();
            let wanted = |pending: &PendingDrawable| express.goes_during_rest(pending, now);
            let mut ahead = slices.ahead();
            let found = pipe.newer_than(express.looked_at(now)).any(wanted);
            let item = if found { pipe.take_where(|item| ahead.glance(item, wanted)) } else { None };
            let Some(PipeItem::Draw(pending)) = item else {
                self.express.looked(newest, now);
                return;
            };
            let pixels = self.send_command(&pending, shared, now);
            self.express.broke_rest();
            self.pace.sent_aside(pixels, now);
        }
    }

    /// Takes out a small command that overtakes what is being sent in slices, or the large one that is next.
    fn take_overtaking(&mut self) -> Option<PipeItem> {
        if self.slices.is_empty() && !self.pipe.front().is_some_and(is_big) {
            return None;
        }
        let mut ahead = self.slices.ahead();
        self.pipe.take_where(|item| ahead.glance(item, is_small))
    }

    /// Sends one item, slice or image, and says how many pixels of images it carries. `None`: there is nothing.
    fn send_next(&mut self, shared: &mut Shared<'_>, now: Instant) -> Option<u64> {
        if let Some(item) = self.take_overtaking() {
            return Some(self.send_item(item, shared, now));
        }
        if let Some((pending, rows)) = self.slices.take() {
            return Some(self.send_slice(&pending, rows, shared));
        }
        let frame_waits = self.link.frames_wait_until(now).is_some()
            && matches!(self.pipe.front(), Some(PipeItem::Draw(pending)) if self.streams.plays(pending));
        if frame_waits {
            return None;
        }
        match self.pipe.pop() {
            Some(item) => Some(self.send_item(item, shared, now)),
            None => {
                let most = self.link.update_pixels(now);
                let Update { id, area } = self.surfaces.take_update(shared.surfaces, most)?;
                Some(self.send_area(shared, id, area, true))
            }
        }
    }

    /// Sends one item, and says how many pixels of images it carries.
    fn send_item(&mut self, item: PipeItem, shared: &mut Shared<'_>, now: Instant) -> u64 {
        match item {
            PipeItem::Draw(pending) => return self.send_command(&pending, shared, now),
            PipeItem::FullImage { id, key } => {
                let surface = shared.surfaces.get(id).filter(|s| s.key == key);
                if let Some(bounds) = surface.map(Surface::bounds) {
                    self.surfaces.refreshed(key);
                    // Bit by bit, so that other things can go in between, unless the link takes it at once.
                    let thin = self.link.is_thin(now);
                    let most = if thin { self.link.update_pixels(now) } else { MAX_FULL_IMAGE };
                    let first = top_of(bounds, most);
                    self.surfaces.spoil(key, &Region::from(bounds).subtract_rect(&first));
                    return self.send_area(shared, id, first, false);
                }
            }
            PipeItem::StreamCreate(key) => {
                for message in self.streams.create(key) {
                    shared.link.send(message);
                }
            }
            PipeItem::StreamClip(key, clip) => {
                if let Some(message) = self.streams.clip(key, &clip) {
                    shared.link.send(message);
                }
            }
            PipeItem::StreamDestroy(key) => {
                if let Some(message) = self.streams.destroy(key) {
                    shared.link.send(message);
                }
            }
            PipeItem::SurfaceCreate { id, width, height, format, .. } => {
                let flags = if id == 0 { SURFACE_PRIMARY } else { 0 };
                self.surfaces.told_created(id, width, height, format);
                self.encoder.surface_changed(id);
                shared.link.send(surface_create(id, width, height, format, flags));
            }
            PipeItem::SurfaceDestroy { id, .. } => {
                if self.surfaces.told_destroyed(id) {
                    self.encoder.surface_changed(id);
                    shared.link.send(surface_destroy(id));
                }
            }
            PipeItem::InvalAllPalettes => {
                self.encoder.palettes_invalidated();
                shared.link.send(display::inval_all_palettes());
            }
            PipeItem::MonitorsConfig => {
                if let Some(config) = shared.monitors.filter(|_| self.monitors) {
                    shared.link.send(display::monitors_config(config.max_allowed, &config.heads));
                }
            }
            PipeItem::Mark => {
                shared.link.send(display::mark());
            }
            PipeItem::StreamDestroyAll => {
                shared.link.send(display::stream_destroy_all());
            }
            PipeItem::GlScanout => {
                if let Some(scanout) = shared.scanout {
                    self.send_scanout(scanout, shared.link);
                }
            }
            PipeItem::GlDraw(area) => {
                self.gl.sent();
                let edge = |v: i32| u32::try_from(v).unwrap_or(0);
                let (left, top) = (edge(area.left), edge(area.top));
                shared.link.send(display::gl_draw(left, top, area.width(), area.height()));
            }
        }
        0
    }

    /// Sends a command as a frame of its stream, in slices or as what it is, or leaves its result to be sent as an image.
    /// Says how many pixels of images the messages carry that were sent.
    fn send_command(&mut self, pending: &Arc<PendingDrawable>, shared: &mut Shared<'_>, now: Instant) -> u64 {
        self.express.sent(pending.key, pending.region.bounds(), now);
        if let Some(frame) = self.streams.of(pending).and_then(|agent| agent.frame(pending, now)) {
            self.send_output(frame, shared.link, now);
            return pending.drawable.bbox.area();
        }
        // Loss would become visible: the result goes as an image (display.md 9.4).
        let exact = self.encoder.lossless_needs(&pending.drawable).is_empty();
        // A whole image for a few of its pixels is not sent either.
        let drawn = pending.region.bounds().area();
        let small = pending.cost.image_pixels <= MAX_IMAGE_PIXELS.max(drawn.saturating_mul(4));
        if exact && small && self.slices.begin(pending) {
            return self.slices.take().map_or(0, |(pending, rows)| self.send_slice(&pending, rows, shared));
        }
        if let Some(pixels) = (exact && small).then(|| self.send_line(pending, shared, now)).flatten() {
            return pixels;
        }
        if !(exact && small && self.send_drawing(&Drawing::of_command(&pending.drawable), shared)) {
            self.spoil(pending.key, &pending.region);
        }
        pixels_to_encode(pending)
    }

    /// Sends some rows of a command, and says how many pixels they are.
    fn send_slice(&mut self, pending: &PendingDrawable, rows: Range<u32>, shared: &mut Shared<'_>) -> u64 {
        let pixels = u64::from(rows.end - rows.start) * u64::from(pending.drawable.bbox.width());
        let slice = self.encoder.slice(&pending.drawable, rows);
        if !slice.is_some_and(|slice| self.send_drawing(&slice.drawing(), shared)) {
            // The client cannot have it as it is: its result goes as an image.
            self.slices.stop();
            self.spoil(pending.key, &pending.region);
        }
        pixels
    }

    /// Sends what follows from frames of streams.
    pub(super) fn send_output(&mut self, output: Output, link: &mut ChannelLink, now: Instant) {
        let before = link.stream().pending_bytes();
        for message in output.messages {
            link.send(message);
        }
        let bytes = link.stream().pending_bytes().saturating_sub(before);
        if bytes > 0 {
            self.link.frames_sent(bytes, now);
        }
        self.surfaces.spoil_primary(&output.stale);
    }

    /// Encodes and sends one message; `false`: the client cannot be sent it.
    pub(super) fn send_drawing(&mut self, drawing: &Drawing<'_>, shared: &mut Shared<'_>) -> bool {
        let serials = Serials::of(shared.link.stream());
        let messages = self.encoder.encode(shared.workspace, serials, drawing, &self.surfaces);
        let Some(messages) = messages else { return false };
        for outgoing in messages {
            shared.link.send(outgoing);
        }
        true
    }

    /// Sends the present content of an area. Returns its pixels.
    fn send_area(&mut self, shared: &mut Shared<'_>, id: u32, area: Rect, lossy_allowed: bool) -> u64 {
        if let Some(pixels) = shared.surfaces.read(id, &area) {
            let image = self.encoder.server_image(id, area, pixels, lossy_allowed);
            self.send_drawing(&image.drawing(), shared);
        }
        area.area()
    }

    /// Sends a lossy area again without loss, if that is due.
    pub(super) fn refine(&mut self, shared: &mut Shared<'_>, now: Instant) -> Result<(), ChannelError> {
        let due = self.refine_at(shared.link, now).is_some_and(|at| at <= now);
        if let Some((id, area)) = self.encoder.next_lossy().filter(|_| due) {
            self.send_area(shared, id, top_of(area, self.link.update_pixels(now)), false);
            self.mark_link(shared.link, now);
            shared.link.flush(self.has_more(), now)?;
        }
        Ok(())
    }

    fn send_scanout(&mut self, scanout: &Arc<GlScanout>, link: &mut ChannelLink) {
        let Some(first) = scanout.planes.first() else { return };
        let GlScanout { width, height, drm_fourcc, y0_top, modifier, .. } = **scanout;
        let message = if self.planes {
            let planes: Vec<_> = scanout.planes.iter().map(|plane| (plane.offset, plane.stride)).collect();
            display::gl_scanout2_unix((width, height), drm_fourcc, y0_top, modifier, &planes)
        } else {
            if scanout.planes.len() > 1 {
                crate::warning_limited!("a GL scanout of several planes is shown by its first");
            }
            display::gl_scanout_unix(width, height, first.stride, drm_fourcc, y0_top)
        };
        link.send(message);
        self.gl.descriptor = (drm_fourcc != 0).then(|| Arc::clone(scanout));
    }

    /// Sends the descriptors that are due; `false`: the socket is full, and nothing else may be sent.
    fn send_descriptor(&mut self, link: &mut ChannelLink, now: Instant) -> Result<bool, ChannelError> {
        let Some(scanout) = self.gl.descriptor.take() else { return Ok(true) };
        let planes = if self.planes { scanout.planes.len() } else { 1 };
        let fds: Vec<_> = scanout.planes.iter().take(planes).map(|plane| plane.fd.as_raw_fd()).collect();
        if link.send_fds(&fds, now)? {
            return Ok(true);
        }
        self.gl.descriptor = Some(scanout);
        Ok(false)
    }
}

/// Pixels of a command that have to be encoded for its message. A fill or a copy of the screen costs the worker and the link the
/// same whatever its size.
fn pixels_to_encode(pending: &PendingDrawable) -> u64 {
    if pending.cost.image_pixels > 0 { pending.drawable.bbox.area() } else { 0 }
}
