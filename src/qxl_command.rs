//! What a QXL device requests, parsed and owned: ring commands, surfaces, cursor shapes, monitors (qxl.md).
//! Plain values; `host` has the traits that deliver them.
#![allow(missing_docs, reason = "commands and fields have the names of the specification")]

use crate::draw::Drawable;
use crate::geometry::{Point16, Rect};
use crate::guest::{ReleaseToken, SurfaceMemory};
use crate::image::SurfaceFormat;
use std::sync::Arc;

/// A command as it stands in the ring (QXLCommandExt). Only numbers; nothing is dereferenced here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandExt {
    pub address: u64,
    pub command_type: u32,
    pub group_id: u32,
    /// 1: compat format; 2: compat format with 16-bit colours.
    pub flags: u32,
}

/// Unchecked parameters of a surface (QXLDevSurfaceCreate, QXL_SURFACE_CMD_CREATE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurfaceSpec {
    pub width: u32,
    pub height: u32,
    pub stride: i32,
    /// The number of a [`SurfaceFormat`].
    pub format: u32,
    pub keep_data: bool,
    pub address: u64,
    pub group_id: u32,
}

/// A surface with checked parameters and mapped memory.
#[derive(Debug)]
pub struct MappedSurface {
    pub width: u32,
    pub height: u32,
    /// Bytes from one row to the next. If negative, the block starts with the bottom row.
    pub stride: i32,
    pub format: SurfaceFormat,
    pub memory: Box<dyn SurfaceMemory>,
}

/// QXL_CMD_UPDATE.
#[derive(Debug)]
pub struct UpdateCommand {
    pub surface_id: u32,
    pub area: Rect,
    pub update_id: u32,
    pub release: ReleaseToken,
}

/// QXL_CMD_SURFACE.
#[derive(Debug)]
pub enum SurfaceCommand {
    /// The token is kept as long as the surface exists.
    Create {
        surface_id: u32,
        surface: MappedSurface,
        keep_data: bool,
        release: ReleaseToken,
    },
    Destroy {
        surface_id: u32,
        release: ReleaseToken,
    },
}

/// A command of the display ring. The parser has checked it by itself; the display checks whether its
/// surfaces exist.
#[derive(Debug)]
pub enum DisplayCommand {
    Draw(Box<Drawable>),
    Update(UpdateCommand),
    /// A debug text of the guest, with control characters escaped.
    Message {
        text: String,
        release: ReleaseToken,
    },
    Surface(SurfaceCommand),
}

/// The shape of a pointer (qxl.md B2, display.md 13.4). `data` has at least the bytes that type and size
/// require.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorShape {
    /// Cache key; 0 means never cached.
    pub unique: u64,
    /// 0 ALPHA, 1 MONO, 2 COLOR4, 3 COLOR8, 4 COLOR16, 5 COLOR24, 6 COLOR32.
    pub cursor_type: u8,
    pub width: u16,
    pub height: u16,
    pub hot_x: u16,
    pub hot_y: u16,
    pub data: Arc<[u8]>,
}

/// QXL_CMD_CURSOR.
#[derive(Debug)]
pub enum CursorCommand {
    /// The token is kept until another shape replaces this one (qxl.md A8.6).
    Set {
        position: Point16,
        visible: bool,
        shape: CursorShape,
        release: ReleaseToken,
    },
    Move {
        position: Point16,
        release: ReleaseToken,
    },
    Hide {
        release: ReleaseToken,
    },
    Trail {
        length: u16,
        frequency: u16,
        release: ReleaseToken,
    },
}

/// The result of taking the next command from a ring.
#[derive(Debug)]
pub enum Fetched<T> {
    /// The ring is empty.
    Empty,
    /// The command was bad. It is logged and, if possible, already released. The caller asks again.
    Dropped,
    Command(T),
}

/// A monitor in the guest's monitors configuration (QXLHead).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MonitorHead {
    pub id: u32,
    pub surface_id: u32,
    pub width: u32,
    pub height: u32,
    pub x: u32,
    pub y: u32,
    pub flags: u32,
}

/// The guest's monitors configuration, copied, with a checked number of heads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitorsConfig {
    pub max_allowed: u16,
    pub heads: Vec<MonitorHead>,
}
