//! Smartcard readers: a fake CCID device behind each.

use super::devices::{Guest, add, wake};
use super::harness::{Client, Host, wait};
use crate::host::DeviceId;
use crate::reds::CharKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const SMARTCARD: u8 = 8;

fn le(kind: u32, reader: u32, data: &[u8]) -> Vec<u8> {
    let words = [kind, reader, u32::try_from(data.len()).unwrap()].map(u32::to_le_bytes);
    [words.as_flattened(), data].concat()
}

fn be(kind: u32, reader: u32, data: &[u8]) -> Vec<u8> {
    let words = [kind, reader, u32::try_from(data.len()).unwrap()].map(u32::to_be_bytes);
    [words.as_flattened(), data].concat()
}

fn link(host: &Host, main: &Client) -> Client {
    let mut client = host.connect();
    assert_eq!(client.link(SMARTCARD, 0, main.session, b""), 0);
    client
}

fn reader(host: &Host) -> (Arc<Guest>, DeviceId) {
    let guest = Guest::new(usize::MAX);
    let id = add(host, CharKind::Smartcard, &guest);
    (guest, id)
}

#[test]
fn messages_change_their_header_only() {
    let host = Host::start(|_| {});
    let (guest, id) = reader(&host);
    guest.say(&be(1, 0, &[0; 12]));
    wake(&host, id);
    let main = host.main();
    let mut client = link(&host, &main);
    client.send(101, &le(3, u32::MAX, b"name"));
    wait("the reader", || guest.taken() == be(3, 0, b""));
    guest.say(&be(2, u32::MAX, &[0, 0, 0, 1]));
    wake(&host, id);
    assert_eq!(client.message(), (101, le(2, 0, &[0, 0, 0, 1])));
    // Longer bodies than they say, unknown kinds, all sizes around the original's first buffer.
    client.send(101, &[le(7, 0, &[1, 2, 3]), vec![9]].concat());
    client.send(101, &le(9, 0, b""));
    wait("the command", || guest.taken() == [be(3, 0, b""), be(7, 0, &[1, 2, 3])].concat());
    for size in [0, 270, 271, 282, 283, 60_000] {
        guest.say(&be(7, 0, &vec![5; size]));
        wake(&host, id);
        assert_eq!(client.message(), (101, le(7, 0, &vec![5; size])));
    }
    // A message in two parts, and two in one.
    let whole = be(7, 0, b"0123456789");
    for part in [&whole[..5], &whole[5..15], &[&whole[15..], &whole[..]].concat()] {
        guest.say(part);
        wake(&host, id);
    }
    for _ in 0..2 {
        assert_eq!(client.message(), (101, le(7, 0, b"0123456789")));
    }
    client.send(101, &le(4, 0, b""));
    client.send(101, &le(4, 0, b""));
    assert_eq!(client.message(), (101, le(2, 0, &[1, 0, 0, 0])));
    wait("its end", || guest.taken().ends_with(&be(4, 0, b"")));
}

#[test]
fn a_guest_that_was_slow_learns_what_became_of_its_reader() {
    let host = Host::start(|_| {});
    let (guest, id) = reader(&host);
    let main = host.main();
    let wake_up = || {
        guest.room.store(1000, Ordering::SeqCst);
        wake(&host, id);
    };
    // The guest takes the reader, and not that the client removes it again.
    guest.room.store(12, Ordering::SeqCst);
    let mut client = link(&host, &main);
    client.send(101, &le(3, u32::MAX, b""));
    wait("the reader", || guest.taken() == be(3, 0, b""));
    for _ in 0..2 {
        client.send(101, &le(4, 0, b""));
    }
    assert_eq!(client.message(), (101, le(2, 0, &[1, 0, 0, 0])));
    drop(client);
    wait("the client's end", || guest.log().last().is_some_and(|line| line == "state false"));
    wake_up();
    wait("the reader's end", || guest.taken() == [be(3, 0, b""), be(4, 0, b"")].concat());
    // Of this client's reader it never hears.
    guest.room.store(0, Ordering::SeqCst);
    let mut client = link(&host, &main);
    client.send(101, &le(3, u32::MAX, b""));
    client.send(101, &le(4, 5, b""));
    assert_eq!(client.message(), (101, le(2, 5, &[1, 0, 0, 0])));
    drop(client);
    wait("the client's end", || guest.log().last().is_some_and(|line| line == "state false"));
    wake_up();
    let mut client = link(&host, &main);
    client.send(101, &le(3, u32::MAX, b""));
    wait("the next reader", || guest.taken() == [be(3, 0, b""), be(4, 0, b""), be(3, 0, b"")].concat());
}

#[test]
fn readers_that_are_not_the_clients_end_its_channel() {
    let host = Host::start(|_| {});
    let (guest, _) = reader(&host);
    let main = host.main();
    for (i, bad) in
        [le(7, 5, b""), le(5, 261, b""), le(7, u32::MAX, b""), vec![7, 0, 0], le(7, 0, b"x")[..12].to_vec()]
            .into_iter()
            .enumerate()
    {
        let mut client = link(&host, &main);
        client.send(101, &le(4, 5, b""));
        assert_eq!(client.message(), (101, le(2, 5, &[1, 0, 0, 0])));
        client.send(101, &bad);
        assert!(client.rest().is_empty());
        wait("its end", || guest.log().len() == 2 * (i + 1));
    }
    assert!(guest.taken().is_empty());
}

#[test]
fn readers_come_and_go() {
    let host = Host::start(|_| {});
    let (first, first_id) = reader(&host);
    let (second, _) = reader(&host);
    let main = host.main();
    let mut client = link(&host, &main);
    for _ in 0..3 {
        client.send(101, &le(3, u32::MAX, b""));
    }
    assert_eq!(client.message(), (101, le(2, u32::MAX, &[2, 0, 0, 0])));
    wait("both", || first.taken() == be(3, 0, b"") && second.taken() == be(3, 1, b""));
    host.run(move |server| server.remove_char_device(first_id)).unwrap();
    assert_eq!(first.log(), ["state true", "state false"]);
    drop(client);
    // The guest sees the card go with its client.
    wait("the removal", || second.taken().ends_with(&be(4, 1, b"")));
    assert_eq!(second.log(), ["state true", "state false"]);
    let (again, _) = reader(&host);
    let mut client = link(&host, &main);
    client.send(101, &le(3, u32::MAX, b""));
    client.send(101, &le(3, u32::MAX, b""));
    wait("both again", || again.taken() == be(3, 0, b"") && second.taken().ends_with(&be(3, 1, b"")));
}

#[test]
fn a_device_that_lies_about_its_length_is_given_up() {
    let host = Host::start(|_| {});
    let (guest, id) = reader(&host);
    let main = host.main();
    let mut client = link(&host, &main);
    guest.say(&[0, 0, 0, 7, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    wake(&host, id);
    wait("the end", || guest.log() == ["state true", "state false"]);
    guest.say(b"more");
    wake(&host, id);
    client.send(101, &le(4, 0, b""));
    client.message();
    assert_eq!(guest.unsaid(), 4);
    host.run(move |server| server.remove_char_device(id)).unwrap();
    assert!(client.rest().is_empty());
}
