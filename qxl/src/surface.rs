//! Pixel memory of surfaces in guest memory.

use crate::memory::GuestRange;
use spice_server_core::guest::{ByteSource, Rows, SurfaceMemory};

/// The memory block of one surface. Reads zero and ignores writes after its memslot was deleted.
#[derive(Debug)]
pub struct GuestSurface(pub GuestRange);

impl SurfaceMemory for GuestSurface {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        self.0.read_at(offset, dst);
    }

    fn write_at(&mut self, offset: usize, src: &[u8]) {
        self.0.write_at(offset, src);
    }

    fn copy_within(&mut self, from: usize, to: usize, len: usize) {
        self.0.copy_within(from, to, len);
    }

    fn write_from(&mut self, offset: usize, source: &dyn ByteSource, source_offset: usize, len: usize) {
        if let Some(bytes) = source.as_private() {
            let whole = source_offset.checked_add(len).and_then(|end| bytes.get(source_offset..end));
            if let Some(bytes) = whole {
                return self.0.write_at(offset, bytes);
            }
        }
        // Below the size at which `memcpy` turns to `rep movsb`, and cheap to clear.
        let mut buffer = [0u8; 3840];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(buffer.len());
            source.read_at(source_offset.saturating_add(done), &mut buffer[..n]);
            self.0.write_at(offset.saturating_add(done), &buffer[..n]);
            done += n;
        }
    }

    fn write_rows(&mut self, to: Rows, source: &dyn ByteSource, from: Rows, len: usize, count: usize) {
        let range = source.as_any().and_then(|any| any.downcast_ref::<GuestRange>());
        if range.is_some_and(|range| range.copy_rows(from, &self.0, to, len, count)) {
            return;
        }
        for n in 0..count {
            self.write_from(to.at(n), source, from.at(n), len);
        }
    }

    fn fill_rows(&mut self, to: Rows, pattern: u64, len: usize, count: usize) {
        self.0.fill_rows(to, pattern, len, count);
    }

    fn blend(&mut self, offset: usize, pixels: &[u8], alpha: u8) {
        self.0.blend(offset, pixels, alpha);
    }
}
