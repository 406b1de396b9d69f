//! Panics while the worker serves a client: each costs this client's link, and nothing else.

use super::clients::{Fixture, INIT};
use super::spec;
use crate::channel::connection::{ClientId, ConnectionGuard, ConnectionId};
use crate::channel::testing::Peer;
use crate::net::socket::SocketTransport;
use crate::net::stream::ChannelStream;
use crate::net::transport::Transport;
use crate::protocol::ChannelType;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

/// Where serving a client panics, once it is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// In reading its messages.
    Reading,
    /// In sending to it.
    Sending,
}

/// A socket whose use is a fault of ours once it is armed.
struct Faulty {
    socket: SocketTransport,
    fault: Fault,
    armed: Arc<AtomicBool>,
}

impl Faulty {
    fn pass(&self, here: Fault) {
        assert!(self.fault != here || !self.armed.load(Ordering::SeqCst), "injected");
    }
}

impl Read for Faulty {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.pass(Fault::Reading);
        self.socket.read(buf)
    }
}

impl Write for Faulty {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.pass(Fault::Sending);
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl AsFd for Faulty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Transport for Faulty {}

/// A client whose link is to fail.
struct Victim {
    peer: Peer,
    armed: Arc<AtomicBool>,
    gone: Receiver<()>,
}

impl Victim {
    fn connect(f: &Fixture, channel_type: ChannelType, fault: Fault) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let armed = Arc::new(AtomicBool::new(false));
        let socket = SocketTransport::new(ours.into()).unwrap();
        let transport = Faulty { socket, fault, armed: Arc::clone(&armed) };
        let (mut connection, _) = Peer::unix(channel_type, ClientId(66));
        connection.stream = ChannelStream::new(Box::new(transport), true);
        let (done, gone) = channel();
        connection.guard = ConnectionGuard::new(move || done.send(()).unwrap());
        match channel_type {
            ChannelType::Cursor => f.worker.connect_cursor(ConnectionId(66), connection),
            _ => f.worker.connect_display(ConnectionId(66), connection),
        }
        Self { peer: Peer::Unix(theirs), armed, gone }
    }

    /// The fault happens, and the link goes: its socket is closed and the host told, once.
    fn fails(mut self) {
        self.peer.wait_for_close();
        self.gone.recv().unwrap();
        assert!(self.gone.recv().is_err());
    }
}

/// Everybody but the victim is served on, and the next client connects.
fn others_are_served(f: &Fixture, bystander: &mut Peer, pointer: &mut Peer) {
    f.fill(0xff);
    assert_eq!(bystander.expect().0, 302);
    f.move_pointer(7);
    assert_eq!(pointer.expect().0, 104);
    let mut next = f.display(99);
    next.send(101, &INIT);
    assert_eq!(next.expect_types(5), [3, 108, 314, 304, 102]);
    // Every command of the guest comes back.
    f.worker.stop();
    let log = f.world.take_log();
    for number in [0xff, 7] {
        assert_eq!(log.iter().filter(|l| **l == format!("release {number}")).count(), 1, "{number}");
    }
}

fn fixture() -> (Fixture, Peer, Peer) {
    let f = Fixture::new();
    assert!(f.worker.create_primary(0, spec(4)));
    let mut bystander = f.display(1);
    bystander.send(101, &INIT);
    bystander.expect_types(5);
    let mut pointer = f.cursor(1);
    assert_eq!(pointer.expect_types(2), [3, 101]);
    (f, bystander, pointer)
}

#[test]
fn a_panic_in_a_display_message_costs_that_link() {
    let (f, mut bystander, mut pointer) = fixture();
    let mut victim = Victim::connect(&f, ChannelType::Display, Fault::Reading);
    victim.peer.send(101, &INIT);
    victim.peer.expect_types(5);
    victim.armed.store(true, Ordering::SeqCst);
    victim.peer.send(2, &[]);
    victim.fails();
    others_are_served(&f, &mut bystander, &mut pointer);
}

#[test]
fn a_panic_in_sending_to_a_display_costs_that_link() {
    let (f, mut bystander, mut pointer) = fixture();
    let mut victim = Victim::connect(&f, ChannelType::Display, Fault::Sending);
    victim.peer.send(101, &INIT);
    victim.peer.expect_types(5);
    victim.armed.store(true, Ordering::SeqCst);
    f.fill(0xee);
    assert_eq!(bystander.expect().0, 302);
    victim.fails();
    others_are_served(&f, &mut bystander, &mut pointer);
}

#[test]
fn a_panic_in_the_first_message_of_a_display_costs_that_link() {
    let (f, mut bystander, mut pointer) = fixture();
    let mut victim = Victim::connect(&f, ChannelType::Display, Fault::Sending);
    victim.armed.store(true, Ordering::SeqCst);
    victim.peer.send(101, &INIT);
    victim.fails();
    others_are_served(&f, &mut bystander, &mut pointer);
}

#[test]
fn panics_in_serving_a_pointer_cost_that_link() {
    for fault in [Fault::Reading, Fault::Sending] {
        let (f, mut bystander, mut pointer) = fixture();
        let mut victim = Victim::connect(&f, ChannelType::Cursor, fault);
        assert_eq!(victim.peer.expect_types(2), [3, 101]);
        victim.armed.store(true, Ordering::SeqCst);
        match fault {
            Fault::Reading => victim.peer.send(2, &[]),
            Fault::Sending => {
                f.move_pointer(3);
                assert_eq!(pointer.expect().0, 104);
            }
        }
        victim.fails();
        others_are_served(&f, &mut bystander, &mut pointer);
    }
}

/// As often as it happens: no count of faults drops the others.
#[test]
fn panic_after_panic_costs_one_link_each() {
    let (f, mut bystander, mut pointer) = fixture();
    for _ in 0..5 {
        let victim = Victim::connect(&f, ChannelType::Display, Fault::Reading);
        victim.armed.store(true, Ordering::SeqCst);
        let mut victim = victim;
        victim.peer.send(101, &INIT);
        victim.fails();
    }
    others_are_served(&f, &mut bystander, &mut pointer);
}
