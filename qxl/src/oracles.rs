//! Fuzz oracles of the device side: hostile guests and hostile recordings. The fuzz targets are one call into here; the
//! tests run the same on random input.
//!
//! What must hold: no panic, every command whose header can be read is released exactly once, every other never, and
//! nothing is held at the end. What is accepted is drawn, too, since the canvas trusts the parser's checks.

#![allow(clippy::expect_used, clippy::panic)] // It is there to fail.

mod screen;

use crate::device::Device;
use crate::mock::replay::{Next, Replayer};
use crate::mock::samples::all_commands;
use crate::mock::{GROUP, MockCallbacks, MockGuest, SLOT};
use crate::parse::{command_type, flags};
use screen::Screen;
use spice_server_core::canvas::{Canvas, ImageCache, Surfaces};
use spice_server_core::draw::{Brush, DrawOp, Drawable};
use spice_server_core::guest::ByteSource;
use spice_server_core::host::{
    CommandExt, CursorCommand, DisplayCommand, Fetched, QxlDevice, SurfaceCommand,
};
use spice_server_core::image::{Image, ImageData};
use std::collections::{HashMap, VecDeque};
use std::io::Cursor;

const MEMORY: usize = 256 << 10;

/// Commands kept alive beside the current one.
const HELD: usize = 8;

/// Commands before the guest's memory is as it was.
const EPOCH: u64 = 64;

/// Where a fuzzer's choices come from. Runs out with `None`.
pub trait Entropy {
    fn next(&mut self) -> Option<u32>;
}

/// A fuzzer's bytes.
#[derive(Debug)]
pub struct FromBytes<'a>(pub &'a [u8]);

impl Entropy for FromBytes<'_> {
    fn next(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*word))
    }
}

/// Pseudo-random numbers without end.
#[derive(Debug)]
pub struct Random(pub u64);

impl Entropy for Random {
    fn next(&mut self) -> Option<u32> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 32).ok()
    }
}

/// What became of the commands of a hostile guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub commands: u64,
    pub accepted: u64,
    pub drawn: u64,
    pub released: u64,
}

/// A guest that mutates good commands, and a device and surfaces that have to bear it.
struct Hostile {
    guest: MockGuest,
    device: Device<MockCallbacks>,
    samples: Vec<(u32, u64)>,
    snapshot: Vec<u8>,
    /// Releases that are due, by host address.
    due: HashMap<u64, u32>,
    held: VecDeque<Box<Drawable>>,
    surfaces: HashMap<u32, Canvas>,
    cache: ImageCache,
    /// Draws instead of the canvas.
    screen: Option<Screen>,
    outcome: Outcome,
}

struct OtherSurfaces<'a>(&'a HashMap<u32, Canvas>);

impl Surfaces for OtherSurfaces<'_> {
    fn surface(&self, surface_id: u32) -> Option<&Canvas> {
        self.0.get(&surface_id)
    }
}

fn offset(value: u32, below: usize) -> usize {
    usize::try_from(value).unwrap_or(0) % below.max(1)
}

impl Hostile {
    fn new() -> Self {
        let mut guest = MockGuest::new(MEMORY);
        let device = guest.device();
        let samples = all_commands(&mut guest);
        let snapshot = guest.read(MockGuest::address(0), guest.used());
        let mut hostile = Self {
            guest,
            device,
            samples,
            snapshot,
            due: HashMap::new(),
            held: VecDeque::new(),
            surfaces: HashMap::new(),
            cache: ImageCache::default(),
            screen: None,
            outcome: Outcome::default(),
        };
        let spec = hostile.guest.surface_spec(32, 32);
        let primary = hostile.device.map_surface(&spec).expect("a good surface");
        hostile.surfaces.insert(0, Canvas::new(primary).expect("a mapped surface"));
        hostile
    }

    /// Draws on the display channel of a worker, whose settings `choice` picks.
    fn with_screen(choice: u32) -> Self {
        let mut hostile = Self::new();
        let spec = hostile.guest.surface_spec(32, 32);
        let primary = hostile.device.map_surface(&spec).expect("a good surface");
        hostile.screen = Some(Screen::new(primary, choice));
        hostile
    }

    /// A value that parsers fear, or any.
    fn value(&self, choice: u32, any: u32) -> Vec<u8> {
        let address = MockGuest::address(offset(any, self.guest.used()));
        match choice % 16 {
            0 => vec![0; 4],
            1 => vec![0xff; 4],
            2 => vec![0; 8],
            3 => vec![0xff; 8],
            4 => 0x7fff_ffffu32.to_le_bytes().to_vec(),
            5 => 0x8000_0000u32.to_le_bytes().to_vec(),
            6 => (any % 64).to_le_bytes().to_vec(),
            7 => u16::try_from(any % 64).unwrap_or(0).to_le_bytes().to_vec(),
            8 | 9 => address.to_le_bytes().to_vec(),
            10 => (address | u64::from(any) << 32).to_le_bytes().to_vec(),
            11 | 12 => vec![any.to_le_bytes()[0]],
            13 => u16::MAX.to_le_bytes().to_vec(),
            _ => any.to_le_bytes().to_vec(),
        }
    }

    /// One command: some mutations, one fetch. `None` when there is no more entropy.
    fn step(&mut self, entropy: &mut impl Entropy) -> Option<()> {
        if self.outcome.commands.is_multiple_of(EPOCH) {
            self.held.clear();
            if let Some(screen) = &mut self.screen {
                screen.release_all();
            }
            self.guest.write(MockGuest::address(0), &self.snapshot);
        }
        let choice = entropy.next()?;
        let (mut kind, mut address) = self.samples[offset(choice, self.samples.len())];
        for _ in 0..choice >> 29 {
            let (place, value) = (entropy.next()?, entropy.next()?);
            // Half of them in the command itself, half in what it may lead to.
            let at = match place & 1 {
                0 => address + u64::from((place >> 8) % 192),
                _ => MockGuest::address(offset(place >> 1, self.guest.used())),
            };
            self.guest.write(at, &self.value(place >> 4, value));
        }
        let twist = entropy.next()?;
        let mut command_flags = 0;
        let mut group_id = GROUP;
        match twist % 64 {
            0 => kind = twist >> 8 & 7,
            1 => address ^= 1 << (twist >> 8 & 63),
            2 => address = MockGuest::address(MEMORY - offset(twist >> 8, 200)),
            3 => group_id = twist >> 8 & 3,
            4..12 => command_flags = flags::COMPAT | (twist & flags::COMPAT_16BPP),
            12 => {
                self.device.del_memslot(GROUP, SLOT);
                self.touch_held();
                self.device.add_memslot(self.guest.memslot()).expect("an existing slot");
            }
            13 => {
                if let Ok(config) = self.device.read_monitors_config(address, GROUP, twist >> 8) {
                    assert!(!config.heads.is_empty() && config.heads.len() <= 64);
                }
            }
            _ => {}
        }
        let command = CommandExt { address, command_type: kind, group_id, flags: command_flags };
        if self.is_owned(&command) {
            *self.due.entry(self.guest.host_address(address)).or_default() += 1;
        }
        self.outcome.commands += 1;
        if kind == command_type::CURSOR {
            self.guest.host().push_cursor(command);
            if let Fetched::Command(command) = self.device.next_cursor_command() {
                self.outcome.accepted += 1;
                check_cursor(&command);
                if let Some(screen) = &mut self.screen {
                    screen.pointer(command);
                }
            }
        } else {
            self.guest.host().push(command);
            if let Fetched::Command(command) = self.device.next_display_command() {
                self.outcome.accepted += 1;
                match &mut self.screen {
                    Some(screen) => {
                        if let DisplayCommand::Draw(drawable) = &command {
                            touch(drawable);
                        }
                        screen.command(command, twist >> 6);
                    }
                    None => self.accept(command),
                }
            }
        }
        self.collect();
        Some(())
    }

    /// Whether the header of the command can be read, told by the geometry alone.
    fn is_owned(&self, command: &CommandExt) -> bool {
        let size = match command.command_type {
            command_type::DRAW if command.flags & flags::COMPAT != 0 => 128,
            command_type::DRAW => 191,
            command_type::UPDATE => 32,
            command_type::CURSOR => 150,
            command_type::MESSAGE => 8,
            command_type::SURFACE => 41,
            _ => return false,
        };
        let within = |offset: u64| offset + size <= u64::try_from(MEMORY).unwrap_or(0);
        command.group_id == GROUP
            && command.address >> 48 == u64::from(SLOT) << 8
            && within(command.address & 0xffff_ffff_ffff)
    }

    fn accept(&mut self, command: DisplayCommand) {
        match command {
            DisplayCommand::Draw(mut drawable) => {
                self.draw(&mut drawable);
                self.held.push_back(drawable);
                if self.held.len() > HELD {
                    self.held.pop_front();
                }
            }
            DisplayCommand::Update(_) | DisplayCommand::Message { .. } => {}
            DisplayCommand::Surface(SurfaceCommand::Create { surface_id, surface, .. }) => {
                assert!(surface_id != 0 && surface_id < 1024);
                let canvas = Canvas::new(surface).expect("a checked surface");
                self.surfaces.insert(surface_id, canvas);
            }
            DisplayCommand::Surface(SurfaceCommand::Destroy { surface_id, .. }) => {
                self.surfaces.remove(&surface_id);
            }
        }
    }

    fn draw(&mut self, drawable: &mut Drawable) {
        touch(drawable);
        let Some(mut canvas) = self.surfaces.remove(&drawable.surface_id) else { return };
        let primary = drawable.surface_id == 0;
        let snapshot = drawable.self_bitmap.and_then(|area| canvas.snapshot(&area, primary, 2));
        if let Some(snapshot) = snapshot.filter(|_| drawable.op.lacks_source()) {
            drawable.op.set_source(snapshot);
        }
        let drawn = canvas.draw(drawable, &OtherSurfaces(&self.surfaces), &mut self.cache);
        self.outcome.drawn += u64::from(drawn.is_ok());
        self.surfaces.insert(drawable.surface_id, canvas);
    }

    fn touch_held(&self) {
        for drawable in &self.held {
            touch(drawable);
        }
    }

    /// Takes the releases; each must be due.
    fn collect(&mut self) {
        self.device.release_pending();
        for info in self.guest.host().take_released() {
            let due = self.due.get_mut(&info.address).expect("released what is no command");
            *due = due.checked_sub(1).expect("released twice");
            self.outcome.released += 1;
        }
    }

    fn finish(mut self) -> Outcome {
        self.held.clear();
        if let Some(screen) = &mut self.screen {
            screen.turn();
        }
        self.screen = None;
        self.collect();
        assert!(self.due.values().all(|&due| due == 0), "not released");
        assert_eq!(self.device.held_bytes(), 0, "memory accounted to nobody");
        self.outcome
    }
}

fn images(op: &DrawOp) -> Vec<&Image> {
    fn of_brush(brush: &Brush) -> Option<&Image> {
        match brush {
            Brush::Pattern { image, .. } => Some(image),
            _ => None,
        }
    }
    let found = match op {
        DrawOp::Fill(op) => vec![of_brush(&op.brush), op.mask.as_ref().map(|mask| &*mask.image)],
        DrawOp::Opaque(op) => {
            vec![op.src.as_deref(), of_brush(&op.brush), op.mask.as_ref().map(|m| &*m.image)]
        }
        DrawOp::Rop3(op) => vec![op.src.as_deref(), of_brush(&op.brush), op.mask.as_ref().map(|m| &*m.image)],
        DrawOp::Copy(op) | DrawOp::Blend(op) => vec![Some(&*op.src), op.mask.as_ref().map(|m| &*m.image)],
        DrawOp::Blackness(mask) | DrawOp::Whiteness(mask) | DrawOp::Invers(mask) => {
            vec![mask.as_ref().map(|m| &*m.image)]
        }
        DrawOp::Stroke(op) => vec![of_brush(&op.brush)],
        DrawOp::Text(op) => vec![of_brush(&op.fore_brush), of_brush(&op.back_brush)],
        DrawOp::Transparent(op) => vec![op.src.as_deref()],
        DrawOp::AlphaBlend(op) => vec![op.src.as_deref()],
        DrawOp::Composite(op) => vec![op.src.as_deref(), op.mask.as_deref()],
        DrawOp::Nop | DrawOp::CopyBits(_) => Vec::new(),
    };
    found.into_iter().flatten().collect()
}

/// Reads what a drawable refers to, and checks what its types promise.
fn touch(drawable: &Drawable) {
    assert!(!drawable.bbox.is_empty() && drawable.bbox.left >= 0 && drawable.bbox.top >= 0);
    for image in images(&drawable.op) {
        let ImageData::Bitmap(bitmap) = &image.data else { continue };
        let size =
            usize::try_from(u64::from(bitmap.stride) * u64::from(bitmap.height)).expect("a checked size");
        assert!(
            bitmap.pixels.len() >= size && u64::from(bitmap.stride) >= bitmap.format.min_stride(bitmap.width)
        );
        check_source(&*bitmap.pixels);
    }
}

fn check_source(source: &dyn ByteSource) {
    let ends = source.chunk_ends();
    assert!(ends.is_sorted() && ends.last().is_none_or(|&last| last == source.len()));
    let mut block = [0xaa; 64];
    for at in [0, source.len() / 2, source.len().saturating_sub(32), source.len(), usize::MAX] {
        source.read_at(at, &mut block);
    }
    assert_eq!(block, [0; 64], "bytes beyond the end");
}

fn check_cursor(command: &CursorCommand) {
    if let CursorCommand::Set { shape, .. } = command {
        let needed =
            crate::parse::cursor::shape_bytes(u16::from(shape.cursor_type), shape.width, shape.height);
        assert_eq!(needed, u64::try_from(shape.data.len()).ok());
    }
}

/// Runs up to `count` commands of a hostile guest.
///
/// # Panics
/// When something does not hold.
pub fn hostile_guest(entropy: &mut impl Entropy, count: u64) -> Outcome {
    run(Hostile::new(), entropy, count)
}

/// The same before a worker's channels with clients on them.
///
/// # Panics
/// When something does not hold.
pub fn hostile_guest_on_screen(entropy: &mut impl Entropy, count: u64) -> Outcome {
    let choice = entropy.next().unwrap_or(0);
    run(Hostile::with_screen(choice), entropy, count)
}

fn run(mut hostile: Hostile, entropy: &mut impl Entropy, count: u64) -> Outcome {
    for _ in 0..count {
        if hostile.step(entropy).is_none() {
            break;
        }
    }
    hostile.finish()
}

/// A fuzzer's bytes as the choices of a hostile guest.
///
/// # Panics
/// When something does not hold.
pub fn fuzz_guest(data: &[u8]) {
    hostile_guest(&mut FromBytes(data), 1 << 16);
}

/// A fuzzer's bytes as the choices of a hostile guest whose screen clients watch.
///
/// # Panics
/// When something does not hold.
pub fn fuzz_screen(data: &[u8]) {
    hostile_guest_on_screen(&mut FromBytes(data), 1 << 16);
}

/// Replays a recording, which is valid up to its header at least, and parses what comes out.
///
/// # Panics
/// When something does not hold.
pub fn fuzz_replay(data: &[u8]) {
    let recording = [crate::record::HEADER, data].concat();
    let mut replayer = Replayer::new(Box::new(Cursor::new(recording)), None).expect("the header is there");
    let mut held = VecDeque::new();
    while let Some(next) = replayer.next_command() {
        match next {
            Next::Display(Fetched::Command(DisplayCommand::Draw(drawable))) => {
                touch(&drawable);
                held.push_back(drawable);
                if held.len() > HELD {
                    held.pop_front();
                }
            }
            Next::Cursor(Fetched::Command(command)) => check_cursor(&command),
            _ => {}
        }
        replayer.free_released();
    }
    held.clear();
    replayer.free_released();
    assert_eq!(replayer.pushed, replayer.freed, "not released");
    assert_eq!(replayer.device.held_bytes(), 0, "memory accounted to nobody");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands of the random test: few, unless `SPICE_FUZZ_COMMANDS` says how many (and `SPICE_FUZZ_SEED` which).
    fn count() -> u64 {
        let wanted = std::env::var("SPICE_FUZZ_COMMANDS").ok();
        wanted.and_then(|count| count.parse().ok()).unwrap_or(20_000)
    }

    /// Inputs of a fuzz target that are worth keeping.
    fn seeds(target: &str) -> impl Iterator<Item = Vec<u8>> {
        let directory = format!("{}/../fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_dir(directory).unwrap().map(|seed| std::fs::read(seed.unwrap().path()).unwrap())
    }

    #[test]
    fn what_fuzzers_kept_does_no_harm() {
        seeds("qxl_guest").for_each(|s| fuzz_guest(&s));
        seeds("qxl_screen").for_each(|s| fuzz_screen(&s));
        seeds("qxl_replay").for_each(|s| fuzz_replay(&s));
    }

    #[test]
    fn hostile_guests_get_every_command_back() {
        let seed = std::env::var("SPICE_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
        let outcome = hostile_guest(&mut Random(seed.unwrap_or(0x9e37_79b9_7f4a_7c15)), count());
        println!("{outcome:?}");
        assert_eq!(outcome.commands, count());
        assert!(outcome.accepted > count() / 10 && outcome.drawn > count() / 20, "{outcome:?}");
        assert!(outcome.released > count() / 2);
    }

    #[test]
    fn hostile_guests_harm_no_client() {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        for _ in 0..8 {
            let outcome = hostile_guest_on_screen(&mut random, count() / 16);
            assert!(outcome.accepted > count() / 160 && outcome.released > count() / 32, "{outcome:?}");
        }
    }

    #[test]
    fn memory_that_changes_while_it_is_read_does_no_harm() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let mut hostile = Hostile::new();
        let (memory, used) = (hostile.guest.memory(), hostile.guest.used());
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Also when an assertion fails.
            let _stop = Stop(&done);
            scope.spawn(|| {
                let mut random = Random(0x0123_4567_89ab_cdef);
                while !done.load(Ordering::Relaxed) {
                    let at = offset(random.next().unwrap(), used);
                    let mut old = [0; 8];
                    memory.read(at, &mut old);
                    memory.write(at, &random.next().unwrap().to_le_bytes());
                    memory.write(at, &old);
                }
            });
            let mut random = Random(0xfeed_beef_1234_5678);
            for _ in 0..count() / 4 {
                hostile.step(&mut random).unwrap();
            }
        });
        let outcome = hostile.finish();
        assert!(outcome.accepted > 0, "{outcome:?}");
    }

    #[test]
    fn good_commands_are_all_accepted() {
        let mut hostile = Hostile::new();
        for (at, (kind, _)) in hostile.samples.clone().into_iter().enumerate() {
            // No mutations, no twist.
            let at = u32::try_from(at).unwrap();
            let before = hostile.outcome.accepted;
            hostile.step(&mut FromBytes(&[at.to_le_bytes(), 63u32.to_le_bytes()].concat())).unwrap();
            assert_eq!(hostile.outcome.accepted, before + 1, "command {at} of type {kind}");
        }
        let outcome = hostile.finish();
        assert_eq!(outcome.released, outcome.commands);
    }

    #[test]
    fn mutated_recordings_end_without_harm() {
        let (good, _) = crate::record::tests::recording();
        let good = &good[crate::record::HEADER.len()..];
        let mut random = Random(0x1234_5678_9abc_def1);
        let mut next = || random.next().unwrap();
        for _ in 0..count() / 100 {
            let mut bad = good.to_vec();
            for _ in 0..1 + next() % 4 {
                let at = offset(next(), bad.len());
                match next() % 4 {
                    0 => bad[at] = b'0' + u8::try_from(next() % 10).unwrap(),
                    1 => bad[at] = u8::try_from(next() % 256).unwrap(),
                    2 => drop(bad.remove(at)),
                    _ => bad.truncate(at.max(1)),
                }
            }
            fuzz_replay(&bad);
        }
    }
}
