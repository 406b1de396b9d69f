//! Memory of this process that a device can see: for the mock guest and for replayed recordings.

use std::alloc::{self, Layout};
use std::ptr::{self, NonNull};

/// Blocks of as many bytes are pages of their own, which the system has back as soon as the block is dropped. The
/// allocator would keep them: it takes sizes that were freed once from its heap, below what came later.
const MAPPED: usize = 1 << 20;

/// A block of memory, accessed by raw copies only, so that a device may use it through its address meanwhile.
#[derive(Debug)]
pub struct Block {
    start: NonNull<u8>,
    layout: Layout,
    len: usize,
}

// SAFETY: the block belongs to this value alone, and no reference into it is ever made; racing copies tear bytes as with
// any guest memory.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// `len` zero bytes, aligned to 16.
    ///
    /// # Errors
    /// `None` when the system has no such block.
    #[must_use]
    pub fn try_zeroed(len: usize) -> Option<Self> {
        let layout = Layout::from_size_align(len.max(1), 16).ok()?;
        let start = if layout.size() >= MAPPED {
            map(layout.size())?
        } else {
            // SAFETY: the layout is not empty.
            NonNull::new(unsafe { alloc::alloc_zeroed(layout) })?
        };
        // Makes the address usable for whoever gets it as a number.
        let _ = start.as_ptr().expose_provenance();
        Some(Self { start, layout, len })
    }

    /// A copy of `bytes`.
    #[must_use]
    pub fn try_copy(bytes: &[u8]) -> Option<Self> {
        let block = Self::try_zeroed(bytes.len())?;
        block.write(0, bytes);
        Some(block)
    }

    /// Its address, by which a device can be told of it as long as it lives.
    #[must_use]
    pub fn address(&self) -> u64 {
        u64::try_from(self.start.as_ptr().addr()).unwrap_or(0)
    }

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

    /// Copies bytes in; ignored unless all of them fit.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        if offset.checked_add(bytes.len()).is_some_and(|end| end <= self.len) {
            // SAFETY: the range is inside of the block, to which no reference exists.
            unsafe { super::raw::write(bytes, self.start.as_ptr().add(offset)) }
        }
    }

    /// Copies bytes out; what is outside reads as zero.
    pub fn read(&self, offset: usize, dst: &mut [u8]) {
        let have = self.len.saturating_sub(offset).min(dst.len());
        let (to, beyond) = dst.split_at_mut(have);
        beyond.fill(0);
        if !to.is_empty() {
            // SAFETY: the range is inside of the block, to which no reference exists.
            unsafe { super::raw::read(self.start.as_ptr().add(offset), to) }
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.layout.size() >= MAPPED {
            // SAFETY: mapped with this size, and unmapped once.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.layout.size()) };
        } else {
            // SAFETY: allocated with this layout, and freed once.
            unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) }
        }
    }
}

/// `len` zero bytes of new pages.
fn map(len: usize) -> Option<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: new pages at a place of the system's choice change nothing that anyone has.
    let start =
        unsafe { libc::mmap(ptr::null_mut(), len, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast()) }
}
