//! The QXL device that the worker drives: rings and requests over the host's callbacks, commands and surfaces over
//! guest memory.

use crate::callbacks::QxlCallbacks;
use crate::memory::{GuestMemory, MemSlot};
use crate::parse::{self, Parser};
use crate::record::Recorder;
use spice_server_core::geometry::Rect;
use spice_server_core::guest::{ByteSource, ReleaseInfo, ReleaseQueue};
use spice_server_core::host::{
    self, CommandExt, CursorCommand, DeviceError, DisplayCommand, Fetched, GuestAccess, MappedSurface,
    MonitorsConfig, QxlDevice, QxlInitInfo, SurfaceSpec,
};
use spice_server_core::limits;
use spice_server_core::warning_limited;
use std::any::Any;
use std::sync::Arc;

/// A QXL device over the host's callbacks. Dropping it hands the releases that are still queued to the host, so
/// whatever holds commands must be dropped before.
#[derive(Debug)]
pub struct Device<C: QxlCallbacks> {
    callbacks: C,
    memory: Arc<GuestMemory>,
    releases: Arc<ReleaseQueue>,
    /// Empty, for the next releases.
    spare: Vec<ReleaseInfo>,
    surfaces: u32,
    recorder: Option<Arc<Recorder>>,
}

impl<C: QxlCallbacks> Device<C> {
    /// A device without memslots.
    ///
    /// # Errors
    /// The memslot geometry cannot be served.
    pub fn new(callbacks: C, init: &QxlInitInfo) -> Result<Self, DeviceError> {
        Ok(Self {
            callbacks,
            memory: GuestMemory::new(init)?,
            releases: Arc::default(),
            spare: Vec::new(),
            surfaces: init.n_surfaces.min(limits::MAX_SURFACES),
            recorder: None,
        })
    }

    /// Records this device, unless another one is recorded already.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Option<Arc<Recorder>>) -> Self {
        self.recorder = recorder.filter(|recorder| recorder.claim());
        self
    }

    fn idle<T>(&self) -> Fetched<T> {
        if let Some(recorder) = &self.recorder {
            recorder.flush();
        }
        Fetched::Empty
    }

    fn parser(&self) -> Parser<'_> {
        Parser { memory: &self.memory, releases: &self.releases, surfaces: self.surfaces }
    }
}

impl<C: QxlCallbacks> Drop for Device<C> {
    fn drop(&mut self) {
        self.release_pending();
        // The memory of the slots is promised for the life of the device only.
        self.memory.reset();
    }
}

impl<C: QxlCallbacks> QxlDevice for Device<C> {
    fn next_display_command(&mut self) -> Fetched<DisplayCommand> {
        if self.memory.is_cut_off() {
            return Fetched::Empty;
        }
        match self.callbacks.get_command() {
            None => self.idle(),
            Some(command) => {
                let fetched = self.parse_display_command(command);
                if let (Some(recorder), Fetched::Command(command)) = (&self.recorder, &fetched) {
                    recorder.display_command(command);
                }
                fetched
            }
        }
    }

    fn next_cursor_command(&mut self) -> Fetched<CursorCommand> {
        if self.memory.is_cut_off() {
            return Fetched::Empty;
        }
        match self.callbacks.get_cursor_command() {
            None => self.idle(),
            Some(command) => {
                let fetched = self.parse_cursor_command(command);
                if let (Some(recorder), Fetched::Command(command)) = (&self.recorder, &fetched) {
                    recorder.cursor_command(command);
                }
                fetched
            }
        }
    }

    fn parse_display_command(&mut self, command: CommandExt) -> Fetched<DisplayCommand> {
        self.parser().display_command(command)
    }

    fn parse_cursor_command(&mut self, command: CommandExt) -> Fetched<CursorCommand> {
        self.parser().cursor_command(command)
    }

    fn request_display_notification(&mut self) -> bool {
        self.callbacks.req_cmd_notification()
    }

    fn request_cursor_notification(&mut self) -> bool {
        self.callbacks.req_cursor_notification()
    }

    fn release_pending(&mut self) {
        // The host writes into the guest's memory for each of them.
        if self.memory.is_cut_off() {
            return;
        }
        self.releases.take_into(&mut self.spare);
        for info in self.spare.drain(..) {
            self.callbacks.release_resource(info);
        }
    }

    fn held_bytes(&self) -> usize {
        self.releases.held_bytes()
    }

    fn flush_resources(&mut self) -> i32 {
        if self.memory.is_cut_off() { 0 } else { self.callbacks.flush_resources() }
    }

    fn notify_update(&mut self, update_id: u32) {
        self.callbacks.notify_update(update_id);
    }

    fn async_complete(&mut self, cookie: u64) {
        self.callbacks.async_complete(cookie);
    }

    fn completer(&self) -> Option<Arc<dyn host::Completer>> {
        self.callbacks.completer()
    }

    fn update_area_complete(&mut self, surface_id: u32, dirty: &[Rect]) {
        self.callbacks.update_area_complete(surface_id, dirty);
    }

    fn set_client_capabilities(&mut self, present: bool, caps: &[u8; 58]) {
        if self.callbacks.interface_version() >= (3, 2) {
            self.callbacks.set_client_capabilities(present, caps);
        }
    }

    fn add_memslot(&mut self, slot: Box<dyn host::MemSlot>) -> Result<(), DeviceError> {
        let slot: Box<dyn Any> = slot;
        let slot =
            slot.downcast::<MemSlot>().map_err(|_| DeviceError("not a memslot of this device".into()))?;
        self.memory.add_slot(*slot)
    }

    fn del_memslot(&mut self, group_id: u32, slot_id: u32) {
        if !self.memory.del_slot(group_id, slot_id) {
            warning_limited!("del_memslot: no slot {slot_id} in group {group_id}");
        }
    }

    fn reset_memslots(&mut self) {
        self.memory.reset();
    }

    fn map_surface(&mut self, spec: &SurfaceSpec) -> Result<MappedSurface, DeviceError> {
        parse::map_surface(&self.memory, spec)
    }

    fn read_monitors_config(
        &mut self,
        address: u64,
        group_id: u32,
        max_monitors: u32,
    ) -> Result<MonitorsConfig, DeviceError> {
        parse::monitors_config(&self.memory, address, group_id, max_monitors)
    }

    fn access(&self) -> Option<Arc<dyn GuestAccess>> {
        Some(self.memory.clone())
    }

    fn is_recording(&self) -> bool {
        self.recorder.is_some()
    }

    fn record_request(&mut self, request: u32, primary: Option<(&SurfaceSpec, &dyn ByteSource)>) {
        if let Some(recorder) = &self.recorder {
            recorder.request(request, primary);
        }
    }
}
