//! A guest made of plain memory, for tests, fuzzers and benches: one slot of memory, two rings, and builders for every
//! guest structure. It gives the structures as they are told to, so that hostile ones are as easy as good ones.

#![allow(clippy::expect_used)] // It runs in tests, fuzzers and benches only.

mod callbacks;
pub mod replay;
pub mod samples;
pub mod structures;

pub use crate::bytes::Bytes;
pub use callbacks::{MockCallbacks, MockHost};

use crate::device::Device;
use crate::memory::{Block, MemSlot};
use spice_server_core::host::{CommandExt, QxlDevice, QxlInitInfo, SurfaceSpec};
use std::sync::Arc;

/// Geometry of QEMU's device.
pub const ID_BITS: u8 = 8;
pub const GEN_BITS: u8 = 8;

/// Group and slot of the guest's memory.
pub const GROUP: u32 = 1;
pub const SLOT: u32 = 1;

/// A guest. Memory is handed out from the start and never taken back, unless the whole of it is.
#[derive(Debug)]
pub struct MockGuest {
    memory: Arc<Block>,
    used: usize,
    host: MockHost,
}

impl MockGuest {
    /// A guest with `size` bytes of memory, all zero.
    ///
    /// # Panics
    /// Without so much memory.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self {
            memory: Arc::new(Block::try_zeroed(size).expect("memory")),
            used: 16,
            host: MockHost::default(),
        }
    }

    /// What the device announces.
    #[must_use]
    pub fn init_info() -> QxlInitInfo {
        QxlInitInfo {
            num_memslot_groups: 2,
            num_memslots: 8,
            memslot_gen_bits: GEN_BITS,
            memslot_id_bits: ID_BITS,
            qxl_ram_size: 64 << 20,
            internal_groupslot_id: 0,
            n_surfaces: 1024,
        }
    }

    /// The slot of the guest's memory.
    #[must_use]
    pub fn memslot(&self) -> Box<MemSlot> {
        self.memslot_as(GROUP, SLOT)
    }

    /// The guest's memory under another group and number.
    #[must_use]
    pub fn memslot_as(&self, group_id: u32, slot_id: u32) -> Box<MemSlot> {
        Box::new(MemSlot::of_block(group_id, slot_id, 0, self.memory.clone(), self.memory.address()))
    }

    /// A device on this guest, its slot added.
    ///
    /// # Panics
    /// Never: the geometry is good.
    #[must_use]
    pub fn device(&self) -> Device<MockCallbacks> {
        let callbacks = MockCallbacks { host: self.host.clone(), memory: self.memory.clone() };
        let mut device = Device::new(callbacks, &Self::init_info()).expect("a good geometry");
        device.add_memslot(self.memslot()).expect("an existing slot");
        device
    }

    /// The memory itself, for another processor of the guest that changes it meanwhile.
    #[must_use]
    pub fn memory(&self) -> Arc<Block> {
        self.memory.clone()
    }

    /// The host's side: rings, and what the device told it.
    #[must_use]
    pub fn host(&self) -> &MockHost {
        &self.host
    }

    /// Guest address of an offset into the memory.
    #[must_use]
    pub fn address(offset: usize) -> u64 {
        (u64::from(SLOT) << (64 - u32::from(ID_BITS))) | u64::try_from(offset).unwrap_or(0)
    }

    /// Host address of a guest address, as releases name it.
    #[must_use]
    pub fn host_address(&self, address: u64) -> u64 {
        self.memory.address() + offset_of(address)
    }

    /// Room for `len` bytes; the same room again when memory is used up.
    pub fn alloc(&mut self, len: usize) -> u64 {
        if self.used.saturating_add(len) > self.memory.len() {
            self.used = 16;
        }
        let at = self.used;
        self.used = self.used.saturating_add(len).min(self.memory.len());
        Self::address(at)
    }

    /// Forgets what was handed out.
    pub fn clear(&mut self) {
        self.used = 16;
    }

    /// Bytes handed out so far.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Copies bytes into new room.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        let address = self.alloc(bytes.len());
        self.write(address, bytes);
        address
    }

    /// Changes memory; ignored where there is none.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.memory.write(usize::try_from(offset_of(address)).unwrap_or(usize::MAX), bytes);
    }

    /// Copies memory; zero where there is none.
    #[must_use]
    pub fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(usize::try_from(offset_of(address)).unwrap_or(usize::MAX), &mut bytes);
        bytes
    }

    /// A native command of the guest.
    #[must_use]
    pub fn command(command_type: u32, address: u64) -> CommandExt {
        CommandExt { address, command_type, group_id: GROUP, flags: 0 }
    }

    /// Parameters of a surface with packed 32-bit pixels in new room.
    pub fn surface_spec(&mut self, width: u32, height: u32) -> SurfaceSpec {
        let stride = i32::try_from(width * 4).unwrap_or(0);
        let address = self.alloc(usize::try_from(u64::from(width) * 4 * u64::from(height)).unwrap_or(0));
        SurfaceSpec { width, height, stride, format: 32, keep_data: false, address, group_id: GROUP }
    }
}

fn offset_of(address: u64) -> u64 {
    address & ((1 << (64 - u32::from(ID_BITS) - u32::from(GEN_BITS))) - 1)
}
