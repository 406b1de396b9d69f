//! Guest memory: the memslot table, address translation and raw accesses (qxl.md A5, B9).
//!
//! All unsafe code that touches guest memory is here. Nothing outside gets a pointer or a reference into it: a
//! [`GuestRange`] names bytes of one slot, and every access asks the table again whether the slot still covers
//! them. So a range may outlive its slot: it then reads as zero and ignores writes, and works again once the host
//! promises the same memory anew.
//!
//! - `slot.rs`: [`MemSlot`], the proof that memory may be accessed. Only unsafe code makes one for memory of the host.
//! - `range.rs`: [`GuestRange`].
//! - `raw.rs`, `blend.rs`: the accesses themselves.
//! - `block.rs`: [`Block`], memory of ours that is accessed like a guest's.
//!
//! # Memory that others write
//!
//! The virtual processors of the guest, its devices and other threads of the host may write to the memory while we access
//! it. Rust's memory model has no name for that: by its letter a race with a plain access is undefined behaviour, whatever
//! the other side is. Like the crate vm-memory, which virtual machine monitors use, we rely on the following:
//!
//! - No reference to guest memory ever exists, so that the compiler may assume nothing about its content.
//! - Whatever decides something (types, lengths, counts, addresses) is copied out first, and code looks at the copy alone.
//!   Reads of up to 8 bytes are volatile: each byte is read exactly once, aligned fields by one load. Longer reads are
//!   one `memcpy` behind a call that is not inlined, so that the compiler cannot read the source a second time.
//! - Everything else moves pixels inside of guest memory (fills, copies, blends) by plain or vector accesses. A pixel
//!   decides nothing, so what a race can do is to spoil pixels, which the guest could do anyway.
//!
//! Memory that goes away under an access is the host's matter: deleting a slot waits for accesses, and a host that unmaps
//! memory of a slot breaks its promise.

mod blend;
mod block;
mod range;
mod raw;
mod slot;
#[cfg(test)]
mod tests;

pub use block::Block;
pub use range::GuestRange;
pub use slot::MemSlot;

use spice_server_core::host::{DeviceError, GuestAccess, QxlInitInfo};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Entries of the slot table: the counts come from the host, whose own limits are far lower.
const MAX_TABLE: u64 = 65_536;

/// Why an address is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The group.
    #[error("memory group {0} does not exist")]
    Group(u32),
    /// The address.
    #[error("address {0:#x} names a slot that does not exist")]
    Slot(u64),
    /// The address.
    #[error("address {0:#x} has a stale generation")]
    Generation(u64),
    /// The address and the number of bytes.
    #[error("{1} bytes at address {0:#x} are outside their slot")]
    Range(u64, u64),
}

/// An entry of the slot table. An unused one has `start == end`, so that it covers nothing.
#[derive(Clone, Debug, Default)]
struct Slot {
    start: u64,
    end: u64,
    delta: u64,
    generation: u64,
    /// Keeps the memory, where it is ours.
    _block: Option<Arc<Block>>,
}

impl Slot {
    /// Whether addresses are pointers of the host's own process: the slot is all of its memory, in place.
    fn is_identity(&self) -> bool {
        (self.start, self.end, self.delta) == (0, u64::MAX, 0)
    }

    fn covers(&self, host: u64, len: u64) -> bool {
        self.start < self.end
            && self.start <= host
            && host.checked_add(len).is_some_and(|end| end <= self.end)
    }
}

/// The memslots of one device.
pub struct GuestMemory {
    groups: u32,
    slots_per_group: u32,
    id_bits: u32,
    gen_bits: u32,
    table: RwLock<Vec<Slot>>,
    /// How often the device was cut off from the guest. Changes while the table is locked.
    cut_off: AtomicU32,
}

impl fmt::Debug for GuestMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestMemory")
            .field("groups", &self.groups)
            .field("slots_per_group", &self.slots_per_group)
            .finish_non_exhaustive()
    }
}

/// The lowest `count` bits set (`count` <= 64).
fn low_mask(count: u32) -> u64 {
    1u64.checked_shl(count).map_or(u64::MAX, |bit| bit - 1)
}

impl GuestMemory {
    /// An empty table of the geometry that the device announced.
    ///
    /// # Errors
    /// The geometry cannot be served: no groups or slots, or more than 63 bits of slot id and generation.
    pub fn new(init: &QxlInitInfo) -> Result<Arc<Self>, DeviceError> {
        let (id_bits, gen_bits) = (u32::from(init.memslot_id_bits), u32::from(init.memslot_gen_bits));
        if id_bits + gen_bits >= 64 {
            return Err(DeviceError(format!(
                "{id_bits} slot and {gen_bits} generation bits leave no address"
            )));
        }
        let size = u64::from(init.num_memslot_groups) * u64::from(init.num_memslots);
        if size == 0 || size > MAX_TABLE {
            return Err(DeviceError(format!(
                "unusable memory geometry: {} groups of {} slots",
                init.num_memslot_groups, init.num_memslots
            )));
        }
        Ok(Arc::new(Self {
            groups: init.num_memslot_groups,
            slots_per_group: init.num_memslots,
            id_bits,
            gen_bits,
            table: RwLock::new(vec![Slot::default(); usize::try_from(size).unwrap_or(0)]),
            cut_off: AtomicU32::new(0),
        }))
    }

    fn table(&self) -> RwLockReadGuard<'_, Vec<Slot>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self, group: u32, slot: u32) -> Option<usize> {
        let index = u64::from(group) * u64::from(self.slots_per_group) + u64::from(slot);
        (group < self.groups && slot < self.slots_per_group).then(|| usize::try_from(index).ok()).flatten()
    }

    /// Sets a slot, overwriting what it was.
    ///
    /// # Errors
    /// Group or slot outside the geometry; nothing changes then.
    pub fn add_slot(&self, slot: MemSlot) -> Result<(), DeviceError> {
        let Some(index) = self.index(slot.group_id, slot.slot_id) else {
            return Err(DeviceError(format!(
                "memslot {} of group {} does not exist ({} groups of {})",
                slot.slot_id, slot.group_id, self.groups, self.slots_per_group
            )));
        };
        self.update(index, |entry| {
            *entry = Slot {
                start: slot.range.start,
                end: slot.range.end,
                delta: slot.addr_delta,
                generation: u64::from(slot.generation),
                _block: slot.block,
            };
        });
        Ok(())
    }

    /// Empties a slot; `false` when there is no such slot. Returns after accesses of other threads have ended.
    pub fn del_slot(&self, group: u32, slot: u32) -> bool {
        let index = self.index(group, slot);
        if let Some(index) = index {
            self.update(index, |entry| (entry.start, entry.end, entry._block) = (0, 0, None));
        }
        index.is_some()
    }

    /// Forgets every slot. Returns after accesses of other threads have ended.
    pub fn reset(&self) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).fill(Slot::default());
    }

    /// Whether no memory may be touched, although slots cover it.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::SeqCst) > 0
    }

    fn update(&self, index: usize, change: impl FnOnce(&mut Slot)) {
        if let Some(entry) = self.table.write().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            change(entry);
        }
    }

    /// Translates an address of `group` that must be valid for `len` bytes.
    ///
    /// Where the group's first slot is all memory in place, as hosts set it up for commands of their own, addresses are
    /// pointers: none of their bits is taken for a slot or a generation, since ARM's TBI, AMD's UAI and Intel's LAM
    /// let pointers carry tags there.
    ///
    /// # Errors
    /// Everything that qxl.md A5 calls invalid.
    pub fn resolve(self: &Arc<Self>, group: u32, address: u64, len: u64) -> Result<GuestRange, MemoryError> {
        let bytes = usize::try_from(len).map_err(|_| MemoryError::Range(address, len))?;
        let first = self.index(group, 0).ok_or(MemoryError::Group(group))?;
        let table = self.table();
        if let Some(entry) = table.get(first).filter(|slot| slot.is_identity()) {
            if !entry.covers(address, len) {
                return Err(MemoryError::Range(address, len));
            }
            return Ok(GuestRange { memory: self.clone(), index: first, host: address, len: bytes });
        }
        let slot = if self.id_bits == 0 { 0 } else { address >> (64 - self.id_bits) };
        let generation = (address >> (64 - self.id_bits - self.gen_bits).min(63)) & low_mask(self.gen_bits);
        let offset = address & low_mask(64 - self.id_bits - self.gen_bits);
        let index = u32::try_from(slot).ok().and_then(|slot| self.index(group, slot));
        let index = index.ok_or(MemoryError::Slot(address))?;
        let entry = table.get(index).ok_or(MemoryError::Slot(address))?;
        if entry.generation != generation {
            return Err(MemoryError::Generation(address));
        }
        let host = offset.wrapping_add(entry.delta);
        if !entry.covers(host, len) {
            return Err(MemoryError::Range(address, len));
        }
        Ok(GuestRange { memory: self.clone(), index, host, len: bytes })
    }
}

impl GuestAccess for GuestMemory {
    fn cut_off(&self) {
        let _table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        self.cut_off.fetch_add(1, Ordering::SeqCst);
    }

    fn restore(&self) {
        let _table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let _ = self.cut_off.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1));
    }
}
