//! WebSocket framing under a channel (server.md 4.3).
//!
//! Frames are a byte stream: their borders mean nothing. What we send is one unmasked binary frame per write.

use super::stream::Transport;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

const MAX_CONTROL: usize = 125;
/// Longest header: 2 bytes, 8 of length, 4 of mask.
const MAX_HEADER: usize = 14;

impl std::fmt::Debug for WebSocketTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketTransport").field("frame", &self.frame).finish_non_exhaustive()
    }
}

fn violation(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("WebSocket: {what}"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Data,
    Close,
    Ping,
    Pong,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    left: u64,
    mask: [u8; 4],
    /// Position in the mask.
    at: usize,
}

/// See the module.
pub struct WebSocketTransport {
    inner: Box<dyn Transport>,
    header: [u8; MAX_HEADER],
    header_filled: usize,
    frame: Option<Frame>,
    /// A fragmented message is open.
    continued: bool,
    control: Vec<u8>,
    closed: bool,
    /// Control frames and frame headers to be written before anything else.
    ahead: Vec<u8>,
    /// The newest ping's answer, kept until the frame being written is complete.
    pong: Option<Vec<u8>>,
    /// Payload bytes still to come in the frame whose header is written.
    promised: usize,
}

impl WebSocketTransport {
    /// Frames over a transport whose upgrade was answered.
    #[must_use]
    pub fn new(inner: Box<dyn Transport>) -> Self {
        Self {
            inner,
            header: [0; MAX_HEADER],
            header_filled: 0,
            frame: None,
            continued: false,
            control: Vec::new(),
            closed: false,
            ahead: Vec::new(),
            pong: None,
            promised: 0,
        }
    }

    /// Reads header bytes up to `size`; false: the peer closed.
    fn fill_header(&mut self, size: usize) -> io::Result<bool> {
        while self.header_filled < size {
            let room = self.header.get_mut(self.header_filled..size).unwrap_or_default();
            match self.inner.read(room)? {
                0 => return Ok(false),
                n => self.header_filled += n,
            }
        }
        Ok(true)
    }

    /// Reads the next frame's header; `None`: the peer closed.
    fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        if !self.fill_header(2)? {
            return Ok(None);
        }
        let (first, second) = (self.header[0], self.header[1]);
        let (length_size, mask_size) = match second & 0x7f {
            126 => (2, usize::from(second >> 7) * 4),
            127 => (8, usize::from(second >> 7) * 4),
            _ => (0, usize::from(second >> 7) * 4),
        };
        let size = 2 + length_size + mask_size;
        if !self.fill_header(size)? {
            return Ok(None);
        }
        self.header_filled = 0;
        let mut rest = self.header.get(2..size).unwrap_or_default().iter().copied();
        let length = match length_size {
            0 => u64::from(second & 0x7f),
            n => rest.by_ref().take(n).fold(0u64, |sum, byte| sum << 8 | u64::from(byte)),
        };
        let mut mask = [0; 4];
        for (to, from) in mask.iter_mut().zip(rest) {
            *to = from;
        }
        let opcode = self.judge(first, length)?;
        Ok(Some(Frame { opcode, left: length, mask, at: 0 }))
    }

    fn judge(&mut self, first: u8, length: u64) -> io::Result<Opcode> {
        let last = first & 0x80 != 0;
        if first & 0x70 != 0 {
            return Err(violation("reserved bits"));
        }
        let opcode = match first & 0x0f {
            0 if self.continued => Opcode::Data,
            0 => return Err(violation("continuation of nothing")),
            1 | 2 if self.continued => return Err(violation("message inside a message")),
            1 | 2 => Opcode::Data,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Err(violation("unknown opcode")),
        };
        if opcode == Opcode::Data {
            self.continued = !last;
        } else if !last || length > MAX_CONTROL as u64 {
            return Err(violation("control frame too long"));
        }
        Ok(opcode)
    }

    /// Reads on in a control frame and acts on it when it is complete; false: the peer closed.
    fn read_control(&mut self, mut frame: Frame) -> io::Result<bool> {
        while frame.left > 0 {
            let mut buffer = [0; MAX_CONTROL];
            let size = usize::try_from(frame.left).unwrap_or(MAX_CONTROL).min(MAX_CONTROL);
            let room = buffer.get_mut(..size).unwrap_or_default();
            match self.inner.read(room) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    let bytes = room.get_mut(..n).unwrap_or_default();
                    frame.unmask(bytes);
                    self.control.extend_from_slice(bytes);
                    self.frame = Some(frame);
                }
                Err(e) => return Err(e),
            }
        }
        self.frame = None;
        let payload = std::mem::take(&mut self.control);
        match frame.opcode {
            Opcode::Ping => self.pong = Some(payload),
            Opcode::Close => {
                self.closed = true;
                if self.promised == 0 {
                    self.ahead.extend([0x88, 0]);
                }
            }
            Opcode::Pong | Opcode::Data => {}
        }
        // As far as the socket takes it; the rest goes with the next write.
        match self.write_ahead() {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(true),
        }
    }

    /// Writes what goes before payload.
    fn write_ahead(&mut self) -> io::Result<()> {
        if self.promised == 0
            && let Some(payload) = self.pong.take()
        {
            self.ahead.extend([0x8a, u8::try_from(payload.len()).unwrap_or(0)]);
            self.ahead.extend(payload);
        }
        while !self.ahead.is_empty() {
            match self.inner.write(&self.ahead)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => drop(self.ahead.drain(..n.min(self.ahead.len()))),
            }
        }
        Ok(())
    }
}

impl Frame {
    /// Undoes the mask over bytes that came next.
    fn unmask(&mut self, bytes: &mut [u8]) {
        for byte in bytes.iter_mut() {
            *byte ^= self.mask[self.at & 3];
            self.at = (self.at + 1) & 3;
        }
        self.left = self.left.saturating_sub(bytes.len() as u64);
    }
}

impl Read for WebSocketTransport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while !self.closed {
            let mut frame = match self.frame {
                Some(frame) => frame,
                None => match self.next_frame()? {
                    None => return Ok(0),
                    Some(frame) => frame,
                },
            };
            self.frame = Some(frame);
            if frame.opcode != Opcode::Data {
                if !self.read_control(frame)? {
                    return Ok(0);
                }
                continue;
            }
            if frame.left == 0 {
                self.frame = None;
                continue;
            }
            let size = usize::try_from(frame.left).unwrap_or(usize::MAX).min(buf.len());
            let n = self.inner.read(buf.get_mut(..size).unwrap_or_default())?;
            frame.unmask(buf.get_mut(..n).unwrap_or_default());
            self.frame = Some(frame);
            return Ok(n);
        }
        Ok(0)
    }
}

impl Write for WebSocketTransport {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let total = bufs.iter().fold(0usize, |sum, b| sum.saturating_add(b.len()));
        if total == 0 {
            return Ok(0);
        }
        if self.promised == 0 {
            self.write_ahead()?;
            self.ahead.push(0x82);
            match total {
                0..=125 => self.ahead.push(u8::try_from(total).unwrap_or(0)),
                126..=0xffff => {
                    self.ahead.push(126);
                    self.ahead.extend(u16::try_from(total).unwrap_or(0).to_be_bytes());
                }
                _ => {
                    self.ahead.push(127);
                    self.ahead.extend((total as u64).to_be_bytes());
                }
            }
            self.promised = total;
        }
        // From here on the caller owes these bytes, however often it has to come again.
        self.write_ahead()?;
        let mut room = self.promised;
        let mut part = Vec::with_capacity(bufs.len());
        for b in bufs {
            let n = b.len().min(room);
            room -= n;
            if n > 0 {
                part.push(IoSlice::new(b.get(..n).unwrap_or_default()));
            }
        }
        let n = self.inner.write_vectored(&part)?;
        self.promised = self.promised.saturating_sub(n);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.promised == 0 {
            self.write_ahead()?;
        }
        self.inner.flush()
    }
}

impl AsFd for WebSocketTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Transport for WebSocketTransport {
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.inner.set_nodelay(nodelay)
    }

    fn kernel_queue(&self) -> Option<usize> {
        self.inner.kernel_queue()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket::SocketTransport;
    use proptest::prelude::*;
    use std::os::unix::net::UnixStream;

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

    proptest! {
        #![proptest_config(crate::testing::cases(32))]
        #[test]
        fn arbitrary_frames_do_not_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (mut socket, mut peer) = pair();
            peer.write_all(&data).unwrap();
            let _ = read_all(&mut socket);
        }
    }
}
