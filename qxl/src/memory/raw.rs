//! Access to memory that others may change meanwhile. The rules for it stand at the head of the [module](super).

use std::ptr;

/// Bytes up to which an access is volatile: the size of the largest field of a structure.
const VOLATILE: usize = 8;

/// Bytes that are copied at a time: from 4 KiB on `memcpy` turns to `rep movsb`, which takes three times as long where
/// both sides lie alike within their pages. Pieces also overlap less often than the whole, which makes them faster.
pub(super) const PIECE: usize = 3840;

/// Copies guest memory out. Up to 8 bytes are read once each, by volatile loads, aligned ones as a whole.
///
/// # Safety
/// `from` is valid for reads of `to.len()` bytes, which others may change meanwhile.
pub(super) unsafe fn read(from: *const u8, to: &mut [u8]) {
    if to.len() > VOLATILE {
        // SAFETY: the caller's promise. `to` is borrowed for writing, so it is not the memory at `from`, to which no
        // reference exists.
        return unsafe { copy(from, to.as_mut_ptr(), to.len()) };
    }
    let mut done = 0;
    while let Some(rest) = to.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let size = step(from.addr() + done, rest.len());
        // SAFETY: `size` bytes from here on are inside of the range that the caller promised, and the address is a multiple
        // of `size`.
        let bytes = unsafe {
            let at = from.add(done);
            match size {
                8 => at.cast::<u64>().read_volatile(),
                4 => at.cast::<u32>().read_volatile().into(),
                2 => at.cast::<u16>().read_volatile().into(),
                _ => at.read_volatile().into(),
            }
        };
        let bytes = if cfg!(target_endian = "big") {
            (bytes << (64 - 8 * size)).to_be_bytes()
        } else {
            bytes.to_le_bytes()
        };
        rest.iter_mut().zip(bytes).take(size).for_each(|(to, from)| *to = from);
        done += size;
    }
}

/// The size of the next aligned access at `address` that has at most `len` bytes, which are at least one.
fn step(address: usize, len: usize) -> usize {
    [8, 4, 2].into_iter().find(|&size| size <= len && address.is_multiple_of(size)).unwrap_or(1)
}

/// Copies into guest memory.
///
/// # Safety
/// `to` is valid for writes of `from.len()` bytes, which others may access meanwhile, and no reference to them exists.
pub(super) unsafe fn write(from: &[u8], to: *mut u8) {
    // SAFETY: the caller's promise; `from` is a reference, so it is not the memory at `to`.
    unsafe { copy(from.as_ptr(), to, from.len()) }
}

/// A copy that the optimizer cannot look into.
///
/// # Safety
/// As [`ptr::copy_nonoverlapping`], except that others may access the guest's side meanwhile.
#[inline(never)]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(from, to, len) }
}

/// Writes the bytes of `pattern`, lowest first, again and again; the last time maybe not all of them.
///
/// # Safety
/// `to` is valid for writes of `len` bytes; others may access them meanwhile.
#[inline(never)]
pub(super) unsafe fn fill(to: *mut u8, pattern: u64, len: usize) {
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

/// Words from which on the string instruction is faster: it writes whole cache lines without reading them.
#[cfg(target_arch = "x86_64")]
const STRING_WORDS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_reads_of_any_length_and_alignment_are_exact() {
        let bytes: Vec<u8> = (1..=40).collect();
        for offset in 0..17 {
            for len in 0..=16 {
                let mut read_back = vec![0; len];
                // SAFETY: the vector has more bytes than are read, and nobody writes to it.
                unsafe { read(bytes.as_ptr().add(offset), &mut read_back) };
                assert_eq!(read_back, bytes[offset..offset + len], "{len} bytes at {offset}");
            }
        }
    }

    #[test]
    fn aligned_fields_are_read_as_a_whole() {
        assert_eq!(
            [step(64, 8), step(64, 7), step(68, 8), step(66, 8), step(65, 8), step(64, 1)],
            [8, 4, 4, 2, 1, 1]
        );
    }
}
