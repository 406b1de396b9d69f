//! The compression of one video frame as a job that may run on another thread.

use crate::codec::jpeg;
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

/// Compression of one frame.
///
/// The stream's encoder travels with the job and comes back with the [`Frame`]: so the frames of a stream are compressed
/// in order and one at a time, whichever thread does it.
#[derive(Debug)]
pub struct FrameJob {
    image: Arc<Image>,
    encoder: Box<jpeg::Encoder>,
}

/// A compressed frame.
#[derive(Debug)]
pub struct Frame {
    /// `None`: the encoder cannot carry the image.
    pub data: Option<Vec<u8>>,
    /// To be given back to the stream.
    pub encoder: Box<jpeg::Encoder>,
}

impl FrameJob {
    pub(super) fn new(image: &Arc<Image>, mut encoder: Box<jpeg::Encoder>, quality: u8) -> Self {
        encoder.set_quality(quality);
        Self { image: image.clone(), encoder }
    }

    /// Runs the job.
    #[must_use]
    pub fn run(self) -> Frame {
        let Self { image, mut encoder } = self;
        let mut data = Vec::new();
        let encoded = match &image.data {
            ImageData::Bitmap(bitmap) => encoder.encode(&bitmap.view(), usize::MAX / 2, &mut data).is_ok(),
            ImageData::Quic(_) | ImageData::Surface(_) => false,
        };
        Frame { data: encoded.then_some(data), encoder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_frames_may_change_threads() {
        fn may_change_threads<T: Send + 'static>() {}
        may_change_threads::<FrameJob>();
        may_change_threads::<Frame>();
    }
}
