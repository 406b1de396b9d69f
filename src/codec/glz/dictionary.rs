//! The dictionary of one client: ids, window and pixels (codecs.md 4.3 to 4.6).

use super::matcher::{Reference, Tables, encode_pass};
use super::window::{PositionIndex, WindowImage};
use super::{Alpha, Channel, Colour, HEADER_BYTES, Short, carries};
use crate::codec::lz::{self, LzType};
use crate::image::ImageView;
use crate::limits::{MAX_GLZ_IMAGES, MAX_GLZ_KEPT_PIXELS};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of pixels read at a time.
const STRIP: usize = 12 << 10;

/// The image cannot be sent as GLZ. The dictionary is unchanged; the caller uses LZ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the GLZ dictionary cannot take the image")]
pub struct Refused;

/// What a migration hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Size of the window in pixels.
    pub window: u32,
    /// Id of the next image.
    pub next_id: u64,
}

/// The images that one client has in its window, shared by the client's displays (see [`super`]).
#[derive(Debug)]
pub struct Dictionary {
    /// As in `inner`. It never changes, so that who asks for it needs no lock.
    window: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    window: u32,
    next_id: u64,
    frozen: bool,
    /// The images, oldest first. Their ids are consecutive.
    images: VecDeque<WindowImage>,
    /// Where in `images` positions are.
    index: PositionIndex,
    /// Units of all images together.
    units: usize,
    /// Position of the next image, counted in units since the first image.
    start: u64,
    tables: Tables,
    /// Buffer of an image that has left the window.
    spare: Vec<u8>,
    loader: Loader,
}

/// Buffers for reading pixels.
#[derive(Debug, Default)]
struct Loader {
    /// A strip of the image, as the image has it.
    read: Vec<u8>,
    /// The same as it is stored.
    packed: Vec<u8>,
}

impl Dictionary {
    /// An empty dictionary for a client's window of `window` pixels, of which it uses [`MAX_GLZ_KEPT_PIXELS`] at most.
    #[must_use]
    pub fn new(window: u32) -> Self {
        Self::restore(State { window, next_id: 0 })
    }

    /// The dictionary of a migrated client. The pixels of its images are not known here.
    #[must_use]
    pub fn restore(state: State) -> Self {
        let window = state.window.min(MAX_GLZ_KEPT_PIXELS);
        let inner = Mutex::new(Inner {
            window,
            next_id: state.next_id,
            frozen: false,
            images: VecDeque::new(),
            index: PositionIndex::default(),
            units: 0,
            start: 0,
            tables: Tables::default(),
            spare: Vec::new(),
            loader: Loader::default(),
        });
        Self { window, inner }
    }

    /// Pixels of the client's window that are used. 0: the client knows no GLZ.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses all images from now on. Returns what the migration target needs.
    pub fn freeze(&self) -> State {
        let inner = &mut *self.lock();
        inner.frozen = true;
        inner.images.clear();
        inner.index = PositionIndex::default();
        inner.units = 0;
        State { window: inner.window, next_id: inner.next_id }
    }

    /// Call this when a display channel is gone: the images that it had not sent are lost, so no image refers
    /// to its images any more.
    pub fn channel_gone(&self, channel: u8) {
        for image in &mut self.lock().images {
            image.alive &= image.channel != channel;
        }
    }

    /// Appends the stream of `image` to `out`, for the display `channel`. The caller must send what was
    /// appended, whatever its size, because the client waits for its id.
    ///
    /// # Errors
    /// The image has padding or a format that GLZ does not carry, is as large as the window, there is no memory
    /// for its pixels, or the dictionary is frozen. `out` is then unchanged.
    pub fn encode(&self, channel: u8, image: &ImageView<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        let inner = &mut *self.lock();
        if !inner.accepts(image) {
            return Err(Refused);
        }
        inner.encode(channel, image, out)
    }

    /// Whether [`Self::encode`] takes such an image, unless the dictionary is frozen meanwhile.
    #[must_use]
    pub fn accepts(&self, image: &ImageView<'_>) -> bool {
        self.lock().accepts(image)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().images.len()
    }

    /// Bytes that the images have room for.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.lock().images.iter().map(|i| i.pixels.capacity()).sum()
    }
}

/// Pixels of an image.
fn units_of(image: &ImageView<'_>) -> u64 {
    u64::from(image.width) * u64::from(image.height)
}

impl Inner {
    fn accepts(&self, image: &ImageView<'_>) -> bool {
        let fits = !self.frozen && units_of(image) < u64::from(self.window);
        fits && carries(LzType::of_format(image.format)) && lz::can_carry(image)
    }

    /// The image is one that is accepted: its units are fewer than the window's.
    fn encode(&mut self, channel: u8, image: &ImageView<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        let kind = LzType::of_format(image.format);
        let units = usize::try_from(units_of(image)).unwrap_or(0);
        while self.units + units > self.window as usize || self.images.len() >= MAX_GLZ_IMAGES {
            let Some(oldest) = self.images.pop_front() else { break };
            self.units -= oldest.units;
            self.index.drop_before(oldest.start + oldest.units as u64);
            if oldest.pixels.capacity() > self.spare.capacity() {
                self.spare = oldest.pixels;
            }
        }
        let size = units * stored_bytes(kind);
        let mut pixels = std::mem::take(&mut self.spare);
        // The window bounds memory as well as units, so a buffer must not have twice the needed capacity.
        if pixels.capacity() > 2 * size.max(4096) {
            pixels = Vec::new();
        }
        pixels.clear();
        pixels.try_reserve_exact(size).map_err(|_| Refused)?;
        let id = self.next_id;
        let head = self.images.front().map_or(0, |oldest| id - oldest.id);
        put_header(kind, image, id, head as u32, out);
        self.loader.load(kind, image, units, &mut pixels);
        let (start, tables) = (self.start, &mut self.tables);
        let (images, index) = (&self.images, &self.index);
        let reference = Reference { images, index, kind, id, start, units, pixels: &pixels };
        match kind {
            LzType::Rgb16 => encode_pass::<Short>(&reference, tables, out),
            LzType::Rgba => {
                encode_pass::<Colour>(&reference, tables, out);
                encode_pass::<Alpha>(&reference, tables, out);
            }
            _ => encode_pass::<Colour>(&reference, tables, out),
        }
        self.next_id = self.next_id.wrapping_add(1);
        self.index.add(id, start, units);
        self.start += units as u64;
        self.units += units;
        self.images.push_back(WindowImage { kind, id, start, units, pixels, channel, alive: true });
        Ok(())
    }
}

fn put_header(kind: LzType, image: &ImageView<'_>, id: u64, head: u32, out: &mut Vec<u8>) {
    out.reserve(HEADER_BYTES);
    out.extend_from_slice(&lz::MAGIC.to_be_bytes());
    out.extend_from_slice(&lz::VERSION.to_be_bytes());
    out.push(kind as u8 | u8::from(image.top_down) << 4);
    for field in [image.width, image.height, image.stride] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&head.to_be_bytes());
}

/// Bytes that a pixel is stored in.
fn stored_bytes(kind: LzType) -> usize {
    match kind {
        LzType::Rgb16 => Short::UNIT,
        LzType::Rgba => Colour::UNIT + Alpha::UNIT,
        _ => Colour::UNIT,
    }
}

impl Loader {
    /// Puts the pixels of `image` into `pixels`, which is empty and has room for them, in memory order, as [`super::Channel`] has them.
    fn load(&mut self, kind: LzType, image: &ImageView<'_>, units: usize, pixels: &mut Vec<u8>) {
        let Self { read, packed } = self;
        read.resize(STRIP, 0);
        packed.resize(STRIP, 0);
        if kind == LzType::Rgba {
            // Both planes are filled at once.
            pixels.resize(units * stored_bytes(kind), 0);
        }
        let size = match kind {
            LzType::Rgb16 => 2,
            LzType::Rgb24 => 3,
            _ => 4,
        };
        let mut at = 0;
        while at < units {
            let count = (STRIP / size).min(units - at);
            let strip = &mut read[..count * size];
            image.source.read_at(at * size, strip);
            match kind {
                LzType::Rgb16 => {
                    for (to, [low, high]) in packed.as_chunks_mut().0.iter_mut().zip(strip.as_chunks().0) {
                        *to = [high & 0x7f, *low];
                    }
                    pixels.extend_from_slice(&packed[..count * Short::UNIT]);
                }
                LzType::Rgb24 => pixels.extend_from_slice(strip),
                LzType::Rgba => {
                    let (colours, alphas) = pixels.split_at_mut(units * Colour::UNIT);
                    drop_fourth(strip, &mut colours[at * Colour::UNIT..]);
                    for (to, [_, _, _, alpha]) in alphas[at..].iter_mut().zip(strip.as_chunks().0) {
                        *to = *alpha;
                    }
                }
                _ => {
                    drop_fourth(strip, packed);
                    pixels.extend_from_slice(&packed[..count * Colour::UNIT]);
                }
            }
            at += count;
        }
    }
}

/// Copies the first three of each four bytes.
fn drop_fourth(fours: &[u8], threes: &mut [u8]) {
    // Four pixels are three words.
    let (pixels, rest) = fours.as_chunks::<16>();
    let (stored, stored_rest) = threes.split_at_mut(pixels.len() * 12);
    for (to, from) in stored.as_chunks_mut::<12>().0.iter_mut().zip(pixels) {
        let [a, b, c, d] = from.as_chunks().0 else { return };
        let [a, b, c, d] = [a, b, c, d].map(|pixel| u32::from_le_bytes(*pixel));
        let words = [a & 0xff_ffff | b << 24, b >> 8 & 0xffff | c << 16, c >> 16 & 0xff | d << 8];
        for (to, word) in to.as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
    }
    for (to, [b, g, r, _]) in stored_rest.as_chunks_mut().0.iter_mut().zip(rest.as_chunks().0) {
        *to = [*b, *g, *r];
    }
}
