//! Gives memory that nobody uses back to the system, with the C library that has functions for that.

/// Tells the core how, once per process.
pub(crate) fn install() {
    #[cfg(target_env = "gnu")]
    spice_server_core::memory::set_trim(gnu::trim);
}

#[cfg(target_env = "gnu")]
mod gnu {
    use std::ffi::c_void;

    /// Bytes of a piece in [`clear_own_arena`]. The allocator takes blocks of less than 128 KiB from its arenas in any case.
    const PIECE: usize = 120 << 10;
    /// Free memory beyond this is not looked for: it would take long.
    const MOST: usize = 512 << 20;
    const PAGE: usize = 4096;

    pub(super) fn trim() {
        clear_own_arena();
        // SAFETY: the function only looks at free memory of the allocator, under the allocator's own locks. Any thread may
        // call it.
        let _ = unsafe { libc::malloc_trim(0) };
    }

    /// Gives back what the arena of this thread has free at its end, up to 64 MiB: `malloc_trim` leaves that as it is, except
    /// in the arena of the main thread. Takes what is free in pieces, tells the system that their pages are not needed, and
    /// frees them again.
    fn clear_own_arena() {
        let Some(free) = free_bytes() else { return };
        let mut pieces: Vec<*mut c_void> = Vec::new();
        if pieces.try_reserve_exact(free.min(MOST) / PIECE).is_err() {
            return;
        }
        while pieces.len() < pieces.capacity() {
            // SAFETY: malloc may be called with any size.
            let piece = unsafe { libc::malloc(PIECE) };
            if piece.is_null() {
                break;
            }
            pieces.push(piece);
            let skipped = piece.cast::<u8>().align_offset(PAGE);
            let pages = (PIECE - skipped) / PAGE * PAGE;
            // SAFETY: `skipped` is below PAGE and so within the block that malloc gave us, and so are the `pages` bytes after
            // it. Nobody but us knows of them, and nothing reads them: that they lose their content changes nothing.
            let done = unsafe { libc::madvise(piece.byte_add(skipped), pages, libc::MADV_DONTNEED) };
            if done != 0 {
                break; // a process whose memory is locked
            }
        }
        for piece in pieces.into_iter().rev() {
            // SAFETY: malloc gave us this block, and it is freed once.
            unsafe { libc::free(piece) };
        }
    }

    /// Bytes that all arenas have free, if the C library is new enough to say.
    fn free_bytes() -> Option<usize> {
        // SAFETY: looking a name up among the libraries that are loaded has no effect on them.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
        if found.is_null() {
            return None;
        }
        // SAFETY: a symbol of this name is the C library's function, whose C type this is since it first came with glibc 2.33.
        let mallinfo2: extern "C" fn() -> libc::mallinfo2 = unsafe { std::mem::transmute(found) };
        // The function only counts, under the allocator's own locks.
        Some(mallinfo2().fordblks)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::io::Read;

        /// Takes nothing from the allocator, so that nothing lies between what is freed and the end of the arena.
        fn resident() -> usize {
            let mut text = [0; 128];
            let length = std::fs::File::open("/proc/self/statm").unwrap().read(&mut text).unwrap();
            let text = std::str::from_utf8(&text[..length]).unwrap();
            text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE
        }

        /// As a worker that has drawn many surfaces.
        #[test]
        fn a_thread_gives_back_what_it_has_freed() {
            let size = 1 << 20;
            std::thread::spawn(move || {
                // Since a block of 31 MiB was freed, the allocator keeps the like of it.
                drop(std::hint::black_box(vec![1_u8; 31 << 20]));
                let gives_back = || {
                    let used: Vec<Vec<u8>> = (0..48).map(|_| vec![1; size]).collect();
                    let before = resident();
                    drop(std::hint::black_box(used));
                    trim();
                    resident() + 40 * size < before
                };
                // Other tests of this process take memory meanwhile.
                assert!((0..5).any(|_| gives_back()));
            })
            .join()
            .unwrap();
        }
    }
}
