//! Converts a guest's path to polylines of whole pixels (canvas.md 10.2 and 10.3).

use crate::draw::PathSegment;
use crate::geometry::{Point, PointFix};
use crate::limits::{MAX_PATH_COORDINATE, MAX_PATH_POINTS};
use thiserror::Error;

/// Largest number of times that a curve is halved. 24 halvings reduce any legal curve to single pixels.
const MAX_DEPTH: u32 = 24;

/// Why a path cannot be drawn.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum PathError {
    #[error("path segment {0} begins a line without a point")]
    EmptyBegin(usize),
    #[error("path segment {0} is a curve without a starting point")]
    CurveWithoutStart(usize),
    #[error("path segment {0} is a curve of {1} points, expected a multiple of 3")]
    CurvePoints(usize, usize),
}

/// Checks that every segment can be drawn. A command that fails here must not be sent to clients either.
///
/// # Errors
/// The index of the first bad segment.
pub(crate) fn check(path: &[PathSegment]) -> Result<(), PathError> {
    let mut has_point = false;
    for (index, segment) in path.iter().enumerate() {
        let mut points = segment.points.len();
        if segment.flags & PathSegment::BEGIN != 0 {
            points = points.checked_sub(1).ok_or(PathError::EmptyBegin(index))?;
            has_point = true;
        }
        if segment.flags & PathSegment::BEZIER != 0 {
            if !has_point {
                return Err(PathError::CurveWithoutStart(index));
            }
            if !points.is_multiple_of(3) {
                return Err(PathError::CurvePoints(index, points));
            }
        }
        has_point |= points > 0;
        if segment.flags & PathSegment::END != 0 {
            has_point = false;
        }
    }
    Ok(())
}

/// Calls `draw` with every polyline of the path, in order.
///
/// Curves add at most [`MAX_PATH_POINTS`] points in total; the rest of them becomes straight lines.
///
/// # Errors
/// Those of [`check`]; then nothing has been drawn.
pub(super) fn polylines(path: &[PathSegment], draw: &mut dyn FnMut(&[Point])) -> Result<(), PathError> {
    check(path)?;
    let mut line: Vec<Point> = Vec::new();
    let mut flattener = Flattener { budget: MAX_PATH_POINTS };
    for segment in path {
        let mut points = segment.points.as_slice();
        if segment.flags & PathSegment::BEGIN != 0
            && let Some((first, rest)) = points.split_first()
        {
            draw(&line);
            line.clear();
            line.push(round(*first));
            points = rest;
        }
        if segment.flags & PathSegment::BEZIER != 0 {
            for curve in points.chunks_exact(3) {
                if let (Some(start), &[c1, c2, end]) = (line.last().copied(), curve) {
                    let control = [widen(start), fixed(c1), fixed(c2), fixed(end)];
                    flattener.flatten(&control, MAX_DEPTH, &mut line);
                }
            }
        } else {
            line.extend(points.iter().map(|p| round(*p)));
        }
        if segment.flags & PathSegment::END != 0 {
            if segment.flags & PathSegment::CLOSE != 0
                && let Some(first) = line.first().copied()
            {
                line.push(first);
            }
            draw(&line);
            line.clear();
        }
    }
    draw(&line);
    Ok(())
}

/// 28.4 fixed point to the nearest pixel; halves round down.
pub(super) fn round_fixed(value: i32) -> i32 {
    let value = value.clamp(-MAX_PATH_COORDINATE, MAX_PATH_COORDINATE);
    (value + 7) >> 4
}

fn round(p: PointFix) -> Point {
    Point { x: round_fixed(p.x), y: round_fixed(p.y) }
}

/// A control point of a curve, 28.4 fixed point.
type Control = (i64, i64);

fn fixed(p: PointFix) -> Control {
    let clamp = |v: i32| i64::from(v.clamp(-MAX_PATH_COORDINATE, MAX_PATH_COORDINATE));
    (clamp(p.x), clamp(p.y))
}

fn widen(p: Point) -> Control {
    (i64::from(p.x) * 16, i64::from(p.y) * 16)
}

fn middle(a: Control, b: Control) -> Control {
    ((a.0 + b.0) / 2, (a.1 + b.1) / 2)
}

fn sub(a: Control, b: Control) -> Control {
    (a.0 - b.0, a.1 - b.1)
}

/// Scalar product, 28.4 fixed point. It wraps, as in every client.
fn dot(a: Control, b: Control) -> i64 {
    a.0.wrapping_mul(b.0).wrapping_add(a.1.wrapping_mul(b.1)) >> 4
}

struct Flattener {
    /// Number of points that curves may still add.
    budget: usize,
}

impl Flattener {
    fn flatten(&mut self, c: &[Control; 4], depth: u32, line: &mut Vec<Point>) {
        if depth == 0 || self.budget == 0 || is_flat(c) {
            let end = |v: i64| round_fixed(i32::try_from(v).unwrap_or(0));
            line.push(Point { x: end(c[3].0), y: end(c[3].1) });
            self.budget = self.budget.saturating_sub(1);
            return;
        }
        let (a, b, d) = (middle(c[0], c[1]), middle(c[1], c[2]), middle(c[2], c[3]));
        let (e, f) = (middle(a, b), middle(b, d));
        let m = middle(e, f);
        self.flatten(&[c[0], a, e, m], depth - 1, line);
        self.flatten(&[m, f, d, c[3]], depth - 1, line);
    }
}

/// Whether both control points lie within half a pixel of the chord.
fn is_flat(c: &[Control; 4]) -> bool {
    let u = sub(c[1], c[0]);
    let v = sub(c[3], c[0]);
    let w = sub(c[2], c[3]);
    let area = |side: i64, chord: i64, along: i64| {
        side.wrapping_mul(chord).wrapping_sub(along.wrapping_mul(along)) >> 3
    };
    let chord = dot(v, v);
    let h1 = area(dot(u, u), chord, dot(u, v));
    let h2 = area(dot(w, w), chord, dot(w, (-v.0, -v.1)));
    h1 < chord && h2 < chord
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: u32, points: &[(i32, i32)]) -> PathSegment {
        PathSegment {
            flags,
            points: points.iter().map(|&(x, y)| PointFix { x: x * 16, y: y * 16 }).collect(),
        }
    }

    fn lines(path: &[PathSegment]) -> Result<Vec<Vec<(i32, i32)>>, PathError> {
        let mut all = Vec::new();
        polylines(path, &mut |line| {
            if !line.is_empty() {
                all.push(line.iter().map(|p| (p.x, p.y)).collect());
            }
        })?;
        Ok(all)
    }

    #[test]
    fn half_pixels_round_down() {
        assert_eq!([8, 9, -8, -9, 24].map(round_fixed), [0, 1, -1, -1, 1]);
    }

    #[test]
    fn close_needs_end() {
        let open = segment(PathSegment::BEGIN | PathSegment::CLOSE, &[(0, 0), (4, 0), (4, 4)]);
        assert_eq!(lines(&[open]).unwrap(), vec![vec![(0, 0), (4, 0), (4, 4)]]);
        let closed =
            segment(PathSegment::BEGIN | PathSegment::CLOSE | PathSegment::END, &[(0, 0), (4, 0), (4, 4)]);
        assert_eq!(lines(&[closed]).unwrap(), vec![vec![(0, 0), (4, 0), (4, 4), (0, 0)]]);
    }

    #[test]
    fn segments_without_begin_continue_the_line() {
        let path = [
            segment(PathSegment::BEGIN, &[(0, 0)]),
            segment(0, &[(3, 3)]),
            segment(PathSegment::END, &[(5, 0)]),
            segment(0, &[(9, 9)]),
        ];
        assert_eq!(lines(&path).unwrap(), vec![vec![(0, 0), (3, 3), (5, 0)], vec![(9, 9)]]);
    }

    #[test]
    fn undrawable_paths_are_refused() {
        assert_eq!(lines(&[segment(PathSegment::BEGIN, &[])]), Err(PathError::EmptyBegin(0)));
        let curve = PathSegment::BEZIER;
        assert_eq!(lines(&[segment(curve, &[(1, 1); 3])]), Err(PathError::CurveWithoutStart(0)));
        let begin = curve | PathSegment::BEGIN;
        assert_eq!(lines(&[segment(begin, &[(1, 1); 3])]), Err(PathError::CurvePoints(0, 2)));
    }

    #[test]
    fn hostile_curves_end() {
        let far = PointFix { x: i32::MAX, y: i32::MIN };
        let near = PointFix { x: 1, y: 2 };
        let mut points = vec![near];
        for _ in 0..64 {
            points.extend([far, PointFix { x: i32::MIN, y: i32::MAX }, near]);
        }
        let path = [PathSegment { flags: PathSegment::BEGIN | PathSegment::BEZIER, points }];
        let mut count = 0;
        polylines(&path, &mut |line| count += line.len()).unwrap();
        assert!(count <= MAX_PATH_POINTS + 200);
    }
}
