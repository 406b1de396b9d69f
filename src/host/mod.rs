//! The host (hypervisor) as the core sees it. `capi` implements these traits over the C callbacks.
//!
//! Threads: [`EventLoop`], [`QxlControl`] and the input devices are called on host threads under the host's own
//! lock; [`QxlDevice`] only on the worker. No lock of ours is held over any of these calls, since the host may call
//! back into the library from inside them (server.md 3.7).

pub(crate) mod call;

pub use crate::qxl_command::{
    CommandExt, CursorCommand, CursorShape, DisplayCommand, Fetched, MappedSurface, MonitorHead,
    MonitorsConfig, SurfaceCommand, SurfaceSpec, UpdateCommand,
};

use crate::geometry::Rect;
use crate::guest::ByteSource;
use std::any::Any;
use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

/// A watch of the host, by a number that the implementor hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchId(pub u64);

/// A timer of the host, by a number that the implementor hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(pub u64);

/// One connection of a client, from accept to close. Never reused within a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// The conditions that a watch waits for or reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    pub read: bool,
    pub write: bool,
}

/// The host's main loop (SpiceCoreInterface). Callbacks may remove their own watch or timer. Implementors never run
/// a callback after its removal, and hold no lock while running one.
pub trait EventLoop: Send + Sync {
    /// Watches `fd`; `None` when the host refuses. At most one watch per fd; remove it before closing the fd.
    fn watch_add(
        &self,
        fd: RawFd,
        interest: Readiness,
        callback: Arc<dyn Fn(Readiness) + Send + Sync>,
    ) -> Option<WatchId>;
    fn watch_update(&self, watch: WatchId, interest: Readiness);
    fn watch_remove(&self, watch: WatchId);
    /// A one-shot timer, not running yet; `None` when the host refuses.
    fn timer_add(&self, callback: Arc<dyn Fn() + Send + Sync>) -> Option<TimerId>;
    /// (Re)arms the timer.
    fn timer_start(&self, timer: TimerId, milliseconds: u32);
    fn timer_cancel(&self, timer: TimerId);
    fn timer_remove(&self, timer: TimerId);
    /// Tells the host about a connection. The implementor keeps one C struct per `key` from `Connected` until
    /// `Disconnected` has returned (pointer identity: server.md 3.2).
    fn channel_event(&self, key: u64, event: ChannelEvent);
}

/// Socket addresses as `getsockname` and `getpeername` gave them: the raw bytes of a `sockaddr_storage`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketAddresses {
    pub local: Vec<u8>,
    pub peer: Vec<u8>,
}

/// Life of one client connection (server.md 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    Connected(SocketAddresses),
    Initialized { connection_id: u32, channel_type: u8, channel_id: u8, tls: bool },
    Disconnected,
}

/// Answers of the QXL device at creation (QXLDevInitInfo).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QxlInitInfo {
    pub num_memslot_groups: u32,
    pub num_memslots: u32,
    pub memslot_gen_bits: u8,
    pub memslot_id_bits: u8,
    pub qxl_ram_size: u32,
    pub internal_groupslot_id: u8,
    pub n_surfaces: u32,
}

/// One monitor of a client's monitors configuration (VDAgentMonConfig).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientMonitor {
    pub height: u32,
    pub width: u32,
    pub depth: u32,
    pub x: i32,
    pub y: i32,
}

/// QXL callbacks made on host threads.
pub trait QxlControl: Send + Sync {
    fn init_info(&self) -> QxlInitInfo;
    fn set_compression_level(&self, level: i32);
    /// `None` asks whether the guest supports it. The bytes are a complete VDAgentMonitorsConfig.
    fn client_monitors_config(&self, config: Option<&[u8]>) -> bool;
}

/// A memslot on its way from the host to a device. The device knows its real type. The core only passes it on: a memslot
/// decides which memory the device accesses, so the code that can make one has to be unsafe, and there is none here.
pub trait MemSlot: Any + fmt::Debug + Send {}

/// Why the device refused a request or a structure of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceError(pub String);

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DeviceError {}

/// A QXL device, used by its worker thread only. The `qxl` crate implements it over the host's callbacks and the
/// guest's memory; tests implement it with a mock guest.
pub trait QxlDevice: Send {
    fn next_display_command(&mut self) -> Fetched<DisplayCommand>;
    fn next_cursor_command(&mut self) -> Fetched<CursorCommand>;
    /// Parses one command that did not come from a ring (loadvm).
    fn parse_display_command(&mut self, command: CommandExt) -> Fetched<DisplayCommand>;
    fn parse_cursor_command(&mut self, command: CommandExt) -> Fetched<CursorCommand>;
    /// `false`: a command is there already, poll again at once.
    fn request_display_notification(&mut self) -> bool;
    fn request_cursor_notification(&mut self) -> bool;

    /// Hands every release queued by dropped tokens to the host. Called by the worker at the end of each turn
    /// while running, and before a synchronous request is acknowledged.
    fn release_pending(&mut self);
    /// Bytes of this process that commands not released yet occupy. Beyond `limits::MAX_HELD_COPIES` further commands
    /// with such data are dropped, so the worker renders the oldest drawables long before.
    fn held_bytes(&self) -> usize {
        0
    }
    /// Number of resources that the host pushed to the guest.
    fn flush_resources(&mut self) -> i32;
    fn notify_update(&mut self, update_id: u32);
    fn async_complete(&mut self, cookie: u64);
    fn update_area_complete(&mut self, surface_id: u32, dirty: &[Rect]);
    /// Does nothing if the host's interface is too old.
    fn set_client_capabilities(&mut self, present: bool, caps: &[u8; 58]);

    /// Lets addresses of the guest lead into the slot's memory.
    fn add_memslot(&mut self, slot: Box<dyn MemSlot>) -> Result<(), DeviceError>;
    fn del_memslot(&mut self, group_id: u32, slot_id: u32);
    fn reset_memslots(&mut self);
    /// Checks the parameters (qxl.md A6) and maps the memory; zero-fills it unless `keep_data`.
    fn map_surface(&mut self, spec: &SurfaceSpec) -> Result<MappedSurface, DeviceError>;
    /// Reads the guest's monitors configuration once (qxl.md A10), clamped to `max_monitors`.
    fn read_monitors_config(
        &mut self,
        address: u64,
        group_id: u32,
        max_monitors: u32,
    ) -> Result<MonitorsConfig, DeviceError>;

    /// For other threads: the switch between the device and the guest. `None`: there is none.
    fn access(&self) -> Option<Arc<dyn GuestAccess>> {
        None
    }

    /// Whether a recording is being made.
    fn is_recording(&self) -> bool {
        false
    }
    /// Logs a device request into the recording, if one is being made (qxl.md C3). `primary` only for the primary creates.
    fn record_request(&mut self, request: u32, primary: Option<(&SurfaceSpec, &dyn ByteSource)>) {
        let _ = (request, primary);
    }
}

/// Cuts a device off from its guest, from any thread: afterwards its memory reads as zero and ignores writes, its rings
/// are empty, and no command is given back to it, until access is restored as often as it was cut off.
pub trait GuestAccess: Send + Sync + fmt::Debug {
    /// Returns when the device's accesses to memory have ended.
    fn cut_off(&self);
    /// What was to be given back to the guest meanwhile follows later.
    fn restore(&self);
}

/// A keyboard of the host.
pub trait Keyboard: Send + Sync {
    fn push_scan_code(&self, byte: u8);
    /// Bits 1 scroll, 2 num, 4 caps.
    fn leds(&self) -> u8;
}

/// A relative pointer of the host.
pub trait Mouse: Send + Sync {
    fn motion(&self, dx: i32, dy: i32, dz: i32, buttons: u32);
    fn buttons(&self, buttons: u32);
}

/// An absolute pointer of the host.
pub trait Tablet: Send + Sync {
    fn set_logical_size(&self, width: i32, height: i32);
    fn position(&self, x: i32, y: i32, buttons: u32);
    fn wheel(&self, dz: i32, buttons: u32);
    fn buttons(&self, buttons: u32);
}

/// What the host wants to hear of the migration of its clients (server.md 9.1).
pub trait MigrationHost: Send + Sync {
    /// The clients are linked to the target, or will not be.
    fn connect_complete(&self);
    /// The clients have left.
    fn end_complete(&self);
}

/// A character device of the host: a stream of bytes each way between a guest's device and the library (devices.md 2). No
/// call blocks. Each may call back into the library, also for the same device; `write` and `read` are never made from
/// inside of themselves.
pub trait CharDevice: Send + Sync {
    /// Tells whether a client uses the device. While none does, the host throws away what the guest writes.
    fn state(&self, connected: bool);
    /// Takes bytes for the guest; returns how many it took, 0 if it is full.
    fn write(&self, bytes: &[u8]) -> usize;
    /// Copies bytes of the guest into `buffer`; returns how many, 0 if there are none.
    fn read(&self, buffer: &mut [u8]) -> usize;
    /// An event of a port's client.
    fn event(&self, event: u8);
    /// Whether the host wakes the library up when a full device takes bytes again. Asked once.
    fn tells_when_writable(&self) -> bool;
}

/// An attached character device. Never reused within a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub u64);

/// One plane of a GL scanout: a dmabuf that we own.
#[derive(Debug)]
pub struct GlPlane {
    pub fd: OwnedFd,
    pub offset: u32,
    pub stride: u32,
}

/// A GL scanout (qxl.md A11). No planes: none is set.
#[derive(Debug, Default)]
pub struct GlScanout {
    pub planes: Vec<GlPlane>,
    pub width: u32,
    pub height: u32,
    pub drm_fourcc: u32,
    pub modifier: u64,
    /// Row 0 is the top one.
    pub y0_top: bool,
}
