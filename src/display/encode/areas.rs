//! Images that show photos beside text as several messages, so that each part takes the codec that suits it.
//!
//! The parts are chosen like any image: a photo goes as QUIC, or as JPEG where loss is allowed, what lies around it as GLZ or LZ.

use super::bands::{divisible, part_of, whole};
use super::memo::{Cut, Memo, Part};
use super::plan::Drawing;
use super::rows::area_of;
use super::{ImageEncoder, Serials, SurfaceSizes, Workspace};
use crate::canvas::Region;
use crate::codec::photos::photos_in;
use crate::display::settings::ImageCompression;
use crate::geometry::Rect;
use crate::image::{Bitmap, Image};
use crate::net::stream::Outgoing;
use std::sync::Arc;

/// Images from so many pixels on are looked at. Tests with small surfaces look at small ones.
const MIN_PIXELS: u64 = if cfg!(test) { 1 << 12 } else { 1 << 17 };
/// An image that falls into more parts goes whole: each is a message, and codecs learn less from small ones.
const MAX_PARTS: usize = 16;

impl ImageEncoder {
    /// The messages of a drawing whose image shows different things. `None`: it goes as one image.
    pub(super) fn encode_areas(
        &mut self,
        workspace: &mut Workspace,
        serials: Serials,
        drawing: &Drawing<'_>,
        surfaces: &dyn SurfaceSizes,
    ) -> Option<Vec<Outgoing>> {
        let parts = self.areas(&mut workspace.memo, drawing)?;
        let bbox = &drawing.base.bbox;
        let mut messages = Vec::new();
        for (area, image) in parts {
            let op = whole(&image, drawing);
            let part = drawing.part(&op, area.translate(bbox.left, bbox.top));
            // Each part can be sent as the whole can. If not, it is missing: what was made before must go, the caches count on it.
            messages.extend(self.encode_part(workspace, serials, &part, surfaces).unwrap_or_default());
        }
        Some(messages)
    }

    /// The parts of the drawing's image, if it is one to cut.
    fn areas(&self, memo: &mut Memo, drawing: &Drawing<'_>) -> Option<Vec<Part>> {
        let auto = matches!(self.settings.compression, ImageCompression::AutoGlz | ImageCompression::AutoLz);
        let raw = drawing.is_of_guest() && self.settings.unix;
        let (image, bitmap) = divisible(drawing).filter(|_| auto && !raw)?;
        let pixels = u64::from(bitmap.width) * u64::from(bitmap.height);
        if pixels < MIN_PIXELS || bitmap.unstable {
            return None;
        }
        Some(memo.parts(image, Cut::Areas, || cut(image, bitmap))).filter(|parts| parts.len() > 1)
    }
}

/// The photos of an image, and rectangles of what lies around them. Nothing if it should stay whole.
fn cut(image: &Arc<Image>, bitmap: &Bitmap) -> Vec<Part> {
    let photos = photos_in(&bitmap.view());
    if photos.is_empty() {
        return Vec::new();
    }
    let all = Region::from(Rect::of_size(bitmap.width, bitmap.height));
    let around = all.subtract(&Region::from_rects(&photos));
    let areas: Vec<Rect> = photos.into_iter().chain(around.rects().iter().copied()).collect();
    if areas.len() > MAX_PARTS {
        return Vec::new();
    }
    let part = |area: Rect| Some((area, part_of(image, area_of(bitmap, &area)?)));
    areas.into_iter().map(part).collect::<Option<_>>().unwrap_or_default()
}
