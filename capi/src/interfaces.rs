//! Attaching and detaching the host's instances (server.md 3.3, 3.4).

use crate::abi::*;
use crate::adapter::char::CCharDevice;
use crate::adapter::input::{CKeyboard, CMouse, CTablet};
use crate::adapter::migration::CMigration;
use crate::adapter::qxl::{Callbacks, Control};
use crate::convert;
use crate::handle::{self, Kind, ServerEntry};
use libc::c_int;
use spice_qxl::Device;
use spice_server_core::host::QxlDevice;
use spice_server_core::reds::{CharKind, ServerError};
use spice_server_core::warning;
use std::sync::{Arc, OnceLock};

/// Whether an interface of this version can be used: the same major, a minor that we know.
fn version_fits(interface: &SpiceBaseInterface, what: &str, major: u32, minor: u32) -> bool {
    let fits = interface.major_version == major && interface.minor_version <= minor;
    if !fits {
        warning!(
            "unsupported {what} interface {}.{}, this library has {major}.{minor}",
            interface.major_version,
            interface.minor_version
        );
    }
    fits
}

fn refused(what: &str, error: &ServerError) -> c_int {
    warning!("{what} interface refused: {error}");
    -1
}

/// Body of `spice_server_add_interface`.
///
/// # Safety
/// `sin` is NULL or points to an instance of the type that its interface's type string names, which lives until it
/// is removed or the server destroyed. The interface is as long as its version says.
pub(crate) unsafe fn add(server: &Arc<ServerEntry>, sin: *mut SpiceBaseInstance) -> c_int {
    if sin.is_null() {
        warning!("spice_server_add_interface: NULL instance");
        return -1;
    }
    // SAFETY: not NULL; a valid instance by contract. The base of an interface is never changed while attached.
    let interface = unsafe {
        let Some(interface) = (*sin).sif.as_ref() else {
            warning!("spice_server_add_interface: the instance has no interface");
            return -1;
        };
        interface
    };
    // SAFETY: NULL or a string by contract.
    let Some(name) = (unsafe { convert::string(interface.r#type) }) else {
        warning!("spice_server_add_interface: the interface has no type");
        return -1;
    };
    if handle::find_instance(sin).is_some() {
        warning!("spice_server_add_interface: the {name} instance is attached already");
        return -1;
    }
    // SAFETY: the type string names the type of the instance, by contract.
    unsafe {
        match name.as_str() {
            SPICE_INTERFACE_KEYBOARD => add_keyboard(server, interface, sin.cast()),
            SPICE_INTERFACE_MOUSE => add_mouse(server, interface, sin.cast()),
            SPICE_INTERFACE_TABLET => add_tablet(server, interface, sin.cast()),
            SPICE_INTERFACE_QXL => add_qxl(server, interface, sin.cast()),
            SPICE_INTERFACE_PLAYBACK => add_playback(server, interface, sin.cast()),
            SPICE_INTERFACE_RECORD => add_record(server, interface, sin.cast()),
            SPICE_INTERFACE_CHAR_DEVICE => add_char_device(server, interface, sin.cast()),
            SPICE_INTERFACE_MIGRATION => add_migration(server, interface, sin.cast()),
            other => {
                warning!("interface of unknown type {other:?} ignored");
                handle::decline(sin);
                0
            }
        }
    }
}

unsafe fn add_keyboard(
    server: &Arc<ServerEntry>,
    interface: &SpiceBaseInterface,
    sin: *mut SpiceKbdInstance,
) -> c_int {
    if !version_fits(interface, "keyboard", SPICE_INTERFACE_KEYBOARD_MAJOR, SPICE_INTERFACE_KEYBOARD_MINOR) {
        return -1;
    }
    // SAFETY: a keyboard instance, by the contract of `add`.
    if let Err(error) = server.add_keyboard(Arc::new(unsafe { CKeyboard::new(sin) })) {
        return refused("keyboard", &error);
    }
    // SAFETY: as above.
    unsafe { handle::attach(sin.cast(), &raw mut (*sin).st, server, Kind::Keyboard) };
    0
}

unsafe fn add_mouse(
    server: &Arc<ServerEntry>,
    interface: &SpiceBaseInterface,
    sin: *mut SpiceMouseInstance,
) -> c_int {
    if !version_fits(interface, "mouse", SPICE_INTERFACE_MOUSE_MAJOR, SPICE_INTERFACE_MOUSE_MINOR) {
        return -1;
    }
    // SAFETY: a mouse instance, by the contract of `add`.
    if let Err(error) = server.add_mouse(Arc::new(unsafe { CMouse::new(sin) })) {
        return refused("mouse", &error);
    }
    // SAFETY: as above.
    unsafe { handle::attach(sin.cast(), &raw mut (*sin).st, server, Kind::Mouse) };
    0
}

unsafe fn add_tablet(
    server: &Arc<ServerEntry>,
    interface: &SpiceBaseInterface,
    sin: *mut SpiceTabletInstance,
) -> c_int {
    if !version_fits(interface, "tablet", SPICE_INTERFACE_TABLET_MAJOR, SPICE_INTERFACE_TABLET_MINOR) {
        return -1;
    }
    // SAFETY: a tablet instance, by the contract of `add`.
    match server.add_tablet(Arc::new(unsafe { CTablet::new(sin) })) {
        Err(error) => refused("tablet", &error),
        Ok(id) => {
            // SAFETY: as above.
            unsafe { handle::attach(sin.cast(), &raw mut (*sin).st, server, Kind::Tablet(id)) };
            0
        }
    }
}

unsafe fn add_qxl(server: &Arc<ServerEntry>, interface: &SpiceBaseInterface, sin: *mut QXLInstance) -> c_int {
    if !version_fits(interface, "qxl", SPICE_INTERFACE_QXL_MAJOR, SPICE_INTERFACE_QXL_MINOR) {
        return -1;
    }
    // SAFETY: a QXL instance, by the contract of `add`.
    let (id, control, callbacks) = unsafe { ((*sin).id, Control::new(sin, server), Callbacks::new(sin)) };
    let recorder = server.recorder();
    let make = Box::new(move |info: &_| {
        Device::new(callbacks, info)
            .map(|device| Box::new(device.with_recorder(recorder)) as Box<dyn QxlDevice>)
    });
    let control = Arc::new(control);
    let attached = Arc::clone(&control);
    match server.add_qxl(id, control, make, &|instance| attached.attached_worker(instance)) {
        // `attached_worker` made the instance known already.
        Ok(_) => 0,
        Err(error) => {
            if let Some(instance) = handle::take_instance(sin.cast()) {
                // SAFETY: the instance is being added, so valid.
                unsafe { handle::detach(&instance) };
            }
            refused("qxl", &error)
        }
    }
}

unsafe fn add_playback(
    server: &Arc<ServerEntry>,
    interface: &SpiceBaseInterface,
    sin: *mut SpicePlaybackInstance,
) -> c_int {
    if !version_fits(interface, "playback", SPICE_INTERFACE_PLAYBACK_MAJOR, SPICE_INTERFACE_PLAYBACK_MINOR) {
        return -1;
    }
    if let Err(error) = server.add_playback() {
        return refused("playback", &error);
    }
    // SAFETY: a playback instance, by the contract of `add`.
    unsafe { handle::attach(sin.cast(), &raw mut (*sin).st, server, Kind::Playback) };
    0
}

unsafe fn add_record(
    server: &Arc<ServerEntry>,
    interface: &SpiceBaseInterface,
    sin: *mut SpiceRecordInstance,
) -> c_int {
    if !version_fits(interface, "record", SPICE_INTERFACE_RECORD_MAJOR, SPICE_INTERFACE_RECORD_MINOR) {
        return -1;
    }
    if let Err(error) = server.add_record() {
        return refused("record", &error);
    }
    // SAFETY: a record instance, by the contract of `add`.
    unsafe { handle::attach(sin.cast(), &raw mut (*sin).st, server, Kind::Record) };
    0
}

/// The function returns 0 whenever only the attaching failed; `st` stays NULL then.
unsafe fn add_char_device(
    server: &Arc<ServerEntry>,
    interface: &SpiceBaseInterface,
    sin: *mut SpiceCharDeviceInstance,
) -> c_int {
    if !version_fits(
        interface,
        "char device",
        SPICE_INTERFACE_CHAR_DEVICE_MAJOR,
        SPICE_INTERFACE_CHAR_DEVICE_MINOR,
    ) {
        return -1;
    }
    // SAFETY: a character device instance, by the contract of `add`, whose strings are NULL or strings.
    let (subtype, port, device) = unsafe {
        (*sin).st = std::ptr::null_mut();
        (convert::string((*sin).subtype), convert::string((*sin).portname), CCharDevice::new(sin))
    };
    let kind = match (subtype.as_deref(), port) {
        (Some("vdagent"), _) => CharKind::Agent,
        (Some("smartcard"), _) => CharKind::Smartcard,
        (Some("usbredir"), _) => CharKind::Usbredir,
        (Some("port"), Some(name)) => CharKind::Port(name),
        (Some("port"), None) => {
            warning!("a port without a name is not attached");
            handle::decline(sin.cast());
            return 0;
        }
        (subtype, _) => {
            warning!("a char device of subtype {:?} is not attached", subtype.unwrap_or("NULL"));
            handle::decline(sin.cast());
            return 0;
        }
    };
    // The server's first calls come from inside of adding the device: the host may answer them with a wakeup.
    let id = Arc::new(OnceLock::new());
    let id_is = Arc::clone(&id);
    // SAFETY: as above.
    unsafe { handle::attach(sin.cast(), &raw mut (*sin).st, server, Kind::CharDevice(id)) };
    let added = server.add_char_device(kind, Arc::new(device), |device| {
        let _ = id_is.set(device);
    });
    if let Err(error) = added {
        if let Some(instance) = handle::take_instance(sin.cast()) {
            // SAFETY: the instance is being added, so valid.
            unsafe { handle::detach(&instance) };
        }
        warning!("char device is not attached: {error}");
        if matches!(error, ServerError::NotInitialized) {
            return -1;
        }
        handle::decline(sin.cast());
    }
    0
}

unsafe fn add_migration(
    server: &Arc<ServerEntry>,
    interface: &SpiceBaseInterface,
    sin: *mut SpiceMigrateInstance,
) -> c_int {
    if server.has_migration() {
        return refused("migration", &ServerError::Duplicate("migration"));
    }
    if !version_fits(interface, "migration", SPICE_INTERFACE_MIGRATION_MAJOR, SPICE_INTERFACE_MIGRATION_MINOR)
    {
        return -1;
    }
    // SAFETY: a migration instance, by the contract of `add`.
    if let Err(error) = server.add_migration(Arc::new(unsafe { CMigration::new(sin) })) {
        return refused("migration", &error);
    }
    // SAFETY: as above.
    unsafe { handle::attach(sin.cast(), &raw mut (*sin).st, server, Kind::Migration) };
    0
}

/// Body of `spice_server_remove_interface`.
///
/// # Safety
/// `sin` is NULL or points to an instance.
pub(crate) unsafe fn remove(sin: *mut SpiceBaseInstance) -> c_int {
    let Some(instance) = handle::instance("spice_server_remove_interface", sin) else {
        handle::take_declined(sin);
        return -1;
    };
    let result = match &instance.kind {
        Kind::Tablet(id) => instance.server.remove_tablet(*id),
        // Callbacks of the device may still call us while the worker ends, so it stays known until then.
        Kind::Qxl(device) => instance.server.remove_qxl(device),
        Kind::Playback => instance.server.remove_playback(),
        Kind::Record => instance.server.remove_record(),
        Kind::CharDevice(id) => id.get().map_or(Ok(()), |&id| instance.server.remove_char_device(id)),
        Kind::Keyboard | Kind::Mouse | Kind::Migration => {
            warning!("spice_server_remove_interface: this interface cannot be removed");
            return -1;
        }
    };
    if let Err(error) = result {
        warning!("spice_server_remove_interface: {error}");
    }
    handle::take_instance(sin);
    // SAFETY: the host is removing the instance right now, so it is valid.
    unsafe { handle::detach(&instance) };
    0
}
