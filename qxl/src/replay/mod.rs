//! Replays a recording: device requests are passed to the host, commands are rebuilt in memory of ours, in the layout
//! of guest memory with plain addresses (qxl.md C4).
//!
//! `capi` puts `spice_replay_*` over it. A command is named by the address of its `QXLCommandExt`, which is looked up
//! and never dereferenced here, so that an unknown or repeated address is only an error.

mod commands;
mod ids;
mod reader;
mod spares;

pub use reader::ReplayError;

use crate::bytes::Bytes;
use crate::memory::Block;
use crate::parse::command_type;
use crate::record::request;
use commands::{Builder, Built};
use ids::{Destroyed, SurfaceIds};
use reader::{Reader, Result, bad};
use spares::Spares;
use spice_server_core::host::{CommandExt, SurfaceSpec};
use spice_server_core::{limits, warning};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of blank surfaces that a replay has at a time: the file says their size without having their bytes.
const MAX_BLANK: u64 = 2 << 30;

/// A primary surface of a recording. Its address stays valid until the next create or destroy.
#[derive(Clone, Copy, Debug)]
pub struct ReplayPrimary {
    /// In group 0.
    pub spec: SurfaceSpec,
    /// QXLDevSurfaceCreate.position, which has no meaning.
    pub position: u32,
    /// QXLDevSurfaceCreate.mouse_mode: 1 allows clients to place the pointer.
    pub mouse_mode: u32,
    /// QXLDevSurfaceCreate.type, which has no meaning.
    pub surface_type: u32,
    /// All flags; `spec` has bit 0.
    pub flags: u32,
}

/// The device requests of a recording, to be executed synchronously, in terms of `spice_qxl_*` on surface 0.
pub trait ReplayHost {
    /// Makes the primary surface.
    fn create_primary(&mut self, primary: &ReplayPrimary);
    /// Destroys the primary surface.
    fn destroy_primary(&mut self);
    /// Destroys all surfaces.
    fn destroy_surfaces(&mut self);
}

/// A recording being replayed. `next_command` is called by one thread; `free_command` by any, also meanwhile.
#[derive(Debug)]
pub struct Replay {
    input: Mutex<Input>,
    commands: Mutex<Commands>,
    spares: Arc<Spares>,
    ids: SurfaceIds,
}

/// What the host has.
#[derive(Debug, Default)]
struct Commands {
    by_address: HashMap<u64, Command, BuildHasherDefault<AddressHasher>>,
    /// Sum of theirs.
    blank: u64,
}

/// For addresses of blocks of ours, which no file chooses.
#[derive(Debug, Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, value: u64) {
        // Both ends of the hash are used; addresses differ in the middle.
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Input {
    reader: Reader,
    /// Pixels of the primary, as long as it is there.
    primary: Option<Block>,
    ended: bool,
}

/// A command: its memory, and the surface that ends with it.
#[derive(Debug)]
struct Command {
    blocks: Vec<Block>,
    destroys: Option<Destroyed>,
    blank: u64,
    ext: CommandExt,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replay {
    /// Begins a replay on a host with `surfaces` surface ids.
    ///
    /// # Errors
    /// Not a recording, or one of another version.
    pub fn new(input: Box<dyn Read + Send>, surfaces: u32) -> std::result::Result<Self, ReplayError> {
        let spares = Arc::new(Spares::default());
        let mut reader = Reader::new(input, Arc::clone(&spares));
        reader.header()?;
        Ok(Self {
            input: Mutex::new(Input { reader, primary: None, ended: false }),
            commands: Mutex::default(),
            spares,
            ids: SurfaceIds::new(surfaces.clamp(1, limits::MAX_SURFACES)),
        })
    }

    /// Executes device requests up to the next command, and gives the address of its `QXLCommandExt`, valid until
    /// [`Self::free_command`]; its `release_info.id` is that same address. `None` at the end, and, after a warning, where
    /// the recording is truncated or corrupt.
    ///
    /// Waits while all surface ids are in use, until a destroy command is freed. No lock that callbacks of the host need
    /// may be held, and this must not be called on a worker.
    pub fn next_command(&self, host: &mut dyn ReplayHost) -> Option<u64> {
        let mut input = lock(&self.input);
        if input.ended {
            return None;
        }
        let next = self.advance(&mut input, host).unwrap_or_else(|error| {
            warning!("replay ends: {error}");
            None
        });
        input.ended = next.is_none();
        next
    }

    fn advance(&self, input: &mut Input, host: &mut dyn ReplayHost) -> Result<Option<u64>> {
        loop {
            if input.reader.at_end()? {
                return Ok(None);
            }
            input.reader.keyword("event")?;
            let _counter = input.reader.number("event counter")?;
            let what = input.reader.number32("event kind")?;
            let number = input.reader.number32("event type")?;
            let _time = input.reader.number("event time")?;
            match what {
                0 => return self.command(&mut input.reader, number).map(Some),
                1 => device_request(input, number, host)?,
                other => return bad("event kind", other, "unknown"),
            }
        }
    }

    fn command(&self, reader: &mut Reader, kind: u32) -> Result<u64> {
        // Its address is needed inside the command, its content is known at the end.
        let ext = reader::block(&[0; 24])?;
        let address = ext.address();
        let mut builder = Builder::new(reader, &self.ids, address);
        let data = match kind {
            command_type::DRAW => builder.drawable()?,
            command_type::UPDATE => builder.update()?,
            command_type::CURSOR => builder.cursor()?,
            command_type::MESSAGE => builder.message()?,
            command_type::SURFACE => builder.surface()?,
            other => return bad("command type", other, "unknown"),
        };
        let Built { mut blocks, blank, destroys } = builder.finish();
        let command = CommandExt { address: data, command_type: kind, group_id: 0, flags: 0 };
        ext.write(0, &Bytes::new().u64(data).u32(kind).u32(0).u32(0).u32(0).0);
        blocks.push(ext);
        let mut commands = lock(&self.commands);
        if commands.blank + blank > MAX_BLANK {
            return bad("surface", blank, "bytes are too many beside the other surfaces");
        }
        commands.blank += blank;
        commands.by_address.insert(address, Command { blocks, destroys, blank, ext: command });
        Ok(address)
    }

    /// What the `QXLCommandExt` at `address` says, if a command is there.
    #[must_use]
    pub fn command_ext(&self, address: u64) -> Option<CommandExt> {
        lock(&self.commands).by_address.get(&address).map(|command| command.ext)
    }

    /// Frees a command and all that it leads to. An address that is no command's is warned of.
    pub fn free_command(&self, address: u64) {
        let mut commands = lock(&self.commands);
        match commands.by_address.remove(&address) {
            Some(command) => {
                commands.blank -= command.blank;
                drop(commands);
                self.spares.give(command.blocks);
                if let Some(destroyed) = command.destroys {
                    self.ids.remove(destroyed);
                }
            }
            None => warning!("replay: freed a command that is none ({address:#x})"),
        }
    }
}

/// Reads a device request and passes on those that matter to a replay.
fn device_request(input: &mut Input, number: u32, host: &mut dyn ReplayHost) -> Result<()> {
    match number {
        // A create that the original refused has no body.
        request::CREATE_PRIMARY | request::CREATE_PRIMARY_ASYNC if !input.reader.at_letter()? => {
            let (primary, pixels) = read_primary(&mut input.reader)?;
            if input.primary.is_some() {
                warning!("replay: primary surface created twice, the first one is destroyed");
                host.destroy_primary();
            }
            input.primary = Some(pixels);
            host.create_primary(&primary);
        }
        request::DESTROY_PRIMARY => {
            host.destroy_primary();
            input.primary = None;
        }
        request::DESTROY_SURFACES => host.destroy_surfaces(),
        _ => {}
    }
    Ok(())
}

fn read_primary(reader: &mut Reader) -> Result<(ReplayPrimary, Block)> {
    let (width, height) = (reader.number32("width")?, reader.number32("height")?);
    let (stride, format) = (reader.signed32("stride")?, reader.number32("format")?);
    let (position, mouse_mode) = (reader.number32("position")?, reader.number32("mouse_mode")?);
    let (flags, surface_type) = (reader.number32("flags")?, reader.number32("type")?);
    let size = u64::from(height) * u64::from(stride.unsigned_abs());
    if size > limits::MAX_GUEST_OBJECT {
        return bad("primary surface", size, "bytes are too many");
    }
    let pixels = reader.binary_block(0, size)?;
    if u64::try_from(pixels.len()).ok() != Some(size) {
        return bad("primary surface", size, "bytes are not there");
    }
    let address = pixels.address();
    let spec = SurfaceSpec { width, height, stride, format, keep_data: flags & 1 != 0, address, group_id: 0 };
    Ok((ReplayPrimary { spec, position, mouse_mode, surface_type, flags }, pixels))
}

#[cfg(test)]
mod tests;
