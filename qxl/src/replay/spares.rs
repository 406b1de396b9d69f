//! Large blocks of freed commands: the next command of the same size uses one again, the rest goes back to the system.
//!
//! The worker, which frees commands, only puts them here. What becomes of them is work of the thread that reads.

use crate::memory::Block;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Blocks of fewer bytes are left to the allocator.
const LARGE: usize = 1 << 20;
/// Bytes that are kept for the commands to come: an image of a million pixels.
const KEPT: usize = 4 << 20;

/// The blocks, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<VecDeque<Block>>);

impl Spares {
    /// A block of so many bytes, which have any values.
    pub(super) fn take(&self, len: usize) -> Option<Block> {
        if len < LARGE {
            return None;
        }
        if len > KEPT {
            // The last command has just woken the worker, which frees what it covers if it runs first.
            std::thread::yield_now();
        }
        let mut blocks = self.lock();
        let at = blocks.iter().rposition(|block| block.len() == len)?;
        blocks.remove(at)
    }

    /// Keeps the large ones of these blocks, until [`Self::trim`] at least.
    pub(super) fn give(&self, mut blocks: Vec<Block>) {
        blocks.retain(|block| block.len() >= LARGE);
        self.lock().extend(blocks);
    }

    /// Gives the system back what is too much.
    pub(super) fn trim(&self) {
        let mut blocks = self.lock();
        let mut kept = 0;
        let few = blocks.iter().rev().take_while(|block| {
            kept += block.len();
            kept <= KEPT
        });
        let many = blocks.len() - few.count();
        let dropped: Vec<Block> = blocks.drain(..many).collect();
        drop(blocks);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Block>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(len: usize) -> Block {
        Block::try_zeroed(len).unwrap()
    }

    #[test]
    fn a_block_of_the_same_size_is_used_again() {
        let spares = Spares::default();
        spares.give(vec![block(LARGE), block(LARGE - 1)]);
        assert!(spares.take(LARGE - 1).is_none());
        assert!(spares.take(LARGE + 1).is_none());
        assert_eq!(spares.take(LARGE).map(|block| block.len()), Some(LARGE));
        assert!(spares.take(LARGE).is_none());
    }

    #[test]
    fn trimming_keeps_the_latest_blocks() {
        let spares = Spares::default();
        spares.give(vec![block(KEPT + 1), block(KEPT / 2), block(KEPT - LARGE), block(LARGE)]);
        spares.trim();
        let kept = [KEPT + 1, KEPT / 2, KEPT - LARGE, LARGE].map(|len| spares.take(len).is_some());
        assert_eq!(kept, [false, false, true, true]);
        spares.give(vec![block(LARGE), block(KEPT + 1)]);
        spares.trim();
        assert!(spares.take(LARGE).is_none() && spares.take(KEPT + 1).is_none());
    }
}
