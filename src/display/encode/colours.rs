//! Looks pixels up in a small table of colours.

use crate::image::{Bitmap, BitmapFormat, Palette};
use std::sync::Arc;

/// Colours that a table holds at most.
const MOST: usize = 16;

/// Reads a row of pixels as 0x00RRGGBB. `None`: the format has no such pixels, or some of them have alpha.
pub(super) fn load(format: BitmapFormat, row: &[u8], pixels: &mut Vec<u32>) -> Option<()> {
    pixels.clear();
    match format {
        BitmapFormat::TwentyFourBit => {
            pixels.extend(row.as_chunks().0.iter().map(|[b, g, r]| u32::from_le_bytes([*b, *g, *r, 0])));
        }
        BitmapFormat::ThirtyTwoBit => {
            pixels.extend(row.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes) & 0xff_ffff));
        }
        BitmapFormat::Rgba => {
            pixels.extend(row.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)));
            if pixels.iter().fold(0, |all, pixel| all | pixel) > 0xff_ffff {
                return None;
            }
        }
        _ => return None,
    }
    Some(())
}

/// The colours found so far.
#[derive(Debug, Default)]
pub(super) struct Colours {
    found: Vec<u32>,
    /// The two that were found last.
    last: [u8; 2],
}

impl Colours {
    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// The colour of an index.
    pub(super) fn get(&self, index: u8) -> Option<u32> {
        self.found.get(usize::from(index)).copied()
    }

    /// Forgets all colours but the first `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        self.found.truncate(count);
        self.last = [0; 2];
    }

    /// Appends the indexes of these pixels; `None`: they have too many colours.
    pub(super) fn look_up(&mut self, pixels: &[u32], indexes: &mut Vec<u8>) -> Option<()> {
        // Text has two colours, so most rows need no search, and most words a single one.
        if self.look_up_last(pixels, indexes) {
            return Some(());
        }
        if let Some(&a) = pixels.first()
            && let Some(&b) = pixels.iter().find(|&&pixel| pixel != a)
        {
            self.last = [self.index_of(a)?, self.index_of(b)?];
            if self.look_up_last(pixels, indexes) {
                return Some(());
            }
        }
        let (mut last, mut index) = (None, 0);
        for &pixel in pixels {
            if last != Some(pixel) {
                index = self.index_of(pixel)?;
                last = Some(pixel);
                if index != self.last[1] {
                    self.last = [self.last[1], index];
                }
            }
            indexes.push(index);
        }
        Some(())
    }

    /// Appends the indexes of pixels that have the colours found last; `false`, and nothing is appended, if some have others.
    fn look_up_last(&self, pixels: &[u32], indexes: &mut Vec<u8>) -> bool {
        match self.last.map(|at| self.found.get(usize::from(at))) {
            [Some(&a), Some(&b)] => two_colours(pixels, [a, b], self.last, indexes),
            _ => false,
        }
    }

    fn index_of(&mut self, colour: u32) -> Option<u8> {
        let known = self.found.iter().position(|&known| known == colour);
        let at = known.unwrap_or_else(|| {
            self.found.push(colour);
            self.found.len() - 1
        });
        u8::try_from(at).ok().filter(|_| self.found.len() <= MOST)
    }

    /// The picture of these indexes, in rows of `width`: with one bit per pixel for two colours, else with four.
    pub(super) fn picture(&self, indexes: &[u8], width: usize, top_down: bool) -> Option<Bitmap> {
        let mut entries = self.found.clone();
        let (format, pixels) = if entries.len() <= 2 {
            // Clients take two colours from such a palette, even if the picture uses one of them.
            entries.resize(2, 0);
            (BitmapFormat::OneBitBe, pack::<8>(indexes, width))
        } else {
            (BitmapFormat::FourBitBe, pack::<2>(indexes, width))
        };
        let height = indexes.len().checked_div(width)?;
        Some(Bitmap {
            format,
            width: u32::try_from(width).ok()?,
            height: u32::try_from(height).ok()?,
            stride: u32::try_from(pixels.len().checked_div(height)?).ok()?,
            top_down,
            unstable: false,
            palette: Some(Arc::new(Palette { unique: 0, entries })),
            pixels: Arc::new(pixels),
        })
    }
}

/// Appends the indexes of pixels that have one of these colours; `false`, and nothing is appended, if some have others.
fn two_colours(pixels: &[u32], [a, b]: [u32; 2], [a_at, b_at]: [u8; 2], indexes: &mut Vec<u8>) -> bool {
    /// Several pixels at a time, which the compiler makes vectors of.
    const STEP: usize = 16;
    let known = indexes.len();
    indexes.resize(known.saturating_add(pixels.len()), 0);
    let mut others = 0;
    let mut look_up = |pixel: u32, index: &mut u8| {
        let (is_a, is_b) = (u8::from(pixel == a), u8::from(pixel == b));
        others |= (is_a | is_b) ^ 1;
        *index = a_at ^ (a_at ^ b_at) & is_b.wrapping_neg();
    };
    let (to, to_rest) = indexes.get_mut(known..).unwrap_or_default().as_chunks_mut::<STEP>();
    let (from, from_rest) = pixels.as_chunks::<STEP>();
    for (to, from) in to.iter_mut().zip(from) {
        from.iter().zip(to).for_each(|(&pixel, index)| look_up(pixel, index));
    }
    from_rest.iter().zip(to_rest).for_each(|(&pixel, index)| look_up(pixel, index));
    if others != 0 {
        indexes.truncate(known);
    }
    others == 0
}

/// Joins so many indexes to a byte, the leftmost in the highest bits.
pub(super) fn pack<const PER_BYTE: usize>(indexes: &[u8], width: usize) -> Vec<u8> {
    let join = |indexes: &[u8; PER_BYTE]| -> u8 {
        match *indexes.as_slice() {
            // The product brings bit 0 of each byte to the highest byte, that of the first byte leftmost.
            [a, b, c, d, e, f, g, h] => {
                let bits = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                (bits.wrapping_mul(0x8040_2010_0804_0201) >> 56) as u8
            }
            _ => indexes.iter().fold(0u8, |byte, index| byte << (8 / PER_BYTE) | index),
        }
    };
    let mut packed = Vec::with_capacity(indexes.len() / PER_BYTE + indexes.len() / width.max(1));
    for row in indexes.chunks_exact(width.max(1)) {
        let (whole, rest) = row.as_chunks();
        packed.extend(whole.iter().map(join));
        if !rest.is_empty() {
            let mut last = [0; PER_BYTE];
            last.iter_mut().zip(rest).for_each(|(to, index)| *to = *index);
            packed.push(join(&last));
        }
    }
    packed
}
