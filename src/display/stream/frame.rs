//! Which commands may be frames of a stream, and frames that the device composes.

use crate::canvas::AreaPixels;
use crate::draw::{Clip, Copy, DrawOp, Drawable, Effect, Rop, ScaleMode};
use crate::geometry::Rect;
use crate::image::{Image, ImageData};
use std::sync::Arc;

/// The image of a command that may be a frame of a stream.
#[must_use]
pub(super) fn frame_of(drawable: &Drawable) -> Option<&Arc<Image>> {
    let DrawOp::Copy(copy) = &drawable.op else { return None };
    let ImageData::Bitmap(bitmap) = &copy.src.data else { return None };
    let whole = copy.src_area == Rect::of_size(bitmap.width, bitmap.height);
    let plain = copy.rop == Rop::PUT && copy.mask.is_none() && !bitmap.format.is_palette();
    (drawable.surface_id == 0 && drawable.is_opaque() && plain && whole).then_some(&copy.src)
}

/// A frame of an area of the primary surface that is drawn in pieces.
#[must_use]
pub(crate) fn composed_frame(area: Rect, pixels: AreaPixels) -> Drawable {
    let src = Arc::new(pixels.into_image(0));
    let src_area = Rect::of_size(src.width, src.height);
    let op = Copy { src, src_area, rop: Rop::PUT, scale_mode: ScaleMode::Interpolate, mask: None };
    Drawable {
        surface_id: 0,
        effect: Effect::Opaque,
        bbox: area,
        clip: Clip::None,
        mm_time: 0,
        self_bitmap: None,
        deps: [None; 3],
        op: DrawOp::Copy(op),
        release: None,
    }
}
