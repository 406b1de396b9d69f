//! The core's view of guest memory: bytes to copy in, surfaces to draw on, and the duty to release every
//! command exactly once. The `qxl` crate implements these traits over raw memory.
//!
//! Guest memory can change at any time. So nothing here returns a reference to it; data are copied between it
//! and the library's own buffers (qxl.md B9).

use crate::blend::over_bytes;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A run of bytes, possibly in guest memory and in several chunks, that reads as one.
///
/// Two reads of the same byte may differ. Reading never fails: bytes that are out of range, or whose memory
/// slot is gone, read as zero.
pub trait ByteSource: Send + Sync + fmt::Debug {
    /// Total length in bytes.
    fn len(&self) -> usize;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `dst.len()` bytes from `offset` on into `dst`.
    fn read_at(&self, offset: usize, dst: &mut [u8]);

    /// Copies rows of `len` bytes into `dst`, where one begins every `pitch` bytes, as far as there is room for whole ones.
    fn read_rows(&self, from: Rows, len: usize, dst: &mut [u8], pitch: usize) {
        for (n, row) in dst.chunks_mut(pitch.max(1)).enumerate() {
            if let Some(row) = row.get_mut(..len) {
                self.read_at(from.at(n), row);
            }
        }
    }

    /// The end offsets of the chunks, ascending, the last one equal to `len()`; empty means one chunk.
    fn chunk_ends(&self) -> &[usize] {
        &[]
    }

    /// The bytes themselves, if they belong to the library and cannot change; `None` for guest memory.
    fn as_private(&self) -> Option<&[u8]> {
        None
    }

    /// The source itself, so that surfaces in the same memory can recognize it and copy directly.
    fn as_any(&self) -> Option<&dyn std::any::Any> {
        None
    }
}

/// The position of a picture's rows in a block of memory.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Offset of the first row.
    pub first: usize,
    /// Bytes from one row to the next; negative if the rows go upward in memory.
    pub pitch: isize,
}

impl Rows {
    /// Offset of row `n`; saturates.
    #[must_use]
    pub fn at(&self, n: usize) -> usize {
        let way = self.pitch.unsigned_abs().saturating_mul(n);
        if self.pitch < 0 { self.first.saturating_sub(way) } else { self.first.saturating_add(way) }
    }

    /// The range from the lowest to the highest byte of `count` rows of `len` bytes. `None` if there are
    /// none, or if it exceeds `usize`.
    #[must_use]
    pub fn span(&self, count: usize, len: usize) -> Option<std::ops::Range<usize>> {
        let way = self.pitch.unsigned_abs().checked_mul(count.checked_sub(1)?)?;
        let low = if self.pitch < 0 { self.first.checked_sub(way)? } else { self.first };
        Some(low..low.checked_add(way)?.checked_add(len)?)
    }
}

impl ByteSource for Vec<u8> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        read_slice(self, offset, dst);
    }

    fn as_private(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// A borrowed slice as a byte source, for encoders that read the library's own buffers.
#[derive(Debug, Clone, Copy)]
pub struct SliceSource<'a>(pub &'a [u8]);

impl ByteSource for SliceSource<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        read_slice(self.0, offset, dst);
    }

    fn as_private(&self) -> Option<&[u8]> {
        Some(self.0)
    }
}

fn read_slice(bytes: &[u8], offset: usize, dst: &mut [u8]) {
    let have = bytes.get(offset..).unwrap_or(&[]);
    let n = have.len().min(dst.len());
    dst[..n].copy_from_slice(&have[..n]);
    dst[n..].fill(0);
}

/// The pixel memory of one surface: a block of `len()` bytes that the guest can see and change.
///
/// Writes outside the block are ignored, and reads there return zero. The canvas computes the addresses of
/// rows.
pub trait SurfaceMemory: Send + fmt::Debug {
    /// Size of the block in bytes.
    fn len(&self) -> usize;

    /// Whether the block is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes out of the block.
    fn read_at(&self, offset: usize, dst: &mut [u8]);

    /// Copies bytes into the block.
    fn write_at(&mut self, offset: usize, src: &[u8]);

    /// Copies `len` bytes inside the block; the ranges may overlap.
    fn copy_within(&mut self, from: usize, to: usize, len: usize);

    /// Copies bytes from a source directly into the block.
    fn write_from(&mut self, offset: usize, source: &dyn ByteSource, source_offset: usize, len: usize) {
        let end = source_offset.saturating_add(len);
        if let Some(bytes) = source.as_private().and_then(|bytes| bytes.get(source_offset..end)) {
            self.write_at(offset, bytes);
            return;
        }
        // Small enough for the first-level cache, and for `memcpy` not to use `rep movsb`.
        let mut buffer = [0u8; 2048];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(buffer.len());
            source.read_at(source_offset + done, &mut buffer[..n]);
            self.write_at(offset + done, &buffer[..n]);
            done += n;
        }
    }

    /// Copies `count` rows of `len` bytes from a source.
    fn write_rows(&mut self, to: Rows, source: &dyn ByteSource, from: Rows, len: usize, count: usize) {
        for n in 0..count {
            self.write_from(to.at(n), source, from.at(n), len);
        }
    }

    /// Fills `count` rows of `len` bytes with the bytes of `pattern`, lowest first. The pattern starts anew
    /// in each row.
    fn fill_rows(&mut self, to: Rows, pattern: u64, len: usize, count: usize) {
        let pattern = pattern.to_le_bytes();
        for n in 0..count {
            for at in (0..len).step_by(pattern.len()) {
                self.write_at(to.at(n).saturating_add(at), &pattern[..pattern.len().min(len - at)]);
            }
        }
    }

    /// Changes `len` bytes in place: `change(at, bytes)` gets consecutive parts of at least 1 KiB, except for
    /// the last one. `at` counts from `offset`.
    fn update(&mut self, offset: usize, len: usize, change: &mut dyn FnMut(usize, &mut [u8])) {
        // Small, so that the processor reads the next part while it computes this one.
        let mut buffer = [0u8; 1024];
        let mut done = 0;
        while done < len {
            let part = (len - done).min(buffer.len());
            let part = &mut buffer[..part];
            self.read_at(offset + done, part);
            change(done, part);
            self.write_at(offset + done, part);
            done += part.len();
        }
    }

    /// Draws premultiplied b, g, r, a pixels, times `alpha`, over the pixels from `offset` on.
    fn blend(&mut self, offset: usize, pixels: &[u8], alpha: u8) {
        self.update(offset, pixels.len(), &mut |at, bytes| {
            over_bytes(bytes, pixels.get(at..at + bytes.len()).unwrap_or_default(), alpha);
        });
    }

    /// The block itself, if only the library uses it; `None` for guest memory.
    fn as_private_mut(&mut self) -> Option<&mut [u8]> {
        None
    }
}

/// Surface memory of the library's own, for tests and for surfaces that no guest sees.
#[derive(Debug, Clone, Default)]
pub struct PrivateSurface(pub Vec<u8>);

impl SurfaceMemory for PrivateSurface {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        read_slice(&self.0, offset, dst);
    }

    fn write_at(&mut self, offset: usize, src: &[u8]) {
        if let Some(to) = self.0.get_mut(offset..).and_then(|rest| rest.get_mut(..src.len())) {
            to.copy_from_slice(src);
        }
    }

    fn copy_within(&mut self, from: usize, to: usize, len: usize) {
        let fits = |start: usize| start.checked_add(len).is_some_and(|end| end <= self.0.len());
        if fits(from) && fits(to) {
            self.0.copy_within(from..from + len, to);
        }
    }

    fn fill_rows(&mut self, to: Rows, pattern: u64, len: usize, count: usize) {
        let pattern = pattern.to_le_bytes();
        for n in 0..count {
            if let Some(row) = self.0.get_mut(to.at(n)..).and_then(|rest| rest.get_mut(..len)) {
                let (whole, rest) = row.as_chunks_mut();
                // Unlike `fill`, the compiler turns this into a loop over wide registers.
                for bytes in whole {
                    *bytes = pattern;
                }
                rest.copy_from_slice(&pattern[..rest.len()]);
            }
        }
    }

    fn update(&mut self, offset: usize, len: usize, change: &mut dyn FnMut(usize, &mut [u8])) {
        if let Some(bytes) = self.0.get_mut(offset..).and_then(|rest| rest.get_mut(..len)) {
            change(0, bytes);
        }
    }

    fn as_private_mut(&mut self) -> Option<&mut [u8]> {
        Some(&mut self.0)
    }
}

/// What the host needs to recycle one command: an address that only the host understands, and the memory
/// group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReleaseInfo {
    /// Host address of the command's release info. The core never dereferences it.
    pub address: u64,
    /// The memslot group of the address.
    pub group_id: u32,
}

/// Commands that are released and wait until the worker returns them to the host.
#[derive(Debug, Default)]
pub struct ReleaseQueue {
    released: Mutex<Vec<ReleaseInfo>>,
    held: AtomicUsize,
}

impl ReleaseQueue {
    /// Takes all queued commands, oldest first.
    pub fn take(&self) -> Vec<ReleaseInfo> {
        std::mem::take(&mut *self.released.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes all queued commands into an empty list. The list's memory serves for later ones.
    pub fn take_into(&self, list: &mut Vec<ReleaseInfo>) {
        list.clear();
        std::mem::swap(list, &mut *self.released.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Bytes of this process that the unreleased commands occupy, as far as their tokens know.
    pub fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn push(&self, info: ReleaseInfo) {
        self.released.lock().unwrap_or_else(PoisonError::into_inner).push(info);
    }
}

/// The duty to release one command. Dropping the token queues the release, so it happens exactly once.
#[derive(Debug)]
pub struct ReleaseToken {
    queue: Arc<ReleaseQueue>,
    info: ReleaseInfo,
    cost: usize,
}

impl ReleaseToken {
    /// A token that puts `info` on `queue` when it is dropped.
    #[must_use]
    pub fn new(queue: Arc<ReleaseQueue>, info: ReleaseInfo) -> Self {
        Self { queue, info, cost: 0 }
    }

    /// Counts `bytes` of copied data as the command's until it is released.
    #[must_use]
    pub fn with_cost(mut self, bytes: usize) -> Self {
        self.add_cost(bytes);
        self
    }

    /// Counts `bytes` more, for a token that is already in place.
    pub fn add_cost(&mut self, bytes: usize) {
        self.queue.held.fetch_add(bytes, Ordering::Relaxed);
        self.cost = self.cost.saturating_add(bytes);
    }

    /// The command that will be released.
    #[must_use]
    pub fn info(&self) -> ReleaseInfo {
        self.info
    }
}

impl Drop for ReleaseToken {
    fn drop(&mut self) {
        self.queue.held.fetch_sub(self.cost, Ordering::Relaxed);
        self.queue.push(self.info);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::ByteSource;

    /// Bytes that count as a guest's: nobody may look at them in place.
    #[derive(Debug)]
    pub(crate) struct GuestBytes(pub Vec<u8>);

    impl ByteSource for GuestBytes {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn read_at(&self, offset: usize, dst: &mut [u8]) {
            self.0.read_at(offset, dst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_beyond_the_end_give_zero() {
        let mut dst = [7u8; 4];
        vec![1u8, 2].read_at(1, &mut dst);
        assert_eq!(dst, [2, 0, 0, 0]);
    }

    #[test]
    fn dropping_a_token_releases_once() {
        let queue = Arc::new(ReleaseQueue::default());
        let info = ReleaseInfo { address: 8, group_id: 1 };
        let token = ReleaseToken::new(queue.clone(), info).with_cost(7);
        assert_eq!(queue.held_bytes(), 7);
        drop(token);
        assert_eq!(queue.held_bytes(), 0);
        assert_eq!(queue.take(), vec![info]);
        assert!(queue.take().is_empty());
    }

    #[test]
    fn writes_outside_a_surface_are_ignored() {
        let mut s = PrivateSurface(vec![0; 4]);
        s.write_at(3, &[1, 2]);
        s.copy_within(0, 3, 2);
        assert_eq!(s.0, [0; 4]);
    }
}
