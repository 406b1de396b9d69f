//! The host's migration interface.

use super::HostPointer;
use crate::abi::{SpiceMigrateInstance, SpiceMigrateInterface};

type Callback = Option<unsafe extern "C" fn(*mut SpiceMigrateInstance)>;

/// The completion callbacks, copied when the interface was added.
#[derive(Debug)]
pub struct Migration {
    instance: HostPointer<SpiceMigrateInstance>,
    connect: Callback,
    end: Callback,
}

impl Migration {
    /// # Safety
    /// `instance` has an interface of type migration, and stays valid until its server is destroyed.
    pub unsafe fn new(instance: *mut SpiceMigrateInstance) -> Self {
        // SAFETY: by contract `sif` points to a SpiceMigrateInterface.
        unsafe {
            let interface = (*instance).base.sif.cast::<SpiceMigrateInterface>();
            Self {
                instance: HostPointer(instance),
                connect: (*interface).migrate_connect_complete,
                end: (*interface).migrate_end_complete,
            }
        }
    }

    /// The clients are connected to the target, or will not be.
    pub fn connect_complete(&self) {
        if let Some(call) = self.connect {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0) };
        }
    }

    /// The clients have left.
    pub fn end_complete(&self) {
        if let Some(call) = self.end {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0) };
        }
    }
}
