//! A raw client of one channel, with mini headers.

use crate::host::PATIENCE;
use openssl::rsa::{Padding, Rsa};
use std::io::{Read, Write};
use std::net::TcpStream;

pub(crate) struct Client {
    socket: TcpStream,
    pub session: u32,
}

/// A link header and message; every field can be made to lie.
pub(crate) struct Link {
    pub channel_type: u8,
    pub session: u32,
    pub size: Option<u32>,
    pub counts: (u32, u32),
    pub caps_offset: u32,
    pub caps: Vec<u32>,
}

impl Link {
    /// One that tells the truth.
    pub(crate) fn new(channel_type: u8, session: u32) -> Self {
        Self { channel_type, session, size: None, counts: (1, 1), caps_offset: 18, caps: vec![0x0b, 0x0f] }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = self.session.to_le_bytes().to_vec();
        body.extend([self.channel_type, 0]);
        let words =
            [self.counts.0, self.counts.1, self.caps_offset].into_iter().chain(self.caps.iter().copied());
        body.extend(words.flat_map(u32::to_le_bytes));
        let size = self.size.unwrap_or(body.len() as u32);
        [b"REDQ", [2, 2, size].map(u32::to_le_bytes).as_flattened(), &body].concat()
    }
}

impl Client {
    pub(crate) fn new(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, session: 0 }
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        // The server may have closed already: what comes back tells.
        let _ = self.socket.write_all(bytes);
    }

    pub(crate) fn receive(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.socket.read_exact(&mut bytes).expect("bytes of the server");
        bytes
    }

    /// Everything until the server closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = self.socket.read_to_end(&mut bytes) {
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset,
                "the server does not close: {error}"
            );
        }
        bytes
    }

    /// Says what it wants; the key of the reply.
    pub(crate) fn ask(&mut self, channel_type: u8, session: u32) -> Vec<u8> {
        self.send_raw(&Link::new(channel_type, session).bytes());
        let header = self.receive(16);
        let size = u32::from_le_bytes(header[12..].try_into().unwrap());
        let body = self.receive(size as usize);
        assert_eq!(body[..4], [0; 4]);
        body[4..166].to_vec()
    }

    /// Sends the ticket; the link result.
    pub(crate) fn log_in(&mut self, ticket: &[u8]) -> u32 {
        self.send_raw(&[&1u32.to_le_bytes(), ticket].concat());
        u32::from_le_bytes(self.receive(4).try_into().unwrap())
    }

    /// The whole link stage; its result.
    pub(crate) fn link(&mut self, channel_type: u8, session: u32, password: &[u8]) -> u32 {
        let key = self.ask(channel_type, session);
        self.log_in(&ticket(&key, &[password, b"\0"].concat()))
    }

    /// A message whose header tells the truth.
    pub(crate) fn send(&mut self, msg_type: u16, body: &[u8]) {
        self.send_lie(msg_type, body.len() as u32, body);
    }

    /// A message whose header says `size`.
    pub(crate) fn send_lie(&mut self, msg_type: u16, size: u32, body: &[u8]) {
        self.send_raw(&[&msg_type.to_le_bytes()[..], &size.to_le_bytes(), body].concat());
    }

    /// Messages until one of this type, which is returned.
    pub(crate) fn until(&mut self, msg_type: u16) -> Vec<u8> {
        loop {
            let header = self.receive(6);
            let size = u32::from_le_bytes(header[2..].try_into().unwrap());
            let body = self.receive(size as usize);
            if u16::from_le_bytes([header[0], header[1]]) == msg_type {
                return body;
            }
        }
    }

    /// A question on the main channel whose answer proves that all before it was handled.
    pub(crate) fn round_trip(&mut self) -> Vec<u8> {
        self.send(104, &[]);
        self.until(104)
    }
}

/// Bytes encrypted as a ticket.
pub(crate) fn ticket(key: &[u8], plain: &[u8]) -> Vec<u8> {
    let rsa = Rsa::public_key_from_der(key).unwrap();
    let mut out = vec![0; 128];
    rsa.public_encrypt(plain, &mut out, Padding::PKCS1_OAEP).unwrap();
    out
}
