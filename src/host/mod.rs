//! The host (hypervisor) as the core sees it. `capi` implements these traits over the C callbacks.
//!
//! The core calls [`EventLoop`], [`QxlControl`] and the input devices on host threads, under the host's own lock. Only the worker
//! calls its [`QxlDevice`]. The core holds no lock during any of these calls, since the host may call back into the library from
//! inside of them (server.md 3.7).

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

/// The number of a watch of the host. The implementor chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchId(pub u64);

/// The number of a timer of the host. The implementor chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(pub u64);

/// The number of one connection of a client, from accept to close. A server never reuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// The conditions that a watch waits for or reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Reading would not block.
    pub read: bool,
    /// Writing would not block.
    pub write: bool,
}

/// The host's main loop (SpiceCoreInterface). A callback may remove its own watch or timer. The implementor runs no callback
/// after its removal, and holds no lock while it runs one.
pub trait EventLoop: Send + Sync {
    /// Watches `fd`. `None`: the host refuses. There may be one watch per descriptor. The caller removes it before it closes the
    /// descriptor.
    fn watch_add(
        &self,
        fd: RawFd,
        interest: Readiness,
        callback: Arc<dyn Fn(Readiness) + Send + Sync>,
    ) -> Option<WatchId>;
    /// Changes what a watch waits for.
    fn watch_update(&self, watch: WatchId, interest: Readiness);
    /// Removes a watch.
    fn watch_remove(&self, watch: WatchId);
    /// Makes a timer that fires once and does not run yet. `None`: the host refuses.
    fn timer_add(&self, callback: Arc<dyn Fn() + Send + Sync>) -> Option<TimerId>;
    /// Starts the timer, or starts it anew.
    fn timer_start(&self, timer: TimerId, milliseconds: u32);
    /// Stops a timer.
    fn timer_cancel(&self, timer: TimerId);
    /// Removes a timer.
    fn timer_remove(&self, timer: TimerId);
    /// Tells the host about a connection. Hosts compare pointers, so the implementor keeps one C struct per `key` from
    /// `Connected` until `Disconnected` has returned (server.md 3.2).
    fn channel_event(&self, key: u64, event: ChannelEvent);
}

/// Socket addresses as `getsockname` and `getpeername` gave them: the raw bytes of a `sockaddr_storage`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketAddresses {
    /// The address on the side of the host.
    pub local: Vec<u8>,
    /// The address of the client.
    pub peer: Vec<u8>,
}

/// Life of one client connection (server.md 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    /// The connection was accepted.
    Connected(SocketAddresses),
    /// The client linked the connection to a channel.
    #[allow(missing_docs, reason = "the fields of SpiceChannelEventInfo")]
    Initialized { connection_id: u32, channel_type: u8, channel_id: u8, tls: bool },
    /// The socket is closed. This is the last event of a connection.
    Disconnected,
}

/// Answers of the QXL device at creation (QXLDevInitInfo).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of QXLDevInitInfo")]
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
#[allow(missing_docs, reason = "the fields of VDAgentMonConfig")]
pub struct ClientMonitor {
    pub height: u32,
    pub width: u32,
    pub depth: u32,
    pub x: i32,
    pub y: i32,
}

/// The callbacks of a QXL device that the core calls on host threads.
pub trait QxlControl: Send + Sync {
    /// The parameters of the device.
    fn init_info(&self) -> QxlInitInfo;
    /// Tells the guest how much it should compress, as the host interface defines it.
    fn set_compression_level(&self, level: i32);
    /// Passes a client's monitors configuration, a complete VDAgentMonitorsConfig, to the guest. `None` asks whether the guest
    /// supports that.
    fn client_monitors_config(&self, config: Option<&[u8]>) -> bool;
}

/// A memslot on its way from the host to a device. It decides which memory the device accesses, so only unsafe code can make one,
/// and the core has none. The core only passes it on; the device knows its real type.
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
    /// Takes and parses the next command of the display ring.
    fn next_display_command(&mut self) -> Fetched<DisplayCommand>;
    /// Takes and parses the next command of the cursor ring.
    fn next_cursor_command(&mut self) -> Fetched<CursorCommand>;
    /// Parses one command that did not come from a ring (loadvm).
    fn parse_display_command(&mut self, command: CommandExt) -> Fetched<DisplayCommand>;
    /// Like [`Self::parse_display_command`], for a cursor command.
    fn parse_cursor_command(&mut self, command: CommandExt) -> Fetched<CursorCommand>;
    /// Asks the guest to notify the host of the next command. `false`: a command is there already.
    fn request_display_notification(&mut self) -> bool;
    /// Like [`Self::request_display_notification`], for the cursor ring.
    fn request_cursor_notification(&mut self) -> bool;

    /// Gives the host the releases that dropped tokens have queued. The worker calls this at the end of each turn while the
    /// machine runs, and before it answers a synchronous request.
    fn release_pending(&mut self);
    /// Bytes of this process that unreleased commands occupy. Beyond `limits::MAX_HELD_COPIES` the device drops commands with
    /// such data, so the worker renders the oldest commands long before.
    fn held_bytes(&self) -> usize {
        0
    }
    /// Asks the host to push released resources to the guest. Returns how many it pushed.
    fn flush_resources(&mut self) -> i32;
    /// Tells the guest that an update command is done.
    fn notify_update(&mut self, update_id: u32);
    /// Tells the host that an asynchronous request is done.
    fn async_complete(&mut self, cookie: u64);
    /// Tells the host the dirty rectangles that an asynchronous update of an area found.
    fn update_area_complete(&mut self, surface_id: u32, dirty: &[Rect]);
    /// Does nothing if the host's interface is too old.
    fn set_client_capabilities(&mut self, present: bool, caps: &[u8; 58]);

    /// Adds a memslot: addresses of the guest may lead into its memory from now on.
    fn add_memslot(&mut self, slot: Box<dyn MemSlot>) -> Result<(), DeviceError>;
    /// Removes a memslot.
    fn del_memslot(&mut self, group_id: u32, slot_id: u32);
    /// Removes all memslots.
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

    /// What other threads complete requests with. `None`: only the worker does.
    fn completer(&self) -> Option<Arc<dyn Completer>> {
        None
    }

    /// The switch that other threads use to cut the device off from the guest. `None`: there is none.
    fn access(&self) -> Option<Arc<dyn GuestAccess>> {
        None
    }

    /// Whether the device records what it does.
    fn is_recording(&self) -> bool {
        false
    }
    /// Records a request of the device, if the device records (qxl.md C3). `primary` belongs to the creation of a primary
    /// surface.
    fn record_request(&mut self, request: u32, primary: Option<(&SurfaceSpec, &dyn ByteSource)>) {
        let _ = (request, primary);
    }
}

/// Tells the host that an asynchronous request is done, on any thread, until the device is removed.
pub trait Completer: Send + Sync + fmt::Debug {
    /// Like [`QxlDevice::async_complete`].
    fn async_complete(&self, cookie: u64);
}

/// Cuts a device off from its guest, on any thread. Afterwards the guest's memory reads as zero and ignores writes, its rings are
/// empty, and no command is released, until access has been restored as often as it was cut off.
pub trait GuestAccess: Send + Sync + fmt::Debug {
    /// Returns when the device's accesses to memory have ended.
    fn cut_off(&self);
    /// Restores access. Releases that waited meanwhile follow later.
    fn restore(&self);
}

/// A keyboard of the host.
pub trait Keyboard: Send + Sync {
    /// Gives one byte of a scan code to the guest.
    fn push_scan_code(&self, byte: u8);
    /// Bits 1 scroll, 2 num, 4 caps.
    fn leds(&self) -> u8;
}

/// A relative pointer of the host.
pub trait Mouse: Send + Sync {
    /// Moves the pointer by pixels and the wheel by `dz` notches.
    fn motion(&self, dx: i32, dy: i32, dz: i32, buttons: u32);
    /// Changes the buttons.
    fn buttons(&self, buttons: u32);
}

/// An absolute pointer of the host.
pub trait Tablet: Send + Sync {
    /// Sets the area in which positions lie.
    fn set_logical_size(&self, width: i32, height: i32);
    /// Places the pointer.
    fn position(&self, x: i32, y: i32, buttons: u32);
    /// Turns the wheel by `dz` notches.
    fn wheel(&self, dz: i32, buttons: u32);
    /// Changes the buttons.
    fn buttons(&self, buttons: u32);
}

/// What the core tells the host about the migration of clients (server.md 9.1).
pub trait MigrationHost: Send + Sync {
    /// The clients are linked to the target, or will not be.
    fn connect_complete(&self);
    /// The clients have left.
    fn end_complete(&self);
}

/// A character device of the host: a stream of bytes each way between a guest's device and the library (devices.md 2). No call
/// blocks. Each may call back into the library, also for the same device. The core never calls `write` from inside of `write`, or
/// `read` from inside of `read`.
pub trait CharDevice: Send + Sync {
    /// Tells whether a client uses the device. While none does, the host throws away what the guest writes.
    fn state(&self, connected: bool);
    /// Takes bytes for the guest; returns how many it took, 0 if it is full.
    fn write(&self, bytes: &[u8]) -> usize;
    /// Copies bytes of the guest into `buffer`; returns how many, 0 if there are none.
    fn read(&self, buffer: &mut [u8]) -> usize;
    /// Passes an event of a port's client on.
    fn event(&self, event: u8);
    /// Whether the host wakes the library up when a full device takes bytes again. The core asks once.
    fn tells_when_writable(&self) -> bool;
}

/// The number of an attached character device. A server never reuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub u64);

/// One plane of a GL scanout: a dmabuf that the library owns.
#[derive(Debug)]
pub struct GlPlane {
    /// The dmabuf.
    pub fd: OwnedFd,
    /// Offset of the first row (bytes).
    pub offset: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
}

/// A GL scanout (qxl.md A11). Without planes it stands for no scanout.
#[derive(Debug, Default)]
pub struct GlScanout {
    /// The planes of the picture.
    pub planes: Vec<GlPlane>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pixel format, a DRM fourcc.
    pub drm_fourcc: u32,
    /// Layout of the memory, a DRM format modifier.
    pub modifier: u64,
    /// Row 0 is the top one.
    pub y0_top: bool,
}
