//! Comparing many boxes with one. The edges are kept so that one comparison of four pairs of numbers, which a processor does at
//! once, tells whether two boxes share a pixel.

use crate::geometry::Rect;

/// One of many boxes: left, top, and the complements of right and bottom. Those of an empty box are below nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edges([i32; 4]);

/// What each of them is compared with: right, bottom, and the complements of left and top.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe([i32; 4]);

impl Edges {
    /// The box of no pixels.
    pub(super) const EMPTY: Self = Self([i32::MAX; 4]);

    /// The smallest box around both.
    pub(super) fn union(self, other: Self) -> Self {
        let [a, b, c, d] = self.0;
        let [e, f, g, h] = other.0;
        Self([a.min(e), b.min(f), c.min(g), d.min(h)])
    }

    /// Whether the two boxes share a pixel.
    #[inline]
    pub(super) fn meets(&self, probe: &Probe) -> bool {
        let [a, b, c, d] = self.0;
        let [e, f, g, h] = probe.0;
        // Without short cuts, which would make four comparisons of it.
        (a < e) & (b < f) & (c < g) & (d < h)
    }
}

impl From<Rect> for Edges {
    fn from(r: Rect) -> Self {
        if r.is_empty() { Self::EMPTY } else { Self([r.left, r.top, !r.right, !r.bottom]) }
    }
}

impl From<Rect> for Probe {
    fn from(r: Rect) -> Self {
        if r.is_empty() { Self([i32::MIN; 4]) } else { Self([r.right, r.bottom, !r.left, !r.top]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edge() -> impl Strategy<Value = i32> {
        prop_oneof![-3..4, Just(i32::MIN), Just(i32::MAX), Just(i32::MIN + 1), Just(i32::MAX - 1)]
    }

    fn rect() -> impl Strategy<Value = Rect> {
        (edge(), edge(), edge(), edge()).prop_map(|(l, t, r, b)| Rect::new(l, t, r, b))
    }

    proptest! {
        #![proptest_config(crate::testing::cases(4096))]
        #[test]
        fn boxes_meet_if_they_intersect(a in rect(), b in rect()) {
            prop_assert_eq!(Edges::from(a).meets(&Probe::from(b)), a.intersects(&b));
        }

        #[test]
        fn a_box_around_two_is_their_union(a in rect(), b in rect()) {
            prop_assert_eq!(Edges::from(a).union(b.into()).0, Edges::from(a.union(&b)).0);
        }
    }
}
