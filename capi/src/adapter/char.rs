//! Character devices of the host.

use super::HostPointer;
use crate::abi::{SpiceCharDeviceInstance, SpiceCharDeviceInterface};
use libc::c_int;
use spice_server_core::host::CharDevice;

/// Minor version from which on the interface has `event`.
const EVENT_MINOR: u32 = 2;
/// Minor version from which on the interface has `flags`.
const FLAGS_MINOR: u32 = 3;
/// SPICE_CHAR_DEVICE_NOTIFY_WRITABLE.
const NOTIFY_WRITABLE: u32 = 1;

/// A character device and its callbacks, copied when it was added.
#[allow(missing_debug_implementations, reason = "holds function pointers")]
pub(crate) struct CCharDevice {
    instance: HostPointer<SpiceCharDeviceInstance>,
    state: Option<unsafe extern "C" fn(*mut SpiceCharDeviceInstance, c_int)>,
    write: Option<unsafe extern "C" fn(*mut SpiceCharDeviceInstance, *const u8, c_int) -> c_int>,
    read: Option<unsafe extern "C" fn(*mut SpiceCharDeviceInstance, *mut u8, c_int) -> c_int>,
    event: Option<unsafe extern "C" fn(*mut SpiceCharDeviceInstance, u8)>,
    tells_when_writable: bool,
}

impl CCharDevice {
    /// # Safety
    /// `instance` has an interface of type char device, which is as long as its version says, and stays valid until it is
    /// removed or the server destroyed.
    pub(crate) unsafe fn new(instance: *mut SpiceCharDeviceInstance) -> Self {
        // SAFETY: by contract `sif` points to a SpiceCharDeviceInterface. Fields are read one by one, since that of an
        // older host ends before those that came later.
        unsafe {
            let interface = (*instance).base.sif.cast::<SpiceCharDeviceInterface>();
            let minor = (*interface).base.minor_version;
            Self {
                instance: HostPointer(instance),
                state: (*interface).state,
                write: (*interface).write,
                read: (*interface).read,
                event: if minor >= EVENT_MINOR { (*interface).event } else { None },
                tells_when_writable: minor >= FLAGS_MINOR && (*interface).flags & NOTIFY_WRITABLE != 0,
            }
        }
    }
}

/// What the host says it took or gave: negative means nothing.
fn count(answer: c_int) -> usize {
    usize::try_from(answer).unwrap_or(0)
}

/// As much of a buffer as the host can be told of.
fn length(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

impl CharDevice for CCharDevice {
    fn state(&self, connected: bool) {
        if let Some(call) = self.state {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0, connected.into()) };
        }
    }

    fn write(&self, bytes: &[u8]) -> usize {
        let Some(call) = self.write.filter(|_| !bytes.is_empty()) else { return 0 };
        // SAFETY: the host's own function and instance; it reads at most the length that it is told.
        count(unsafe { call(self.instance.0, bytes.as_ptr(), length(bytes.len())) })
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let Some(call) = self.read.filter(|_| !buffer.is_empty()) else { return 0 };
        // SAFETY: the host's own function and instance; it writes at most the length that it is told.
        count(unsafe { call(self.instance.0, buffer.as_mut_ptr(), length(buffer.len())) })
    }

    fn event(&self, event: u8) {
        if let Some(call) = self.event {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0, event) };
        }
    }

    fn tells_when_writable(&self) -> bool {
        self.tells_when_writable
    }
}
