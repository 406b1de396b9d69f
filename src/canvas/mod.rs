//! Pixel-exact rendering of drawing commands (canvas.md).
//!
//! A [`Canvas`] is one surface; [`Canvas::draw`] draws one command on it, reading other surfaces through [`Surfaces`].
//! The canvas knows no clients, trees or pipes.
//!
//! * [`region`]: sets of pixels as rectangles, also for everyone else
//! * [`target`], [`pixel`]: pixels of a surface as rows of numbers; [`area`]: which of them a command may touch
//! * [`picture`], [`brush`]: where new pixels come from
//! * [`rop`], [`blend`]: how they are combined with the old ones
//! * `ops`: the operations, apart from [`stroke`], text and composite

mod area;
mod brush;
mod composite;
mod ops;
mod picture;
mod pixel;
pub(crate) mod region;
pub(crate) mod rop;
mod source;
mod stroke;
mod target;
mod text;
mod zeroed;

#[cfg(test)]
mod hostile_tests;

pub use area::{Area, Span};
pub use ops::AreaPixels;
pub use region::Region;
pub use target::Canvas;

use crate::codec::quic::{self, PixelLayout};
use crate::draw::{Clip, DrawOp, Drawable, Mask};
use crate::geometry::{Rect, index};
use crate::image::{Image, ImageData};
use area::BitMask;
use picture::{MaskRows, Picture, Want};
use std::sync::Arc;
use zeroed::reserved;

/// Why a command was not drawn. The surface is then unchanged, except that a TEXT may have drawn its
/// background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it means")]
pub enum DrawError {
    #[error("the surface does not fit its memory")]
    BadSurface,
    #[error("the box lies outside of the surface")]
    BoxOutside,
    #[error("the source area lies outside of the image")]
    BadSourceArea,
    #[error("the source surface does not exist")]
    NoSurface,
    #[error("the command has no source image")]
    NoSource,
    #[error("the image cannot be drawn")]
    BadImage,
    #[error("palette images cannot be drawn on a surface of this format")]
    PaletteOnSurface,
    #[error("clip is too complicated")]
    BadClip,
    #[error("mask is not an image of one bit per pixel")]
    BadMask,
    #[error("the operation cannot be drawn on a surface of this format")]
    BadSurfaceFormat,
    #[error("the path cannot be drawn")]
    BadPath,
    #[error("the string cannot be drawn")]
    BadString,
    #[error("the operator, filter or transform is not supported")]
    BadComposite,
    #[error("the operation is not supported")]
    Unsupported,
    #[error("the host is short of memory")]
    NoMemory,
}

/// The surfaces that a command may read. The surface being drawn on need not be among them.
pub trait Surfaces {
    /// The surface with this id, if it exists.
    fn surface(&self, surface_id: u32) -> Option<&Canvas>;
}

impl Surfaces for () {
    fn surface(&self, _: u32) -> Option<&Canvas> {
        None
    }
}

/// The decoded QUIC images of recent commands (canvas.md 2.5).
#[derive(Debug, Default)]
pub struct ImageCache {
    /// Most recently used first.
    entries: Vec<CacheEntry>,
}

#[derive(Debug)]
struct CacheEntry {
    id: u64,
    stream: Arc<[u8]>,
    layout: PixelLayout,
    pixels: Arc<Vec<u8>>,
}

impl ImageCache {
    const ENTRIES: usize = 2;
    /// Images with more bytes of decoded pixels are not kept.
    const LARGEST: usize = 64 << 20;

    /// Removes all images (`reset_image_cache`).
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    fn decode(
        &mut self,
        image: &Image,
        stream: &Arc<[u8]>,
        layout: PixelLayout,
    ) -> Result<Arc<Vec<u8>>, DrawError> {
        // The stream is compared too, so that a guest which uses an id twice does not get the wrong picture.
        let known = |e: &CacheEntry| e.id == image.id && e.layout == layout && e.stream == *stream;
        if let Some(at) = self.entries.iter().position(known) {
            self.entries[..=at].rotate_right(1);
            return Ok(self.entries[0].pixels.clone());
        }
        // A few bytes can stand for all of them.
        let pixel = match layout {
            PixelLayout::Bgra32 => 4,
            PixelLayout::Rgb555 => 2,
            PixelLayout::Gray8 => 1,
        };
        let mut pixels = reserved(index(image.width) * index(image.height) * pixel)?;
        quic::decode(stream, image.width, image.height, layout, &mut pixels)
            .map_err(|_| DrawError::BadImage)?;
        let pixels = Arc::new(pixels);
        if pixels.len() <= Self::LARGEST {
            self.entries.truncate(Self::ENTRIES - 1);
            let entry = CacheEntry { id: image.id, stream: stream.clone(), layout, pixels: pixels.clone() };
            self.entries.insert(0, entry);
        }
        Ok(pixels)
    }
}

/// The images and surfaces that one command may read besides its target.
pub struct Env<'a> {
    target_id: u32,
    surfaces: &'a dyn Surfaces,
    cache: &'a mut ImageCache,
}

impl std::fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").field("target_id", &self.target_id).finish_non_exhaustive()
    }
}

impl<'a> Env<'a> {
    /// Opens an image for drawing on `canvas`. `needed` bounds what will be read of an image that is the target itself:
    /// that is copied now, and outside of it reads as 0.
    ///
    /// # Errors
    /// The surface does not exist, or the image cannot be drawn on this one.
    pub fn open(
        &mut self,
        image: &'a Image,
        canvas: &Canvas,
        want: Want,
        needed: &Rect,
    ) -> Result<Picture<'a>, DrawError> {
        let dest = canvas.format();
        match image.data {
            ImageData::Surface(id) if id == self.target_id => Picture::copy_of(canvas, dest, want, needed),
            ImageData::Surface(id) => {
                let source = self.surfaces.surface(id).ok_or(DrawError::NoSurface)?;
                Picture::of_surface(source, dest, want)
            }
            _ => Picture::of_image(image, dest, want, self.cache),
        }
    }

    /// Width and height with which an image is read.
    ///
    /// # Errors
    /// The surface does not exist, or the size is beyond `i32`.
    pub fn size_of(&self, image: &Image, canvas: &Canvas) -> Result<(i32, i32), DrawError> {
        let (width, height) = match &image.data {
            ImageData::Surface(id) if *id == self.target_id => (canvas.width(), canvas.height()),
            ImageData::Surface(id) => {
                let source = self.surfaces.surface(*id).ok_or(DrawError::NoSurface)?;
                (source.width(), source.height())
            }
            ImageData::Bitmap(bitmap) => (bitmap.width, bitmap.height),
            ImageData::Quic(_) => (image.width, image.height),
        };
        let size = |v: u32| i32::try_from(v).map_err(|_| DrawError::BadImage);
        Ok((size(width)?, size(height)?))
    }

    /// Whether the image is the surface being drawn on.
    #[must_use]
    pub fn is_target(&self, image: &Image) -> bool {
        matches!(image.data, ImageData::Surface(id) if id == self.target_id)
    }

    /// Restricts `area` to a mask (canvas.md 3).
    fn apply_mask(
        &self,
        area: &mut Area,
        canvas: &Canvas,
        bbox: &Rect,
        mask: &'a Mask,
    ) -> Result<(), DrawError> {
        let mut rows = match &mask.image.data {
            ImageData::Bitmap(bitmap) => MaskRows::of_bitmap(bitmap)?,
            ImageData::Surface(id) if *id == self.target_id => MaskRows::of_surface(canvas)?,
            ImageData::Surface(id) => {
                MaskRows::of_surface(self.surfaces.surface(*id).ok_or(DrawError::NoSurface)?)?
            }
            ImageData::Quic(_) => return Err(DrawError::BadMask),
        };
        // The mask's bit for destination (x, y) is at (x - dx, y - dy). Pixels without a bit are not drawn.
        let dx = i64::from(bbox.left) - i64::from(mask.origin.x);
        let dy = i64::from(bbox.top) - i64::from(mask.origin.y);
        let Some(bounds) = moved(&rows.bounds(), dx, dy).map(|r| r.intersect(&area.bounds())) else {
            *area = Area::default();
            return Ok(());
        };
        if bounds.is_empty() {
            *area = Area::default();
            return Ok(());
        }
        let mut bits = BitMask::new(bounds)?;
        let mut row = vec![0; index(bounds.width())];
        for y in bounds.top..bounds.bottom {
            let (x, y_in_mask) = (source_coordinate(bounds.left, dx), source_coordinate(y, dy));
            rows.read(x, y_in_mask, &mut row);
            if mask.inverse {
                row.iter_mut().for_each(|b| *b ^= 1);
            }
            bits.set_row(y, &row);
        }
        area.set_mask(bits);
        Ok(())
    }
}

/// `rect` moved by (dx, dy) and cut to the range of `i32`; `None` if nothing is left.
fn moved(rect: &Rect, dx: i64, dy: i64) -> Option<Rect> {
    let edge = |v: i32, d: i64| {
        let moved = (i64::from(v) + d).clamp(i32::MIN.into(), i32::MAX.into());
        i32::try_from(moved).unwrap_or(0)
    };
    let moved =
        Rect::new(edge(rect.left, dx), edge(rect.top, dy), edge(rect.right, dx), edge(rect.bottom, dy));
    (!moved.is_empty()).then_some(moved)
}

/// The coordinate in a source that is displaced by `d`, for a destination coordinate.
fn source_coordinate(v: i32, d: i64) -> i32 {
    i32::try_from(i64::from(v) - d).unwrap_or(-1)
}

impl Canvas {
    /// Draws one command (canvas.md 6). Operations that use the surface itself as their source must have the snapshot in
    /// its place (6.10, [`Canvas::snapshot`] and [`DrawOp::set_source`]).
    ///
    /// # Errors
    /// The command cannot be drawn and should be dropped.
    pub fn draw(
        &mut self,
        drawable: &Drawable,
        surfaces: &dyn Surfaces,
        cache: &mut ImageCache,
    ) -> Result<(), DrawError> {
        let region = Region::clipped(&drawable.bbox.intersect(&self.bounds()), &drawable.clip);
        let region = region.ok_or(DrawError::BadClip)?;
        self.draw_region(drawable, &region, surfaces, cache)
    }

    /// Draws those pixels of a command that lie in `region`, a part of its box and clip.
    ///
    /// # Errors
    /// As [`Canvas::draw`].
    pub fn draw_region(
        &mut self,
        drawable: &Drawable,
        region: &Region,
        surfaces: &dyn Surfaces,
        cache: &mut ImageCache,
    ) -> Result<(), DrawError> {
        let bbox = drawable.bbox;
        if bbox.is_empty() {
            return Ok(());
        }
        if !self.bounds().contains(&bbox) {
            return Err(DrawError::BoxOutside);
        }
        let mut area = Area::from(region.clone());
        let mut env = Env { target_id: drawable.surface_id, surfaces, cache };
        if let Some(mask) = drawable.op.mask() {
            env.apply_mask(&mut area, self, &bbox, mask)?;
        }
        if area.is_empty() {
            return Ok(());
        }
        match &drawable.op {
            DrawOp::Nop => Ok(()),
            DrawOp::Fill(op) => self.draw_fill(&area, op, &mut env),
            DrawOp::Opaque(op) => self.draw_opaque(&area, &bbox, op, &mut env),
            DrawOp::Copy(op) | DrawOp::Blend(op) => self.draw_copy(&area, &bbox, op, &mut env),
            DrawOp::CopyBits(from) => {
                self.copy_bits(area.region(), &bbox, *from);
                Ok(())
            }
            DrawOp::Blackness(_) => {
                self.fill(&area, 0);
                Ok(())
            }
            DrawOp::Whiteness(_) => {
                self.fill(&area, u32::MAX);
                Ok(())
            }
            DrawOp::Invers(_) => {
                self.modify(&area, |_, _, row| row.iter_mut().for_each(|p| *p = !*p));
                Ok(())
            }
            DrawOp::Rop3(op) => self.draw_rop3(&area, &bbox, op, &mut env),
            DrawOp::Transparent(op) => self.draw_transparent(&area, &bbox, op, &mut env),
            DrawOp::AlphaBlend(op) => {
                let extents = extents_of(&bbox, &drawable.clip);
                self.draw_alpha_blend(&area, &extents, &bbox, op, &mut env)
            }
            DrawOp::Stroke(op) => self.draw_stroke(&area, op, &mut env),
            DrawOp::Text(op) => self.draw_text(&area, op, &mut env),
            DrawOp::Composite(op) => self.draw_composite(&area, &bbox, op, &mut env),
        }
    }
}

/// Around all that a command may draw, not only where it is still visible.
fn extents_of(bbox: &Rect, clip: &Clip) -> Rect {
    match clip {
        Clip::None => *bbox,
        Clip::Rects(rects) => rects.iter().fold(Rect::default(), |all, r| all.union(&r.intersect(bbox))),
    }
}

/// The source image of an operation.
fn source_of(src: Option<&Arc<Image>>) -> Result<&Image, DrawError> {
    src.map(|image| &**image).ok_or(DrawError::NoSource)
}
