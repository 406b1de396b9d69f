//! The host's side of a QXL device as this crate needs it: the worker's part of `QXLInterface` in
//! Rust types (qxl.md A3). `capi` implements it over the C callbacks, the mock guest over plain memory.

use spice_server_core::geometry::Rect;
use spice_server_core::guest::ReleaseInfo;
use spice_server_core::host::{CommandExt, Completer};
use std::sync::Arc;

/// Callbacks of a QXL device, made on its worker thread only (after the worker was joined, the thread that removes
/// the interface hands back what is left), but for [`Self::completer`]. No lock of ours is held over any of them.
pub trait QxlCallbacks: Send {
    /// Version of the host's interface, (major, minor): a host compiled against an older minor has a shorter
    /// struct, so [`Self::set_client_capabilities`] is called from (3, 2) on only.
    fn interface_version(&self) -> (u32, u32);

    /// The next command of the display ring.
    fn get_command(&mut self) -> Option<CommandExt>;
    /// The next command of the cursor ring.
    fn get_cursor_command(&mut self) -> Option<CommandExt>;
    /// Asks the host to wake the worker when the display ring gets a command. `false`: one is there already.
    fn req_cmd_notification(&mut self) -> bool;
    /// Asks the host to wake the worker when the cursor ring gets a command. `false`: one is there already.
    fn req_cursor_notification(&mut self) -> bool;
    /// Gives a command back; `info.address` is never 0.
    fn release_resource(&mut self, info: ReleaseInfo);
    /// Has the host give released commands to the guest at once; returns how many it gave.
    fn flush_resources(&mut self) -> i32;
    /// The device rendered an update command of the guest with this id.
    fn notify_update(&mut self, update_id: u32);
    /// An asynchronous request is done.
    fn async_complete(&mut self, cookie: u64);
    /// The same callback for other threads. `None`: the host may be called on the worker's thread only.
    fn completer(&self) -> Option<Arc<dyn Completer>> {
        None
    }
    /// An asynchronous request to render an area is done, and these rectangles of the surface changed. The implementor
    /// passes C a valid pointer even for no rectangles (hosts look at element 0).
    fn update_area_complete(&mut self, surface_id: u32, dirty: &[Rect]);
    /// Tells the guest whether a client is there, and what it can do. Called from interface 3.2 on; the implementor still checks for NULL.
    fn set_client_capabilities(&mut self, present: bool, caps: &[u8; 58]);
}
