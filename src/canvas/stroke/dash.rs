//! Dashed lines, one pixel wide (canvas.md 10.5 and 10.6).
//!
//! A dash is a filled rectangle around the line, so its pixels differ from those of a solid line. All
//! floating-point operations have the order that every client uses. Only invisible stretches of very long
//! lines are skipped by arithmetic.

use super::Span;
use super::path::round_fixed;
use super::polygon::{Side, Vertex, fill};
use crate::geometry::{Point, Rect};

/// Length in pixels up to which a segment is walked dash by dash from its start, as clients do.
const EXACT_LENGTH: f64 = 65_536.0;

/// Dashes walked for one command. After that, longer invisible stretches are skipped in every segment.
const WALK_BUDGET: u32 = 4_000_000;

/// Square of the mitre limit, in quarters of a square pixel (an angle of 11 degrees).
const MITRE_LIMIT: f64 = 108.856472512142;

/// Half the width of a line.
const HALF: f64 = 0.5;

/// The lengths of dashes and gaps, and the position in the list where a polyline starts.
#[derive(Debug)]
pub(super) struct DashPattern {
    lengths: Vec<i64>,
    period: i64,
    start: DashPosition,
    walk_budget: u32,
}

/// A position in a dash pattern: the index of the entry, and the distance from its start.
#[derive(Clone, Copy, Debug)]
struct DashPosition {
    index: usize,
    offset: i64,
}

impl DashPosition {
    fn is_drawn(self) -> bool {
        self.index.is_multiple_of(2)
    }
}

impl DashPattern {
    /// A pattern from `style` (28.4 fixed point); `None` if its lengths add up to 0, so that nothing is
    /// drawn.
    #[must_use]
    pub(super) fn new(style: &[i32], start_with_gap: bool) -> Option<Self> {
        let mut lengths: Vec<i64> = style.iter().map(|&v| i64::from(round_fixed(v) & 0xff)).collect();
        let period: i64 = lengths.iter().sum();
        if period == 0 {
            return None;
        }
        let mut start = DashPosition { index: 0, offset: 0 };
        if start_with_gap {
            lengths.rotate_left(1);
            start.offset = lengths[0];
        }
        while start.offset >= lengths[start.index] {
            start.offset -= lengths[start.index];
            start.index = (start.index + 1) % lengths.len();
        }
        Some(Self { lengths, period, start, walk_budget: WALK_BUDGET })
    }

    /// Emits the dashes of one polyline inside `bounds`.
    ///
    /// Spans may overlap. Joins depend on `grouped`, which says whether the caller draws each pixel only
    /// once.
    pub(super) fn polyline(
        &mut self,
        points: &[Point],
        bounds: &Rect,
        grouped: bool,
        emit: &mut dyn FnMut(Span),
    ) {
        let closed = points.len() > 1 && points.first() == points.last();
        let mut phase = self.start;
        let mut first = true;
        let mut opening: Option<Face> = None;
        let mut previous: Option<Face> = None;
        let mut drawn_to_end = false;
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            if from == to {
                continue;
            }
            let drawn_from_start = phase.is_drawn();
            let (mut start_face, end_face) = self.segment(from, to, &mut phase, bounds, emit);
            if drawn_from_start {
                if first {
                    opening = closed.then_some(start_face);
                } else if drawn_to_end && let Some(mut before) = previous {
                    join(&mut start_face, &mut before, grouped, bounds, emit);
                }
            }
            drawn_to_end = !phase.is_drawn() ^ (phase.offset != 0);
            previous = Some(end_face);
            first = false;
        }
        if drawn_to_end && let (Some(mut opening), Some(mut last)) = (opening, previous) {
            join(&mut opening, &mut last, grouped, bounds, emit);
        }
    }

    /// Emits the dashes of one segment, advances `phase` and returns the faces at both ends.
    fn segment(
        &mut self,
        from: Point,
        to: Point,
        phase: &mut DashPosition,
        bounds: &Rect,
        emit: &mut dyn FnMut(Span),
    ) -> (Face, Face) {
        let (dx, dy) = (i64::from(to.x) - i64::from(from.x), i64::from(to.y) - i64::from(from.y));
        let (fdx, fdy) = (dx as f64, dy as f64);
        let (length, rx, ry) = if dx == 0 {
            (fdy.abs(), 0.0, if dy < 0 { -HALF } else { HALF })
        } else if dy == 0 {
            (fdx.abs(), if dx < 0 { -HALF } else { HALF }, 0.0)
        } else {
            let length = fdx.hypot(fdy);
            let r = HALF / length;
            (length, r * fdx, r * fdy)
        };
        let k = HALF * length;
        let mut left = length;
        let mut sides = [
            Side { dx, dy, k },
            Side { dx: -dy, dy: dx, k: 0.0 },
            Side { dx: -dx, dy: -dy, k },
            Side { dx: dy, dy: -dx, k: 0.0 },
        ];
        let (right_corner, left_corner) = (Vertex { x: ry, y: -rx }, Vertex { x: -ry, y: rx });
        let mut corners = [right_corner, right_corner, left_corner, left_corner];
        let mut index = phase.index;
        let mut remaining = (self.lengths[index] - phase.offset) as f64;
        let mut skip = Skip::new(from, (fdx, fdy), length, self.period, bounds, self.walk_budget == 0);
        while left > remaining {
            let ax = (remaining * fdx) / length;
            let ay = (remaining * fdy) / length;
            corners[1].x += ax;
            corners[1].y += ay;
            corners[2].x += ax;
            corners[2].y += ay;
            sides[1].k = corners[1].x * fdx + corners[1].y * fdy;
            if index.is_multiple_of(2) {
                fill(&corners, &sides, from, bounds, emit);
            }
            left -= remaining;
            index = (index + 1) % self.lengths.len();
            remaining = self.lengths[index] as f64;
            let jump = skip.next(length - left, left);
            if jump > 0.0 {
                left -= jump;
                for corner in &mut corners[1..3] {
                    corner.x += jump * fdx / length;
                    corner.y += jump * fdy / length;
                }
                sides[1].k = corners[1].x * fdx + corners[1].y * fdy;
            }
            corners[0] = corners[1];
            corners[3] = corners[2];
            sides[3].k = -sides[1].k;
            self.walk_budget = self.walk_budget.saturating_sub(1);
        }
        if index.is_multiple_of(2) {
            corners[0].x -= fdx;
            corners[0].y -= fdy;
            corners[3].x -= fdx;
            corners[3].y -= fdy;
            corners[1] = right_corner;
            corners[2] = left_corner;
            sides[1].k = 0.0;
            sides[3].k += fdx * fdx + fdy * fdy;
            fill(&corners, &sides, to, bounds, emit);
        }
        // Clients truncate here. The value is at most 255.
        let mut rest = (remaining - left) as i64;
        if rest == 0 {
            index = (index + 1) % self.lengths.len();
            rest = self.lengths[index];
        }
        *phase = DashPosition { index, offset: self.lengths[index] - rest };
        let start = Face { at: from, dx, dy, x: ry, y: -rx, k };
        let end = Face { at: to, dx: -dx, dy: -dy, x: -ry, y: rx, k };
        (start, end)
    }
}

/// Whole periods of a long segment that lie outside the visible area.
struct Skip {
    /// The visible stretch with a wide margin, as distances from the start.
    visible: (f64, f64),
    period: f64,
    before: bool,
    after: bool,
}

impl Skip {
    fn new(from: Point, d: (f64, f64), length: f64, period: i64, bounds: &Rect, always: bool) -> Self {
        let wanted = always || length > EXACT_LENGTH;
        let mut visible = (0.0f64, length);
        if wanted {
            for (start, delta, low, high) in
                [(from.x, d.0, bounds.left, bounds.right), (from.y, d.1, bounds.top, bounds.bottom)]
            {
                let (a, b) =
                    (f64::from(low) - 4.0 - f64::from(start), f64::from(high) + 4.0 - f64::from(start));
                if delta == 0.0 {
                    if a > 0.0 || b < 0.0 {
                        visible = (length, length);
                    }
                    continue;
                }
                let (a, b) = (a / delta * length, b / delta * length);
                visible = (visible.0.max(a.min(b)), visible.1.min(a.max(b)));
            }
            if visible.0 > visible.1 {
                visible = (length, length);
            }
        }
        Self { visible, period: period as f64, before: wanted, after: wanted }
    }

    /// The distance to jump from `done`: a multiple of the period. The last period is always walked.
    fn next(&mut self, done: f64, left: f64) -> f64 {
        let distance = if self.before && done < self.visible.0 {
            self.before = false;
            (self.visible.0 - done).min(left)
        } else if self.after && done > self.visible.1 {
            self.after = false;
            left
        } else {
            return 0.0;
        };
        ((distance / self.period).floor() - 2.0).max(0.0) * self.period
    }
}

/// The end of a dash at the joint of two segments: corner and direction.
#[derive(Clone, Copy, Debug)]
struct Face {
    at: Point,
    dx: i64,
    dy: i64,
    x: f64,
    y: f64,
    k: f64,
}

impl Face {
    fn negate(&mut self) {
        self.x = -self.x;
        self.y = -self.y;
        self.dx = -self.dx;
        self.dy = -self.dy;
    }

    fn cross(&self) -> f64 {
        self.x * self.dy as f64 - self.y * self.dx as f64
    }
}

/// Fills the wedge between two segments. It is mitred unless the angle is too sharp.
fn join(left: &mut Face, right: &mut Face, grouped: bool, bounds: &Rect, emit: &mut dyn FnMut(Span)) {
    let points_right = |f: &Face| f.dx > 0 || (f.dx == 0 && f.dy > 0);
    if !grouped && (points_right(left) || points_right(right)) {
        return;
    }
    let denominator = -(left.dx as f64 * right.dy as f64) + right.dx as f64 * left.dy as f64;
    if denominator == 0.0 {
        return;
    }
    let sign = if denominator > 0.0 {
        left.negate();
        1
    } else {
        right.negate();
        -1
    };
    let (left, right) = (*left, *right);
    let mut corners = [Vertex::default(); 4];
    corners[0] = Vertex { x: right.x, y: right.y };
    corners[2] = Vertex { x: left.x, y: left.y };
    let mut sides = [Side::default(); 4];
    sides[0] = Side { dx: -right.dy, dy: right.dx, k: 0.0 };
    sides[1] = Side { dx: left.dy, dy: -left.dx, k: 0.0 };
    let (ldy, rdy) = (left.dy as f64, right.dy as f64);
    let my = (ldy * right.cross() - rdy * left.cross()) / denominator;
    let mx = if left.dy != 0 {
        left.x + (my - left.y) * left.dx as f64 / ldy
    } else {
        right.x + (my - right.y) * right.dx as f64 / rdy
    };
    if (mx * mx + my * my) * 4.0 <= MITRE_LIMIT {
        corners[3] = Vertex { x: mx, y: my };
        sides[2] = Side { dx: sign * left.dx, dy: sign * left.dy, k: sign as f64 * left.k };
        sides[3] = Side { dx: sign * right.dx, dy: sign * right.dy, k: sign as f64 * right.k };
        fill(&corners, &sides, left.at, bounds, emit);
    } else {
        let (ex, ey) = (right.x - left.x, right.y - left.y);
        let scale = ex.abs().max(ey.abs());
        let (a, b) = (ex * 65_536.0 / scale, ey * 65_536.0 / scale);
        let (a, b) = (a as i64, b as i64);
        let k = ((left.x + right.x) * b as f64 - (left.y + right.y) * a as f64) / 2.0;
        sides[2] = Side { dx: a, dy: b, k };
        fill(&corners[..3], &sides[..3], left.at, bounds, emit);
    }
}
