//! Flow control between a character device and whoever uses it (devices.md 2, 3): one read and one write at a time, bytes for
//! the guest in order, nothing asked of a device that has nothing. Sans I/O: calls of the device go out as data, and what
//! came of them comes back.
//!
//! ```text
//!   owner -- push --> queue --> DeviceWrite --> host        host --> DeviceRead --> owner (on_read)
//!                       ^---- on_written <------'             ^------ pump <-- wakeup, or room at the client
//! ```
//!
//! Hosts call back from inside of their callbacks, above all `wakeup` from inside `read` and `write`. Such a wakeup only sets
//! a mark while a call of the same kind is under way, and the answer of that call goes on from there.

#[cfg(any(test, feature = "oracles"))]
mod oracle;

#[cfg(any(test, feature = "oracles"))]
pub use oracle::fuzz_device;

use crate::host::call::{DeviceHandle, HostCall};
use crate::host::{CharDevice, DeviceId};
use crate::limits::{DEVICE_RETRY, MAX_DEVICE_BUFFERS, MAX_DEVICE_QUEUE, MAX_DEVICE_READ_PER_TURN};
use crate::spare;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Writes of which nothing was taken, though the host said during each that there is room, before it is left alone for
/// [`DEVICE_RETRY`].
const MAX_MISSES: u32 = 2;
/// What a read costs at least, in bytes of a turn.
const LEAST_READ: usize = 256;

/// Bytes for the guest, and whom to tell when they are with it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outbound<T> {
    bytes: Vec<u8>,
    tag: T,
}

/// What a write left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write<T> {
    /// No call is under way.
    Idle,
    /// A call is under way. `tag` is `None` when the bytes were given up meanwhile.
    Called { tag: Option<T>, offset: usize },
}

/// One device; `T` marks what is written to it.
#[derive(Debug)]
pub(crate) struct DeviceIo<T> {
    device: DeviceHandle,
    tells_when_writable: bool,
    /// The machine runs: a stopped one takes and gives nothing.
    running: bool,
    /// See [`Self::hold`].
    held: bool,
    queue: VecDeque<Outbound<T>>,
    queued: usize,
    /// Bytes of the first in the queue that the guest has already.
    offset: usize,
    write: Write<T>,
    /// The host said during a write that there is room.
    write_again: bool,
    /// Writes in a row of which nothing was taken.
    misses: u32,
    retry_at: Option<Instant>,
    reading: bool,
    /// There may be something to read.
    offered: bool,
    /// The host said so during a read.
    read_again: bool,
    /// The host may be inside a wakeup, lending a buffer that was not emptied yet.
    lending: bool,
    /// Bytes read since the last wakeup or timer.
    turn: usize,
    resume_at: Option<Instant>,
}

impl<T: Copy + PartialEq + std::fmt::Debug> DeviceIo<T> {
    /// A device that nothing was read from or written to.
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

    /// The device says whether somebody uses it.
    #[must_use]
    pub(crate) fn state(&self, connected: bool) -> HostCall {
        HostCall::DeviceState { device: self.device.clone(), connected }
    }

    /// An event for the device.
    #[must_use]
    pub(crate) fn event(&self, event: u8) -> HostCall {
        HostCall::DeviceEvent { device: self.device.clone(), event }
    }

    /// The machine runs, or it stopped. [`Self::pump`] must follow.
    pub(crate) fn set_running(&mut self, running: bool) {
        self.running = running;
        if running {
            self.wake();
        }
    }

    /// Leaves the device alone until [`Self::release`]: at the target of a migration, bytes that the client brings from the
    /// source come before all others.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// Ends [`Self::hold`]. [`Self::pump`] must follow.
    pub(crate) fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            self.wake();
        }
    }

    /// What the guest does not have yet, in order, with its tags. A call that is under way will have brought its bytes to
    /// the guest and is left out: nothing is under way while the machine is stopped.
    pub(crate) fn unwritten(&self) -> impl Iterator<Item = (&[u8], T)> {
        let begun = if self.write == Write::Idle { self.offset } else { 0 };
        let offsets = std::iter::once(begun).chain(std::iter::repeat(0));
        self.queue
            .iter()
            .zip(offsets)
            .map(|(outbound, offset)| (outbound.bytes.get(offset..).unwrap_or_default(), outbound.tag))
    }

    /// The host has something to read, or room to write. [`Self::pump`] must follow.
    pub(crate) fn wake(&mut self) {
        // From inside of a call this must not begin the turn anew, or a host that does so each time would keep us for ever.
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

    /// Whether the owner should push no more for now. The buffer that the host is just writing counts: it may come back.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        let written = usize::from(self.write != Write::Idle);
        self.queue.len() + written >= MAX_DEVICE_BUFFERS || self.queued >= MAX_DEVICE_QUEUE
    }

    /// Bytes of what the guest does not have completely.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.queued
    }

    /// Whether nothing waits for the guest.
    #[cfg(any(test, feature = "oracles"))]
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.write == Write::Idle
    }

    /// Gives up what waits for the guest and fulfils `given_up`, except for the rest of what the guest has a part of; with
    /// `partly` that, too. Returns the tags of what was given up.
    pub(crate) fn give_up(&mut self, partly: bool, given_up: impl Fn(T) -> bool) -> Vec<T> {
        let mut tags = Vec::new();
        // The host may be taking the first bytes of these just now.
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

    /// The host's answer to a write. Returns the tag of what the guest has completely now. [`Self::pump`] must follow.
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

    /// The host's answer to a read of so many bytes. [`Self::pump`] must follow.
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

    /// Whether the device had its share of the host's main loop, until the next wakeup or [`Self::on_timer`].
    fn turn_is_over(&self) -> bool {
        self.turn >= MAX_DEVICE_READ_PER_TURN
    }

    /// Makes the calls that can be made now: the next read, if the owner has room for `most` bytes or a part of them, and the
    /// next write.
    ///
    /// While the host offers something, nothing is written: QEMU lends a buffer for the time of a wakeup, and asserts that no
    /// write to the device makes it lend another before that one was emptied. If it cannot be emptied now, writing goes on
    /// when the host is back in its main loop.
    pub(crate) fn pump(&mut self, now: Instant, most: usize, mut call: impl FnMut(HostCall)) {
        // What follows a read is known when it is answered.
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

    /// The time has come. [`Self::pump`] must follow.
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
