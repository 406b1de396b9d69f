//! Character devices: a fake guest behind each, which may call back into the server from inside of its callbacks.

use super::harness::{Client, Host, wait};
use crate::channel::vmc::VmcChannel;
use crate::host::{CharDevice, DeviceId};
use crate::reds::effect::ChannelKey;
use crate::reds::{CharKind, Server};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

const USBREDIR: u8 = 9;
pub(super) const PORT: u8 = 10;
const WEBDAV: u8 = 11;
pub(super) const DATA: u16 = 101;
const COMPRESSED: u16 = 102;

/// A guest that takes what it has room for, and offers what it was given to say.
#[derive(Default)]
pub(super) struct Guest {
    taken: Mutex<Vec<u8>>,
    offers: Mutex<VecDeque<u8>>,
    log: Mutex<Vec<String>>,
    /// Bytes that it still takes.
    pub room: AtomicUsize,
    writes: AtomicUsize,
    inside: AtomicBool,
    /// Answers what it is written from inside of `write`, in upper case.
    answers: AtomicBool,
    wakes: OnceLock<(Weak<Server>, DeviceId)>,
}

impl Guest {
    pub(super) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self { room: AtomicUsize::new(room), ..Self::default() })
    }

    pub(super) fn taken(&self) -> Vec<u8> {
        self.taken.lock().unwrap().clone()
    }

    pub(super) fn say(&self, bytes: &[u8]) {
        self.offers.lock().unwrap().extend(bytes);
    }

    pub(super) fn unsaid(&self) -> usize {
        self.offers.lock().unwrap().len()
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn wake(&self) {
        if let Some((server, id)) = self.wakes.get()
            && let Some(server) = server.upgrade()
        {
            server.wake_char_device(*id);
        }
    }
}

impl CharDevice for Guest {
    fn state(&self, connected: bool) {
        self.log.lock().unwrap().push(format!("state {connected}"));
        self.wake();
    }
    fn write(&self, bytes: &[u8]) -> usize {
        assert!(!self.inside.swap(true, Ordering::SeqCst), "write from inside of write");
        self.writes.fetch_add(1, Ordering::SeqCst);
        let count = self.room.load(Ordering::SeqCst).min(bytes.len());
        self.room.fetch_sub(count, Ordering::SeqCst);
        self.taken.lock().unwrap().extend_from_slice(&bytes[..count]);
        if self.answers.load(Ordering::SeqCst) && count > 0 {
            self.say(&bytes[..count].to_ascii_uppercase());
            self.wake();
        }
        self.inside.store(false, Ordering::SeqCst);
        count
    }
    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut offers = self.offers.lock().unwrap();
        let count = offers.len().min(buffer.len());
        buffer.iter_mut().zip(offers.drain(..count)).for_each(|(to, from)| *to = from);
        count
    }
    fn event(&self, event: u8) {
        self.log.lock().unwrap().push(format!("event {event}"));
    }
    fn tells_when_writable(&self) -> bool {
        true
    }
}

pub(super) fn port(name: &str) -> CharKind {
    CharKind::Port(name.into())
}

pub(super) fn add(host: &Host, kind: CharKind, guest: &Arc<Guest>) -> DeviceId {
    let (device, weak) = (guest.clone(), Arc::downgrade(&host.server));
    let id = host.run(move |server| server.add_char_device(kind, device, |_| {})).unwrap();
    let _ = guest.wakes.set((weak, id));
    id
}

pub(super) fn wake(host: &Host, id: DeviceId) {
    host.run(move |server| server.wake_char_device(id));
}

fn link(host: &Host, main: &Client, channel_type: u8) -> Client {
    let mut client = host.connect();
    assert_eq!(client.link(channel_type, 0, main.session, b""), 0);
    client
}

/// Bytes of messages that the guest of channel 0 of this type does not have completely.
pub(super) fn waiting(host: &Host, channel_type: u8) -> usize {
    let key = ChannelKey { channel_type: channel_type.try_into().unwrap(), id: 0 };
    host.run(move |server| {
        server.core.with(|state| state.with_channel(key, |vmc: &mut VmcChannel, _| vmc.waiting())).unwrap()
    })
}

/// Data messages until so many bytes are there.
fn data(client: &mut Client, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < size {
        let (kind, body) = client.message();
        match kind {
            DATA => bytes.extend(body),
            COMPRESSED => {
                let size = u32::from_le_bytes(body[1..5].try_into().unwrap());
                bytes.extend(crate::codec::lz4::block::decompress(&body[5..], size as usize).unwrap());
            }
            other => panic!("message {other}"),
        }
    }
    bytes
}

fn noise(size: usize) -> Vec<u8> {
    let mut seed = 1u32;
    let mut byte = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    (0..size).map(|_| byte()).collect()
}

#[test]
fn a_port_tells_its_name_and_events() {
    let host = Host::start(|_| {});
    let guest = Guest::new(usize::MAX);
    let id = add(&host, port("org.example.x"), &guest);
    let main = host.main();
    let mut client = link(&host, &main, PORT);
    assert_eq!(client.message(), (201, b"\x0e\0\0\0\x09\0\0\0\0org.example.x\0".to_vec()));
    for event in [0, 77, 1] {
        host.run(move |server| server.port_event(id, event));
        assert_eq!(client.message(), (202, vec![event]));
    }
    client.send(201, &[5, 6]);
    wait("event", || guest.log() == ["state true", "event 5"]);
    client.send(201, &[]);
    assert!(client.rest().is_empty());
    wait("state", || guest.log().last().is_some_and(|line| line == "state false"));
    host.run(move |server| server.port_event(id, 0));
    // The next client learns what it missed.
    assert_eq!(link(&host, &main, PORT).message().1[8], 1);
}

#[test]
fn a_guest_that_answers_from_inside_of_write_is_heard() {
    let host = Host::start(|_| {});
    let guest = Guest::new(usize::MAX);
    guest.answers.store(true, Ordering::SeqCst);
    add(&host, CharKind::Usbredir, &guest);
    let main = host.main();
    let mut client = link(&host, &main, USBREDIR);
    for _ in 0..3 {
        client.send(DATA, b"hello");
        assert_eq!(data(&mut client, 5), b"HELLO");
    }
}

#[test]
fn a_full_guest_stops_its_client_and_loses_nothing() {
    let host = Host::start(|_| {});
    let guest = Guest::new(0);
    let id = add(&host, port("p"), &guest);
    let main = host.main();
    let mut client = link(&host, &main, PORT);
    assert_eq!(client.message().0, 201);
    for i in 0..200u8 {
        client.send(DATA, &[i]);
    }
    // The original's window; what follows stays in the client's socket.
    wait("a full queue", || waiting(&host, PORT) == 128);
    assert!((1..=200).contains(&guest.writes.load(Ordering::SeqCst)));
    guest.room.store(usize::MAX, Ordering::SeqCst);
    wake(&host, id);
    wait("all of it", || guest.taken().len() == 200);
    assert_eq!(guest.taken(), (0..200).collect::<Vec<u8>>());
}

#[test]
fn a_partial_write_goes_on_where_it_ended() {
    let host = Host::start(|_| {});
    let guest = Guest::new(2);
    let id = add(&host, port("p"), &guest);
    let main = host.main();
    let mut client = link(&host, &main, PORT);
    client.send(DATA, b"abcdefg");
    for n in [2, 4, 6] {
        wait("two more bytes", || guest.taken().len() == n);
        guest.room.store(2, Ordering::SeqCst);
        wake(&host, id);
    }
    wait("the last", || guest.taken() == b"abcdefg");
}

/// The original crashes here: bytes of a client that is gone reach the guest later.
#[test]
fn the_client_leaves_while_its_guest_is_full() {
    let host = Host::start(|_| {});
    let (serial, usb) = (Guest::new(1), Guest::new(1));
    let ids = [add(&host, port("p"), &serial), add(&host, CharKind::Usbredir, &usb)];
    let main = host.main();
    for (channel_type, guest) in [(PORT, &serial), (USBREDIR, &usb)] {
        let mut client = link(&host, &main, channel_type);
        client.send(DATA, b"abc");
        client.send(DATA, b"def");
        wait("a first byte", || guest.taken() == b"a");
        wait("both messages", || waiting(&host, channel_type) == 6);
        drop(client);
        wait("the client's end", || guest.log().last().is_some_and(|line| line == "state false"));
        guest.room.store(100, Ordering::SeqCst);
    }
    ids.iter().for_each(|&id| wake(&host, id));
    // A port goes on where it was; what USB devices say is of no use to the next client.
    wait("the rest", || serial.taken() == b"abcdef");
    assert_eq!(usb.taken(), b"a");
    let mut next = link(&host, &main, USBREDIR);
    next.send(DATA, b"x");
    wait("the next client", || usb.taken() == b"ax");
}

#[test]
fn much_data_passes_both_ways_by_a_slow_reader() {
    let host = Host::start(|_| {});
    let guest = Guest::new(usize::MAX);
    let id = add(&host, port("p"), &guest);
    let mut main = host.main();
    let mut client = link(&host, &main, PORT);
    assert_eq!(client.message().0, 201);
    let bytes = noise(16 << 20);
    guest.say(&bytes);
    wake(&host, id);
    // The client reads nothing: what the sockets do not hold stays with the guest, as round trips of another channel show.
    let mut before = 0;
    while before != guest.unsaid() {
        before = guest.unsaid();
        main.round_trip();
    }
    assert!(before > 0, "all was taken though nobody reads");
    assert!(data(&mut client, bytes.len()) == bytes);
    for piece in bytes.chunks(1 << 20) {
        client.send(DATA, piece);
    }
    wait("all of it", || guest.taken().len() == bytes.len());
    assert!(guest.taken() == bytes);
}

#[test]
fn one_wakeup_is_enough_for_all_that_is_offered() {
    let host = Host::start(|_| {});
    let guest = Guest::new(0);
    let id = add(&host, CharKind::Usbredir, &guest);
    // Before anybody is there nothing is read.
    guest.say(b"early");
    wake(&host, id);
    assert_eq!(guest.unsaid(), 5);
    let main = host.main();
    let mut client = link(&host, &main, USBREDIR);
    assert_eq!(client.message(), (DATA, b"early".to_vec()));
    guest.say(&[b'Q'; 1000]);
    wake(&host, id);
    assert_eq!(client.message(), (DATA, vec![b'Q'; 1000]));
    guest.say(&[b'Q'; 1001]);
    wake(&host, id);
    let (kind, body) = client.message();
    assert_eq!((kind, &body[..5]), (COMPRESSED, &[1, 0xe9, 3, 0, 0][..]));
    guest.say(&noise(200_000));
    wake(&host, id);
    assert!(data(&mut client, 200_000) == noise(200_000));
}

#[test]
fn compressed_data_must_be_what_it_says() {
    let host = Host::start(|_| {});
    let guest = Guest::new(usize::MAX);
    add(&host, CharKind::Usbredir, &guest);
    let main = host.main();
    let block = crate::codec::lz4::block::compress(&[7; 100]).unwrap();
    let message = |kind: u8, size: u32| [&[kind][..], &size.to_le_bytes(), &block].concat();
    let bad: [(u16, Vec<u8>); 7] = [
        (COMPRESSED, message(0, 100)),
        (COMPRESSED, message(1, 99)),
        (COMPRESSED, message(1, 101)),
        (COMPRESSED, message(1, u32::MAX)),
        (COMPRESSED, message(1, 1 << 31)),
        (DATA, vec![]),
        (201, vec![0]),
    ];
    for (i, (kind, body)) in bad.into_iter().enumerate() {
        let mut client = link(&host, &main, USBREDIR);
        client.send(COMPRESSED, &message(1, 100));
        wait("good data", || guest.taken().len() == 100 * (i + 1));
        client.send(kind, &body);
        assert!(client.rest().is_empty());
        wait("the end", || guest.log().len() == 2 * (i + 1));
    }
    assert_eq!(guest.taken(), [7; 700]);
    // A size that no message has is refused before a byte is stored.
    let mut client = link(&host, &main, USBREDIR);
    client.send_raw(&[101, 0, 255, 255, 255, 255, 0, 0]);
    assert!(client.rest().is_empty());
    assert_eq!(host.run(|server| server.num_clients()), 1);
}

#[test]
fn devices_come_and_go_in_every_order() {
    let host = Host::start(|_| {});
    let guests: Vec<_> = (0..3).map(|_| Guest::new(usize::MAX)).collect();
    let mut main = host.main();
    main.send(104, &[]);
    main.until(104);
    let ids: Vec<_> = guests.iter().map(|guest| add(&host, port("same"), guest)).collect();
    for i in 0..3 {
        assert_eq!(main.until(104), [1, 0, 0, 0, PORT, i]);
    }
    let folder = Guest::new(usize::MAX);
    add(&host, port("org.spice-space.webdav.0"), &folder);
    assert_eq!(main.until(104), [1, 0, 0, 0, WEBDAV, 0]);
    let mut client = link(&host, &main, PORT);
    assert_eq!(client.message().0, 201);
    let gone = ids[0];
    host.run(move |server| server.remove_char_device(gone)).unwrap();
    assert!(client.rest().is_empty());
    assert_eq!(guests[0].log(), ["state true", "state false"]);
    assert!(host.run(move |server| server.remove_char_device(gone)).is_err());
    wake(&host, gone);
    host.run(move |server| server.port_event(gone, 0));
    // The free id is used again.
    add(&host, port("again"), &Guest::new(0));
    assert_eq!(main.until(104), [1, 0, 0, 0, PORT, 0]);
    let unused = ids[1];
    host.run(move |server| server.remove_char_device(unused)).unwrap();
    assert!(guests[1].log().is_empty(), "nobody used it");
}

#[test]
fn a_stopped_machine_takes_and_gives_when_it_goes_on() {
    let host = Host::start(|_| {});
    let guest = Guest::new(usize::MAX);
    let id = add(&host, port("p"), &guest);
    let main = host.main();
    let mut client = link(&host, &main, PORT);
    assert_eq!(client.message().0, 201);
    host.run(|server| server.vm_stop());
    client.send(DATA, b"in");
    guest.say(b"out");
    wake(&host, id);
    client.send(201, &[9]);
    wait("the event, behind the data", || guest.log().last().is_some_and(|line| line == "event 9"));
    assert!(guest.taken().is_empty() && guest.unsaid() == 3);
    host.run(|server| server.vm_start());
    assert_eq!(data(&mut client, 3), b"out");
    wait("the data", || guest.taken() == b"in");
}

#[test]
fn a_second_client_does_not_disturb_the_first() {
    let host = Host::start(|server| server.core.with(|s| s.config.multi_client = true));
    let guest = Guest::new(usize::MAX);
    add(&host, port("p"), &guest);
    host.run(|server| server.core.with(|s| s.config.multi_client = true));
    let (first, second) = (host.main(), host.main());
    let mut client = link(&host, &first, PORT);
    assert_eq!(client.message().0, 201);
    assert!(link(&host, &second, PORT).rest().is_empty());
    client.send(DATA, b"still here");
    wait("data", || guest.taken() == b"still here");
    assert_eq!(guest.log(), ["state true"]);
}
