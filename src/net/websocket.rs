//! WebSocket framing under a channel (server.md 4.3).
//!
//! The payload of the frames is a byte stream; where a frame ends means nothing. Each write of ours is one unmasked binary frame.
//!
//! We read into a small buffer and parse frames from there, so that frames without data cost the client more than they cost
//! us. One [`Read::read`] looks at a few buffers at most; then it fails with `WouldBlock` and [`Transport::has_more`] asks
//! the caller to come back, so that no client keeps the thread.

use super::link_estimate::KernelLink;
use super::transport::Transport;
use crate::limits::{MAX_DATALESS_FRAMES, MAX_DATALESS_READS};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

const MAX_CONTROL: usize = 125;
/// Longest header: 2 bytes, 8 of length, 4 of mask.
const MAX_HEADER: usize = 14;
/// Bytes taken from the connection at a time.
const BUFFER: usize = 4096;
/// From this many bytes on the data of a frame go straight to the caller instead of through the buffer.
const STRAIGHT: usize = 1024;

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

/// A connection whose bytes travel in WebSocket frames.
pub(crate) struct WebSocketTransport {
    inner: Box<dyn Transport>,
    /// Bytes that were read: `buffer[at..filled]` are not parsed yet.
    buffer: Box<[u8; BUFFER]>,
    at: usize,
    filled: usize,
    header: [u8; MAX_HEADER],
    header_filled: usize,
    frame: Option<Frame>,
    /// A fragmented message is open.
    continued: bool,
    control: Vec<u8>,
    closed: bool,
    /// Frames without data since the last byte of data, or since the client paused.
    dataless: u32,
    /// The last read stopped early: the connection may have more.
    more: bool,
    /// Control frames and frame headers to be written before anything else.
    ahead: Vec<u8>,
    /// The answer to the newest ping. It waits until the frame that is being written is complete.
    pong: Option<Vec<u8>>,
    /// Payload bytes still to come in the frame whose header is written.
    promised: usize,
}

impl WebSocketTransport {
    /// Frames over a transport whose upgrade was answered.
    #[must_use]
    pub(crate) fn new(inner: Box<dyn Transport>) -> Self {
        Self {
            inner,
            buffer: Box::new([0; BUFFER]),
            at: 0,
            filled: 0,
            header: [0; MAX_HEADER],
            header_filled: 0,
            frame: None,
            continued: false,
            control: Vec::new(),
            closed: false,
            dataless: 0,
            more: false,
            ahead: Vec::new(),
            pong: None,
            promised: 0,
        }
    }

    /// Bytes that were read and not parsed.
    fn unparsed(&self) -> &[u8] {
        self.buffer.get(self.at..self.filled).unwrap_or_default()
    }

    /// Fills the empty buffer. False: the client closed the connection.
    fn refill(&mut self) -> io::Result<bool> {
        (self.at, self.filled) = (0, 0);
        match self.inner.read(self.buffer.as_mut_slice()) {
            Ok(n) => {
                self.filled = n;
                Ok(n > 0)
            }
            Err(e) => {
                // A client that lets the connection run empty does not flood us: pings of an idle client are no attack.
                if e.kind() == io::ErrorKind::WouldBlock && !self.inner.has_more() {
                    self.dataless = 0;
                }
                Err(e)
            }
        }
    }

    /// Takes header bytes from the buffer up to `size`. False: the buffer ends before.
    fn fill_header(&mut self, size: usize) -> bool {
        let missing = size.saturating_sub(self.header_filled);
        let bytes = self.buffer.get(self.at..self.filled.min(self.at + missing)).unwrap_or_default();
        for (to, from) in self.header.iter_mut().skip(self.header_filled).zip(bytes) {
            *to = *from;
        }
        let taken = bytes.len();
        self.at += taken;
        self.header_filled += taken;
        taken == missing
    }

    /// Parses the next frame's header; `None`: the buffer ends before.
    fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        if !self.fill_header(2) {
            return Ok(None);
        }
        let (first, second) = (self.header[0], self.header[1]);
        let (length_size, mask_size) = match second & 0x7f {
            126 => (2, usize::from(second >> 7) * 4),
            127 => (8, usize::from(second >> 7) * 4),
            _ => (0, usize::from(second >> 7) * 4),
        };
        let size = 2 + length_size + mask_size;
        if !self.fill_header(size) {
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
        if opcode != Opcode::Data || length == 0 {
            self.dataless += 1;
            if self.dataless > MAX_DATALESS_FRAMES {
                return Err(violation("too many frames without data"));
            }
        }
        Ok(Some(Frame { opcode, left: length, mask, at: 0 }))
    }

    fn judge(&mut self, first: u8, length: u64) -> io::Result<Opcode> {
        let last = first & 0x80 != 0;
        if first & 0x70 != 0 {
            return Err(violation("reserved bits are set"));
        }
        let opcode = match first & 0x0f {
            0 if self.continued => Opcode::Data,
            0 => return Err(violation("continuation frame without a message")),
            1 | 2 if self.continued => return Err(violation("new message inside a fragmented message")),
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

    /// Takes data from the buffer; `None`: it holds no more of them.
    fn parse(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        while !self.closed {
            let mut frame = match self.frame {
                Some(frame) => frame,
                None => match self.next_frame()? {
                    None => return Ok(None),
                    Some(frame) => frame,
                },
            };
            let wanted = usize::try_from(frame.left).unwrap_or(usize::MAX);
            if frame.opcode == Opcode::Data && wanted > 0 {
                let size = self.unparsed().len().min(wanted).min(buf.len());
                let (Some(from), Some(to)) = (self.buffer.get(self.at..self.at + size), buf.get_mut(..size))
                else {
                    return Ok(None);
                };
                to.copy_from_slice(from);
                frame.unmask(to);
                self.at += size;
                self.frame = Some(frame);
                if size == 0 {
                    return Ok(None);
                }
                self.dataless = 0;
                return Ok(Some(size));
            }
            if frame.opcode != Opcode::Data {
                // At most MAX_CONTROL bytes altogether.
                let size = self.unparsed().len().min(wanted);
                let from = self.control.len();
                self.control.extend_from_slice(self.buffer.get(self.at..self.at + size).unwrap_or_default());
                frame.unmask(self.control.get_mut(from..).unwrap_or_default());
                self.at += size;
                if frame.left > 0 {
                    self.frame = Some(frame);
                    return Ok(None);
                }
                self.on_control(frame.opcode)?;
            }
            self.frame = None;
        }
        Ok(Some(0))
    }

    /// Acts on a complete control frame.
    fn on_control(&mut self, opcode: Opcode) -> io::Result<()> {
        let payload = std::mem::take(&mut self.control);
        match opcode {
            Opcode::Ping => self.pong = Some(payload),
            Opcode::Close => {
                self.closed = true;
                if self.promised == 0 {
                    self.ahead.extend([0x88, 0]);
                }
            }
            Opcode::Pong | Opcode::Data => {}
        }
        // What the socket does not take now goes with the next write.
        match self.write_ahead() {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(()),
        }
    }

    /// Writes what goes before payload. Of the pongs only the newest waits, outside of `ahead`: a client that sends pings and
    /// reads nothing must not make us collect answers.
    fn write_ahead(&mut self) -> io::Result<()> {
        loop {
            while !self.ahead.is_empty() {
                match self.inner.write(&self.ahead)? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    n => drop(self.ahead.drain(..n.min(self.ahead.len()))),
                }
            }
            let Some(payload) = self.pong.take_if(|_| self.promised == 0) else { return Ok(()) };
            self.ahead.extend([0x8a, u8::try_from(payload.len()).unwrap_or(0)]);
            self.ahead.extend(payload);
        }
    }
}

impl Frame {
    /// Removes the mask from the next bytes.
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
        self.more = false;
        for _ in 0..MAX_DATALESS_READS {
            if let Some(n) = self.parse(buf)? {
                return Ok(n);
            }
            // The buffer is parsed to its end.
            if let Some(frame) = &mut self.frame
                && frame.opcode == Opcode::Data
                && let Some(room) = straight(frame, buf)
            {
                let n = self.inner.read(room)?;
                frame.unmask(room.get_mut(..n).unwrap_or_default());
                self.dataless = 0;
                return Ok(n);
            }
            if !self.refill()? {
                return Ok(0);
            }
        }
        self.more = true;
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// The part of the caller's buffer that can take the rest of a frame without a detour, if that is much.
fn straight<'a>(frame: &Frame, buf: &'a mut [u8]) -> Option<&'a mut [u8]> {
    let size = usize::try_from(frame.left).unwrap_or(usize::MAX).min(buf.len());
    buf.get_mut(..size).filter(|room| room.len() >= STRAIGHT)
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
        // The header announces these bytes, so the caller must write them, in however many calls.
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

    fn kernel_link(&self) -> Option<KernelLink> {
        self.inner.kernel_link()
    }

    fn kernel_queue(&self) -> Option<usize> {
        self.inner.kernel_queue()
    }

    fn has_more(&self) -> bool {
        self.more || !self.unparsed().is_empty() || self.inner.has_more()
    }

    fn cipher_bits(&self) -> u32 {
        self.inner.cipher_bits()
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
