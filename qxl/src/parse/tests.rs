//! Commands of the mock guest, good and bad.

use crate::device::Device;
use crate::memory::MemSlot;
use crate::mock::structures::{BitmapSpec, DrawableSpec, PUT, body, brush, draw_type, mask, no_mask};
use crate::mock::{Bytes, MockCallbacks, MockGuest};
use crate::parse::{command_type, flags};
use spice_server_core::draw::{Brush, Clip, DrawOp, Drawable};
use spice_server_core::geometry::{Point, Point16, Rect};
use spice_server_core::host::{
    CommandExt, CursorCommand, DisplayCommand, Fetched, QxlDevice, SurfaceCommand,
};
use spice_server_core::image::ImageData;

const BOX: Rect = Rect::new(0, 0, 4, 4);

struct Bench {
    guest: MockGuest,
    device: Device<MockCallbacks>,
}

fn bench() -> Bench {
    let guest = MockGuest::new(1 << 20);
    let device = guest.device();
    Bench { guest, device }
}

impl Bench {
    fn run(&mut self, command: CommandExt) -> Fetched<DisplayCommand> {
        self.guest.host().push(command);
        self.device.next_display_command()
    }

    fn drawable(&mut self, spec: &DrawableSpec, body: &Bytes) -> (u64, Fetched<DisplayCommand>) {
        let address = self.guest.drawable(spec, body);
        (address, self.run(MockGuest::command(command_type::DRAW, address)))
    }

    fn draw(&mut self, kind: u8, body: &Bytes) -> Box<Drawable> {
        match self.drawable(&DrawableSpec::new(kind, BOX), body).1 {
            Fetched::Command(DisplayCommand::Draw(drawable)) => drawable,
            other => panic!("not drawn: {other:?}"),
        }
    }

    /// The command must be dropped, and released exactly once with its own address.
    fn dropped(&mut self, spec: &DrawableSpec, body: &Bytes) {
        let (address, result) = self.drawable(spec, body);
        assert!(matches!(result, Fetched::Dropped), "accepted: {result:?}");
        self.expect_release(address);
    }

    /// Gives everything back that was dropped so far.
    fn settle(&mut self) {
        self.device.release_pending();
        let _ = self.guest.host().take_released();
    }

    fn body_dropped(&mut self, kind: u8, body: &Bytes) {
        self.dropped(&DrawableSpec::new(kind, BOX), body);
    }

    fn expect_release(&mut self, address: u64) {
        self.device.release_pending();
        let released = self.guest.host().take_released();
        assert_eq!(released.len(), 1);
        assert_eq!(released[0].address, self.guest.host_address(address));
        assert_eq!(released[0].group_id, crate::mock::GROUP);
        assert_eq!(self.device.held_bytes(), 0);
    }

    fn pixels(&mut self) -> u64 {
        let pixels: Vec<u8> = (0..64).collect();
        self.guest.bitmap32(9, 4, 4, &pixels)
    }
}

fn bitmap(
    format: u8,
    width: u32,
    height: u32,
    stride: u32,
    chunks: &'static [&'static [u8]],
) -> BitmapSpec<'static> {
    BitmapSpec { id: 1, descriptor_flags: 0, format, flags: 4, width, height, stride, palette: 0, chunks }
}

#[test]
fn a_copy_reads_its_pixels_from_the_guest_and_is_released_when_dropped() {
    let mut b = bench();
    let image = b.pixels();
    let drawable = b.draw(draw_type::COPY, &body::copy(image, BOX, PUT, 0, &no_mask()));
    let DrawOp::Copy(copy) = &drawable.op else { panic!() };
    let ImageData::Bitmap(bitmap) = &copy.src.data else { panic!() };
    let mut row = [0; 4];
    bitmap.view().read_row(3, &mut row);
    assert_eq!((row, copy.src.id), ([48, 49, 50, 51], 9));
    b.device.release_pending();
    assert!(b.guest.host().take_released().is_empty());
    let address = drawable.release.as_ref().unwrap().info().address;
    drop(drawable);
    b.device.release_pending();
    assert_eq!(b.guest.host().take_released()[0].address, address);
}

#[test]
fn pixels_of_a_deleted_slot_read_as_zero_until_it_is_back() {
    let mut b = bench();
    let image = b.pixels();
    let drawable = b.draw(draw_type::COPY, &body::copy(image, BOX, PUT, 0, &no_mask()));
    let DrawOp::Copy(copy) = &drawable.op else { panic!() };
    let ImageData::Bitmap(bitmap) = &copy.src.data else { panic!() };
    let byte = || {
        let mut byte = [9];
        bitmap.pixels.read_at(5, &mut byte);
        byte[0]
    };
    assert_eq!(byte(), 5);
    b.device.del_memslot(crate::mock::GROUP, crate::mock::SLOT);
    assert_eq!(byte(), 0);
    let elsewhere = MemSlot::of_block(crate::mock::GROUP, crate::mock::SLOT, 1, b.guest.memory(), 0);
    b.device.add_memslot(Box::new(elsewhere)).unwrap();
    assert_eq!(byte(), 5);
    b.device.reset_memslots();
    assert_eq!(byte(), 0);
}

#[test]
fn chunks_are_seen_as_one() {
    let mut b = bench();
    let spec = bitmap(8, 1, 3, 4, &[&[1, 2, 3], &[], &[4, 5], &[6, 7, 8, 9, 10, 11, 12]]);
    let image = b.guest.bitmap(&spec);
    let area = Rect::new(0, 0, 1, 3);
    let drawable = b.draw(draw_type::COPY, &body::copy(image, area, PUT, 0, &no_mask()));
    let DrawOp::Copy(copy) = &drawable.op else { panic!() };
    let ImageData::Bitmap(bitmap) = &copy.src.data else { panic!() };
    let mut all = [0; 14];
    bitmap.pixels.read_at(0, &mut all);
    assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0]);
    let mut some = [0; 4];
    bitmap.pixels.read_at(4, &mut some);
    assert_eq!(some, [5, 6, 7, 8]);
    assert_eq!(bitmap.pixels.chunk_ends(), [3, 5, 12]);
    assert!(b.device.held_bytes() > 0);
}

#[test]
fn a_cyclic_chunk_list_is_dropped() {
    let mut b = bench();
    for size in [0u32, 4] {
        // The chunk is its own successor.
        let list = b.guest.alloc(24);
        let bytes = Bytes::new().u32(size).u64(0).u64(list).u32(0);
        b.guest.write(list, &bytes.0);
        let spec = bitmap(8, 1, 3, 4, &[]);
        let image = b.guest.bitmap(&spec);
        b.guest.write(image + 40, &list.to_le_bytes());
        b.body_dropped(draw_type::COPY, &body::copy(image, Rect::new(0, 0, 1, 3), PUT, 0, &no_mask()));
    }
}

#[test]
fn bad_bitmaps_are_dropped() {
    let mut b = bench();
    let long: &'static [&'static [u8]] = &[&[0; 64], &[1; 64]];
    for spec in [
        bitmap(0, 4, 4, 16, long),
        bitmap(11, 4, 4, 16, long),
        bitmap(8, 4, 4, 15, long),
        bitmap(8, 0, 4, 16, long),
        bitmap(8, 4, 0, 16, long),
        bitmap(8, 4, 4, 16 + (1 << 16) + 1, long),
        bitmap(8, 4, u32::MAX, 16, long),
        bitmap(5, 4, 4, 32, long),         // no palette
        bitmap(3, 4, 4, 32, long),         // only for masks
        bitmap(8, 4, 4, 32, &[&[0; 127]]), // too short
        bitmap(8, 4, 4, 32, &[&[0; 129]]), // too long
        bitmap(8, 4, 4, 32, &[]),
    ] {
        let image = b.guest.bitmap(&spec);
        b.body_dropped(draw_type::COPY, &body::copy(image, BOX, PUT, 0, &no_mask()));
    }
    let good = b.guest.bitmap(&bitmap(8, 4, 4, 32, long));
    drop(b.draw(draw_type::COPY, &body::copy(good, BOX, PUT, 0, &no_mask())));
    b.settle();
    b.body_dropped(draw_type::COPY, &body::copy(good, Rect::new(0, 0, 5, 4), PUT, 0, &no_mask()));
    b.body_dropped(draw_type::COPY, &body::copy(good, Rect::new(3, 0, 1, 4), PUT, 0, &no_mask()));
    b.body_dropped(draw_type::COPY, &body::copy(0, BOX, PUT, 0, &no_mask()));
    b.body_dropped(draw_type::OPAQUE, &body::opaque(0, BOX, &brush::none(), PUT, 0, &no_mask()));
    b.body_dropped(draw_type::FILL, &body::fill(&brush::pattern(0, Point::default()), PUT, &no_mask()));
    b.body_dropped(draw_type::FILL, &body::fill(&brush::none(), PUT, &mask(0, Point::default(), good)));
    b.body_dropped(15, &Bytes::new());
}

#[test]
fn palettes_are_cut_and_widened_for_old_guests() {
    let mut b = bench();
    let palette = b.guest.palette(7, &[0x7fff, 0x0010, 0x4000]);
    let mut spec = bitmap(5, 4, 4, 4, &[&[0; 16]]);
    spec.palette = palette;
    let image = b.guest.bitmap(&spec);
    let spec = DrawableSpec::new(draw_type::COPY, BOX);
    let bytes = spec.compat(&body::copy(image, BOX, PUT, 0, &no_mask()));
    let address = b.guest.put(&bytes.0);
    let command = CommandExt {
        flags: flags::COMPAT | flags::COMPAT_16BPP,
        ..MockGuest::command(command_type::DRAW, address)
    };
    let Fetched::Command(DisplayCommand::Draw(drawable)) = b.run(command) else { panic!() };
    let DrawOp::Copy(copy) = &drawable.op else { panic!() };
    let ImageData::Bitmap(bitmap) = &copy.src.data else { panic!() };
    let palette = bitmap.palette.as_ref().unwrap();
    assert_eq!((palette.unique, palette.entries.as_slice()), (7, &[0xff_ffff, 0x84, 0x84_0000][..]));
}

#[test]
fn bad_frames_are_dropped() {
    let mut b = bench();
    let fill = body::fill(&brush::solid(1), PUT, &no_mask());
    let good = DrawableSpec::new(draw_type::FILL, BOX);
    for bbox in [Rect::new(-1, 0, 4, 4), Rect::new(4, 0, 0, 4), Rect::new(0, 0, 0, 4)] {
        b.dropped(&DrawableSpec { bbox, ..good.clone() }, &fill);
    }
    b.dropped(&DrawableSpec { surface_id: 1024, ..good.clone() }, &fill);
    b.dropped(&DrawableSpec { clip: (2, 0), ..good.clone() }, &fill);
    b.dropped(&DrawableSpec { clip: (1, 0), ..good.clone() }, &fill);
    let mut deps = good.deps;
    deps[1].0 = -2;
    b.dropped(&DrawableSpec { deps, ..good.clone() }, &fill);
    for area in [Rect::default(), Rect::new(5, 5, 1, 9), Rect::new(-1, 0, 4, 4)] {
        b.dropped(&DrawableSpec { self_bitmap: Some(area), ..good.clone() }, &fill);
    }
}

#[test]
fn clip_lists_must_have_as_many_rectangles_as_they_say() {
    let mut b = bench();
    let rects = [Rect::new(0, 0, 1, 1), Rect::new(3, 0, 1, 1), Rect::new(1, 1, 4, 2)];
    let list = b.guest.clip_rects(&rects);
    let fill = body::fill(&brush::solid(1), PUT, &no_mask());
    let spec = DrawableSpec { clip: (1, list), ..DrawableSpec::new(draw_type::FILL, BOX) };
    let Fetched::Command(DisplayCommand::Draw(drawable)) = b.drawable(&spec, &fill).1 else { panic!() };
    assert_eq!(drawable.clip, Clip::Rects([rects[0], rects[2]].into()));
    drop(drawable);
    b.settle();
    for count in [2u32, 4, u32::MAX] {
        b.guest.write(list, &count.to_le_bytes());
        b.dropped(&spec, &fill);
    }
}

#[test]
fn paths_and_styles() {
    let mut b = bench();
    let p = |x, y| Point { x, y };
    let stroke =
        |path, style| body::stroke(path, if style == (0, 0) { 0 } else { 8 }, style, &brush::solid(3), PUT);
    let good = b.guest.path(&[(1, &[p(0, 0), p(16, 16)]), (2 | 16, &[p(1, 1), p(2, 2), p(3, 3)])]);
    let drawable = b.draw(draw_type::STROKE, &stroke(good, (0, 0)));
    let DrawOp::Stroke(op) = &drawable.op else { panic!() };
    assert_eq!(op.path.iter().map(|s| s.points.len()).collect::<Vec<_>>(), [2, 3]);
    drop(drawable);
    b.settle();
    for bad in [
        b.guest.path(&[(1 | 16, &[p(0, 0), p(1, 1), p(2, 2)])]),
        b.guest.path(&[(16, &[p(0, 0), p(1, 1), p(2, 2)])]),
        b.guest.path(&[(2, &[p(0, 0)]), (1, &[]), (2, &[p(0, 0)])]),
        b.guest.path(&[(1, &[p(1 << 27, 0)])]),
        0,
    ] {
        b.body_dropped(draw_type::STROKE, &stroke(bad, (0, 0)));
    }
    let dashes = b.guest.put(&Bytes::new().i32(16).i32(32).i32(0).i32(0).i32(-1).0);
    b.body_dropped(draw_type::STROKE, &stroke(good, (2, 0)));
    b.body_dropped(draw_type::STROKE, &stroke(good, (0, dashes)));
    b.body_dropped(draw_type::STROKE, &stroke(good, (5, dashes)));
    b.body_dropped(draw_type::STROKE, &stroke(good, (2, dashes + 8)));
    b.draw(draw_type::STROKE, &stroke(good, (2, dashes)));
}

#[test]
fn strings_must_be_filled_by_their_glyphs() {
    let mut b = bench();
    let at = Point { x: 1, y: 2 };
    let text = |string| body::text(string, BOX, &brush::solid(1), &brush::none(), PUT);
    let string = b.guest.string(1, &[(at, 9, 2, &[1, 2, 3, 4]), (at, 0, 0, &[])]);
    let drawable = b.draw(draw_type::TEXT, &text(string));
    let DrawOp::Text(op) = &drawable.op else { panic!() };
    assert_eq!(op.string.glyphs[0].data, [1, 2, 3, 4]);
    drop(drawable);
    b.settle();
    for (flags, size, rows) in
        [(1u16, 9u16, &[1u8, 2, 3][..]), (1, 9, &[0; 5]), (8, 9, &[0; 4]), (4, 9, &[0; 4])]
    {
        let bad = b.guest.string(flags, &[(at, size, 2, rows)]);
        b.body_dropped(draw_type::TEXT, &text(bad));
    }
    let far = b.guest.string(1, &[(Point { x: i32::MIN, y: 0 }, 0, 0, &[]), (at, 0, 0, &[])]);
    b.body_dropped(draw_type::TEXT, &text(far));
    b.body_dropped(draw_type::TEXT, &body::text(string, BOX, &brush::solid(1), &brush::none(), 0x48));
    let empty = b.guest.string(1, &[]);
    let drawable = b.draw(draw_type::TEXT, &text(empty));
    let DrawOp::Text(op) = &drawable.op else { panic!() };
    assert!(matches!(op.fore_brush, Brush::None));
}

#[test]
fn composite_flags_of_the_server_come_from_what_is_there() {
    let mut b = bench();
    let image = b.pixels();
    let matrix = b.guest.transform([1 << 16, 0, 0, 0, 1 << 16, 0]);
    let zero = Point16::default();
    let composite = |flags, addresses| body::composite(flags, addresses, zero, zero);
    let drawable = b.draw(draw_type::COMPOSITE, &composite(0x0038_0003, [image, matrix, 0, matrix]));
    let DrawOp::Composite(op) = &drawable.op else { panic!() };
    assert_eq!(op.flags, 3 | (1 << 20));
    assert!(op.mask_transform.is_none());
    let drawable2 = b.draw(draw_type::COMPOSITE, &composite(3, [image, 0, image, matrix]));
    let DrawOp::Composite(op) = &drawable2.op else { panic!() };
    assert_eq!(op.flags, 3 | (1 << 19) | (1 << 21));
    drop((drawable, drawable2));
    b.settle();
    b.body_dropped(draw_type::COMPOSITE, &composite(0x0e, [image, 0, 0, 0]));
    b.body_dropped(draw_type::COMPOSITE, &composite(3 | (5 << 8), [image, 0, 0, 0]));
    b.body_dropped(draw_type::COMPOSITE, &composite(3, [image, u64::MAX, 0, 0]));
    b.body_dropped(draw_type::COMPOSITE, &composite(3, [0, 0, 0, 0]));
}

#[test]
fn a_missing_source_is_the_snapshot() {
    let mut b = bench();
    let spec = DrawableSpec { self_bitmap: Some(BOX), ..DrawableSpec::new(draw_type::ROP3, BOX) };
    let rop3 = body::rop3(0, BOX, &brush::solid(1), 0xaa, 0, &no_mask());
    let Fetched::Command(DisplayCommand::Draw(drawable)) = b.drawable(&spec, &rop3).1 else { panic!() };
    assert_eq!(drawable.self_bitmap, Some(BOX));
}

#[test]
fn headers_that_cannot_be_read_are_not_released() {
    let mut b = bench();
    let address = b.guest.update_command(0, BOX, 5);
    for (bad, group) in [
        (address | (1 << 48), 1), // generation
        (address | (9 << 56), 1), // slot
        (address, 2),             // group
        (address, 0),             // slot of another group
        (address + (1 << 20), 1), // beyond the end
        (MockGuest::address((1 << 20) - 31), 1),
        (u64::MAX, 1),
    ] {
        let command = CommandExt { group_id: group, ..MockGuest::command(command_type::UPDATE, bad) };
        assert!(matches!(b.run(command), Fetched::Dropped));
    }
    for kind in [0, 3, 6, u32::MAX] {
        assert!(matches!(b.run(MockGuest::command(kind, address)), Fetched::Dropped));
    }
    b.device.release_pending();
    assert!(b.guest.host().take_released().is_empty());
    assert!(matches!(
        b.run(MockGuest::command(command_type::UPDATE, address)),
        Fetched::Command(DisplayCommand::Update(update)) if update.update_id == 5 && update.area == BOX
    ));
}

#[test]
fn messages_end_with_a_zero() {
    let mut b = bench();
    let address = b.guest.message(b"hi\x1b");
    let Fetched::Command(DisplayCommand::Message { text, .. }) =
        b.run(MockGuest::command(command_type::MESSAGE, address))
    else {
        panic!()
    };
    assert_eq!(text, "hi\\x1b");
    b.settle();
    let mut b = bench();
    let endless = b.guest.put(&vec![b'x'; (1 << 20) - 16]);
    assert!(matches!(b.run(MockGuest::command(command_type::MESSAGE, endless)), Fetched::Dropped));
    b.expect_release(endless);
}

#[test]
fn surfaces_are_checked_and_cleared() {
    let mut b = bench();
    let mut spec = b.guest.surface_spec(4, 4);
    b.guest.write(spec.address, &[7; 64]);
    let address = b.guest.create_surface(3, &spec);
    let Fetched::Command(DisplayCommand::Surface(SurfaceCommand::Create { surface_id: 3, surface, .. })) =
        b.run(MockGuest::command(command_type::SURFACE, address))
    else {
        panic!()
    };
    assert_eq!((surface.memory.len(), b.guest.read(spec.address, 64)), (64, vec![0; 64]));
    let mut memory = surface.memory;
    memory.write_at(60, &[1, 2, 3, 4]);
    memory.write_at(61, &[9, 9, 9, 9]);
    memory.copy_within(60, 58, 4);
    assert_eq!(b.guest.read(spec.address + 56, 8), [0, 0, 1, 2, 3, 4, 3, 4]);
    memory.write_from(0, &vec![8u8; 5], 2, 5);
    assert_eq!(b.guest.read(spec.address, 6), [8, 8, 8, 0, 0, 0]);
    b.settle();

    let good = spec;
    for change in 0..9 {
        spec = good;
        match change {
            0 => spec.width = 0,
            1 => spec.height = 0,
            2 => spec.format = 33,
            3 => spec.stride = 12,
            4 => spec.stride = 18,
            5 => spec.stride = i32::MIN,
            6 => spec.height = u32::MAX,
            7 => spec.width = u32::MAX,
            _ => spec.address = MockGuest::address(1 << 20),
        }
        assert!(b.device.map_surface(&spec).is_err(), "{spec:?}");
        let address = b.guest.create_surface(3, &spec);
        assert!(matches!(b.run(MockGuest::command(command_type::SURFACE, address)), Fetched::Dropped));
        b.expect_release(address);
    }
    spec = good;
    spec.stride = -16;
    assert_eq!(b.device.map_surface(&spec).unwrap().stride, -16);
    for id in [0, 1024, u32::MAX] {
        let address = b.guest.destroy_surface(id);
        assert!(matches!(b.run(MockGuest::command(command_type::SURFACE, address)), Fetched::Dropped));
        b.expect_release(address);
    }
}

#[test]
fn cursors_are_as_long_as_their_type_says() {
    let mut b = bench();
    let shape = b.guest.cursor_shape(5, 0, (2, 2), (9, 1), &[3; 20]);
    let address = b.guest.cursor_set(Point16 { x: -1, y: 2 }, true, shape);
    b.guest.host().push_cursor(MockGuest::command(command_type::CURSOR, address));
    let Fetched::Command(CursorCommand::Set { shape, position, visible: true, release }) =
        b.device.next_cursor_command()
    else {
        panic!()
    };
    assert_eq!((shape.data.len(), shape.hot_x, shape.hot_y, position.x), (16, 1, 1, -1));
    drop(release);
    b.expect_release(address);
    for (kind, size, len) in [(0, (2, 2), 15), (7, (2, 2), 99), (1, (1025, 1), 4096), (6, (2, 2), 16)] {
        let shape = b.guest.cursor_shape(5, kind, size, (0, 0), &vec![0; len]);
        let address = b.guest.cursor_set(Point16::default(), true, shape);
        b.guest.host().push_cursor(MockGuest::command(command_type::CURSOR, address));
        assert!(matches!(b.device.next_cursor_command(), Fetched::Dropped));
        b.expect_release(address);
    }
    let address = b.guest.cursor_move(Point16 { x: 3, y: 4 });
    b.guest.host().push_cursor(MockGuest::command(command_type::CURSOR, address));
    assert!(matches!(b.device.next_cursor_command(), Fetched::Command(CursorCommand::Move { .. })));
    b.guest.host().push_cursor(MockGuest::command(command_type::DRAW, address));
    assert!(matches!(b.device.next_cursor_command(), Fetched::Dropped));
    assert!(matches!(b.device.next_cursor_command(), Fetched::Empty));
}

#[test]
fn monitors_are_counted_once_and_clamped() {
    let mut b = bench();
    let head = [1, 0, 800, 600, 0, 0, 0];
    let good = b.guest.monitors_config(4, &[head, head, head]);
    let config = b.device.read_monitors_config(good, 1, u32::MAX).unwrap();
    assert_eq!((config.max_allowed, config.heads.len(), config.heads[2].width), (4, 3, 800));
    let config = b.device.read_monitors_config(good, 1, 1).unwrap();
    assert_eq!((config.max_allowed, config.heads.len()), (1, 1));
    for bad in [b.guest.monitors_config(2, &[head, head, head]), b.guest.monitors_config(4, &[]), u64::MAX] {
        assert!(b.device.read_monitors_config(bad, 1, 8).is_err());
    }
}
