//! The interface of the display channel to its worker.

mod compose;
mod remote;
mod serve;
mod settings;

use super::clients::Clients;
use super::encode::Workspace;
use super::gl::{Gl, check_size};
use super::guest_view::{ClientCaps, GuestView};
use super::pending::{PendingDrawable, Repeat};
use super::pipe::PipeItem;
use super::reads::SurfaceKey;
use super::services::Services;
use super::stream::{Composer, Part, StreamKey, Streams};
use super::surfaces::{Covered, Rejected, Surfaces};
use crate::channel::Out;
use crate::channel::connection::ConnectionId;
use crate::channel::link::ChannelError;
use crate::display::settings::DisplaySettings;
use crate::draw::Drawable;
use crate::geometry::Rect;
use crate::guest::ReleaseToken;
use crate::host::{GlScanout, MappedSurface, MonitorHead, MonitorsConfig, SurfaceCommand};
use crate::limits::MAX_PENDING_COST;
use crate::protocol::caps::display as cap;
use remote::RemoteScreen;
use std::sync::Arc;
use std::time::Instant;

/// How many commands one call of [`DisplayChannel::free_some`] renders (display.md 2.6).
const RELEASE_BUNCH: usize = 64;

/// The display channel of one QXL device. Only the worker calls its methods. None of them blocks.
#[derive(Debug)]
pub struct DisplayChannel {
    channel_id: u8,
    settings: DisplaySettings,
    services: Services,
    surfaces: Surfaces,
    workspace: Workspace,
    streams: Streams,
    composer: Composer,
    /// The last composed frame, and whether something else has touched its area since.
    composed: Option<Arc<PendingDrawable>>,
    composed_stays: bool,
    clients: Clients,
    monitors: Option<MonitorsConfig>,
    /// The guest's driver set the monitors configuration, so a new primary surface does not change it (display.md 7).
    driver_monitors: bool,
    guest_view: GuestView,
    gl: Gl,
    running: bool,
    remote: Option<RemoteScreen>,
}

impl DisplayChannel {
    /// A channel without surfaces and clients, and without the services of a process. Surface ids are below `n_surfaces`, which
    /// is at most [`crate::limits::MAX_SURFACES`].
    #[must_use]
    pub fn new(channel_id: u8, n_surfaces: u32, settings: DisplaySettings) -> Self {
        Self::with_services(channel_id, n_surfaces, settings, Services::built_in())
    }

    /// Like [`Self::new`], with the services of the process.
    #[must_use]
    pub fn with_services(
        channel_id: u8,
        n_surfaces: u32,
        settings: DisplaySettings,
        services: Services,
    ) -> Self {
        Self {
            channel_id,
            settings,
            surfaces: Surfaces::new(n_surfaces),
            workspace: Workspace::new(services.pool.clone()),
            streams: Streams::default(),
            composer: Composer::default(),
            composed: None,
            composed_stays: false,
            clients: Clients::default(),
            monitors: None,
            driver_monitors: false,
            guest_view: GuestView::default(),
            gl: Gl::default(),
            running: false,
            remote: None,
            services,
        }
    }

    // The guest's side.

    /// Takes a drawing command (display.md 4.1). Drops and releases a bad one, with a line in the log.
    pub fn draw(&mut self, drawable: Box<Drawable>, now: Instant) {
        let surface_id = drawable.surface_id;
        let part = self.look_for_pieces(&drawable, now);
        let mut pending = match self.surfaces.accept(drawable) {
            Ok(pending) => pending,
            Err(Rejected::NothingToDraw) => return,
            Err(why) => {
                crate::warning_limited!("drawing command on surface {surface_id} dropped: {why}");
                return;
            }
        };
        if !self.clients.is_empty() && part != Part::Piece {
            let stream = self.streams.look(&pending.drawable, &self.settings, now);
            PendingDrawable::join_stream(&mut pending, stream);
        }
        match self.surfaces.repeated(&pending) {
            Some((Repeat::Idles, _)) => return,
            Some((Repeat::Reverts, old)) => {
                self.clients.each(|client| {
                    if !client.covered(std::slice::from_ref(&old)) {
                        client.draw(&pending, &self.surfaces, now);
                    }
                });
                return;
            }
            Some((Repeat::Replaces, old)) => self.take_back(&vec![old]),
            None => {}
        }
        // Clients come before the surfaces: one that does not have the surface yet is shown it without this command.
        let composed = self.composed.as_deref();
        self.clients.each(|client| match part {
            Part::Piece => client.draw_piece(&pending, composed, &self.surfaces, now),
            Part::None | Part::Disturbance => client.draw(&pending, &self.surfaces, now),
        });
        let covered = self.surfaces.insert(&pending);
        self.take_back(&covered);
    }

    fn take_back(&mut self, covered: &Covered) {
        if !covered.is_empty() {
            self.clients.each(|client| {
                client.covered(covered);
            });
        }
    }

    /// The guest has put no more commands into its ring by now.
    pub fn ring_emptied(&mut self) {
        self.composer.ring_emptied();
    }

    /// The guest seems to have drawn its frame: clients are not left waiting for more of it. `for_good`: it has drawn nothing for
    /// a millisecond, so that a video that it draws in pieces is not either.
    pub fn guest_paused(&mut self, for_good: bool, now: Instant) {
        if for_good {
            self.composer.guest_paused();
        }
        if self.composer.due().is_some_and(|at| at <= now) {
            self.compose(now);
        }
        self.clients.each(|client| client.guest_paused(now));
    }

    /// QXL_CMD_UPDATE: brings the area up to date. The caller notifies the guest and releases the command. Ignores bad surfaces
    /// and areas.
    pub fn update(&mut self, surface_id: u32, area: &Rect) {
        self.surfaces.render_area(surface_id, area);
    }

    /// QXL_CMD_SURFACE: creates or destroys an off-screen surface. Drops and releases a bad command.
    pub fn surface_command(&mut self, command: SurfaceCommand, now: Instant) {
        self.off_screen(command, false, now);
    }

    /// A surface command of loadvm_commands. Unlike with [`Self::surface_command`], the memory has the content already, and
    /// clients learn of the surface when they first need it.
    pub fn loadvm_surface(&mut self, command: SurfaceCommand, now: Instant) {
        self.off_screen(command, true, now);
    }

    fn off_screen(&mut self, command: SurfaceCommand, loadvm: bool, now: Instant) {
        match command {
            SurfaceCommand::Create { surface_id: 0, .. } | SurfaceCommand::Destroy { surface_id: 0, .. } => {
                crate::warning_limited!("the guest's surface command for surface 0 dropped");
            }
            SurfaceCommand::Create { surface_id, surface, keep_data, release } => {
                self.create_surface(surface_id, surface, Some(release), keep_data || loadvm, now);
            }
            SurfaceCommand::Destroy { surface_id, release } => {
                if !self.end_surface(surface_id, Some(release), now) {
                    crate::warning_limited!("the guest destroys surface {surface_id}, which does not exist");
                }
            }
        }
    }

    /// Clients are shown an off-screen surface with content when a command first needs it (display.md 5.2).
    fn create_surface(
        &mut self,
        id: u32,
        mapped: MappedSurface,
        token: Option<ReleaseToken>,
        keep_data: bool,
        now: Instant,
    ) -> bool {
        match self.surfaces.create(id, mapped, token) {
            Ok(surface) => {
                if !keep_data || id == 0 {
                    self.clients.each(|client| {
                        client.surface_created(id, surface, !keep_data, now);
                    });
                }
                true
            }
            Err(why) => {
                crate::warning_limited!("surface {id} not created: {why}");
                false
            }
        }
    }

    fn end_surface(&mut self, id: u32, token: Option<ReleaseToken>, now: Instant) -> bool {
        let Some((key, dropped)) = self.surfaces.destroy(id, token) else { return false };
        if id == 0 {
            let ended = self.streams.clear();
            self.end_streams(&ended, now);
            self.composer.clear();
            self.composed = None;
        }
        self.surface_ended(id, key, &dropped, now);
        true
    }

    fn end_streams(&mut self, ended: &[StreamKey], now: Instant) {
        self.clients.each(|client| {
            client.end_streams(ended, now);
        });
    }

    fn surface_ended(&mut self, id: u32, key: SurfaceKey, dropped: &Covered, now: Instant) {
        self.clients.each(|client| {
            client.surface_destroyed(id, key, dropped, now);
        });
    }

    /// Creates the primary surface from checked and mapped memory, after destroying one that exists. Sets the monitors
    /// configuration to one head, unless the guest's driver set its own (display.md 7). `false`: the memory is too small.
    pub fn create_primary(&mut self, surface: MappedSurface, keep_data: bool, now: Instant) -> bool {
        self.end_screen(now);
        if self.surfaces.get(0).is_some() {
            crate::warning_limited!("a second primary surface is created, the first one is destroyed");
            self.destroy_primary(now);
        }
        let (width, height) = (surface.width, surface.height);
        if !self.create_surface(0, surface, None, keep_data, now) {
            return false;
        }
        if !self.driver_monitors {
            let head = MonitorHead { width, height, ..MonitorHead::default() };
            let max_allowed = self.monitors.as_ref().map_or(1, |m| m.max_allowed);
            self.monitors = Some(MonitorsConfig { max_allowed, heads: vec![head] });
        }
        self.clients.each(|client| {
            if !self.driver_monitors {
                client.tell(PipeItem::MonitorsConfig, now);
            }
            client.tell(PipeItem::Mark, now);
        });
        true
    }

    /// Destroys the primary surface, if there is one. The channel does not touch its memory afterwards. Clients are not sent the
    /// commands that still wait for it.
    pub fn destroy_primary(&mut self, now: Instant) {
        self.destroy_surface(0, now);
    }

    /// Destroys a surface with its pending commands, after rendering the commands that read it. Afterwards no client's pipe holds
    /// a command of the guest. `false`: no such surface.
    pub fn destroy_surface(&mut self, surface_id: u32, now: Instant) -> bool {
        if !self.end_surface(surface_id, None, now) {
            return false;
        }
        // The caller reuses the memory of the commands once this returns.
        self.clients.each(|client| {
            client.collapse();
        });
        true
    }

    /// Device reset (display.md 7): destroys all surfaces and releases all commands.
    pub fn destroy_all_surfaces(&mut self, now: Instant) {
        // Nobody will see the pending commands. Destroying a surface renders only those that read it, since the surfaces that
        // they draw on are still there.
        for id in self.surfaces.ids() {
            self.end_surface(id, None, now);
        }
        self.clients.each(|client| {
            client.collapse();
            client.tell(PipeItem::InvalAllPalettes, now);
            client.tell(PipeItem::StreamDestroyAll, now);
        });
    }

    /// Brings the area up to date and returns the surface's dirty rectangles. More than `max` are joined into the last one.
    /// `clear` empties the dirty region. Returns nothing for bad surfaces and areas.
    pub fn update_area(
        &mut self,
        surface_id: u32,
        area: &Rect,
        max: Option<usize>,
        clear: bool,
    ) -> Vec<Rect> {
        let Some(bounds) = self.surfaces.get(surface_id).map(super::surfaces::Surface::bounds) else {
            return Vec::new();
        };
        if area.intersect(&bounds).is_empty() || area.left < 0 || area.top < 0 {
            return Vec::new();
        }
        if max == Some(0) && !clear {
            // The guest only wants to read pixels, so no rectangles have to be counted.
            self.surfaces.host_reads(surface_id, area);
            return Vec::new();
        }
        self.surfaces.host_asks();
        self.surfaces.count_area(surface_id, area);
        self.surfaces.dirty_rects(surface_id, max, clear)
    }

    /// Renders and releases every command for a surface, which stays (destroy_surface_wait). The guest waits for this: it is
    /// about to destroy the surface and to reuse its memory. `false`: no such surface.
    pub fn clear_surface(&mut self, surface_id: u32) -> bool {
        if self.surfaces.get(surface_id).is_none() {
            return false;
        }
        self.surfaces.render_surface(surface_id);
        self.clients.each(|client| {
            client.collapse();
        });
        true
    }

    /// Renders every pending command of every surface (flush_surfaces).
    pub fn render_all(&mut self) {
        self.surfaces.render_all();
    }

    /// Renders and releases every command, also those in the clients' pipes: clients are later sent images instead. The worker
    /// needs this for `stop`, after which the host may save the guest's memory.
    pub fn release_all(&mut self) {
        self.running = false;
        self.surfaces.render_all();
        self.clients.each(|client| {
            client.collapse();
        });
    }

    /// Renders a piece of the pending commands, if with a command that costs `next` too much would wait. `false`: it would not,
    /// so the worker may add that command, or take more of them.
    pub fn render_excess(&mut self, next: u64) -> bool {
        (self.surfaces.has_excess(next) || self.surfaces.holds_many_pictures())
            && self.surfaces.render_piece()
    }

    /// Estimated cost of drawing the commands that wait (about nanoseconds).
    #[must_use]
    pub fn pending_cost(&self) -> u64 {
        self.surfaces.pending_cost()
    }

    /// Estimated cost of drawing a command that was not given to [`Self::draw`] yet (about nanoseconds).
    #[must_use]
    pub fn expected_cost(&self, drawable: &Drawable) -> u64 {
        self.surfaces.expected_cost(drawable)
    }

    /// Estimated cost of all work for the guest's commands so far (about nanoseconds).
    #[must_use]
    pub fn work(&self) -> u64 {
        self.surfaces.work()
    }

    /// Renders and releases some of the oldest commands, also from the pipes of slow clients, since the guest is short of memory.
    /// Returns how many left the tree or a pipe.
    pub fn free_some(&mut self) -> usize {
        let mut freed = 0;
        self.clients.each(|client| {
            freed += client.queued_draws();
            client.collapse();
        });
        let enough = self.surfaces.work().saturating_add(MAX_PENDING_COST);
        while freed < RELEASE_BUNCH && self.surfaces.work() < enough && self.surfaces.render_oldest() {
            freed += 1;
        }
        freed
    }

    /// Takes over the monitors configuration that the guest's driver set (display.md 7.1).
    pub fn set_monitors_config(&mut self, config: MonitorsConfig, now: Instant) {
        self.driver_monitors = true;
        self.monitors = Some(config);
        self.clients.each(|client| {
            client.tell(PipeItem::MonitorsConfig, now);
        });
    }

    /// The guest's driver set a monitors configuration, perhaps a bad one: from now on a new primary surface does not set one.
    pub fn driver_loaded(&mut self) {
        self.driver_monitors = true;
    }

    /// driver_unload: the next primary surface sets the monitors configuration again.
    pub fn driver_unload(&mut self) {
        self.driver_monitors = false;
    }

    /// Drops the decoded images of the guest (reset_image_cache).
    pub fn reset_image_cache(&mut self) {
        self.surfaces.reset_image_cache();
    }

    /// The size of the guest's primary surface, if there is one.
    #[must_use]
    pub fn primary_size(&self) -> Option<(u32, u32)> {
        let screen = self.screen_key();
        self.surfaces.get(0).filter(|surface| screen != Some(surface.key)).map(|s| (s.width, s.height))
    }

    // GL (display.md 14).

    /// Shows a scanout; one without planes ends the present one. Clients that cannot show it themselves are sent its pixels, or
    /// are disconnected if the worker cannot read them. A scanout with impossible sizes counts as none.
    pub fn set_scanout(&mut self, mut scanout: GlScanout, now: Instant) {
        if !scanout.planes.is_empty()
            && let Err(why) = check_size(scanout.width, scanout.height)
        {
            crate::warning_limited!("GL scanout ignored: {why}");
            scanout.planes.clear();
        }
        self.gl.set(scanout);
        if self.gl.scanout().is_some() {
            self.clients.each(|client| client.show_scanout(now));
        }
    }

    /// The scanout has changed in an area. [`Self::take_async_completions`] returns the cookie when every client has drawn it, or
    /// after [`crate::limits::GL_DRAW_TIMEOUT`]. `false`: no client has to draw, and the caller completes the cookie.
    pub fn gl_draw(&mut self, area: Rect, cookie: u64, now: Instant) -> bool {
        if self.gl.scanout().is_none() {
            crate::warning_limited!("the host draws a GL scanout but has set none");
            return false;
        }
        self.damage_screen(area);
        if !self.clients.iter().any(|client| client.is_active() && client.shows_scanouts()) {
            return false;
        }
        let id = self.gl.begin(cookie, now);
        self.clients.each(|client| {
            client.gl_draw(id, area, now);
        });
        true
    }

    /// Cookies of the requests that were completed since the last call, in order.
    pub fn take_async_completions(&mut self, now: Instant) -> Vec<u64> {
        let Self { gl, clients, .. } = self;
        gl.settle(|id| clients.iter().any(|c| c.gl.owes(id)), now);
        clients.each(|client| {
            client.gl.forget_waiting(|id| gl.is_over(id));
        });
        gl.take_done()
    }

    // Clients.

    /// The machine runs after a migration. [`Self::resume`] must follow for each client.
    pub fn machine_started(&mut self) {
        self.running = true;
    }

    /// A client that came with the machine goes on, since the machine runs now.
    pub fn resume(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let now = out.now;
        self.serve(at, out, |client, shared| client.machine_started(shared, now))
    }

    /// Notes that clients came or went.
    fn clients_changed(&mut self) {
        self.workspace.set_clients(self.clients.len());
        self.guest_view.set(self.clients.len(), self.common_caps());
    }

    /// The capabilities that all clients have, for the guest (display.md 12).
    fn common_caps(&self) -> ClientCaps {
        let mut bits = [0; 58];
        for bit in [cap::SIZED_STREAM, cap::MONITORS_CONFIG, cap::COMPOSITE, cap::A8_SURFACE] {
            let common = !self.clients.is_empty() && self.clients.iter().all(|c| c.caps.has(bit));
            if common {
                bits[0] |= 1 << bit;
            }
        }
        (!self.clients.is_empty(), bits)
    }

    /// The next report for the guest: whether there is a client, and the capabilities of all clients. `anew`: the machine starts.
    pub fn take_client_caps(&mut self, anew: bool) -> Option<ClientCaps> {
        self.guest_view.next(anew)
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
