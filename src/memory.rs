//! Memory that a guest or a client makes the library ask for, and memory that it gives back.

use std::sync::OnceLock;

/// Gives memory that nobody uses back to the system.
static TRIM: OnceLock<fn()> = OnceLock::new();

/// Sets how the process gives memory that nobody uses back to the system. Only the first call counts.
pub fn set_trim(trim: fn()) {
    let _ = TRIM.set(trim);
}

/// Gives memory that nobody uses back to the system, if the process knows how.
pub(crate) fn trim() {
    if let Some(trim) = TRIM.get() {
        trim();
    }
}

/// Whether the process gets so many bytes of memory now.
///
/// For work that needs many buffers whose sizes depend on a peer, and that cannot fail halfway: an allocation that fails
/// later would end the process. Pages that nobody writes to cost nothing, so the question is cheap.
#[must_use]
pub fn has_room(bytes: usize) -> bool {
    #[cfg(test)]
    if bytes > testing::most() {
        return false;
    }
    let mut room: Vec<u8> = Vec::new();
    let granted = room.try_reserve_exact(bytes).is_ok();
    // The compiler may leave out an allocation that nobody looks at.
    std::hint::black_box(&mut room);
    granted
}

/// A host that is short of memory.
#[cfg(test)]
pub(crate) mod testing {
    use std::cell::Cell;

    thread_local! {
        static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    pub(super) fn most() -> usize {
        MOST.get()
    }

    /// Runs `work` on a host that has room for so many bytes.
    pub(crate) fn with_most<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
        let before = MOST.replace(bytes);
        let result = work();
        MOST.set(before);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_little_and_not_for_everything() {
        assert!(has_room(1 << 20));
        assert!(!has_room(usize::MAX / 4));
        assert!(!has_room(usize::MAX));
        assert!(!testing::with_most(1 << 19, || has_room(1 << 20)));
    }
}
