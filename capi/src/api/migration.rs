//! Functions of `spice-migration.h`. Moving clients to another host is not built yet: every migration ends at once, and
//! the host hears so by the documented callbacks and values.

use super::not_built_once;
use crate::abi::*;
use crate::adapter::migration::Migration;
use crate::boundary::guard;
use crate::handle::{self, Instance, Kind, ServerEntry};
use libc::{c_char, c_int};
use std::sync::Arc;

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_migration.rs"));

fn interface(server: &Arc<ServerEntry>) -> Option<Arc<Instance>> {
    handle::any(server, |kind| matches!(kind, Kind::Migration(_)))
}

fn with_interface(instance: &Instance, call: impl FnOnce(&Migration)) {
    if let Kind::Migration(migration) = &instance.kind {
        call(migration);
    }
}

/// Sets the host that spice_server_migrate_switch() sends the clients to. Returns 0, -1 on bad arguments.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_info(
    s: *mut SpiceServer,
    dest: *const c_char,
    port: c_int,
    secure_port: c_int,
    cert_subject: *const c_char,
) -> c_int {
    let _ = (dest, port, secure_port, cert_subject);
    guard("spice_server_migrate_info", || {
        if handle::server("spice_server_migrate_info", s).is_some() {
            not_built_once!("client migration is");
        }
        -1
    })
}

/// Tells the clients to go to the host set by spice_server_migrate_info(). Returns 0.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_switch(s: *mut SpiceServer) -> c_int {
    guard("spice_server_migrate_switch", || {
        if handle::server("spice_server_migrate_switch", s).is_some() { 0 } else { -1 }
    })
}

/// Asks the clients to connect to the target as well. Ports are -1 for none. Returns 0, or -1 when nothing was started;
/// migrate_connect_complete is called exactly once either way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_connect(
    s: *mut SpiceServer,
    dest: *const c_char,
    port: c_int,
    secure_port: c_int,
    cert_subject: *const c_char,
) -> c_int {
    let _ = (dest, port, secure_port, cert_subject);
    guard("spice_server_migrate_connect", || {
        let Some(server) = handle::server("spice_server_migrate_connect", s) else { return -1 };
        let Some(instance) = interface(&server) else { return -1 };
        not_built_once!("client migration is");
        with_interface(&instance, Migration::connect_complete);
        -1
    })
}

/// The virtual machine starts to move. Returns 0, -1 if no target is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_start(s: *mut SpiceServer) -> c_int {
    guard("spice_server_migrate_start", || {
        let _ = handle::server("spice_server_migrate_start", s);
        -1
    })
}

/// The virtual machine has moved (completed not 0) or stays here. migrate_end_complete is called when the clients of a
/// machine that moved have left. Returns 0, -1 if clients had to be left behind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_end(s: *mut SpiceServer, completed: c_int) -> c_int {
    guard("spice_server_migrate_end", || {
        let Some(server) = handle::server("spice_server_migrate_end", s) else { return -1 };
        let Some(instance) = interface(&server) else { return -1 };
        if completed == 0 {
            return 0;
        }
        let left = server.num_clients();
        with_interface(&instance, Migration::end_complete);
        if left == 0 { 0 } else { -1 }
    })
}

/// Whether clients may move without reconnecting. Only with one client at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_seamless_migration(s: *mut SpiceServer, enable: c_int) {
    guard("spice_server_set_seamless_migration", || {
        if let Some(server) = handle::server("spice_server_set_seamless_migration", s) {
            server.set_seamless_migration(enable != 0);
        }
    });
}
