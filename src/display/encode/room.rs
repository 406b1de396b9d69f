//! Whether the images of an operation can be encoded at all: a guest chooses their sizes.

use crate::draw::DrawOp;
use crate::image::ImageData;
use crate::limits::MAX_DECODED_SIDE;
use crate::memory::has_room;

/// Bytes of memory that are taken for granted.
const LITTLE: usize = 1 << 20;

/// Whether clients and the server's canvas can have images of such sides, and whether there is memory to encode them.
///
/// Encoders keep some rows and grow their output step by step, and none of that may fail. So this asks for as much
/// as the longest output takes while it grows: twice the pixels.
pub(super) fn has_room_for(op: &DrawOp) -> bool {
    let mut bytes = 0usize;
    for argument in op.images() {
        let ImageData::Bitmap(bitmap) = &argument.image.data else { continue };
        if bitmap.width.max(bitmap.height) > MAX_DECODED_SIDE {
            return false;
        }
        // Some clients are sent every format as 32 bits per pixel.
        let pixels = u64::from(bitmap.width) * u64::from(bitmap.height);
        let plain = usize::try_from(pixels.saturating_mul(4)).unwrap_or(usize::MAX);
        bytes = bytes.saturating_add(plain.max(bitmap.size()));
    }
    bytes <= LITTLE || has_room(bytes.saturating_mul(2))
}
