//! The rectangles of a region in bands of rows, and what two regions make together, band by band.

use super::Region;
use crate::geometry::Rect;

/// What two regions make together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
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

/// The bands of a canonical list of rectangles.
pub(super) struct Bands<'a>(pub(super) &'a [Rect]);

impl<'a> Bands<'a> {
    /// Takes out the bands that end above row `y`.
    fn take_above(&mut self, y: i32) -> &'a [Rect] {
        let (above, rest) = self.0.split_at(self.0.partition_point(|r| r.bottom <= y));
        self.0 = rest;
        above
    }
}

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
pub(super) struct Builder {
    rects: Vec<Rect>,
    /// Index in `rects` of the last band's first rectangle.
    last: usize,
}

impl Builder {
    pub(super) fn with_capacity(rects: usize) -> Self {
        Self { rects: Vec::with_capacity(rects), last: 0 }
    }

    /// Adds the band of rows `top..bottom` with the rectangles that `fill` appends to the list.
    pub(super) fn band(&mut self, top: i32, bottom: i32, fill: impl FnOnce(&mut Vec<Rect>)) {
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

    /// Adds bands that follow each other in a region, of which the first one cannot be joined with what is there.
    fn copy(&mut self, bands: &[Rect]) {
        let Some(last) = bands.last() else { return };
        count_steps(bands.len());
        self.last = self.rects.len() + bands.partition_point(|r| r.top < last.top);
        self.rects.extend_from_slice(bands);
    }

    /// Adds what a region has below row `y`: a part of the first band, and the rest.
    fn copy_below(&mut self, y: i32, first: Option<&[Rect]>, rest: Bands<'_>) {
        let Some(band @ [r, ..]) = first else { return };
        let top = r.top.max(y);
        count_steps(band.len());
        self.band(top, r.bottom, |rects| rects.extend(band.iter().map(|r| Rect { top, ..*r })));
        self.copy(rest.0);
    }

    pub(super) fn finish(self) -> Region {
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

#[cfg(test)]
thread_local! {
    /// Rectangles and edges that this thread has looked at.
    pub(super) static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
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

pub(super) fn combine(a: &[Rect], b: &[Rect], op: Op) -> Region {
    combine_within(a, b, op, usize::MAX).unwrap_or_default()
}

/// Combines two regions; `None` if the result has more than `limit` rectangles.
pub(super) fn combine_within(a: &[Rect], b: &[Rect], op: Op, limit: usize) -> Option<Region> {
    let mut out = Builder::with_capacity(a.len() + b.len() + 2);
    let (mut a_bands, mut b_bands) = (Bands(a), Bands(b));
    // Most regions meet in few bands. Those above the other region stay or go as they are.
    if let (Some(first_a), Some(first_b)) = (a.first(), b.first()) {
        let (a_above, b_above) = (a_bands.take_above(first_b.top), b_bands.take_above(first_a.top));
        if op != Op::Intersect {
            out.copy(a_above);
        }
        if op == Op::Union {
            out.copy(b_above);
        }
    }
    let (mut a_band, mut b_band) = (a_bands.next(), b_bands.next());
    let mut y = i32::MIN;
    loop {
        let extent = |band: Option<&[Rect]>| band.and_then(<[Rect]>::first).map(|r| (r.top, r.bottom));
        let (a_rows, b_rows) = (extent(a_band), extent(b_band));
        let (a_first, b_first) = match (a_rows, b_rows) {
            (Some(r), Some(s)) => (r, s),
            (Some(_), None) if op != Op::Intersect => {
                out.copy_below(y, a_band, a_bands);
                break;
            }
            (None, Some(_)) if op == Op::Union => {
                out.copy_below(y, b_band, b_bands);
                break;
            }
            _ => break,
        };
        let top = a_first.0.min(b_first.0).max(y);
        // A band of the result ends where a band of either operand begins or ends.
        let next = |(first, last): (i32, i32)| if first > top { first } else { last };
        let bottom = next(a_first).min(next(b_first));
        let in_a = a_band.filter(|_| a_first.0 <= top).unwrap_or(&[]);
        let in_b = b_band.filter(|_| b_first.0 <= top).unwrap_or(&[]);
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
        if a_first.1 <= y {
            a_band = a_bands.next();
        }
        if b_first.1 <= y {
            b_band = b_bands.next();
        }
    }
    (out.rects.len() <= limit).then(|| out.finish())
}

/// Whether two bands share a column. Searches the longer one for the rectangles of the shorter one.
pub(super) fn bands_meet(a: &[Rect], b: &[Rect]) -> bool {
    let (few, many) = if a.len() < b.len() { (a, b) } else { (b, a) };
    few.iter().any(|r| {
        count_search(many.len());
        many.get(many.partition_point(|s| s.right <= r.left)).is_some_and(|s| s.left < r.right)
    })
}

/// Whether every column of `inner` is in `outer`.
pub(super) fn band_holds(outer: &[Rect], inner: &[Rect]) -> bool {
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
