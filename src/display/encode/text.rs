//! A line of text as its shape, one bit per pixel, and its inks: a DRAW_TEXT costs about ten bytes for a character of 6x13
//! pixels, where a picture of 16 colours costs 16 after LZ.
//!
//! The string is one glyph as large as the line, and the brush a row of pixels with the ink of each column. The original's
//! canvas, which is also that of most clients, lays the pattern of such a brush from the box around the string
//! (canvas.md 9.3); other clients may lay it from the surface's corner. For both to draw the same, an empty
//! glyph extends the string's box to the left edge of the surface.

use super::colours::{Colours, pack};
use super::word::Word;
use crate::draw::{Brush, Glyph, GlyphString, Rop, Text};
use crate::geometry::{Point, Rect};
use crate::image::Bitmap;
use std::sync::Arc;

/// Smaller lines cost less as a picture of few colours. Tests use small lines.
const MIN_PIXELS: u64 = if cfg!(test) { 200 } else { 2500 };

/// The parts of a line of text.
#[derive(Debug)]
pub(super) struct LineText {
    pub string: GlyphString,
    /// A row of pixels from the surface's left edge, with the ink of each column.
    pub inks: Bitmap,
    /// The colour around the characters.
    pub background: u32,
}

/// A line as text. `None`: its words have no background in common or more than one ink, the line has one ink only (then
/// a picture of two colours is as small), or it is small.
pub(super) fn of_line(words: &[Word], colours: &Colours, bbox: &Rect) -> Option<LineText> {
    if colours.count() <= 2 || bbox.area() < MIN_PIXELS {
        return None;
    }
    let (inks, background) = inks(words)?;
    let left = usize::try_from(bbox.left).ok()?;
    let mut columns = vec![*inks.first()?; left];
    for (word, ink) in words.iter().zip(&inks) {
        columns.resize(columns.len() + word.width, *ink);
    }
    let shape = shape(words, background, bbox)?;
    let mut glyphs = Vec::new();
    if left > 0 {
        let render_pos = Point { x: 0, ..shape.render_pos };
        glyphs.push(Glyph { render_pos, width: 1, height: 1, data: vec![0], ..shape });
    }
    glyphs.push(shape);
    Some(LineText {
        string: GlyphString { flags: GlyphString::A1, glyphs },
        inks: colours.picture(&columns, columns.len(), true)?,
        background: colours.get(background)?,
    })
}

/// The operation that draws such a line: nothing of what was there before stays in `bbox`.
pub(super) fn operation(string: GlyphString, bbox: Rect, inks: Brush, background: u32) -> Text {
    Text {
        string: Arc::new(string),
        back_area: bbox,
        fore_brush: inks,
        back_brush: Brush::Solid(background),
        fore_mode: Rop::PUT,
        back_mode: Rop::PUT,
    }
}

/// The index of each word's ink, and that of the background which all words have.
fn inks(words: &[Word]) -> Option<(Vec<u8>, u8)> {
    let used =
        |word: &Word| word.indexes.iter().fold(0u32, |used, index| used | 1u32.wrapping_shl((*index).into()));
    let used: Vec<u32> = words.iter().map(used).collect();
    let common = used.iter().fold(u32::MAX, |common, used| common & used);
    if common.count_ones() != 1 || used.iter().any(|used| used.count_ones() > 2) {
        return None;
    }
    let index_of = |bit: u32| u8::try_from(bit.trailing_zeros()).ok();
    // A word of spaces has no ink, and any will do.
    let ink = |used: &u32| index_of(if *used == common { common } else { used & !common });
    Some((used.iter().map(ink).collect::<Option<_>>()?, index_of(common)?))
}

/// The glyph of all pixels that are not background, without the empty rows above and below them.
fn shape(words: &[Word], background: u8, bbox: &Rect) -> Option<Glyph> {
    let width: usize = words.iter().map(|word| word.width).sum();
    let height = usize::try_from(bbox.height()).ok()?;
    let has_ink =
        |y: &usize| words.iter().filter_map(|word| word.row(*y)).flatten().any(|index| *index != background);
    let first = (0..height).find(has_ink)?;
    let last = (0..height).rev().find(has_ink)?;
    let mut bits = Vec::with_capacity(width * (last - first + 1));
    for y in (first..=last).rev() {
        for word in words {
            bits.extend(word.row(y)?.iter().map(|index| u8::from(*index != background)));
        }
    }
    Some(Glyph {
        render_pos: Point { x: bbox.left, y: bbox.top.checked_add(i32::try_from(first).ok()?)? },
        origin: Point { x: 0, y: 0 },
        width: u16::try_from(width).ok()?,
        height: u16::try_from(last - first + 1).ok()?,
        data: pack::<8>(&bits, width),
    })
}
