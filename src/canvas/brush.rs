//! Brushes as rows of native values in the destination's format (canvas.md 5).

use super::picture::{Picture, Want};
use super::target::Canvas;
use super::{DrawError, Env};
use crate::draw::Brush;
use crate::geometry::{Point, Rect, index_i32};
use crate::image::{Image, SurfaceFormat};

/// A brush that an operation can read.
#[derive(Debug)]
pub(super) enum BrushRows<'a> {
    /// One native value everywhere. The brush NONE is 0.
    Solid(u32),
    Pattern(Tile<'a>),
}

impl<'a> BrushRows<'a> {
    /// Prepares a brush for drawing on `canvas`. `needed` is a rectangle that contains all pixels that the
    /// caller will read.
    ///
    /// # Errors
    /// Those of [`Env::open`].
    pub(super) fn open(
        brush: &'a Brush,
        canvas: &Canvas,
        needed: &Rect,
        env: &mut Env<'a>,
    ) -> Result<Self, DrawError> {
        match brush {
            Brush::None => Ok(Self::Solid(0)),
            Brush::Solid(value) => Ok(Self::Solid(*value)),
            Brush::Pattern { image, origin } => {
                Tile::open(image, *origin, canvas, needed, env).map(Self::Pattern)
            }
        }
    }

    /// The brush's values for row `y`, from column `x` on.
    pub(super) fn read(&mut self, x: i32, y: i32, out: &mut [u32]) {
        match self {
            Self::Solid(value) => out.fill(*value),
            Self::Pattern(tile) => tile.read(x, y, out),
        }
    }
}

/// An image repeated over the whole plane, with its top-left pixel at the origin.
#[derive(Debug)]
pub(super) struct Tile<'a> {
    picture: Picture<'a>,
    origin: Point,
    width: i64,
    height: i64,
}

impl<'a> Tile<'a> {
    /// Opens the tile and converts it to the format of `canvas` ([`Want::Converted`]).
    ///
    /// # Errors
    /// Those of [`Env::open`], and [`DrawError::BadImage`] if the image has no pixels.
    pub(super) fn open(
        image: &'a Image,
        origin: Point,
        canvas: &Canvas,
        needed: &Rect,
        env: &mut Env<'a>,
    ) -> Result<Self, DrawError> {
        // If the tile is the target itself, only the needed part is copied, provided that it is one
        // rectangle.
        let (width, height) = env.size_of(image, canvas)?;
        if width <= 0 || height <= 0 {
            return Err(DrawError::BadImage);
        }
        let (w, h) = (i64::from(width), i64::from(height));
        let part = |start: i32, len: u32, origin: i32, size: i64| {
            let first = (i64::from(start) - i64::from(origin)).rem_euclid(size);
            let end = first + i64::from(len);
            if end <= size { (first, end) } else { (0, size) }
        };
        let (left, right) = part(needed.left, needed.width(), origin.x, w);
        let (top, bottom) = part(needed.top, needed.height(), origin.y, h);
        let edge = |v: i64| i32::try_from(v).unwrap_or(0);
        let part = Rect::new(edge(left), edge(top), edge(right), edge(bottom));
        let picture = env.open(image, canvas, Want::Converted, &part)?;
        Ok(Self { picture, origin, width: w, height: h })
    }

    /// The format of the values that [`Tile::read`] returns.
    #[must_use]
    pub(super) fn format(&self) -> SurfaceFormat {
        self.picture.format()
    }

    /// The values for row `y` of the plane, from column `x` on.
    pub(super) fn read(&mut self, x: i32, y: i32, out: &mut [u32]) {
        let (dx, dy) = (i64::from(x) - i64::from(self.origin.x), i64::from(y) - i64::from(self.origin.y));
        let edge = |v: i64| i32::try_from(v).unwrap_or(0);
        let (mut tx, ty) = (edge(dx.rem_euclid(self.width)), edge(dy.rem_euclid(self.height)));
        let period = index_i32(edge(self.width));
        // Reads the tile once, then repeats these values.
        let once = out.len().min(period);
        let mut done = 0;
        while done < once {
            let n = (once - done).min(period - index_i32(tx));
            self.picture.read(tx, ty, &mut out[done..done + n]);
            done += n;
            tx = 0;
        }
        while done < out.len() {
            let n = done.min(out.len() - done) / period * period;
            let n = if n == 0 { (out.len() - done).min(period) } else { n };
            out.copy_within(0..n, done);
            done += n;
        }
    }
}
