//! The worker of a QXL device: one thread that owns its display and cursor channels (display.md 2).
//!
//! Other threads use a [`WorkerHandle`]. It puts typed requests into a queue, in the order of the calls, and wakes the worker's
//! poll loop through a socketpair. A synchronous request returns when the worker has executed it, and at the latest after
//! [`crate::limits::MAX_SYNC_REQUEST`]. If the worker has ended, is the calling thread, or panics over the request, the caller
//! gets a defined value. An asynchronous request ends with a call of `QxlDevice::async_complete` on the worker. Where the worker
//! cannot do that in time for a request to draw, another thread calls `Completer::async_complete` (`draws`).

mod dispatcher;
mod display;
mod draws;
mod guard;
mod handle_request;
mod poll;
mod red_worker;
mod reply;
mod request;
mod ring;
mod thread;
mod trim;

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

/// What the worker tells the rest of the library, on its own thread. An implementation only posts to the host thread: it must
/// not take a lock that a thread may hold while it waits for the worker.
pub trait WorkerEvents: Send + Sync {
    /// This client broke the protocol or is stuck. The server disconnects all its channels.
    fn disconnect_client(&self, client: ClientId);
    /// This client has brought the state of its display channel from the source of a migration.
    fn restored(&self, client: ClientId);
    /// An asynchronous request created the primary surface (width and height) or destroyed it (`None`). The worker calls this
    /// before `async_complete`. Synchronous requests tell the same by their return value.
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
    /// The system gave no thread or no descriptor.
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
        let (dispatcher, wake) = Dispatcher::new(device.access(), device.completer())?;
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

    // Rings, start and end.

    /// The guest put commands on a ring. Calls that come before the worker has looked count as one. QXL callbacks may call
    /// this.
    pub fn wakeup(&self) {
        self.dispatcher.wakeup();
    }

    /// The guest is short of device memory. Calls that come before the worker has looked count as one. A stopped worker
    /// ignores them.
    pub fn oom(&self) {
        self.dispatcher.oom();
    }

    /// Lets the worker take commands. Does nothing if it takes them already.
    pub fn start(&self) {
        self.post(Request::Start);
    }

    /// Synchronous. The worker renders and releases all pending commands. It touches neither the guest's memory nor the rings
    /// until [`Self::start`].
    pub fn stop(&self) {
        self.dispatcher.call("stop", |answer| Request::Stop { answer });
    }

    /// Ends the worker, joins its thread, and releases on the calling thread what the worker still held. The clients of its
    /// channels are disconnected. The worker calls nothing after this returns, and ignores later requests.
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
        self.dispatcher.draws().join();
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

    /// Like [`Self::update_area`], but the worker answers with `update_area_complete` and `async_complete`.
    pub fn update_area_async(&self, surface_id: u32, area: Rect, clear: bool, cookie: u64) {
        let answer = Answer::Async(cookie);
        self.post(Request::UpdateArea { surface_id, area, max: None, clear, answer });
    }

    /// Renders all pending commands into surface memory.
    pub fn flush_surfaces_async(&self, cookie: u64) {
        self.post(Request::FlushSurfaces { cookie });
    }

    // Memory slots.

    /// Synchronous. `false`: the device refused the slot.
    pub fn add_memslot(&self, slot: Box<dyn MemSlot>) -> bool {
        self.dispatcher.call("add_memslot", |answer| Request::AddMemslot { slot, answer }).unwrap_or(false)
    }

    /// Like [`Self::add_memslot`], but the worker answers with `async_complete`.
    pub fn add_memslot_async(&self, slot: Box<dyn MemSlot>, cookie: u64) {
        self.post(Request::AddMemslot { slot, answer: Answer::Async(cookie) });
    }

    /// Removes a memslot.
    pub fn del_memslot(&self, group_id: u32, slot_id: u32) {
        self.post(Request::DelMemslot { group_id, slot_id });
    }

    /// Removes all memslots.
    pub fn reset_memslots(&self) {
        self.post(Request::ResetMemslots);
    }

    // Surfaces.

    /// Synchronous. Destroys an existing primary surface first. `true`: the new one exists.
    pub fn create_primary(&self, surface_id: u32, spec: SurfaceSpec) -> bool {
        self.dispatcher
            .call("create_primary", |answer| Request::CreatePrimary { surface_id, spec, answer })
            .unwrap_or(false)
    }

    /// The worker tells success by [`WorkerEvents::primary_changed`].
    pub fn create_primary_async(&self, surface_id: u32, spec: SurfaceSpec, cookie: u64) {
        self.post(Request::CreatePrimary { surface_id, spec, answer: Answer::Async(cookie) });
    }

    /// Synchronous. `true`: there was a primary surface, and it is gone.
    pub fn destroy_primary(&self, surface_id: u32) -> bool {
        self.dispatcher
            .call("destroy_primary", |answer| Request::DestroyPrimary { surface_id, answer })
            .unwrap_or(false)
    }

    /// The worker tells success by [`WorkerEvents::primary_changed`].
    pub fn destroy_primary_async(&self, surface_id: u32, cookie: u64) {
        self.post(Request::DestroyPrimary { surface_id, answer: Answer::Async(cookie) });
    }

    /// Synchronous. Destroys all surfaces (device reset).
    pub fn destroy_surfaces(&self) {
        self.dispatcher.call("destroy_surfaces", |answer| Request::DestroySurfaces { answer });
    }

    /// Like [`Self::destroy_surfaces`], but the worker answers with `async_complete`.
    pub fn destroy_surfaces_async(&self, cookie: u64) {
        self.post(Request::DestroySurfaces { answer: Answer::Async(cookie) });
    }

    /// Synchronous. Drops the pending commands of a surface; the surface stays. Only surface 0 is legal.
    pub fn destroy_surface_wait(&self, surface_id: u32) {
        self.dispatcher.call("destroy_surface_wait", |answer| Request::DestroySurface { surface_id, answer });
    }

    /// Like [`Self::destroy_surface_wait`] for any surface.
    pub fn destroy_surface_async(&self, surface_id: u32, cookie: u64) {
        self.post(Request::DestroySurface { surface_id, answer: Answer::Async(cookie) });
    }

    // Caches, cursor, migration.

    /// Synchronous. Drops the decoded images that the worker keeps for rendering.
    pub fn reset_image_cache(&self) {
        self.dispatcher.call("reset_image_cache", |answer| Request::ResetImageCache { answer });
    }

    /// Synchronous. Makes the pointer visible, without a shape, at (0, 0).
    pub fn reset_cursor(&self) {
        self.dispatcher.call("reset_cursor", |answer| Request::ResetCursor { answer });
    }

    /// Synchronous, also while stopped. Executes the surface and cursor commands of a loaded machine.
    pub fn loadvm_commands(&self, commands: Vec<CommandExt>) {
        self.dispatcher.call("loadvm_commands", |answer| Request::LoadvmCommands { commands, answer });
    }

    // Monitors and GL.

    /// Lets the worker read the guest's monitors configuration, also while stopped.
    pub fn monitors_config_async(&self, address: u64, group_id: u32, cookie: u64) {
        self.post(Request::MonitorsConfig { address, group_id, cookie });
    }

    /// Sets how many monitors a configuration may have: at least 1.
    pub fn set_max_monitors(&self, max: u32) {
        self.post(Request::SetMaxMonitors(max.max(1)));
    }

    /// The guest's driver no longer manages the monitors.
    pub fn driver_unload(&self) {
        self.post(Request::DriverUnload);
    }

    /// Shows a scanout. The worker takes its descriptors over and closes those of the previous one.
    pub fn gl_scanout(&self, scanout: GlScanout) {
        self.post(Request::GlScanout(scanout));
    }

    /// Tells that an area of the scanout changed. The request completes when every client has drawn it or a time has passed;
    /// at once if there is no scanout.
    pub fn gl_draw_async(&self, area: Rect, cookie: u64) {
        let number = self.dispatcher.draws().begin(cookie);
        self.post(Request::GlDraw { area, number });
    }

    // Settings.

    /// Takes over the host's settings. Those of video apply at once, all others to clients that connect later.
    pub fn set_settings(&self, settings: DisplaySettings) {
        self.post(Request::Settings(Box::new(settings)));
    }

    /// Sets whether the client draws the pointer where its user moves it (client mouse mode) or where the guest says.
    pub fn set_mouse_mode(&self, client: bool) {
        self.post(Request::SetMouseMode { client });
    }

    // Clients.

    /// Moves a linked display connection to the worker. If the worker has ended, the connection is closed.
    pub fn connect_display(&self, at: ConnectionId, connection: ChannelConnection) {
        self.post(Request::ConnectDisplay(at, Box::new(connection)));
    }

    /// Moves a linked cursor connection to the worker.
    pub fn connect_cursor(&self, at: ConnectionId, connection: ChannelConnection) {
        self.post(Request::ConnectCursor(at, Box::new(connection)));
    }

    /// The client follows the machine to another host. Its channels hand over their state.
    pub fn hand_over(&self, client: ClientId) {
        self.post(Request::HandOver(client));
    }

    /// Ends this client's connections without waiting. The guard of each connection tells when its socket is closed.
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
