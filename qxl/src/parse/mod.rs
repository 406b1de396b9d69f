//! From guest memory to owned commands (qxl.md part B). Every structure is copied once and decoded from the copy;
//! every size is checked in 64 bits against `limits`; what a command says about surfaces is checked as far as it can
//! be without knowing which exist.

mod config;
mod fields;

pub use config::{map_surface, monitors_config};

use crate::memory::{GuestMemory, GuestRange, MemoryError};
use fields::Fields;
use spice_server::guest::{ReleaseInfo, ReleaseQueue, ReleaseToken};
use spice_server::host::{
    CommandExt, CursorCommand, DisplayCommand, Fetched, SurfaceCommand, SurfaceSpec, UpdateCommand,
};
use spice_server::limits;
use spice_server::{debug, warning_limited};
use std::sync::Arc;

/// QXLCommandExt.type.
pub mod command_type {
    pub const DRAW: u32 = 1;
    pub const UPDATE: u32 = 2;
    pub const CURSOR: u32 = 3;
    pub const MESSAGE: u32 = 4;
    pub const SURFACE: u32 = 5;
}

/// Why a command is dropped.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    #[error("{0}: {1}")]
    Memory(&'static str, MemoryError),
    #[error("{0} {1}: {2}")]
    Value(&'static str, i64, &'static str),
    /// Draws nothing; not worth a line.
    #[error("empty")]
    Empty,
}

pub(crate) type Result<T> = std::result::Result<T, ParseError>;

/// A refused value of a field.
pub(crate) fn bad<T>(field: &'static str, value: impl TryInto<i64>, why: &'static str) -> Result<T> {
    Err(ParseError::Value(field, value.try_into().unwrap_or(i64::MAX), why))
}

/// Parses commands of one device.
#[derive(Debug, Clone, Copy)]
pub struct Parser<'a> {
    pub memory: &'a Arc<GuestMemory>,
    pub releases: &'a Arc<ReleaseQueue>,
    /// Number of surface ids.
    pub surfaces: u32,
}

impl Parser<'_> {
    /// Parses a command of the display ring.
    pub fn display_command(&self, command: CommandExt) -> Fetched<DisplayCommand> {
        let (name, size) = match command.command_type {
            command_type::DRAW if command.flags & 1 != 0 => ("compat draw", 128),
            command_type::DRAW => ("draw", 191),
            command_type::UPDATE => ("update", 32),
            command_type::MESSAGE => ("message", 8),
            command_type::SURFACE => ("surface", 41),
            other => {
                warning_limited!("display ring: unknown command type {other}, ignored");
                return Fetched::Dropped;
            }
        };
        self.owned(command, name, size, |header, release| match command.command_type {
            command_type::UPDATE => self.update(header, release),
            command_type::MESSAGE => self.message(header, release),
            command_type::SURFACE => self.surface(header, command.group_id, release),
            _ => self.draw(header, command, release),
        })
    }

    /// Parses a command of the cursor ring.
    pub fn cursor_command(&self, command: CommandExt) -> Fetched<CursorCommand> {
        if command.command_type != command_type::CURSOR {
            warning_limited!("cursor ring: unknown command type {}, ignored", command.command_type);
            return Fetched::Dropped;
        }
        self.owned(command, "cursor", 150, |header, release| self.cursor(header, command.group_id, release))
    }

    /// Translates the header of a command; from then on it is owned, so that dropping the token, which every failure
    /// of `parse` does, releases it (qxl.md A8).
    fn owned<T>(
        &self,
        command: CommandExt,
        name: &str,
        size: u64,
        parse: impl FnOnce(&GuestRange, ReleaseToken) -> Result<T>,
    ) -> Fetched<T> {
        let header = match self.memory.resolve(command.group_id, command.address, size) {
            Ok(header) if header.host_address() != 0 => header,
            Ok(_) => {
                warning_limited!("{name} command at host address 0, ignored");
                return Fetched::Dropped;
            }
            Err(error) => {
                warning_limited!("{name} command: {error}, ignored");
                return Fetched::Dropped;
            }
        };
        let info = ReleaseInfo { address: header.host_address(), group_id: command.group_id };
        match parse(&header, ReleaseToken::new(self.releases.clone(), info)) {
            Ok(parsed) => Fetched::Command(parsed),
            Err(ParseError::Empty) => Fetched::Dropped,
            Err(error) => {
                warning_limited!("{name} command dropped: {error}");
                Fetched::Dropped
            }
        }
    }

    fn surface_id(&self, field: &'static str, id: u32) -> Result<u32> {
        if id < self.surfaces { Ok(id) } else { bad(field, id, "no such surface") }
    }

    fn update(&self, header: &GuestRange, release: ReleaseToken) -> Result<DisplayCommand> {
        let bytes = header.read_array::<32>(0);
        let f = Fields(&bytes);
        let surface_id = self.surface_id("surface_id", f.u32(28))?;
        Ok(DisplayCommand::Update(UpdateCommand {
            surface_id,
            area: f.rect(8),
            update_id: f.u32(24),
            release,
        }))
    }

    fn message(&self, header: &GuestRange, release: ReleaseToken) -> Result<DisplayCommand> {
        let longest = limits::MAX_GUEST_MESSAGE;
        let available = usize::try_from(header.available().saturating_sub(8)).unwrap_or(longest).min(longest);
        let mut bytes = Vec::new();
        let mut block = [0u8; 256];
        while bytes.len() < available {
            let n = block.len().min(available - bytes.len());
            let from = u64::try_from(8 + bytes.len()).unwrap_or(u64::MAX);
            let text = header.following(from, u64::try_from(n).unwrap_or(0));
            text.map_err(|e| ParseError::Memory("message text", e))?.read_at(0, &mut block[..n]);
            if let Some(end) = block[..n].iter().position(|&b| b == 0) {
                bytes.extend_from_slice(&block[..end]);
                let text = bytes.escape_ascii().to_string();
                debug!("guest message: {text}");
                return Ok(DisplayCommand::Message { text, release });
            }
            bytes.extend_from_slice(&block[..n]);
        }
        bad("message text", available, "bytes without an end")
    }

    fn surface(&self, header: &GuestRange, group_id: u32, release: ReleaseToken) -> Result<DisplayCommand> {
        let bytes = header.read_array::<41>(0);
        let f = Fields(&bytes);
        let surface_id = self.surface_id("surface_id", f.u32(8))?;
        if surface_id == 0 {
            return bad("surface_id", 0, "the primary surface is not the ring's business");
        }
        let keep_data = f.u32(13) & 1 != 0;
        match f.u8(12) {
            0 => {
                let spec = SurfaceSpec {
                    format: f.u32(17),
                    width: f.u32(21),
                    height: f.u32(25),
                    stride: f.i32(29),
                    keep_data,
                    address: f.u64(33),
                    group_id,
                };
                let surface = config::checked_surface(self.memory, &spec)?;
                Ok(DisplayCommand::Surface(SurfaceCommand::Create {
                    surface_id,
                    surface,
                    keep_data,
                    release,
                }))
            }
            1 => Ok(DisplayCommand::Surface(SurfaceCommand::Destroy { surface_id, release })),
            other => bad("surface command type", other, "unknown"),
        }
    }

    fn cursor(&self, _header: &GuestRange, _group_id: u32, _release: ReleaseToken) -> Result<CursorCommand> {
        bad("cursor", 0, "not supported yet")
    }

    fn draw(
        &self,
        _header: &GuestRange,
        _command: CommandExt,
        _release: ReleaseToken,
    ) -> Result<DisplayCommand> {
        bad("draw", 0, "not supported yet")
    }
}
