//! A source image placed on the box of an operation, unscaled or scaled (canvas.md 6 and 7).

use super::picture::{Picture, Raw, Want};
use super::target::Canvas;
use super::{DrawError, Env, moved, pixel, source_coordinate};
use crate::draw::ScaleMode;
use crate::geometry::{Rect, index, index_i32};
use crate::image::{Image, SurfaceFormat};

/// Where a scaled source is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SamplePhase {
    /// As COPY and most operations do (7.1).
    Exact,
    /// As ROP3 does (7.3).
    Quantised,
}

/// What an operation requires of its source.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceSpec {
    pub(super) src_area: Rect,
    pub(super) scale_mode: ScaleMode,
    pub(super) phase: SamplePhase,
    /// Use the image's own format, not the destination's.
    pub(super) natural: bool,
    /// If the source is a surface, its unused byte is alpha.
    pub(super) surface_has_alpha: bool,
    /// When scaling, sample the unused byte of xRGB images too, as clients do. Otherwise it becomes 0xff.
    pub(super) samples_unused: bool,
}

/// An open source.
#[derive(Debug)]
pub(super) struct Source<'a> {
    picture: Picture<'a>,
    /// Unscaled: added to a destination coordinate, gives the source's coordinate.
    dx: i64,
    dy: i64,
    scaler: Option<Scaler>,
    dest: SurfaceFormat,
    /// The destination pixels that have a source pixel.
    valid: Rect,
}

impl<'a> Source<'a> {
    /// Opens `image` for an operation on `bbox`. `needed` is a rectangle that contains all pixels that the
    /// caller will read.
    pub(super) fn open(
        image: &'a Image,
        canvas: &Canvas,
        bbox: &Rect,
        needed: &Rect,
        spec: &SourceSpec,
        env: &mut Env<'a>,
    ) -> Result<Self, DrawError> {
        let src = &spec.src_area;
        let scaled = (src.width(), src.height()) != (bbox.width(), bbox.height());
        if src.left > src.right || src.top > src.bottom {
            return Err(DrawError::BadSourceArea);
        }
        let (dx, dy) = (i64::from(bbox.left) - i64::from(src.left), i64::from(bbox.top) - i64::from(src.top));
        let scaler = scaled.then(|| Scaler::new(src, bbox, needed, spec));
        let part = match &scaler {
            Some(scaler) => scaler.needed,
            None => moved(needed, -dx, -dy).unwrap_or_default(),
        };
        let want = match (spec.natural, scaled) {
            (true, _) => Want::Natural,
            (false, true) => Want::ConvertedBitmap,
            (false, false) => Want::Converted,
        };
        let mut picture = env.open(image, canvas, want, &part)?;
        if spec.surface_has_alpha || (scaled && spec.samples_unused) {
            picture.treat_unused_as_alpha();
        }
        let valid = if scaled { *bbox } else { moved(&picture.bounds(), dx, dy).unwrap_or_default() };
        Ok(Self { picture, dx, dy, scaler, dest: canvas.format(), valid })
    }

    /// The destination pixels that have a source pixel. The operation leaves the others alone. When scaling,
    /// these are all pixels of the box.
    pub(super) fn valid(&self) -> Rect {
        self.valid
    }

    /// Whether the source has the destination's format, which has no alpha, and one pixel for each pixel of
    /// `area`.
    pub(super) fn replaces(&self, area: &Rect) -> bool {
        let opaque =
            matches!(self.dest, SurfaceFormat::Xrgb32 | SurfaceFormat::Rgb555 | SurfaceFormat::Rgb565);
        opaque && self.scaler.is_none() && self.picture.format() == self.dest && self.valid.contains(area)
    }

    /// Reads native values of the destination for row `y` from column `x` on.
    pub(super) fn read(&mut self, x: i32, y: i32, out: &mut [u32]) {
        match &mut self.scaler {
            None => {
                self.picture.read(source_coordinate(x, self.dx), source_coordinate(y, self.dy), out);
            }
            Some(scaler) => {
                scaler.read_argb(&mut self.picture, x, y, out);
                pixel::row_from_argb(self.dest, out);
            }
        }
    }

    /// Reads a8r8g8b8.
    pub(super) fn read_argb(&mut self, x: i32, y: i32, out: &mut [u32]) {
        match &mut self.scaler {
            None => {
                let (x, y) = (source_coordinate(x, self.dx), source_coordinate(y, self.dy));
                self.picture.read_argb(x, y, out);
            }
            Some(scaler) => scaler.read_argb(&mut self.picture, x, y, out),
        }
    }

    /// Like [`Source::raw`], for a8r8g8b8 pixels.
    pub(super) fn raw_argb(&self) -> Option<(Raw<'a>, i64, i64)> {
        if self.scaler.is_some() || self.picture.format() != SurfaceFormat::Argb32 {
            return None;
        }
        self.picture.raw(SurfaceFormat::Argb32).map(|raw| (raw, -self.dx, -self.dy))
    }

    /// The source as bytes that can be copied unchanged, with the position in it of destination pixel (0, 0).
    pub(super) fn raw(&self) -> Option<(Raw<'a>, i64, i64)> {
        if self.scaler.is_some() {
            return None;
        }
        self.picture.raw(self.dest).map(|raw| (raw, -self.dx, -self.dy))
    }
}

/// Samples a scaled source.
#[derive(Debug)]
pub(super) struct Scaler {
    interpolate: bool,
    /// For each destination column from `first` on: the source column, and the weight (0 to 254) of its right
    /// neighbour.
    columns: Vec<(i32, u32)>,
    first: i32,
    rows: ScaleAxis,
    /// The source pixels that may be read; may exceed the image.
    needed: Rect,
    /// The source rows read last, as a8r8g8b8, from column `needed.left` on; if `sparse`, in pairs.
    cache: [(i64, Vec<u32>); 2],
    /// The samples use only few of the source's columns.
    sparse: bool,
}

/// The samples along one axis, in 16.16 fixed point.
#[derive(Clone, Copy, Debug)]
struct ScaleAxis {
    /// First destination pixel of the box, and the position of its sample.
    first: i64,
    start: i64,
    step: i64,
    interpolate: bool,
}

impl ScaleAxis {
    fn new(src: i32, src_len: u32, dest: i32, dest_len: u32, spec: &SourceSpec) -> Self {
        let (src, dest) = (i64::from(src), i64::from(dest));
        let (start, step) = match spec.phase {
            SamplePhase::Exact => {
                let step = i64::from(src_len) * 65536 / i64::from(dest_len).max(1);
                (src * 65536 + ((step + 1) >> 1), step)
            }
            SamplePhase::Quantised => {
                let ratio = f64::from(src_len) / f64::from(dest_len.max(1));
                let step = truncate(65536.0 * ratio);
                // Uses the rounded ratio, so that halves round as in the original.
                let origin = if src_len == 0 { 0 } else { truncate((src as f64 / ratio + 0.5).floor()) };
                (origin * step + ((step + 1) >> 1), step)
            }
        };
        let interpolate = spec.scale_mode == ScaleMode::Interpolate;
        let shift = if interpolate { 32768 } else { 1 };
        Self { first: dest, start: start - shift, step, interpolate }
    }

    /// The source pixel for destination pixel `i`, and the weight of the next one.
    fn sample(&self, i: i32) -> (i64, u32) {
        // Counted from the box, so that the product is as small as the source and cannot overflow.
        let v = self.start + (i64::from(i) - self.first) * self.step;
        let weight = if self.interpolate { 2 * ((v >> 9) & 127) } else { 0 };
        (v >> 16, u32::try_from(weight).unwrap_or(0))
    }
}

/// The integer part, saturating.
#[allow(clippy::cast_possible_truncation, reason = "float casts saturate")]
fn truncate(v: f64) -> i64 {
    v as i64
}

impl Scaler {
    fn new(src: &Rect, bbox: &Rect, needed: &Rect, spec: &SourceSpec) -> Self {
        let interpolate = spec.scale_mode == ScaleMode::Interpolate;
        let x_axis = ScaleAxis::new(src.left, src.width(), bbox.left, bbox.width(), spec);
        let rows = ScaleAxis::new(src.top, src.height(), bbox.top, bbox.height(), spec);
        let clamp = |v: i64| i32::try_from(v.clamp(-2, i64::from(i32::MAX) - 2)).unwrap_or(-2);
        let columns: Vec<(i32, u32)> = (needed.left..needed.right)
            .map(|x| x_axis.sample(x))
            .map(|(column, weight)| (clamp(column), weight))
            .collect();
        let extra = i32::from(interpolate);
        let left = columns.first().map_or(0, |c| c.0);
        let right = columns.last().map_or(0, |c| c.0 + 1 + extra);
        let (top, bottom) = if needed.is_empty() {
            (0, 0)
        } else {
            (clamp(rows.sample(needed.top).0), clamp(rows.sample(needed.bottom - 1).0) + 1 + extra)
        };
        let needed_source = Rect::new(left, top, right, bottom);
        let sparse = index(needed_source.width()) > columns.len() * 4 + 64;
        Self {
            interpolate,
            columns,
            first: needed.left,
            rows,
            needed: needed_source,
            cache: [(i64::MIN, Vec::new()), (i64::MIN, Vec::new())],
            sparse,
        }
    }

    /// Puts the source row into the cache and returns its slot. The slot `keep` is not replaced.
    fn fetch(&mut self, picture: &mut Picture<'_>, row: i64, keep: Option<usize>) -> usize {
        if let Some(slot) = self.cache.iter().position(|c| c.0 == row) {
            return slot;
        }
        let slot = match keep {
            Some(slot) => 1 - slot,
            // Sampling moves down, so the upper of the two rows will not be needed again.
            None => usize::from(self.cache[1].0 < self.cache[0].0),
        };
        let y = i32::try_from(row).unwrap_or(-1);
        let (cached, pixels) = &mut self.cache[slot];
        *cached = row;
        if self.sparse {
            pixels.resize(self.columns.len() * 2, 0);
            for ((x, _), pair) in self.columns.iter().zip(pixels.as_chunks_mut::<2>().0) {
                picture.read_argb(*x, y, pair);
            }
        } else {
            pixels.resize(index(self.needed.width()), 0);
            picture.read_argb(self.needed.left, y, pixels);
        }
        slot
    }

    fn read_argb(&mut self, picture: &mut Picture<'_>, x: i32, y: i32, out: &mut [u32]) {
        let (row, b) = self.rows.sample(y);
        let top = self.fetch(picture, row, None);
        let bottom = if b > 0 { self.fetch(picture, row + 1, Some(top)) } else { top };
        let start = index_i32(x - self.first);
        let columns = self.columns.get(start..).unwrap_or(&[]);
        let left = self.needed.left;
        let sparse = self.sparse;
        let at = |i: usize, column: i32| if sparse { (start + i) * 2 } else { index_i32(column - left) };
        let (upper, lower) = (&self.cache[top].1, &self.cache[bottom].1);
        if self.interpolate {
            for (i, (p, (column, a))) in out.iter_mut().zip(columns).enumerate() {
                let i = at(i, *column);
                *p = bilinear([upper[i], upper[i + 1], lower[i], lower[i + 1]], *a, b);
            }
        } else {
            for (i, (p, (column, _))) in out.iter_mut().zip(columns).enumerate() {
                *p = upper[at(i, *column)];
            }
        }
    }
}

/// Weighted mean of four a8r8g8b8 pixels (canvas.md 7.1): top left, top right, bottom left, bottom right. `a`
/// and `b` are the weights of right and bottom, out of 256.
pub(super) fn bilinear(corners: [u32; 4], a: u32, b: u32) -> u32 {
    let weights = [(256 - a) * (256 - b), a * (256 - b), (256 - a) * b, a * b];
    let mut out = 0;
    for shift in [0, 8, 16, 24] {
        let sum: u32 = corners.iter().zip(weights).map(|(c, w)| (c >> shift & 0xff) * w).sum();
        out |= (sum >> 16) << shift;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unweighted_bilinear_is_the_top_left_pixel() {
        assert_eq!(bilinear([0x1234_5678, 1, 2, 3], 0, 0), 0x1234_5678);
        assert_eq!(bilinear([0xffff_ffff; 4], 128, 54), 0xffff_ffff);
    }

    #[test]
    fn the_quantised_phase_falls_where_the_reference_rounds() {
        let spec = SourceSpec {
            src_area: Rect::new(0, 12, 19, 20),
            scale_mode: ScaleMode::Nearest,
            phase: SamplePhase::Quantised,
            natural: false,
            surface_has_alpha: false,
            samples_unused: false,
        };
        // 12 * 77 / 8 is 115.5, but 12 / (8 / 77) is slightly less.
        let axis = ScaleAxis::new(12, 8, 4, 77, &spec);
        assert_eq!((axis.start, axis.step), (115 * 6808 + 3404 - 1, 6808));
    }
}
