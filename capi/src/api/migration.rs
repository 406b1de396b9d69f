//! Functions of `spice-migration.h`.

use crate::abi::*;
use crate::convert;
use crate::lookup::{server_status, status, with_server};
use libc::{c_char, c_int};
use spice_server_core::protocol::main_channel::MigrationTarget;
use spice_server_core::warning;

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_migration.rs"));

/// The target of a migration; `None`: it has no name, or no port that clients could connect to.
///
/// # Safety
/// The strings are NULL or C strings.
unsafe fn target(
    host: *const c_char,
    port: c_int,
    secure_port: c_int,
    cert_subject: *const c_char,
) -> Option<MigrationTarget> {
    // SAFETY: by contract.
    let (host, cert_subject) = unsafe { (convert::string(host)?, convert::string(cert_subject)) };
    // Any port that is none counts as not given.
    let number = |port| u16::try_from(port).unwrap_or(0);
    let (port, secure_port) = (number(port), number(secure_port));
    (port != 0 || secure_port != 0).then_some(MigrationTarget { port, secure_port, host, cert_subject })
}

/// Sets the host that spice_server_migrate_switch() sends the clients to. Only for hosts without a migration interface.
/// Returns 0, -1 on bad arguments.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_info(
    s: *mut SpiceServer,
    dest: *const c_char,
    port: c_int,
    secure_port: c_int,
    cert_subject: *const c_char,
) -> c_int {
    with_server("spice_server_migrate_info", s, |server| {
        // SAFETY: C strings or NULL, by the contract of the function.
        match unsafe { target(dest, port, secure_port, cert_subject) } {
            Some(target) => status("spice_server_migrate_info", server.migrate_info(target)),
            None => {
                warning!("spice_server_migrate_info: no host or no port");
                -1
            }
        }
    })
}

/// Tells the clients to go to the host set by spice_server_migrate_info(). Returns 0.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_switch(s: *mut SpiceServer) -> c_int {
    with_server("spice_server_migrate_switch", s, |server| {
        server.migrate_switch();
        0
    })
}

/// Asks the clients to connect to the target as well. Ports are -1 for none. Returns 0, or -1 when nothing was started;
/// migrate_connect_complete is called exactly once either way, unless there is no migration interface.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_connect(
    s: *mut SpiceServer,
    dest: *const c_char,
    port: c_int,
    secure_port: c_int,
    cert_subject: *const c_char,
) -> c_int {
    server_status("spice_server_migrate_connect", s, |server| {
        // SAFETY: C strings or NULL, by the contract of the function.
        server.migrate_connect(unsafe { target(dest, port, secure_port, cert_subject) })
    })
}

/// The virtual machine starts to move. Returns 0, -1 if no target is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_start(s: *mut SpiceServer) -> c_int {
    server_status("spice_server_migrate_start", s, |server| server.migrate_start())
}

/// The virtual machine has moved (completed not 0) or stays here. migrate_end_complete is called when the clients of a
/// machine that moved have left. Returns 0, -1 if clients had to be disconnected because no target is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_end(s: *mut SpiceServer, completed: c_int) -> c_int {
    server_status("spice_server_migrate_end", s, |server| server.migrate_end(completed != 0))
}

/// Whether clients may move without reconnecting. Only with one client at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_seamless_migration(s: *mut SpiceServer, enable: c_int) {
    with_server("spice_server_set_seamless_migration", s, |server| {
        server.set_seamless_migration(enable != 0)
    });
}
