//! From guest memory to owned commands (qxl.md part B). Every structure is copied once and decoded from the copy;
//! every size is checked in 64 bits against `limits`; what a command says about surfaces is checked as far as it can
//! be without knowing which exist.

mod chunks;
mod config;
pub(crate) mod cursor;
pub(crate) mod draw;
mod fields;
mod image;
mod mirrored;
mod objects;
#[cfg(test)]
mod tests;

pub(crate) use config::{map_surface, monitors_config};

use crate::memory::{GuestMemory, GuestRange, MemoryError};
use fields::Fields;
use spice_server_core::guest::{ReleaseInfo, ReleaseQueue, ReleaseToken};
use spice_server_core::host::{
    CommandExt, CursorCommand, DisplayCommand, Fetched, SurfaceCommand, SurfaceSpec, UpdateCommand,
};
use spice_server_core::limits;
use spice_server_core::memory::has_room;
use spice_server_core::{debug, warning_limited};
use std::cell::Cell;
use std::sync::Arc;

/// Why a command is dropped for which there is no memory.
const NO_MEMORY: &str = "bytes, for which there is no memory";
/// Bytes of memory that are taken for granted.
const LITTLE: usize = 256 << 10;

/// Values of QXLCommandExt.type.
#[allow(missing_docs, reason = "names of the specification, qxl.md B1")]
pub mod command_type {
    pub const DRAW: u32 = 1;
    pub const UPDATE: u32 = 2;
    pub const CURSOR: u32 = 3;
    pub const MESSAGE: u32 = 4;
    pub const SURFACE: u32 = 5;
}

/// Bits of QXLCommandExt.flags, set by the host.
pub(crate) mod flags {
    pub(crate) const COMPAT: u32 = 1;
    pub(crate) const COMPAT_16BPP: u32 = 2;
}

/// Why a command is dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("{0}: {1}")]
    Memory(&'static str, MemoryError),
    #[error("{0} {1}: {2}")]
    Value(&'static str, i64, &'static str),
    #[error("{0}: {1}")]
    Within(&'static str, Box<ParseError>),
    /// Draws nothing; not worth a line.
    #[error("empty")]
    Empty,
}

impl ParseError {
    fn within(self, field: &'static str) -> Self {
        Self::Within(field, Box::new(self))
    }
}

pub(crate) type Result<T> = std::result::Result<T, ParseError>;

/// A refused value of a field.
pub(crate) fn bad<T>(field: &'static str, value: impl TryInto<i64>, why: &'static str) -> Result<T> {
    Err(ParseError::Value(field, value.try_into().unwrap_or(i64::MAX), why))
}

/// Parses commands of one device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parser<'a> {
    pub memory: &'a Arc<GuestMemory>,
    pub releases: &'a Arc<ReleaseQueue>,
    /// Number of surface ids.
    pub surfaces: u32,
}

/// Parsing of one command.
struct Context<'a> {
    memory: &'a Arc<GuestMemory>,
    surfaces: u32,
    group: u32,
    /// The command has the layout of very old guests.
    compat: bool,
    /// Its colours are 555.
    compat_16bpp: bool,
    /// Bytes copied so far, and how many may be.
    cost: Cell<usize>,
    budget: usize,
}

impl Parser<'_> {
    /// Parses a command of the display ring.
    pub(crate) fn display_command(&self, command: CommandExt) -> Fetched<DisplayCommand> {
        let compat = command.flags & flags::COMPAT != 0;
        let (name, size) = match command.command_type {
            command_type::DRAW if compat => ("compat draw", draw::COMPAT_SIZE),
            command_type::DRAW => ("draw", draw::NATIVE_SIZE),
            command_type::UPDATE => ("update", 32),
            command_type::MESSAGE => ("message", 8),
            command_type::SURFACE => ("surface", 41),
            other => {
                warning_limited!("display ring: unknown command type {other}, ignored");
                return Fetched::Dropped;
            }
        };
        self.owned(command, name, size, |context, header, release| match command.command_type {
            command_type::UPDATE => context.update(header, release),
            command_type::MESSAGE => context.message(header, release),
            command_type::SURFACE => context.surface(header, release),
            _ => {
                let mut drawable = Box::new(context.drawable(header)?);
                drawable.release = Some(context.charged(release));
                Ok(DisplayCommand::Draw(drawable))
            }
        })
    }

    /// Parses a command of the cursor ring.
    pub(crate) fn cursor_command(&self, command: CommandExt) -> Fetched<CursorCommand> {
        if command.command_type != command_type::CURSOR {
            warning_limited!("cursor ring: unknown command type {}, ignored", command.command_type);
            return Fetched::Dropped;
        }
        self.owned(command, "cursor", 150, |context, header, release| context.cursor(header, release))
    }

    /// Translates the header of a command; from then on it is owned, so that dropping the token, which every failure
    /// of `parse` does, releases it (qxl.md A8).
    fn owned<T>(
        &self,
        command: CommandExt,
        name: &str,
        size: u64,
        parse: impl FnOnce(&Context<'_>, &GuestRange, ReleaseToken) -> Result<T>,
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
        let context = Context {
            memory: self.memory,
            surfaces: self.surfaces,
            group: command.group_id,
            compat: command.flags & flags::COMPAT != 0,
            compat_16bpp: command.flags & flags::COMPAT_16BPP != 0,
            cost: Cell::new(0),
            budget: limits::MAX_HELD_COPIES.saturating_sub(self.releases.held_bytes()),
        };
        match parse(&context, &header, ReleaseToken::new(self.releases.clone(), info)) {
            Ok(parsed) => Fetched::Command(parsed),
            Err(ParseError::Empty) => Fetched::Dropped,
            Err(error) => {
                warning_limited!("{name} command dropped: {error}");
                Fetched::Dropped
            }
        }
    }
}

impl Context<'_> {
    /// Bytes at an address of the command's group.
    fn range(&self, field: &'static str, address: u64, len: u64) -> Result<GuestRange> {
        self.memory.resolve(self.group, address, len).map_err(|e| ParseError::Memory(field, e))
    }

    /// Accounts memory of ours before it is allocated.
    fn charge(&self, field: &'static str, bytes: usize) -> Result<()> {
        let cost = self.cost.get().saturating_add(bytes);
        if cost > self.budget {
            return bad(field, bytes, "bytes exceed what commands may occupy");
        }
        self.cost.set(cost);
        Ok(())
    }

    /// Makes sure that there is memory for so many bytes that the command becomes.
    fn room(&self, field: &'static str, bytes: usize) -> Result<()> {
        if bytes > LITTLE && !has_room(bytes) { bad(field, bytes, NO_MEMORY) } else { Ok(()) }
    }

    /// The token with what the command costs.
    fn charged(&self, release: ReleaseToken) -> ReleaseToken {
        release.with_cost(self.cost.get())
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
        let length = u64::try_from(available).unwrap_or(0);
        let text = header.following(8, length).map_err(|e| ParseError::Memory("message text", e))?;
        let mut bytes = Vec::new();
        // Byte by byte: the slot of a host that plays guest itself covers its whole address space, so what follows the end
        // need not be there.
        while bytes.len() < available {
            let [byte] = text.read_array(bytes.len());
            if byte == 0 {
                let text = bytes.escape_ascii().to_string();
                debug!("guest message: {text}");
                return Ok(DisplayCommand::Message { text, release });
            }
            bytes.push(byte);
        }
        bad("message text", available, "bytes without an end")
    }

    fn surface(&self, header: &GuestRange, release: ReleaseToken) -> Result<DisplayCommand> {
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
                    group_id: self.group,
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
}
