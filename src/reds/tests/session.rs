use super::harness::*;
use crate::host::ChannelEvent;
use crate::reds::Server;
use std::sync::Arc;

#[test]
fn session_begins_with_init_name_uuid_and_three_pings() {
    let host = Host::start(|s| {
        s.set_name(Some("vm"));
        s.set_uuid([7; 16]);
    });
    let mut main = host.connect();
    assert_eq!(main.link(1, 9, 0, b""), 0, "any id of main is main");
    let (kind, init) = main.any_message();
    assert_eq!((kind, init.len()), (103, 32));
    assert_eq!(init[4..24], [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0]);
    assert_eq!(main.any_message(), (113, vec![3, 0, 0, 0, b'v', b'm', 0]));
    assert_eq!(main.any_message(), (114, vec![7; 16]));
    let pings: Vec<(u16, u8, usize)> = (0..3)
        .map(|_| {
            let (kind, body) = main.any_message();
            (kind, body[0], body.len())
        })
        .collect();
    assert_eq!(pings, [(4, 1, 12), (4, 2, 12), (4, 3, 256_012)]);
    main.send(104, &[]);
    assert_eq!(main.any_message(), (104, vec![1, 0, 0, 0, 3, 0]));
}

#[test]
fn full_headers_serve_clients_without_mini_header() {
    let host = Host::start(|_| {});
    let mut main = host.connect();
    main.send_raw(&link_bytes(1, 0, 0, 1));
    let key = main.link_reply();
    main.send_raw(&[&1u32.to_le_bytes()[..], &ticket(&key, b"")].concat());
    assert_eq!(main.receive(4), [0; 4]);
    main.use_full_headers();
    assert_eq!(main.message().0, 103);
    assert_eq!(main.round_trip(), [1, 0, 0, 0, 3, 0]);
}

#[test]
fn latency_tests_begin_when_the_net_test_is_over() {
    let host = Host::start(|_| {});
    let mut main = host.main();
    for id in 1u8..=3 {
        let body = main.until(4);
        assert_eq!(body[0], id);
        main.send(3, &body[..12]);
    }
    let first = main.until(4);
    let second = main.until(4);
    assert_eq!(first, second);
    assert!(u32::from_le_bytes(first[..4].try_into().unwrap()) >= 16);
    main.send(3, &first[..12]);
    main.send(3, &first[..12]);
    // What it found depends on what else the machine does.
    main.round_trip();
}

#[test]
fn messages_without_meaning_end_the_client() {
    let host = Host::start(|_| {});
    for (msg_type, body) in [
        (101u16, vec![0; 8]),
        (112, vec![]),
        (0, vec![]),
        (7, vec![]),
        (4, vec![]),
        (5, vec![1]),
        (110, vec![1, 0, 0, 0]),
    ] {
        let mut main = host.main();
        main.send(msg_type, &body);
        main.rest();
        host.wait("the client's end", |h| h.run(|s| s.num_clients()) == 0);
    }
    let mut main = host.main();
    main.send_raw(&[107, 0, 0xff, 0xff, 0xff, 0xff]);
    main.rest();
    // Ignored ones, then still alive.
    let mut main = host.main();
    for (msg_type, body) in [
        (6u16, vec![0; 12]),
        (102, vec![]),
        (103, vec![]),
        (109, vec![]),
        (106, vec![1, 0, 0, 0]),
        (108, vec![1, 0, 0, 0]),
        (107, vec![0; 2048]),
        (105, vec![9, 0]),
        (105, vec![2, 0]),
        (2, vec![]),
    ] {
        main.send(msg_type, &body);
    }
    main.round_trip();
    assert!(host.run(Server::is_server_mouse));
}

#[test]
fn new_client_replaces_the_old_one_only_after_authentication() {
    let host = Host::start(|s| s.set_ticket(Some(b"x"), 0, false, false).unwrap());
    let mut first = host.connect();
    assert_eq!(first.link(1, 0, 0, b"x"), 0);
    let init = first.until(103);
    first.session = u32::from_le_bytes(init[..4].try_into().unwrap());
    let mut inputs = host.connect();
    assert_eq!(inputs.link(3, 0, first.session, b"x"), 0);
    assert_eq!(host.connect().link(1, 0, 0, b"wrong"), 7);
    first.round_trip();
    let mut second = host.connect();
    assert_eq!(second.link(1, 0, 0, b"x"), 0);
    first.rest();
    inputs.rest();
    assert_eq!(second.message().0, 103);
    let events = host.events();
    let at = |key: u64, wanted: fn(&ChannelEvent) -> bool| {
        events.iter().position(|(k, e)| *k == key && wanted(e)).unwrap()
    };
    let keys: Vec<u64> =
        events.iter().filter(|e| matches!(e.1, ChannelEvent::Initialized { .. })).map(|e| e.0).collect();
    let [main, inputs, second] = keys[..] else { panic!("{events:?}") };
    let disconnected = |e: &ChannelEvent| *e == ChannelEvent::Disconnected;
    let initialized = |e: &ChannelEvent| matches!(e, ChannelEvent::Initialized { .. });
    assert!(at(main, disconnected) < at(second, initialized));
    assert!(at(inputs, disconnected) < at(second, initialized));
    assert_eq!(host.run(|s| s.num_clients()), 1);
}

#[test]
fn losing_main_ends_all_channels_of_the_client() {
    let host = Host::start(|_| {});
    let main = host.main();
    let mut inputs = host.inputs(&main);
    drop(main);
    inputs.rest();
    host.wait("all events", |h| h.event_kinds() == ["123", "123"]);
}

#[test]
fn second_channel_of_a_kind_is_refused_and_the_first_stays() {
    let host = Host::start(|_| {});
    let main = host.main();
    let mut inputs = host.inputs(&main);
    let mut again = host.connect();
    assert_eq!(again.link(3, 0, main.session, b""), 0);
    assert_eq!(again.rest(), []);
    for _ in 0..4 {
        inputs.send(111, &[0; 10]);
    }
    inputs.until(111);
    host.wait("events", |h| h.event_kinds() == ["12", "12", "123"]);
}

#[test]
fn watches_and_timers_come_and_go_in_the_documented_order() {
    let host = Host::start(|_| {});
    let expect = ["watch_add", "timer_add", "watch_add", "timer_add"];
    assert_eq!(host.event_loop.calls(), expect);
    let event_loop = host.event_loop.clone();
    drop(host);
    assert_eq!(event_loop.calls()[4..], ["watch_remove", "timer_remove", "watch_remove", "timer_remove"]);
}

#[test]
fn server_without_ports_is_fine() {
    let event_loop = Arc::new(TestLoop::default());
    let server = Server::new();
    assert!(server.add_tablet(Arc::new(Devices::default())).is_err(), "before init");
    server.init(event_loop.clone()).unwrap();
    assert!(server.init(event_loop.clone()).is_err());
    assert_eq!(event_loop.calls(), ["watch_add", "timer_add", "timer_add"]);
    server.vm_start();
    server.vm_stop();
    drop(server);
    assert_eq!(event_loop.watches(), 0);
}

#[test]
fn init_fails_cleanly_when_the_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::new();
    server.set_addr(b"127.0.0.1", 1);
    server.set_port(taken.local_addr().unwrap().port().into()).unwrap();
    let event_loop = Arc::new(TestLoop::default());
    assert!(server.init(event_loop.clone()).is_err());
    assert_eq!(event_loop.watches(), 0);
    drop(taken);
    assert!(server.init(event_loop).is_ok());
}

#[test]
fn host_may_call_back_from_inside_events() {
    let host = Host::start(|_| {});
    let server = Arc::downgrade(&host.server);
    host.event_loop.set_hook(move |_, event| {
        let server = server.upgrade().unwrap();
        let _ = server.num_clients();
        server.kbd_leds(2);
        if matches!(event, ChannelEvent::Initialized { channel_type: 3, .. }) {
            // The worst of them: all clients go while one of their channels is being made.
            server.set_ticket(Some(b"x"), 0, false, true).unwrap();
        }
    });
    let mut main = host.main();
    let mut inputs = host.connect();
    assert_eq!(inputs.link(3, 0, main.session, b""), 0);
    main.rest();
    inputs.rest();
    host.wait("all events", |h| h.event_kinds() == ["123", "123"]);
}
