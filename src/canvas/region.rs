//! Sets of pixels as rectangles, with the usual set operations.
//!
//! A region is kept in one canonical form, so that equal sets compare equal: rectangles sorted by row, then column;
//! all rectangles of a band share top and bottom; rectangles of a band neither overlap nor touch; bands that touch
//! differ in their columns. Every operation costs time linear in the rectangles of its operands.

mod bands;

use crate::draw::Clip;
use crate::geometry::{Point, Rect};
use crate::limits::MAX_REGION_RECTS;
use bands::{Bands, Builder, Op, band_holds, bands_meet, combine, combine_within};

/// A set of pixels. `Default` is the empty set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Region {
    bounds: Rect,
    /// The rectangles. Empty if `bounds` is the only one, which saves an allocation in the common case.
    rects: Vec<Rect>,
}

impl Region {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { bounds: Rect::new(0, 0, 0, 0), rects: Vec::new() }
    }

    /// The union of any rectangles: overlapping, empty or inverted ones too.
    #[must_use]
    pub fn from_rects(rects: &[Rect]) -> Self {
        match rects {
            [] => Self::new(),
            [one] => Self::from(*one),
            _ => {
                let (left, right) = rects.split_at(rects.len() / 2);
                Self::from_rects(left).union(&Self::from_rects(right))
            }
        }
    }

    /// The same if the result, and what is joined on the way to it, has at most `limit` rectangles. Rectangles that cross
    /// like a grid would otherwise make far more of them than they are.
    #[must_use]
    pub fn try_from_rects(rects: &[Rect], limit: usize) -> Option<Self> {
        match rects {
            [] => Some(Self::new()),
            [one] => Some(Self::from(*one)),
            _ => {
                let (left, right) = rects.split_at(rects.len() / 2);
                let (left, right) = (Self::try_from_rects(left, limit)?, Self::try_from_rects(right, limit)?);
                combine_within(left.rects(), right.rects(), Op::Union, limit)
            }
        }
    }

    /// What a clip leaves of a rectangle. `None`: the clip is more complicated than any that is drawn.
    #[must_use]
    pub fn clipped(rect: &Rect, clip: &Clip) -> Option<Self> {
        match clip {
            Clip::None => Some(Self::from(*rect)),
            // Cut first: what lies outside costs nothing.
            Clip::Rects(rects) => {
                let cut: Vec<Rect> =
                    rects.iter().map(|r| r.intersect(rect)).filter(|r| !r.is_empty()).collect();
                Self::try_from_rects(&cut, MAX_REGION_RECTS)
            }
        }
    }

    /// The rectangles in canonical order: disjoint, by row, then by column.
    #[must_use]
    pub fn rects(&self) -> &[Rect] {
        if self.rects.is_empty() && !self.bounds.is_empty() {
            std::slice::from_ref(&self.bounds)
        } else {
            &self.rects
        }
    }

    /// The rectangles that contain pixels of row `y`, by column.
    #[must_use]
    pub fn row(&self, y: i32) -> &[Rect] {
        let rects = self.rects();
        let first = rects.partition_point(|r| r.bottom <= y);
        let band = &rects[first..];
        &band[..band.partition_point(|r| r.top <= y)]
    }

    /// The smallest rectangle that contains the region; (0, 0, 0, 0) for the empty set.
    #[must_use]
    pub fn bounds(&self) -> Rect {
        self.bounds
    }

    /// Whether no pixel is in the region.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// Whether the region is one rectangle (or empty).
    #[must_use]
    pub fn is_rect(&self) -> bool {
        self.rects.is_empty()
    }

    /// Number of pixels inside.
    #[must_use]
    pub fn area(&self) -> u64 {
        self.rects().iter().map(Rect::area).sum()
    }

    /// Pixels in either region.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.is_empty() || (self.is_rect() && self.bounds.contains(&other.bounds)) {
            return self.clone();
        }
        if self.is_empty() || (other.is_rect() && other.bounds.contains(&self.bounds)) {
            return other.clone();
        }
        combine(self.rects(), other.rects(), Op::Union)
    }

    /// Pixels in both regions.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        if other.is_rect() {
            return self.intersect_rect(&other.bounds);
        }
        if self.is_rect() {
            return other.intersect_rect(&self.bounds);
        }
        if !self.bounds.intersects(&other.bounds) {
            return Self::new();
        }
        combine(self.rects(), other.rects(), Op::Intersect)
    }

    /// Pixels of the region that lie in the rectangle.
    #[must_use]
    pub fn intersect_rect(&self, rect: &Rect) -> Self {
        let common = self.bounds.intersect(rect);
        if common.is_empty() {
            return Self::new();
        }
        if self.is_rect() {
            return Self::from(common);
        }
        if rect.contains(&self.bounds) {
            return self.clone();
        }
        combine(self.rects(), std::slice::from_ref(rect), Op::Intersect)
    }

    /// Pixels of the region that are not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        if !self.bounds.intersects(&other.bounds) {
            return self.clone();
        }
        if other.is_rect() {
            if other.bounds.contains(&self.bounds) {
                return Self::new();
            }
            if self.is_rect() {
                return around_hole(&self.bounds, &other.bounds.intersect(&self.bounds));
            }
        }
        combine(self.rects(), other.rects(), Op::Subtract)
    }

    /// Pixels of the region that are not in `other`; `None` if they make more than `limit` rectangles.
    #[must_use]
    pub fn subtract_within(&self, other: &Self, limit: usize) -> Option<Self> {
        if other.is_rect() || !self.bounds.intersects(&other.bounds) {
            return Some(self.subtract(other)).filter(|rest| rest.rects().len() <= limit);
        }
        combine_within(self.rects(), other.rects(), Op::Subtract, limit)
    }

    /// Pixels of the region that are not in the rectangle.
    #[must_use]
    pub fn subtract_rect(&self, rect: &Rect) -> Self {
        self.subtract(&Self::from(*rect))
    }

    /// Adds a rectangle.
    pub fn add(&mut self, rect: &Rect) {
        *self = self.union(&Self::from(*rect));
    }

    /// The region moved by (dx, dy). Parts that would leave the range of `i32` are lost.
    #[must_use]
    pub fn translate(&self, dx: i32, dy: i32) -> Self {
        if self.is_rect() {
            return Self::from(self.bounds.translate(dx, dy));
        }
        let mut out = Builder::with_capacity(self.rects.len());
        for band in Bands(&self.rects) {
            let Some(first) = band.first() else { continue };
            let (top, bottom) = (first.top.saturating_add(dy), first.bottom.saturating_add(dy));
            out.band(top, bottom, |spans| {
                let moved = band.iter().map(|r| Rect {
                    left: r.left.saturating_add(dx),
                    top,
                    right: r.right.saturating_add(dx),
                    bottom,
                });
                spans.extend(moved.filter(|r| r.left < r.right));
            });
        }
        out.finish()
    }

    /// Whether the pixel is inside.
    #[must_use]
    pub fn contains_point(&self, p: Point) -> bool {
        self.bounds.contains_point(p)
            && self.intersects_rect(&Rect::new(p.x, p.y, p.x.saturating_add(1), p.y.saturating_add(1)))
    }

    /// Whether every pixel of the rectangle is inside; an empty rectangle always is.
    #[must_use]
    pub fn contains_rect(&self, rect: &Rect) -> bool {
        if rect.is_empty() {
            return true;
        }
        if !self.bounds.contains(rect) {
            return false;
        }
        let mut y = rect.top;
        for band in self.bands_from(y) {
            let Some(first) = band.first().filter(|r| r.top <= y) else { return false };
            if !band_holds(band, std::slice::from_ref(rect)) {
                return false;
            }
            y = first.bottom;
            if y >= rect.bottom {
                return true;
            }
        }
        false
    }

    /// Whether every pixel of `other` is inside.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        if let [one] = other.rects() {
            return self.contains_rect(one);
        }
        if !self.bounds.contains(&other.bounds) {
            return other.is_empty();
        }
        // Sweeps both regions once, from top to bottom. Above row `y`, `other` is known to be inside.
        let (mut ours, mut theirs) = (Bands(self.rects()), Bands(other.rects()));
        let (mut band, mut inner) = (ours.next(), theirs.next());
        let mut y = i32::MIN;
        while let Some((first, inner_band)) = inner.and_then(|band| Some((band.first()?, band))) {
            y = y.max(first.top);
            let Some((outer, outer_band)) = band.and_then(|band| Some((band.first()?, band))) else {
                return false;
            };
            if outer.bottom <= y {
                band = ours.next();
                continue;
            }
            if outer.top > y || !band_holds(outer_band, inner_band) {
                return false;
            }
            y = outer.bottom.min(first.bottom);
            if y >= first.bottom {
                inner = theirs.next();
            }
        }
        true
    }

    /// Whether the rectangle and the region share a pixel.
    #[must_use]
    pub fn intersects_rect(&self, rect: &Rect) -> bool {
        if !self.bounds.intersects(rect) {
            return false;
        }
        self.bands_from(rect.top)
            .take_while(|band| band.first().is_some_and(|r| r.top < rect.bottom))
            .any(|band| bands_meet(band, std::slice::from_ref(rect)))
    }

    /// Whether the two regions share a pixel.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        if !self.bounds.intersects(&other.bounds) {
            return false;
        }
        if let [one] = other.rects() {
            return self.intersects_rect(one);
        }
        if let [one] = self.rects() {
            return other.intersects_rect(one);
        }
        // Sweeps both regions once, from top to bottom.
        let (mut ours, mut theirs) = (Bands(self.rects()), Bands(other.rects()));
        let (mut a, mut b) = (ours.next(), theirs.next());
        while let (Some(a_band), Some(b_band)) = (a, b) {
            let (Some(r), Some(s)) = (a_band.first(), b_band.first()) else { return false };
            if r.top.max(s.top) < r.bottom.min(s.bottom) && bands_meet(a_band, b_band) {
                return true;
            }
            let (a_bottom, b_bottom) = (r.bottom, s.bottom);
            if a_bottom <= b_bottom {
                a = ours.next();
            }
            if b_bottom <= a_bottom {
                b = theirs.next();
            }
        }
        false
    }

    /// The bands from the first one on that reaches below row `y`.
    fn bands_from(&self, y: i32) -> Bands<'_> {
        let rects = self.rects();
        Bands(&rects[rects.partition_point(|r| r.bottom <= y)..])
    }
}

impl From<Rect> for Region {
    fn from(rect: Rect) -> Self {
        if rect.is_empty() { Self::new() } else { Self { bounds: rect, rects: Vec::new() } }
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |r: &Rect| format!("({},{})-({},{})", r.left, r.top, r.right, r.bottom);
        f.debug_list().entries(self.rects().iter().map(short)).finish()
    }
}

/// A rectangle minus another one that lies inside it.
fn around_hole(outer: &Rect, hole: &Rect) -> Region {
    let mut rects = [Rect::default(); 4];
    let mut n = 0;
    let mut add = |r: Rect| {
        if !r.is_empty() {
            rects[n] = r;
            n += 1;
        }
    };
    add(Rect { bottom: hole.top, ..*outer });
    add(Rect { top: hole.top, bottom: hole.bottom, right: hole.left, ..*outer });
    add(Rect { top: hole.top, bottom: hole.bottom, left: hole.right, ..*outer });
    add(Rect { top: hole.bottom, ..*outer });
    match rects[..n] {
        [] => Region::new(),
        [one] => Region::from(one),
        _ => {
            let bounds = rects[..n].iter().fold(rects[0], |b, r| b.union(r));
            Region { bounds, rects: rects[..n].to_vec() }
        }
    }
}

#[cfg(test)]
#[path = "region_tests.rs"]
mod tests;
