//! `spice-qxl.h`: the graphics device. Threads and order of the calls: qxl.md A2 to A4.

use super::core::{SpiceBaseInstance, SpiceBaseInterface};
use super::opaque::{QXLState, QXLWorker};
use super::protocol::{QXLCommandExt, QXLRect, QXLReleaseInfoExt, VDAgentMonitorsConfig};
use libc::c_int;

pub const SPICE_INTERFACE_QXL: &str = "qxl";
pub const SPICE_INTERFACE_QXL_MAJOR: u32 = 3;
pub const SPICE_INTERFACE_QXL_MINOR: u32 = 3;

/// Properties of a device, asked for when it is added.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct QXLDevInitInfo {
    pub num_memslots_groups: u32,
    /// Slots in each group.
    pub num_memslots: u32,
    /// Bits of an address that hold the slot's generation, below the slot id.
    pub memslot_gen_bits: u8,
    /// Topmost bits of an address, which hold the slot id.
    pub memslot_id_bits: u8,
    /// Hint for clients (bytes).
    pub qxl_ram_size: u32,
    /// Reserved slot; not used.
    pub internal_groupslot_id: u8,
    /// Number of surfaces, the primary included.
    pub n_surfaces: u32,
}

/// A range of memory that guest addresses may point into.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct QXLDevMemSlot {
    pub slot_group_id: u32,
    pub slot_id: u32,
    /// Addresses of another generation are refused.
    pub generation: u32,
    /// First byte of the range in the host's process.
    pub virt_start: usize,
    /// End of the range, exclusive.
    pub virt_end: usize,
    /// Added to the offset in an address to get the host's address.
    pub addr_delta: u64,
    /// Not used.
    pub qxl_ram_size: u32,
}

/// The primary surface: the screen.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct QXLDevSurfaceCreate {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes from row to row; negative when the bottom row comes first in memory.
    pub stride: i32,
    /// SPICE_SURFACE_FMT_*.
    pub format: u32,
    /// Not used.
    pub position: u32,
    /// Not 0: clients may use absolute pointer positions on it.
    pub mouse_mode: u32,
    /// QXL_SURF_FLAG_* bits.
    pub flags: u32,
    /// Not used.
    pub r#type: u32,
    /// Address of the lowest byte of the pixels.
    pub mem: u64,
    /// Memslot group of mem.
    pub group_id: u32,
}

/// Two names of one callback.
#[repr(C)]
#[derive(Clone, Copy)]
pub union AttachedWorker {
    pub attached_worker: Option<unsafe extern "C" fn(qin: *mut QXLInstance)>,
    pub attache_worker: Option<unsafe extern "C" fn(qin: *mut QXLInstance, qxl_worker: *mut QXLWorker)>,
}

/// A graphics device of the host. From get_command to set_client_capabilities the callbacks run on the device's
/// worker thread; hosts must not wait there for a lock that they hold during calls into the library.
#[repr(C)]
pub struct QXLInterface {
    pub base: SpiceBaseInterface,
    /// The worker exists: spice_qxl_* may be called. From within spice_server_add_interface().
    pub attached_worker: AttachedWorker,
    /// 1 when images are compressed with QUIC and there are no video streams, else 0.
    pub set_compression_level: Option<unsafe extern "C" fn(qin: *mut QXLInstance, level: c_int)>,
    /// Never called.
    pub set_mm_time: Option<unsafe extern "C" fn(qin: *mut QXLInstance, mm_time: u32)>,
    /// Fills in the properties of the device.
    pub get_init_info: Option<unsafe extern "C" fn(qin: *mut QXLInstance, info: *mut QXLDevInitInfo)>,
    /// Takes the next command off the display ring; 0 when it is empty. Must not block.
    pub get_command: Option<unsafe extern "C" fn(qin: *mut QXLInstance, cmd: *mut QXLCommandExt) -> c_int>,
    /// Asks for spice_qxl_wakeup() when the display ring gets a command. 0: it has one already.
    pub req_cmd_notification: Option<unsafe extern "C" fn(qin: *mut QXLInstance) -> c_int>,
    /// Gives the memory of a command back, exactly once per command.
    pub release_resource:
        Option<unsafe extern "C" fn(qin: *mut QXLInstance, release_info: QXLReleaseInfoExt)>,
    /// Like get_command, for the cursor ring.
    pub get_cursor_command:
        Option<unsafe extern "C" fn(qin: *mut QXLInstance, cmd: *mut QXLCommandExt) -> c_int>,
    /// Like req_cmd_notification, for the cursor ring.
    pub req_cursor_notification: Option<unsafe extern "C" fn(qin: *mut QXLInstance) -> c_int>,
    /// An update command of the guest has been rendered.
    pub notify_update: Option<unsafe extern "C" fn(qin: *mut QXLInstance, update_id: u32)>,
    /// Pushes collected releases to the guest, which is out of memory; returns how many.
    pub flush_resources: Option<unsafe extern "C" fn(qin: *mut QXLInstance) -> c_int>,
    /// An asynchronous call is done.
    pub async_complete: Option<unsafe extern "C" fn(qin: *mut QXLInstance, cookie: u64)>,
    /// Changed areas, right before the completion of spice_qxl_update_area_async().
    pub update_area_complete: Option<
        unsafe extern "C" fn(
            qin: *mut QXLInstance,
            surface_id: u32,
            updated_rects: *mut QXLRect,
            num_updated_rects: u32,
        ),
    >,
    /// What all connected clients can do, SPICE_CAPABILITIES_SIZE bytes; since version 3.2.
    pub set_client_capabilities:
        Option<unsafe extern "C" fn(qin: *mut QXLInstance, client_present: u8, caps: *mut u8)>,
    /// A client's wish for monitors. Returns 1 if the guest takes such wishes; NULL only asks for that. Since
    /// version 3.3.
    pub client_monitors_config: Option<
        unsafe extern "C" fn(qin: *mut QXLInstance, monitors_config: *mut VDAgentMonitorsConfig) -> c_int,
    >,
}

/// Filled by the host but for st, which the library sets while the instance is attached.
#[repr(C)]
pub struct QXLInstance {
    pub base: SpiceBaseInstance,
    /// Number of the display channel.
    pub id: c_int,
    pub st: *mut QXLState,
}
