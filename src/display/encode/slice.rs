//! A large image in slices of whole rows, each a message of its own, so that other messages can go in between and each part
//! of a picture gets the codec that suits it.

use super::plan::Drawing;
use super::rows::{may_repeat, rows_of};
use super::{ImageEncoder, SERVER_IMAGE_GROUP};
use crate::draw::{Clip, Copy, DrawOp, Drawable, Rop};
use crate::geometry::Rect;
use crate::image::{Bitmap, Image, ImageData};
use std::ops::Range;
use std::sync::Arc;

/// Some rows of a command that copies an image.
#[derive(Debug)]
pub(crate) struct Slice {
    surface_id: u32,
    bbox: Rect,
    clip: Clip,
    op: DrawOp,
}

impl Slice {
    /// The message that draws the rows.
    pub(crate) fn drawing(&self) -> Drawing<'_> {
        Drawing::of_guest(self.surface_id, self.bbox, &self.clip, &self.op)
    }
}

/// The copy of a command that can be sent in slices: of whole rows of a bitmap in true colours, unscaled, and with nothing
/// that a client would keep for the next time.
fn sliceable(drawable: &Drawable) -> Option<(&Copy, &Bitmap)> {
    let DrawOp::Copy(copy) = &drawable.op else { return None };
    let ImageData::Bitmap(bitmap) = &copy.src.data else { return None };
    let (from, to) = (&copy.src_area, &drawable.bbox);
    let unscaled = (from.width(), from.height()) == (to.width(), to.height());
    let bounds = Rect::of_size(bitmap.width, bitmap.height);
    let whole_rows = from.intersect(&bounds) == *from && from.width() == bitmap.width;
    let plain = copy.rop == Rop::PUT && copy.mask.is_none() && !bitmap.format.is_palette();
    (plain && unscaled && whole_rows && may_repeat(&drawable.clip) && !copy.src.cache_me)
        .then_some((copy, bitmap))
}

/// Rows of a command that can be sent in slices; `None`: it cannot.
pub(crate) fn sliceable_rows(drawable: &Drawable) -> Option<u32> {
    sliceable(drawable).map(|_| drawable.bbox.height())
}

impl ImageEncoder {
    /// These rows of a command, counted from its top. `None`: it cannot be sent in slices, or has no such rows.
    pub(crate) fn slice(&mut self, drawable: &Drawable, rows: Range<u32>) -> Option<Slice> {
        let (copy, bitmap) = sliceable(drawable)?;
        let height = rows.end.checked_sub(rows.start)?;
        let first = u32::try_from(copy.src_area.top).ok()?.checked_add(rows.start)?;
        let part = rows_of(bitmap, first, height)?;
        let image = Image {
            id: self.next_image_id(),
            cache_me: false,
            high_bits_set: copy.src.high_bits_set,
            width: bitmap.width,
            height,
            data: ImageData::Bitmap(part),
        };
        let down = |rows: u32| drawable.bbox.top.saturating_add_unsigned(rows);
        let (src, src_area) = (Arc::new(image), Rect::of_size(bitmap.width, height));
        Some(Slice {
            surface_id: drawable.surface_id,
            bbox: Rect { top: down(rows.start), bottom: down(rows.end), ..drawable.bbox },
            clip: drawable.clip.clone(),
            op: DrawOp::Copy(Copy { src, src_area, rop: copy.rop, scale_mode: copy.scale_mode, mask: None }),
        })
    }

    /// An id for an image of the server's own.
    pub(super) fn next_image_id(&mut self) -> u64 {
        self.server_images = self.server_images.wrapping_add(1);
        u64::from(self.server_images) << 32 | SERVER_IMAGE_GROUP
    }
}

#[cfg(test)]
mod tests {
    use super::super::EncodeSettings;
    use super::*;
    use crate::draw::{Effect, ScaleMode};
    use crate::image::BitmapFormat;

    fn drawable(top_down: bool, src_area: Rect) -> Drawable {
        let pixels: Vec<u8> = (0..8 * 4 * 4).collect();
        let bitmap = Bitmap {
            format: BitmapFormat::ThirtyTwoBit,
            width: 4,
            height: 8,
            stride: 16,
            top_down,
            unstable: false,
            palette: None,
            pixels: Arc::new(pixels),
        };
        let src = Arc::new(Image {
            id: 1,
            cache_me: false,
            high_bits_set: false,
            width: 4,
            height: 8,
            data: ImageData::Bitmap(bitmap),
        });
        let (w, h) = (src_area.width() as i32, src_area.height() as i32);
        Drawable {
            surface_id: 0,
            effect: Effect::Opaque,
            bbox: Rect::new(10, 20, 10 + w, 20 + h),
            clip: Clip::None,
            mm_time: 0,
            self_bitmap: None,
            deps: [None; 3],
            op: DrawOp::Copy(Copy {
                src,
                src_area,
                rop: Rop::PUT,
                scale_mode: ScaleMode::Nearest,
                mask: None,
            }),
            release: None,
        }
    }

    fn first_byte(slice: &Slice) -> u8 {
        let DrawOp::Copy(copy) = &slice.op else { panic!("{slice:?}") };
        let ImageData::Bitmap(bitmap) = &copy.src.data else { panic!("{slice:?}") };
        let mut byte = [0];
        bitmap.pixels.read_at(0, &mut byte);
        byte[0]
    }

    #[test]
    fn slices_have_their_rows_of_the_image_and_of_the_box() {
        let mut encoder = ImageEncoder::new(0, EncodeSettings::default());
        let all = drawable(true, Rect::of_size(4, 8));
        assert_eq!(sliceable_rows(&all), Some(8));
        let slice = encoder.slice(&all, 2..5).unwrap();
        assert_eq!(slice.bbox, Rect::new(10, 22, 14, 25));
        assert_eq!(first_byte(&slice), 2 * 16);
        // Row 0 is the last one in memory: rows 2 to 4 are those from 3 on there.
        let slice = encoder.slice(&drawable(false, Rect::of_size(4, 8)), 2..5).unwrap();
        assert_eq!(first_byte(&slice), 3 * 16);
        let lower_half = drawable(true, Rect::new(0, 4, 4, 8));
        assert_eq!(first_byte(&encoder.slice(&lower_half, 1..2).unwrap()), 5 * 16);
        assert!(encoder.slice(&lower_half, 3..5).is_none());
        assert!(encoder.slice(&lower_half, 3..3).is_none());
    }

    #[test]
    fn parts_of_rows_and_scaled_or_cached_images_are_not_sliced() {
        assert_eq!(sliceable_rows(&drawable(true, Rect::new(1, 0, 4, 8))), None);
        let mut scaled = drawable(true, Rect::of_size(4, 8));
        scaled.bbox.right += 1;
        assert_eq!(sliceable_rows(&scaled), None);
    }
}
