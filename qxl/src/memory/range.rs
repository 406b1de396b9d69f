//! A part of guest memory, and the accesses to it.

use super::{GuestMemory, MemoryError, blend, raw};
use spice_server_core::guest::Rows;
use std::fmt;
use std::ptr;
use std::sync::Arc;

/// Bytes of guest memory, in one slot. When the slot goes, they read as zero and ignore writes.
#[derive(Clone)]
pub struct GuestRange {
    pub(super) memory: Arc<GuestMemory>,
    pub(super) index: usize,
    pub(super) host: u64,
    pub(super) len: usize,
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

    /// Calls `access` with the address of `offset` if `len` bytes from there on lie inside of this range and its slot still
    /// covers them. The table stays locked meanwhile, so that whoever deletes the slot waits.
    fn with(&self, offset: usize, len: usize, access: impl FnOnce(*mut u8)) -> bool {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return false;
        }
        let (Ok(offset), Ok(len)) = (u64::try_from(offset), u64::try_from(len)) else { return false };
        let table = self.memory.table();
        if self.memory.is_cut_off() {
            return false;
        }
        let Some(host) = self.host.checked_add(offset) else { return false };
        if !table.get(self.index).is_some_and(|slot| slot.covers(host, len)) {
            return false;
        }
        let Ok(host) = usize::try_from(host) else { return false };
        access(ptr::with_exposed_provenance_mut(host));
        true
    }

    /// Copies bytes out, each read once. What is beyond the end, or not there any more, reads as zero.
    pub fn read_at(&self, offset: usize, dst: &mut [u8]) {
        let have = self.len.saturating_sub(offset).min(dst.len());
        let (to, beyond) = dst.split_at_mut(have);
        // Most reads are of whole rows, and the call costs as much as a short one.
        if !beyond.is_empty() {
            beyond.fill(0);
        }
        let read = self.with(offset, have, |from| {
            // SAFETY: `with` found `have` bytes at `from` inside of a slot and keeps the slot; who made it promised that
            // they may be read and that no reference to them exists.
            unsafe { raw::read(from, to) }
        });
        if !read {
            to.fill(0);
        }
    }

    /// Copies rows of `len` bytes out, to where one begins every `pitch` bytes of `dst`, as far as there is room for whole ones. What
    /// is beyond the end, or not there any more, reads as zero. The table is locked once for all of them.
    pub fn read_rows(&self, from: Rows, len: usize, dst: &mut [u8], pitch: usize) {
        let pitch = pitch.max(1);
        let count =
            dst.len() / pitch * usize::from(len <= pitch) + usize::from(dst.len() % pitch >= len.max(1));
        let Some(span) = from.span(count, len).filter(|span| span.end <= self.len) else {
            for (n, row) in whole_rows(dst, len, pitch).enumerate() {
                self.read_at(from.at(n), row);
            }
            return;
        };
        let read = self.with(span.start, span.len(), |low| {
            for (n, row) in whole_rows(dst, len, pitch).enumerate() {
                // SAFETY: `with` found the span of all `count` rows inside of a slot and keeps the slot; row `n` begins that far
                // into the span and has `len` bytes. Who made the slot promised that they may be read and that no reference to
                // them exists.
                unsafe { raw::read(low.add(from.at(n) - span.start), row) }
            }
        });
        if !read {
            whole_rows(dst, len, pitch).for_each(|row| row.fill(0));
        }
    }

    /// Copies `N` bytes out, each read once. Up to 8 bytes that are aligned are read by one load.
    #[must_use]
    pub fn read_array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        self.read_at(offset, &mut bytes);
        bytes
    }

    /// Copies bytes in; ignored unless all of them are inside.
    pub fn write_at(&self, offset: usize, src: &[u8]) {
        self.with(offset, src.len(), |to| {
            // SAFETY: `with` found `src.len()` bytes at `to` inside of a slot and keeps the slot; who made it promised
            // that they may be written and that no reference to them exists.
            unsafe { raw::write(src, to) }
        });
    }

    /// Sets `len` bytes; ignored unless all of them are inside.
    pub fn fill(&self, offset: usize, len: usize, value: u8) {
        self.with(offset, len, |to| {
            // SAFETY: `with` found `len` bytes at `to` inside of a slot and keeps the slot; who made it promised that they
            // may be written.
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
            let pieces = len.div_ceil(raw::PIECE);
            for n in 0..pieces {
                let at = raw::PIECE * if to <= from { n } else { pieces - 1 - n };
                let part = raw::PIECE.min(len - at);
                // SAFETY: `with` found `span` bytes at `base` inside of a slot, which hold source and destination; who made
                // the slot promised that they may be read and written. They may overlap, so this is a memmove.
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
        if self.memory.is_cut_off() {
            return false;
        }
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
            for at in (0..len).step_by(raw::PIECE) {
                let part = raw::PIECE.min(len - at);
                // SAFETY: all rows of both sides lie inside of slots, which the locked table keeps; who made the slots
                // promised that they may be read and written. They may overlap, so this is a memmove.
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
                // SAFETY: `with` found the whole span inside of a slot and keeps the slot, which is promised to be
                // writable; row `n` begins that far into the span and has `len` bytes.
                unsafe { raw::fill(low.add(to.at(n) - span.start), pattern, len) }
            }
        });
    }

    /// Draws premultiplied b, g, r, a pixels times `alpha` over those from `offset` on; ignored unless all of them are
    /// inside.
    pub fn blend(&self, offset: usize, pixels: &[u8], alpha: u8) {
        self.with(offset, pixels.len(), |to| {
            // SAFETY: `with` found `pixels.len()` bytes at `to` inside of a slot and keeps the slot; who made it promised
            // that they may be read and written.
            unsafe { blend::over(to, pixels, alpha) }
        });
    }
}

/// Rows of `len` bytes, one every `pitch` bytes; none if they would overlap.
fn whole_rows(bytes: &mut [u8], len: usize, pitch: usize) -> impl Iterator<Item = &mut [u8]> {
    bytes.chunks_mut(pitch).filter_map(move |row| row.get_mut(..len))
}
