//! The host of a mock guest: two rings, and a record of all that the device called.

use crate::callbacks::QxlCallbacks;
use crate::memory::Block;
use spice_server_core::geometry::Rect;
use spice_server_core::guest::ReleaseInfo;
use spice_server_core::host::CommandExt;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rings and records.
#[derive(Debug, Default)]
pub struct HostState {
    pub display: VecDeque<CommandExt>,
    pub cursor: VecDeque<CommandExt>,
    pub released: Vec<ReleaseInfo>,
    pub completed: Vec<u64>,
    pub updates: Vec<u32>,
    pub areas: Vec<(u32, Vec<Rect>)>,
    pub capabilities: Vec<(bool, [u8; 58])>,
    pub flushes: u32,
    /// What the next flushes return.
    pub flush_results: VecDeque<i32>,
    pub notifications: u32,
}

/// A handle on the state, shared with the device.
#[derive(Clone, Debug, Default)]
pub struct MockHost(Arc<Mutex<HostState>>);

impl MockHost {
    /// The state, locked; do not call the device meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, HostState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a command on the display ring.
    pub fn push(&self, command: CommandExt) {
        self.lock().display.push_back(command);
    }

    /// Queues a command on the cursor ring.
    pub fn push_cursor(&self, command: CommandExt) {
        self.lock().cursor.push_back(command);
    }

    /// Takes the releases made since.
    #[must_use]
    pub fn take_released(&self) -> Vec<ReleaseInfo> {
        std::mem::take(&mut self.lock().released)
    }
}

/// Callbacks of a device on a mock guest; they keep its memory alive.
#[derive(Debug)]
pub struct MockCallbacks {
    pub(super) host: MockHost,
    pub(super) memory: Arc<Block>,
}

impl QxlCallbacks for MockCallbacks {
    fn interface_version(&self) -> (u32, u32) {
        (3, 3)
    }

    fn get_command(&mut self) -> Option<CommandExt> {
        self.host.lock().display.pop_front()
    }

    fn get_cursor_command(&mut self) -> Option<CommandExt> {
        self.host.lock().cursor.pop_front()
    }

    fn req_cmd_notification(&mut self) -> bool {
        let mut host = self.host.lock();
        host.notifications += 1;
        host.display.is_empty()
    }

    fn req_cursor_notification(&mut self) -> bool {
        let mut host = self.host.lock();
        host.notifications += 1;
        host.cursor.is_empty()
    }

    fn release_resource(&mut self, info: ReleaseInfo) {
        debug_assert!(self.memory.is_empty() || info.address >= self.memory.address(), "not the guest's");
        self.host.lock().released.push(info);
    }

    fn flush_resources(&mut self) -> i32 {
        let mut host = self.host.lock();
        host.flushes += 1;
        host.flush_results.pop_front().unwrap_or(0)
    }

    fn notify_update(&mut self, update_id: u32) {
        self.host.lock().updates.push(update_id);
    }

    fn async_complete(&mut self, cookie: u64) {
        self.host.lock().completed.push(cookie);
    }

    fn update_area_complete(&mut self, surface_id: u32, dirty: &[Rect]) {
        self.host.lock().areas.push((surface_id, dirty.to_vec()));
    }

    fn set_client_capabilities(&mut self, present: bool, caps: &[u8; 58]) {
        self.host.lock().capabilities.push((present, *caps));
    }
}
