//! Scrolls that wait while the guest draws and reads below them.

use crate::display::model::blank;
use crate::display::surfaces::tests::command;
use crate::display::surfaces::*;
use crate::draw::{Drawable, Effect, Fill, Rop};
use crate::geometry::Point;
use proptest::prelude::*;

const SIDE: i32 = 64;

/// The surfaces under test, and others that draw each command at once.
struct Screens {
    waits: Surfaces,
    eager: Surfaces,
}

impl Screens {
    fn new() -> Self {
        let screen = || {
            let mut surfaces = Surfaces::new(8);
            surfaces.create(0, blank(SIDE as u32, SIDE as u32, SurfaceFormat::Xrgb32), None).unwrap();
            surfaces
        };
        let mut screens = Self { waits: screen(), eager: screen() };
        for row in 0..SIDE {
            screens.fill(Rect::new(0, row, SIDE, row + 1), 0x01_0203 * (row + 1) as u32, Rop::PUT);
        }
        screens.waits.render_all();
        screens
    }

    fn draw(&mut self, make: impl Fn() -> Box<Drawable>) {
        for (surfaces, eager) in [(&mut self.waits, false), (&mut self.eager, true)] {
            let Ok(pending) = surfaces.accept(make()) else { return };
            surfaces.insert(&pending);
            if eager {
                surfaces.render_all();
            }
        }
    }

    fn fill(&mut self, area: Rect, color: u32, rop: Rop) {
        let effect = if rop == Rop::PUT { Effect::Opaque } else { Effect::Blend };
        let brush = crate::draw::Brush::Solid(color);
        self.draw(|| command(area, effect, DrawOp::Fill(Fill { brush: brush.clone(), rop, mask: None })));
    }

    fn scroll(&mut self, area: Rect, from: Point) {
        self.draw(|| command(area, Effect::Opaque, DrawOp::CopyBits(from)));
    }

    /// What the host reads after update_area.
    fn read(&mut self, area: Rect) {
        self.waits.render_area(0, &area);
        let pixels = |surfaces: &Surfaces| {
            let area = surfaces.get(0).unwrap().canvas.read_area(&area, true).unwrap();
            area.bitmap.to_bytes()
        };
        assert_eq!(pixels(&self.waits), pixels(&self.eager), "{area:?}");
    }

    /// A frame of a terminal: scrolls, clears the rows below, and draws words on them, after a look at each place.
    fn frame(&mut self, rows: i32, n: u32) {
        let top = SIDE - rows;
        self.scroll(Rect::new(0, 0, SIDE, top), Point { x: 0, y: rows });
        self.fill(Rect::new(0, top, SIDE, SIDE), 0x10_1418, Rop::PUT);
        for (word, left) in (0..).zip((0..SIDE).step_by(16)) {
            let place = Rect::new(left, top, left + 12, SIDE);
            self.read(place);
            self.fill(place, n * 0x111 + word, Rop::PUT);
        }
    }

    fn compare(&mut self) {
        self.waits.render_all();
        assert!(self.waits.pixels(0) == self.eager.pixels(0));
        assert_eq!((self.waits.pending, self.waits.pending_cost, self.waits.strips.held()), (0, 0, 0));
    }
}

#[test]
fn a_scroll_waits_while_the_guest_reads_below() {
    let mut screens = Screens::new();
    for n in 0..40 {
        screens.frame(2 + n as i32 % 2, n);
    }
    // In memory nothing moved: the first row is still there.
    assert_eq!(screens.waits.pixels(0)[..3], [3, 2, 1]);
    assert!(screens.waits.strips.held() > 0);
    screens.compare();
}

#[test]
fn what_is_saved_is_seen() {
    let mut screens = Screens::new();
    for n in 0..5 {
        screens.frame(3, n);
    }
    screens.read(Rect::new(3, 0, 9, SIDE));
    screens.frame(2, 9);
    screens.fill(Rect::new(5, 5, 40, 30), 0xff, Rop::XOR);
    screens.frame(2, 10);
    screens.compare();
}

#[test]
fn strips_are_bounded() {
    let mut screens = Screens::new();
    // Nothing of these is covered, so all of them would wait.
    for n in 0..200 {
        let row = n % (SIDE - 9);
        screens.scroll(Rect::new(0, row, SIDE, row + 4), Point { x: 0, y: row + 4 });
        screens.fill(Rect::new(0, row + 4, 9, row + 5), n as u32, Rop::PUT);
        screens.read(Rect::new(0, row + 4, 9, row + 5));
        assert!(screens.waits.strips.held() <= crate::limits::MAX_SAVED);
    }
    screens.compare();
}

#[test]
fn a_scroll_of_many_strips_is_drawn() {
    let side = 4 * crate::limits::MAX_SAVED_STRIPS as u32;
    let mut surfaces = Surfaces::new(8);
    surfaces.create(0, blank(side, side, SurfaceFormat::Xrgb32), None).unwrap();
    let side = side as i32;
    let mut insert = |command| {
        let pending = surfaces.accept(command).unwrap();
        surfaces.insert(&pending);
        surfaces.pending
    };
    insert(command(Rect::new(9, 0, side, side - 1), Effect::Opaque, DrawOp::CopyBits(Point { x: 0, y: 1 })));
    // On the left the scroll reads, and draws nothing.
    insert(command(Rect::new(0, 0, 9, side), Effect::Opaque, DrawOp::Blackness(None)));
    let rows = (1..side - 1).rev().step_by(2);
    let held = rows.map(|row| {
        surfaces.render_area(0, &Rect::new(0, row, 9, row + 1));
        surfaces.strips.held()
    });
    let held: Vec<usize> = held.collect();
    assert!(held[0] > 0 && held.is_sorted_by_key(|bytes| *bytes == 0) && held.last() == Some(&0), "{held:?}");
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    /// Whatever is copied, drawn and read in between, every pixel is what drawing each command at once gives.
    #[test]
    fn scrolls_change_no_pixel(
        steps in proptest::collection::vec((0..10u8, [0..SIDE, 0..SIDE, 1..SIDE, 1..SIDE], -9..9i32, 0..12i32), 1..80),
    ) {
        let mut screens = Screens::new();
        for (n, (kind, [left, top, width, height], dx, dy)) in (0u32..).zip(steps) {
            let area = Rect::new(left, top, (left + width).min(SIDE), (top + height).min(SIDE));
            match kind {
                0 => screens.fill(area, n * 0x0101_0101, Rop::XOR),
                1 => screens.fill(area, n * 77, Rop::PUT),
                2 => screens.scroll(area, Point { x: left + dx, y: top + dy }),
                3 => screens.read(area),
                4 | 5 => screens.frame(1 + dy, n),
                6 => screens.scroll(Rect::new(0, 0, SIDE, SIDE - 1 - dy), Point { x: 0, y: 1 + dy }),
                7 => screens.scroll(Rect::new(0, 1 + dy, SIDE, SIDE), Point { x: 0, y: 0 }),
                8 => screens.read(Rect::new(left, SIDE - 1 - dy, SIDE, SIDE)),
                _ => screens.fill(Rect::new(0, SIDE - 1 - dy, SIDE, SIDE), n, Rop::PUT),
            }
        }
        screens.compare();
    }
}
