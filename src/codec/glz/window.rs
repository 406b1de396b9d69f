//! What the dictionary knows of the images in a client's window, and in which of them a position is.

use crate::codec::lz::LzType;
use std::collections::VecDeque;

/// An image in the client's window.
#[derive(Debug)]
pub(super) struct WindowImage {
    pub kind: LzType,
    pub id: u64,
    pub start: u64,
    /// Pixels of the image.
    pub units: usize,
    /// Their bytes, as [`super::Channel`] has them.
    pub pixels: Vec<u8>,
    /// The display channel that it was sent on.
    pub channel: u8,
    /// Whether later images may refer to it.
    pub alive: bool,
}

/// log2 of the units of a block of [`PositionIndex`].
const BLOCK_BITS: u32 = 10;

/// Which image a position is in. A window holds thousands of small images, and the search asks for each candidate.
#[derive(Debug, Default)]
pub(super) struct PositionIndex {
    /// Number of the first block.
    first: u64,
    /// For each block of positions the id of the image that the block's first position is in, or of the first image in it.
    blocks: VecDeque<u64>,
}

impl PositionIndex {
    /// An image came behind all others.
    pub(super) fn add(&mut self, id: u64, start: u64, units: usize) {
        let end = start + units as u64;
        if self.blocks.is_empty() {
            self.first = start >> BLOCK_BITS;
        }
        while (self.first + self.blocks.len() as u64) << BLOCK_BITS < end {
            self.blocks.push_back(id);
        }
    }

    /// Nothing before this position is asked for any more.
    pub(super) fn drop_before(&mut self, position: u64) {
        while self.first < position >> BLOCK_BITS && self.blocks.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// An image at this position or at most a block's small images before it.
    #[inline]
    pub(super) fn near(&self, position: u64) -> Option<u64> {
        let block = (position >> BLOCK_BITS).checked_sub(self.first)?;
        self.blocks.get(usize::try_from(block).ok()?).copied()
    }
}
