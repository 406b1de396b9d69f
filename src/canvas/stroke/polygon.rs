//! Fills the small convex polygons of dashes and joins (canvas.md 10.6, POLY).

use super::Span;
use crate::geometry::{Point, Rect};

/// A corner, relative to the polygon's origin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vertex {
    pub x: f64,
    pub y: f64,
}

/// The side from one corner to the next: the line `x * dy - y * dx = k`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    pub dx: i64,
    pub dy: i64,
    pub k: f64,
}

/// A side in the form that the filler walks: active from row `row` on, directed downward.
#[derive(Clone, Copy, Debug)]
struct Edge {
    row: i64,
    dx: i64,
    dy: i64,
    k: i64,
}

impl Edge {
    /// The last column in row `y` that is left of the line or on it.
    fn column(&self, y: i64) -> i64 {
        (self.k.saturating_add(y.saturating_mul(self.dx)) - 1).div_euclid(self.dy)
    }
}

/// Fills a polygon of at most 5 corners. `corners` and `sides` have the same length.
pub(super) fn fill(
    corners: &[Vertex],
    sides: &[Side],
    origin: Point,
    bounds: &Rect,
    emit: &mut dyn FnMut(Span),
) {
    let n = corners.len();
    if n < 3 || sides.len() != n {
        return;
    }
    let (mut top, mut bottom) = (0, 0);
    for (i, corner) in corners.iter().enumerate() {
        if corner.y < corners[top].y {
            top = i;
        }
        if corner.y >= corners[bottom].y {
            bottom = i;
        }
    }
    let before = sides[(top + n - 1) % n];
    let at = sides[top];
    let clockwise = before.dy * at.dx <= at.dy * before.dx;
    // To the right of corner `c`, the edge is the side after the corner if that leads away from the top,
    // otherwise the one before it.
    let forward = |c: usize| (c + 1) % n;
    let backward = |c: usize| (c + n - 1) % n;
    let chain = |ahead: bool| {
        let mut edges = Edges::default();
        let mut c = top;
        while c != bottom {
            let side = sides[if ahead { c } else { backward(c) }];
            edges.push(corners[c].y, side);
            c = if ahead { forward(c) } else { backward(c) };
        }
        edges
    };
    let (right, left) = (chain(clockwise), chain(!clockwise));
    let end = ceil(corners[bottom].y);
    let (Some(first), Some(_)) = (right.first(), left.first()) else { return };

    let (ox, oy) = (i64::from(origin.x), i64::from(origin.y));
    let from = first.row.max(i64::from(bounds.top) - oy);
    let to = end.min(i64::from(bounds.bottom) - oy);
    for y in from..to {
        let (Some(l), Some(r)) = (left.active(y), right.active(y)) else { continue };
        let x0 = l.column(y).saturating_add(1 + ox).max(bounds.left.into());
        let x1 = r.column(y).saturating_add(1 + ox).min(bounds.right.into());
        if x0 < x1
            && let (Ok(row), Ok(x0), Ok(x1)) = (i32::try_from(y + oy), i32::try_from(x0), i32::try_from(x1))
        {
            emit(Span { y: row, left: x0, right: x1 });
        }
    }
}

/// The sides of one flank from top to bottom, without horizontal ones.
#[derive(Default)]
struct Edges {
    list: [Option<Edge>; 5],
    len: usize,
}

impl Edges {
    fn push(&mut self, y: f64, side: Side) {
        if side.dy == 0 {
            return;
        }
        let (dx, dy, k) =
            if side.dy < 0 { (-side.dx, -side.dy, -side.k) } else { (side.dx, side.dy, side.k) };
        if let Some(slot) = self.list.get_mut(self.len) {
            *slot = Some(Edge { row: ceil(y), dx, dy, k: ceil(k) });
            self.len += 1;
        }
    }

    fn first(&self) -> Option<Edge> {
        self.list[0]
    }

    /// The edge that bounds row `y`: the last one that has started.
    fn active(&self, y: i64) -> Option<Edge> {
        let started = self.list.iter().flatten().rfind(|e| e.row <= y);
        started.or(self.list[0].as_ref()).copied()
    }
}

/// Rounds up. Corners stay below 2^30 and the constants of lines below 2^62, so nothing saturates.
fn ceil(value: f64) -> i64 {
    value.ceil() as i64
}
