use super::*;
use crate::limits::MAX_BYTES_PER_TURN;
use crate::net::inbound::{LEAST_READ_COST, READ_STEP};
use crate::net::socket::SocketTransport;
use crate::protocol::common::{WaitFor, wait_for_channels};
use proptest::prelude::*;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Writes at most `chunk` bytes per call and blocks every other time; reads likewise from `input`.
struct Slow {
    socket: UnixStream,
    chunk: usize,
    turn: bool,
    output: Arc<std::sync::Mutex<Vec<u8>>>,
    input: VecDeque<u8>,
}

impl Read for Slow {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.turn = !self.turn;
        if self.turn || self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = buf.len().min(self.chunk).min(self.input.len());
        for (to, from) in buf.iter_mut().zip(self.input.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }
}

impl Write for Slow {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.turn = !self.turn;
        if self.turn {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let all: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        let n = all.len().min(self.chunk);
        self.output.lock().unwrap().extend_from_slice(&all[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Slow {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Transport for Slow {}

fn slow(chunk: usize, mini: bool, input: &[u8]) -> (ChannelStream, Arc<std::sync::Mutex<Vec<u8>>>) {
    let output = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (socket, _) = UnixStream::pair().unwrap();
    let input = input.iter().copied().collect();
    let t = Slow { socket, chunk, turn: true, output: output.clone(), input };
    (ChannelStream::new(Box::new(t), mini), output)
}

fn flush_all(stream: &mut ChannelStream) {
    while stream.flush().unwrap() == Flush::Blocked {}
}

fn inval() -> Message {
    Message::new(105, b"\x01\0\x01\0\0\0\0\x07\0\0\0".to_vec())
}

#[test]
fn mini_header_precedes_the_body() {
    let (mut s, out) = slow(1000, true, &[]);
    assert_eq!(s.send(Message::new(0x1234, vec![9; 3])), 1);
    flush_all(&mut s);
    assert_eq!(*out.lock().unwrap(), [0x34, 0x12, 3, 0, 0, 0, 9, 9, 9]);
}

#[test]
fn full_header_counts_serials() {
    let (mut s, out) = slow(1000, false, &[]);
    s.send(Message::bare(102));
    assert_eq!(s.send(Message::bare(103)), 2);
    flush_all(&mut s);
    let out = out.lock().unwrap();
    assert_eq!(out.len(), 36);
    assert_eq!(out[18..28], [2, 0, 0, 0, 0, 0, 0, 0, 103, 0]);
}

#[test]
fn inval_list_travels_inside_with_full_headers() {
    let (mut s, out) = slow(1000, false, &[]);
    s.send(Outgoing { message: Message::new(304, vec![1; 133]), sub_messages: vec![inval()] });
    flush_all(&mut s);
    let out = out.lock().unwrap();
    assert_eq!(out[8..18], [0x30, 1, 0x9c, 0, 0, 0, 0x96, 0, 0, 0]);
    assert_eq!(out[18 + 133..18 + 139], [105, 0, 11, 0, 0, 0]);
    assert_eq!(out[18 + 150..], [1, 0, 0x85, 0, 0, 0]);
    assert_eq!(s.serial(), 1);
}

#[test]
fn inval_list_alone_goes_ahead_with_mini_headers() {
    let (mut s, out) = slow(1000, true, &[]);
    assert_eq!(s.next_serial(true), 2);
    let serial = s.send(Outgoing { message: Message::bare(304), sub_messages: vec![inval()] });
    assert_eq!(serial, 2);
    flush_all(&mut s);
    assert_eq!(out.lock().unwrap()[..], *b"\x69\0\x0b\0\0\0\x01\0\x01\0\0\0\0\x07\0\0\0\x30\x01\0\0\0\0");
}

#[test]
fn wait_and_inval_go_ahead_in_a_list() {
    let (mut s, out) = slow(1000, true, &[]);
    let wait = wait_for_channels(&[WaitFor { channel_type: 2, channel_id: 1, serial: 77 }]);
    s.send(Outgoing { message: Message::bare(304), sub_messages: vec![wait, inval()] });
    flush_all(&mut s);
    let out = out.lock().unwrap();
    // LIST: count 2, offsets [wait at 27, inval at 10]
    assert_eq!(out[..16], [8, 0, 44, 0, 0, 0, 2, 0, 27, 0, 0, 0, 10, 0, 0, 0]);
    assert_eq!(out[6 + 10..6 + 12], [105, 0]);
    assert_eq!(out[6 + 27..6 + 33], [5, 0, 11, 0, 0, 0]);
}

#[test]
fn too_long_and_unknown_messages_end_the_stream_before_allocation() {
    let (mut s, _) = slow(1000, true, &[1, 0, 255, 255, 255, 255]);
    let error = std::iter::repeat_with(|| s.receive(&|_| Some(1024))).find_map(Result::err).unwrap();
    assert!(matches!(error, StreamError::TooLong { msg_type: 1, size: u32::MAX, limit: 1024 }));
    let (mut s, _) = slow(1000, true, &[1, 0, 0, 0, 0, 0]);
    let error = std::iter::repeat_with(|| s.receive(&|_| None)).find_map(Result::err).unwrap();
    assert!(matches!(error, StreamError::UnknownType(1)));
}

#[test]
fn a_turn_of_reading_ends_and_the_next_goes_on() {
    /// Always has another byte, one per read or as many as fit.
    struct Endless {
        socket: UnixStream,
        single: bool,
        reads: Arc<std::sync::Mutex<usize>>,
    }
    impl Read for Endless {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            *self.reads.lock().unwrap() += 1;
            let n = if self.single { 1 } else { buf.len() };
            buf[..n].fill(1);
            Ok(n)
        }
    }
    impl Write for Endless {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl AsFd for Endless {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.socket.as_fd()
        }
    }
    impl Transport for Endless {}
    for single in [true, false] {
        let (socket, reads) = (UnixStream::pair().unwrap().0, Arc::default());
        let transport = Endless { socket, single, reads: Arc::clone(&reads) };
        let mut stream = ChannelStream::new(Box::new(transport), true);
        // One message type, bodies of 0x01010101 bytes.
        for _ in 0..3 {
            let before = stream.bytes_received();
            assert!(stream.receive(&|_| Some(1 << 25)).unwrap().is_none());
            assert!(stream.has_more());
            let bytes = stream.bytes_received() - before;
            assert!(bytes > 0 && bytes <= 2 * MAX_BYTES_PER_TURN as u64);
            assert!(std::mem::take(&mut *reads.lock().unwrap()) <= MAX_BYTES_PER_TURN / LEAST_READ_COST);
        }
    }
    let (mut idle, _) = slow(1, true, &[]);
    assert!(idle.receive(&|_| Some(1)).unwrap().is_none());
    assert!(!idle.has_more());
}

#[test]
fn the_header_of_the_next_message_comes_with_a_long_body() {
    for mini in [true, false] {
        let message = |msg_type: u16, size: usize| {
            let mut bytes = Vec::new();
            if !mini {
                bytes.u64(1);
            }
            bytes.u16(msg_type).u32(count32(size));
            if !mini {
                bytes.u32(0);
            }
            bytes.resize(bytes.len() + size, msg_type as u8);
            bytes
        };
        let any = |_| Some(1 << 20);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), mini);
        let expect = |stream: &mut ChannelStream, msg_type: u16, size: usize| {
            let got = stream.receive(&any).unwrap().unwrap();
            assert_eq!((got.msg_type, got.body), (msg_type, vec![msg_type as u8; size]));
        };
        theirs.write_all(&[message(5, READ_STEP), message(6, 0), message(7, 10_000)].concat()).unwrap();
        expect(&mut stream, 5, READ_STEP);
        assert!(stream.has_more(), "a message without a body is here, and no poll reports it");
        expect(&mut stream, 6, 0);
        expect(&mut stream, 7, 10_000);
        assert!(stream.receive(&any).unwrap().is_none() && !stream.has_more());
        // A header that comes in two parts.
        let (header, all) = (if mini { 6 } else { 18 }, [message(8, READ_STEP + 1), message(9, 3)].concat());
        let (first, rest) = all.split_at(all.len() - 3 - header + 2);
        theirs.write_all(first).unwrap();
        expect(&mut stream, 8, READ_STEP + 1);
        assert!(stream.receive(&any).unwrap().is_none() && !stream.has_more());
        theirs.write_all(rest).unwrap();
        expect(&mut stream, 9, 3);
        assert!(stream.receive(&any).unwrap().is_none());
        assert_eq!(stream.bytes_received(), (5 * header + 10_000 + 2 * READ_STEP + 1 + 3) as u64);
    }
}

#[test]
fn client_that_stops_reading_only_costs_what_was_queued() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut s = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
    assert!(s.is_unix());
    let payload = Arc::new(vec![3u8; 4 << 20]);
    let mut body = crate::protocol::Body::empty();
    body.push(payload.clone());
    s.send(Message { msg_type: 304, body });
    assert_eq!(s.flush().unwrap(), Flush::Blocked);
    assert!(s.pending_bytes() > 1 << 20 && s.pending_bytes() < 4 << 20);
    let reader = std::thread::spawn(move || {
        let mut theirs = theirs;
        let mut got = vec![0; 6 + (4 << 20)];
        theirs.read_exact(&mut got).unwrap();
        got
    });
    while s.flush().unwrap() == Flush::Blocked {
        std::thread::yield_now();
    }
    let got = reader.join().unwrap();
    assert_eq!(got[6..], payload[..]);
}

#[test]
fn closed_peer_is_an_error_and_no_signal() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut s = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
    drop(theirs);
    s.send(Message::bare(1));
    assert!(s.flush().is_err());
    assert!(matches!(s.receive(&|_| Some(1)), Err(StreamError::Closed)));
}

#[test]
fn descriptor_rides_on_a_byte_of_its_own() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut s = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
    let null = std::fs::File::open("/dev/null").unwrap();
    s.send_fds(&[null.as_raw_fd()]).unwrap();
    s.send_fds(&[]).unwrap();
    let mut two = [0; 2];
    theirs.read_exact(&mut two).unwrap();
    assert_eq!(two, *b"@@");
}

proptest! {
    #![proptest_config(crate::testing::cases(48))]

    #[test]
    fn messages_survive_any_fragmentation(
        sizes in proptest::collection::vec((0usize..1000, 0usize..1000), 1..8),
        chunk in 1usize..300,
        mini: bool,
    ) {
        let (mut s, out) = slow(chunk, mini, &[]);
        let mut expect = Vec::new();
        for (i, &(a, b)) in sizes.iter().enumerate() {
            let mut body = crate::protocol::Body::empty();
            body.push(vec![i as u8; a]);
            body.push(Arc::new(vec![0x80 | i as u8; b]));
            expect.push(Incoming { msg_type: i as u16, body: body.to_vec() });
            s.send(Message { msg_type: i as u16, body });
        }
        flush_all(&mut s);
        prop_assert_eq!(s.pending_bytes(), 0);
        let wire = out.lock().unwrap().clone();
        let (mut r, _) = slow(chunk, mini, &wire);
        let mut got = Vec::new();
        while got.len() < expect.len() {
            got.extend(r.receive(&|_| Some(2000)).unwrap());
        }
        prop_assert_eq!(got, expect);
    }
}

/// The client chose the size.
#[test]
fn a_message_without_memory_for_its_body_ends_the_connection() {
    let input = [&[5, 0][..], &600_000u32.to_le_bytes(), &vec![7; 600_000]].concat();
    let (mut stream, _) = slow(1 << 20, true, &input);
    let error = crate::memory::testing::with_most(300_000, || {
        loop {
            match stream.receive(&|_| Some(1 << 20)) {
                Ok(None) => {}
                Ok(Some(_)) => panic!("a message"),
                Err(error) => return error,
            }
        }
    });
    assert!(matches!(error, StreamError::Io(e) if e.kind() == io::ErrorKind::OutOfMemory));
}
