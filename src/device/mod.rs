//! Flow control between a character device and its owner, the channel that uses it (devices.md 2, 3). At most one read and one
//! write are under way at a time, bytes reach the guest in order, and a device that has nothing is not read. Sans I/O: this
//! module emits calls of the device as data, and the owner hands back their results.
//!
//! ```text
//!   owner -- push --> queue --> DeviceWrite --> host        host --> DeviceRead --> owner (on_read)
//!                       ^---- on_written <------'             ^------ pump <-- wakeup, or room at the client
//! ```
//!
//! Hosts call the library from inside their callbacks, most often `wakeup` from inside `read` and `write`. While a call of the
//! same kind is under way, such a wakeup only sets a mark, and the code that handles the result of the call acts on the mark.

#[cfg(any(test, feature = "oracles"))]
mod oracle;

#[cfg(any(test, feature = "oracles"))]
pub(crate) use oracle::Silent;
#[cfg(any(test, feature = "oracles"))]
pub use oracle::fuzz_device;

use crate::host::call::{DeviceHandle, HostCall};
use crate::host::{CharDevice, DeviceId};
use crate::limits::{DEVICE_RETRY, MAX_DEVICE_BUFFERS, MAX_DEVICE_QUEUE, MAX_DEVICE_READ_PER_TURN};
use crate::spare;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A host may report room during a write and then take nothing. After this many such writes the device rests for
/// [`DEVICE_RETRY`].
const MAX_MISSES: u32 = 2;
/// The least that one read counts against the budget of a turn (bytes).
const LEAST_READ: usize = 256;

/// Bytes for the guest. The tag tells the owner which bytes the guest has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outbound<T> {
    bytes: Vec<u8>,
    tag: T,
}

/// The state of the write side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write<T> {
    /// No write is under way.
    Idle,
    /// A write is under way. `tag` is `None` if the owner gave the bytes up meanwhile.
    Called { tag: Option<T>, offset: usize },
}

/// One device. `T` is the type of the tags.
#[derive(Debug)]
pub(crate) struct DeviceIo<T> {
    device: DeviceHandle,
    tells_when_writable: bool,
    /// The machine runs. A stopped machine neither takes nor gives bytes.
    running: bool,
    /// See [`Self::hold`].
    held: bool,
    queue: VecDeque<Outbound<T>>,
    queued: usize,
    /// Bytes of the first buffer in the queue that the guest has already taken.
    offset: usize,
    write: Write<T>,
    /// The host reported room during a write.
    write_again: bool,
    /// Consecutive writes from which the guest took nothing.
    misses: u32,
    retry_at: Option<Instant>,
    reading: bool,
    /// The device may have something to read.
    offered: bool,
    /// The host called `wakeup` during a read.
    read_again: bool,
    /// The host may be inside a wakeup, in which it lends a buffer that has not been emptied yet.
    lending: bool,
    /// Bytes read since the last wakeup or timer.
    turn: usize,
    resume_at: Option<Instant>,
}

impl<T: Copy + PartialEq + std::fmt::Debug> DeviceIo<T> {
    /// A device with empty queues, before its first call.
    #[must_use]
    pub(crate) fn new(id: DeviceId, device: Arc<dyn CharDevice>, running: bool) -> Self {
        Self {
            tells_when_writable: device.tells_when_writable(),
            device: DeviceHandle { id, device },
            running,
            held: false,
            queue: VecDeque::new(),
            queued: 0,
            offset: 0,
            write: Write::Idle,
            write_again: false,
            misses: 0,
            retry_at: None,
            reading: false,
            offered: true,
            read_again: false,
            lending: false,
            turn: 0,
            resume_at: None,
        }
    }

    /// The device's name.
    #[must_use]
    pub(crate) fn id(&self) -> DeviceId {
        self.device.id
    }

    /// The call that tells the device whether a client uses it.
    #[must_use]
    pub(crate) fn state(&self, connected: bool) -> HostCall {
        HostCall::DeviceState { device: self.device.clone(), connected }
    }

    /// The call that passes a port event to the device.
    #[must_use]
    pub(crate) fn event(&self, event: u8) -> HostCall {
        HostCall::DeviceEvent { device: self.device.clone(), event }
    }

    /// The machine started or stopped. [`Self::pump`] must follow.
    pub(crate) fn set_running(&mut self, running: bool) {
        self.running = running;
        if running {
            self.wake();
        }
    }

    /// Makes no calls until [`Self::release`]. At the target of a migration, the bytes that the client brings from the source
    /// must come before all others.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// Ends [`Self::hold`]. [`Self::pump`] must follow.
    pub(crate) fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            self.wake();
        }
    }

    /// The bytes that the guest has not taken yet, in order, with their tags. Bytes of a write that is under way are left out.
    /// No write is under way while the machine is stopped.
    pub(crate) fn unwritten(&self) -> impl Iterator<Item = (&[u8], T)> {
        let begun = if self.write == Write::Idle { self.offset } else { 0 };
        let offsets = std::iter::once(begun).chain(std::iter::repeat(0));
        self.queue
            .iter()
            .zip(offsets)
            .map(|(outbound, offset)| (outbound.bytes.get(offset..).unwrap_or_default(), outbound.tag))
    }

    /// The host called `wakeup`: it has something to read, or room for a write. [`Self::pump`] must follow.
    pub(crate) fn wake(&mut self) {
        // A wakeup from inside a read must not start a new turn. Otherwise a host that wakes in every read would keep us here
        // for ever.
        if !self.reading {
            self.turn = 0;
        }
        if self.write == Write::Idle {
            self.misses = 0;
        }
        self.offered = true;
        self.lending = true;
        self.read_again = self.reading;
        self.write_again = true;
        self.retry_at = None;
    }

    /// Queues bytes for the guest. [`Self::pump`] must follow.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, tag: T) {
        if !bytes.is_empty() {
            self.queued += bytes.len();
            self.queue.push_back(Outbound { bytes, tag });
            self.write_again = true;
        }
    }

    /// Whether the owner should push no more for now. The buffer of a write that is under way counts, because the host may
    /// give it back.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        let written = usize::from(self.write != Write::Idle);
        self.queue.len() + written >= MAX_DEVICE_BUFFERS || self.queued >= MAX_DEVICE_QUEUE
    }

    /// Bytes of the buffers that the guest has not taken completely.
    #[must_use]
    pub(crate) fn waiting(&self) -> usize {
        self.queued
    }

    /// The tag of the buffer of which the guest has taken a part, or may be taking one now.
    #[must_use]
    pub(crate) fn begun(&self) -> Option<T> {
        match self.write {
            Write::Called { tag, .. } => tag,
            Write::Idle => self.queue.front().filter(|_| self.offset > 0).map(|outbound| outbound.tag),
        }
    }

    /// Whether nothing waits for the guest.
    #[cfg(any(test, feature = "oracles"))]
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.write == Write::Idle
    }

    /// Drops the waiting buffers whose tags satisfy `given_up` and returns their tags. A buffer of which the guest has taken a
    /// part is dropped only with `partly`.
    pub(crate) fn give_up(&mut self, partly: bool, given_up: impl Fn(T) -> bool) -> Vec<T> {
        let mut tags = Vec::new();
        // The host may be taking the first bytes of this buffer just now.
        if let Write::Called { tag, .. } = &mut self.write
            && partly
            && let Some(given) = tag.take_if(|tag| given_up(*tag))
        {
            tags.push(given);
        }
        let begun = self.offset > 0 && self.write == Write::Idle;
        let mut first = true;
        self.queue.retain(|outbound| {
            let is_begun = std::mem::take(&mut first) && begun;
            let gone = given_up(outbound.tag) && (partly || !is_begun);
            if gone {
                tags.push(outbound.tag);
                self.queued = self.queued.saturating_sub(outbound.bytes.len());
                if is_begun {
                    self.offset = 0;
                }
            }
            !gone
        });
        tags
    }

    /// Handles the result of a write. Returns the tag of the buffer if the guest has now taken all of it. [`Self::pump`] must
    /// follow.
    pub(crate) fn on_written(&mut self, bytes: Vec<u8>, taken: usize, now: Instant) -> Option<T> {
        let Write::Called { tag, offset } = std::mem::replace(&mut self.write, Write::Idle) else {
            return None;
        };
        let length = bytes.len();
        let Some(tag) = tag else {
            self.write_again = true;
            self.queued = self.queued.saturating_sub(length);
            spare::give(bytes);
            return None;
        };
        let offset = offset + taken;
        if offset >= length {
            self.queued = self.queued.saturating_sub(length);
            self.offset = 0;
            self.write_again = true;
            spare::give(bytes);
            return Some(tag);
        }
        self.offset = offset;
        self.queue.push_front(Outbound { bytes, tag });
        if taken > 0 {
            self.misses = 0;
            self.write_again = true;
            return None;
        }
        self.misses += 1;
        let in_vain = self.write_again && self.misses > MAX_MISSES;
        if in_vain || !(self.write_again || self.tells_when_writable) {
            self.write_again = false;
            self.retry_at = Some(now + DEVICE_RETRY);
        }
        None
    }

    /// Handles the result of a read that gave `count` bytes. [`Self::pump`] must follow.
    pub(crate) fn on_read(&mut self, count: usize, now: Instant) {
        self.reading = false;
        let again = std::mem::take(&mut self.read_again);
        if count == 0 {
            self.offered = again;
            self.lending = again;
        }
        self.turn = self.turn.saturating_add(count.max(LEAST_READ));
        if self.turn_is_over() && self.offered {
            self.resume_at = Some(now);
        } else if !self.lending {
            self.resume_at = None;
        }
    }

    /// Whether the device has used up its share of the host's main loop until the next wakeup or [`Self::on_timer`].
    fn turn_is_over(&self) -> bool {
        self.turn >= MAX_DEVICE_READ_PER_TURN
    }

    /// Emits the calls that are possible now: the next read, of at most `most` bytes, and the next write. `most` is 0 while the
    /// owner has no room.
    ///
    /// This writes nothing while the host offers something. QEMU lends a buffer during a wakeup, and asserts that no write to
    /// the device makes it lend another before we have emptied the first. If the owner has no room to empty it, writing
    /// continues when the host is back in its main loop.
    pub(crate) fn pump(&mut self, now: Instant, most: usize, mut call: impl FnMut(HostCall)) {
        // The result of the read decides what comes next.
        if !self.running || self.held || self.reading {
            return;
        }
        if self.offered && most > 0 && !self.turn_is_over() {
            self.reading = true;
            call(HostCall::DeviceRead { device: self.device.clone(), max: most });
            return;
        }
        if self.write == Write::Idle && self.write_again && !self.queue.is_empty() {
            if self.lending {
                self.resume_at.get_or_insert(now);
                return;
            }
            let Some(next) = self.queue.pop_front() else { return };
            self.write_again = false;
            self.retry_at = None;
            let offset = std::mem::take(&mut self.offset);
            self.write = Write::Called { tag: Some(next.tag), offset };
            call(HostCall::DeviceWrite { device: self.device.clone(), bytes: next.bytes, offset });
        }
    }

    /// When [`Self::on_timer`] wants to be called.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let times = [self.retry_at, self.resume_at];
        times.into_iter().flatten().min().filter(|_| self.running && !self.held)
    }

    /// [`Self::next_deadline`] has come. [`Self::pump`] must follow.
    pub(crate) fn on_timer(&mut self, now: Instant) {
        if self.retry_at.take_if(|at| *at <= now).is_some() {
            self.write_again = true;
            self.misses = 0;
        }
        if self.resume_at.take_if(|at| *at <= now).is_some() {
            self.turn = 0;
            self.lending = false;
        }
    }
}

#[cfg(test)]
mod tests;
