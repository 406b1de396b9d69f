//! `spice-migration.h`: what the host hears of its clients' migration.

use super::core::{SpiceBaseInstance, SpiceBaseInterface};
use super::opaque::SpiceMigrateState;

pub const SPICE_INTERFACE_MIGRATION: &str = "migration";
pub const SPICE_INTERFACE_MIGRATION_MAJOR: u32 = 1;
pub const SPICE_INTERFACE_MIGRATION_MINOR: u32 = 1;

/// Completion of the two slow steps of a migration.
#[repr(C)]
pub struct SpiceMigrateInterface {
    pub base: SpiceBaseInterface,
    /// Once per spice_server_migrate_connect(): the clients are connected to the target, or will not be.
    pub migrate_connect_complete: Option<unsafe extern "C" fn(sin: *mut SpiceMigrateInstance)>,
    /// After spice_server_migrate_end() with completed set: the clients have left, the host may exit.
    pub migrate_end_complete: Option<unsafe extern "C" fn(sin: *mut SpiceMigrateInstance)>,
}

/// Filled by the host but for st, which the library sets while the instance is attached.
#[repr(C)]
pub struct SpiceMigrateInstance {
    pub base: SpiceBaseInstance,
    pub st: *mut SpiceMigrateState,
}
