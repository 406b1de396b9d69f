//! The channels that carry the bytes of a character device to one client unchanged: usbredir, port and webdav (devices.md 4).

use super::connection::ConnectionId;
use super::link::{ChannelError, ChannelLink, LinkOptions, PING_PERIOD_RARE};
use super::{Channel, Out, Profile};
use crate::codec::lz4::block;
use crate::device::DeviceIo;
use crate::host::call::HostReply;
use crate::host::{CharDevice, DeviceId};
use crate::limits::{DEVICE_READ, MAX_DEVICE_BACKLOG, MAX_DEVICE_CARRIED, MAX_DEVICE_STATE};
use crate::net::stream::Incoming;
use crate::protocol::caps::spicevmc::DATA_COMPRESS_LZ4;
use crate::protocol::error::ProtocolError;
use crate::protocol::migrate::{CharDeviceState, decode_spicevmc, encode_spicevmc};
use crate::protocol::spicevmc::{self, SpicevmcMessage};
use crate::protocol::{ChannelType, Message};
use crate::spare;
use std::sync::Arc;
use std::time::Instant;

/// The server compresses data of more bytes than this.
const MIN_COMPRESSED: usize = 1000;
/// Port events: the guest opened or closed its side.
const OPENED: u8 = 0;
const CLOSED: u8 = 1;

const fn profile(channel_type: ChannelType) -> Profile {
    let options = LinkOptions { max_body: spicevmc::max_body, window: false, ping_period: PING_PERIOD_RARE };
    Profile { channel_type, caps: &[DATA_COMPRESS_LZ4], shared: false, options }
}

static USBREDIR: Profile = profile(ChannelType::Usbredir);
static PORT: Profile = profile(ChannelType::Port);
static WEBDAV: Profile = profile(ChannelType::Webdav);

/// What a channel carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VmcKind {
    /// USB redirection: a USB device of the client.
    Usbredir,
    /// A port, with the name that the server tells clients.
    Port(String),
    /// The port through which the client's folder is shared.
    Webdav(String),
}

impl VmcKind {
    /// The channel's type.
    #[must_use]
    pub(crate) fn channel_type(&self) -> ChannelType {
        self.profile().channel_type
    }

    fn profile(&self) -> &'static Profile {
        match self {
            Self::Usbredir => &USBREDIR,
            Self::Port(_) => &PORT,
            Self::Webdav(_) => &WEBDAV,
        }
    }

    fn port_name(&self) -> Option<&str> {
        match self {
            Self::Usbredir => None,
            Self::Port(name) | Self::Webdav(name) => Some(name),
        }
    }

    /// Whether bytes of a client that left still go to the guest. On the other channels each client starts a new session of a
    /// protocol, and bytes of the previous session would corrupt it.
    fn outlives_client(&self) -> bool {
        matches!(self, Self::Port(_))
    }
}

/// One device and the client that has it.
#[derive(Debug)]
pub(crate) struct VmcChannel {
    kind: VmcKind,
    io: DeviceIo<()>,
    client: Option<ConnectionId>,
    /// The guest's side of the port is open.
    opened: bool,
    /// The guest is slow: the server leaves the client's messages in the socket.
    paused: bool,
}

impl VmcChannel {
    /// A device without a client.
    #[must_use]
    pub(crate) fn new(kind: VmcKind, id: DeviceId, device: Arc<dyn CharDevice>, running: bool) -> Self {
        let io = DeviceIo::new(id, device, running);
        Self { kind, io, client: None, opened: false, paused: false }
    }

    /// The host called `wakeup`: it has something to read, or room for a write.
    pub(crate) fn wakeup(&mut self, out: &mut Out<'_>) {
        self.io.wake();
        self.pump(out);
    }

    /// The machine started or stopped.
    pub(crate) fn set_running(&mut self, running: bool, out: &mut Out<'_>) {
        self.io.set_running(running);
        self.pump(out);
    }

    /// The host reports a port event: the guest opened (0) or closed (1) its side, or any other value, which only the client
    /// interprets.
    pub(crate) fn port_event(&mut self, event: u8, out: &mut Out<'_>) {
        if self.kind.port_name().is_none() {
            return;
        }
        match event {
            OPENED => self.opened = true,
            CLOSED => self.opened = false,
            _ => {}
        }
        if let Some(at) = self.client {
            out.send(at, spicevmc::port_event(event));
        }
    }

    /// Whether a client has the device.
    #[must_use]
    pub(crate) fn is_used(&self) -> bool {
        self.client.is_some()
    }

    /// Bytes of the client's messages that the guest has not taken completely.
    #[cfg(any(test, feature = "oracles"))]
    pub(crate) fn waiting(&self) -> usize {
        self.io.waiting()
    }

    /// Makes the device calls that are possible now, and reads the client's messages only while there is room for them. The last
    /// messages of a client that follows its machine are read in any case: it waits for its state, which comes after them.
    fn pump(&mut self, out: &mut Out<'_>) {
        let link = self.client.and_then(|at| out.look(at));
        let may_read = link.is_some_and(|link| link.stream().pending_bytes() < MAX_DEVICE_BACKLOG);
        let now = out.now;
        self.io.pump(now, if may_read { DEVICE_READ } else { 0 }, |call| out.call(call));
        let full = self.io.is_full() && !self.is_leaving(out);
        if full != self.paused
            && let Some(link) = self.client.and_then(|at| out.link(at))
        {
            self.paused = full;
            if full {
                link.pause_reading();
            } else {
                link.resume_reading();
            }
        }
    }

    fn is_leaving(&self, out: &Out<'_>) -> bool {
        self.client.and_then(|at| out.look(at)).is_some_and(ChannelLink::is_handed_over)
    }

    /// The message that carries these bytes of the guest. With `compress` it is compressed if that makes it shorter.
    fn data(bytes: Vec<u8>, compress: bool) -> Message {
        let block = if compress && bytes.len() > MIN_COMPRESSED { block::compress(&bytes) } else { None };
        match (block, u32::try_from(bytes.len())) {
            (Some(block), Ok(size)) => {
                spare::give(bytes);
                spicevmc::compressed_data(size, block)
            }
            _ => spicevmc::data(bytes),
        }
    }

    fn on_data(&mut self, bytes: Vec<u8>, out: &mut Out<'_>) -> Result<(), ChannelError> {
        if bytes.is_empty() {
            return Err(ChannelError::Refused("data without a byte".into()));
        }
        let size = self.io.waiting() + bytes.len();
        if size > MAX_DEVICE_CARRIED && self.is_leaving(out) {
            return Err(ChannelError::Refused(format!("{size} bytes to carry to another host")));
        }
        self.io.push(bytes, ());
        self.pump(out);
        Ok(())
    }
}

/// Decompresses the body of a COMPRESSED_DATA message.
fn inflate(data: &[u8], size: usize) -> Result<Vec<u8>, ChannelError> {
    block::decompress(data, size).map_err(|error| ChannelError::Refused(format!("compressed data: {error}")))
}

impl Channel for VmcChannel {
    fn profile(&self) -> &'static Profile {
        self.kind.profile()
    }

    /// A device has one client. The server closes the link of a second one without sending anything.
    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        if self.client.is_some() {
            return Err(ChannelError::Refused("another client has the device".into()));
        }
        self.client = Some(at);
        if let Some(name) = self.kind.port_name() {
            out.send(at, spicevmc::port_init(name, self.opened));
        }
        if let Some(link) = out.link(at) {
            link.stream().set_bulk();
            link.start_pings();
            if link.awaits_migrate_data() {
                self.io.hold();
            }
        }
        self.paused = false;
        self.io.wake();
        self.pump(out);
        out.call(self.io.state(true));
        Ok(())
    }

    fn on_message(
        &mut self,
        at: ConnectionId,
        message: Incoming,
        out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        if self.client != Some(at) {
            return Ok(());
        }
        let name = self.profile().channel_type.name();
        // DATA is most of the traffic. Decoding it would copy the bytes.
        if message.msg_type == spicevmc::DATA {
            return self.on_data(message.body, out);
        }
        let is_port = self.kind.port_name().is_some();
        let decoded: Result<_, ProtocolError> =
            SpicevmcMessage::decode(name, is_port, message.msg_type, &message.body);
        match decoded? {
            // The link handles the messages that all channels share.
            SpicevmcMessage::Common(_) => Ok(()),
            SpicevmcMessage::Data(bytes) => self.on_data(bytes, out),
            SpicevmcMessage::CompressedData { uncompressed_size, data } => {
                self.on_data(inflate(&data, uncompressed_size)?, out)
            }
            SpicevmcMessage::PortEvent { event } => {
                out.call(self.io.event(event));
                Ok(())
            }
        }
    }

    fn on_drained(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        if self.client == Some(at) {
            self.pump(out);
        }
        Ok(())
    }

    fn on_closed(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        if self.client.take_if(|client| *client == at).is_none() {
            return;
        }
        self.io.release();
        if !self.kind.outlives_client() {
            self.io.give_up(true, |()| true);
        }
        out.call(self.io.state(false));
    }

    fn on_reply(&mut self, reply: HostReply, out: &mut Out<'_>) {
        let now = out.now;
        match reply {
            HostReply::DeviceWritten { device, bytes, taken } if device == self.io.id() => {
                self.io.on_written(bytes, taken, now);
            }
            HostReply::DeviceRead { device, bytes } if device == self.io.id() => {
                self.io.on_read(bytes.len(), now);
                if let Some(link) = self.client.and_then(|at| out.link(at)).filter(|_| !bytes.is_empty()) {
                    let knows = link.connection().channel_caps.has(DATA_COMPRESS_LZ4);
                    let compress = knows && !link.stream().is_unix();
                    link.send(Self::data(bytes, compress));
                }
            }
            _ => return,
        }
        self.pump(out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.io.next_deadline()
    }

    fn on_timer(&mut self, out: &mut Out<'_>) {
        self.io.on_timer(out.now);
        self.pump(out);
    }

    /// The server sends nothing to the client after MIGRATE.
    fn on_migrate(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        if self.client == Some(at) {
            self.io.hold();
        }
        out.hand_over(at, true);
        self.pump(out);
    }

    /// Moves the bytes that the guest has not taken yet to the target.
    fn migrate_data(&mut self, at: ConnectionId, _out: &mut Out<'_>) -> Option<Vec<u8>> {
        if self.client != Some(at) {
            return Some(encode_spicevmc(&CharDeviceState::default()));
        }
        let bytes = self.io.unwritten().flat_map(|(bytes, ())| bytes).copied().collect();
        self.io.give_up(true, |()| true);
        Some(encode_spicevmc(&CharDeviceState::without_tokens(bytes)))
    }

    fn restore(&mut self, at: ConnectionId, data: &[u8], out: &mut Out<'_>) -> Result<(), ChannelError> {
        let state = decode_spicevmc(data)?;
        if self.client == Some(at) {
            // A port may still hold the bytes of clients that arrived and left before the machine came.
            let size = self.io.waiting() + state.write_data.len();
            if size > MAX_DEVICE_STATE {
                return Err(ChannelError::Refused(format!("{size} bytes wait for the guest")));
            }
            self.io.push(state.write_data, ());
            self.io.release();
            self.pump(out);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "vmc_tests.rs"]
mod tests;
