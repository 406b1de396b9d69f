//! Keyboard, mouse and tablet of the host.

use super::HostPointer;
use crate::abi::{
    SpiceKbdInstance, SpiceKbdInterface, SpiceMouseInstance, SpiceMouseInterface, SpiceTabletInstance,
    SpiceTabletInterface,
};
use spice_server_core::host::{Keyboard, Mouse, Tablet};

/// A keyboard and its callbacks, copied when it was added.
#[allow(missing_debug_implementations, reason = "holds function pointers")]
pub(crate) struct CKeyboard {
    instance: HostPointer<SpiceKbdInstance>,
    push: Option<unsafe extern "C" fn(*mut SpiceKbdInstance, u8)>,
    leds: Option<unsafe extern "C" fn(*mut SpiceKbdInstance) -> u8>,
}

impl CKeyboard {
    /// # Safety
    /// `instance` has an interface of type keyboard, and stays valid until it is removed or the server destroyed.
    pub(crate) unsafe fn new(instance: *mut SpiceKbdInstance) -> Self {
        // SAFETY: by contract `sif` points to a SpiceKbdInterface.
        let (push, leds) = unsafe {
            let interface = (*instance).base.sif.cast::<SpiceKbdInterface>();
            ((*interface).push_scan_freg, (*interface).get_leds)
        };
        Self { instance: HostPointer(instance), push, leds }
    }
}

impl Keyboard for CKeyboard {
    fn push_scan_code(&self, byte: u8) {
        if let Some(push) = self.push {
            // SAFETY: the host's own function and instance.
            unsafe { push(self.instance.0, byte) };
        }
    }

    fn leds(&self) -> u8 {
        // SAFETY: the host's own function and instance.
        self.leds.map_or(0, |leds| unsafe { leds(self.instance.0) })
    }
}

/// A relative pointer and its callbacks, copied when it was added.
#[allow(missing_debug_implementations, reason = "holds function pointers")]
pub(crate) struct CMouse {
    instance: HostPointer<SpiceMouseInstance>,
    motion: Option<unsafe extern "C" fn(*mut SpiceMouseInstance, i32, i32, i32, u32)>,
    buttons: Option<unsafe extern "C" fn(*mut SpiceMouseInstance, u32)>,
}

impl CMouse {
    /// # Safety
    /// As for [`CKeyboard::new`], with an interface of type mouse.
    pub(crate) unsafe fn new(instance: *mut SpiceMouseInstance) -> Self {
        // SAFETY: by contract `sif` points to a SpiceMouseInterface.
        let (motion, buttons) = unsafe {
            let interface = (*instance).base.sif.cast::<SpiceMouseInterface>();
            ((*interface).motion, (*interface).buttons)
        };
        Self { instance: HostPointer(instance), motion, buttons }
    }
}

impl Mouse for CMouse {
    fn motion(&self, dx: i32, dy: i32, dz: i32, buttons: u32) {
        if let Some(motion) = self.motion {
            // SAFETY: the host's own function and instance.
            unsafe { motion(self.instance.0, dx, dy, dz, buttons) };
        }
    }

    fn buttons(&self, buttons: u32) {
        if let Some(call) = self.buttons {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0, buttons) };
        }
    }
}

/// An absolute pointer and its callbacks, copied when it was added.
#[allow(missing_debug_implementations, reason = "holds function pointers")]
pub(crate) struct CTablet {
    instance: HostPointer<SpiceTabletInstance>,
    size: Option<unsafe extern "C" fn(*mut SpiceTabletInstance, i32, i32)>,
    position: Option<unsafe extern "C" fn(*mut SpiceTabletInstance, i32, i32, u32)>,
    wheel: Option<unsafe extern "C" fn(*mut SpiceTabletInstance, i32, u32)>,
    buttons: Option<unsafe extern "C" fn(*mut SpiceTabletInstance, u32)>,
}

impl CTablet {
    /// # Safety
    /// As for [`CKeyboard::new`], with an interface of type tablet.
    pub(crate) unsafe fn new(instance: *mut SpiceTabletInstance) -> Self {
        // SAFETY: by contract `sif` points to a SpiceTabletInterface.
        unsafe {
            let interface = (*instance).base.sif.cast::<SpiceTabletInterface>();
            Self {
                instance: HostPointer(instance),
                size: (*interface).set_logical_size,
                position: (*interface).position,
                wheel: (*interface).wheel,
                buttons: (*interface).buttons,
            }
        }
    }
}

impl Tablet for CTablet {
    fn set_logical_size(&self, width: i32, height: i32) {
        if let Some(call) = self.size {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0, width, height) };
        }
    }

    fn position(&self, x: i32, y: i32, buttons: u32) {
        if let Some(call) = self.position {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0, x, y, buttons) };
        }
    }

    fn wheel(&self, dz: i32, buttons: u32) {
        if let Some(call) = self.wheel {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0, dz, buttons) };
        }
    }

    fn buttons(&self, buttons: u32) {
        if let Some(call) = self.buttons {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0, buttons) };
        }
    }
}
