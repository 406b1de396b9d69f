//! Which commands may be frames of a stream.

use crate::draw::{DrawOp, Drawable, Rop};
use crate::geometry::Rect;
use crate::image::{Image, ImageData};
use std::sync::Arc;

/// The image of a command that may be a frame of a stream.
#[must_use]
pub fn frame_of(drawable: &Drawable) -> Option<&Arc<Image>> {
    let DrawOp::Copy(copy) = &drawable.op else { return None };
    let ImageData::Bitmap(bitmap) = &copy.src.data else { return None };
    let whole = copy.src_area == Rect::of_size(bitmap.width, bitmap.height);
    let plain = copy.rop == Rop::PUT && copy.mask.is_none() && !bitmap.format.is_palette();
    (drawable.surface_id == 0 && drawable.is_opaque() && plain && whole).then_some(&copy.src)
}
