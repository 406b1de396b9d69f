//! SpiceCoreInterface as the core's event loop.
//!
//! The opaque value that the host hands back to our callbacks is a number, not a pointer: it is looked up, so a
//! callback that comes after its removal, or for a server that is gone, finds nothing.

use super::{HostPointer, Lent, locked};
use crate::abi::{
    SPICE_CHANNEL_EVENT_CONNECTED, SPICE_CHANNEL_EVENT_DISCONNECTED, SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT,
    SPICE_CHANNEL_EVENT_FLAG_TLS, SPICE_CHANNEL_EVENT_INITIALIZED, SPICE_WATCH_EVENT_READ,
    SPICE_WATCH_EVENT_WRITE, SpiceChannelEventInfo, SpiceCoreInterface, SpiceTimer, SpiceTimerFunc,
    SpiceWatch, SpiceWatchFunc,
};
use crate::boundary::guard_or;
use libc::{c_int, c_void, sockaddr_storage, socklen_t};
use spice_server_core::host::{ChannelEvent, EventLoop, Readiness, SocketAddresses, TimerId, WatchId};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone)]
enum Callback {
    Watch(Arc<dyn Fn(Readiness) + Send + Sync>),
    Timer(Arc<dyn Fn() + Send + Sync>),
}

/// Live callbacks of all servers of the process, by the number that the host has as opaque value.
static CALLBACKS: Mutex<Option<HashMap<usize, Callback>>> = Mutex::new(None);
/// The next number; 0 is left out, it looks like NULL.
static NEXT: AtomicUsize = AtomicUsize::new(1);

fn register(callback: Callback) -> usize {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    locked(&CALLBACKS).get_or_insert_default().insert(number, callback);
    number
}

fn forget(number: usize) {
    // Dropped after the lock is released: a callback owns objects with destructors of their own.
    let callback = locked(&CALLBACKS).as_mut().and_then(|map| map.remove(&number));
    drop(callback);
}

fn find(opaque: *mut c_void) -> Option<Callback> {
    locked(&CALLBACKS).as_ref()?.get(&opaque.addr()).cloned()
}

unsafe extern "C" fn watch_event(_fd: c_int, event: c_int, opaque: *mut c_void) {
    guard_or("watch", (), || {
        if let Some(Callback::Watch(callback)) = find(opaque) {
            callback(Readiness {
                read: event & SPICE_WATCH_EVENT_READ != 0,
                write: event & SPICE_WATCH_EVENT_WRITE != 0,
            });
        }
    });
}

unsafe extern "C" fn timer_event(opaque: *mut c_void) {
    guard_or("timer", (), || {
        if let Some(Callback::Timer(callback)) = find(opaque) {
            callback();
        }
    });
}

fn mask(interest: Readiness) -> c_int {
    let read = if interest.read { SPICE_WATCH_EVENT_READ } else { 0 };
    let write = if interest.write { SPICE_WATCH_EVENT_WRITE } else { 0 };
    read | write
}

type TimerAdd = unsafe extern "C" fn(SpiceTimerFunc, *mut c_void) -> *mut SpiceTimer;
type WatchAdd = unsafe extern "C" fn(c_int, c_int, SpiceWatchFunc, *mut c_void) -> *mut SpiceWatch;

/// The host's functions, copied when the server is initialized.
struct Functions {
    timer_add: TimerAdd,
    timer_start: unsafe extern "C" fn(*mut SpiceTimer, u32),
    timer_cancel: unsafe extern "C" fn(*mut SpiceTimer),
    timer_remove: unsafe extern "C" fn(*mut SpiceTimer),
    watch_add: WatchAdd,
    watch_update_mask: unsafe extern "C" fn(*mut SpiceWatch, c_int),
    watch_remove: unsafe extern "C" fn(*mut SpiceWatch),
    channel_event: Option<unsafe extern "C" fn(c_int, *mut SpiceChannelEventInfo)>,
}

/// The event loop of one server.
#[allow(missing_debug_implementations, reason = "holds function pointers and callbacks")]
pub(crate) struct CoreLoop {
    functions: Functions,
    watches: Mutex<HashMap<u64, HostPointer<SpiceWatch>>>,
    timers: Mutex<HashMap<u64, HostPointer<SpiceTimer>>>,
    /// Boxes given out as raw pointers: the host keeps the address of each from event 2 to event 3.
    infos: Mutex<HashMap<u64, Lent<SpiceChannelEventInfo>>>,
}

/// Why a SpiceCoreInterface cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadCore {
    Null,
    /// Major version other than 1.
    Version(u32),
    /// A mandatory callback is NULL.
    MissingCallback,
}

impl std::fmt::Display for BadCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("the core interface is NULL"),
            Self::Version(major) => write!(f, "unsupported core interface major version {major}"),
            Self::MissingCallback => f.write_str("a mandatory callback of the core interface is NULL"),
        }
    }
}

impl CoreLoop {
    /// # Safety
    /// `core` is NULL or points to a SpiceCoreInterface as long as its minor version promises (channel_event is
    /// read with minor ≥ 3 only).
    pub(crate) unsafe fn new(core: *const SpiceCoreInterface) -> Result<Self, BadCore> {
        if core.is_null() {
            return Err(BadCore::Null);
        }
        // SAFETY: not NULL; all fields before channel_event exist in every version. Only these places are read.
        let functions = unsafe {
            if (*core).base.major_version != crate::abi::SPICE_INTERFACE_CORE_MAJOR {
                return Err(BadCore::Version((*core).base.major_version));
            }
            let channel_event = if (*core).base.minor_version >= 3 { (*core).channel_event } else { None };
            (|| {
                Some(Functions {
                    timer_add: (*core).timer_add?,
                    timer_start: (*core).timer_start?,
                    timer_cancel: (*core).timer_cancel?,
                    timer_remove: (*core).timer_remove?,
                    watch_add: (*core).watch_add?,
                    watch_update_mask: (*core).watch_update_mask?,
                    watch_remove: (*core).watch_remove?,
                    channel_event,
                })
            })()
        };
        Ok(Self {
            functions: functions.ok_or(BadCore::MissingCallback)?,
            watches: Mutex::default(),
            timers: Mutex::default(),
            infos: Mutex::default(),
        })
    }

    fn watch(&self, id: WatchId) -> Option<HostPointer<SpiceWatch>> {
        locked(&self.watches).get(&id.0).copied()
    }

    fn timer(&self, id: TimerId) -> Option<HostPointer<SpiceTimer>> {
        locked(&self.timers).get(&id.0).copied()
    }

    /// Numbers fit: the counter starts at 1 and a process does not live long enough to wrap 64 bits.
    fn key(number: usize) -> u64 {
        u64::try_from(number).unwrap_or(u64::MAX)
    }

    fn number(key: u64) -> usize {
        usize::try_from(key).unwrap_or(0)
    }
}

impl EventLoop for CoreLoop {
    fn watch_add(
        &self,
        fd: RawFd,
        interest: Readiness,
        callback: Arc<dyn Fn(Readiness) + Send + Sync>,
    ) -> Option<WatchId> {
        let number = register(Callback::Watch(callback));
        // SAFETY: the host's own function with arguments as its contract wants; the opaque value is only a number.
        let watch = unsafe {
            (self.functions.watch_add)(
                fd,
                mask(interest),
                Some(watch_event),
                std::ptr::without_provenance_mut(number),
            )
        };
        if watch.is_null() {
            forget(number);
            return None;
        }
        locked(&self.watches).insert(Self::key(number), HostPointer(watch));
        Some(WatchId(Self::key(number)))
    }

    fn watch_update(&self, watch: WatchId, interest: Readiness) {
        if let Some(pointer) = self.watch(watch) {
            // SAFETY: a watch of the host that has not been removed.
            unsafe { (self.functions.watch_update_mask)(pointer.0, mask(interest)) };
        }
    }

    fn watch_remove(&self, watch: WatchId) {
        let pointer = locked(&self.watches).remove(&watch.0);
        if let Some(pointer) = pointer {
            forget(Self::number(watch.0));
            // SAFETY: a watch of the host, taken off our list, so removed once.
            unsafe { (self.functions.watch_remove)(pointer.0) };
        }
    }

    fn timer_add(&self, callback: Arc<dyn Fn() + Send + Sync>) -> Option<TimerId> {
        let number = register(Callback::Timer(callback));
        // SAFETY: the host's own function; the opaque value is only a number.
        let timer = unsafe {
            (self.functions.timer_add)(Some(timer_event), std::ptr::without_provenance_mut(number))
        };
        if timer.is_null() {
            forget(number);
            return None;
        }
        locked(&self.timers).insert(Self::key(number), HostPointer(timer));
        Some(TimerId(Self::key(number)))
    }

    fn timer_start(&self, timer: TimerId, milliseconds: u32) {
        if let Some(pointer) = self.timer(timer) {
            // SAFETY: a timer of the host that has not been removed.
            unsafe { (self.functions.timer_start)(pointer.0, milliseconds) };
        }
    }

    fn timer_cancel(&self, timer: TimerId) {
        if let Some(pointer) = self.timer(timer) {
            // SAFETY: a timer of the host that has not been removed.
            unsafe { (self.functions.timer_cancel)(pointer.0) };
        }
    }

    fn timer_remove(&self, timer: TimerId) {
        let pointer = locked(&self.timers).remove(&timer.0);
        if let Some(pointer) = pointer {
            forget(Self::number(timer.0));
            // SAFETY: a timer of the host, taken off our list, so removed once.
            unsafe { (self.functions.timer_remove)(pointer.0) };
        }
    }

    fn channel_event(&self, key: u64, event: ChannelEvent) {
        let Some(call) = self.functions.channel_event else { return };
        match event {
            ChannelEvent::Connected(addresses) => {
                let info = Lent::new(new_info(&addresses));
                let pointer = info.as_ptr();
                locked(&self.infos).insert(key, info);
                // SAFETY: the host's own function; the info lives until its DISCONNECTED event.
                unsafe { call(SPICE_CHANNEL_EVENT_CONNECTED, pointer) };
            }
            ChannelEvent::Initialized { connection_id, channel_type, channel_id, tls } => {
                let Some(pointer) = locked(&self.infos).get(&key).map(Lent::as_ptr) else { return };
                // SAFETY: the info lives until its DISCONNECTED event, which comes on this thread, too. The host reads it
                // inside of events, under its lock, and we write it here alone.
                unsafe {
                    (*pointer).connection_id = connection_id.cast_signed();
                    (*pointer).r#type = c_int::from(channel_type);
                    (*pointer).id = c_int::from(channel_id);
                    if tls {
                        (*pointer).flags |= SPICE_CHANNEL_EVENT_FLAG_TLS;
                    }
                    call(SPICE_CHANNEL_EVENT_INITIALIZED, pointer);
                }
            }
            ChannelEvent::Disconnected => {
                let info = locked(&self.infos).remove(&key);
                let Some(info) = info else { return };
                // SAFETY: the host's own function, which is done with the info when it returns.
                unsafe { call(SPICE_CHANNEL_EVENT_DISCONNECTED, info.as_ptr()) };
            }
        }
    }
}

impl Drop for CoreLoop {
    fn drop(&mut self) {
        for number in locked(&self.watches).keys().chain(locked(&self.timers).keys()) {
            forget(Self::number(*number));
        }
    }
}

fn new_info(addresses: &SocketAddresses) -> SpiceChannelEventInfo {
    // SAFETY: integers and byte arrays only: all zeros are valid.
    let mut info: SpiceChannelEventInfo = unsafe { std::mem::zeroed() };
    info.flags = SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT;
    info.llen = length(&addresses.local);
    info.plen = length(&addresses.peer);
    info.llen_ext = info.llen;
    info.plen_ext = info.plen;
    store(&raw mut info.laddr_ext, &addresses.local);
    store(&raw mut info.paddr_ext, &addresses.peer);
    store(&raw mut info.laddr, &addresses.local);
    store(&raw mut info.paddr, &addresses.peer);
    info
}

fn length(address: &[u8]) -> socklen_t {
    socklen_t::try_from(address.len().min(size_of::<sockaddr_storage>())).unwrap_or(0)
}

/// Copies as much of a socket address as the C type holds.
fn store<T>(to: *mut T, address: &[u8]) {
    let count = address.len().min(size_of::<T>());
    // SAFETY: `to` is a field of a local struct of plain bytes, and `count` is within both.
    unsafe { std::ptr::copy_nonoverlapping(address.as_ptr(), to.cast::<u8>(), count) };
}

#[cfg(test)]
#[path = "event_loop_tests.rs"]
mod tests;
