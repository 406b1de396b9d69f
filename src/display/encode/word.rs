//! A word of a line of text, in indexes of the line's colours.

use super::colours::{Colours, load};
use crate::image::Bitmap;

/// Indexes of a word's pixels, rows from the top.
#[derive(Debug)]
pub(super) struct Word {
    pub width: usize,
    pub indexes: Vec<u8>,
}

/// Room for the pixels of one word.
#[derive(Debug, Default)]
pub(super) struct Room {
    bytes: Vec<u8>,
    pixels: Vec<u32>,
}

impl Word {
    /// A row of the word's pixels.
    pub(super) fn row(&self, y: usize) -> Option<&[u8]> {
        self.indexes.get(y.checked_mul(self.width)?..)?.get(..self.width)
    }

    /// `None`: the picture has too many colours, or alpha.
    pub(super) fn of(bitmap: &Bitmap, colours: &mut Colours, room: &mut Room) -> Option<Self> {
        let (width, height) = (usize::try_from(bitmap.width).ok()?, usize::try_from(bitmap.height).ok()?);
        let view = bitmap.view();
        let row_bytes = view.row_bytes();
        room.bytes.resize(row_bytes.checked_mul(height)?, 0);
        if bitmap.top_down && usize::try_from(bitmap.stride).ok()? == row_bytes {
            bitmap.pixels.read_at(0, &mut room.bytes);
        } else {
            for (y, row) in (0..).zip(room.bytes.chunks_exact_mut(row_bytes.max(1))) {
                view.read_row(y, row);
            }
        }
        load(bitmap.format, &room.bytes, &mut room.pixels)?;
        let mut indexes = Vec::with_capacity(room.pixels.len());
        colours.look_up(&room.pixels, &mut indexes)?;
        Some(Self { width, indexes })
    }
}
