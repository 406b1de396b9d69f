//! One client's connection on one channel: what every channel has in common, whichever thread serves it (display.md 3,
//! server.md 6.3): framing, the optional acknowledgement window, latency tests, liveness, base messages, and the flags of
//! a migration.
//!
//! A link never waits and knows no event loop; the caller passes the time. In each turn its driver does this:
//!
//! ```text
//! readable, or wants_reading():  begin_reading(); while let Some(received) = link.receive(now)? { ... }
//! to send:                       while link.may_send() { link.send(message); }
//!                                link.flush(whether more waits elsewhere, now)?
//! next_deadline() reached:       link.on_timer(now)?
//! ```
//!
//! After an error the connection is dead: the driver logs it with [`ChannelLink::log_end`] and drops the link.

use super::connection::{ChannelConnection, ClientId};
use super::pings::{LatencyTest, Silence};
use crate::host::Readiness;
use crate::limits::{HOST_CHANNEL_BACKLOG, MAX_HOST_CHANNEL_BACKLOG, MAX_MESSAGES_PER_READ, WORK_REST};
use crate::net::flow::{AckWindow, WINDOW_FAR};
use crate::net::stream::{ChannelStream, Flush, Incoming, Outgoing, StreamError};
use crate::protocol::Message;
use crate::protocol::common::{self, CommonMessage, MIGRATE_NEED_DATA_TRANSFER, MIGRATE_NEED_FLUSH};
use crate::protocol::error::ProtocolError;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Time between latency tests of main and display channels.
pub(crate) const PING_PERIOD: Duration = Duration::from_secs(15);
/// Time between latency tests of the other channels.
pub(crate) const PING_PERIOD_RARE: Duration = Duration::from_secs(300);
/// The stream collects this many bytes before it writes them. More would save few system calls, but later commands can no
/// longer cover what is in the stream.
const SEND_BATCH: usize = 64 * 1024;

/// What a channel type fixes about its links.
#[derive(Clone, Copy, Debug)]
pub struct LinkOptions {
    /// The longest body (bytes) that a message of this type may have. `None`: clients may not send the type, and one that does
    /// loses its link.
    pub max_body: fn(u16) -> Option<usize>,
    /// Whether an acknowledgement window bounds the messages that are on their way. Without one, the link bounds the bytes
    /// that wait: if the client reads nothing, the link stops reading its messages, and in the end disconnects it.
    pub window: bool,
    /// [`PING_PERIOD`] or [`PING_PERIOD_RARE`].
    pub ping_period: Duration,
}

/// Why a client's link ends.
#[derive(Debug, Error)]
pub enum ChannelError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The client has to read, or to send an ACK or a PONG, and no byte moved for this time.
    #[error("no byte moved for {} s", .0.as_secs())]
    Silent(Duration),
    /// So many bytes wait for the client that a link without a window gives it up.
    #[error("the client does not read: {0} bytes wait for it")]
    Backlog(usize),
    #[error("{0}")]
    Refused(String),
    /// The server panicked while it served the client. The boundary that caught the panic has logged it.
    #[error("the server failed while it served the client")]
    Fault,
}

impl ChannelError {
    /// Whether the client closed the connection itself.
    #[must_use]
    pub fn is_close(&self) -> bool {
        matches!(self, Self::Stream(StreamError::Closed))
    }
}

/// What a client sent, apart from the base messages that the link handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of the channel itself.
    Message(Incoming),
    /// A PONG that answers no PING of the link.
    Pong {
        /// The id of the PING that it answers.
        id: u32,
    },
    /// MIGRATE_FLUSH_MARK, the client's answer after [`ChannelLink::hand_over`].
    FlushMark,
    /// MIGRATE_DATA, after [`ChannelLink::expect_migrate_data`].
    MigrateData(Vec<u8>),
}

/// What the server may send to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Free,
    /// Nothing yet: the client comes from the source of a migration and reads nothing before it has arrived.
    Mute,
    /// Only MIGRATE_DATA: MIGRATE was sent.
    Over,
}

/// One client's connection on one channel.
#[derive(Debug)]
pub struct ChannelLink {
    connection: ChannelConnection,
    options: LinkOptions,
    /// `None`: the channel has no window.
    acks: Option<AckWindow>,
    open: bool,
    /// `false`: the link leaves the client's messages in the socket.
    reading: bool,
    /// The socket was full at the last flush.
    blocked: bool,
    /// The owner has more to send than it gave to the link.
    waiting: bool,
    read_budget: u32,
    /// The link reads nothing of the client until this time, because its last batch cost so much.
    rest: Option<Instant>,
    /// The transport may hold bytes that no poll reports.
    unread: bool,
    expect_flush_mark: bool,
    expect_migrate_data: bool,
    speech: Speech,
    wants_pings: bool,
    ping: LatencyTest,
    silence: Silence,
    /// The owner waits for an answer of the client that the link knows nothing of.
    owed: bool,
}

impl ChannelLink {
    /// Makes a link of a connection. The owner may send nothing before [`Self::open`].
    #[must_use]
    pub fn new(connection: ChannelConnection, options: LinkOptions, now: Instant) -> Self {
        // Nagle's algorithm would hold a small message back while others are on their way, and so delay the answer to a key.
        connection.stream.set_nodelay(true);
        Self {
            acks: options.window.then(|| AckWindow::new(connection.low_bandwidth)),
            ping: LatencyTest::new(options.ping_period, now),
            connection,
            options,
            open: false,
            reading: true,
            blocked: false,
            waiting: false,
            read_budget: MAX_MESSAGES_PER_READ,
            rest: None,
            unread: false,
            expect_flush_mark: false,
            expect_migrate_data: false,
            speech: Speech::Free,
            wants_pings: false,
            silence: Silence::default(),
            owed: false,
        }
    }

    /// Lets the owner send. If the link has a window, SET_ACK is the first message.
    pub fn open(&mut self) {
        self.open = true;
        if let Some(acks) = &mut self.acks {
            acks.open();
            let message = common::set_ack(acks.generation(), acks.offered());
            self.send(message);
            self.start_pings();
        }
    }

    /// Begins with latency tests, unless the socket is local.
    pub fn start_pings(&mut self) {
        self.wants_pings = true;
        self.enable_pings();
    }

    /// Lets latency tests run if the client reads. One that comes from the source of a migration reads nothing before it has
    /// arrived.
    fn enable_pings(&mut self) {
        let reads = self.speech == Speech::Free && !self.expect_migrate_data;
        self.ping.enabled = self.wants_pings && reads && !self.connection.stream.is_unix();
    }

    /// Drops what the owner sends until [`Self::unmute`]: a client that comes from the source of a migration reads nothing
    /// before it has arrived.
    pub fn mute(&mut self) {
        self.speech = Speech::Mute;
        self.enable_pings();
    }

    /// Lets messages through: the client has arrived.
    pub fn unmute(&mut self) {
        if self.speech == Speech::Mute {
            self.speech = Speech::Free;
            self.enable_pings();
        }
    }

    /// Sends a message although the client is mute: it waits for this one.
    pub fn send_to_mute(&mut self, message: Message) {
        if self.speech == Speech::Mute {
            self.connection.stream.send(message);
        }
    }

    /// Sends MIGRATE, so that the client goes on at the target of a migration, and drops later messages. `with_data`: the
    /// client answers MIGRATE_FLUSH_MARK after its last message, and then [`Self::send_migrate_data`] must follow.
    pub fn hand_over(&mut self, with_data: bool) {
        if self.speech == Speech::Over {
            return;
        }
        let flags = if with_data { MIGRATE_NEED_FLUSH | MIGRATE_NEED_DATA_TRANSFER } else { 0 };
        self.connection.stream.send(common::migrate(flags));
        self.speech = Speech::Over;
        self.enable_pings();
        self.expect_flush_mark = with_data;
    }

    /// Whether the client was told to go on at the target of a migration. What it says until its MIGRATE_FLUSH_MARK still counts,
    /// and the state that it carries holds what the guest has not taken of that.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.speech == Speech::Over
    }

    /// Sends the state that the client carries to the target.
    pub fn send_migrate_data(&mut self, data: Vec<u8>) {
        if self.speech == Speech::Over {
            self.connection.stream.send(common::migrate_data(data));
        }
    }

    /// Sends the last messages before the owner closes the socket, as far as the socket takes them now. Throws away what the
    /// client sent: if a socket is closed over unread bytes, the kernel drops what the peer has not read yet.
    pub fn say_last(&mut self, messages: impl IntoIterator<Item = Message>, now: Instant) {
        for message in messages {
            self.send(message);
        }
        let _ = self.flush(false, now);
        self.connection.stream.discard_input();
    }

    /// Continues the serials of a migration's source: the next message has serial `last` + 1.
    pub fn set_serial(&mut self, last: u64) {
        self.connection.stream.set_serial(last);
    }

    /// Whether the link passes the owner's messages on rather than dropping them.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.speech == Speech::Free
    }

    /// Leaves the client's messages in its socket until [`Self::resume_reading`].
    pub fn pause_reading(&mut self) {
        self.reading = false;
    }

    /// Reads the client's messages again.
    pub fn resume_reading(&mut self) {
        self.reading = true;
        self.unread = true;
    }

    /// Says whether the owner waits for an answer of the client. While it does, a client that moves no byte is given up.
    pub fn set_owed(&mut self, owed: bool, now: Instant) {
        self.owed = owed;
        self.watch(now);
    }

    /// The connection: its client, capabilities and stream.
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

    /// The descriptor to poll.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.connection.stream.raw_fd()
    }

    /// What to poll for.
    #[must_use]
    pub fn interest(&self) -> Readiness {
        Readiness { read: self.reads(), write: self.blocked }
    }

    fn reads(&self) -> bool {
        let backlog = !self.options.window && self.connection.stream.pending_bytes() > HOST_CHANNEL_BACKLOG;
        self.reading && !backlog && self.rest.is_none()
    }

    fn window_is_open(&self) -> bool {
        self.is_told() && self.acks.map_or(self.open, |acks| acks.may_send())
    }

    /// Whether the client's window keeps the owner from sending, although the socket takes data.
    #[must_use]
    pub fn is_held_by_window(&self) -> bool {
        self.is_told() && self.open && !self.window_is_open() && !self.is_blocked()
    }

    /// Offers a client that is far away a larger window: with the usual one small messages would wait for ACKs while the link is
    /// idle. How many bytes are on their way is the owner's to bound.
    pub fn offer_window(&mut self) {
        if !self.is_told() {
            return;
        }
        if let Some(acks) = &mut self.acks
            && acks.offer(WINDOW_FAR)
        {
            let message = common::set_ack(acks.generation(), acks.offered());
            self.send(message);
        }
    }

    /// Whether the owner may send another message now: the window is open, the socket takes data, and few bytes wait.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.window_is_open() && !self.is_blocked() && self.connection.stream.pending_bytes() < SEND_BATCH
    }

    /// Whether the socket is full.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether the kernel has taken everything that was sent.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        !self.blocked && !self.connection.stream.has_pending()
    }

    /// Queues a message, counts it in the window, and returns its serial. [`Self::flush`] must follow. During a migration the
    /// link may drop it ([`Self::is_told`]).
    pub fn send(&mut self, outgoing: impl Into<Outgoing>) -> u64 {
        if !self.is_told() {
            return self.connection.stream.serial();
        }
        let before = self.connection.stream.serial();
        let serial = self.connection.stream.send(outgoing);
        if let Some(acks) = &mut self.acks {
            acks.sent(serial.wrapping_sub(before));
        }
        serial
    }

    /// Writes what was sent. `waiting` says whether the owner has more to send. It may go on when this returns
    /// [`Flush::Drained`] and [`Self::may_send`] is true.
    pub fn flush(&mut self, waiting: bool, now: Instant) -> Result<Flush, ChannelError> {
        let sent = self.connection.stream.bytes_sent();
        let flush = self.connection.stream.flush()?;
        let pending = self.connection.stream.pending_bytes();
        if !self.options.window && pending > MAX_HOST_CHANNEL_BACKLOG {
            return Err(ChannelError::Backlog(pending));
        }
        self.blocked = flush == Flush::Blocked;
        self.waiting = waiting;
        let moved = self.connection.stream.bytes_sent() != sent;
        self.ping.pipe(self.blocked || waiting, moved, now);
        self.watch(now);
        Ok(flush)
    }

    /// Sends the byte and the descriptors that follow GL_SCANOUT_UNIX, after all that was sent before. `false`: the socket
    /// takes no more now; try again before anything else is sent.
    pub fn send_fds(&mut self, fds: &[RawFd], now: Instant) -> Result<bool, ChannelError> {
        if self.flush(true, now)? == Flush::Blocked {
            return Ok(false);
        }
        match self.connection.stream.send_fds(fds) {
            Ok(()) => Ok(true),
            Err(StreamError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.blocked = true;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a batch of messages to read. The batch is bounded, so that one client does not keep the thread busy.
    pub fn begin_reading(&mut self) {
        self.read_budget = MAX_MESSAGES_PER_READ;
        self.unread = false;
        self.connection.stream.begin_receiving();
    }

    /// Ends the batch early, because its messages cost enough for one turn. Then the link reads nothing for a while: turn after
    /// turn like this one would leave little of the thread to other clients.
    pub fn end_batch(&mut self, now: Instant) {
        self.read_budget = 0;
        self.rest = Some(now + WORK_REST);
    }

    /// Ends a rest that is over.
    pub fn end_rest(&mut self, now: Instant) {
        self.rest.take_if(|until| *until <= now);
    }

    /// Whether the driver must read again without waiting for the poll: the batch ended early, or the transport holds bytes.
    #[must_use]
    pub fn wants_reading(&self) -> bool {
        (self.read_budget == 0 || self.unread || self.connection.stream.has_more()) && self.reads()
    }

    /// Reads the next message, and handles base messages itself. `None`: no complete message has come, or the batch is over.
    pub fn receive(&mut self, now: Instant) -> Result<Option<Received>, ChannelError> {
        while self.read_budget > 0 && self.reads() {
            let (limit, mark, data) =
                (self.options.max_body, self.expect_flush_mark, self.expect_migrate_data);
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
                CommonMessage::AckSync { generation } => {
                    if let Some(acks) = &mut self.acks {
                        acks.ack_sync(generation);
                    }
                }
                CommonMessage::Ack => {
                    if let Some(acks) = &mut self.acks {
                        acks.ack();
                    }
                }
                CommonMessage::Pong { id, .. } => {
                    if !self.ping.pong(id, now) {
                        return Ok(Some(Received::Pong { id }));
                    }
                }
                CommonMessage::MigrateFlushMark => {
                    self.expect_flush_mark = false;
                    return Ok(Some(Received::FlushMark));
                }
                CommonMessage::MigrateData(data) => {
                    self.expect_migrate_data = false;
                    self.enable_pings();
                    return Ok(Some(Received::MigrateData(data)));
                }
                CommonMessage::Disconnecting => {}
            }
        }
        self.watch(now);
        Ok(None)
    }

    /// Allows the client one MIGRATE_DATA, which would end its link otherwise. The client reads nothing before it has sent
    /// that.
    pub fn expect_migrate_data(&mut self) {
        self.expect_migrate_data = true;
        self.enable_pings();
    }

    /// Whether the link waits for the state that the client had at the source of a migration.
    #[must_use]
    pub fn awaits_migrate_data(&self) -> bool {
        self.expect_migrate_data
    }

    /// When the driver has to call [`Self::on_timer`]. A time in the past means: at once.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let reading = self.rest.or(self.wants_reading().then_some(now));
        [reading, self.silence.limit(), self.ping.due()].into_iter().flatten().min()
    }

    /// Sends PINGs that are due, and fails if the client is silent for too long. It does not read, even if
    /// [`Self::wants_reading`] is true.
    pub fn on_timer(&mut self, now: Instant) -> Result<(), ChannelError> {
        self.watch(now);
        if let Some(silence) = self.silence.exceeded(now) {
            return Err(ChannelError::Silent(silence));
        }
        if self.ping.due().is_some_and(|due| due <= now) {
            if !self.window_is_open() || self.connection.stream.kernel_queue().is_some_and(|bytes| bytes > 0)
            {
                self.ping.postpone(now);
                return Ok(());
            }
            let (id, timestamp) = self.ping.begin(now);
            for _ in 0..2 {
                self.send(common::ping(id, timestamp, 0));
            }
            self.flush(self.waiting, now)?;
        }
        Ok(())
    }

    /// The shortest round trip that the latency tests of this link found.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.ping.round_trip()
    }

    /// Writes the one line that says why the connection ends.
    pub fn log_end(&self, error: &ChannelError) {
        if error.is_close() {
            crate::info!("{}: closed by the client", self.connection.label());
        } else {
            crate::warning_limited!("{}: disconnected: {error}", self.connection.label());
        }
    }

    /// Notes whether the client has to read or to answer, and whether bytes move.
    fn watch(&mut self, now: Instant) {
        let owes = !self.expect_migrate_data
            && (self.blocked
                || self.owed
                || (self.waiting && self.open && !self.window_is_open())
                || self.ping.is_running());
        let stream = &self.connection.stream;
        let bytes = stream.bytes_received().wrapping_add(stream.bytes_sent());
        self.silence.update(owes, bytes, now);
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
