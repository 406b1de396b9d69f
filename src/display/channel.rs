//! The interface of the display channel to its worker.

use crate::channel::connection::{ChannelConnection, ClientId};
use crate::display::settings::{
    DisplaySettings, ImageCompression, StreamingVideo, VideoCodec, WanCompression,
};
use crate::draw::Drawable;
use crate::geometry::Rect;
use crate::host::{MappedSurface, MonitorsConfig, Readiness, SurfaceCommand};
use std::os::fd::RawFd;
use std::time::Instant;

/// One client of the channel, never reused within a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(pub u64);

/// A client's socket for the poll loop.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    pub key: ClientKey,
    pub fd: RawFd,
    /// Reading is always wanted; writing only while something waits for room in the socket.
    pub interest: Readiness,
}

/// The display channel of one QXL device. All methods belong to the worker thread; none of them blocks.
#[derive(Debug)]
pub struct DisplayChannel {
    channel_id: u8,
    settings: DisplaySettings,
}

impl DisplayChannel {
    /// A channel without surfaces and clients. Surface ids are below `n_surfaces` (cut to
    /// [`crate::limits::MAX_SURFACES`]).
    #[must_use]
    pub fn new(channel_id: u8, n_surfaces: u32, settings: DisplaySettings) -> Self {
        let _ = n_surfaces;
        Self { channel_id, settings }
    }

    // The guest's side.

    /// Takes a drawing command (display.md 4.1). Bad ones are dropped, and with them their release token.
    pub fn draw(&mut self, drawable: Box<Drawable>, now: Instant) {
        let _ = (drawable, now);
    }

    /// QXL_CMD_UPDATE: renders what touches the area. The caller notifies and releases. Bad surfaces and areas: nothing.
    pub fn update(&mut self, surface_id: u32, area: &Rect) {
        let _ = (surface_id, area);
    }

    /// QXL_CMD_SURFACE: creates or destroys an off-screen surface. Bad ones are dropped and released.
    pub fn surface_command(&mut self, command: SurfaceCommand, now: Instant) {
        let _ = (command, now);
    }

    /// A surface command of loadvm_commands: like [`Self::surface_command`], but its memory holds the content already,
    /// and clients are told when they first need it.
    pub fn loadvm_surface(&mut self, command: SurfaceCommand, now: Instant) {
        let _ = (command, now);
    }

    /// Creates the primary surface from checked and mapped memory; one that exists is destroyed first. Sets the monitors
    /// configuration to one head unless the guest's driver set its own (display.md 7).
    pub fn create_primary(&mut self, surface: MappedSurface, keep_data: bool, now: Instant) {
        let _ = (surface, keep_data, now);
    }

    /// Destroys the primary surface, if there is one: its memory is not touched afterwards and no command for it is held.
    pub fn destroy_primary(&mut self, now: Instant) {
        let _ = now;
    }

    /// Destroys one surface of any id with all its pending commands, rendering those that read it. `false`: no such surface.
    pub fn destroy_surface(&mut self, surface_id: u32, now: Instant) -> bool {
        let _ = (surface_id, now);
        false
    }

    /// Device reset (display.md 7): all surfaces go, no command is held any more.
    pub fn destroy_all_surfaces(&mut self, now: Instant) {
        let _ = now;
    }

    /// Renders what touches the area and returns the surface's dirty rectangles: at most `max`, the last one then
    /// bounding the rest. `clear` empties the dirty region. Bad surfaces and areas: nothing.
    pub fn update_area(
        &mut self,
        surface_id: u32,
        area: &Rect,
        max: Option<usize>,
        clear: bool,
    ) -> Vec<Rect> {
        let _ = (surface_id, area, max, clear);
        Vec::new()
    }

    /// Renders every pending command of every surface (flush_surfaces).
    pub fn render_all(&mut self) {}

    /// Renders everything and lets go of every command, in the clients' queues too: their content is sent as images
    /// later. For `stop`, after which guest memory is not touched until the VM runs again.
    pub fn release_all(&mut self, now: Instant) {
        let _ = now;
    }

    /// The VM runs or not. While stopped nothing is read from surfaces, so images of them wait.
    pub fn set_running(&mut self, running: bool) {
        let _ = running;
    }

    /// The guest is short of memory: renders and releases some of the oldest commands, also from slow clients' queues.
    /// Returns how many left the tree or a queue.
    pub fn free_some(&mut self, now: Instant) -> usize {
        let _ = now;
        0
    }

    /// The monitors configuration that the guest's driver set (display.md 7.1).
    pub fn set_monitors_config(&mut self, config: MonitorsConfig, now: Instant) {
        let _ = (config, now);
    }

    /// driver_unload: the next primary surface sets the monitors configuration again.
    pub fn driver_unload(&mut self) {}

    /// Forgets decoded guest images (reset_image_cache).
    pub fn reset_image_cache(&mut self) {}

    // Settings. They apply to clients that attach later, except streaming and codecs.

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &DisplaySettings {
        &self.settings
    }

    pub fn set_image_compression(&mut self, compression: ImageCompression) {
        self.settings.image_compression = compression;
    }

    pub fn set_jpeg(&mut self, jpeg: WanCompression) {
        self.settings.jpeg = jpeg;
    }

    pub fn set_zlib_glz(&mut self, zlib_glz: WanCompression) {
        self.settings.zlib_glz = zlib_glz;
    }

    pub fn set_streaming(&mut self, streaming: StreamingVideo) {
        self.settings.streaming = streaming;
    }

    pub fn set_video_codecs(&mut self, codecs: Vec<VideoCodec>, now: Instant) {
        let _ = now;
        self.settings.video_codecs = codecs;
    }

    // GL (display.md 14).

    /// Part of the scanout changed. The cookie comes out of [`Self::take_async_completions`] when all clients have
    /// drawn, or after a bound.
    pub fn gl_draw(&mut self, area: (u32, u32, u32, u32), cookie: u64, now: Instant) {
        let _ = (area, cookie, now);
    }

    /// Cookies of requests that are done since the last call, in order.
    pub fn take_async_completions(&mut self) -> Vec<u64> {
        Vec::new()
    }

    // Clients.

    /// Takes over a linked connection. Nothing is sent before its INIT; a client that sends none in time is dropped.
    pub fn attach(&mut self, connection: ChannelConnection, now: Instant) {
        let _ = (connection, now, self.channel_id);
    }

    /// Drops the client's connection, if it has one here.
    pub fn detach(&mut self, client: ClientId) {
        let _ = client;
    }

    /// Drops all connections.
    pub fn detach_all(&mut self) {}

    /// Number of connections.
    #[must_use]
    pub fn client_count(&self) -> usize {
        0
    }

    /// What the guest may assume of all clients (display.md 12), if that changed since the last call: whether any is
    /// present, and the capability bitmap. `force` gives it anyhow (start of the VM).
    pub fn take_client_caps(&mut self, force: bool) -> Option<(bool, [u8; 58])> {
        let _ = force;
        None
    }

    /// The clients' sockets and what to poll them for.
    #[must_use]
    pub fn sockets(&self) -> Vec<Socket> {
        Vec::new()
    }

    /// A client's socket is ready. Unknown keys are ignored.
    pub fn on_ready(&mut self, key: ClientKey, readiness: Readiness, now: Instant) {
        let _ = (key, readiness, now);
    }

    /// Sends to every client what its socket and window take.
    pub fn push(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`Self::on_timer`] is to be called next; `None`: not before something happens.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let _ = now;
        None
    }

    /// Deadlines: clients without INIT, stuck clients, pings, ends of streams, refinement of lossy areas.
    pub fn on_timer(&mut self, now: Instant) {
        let _ = now;
    }

    /// Whether command intake should pause. Slow clients never cause that: their queues collapse.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        false
    }

    /// Whether there are clients and none of their sockets takes more: the end of a time slice.
    #[must_use]
    pub fn all_blocked(&self) -> bool {
        false
    }

    /// Whether no client has anything left to be sent.
    #[must_use]
    pub fn pipes_empty(&self) -> bool {
        true
    }

    /// The size of the primary surface, if there is one.
    #[must_use]
    pub fn primary_size(&self) -> Option<(u32, u32)> {
        None
    }
}
