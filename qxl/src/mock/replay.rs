//! A host that replays a recording on a device, for tests, fuzzers and benches.

use super::{MockCallbacks, MockHost};
use crate::device::Device;
use crate::memory::{Block, MemSlot};
use crate::record::Recorder;
use crate::replay::{Replay, ReplayError, ReplayHost, ReplayPrimary};
use spice_server_core::host::{CursorCommand, DisplayCommand, Fetched, QxlDevice, QxlInitInfo, SurfaceSpec};
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

/// A device whose only slot covers all memory, as plain addresses need it, fed from a recording.
#[derive(Debug)]
pub struct Replayer {
    pub device: Device<MockCallbacks>,
    pub host: MockHost,
    replay: Replay,
    /// Command address by the address that its release names.
    released_as: HashMap<u64, u64>,
    /// The last primary surface, and what became of it.
    pub primary: Option<SurfaceSpec>,
    pub pushed: usize,
    pub freed: usize,
}

/// What a recording gives next.
#[derive(Debug)]
pub enum Next {
    Display(Fetched<DisplayCommand>),
    Cursor(Fetched<CursorCommand>),
}

struct Requests<'a> {
    device: &'a mut Device<MockCallbacks>,
    primary: &'a mut Option<SurfaceSpec>,
}

impl ReplayHost for Requests<'_> {
    fn create_primary(&mut self, primary: &ReplayPrimary) {
        *self.primary = Some(primary.spec);
        if let Ok(surface) = self.device.map_surface(&SurfaceSpec { keep_data: true, ..primary.spec }) {
            let mut pixels = vec![0; surface.memory.len()];
            surface.memory.read_at(0, &mut pixels);
            self.device
                .record_request(crate::record::request::CREATE_PRIMARY, Some((&primary.spec, &pixels)));
        }
    }

    fn destroy_primary(&mut self) {
        *self.primary = None;
        self.device.record_request(crate::record::request::DESTROY_PRIMARY, None);
    }

    fn destroy_surfaces(&mut self) {
        self.device.record_request(crate::record::request::DESTROY_SURFACES, None);
    }
}

impl Replayer {
    /// Begins the replay, recording it once more if wanted.
    ///
    /// # Errors
    /// Not a recording.
    ///
    /// # Panics
    /// Never: the geometry is good.
    pub fn new(input: Box<dyn Read + Send>, recorder: Option<Arc<Recorder>>) -> Result<Self, ReplayError> {
        let replay = Replay::new(input, 1024)?;
        let host = MockHost::default();
        let memory = Arc::new(Block::try_zeroed(0).expect("memory"));
        let callbacks = MockCallbacks { host: host.clone(), memory };
        let init = QxlInitInfo {
            num_memslot_groups: 1,
            num_memslots: 1,
            memslot_gen_bits: 1,
            memslot_id_bits: 1,
            n_surfaces: 1024,
            ..QxlInitInfo::default()
        };
        let mut device = Device::new(callbacks, &init).expect("a good geometry").with_recorder(recorder);
        // SAFETY: the device is handed addresses of the replay's blocks alone, which exist until their command is freed, and
        // that happens only when the device has released it.
        let everything = unsafe { MemSlot::promised(0, 0, 0, 0..u64::MAX, 0) };
        device.add_memslot(Box::new(everything)).expect("an existing slot");
        Ok(Self { device, host, replay, released_as: HashMap::new(), primary: None, pushed: 0, freed: 0 })
    }

    /// The next command, parsed; `None` at the end.
    pub fn next_command(&mut self) -> Option<Next> {
        let mut requests = Requests { device: &mut self.device, primary: &mut self.primary };
        let address = self.replay.next_command(&mut requests)?;
        let ext = self.replay.command_ext(address)?;
        self.released_as.insert(ext.address, address);
        self.pushed += 1;
        Some(if ext.command_type == crate::parse::command_type::CURSOR {
            self.host.push_cursor(ext);
            Next::Cursor(self.device.next_cursor_command())
        } else {
            self.host.push(ext);
            Next::Display(self.device.next_display_command())
        })
    }

    /// Frees what the device has released.
    ///
    /// # Panics
    /// When a command was released twice.
    pub fn free_released(&mut self) {
        self.device.release_pending();
        for info in self.host.take_released() {
            let address = self.released_as.remove(&info.address).expect("released once");
            self.replay.free_command(address);
            self.freed += 1;
        }
    }
}
