//! The smartcard channel (devices.md 6): one channel for all readers of the guest. A connection is bound to a free reader when
//! it links, and to one more for each further reader that the client adds.
//!
//! Messages have the same header in both directions, little-endian for the client and big-endian for the device. Payloads pass
//! unchanged.

use super::connection::ConnectionId;
use super::link::{ChannelError, ChannelLink, LinkOptions, PING_PERIOD_RARE};
use super::{Channel, Out, Profile};
use crate::device::DeviceIo;
use crate::host::call::HostReply;
use crate::host::{CharDevice, DeviceId};
use crate::limits::{DEVICE_READ, MAX_CARD_MESSAGE, MAX_DEVICE_BACKLOG, MAX_DEVICE_CARRIED};
use crate::net::stream::Incoming;
use crate::protocol::ChannelType;
use crate::protocol::migrate::{CharDeviceState, SmartcardState};
use crate::protocol::spicevmc::{self, SMARTCARD, SmartcardMessage};
use std::sync::Arc;
use std::time::Instant;

static PROFILE: Profile = Profile {
    channel_type: ChannelType::Smartcard,
    caps: &[],
    shared: false,
    options: LinkOptions { max_body, window: false, ping_period: PING_PERIOD_RARE },
};

/// Bytes of the header, the same on both sides.
const HEADER: usize = 12;
/// The reader id that means "no reader".
const NO_READER: u32 = u32::MAX;

/// Message types.
mod kind {
    pub(super) const INIT: u32 = 1;
    pub(super) const ERROR: u32 = 2;
    pub(super) const READER_ADD: u32 = 3;
    pub(super) const READER_REMOVE: u32 = 4;
    pub(super) const ATR: u32 = 5;
    pub(super) const CARD_REMOVE: u32 = 6;
    pub(super) const APDU: u32 = 7;
}

/// Error codes.
const GENERAL_ERROR: u32 = 1;
const CANNOT_ADD_MORE_READERS: u32 = 2;

fn max_body(msg_type: u16) -> Option<usize> {
    if msg_type == SMARTCARD { Some(HEADER + MAX_CARD_MESSAGE) } else { spicevmc::max_body(msg_type) }
}

fn to_device(kind: u32, reader_id: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let header = [kind, reader_id, length].map(u32::to_be_bytes);
    [header.as_flattened(), data].concat()
}

fn error(reader_id: u32, code: u32) -> SmartcardMessage {
    SmartcardMessage { kind: kind::ERROR, reader_id, data: code.to_le_bytes().to_vec() }
}

/// What a message tells the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Added,
    Removed,
    Data,
    /// What the source of a migration had not told. It may begin in the middle of a message, so it is never dropped alone.
    Restored,
}

/// One reader of the guest.
#[derive(Debug)]
struct Reader {
    /// The id that clients use for it.
    id: u32,
    io: DeviceIo<Told>,
    client: Option<ConnectionId>,
    /// The client has added its reader to this one.
    added: bool,
    /// The guest has taken the message that says so.
    seen: bool,
    /// The beginning of a message that the device has not written completely.
    part: Vec<u8>,
    /// The device broke the protocol, and the server no longer uses it.
    broken: bool,
    /// When the server tells the host so, which thinks that a client uses the reader.
    tell_at: Option<Instant>,
}

impl Reader {
    fn write(&mut self, message: Vec<u8>, told: Told, out: &mut Out<'_>) {
        if !self.broken {
            self.io.push(message, told);
            self.pump(out);
        }
    }

    fn pump(&mut self, out: &mut Out<'_>) {
        if self.broken {
            return;
        }
        let pending = self.client.and_then(|at| out.look(at)).map_or(0, |link| link.stream().pending_bytes());
        let (now, most) = (out.now, if pending < MAX_DEVICE_BACKLOG { DEVICE_READ } else { 0 });
        self.io.pump(now, most, |call| out.call(call));
    }

    /// Handles bytes that the device wrote.
    fn hear(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        self.part.extend_from_slice(bytes);
        let part = std::mem::take(&mut self.part);
        let mut rest = &part[..];
        while let Some((header, data)) = rest.split_first_chunk::<HEADER>() {
            let [kind, _, length] = [0, 4, 8].map(|at| {
                header.get(at..).and_then(|word| word.first_chunk()).map_or(0, |w| u32::from_be_bytes(*w))
            });
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > MAX_CARD_MESSAGE {
                crate::warning_limited!(
                    "smartcard: reader {} given up: a message of {length} bytes",
                    self.id
                );
                self.broken = true;
                self.tell_at = self.client.map(|_| out.now);
                return;
            }
            let Some((data, more)) = data.split_at_checked(length) else { break };
            rest = more;
            if let Some(at) = self.client.filter(|_| kind != kind::INIT) {
                out.send(at, SmartcardMessage { kind, reader_id: self.id, data: data.to_vec() }.encode());
            }
        }
        self.part = rest.to_vec();
    }
}

/// All readers, with the connections that are bound to them.
#[derive(Debug, Default)]
pub(crate) struct SmartcardChannel {
    readers: Vec<Reader>,
}

impl SmartcardChannel {
    /// Attaches a reader and gives it the lowest free id.
    pub(crate) fn add(
        &mut self,
        device: DeviceId,
        host: Arc<dyn CharDevice>,
        running: bool,
        out: &mut Out<'_>,
    ) {
        let free = (0..).find(|id| self.readers.iter().all(|reader| reader.id != *id));
        let mut reader = Reader {
            id: free.unwrap_or(NO_READER),
            io: DeviceIo::new(device, host, running),
            client: None,
            added: false,
            seen: false,
            part: Vec::new(),
            broken: false,
            tell_at: None,
        };
        // A client may have linked before there was a free reader.
        let unbound = out.connections().into_iter().find(|at| self.bound(*at).next().is_none());
        reader.client = unbound;
        reader.pump(out);
        if unbound.is_some() {
            out.call(reader.io.state(true));
        }
        self.readers.push(reader);
    }

    /// Detaches a reader. Returns whether the host must be told that no client uses it any more.
    pub(crate) fn remove(&mut self, device: DeviceId) -> bool {
        let is_used = |reader: &Reader| match reader.broken {
            true => reader.tell_at.is_some(),
            false => reader.client.is_some(),
        };
        let used = self.readers.iter().any(|reader| reader.io.id() == device && is_used(reader));
        self.readers.retain(|reader| reader.io.id() != device);
        used
    }

    /// The id of a device's reader, the client that it is bound to, and whether it was given up.
    #[cfg(any(test, feature = "oracles"))]
    pub(crate) fn reader(&self, device: DeviceId) -> Option<(u32, Option<ConnectionId>, bool)> {
        let reader = self.readers.iter().find(|reader| reader.io.id() == device)?;
        Some((reader.id, reader.client, reader.broken))
    }

    /// Whether no reader is left.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    /// The host called `wakeup`: the device has something to read, or room for a write.
    pub(crate) fn wakeup(&mut self, device: DeviceId, out: &mut Out<'_>) {
        if let Some(reader) = self.of_device(device) {
            reader.io.wake();
            reader.pump(out);
        }
        self.pace_clients(out);
    }

    /// The machine started or stopped.
    pub(crate) fn set_running(&mut self, running: bool, out: &mut Out<'_>) {
        for reader in &mut self.readers {
            reader.io.set_running(running);
            reader.pump(out);
        }
    }

    fn of_device(&mut self, device: DeviceId) -> Option<&mut Reader> {
        self.readers.iter_mut().find(|reader| reader.io.id() == device)
    }

    fn bound(&self, at: ConnectionId) -> impl Iterator<Item = &Reader> {
        self.readers.iter().filter(move |reader| reader.client == Some(at))
    }

    /// Binds a free reader to a connection, if there is one.
    fn bind(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Option<&mut Reader> {
        let reader = self.readers.iter_mut().find(|reader| reader.client.is_none() && !reader.broken)?;
        reader.client = Some(at);
        out.call(reader.io.state(true));
        Some(reader)
    }

    fn add_reader(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        let waits = self.readers.iter().position(|r| r.client == Some(at) && !r.added);
        let reader = match waits.and_then(|place| self.readers.get_mut(place)) {
            Some(_) => waits.and_then(|place| self.readers.get_mut(place)),
            None => self.bind(at, out),
        };
        let Some(reader) = reader else {
            out.send(at, error(NO_READER, CANNOT_ADD_MORE_READERS).encode());
            return;
        };
        reader.added = true;
        let message = to_device(kind::READER_ADD, reader.id, &[]);
        reader.write(message, Told::Added, out);
    }

    fn remove_reader(&mut self, at: ConnectionId, id: u32, out: &mut Out<'_>) {
        let found = self.readers.iter_mut().find(|r| r.client == Some(at) && r.id == id && r.added);
        match found {
            None => out.send(at, error(id, GENERAL_ERROR).encode()),
            Some(reader) => {
                reader.added = false;
                reader.write(to_device(kind::READER_REMOVE, id, &[]), Told::Removed, out);
            }
        }
    }

    /// Stops reading the messages of a client while the queue of one of its readers is full.
    fn pace_clients(&mut self, out: &mut Out<'_>) {
        for at in out.connections() {
            // One that follows its machine waits for its state, which comes after its last messages.
            let leaves = out.look(at).is_some_and(ChannelLink::is_handed_over);
            let full = !leaves && self.bound(at).any(|reader| reader.io.is_full());
            if out.look(at).is_none_or(|link| link.interest().read != full) {
                continue;
            }
            if let Some(link) = out.link(at) {
                match full {
                    true => link.pause_reading(),
                    false => link.resume_reading(),
                }
            }
        }
    }
}

impl Channel for SmartcardChannel {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    /// If no reader is free, the connection stays open and waits for one.
    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let mut awaits_state = false;
        if let Some(link) = out.link(at) {
            link.start_pings();
            awaits_state = link.awaits_migrate_data();
        }
        if let Some(reader) = self.bind(at, out).filter(|_| awaits_state) {
            reader.io.hold();
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        at: ConnectionId,
        message: Incoming,
        out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        if message.msg_type != SMARTCARD {
            return Err(ChannelError::Refused(format!("message type {}", message.msg_type)));
        }
        let SmartcardMessage { kind, reader_id, data } = SmartcardMessage::decode(&message.body)?;
        match kind {
            kind::INIT => {}
            kind::READER_ADD => self.add_reader(at, out),
            kind::READER_REMOVE => self.remove_reader(at, reader_id, out),
            kind::ERROR | kind::ATR | kind::CARD_REMOVE | kind::APDU => {
                let found = self.readers.iter_mut().find(|r| r.client == Some(at) && r.id == reader_id);
                let reader =
                    found.ok_or_else(|| ChannelError::Refused(format!("it has no reader {reader_id}")))?;
                let size = reader.io.waiting() + HEADER + data.len();
                if size > MAX_DEVICE_CARRIED {
                    return Err(ChannelError::Refused(format!("{size} bytes to carry to another host")));
                }
                reader.write(to_device(kind, reader_id, &data), Told::Data, out);
            }
            other => crate::warning_limited!("smartcard: message of unknown kind {other} ignored"),
        }
        self.pace_clients(out);
        Ok(())
    }

    fn on_drained(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        for reader in self.readers.iter_mut().filter(|reader| reader.client == Some(at)) {
            reader.pump(out);
        }
        Ok(())
    }

    /// Removes the readers that the guest sees from it, whether the client had removed them or not: what the guest has not begun
    /// to take of the client's messages is dropped.
    fn on_closed(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        for reader in &mut self.readers {
            if reader.client.take_if(|client| *client == at).is_none() || reader.broken {
                continue;
            }
            reader.io.release();
            reader.io.give_up(false, |told| told != Told::Restored);
            out.call(reader.io.state(false));
            reader.added = false;
            let is_seen = match reader.io.begun() {
                Some(Told::Added) => true,
                Some(Told::Removed) => false,
                Some(Told::Data | Told::Restored) | None => reader.seen,
            };
            if is_seen {
                reader.write(to_device(kind::READER_REMOVE, reader.id, &[]), Told::Removed, out);
            }
        }
    }

    fn on_reply(&mut self, reply: HostReply, out: &mut Out<'_>) {
        let now = out.now;
        match reply {
            HostReply::DeviceWritten { device, bytes, taken } => {
                if let Some(reader) = self.of_device(device) {
                    match reader.io.on_written(bytes, taken, now) {
                        Some(Told::Added) => reader.seen = true,
                        Some(Told::Removed) => reader.seen = false,
                        Some(Told::Data | Told::Restored) | None => {}
                    }
                    reader.pump(out);
                }
                self.pace_clients(out);
            }
            HostReply::DeviceRead { device, bytes } => {
                if let Some(reader) = self.of_device(device) {
                    reader.io.on_read(bytes.len(), now);
                    reader.hear(&bytes, out);
                    reader.pump(out);
                }
            }
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let of = |reader: &Reader| if reader.broken { reader.tell_at } else { reader.io.next_deadline() };
        self.readers.iter().filter_map(of).min()
    }

    fn on_timer(&mut self, out: &mut Out<'_>) {
        for reader in &mut self.readers {
            reader.io.on_timer(out.now);
            if reader.tell_at.take().is_some() {
                out.call(reader.io.state(false));
            }
            reader.pump(out);
        }
    }

    /// The server sends nothing to the client after MIGRATE.
    fn on_migrate(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        for reader in self.readers.iter_mut().filter(|reader| reader.client == Some(at)) {
            reader.io.hold();
        }
        out.hand_over(at, true);
        self.pace_clients(out);
    }

    /// The state of the client's first reader. The target may be the original library, which supports only one.
    fn migrate_data(&mut self, at: ConnectionId, _out: &mut Out<'_>) -> Option<Vec<u8>> {
        let Some(reader) = self.readers.iter_mut().find(|r| r.client == Some(at) && !r.broken) else {
            return Some(SmartcardState::default().encode());
        };
        let bytes = reader.io.unwritten().flat_map(|(bytes, _)| bytes).copied().collect();
        reader.io.give_up(true, |_| true);
        reader.seen = false;
        let state = SmartcardState {
            device: CharDeviceState::without_tokens(bytes),
            // The guest's reader stays where it is when the client leaves.
            reader_added: std::mem::take(&mut reader.added),
            read_data: std::mem::take(&mut reader.part),
        };
        Some(state.encode())
    }

    fn restore(&mut self, at: ConnectionId, data: &[u8], out: &mut Out<'_>) -> Result<(), ChannelError> {
        let state = SmartcardState::decode(data)?;
        if state.read_data.len() >= HEADER + MAX_CARD_MESSAGE {
            let size = state.read_data.len();
            return Err(ChannelError::Refused(format!("{size} bytes of one smartcard message")));
        }
        if let Some(reader) = self.readers.iter_mut().find(|reader| reader.client == Some(at)) {
            if state.device.connected {
                (reader.added, reader.seen) = (state.reader_added, state.reader_added);
                // Of another client that came and left before the machine did.
                reader.io.give_up(false, |told| told == Told::Restored);
                reader.io.push(state.device.write_data, Told::Restored);
                reader.hear(&state.read_data, out);
            }
            reader.io.release();
            reader.pump(out);
        }
        self.pace_clients(out);
        Ok(())
    }
}

#[cfg(test)]
#[path = "smartcard_tests.rs"]
mod tests;
