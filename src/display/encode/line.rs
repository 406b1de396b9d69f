//! Copies that continue one another to the right, such as the words of a line of text, as one message: each message costs more
//! bytes than the word in it.
//!
//! A line whose words each have one ink on a background that all share goes as text ([`super::text`]), if it has
//! several inks. Other lines go as one picture of few colours.

use super::colours::Colours;
use super::text;
use super::word::{Room, Word};
use super::{ImageEncoder, ServerImage, SurfaceSizes};
use crate::draw::{Brush, Clip, Copy, DrawOp, Drawable, Rop};
use crate::geometry::{Point, Rect};
use crate::image::{Bitmap, Image, ImageData, SurfaceFormat};
use crate::limits::{MAX_LINE_PIXELS, MAX_WORD_PIXELS};
use std::sync::Arc;

/// A line that grows.
#[derive(Debug)]
pub(crate) struct Line {
    surface_id: u32,
    bbox: Rect,
    colours: Colours,
    words: Vec<Word>,
    room: Room,
}

impl Line {
    /// A line that begins with this command. `None`: it is no small picture of few colours.
    pub(crate) fn begin(command: &Drawable) -> Option<Self> {
        let bbox = Rect { right: command.bbox.left, ..command.bbox };
        let mut line = Self {
            surface_id: command.surface_id,
            bbox,
            colours: Colours::default(),
            words: Vec::new(),
            room: Room::default(),
        };
        line.add(command).then_some(line)
    }

    /// Adds a command. `false`: it does not continue the line, or it would have too many colours.
    pub(crate) fn add(&mut self, command: &Drawable) -> bool {
        if !follows(self.surface_id, &self.bbox, command) {
            return false;
        }
        let known = self.colours.count();
        let word = word_of(command).and_then(|bitmap| Word::of(bitmap, &mut self.colours, &mut self.room));
        let Some(word) = word else {
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
                indexes.extend_from_slice(word.row(y)?);
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

impl ImageEncoder {
    /// Whether copies to this surface may be joined to lines.
    pub(crate) fn joins_lines(&self, surface_id: u32, surfaces: &dyn SurfaceSizes) -> bool {
        self.may_index() && surfaces.surface_format(surface_id) == Some(SurfaceFormat::Xrgb32)
    }

    /// What draws a line: text, or an image.
    pub(crate) fn line_image(&mut self, line: Line) -> Option<ServerImage> {
        let id = self.next_image_id();
        let image = |bitmap: Bitmap| {
            let (width, height) = (bitmap.width, bitmap.height);
            let data = ImageData::Bitmap(bitmap);
            Image { id, cache_me: false, high_bits_set: false, width, height, data }
        };
        if let Some(text) = text::of_line(&line.words, &line.colours, &line.bbox) {
            let inks = Brush::Pattern { image: Arc::new(image(text.inks)), origin: Point { x: 0, y: 0 } };
            let op = text::operation(text.string, line.bbox, inks, text.background);
            return Some(ServerImage::of_text(line.surface_id, line.bbox, op));
        }
        let (surface_id, bbox, bitmap) = line.into_picture()?;
        Some(ServerImage::of_image(surface_id, bbox, image(bitmap), false))
    }
}
