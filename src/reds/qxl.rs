//! An attached QXL device as the host threads see it: its worker, and what the mouse mode and clients' monitors depend on.

use super::core::Core;
use super::pointer::ScreenInfo;
use super::state::State;
use crate::host::{QxlControl, SurfaceSpec};
use crate::worker::{GlScanout, WorkerHandle};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Where a device is in the guest, for the guest agent (`spice_qxl_set_device_info`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Hardware address, e.g. `pci/0000/02.0`.
    pub address: String,
    /// Number of the device's first monitor in the guest, and how many there are.
    pub first_display_id: u32,
    pub displays: u32,
}

#[derive(Debug, Default)]
struct QxlBookkeeping {
    worker: Option<Arc<WorkerHandle>>,
    screen: ScreenInfo,
    /// `mouse_mode` of asynchronous primary creates whose end is not known yet, oldest first.
    mouse_modes: Vec<bool>,
    info: DeviceInfo,
}

/// One attached QXL device. Requests of `spice_qxl_*` that need bookkeeping are methods here; all others go to the worker.
pub struct QxlInstance {
    id: u8,
    ram_size: u32,
    control: Arc<dyn QxlControl>,
    core: Weak<Core>,
    book: Mutex<QxlBookkeeping>,
}

impl fmt::Debug for QxlInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QxlInstance").field("id", &self.id).finish_non_exhaustive()
    }
}

impl QxlInstance {
    pub(crate) fn new(
        id: u8,
        ram_size: u32,
        control: Arc<dyn QxlControl>,
        worker: WorkerHandle,
        core: Weak<Core>,
    ) -> Self {
        let book = QxlBookkeeping { worker: Some(Arc::new(worker)), ..QxlBookkeeping::default() };
        Self { id, ram_size, control, core, book: Mutex::new(book) }
    }

    fn book(&self) -> MutexGuard<'_, QxlBookkeeping> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Id of its display and cursor channels.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.id
    }

    /// Bytes of its surface memory, as the host said.
    #[must_use]
    pub fn ram_size(&self) -> u32 {
        self.ram_size
    }

    /// The worker, for requests that have no method here. `None`: the device was detached.
    #[must_use]
    pub fn worker(&self) -> Option<Arc<WorkerHandle>> {
        self.book().worker.clone()
    }

    pub(crate) fn control(&self) -> Arc<dyn QxlControl> {
        self.control.clone()
    }

    pub(crate) fn screen(&self) -> ScreenInfo {
        self.book().screen
    }

    /// Takes the worker out, so that it can be shut down.
    pub(crate) fn retire(&self) -> Option<Arc<WorkerHandle>> {
        let book = &mut *self.book();
        book.screen = ScreenInfo::default();
        book.worker.take()
    }

    fn screen_changed(&self, change: impl FnOnce(&mut ScreenInfo)) {
        change(&mut self.book().screen);
        if let Some(core) = self.core.upgrade() {
            core.with(State::refresh_displays);
        }
    }

    /// Creates the primary surface, and returns when the worker has done it. `mouse_mode` is the field of QXLDevSurfaceCreate: not
    /// zero if the guest can place the pointer where the client says.
    pub fn create_primary(&self, surface_id: u32, spec: &SurfaceSpec, mouse_mode: u32) {
        let Some(worker) = self.worker() else { return };
        if worker.create_primary(surface_id, *spec) {
            self.screen_changed(|s| s.primary = Some((spec.width, spec.height, mouse_mode != 0)));
        }
    }

    /// Like [`Self::create_primary`], but returns at once. `async_complete` tells the end.
    pub fn create_primary_async(&self, surface_id: u32, spec: &SurfaceSpec, mouse_mode: u32, cookie: u64) {
        let Some(worker) = self.worker() else { return };
        {
            let modes = &mut self.book().mouse_modes;
            // A refused request leaves its entry behind. Hosts have few requests on their way, so the oldest entries are old.
            if modes.len() >= 16 {
                modes.remove(0);
            }
            modes.push(mouse_mode != 0);
        }
        worker.create_primary_async(surface_id, *spec, cookie);
    }

    /// Destroys the primary surface, and returns when the worker has done it.
    pub fn destroy_primary(&self, surface_id: u32) {
        let Some(worker) = self.worker() else { return };
        if worker.destroy_primary(surface_id) {
            self.screen_changed(|s| s.primary = None);
        }
    }

    /// Like [`Self::destroy_primary`], but returns at once. `async_complete` tells the end.
    pub fn destroy_primary_async(&self, surface_id: u32, cookie: u64) {
        if let Some(worker) = self.worker() {
            worker.destroy_primary_async(surface_id, cookie);
        }
    }

    /// An asynchronous request created or destroyed the primary surface.
    pub(crate) fn on_primary_changed(&self, primary: Option<(u32, u32)>) {
        let book = &mut *self.book();
        // The newest request counts: surfaces of older ones were refused or replaced.
        book.screen.primary = primary.map(|(width, height)| {
            let allows = book.mouse_modes.pop().unwrap_or(true);
            book.mouse_modes.clear();
            (width, height, allows)
        });
    }

    /// Sets the GL scanout. One without planes ends it.
    pub fn gl_scanout(&self, scanout: GlScanout) {
        let Some(worker) = self.worker() else { return };
        let gl = (!scanout.planes.is_empty()).then_some((scanout.width, scanout.height));
        worker.gl_scanout(scanout);
        self.screen_changed(|s| s.gl = gl);
    }

    /// Sets the device's address, for the guest agent, and its monitors in the guest.
    pub fn set_device_info(&self, address: &str, first_display_id: u32, displays: u32) {
        self.book().info = DeviceInfo { address: address.into(), first_display_id, displays };
        if let Some(core) = self.core.upgrade() {
            core.with(State::tell_agent_displays);
        }
    }

    /// What [`Self::set_device_info`] has set.
    #[must_use]
    pub fn device_info(&self) -> DeviceInfo {
        self.book().info.clone()
    }
}

impl State {
    /// A worker tells that an asynchronous request changed its primary surface.
    pub(crate) fn on_primary_changed(&mut self, qxl: u8, primary: Option<(u32, u32)>) {
        if let Some(instance) = self.devices.by_id(qxl) {
            instance.on_primary_changed(primary);
            self.refresh_displays();
        }
    }
}
