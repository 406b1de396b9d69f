//! One test for each vulnerability that was published for the original library or its shared code, showing that the attack
//! has no effect here, and in `aborts` for each way in which peers could end the original's process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test program")]

#[path = "cve/aborts.rs"]
mod aborts;
#[path = "cve/client.rs"]
mod client;
#[path = "cve/host.rs"]
mod host;

use client::{Link, ticket};
use host::{Host, Machine, PATIENCE, Recorder};
use spice_qxl::memory::Block;
use spice_qxl::mock::samples::all_commands;
use spice_qxl::mock::structures::{DrawableSpec, PUT, body, brush, draw_type, no_mask};
use spice_qxl::mock::{GROUP, MockGuest, SLOT};
use spice_qxl::parse::command_type;
use spice_server_core::channel::connection::{ClientId, ConnectionId};
use spice_server_core::channel::polled::Polled;
use spice_server_core::codec::{lz, quic};
use spice_server_core::display::cursor::CursorChannel;
use spice_server_core::geometry::{Point16, Rect};
use spice_server_core::guest::{ReleaseInfo, ReleaseQueue, ReleaseToken, SliceSource};
use spice_server_core::host::{CursorCommand, Fetched, QxlDevice, SurfaceSpec};
use spice_server_core::image::{BitmapFormat, ImageView};
use spice_server_core::oracles::memory::MemoryPeer;
use spice_server_core::oracles::{fuzz_client_message, fuzz_decoders};
use spice_server_core::protocol::ChannelType;
use spice_server_core::reds::{CharKind, TlsConfig};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const BOX: Rect = Rect::new(0, 0, 4, 4);

/// Addresses that lead out of the guest's memory: nowhere, into slots and generations that do not exist, beyond the end,
/// and so near to it that what is there does not fit.
fn hostile_addresses(guest: &MockGuest) -> Vec<u64> {
    let size = guest.memory().len();
    let good = MockGuest::address(0);
    let slots = [0u64, 2, 7, 8, 255].map(|slot| slot << 56);
    let generations = [1u64, 255].map(|generation| good | generation << 48);
    let ends = [1usize, 4, 8, 15].map(|left| MockGuest::address(size - left));
    let beyond = [MockGuest::address(size), good | 0xffff_ffff_ffff, 1, u64::MAX, i64::MAX as u64];
    [&slots[..], &generations, &ends, &beyond].concat()
}

/// Guest pointers were used without a look at the memory slots.
#[test]
fn cve_2010_0428_pointers_of_the_guest_lead_nowhere_else() {
    let mut guest = MockGuest::new(1 << 20);
    let mut device = guest.device();
    let samples = all_commands(&mut guest);
    let snapshot = guest.read(MockGuest::address(0), guest.used());
    let hostile = hostile_addresses(&guest);
    for (kind, address) in samples {
        for offset in (0..256).step_by(4) {
            for pointer in &hostile {
                guest.write(MockGuest::address(0), &snapshot);
                guest.write(address + offset, &pointer.to_le_bytes());
                guest.host().push(MockGuest::command(kind, address));
                drop(device.next_display_command());
                device.release_pending();
                assert!(guest.host().take_released().len() <= 1, "released twice");
            }
        }
    }
    for pointer in hostile {
        // An image that is not in the guest's memory is no image.
        let draw = guest.drawable(
            &DrawableSpec::new(draw_type::COPY, BOX),
            &body::copy(pointer, BOX, PUT, 0, &no_mask()),
        );
        guest.host().push(MockGuest::command(command_type::DRAW, draw));
        assert!(pointer == 0 || matches!(device.next_display_command(), Fetched::Dropped), "{pointer:#x}");
        let _ = device.next_display_command();
        device.release_pending();
        assert_eq!(guest.host().take_released().len(), 1);
    }
}

/// What is given back to the guest was written where the guest said.
#[test]
fn cve_2010_0429_only_commands_inside_of_the_slots_are_given_back() {
    let guest = MockGuest::new(1 << 16);
    let mut device = guest.device();
    for pointer in hostile_addresses(&guest) {
        for kind in 0..8 {
            guest.host().push(MockGuest::command(kind, pointer));
            drop(device.next_display_command());
        }
    }
    device.release_pending();
    let (start, size) = (guest.memory().address(), guest.memory().len() as u64);
    for info in guest.host().take_released() {
        assert!(info.address >= start && info.address + 8 <= start + size, "{info:?}");
    }
    // Nor is memory used for anything once its slot is gone.
    let mut guest = MockGuest::new(1 << 16);
    let mut device = guest.device();
    let spec = guest.surface_spec(4, 4);
    let mut surface = device.map_surface(&spec).unwrap();
    device.del_memslot(GROUP, SLOT);
    surface.memory.write_at(0, &[0xff; 64]);
    assert_eq!(guest.read(spec.address, 64), [0; 64]);
    assert!(device.map_surface(&spec).is_err());
}

/// A connection that failed while a message went to all clients changed the list that was being walked.
#[test]
fn cve_2013_4130_clients_that_go_during_a_broadcast_do_not_disturb_it() {
    let now = Instant::now();
    let mut channel = Polled::new(CursorChannel::new());
    let peers: Vec<MemoryPeer> = (1..=4)
        .map(|id| {
            let (connection, peer) = MemoryPeer::connect(ChannelType::Cursor, ClientId(id), 0, false);
            channel.attach(ConnectionId(id), connection, now);
            peer
        })
        .collect();
    channel.push(now);
    let queue = Arc::<ReleaseQueue>::default();
    let token = || ReleaseToken::new(queue.clone(), ReleaseInfo { address: 0, group_id: 0 });
    // First, last and one in the middle.
    for gone in [0, 3, 1] {
        peers[gone].close();
        channel.command(CursorCommand::Move { position: Point16 { x: gone as i16, y: 1 }, release: token() });
        channel.push(now);
        let mut moves = 0;
        peers[2].take_messages(|msg_type, _| moves += u32::from(msg_type == 104));
        assert_eq!(moves, 1);
    }
    assert_eq!(channel.sockets().len(), 1);
}

/// The decrypted password was copied into a buffer of 60 bytes.
#[test]
fn cve_2013_4282_long_passwords_are_only_wrong() {
    let host = Host::start(|server| server.set_ticket(Some(b"secret"), 0, false, false).unwrap());
    for length in [0, 59, 60, 61, 85, 86] {
        let mut client = host.connect();
        let key = client.ask(1, 0);
        assert_eq!(client.log_in(&ticket(&key, &vec![b'x'; length])), 7, "{length}");
    }
    for raw in [[0; 128], [0xff; 128]] {
        let mut client = host.connect();
        client.ask(1, 0);
        assert_eq!(client.log_in(&raw), 7);
    }
    assert_eq!(host.connect().link(1, 0, b"secret"), 0);
}

/// The number of monitors was read twice: the guest could raise it in between.
#[test]
fn cve_2015_3247_the_number_of_monitors_is_read_once() {
    let mut guest = MockGuest::new(1 << 16);
    let mut device = guest.device();
    let config = guest.monitors_config(4, &[[0, 0, 640, 480, 0, 0, 0]; 4]);
    let (memory, at): (Arc<Block>, usize) = (guest.memory(), (config & 0xffff_ffff) as usize);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                memory.write(at, &[4, 0, 4, 0]);
                memory.write(at, &[0xff, 0xff, 0xff, 0xff]);
                memory.write(at, &[1, 0, 4, 0]);
            }
        });
        let mut read = 0;
        for _ in 0..20_000 {
            if let Ok(config) = device.read_monitors_config(config, GROUP, 4) {
                assert!((1..=4).contains(&config.heads.len()));
                read += 1;
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(read > 0);
    });
}

/// Surface ids were used as indexes.
#[test]
fn cve_2015_5260_surface_ids_have_bounds() {
    let mut machine = Machine::start();
    for id in [1, 1023, 1024, 1025, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let spec = DrawableSpec { surface_id: id, ..DrawableSpec::new(draw_type::FILL, BOX) };
        let fill = body::fill(&brush::solid(1), PUT, &no_mask());
        machine.draw(&spec, &fill);
        let image = machine.guest.surface_image(id, 4, 4);
        let copy = body::copy(image, BOX, PUT, 0, &no_mask());
        let mut spec = DrawableSpec::new(draw_type::COPY, BOX);
        spec.deps[0] = (id as i32, BOX);
        machine.draw(&spec, &copy);
        let update = machine.guest.update_command(id, BOX, 1);
        machine.push(command_type::UPDATE, update);
        let destroy = machine.guest.destroy_surface(id);
        machine.push(command_type::SURFACE, destroy);
        let worker = machine.device.worker().unwrap();
        assert!(worker.update_area(id, BOX, None, true).is_empty());
        worker.destroy_surface_wait(id);
    }
    machine.is_unharmed();
}

/// Parameters of surfaces that overflow, or reach beyond the slot.
fn hostile_surfaces(good: SurfaceSpec, size: usize) -> Vec<SurfaceSpec> {
    let shapes = [
        (0x4000_0001, 1, 4),
        (0x4000_0000, 4, 0),
        (32, 0x0200_0001, 128),
        (32, 0x0400_0000, -128),
        (u32::MAX, u32::MAX, 4),
        (u32::MAX, 1, i32::MAX),
        (32, u32::MAX, i32::MIN),
        (32, 32, 127),
        (32, 32, 0),
        (32, 32, 4),
        (0, 32, 128),
        (32, 0, 128),
        (32, 32, i32::MIN),
        (8192, 8192, 32_768),
    ];
    let shapes = shapes.map(|(width, height, stride)| SurfaceSpec { width, height, stride, ..good });
    let ends = [1, 4, 128, 32 * 128 - 4]
        .map(|left| SurfaceSpec { address: MockGuest::address(size - left), ..good });
    let formats = [0, 2, 33, u32::MAX].map(|format| SurfaceSpec { format, ..good });
    let groups = [2, 3, u32::MAX].map(|group_id| SurfaceSpec { group_id, ..good });
    [&shapes[..], &ends, &formats, &groups].concat()
}

/// Commands that create surfaces let the guest reach all memory of the host.
#[test]
fn cve_2015_5261_surfaces_of_commands_lie_in_the_guests_memory() {
    let mut machine = Machine::start();
    let good = machine.guest.surface_spec(32, 32);
    let size = machine.guest.memory().len();
    for (id, spec) in (1..).zip(hostile_surfaces(good, size)) {
        if spec.group_id != good.group_id {
            continue;
        }
        let create = machine.guest.create_surface(id, &spec);
        machine.push(command_type::SURFACE, create);
        let draw = DrawableSpec {
            surface_id: id,
            ..DrawableSpec::new(draw_type::WHITENESS, Rect::new(0, 0, 9999, 9999))
        };
        machine.draw(&draw, &no_mask());
        let worker = machine.device.worker().unwrap();
        worker.wakeup();
        assert!(worker.update_area(id, BOX, None, true).is_empty(), "{spec:?}");
    }
    machine.is_unharmed();
}

/// The same with the primary surface, whose parameters come through the host.
#[test]
fn cve_2016_2150_the_primary_surface_lies_in_the_guests_memory() {
    let mut machine = Machine::start();
    let good = machine.guest.surface_spec(32, 32);
    let size = machine.guest.memory().len();
    let before = machine.guest.read(MockGuest::address(0), 16);
    machine.device.destroy_primary(0);
    for spec in hostile_surfaces(good, size) {
        let worker = machine.device.worker().unwrap();
        assert!(!worker.create_primary(0, spec), "{spec:?}");
        assert!(worker.update_area(0, BOX, None, true).is_empty());
    }
    assert_eq!(machine.guest.read(MockGuest::address(0), 16), before);
    machine.device.create_primary(0, &good, 1);
    machine.is_unharmed();
}

/// Messages of a smartcard client were copied by the length that they claim.
#[test]
fn cve_2016_0749_lengths_of_smartcard_messages_are_checked() {
    let card = Arc::new(Recorder::default());
    let device = card.clone();
    let host = Host::start(|_| {});
    host.run(move |server| {
        server.vm_start();
        server.add_char_device(CharKind::Smartcard, device, |_| {}).unwrap();
    });
    for kind in 1..=7u32 {
        for length in [1, 5, 0x1000, 0x7fff_ffff, 0xffff_fff4, u32::MAX] {
            for reader in [0, 1, u32::MAX] {
                let main = host.main();
                let mut client = host.channel(&main, 8);
                let header = [kind, reader, length].map(u32::to_le_bytes);
                client.send(101, header.as_flattened());
                client.send(101, &header.as_flattened()[..7]);
                client.send_lie(101, u32::MAX, &[]);
                client.rest();
            }
        }
    }
    host.is_unharmed();
    // What reached the device are whole messages of its own protocol.
    let bytes = card.0.lock().unwrap().clone();
    let mut rest = &bytes[..];
    while let Some((header, data)) = rest.split_first_chunk::<12>() {
        let length = u32::from_be_bytes(header[8..].try_into().unwrap()) as usize;
        rest = data.get(length..).expect("a message shorter than it says");
    }
    assert!(rest.is_empty());
}

/// The size of a message on the main channel was not compared with the buffer for it.
#[test]
fn cve_2016_9577_messages_longer_than_the_channel_allows_end_the_client() {
    let host = Host::start(|_| {});
    for msg_type in (0..8).chain(101..=112) {
        for size in [1 << 20, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let mut main = host.main();
            main.send_lie(msg_type, size, &[0; 64]);
            main.rest();
        }
    }
    host.is_unharmed();
}

/// Counts of capabilities were multiplied without a check.
#[test]
fn cve_2016_9578_counts_of_capabilities_do_not_overflow() {
    let host = Host::start(|_| {});
    for counts in
        [(0x4000_0000, 0), (0x4000_0001, 1), (0, 0x8000_0001), (u32::MAX, u32::MAX), (1025, 0), (3, 0)]
    {
        for caps_offset in [18, 0, 17, 26, u32::MAX - 3, u32::MAX] {
            let mut client = host.connect();
            client.send_raw(&Link { counts, caps_offset, ..Link::new(1, 0) }.bytes());
            let reply = client.rest();
            assert_eq!(reply[16..20], 3u32.to_le_bytes(), "{counts:?} at {caps_offset}: not INVALID_DATA");
        }
    }
    for size in [0, 17, 4097, 0x7fff_ffff, u32::MAX] {
        let mut client = host.connect();
        client.send_raw(&Link { size: Some(size), ..Link::new(1, 0) }.bytes());
        assert_eq!(client.rest()[16..20], 3u32.to_le_bytes(), "{size}");
    }
    host.is_unharmed();
}

/// A configuration of monitors said how many it holds, and was believed.
#[test]
fn cve_2017_7506_monitors_that_a_message_does_not_hold_are_not_read() {
    let agent = Arc::new(Recorder::default());
    let device = agent.clone();
    let machine = Machine::start();
    let host = &machine.host;
    host.run(move |server| server.add_char_device(CharKind::Agent, device, |_| {}).map(|_| ()).unwrap());
    for count in [1u32, 2, 256, 257, 0x0ccc_cccd, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        for flags in [0u32, 1, 2, u32::MAX] {
            for body in [8usize, 12, 27] {
                let mut main = host.main();
                main.send(106, &10u32.to_le_bytes());
                // VDAgentMessage: protocol, type MONITORS_CONFIG, opaque, size; then the counts.
                let mut message = [1u32, 2, 0, 0, body as u32].map(u32::to_le_bytes).concat();
                message.extend([count, flags].map(u32::to_le_bytes).as_flattened());
                message.resize(20 + body, 0);
                main.send(107, &message);
                main.rest();
            }
        }
    }
    host.is_unharmed();
}

/// Generated parsers of client messages multiplied and added sizes without a check.
#[test]
fn cve_2018_10873_no_message_makes_its_parser_read_beyond_it() {
    let words = [0u32, 1, 4, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, u32::MAX];
    for msg_type in (0..8).chain(99..=116).chain(200..=204) {
        for size in 0..40 {
            for word in words {
                let body: Vec<u8> = word.to_le_bytes().into_iter().cycle().take(size).collect();
                fuzz_client_message(msg_type, &body);
                // A count or an offset that lies among zeros, at every place.
                for at in (0..size).step_by(2) {
                    let mut body = vec![0; size];
                    body.iter_mut().skip(at).zip(word.to_le_bytes()).for_each(|(to, from)| *to = from);
                    fuzz_client_message(msg_type, &body);
                }
            }
        }
    }
}

fn lz_header(kind: u32, width: u32, height: u32, stride: u32) -> Vec<u8> {
    [0x2020_5a4c, 0x10001, kind, width, height, stride, 1].map(u32::to_be_bytes).concat()
}

/// The decoder of LZ followed references out of its buffers.
#[test]
fn cve_2018_10893_lz_streams_stay_inside_of_their_image() {
    let mut out = Vec::new();
    // RGB32: a literal pixel, then references: before the image, and longer than it.
    for stream in [
        &[0u8, 1, 2, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        &[0x20, 0xff],
        &[0xe0, 0xff, 0xff, 0xff],
        &[0x1f],
    ] {
        let bytes = [lz_header(8, 4, 4, 16), stream.to_vec()].concat();
        assert!(lz::decode(&bytes, 4, 4, &mut out).is_err());
        assert!(out.len() <= 4 * 4 * 4);
    }
    for (width, height, stride) in
        [(0x8000_0001, 2, 4), (u32::MAX, u32::MAX, u32::MAX), (0x4000_0000, 4, 0), (4, 4, 1)]
    {
        let bytes = [lz_header(8, width, height, stride), vec![0; 64]].concat();
        assert!(lz::parse_header(&bytes).is_err() || lz::decode(&bytes, width, height, &mut out).is_err());
    }
    // Every format, every single byte of a stream changed, and every length of it.
    let stream: Vec<u8> = (0..60u8).map(|i| i.wrapping_mul(37)).collect();
    for kind in 1..=11 {
        let good = [&[0][..], &lz_header(kind, 6, 4, 24), &stream].concat();
        for at in 1..good.len() {
            for value in [0, 0x1f, 0x20, 0xe0, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                fuzz_decoders(&bad);
            }
            fuzz_decoders(&good[..at]);
        }
    }
}

/// Slots and groups were compared with their number by `>` instead of `>=`.
#[test]
fn cve_2019_3813_the_first_slot_beyond_the_last_is_none() {
    let guest = MockGuest::new(1 << 16);
    let mut device = guest.device();
    let info = MockGuest::init_info();
    for (group_id, slot_id) in
        [(info.num_memslot_groups, 0), (0, info.num_memslots), (u32::MAX, 1), (1, u32::MAX)]
    {
        assert!(device.add_memslot(guest.memslot_as(group_id, slot_id)).is_err());
        device.del_memslot(group_id, slot_id);
    }
    for slot in [info.num_memslots, info.num_memslots + 1, 255] {
        guest.host().push(MockGuest::command(command_type::DRAW, u64::from(slot) << 56));
        assert!(matches!(device.next_display_command(), Fetched::Dropped));
    }
    let mut command = MockGuest::command(command_type::DRAW, MockGuest::address(16));
    command.group_id = info.num_memslot_groups;
    guest.host().push(command);
    assert!(matches!(device.next_display_command(), Fetched::Dropped));
    device.release_pending();
    assert!(guest.host().take_released().is_empty());
}

fn quic_stream() -> Vec<u8> {
    let pixels: Vec<u8> = (0..16 * 16 * 4u32).map(|i| (i * i / 7) as u8).collect();
    let source = SliceSource(&pixels);
    let format = BitmapFormat::ThirtyTwoBit;
    let image = ImageView { format, width: 16, height: 16, stride: 64, top_down: true, source: &source };
    let mut stream = Vec::new();
    quic::Encoder::default().encode(&image, 1 << 16, &mut stream).unwrap();
    stream
}

/// The decoder of QUIC wrote runs of pixels beyond the row and read beyond its input.
#[test]
fn cve_2020_14355_damaged_quic_images_stay_inside_of_their_size() {
    let good = quic_stream();
    let mut out = Vec::new();
    let mut check = |stream: &[u8]| {
        let result = quic::decode(stream, 16, 16, quic::PixelLayout::Bgra32, &mut out);
        assert!(out.len() <= 16 * 16 * 4);
        result.is_ok()
    };
    assert!(check(&good));
    for length in 0..good.len() {
        check(&good[..length]);
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            check(&bad);
        }
    }
    // A size that is not the image's, and all ones, which are the longest runs.
    let mut machine = Machine::start();
    let runs = [&good[..20], &[0xff; 400]].concat();
    check(&runs);
    for (width, height) in [(16, 16), (17, 16), (32_767, 32_767), (u32::MAX, 1), (0, 0)] {
        for stream in [&good, &runs] {
            let image = machine.guest.quic_image(3, width, height, &[stream]);
            let copy = body::copy(image, Rect::new(0, 0, 16, 16), PUT, 0, &no_mask());
            let spec = DrawableSpec::new(draw_type::COPY, Rect::new(0, 0, 16, 16));
            machine.draw(&spec, &copy);
        }
    }
    machine.is_unharmed();
}

/// Clients could renegotiate TLS without end, which costs the server most of it.
#[test]
fn cve_2021_20201_clients_cannot_renegotiate() {
    let dir = std::env::temp_dir().join(format!("spice-cve-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-keyout"])
        .args([&key, std::path::Path::new("-out"), &cert])
        .output()
        .expect("the program openssl");
    assert!(made.status.success(), "{made:?}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let config = TlsConfig {
        port: port.into(),
        ca_cert_file: path(&cert),
        certs_file: path(&cert),
        private_key_file: path(&key),
        ..TlsConfig::default()
    };
    let host = Host::start(move |server| server.set_tls(config).unwrap());
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    let start = Instant::now();
    while !line.contains("Verify return code") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0 && start.elapsed() < PATIENCE, "no TLS connection");
    }
    client.stdin.take().unwrap().write_all(b"R\n").unwrap();
    let end = client.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&end.stderr).into_owned();
    assert!(!end.status.success() && error.contains("no renegotiation"), "{error}");
    host.is_unharmed();
    std::fs::remove_dir_all(&dir).unwrap();
}
