//! From the pointers that C holds to our objects, by lookup: no object is ever reached by trusting a pointer, so NULL,
//! a destroyed server or a removed instance is an error value and not undefined behaviour.
//!
//! Ownership: a server lives in the table from `spice_server_new` to `spice_server_destroy`; the `SpiceServer *` is the
//! address of a byte inside its entry. An instance belongs to the host; its entry lives from add to remove.

use crate::abi::{QXLState, SpiceBaseInstance, SpiceServer};
use crate::adapter::locked;
use spice_qxl::Recorder;
use spice_server_core::host::DeviceId;
use spice_server_core::reds::{QxlInstance, Server, TabletId};
use spice_server_core::{warning, warning_limited};
use std::collections::{HashMap, HashSet};
use std::ffi::c_char;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

/// A server of the host.
#[derive(Debug)]
pub(crate) struct ServerEntry {
    server: Server,
    /// The recording that the environment asked for at init.
    recorder: OnceLock<Option<Arc<Recorder>>>,
    /// Strings handed out by `spice_server_get_video_codecs`, by address, each with its NUL.
    strings: Mutex<HashMap<usize, Vec<u8>>>,
}

impl Deref for ServerEntry {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl ServerEntry {
    /// Opens the recording that the environment asks for; the first call counts.
    pub(crate) fn start_recording(&self) {
        self.recorder.get_or_init(Recorder::from_env);
    }

    /// The recording, if one is being made.
    pub(crate) fn recorder(&self) -> Option<Arc<Recorder>> {
        self.recorder.get().cloned().flatten()
    }

    /// Remembers a string that the host will give back.
    pub(crate) fn lend(&self, string: std::ffi::CString) -> *const c_char {
        let string = string.into_bytes_with_nul();
        let pointer = string.as_ptr().cast::<c_char>();
        locked(&self.strings).insert(pointer.addr(), string);
        pointer
    }

    /// Frees a string of [`Self::lend`]; any other pointer is ignored.
    pub(crate) fn take_back(&self, pointer: *const c_char) {
        if locked(&self.strings).remove(&pointer.addr()).is_none() && !pointer.is_null() {
            warning!("spice_server_free_video_codecs: not a string of this server");
        }
    }
}

/// What an instance of the host is to us.
#[derive(Debug)]
pub(crate) enum Kind {
    Keyboard,
    Mouse,
    Tablet(TabletId),
    Qxl(Arc<QxlInstance>),
    Playback,
    Record,
    /// Known to the server under this name once it has attached the device.
    CharDevice(Arc<OnceLock<DeviceId>>),
    Migration,
}

/// An attached instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub server: Arc<ServerEntry>,
    pub kind: Kind,
    st: StateField,
}

/// The field `st` of an instance, by which the host sees whether the instance is attached.
#[derive(Debug)]
struct StateField(*mut *mut QXLState);

// SAFETY: only `attach` and `detach` write through the pointer. They run inside of calls that add or remove the instance, one
// at a time by the contract (server.md 3.5), and nothing of ours reads the field.
unsafe impl Send for StateField {}
// SAFETY: as for Send.
unsafe impl Sync for StateField {}

#[derive(Default)]
struct Tables {
    servers: HashMap<usize, Arc<ServerEntry>>,
    instances: HashMap<usize, Arc<Instance>>,
    /// Instances that the host was told are added although nothing was attached. It uses and removes them like others.
    declined: HashSet<usize>,
}

static TABLES: RwLock<Option<Tables>> = RwLock::new(None);

fn with_tables<T>(body: impl FnOnce(&mut Tables) -> T) -> T {
    body(TABLES.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Makes a server known and returns its C name.
pub(crate) fn add_server(server: Server) -> *mut SpiceServer {
    let entry = Arc::new(ServerEntry { server, recorder: OnceLock::new(), strings: Mutex::default() });
    let pointer = Arc::as_ptr(&entry).cast::<SpiceServer>().cast_mut();
    with_tables(|tables| tables.servers.insert(pointer.addr(), entry));
    pointer
}

/// The server of this pointer; `None` (and a warning) if there is none.
pub(crate) fn server(function: &'static str, pointer: *mut SpiceServer) -> Option<Arc<ServerEntry>> {
    let found = TABLES
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .and_then(|tables| tables.servers.get(&pointer.addr()).cloned());
    if found.is_none() {
        warning_limited!("{function}: NULL or no server");
    }
    found
}

/// Takes a server and its instances off the tables. The instances' `st` is cleared later, by [`detach`].
pub(crate) fn remove_server(pointer: *mut SpiceServer) -> Option<(Arc<ServerEntry>, Vec<Arc<Instance>>)> {
    with_tables(|tables| {
        let entry = tables.servers.remove(&pointer.addr())?;
        let mut gone = Vec::new();
        tables.instances.retain(|_, instance| {
            let ours = Arc::ptr_eq(&instance.server, &entry);
            if ours {
                gone.push(Arc::clone(instance));
            }
            !ours
        });
        if tables.servers.is_empty() {
            tables.declined.clear();
        }
        Some((entry, gone))
    })
}

/// Makes an instance known and its `st` non-NULL.
///
/// # Safety
/// `instance` is valid until [`take_instance`] or the destruction of its server, and `st` is its field of that name.
pub(crate) unsafe fn attach<T>(
    instance: *mut SpiceBaseInstance,
    st: *mut *mut T,
    server: &Arc<ServerEntry>,
    kind: Kind,
) {
    let st = StateField(st.cast());
    let entry = Arc::new(Instance { server: Arc::clone(server), kind, st });
    let field = entry.st.0;
    // SAFETY: a field of the host's instance, by contract. The value is opaque to hosts.
    unsafe { field.write(Arc::as_ptr(&entry).cast::<QXLState>().cast_mut()) };
    with_tables(|tables| {
        tables.declined.remove(&instance.addr());
        tables.instances.insert(instance.addr(), entry)
    });
}

/// Remembers an instance that is not attached although the host was told 0, so that what the host does with it is no misuse.
pub(crate) fn decline(instance: *const SpiceBaseInstance) {
    with_tables(|tables| tables.declined.insert(instance.addr()));
}

/// Forgets an instance of [`decline`]; whether it was one.
pub(crate) fn take_declined(instance: *const SpiceBaseInstance) -> bool {
    with_tables(|tables| tables.declined.remove(&instance.addr()))
}

fn is_declined(instance: usize) -> bool {
    let tables = TABLES.read().unwrap_or_else(PoisonError::into_inner);
    tables.as_ref().is_some_and(|tables| tables.declined.contains(&instance))
}

/// The attached instance at this address, without a warning if there is none.
pub(crate) fn find_instance(instance: *const SpiceBaseInstance) -> Option<Arc<Instance>> {
    TABLES
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .and_then(|tables| tables.instances.get(&instance.addr()).cloned())
}

/// The attached instance at this address; warns if there is none, unless the host has reason to believe that there is.
pub(crate) fn instance<T>(function: &'static str, instance: *const T) -> Option<Arc<Instance>> {
    let found = find_instance(instance.cast());
    if found.is_none() && !is_declined(instance.addr()) {
        warning_limited!("{function}: NULL or not attached");
    }
    found
}

/// The QXL device at this address; warns if there is none.
pub(crate) fn qxl(
    function: &'static str,
    pointer: *const crate::abi::QXLInstance,
) -> Option<Arc<QxlInstance>> {
    match &instance(function, pointer)?.kind {
        Kind::Qxl(device) => Some(Arc::clone(device)),
        _ => {
            warning_limited!("{function}: not a QXL device");
            None
        }
    }
}

/// Takes an instance off the table.
pub(crate) fn take_instance(instance: *const SpiceBaseInstance) -> Option<Arc<Instance>> {
    with_tables(|tables| tables.instances.remove(&instance.addr()))
}

/// Tells the host that the instance is no longer attached.
///
/// # Safety
/// The host's instance is still valid: it is being removed, or its server destroyed, right now.
pub(crate) unsafe fn detach(instance: &Instance) {
    // SAFETY: a field of the host's instance, which is valid by contract.
    unsafe { instance.st.0.write(std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_living_servers_are_found() {
        assert!(server("test", std::ptr::null_mut()).is_none());
        let pointer = add_server(Server::new());
        assert!(server("test", pointer).is_some());
        assert!(remove_server(pointer).is_some());
        assert!(server("test", pointer).is_none());
        assert!(remove_server(pointer).is_none());
    }

    #[test]
    fn a_declined_instance_is_known_until_it_is_removed() {
        let instance = SpiceBaseInstance { sif: std::ptr::null() };
        assert!(!is_declined((&raw const instance).addr()));
        decline(&raw const instance);
        assert!(is_declined((&raw const instance).addr()));
        assert!(super::instance("test", &raw const instance).is_none());
        assert!(take_declined(&raw const instance) && !take_declined(&raw const instance));
    }

    #[test]
    fn strings_come_back_once() {
        let pointer = add_server(Server::new());
        let (entry, _) = remove_server(pointer).unwrap();
        let string = entry.lend(c"a".into());
        entry.take_back(string);
        entry.take_back(string);
        entry.take_back(std::ptr::null());
    }
}
