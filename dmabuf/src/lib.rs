//! Memory of a screen that the host gives away as a descriptor, mapped to be read.
//!
//! The memory is somebody else's: a GPU or the guest may change it at any time. So nothing here gives a reference to it;
//! bytes are copied out, each of them once. And it must not go away: a file that somebody shortens would end the
//! process with SIGBUS. So only dmabufs, whose size never changes, and memory files that are sealed against shrinking are
//! mapped.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use thiserror::Error;

/// `DMA_BUF_IOCTL_SYNC` of linux/dma-buf.h: `_IOW('b', 0, struct dma_buf_sync)`, a structure of one 64-bit field.
const SYNC: libc::c_ulong = 0x4008_6200;
const SYNC_READ: u64 = 1;
const SYNC_END: u64 = 4;

/// Why memory cannot be read.
#[derive(Debug, Error)]
pub enum Error {
    /// Neither a dmabuf nor a memory file that is sealed against shrinking.
    #[error("it is neither a dmabuf nor a memory file that is sealed against shrinking")]
    NotStable,
    /// The memory ends before the bytes that are wanted.
    #[error("it has {has} bytes, not {needs}")]
    TooShort {
        /// Bytes that there are.
        has: u64,
        /// Where the bytes end that are wanted.
        needs: u64,
    },
    /// The kernel's reason.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Some bytes of such memory, mapped to be read.
#[derive(Debug)]
pub struct Mapping {
    fd: OwnedFd,
    base: NonNull<u8>,
    /// Bytes that are mapped, from the page that `start` is in.
    mapped: usize,
    /// Where the wanted bytes begin.
    start: usize,
    len: usize,
    is_dmabuf: bool,
}

// SAFETY: the mapping belongs to the process and not to a thread, and this value alone unmaps it.
unsafe impl Send for Mapping {}
// SAFETY: all methods only read, each byte by copies that tolerate changes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes from `offset` on.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(fd: BorrowedFd<'_>, offset: u64, len: usize) -> Result<Self, Error> {
        let fd = fd.try_clone_to_owned()?;
        let is_dmabuf = sync(fd.as_fd(), SYNC_READ).is_ok();
        if is_dmabuf {
            let _ = sync(fd.as_fd(), SYNC_READ | SYNC_END);
        } else if !is_sealed(fd.as_fd()) {
            return Err(Error::NotStable);
        }
        let has = size(fd.as_fd())?;
        let needs = offset.saturating_add(len as u64);
        if len == 0 || needs > has {
            return Err(Error::TooShort { has, needs });
        }
        let page = page_size();
        let start = (offset % page) as usize;
        let mapped = start.checked_add(len).ok_or(Error::TooShort { has, needs })?;
        let from =
            libc::off_t::try_from(offset - offset % page).map_err(|_| Error::TooShort { has, needs })?;
        // SAFETY: the kernel chooses the place, so the new mapping replaces no other. The descriptor is open.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), mapped, libc::PROT_READ, libc::MAP_SHARED, fd.as_raw_fd(), from)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error().into());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { fd, base, mapped, start, len, is_dmabuf })
    }

    /// Bytes that can be read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none, which never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes what devices have written visible, as long as the result lives.
    #[must_use]
    pub fn begin(&self) -> Access<'_> {
        if self.is_dmabuf {
            // Without it, pixels may be old; they are read again at the next change.
            let _ = sync(self.fd.as_fd(), SYNC_READ);
        }
        Access(self)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, which nobody else knows.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}

/// The time in which a [`Mapping`] is read.
#[derive(Debug)]
pub struct Access<'a>(&'a Mapping);

impl Access<'_> {
    /// Copies bytes from `offset` on; those beyond the end are zero.
    pub fn read_at(&self, offset: usize, dst: &mut [u8]) {
        let Self(mapping) = self;
        let inside = mapping.len.saturating_sub(offset).min(dst.len());
        if inside > 0 {
            // SAFETY: `offset + inside` is at most `len`, and the mapping has `start + len` bytes; `dst` is ours and lies
            // elsewhere. The file cannot shrink (see the module). A device or the guest may write to the source meanwhile:
            // the copy then has bytes of before and after, each of which is a valid part of a pixel.
            unsafe {
                let from = mapping.base.as_ptr().add(mapping.start + offset);
                std::ptr::copy_nonoverlapping(from.cast_const(), dst.as_mut_ptr(), inside);
            }
        }
        if let Some(beyond) = dst.get_mut(inside..) {
            beyond.fill(0);
        }
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        if self.0.is_dmabuf {
            let _ = sync(self.0.fd.as_fd(), SYNC_READ | SYNC_END);
        }
    }
}

fn sync(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    loop {
        // SAFETY: the request reads one 64-bit field at the address, which lives until the call returns.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), SYNC, &raw const flags) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Whether it is a memory file that cannot be shortened.
fn is_sealed(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: the call takes any descriptor and touches no memory.
    let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & libc::F_SEAL_SHRINK != 0
}

fn size(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: the call takes any descriptor and touches no memory. The position means nothing for such memory.
    let end = unsafe { libc::lseek(fd.as_raw_fd(), 0, libc::SEEK_END) };
    u64::try_from(end).map_err(|_| io::Error::last_os_error())
}

fn page_size() -> u64 {
    // SAFETY: the call has no conditions.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::FromRawFd;

    fn memory_file(bytes: &[u8], sealed: bool) -> File {
        // SAFETY: the name ends with NUL; the new descriptor is ours.
        let mut file = unsafe {
            let fd = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
            assert!(fd >= 0);
            File::from_raw_fd(fd)
        };
        file.write_all(bytes).unwrap();
        if sealed {
            // SAFETY: the call touches no memory.
            assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) }, 0);
        }
        file
    }

    #[test]
    fn bytes_at_any_offset_are_read_as_they_are_now() {
        let bytes: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8).collect();
        let mut file = memory_file(&bytes, true);
        for (offset, len) in [(0, 10_000), (1, 9_999), (4096, 5904), (5000, 3), (9_999, 1)] {
            let mapping = Mapping::new(file.as_fd(), offset, len).unwrap();
            assert_eq!(mapping.len(), len);
            let mut read = vec![0xee; len + 2];
            mapping.begin().read_at(0, &mut read);
            let start = offset as usize;
            assert_eq!(read, [&bytes[start..start + len], &[0, 0]].concat());
            mapping.begin().read_at(len, &mut read);
            assert!(read.iter().all(|&b| b == 0));
        }
        let mapping = Mapping::new(file.as_fd(), 0, 10_000).unwrap();
        file.write_all(b"more").unwrap();
        let file = file.try_clone().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"new", 0).unwrap();
        let mut read = [0; 3];
        mapping.begin().read_at(0, &mut read);
        assert_eq!(&read, b"new");
    }

    #[test]
    fn what_is_too_short_or_may_shrink_is_refused() {
        let sealed = memory_file(&[7; 100], true);
        for (offset, len) in [(0, 101), (100, 1), (u64::MAX, 1), (1 << 40, 5), (0, 0), (1, usize::MAX)] {
            let refused = Mapping::new(sealed.as_fd(), offset, len);
            assert!(matches!(refused, Err(Error::TooShort { has: 100, .. })), "{offset} {len}");
        }
        let file = memory_file(&[7; 100], false);
        assert!(matches!(Mapping::new(file.as_fd(), 0, 100), Err(Error::NotStable)));
        let (pipe, _other) = std::io::pipe().unwrap();
        assert!(matches!(Mapping::new(pipe.as_fd(), 0, 100), Err(Error::NotStable)));
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(Mapping::new(null.as_fd(), 0, 100), Err(Error::NotStable)));
    }
}
