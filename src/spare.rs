//! Buffers for large pieces of data that are used again. Reading into a new buffer means to clear it first, which costs as much as a
//! third of what the kernel takes to carry the data.

use crate::limits::{MAX_SPARE_BUFFER, MAX_SPARE_BUFFERS};
use std::cell::RefCell;
use std::ops::RangeInclusive;

/// Capacities of buffers that are kept. Small ones are cheap to make.
const KEPT: RangeInclusive<usize> = (32 << 10)..=MAX_SPARE_BUFFER;

#[derive(Debug, Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    /// Buffers that were taken and did not come back. Threads that take none keep none.
    lent: usize,
}

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare { buffers: Vec::new(), lent: 0 }) };
}

/// A buffer of `size` bytes, which hold anything: whoever takes it overwrites what it passes on. [`give`] brings it back.
#[must_use]
pub(crate) fn take(size: usize) -> Vec<u8> {
    if !KEPT.contains(&size) {
        return vec![0; size];
    }
    let kept = SPARE.with_borrow_mut(|spare| {
        spare.lent = (spare.lent + 1).min(MAX_SPARE_BUFFERS);
        spare.buffers.pop()
    });
    let mut buffer = kept.unwrap_or_else(|| Vec::with_capacity(size));
    buffer.resize(size, 0);
    buffer
}

/// Keeps a buffer that is no longer needed, if this thread can use it. It may come from elsewhere.
pub(crate) fn give(buffer: Vec<u8>) {
    if KEPT.contains(&buffer.capacity()) {
        SPARE.with_borrow_mut(|spare| {
            if spare.lent > 0 && spare.buffers.len() < MAX_SPARE_BUFFERS {
                spare.lent -= 1;
                spare.buffers.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = *KEPT.start();

    #[test]
    fn a_buffer_that_was_given_is_taken_again() {
        let mut first = take(LARGE + 10);
        assert_eq!(first.len(), LARGE + 10);
        first.truncate(5);
        let place = first.as_ptr();
        give(first);
        let again = take(LARGE + 1);
        assert_eq!((again.as_ptr(), again.len()), (place, LARGE + 1));
    }

    #[test]
    fn a_thread_keeps_no_more_than_it_takes() {
        give(vec![0; LARGE]);
        SPARE.with_borrow(|spare| assert!(spare.buffers.is_empty(), "nobody took one"));
        let taken: Vec<_> = (0..10).map(|_| take(LARGE)).collect();
        taken.into_iter().for_each(give);
        give(vec![0; MAX_SPARE_BUFFER + 1]);
        give(Vec::new());
        SPARE.with_borrow(|spare| assert_eq!((spare.buffers.len(), spare.lent), (MAX_SPARE_BUFFERS, 0)));
        assert_eq!(take(MAX_SPARE_BUFFER + 1).len(), MAX_SPARE_BUFFER + 1);
        assert_eq!(take(3), [0; 3]);
    }
}
