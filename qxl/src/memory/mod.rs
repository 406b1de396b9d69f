//! Guest memory: the memslot table, address translation and raw copies (qxl.md A5, B9).
//!
//! All unsafe code that touches guest memory is here. Nothing outside gets a pointer or a reference into it: a
//! [`GuestRange`] names bytes of one slot, and every access asks the table again whether the slot still covers
//! them. So a range may outlive its slot: it then reads as zero and ignores writes, and works again once the host
//! promises the same memory anew.

mod blend;
mod block;
#[cfg(test)]
mod tests;

pub use block::Block;

use spice_server_core::guest::Rows;
use spice_server_core::host::{DeviceError, MemSlot, QxlInitInfo};
use std::fmt;
use std::ptr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Entries of the slot table: the counts come from the host, whose own limits are far lower.
const MAX_TABLE: u64 = 65_536;

/// Why an address is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    #[error("memory group {0} does not exist")]
    Group(u32),
    #[error("address {0:#x} names a slot that does not exist")]
    Slot(u64),
    #[error("address {0:#x} has a stale generation")]
    Generation(u64),
    #[error("{1} bytes at address {0:#x} are outside their slot")]
    Range(u64, u64),
}

/// One memslot. An unused one has `start == end`, so that it covers nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    start: u64,
    end: u64,
    delta: u64,
    generation: u64,
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
    /// A geometry that cannot be served: no groups or slots, more than 63 bits of slot id and generation.
    ///
    /// # Safety
    /// From [`Self::add_slot`] of a range until that slot is deleted or overwritten, every byte of the range that an
    /// address handed to this device leads to is memory that may be read and written, and to which no Rust reference
    /// exists meanwhile.
    pub unsafe fn new(init: &QxlInitInfo) -> Result<Arc<Self>, DeviceError> {
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
    pub fn add_slot(&self, slot: &MemSlot) -> Result<(), DeviceError> {
        let Some(index) = self.index(slot.group_id, slot.slot_id) else {
            return Err(DeviceError(format!(
                "memslot {} of group {} does not exist ({} groups of {})",
                slot.slot_id, slot.group_id, self.groups, self.slots_per_group
            )));
        };
        self.update(index, |entry| {
            *entry = Slot {
                start: slot.virt_start,
                end: slot.virt_end,
                delta: slot.addr_delta,
                generation: u64::from(slot.generation),
            };
        });
        Ok(())
    }

    /// Empties a slot; `false` when there is no such slot. Returns after accesses of other threads have ended.
    pub fn del_slot(&self, group: u32, slot: u32) -> bool {
        let index = self.index(group, slot);
        if let Some(index) = index {
            self.update(index, |entry| (entry.start, entry.end) = (0, 0));
        }
        index.is_some()
    }

    /// Forgets every slot. Returns after accesses of other threads have ended.
    pub fn reset(&self) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).fill(Slot::default());
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
        let entry = table.get(index).copied().unwrap_or_default();
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

/// Bytes of guest memory, in one slot. See the module's text for what happens when the slot goes.
#[derive(Clone)]
pub struct GuestRange {
    memory: Arc<GuestMemory>,
    index: usize,
    host: u64,
    len: usize,
}

impl fmt::Debug for GuestRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestRange({:#x}+{:#x})", self.host, self.len)
    }
}

impl GuestRange {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address in this process, for the host to recognize the memory by.
    #[must_use]
    pub fn host_address(&self) -> u64 {
        self.host
    }

    /// The `len` bytes that begin `offset` bytes after this range's start, which may reach beyond its end as long
    /// as the same slot covers them.
    ///
    /// # Errors
    /// [`MemoryError::Range`].
    pub fn following(&self, offset: u64, len: u64) -> Result<Self, MemoryError> {
        let error = MemoryError::Range(self.host, len);
        let host = self.host.checked_add(offset).ok_or(error)?;
        let bytes = usize::try_from(len).map_err(|_| error)?;
        if !self.memory.table().get(self.index).is_some_and(|slot| slot.covers(host, len)) {
            return Err(error);
        }
        Ok(Self { memory: self.memory.clone(), index: self.index, host, len: bytes })
    }

    /// Bytes from the start of this range to the end of its slot.
    #[must_use]
    pub fn available(&self) -> u64 {
        let table = self.memory.table();
        table.get(self.index).map_or(0, |slot| slot.end.saturating_sub(self.host))
    }

    /// Runs `access` on the address of `offset` if the slot covers `len` bytes there, which lie inside this range.
    /// The table stays locked meanwhile, so that deleting the slot waits for it.
    fn with(&self, offset: usize, len: usize, access: impl FnOnce(*mut u8)) -> bool {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return false;
        }
        let (Ok(offset), Ok(len)) = (u64::try_from(offset), u64::try_from(len)) else { return false };
        let table = self.memory.table();
        let Some(host) = self.host.checked_add(offset) else { return false };
        if !table.get(self.index).is_some_and(|slot| slot.covers(host, len)) {
            return false;
        }
        let Ok(host) = usize::try_from(host) else { return false };
        access(ptr::with_exposed_provenance_mut(host));
        true
    }

    /// Copies bytes out; what is beyond the end, or not there any more, reads as zero.
    pub fn read_at(&self, offset: usize, dst: &mut [u8]) {
        let have = self.len.saturating_sub(offset).min(dst.len());
        let (to, beyond) = dst.split_at_mut(have);
        beyond.fill(0);
        let read = self.with(offset, have, |from| {
            // SAFETY: `with` found `have` bytes at `from` inside a live slot and keeps it alive; the contract of
            // `GuestMemory::new` makes them readable. `to` is memory of ours, which no slot overlaps.
            unsafe { copy(from, to.as_mut_ptr(), to.len()) }
        });
        if !read {
            to.fill(0);
        }
    }

    /// Copies `N` bytes out, once.
    #[must_use]
    pub fn read_array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        self.read_at(offset, &mut bytes);
        bytes
    }

    /// Copies bytes in; ignored unless all of them are inside.
    pub fn write_at(&self, offset: usize, src: &[u8]) {
        self.with(offset, src.len(), |to| {
            // SAFETY: `with` found `src.len()` bytes at `to` inside a live slot and keeps it alive; the contract of
            // `GuestMemory::new` makes them writable. `src` is memory of ours, which no slot overlaps.
            unsafe { copy(src.as_ptr(), to, src.len()) }
        });
    }

    /// Sets `len` bytes; ignored unless all of them are inside.
    pub fn fill(&self, offset: usize, len: usize, value: u8) {
        self.with(offset, len, |to| {
            // SAFETY: `with` found `len` writable bytes at `to` and keeps the slot alive.
            unsafe { ptr::write_bytes(to, value, len) }
        });
    }

    /// Copies inside the range as if through a buffer; ignored unless both ends are inside.
    pub fn copy_within(&self, from: usize, to: usize, len: usize) {
        if to.checked_add(len).is_none_or(|end| end > self.len) {
            return;
        }
        let (low, high) = (from.min(to), from.max(to));
        let Some(span) = (high - low).checked_add(len) else { return };
        self.with(low, span, |base| {
            // In the order in which no piece is overwritten before it is copied.
            let pieces = len.div_ceil(PIECE);
            for n in 0..pieces {
                let at = PIECE * if to <= from { n } else { pieces - 1 - n };
                let part = PIECE.min(len - at);
                // SAFETY: `with` found `span` usable bytes at `base`, which hold both the source and the destination.
                unsafe { ptr::copy(base.add(from - low + at), base.add(to - low + at), part) }
            }
        });
    }

    /// Copies `count` rows of `len` bytes into another range of the same device. `false`: nothing was copied, since not
    /// all of them are there on both sides.
    #[must_use]
    pub fn copy_rows(&self, from: Rows, dst: &Self, to: Rows, len: usize, count: usize) -> bool {
        if !Arc::ptr_eq(&self.memory, &dst.memory) {
            return false;
        }
        // One lock for both: taking the read lock twice could meet a waiting writer in between.
        let table = self.memory.table();
        let base = |range: &Self, rows: Rows| {
            let span = rows.span(count, len)?;
            let (offset, bytes) = (u64::try_from(span.start).ok()?, u64::try_from(span.len()).ok()?);
            let host = range.host.checked_add(offset)?;
            let covered = table.get(range.index).is_some_and(|slot| slot.covers(host, bytes));
            (covered && span.end <= range.len).then(|| usize::try_from(range.host).ok()).flatten()
        };
        let (Some(source), Some(target)) = (base(self, from), base(dst, to)) else { return false };
        let source = ptr::with_exposed_provenance::<u8>(source);
        let target = ptr::with_exposed_provenance_mut::<u8>(target);
        for n in 0..count {
            for at in (0..len).step_by(PIECE) {
                let part = PIECE.min(len - at);
                // SAFETY: all rows of both sides lie inside live slots, which the locked table keeps alive; the contract
                // of `GuestMemory::new` makes them usable. They may overlap, so this is a memmove.
                unsafe { ptr::copy(source.add(from.at(n) + at), target.add(to.at(n) + at), part) }
            }
        }
        true
    }

    /// Fills `count` rows of `len` bytes with the bytes of `pattern`, lowest first, which start anew in each row; ignored
    /// unless all of them are inside.
    pub fn fill_rows(&self, to: Rows, pattern: u64, len: usize, count: usize) {
        let Some(span) = to.span(count, len) else { return };
        self.with(span.start, span.len(), |low| {
            for n in 0..count {
                // SAFETY: `with` found the whole span writable and keeps its slot alive; row `n` begins that far into
                // it and has `len` bytes.
                unsafe { fill(low.add(to.at(n) - span.start), pattern, len) }
            }
        });
    }

    /// Draws premultiplied b, g, r, a pixels times `alpha` over those from `offset` on; ignored unless all of them are
    /// inside.
    pub fn blend(&self, offset: usize, pixels: &[u8], alpha: u8) {
        self.with(offset, pixels.len(), |to| {
            // SAFETY: `with` found `pixels.len()` bytes at `to` inside a live slot and keeps it alive; the contract of
            // `GuestMemory::new` makes them usable.
            unsafe { blend::over(to, pixels, alpha) }
        });
    }
}

/// Bytes that are copied at a time: from 4 KiB on `memcpy` turns to `rep movsb`, which takes three times as long where
/// both sides lie alike within their pages. What overlaps as a whole does not in pieces, so that these go faster, too.
const PIECE: usize = 3840;

/// A bulk copy that the optimizer cannot look into, so that racing guest writes are at worst torn bytes.
///
/// # Safety
/// As [`ptr::copy_nonoverlapping`], except that one side may change meanwhile.
#[inline(never)]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(from, to, len) }
}

/// Writes the bytes of `pattern`, lowest first, again and again; the last time maybe not all of them.
///
/// # Safety
/// `to` is valid for writes of `len` bytes; others may change them meanwhile.
#[inline(never)]
unsafe fn fill(to: *mut u8, pattern: u64, len: usize) {
    let (words, rest) = (len / 8, len % 8);
    // SAFETY: the caller's promise; `rest` bytes remain behind the words.
    unsafe {
        fill_words(to, pattern.to_le(), words);
        ptr::copy_nonoverlapping(pattern.to_le_bytes().as_ptr(), to.add(words * 8), rest);
    }
}

/// Writes a word `count` times.
///
/// # Safety
/// `to` is valid for writes of `8 * count` bytes, which need no alignment.
unsafe fn fill_words(to: *mut u8, word: u64, count: usize) {
    #[cfg(target_arch = "x86_64")]
    if count >= STRING_WORDS {
        // SAFETY: this writes `count` words from `to` on, as the ABI keeps the direction flag clear.
        unsafe {
            std::arch::asm!(
                "rep stosq",
                inout("rcx") count => _,
                inout("rdi") to => _,
                in("rax") word,
                options(nostack, preserves_flags),
            );
        }
        return;
    }
    let to = to.cast::<u64>();
    for n in 0..count {
        // SAFETY: the caller's promise.
        unsafe { to.add(n).write_unaligned(word) }
    }
}

/// Words from which on the string instruction is faster, which writes whole cache lines without reading them.
#[cfg(target_arch = "x86_64")]
const STRING_WORDS: usize = 512;
