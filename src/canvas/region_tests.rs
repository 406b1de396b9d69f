use super::bands::STEPS;
use super::*;
use proptest::prelude::*;

const SIDE: i32 = 20;

/// The model: one bool per pixel.
fn bitmap(region: &Region) -> Vec<bool> {
    let mut bits = vec![false; (SIDE * SIDE) as usize];
    for r in region.rects() {
        for y in r.top..r.bottom {
            for x in r.left..r.right {
                let bit = &mut bits[(y * SIDE + x) as usize];
                assert!(!*bit, "rectangles overlap");
                *bit = true;
            }
        }
    }
    bits
}

fn model(rects: &[Rect]) -> Vec<bool> {
    let inside = |i: i32| rects.iter().any(|r| r.contains_point(Point { x: i % SIDE, y: i / SIDE }));
    (0..SIDE * SIDE).map(inside).collect()
}

fn assert_canonical(region: &Region) {
    let rects = region.rects();
    let mut bounds = Rect::default();
    for r in rects {
        assert!(!r.is_empty());
        bounds = bounds.union(r);
    }
    assert_eq!(bounds, region.bounds());
    let bands: Vec<&[Rect]> = Bands(rects).collect();
    for band in &bands {
        assert!(band.iter().all(|r| r.bottom == band[0].bottom));
        assert!(band.windows(2).all(|w| w[0].right < w[1].left));
    }
    for w in bands.windows(2) {
        assert!(w[0][0].bottom <= w[1][0].top);
        let columns = |b: &[Rect]| b.iter().map(|r| (r.left, r.right)).collect::<Vec<_>>();
        assert!(w[0][0].bottom < w[1][0].top || columns(w[0]) != columns(w[1]));
    }
}

fn rect() -> impl Strategy<Value = Rect> {
    (0..=SIDE, 0..=SIDE, 0..=SIDE, 0..=SIDE).prop_map(|(l, t, r, b)| Rect::new(l, t, r, b))
}

fn rects() -> impl Strategy<Value = Vec<Rect>> {
    proptest::collection::vec(rect(), 0..12)
}

proptest! {
    #[test]
    fn set_operations_equal_those_on_bitmaps(a in rects(), b in rects()) {
        let (ra, rb) = (Region::from_rects(&a), Region::from_rects(&b));
        let (ma, mb) = (model(&a), model(&b));
        prop_assert_eq!(bitmap(&ra), ma.clone());
        let zip = |f: fn(bool, bool) -> bool| -> Vec<bool> {
            ma.iter().zip(&mb).map(|(x, y)| f(*x, *y)).collect()
        };
        for (region, want) in [
            (ra.union(&rb), zip(|x, y| x || y)),
            (ra.intersect(&rb), zip(|x, y| x && y)),
            (ra.subtract(&rb), zip(|x, y| x && !y)),
        ] {
            assert_canonical(&region);
            prop_assert_eq!(region.area(), want.iter().filter(|b| **b).count() as u64);
            prop_assert_eq!(bitmap(&region), want);
        }
        prop_assert_eq!(ra.intersects(&rb), zip(|x, y| x && y).contains(&true));
        prop_assert_eq!(ra.contains(&rb), !zip(|x, y| !x && y).contains(&true));
    }

    #[test]
    fn rectangle_queries_equal_those_on_bitmaps(a in rects(), r in rect()) {
        let region = Region::from_rects(&a);
        let one = Region::from(r);
        assert_canonical(&region);
        prop_assert_eq!(region.contains_rect(&r), one.subtract(&region).is_empty());
        prop_assert_eq!(region.intersects_rect(&r), !one.intersect(&region).is_empty());
        prop_assert_eq!(region.intersect_rect(&r), region.intersect(&one));
        prop_assert_eq!(region.subtract_rect(&r), region.subtract(&one));
        let bits = bitmap(&region);
        for i in 0..SIDE * SIDE {
            let p = Point { x: i % SIDE, y: i / SIDE };
            prop_assert_eq!(region.contains_point(p), bits[i as usize]);
        }
    }

    #[test]
    fn translation_moves_every_pixel(a in rects(), dx in -50i32..50, dy in -50i32..50) {
        let region = Region::from_rects(&a);
        let moved = region.translate(dx, dy);
        assert_canonical(&moved);
        prop_assert_eq!(moved.translate(-dx, -dy), region);
    }
}

#[test]
fn equal_sets_compare_equal() {
    let whole = Region::from(Rect::new(0, 0, 10, 10));
    let parts = [Rect::new(0, 0, 4, 10), Rect::new(4, 0, 10, 5), Rect::new(4, 5, 10, 10)];
    assert_eq!(Region::from_rects(&parts), whole);
    assert!(Region::from_rects(&parts).is_rect());
}

#[test]
fn extreme_edges_are_harmless() {
    let all = Rect::new(i32::MIN, i32::MIN, i32::MAX, i32::MAX);
    let region = Region::from(all).subtract_rect(&Rect::new(0, 0, 1, 1));
    assert_canonical(&region);
    assert!(!region.contains_point(Point::default()));
    assert_canonical(&region.translate(i32::MAX, i32::MAX));
    assert_canonical(&region.translate(i32::MIN, i32::MIN));
}

/// N columns and N rows as rectangles.
fn grid(n: i32) -> Vec<Rect> {
    let columns = (0..n).map(|i| Rect::new(2 * i, 0, 2 * i + 1, 2 * n));
    columns.chain((0..n).map(|i| Rect::new(0, 2 * i, 2 * n, 2 * i + 1))).collect()
}

#[test]
fn a_grid_of_rectangles_is_refused_before_it_grows() {
    assert!(Region::try_from_rects(&grid(100), 20_000).is_some_and(|r| r.rects().len() > 5000));
    assert_eq!(Region::try_from_rects(&grid(30_000), 65_536), None);
    let columns = Region::from_rects(&grid(4000)[..4000]);
    let rows = Region::from_rects(&grid(4000)[4000..]);
    assert_eq!(columns.subtract_within(&rows, 5000), None);
    assert_eq!(columns.subtract_within(&Region::new(), 5000).as_ref(), Some(&columns));
}

#[test]
fn wide_bands_are_compared_in_one_sweep() {
    // Even and odd columns never meet. Comparing them pair by pair would take minutes.
    let column = |i: i32| Rect::new(2 * i, 0, 2 * i + 1, 4);
    let even = Region::from_rects(&(0..32_000).map(column).collect::<Vec<_>>());
    let odd = even.translate(1, 0);
    for _ in 0..50 {
        assert!(!even.intersects(&odd) && !even.contains(&odd) && even.contains(&even));
    }
}

/// Steps that an operation takes on two regions of `n` rectangles each.
fn steps(n: i32, shape: fn(i32) -> Rect, operation: &dyn Fn(&Region, &Region)) -> usize {
    let even = Region::from_rects(&(0..n).map(shape).collect::<Vec<_>>());
    let odd = even.translate(1, 0);
    STEPS.set(0);
    operation(&even, &odd);
    STEPS.get()
}

#[test]
fn operations_cost_no_more_than_n_log_n() {
    let columns: fn(i32) -> Rect = |i| Rect::new(2 * i, 0, 2 * i + 1, 4);
    let rows: fn(i32) -> Rect = |i| Rect::new(0, 2 * i, 1, 2 * i + 1);
    let stairs: fn(i32) -> Rect = |i| Rect::new(2 * i, 2 * i, 2 * i + 1, 2 * i + 1);
    type Operation = fn(&Region, &Region);
    let operations: [(&str, Operation); 7] = [
        ("union", |a, b| drop(a.union(b))),
        ("intersect", |a, b| drop(a.intersect(b))),
        ("subtract", |a, b| drop(a.subtract(b))),
        ("intersects", |a, b| assert!(!a.intersects(b))),
        ("contains", |a, _| assert!(a.contains(&a.clone()))),
        ("contains another", |a, b| assert!(!a.contains(b))),
        ("join", |a, b| drop(Region::from_rects(&[a.rects(), b.rects()].concat()))),
    ];
    for (shape, of) in [("columns", columns), ("rows", rows), ("stairs", stairs)] {
        for (name, operation) in operations {
            let [once, twice, four] = [1000, 2000, 4000].map(|n| steps(n, of, &operation));
            // n log n grows by 2.2 from 1000 to 2000.
            let bounded = twice * 10 <= once * 23 + 100 && four * 10 <= twice * 23 + 100;
            assert!(bounded, "{name} of {shape}: {once}, {twice}, {four} steps");
        }
    }
}
