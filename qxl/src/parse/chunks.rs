//! Chunk lists (qxl.md B5): a guest's linked list walked with a time to live, every link read once.

use super::fields::Fields;
use super::{Context, NO_MEMORY, ParseError, Result, bad};
use crate::memory::GuestRange;
use spice_server_core::guest::{ByteSource, Rows};
use spice_server_core::limits;
use std::mem::size_of;
use std::sync::Arc;

/// Size of QXLDataChunk without its data.
pub(super) const CHUNK_HEADER: u64 = 20;

/// A chunk list seen as one run of bytes of guest memory.
#[derive(Debug)]
struct ChunkList {
    pieces: Vec<GuestRange>,
    /// End offset of each piece.
    ends: Vec<usize>,
}

impl ByteSource for ChunkList {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        let first = self.ends.partition_point(|&end| end <= offset);
        let mut at = offset;
        let mut rest = dst;
        for (piece, &end) in self.pieces.iter().zip(&self.ends).skip(first) {
            if rest.is_empty() {
                return;
            }
            let start = end - piece.len();
            let (now, later) = rest.split_at_mut((end - at).min(rest.len()));
            piece.read_at(at - start, now);
            at += now.len();
            rest = later;
        }
        rest.fill(0);
    }

    fn chunk_ends(&self) -> &[usize] {
        &self.ends
    }
}

impl ByteSource for GuestRange {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        Self::read_at(self, offset, dst);
    }

    fn read_rows(&self, from: Rows, len: usize, dst: &mut [u8], pitch: usize) {
        Self::read_rows(self, from, len, dst, pitch);
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

/// What to do with a list that is longer than wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    Reject,
    /// Leave the rest unread.
    Cut,
}

impl Context<'_> {
    /// Walks a list whose first header is at the start of `header`, up to `limit` bytes of data in all.
    fn walk(
        &self,
        field: &'static str,
        header: GuestRange,
        limit: u64,
        excess: Excess,
        mut piece: impl FnMut(GuestRange) -> Result<()>,
    ) -> Result<u64> {
        let limit = limit.min(limits::MAX_GUEST_OBJECT);
        let unmapped = |e| ParseError::Memory(field, e);
        let mut header = header.following(0, CHUNK_HEADER).map_err(unmapped)?;
        let mut total = 0u64;
        for _ in 0..limits::MAX_CHUNK_HOPS {
            let bytes = header.read_array::<20>(0);
            let (mut size, next) = (u64::from(Fields(&bytes).u32(0)), Fields(&bytes).u64(12));
            if total + size > limit {
                match excess {
                    Excess::Reject => {
                        return bad(field, total + size, "bytes of chunks are more than allowed");
                    }
                    Excess::Cut => size = limit - total,
                }
            }
            if size > 0 {
                piece(header.following(CHUNK_HEADER, size).map_err(unmapped)?)?;
                total += size;
            }
            if next == 0 || (excess == Excess::Cut && total == limit) {
                return Ok(total);
            }
            header = self.memory.resolve(self.group, next, CHUNK_HEADER).map_err(unmapped)?;
        }
        bad(field, limits::MAX_CHUNK_HOPS, "chunks and no end of the list")
    }

    /// The list as a byte source that stays in guest memory; it must have exactly `size` bytes.
    pub(super) fn chunks(
        &self,
        field: &'static str,
        header: GuestRange,
        size: u64,
    ) -> Result<Arc<dyn ByteSource>> {
        // Mostly there is one, which needs no lists.
        let mut first: Option<GuestRange> = None;
        let mut list = ChunkList { pieces: Vec::new(), ends: Vec::new() };
        let mut end = 0usize;
        let total = self.walk(field, header, size, Excess::Reject, |piece| {
            self.charge(field, size_of::<GuestRange>() + size_of::<usize>())?;
            if first.is_none() {
                end = piece.len();
                first = Some(piece);
                return Ok(());
            }
            if let (true, Some(first)) = (list.ends.is_empty(), &first) {
                list.ends.push(end);
                list.pieces.push(first.clone());
            }
            end += piece.len();
            list.ends.push(end);
            list.pieces.push(piece);
            Ok(())
        })?;
        if total != size {
            return bad(field, total, "bytes of chunks differ from the announced size");
        }
        Ok(match first {
            Some(only) if list.ends.is_empty() => Arc::new(only),
            Some(_) => Arc::new(list),
            None => Arc::new(Vec::new()),
        })
    }

    /// Copies the list: at most `limit` bytes. There is memory for as many more, since callers share a copy.
    pub(super) fn chunk_bytes(
        &self,
        field: &'static str,
        header: GuestRange,
        limit: u64,
        excess: Excess,
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.walk(field, header, limit, excess, |piece| {
            self.charge(field, piece.len())?;
            let start = bytes.len();
            if bytes.try_reserve(piece.len()).is_err() {
                return bad(field, start + piece.len(), NO_MEMORY);
            }
            bytes.resize(start + piece.len(), 0);
            piece.read_at(0, &mut bytes[start..]);
            Ok(())
        })?;
        self.room(field, bytes.len())?;
        Ok(bytes)
    }
}
