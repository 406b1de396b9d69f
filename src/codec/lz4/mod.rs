//! LZ4 images (codecs.md 7): two bytes of header, then LZ4 blocks, each of which may refer to the 64 KiB
//! before it.
//!
//! The encoder follows the published block format. It is not a general one: it reads the guest's pixels in
//! strips, and its search is tuned to pixels.

pub(crate) mod block;
mod decode;
mod encode;

pub use decode::decode;
pub use encode::Encoder;

use crate::image::{BitmapFormat, ImageView};

/// Bytes before the first block: orientation and pixel format.
const HEADER_BYTES: usize = 2;
/// Largest distance of a match.
const HISTORY: usize = 65_535;
/// Shortest match.
const MIN_MATCH: usize = 4;

/// Whether clients accept this image as LZ4 (codecs.md 7): its format, and rows without padding.
fn can_carry(image: &ImageView<'_>) -> bool {
    carries(image.format) && image.is_packed() && image.width > 0 && image.height > 0
}

fn carries(format: BitmapFormat) -> bool {
    matches!(
        format,
        BitmapFormat::SixteenBit
            | BitmapFormat::TwentyFourBit
            | BitmapFormat::ThirtyTwoBit
            | BitmapFormat::Rgba
    )
}

#[cfg(test)]
mod tests;
