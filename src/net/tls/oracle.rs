//! Fuzz oracle of a link inside of TLS: a client that sends its bytes in any pieces and may change any of them on the way.
//!
//! What must hold: nothing panics, the server comes to rest when no byte arrives any more, it reads nothing that the client
//! did not write, and it reads everything if the client changed nothing.

use super::testing::{Identity, Pki};
use super::transport::TlsTransport;
use super::{Handshake, Step, TlsSource};
use crate::net::link::fuzz_machine;
use crate::net::socket::SocketTransport;
use crate::net::transport::Transport;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVerifyMode, SslVersion};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};

/// Turns after which a connection that still moves is taken to move for ever. The longest script takes far fewer.
const MAX_TURNS: usize = 200_000;

/// Raw bytes in place of a TLS client's.
const RAW: u8 = 1;
/// TLS 1.2 instead of the newest version.
const OLD: u8 = 2;
/// The client closes its connection at the end.
const CLOSES: u8 = 4;

/// What the input says.
struct Script<'a> {
    flags: u8,
    /// Bytes that are on the way at a time.
    piece: usize,
    /// Bytes of the client's stream that change: where, and which bits.
    changes: Vec<(usize, u8)>,
    /// What the client writes.
    text: &'a [u8],
}

impl<'a> Script<'a> {
    /// The first three bytes are the flags, the size of the pieces and the number of changes, of three bytes each. The rest
    /// is the text.
    fn new(data: &'a [u8]) -> Option<Self> {
        let (&[flags, piece, count], mut text) = data.split_first_chunk()?;
        let mut changes = Vec::new();
        for _ in 0..count % 4 {
            let (&[low, high, bits], rest) = text.split_first_chunk()?;
            changes.push((usize::from(u16::from_le_bytes([low, high])), bits));
            text = rest;
        }
        Some(Self { flags, piece: usize::from(piece) * 8 + 1, changes, text })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn is_honest(&self) -> bool {
        !self.has(RAW) && self.changes.iter().all(|&(_, bits)| bits == 0)
    }
}

/// The client's end of the connection, in memory.
#[derive(Debug, Default)]
struct Pipe {
    input: VecDeque<u8>,
    output: VecDeque<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.input.read(buf) }
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Client<'a> {
    tls: SslStream<Pipe>,
    connected: bool,
    /// What remains to be written.
    text: &'a [u8],
}

impl Client<'_> {
    /// Goes on with the handshake, then writes a record. What comes back is read and forgotten.
    fn turn(&mut self) {
        if !self.connected {
            self.connected = self.tls.connect().is_ok();
            return;
        }
        while matches!(self.tls.ssl_read(&mut [0; 256]), Ok(n) if n > 0) {}
        let (now, later) = self.text.split_at(self.text.len().min(200));
        if !now.is_empty() && self.tls.ssl_write(now).is_ok_and(|n| n == now.len()) {
            self.text = later;
        }
    }
}

/// The server's side, as the crypto thread and the link's driver run it.
enum Server {
    Handshake(Handshake),
    Linked(TlsTransport),
    Closed,
}

impl Server {
    /// Takes a turn after bytes came; what it read goes to `read`.
    fn turn(&mut self, read: &mut Vec<u8>) {
        if let Self::Handshake(handshake) = self {
            match handshake.step() {
                Ok(Step::Done) => {}
                Ok(Step::Read | Step::Write) => return,
                Err(_) => {
                    *self = Self::Closed;
                    return;
                }
            }
        }
        *self = match std::mem::replace(self, Self::Closed) {
            Self::Handshake(handshake) => handshake.finish().map_or(Self::Closed, Self::Linked),
            other => other,
        };
        let Self::Linked(stream) = self else { return };
        let mut buffer = [0; 128];
        loop {
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    let bytes = buffer.get(..n).unwrap_or_default();
                    read.extend(bytes);
                    // An answer, of which the connection may take a part.
                    let _ = stream.write(bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !stream.has_more() {
                        return;
                    }
                }
                _ => {
                    *self = Self::Closed;
                    return;
                }
            }
        }
    }
}

/// The server's certificate, and contexts for clients of the newest TLS and of TLS 1.2.
fn contexts() -> &'static (Pki, Arc<TlsSource>, [SslContext; 2]) {
    static CONTEXTS: OnceLock<(Pki, Arc<TlsSource>, [SslContext; 2])> = OnceLock::new();
    CONTEXTS.get_or_init(|| {
        let pki = Pki::with("oracle", Identity::default());
        let source = TlsSource::load(&pki.config()).unwrap();
        let client = |version| {
            let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
            builder.set_verify(SslVerifyMode::NONE);
            builder.set_max_proto_version(version).unwrap();
            builder.build()
        };
        (pki, Arc::new(source), [client(None), client(Some(SslVersion::TLS1_2))])
    })
}

/// Both ends of a connection: the server's, and the client's below its TLS.
fn connection() -> (SocketTransport, SocketTransport) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (SocketTransport::new(ours.into()).unwrap(), SocketTransport::new(theirs.into()).unwrap())
}

/// Runs the script in `data`.
///
/// # Panics
/// When something does not hold.
pub fn fuzz_tls_link(data: &[u8]) {
    let Some(script) = Script::new(data) else { return };
    let (_, source, [newest, old]) = contexts();
    let (ours, mut socket) = connection();
    let mut server = Server::Handshake(Handshake::new(source.clone(), ours));
    let ssl = Ssl::new(if script.has(OLD) { old } else { newest }).unwrap();
    let tls = SslStream::new(ssl, Pipe::default()).unwrap();
    let mut client = Client { tls, connected: false, text: script.text };
    if script.has(RAW) {
        client.tls.get_mut().output.extend(script.text);
    }
    let (mut read, mut sent) = (Vec::new(), 0);
    let mut turns = 0..MAX_TURNS;
    loop {
        assert!(turns.next().is_some(), "the connection does not come to rest");
        if !script.has(RAW) {
            client.turn();
        }
        // To the server.
        let output = &mut client.tls.get_mut().output;
        let count = script.piece.min(output.len());
        let mut piece: Vec<u8> = output.drain(..count).collect();
        for (byte, at) in piece.iter_mut().zip(sent..) {
            script.changes.iter().filter(|change| change.0 == at).for_each(|change| *byte ^= change.1);
        }
        sent += count;
        if socket.write_all(&piece).is_err() {
            break;
        }
        server.turn(&mut read);
        // And back.
        let mut buffer = [0; 4096];
        let answered = socket.read(&mut buffer).unwrap_or(0);
        client.tls.get_mut().input.extend(buffer.get(..answered).unwrap_or_default());
        if matches!(server, Server::Closed) {
            break;
        }
        let rests = count == 0 && answered == 0 && client.tls.get_ref().output.is_empty();
        if rests && (script.has(RAW) || client.text.is_empty() || !client.connected) {
            break;
        }
    }
    if script.has(CLOSES) {
        drop(socket);
        server.turn(&mut read);
        assert!(matches!(server, Server::Closed), "the client is gone");
    }
    assert!(script.text.starts_with(&read), "the server read what the client did not write");
    if script.is_honest() {
        assert_eq!(read.len(), script.text.len(), "bytes of an honest client are missing");
    }
    fuzz_machine(&read, script.piece);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::cases(48))]

        #[test]
        fn no_client_confuses_the_server(
            flags: u8,
            piece: u8,
            count: u8,
            rest in proptest::collection::vec(any::<u8>(), 9..1000),
        ) {
            fuzz_tls_link(&[&[flags, piece, count], &rest[..]].concat());
        }
    }

    #[test]
    fn honest_clients_are_read_whole_in_pieces_of_any_size() {
        let text: Vec<u8> = (0..2000u32).map(|n| n.to_le_bytes()[0]).collect();
        for flags in [0, OLD, CLOSES] {
            for piece in [0, 1, 50, 255] {
                fuzz_tls_link(&[&[flags, piece, 0], &text[..]].concat());
            }
        }
    }

    #[test]
    fn a_changed_byte_does_no_harm_wherever_it_is() {
        for at in 0..700u16 {
            let [low, high] = at.to_le_bytes();
            fuzz_tls_link(&[&[0, 255, 1, low, high, 0x40], &b"REDQ"[..]].concat());
        }
    }
}
