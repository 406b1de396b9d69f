//! The client's side of GLZ: decodes streams in the order of their ids and keeps a window. It refuses
//! everything that a server must not send.

use super::{Alpha, Channel, Colour, HEADER_BYTES, Short, carries};
use crate::codec::DecodeError;
use crate::codec::lz::{self, Input, LzType, check_geometry};
use std::collections::VecDeque;

/// The colours of a decoded pixel.
const COLOUR: u32 = 0xff_ffff;
/// Its alpha.
const ALPHA: u32 = 0xff00_0000;

const OUTSIDE: DecodeError = DecodeError::Corrupt { reason: "a match leaves the image that it refers to" };

/// A decoder and its window.
#[derive(Debug, Default)]
pub struct Decoder {
    images: VecDeque<(u64, LzType, Vec<u32>)>,
    /// Id of the next image.
    id: u64,
}

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedImage {
    /// Type of the stream.
    pub kind: LzType,
    /// Pixels, at least 1.
    pub width: u32,
    /// Pixels, at least 1.
    pub height: u32,
    /// Whether the first row of the stream is the top one.
    pub top_down: bool,
    /// Id of the image.
    pub id: u64,
    /// How many ids before this image the oldest one in the window is.
    pub win_head_dist: u32,
    /// Packed rows in the stream's order, in the bitmap format of the stream's type.
    pub pixels: Vec<u8>,
}

impl Decoder {
    /// Number of units in the window.
    #[must_use]
    pub fn units(&self) -> usize {
        self.images.iter().map(|(_, _, pixels)| pixels.len()).sum()
    }

    /// Decodes the next image.
    ///
    /// # Errors
    /// The header is wrong, the id is not the next one, or the stream is corrupt or refers to an image that
    /// is not in the window.
    pub fn decode(&mut self, data: &[u8]) -> Result<DecodedImage, DecodeError> {
        let (header, body) = data.split_at_checked(HEADER_BYTES).ok_or(DecodeError::Truncated)?;
        let word =
            |at: usize| header.get(at..).and_then(|h| h.first_chunk()).map_or(0, |w| u32::from_be_bytes(*w));
        if word(0) != lz::MAGIC {
            return Err(DecodeError::Header { field: "magic" });
        }
        if word(4) != lz::VERSION {
            return Err(DecodeError::Header { field: "version" });
        }
        let flags = header[8];
        let kind = LzType::try_from(u32::from(flags & 15))
            .ok()
            .filter(|kind| carries(*kind) && flags >> 5 == 0)
            .ok_or(DecodeError::Header { field: "type" })?;
        let (width, height) = (word(9), word(13));
        check_geometry(kind, width, height, word(17))?;
        let id = u64::from(word(21)) << 32 | u64::from(word(25));
        let win_head_dist = word(29);
        if id != self.id {
            return Err(DecodeError::Header { field: "id" });
        }
        if u64::from(win_head_dist) > id {
            return Err(DecodeError::Header { field: "win_head_dist" });
        }
        let head = id - u64::from(win_head_dist);
        let units = width as usize * height as usize;
        let mut input = Input { data: body };
        let mut pixels = Vec::new();
        match kind {
            LzType::Rgb16 => self.pass::<Short>(&mut input, kind, head, units, &mut pixels)?,
            LzType::Rgba => {
                self.pass::<Colour>(&mut input, kind, head, units, &mut pixels)?;
                self.alpha_pass(&mut input, kind, head, &mut pixels)?;
            }
            _ => self.pass::<Colour>(&mut input, kind, head, units, &mut pixels)?,
        }
        if !input.data.is_empty() {
            return Err(DecodeError::Corrupt { reason: "bytes after the image" });
        }
        let bytes = pixels.iter().flat_map(|p| {
            let size = match kind {
                LzType::Rgb16 => 2,
                LzType::Rgb24 => 3,
                _ => 4,
            };
            p.to_le_bytes().into_iter().take(size)
        });
        let decoded = DecodedImage {
            kind,
            width,
            height,
            top_down: flags & 16 != 0,
            id,
            win_head_dist,
            pixels: bytes.collect(),
        };
        self.images.push_back((id, kind, pixels));
        self.images.retain(|(old, ..)| *old >= head);
        self.id += 1;
        Ok(decoded)
    }

    /// The pixels of an image in the window.
    fn older(&self, id: u64, kind: LzType, head: u64) -> Result<&[u32], DecodeError> {
        let image = self.images.iter().find(|(old, ..)| *old == id && *old >= head);
        match image {
            Some((_, old, pixels)) if *old == kind => Ok(pixels),
            Some(_) => Err(DecodeError::Corrupt { reason: "a match in an image of another type" }),
            None => Err(DecodeError::Corrupt { reason: "a match in an image that is not there" }),
        }
    }

    fn pass<C: Channel>(
        &self,
        input: &mut Input<'_>,
        kind: LzType,
        head: u64,
        units: usize,
        out: &mut Vec<u32>,
    ) -> Result<(), DecodeError> {
        while out.len() < units {
            let left = units - out.len();
            match take::<C>(input, left)? {
                Code::Literals(bytes) => out.extend(bytes.chunks_exact(C::UNIT).map(|bytes| {
                    let mut wide = [0; 4];
                    wide[..bytes.len()].copy_from_slice(bytes);
                    let unit = u32::from_le_bytes(wide);
                    // The high byte of 15-bit pixels comes first.
                    if C::UNIT == 2 { unit.swap_bytes() >> 16 } else { unit }
                })),
                Code::Match { p, i: 0, count } => {
                    let from = out.len().checked_sub(p + 1).ok_or(OUTSIDE)?;
                    for k in from..from + count {
                        out.push(out[k]);
                    }
                }
                Code::Match { p, i, count } => {
                    let id = self.id.checked_sub(i).ok_or(OUTSIDE)?;
                    let theirs = self.older(id, kind, head)?.get(p..p + count).ok_or(OUTSIDE)?;
                    out.extend_from_slice(theirs);
                }
            }
        }
        // The alpha pass keeps the colours.
        if C::UNIT == 3 {
            out.iter_mut().for_each(|pixel| *pixel &= COLOUR);
        }
        Ok(())
    }

    fn alpha_pass(
        &self,
        input: &mut Input<'_>,
        kind: LzType,
        head: u64,
        out: &mut [u32],
    ) -> Result<(), DecodeError> {
        let mut at = 0;
        while at < out.len() {
            let left = out.len() - at;
            match take::<Alpha>(input, left)? {
                Code::Literals(bytes) => {
                    for alpha in bytes {
                        out[at] |= u32::from(*alpha) << 24;
                        at += 1;
                    }
                }
                Code::Match { p, i: 0, count } => {
                    let distance = p + 1;
                    if distance > at {
                        return Err(OUTSIDE);
                    }
                    for _ in 0..count {
                        out[at] |= out[at - distance] & ALPHA;
                        at += 1;
                    }
                }
                Code::Match { p, i, count } => {
                    let id = self.id.checked_sub(i).ok_or(OUTSIDE)?;
                    let theirs = self.older(id, kind, head)?.get(p..p + count).ok_or(OUTSIDE)?;
                    for unit in theirs {
                        out[at] |= unit & ALPHA;
                        at += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

enum Code<'a> {
    Literals(&'a [u8]),
    Match { p: usize, i: u64, count: usize },
}

/// Reads a control byte and its literals or match, of at most `left` units.
fn take<'a, C: Channel>(input: &mut Input<'a>, left: usize) -> Result<Code<'a>, DecodeError> {
    let control = input.byte()?;
    if control < 32 {
        if control >= left {
            return Err(DecodeError::Corrupt { reason: "literals leave the image" });
        }
        return Ok(Code::Literals(input.bytes((control + 1) * C::UNIT)?));
    }
    let count = input.length(control, C::BIAS, left)?;
    let mut p = control & 15 | input.byte()? << 4;
    let t = input.byte()?;
    let extra = t >> 6;
    let mut i;
    if control & 16 == 0 {
        i = t & 63;
        for k in 0..extra {
            i |= input.byte()? << (6 + 8 * k);
        }
    } else {
        p |= (t & 31) << 12;
        i = 0;
        for k in 0..extra {
            i |= input.byte()? << (8 * k);
        }
        if t & 32 != 0 {
            p |= input.byte()? << 17;
        }
    }
    Ok(Code::Match { p, i: i as u64, count })
}
