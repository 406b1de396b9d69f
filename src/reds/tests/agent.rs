//! The guest agent: a fake agent behind its port, and clients that talk to it.

use super::devices::{Guest, add, wake};
use super::harness::{Client, Devices, Host, wait};
use crate::host::DeviceId;
use crate::protocol::agent::{MessageHeader, message, server_message};
use crate::reds::CharKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const START: u16 = 106;
const DATA: u16 = 107;
const TOKEN: u16 = 108;
const CONNECTED_TOKENS: u16 = 115;
const DISCONNECTED: u16 = 108;
const AGENT_DATA: u16 = 109;
const AGENT_TOKEN: u16 = 110;

fn body(message_type: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let size = u32::try_from(data.len()).unwrap();
    MessageHeader { protocol: 1, message_type, opaque: 0, size }.put(&mut bytes);
    bytes.extend_from_slice(data);
    bytes
}

fn chunk(port: u32, bytes: &[u8]) -> Vec<u8> {
    [&port.to_le_bytes()[..], &u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

fn start(client: &mut Client, tokens: u32) {
    client.send(START, &tokens.to_le_bytes());
    client.round_trip();
}

pub(super) fn agent(host: &Host) -> (Arc<Guest>, DeviceId) {
    let guest = Guest::new(usize::MAX);
    let id = add(host, CharKind::Agent, &guest);
    (guest, id)
}

#[test]
fn clients_learn_of_the_agent_whenever_it_comes() {
    let host = Host::start(|_| {});
    let mut client = host.main();
    let (guest, id) = agent(&host);
    assert_eq!(client.until(CONNECTED_TOKENS), 10u32.to_le_bytes());
    assert_eq!(guest.log(), ["state true"]);
    host.run(move |server| server.remove_char_device(id)).unwrap();
    assert_eq!(client.until(DISCONNECTED), [0; 4]);
    assert_eq!(guest.log(), ["state true", "state false"]);
    let (_again, id) = agent(&host);
    client.until(CONNECTED_TOKENS);
    // One at a time.
    let second = Guest::new(0);
    assert!(host.run(move |server| server.add_char_device(CharKind::Agent, second, |_| {})).is_err());
    let mut late = host.connect();
    assert_eq!(late.link(1, 0, 0, b""), 0);
    let (kind, init) = late.message();
    assert_eq!((kind, &init[16..24]), (103, &[1, 0, 0, 0, 10, 0, 0, 0][..]));
    host.run(move |server| server.remove_char_device(id)).unwrap();
}

#[test]
fn messages_pass_both_ways_with_tokens() {
    let host = Host::start(|_| {});
    let (guest, id) = agent(&host);
    let mut client = host.main();
    // Nothing that is said before AGENT_START counts; the original's process ends on the first of these.
    client.send(TOKEN, &[9, 0, 0, 0]);
    client.send(DATA, &body(message::CLIPBOARD, b"early"));
    start(&mut client, 1);
    let mut expect = Vec::new();
    for i in 0..25u8 {
        let data = body(message::CLIPBOARD, &[i; 3]);
        expect.extend(chunk(1, &data));
        client.send(DATA, &data);
        if i % 5 == 4 {
            assert_eq!(client.until(AGENT_TOKEN), 5u32.to_le_bytes());
        }
    }
    assert_eq!(guest.taken(), expect);
    // One token: one piece of two, the rest stays with the guest.
    let long = body(message::CLIPBOARD, &[7; 3000]);
    guest.say(&chunk(1, &long));
    guest.say(&server_message(99, b"for nobody"));
    wake(&host, id);
    assert_eq!(client.until(AGENT_DATA), long[..2048]);
    client.round_trip();
    assert!(guest.unsaid() >= 3020 - 2048);
    client.send(TOKEN, &[5, 0, 0, 0]);
    assert_eq!(client.until(AGENT_DATA), long[2048..]);
    wait("the rest", || guest.unsaid() == 0);
}

#[test]
fn eight_megabytes_of_clipboard_pass_both_ways() {
    let host = Host::start(|_| {});
    let (guest, id) = agent(&host);
    let mut client = host.main();
    start(&mut client, u32::MAX);
    let whole = body(message::CLIPBOARD, &vec![0x5a; 8 << 20]);
    let mut stream = Vec::new();
    let mut window = 10u32;
    for piece in whole.chunks(2048) {
        if window == 0 {
            window += u32::from_le_bytes(client.until(AGENT_TOKEN).try_into().unwrap());
        }
        window -= 1;
        client.send(DATA, piece);
        stream.extend(chunk(1, piece));
    }
    wait("all of it", || guest.taken().len() == stream.len());
    assert!(guest.taken() == stream);
    guest.say(&stream);
    wake(&host, id);
    let mut back = Vec::new();
    while back.len() < whole.len() {
        back.extend(client.until(AGENT_DATA));
    }
    assert!(back == whole);
}

#[test]
fn a_client_beyond_its_window_is_disconnected() {
    let host = Host::start(|_| {});
    let (guest, _) = agent(&host);
    guest.room.store(0, Ordering::SeqCst);
    let mut client = host.main();
    start(&mut client, 10);
    for _ in 0..11 {
        client.send(DATA, &body(message::CLIPBOARD, b""));
    }
    client.rest();
    wait("nobody", || host.run(|server| server.num_clients()) == 0);
}

fn bad_guest(stream: &[u8]) {
    let host = Host::start(|_| {});
    let (guest, id) = agent(&host);
    let mut client = host.main();
    start(&mut client, 10);
    guest.say(stream);
    wake(&host, id);
    client.until(DISCONNECTED);
    wait("the end of the device", || guest.log() == ["state true", "state false"]);
    // Nothing is read of it any more, and removing it is not an error.
    guest.say(b"more");
    wake(&host, id);
    client.round_trip();
    assert!(guest.unsaid() >= 4);
    host.run(move |server| server.remove_char_device(id)).unwrap();
    assert_eq!(guest.log().len(), 2);
    agent(&host);
    client.until(CONNECTED_TOKENS);
}

#[test]
fn a_guest_that_breaks_the_protocol_loses_its_agent_only() {
    bad_guest(&chunk(3, b"x"));
    bad_guest(&chunk(1, b""));
    bad_guest(&chunk(1, b"too short"));
    bad_guest(&chunk(1, &[2; 20]));
}

#[test]
fn the_host_forbids_clipboard_and_files() {
    let host = Host::start(|server| server.set_agent_copypaste(false));
    let (guest, id) = agent(&host);
    let mut client = host.main();
    start(&mut client, 100);
    client.send(DATA, &body(message::CLIPBOARD, b"secret"));
    client.send(DATA, &body(message::FILE_XFER_START, b"file"));
    let file = chunk(1, &body(message::FILE_XFER_START, b"file"));
    wait("the file", || guest.taken() == file);
    host.run(|server| server.set_agent_file_xfer(false));
    client.send(DATA, &body(message::FILE_XFER_DATA, b"file"));
    guest.say(&chunk(1, &body(message::CLIPBOARD, b"secret")));
    guest.say(&chunk(1, &body(message::ANNOUNCE_CAPABILITIES, &[1, 0, 0, 0, 0xff, 0, 0, 0])));
    wake(&host, id);
    let announced = body(message::ANNOUNCE_CAPABILITIES, &[1, 0, 0, 0, 0x97, 0x20, 0, 0]);
    assert_eq!(client.until(AGENT_DATA), announced);
    assert_eq!(guest.taken(), file);
}

#[test]
fn the_mouse_goes_through_the_agent() {
    let host = Host::start(|_| {});
    let devices = Arc::new(Devices::default());
    let mouse = devices.clone();
    host.run(move |server| server.add_mouse(mouse)).unwrap();
    let (guest, id) = agent(&host);
    let mut client = host.main();
    // What a display that allows it does.
    host.run(|server| server.core.with(|s| s.allow_pointer()));
    assert_eq!(client.until(105), [3, 0, 1, 0]);
    client.send(105, &[2, 0]);
    assert_eq!(client.until(105), [3, 0, 2, 0]);
    let mut inputs = host.inputs(&client);
    guest.room.store(0, Ordering::SeqCst);
    let position =
        |x: u32, buttons: u16| [&x.to_le_bytes()[..], &[2, 0, 0, 0], &buttons.to_le_bytes(), &[0]].concat();
    for x in 0..100 {
        inputs.send(112, &position(x, 0));
    }
    inputs.send(113, &[1, 1, 0]);
    inputs.send(114, &[1, 0, 0]);
    inputs.send(112, &position(200, 0));
    for _ in 0..25 {
        inputs.until(111);
    }
    guest.room.store(usize::MAX, Ordering::SeqCst);
    wake(&host, id);
    let states = || -> Vec<(u32, u32)> {
        let word = |m: &[u8], at: usize| u32::from_le_bytes(m[at..at + 4].try_into().unwrap());
        guest.taken().chunks(41).map(|m| (word(m, 28), word(m, 36))).collect()
    };
    wait("the last place", || states().last() == Some(&(200, 0)));
    let states = states();
    assert!(states.len() < 20, "places give way to later ones: {states:?}");
    assert!(states.contains(&(99, 2)), "the click is not lost: {states:?}");
    host.run(|server| server.set_agent_mouse(false));
    assert_eq!(client.until(105), [1, 0, 1, 0]);
    assert!(devices.take().is_empty());
}

#[test]
fn the_last_client_says_farewell_and_its_data_goes() {
    let host = Host::start(|_| {});
    let (guest, id) = agent(&host);
    let mut client = host.main();
    start(&mut client, 10);
    guest.room.store(10, Ordering::SeqCst);
    let first = body(message::CLIPBOARD, b"first");
    client.send(DATA, &first);
    client.send(DATA, &body(message::CLIPBOARD, b"second"));
    client.round_trip();
    drop(client);
    wait("nobody", || host.run(|server| server.num_clients()) == 0);
    guest.room.store(usize::MAX, Ordering::SeqCst);
    wake(&host, id);
    let expect = [chunk(1, &first), server_message(message::CLIENT_DISCONNECTED, &[])].concat();
    wait("the farewell", || guest.taken() == expect);
    // In the middle of a message of the guest comes another client, who must not see its second half.
    let long = chunk(1, &body(message::CLIPBOARD, &[1; 4000]));
    guest.say(&long[..3000]);
    wake(&host, id);
    let mut next = host.main();
    start(&mut next, 100);
    guest.say(&long[3000..]);
    guest.say(&chunk(1, &body(message::CLIPBOARD, b"whole")));
    wake(&host, id);
    assert_eq!(next.until(AGENT_DATA), body(message::CLIPBOARD, b"whole"));
}

#[test]
fn monitors_go_to_the_agent_when_no_device_takes_them() {
    let host = Host::start(|_| {});
    let mut client = host.main();
    let config = body(message::MONITORS_CONFIG, &[&[0; 8][..]].concat());
    // Without an agent nobody takes it, and nobody minds.
    client.send(DATA, &config);
    let (guest, _) = agent(&host);
    start(&mut client, 10);
    client.send(DATA, &config);
    wait("the config", || guest.taken() == chunk(1, &config));
}

#[test]
fn a_client_without_tokens_costs_nothing() {
    let host = Host::start(|_| {});
    let (guest, id) = agent(&host);
    let mut client = host.main();
    start(&mut client, 0);
    for _ in 0..100 {
        guest.say(&chunk(1, &body(message::CLIPBOARD, &[1; 1000])));
    }
    wake(&host, id);
    client.round_trip();
    assert_eq!(guest.unsaid(), 102_800);
}
