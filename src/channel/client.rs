//! One client's connection on one channel: what display, cursor and other channels have in common (display.md 3,
//! server.md 6.3): the acknowledgement window, latency pings, liveness, base messages.
//!
//! Time comes in as parameters. The owner's loop, per client:
//!
//! ```text
//! readable, or wants_reading():  begin_reading(); while let Some(message) = client.receive(now)? { ... }
//! to send:                       while client.may_send() { take from the pipe; client.send(message); }
//!                                client.flush(pipe is not empty, now)?
//! next_deadline() reached:       client.on_timer(now)?
//! ```
//!
//! After an error the connection is dead: log it with [`ChannelClient::log_end`] and drop the client.

use super::connection::{ChannelConnection, ClientId};
use crate::host::Readiness;
use crate::limits::{MAX_MESSAGES_PER_READ, MAX_SILENCE};
use crate::net::flow::AckWindow;
use crate::net::stream::{ChannelStream, Flush, Incoming, Outgoing, StreamError};
use crate::protocol::common::{self, CommonMessage};
use crate::protocol::error::ProtocolError;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};
use thiserror::Error;

/// The pipe must have been empty for so long before a latency test (display.md 3).
const PING_IDLE: Duration = Duration::from_millis(100);
/// Between latency tests of main and display channels.
pub const PING_PERIOD: Duration = Duration::from_secs(15);
/// Between latency tests of the other channels.
pub const PING_PERIOD_RARE: Duration = Duration::from_secs(300);
/// Bytes queued in the stream before they are written: few system calls without much that cannot be taken back.
const SEND_BATCH: usize = 64 * 1024;

/// Why a client's channel ends.
#[derive(Debug, Error)]
pub enum ChannelError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The client owes us reading, an ACK or a PONG, and moved no byte.
    #[error("no byte moved for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("{0}")]
    Refused(String),
}

impl ChannelError {
    /// Whether the client just went away.
    #[must_use]
    pub fn is_close(&self) -> bool {
        matches!(self, Self::Stream(StreamError::Closed))
    }
}

/// What a client sent, base messages having been handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of the channel itself.
    Message(Incoming),
    /// The answer to MIGRATE, after [`ChannelClient::expect_flush_mark`].
    FlushMark,
    /// After [`ChannelClient::expect_migrate_data`].
    MigrateData(Vec<u8>),
}

/// See the module.
#[derive(Debug)]
pub struct ChannelClient {
    connection: ChannelConnection,
    max_body: fn(u16) -> Option<usize>,
    acks: AckWindow,
    open: bool,
    /// The socket took no more at the last flush.
    blocked: bool,
    /// Messages wait in the owner's pipe.
    waiting: bool,
    read_budget: u32,
    expect_flush_mark: bool,
    expect_migrate_data: bool,
    ping: Pinger,
    /// Since when the client owes us something, and the bytes moved by then.
    owed: Option<(Instant, u64)>,
}

impl ChannelClient {
    /// Takes a connection over. `max_body` bounds message bodies by type (`None`: unknown type, which ends the channel);
    /// `ping_period` is [`PING_PERIOD`] or [`PING_PERIOD_RARE`]. Nothing may be sent before [`Self::open`].
    #[must_use]
    pub fn new(
        connection: ChannelConnection,
        max_body: fn(u16) -> Option<usize>,
        ping_period: Duration,
        now: Instant,
    ) -> Self {
        let nodelay = !connection.low_bandwidth;
        connection.stream.set_nodelay(nodelay);
        Self {
            acks: AckWindow::new(connection.low_bandwidth),
            ping: Pinger::new(ping_period, nodelay, now),
            connection,
            max_body,
            open: false,
            blocked: false,
            waiting: false,
            read_budget: MAX_MESSAGES_PER_READ,
            expect_flush_mark: false,
            expect_migrate_data: false,
            owed: None,
        }
    }

    /// Queues SET_ACK and lets messages follow. Latency tests begin on sockets that are not local.
    pub fn open(&mut self) {
        self.acks.open();
        self.open = true;
        let message = common::set_ack(self.acks.generation(), self.acks.window());
        self.send(message);
        self.ping.enabled = !self.connection.stream.is_unix();
    }

    /// Whether [`Self::open`] was called.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Who the client is, and its capabilities.
    #[must_use]
    pub fn connection(&self) -> &ChannelConnection {
        &self.connection
    }

    /// The client that this connection belongs to.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.connection.client
    }

    /// The stream, to look at (serials, kind of socket).
    #[must_use]
    pub fn stream(&self) -> &ChannelStream {
        &self.connection.stream
    }

    /// The stream, for what [`Self::send`] cannot do: serials of a migrated channel, descriptor passing.
    pub fn stream_mut(&mut self) -> &mut ChannelStream {
        &mut self.connection.stream
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.connection.stream.raw_fd()
    }

    /// What to poll for.
    #[must_use]
    pub fn interest(&self) -> Readiness {
        Readiness { read: true, write: self.blocked }
    }

    /// Whether another message may be made now: the window is open, the socket takes data, the batch is not full.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.acks.may_send() && !self.is_blocked() && self.connection.stream.pending_bytes() < SEND_BATCH
    }

    /// Whether the socket takes no more data now.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether all that was sent is with the kernel.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        !self.blocked && !self.connection.stream.has_pending()
    }

    /// Queues a message, which counts in the window, and returns its serial. [`Self::flush`] must follow.
    pub fn send(&mut self, outgoing: impl Into<Outgoing>) -> u64 {
        let before = self.connection.stream.serial();
        let serial = self.connection.stream.send(outgoing);
        self.acks.sent(serial.wrapping_sub(before));
        serial
    }

    /// Writes what was sent. `waiting` says whether the owner's pipe holds more. On [`Flush::Drained`] with
    /// [`Self::may_send`], go on sending.
    pub fn flush(&mut self, waiting: bool, now: Instant) -> Result<Flush, ChannelError> {
        let sent = self.connection.stream.bytes_sent();
        let flush = self.connection.stream.flush()?;
        self.blocked = flush == Flush::Blocked;
        self.waiting = waiting;
        let moved = self.connection.stream.bytes_sent() != sent;
        self.ping.pipe(self.blocked || waiting, moved, now);
        self.watch(now);
        Ok(flush)
    }

    /// Sends the byte and the descriptor that follow GL_SCANOUT_UNIX, after all that was sent before. `false`: the socket
    /// takes no more now; try again before anything else is sent.
    pub fn send_fd(&mut self, fd: Option<RawFd>, now: Instant) -> Result<bool, ChannelError> {
        if self.flush(true, now)? == Flush::Blocked {
            return Ok(false);
        }
        match self.connection.stream.send_fd(fd) {
            Ok(()) => Ok(true),
            Err(StreamError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.blocked = true;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Allows another batch of messages to be read: one client must not keep the thread to itself.
    pub fn begin_reading(&mut self) {
        self.read_budget = MAX_MESSAGES_PER_READ;
    }

    /// Whether reading stopped at the end of the batch: read again without waiting for the poll.
    #[must_use]
    pub fn wants_reading(&self) -> bool {
        self.read_budget == 0
    }

    /// The next message, base messages being handled here. `None`: nothing complete is there, or the batch is used up.
    pub fn receive(&mut self, now: Instant) -> Result<Option<Received>, ChannelError> {
        while self.read_budget > 0 {
            let (limit, mark, data) = (self.max_body, self.expect_flush_mark, self.expect_migrate_data);
            let max_body = move |msg_type: u16| match msg_type {
                common::client::MIGRATE_FLUSH_MARK if !mark => None,
                common::client::MIGRATE_DATA if !data => None,
                other => limit(other),
            };
            let Some(incoming) = self.connection.stream.receive(&max_body)? else {
                self.watch(now);
                return Ok(None);
            };
            self.read_budget -= 1;
            if incoming.msg_type > 100 {
                return Ok(Some(Received::Message(incoming)));
            }
            let name = self.connection.channel_type.name();
            match CommonMessage::decode(name, incoming.msg_type, &incoming.body)? {
                CommonMessage::AckSync { generation } => self.acks.ack_sync(generation),
                CommonMessage::Ack => self.acks.ack(),
                CommonMessage::Pong { id, .. } => {
                    if self.ping.pong(id, now) == Some(TestEnd::RestoreNagle) {
                        self.connection.stream.set_nodelay(false);
                    }
                }
                CommonMessage::MigrateFlushMark => {
                    self.expect_flush_mark = false;
                    return Ok(Some(Received::FlushMark));
                }
                CommonMessage::MigrateData(data) => {
                    self.expect_migrate_data = false;
                    return Ok(Some(Received::MigrateData(data)));
                }
                CommonMessage::Disconnecting => {}
            }
        }
        self.watch(now);
        Ok(None)
    }

    /// MIGRATE was sent with the flag NEED_FLUSH: one MIGRATE_FLUSH_MARK is allowed. Unasked it ends the channel.
    pub fn expect_flush_mark(&mut self) {
        self.expect_flush_mark = true;
    }

    /// One MIGRATE_DATA is allowed. Unasked it ends the channel.
    pub fn expect_migrate_data(&mut self) {
        self.expect_migrate_data = true;
    }

    /// When [`Self::on_timer`] wants to be called; a time that has passed: at once.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let reading = self.wants_reading().then_some(now);
        let silence = self.owed.map(|(since, _)| since + MAX_SILENCE);
        [reading, silence, self.ping.due()].into_iter().flatten().min()
    }

    /// Sends due pings and judges liveness. Reading for [`Self::wants_reading`] is the owner's.
    pub fn on_timer(&mut self, now: Instant) -> Result<(), ChannelError> {
        self.watch(now);
        if let Some((since, _)) = self.owed {
            let silence = now.saturating_duration_since(since);
            if silence >= MAX_SILENCE {
                return Err(ChannelError::Silent(silence));
            }
        }
        if self.ping.due().is_some_and(|due| due <= now) {
            if !self.acks.may_send() || self.connection.stream.kernel_queue().is_some_and(|bytes| bytes > 0) {
                self.ping.postpone(now);
                return Ok(());
            }
            if !self.ping.nodelay {
                self.connection.stream.set_nodelay(true);
            }
            let (id, timestamp) = self.ping.begin(now);
            for _ in 0..2 {
                self.send(common::ping(id, timestamp, 0));
            }
            self.flush(self.waiting, now)?;
        }
        Ok(())
    }

    /// Least round trip seen by latency tests on this channel.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.ping.round_trip
    }

    /// Writes the one line that says why the connection ends.
    pub fn log_end(&self, error: &ChannelError) {
        if error.is_close() {
            crate::info!("{}: closed by the client", self.connection.label());
        } else {
            crate::warning!("{}: disconnected: {error}", self.connection.label());
        }
    }

    /// Follows whether the client owes us anything and whether bytes move.
    fn watch(&mut self, now: Instant) {
        let owes =
            self.blocked || (self.waiting && self.open && !self.acks.may_send()) || self.ping.running();
        let stream = &self.connection.stream;
        let bytes = stream.bytes_received().wrapping_add(stream.bytes_sent());
        self.owed = match self.owed {
            _ if !owes => None,
            Some((since, then)) if then == bytes => Some((since, then)),
            _ => Some((now, bytes)),
        };
    }
}

/// Latency tests: two PINGs with one id back to back, the first to warm up, the second to measure.
#[derive(Debug)]
struct Pinger {
    enabled: bool,
    period: Duration,
    /// What the channel's socket is set to outside of tests.
    nodelay: bool,
    epoch: Instant,
    next_test: Instant,
    idle_since: Option<Instant>,
    id: u32,
    /// PONGs outstanding and when the PINGs were sent.
    test: Option<(u8, Instant)>,
    round_trip: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum TestEnd {
    RestoreNagle,
    Nothing,
}

impl Pinger {
    fn new(period: Duration, nodelay: bool, now: Instant) -> Self {
        Self {
            enabled: false,
            period,
            nodelay,
            epoch: now,
            next_test: now,
            idle_since: None,
            id: 0,
            test: None,
            round_trip: None,
        }
    }

    fn running(&self) -> bool {
        self.test.is_some()
    }

    /// After a flush: whether the pipe is busy, and whether bytes were written.
    fn pipe(&mut self, busy: bool, moved: bool, now: Instant) {
        if busy {
            self.idle_since = None;
        } else if moved || self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
    }

    fn due(&self) -> Option<Instant> {
        let idle_since = self.idle_since.filter(|_| self.enabled && self.test.is_none())?;
        Some(self.next_test.max(idle_since + PING_IDLE))
    }

    fn postpone(&mut self, now: Instant) {
        self.idle_since = Some(now);
    }

    /// Begins a test; the id and time stamp (nanoseconds) of both PINGs.
    fn begin(&mut self, now: Instant) -> (u32, u64) {
        self.id = self.id.wrapping_add(1);
        self.test = Some((2, now));
        let nanoseconds = now.saturating_duration_since(self.epoch).as_nanos();
        (self.id, u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// `Some`: the test is over.
    fn pong(&mut self, id: u32, now: Instant) -> Option<TestEnd> {
        // A foreign id is ignored: a client may answer PINGs of a channel that it migrated from.
        let (outstanding, sent) = self.test.filter(|_| id == self.id)?;
        if outstanding > 1 {
            self.test = Some((outstanding - 1, sent));
            return None;
        }
        self.test = None;
        self.next_test = now + self.period;
        let round_trip = now.saturating_duration_since(sent);
        self.round_trip = Some(self.round_trip.map_or(round_trip, |best| best.min(round_trip)));
        Some(if self.nodelay { TestEnd::Nothing } else { TestEnd::RestoreNagle })
    }
}

/// Names one connection within its channel; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(pub u64);

/// One connection to be polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollEntry {
    pub key: ClientKey,
    pub fd: RawFd,
    pub interest: Readiness,
}

/// What the worker's loop needs of the display and the cursor channel. The poll is edge-triggered: after readiness was
/// told, the channel reads and writes until the socket would block or says by [`WorkerChannel::next_deadline`] that it
/// wants to go on. The channel disconnects faulty clients by itself.
pub trait WorkerChannel {
    /// All connections.
    fn clients(&self) -> Vec<PollEntry>;
    /// Takes a new connection over.
    fn attach(&mut self, connection: ChannelConnection, now: Instant);
    /// Drops all connections of a client.
    fn detach(&mut self, client: ClientId);
    fn on_ready(&mut self, key: ClientKey, readiness: Readiness, now: Instant);
    /// Sends to every client what it can take now.
    fn push(&mut self, now: Instant);
    /// When [`WorkerChannel::on_timer`] is to be called; a time that has passed: at once.
    fn next_deadline(&self, now: Instant) -> Option<Instant>;
    fn on_timer(&mut self, now: Instant);
    /// Whether no more commands may be taken before pipes get shorter (display.md 2.2). Must not be true for long on
    /// account of one client: that one's pipe is to be collapsed, or it is to be disconnected.
    fn is_congested(&self) -> bool;
    /// Whether there are clients and every one's socket is full.
    fn all_blocked(&self) -> bool;
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
