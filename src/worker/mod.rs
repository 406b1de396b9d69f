//! The worker of a QXL device: one thread that owns its display and cursor channels (display.md 2).
//!
//! [`WorkerHandle`] is the side of the host's threads (the dispatcher): requests travel typed and in order over a queue
//! whose socketpair wakes the worker's poll loop. Synchronous ones return when the worker has executed them; they are
//! bounded ([`crate::limits::MAX_SYNC_REQUEST`]) and return a defined value when the worker is gone, is the calling
//! thread, or panicked over the request. Asynchronous ones end with `QxlDevice::async_complete` on the worker.

mod dispatcher;
mod display;
mod guard;
mod handle_request;
mod poll;
mod red_worker;
mod reply;
mod request;
mod ring;
mod thread;

pub use crate::channel::connection::ClientId;
pub use crate::host::{GlPlane, GlScanout};

use self::display::Display;
use crate::channel::connection::{ChannelConnection, ConnectionId};
use crate::display::settings::DisplaySettings;
use crate::display::{DisplayChannel, Services};
use crate::geometry::Rect;
use crate::host::{CommandExt, MemSlot, QxlDevice, QxlInitInfo, SurfaceSpec};
use crate::limits::WORKER_STACK;
use dispatcher::{Dispatcher, WakeSource};
use poll::PollSet;
use red_worker::RedWorker;
use request::{Answer, Request};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What the worker tells the rest of the library. Called on the worker thread; implementations only post to the host
/// thread and return: they take no lock that a thread may hold while it waits for the worker.
pub trait WorkerEvents: Send + Sync {
    /// This client broke the protocol or is stuck: the whole client is to be disconnected.
    fn disconnect_client(&self, client: ClientId);
    /// This client has brought the state of its display from the source of a migration.
    fn restored(&self, client: ClientId);
    /// An asynchronous request created (width, height) or destroyed the primary surface; before its `async_complete`.
    /// Synchronous requests say so by their return value instead.
    fn primary_changed(&self, primary: Option<(u32, u32)>);
}

/// The worker of one QXL device. All methods may be called from any thread at any time. Dropping it ends and joins the
/// worker like [`WorkerHandle::shutdown`].
#[derive(Debug)]
pub struct WorkerHandle {
    dispatcher: Arc<Dispatcher>,
    thread: Mutex<Option<JoinHandle<Box<dyn QxlDevice>>>>,
}

impl WorkerHandle {
    /// Starts the worker thread of the device with this id, stopped until [`Self::start`].
    ///
    /// # Errors
    /// No thread or descriptor could be had.
    pub fn spawn(
        channel_id: u8,
        device: Box<dyn QxlDevice>,
        info: QxlInitInfo,
        settings: DisplaySettings,
        events: Arc<dyn WorkerEvents>,
    ) -> io::Result<Self> {
        let make = move |dispatcher: &Arc<Dispatcher>| {
            let dispatcher = Arc::clone(dispatcher);
            let services = Services::of_process(Arc::new(move || dispatcher.poke()));
            DisplayChannel::with_services(channel_id, info.n_surfaces, settings, services)
        };
        Self::spawn_with(make, device, events)
    }

    fn spawn_with<D: Display>(
        make_display: impl FnOnce(&Arc<Dispatcher>) -> D + Send + 'static,
        device: Box<dyn QxlDevice>,
        events: Arc<dyn WorkerEvents>,
    ) -> io::Result<Self> {
        let (dispatcher, wake) = Dispatcher::new(device.access())?;
        Self::spawn_on(dispatcher, wake, make_display, device, events)
    }

    fn spawn_on<D: Display>(
        dispatcher: Dispatcher,
        wake: WakeSource,
        make_display: impl FnOnce(&Arc<Dispatcher>) -> D + Send + 'static,
        device: Box<dyn QxlDevice>,
        events: Arc<dyn WorkerEvents>,
    ) -> io::Result<Self> {
        let dispatcher = Arc::new(dispatcher);
        let poll = PollSet::new(wake)?;
        let thread = {
            let dispatcher = Arc::clone(&dispatcher);
            std::thread::Builder::new().name("SPICE Worker".into()).stack_size(WORKER_STACK).spawn(
                move || {
                    let display = make_display(&dispatcher);
                    thread::run(RedWorker::new(device, display, events, dispatcher), poll)
                },
            )?
        };
        Ok(Self { dispatcher, thread: Mutex::new(Some(thread)) })
    }

    fn post(&self, request: Request) {
        if let Err(request) = self.dispatcher.post(request) {
            crate::debug!("worker has ended, ignored: {request:?}");
        }
    }

    // Rings and life.

    /// The guest put commands on a ring. Coalesced; may be called from QXL callbacks.
    pub fn wakeup(&self) {
        self.dispatcher.wakeup();
    }

    /// The guest is short of device memory. Coalesced; ignored while stopped.
    pub fn oom(&self) {
        self.dispatcher.oom();
    }

    /// Begins to take commands. A second start is a no-op.
    pub fn start(&self) {
        self.post(Request::Start);
    }

    /// Synchronous: afterwards all pending commands are rendered and released, and neither guest memory nor rings are
    /// touched until [`Self::start`].
    pub fn stop(&self) {
        self.dispatcher.call("stop", |answer| Request::Stop { answer });
    }

    /// Ends the worker, joins its thread and gives what is still held back to the host, on the calling thread. All
    /// clients of its channels are disconnected. No callback runs after return; later requests are ignored.
    pub fn shutdown(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if thread.thread().id() == std::thread::current().id() {
            crate::warning!("a worker cannot be removed from its own callback");
            self.post(Request::Close);
            return;
        }
        self.post(Request::Close);
        if let Ok(mut device) = thread.join() {
            device.release_pending();
        }
    }

    // Drawing.

    /// Synchronous. Renders what touches `area` and returns the dirty rectangles of the whole surface: at most `max`,
    /// the last one then bounding the rest; `None`: all of them. `clear` empties the dirty region. Empty when stopped,
    /// or the surface or area is not valid.
    pub fn update_area(&self, surface_id: u32, area: Rect, max: Option<usize>, clear: bool) -> Vec<Rect> {
        self.dispatcher
            .call("update_area", |answer| Request::UpdateArea { surface_id, area, max, clear, answer })
            .unwrap_or_default()
    }

    /// Like [`Self::update_area`], ending with `update_area_complete` and `async_complete`.
    pub fn update_area_async(&self, surface_id: u32, area: Rect, clear: bool, cookie: u64) {
        let answer = Answer::Async(cookie);
        self.post(Request::UpdateArea { surface_id, area, max: None, clear, answer });
    }

    /// Renders all pending commands into surface memory.
    pub fn flush_surfaces_async(&self, cookie: u64) {
        self.post(Request::FlushSurfaces { cookie });
    }

    // Memory slots.

    /// Synchronous. False: the slot was refused.
    pub fn add_memslot(&self, slot: Box<dyn MemSlot>) -> bool {
        self.dispatcher.call("add_memslot", |answer| Request::AddMemslot { slot, answer }).unwrap_or(false)
    }

    pub fn add_memslot_async(&self, slot: Box<dyn MemSlot>, cookie: u64) {
        self.post(Request::AddMemslot { slot, answer: Answer::Async(cookie) });
    }

    pub fn del_memslot(&self, group_id: u32, slot_id: u32) {
        self.post(Request::DelMemslot { group_id, slot_id });
    }

    pub fn reset_memslots(&self) {
        self.post(Request::ResetMemslots);
    }

    // Surfaces.

    /// Synchronous. True: the primary exists now. An existing one is destroyed first.
    pub fn create_primary(&self, surface_id: u32, spec: SurfaceSpec) -> bool {
        self.dispatcher
            .call("create_primary", |answer| Request::CreatePrimary { surface_id, spec, answer })
            .unwrap_or(false)
    }

    /// Success is told by [`WorkerEvents::primary_changed`].
    pub fn create_primary_async(&self, surface_id: u32, spec: SurfaceSpec, cookie: u64) {
        self.post(Request::CreatePrimary { surface_id, spec, answer: Answer::Async(cookie) });
    }

    /// Synchronous. True: there was a primary and it is gone.
    pub fn destroy_primary(&self, surface_id: u32) -> bool {
        self.dispatcher
            .call("destroy_primary", |answer| Request::DestroyPrimary { surface_id, answer })
            .unwrap_or(false)
    }

    /// Success is told by [`WorkerEvents::primary_changed`].
    pub fn destroy_primary_async(&self, surface_id: u32, cookie: u64) {
        self.post(Request::DestroyPrimary { surface_id, answer: Answer::Async(cookie) });
    }

    /// Synchronous. Destroys all surfaces (device reset).
    pub fn destroy_surfaces(&self) {
        self.dispatcher.call("destroy_surfaces", |answer| Request::DestroySurfaces { answer });
    }

    pub fn destroy_surfaces_async(&self, cookie: u64) {
        self.post(Request::DestroySurfaces { answer: Answer::Async(cookie) });
    }

    /// Synchronous. Drops what is pending on the surface, which itself stays; only surface 0 is legal.
    pub fn destroy_surface_wait(&self, surface_id: u32) {
        self.dispatcher.call("destroy_surface_wait", |answer| Request::DestroySurface { surface_id, answer });
    }

    /// Like [`Self::destroy_surface_wait`] for any surface.
    pub fn destroy_surface_async(&self, surface_id: u32, cookie: u64) {
        self.post(Request::DestroySurface { surface_id, answer: Answer::Async(cookie) });
    }

    // Caches, cursor, migration.

    /// Synchronous. Forgets the decoded images that rendering keeps.
    pub fn reset_image_cache(&self) {
        self.dispatcher.call("reset_image_cache", |answer| Request::ResetImageCache { answer });
    }

    /// Synchronous. Pointer without shape, visible, at (0, 0).
    pub fn reset_cursor(&self) {
        self.dispatcher.call("reset_cursor", |answer| Request::ResetCursor { answer });
    }

    /// Synchronous, also while stopped. Surface creates and cursor commands of a loaded machine state.
    pub fn loadvm_commands(&self, commands: Vec<CommandExt>) {
        self.dispatcher.call("loadvm_commands", |answer| Request::LoadvmCommands { commands, answer });
    }

    // Monitors and GL.

    /// Also while stopped. Reads the guest's monitors configuration.
    pub fn monitors_config_async(&self, address: u64, group_id: u32, cookie: u64) {
        self.post(Request::MonitorsConfig { address, group_id, cookie });
    }

    /// At least 1.
    pub fn set_max_monitors(&self, max: u32) {
        self.post(Request::SetMaxMonitors(max.max(1)));
    }

    /// The guest driver does not manage the monitors any more.
    pub fn driver_unload(&self) {
        self.post(Request::DriverUnload);
    }

    /// Takes over the descriptors; those of the previous scanout are closed.
    pub fn gl_scanout(&self, scanout: GlScanout) {
        self.post(Request::GlScanout(scanout));
    }

    /// Completes when every client has drawn or a bound has passed; at once without a scanout.
    pub fn gl_draw_async(&self, area: Rect, cookie: u64) {
        self.post(Request::GlDraw { area, cookie });
    }

    // Settings.

    /// What the host has configured from now on. Video applies at once, the rest to clients that connect later.
    pub fn set_settings(&self, settings: DisplaySettings) {
        self.post(Request::Settings(Box::new(settings)));
    }

    /// Whether the client draws the pointer where it likes (client mouse mode) or where the guest says.
    pub fn set_mouse_mode(&self, client: bool) {
        self.post(Request::SetMouseMode { client });
    }

    // Clients.

    /// Moves a linked display connection to the worker. Without a worker it is dropped, which ends it.
    pub fn connect_display(&self, at: ConnectionId, connection: ChannelConnection) {
        self.post(Request::ConnectDisplay(at, Box::new(connection)));
    }

    /// Moves a linked cursor connection to the worker.
    pub fn connect_cursor(&self, at: ConnectionId, connection: ChannelConnection) {
        self.post(Request::ConnectCursor(at, Box::new(connection)));
    }

    /// The client follows the machine to another host: its channels hand over their state.
    pub fn hand_over(&self, client: ClientId) {
        self.post(Request::HandOver(client));
    }

    /// Ends this client's connections. Does not wait: their guards tell when the sockets are gone.
    pub fn disconnect_client(&self, client: ClientId) {
        self.post(Request::DisconnectClient(client));
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.shutdown();
    }
}

#[cfg(test)]
mod tests;
