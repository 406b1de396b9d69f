//! The pixels that a command may touch: box, surface, clip and mask (canvas.md 3).

use super::DrawError;
use super::region::Region;
use super::zeroed::zeroed;
use crate::geometry::{Point, Rect, index, index_i32};

/// A horizontal run of pixels: columns `left..right` of row `y`. Never empty, and always inside the bounds of
/// its area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Row.
    pub y: i32,
    /// First column.
    pub left: i32,
    /// Column after the last one.
    pub right: i32,
}

impl Span {
    /// Number of pixels.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "spans are never empty")]
    pub fn len(&self) -> usize {
        index_i32(self.right - self.left)
    }
}

/// A region, further restricted by a mask of one bit per pixel.
#[derive(Clone, Debug, Default)]
pub struct Area {
    region: Region,
    mask: Option<BitMask>,
}

impl Area {
    /// The pixels without regard to the mask.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// A rectangle that contains all pixels.
    #[must_use]
    pub fn bounds(&self) -> Rect {
        self.region.bounds()
    }

    /// Whether the area is known to be empty. A masked area may still have no pixels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.region.is_empty()
    }

    /// Whether a mask restricts the region.
    #[must_use]
    pub fn is_masked(&self) -> bool {
        self.mask.is_some()
    }

    /// The part of the area inside a rectangle.
    #[must_use]
    pub fn intersect_rect(&self, rect: &Rect) -> Self {
        Self { region: self.region.intersect_rect(rect), mask: self.mask.clone() }
    }

    /// Restricts the area to the pixels whose bits are set in a mask.
    pub(super) fn set_mask(&mut self, mask: BitMask) {
        self.region = self.region.intersect_rect(&mask.bounds);
        self.mask = Some(mask);
    }

    /// Whether the pixel belongs to the area.
    #[must_use]
    pub fn contains(&self, p: Point) -> bool {
        self.region.contains_point(p) && self.mask.as_ref().is_none_or(|m| m.get(p.x, p.y))
    }

    /// Calls `f` for disjoint runs that together are exactly the area, by rectangle of the region and then by
    /// row.
    pub fn for_each_span(&self, mut f: impl FnMut(Span)) {
        for rect in self.region.rects() {
            for y in rect.top..rect.bottom {
                match &self.mask {
                    None => f(Span { y, left: rect.left, right: rect.right }),
                    Some(mask) => mask.for_each_run(y, rect.left, rect.right, &mut f),
                }
            }
        }
    }
}

impl Area {
    /// Calls `f` for disjoint rectangles that together are exactly the area.
    pub(super) fn for_each_block(&self, mut f: impl FnMut(Rect)) {
        if self.mask.is_none() {
            self.region.rects().iter().for_each(|rect| f(*rect));
        } else {
            self.for_each_span(|s| f(Rect::new(s.left, s.y, s.right, s.y + 1)));
        }
    }
}

impl From<Region> for Area {
    fn from(region: Region) -> Self {
        Self { region, mask: None }
    }
}

/// One bit per pixel of a rectangle of the destination.
#[derive(Clone, Debug)]
pub(super) struct BitMask {
    bounds: Rect,
    words_per_row: usize,
    words: Vec<u64>,
}

impl BitMask {
    /// An all-zero mask for `bounds`.
    pub(super) fn new(bounds: Rect) -> Result<Self, DrawError> {
        let words_per_row = index(bounds.width()).div_ceil(64);
        Ok(Self { bounds, words_per_row, words: zeroed(words_per_row * index(bounds.height()))? })
    }

    /// Sets the bits of row `y` from native values (0 or 1). The first value is for column `bounds().left`.
    pub(super) fn set_row(&mut self, y: i32, bits: &[u32]) {
        let start = index_i32(y - self.bounds.top) * self.words_per_row;
        for (word, bits) in self.words[start..].iter_mut().take(self.words_per_row).zip(bits.chunks(64)) {
            *word = bits.iter().enumerate().fold(0, |w, (i, b)| w | u64::from(*b & 1) << i);
        }
    }

    fn row(&self, y: i32) -> &[u64] {
        let start = index_i32(y - self.bounds.top) * self.words_per_row;
        self.words.get(start..start + self.words_per_row).unwrap_or(&[])
    }

    fn get(&self, x: i32, y: i32) -> bool {
        let bit = index_i32(x - self.bounds.left);
        self.bounds.contains_point(Point { x, y })
            && self.row(y).get(bit / 64).is_some_and(|w| w >> (bit % 64) & 1 == 1)
    }

    /// Calls `f` for the runs of set bits among columns `left..right` of row `y`. The columns lie inside the
    /// bounds.
    fn for_each_run(&self, y: i32, left: i32, right: i32, f: &mut impl FnMut(Span)) {
        let row = self.row(y);
        let end = index_i32(right - self.bounds.left);
        let mut at = index_i32(left - self.bounds.left);
        let column = |bit: usize| self.bounds.left + i32::try_from(bit).unwrap_or(i32::MAX);
        while let Some(start) = next_bit(row, at, end, true) {
            at = next_bit(row, start, end, false).unwrap_or(end);
            f(Span { y, left: column(start), right: column(at) });
        }
    }
}

/// The first bit in `at..end` that equals `value`.
fn next_bit(row: &[u64], mut at: usize, end: usize, value: bool) -> Option<usize> {
    let flip = if value { 0 } else { u64::MAX };
    while at < end {
        let word = (row.get(at / 64)? ^ flip) >> (at % 64);
        if word != 0 {
            let found = at + word.trailing_zeros() as usize;
            return (found < end).then_some(found);
        }
        at = (at / 64 + 1) * 64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn spans_are_the_set_bits(bits in proptest::collection::vec(0u32..2, 1..300), cut in 0usize..300) {
            let width = i32::try_from(bits.len()).unwrap();
            let cut = i32::try_from(cut.min(bits.len())).unwrap();
            let bounds = Rect::new(5, 7, 5 + width, 8);
            let mut mask = BitMask::new(bounds).unwrap();
            mask.set_row(7, &bits);
            let mut area = Area::from(Region::from(Rect::new(5 + cut, 0, 400, 20)));
            area.set_mask(mask);
            let mut seen = Vec::new();
            area.for_each_span(|s| {
                assert_eq!(s.y, 7);
                seen.extend(s.left..s.right);
            });
            let want: Vec<i32> =
                (cut..width).filter(|i| bits[usize::try_from(*i).unwrap()] == 1).map(|i| i + 5).collect();
            prop_assert_eq!(&seen, &want);
            for x in 0..400 {
                prop_assert_eq!(area.contains(Point { x, y: 7 }), want.contains(&x));
            }
        }
    }
}
