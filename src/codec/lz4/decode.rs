//! The LZ4 image decoder, as clients have it, for tests and tools.

use super::{HEADER_BYTES, carries};
use crate::codec::DecodeError;
use crate::image::BitmapFormat;
use crate::limits::{MAX_DECODED_PIXELS, MAX_DECODED_SIDE};

/// Decodes an image of this size into `out`, which is cleared first: packed rows in the stream's order.
/// Returns the pixel format, and whether the first row is the top one.
///
/// # Errors
/// The header is wrong, the image exceeds the limits, or the blocks are corrupt or do not make up the image.
pub fn decode(
    data: &[u8],
    width: u32,
    height: u32,
    out: &mut Vec<u8>,
) -> Result<(BitmapFormat, bool), DecodeError> {
    out.clear();
    let header = data.first_chunk::<HEADER_BYTES>().ok_or(DecodeError::Truncated)?;
    let top_down = match header[0] {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::Header { field: "top_down" }),
    };
    let format = BitmapFormat::try_from(header[1])
        .ok()
        .filter(|f| carries(*f))
        .ok_or(DecodeError::Header { field: "format" })?;
    let too_many = u64::from(width) * u64::from(height) > MAX_DECODED_PIXELS;
    if too_many || width > MAX_DECODED_SIDE || height > MAX_DECODED_SIDE {
        return Err(DecodeError::TooLarge);
    }
    let size =
        usize::try_from(format.min_stride(width) * u64::from(height)).map_err(|_| DecodeError::TooLarge)?;
    let mut rest = data.get(HEADER_BYTES..).unwrap_or_default();
    while !rest.is_empty() {
        let (len, more) = rest.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| DecodeError::Truncated)?;
        let (block, more) = more.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        decode_block(block, size, out)?;
        rest = more;
    }
    if out.len() != size {
        return Err(DecodeError::Corrupt { reason: "blocks do not make up the image" });
    }
    Ok((format, top_down))
}

/// Appends the contents of a block. `out` must not grow beyond `limit`.
pub(super) fn decode_block(mut block: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    const TOO_LONG: DecodeError = DecodeError::Corrupt { reason: "a block is longer than the image" };
    let start = out.len();
    loop {
        let token = take(&mut block)?;
        let literals = length(token >> 4, &mut block, limit)?;
        let (bytes, more) = block.split_at_checked(literals).ok_or(DecodeError::Truncated)?;
        if out.len() + literals > limit {
            return Err(TOO_LONG);
        }
        out.extend_from_slice(bytes);
        block = more;
        if block.is_empty() {
            break;
        }
        let (offset, more) = block.split_first_chunk::<2>().ok_or(DecodeError::Truncated)?;
        block = more;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let count = length(token & 15, &mut block, limit)? + super::MIN_MATCH;
        if offset == 0 || offset > out.len() {
            return Err(DecodeError::Corrupt { reason: "a match begins before the image" });
        }
        if out.len() + count > limit {
            return Err(TOO_LONG);
        }
        crate::codec::lz::repeat(out, offset, count);
    }
    if out.len() == start { Err(DecodeError::Corrupt { reason: "an empty block" }) } else { Ok(()) }
}

fn take(block: &mut &[u8]) -> Result<u8, DecodeError> {
    let (&byte, rest) = block.split_first().ok_or(DecodeError::Truncated)?;
    *block = rest;
    Ok(byte)
}

fn length(short: u8, block: &mut &[u8], limit: usize) -> Result<usize, DecodeError> {
    let mut length = usize::from(short);
    if short == 15 {
        loop {
            let more = take(block)?;
            length += usize::from(more);
            if more != 255 {
                break;
            }
            if length > limit {
                return Err(DecodeError::Corrupt { reason: "a length beyond the image" });
            }
        }
    }
    Ok(length)
}
