//! Large blocks of freed commands, which the next commands use again.
//!
//! Recordings repeat images of one size. Left to itself, the allocator puts small blocks into the place of a large one that was
//! freed, so that the next large one no longer fits there and the process grows.

use crate::memory::Block;
use std::sync::{Mutex, PoisonError};

/// Blocks of fewer bytes are left to the allocator.
const LARGE: usize = 1 << 20;
/// Blocks that are kept: a command is read while two others may still be drawn.
const KEPT: usize = 2;

/// The blocks.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<Block>>);

impl Spares {
    /// A block of so many bytes, which have any values.
    pub(super) fn take(&self, len: usize) -> Option<Block> {
        if len < LARGE {
            return None;
        }
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = blocks.iter().position(|block| block.len() == len)?;
        Some(blocks.swap_remove(at))
    }

    /// Keeps the large ones of these blocks, in place of those kept before.
    pub(super) fn give(&self, blocks: Vec<Block>) {
        for block in blocks.into_iter().filter(|block| block.len() >= LARGE) {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= KEPT {
                kept.remove(0);
            }
            kept.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(len: usize) -> Block {
        Block::try_zeroed(len).unwrap()
    }

    #[test]
    fn a_block_of_the_same_size_is_used_again_and_few_are_kept() {
        let spares = Spares::default();
        spares.give(vec![block(LARGE), block(LARGE - 1)]);
        assert!(spares.take(LARGE - 1).is_none());
        assert!(spares.take(LARGE + 1).is_none());
        assert_eq!(spares.take(LARGE).map(|block| block.len()), Some(LARGE));
        assert!(spares.take(LARGE).is_none());
        spares.give((0..5).map(|more| block(LARGE + more)).collect());
        let kept: Vec<bool> = (0..5).map(|more| spares.take(LARGE + more).is_some()).collect();
        assert_eq!(kept, [false, false, false, true, true]);
    }
}
