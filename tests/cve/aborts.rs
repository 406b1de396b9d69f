//! Input of guests and clients that ends the original's process (docs/spec: "abort").

use crate::BOX;
use crate::host::{Host, Machine, Nothing, Recorder, wait};
use spice_qxl::mock::structures::{BitmapSpec, DrawableSpec, PUT, body, brush, draw_type, no_mask};
use spice_qxl::mock::{Bytes, MockGuest};
use spice_qxl::parse::command_type;
use spice_server_core::geometry::{Point, Rect};
use spice_server_core::host::SurfaceSpec;
use spice_server_core::reds::CharKind;
use std::sync::Arc;

/// DISPLAY_INIT with this size of the GLZ window.
fn display_init(window: u32) -> Vec<u8> {
    let mut body = vec![1];
    body.extend((1u64 << 20).to_le_bytes());
    body.push(1);
    body.extend(window.to_le_bytes());
    body
}

#[test]
fn migration_messages_that_nobody_asked_for_end_their_channel() {
    let machine = Machine::start();
    let host = &machine.host;
    host.run(|server| server.add_keyboard(Arc::new(Nothing)).unwrap());
    for channel_type in [1, 2, 3, 4] {
        // MIGRATE_FLUSH_MARK, and MIGRATE_DATA.
        for (msg_type, body) in [(4, vec![]), (5, vec![0; 64])] {
            let mut main = host.main();
            if channel_type == 1 {
                main.send(msg_type, &body);
                main.rest();
            } else {
                let mut channel = host.channel(&main, channel_type);
                channel.send(msg_type, &body);
                channel.rest();
            }
        }
    }
    // MIGRATE_DST_DO_SEAMLESS on a session that comes from nowhere.
    for version in [0u32, 1, 2, u32::MAX] {
        let mut main = host.main();
        main.send(110, &version.to_le_bytes());
        host.is_unharmed();
    }
    host.is_unharmed();
}

#[test]
fn agent_tokens_before_the_agent_is_started_are_ignored() {
    let host = Host::start(|_| {});
    let agent = Arc::new(Recorder::default());
    host.run(move |server| server.add_char_device(CharKind::Agent, agent, |_| {}).map(|_| ()).unwrap());
    let mut main = host.main();
    for tokens in [0u32, 1, u32::MAX] {
        main.send(108, &tokens.to_le_bytes());
        main.round_trip();
    }
    host.is_unharmed();
}

#[test]
fn positions_without_a_tablet_or_agent_are_ignored() {
    let host = Host::start(|_| {});
    let tablet = host.run(|server| {
        server.add_mouse(Arc::new(Nothing)).unwrap();
        server.add_tablet(Arc::new(Nothing)).unwrap()
    });
    let mut main = host.main();
    let mut inputs = host.channel(&main, 3);
    inputs.until(101);
    // MOUSE_MODE_REQUEST for client mode, then MOUSE_POSITION with and without a tablet.
    main.send(105, &[2, 0]);
    main.round_trip();
    inputs.send(112, &[0; 11]);
    host.run(move |server| server.remove_tablet(tablet).unwrap());
    for _ in 0..100 {
        inputs.send(112, &[0xff; 11]);
    }
    main.round_trip();
    host.is_unharmed();
}

#[test]
fn display_clients_that_break_the_rules_of_init_are_disconnected() {
    let machine = Machine::start();
    let host = &machine.host;
    let second = [display_init(1 << 20), display_init(1 << 20)];
    let windows = [(1 << 25) + 1, 1 << 26, 0x8000_0000, u32::MAX].map(display_init);
    for inits in [&second[..], &windows[..1], &windows[1..2], &windows[2..3], &windows[3..]] {
        let main = host.main();
        let mut display = host.channel(&main, 2);
        for init in inits {
            display.send(101, init);
        }
        display.rest();
    }
    for short in [0, 1, 13] {
        let main = host.main();
        let mut display = host.channel(&main, 2);
        display.send(101, &display_init(1 << 20)[..short]);
        display.rest();
    }
    // One that leaves before its INIT.
    drop(host.channel(&host.main(), 2));
    host.is_unharmed();
}

#[test]
fn commands_of_types_that_do_not_exist_are_dropped() {
    let machine = Machine::start();
    for kind in [0, 3, 6, 7, 0x7fff_ffff, u32::MAX] {
        machine.guest.host().push(MockGuest::command(kind, MockGuest::address(64)));
        let mut foreign = MockGuest::command(kind, MockGuest::address(64));
        foreign.group_id = 7;
        machine.guest.host().push(foreign);
        machine.guest.host().push_cursor(MockGuest::command(kind, MockGuest::address(64)));
    }
    let worker = machine.device.worker().unwrap();
    worker.wakeup();
    worker.update_area(0, BOX, None, true);
    machine.host.is_unharmed();
}

#[test]
fn updates_of_strange_areas_do_nothing() {
    let mut machine = Machine::start();
    let areas = [
        Rect::new(0, 0, 0, 0),
        Rect::new(5, 5, 4, 4),
        Rect::new(-5, -5, 4, 4),
        Rect::new(0, 0, 33, 33),
        Rect::new(i32::MIN, i32::MIN, i32::MAX, i32::MAX),
    ];
    for area in areas {
        let update = machine.guest.update_command(0, area, 1);
        machine.push(command_type::UPDATE, update);
        machine.device.worker().unwrap().update_area(0, area, None, true);
    }
    machine.is_unharmed();
}

/// A bitmap of 4 x 4 pixels, whose palette is missing.
fn bitmap(machine: &mut Machine, format: u8) -> u64 {
    machine.guest.bitmap(&BitmapSpec {
        id: 1,
        descriptor_flags: 0,
        format,
        flags: 4,
        width: 4,
        height: 4,
        stride: 16,
        palette: 0,
        chunks: &[&[7; 64]],
    })
}

#[test]
fn bitmaps_of_formats_that_do_not_exist_or_lack_their_palette_are_not_drawn() {
    let mut machine = Machine::start();
    for format in (0..16).chain([255]) {
        let image = bitmap(&mut machine, format);
        for kind in [draw_type::COPY, draw_type::BLEND] {
            machine.draw(&DrawableSpec::new(kind, BOX), &body::copy(image, BOX, PUT, 0, &no_mask()));
        }
    }
    machine.is_unharmed();
}

#[test]
fn surfaces_of_all_formats_bear_all_operations() {
    let mut machine = Machine::start();
    let good = machine.guest.surface_spec(32, 32);
    // 1, 8, 16 and 32 bits.
    for (id, format) in (1..).zip([1, 8, 16, 80, 32, 96]) {
        let spec = SurfaceSpec { format, address: machine.guest.alloc(32 * 128), ..good };
        let create = machine.guest.create_surface(id, &spec);
        machine.push(command_type::SURFACE, create);
        let mut images: Vec<u64> = (1..=10).map(|format| bitmap(&mut machine, format)).collect();
        images.extend([machine.guest.surface_image(id, 32, 32), 0]);
        let on = |kind| DrawableSpec { surface_id: id, ..DrawableSpec::new(kind, BOX) };
        for image in images {
            let tiled = brush::pattern(image, Point { x: -1, y: 2 });
            for rop in [PUT, 0x20, 0x40, 0x80, 0, u16::MAX] {
                machine.draw(&on(draw_type::COPY), &body::copy(image, BOX, rop, 0, &no_mask()));
                machine.draw(&on(draw_type::FILL), &body::fill(&tiled, rop, &no_mask()));
            }
            for code in 0..=255 {
                machine.draw(&on(draw_type::ROP3), &body::rop3(image, BOX, &tiled, code, 0, &no_mask()));
            }
            machine.draw(&on(draw_type::ALPHA_BLEND), &body::alpha_blend(3, 200, image, BOX));
            machine.draw(&on(draw_type::TRANSPARENT), &body::transparent(image, BOX, 1, 2));
            // Scaling in a way that does not exist.
            let wide = Rect::new(0, 0, 2, 2);
            machine.draw(&on(draw_type::COPY), &body::copy(image, wide, PUT, 2, &no_mask()));
            machine.draw(&on(draw_type::COPY), &body::copy(image, wide, PUT, 255, &no_mask()));
            machine.settle();
        }
        let draw = DrawableSpec { self_bitmap: Some(BOX), ..on(draw_type::COPY) };
        machine.draw(&draw, &body::copy(0, BOX, PUT, 0, &no_mask()));
        let outside = DrawableSpec { self_bitmap: Some(Rect::new(-9, 0, 99, 99)), ..on(draw_type::COPY) };
        machine.draw(&outside, &body::copy(0, BOX, PUT, 0, &no_mask()));
        // The guest gets the command that made a surface back with the surface.
        let destroy = machine.guest.destroy_surface(id);
        machine.push(command_type::SURFACE, destroy);
    }
    machine.is_unharmed();
}

#[test]
fn text_and_strokes_that_make_no_sense_are_dropped() {
    let mut machine = Machine::start();
    let text =
        |back: Rect, mode| move |string| body::text(string, back, &brush::solid(1), &brush::solid(2), mode);
    let origin = Point::default();
    for flags in [0, 1, 2, 3, 4, 7, 255] {
        let glyphs =
            machine.guest.string(flags, &[(origin, 3, 2, &[1, 2, 3, 4, 5, 6]), (origin, 40_000, 1, &[])]);
        let none = machine.guest.string(flags, &[]);
        for string in [glyphs, none] {
            machine.draw(&DrawableSpec::new(draw_type::TEXT, BOX), &text(BOX, 0x20)(string));
            machine.draw(&DrawableSpec::new(draw_type::TEXT, BOX), &text(Rect::new(9, 9, 0, 0), PUT)(string));
        }
    }
    let p = |x, y| Point { x, y };
    let paths: [&[(u32, &[Point])]; 6] = [
        &[(0, &[p(0, 0)])],
        &[(16, &[p(0, 0), p(1, 1)])],
        &[(1 | 16, &[p(0, 0), p(1, 1), p(2, 2), p(3, 3), p(4, 4)])],
        &[(8, &[])],
        &[(1, &[]), (2 | 8, &[])],
        &[(u32::MAX, &[p(i32::MAX, i32::MIN), p(i32::MIN, i32::MAX)])],
    ];
    for path in paths {
        let path = machine.guest.path(path);
        for dashes in [[0, 0], [1, 0], [i32::MAX, 1], [1, i32::MAX]] {
            let style = machine.guest.put(&Bytes::new().i32(dashes[0]).i32(dashes[1]).0);
            for flags in [0, 8] {
                let stroke = body::stroke(path, flags, (2, style), &brush::solid(3), PUT);
                machine.draw(&DrawableSpec::new(draw_type::STROKE, BOX), &stroke);
            }
        }
    }
    machine.is_unharmed();
}

#[test]
fn requests_of_the_host_that_make_no_sense_are_refused() {
    let machine = Machine::start();
    let worker = machine.device.worker().unwrap();
    for group in [0, 2, 99, u32::MAX] {
        for slot in [8, 99, u32::MAX] {
            worker.del_memslot(group, slot);
            worker.add_memslot_async(machine.guest.memslot_as(group, slot), 5);
        }
    }
    machine.device.set_device_info(&"x".repeat(300), 0, 1);
    machine.device.set_device_info("pci/0000/02.0", 0, 17);
    worker.gl_draw_async(BOX, 6);
    worker.update_area_async(77, BOX, true, 7);
    worker.monitors_config_async(0, 1, 8);
    worker.destroy_primary(3);
    worker.destroy_surface_wait(3);
    worker.reset_image_cache();
    let host = machine.guest.host();
    wait("the completions", || host.lock().completed.iter().filter(|c| **c > 5).count() == 3);
    machine.host.is_unharmed();
}
