use super::*;
use crate::net::socket::SocketTransport;
use crate::protocol::writer::{Put, count32};
use proptest::prelude::*;
use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A socket whose reads are counted.
struct Counted {
    socket: SocketTransport,
    reads: Arc<AtomicUsize>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.socket.read(buf)
    }
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.socket.read_vectored(bufs)
    }
}

impl Write for Counted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.write_vectored(&[IoSlice::new(buf)])
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Counted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Transport for Counted {
    fn is_drained(&self) -> bool {
        self.socket.is_drained()
    }
}

struct Peer {
    socket: UnixStream,
    transport: ReadAhead,
    inbound: Inbound,
    reads: Arc<AtomicUsize>,
    mini: bool,
}

impl Peer {
    fn new(mini: bool) -> Self {
        let (ours, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let reads = Arc::default();
        let counted =
            Counted { socket: SocketTransport::new(ours.into()).unwrap(), reads: Arc::clone(&reads) };
        let mut inbound = Inbound::new(mini);
        inbound.poll_repeats();
        Self { socket, transport: ReadAhead::new(Box::new(counted)), inbound, reads, mini }
    }

    fn message(&self, msg_type: u16, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.mini {
            bytes.u64(1);
        }
        bytes.u16(msg_type).u32(count32(size));
        if !self.mini {
            bytes.u32(0);
        }
        bytes.extend((0..size).map(|i| (i / 7) as u8 ^ msg_type as u8));
        bytes
    }

    /// What one turn after the other brings, until the socket is empty.
    fn receive_all(&mut self) -> Vec<Incoming> {
        let mut got = Vec::new();
        loop {
            self.inbound.look_again();
            while let Some(incoming) = self.inbound.receive(&mut self.transport, &|_| Some(1 << 20)).unwrap()
            {
                got.push(incoming);
            }
            if !self.inbound.has_more() && !self.transport.has_more() {
                return got;
            }
        }
    }

    fn reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }
}

#[test]
fn a_long_message_after_another_costs_one_read() {
    for mini in [true, false] {
        let mut peer = Peer::new(mini);
        for i in 0..5 {
            let message = peer.message(7, 1 << 16);
            peer.socket.write_all(&message).unwrap();
            assert_eq!(peer.receive_all().len(), 1);
            let reads = peer.reads();
            assert!(i == 0 || reads == 1, "message {i}: {reads} reads");
        }
    }
}

#[test]
fn short_messages_that_come_together_cost_one_read() {
    let mut peer = Peer::new(true);
    let messages = peer.message(7, 20).repeat(100);
    peer.socket.write_all(&messages).unwrap();
    assert_eq!(peer.receive_all().len(), 100);
    assert_eq!(peer.reads(), 1);
}

#[test]
fn a_short_message_after_a_long_one_does_not_hold_its_buffer() {
    let mut peer = Peer::new(true);
    let long = peer.message(7, 1 << 16);
    peer.socket.write_all(&long).unwrap();
    peer.receive_all();
    let short = [peer.message(8, 100), peer.message(9, 0), peer.message(10, 3).repeat(1000)].concat();
    peer.socket.write_all(&short).unwrap();
    let got = peer.receive_all();
    assert_eq!(got[..3].iter().map(|m| m.body.len()).collect::<Vec<_>>(), [100, 0, 3]);
    assert_eq!(got.len(), 1002);
    assert!(got.iter().all(|message| message.body.capacity() < 1000));
    assert!(peer.transport.held() < 1 << 13, "what was put back is given up when it has been read");
    assert_eq!(peer.inbound.bytes_received(), (long.len() + short.len()) as u64);
}

#[test]
fn the_end_of_the_connection_is_seen_after_the_last_message() {
    for repeats in [true, false] {
        let mut peer = Peer::new(true);
        peer.inbound.repeats = repeats;
        let message = peer.message(7, 10);
        peer.socket.write_all(&message).unwrap();
        peer.socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut receive = |look_again: bool| {
            if look_again {
                peer.inbound.look_again();
            }
            peer.inbound.receive(&mut peer.transport, &|_| Some(100))
        };
        assert!(receive(true).unwrap().is_some());
        if repeats {
            assert!(receive(false).unwrap().is_none(), "the poll reports the end");
        }
        // An edge-triggered poll has reported all it will ever report.
        assert!(matches!(receive(repeats), Err(StreamError::Closed)));
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(48))]

    #[test]
    fn messages_of_any_sizes_arrive_in_any_pieces(
        sizes in proptest::collection::vec(
            prop_oneof![0usize..40, 0usize..6000, LONG - 20..LONG + 20, Just(1 << 16), 60_000usize..150_000],
            1..12,
        ),
        pieces in proptest::collection::vec(prop_oneof![1usize..50, 1usize..100_000], 1..8),
        mini: bool,
    ) {
        let mut peer = Peer::new(mini);
        let mut expected = Vec::new();
        let mut wire = Vec::new();
        for (i, &size) in sizes.iter().enumerate() {
            let message = peer.message(i as u16, size);
            expected.push(Incoming { msg_type: i as u16, body: message[message.len() - size..].to_vec() });
            wire.extend(message);
        }
        let mut got = Vec::new();
        let mut rest = &wire[..];
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let taken = peer.socket.write(&rest[..rest.len().min(*piece)]).unwrap();
            rest = &rest[taken..];
            got.extend(peer.receive_all());
        }
        prop_assert_eq!(got, expected);
        // Also those that came with a long message and were put back.
        prop_assert_eq!(peer.inbound.bytes_received(), wire.len() as u64);
    }
}
