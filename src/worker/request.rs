//! What other threads ask of a worker (display.md 2.4, qxl.md A4).

use super::reply::Reply;
use super::{ClientId, GlScanout};
use crate::channel::connection::{ChannelConnection, ConnectionId};
use crate::display::settings::DisplaySettings;
use crate::geometry::Rect;
use crate::host::{CommandExt, MemSlot, SurfaceSpec};

/// How the caller learns that its request is done.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// The caller waits for this value.
    Sync(Reply<T>),
    /// `async_complete` with this cookie, exactly once.
    Async(u64),
}

/// A request. The worker executes one at a time, in the order of the calls.
#[derive(Debug)]
pub(super) enum Request {
    Wakeup,
    Oom,
    Start,
    Stop {
        answer: Answer<()>,
    },
    UpdateArea {
        surface_id: u32,
        area: Rect,
        /// How many rectangles a synchronous caller has room for; `None`: all.
        max: Option<usize>,
        clear: bool,
        answer: Answer<Vec<Rect>>,
    },
    AddMemslot {
        slot: Box<dyn MemSlot>,
        answer: Answer<bool>,
    },
    DelMemslot {
        group_id: u32,
        slot_id: u32,
    },
    ResetMemslots,
    CreatePrimary {
        surface_id: u32,
        spec: SurfaceSpec,
        answer: Answer<bool>,
    },
    DestroyPrimary {
        surface_id: u32,
        answer: Answer<bool>,
    },
    DestroySurfaces {
        answer: Answer<()>,
    },
    /// The synchronous form accepts only surface 0, and the worker first takes all commands of the rings.
    DestroySurface {
        surface_id: u32,
        answer: Answer<()>,
    },
    FlushSurfaces {
        cookie: u64,
    },
    ResetImageCache {
        answer: Answer<()>,
    },
    ResetCursor {
        answer: Answer<()>,
    },
    LoadvmCommands {
        commands: Vec<CommandExt>,
        answer: Answer<()>,
    },
    MonitorsConfig {
        address: u64,
        group_id: u32,
        cookie: u64,
    },
    SetMaxMonitors(u32),
    DriverUnload,
    GlScanout(GlScanout),
    /// `number` names it among the open ones, which know its cookie.
    GlDraw {
        area: Rect,
        number: u64,
    },
    /// All settings of the displays, after some of them changed.
    Settings(Box<DisplaySettings>),
    SetMouseMode {
        client: bool,
    },
    ConnectDisplay(ConnectionId, Box<ChannelConnection>),
    ConnectCursor(ConnectionId, Box<ChannelConnection>),
    DisconnectClient(ClientId),
    HandOver(ClientId),
    /// Ends the worker.
    Close,
}

impl Request {
    /// Number in recordings (qxl.md C3). `None`: the request is not recorded, or is recorded elsewhere with its parameters.
    pub(super) fn record_number(&self) -> Option<u32> {
        let sync_or_async =
            |is_async: bool, sync: u32, asynchronous: u32| Some(if is_async { asynchronous } else { sync });
        match self {
            Self::UpdateArea { answer, .. } => sync_or_async(answer.is_async(), 1, 26),
            Self::Wakeup => Some(2),
            Self::Oom => Some(3),
            Self::Start => Some(8),
            Self::Stop { .. } => Some(9),
            Self::SetMouseMode { .. } => Some(15),
            Self::AddMemslot { answer, .. } => sync_or_async(answer.is_async(), 16, 27),
            Self::DelMemslot { .. } => Some(17),
            Self::ResetMemslots => Some(18),
            Self::DestroySurfaces { answer } => sync_or_async(answer.is_async(), 19, 28),
            Self::DestroyPrimary { answer, .. } => sync_or_async(answer.is_async(), 21, 30),
            Self::ResetCursor { .. } => Some(22),
            Self::ResetImageCache { .. } => Some(23),
            Self::DestroySurface { answer, .. } => sync_or_async(answer.is_async(), 24, 31),
            Self::LoadvmCommands { .. } => Some(25),
            Self::FlushSurfaces { .. } => Some(32),
            Self::MonitorsConfig { .. } => Some(35),
            Self::DriverUnload => Some(36),
            Self::GlScanout(_) => Some(37),
            Self::GlDraw { .. } => Some(38),
            Self::Close => Some(40),
            Self::CreatePrimary { .. }
            | Self::SetMaxMonitors(_)
            | Self::Settings(_)
            | Self::ConnectDisplay(..)
            | Self::ConnectCursor(..)
            | Self::DisconnectClient(_)
            | Self::HandOver(_) => None,
        }
    }

    /// The cookie that must be completed, however the request ends. Those of requests to draw are with [`super::draws::Draws`].
    pub(super) fn cookie(&self) -> Option<u64> {
        match self {
            Self::Stop { answer }
            | Self::DestroySurfaces { answer }
            | Self::DestroySurface { answer, .. }
            | Self::ResetImageCache { answer }
            | Self::ResetCursor { answer }
            | Self::LoadvmCommands { answer, .. } => answer.cookie(),
            Self::UpdateArea { answer, .. } => answer.cookie(),
            Self::AddMemslot { answer, .. }
            | Self::CreatePrimary { answer, .. }
            | Self::DestroyPrimary { answer, .. } => answer.cookie(),
            Self::FlushSurfaces { cookie } | Self::MonitorsConfig { cookie, .. } => Some(*cookie),
            _ => None,
        }
    }
}

impl<T> Answer<T> {
    pub(super) fn is_async(&self) -> bool {
        self.cookie().is_some()
    }

    fn cookie(&self) -> Option<u64> {
        match self {
            Self::Sync(_) => None,
            Self::Async(cookie) => Some(*cookie),
        }
    }
}
