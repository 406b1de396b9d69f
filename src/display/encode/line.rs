//! Copies that continue one another to the right, such as the words of a line of text, as one picture of few colours: each
//! message costs more bytes than the word in it.

use super::colours::{Colours, load};
use super::{ImageEncoder, ServerImage, SurfaceSizes};
use crate::draw::{Clip, Copy, DrawOp, Drawable, Rop};
use crate::geometry::Rect;
use crate::image::{Bitmap, Image, ImageData, SurfaceFormat};
use crate::limits::{MAX_LINE_PIXELS, MAX_WORD_PIXELS};

/// A line that grows.
#[derive(Debug)]
pub(crate) struct Line {
    surface_id: u32,
    bbox: Rect,
    colours: Colours,
    words: Vec<Word>,
}

/// Indexes of a word's pixels, rows from the top.
#[derive(Debug)]
struct Word {
    width: usize,
    indexes: Vec<u8>,
}

impl Line {
    /// A line that begins with this command. `None`: it is no small picture of few colours.
    pub(crate) fn begin(command: &Drawable) -> Option<Self> {
        let bbox = Rect { right: command.bbox.left, ..command.bbox };
        let mut line =
            Self { surface_id: command.surface_id, bbox, colours: Colours::default(), words: Vec::new() };
        line.add(command).then_some(line)
    }

    /// Adds a command. `false`: it does not continue the line, or it would have too many colours.
    pub(crate) fn add(&mut self, command: &Drawable) -> bool {
        if !follows(self.surface_id, &self.bbox, command) {
            return false;
        }
        let known = self.colours.count();
        let Some(word) = word_of(command).and_then(|bitmap| Word::of(bitmap, &mut self.colours)) else {
            self.colours.truncate(known);
            return false;
        };
        self.words.push(word);
        self.bbox.right = command.bbox.right;
        true
    }

    /// The line as one picture.
    fn into_picture(self) -> Option<(u32, Rect, Bitmap)> {
        let width = self.words.iter().map(|word| word.width).sum();
        let height = usize::try_from(self.bbox.height()).ok()?;
        let mut indexes = Vec::with_capacity(width * height);
        for y in 0..height {
            for word in &self.words {
                indexes.extend_from_slice(word.indexes.get(y * word.width..)?.get(..word.width)?);
            }
        }
        Some((self.surface_id, self.bbox, self.colours.picture(&indexes, width, true)?))
    }
}

/// Whether a command may be part of a line that begins with another.
#[must_use]
pub(crate) fn continues(first: &Drawable, next: &Drawable) -> bool {
    follows(first.surface_id, &first.bbox, next) && word_of(first).is_some() && word_of(next).is_some()
}

fn follows(surface_id: u32, line: &Rect, next: &Drawable) -> bool {
    let bbox = &next.bbox;
    next.surface_id == surface_id
        && (bbox.top, bbox.bottom, bbox.left) == (line.top, line.bottom, line.right)
        && Rect { right: bbox.right, ..*line }.area() <= MAX_LINE_PIXELS
}

/// The picture of a command that draws it as it is.
fn word_of(command: &Drawable) -> Option<&Bitmap> {
    let DrawOp::Copy(Copy { src, src_area, rop: Rop::PUT, mask: None, .. }) = &command.op else {
        return None;
    };
    let ImageData::Bitmap(bitmap) = &src.data else { return None };
    let bbox = &command.bbox;
    let whole = *src_area == Rect::of_size(bitmap.width, bitmap.height)
        && (src_area.width(), src_area.height()) == (bbox.width(), bbox.height());
    let plain = matches!(command.clip, Clip::None) && !bitmap.unstable && !src.high_bits_set;
    (whole && plain && (1..=MAX_WORD_PIXELS).contains(&bbox.area())).then_some(bitmap)
}

impl Word {
    fn of(bitmap: &Bitmap, colours: &mut Colours) -> Option<Self> {
        let view = bitmap.view();
        let width = usize::try_from(bitmap.width).ok()?;
        let mut bytes = vec![0; view.row_bytes()];
        let mut row = Vec::with_capacity(width);
        let mut indexes = Vec::with_capacity(width * usize::try_from(bitmap.height).ok()?);
        for y in 0..bitmap.height {
            view.read_row(y, &mut bytes);
            load(bitmap.format, &bytes, &mut row)?;
            colours.look_up(&row, &mut indexes)?;
        }
        Some(Self { width, indexes })
    }
}

impl ImageEncoder {
    /// Whether copies to this surface may be joined to lines.
    pub(crate) fn joins_lines(&self, surface_id: u32, surfaces: &dyn SurfaceSizes) -> bool {
        self.may_index() && surfaces.surface_format(surface_id) == Some(SurfaceFormat::Xrgb32)
    }

    /// The image that shows a line.
    pub(crate) fn line_image(&mut self, line: Line) -> Option<ServerImage> {
        let (surface_id, bbox, bitmap) = line.into_picture()?;
        let id = self.next_image_id();
        let (width, height) = (bitmap.width, bitmap.height);
        let data = ImageData::Bitmap(bitmap);
        let image = Image { id, cache_me: false, high_bits_set: false, width, height, data };
        Some(ServerImage::of_image(surface_id, bbox, image, false))
    }
}
