//! Calls of the host as data. State machines under the server's lock ask for them, and the server makes them when the lock
//! is released (server.md 3.7). Being values, they can be logged, compared in tests and printed by oracles.

use super::{
    ChannelEvent, CharDevice, ConnectionId, DeviceId, EventLoop, Keyboard, MigrationHost, Mouse, QxlControl,
    Readiness, Tablet, WatchId,
};
use crate::spare;
use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;

/// One call of the host.
#[derive(Clone, Debug)]
pub enum HostCall {
    /// Watch a connection's socket; answered by [`HostReply::Watch`].
    AddWatch { connection: ConnectionId, fd: RawFd, interest: Readiness },
    /// Change what a watch waits for.
    UpdateWatch(WatchId, Readiness),
    /// Remove a watch, before its descriptor is closed.
    RemoveWatch(WatchId),
    /// Tell the host about a connection.
    Event(ConnectionId, ChannelEvent),
    /// Give scan codes to the keyboard, in order.
    ScanCodes(Arc<dyn Keyboard>, Vec<u8>),
    /// Ask for the guest's LEDs on behalf of a connection, or of all; answered by [`HostReply::Leds`].
    AskLeds { keyboard: Arc<dyn Keyboard>, connection: Option<ConnectionId> },
    /// Move the relative pointer.
    MouseMotion { mouse: Arc<dyn Mouse>, dx: i32, dy: i32, dz: i32, buttons: u32 },
    /// Change the buttons of the relative pointer.
    MouseButtons { mouse: Arc<dyn Mouse>, buttons: u32 },
    /// Set the area in which the tablet's positions lie.
    TabletSize { tablet: Arc<dyn Tablet>, width: i32, height: i32 },
    /// Place the absolute pointer.
    TabletPosition { tablet: Arc<dyn Tablet>, x: i32, y: i32, buttons: u32 },
    /// Turn the absolute pointer's wheel.
    TabletWheel { tablet: Arc<dyn Tablet>, dz: i32, buttons: u32 },
    /// Change the buttons of the absolute pointer.
    TabletButtons { tablet: Arc<dyn Tablet>, buttons: u32 },
    /// Give the bytes from `offset` on to a device; answered by [`HostReply::DeviceWritten`].
    DeviceWrite { device: DeviceHandle, bytes: Vec<u8>, offset: usize },
    /// Read at most `max` bytes of a device; answered by [`HostReply::DeviceRead`].
    DeviceRead { device: DeviceHandle, max: usize },
    /// Tell a device whether a client uses it.
    DeviceState { device: DeviceHandle, connected: bool },
    /// Give a device an event of its client.
    DeviceEvent { device: DeviceHandle, event: u8 },
    /// Ask whether all of the QXL devices, of which there is one at least, pass clients' monitors configurations to their
    /// guest; answered by [`HostReply::TakesMonitors`].
    AskMonitors { controls: Vec<Arc<dyn QxlControl>> },
    /// Give a client's monitors configuration, a whole VDAgentMonitorsConfig, to a QXL device.
    Monitors { control: Arc<dyn QxlControl>, config: Arc<[u8]> },
    /// Tell that clients are linked to the target of a migration, or will not be.
    MigrationConnected(Arc<dyn MigrationHost>),
    /// Tell that the clients of a machine that moved have left.
    MigrationEnded(Arc<dyn MigrationHost>),
}

/// A character device with its name.
#[derive(Clone)]
pub struct DeviceHandle {
    pub id: DeviceId,
    pub device: Arc<dyn CharDevice>,
}

/// The answer to a call that has one.
#[derive(Clone, Debug)]
pub enum HostReply {
    /// To [`HostCall::AddWatch`]; `None`: the host refused.
    Watch { connection: ConnectionId, watch: Option<WatchId> },
    /// To [`HostCall::AskLeds`]: bits 1 scroll, 2 num, 4 caps.
    Leds { connection: Option<ConnectionId>, leds: u8 },
    /// To [`HostCall::DeviceWrite`]: the bytes back, of which `taken` more were taken.
    DeviceWritten { device: DeviceId, bytes: Vec<u8>, taken: usize },
    /// To [`HostCall::DeviceRead`]: what the guest wrote; nothing if there is nothing.
    DeviceRead { device: DeviceId, bytes: Vec<u8> },
    /// To [`HostCall::AskMonitors`].
    TakesMonitors(bool),
}

/// The callback of a connection's watch.
pub(crate) type OnReady = Arc<dyn Fn(Readiness) + Send + Sync>;

impl HostCall {
    /// Makes the call. The caller holds no lock. `event_loop` is `None` before init and after destroy, when calls of the loop
    /// do nothing. `on_ready` makes the callback of a connection's watch.
    pub fn perform(
        self,
        event_loop: Option<&dyn EventLoop>,
        on_ready: impl FnOnce(ConnectionId) -> OnReady,
    ) -> Option<HostReply> {
        match (self, event_loop) {
            (Self::AddWatch { connection, fd, interest }, _) => {
                let watch = event_loop.and_then(|l| l.watch_add(fd, interest, on_ready(connection)));
                return Some(HostReply::Watch { connection, watch });
            }
            (Self::AskLeds { keyboard, connection }, _) => {
                return Some(HostReply::Leds { connection, leds: keyboard.leds() });
            }
            (Self::UpdateWatch(watch, interest), Some(l)) => l.watch_update(watch, interest),
            (Self::RemoveWatch(watch), Some(l)) => l.watch_remove(watch),
            (Self::Event(connection, event), Some(l)) => l.channel_event(connection.0, event),
            (Self::UpdateWatch(..) | Self::RemoveWatch(_) | Self::Event(..), None) => {}
            (Self::ScanCodes(keyboard, bytes), _) => {
                bytes.into_iter().for_each(|byte| keyboard.push_scan_code(byte));
            }
            (Self::MouseMotion { mouse, dx, dy, dz, buttons }, _) => mouse.motion(dx, dy, dz, buttons),
            (Self::MouseButtons { mouse, buttons }, _) => mouse.buttons(buttons),
            (Self::TabletSize { tablet, width, height }, _) => tablet.set_logical_size(width, height),
            (Self::TabletPosition { tablet, x, y, buttons }, _) => tablet.position(x, y, buttons),
            (Self::TabletWheel { tablet, dz, buttons }, _) => tablet.wheel(dz, buttons),
            (Self::TabletButtons { tablet, buttons }, _) => tablet.buttons(buttons),
            (Self::DeviceWrite { device, bytes, offset }, _) => {
                let rest = bytes.get(offset..).unwrap_or_default();
                // The host may claim to have read more than there was room for.
                let taken = device.device.write(rest).min(rest.len());
                return Some(HostReply::DeviceWritten { device: device.id, bytes, taken });
            }
            (Self::DeviceRead { device, max }, _) => {
                return Some(HostReply::DeviceRead { device: device.id, bytes: read_device(&device, max) });
            }
            (Self::DeviceState { device, connected }, _) => device.device.state(connected),
            (Self::DeviceEvent { device, event }, _) => device.device.event(event),
            (Self::AskMonitors { controls }, _) => {
                let takes = !controls.is_empty() && controls.iter().all(|c| c.client_monitors_config(None));
                return Some(HostReply::TakesMonitors(takes));
            }
            (Self::Monitors { control, config }, _) => {
                control.client_monitors_config(Some(&config));
            }
            (Self::MigrationConnected(host), _) => host.connect_complete(),
            (Self::MigrationEnded(host), _) => host.end_complete(),
        }
        None
    }

    /// Whether this is a call of the event loop.
    #[must_use]
    pub fn is_of_loop(&self) -> bool {
        matches!(self, Self::AddWatch { .. } | Self::UpdateWatch(..) | Self::RemoveWatch(_) | Self::Event(..))
    }

    /// Whether this is a call of the given tablet, which the host is about to free.
    #[must_use]
    pub fn is_of_tablet(&self, gone: &Arc<dyn Tablet>) -> bool {
        match self {
            Self::TabletSize { tablet, .. }
            | Self::TabletPosition { tablet, .. }
            | Self::TabletWheel { tablet, .. }
            | Self::TabletButtons { tablet, .. } => Arc::ptr_eq(tablet, gone),
            _ => false,
        }
    }
}

impl HostReply {
    /// Whether a character device answers.
    #[must_use]
    pub fn is_of_device(&self) -> bool {
        matches!(self, Self::DeviceWritten { .. } | Self::DeviceRead { .. })
    }
}

impl HostCall {
    /// Whether this is a call of the given character device, which the host is about to free.
    #[must_use]
    pub fn is_of_device(&self, gone: DeviceId) -> bool {
        match self {
            Self::DeviceWrite { device, .. }
            | Self::DeviceRead { device, .. }
            | Self::DeviceState { device, .. }
            | Self::DeviceEvent { device, .. } => device.id == gone,
            _ => false,
        }
    }
}

/// At most `max` bytes of a device.
fn read_device(device: &DeviceHandle, max: usize) -> Vec<u8> {
    let mut room = spare::take(max);
    let count = device.device.read(&mut room).min(max);
    if count > max / 2 {
        room.truncate(count);
        return room;
    }
    // Small pieces wait in queues that are bounded by what they hold.
    let bytes = room.get(..count).unwrap_or_default().to_vec();
    spare::give(room);
    bytes
}

impl fmt::Debug for DeviceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

impl fmt::Debug for dyn QxlControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QxlControl")
    }
}

impl fmt::Debug for dyn MigrationHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MigrationHost")
    }
}

impl fmt::Debug for dyn Keyboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyboard")
    }
}

impl fmt::Debug for dyn Mouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mouse")
    }
}

impl fmt::Debug for dyn Tablet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tablet")
    }
}
