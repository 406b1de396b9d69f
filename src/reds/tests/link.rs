use super::harness::*;
use crate::host::ChannelEvent;
use crate::protocol::link::{LinkError, error_reply};
use std::time::Duration;

#[test]
fn good_link_gives_three_events_with_the_session_id() {
    let host = Host::start(|_| {});
    let main = host.main();
    let session = main.session;
    assert_ne!(session, 0);
    let events = host.events();
    let ChannelEvent::Connected(sockets) = &events[0].1 else { panic!("{events:?}") };
    assert_eq!((sockets.local.len(), sockets.peer.len()), (16, 16));
    let expect =
        ChannelEvent::Initialized { connection_id: session, channel_type: 1, channel_id: 0, tls: false };
    assert_eq!(events[1].1, expect);
    drop(main);
    host.wait("the end of the connection", |h| h.event_kinds() == ["123"]);
    host.assert_events_on_host_thread();
    assert_eq!(host.run(|s| s.num_clients()), 0);
}

#[test]
fn bad_links_get_the_documented_answer_and_two_events() {
    let host = Host::start(|s| s.set_channel_security(Some("playback"), 2).unwrap());
    let mut count = 0;
    let mut check = |bytes: &[u8], expect: Vec<u8>| {
        let mut client = host.connect();
        client.send_raw(bytes);
        assert_eq!(client.rest(), expect, "{bytes:02x?}");
        count += 1;
        host.wait("events", |h| h.event_kinds() == vec!["13"; count]);
    };
    let head = |major: u32, size: u32| {
        let mut v = b"REDQ".to_vec();
        for word in [major, 2, size] {
            v.extend(word.to_le_bytes());
        }
        v
    };
    check(b"HELO", error_reply(LinkError::InvalidMagic));
    check(&[b'x'; 3000], error_reply(LinkError::InvalidMagic));
    check(&head(0, 18), vec![]);
    check(&head(1, 18), error_reply(LinkError::VersionMismatch));
    check(&head(3, 18), error_reply(LinkError::VersionMismatch));
    check(&head(2, 17), error_reply(LinkError::InvalidData));
    check(&head(2, 5000), error_reply(LinkError::InvalidData));
    check(&link_bytes(5, 0, 0, 0x0b), error_reply(LinkError::NeedSecured));
    // Channels that do not exist.
    check(&link_bytes(2, 0, 0, 0x0b), error_reply(LinkError::ChannelNotAvailable));
    check(&link_bytes(3, 1, 0, 0x0b), error_reply(LinkError::ChannelNotAvailable));
    check(&link_bytes(200, 0, 0, 0x0b), error_reply(LinkError::ChannelNotAvailable));
    host.assert_events_on_host_thread();
}

#[test]
fn link_reply_has_the_capabilities_of_the_channel() {
    let host = Host::start(|_| {});
    for (channel_type, words) in [(1, 0x0fu32), (3, 1)] {
        let mut client = host.connect();
        client.send_raw(&link_bytes(channel_type, 0, 0, 0x0b));
        let reply = client.receive(16 + 186);
        assert_eq!(reply[16 + 178..], [0x0bu32.to_le_bytes(), words.to_le_bytes()].concat());
        assert_eq!(reply[16 + 4..16 + 13], [0x30, 0x81, 0x9f, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86]);
    }
}

#[test]
fn authentication_mechanisms_and_tickets_are_judged() {
    let host = Host::start(|_| {});
    for mechanism in [0u32, 2, 7] {
        let mut client = host.connect();
        client.send_raw(&link_bytes(1, 0, 0, 0x0b));
        client.link_reply();
        client.send_raw(&mechanism.to_le_bytes());
        assert_eq!(client.rest(), error_reply(LinkError::InvalidData));
    }
    // Undecryptable, although no password is asked for.
    let mut client = host.connect();
    client.send_raw(&link_bytes(1, 0, 0, 0x0b));
    client.link_reply();
    client.send_raw(&[&1u32.to_le_bytes()[..], &[0; 128]].concat());
    assert_eq!(client.rest(), 7u32.to_le_bytes());
    // Without AUTH_SELECTION the ticket follows at once.
    let mut client = host.connect();
    client.send_raw(&link_bytes(1, 0, 0, 0x08));
    let key = client.link_reply();
    client.send_raw(&ticket(&key, b""));
    assert_eq!(client.receive(4), [0; 4]);
    assert_eq!(client.message().0, 103);
}

#[test]
fn passwords_are_checked_on_every_channel_and_expire() {
    let host = Host::start(|s| s.set_ticket(Some(b"secret"), 10, false, false).unwrap());
    for wrong in [&b""[..], b"secre", b"secret1", b"SECRET"] {
        let mut client = host.connect();
        assert_eq!(client.link(1, 0, 0, wrong), 7);
        assert_eq!(client.rest(), []);
    }
    let mut main = host.connect();
    assert_eq!(main.link(1, 0, 0, b"secret"), 0);
    let init = main.until(103);
    let session = u32::from_le_bytes(init[..4].try_into().unwrap());
    assert_eq!(host.connect().link(3, 0, session, b"wrong"), 7);
    assert_eq!(host.connect().link(3, 0, session, b"secret"), 0);
    host.advance(Duration::from_secs(11));
    assert_eq!(host.connect().link(3, 0, session, b"secret"), 7);
    assert_eq!(host.run(|s| s.num_clients()), 1, "expiry does not end sessions");
    host.run(|s| s.set_ticket(None, 1, false, false).unwrap());
    assert_eq!(host.connect().link(1, 0, 0, b""), 7);
    assert!(host.run(|s| s.set_ticket(Some(&[b'x'; 61]), 0, false, false).is_err()));
    assert!(host.run(|s| s.set_ticket(Some(b"x"), 0, true, false).is_err()));
    host.run(|s| s.set_ticket(Some(b"x"), 0, false, true).unwrap());
    main.rest();
    host.wait("the client's end", |h| h.run(|s| s.num_clients()) == 0);
}

#[test]
fn recorded_ticket_does_not_open_twice() {
    let host = Host::start(|s| s.set_ticket(Some(b"secret"), 0, false, false).unwrap());
    let mut first = host.connect();
    first.send_raw(&link_bytes(1, 0, 0, 0x0b));
    let key = first.link_reply();
    let sealed = [&1u32.to_le_bytes()[..], &ticket(&key, b"secret")].concat();
    let mut second = host.connect();
    second.send_raw(&link_bytes(1, 0, 0, 0x0b));
    assert_eq!(second.link_reply(), key);
    first.send_raw(&sealed);
    assert_eq!(first.receive(4), [0; 4]);
    second.send_raw(&sealed);
    assert_eq!(second.rest(), 7u32.to_le_bytes());
}

#[test]
fn unknown_sessions_are_told_after_authentication() {
    let host = Host::start(|_| {});
    for (channel_type, session) in [(3, 0), (3, 0x1234), (1, 0x1234)] {
        let mut client = host.connect();
        assert_eq!(client.link(channel_type, 0, session, b""), 8);
        assert_eq!(client.rest(), []);
    }
    assert_eq!(host.run(|s| s.num_clients()), 0);
}

#[test]
fn half_open_handshakes_end_by_the_limit() {
    let host = Host::start(|_| {});
    let mut clients: Vec<Client> = (0..10).map(|_| host.connect()).collect();
    let bytes = link_bytes(1, 0, 0, 0x0b);
    for (i, client) in clients.iter_mut().enumerate() {
        client.send_raw(&bytes[..i * 4]);
    }
    host.wait("the connections", |h| h.event_kinds().len() == 10);
    host.advance(Duration::from_secs(19));
    assert_eq!(host.event_kinds(), ["1"; 10]);
    host.advance(Duration::from_secs(2));
    for client in &mut clients {
        assert_eq!(client.rest(), []);
    }
    host.wait("their end", |h| h.event_kinds() == ["13"; 10]);
}

#[test]
fn sockets_of_the_host_are_linked_too() {
    let host = Host::start(|s| s.set_ticket(Some(b"secret"), 0, false, false).unwrap());
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    host.run(move |s| s.add_client(ours.into(), true).unwrap());
    let mut client = Client::unix(theirs);
    assert_eq!(client.link(1, 0, 0, b"whatever"), 0);
    assert_eq!(client.message().0, 103);
    client.send(104, &[]);
    assert_eq!(client.any_message().0, 104, "no pings on a unix socket");
    let ChannelEvent::Connected(sockets) = &host.events()[0].1 else { panic!("no event") };
    assert_eq!(sockets.peer, [1, 0]);
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(host.run(move |s| s.add_ssl_client(ours.into(), true).is_err()), "no TLS was configured");
}

#[test]
fn a_password_guesser_gets_some_ten_tries_a_second() {
    let host = Host::start(|s| s.set_ticket(Some(b"secret"), 0, false, false).unwrap());
    let start = std::time::Instant::now();
    let tries = 8;
    for _ in 0..tries {
        let mut guesser = host.connect();
        assert_eq!(guesser.link(1, 0, 0, b"wrong"), LinkError::PermissionDenied as u32);
    }
    // The first is free, and the others come a tenth of a second apart at least.
    assert!(start.elapsed() >= crate::limits::GUESS_DELAY * (tries - 2));
    let mut client = host.connect();
    assert_eq!(client.link(1, 0, 0, b"secret"), 0, "the right password still works");
}
