//! The host's migration interface.

use super::HostPointer;
use crate::abi::{SpiceMigrateInstance, SpiceMigrateInterface};
use spice_server_core::host::MigrationHost;

type Callback = Option<unsafe extern "C" fn(*mut SpiceMigrateInstance)>;

/// The completion callbacks, copied when the interface was added.
#[derive(Debug)]
pub(crate) struct CMigration {
    instance: HostPointer<SpiceMigrateInstance>,
    connect: Callback,
    end: Callback,
}

impl CMigration {
    /// # Safety
    /// `instance` has an interface of type migration, and stays valid until its server is destroyed.
    pub(crate) unsafe fn new(instance: *mut SpiceMigrateInstance) -> Self {
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
}

impl MigrationHost for CMigration {
    fn connect_complete(&self) {
        if let Some(call) = self.connect {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0) };
        }
    }

    fn end_complete(&self) {
        if let Some(call) = self.end {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0) };
        }
    }
}
