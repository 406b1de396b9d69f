//! Reads a source or mask through transform, filter and repeat (canvas.md 7.1 and 11).

use super::wide;
use crate::canvas::pixel;
use crate::draw::Transform;
use crate::geometry::{Point16, Rect, index};
use crate::image::SurfaceFormat;

/// How values between the pixels are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    Nearest,
    Bilinear,
}

impl Filter {
    /// The filter with this number; `None` for filters that need parameters.
    #[must_use]
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        match number {
            0 | 3 => Some(Self::Nearest),
            1 | 2 | 4 => Some(Self::Bilinear),
            _ => None,
        }
    }
}

/// What an image has outside of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Transparent black.
    None,
    Tile,
    Edge,
    Mirror,
}

impl Repeat {
    /// The repeat mode in the lowest two bits.
    #[must_use]
    pub(crate) fn from_number(number: u32) -> Self {
        match number & 3 {
            0 => Self::None,
            1 => Self::Tile,
            2 => Self::Edge,
            _ => Self::Mirror,
        }
    }
}

/// How an image is placed on the box.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    pub filter: Filter,
    pub repeat: Repeat,
    /// Maps the box to the image; `None` is the identity.
    pub transform: Option<Transform>,
    pub origin: Point16,
}

const ONE: i64 = 1 << 16;
const HALF: i64 = 1 << 15;
const IDENTITY: Transform = Transform([1 << 16, 0, 0, 0, 1 << 16, 0]);

impl Placement {
    fn matrix(&self) -> [i64; 6] {
        self.transform.unwrap_or(IDENTITY).0.map(i64::from)
    }

    /// Whether the image is displaced by whole pixels and not otherwise transformed.
    fn is_plain(&self) -> bool {
        self.transform.is_none_or(|t| t == IDENTITY)
    }

    /// The position in the image, 16.16, of the centre of a box pixel.
    fn locate(&self, column: i64, row: i64) -> (i64, i64) {
        let t = self.matrix();
        let x = (i64::from(self.origin.x) + column) * ONE + HALF;
        let y = (i64::from(self.origin.y) + row) * ONE + HALF;
        let line = |a: i64, b: i64, c: i64| {
            let sum = i128::from(a) * i128::from(x) + i128::from(b) * i128::from(y) + i128::from(HALF);
            // Both factors fit 48 bits, so the sum shifted by 16 fits 64.
            i64::try_from(sum >> 16).unwrap_or(i64::MAX / 2) + c
        };
        (line(t[0], t[1], t[2]), line(t[3], t[4], t[5]))
    }

    /// The columns and rows of the image that a box of this size samples, before repeating. `None` if they
    /// exceed the arithmetic; then nothing is drawn.
    #[must_use]
    pub(crate) fn extent(&self, image: (u32, u32), size: (u32, u32)) -> Option<Extent> {
        self.extent_of(image, &Rect::of_size(size.0, size.1))
    }

    /// Like [`Placement::extent`], for a part of the box.
    #[must_use]
    pub(crate) fn extent_of(&self, image: (u32, u32), part: &Rect) -> Option<Extent> {
        let columns = i64::from(part.left)..i64::from(part.right);
        let rows = i64::from(part.top)..i64::from(part.bottom);
        let origin = (i64::from(self.origin.x), i64::from(self.origin.y));
        let fits16 = |v: i64| i16::try_from(v).is_ok();
        let fits32 = |v: i64| i32::try_from(v).is_ok();
        let ends =
            [origin.0 + columns.start, origin.1 + rows.start, origin.0 + columns.end, origin.1 + rows.end];
        if !(fits16(ends[0] - 1) && fits16(ends[1] - 1) && fits16(ends[2] + 1) && fits16(ends[3] + 1))
            || image.0 >= 0x7fff
            || image.1 >= 0x7fff
        {
            return None;
        }
        let (offset, width) = match self.filter {
            Filter::Nearest => (-1, 0),
            Filter::Bilinear => (-HALF, ONE),
        };
        let corners = |grow: i64| {
            let at = |c: i64, r: i64| self.locate(c, r);
            let points = [
                at(columns.start - grow, rows.start - grow),
                at(columns.end - 1 + grow, rows.start - grow),
                at(columns.start - grow, rows.end - 1 + grow),
                at(columns.end - 1 + grow, rows.end - 1 + grow),
            ];
            points.iter().all(|p| fits32(p.0) && fits32(p.1)).then(|| {
                points.iter().fold((i64::MAX, i64::MAX, i64::MIN, i64::MIN), |e, p| {
                    (e.0.min(p.0), e.1.min(p.1), e.2.max(p.0), e.3.max(p.1))
                })
            })
        };
        let plain = self.is_plain();
        let near = corners(0)?;
        let margin = 8;
        if !plain {
            let far = corners(1)?;
            let low = offset - margin;
            let high = offset + margin + width;
            if ![far.0 + low, far.1 + low, far.2 + high, far.3 + high].iter().all(|&v| fits32(v)) {
                return None;
            }
        }
        let floor = |v: i64| v >> 16;
        let area = if plain {
            (ends[0], ends[1], ends[2], ends[3])
        } else {
            (
                floor(near.0 + offset - margin),
                floor(near.1 + offset - margin),
                floor(near.2 + offset + width + margin) + 1,
                floor(near.3 + offset + width + margin) + 1,
            )
        };
        let covered = area.0 >= 0 && area.1 >= 0 && area.2 <= image.0.into() && area.3 <= image.1.into();
        let edge = |v: i64| i32::try_from(v).unwrap_or(0);
        Some(Extent { area: Rect::new(edge(area.0), edge(area.1), edge(area.2), edge(area.3)), covered })
    }

    /// The part of the image that may be sampled.
    #[must_use]
    pub(crate) fn needed(&self, image: (u32, u32), extent: &Extent) -> Rect {
        let whole = Rect::of_size(image.0, image.1);
        match self.repeat {
            Repeat::None => extent.area.intersect(&whole),
            _ if extent.covered => extent.area,
            _ => whole,
        }
    }
}

/// The part of an image that a box covers, if the image had no bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub area: Rect,
    /// Whether every sample lies inside the image.
    pub covered: bool,
}

/// A part of an image.
#[derive(Clone, Debug)]
pub(crate) struct Texture {
    /// Size of the whole image, neither 0.
    pub size: (u32, u32),
    pub format: SurfaceFormat,
    /// The part that `pixels` holds.
    pub window: Rect,
    /// Native values, row by row.
    pub pixels: Vec<u32>,
}

impl Texture {
    /// Whether the format has colours, and not only alpha.
    #[must_use]
    pub(crate) fn has_colour(&self) -> bool {
        !matches!(self.format, SurfaceFormat::A1 | SurfaceFormat::A8)
    }

    fn is_opaque(&self) -> bool {
        self.has_colour() && self.format != SurfaceFormat::Argb32
    }

    /// Converts the pixels to a8r8g8b8 once, rather than whenever one is sampled.
    pub(crate) fn convert_to_argb(&mut self) {
        pixel::row_to_argb(self.format, &mut self.pixels);
        self.format = SurfaceFormat::Argb32;
    }

    /// A native value of the window.
    fn get(&self, x: i64, y: i64) -> Option<u32> {
        let (x, y) = (x - i64::from(self.window.left), y - i64::from(self.window.top));
        let width = i64::from(self.window.width());
        if x < 0 || x >= width {
            return None;
        }
        usize::try_from(y * width + x).ok().and_then(|at| self.pixels.get(at)).copied()
    }

    fn repeated(&self, repeat: Repeat, x: i64, y: i64) -> Option<u32> {
        let (w, h) = (i64::from(self.size.0), i64::from(self.size.1));
        self.get(wrap(repeat, x, w)?, wrap(repeat, y, h)?)
    }

    /// The native values of a pixel and of its neighbours to the right, below, and both.
    fn square(&self, repeat: Repeat, x: i64, y: i64) -> [Option<u32>; 4] {
        if let Some(square) = self.square_inside(x, y) {
            return square.map(Some);
        }
        let (w, h) = (i64::from(self.size.0), i64::from(self.size.1));
        let columns = [wrap(repeat, x, w), wrap(repeat, x + 1, w)];
        let rows = [wrap(repeat, y, h), wrap(repeat, y + 1, h)];
        let at = |column: usize, row: usize| self.get(columns[column]?, rows[row]?);
        [at(0, 0), at(1, 0), at(0, 1), at(1, 1)]
    }

    /// The same, if all four lie inside of the window.
    fn square_inside(&self, x: i64, y: i64) -> Option<[u32; 4]> {
        let x = usize::try_from(x - i64::from(self.window.left)).ok()?;
        let y = usize::try_from(y - i64::from(self.window.top)).ok()?;
        let width = index(self.window.width());
        if x + 1 >= width {
            return None;
        }
        let upper = y * width + x;
        let lower = upper + width;
        match (self.pixels.get(upper..upper + 2)?, self.pixels.get(lower..lower + 2)?) {
            (&[a, b], &[c, d]) => Some([a, b, c, d]),
            _ => None,
        }
    }

    /// The native values of `len` pixels of a row, if all of them lie inside of the window.
    fn segment(&self, x: i64, y: i64, len: usize) -> Option<&[u32]> {
        let x = usize::try_from(x - i64::from(self.window.left)).ok()?;
        let y = usize::try_from(y - i64::from(self.window.top)).ok()?;
        let width = index(self.window.width());
        if x.checked_add(len)? > width {
            return None;
        }
        self.pixels.get(y * width + x..y * width + x + len)
    }
}

fn wrap(repeat: Repeat, v: i64, size: i64) -> Option<i64> {
    if 0 <= v && v < size {
        return Some(v);
    }
    match repeat {
        Repeat::None => None,
        Repeat::Tile => Some(remainder(v, size)),
        Repeat::Edge => Some(v.clamp(0, size - 1)),
        Repeat::Mirror => {
            let v = remainder(v, 2 * size);
            Some(if v < size { v } else { 2 * size - 1 - v })
        }
    }
}

/// The remainder, not negative. All positions fit 32 bits, which the processor divides much faster.
fn remainder(v: i64, size: i64) -> i64 {
    match (i32::try_from(v), i32::try_from(size)) {
        (Ok(v), Ok(size)) => v.rem_euclid(size).into(),
        _ => v.rem_euclid(size),
    }
}

/// A texture placed on a box.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    pub texture: Texture,
    pub placement: Placement,
    /// Whether every sample lies inside the image.
    pub covered: bool,
}

impl Sampler {
    /// Whether the format gives every sample full alpha.
    #[must_use]
    pub(crate) fn is_opaque(&self) -> bool {
        self.texture.is_opaque() && (self.covered || self.placement.repeat != Repeat::None)
    }

    /// Whether each box pixel is exactly one pixel of the image.
    pub(crate) fn is_aligned(&self) -> bool {
        self.placement.is_plain() && (self.covered || self.placement.repeat == Repeat::Tile)
    }

    /// Native values of box pixels from (column, row) `start` on, for aligned images.
    pub(crate) fn native_row(&self, start: (i64, i64), out: &mut [u32]) {
        let repeat = self.placement.repeat;
        self.walk(start, out, |x, y| self.texture.repeated(repeat, x >> 16, y >> 16).unwrap_or(0));
    }

    /// Box pixels from (column, row) `start` on, as a8r8g8b8, which the texture must have been converted to.
    pub(crate) fn row(&self, start: (i64, i64), out: &mut [u32]) {
        let Placement { filter, repeat, origin, .. } = self.placement;
        if self.placement.is_plain() {
            // The centre of each pixel is that of a pixel of the image, so the filter makes no difference.
            let (x, y) = (i64::from(origin.x) + start.0, i64::from(origin.y) + start.1);
            if let Some(pixels) = self.texture.segment(x, y, out.len()) {
                out.copy_from_slice(pixels);
                return;
            }
        }
        match filter {
            Filter::Nearest => self.walk(start, out, |x, y| {
                self.texture.repeated(repeat, (x - 1) >> 16, (y - 1) >> 16).unwrap_or(0)
            }),
            Filter::Bilinear => self.walk(start, out, |x, y| {
                let (x, y) = (x - HALF, y - HALF);
                let square = self.texture.square(repeat, x >> 16, y >> 16);
                bilinear(square.map(Option::unwrap_or_default), weight(x), weight(y))
            }),
        }
    }

    /// Whether [`Sampler::wide_row`] regards a mask.
    pub(crate) fn regards_mask(&self) -> bool {
        !(self.placement.is_plain() && matches!(self.placement.repeat, Repeat::None | Repeat::Tile))
    }

    /// Box pixels from (column, row) `start` on, in floating point. Where `mask` is 0, `out` keeps its old
    /// values: those of the row above, or zeros in the first row. The HSL operators make this visible, in
    /// clients as well.
    pub(crate) fn wide_row(&self, start: (i64, i64), mask: Option<&[wide::Pixel]>, out: &mut [wide::Pixel]) {
        let Placement { filter, repeat, .. } = self.placement;
        let wide = |v: Option<u32>| v.map_or([0.0; 4], |v| wide::from_native(self.texture.format, v));
        let mask = mask.filter(|_| self.regards_mask());
        let shown = |i: usize| mask.and_then(|m| m.get(i)).is_none_or(|m| *m != [0.0; 4]);
        let (mut x, mut y) = self.placement.locate(0, start.1);
        let t = self.placement.matrix();
        (x, y) = (x + start.0 * t[0], y + start.0 * t[3]);
        for (i, p) in out.iter_mut().enumerate() {
            if shown(i) {
                *p = match filter {
                    Filter::Nearest => wide(self.texture.repeated(repeat, (x - 1) >> 16, (y - 1) >> 16)),
                    Filter::Bilinear => {
                        let (x, y) = (x - HALF, y - HALF);
                        let square = self.texture.square(repeat, x >> 16, y >> 16);
                        wide_bilinear(square.map(wide), fraction(x), fraction(y))
                    }
                };
            }
            x += t[0];
            y += t[3];
        }
    }

    fn walk(&self, start: (i64, i64), out: &mut [u32], sample: impl Fn(i64, i64) -> u32) {
        let (mut x, mut y) = self.placement.locate(0, start.1);
        let t = self.placement.matrix();
        (x, y) = (x + start.0 * t[0], y + start.0 * t[3]);
        for p in out {
            *p = sample(x, y);
            x += t[0];
            y += t[3];
        }
    }
}

/// The weight of the right or lower neighbour, in 256ths; 7 bits are significant.
fn weight(v: i64) -> u32 {
    u32::try_from((v >> 9) & 127).unwrap_or(0) * 2
}

fn bilinear(c: [u32; 4], x: u32, y: u32) -> u32 {
    let weights = [(256 - x) * (256 - y), x * (256 - y), (256 - x) * y, x * y].map(u64::from);
    // Two channels at a time: each sum fits its 32 bits, since the weights add up to 2^16.
    let spread = |p: u32| {
        let p = u64::from(p & 0x00ff_00ff);
        (p | p << 16) & 0x0000_00ff_0000_00ff
    };
    let sum = |shift: u32| {
        let sums = c.iter().zip(weights).map(|(p, w)| spread(p >> shift) * w).sum::<u64>() >> 16;
        let sums = sums & 0x0000_00ff_0000_00ff;
        u32::try_from((sums | sums >> 16) & 0x00ff_00ff).unwrap_or(0)
    };
    sum(0) | sum(8) << 8
}

fn fraction(v: i64) -> f32 {
    f32::from(u16::try_from(v & 0xffff).unwrap_or(0)) / 65_536.0
}

fn wide_bilinear(c: [wide::Pixel; 4], x: f32, y: f32) -> wide::Pixel {
    let weights = [(1.0 - x) * (1.0 - y), x * (1.0 - y), (1.0 - x) * y, x * y];
    [0, 1, 2, 3]
        .map(|i| c[0][i] * weights[0] + c[1][i] * weights[1] + c[2][i] * weights[2] + c[3][i] * weights[3])
}
