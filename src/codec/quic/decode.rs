//! The QUIC decoder. Its input comes from the guest, so every bit pattern must end in pixels or an error.

use super::bits::BitReader;
use super::model::{Coder, Model};
use super::pixels::{average, unfold};
use super::{HEADER_BYTES, Header, MAGIC, QuicType, VERSION};
use crate::codec::DecodeError;
use crate::limits::{MAX_DECODED_PIXELS, MAX_DECODED_SIDE};

/// The pixel format of the decoded rows, which are packed, top row first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelLayout {
    /// Bytes b, g, r and alpha (RGBA streams) or 0 (16, 24 and 32-bit streams).
    Bgra32,
    /// x1r5g5b5, little-endian, top bit 0; for 16-bit streams only.
    Rgb555,
    /// One byte; for gray streams only.
    Gray8,
}

impl PixelLayout {
    /// Bytes of one pixel.
    #[must_use]
    pub const fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Bgra32 => 4,
            Self::Rgb555 => 2,
            Self::Gray8 => 1,
        }
    }
}

/// Reads a stream's header (codecs.md 2.1).
///
/// # Errors
/// The stream is too short, is not QUIC, or names an impossible type or size.
pub fn parse_header(data: &[u8]) -> Result<Header, DecodeError> {
    let header = data.get(..HEADER_BYTES).ok_or(DecodeError::Truncated)?;
    let mut words = header.as_chunks().0.iter().map(|w| u32::from_le_bytes(*w));
    let mut word = || words.next().unwrap_or(0);
    if word() != MAGIC {
        return Err(DecodeError::Header { field: "magic" });
    }
    if word() != VERSION {
        return Err(DecodeError::Header { field: "version" });
    }
    let kind = QuicType::try_from(word()).map_err(|_| DecodeError::Header { field: "type" })?;
    let mut side = |field| match word() {
        n @ 1..0x8000_0000 => Ok(n),
        _ => Err(DecodeError::Header { field }),
    };
    Ok(Header { kind, width: side("width")?, height: side("height")? })
}

/// Decodes a stream into `out`, which is cleared first. Rows are packed, top row first. `width` and `height`
/// are those of the image's descriptor.
///
/// # Errors
/// The header is wrong or differs from `width` and `height`, the image exceeds the limits, the stream's type
/// does not fit `layout`, the stream ends early, or a run leaves its row. The contents of `out` are then
/// undefined.
pub fn decode(
    data: &[u8],
    width: u32,
    height: u32,
    layout: PixelLayout,
    out: &mut Vec<u8>,
) -> Result<Header, DecodeError> {
    out.clear();
    let header = parse_header(data)?;
    if (header.width, header.height) != (width, height) {
        return Err(DecodeError::SizeMismatch);
    }
    let side_ok = width <= MAX_DECODED_SIDE && height <= MAX_DECODED_SIDE;
    if !side_ok || u64::from(width) * u64::from(height) > MAX_DECODED_PIXELS {
        return Err(DecodeError::TooLarge);
    }
    let bits = BitReader::new(data.get(HEADER_BYTES..).unwrap_or_default());
    match (header.kind, layout) {
        (QuicType::Gray, PixelLayout::Gray8) => rows::<1, 8>(bits, &header, layout, out)?,
        (QuicType::Rgb16, PixelLayout::Rgb555 | PixelLayout::Bgra32) => {
            rows::<3, 5>(bits, &header, layout, out)?;
        }
        (QuicType::Rgb24 | QuicType::Rgb32 | QuicType::Rgba, PixelLayout::Bgra32) => {
            rows::<3, 8>(bits, &header, layout, out)?;
        }
        _ => return Err(DecodeError::WrongType),
    }
    Ok(header)
}

fn rows<const CHANNELS: usize, const BITS: usize>(
    mut bits: BitReader<'_>,
    header: &Header,
    layout: PixelLayout,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let width = header.width as usize;
    let has_alpha = header.kind == QuicType::Rgba;
    let mut colour = Group::<CHANNELS, BITS>::new(width);
    let mut alpha = Group::<1, 8>::new(if has_alpha { width } else { 0 });
    for y in 0..header.height {
        colour.decode_row(y == 0, &mut bits)?;
        if has_alpha {
            alpha.decode_row(y == 0, &mut bits)?;
        }
        // Checked after each row, so that `out` grows only with what the stream holds.
        if bits.overrun() {
            return Err(DecodeError::Truncated);
        }
        let start = out.len();
        out.try_reserve(width * layout.bytes_per_pixel()).map_err(|_| DecodeError::TooLarge)?;
        out.resize(start + width * layout.bytes_per_pixel(), 0);
        store::<BITS>(layout, &colour.above, has_alpha.then_some(&alpha.above[..]), &mut out[start..]);
    }
    Ok(())
}

/// Appends a row of pixels in the requested layout.
fn store<const BITS: usize>(layout: PixelLayout, colour: &[u32], alpha: Option<&[u32]>, out: &mut [u8]) {
    match layout {
        PixelLayout::Gray8 => {
            for (byte, pixel) in out.iter_mut().zip(colour) {
                *byte = *pixel as u8;
            }
        }
        PixelLayout::Rgb555 => {
            for (bytes, p) in out.as_chunks_mut().0.iter_mut().zip(colour) {
                let v = ((p >> 6) & 0x7c00) | ((p >> 3) & 0x3e0) | (p & 0x1f);
                *bytes = (v as u16).to_le_bytes();
            }
        }
        PixelLayout::Bgra32 => {
            let pixels = out.as_chunks_mut().0.iter_mut().zip(colour);
            match alpha {
                Some(alpha) => {
                    for ((bytes, p), a) in pixels.zip(alpha) {
                        *bytes = (p | (a << 24)).to_le_bytes();
                    }
                }
                None if BITS == 5 => {
                    for (bytes, p) in pixels {
                        *bytes = ((p << 3) | ((p >> 2) & 0x0007_0707)).to_le_bytes();
                    }
                }
                None => {
                    for (bytes, p) in pixels {
                        *bytes = p.to_le_bytes();
                    }
                }
            }
        }
    }
}

/// Channels that are coded together: r, g, b; or gray; or alpha.
struct Group<const CHANNELS: usize, const BITS: usize> {
    coder: Coder,
    models: [Model<BITS>; CHANNELS],
    /// The row being decoded. When it is complete it changes places with `above`.
    row: Vec<u32>,
    /// The row decoded before.
    above: Vec<u32>,
    /// The residual last coded in each column.
    residuals: Vec<u32>,
}

impl<const CHANNELS: usize, const BITS: usize> Group<CHANNELS, BITS> {
    fn new(width: usize) -> Self {
        Self {
            coder: Coder::new(),
            models: std::array::from_fn(|_| Model::new()),
            row: vec![0; width],
            above: vec![0; width],
            residuals: vec![0; width],
        }
    }

    /// Decodes a row, which is in `self.above` afterwards.
    fn decode_row(&mut self, top: bool, bits: &mut BitReader<'_>) -> Result<(), DecodeError> {
        let width = self.row.len();
        let mut start = 0;
        while start < width {
            let len = self.coder.segment(width - start);
            self.decode_segment(top, start, start + len, bits)?;
            self.coder.end_segment(len);
            start += len;
        }
        std::mem::swap(&mut self.row, &mut self.above);
        Ok(())
    }

    fn decode_segment(
        &mut self,
        top: bool,
        start: usize,
        end: usize,
        bits: &mut BitReader<'_>,
    ) -> Result<(), DecodeError> {
        let Self { coder, models, row, above, residuals } = self;
        let (row, above, residuals) = (&mut row[..end], &above[..end], &mut residuals[..end]);
        // Where a run has just ended, no other run starts.
        let mut last_run = usize::MAX;
        let mut at = start;
        while at < end {
            let left = at.wrapping_sub(1);
            if !top && at > 2 && at != last_run && row[left] == row[at - 2] && above[left] == above[at] {
                let n = take_run(coder, end - at, bits)?;
                let colour = row[left];
                row[at..at + n].fill(colour);
                last_run = at;
                at += n;
                continue;
            }
            let (context, prediction) = match (at, top) {
                (0, true) => (residuals[0], 0),
                (0, false) => (residuals[0], above[0]),
                (_, true) => (residuals[left], row[left]),
                (_, false) => (residuals[left], average(row[left], above[at])),
            };
            let symbols = take_pixel(models, context, bits);
            if coder.wait > 0 {
                coder.wait -= 1;
            } else {
                let trigger = coder.trigger;
                for (c, model) in models.iter_mut().enumerate() {
                    let shift = 8 * (CHANNELS - 1 - c);
                    model.update((context >> shift) as u8, (symbols >> shift) as u8, trigger);
                }
                coder.draw_wait();
            }
            residuals[at] = symbols;
            row[at] = unfold::<BITS>(symbols, prediction);
            at += 1;
        }
        Ok(())
    }
}

/// Decodes the folded residuals of one pixel.
#[inline(always)]
fn take_pixel<const CHANNELS: usize, const BITS: usize>(
    models: &[Model<BITS>; CHANNELS],
    context: u32,
    bits: &mut BitReader<'_>,
) -> u32 {
    let mut symbols = 0;
    for (c, model) in models.iter().enumerate() {
        let shift = 8 * (CHANNELS - 1 - c);
        let code = model.code((context >> shift) as u8);
        let (l, shape) = (code.number, &code.shape);
        let window = bits.peek();
        let zeros = window.leading_zeros();
        let (symbol, len) = if zeros < shape.prefix {
            let len = zeros + 1 + l as u32;
            ((zeros << l) | ((window >> (32 - len)) & ((1 << l) - 1)), len)
        } else {
            let len = shape.prefix + shape.suffix;
            (shape.first_escaped + ((window >> (32 - len)) & ((1 << shape.suffix) - 1)), len)
        };
        bits.skip(len);
        // An escape can encode a symbol beyond the channel's range. Like the reference, keep its low bits.
        symbols |= (symbol & ((1 << BITS) - 1)) << shift;
    }
    symbols
}

/// Decodes the length of a run, at most `limit`.
fn take_run(coder: &mut Coder, limit: usize, bits: &mut BitReader<'_>) -> Result<usize, DecodeError> {
    const TOO_LONG: DecodeError = DecodeError::Corrupt { reason: "a run leaves its row" };
    let mut n = 0;
    while bits.take(1) == 1 {
        n += 1usize << coder.run_shift();
        if n > limit {
            return Err(TOO_LONG);
        }
        coder.run_grows();
    }
    let shift = coder.run_shift();
    if shift > 0 {
        n += bits.take(shift) as usize;
    }
    coder.run_ends();
    if n > limit { Err(TOO_LONG) } else { Ok(n) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors::{self, sha256};

    /// Packed rows in the bitmap's own format.
    fn native(kind: QuicType, pixels: Vec<u8>) -> Vec<u8> {
        if kind == QuicType::Rgb24 {
            pixels.as_chunks::<4>().0.iter().flat_map(|p| [p[0], p[1], p[2]]).collect()
        } else {
            pixels
        }
    }

    #[test]
    fn vectors_decode_to_their_pixels() {
        let mut out = Vec::new();
        let mut tested = 0;
        for vector in vectors::of("QUIC") {
            let kind = QuicType::try_from(vector.codec_type).unwrap();
            let layout = match kind {
                QuicType::Gray => PixelLayout::Gray8,
                QuicType::Rgb16 => PixelLayout::Rgb555,
                _ => PixelLayout::Bgra32,
            };
            let header = decode(&vector.encoded(), vector.width, vector.height, layout, &mut out).unwrap();
            assert_eq!(header.kind, kind);
            assert_eq!(
                sha256(&native(kind, std::mem::take(&mut out))),
                vector.decoded_sha256,
                "{}",
                vector.name
            );
            tested += 1;
        }
        assert!(tested > 90);
    }

    #[test]
    fn five_bit_channels_expand_to_eight() {
        let vector = vectors::of("QUIC").into_iter().find(|v| v.codec_type == 2).unwrap();
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        decode(&vector.encoded(), vector.width, vector.height, PixelLayout::Rgb555, &mut narrow).unwrap();
        decode(&vector.encoded(), vector.width, vector.height, PixelLayout::Bgra32, &mut wide).unwrap();
        for (n, w) in narrow.as_chunks().0.iter().zip(wide.as_chunks::<4>().0) {
            let v = u16::from_le_bytes(*n);
            let eight = |c: u16| ((c & 31) << 3 | (c & 31) >> 2) as u8;
            assert_eq!(*w, [eight(v), eight(v >> 5), eight(v >> 10), 0]);
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let vector = vectors::of("QUIC").into_iter().find(|v| v.codec_type == 4).unwrap();
        let data = vector.encoded();
        let mut out = Vec::new();
        // The last word has no information.
        for len in 0..data.len() - 7 {
            let result = decode(&data[..len], vector.width, vector.height, PixelLayout::Bgra32, &mut out);
            assert_eq!(result, Err(DecodeError::Truncated), "{len}");
        }
    }

    #[test]
    fn size_of_the_descriptor_and_limits_are_checked() {
        let mut data = Vec::new();
        for word in [MAGIC, VERSION, 4, 40_000, 1] {
            data.extend_from_slice(&word.to_le_bytes());
        }
        let mut out = Vec::new();
        assert_eq!(decode(&data, 40_000, 1, PixelLayout::Bgra32, &mut out), Err(DecodeError::TooLarge));
        assert_eq!(decode(&data, 39_999, 1, PixelLayout::Bgra32, &mut out), Err(DecodeError::SizeMismatch));
        data[12..20].copy_from_slice(&[0, 0, 0, 0x80, 1, 0, 0, 0]);
        assert_eq!(
            decode(&data, 1 << 31, 1, PixelLayout::Bgra32, &mut out),
            Err(DecodeError::Header { field: "width" })
        );
    }

    #[test]
    fn a_run_beyond_its_row_is_an_error() {
        // A black 4 x 2 picture: the first code holds one pixel, the next one seven, and then follows a run
        // code that begins with `ones` one bits.
        let stream = |ones: usize| {
            let mut bits = "10000000".repeat(3) + &"111".repeat(6) + &"1".repeat(ones);
            bits += &"0".repeat(160 - bits.len());
            let mut data = Vec::new();
            for word in [MAGIC, VERSION, 4, 4, 2] {
                data.extend_from_slice(&word.to_le_bytes());
            }
            for word in bits.as_bytes().chunks(32) {
                let word = word.iter().fold(0u32, |w, b| (w << 1) | u32::from(*b == b'1'));
                data.extend_from_slice(&word.to_le_bytes());
            }
            decode(&data, 4, 2, PixelLayout::Bgra32, &mut Vec::new()).map(|_| ())
        };
        assert_eq!(stream(1), Ok(()));
        assert_eq!(stream(2), Err(DecodeError::Corrupt { reason: "a run leaves its row" }));
        assert_eq!(stream(100), Err(DecodeError::Corrupt { reason: "a run leaves its row" }));
    }
}
