//! Bitmaps whose first pixel is the lowest bit of a byte. No client draws them, so they become the usual ones at parsing.

use spice_server_core::guest::ByteSource;
use std::sync::Arc;

/// Bytes of another source with the order of their bits reversed.
#[derive(Debug)]
pub(super) struct Mirrored(pub(super) Arc<dyn ByteSource>);

impl ByteSource for Mirrored {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read_at(&self, offset: usize, dst: &mut [u8]) {
        self.0.read_at(offset, dst);
        for byte in dst {
            *byte = byte.reverse_bits();
        }
    }

    fn chunk_ends(&self) -> &[usize] {
        self.0.chunk_ends()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spice_server_core::guest::SliceSource;

    #[test]
    fn bits_change_places_within_their_bytes() {
        let mirrored = Mirrored(Arc::new(SliceSource(&[0b1000_0000, 0b0000_0011])));
        let mut bytes = [0; 2];
        mirrored.read_at(0, &mut bytes);
        assert_eq!(bytes, [0b0000_0001, 0b1100_0000]);
    }
}
