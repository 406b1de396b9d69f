//! Little-endian writers: flat structures ([`Put`]) and bodies with pointers ([`Marshaller`], wire.md 2.4).

use super::body::{Body, Segment};
use crate::geometry::{Point, Point16, Rect};

/// Appends little-endian fields to a buffer.
pub(crate) trait Put {
    /// Appends raw bytes.
    fn put(&mut self, bytes: &[u8]);

    fn u8(&mut self, v: u8) -> &mut Self {
        self.put(&[v]);
        self
    }
    fn u16(&mut self, v: u16) -> &mut Self {
        self.put(&v.to_le_bytes());
        self
    }
    fn u32(&mut self, v: u32) -> &mut Self {
        self.put(&v.to_le_bytes());
        self
    }
    fn u64(&mut self, v: u64) -> &mut Self {
        self.put(&v.to_le_bytes());
        self
    }
    fn i16(&mut self, v: i16) -> &mut Self {
        self.put(&v.to_le_bytes());
        self
    }
    fn i32(&mut self, v: i32) -> &mut Self {
        self.put(&v.to_le_bytes());
        self
    }
    fn i64(&mut self, v: i64) -> &mut Self {
        self.put(&v.to_le_bytes());
        self
    }
    fn point(&mut self, p: Point) -> &mut Self {
        self.i32(p.x).i32(p.y)
    }
    fn point16(&mut self, p: Point16) -> &mut Self {
        self.i16(p.x).i16(p.y)
    }
    /// Writes top, left, bottom, right, in this order.
    fn rect(&mut self, r: &Rect) -> &mut Self {
        let mut bytes = [0; 16];
        let edges = [r.top, r.left, r.bottom, r.right];
        bytes.as_chunks_mut::<4>().0.iter_mut().zip(edges).for_each(|(to, edge)| *to = edge.to_le_bytes());
        self.put(&bytes);
        self
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A count for a `u32` field. The server's own counts are bounded far below `u32::MAX`.
#[must_use]
pub(crate) fn count32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Shorter segments are copied into their neighbours, because a gather entry costs more than the copy.
const COPY_BELOW: usize = 512;

/// Bytes that most blocks hold at most.
const USUAL_BLOCK: usize = 128;
/// Pointers that most bodies have at most.
const USUAL_POINTERS: usize = 4;

#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    /// Segments, each with the position in `bytes` before which it stands.
    inserts: Vec<(usize, Segment)>,
    inserted: usize,
}

impl Block {
    fn len(&self) -> usize {
        self.bytes.len().saturating_add(self.inserted)
    }
}

#[derive(Debug)]
struct Hole {
    block: usize,
    position: usize,
    target: usize,
}

/// A block of a body under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockId(usize);

/// Lays out a body with pointers in the original's order: writing a pointer appends a new block, and the body
/// is the blocks in that order (wire.md 2.4).
#[derive(Debug)]
pub(crate) struct Marshaller {
    blocks: Vec<Block>,
    holes: Vec<Hole>,
    current: usize,
}

impl Default for Marshaller {
    fn default() -> Self {
        Self::new()
    }
}

impl Put for Marshaller {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(block) = self.blocks.get_mut(self.current) {
            if block.bytes.capacity() == 0 {
                block.bytes.reserve(USUAL_BLOCK);
            }
            block.bytes.extend_from_slice(bytes);
        }
    }
}

impl Marshaller {
    /// An empty body. Fields go to the root block.
    #[must_use]
    pub(crate) fn new() -> Self {
        let root = Block { bytes: Vec::with_capacity(USUAL_BLOCK), ..Block::default() };
        let mut blocks = Vec::with_capacity(USUAL_POINTERS);
        blocks.push(root);
        Self { blocks, holes: Vec::with_capacity(USUAL_POINTERS), current: 0 }
    }

    /// Writes a pointer into the current block and returns the new block that it points to. If nothing is
    /// written to that block, the pointer is 0.
    pub(crate) fn pointer(&mut self) -> BlockId {
        let target = self.blocks.len();
        let position = self.blocks.get(self.current).map_or(0, |b| b.bytes.len());
        self.holes.push(Hole { block: self.current, position, target });
        self.blocks.push(Block::default());
        self.u32(0);
        BlockId(target)
    }

    /// Writes a null pointer without a block.
    pub(crate) fn null(&mut self) {
        self.u32(0);
    }

    /// Makes `block` the current one. Returns the one before, so that the caller can come back to it.
    pub(crate) fn select(&mut self, block: BlockId) -> BlockId {
        BlockId(std::mem::replace(&mut self.current, block.0))
    }

    /// Appends payload to the current block, without a copy if it is long.
    pub(crate) fn segment(&mut self, segment: impl Into<Segment>) {
        let segment = segment.into();
        if segment.len() < COPY_BELOW {
            self.put(segment.as_slice());
        } else if let Some(block) = self.blocks.get_mut(self.current) {
            block.inserted = block.inserted.saturating_add(segment.len());
            block.inserts.push((block.bytes.len(), segment));
        }
    }

    /// The finished body with all pointers filled in.
    #[must_use]
    pub(crate) fn finish(mut self) -> Body {
        let mut starts = Vec::with_capacity(self.blocks.len());
        let mut end = 0usize;
        for block in &self.blocks {
            starts.push(if block.len() == 0 { 0 } else { end });
            end = end.saturating_add(block.len());
        }
        for hole in &self.holes {
            let start = count32(starts.get(hole.target).copied().unwrap_or(0));
            let bytes = self.blocks.get_mut(hole.block).map(|b| &mut b.bytes);
            if let Some(to) = bytes.and_then(|b| b.get_mut(hole.position..)).and_then(|b| b.first_chunk_mut())
            {
                *to = start.to_le_bytes();
            }
        }
        let mut body = Body::empty();
        let mut run = Vec::new();
        for block in self.blocks {
            let mut from = 0;
            for (position, segment) in block.inserts {
                run.extend_from_slice(block.bytes.get(from..position).unwrap_or_default());
                from = position;
                body.push(std::mem::take(&mut run));
                body.push(segment);
            }
            if run.is_empty() && from == 0 {
                run = block.bytes;
            } else {
                run.extend_from_slice(block.bytes.get(from..).unwrap_or_default());
            }
        }
        body.push(run);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn blocks_follow_the_order_of_their_holes() {
        let mut m = Marshaller::new();
        m.u8(1);
        let image = m.pointer();
        let mask = m.pointer();
        m.u8(2);
        m.select(image);
        m.u8(0xaa);
        let palette = m.pointer();
        m.segment(vec![0xdd; 3]);
        m.select(mask);
        m.u8(0xbb);
        m.select(palette);
        m.u8(0xcc);
        assert_eq!(
            m.finish().to_vec(),
            [1, 10, 0, 0, 0, 18, 0, 0, 0, 2, 0xaa, 19, 0, 0, 0, 0xdd, 0xdd, 0xdd, 0xbb, 0xcc]
        );
    }

    #[test]
    fn pointer_to_an_empty_block_is_null() {
        let mut m = Marshaller::new();
        m.pointer();
        let full = m.pointer();
        m.select(full);
        m.u8(7);
        assert_eq!(m.finish().to_vec(), [0, 0, 0, 0, 8, 0, 0, 0, 7]);
    }

    #[test]
    fn long_payload_is_not_copied() {
        let payload: Arc<Vec<u8>> = Arc::new(vec![5; 4000]);
        let mut m = Marshaller::new();
        let p = m.pointer();
        m.select(p);
        m.u16(9);
        m.segment(payload.clone());
        m.u16(8);
        let body = m.finish();
        assert_eq!(Arc::strong_count(&payload), 2);
        assert_eq!(body.segments().len(), 3);
        assert_eq!(body.len(), 4 + 2 + 4000 + 2);
        assert_eq!(body.to_vec()[4006..], [8, 0]);
    }

    #[test]
    fn rectangles_go_top_left_bottom_right() {
        let mut v = Vec::new();
        v.rect(&Rect::new(1, 2, 3, 4));
        assert_eq!(v, [2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0]);
    }
}
