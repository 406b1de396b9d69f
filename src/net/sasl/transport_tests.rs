use super::super::testing::{layered, unwrap, wrap};
use super::*;
use crate::net::socket::SocketTransport;
use std::os::unix::net::UnixStream;

fn pair() -> (SaslTransport, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let socket = SocketTransport::new(ours.into()).unwrap();
    (SaslTransport::new(Box::new(socket), layered()), theirs)
}

fn read_some(from: &mut dyn Read) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 20];
    match from.read(&mut buffer) {
        Ok(n) => buffer[..n].to_vec(),
        Err(e) => {
            assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
            Vec::new()
        }
    }
}

#[test]
fn bytes_pass_in_pieces_of_any_size() {
    let (mut socket, mut peer) = pair();
    let data: Vec<u8> = (0..5000u32).map(|i| (i / 3) as u8).collect();
    let wrapped: Vec<u8> = data.chunks(777).flat_map(wrap).collect();
    let mut got = Vec::new();
    for piece in wrapped.chunks(100) {
        peer.write_all(piece).unwrap();
        loop {
            let mut buffer = [0; 7];
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
    }
    assert!(got == data);
    drop(peer);
    assert_eq!(socket.read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn a_client_that_does_not_read_costs_one_packet_and_gets_everything() {
    let (mut socket, mut peer) = pair();
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i * 7) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    while sent < data.len() {
        let end = (sent + 3000).min(data.len());
        match socket.write_vectored(&[IoSlice::new(&data[sent..sent]), IoSlice::new(&data[sent..end])]) {
            Ok(n) => sent += n,
            Err(e) => {
                assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
                assert!(socket.wrapped.len() < 2 * PIECE);
                assert_eq!(socket.flush().unwrap_err().kind(), io::ErrorKind::WouldBlock);
                got.extend(read_some(&mut peer));
            }
        }
    }
    while socket.flush().is_err() {
        got.extend(read_some(&mut peer));
    }
    loop {
        let more = read_some(&mut peer);
        if more.is_empty() {
            break;
        }
        got.extend(more);
    }
    assert!(unwrap(&got) == data);
}

#[test]
fn bad_packets_and_floods_of_empty_ones_end_the_connection() {
    let (mut socket, mut peer) = pair();
    peer.write_all(&[0xff; 8]).unwrap();
    assert_eq!(socket.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    let (mut socket, mut peer) = pair();
    let flood = [0; 4096];
    let error = loop {
        let _ = peer.write(&flood);
        let error = socket.read(&mut [0; 4]).unwrap_err();
        if error.kind() != io::ErrorKind::WouldBlock {
            break error;
        }
    };
    assert!(error.to_string().contains("packets without data"), "{error}");
}
