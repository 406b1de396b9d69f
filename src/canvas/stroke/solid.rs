//! Solid lines, one pixel wide (canvas.md 10.4).

use super::Span;
use crate::geometry::{Point, Rect};

/// Emits the pixels inside `bounds` of the line from `from` (drawn) to `to` (not drawn).
///
/// Clipping never changes the choice of pixels, because the first visible step is computed. `bounds` lies
/// within ±2^30.
pub(super) fn line(from: Point, to: Point, bounds: &Rect, emit: &mut dyn FnMut(Span)) {
    let delta = |a: i32, b: i32| i64::from(b) - i64::from(a);
    let (dx, dy) = (delta(from.x, to.x), delta(from.y, to.y));
    let horizontal = dx.abs() > dy.abs();
    let axes = if horizontal {
        let minor = LineAxis::new(from.y, dy, bounds.top, bounds.bottom);
        Axes { major: LineAxis::new(from.x, dx, bounds.left, bounds.right), minor }
    } else {
        let minor = LineAxis::new(from.x, dx, bounds.left, bounds.right);
        Axes { major: LineAxis::new(from.y, dy, bounds.top, bounds.bottom), minor }
    };
    let Some((first, end)) = axes.visible_steps() else { return };
    if horizontal { axes.emit_rows(first, end, emit) } else { axes.emit_pixels(first, end, emit) }
}

/// One coordinate of a line: its start, length and direction, and the visible part.
struct LineAxis {
    start: i64,
    length: i64,
    sign: i64,
    low: i64,
    high: i64,
}

impl LineAxis {
    fn new(start: i32, delta: i64, low: i32, high: i32) -> Self {
        let sign = if delta < 0 { -1 } else { 1 };
        Self { start: start.into(), length: delta.abs(), sign, low: low.into(), high: high.into() }
    }

    /// The first and last step along this axis that are inside; `None` if no step is.
    fn inside(&self) -> Option<(i64, i64)> {
        let (first, last) = if self.sign > 0 {
            (self.low - self.start, self.high - 1 - self.start)
        } else {
            (self.start - (self.high - 1), self.start - self.low)
        };
        let first = first.max(0);
        (first <= last).then_some((first, last))
    }

    /// The coordinate after `steps` steps. Both ends are 32-bit coordinates.
    fn at(&self, steps: i64) -> i32 {
        i32::try_from(self.start + self.sign * steps).unwrap_or(0)
    }
}

struct Axes {
    major: LineAxis,
    minor: LineAxis,
}

impl Axes {
    /// 1 if the major axis decreases. A line and its reverse then have the same pixels.
    fn bias(&self) -> i64 {
        i64::from(self.major.sign < 0)
    }

    /// Number of minor steps when major step `i` is drawn.
    fn minor_steps(&self, i: i64) -> i64 {
        (2 * self.minor.length * i - self.major.length - self.bias()).div_euclid(2 * self.major.length) + 1
    }

    /// The first major step after `k` minor steps (k > 0, minor length > 0).
    fn first_with(&self, k: i64) -> i64 {
        let needed = 2 * self.major.length * (k - 1) + self.major.length + self.bias();
        -(-needed).div_euclid(2 * self.minor.length)
    }

    /// The visible major steps, half-open.
    fn visible_steps(&self) -> Option<(i64, i64)> {
        let (first, last) = self.major.inside()?;
        let (low, high) = self.minor.inside()?;
        let mut first = first;
        let mut end = (last + 1).min(self.major.length);
        if low > 0 {
            if self.minor.length == 0 {
                return None;
            }
            first = first.max(self.first_with(low));
        }
        if self.minor.length > 0 && high < self.minor.length {
            end = end.min(self.first_with(high + 1));
        }
        (first < end).then_some((first, end))
    }

    fn emit_rows(&self, first: i64, end: i64, emit: &mut dyn FnMut(Span)) {
        let mut i = first;
        let mut k = self.minor_steps(first);
        while i < end {
            let next = if self.minor.length == 0 { end } else { self.first_with(k + 1).min(end) };
            let (a, b) = (self.major.at(i), self.major.at(next - 1));
            emit(Span { y: self.minor.at(k), left: a.min(b), right: a.max(b) + 1 });
            i = next;
            k += 1;
        }
    }

    fn emit_pixels(&self, first: i64, end: i64, emit: &mut dyn FnMut(Span)) {
        let mut k = self.minor_steps(first);
        let mut next = if self.minor.length == 0 { end } else { self.first_with(k + 1) };
        for i in first..end {
            if i >= next {
                k += 1;
                next = self.first_with(k + 1);
            }
            let x = self.minor.at(k);
            emit(Span { y: self.major.at(i), left: x, right: x + 1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pixels(from: (i32, i32), to: (i32, i32), bounds: &Rect) -> Vec<(i32, i32)> {
        let mut all = Vec::new();
        let point = |(x, y)| Point { x, y };
        line(point(from), point(to), bounds, &mut |s| {
            let mut run: Vec<_> = (s.left..s.right).map(|x| (x, s.y)).collect();
            if to.0 < from.0 {
                run.reverse();
            }
            all.extend(run);
        });
        all
    }

    /// The stepping formula of canvas.md 10.4, word for word.
    fn stepped(from: (i32, i32), to: (i32, i32)) -> Vec<(i32, i32)> {
        let (mut x, mut y) = from;
        let (dx, dy) = ((to.0 - x).abs(), (to.1 - y).abs());
        let (sx, sy) = ((to.0 - x).signum(), (to.1 - y).signum());
        let mut all = Vec::new();
        if dx > dy {
            let mut e = 2 * dy - dx - i32::from(to.0 < from.0);
            for _ in 0..dx {
                all.push((x, y));
                if e >= 0 {
                    y += sy;
                    e += 2 * dy - 2 * dx;
                } else {
                    e += 2 * dy;
                }
                x += sx;
            }
        } else {
            let mut e = 2 * dx - dy - i32::from(to.1 < from.1);
            for _ in 0..dy {
                all.push((x, y));
                if e >= 0 {
                    x += sx;
                    e += 2 * dx - 2 * dy;
                } else {
                    e += 2 * dx;
                }
                y += sy;
            }
        }
        all
    }

    proptest! {
        #[test]
        fn clipped_line_equals_the_stepped_one(
            from in (-60..60i32, -60..60i32), to in (-60..60i32, -60..60i32),
            (left, top, w, h) in (-40..40i32, -40..40i32, 0..40i32, 0..40i32),
        ) {
            let bounds = Rect::new(left, top, left + w, top + h);
            let want: Vec<_> = stepped(from, to)
                .into_iter()
                .filter(|&(x, y)| bounds.contains_point(Point { x, y }))
                .collect();
            prop_assert_eq!(pixels(from, to, &bounds), want);
        }
    }

    #[test]
    fn far_ends_cost_nothing() {
        let far = 1 << 23;
        let bounds = Rect::new(0, 0, 100, 100);
        assert_eq!(pixels((-far, -far), (far, far), &bounds).len(), 100);
        assert!(pixels((-far, 5), (far, 6), &bounds).len() == 100);
        assert!(pixels((-far, -5), (far, -5), &bounds).is_empty());
    }
}
