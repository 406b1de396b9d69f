//! Large images of many colours as several messages, one below the other, which several threads compress at a time.
//!
//! What such an image takes to compress grows with its pixels, and neither QUIC nor LZ can be cut within one image. A
//! copy can: bands of it show the same. Images for the client's cache, which are one image there, and those for the GLZ
//! dictionary, whose order counts, stay whole.

use super::job::{CompressJob, Encoders, ImageJob};
use super::memo::{Coding, Cut, EncodedImage, Memo, Part};
use super::plan::{Content, Drawing, Plan, PlannedImage};
use super::rows::{may_repeat, rows_of};
use super::{ImageEncoder, Serials, SurfaceSizes};
use crate::draw::{Copy, DrawOp, ImageRole, Rop};
use crate::geometry::Rect;
use crate::image::{Bitmap, BitmapFormat, Image, ImageData};
use crate::net::stream::Outgoing;
use crate::pool::Pool;
use std::cell::Cell;
use std::sync::Arc;

/// Images from so many pixels on are cut. One takes QUIC and JPEG a few milliseconds, beside which it does not show what each
/// band costs to begin with. Tests with small surfaces have small bands.
const BAND_PIXELS: u32 = if cfg!(test) { 1 << 10 } else { 1 << 20 };
/// The same for the other codecs, which are more than twice as fast.
const FAST_BAND_PIXELS: u32 = 2 * BAND_PIXELS;
/// Bands for each thread at most: not all are equally hard to compress.
const BANDS_PER_THREAD: u32 = 2;
/// Rows of a band at least: codecs learn from row to row.
const MIN_ROWS: u32 = if cfg!(test) { 3 } else { 16 };

/// One band of an image.
#[derive(Debug)]
struct Band {
    image: Arc<Image>,
    op: DrawOp,
    bbox: Rect,
}

impl ImageEncoder {
    /// The messages of a drawing whose image is worth cutting. `None`: it goes whole.
    pub(super) fn encode_in_bands(
        &mut self,
        pool: &Pool,
        memo: &mut Memo,
        serials: Serials,
        drawing: &Drawing<'_>,
        surfaces: &dyn SurfaceSizes,
    ) -> Option<Vec<Outgoing>> {
        let (image, bitmap) = divisible(drawing)?;
        let pixels = u64::from(bitmap.width) * u64::from(bitmap.height);
        if pixels < u64::from(BAND_PIXELS) {
            return None;
        }
        let lossy_allowed = self.may_lose() && drawing.lossy_source_allowed();
        let coding = self.coding(bitmap, drawing.is_of_guest(), lossy_allowed)?;
        let band = match coding {
            Coding::Raw => return None,
            Coding::Quic | Coding::Jpeg => BAND_PIXELS,
            Coding::Lz | Coding::Lz4 => FAST_BAND_PIXELS,
        };
        let count = u32::try_from(pixels / u64::from(band)).ok().filter(|&count| count > 0)?;
        let bbox = &drawing.base.bbox;
        let bands: Vec<Band> = memo
            .parts(image, Cut::Bands, || cut(image, bitmap, count, pool.lanes()))
            .into_iter()
            .map(|(rows, image)| Band {
                op: whole(&image, drawing),
                image,
                bbox: rows.translate(bbox.left, bbox.top),
            })
            .collect();
        let known: Vec<Option<EncodedImage>> =
            bands.iter().map(|band| memo.get(&band.image, coding)).collect();
        let missing = bands.iter().zip(&known).filter(|(_, known)| known.is_none());
        let jobs: Vec<ImageJob> = missing
            .map(|(band, _)| ImageJob::AnyOrder(CompressJob { image: Arc::clone(&band.image), coding }))
            .collect();
        let mut results = pool.map(jobs, |job| with_encoders(|encoders| job.run(encoders))).into_iter();
        let mut messages = Vec::new();
        for (band, known) in bands.into_iter().zip(known) {
            let (content, result) = match known {
                Some(encoded) => (Content::Encoded { encoded, replace: false }, None),
                None => match results.next().flatten() {
                    Some(result) => (Content::Job { share: Some(coding), replace: false }, Some(result)),
                    // The fault cost this part of the picture.
                    None => continue,
                },
            };
            let planned = PlannedImage { role: ImageRole::Source, image: band.image, offer: false, content };
            let plan = Plan { images: vec![planned] };
            let part = drawing.part(&band.op, band.bbox);
            messages.extend(self.finish(plan, result.into_iter(), &part, serials, memo, surfaces));
        }
        Some(messages)
    }
}

/// The image of a drawing that shows the same in bands.
pub(super) fn divisible<'a>(drawing: &Drawing<'a>) -> Option<(&'a Arc<Image>, &'a Bitmap)> {
    let DrawOp::Copy(copy) = drawing.op else { return None };
    let ImageData::Bitmap(bitmap) = &copy.src.data else { return None };
    let coloured = matches!(
        bitmap.format,
        BitmapFormat::SixteenBit | BitmapFormat::TwentyFourBit | BitmapFormat::ThirtyTwoBit
    );
    let all = Rect::of_size(bitmap.width, bitmap.height);
    let bbox = drawing.base.bbox;
    let plain = copy.rop == Rop::PUT && copy.mask.is_none() && copy.src_area == all;
    let same_size = (bbox.width(), bbox.height()) == (bitmap.width, bitmap.height);
    let divisible = coloured && plain && same_size && may_repeat(drawing.base.clip) && !copy.src.cache_me;
    divisible.then_some((&copy.src, bitmap))
}

/// So many bands of an image, from the top: two at least, and not more than keep so many threads busy.
fn cut(image: &Image, bitmap: &Bitmap, count: u32, threads: usize) -> Vec<Part> {
    let most = u32::try_from(threads).unwrap_or(u32::MAX).max(1).saturating_mul(BANDS_PER_THREAD);
    let rows = bitmap.height.div_ceil(count.clamp(2, most)).max(MIN_ROWS);
    let tops = (0..bitmap.height).step_by(rows as usize);
    tops.filter_map(|top| {
        let part = rows_of(bitmap, top, rows.min(bitmap.height - top))?;
        let area = Rect::of_size(part.width, part.height).translate(0, i32::try_from(top).ok()?);
        Some((area, part_of(image, part)))
    })
    .collect()
}

/// An image of a part of another's pixels.
pub(super) fn part_of(image: &Image, part: Bitmap) -> Arc<Image> {
    let (width, height) = (part.width, part.height);
    Arc::new(Image { width, height, data: ImageData::Bitmap(part), ..image.clone() })
}

/// A copy of all of a band.
pub(super) fn whole(image: &Arc<Image>, drawing: &Drawing<'_>) -> DrawOp {
    let src_area = Rect::of_size(image.width, image.height);
    let scale_mode = match drawing.op {
        DrawOp::Copy(copy) => copy.scale_mode,
        _ => crate::draw::ScaleMode::Interpolate,
    };
    DrawOp::Copy(Copy { src: Arc::clone(image), src_area, rop: Rop::PUT, scale_mode, mask: None })
}

/// Runs `work` with the encoders of the present thread, which are made anew after a panic.
fn with_encoders<T>(work: impl FnOnce(&mut Encoders) -> T) -> T {
    thread_local!(static ENCODERS: Cell<Option<Box<Encoders>>> = const { Cell::new(None) });
    let mut encoders = ENCODERS.take().unwrap_or_default();
    let result = work(&mut encoders);
    ENCODERS.set(Some(encoders));
    result
}
