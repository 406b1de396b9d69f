//! The QXL device of the host: what is called on host threads ([`Control`]) and on the worker.

use super::HostPointer;
use crate::abi::{
    QXLCommandExt, QXLDevInitInfo, QXLInstance, QXLInterface, QXLRect, QXLReleaseInfoExt,
    VDAgentMonitorsConfig,
};
use crate::handle::{self, Kind, ServerEntry};
use libc::c_int;
use spice_qxl::QxlCallbacks;
use spice_server_core::geometry::Rect;
use spice_server_core::guest::ReleaseInfo;
use spice_server_core::host::{CommandExt, Completer, QxlControl, QxlInitInfo};
use spice_server_core::reds::QxlInstance;
use std::sync::{Arc, Weak};

/// The callbacks made on host threads, copied when the device was added.
#[allow(missing_debug_implementations, reason = "holds function pointers")]
pub(crate) struct Control {
    instance: HostPointer<QXLInstance>,
    /// Weak: the server owns this object.
    server: Weak<ServerEntry>,
    /// The deprecated two-argument form: a callback of one argument ignores the second register.
    attached_worker: Option<unsafe extern "C" fn(*mut QXLInstance, *mut crate::abi::QXLWorker)>,
    set_compression_level: Option<unsafe extern "C" fn(*mut QXLInstance, c_int)>,
    get_init_info: Option<unsafe extern "C" fn(*mut QXLInstance, *mut QXLDevInitInfo)>,
    client_monitors_config:
        Option<unsafe extern "C" fn(*mut QXLInstance, *mut VDAgentMonitorsConfig) -> c_int>,
}

impl Control {
    /// # Safety
    /// `instance` has an interface of type qxl whose struct is as long as its minor version promises, and stays
    /// valid until it is removed or the server destroyed.
    pub(crate) unsafe fn new(instance: *mut QXLInstance, server: &Arc<ServerEntry>) -> Self {
        // SAFETY: by contract; client_monitors_config is read only where the version says that it is there.
        unsafe {
            let interface = (*instance).base.sif.cast::<QXLInterface>();
            Self {
                instance: HostPointer(instance),
                server: Arc::downgrade(server),
                attached_worker: (*interface).attached_worker.attache_worker,
                set_compression_level: (*interface).set_compression_level,
                get_init_info: (*interface).get_init_info,
                client_monitors_config: if (*interface).base.minor_version >= 3 {
                    (*interface).client_monitors_config
                } else {
                    None
                },
            }
        }
    }
}

impl Control {
    /// The worker exists: the host's calls find the instance from here on, and the host is told.
    pub(crate) fn attached_worker(&self, instance: &Arc<QxlInstance>) {
        let Some(server) = self.server.upgrade() else { return };
        let pointer = self.instance.0;
        // SAFETY: the host is adding this instance right now; from here on its calls must find it.
        unsafe {
            handle::attach(pointer.cast(), &raw mut (*pointer).st, &server, Kind::Qxl(Arc::clone(instance)));
        }
        if let Some(call) = self.attached_worker {
            // SAFETY: the host's own function; the second argument is the instance again (qxl.md A1). A newer host's
            // function has one parameter: that it may be called with two rests on the C calling conventions of the
            // platforms, as with the original, and does not hold for a host that is built with control flow integrity.
            unsafe { call(self.instance.0, self.instance.0.cast()) };
        }
    }
}

impl QxlControl for Control {
    fn init_info(&self) -> QxlInitInfo {
        let mut info = QXLDevInitInfo::default();
        if let Some(call) = self.get_init_info {
            // SAFETY: the host's own function and instance; `info` lives through the call.
            unsafe { call(self.instance.0, &raw mut info) };
        }
        QxlInitInfo {
            num_memslot_groups: info.num_memslots_groups,
            num_memslots: info.num_memslots,
            memslot_gen_bits: info.memslot_gen_bits,
            memslot_id_bits: info.memslot_id_bits,
            qxl_ram_size: info.qxl_ram_size,
            internal_groupslot_id: info.internal_groupslot_id,
            n_surfaces: info.n_surfaces,
        }
    }

    fn set_compression_level(&self, level: i32) {
        if let Some(call) = self.set_compression_level {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0, level) };
        }
    }

    fn client_monitors_config(&self, config: Option<&[u8]>) -> bool {
        let Some(call) = self.client_monitors_config else { return false };
        // The host may read it as an array of u32 and is not told that it must not write.
        let mut copy: Vec<u32> = Vec::new();
        let pointer = match config {
            None => std::ptr::null_mut(),
            Some(bytes) => {
                copy.extend(bytes.chunks(4).map(|chunk| {
                    let mut word = [0; 4];
                    word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
                    u32::from_ne_bytes(word)
                }));
                // The head of 8 bytes is always readable.
                copy.resize(copy.len().max(2), 0);
                copy.as_mut_ptr()
            }
        };
        // SAFETY: the host's own function; the buffer holds a complete message and lives through the call.
        unsafe { call(self.instance.0, pointer.cast()) != 0 }
    }
}

/// The callbacks made on the worker thread, copied when the device was added.
#[allow(missing_debug_implementations, reason = "holds function pointers")]
pub(crate) struct Callbacks {
    instance: HostPointer<QXLInstance>,
    version: (u32, u32),
    get_command: Option<unsafe extern "C" fn(*mut QXLInstance, *mut QXLCommandExt) -> c_int>,
    req_cmd_notification: Option<unsafe extern "C" fn(*mut QXLInstance) -> c_int>,
    release_resource: Option<unsafe extern "C" fn(*mut QXLInstance, QXLReleaseInfoExt)>,
    get_cursor_command: Option<unsafe extern "C" fn(*mut QXLInstance, *mut QXLCommandExt) -> c_int>,
    req_cursor_notification: Option<unsafe extern "C" fn(*mut QXLInstance) -> c_int>,
    notify_update: Option<unsafe extern "C" fn(*mut QXLInstance, u32)>,
    flush_resources: Option<unsafe extern "C" fn(*mut QXLInstance) -> c_int>,
    async_complete: Option<unsafe extern "C" fn(*mut QXLInstance, u64)>,
    update_area_complete: Option<unsafe extern "C" fn(*mut QXLInstance, u32, *mut QXLRect, u32)>,
    set_client_capabilities: Option<unsafe extern "C" fn(*mut QXLInstance, u8, *mut u8)>,
}

impl Callbacks {
    /// # Safety
    /// As for [`Control::new`].
    pub(crate) unsafe fn new(instance: *mut QXLInstance) -> Self {
        // SAFETY: by contract; set_client_capabilities is read only where the version says that it is there.
        unsafe {
            let interface = (*instance).base.sif.cast::<QXLInterface>();
            let version = ((*interface).base.major_version, (*interface).base.minor_version);
            Self {
                instance: HostPointer(instance),
                version,
                get_command: (*interface).get_command,
                req_cmd_notification: (*interface).req_cmd_notification,
                release_resource: (*interface).release_resource,
                get_cursor_command: (*interface).get_cursor_command,
                req_cursor_notification: (*interface).req_cursor_notification,
                notify_update: (*interface).notify_update,
                flush_resources: (*interface).flush_resources,
                async_complete: (*interface).async_complete,
                update_area_complete: (*interface).update_area_complete,
                set_client_capabilities: if version.1 >= 2 {
                    (*interface).set_client_capabilities
                } else {
                    None
                },
            }
        }
    }

    fn fetch(
        &self,
        call: Option<unsafe extern "C" fn(*mut QXLInstance, *mut QXLCommandExt) -> c_int>,
    ) -> Option<CommandExt> {
        let call = call?;
        let mut command = QXLCommandExt::default();
        // SAFETY: the host's own function and instance; `command` lives through the call.
        if unsafe { call(self.instance.0, &raw mut command) } == 0 {
            return None;
        }
        Some(command_ext(&command))
    }
}

/// The callback for completed requests, for any thread.
#[derive(Debug)]
struct Completion {
    instance: HostPointer<QXLInstance>,
    call: unsafe extern "C" fn(*mut QXLInstance, u64),
}

impl Completer for Completion {
    fn async_complete(&self, cookie: u64) {
        // SAFETY: the host's own function and instance, which is valid until the device is removed. The worker's threads end
        // before that. The function must not mind which thread calls it: hosts give it to a worker that they do not know.
        unsafe { (self.call)(self.instance.0, cookie) };
    }
}

/// The numbers of a command.
pub(crate) fn command_ext(command: &QXLCommandExt) -> CommandExt {
    CommandExt {
        address: command.cmd.data,
        command_type: command.cmd.command_type,
        group_id: command.group_id,
        flags: command.flags,
    }
}

/// A rectangle as C has it.
pub(crate) fn qxl_rect(rect: &Rect) -> QXLRect {
    QXLRect { top: rect.top, left: rect.left, bottom: rect.bottom, right: rect.right }
}

impl QxlCallbacks for Callbacks {
    fn interface_version(&self) -> (u32, u32) {
        self.version
    }

    fn get_command(&mut self) -> Option<CommandExt> {
        self.fetch(self.get_command)
    }

    fn get_cursor_command(&mut self) -> Option<CommandExt> {
        self.fetch(self.get_cursor_command)
    }

    fn req_cmd_notification(&mut self) -> bool {
        // SAFETY: the host's own function and instance. A missing callback must not make the worker spin.
        self.req_cmd_notification.is_none_or(|call| unsafe { call(self.instance.0) } != 0)
    }

    fn req_cursor_notification(&mut self) -> bool {
        // SAFETY: as above.
        self.req_cursor_notification.is_none_or(|call| unsafe { call(self.instance.0) } != 0)
    }

    fn release_resource(&mut self, info: ReleaseInfo) {
        let Ok(address) = usize::try_from(info.address) else { return };
        if let Some(call) = self.release_resource {
            let info = QXLReleaseInfoExt {
                info: std::ptr::with_exposed_provenance_mut(address),
                group_id: info.group_id,
            };
            // SAFETY: the host's own function and instance; the address came from a memslot of the host.
            unsafe { call(self.instance.0, info) };
        }
    }

    fn flush_resources(&mut self) -> i32 {
        // SAFETY: the host's own function and instance.
        self.flush_resources.map_or(0, |call| unsafe { call(self.instance.0) })
    }

    fn notify_update(&mut self, update_id: u32) {
        if let Some(call) = self.notify_update {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0, update_id) };
        }
    }

    fn async_complete(&mut self, cookie: u64) {
        if let Some(call) = self.async_complete {
            // SAFETY: the host's own function and instance.
            unsafe { call(self.instance.0, cookie) };
        }
    }

    fn completer(&self) -> Option<Arc<dyn Completer>> {
        let call = self.async_complete?;
        Some(Arc::new(Completion { instance: self.instance, call }))
    }

    fn update_area_complete(&mut self, surface_id: u32, dirty: &[Rect]) {
        let Some(call) = self.update_area_complete else { return };
        let mut rects: Vec<QXLRect> = dirty.iter().map(qxl_rect).collect();
        let count = u32::try_from(rects.len()).unwrap_or(u32::MAX);
        // Hosts look at the first one even when there is none.
        if rects.is_empty() {
            rects.push(QXLRect::default());
        }
        // SAFETY: the host's own function and instance; the array lives through the call.
        unsafe { call(self.instance.0, surface_id, rects.as_mut_ptr(), count) };
    }

    fn set_client_capabilities(&mut self, present: bool, caps: &[u8; 58]) {
        if let Some(call) = self.set_client_capabilities {
            // A copy: the type of the parameter lets the host write.
            let mut caps = *caps;
            // SAFETY: the host's own function and instance; the array lives through the call.
            unsafe { call(self.instance.0, u8::from(present), caps.as_mut_ptr()) };
        }
    }
}
