//! Sets of pixels as rectangles, with the usual set operations.
//!
//! A region is kept in one canonical form, so that equal sets compare equal: rectangles sorted by row, then column;
//! all rectangles of a band share top and bottom; rectangles of a band neither overlap nor touch; bands that touch
//! differ in their columns. Every operation costs time linear in the rectangles of its operands.

use crate::draw::Clip;
use crate::geometry::{Point, Rect};
use crate::limits::MAX_REGION_RECTS;

/// A set of pixels. `Default` is the empty set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Region {
    bounds: Rect,
    /// The rectangles. Empty if `bounds` is the only one, which saves an allocation in the common case.
    rects: Vec<Rect>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Union,
    Intersect,
    Subtract,
}

impl Op {
    const fn keeps(self, in_a: bool, in_b: bool) -> bool {
        match self {
            Self::Union => in_a || in_b,
            Self::Intersect => in_a && in_b,
            Self::Subtract => in_a && !in_b,
        }
    }
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

/// The bands of a canonical list of rectangles.
struct Bands<'a>(&'a [Rect]);

impl<'a> Iterator for Bands<'a> {
    type Item = &'a [Rect];

    fn next(&mut self) -> Option<&'a [Rect]> {
        let top = self.0.first()?.top;
        // Most bands are short. The ends of long ones are found without a walk.
        let end = match self.0.iter().take(8).position(|r| r.top != top) {
            Some(end) => end,
            None => self.0.partition_point(|r| r.top <= top),
        };
        let (band, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(band)
    }
}

/// Collects bands from top to bottom, and joins adjacent ones with equal columns.
struct Builder {
    rects: Vec<Rect>,
    /// Index in `rects` of the last band's first rectangle.
    last: usize,
}

impl Builder {
    fn with_capacity(rects: usize) -> Self {
        Self { rects: Vec::with_capacity(rects), last: 0 }
    }

    /// Adds the band of rows `top..bottom` with the rectangles that `fill` appends to the list.
    fn band(&mut self, top: i32, bottom: i32, fill: impl FnOnce(&mut Vec<Rect>)) {
        if top >= bottom {
            return;
        }
        let new = self.rects.len();
        fill(&mut self.rects);
        let (before, band) = self.rects.split_at_mut(new);
        if band.is_empty() {
            return;
        }
        let last = &mut before[self.last..];
        let alike = last.len() == band.len()
            && last.first().is_some_and(|r| r.bottom == top)
            && last.iter().zip(&*band).all(|(r, s)| (r.left, r.right) == (s.left, s.right));
        if alike {
            for r in last {
                r.bottom = bottom;
            }
            self.rects.truncate(new);
            return;
        }
        self.last = new;
    }

    fn finish(self) -> Region {
        let (Some(first), Some(last)) = (self.rects.first(), self.rects.last()) else {
            return Region::new();
        };
        let (left, right) =
            self.rects.iter().fold((first.left, first.right), |(l, r), s| (l.min(s.left), r.max(s.right)));
        let bounds = Rect { left, top: first.top, right, bottom: last.bottom };
        let rects = if self.rects.len() == 1 { Vec::new() } else { self.rects };
        Region { bounds, rects }
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
thread_local! {
    /// Rectangles and edges that this thread has looked at.
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts for tests, which check how the number grows.
#[inline(always)]
fn count_steps(_steps: usize) {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + _steps));
}

/// What a binary search costs.
#[inline(always)]
fn count_search(_among: usize) {
    #[cfg(test)]
    count_steps(_among.max(1).ilog2() as usize + 1);
}

fn combine(a: &[Rect], b: &[Rect], op: Op) -> Region {
    combine_within(a, b, op, usize::MAX).unwrap_or_default()
}

/// Combines two regions; `None` if the result has more than `limit` rectangles.
fn combine_within(a: &[Rect], b: &[Rect], op: Op, limit: usize) -> Option<Region> {
    let mut out = Builder::with_capacity(a.len() + b.len() + 2);
    let (mut a_bands, mut b_bands) = (Bands(a), Bands(b));
    let (mut a_band, mut b_band) = (a_bands.next(), b_bands.next());
    let mut y = i32::MIN;
    loop {
        let extent = |band: Option<&[Rect]>| band.and_then(<[Rect]>::first).map(|r| (r.top, r.bottom));
        let (a_rows, b_rows) = (extent(a_band), extent(b_band));
        let top = match (a_rows, b_rows) {
            (None, None) => break,
            (Some(_), None) if op == Op::Intersect => break,
            (None, Some(_)) if op != Op::Union => break,
            (Some(r), None) | (None, Some(r)) => r.0,
            (Some(r), Some(s)) => r.0.min(s.0),
        }
        .max(y);
        // A band of the result ends where a band of either operand begins or ends.
        let next = |rows: Option<(i32, i32)>| match rows {
            None => i32::MAX,
            Some((t, _)) if t > top => t,
            Some((_, b)) => b,
        };
        let bottom = next(a_rows).min(next(b_rows));
        let active = |band: Option<&'_ [Rect]>| matches!(extent(band), Some((t, _)) if t <= top);
        let in_a = if active(a_band) { a_band.unwrap_or(&[]) } else { &[] };
        let in_b = if active(b_band) { b_band.unwrap_or(&[]) } else { &[] };
        out.band(top, bottom, |rects| match (in_a, in_b) {
            (alone, []) if op != Op::Intersect => {
                count_steps(alone.len());
                rects.extend(alone.iter().map(|r| Rect { top, bottom, ..*r }));
            }
            _ => merge(in_a, in_b, op, &mut |left, right| rects.push(Rect { left, top, right, bottom })),
        });
        if out.rects.len() > limit {
            return None;
        }
        y = bottom;
        if a_rows.is_some_and(|r| r.1 <= y) {
            a_band = a_bands.next();
        }
        if b_rows.is_some_and(|r| r.1 <= y) {
            b_band = b_bands.next();
        }
    }
    Some(out.finish())
}

/// Whether two bands share a column. Searches the longer one for the rectangles of the shorter one.
fn bands_meet(a: &[Rect], b: &[Rect]) -> bool {
    let (few, many) = if a.len() < b.len() { (a, b) } else { (b, a) };
    few.iter().any(|r| {
        count_search(many.len());
        many.get(many.partition_point(|s| s.right <= r.left)).is_some_and(|s| s.left < r.right)
    })
}

/// Whether every column of `inner` is in `outer`.
fn band_holds(outer: &[Rect], inner: &[Rect]) -> bool {
    if outer.len() < inner.len() {
        // Each outer rectangle contains a run of inner ones; together they must contain all.
        let held = |o: &Rect| {
            count_search(inner.len());
            let from = inner.partition_point(|s| s.left < o.left);
            inner.partition_point(|s| s.right <= o.right).saturating_sub(from)
        };
        return outer.iter().map(held).sum::<usize>() == inner.len();
    }
    inner.iter().all(|r| {
        count_search(outer.len());
        outer
            .get(outer.partition_point(|s| s.right <= r.left))
            .is_some_and(|s| s.left <= r.left && r.right <= s.right)
    })
}

/// Combines the columns of two bands.
fn merge(a: &[Rect], b: &[Rect], op: Op, out: &mut impl FnMut(i32, i32)) {
    // Edges alternate between left and right, ascending; at equal columns both operands switch at once.
    let edge =
        |band: &[Rect], i: usize| band.get(i / 2).map(|r| if i.is_multiple_of(2) { r.left } else { r.right });
    let (mut i, mut j) = (0, 0);
    let mut start = None;
    loop {
        count_steps(1);
        let x = match (edge(a, i), edge(b, j)) {
            (None, None) => break,
            (Some(x), None) | (None, Some(x)) => x,
            (Some(x), Some(z)) => x.min(z),
        };
        if edge(a, i) == Some(x) {
            i += 1;
        }
        if edge(b, j) == Some(x) {
            j += 1;
        }
        let inside = op.keeps(i % 2 == 1, j % 2 == 1);
        match start {
            None if inside => start = Some(x),
            Some(left) if !inside => {
                out(left, x);
                start = None;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "region_tests.rs"]
mod tests;
