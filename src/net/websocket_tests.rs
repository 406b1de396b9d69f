use super::*;
use crate::net::socket::SocketTransport;
use proptest::prelude::*;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn pair() -> (WebSocketTransport, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    (WebSocketTransport::new(Box::new(SocketTransport::new(ours.into()).unwrap())), theirs)
}

fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut v = vec![first];
    match payload.len() {
        n @ 0..=125 => v.push(n as u8 | bit),
        n @ 126..=0xffff => {
            v.push(126 | bit);
            v.extend((n as u16).to_be_bytes());
        }
        n => {
            v.push(127 | bit);
            v.extend((n as u64).to_be_bytes());
        }
    }
    let key = mask.unwrap_or_default();
    v.extend(mask.iter().flatten());
    v.extend(payload.iter().enumerate().map(|(i, b)| b ^ key[i % 4]));
    v
}

fn read_all(socket: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut buffer = [0; 100];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(out),
            Ok(n) => out.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(out),
            Err(e) => return Err(e),
        }
    }
}

#[test]
fn control_frames_are_answered_between_data() {
    let (mut socket, mut peer) = pair();
    peer.write_all(&frame(0x02, b"he", Some([1, 2, 3, 4]))).unwrap();
    peer.write_all(&frame(0x89, b"ping", Some([9, 8, 7, 6]))).unwrap();
    peer.write_all(&frame(0x8a, b"unasked", None)).unwrap();
    peer.write_all(&frame(0x80, b"llo", Some([0, 0, 1, 1]))).unwrap();
    peer.write_all(&frame(0x82, b"", None)).unwrap();
    peer.write_all(&frame(0x81, b"!", None)).unwrap();
    assert_eq!(read_all(&mut socket).unwrap(), b"hello!");
    assert_eq!(read_all(&mut peer).unwrap(), b"\x8a\x04ping");
    peer.write_all(&frame(0x88, b"\x03\xe8", Some([5; 4]))).unwrap();
    assert_eq!(read_all(&mut socket).unwrap(), b"");
    assert_eq!(read_all(&mut peer).unwrap(), [0x88, 0]);
    assert_eq!(socket.read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn violations_end_the_connection() {
    let long = [0; 126];
    for bytes in [
        frame(0xc2, b"x", None),
        frame(0x83, b"x", None),
        frame(0x80, b"x", None),
        frame(0x09, b"x", None),
        frame(0x89, &long, None),
        [frame(0x02, b"x", None), frame(0x82, b"y", None)].concat(),
    ] {
        let (mut socket, mut peer) = pair();
        peer.write_all(&bytes).unwrap();
        assert!(read_all(&mut socket).is_err(), "{bytes:02x?}");
    }
}

#[test]
fn full_socket_continues_a_frame_without_a_new_header() {
    let (mut socket, mut peer) = pair();
    let data: Vec<u8> = (0..2_000_000u32).map(|i| i as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    while sent < data.len() {
        match socket.write(&data[sent..]) {
            Ok(n) => sent += n,
            Err(e) => {
                assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
                got.extend(read_all(&mut peer).unwrap());
            }
        }
    }
    got.extend(read_all(&mut peer).unwrap());
    assert_eq!(got[..10], *b"\x82\x7f\0\0\0\0\0\x1e\x84\x80");
    assert!(got[10..] == data[..]);
}

#[test]
fn data_of_all_sizes_arrive_whole() {
    let (mut socket, mut peer) = pair();
    let mut expected = Vec::new();
    for size in [0, 1, 125, 126, 900, 5000, 70_000] {
        let data: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
        peer.write_all(&frame(0x82, &data, Some([size as u8, 2, 3, 4]))).unwrap();
        expected.extend(data);
    }
    let mut got = Vec::new();
    for room in [1, 3, 2000, 4096, 100_000].iter().cycle() {
        let mut buffer = vec![0; *room];
        match socket.read(&mut buffer) {
            Ok(n) => got.extend_from_slice(&buffer[..n]),
            Err(e) => {
                assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
                if !socket.has_more() {
                    break;
                }
            }
        }
    }
    assert!(got == expected);
}

/// A connection that always has more of the same bytes to read and takes nothing or everything.
struct Flood {
    bytes: Vec<u8>,
    at: usize,
    reads: Arc<AtomicUsize>,
    takes: bool,
    fd: io::Stdin,
}

impl Flood {
    fn over(bytes: Vec<u8>, takes: bool) -> (WebSocketTransport, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let flood = Self { bytes, at: 0, reads: reads.clone(), takes, fd: io::stdin() };
        (WebSocketTransport::new(Box::new(flood)), reads)
    }
}

impl Read for Flood {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        for byte in buf.iter_mut() {
            *byte = self.bytes[self.at % self.bytes.len()];
            self.at += 1;
        }
        Ok(buf.len())
    }
}

impl Write for Flood {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.takes { Ok(buf.len()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Flood {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Transport for Flood {}

#[test]
fn floods_without_data_end_the_connection() {
    for (kind, takes) in [(0x82, true), (0x89, false), (0x89, true), (0x8a, true)] {
        let payload: &[u8] = if kind == 0x89 { &[b'x'; 125] } else { b"" };
        let (mut socket, reads) = Flood::over(frame(kind, payload, None), takes);
        let mut calls = 0;
        let error = loop {
            calls += 1;
            let error = socket.read(&mut [0; 100]).unwrap_err();
            assert!(reads.swap(0, Ordering::Relaxed) <= MAX_DATALESS_READS as usize);
            assert!(socket.ahead.len() + socket.pong.as_ref().map_or(0, Vec::len) < 400);
            if error.kind() != io::ErrorKind::WouldBlock {
                break error;
            }
            assert!(socket.has_more(), "nobody would come back");
        };
        assert!(error.to_string().contains("without data"), "{error}");
        assert!(calls < 100);
    }
}

#[test]
fn empty_frames_among_data_cost_little_and_do_no_harm() {
    let mut bytes = frame(0x82, b"x", None);
    for _ in 0..MAX_DATALESS_FRAMES {
        bytes.extend(frame(0x82, b"", None));
    }
    let (mut socket, reads) = Flood::over(bytes, true);
    for _ in 0..1000 {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).unwrap(), 1);
        assert_eq!(byte, *b"x");
    }
    assert!(reads.load(Ordering::Relaxed) < 1000);
}

#[test]
fn pings_of_an_idle_client_are_no_flood() {
    let (mut socket, mut peer) = pair();
    for _ in 0..2 * MAX_DATALESS_FRAMES {
        peer.write_all(&frame(0x89, b"", None)).unwrap();
        assert_eq!(read_all(&mut socket).unwrap(), b"");
        assert_eq!(read_all(&mut peer).unwrap(), [0x8a, 0]);
    }
}

#[test]
fn of_pings_to_a_peer_that_does_not_read_the_newest_is_answered() {
    let (mut socket, mut peer) = pair();
    let data = [7; 4096];
    let mut left = 0;
    while let Ok(n) = socket.write(&data[left..]) {
        left = (left + n) % data.len();
    }
    for i in 0..100 {
        peer.write_all(&frame(0x89, &[i; 100], None)).unwrap();
        assert_eq!(read_all(&mut socket).unwrap(), b"");
    }
    assert!(socket.ahead.len() < 200);
    // The frame that was begun is finished, then comes the answer.
    while socket.promised > 0 {
        read_all(&mut peer).unwrap();
        match socket.write(&data[left..]) {
            Ok(n) => left += n,
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
        }
    }
    socket.flush().unwrap();
    let got = read_all(&mut peer).unwrap();
    assert!(got.ends_with(&[&[0x8a, 100][..], &[99; 100]].concat()), "{got:02x?}");
}

proptest! {
    #![proptest_config(crate::testing::cases(32))]
    #[test]
    fn arbitrary_frames_do_not_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut socket, mut peer) = pair();
        peer.write_all(&data).unwrap();
        let _ = read_all(&mut socket);
    }
}
