//! An attached QXL device as the host threads see it: its worker, and what mouse mode and clients' monitors need to know.

use crate::host::SurfaceSpec;
use crate::worker::WorkerHandle;
use std::sync::Arc;

/// See the module. Requests of `spice_qxl_*` that need bookkeeping are methods here; all others go to the worker.
#[derive(Debug)]
pub struct QxlInstance {
    id: u8,
}

impl QxlInstance {
    /// Id of its display and cursor channels.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.id
    }

    /// The worker, for all requests that have no method here; `None` after the device was removed.
    #[must_use]
    pub fn worker(&self) -> Option<Arc<WorkerHandle>> {
        None
    }

    /// Creates the primary surface, returns when the worker has done it. `mouse_mode`: the field of
    /// QXLDevSurfaceCreate, non-zero if the guest can place the pointer itself.
    pub fn create_primary(&self, surface_id: u32, spec: &SurfaceSpec, mouse_mode: u32) {
        let _ = (surface_id, spec, mouse_mode);
    }

    /// The same, reported by `async_complete`.
    pub fn create_primary_async(&self, surface_id: u32, spec: &SurfaceSpec, mouse_mode: u32, cookie: u64) {
        let _ = (surface_id, spec, mouse_mode, cookie);
    }

    /// Destroys the primary surface, returns when the worker has done it.
    pub fn destroy_primary(&self, surface_id: u32) {
        let _ = surface_id;
    }

    /// The same, reported by `async_complete`.
    pub fn destroy_primary_async(&self, surface_id: u32, cookie: u64) {
        let _ = (surface_id, cookie);
    }

    /// Bus address of the device for the guest agent (`spice_qxl_set_device_info`), and the first and number of its
    /// monitors in the guest.
    pub fn set_device_info(&self, address: &str, first_display_id: u32, displays: u32) {
        let _ = (address, first_display_id, displays);
    }
}
