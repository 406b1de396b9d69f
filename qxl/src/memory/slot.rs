//! Memslots: which memory a device may access.

use super::Block;
use spice_server_core::host;
use std::ops::Range;
use std::sync::Arc;

/// A range of this process's memory for a device to add to its table (QXLDevMemSlot, qxl.md A5). Having one is the proof
/// that the memory may be accessed, so safe code cannot make one for memory of others. It is not `Clone`: one promise of
/// the host adds one slot.
#[derive(Debug)]
pub struct MemSlot {
    pub(super) group_id: u32,
    pub(super) slot_id: u32,
    pub(super) generation: u32,
    pub(super) range: Range<u64>,
    pub(super) addr_delta: u64,
    pub(super) block: Option<Arc<Block>>,
}

impl host::MemSlot for MemSlot {}

impl MemSlot {
    /// A slot of memory that the caller answers for. `range` holds addresses of this process; a guest address of `slot_id`
    /// and `generation` names the byte that is its offset plus `addr_delta`.
    ///
    /// # Safety
    /// Until the slot is deleted or overwritten in the device that takes it, or that device is dropped: every byte of
    /// `range` to which an address handed to the device leads is memory that may be read and written, and to which no Rust
    /// reference exists. (A host that makes its own commands may give its whole address space as one slot; then the promise
    /// is about the addresses that it hands to the device.)
    #[must_use]
    pub unsafe fn promised(
        group_id: u32,
        slot_id: u32,
        generation: u32,
        range: Range<u64>,
        addr_delta: u64,
    ) -> Self {
        Self { group_id, slot_id, generation, range, addr_delta, block: None }
    }

    /// A slot that is all of a block of ours, which the table keeps for as long as it has the slot.
    #[must_use]
    pub fn of_block(
        group_id: u32,
        slot_id: u32,
        generation: u32,
        block: Arc<Block>,
        addr_delta: u64,
    ) -> Self {
        let start = block.address();
        let range = start..start + u64::try_from(block.len()).unwrap_or(0);
        Self { group_id, slot_id, generation, range, addr_delta, block: Some(block) }
    }
}
