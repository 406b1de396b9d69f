//! The LZ decoder. Every input ends in pixels or an error, and allocations grow only with what the stream
//! holds.

use super::{HEADER_BYTES, Header, LzType, MAGIC, MAX_BYTES, MAX_LITERALS, VERSION};
use crate::codec::DecodeError;
use crate::limits::{MAX_DECODED_PIXELS, MAX_DECODED_SIDE};

const TRUNCATED: DecodeError = DecodeError::Truncated;

/// Reads a stream's header (codecs.md 3.1).
///
/// # Errors
/// The stream is too short, is not LZ, or its type, size and stride are impossible.
pub fn parse_header(data: &[u8]) -> Result<Header, DecodeError> {
    let header = data.get(..HEADER_BYTES).ok_or(TRUNCATED)?;
    let mut words = header.as_chunks().0.iter().map(|w| u32::from_be_bytes(*w));
    let mut word = || words.next().unwrap_or(0);
    if word() != MAGIC {
        return Err(DecodeError::Header { field: "magic" });
    }
    if word() != VERSION {
        return Err(DecodeError::Header { field: "version" });
    }
    let kind = LzType::try_from(word()).map_err(|_| DecodeError::Header { field: "type" })?;
    let (width, height, stride) = (word(), word(), word());
    check_geometry(kind, width, height, stride)?;
    let top_down = match word() {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::Header { field: "top_down" }),
    };
    Ok(Header { kind, width, height, stride, top_down })
}

/// Checks the numbers of a header against each other and the limits.
pub(in crate::codec) fn check_geometry(
    kind: LzType,
    width: u32,
    height: u32,
    stride: u32,
) -> Result<(), DecodeError> {
    for (side, field) in [(width, "width"), (height, "height")] {
        if !(1..0x8000_0000).contains(&side) {
            return Err(DecodeError::Header { field });
        }
    }
    if u64::from(stride) != kind.format().min_stride(width) {
        return Err(DecodeError::Header { field: "stride" });
    }
    let too_many = u64::from(width) * u64::from(height) > MAX_DECODED_PIXELS;
    if too_many
        || width > MAX_DECODED_SIDE
        || height > MAX_DECODED_SIDE
        || u64::from(stride) * u64::from(height) > MAX_BYTES
    {
        return Err(DecodeError::TooLarge);
    }
    Ok(())
}

/// Decodes a stream into `out`, which is cleared first: packed rows in the stream's order, in the bitmap
/// format of the stream's type. The fourth byte of RGB32 is zero. XXXA gives only the alpha bytes, one per
/// pixel. `width` and `height` are those of the image's descriptor.
///
/// # Errors
/// The header is wrong or differs from `width` and `height`, the image exceeds the limits, the stream ends
/// early or continues after the image, or a match leaves the image. The contents of `out` are then undefined.
pub fn decode(data: &[u8], width: u32, height: u32, out: &mut Vec<u8>) -> Result<Header, DecodeError> {
    out.clear();
    let header = parse_header(data)?;
    if (header.width, header.height) != (width, height) {
        return Err(DecodeError::SizeMismatch);
    }
    let mut input = Input { data: data.get(HEADER_BYTES..).unwrap_or_default() };
    let pixels = width as usize * height as usize;
    match header.kind {
        LzType::Rgb16 => pass(&mut input, pixels, 1, out, |b: &[u8; 2]| [b[1], b[0]])?,
        LzType::Rgb24 => pass(&mut input, pixels, 0, out, |b: &[u8; 3]| *b)?,
        LzType::Rgb32 => pass(&mut input, pixels, 0, out, |b: &[u8; 3]| [b[0], b[1], b[2], 0])?,
        LzType::Rgba => {
            pass(&mut input, pixels, 0, out, |b: &[u8; 3]| [b[0], b[1], b[2], 0])?;
            alpha_pass(&mut input, out)?;
        }
        LzType::Xxxa | LzType::A8 => pass(&mut input, pixels, 2, out, |b: &[u8; 1]| *b)?,
        _ => {
            let bytes = header.stride as usize * height as usize;
            pass(&mut input, bytes, 2, out, |b: &[u8; 1]| *b)?;
        }
    }
    if !input.data.is_empty() {
        return Err(DecodeError::Corrupt { reason: "bytes after the image" });
    }
    Ok(header)
}

/// The unread part of a stream.
pub(in crate::codec) struct Input<'a> {
    pub data: &'a [u8],
}

impl<'a> Input<'a> {
    #[inline(always)]
    pub(in crate::codec) fn byte(&mut self) -> Result<usize, DecodeError> {
        let (&byte, rest) = self.data.split_first().ok_or(TRUNCATED)?;
        self.data = rest;
        Ok(usize::from(byte))
    }

    pub(in crate::codec) fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.data.split_at_checked(n).ok_or(TRUNCATED)?;
        self.data = rest;
        Ok(bytes)
    }

    /// Reads a length: its first bits are in the `control` byte, extension bytes follow. At most `limit`.
    #[inline(always)]
    pub(in crate::codec) fn length(
        &mut self,
        control: usize,
        bias: usize,
        limit: usize,
    ) -> Result<usize, DecodeError> {
        let mut length = (control >> 5) + bias;
        if control >> 5 == 7 {
            loop {
                let more = self.byte()?;
                length += more;
                if more != 255 {
                    break;
                }
                if length > limit {
                    return Err(DecodeError::Corrupt { reason: "a match leaves the image" });
                }
            }
        }
        if length > limit {
            return Err(DecodeError::Corrupt { reason: "a match leaves the image" });
        }
        Ok(length)
    }

    /// Reads the distance of an LZ match.
    #[inline(always)]
    fn distance(&mut self, control: usize) -> Result<usize, DecodeError> {
        let low = self.byte()?;
        let mut distance = ((control & 31) << 8) + low;
        if low == 255 && control & 31 == 31 {
            distance = 8191 + (self.byte()? << 8);
            distance += self.byte()?;
        }
        Ok(distance + 1)
    }
}

/// Decodes a pass that turns literals of `L` bytes into units of `N` bytes.
fn pass<const L: usize, const N: usize>(
    input: &mut Input<'_>,
    units: usize,
    bias: usize,
    out: &mut Vec<u8>,
    expand: impl Fn(&[u8; L]) -> [u8; N],
) -> Result<(), DecodeError> {
    let mut left = units;
    while left > 0 {
        let control = input.byte()?;
        if control < MAX_LITERALS {
            let n = control + 1;
            if n > left {
                return Err(DecodeError::Corrupt { reason: "literals leave the image" });
            }
            put_literals(input.bytes(n * L)?, out, &expand);
            left -= n;
            continue;
        }
        let n = input.length(control, bias, left)?;
        let distance = input.distance(control)?;
        if distance > units - left {
            return Err(DecodeError::Corrupt { reason: "a match begins before the image" });
        }
        repeat(out, distance * N, n * N);
        left -= n;
    }
    Ok(())
}

/// Appends literals as units.
#[inline(always)]
pub(in crate::codec) fn put_literals<const L: usize, const N: usize>(
    literals: &[u8],
    out: &mut Vec<u8>,
    expand: impl Fn(&[u8; L]) -> [u8; N],
) {
    let mut group = [[0; N]; MAX_LITERALS];
    let mut n = 0;
    for (unit, literal) in group.iter_mut().zip(literals.as_chunks().0) {
        *unit = expand(literal);
        n += 1;
    }
    out.extend_from_slice(group.as_flattened().get(..n * N).unwrap_or_default());
}

/// Appends `n` bytes that repeat the bytes from `distance` before the end on.
#[inline(always)]
pub(in crate::codec) fn repeat(out: &mut Vec<u8>, distance: usize, n: usize) {
    let from = out.len() - distance;
    let mut left = n;
    while left > 0 {
        // Each step can repeat everything that is already there, so the steps double.
        let step = left.min(out.len() - from);
        out.extend_from_within(from..from + step);
        left -= step;
    }
}

/// Decodes the alpha bytes of pixels whose colours are already in `out`.
fn alpha_pass(input: &mut Input<'_>, out: &mut [u8]) -> Result<(), DecodeError> {
    let pixels = out.as_chunks_mut::<4>().0;
    let mut at = 0;
    while at < pixels.len() {
        let control = input.byte()?;
        let left = pixels.len() - at;
        if control < MAX_LITERALS {
            let n = control + 1;
            if n > left {
                return Err(DecodeError::Corrupt { reason: "literals leave the image" });
            }
            for (pixel, alpha) in pixels[at..at + n].iter_mut().zip(input.bytes(n)?) {
                pixel[3] = *alpha;
            }
            at += n;
            continue;
        }
        let n = input.length(control, 2, left)?;
        let distance = input.distance(control)?;
        if distance > at {
            return Err(DecodeError::Corrupt { reason: "a match begins before the image" });
        }
        for i in at..at + n {
            pixels[i][3] = pixels[i - distance][3];
        }
        at += n;
    }
    Ok(())
}
