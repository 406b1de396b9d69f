//! Points and rectangles in surface pixels.

/// A size in pixels as an index.
pub(crate) fn index(size: u32) -> usize {
    size as usize
}

/// A column or row as an index. The caller knows that it is not negative.
pub(crate) fn index_i32(position: i32) -> usize {
    usize::try_from(position).unwrap_or(0)
}

/// A position in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Point {
    /// Column.
    pub x: i32,
    /// Row, downward.
    pub y: i32,
}

/// A position as the cursor and composite messages carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Point16 {
    /// Column.
    pub x: i16,
    /// Row, downward.
    pub y: i16,
}

/// A position in signed 28.4 fixed point, as paths carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PointFix {
    /// Column in 1/16 pixels.
    pub x: i32,
    /// Row in 1/16 pixels, downward.
    pub y: i32,
}

/// A half-open rectangle: `left <= x < right`, `top <= y < bottom`. May be empty or inverted until checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rect {
    /// First column.
    pub left: i32,
    /// First row.
    pub top: i32,
    /// Column after the last one.
    pub right: i32,
    /// Row after the last one.
    pub bottom: i32,
}

impl Rect {
    /// The rectangle with these edges.
    #[must_use]
    pub const fn new(left: i32, top: i32, right: i32, bottom: i32) -> Self {
        Self { left, top, right, bottom }
    }

    /// The rectangle of a surface or image: (0, 0) to (width, height). Sizes beyond `i32` are reduced to its
    /// maximum.
    #[must_use]
    pub fn of_size(width: u32, height: u32) -> Self {
        let clamp = |v: u32| i32::try_from(v).unwrap_or(i32::MAX);
        Self::new(0, 0, clamp(width), clamp(height))
    }

    /// Width in pixels; 0 for an inverted rectangle.
    #[must_use]
    pub fn width(&self) -> u32 {
        u32::try_from(i64::from(self.right) - i64::from(self.left)).unwrap_or(0)
    }

    /// Height in pixels; 0 for an inverted rectangle.
    #[must_use]
    pub fn height(&self) -> u32 {
        u32::try_from(i64::from(self.bottom) - i64::from(self.top)).unwrap_or(0)
    }

    /// Number of pixels inside.
    #[must_use]
    pub fn area(&self) -> u64 {
        u64::from(self.width()) * u64::from(self.height())
    }

    /// Whether no pixel is inside (also for inverted rectangles).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left >= self.right || self.top >= self.bottom
    }

    /// The common part; empty rectangles give an empty one.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// Whether the two rectangles share a pixel.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        !self.intersect(other).is_empty()
    }

    /// The smallest rectangle that contains both; an empty one adds nothing.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if self.is_empty() {
            return *other;
        }
        if other.is_empty() {
            return *self;
        }
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// Whether every pixel of `other` is inside; an empty `other` always is.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.is_empty()
            || (self.left <= other.left
                && self.top <= other.top
                && self.right >= other.right
                && self.bottom >= other.bottom)
    }

    /// Whether the pixel is inside.
    #[must_use]
    pub fn contains_point(&self, p: Point) -> bool {
        self.left <= p.x && p.x < self.right && self.top <= p.y && p.y < self.bottom
    }

    /// The rectangle moved by (dx, dy). Edges saturate.
    #[must_use]
    pub fn translate(&self, dx: i32, dy: i32) -> Self {
        Self {
            left: self.left.saturating_add(dx),
            top: self.top.saturating_add(dy),
            right: self.right.saturating_add(dx),
            bottom: self.bottom.saturating_add(dy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverted_rectangle_is_empty_and_has_no_size() {
        let r = Rect::new(5, 5, 1, 9);
        assert!(r.is_empty());
        assert_eq!((r.width(), r.area()), (0, 0));
    }

    #[test]
    fn extreme_edges_do_not_overflow() {
        let r = Rect::new(i32::MIN, i32::MIN, i32::MAX, i32::MAX);
        assert_eq!(r.width(), u32::MAX);
        assert_eq!(r.translate(1, -1).right, i32::MAX);
    }

    #[test]
    fn union_ignores_the_empty_side() {
        let a = Rect::new(1, 2, 3, 4);
        assert_eq!(a.union(&Rect::default()), a);
        assert_eq!(Rect::default().union(&a), a);
    }
}
