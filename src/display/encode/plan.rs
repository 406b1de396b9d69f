//! The first step of a message: what the client's caches say of its images, and which codec the others get.
//!
//! Plans are made in the order of the messages. A plan pins what it uses in the pixmap cache until the message is finished
//! ([`super::finish`]), so that no other display of the client evicts it meanwhile.

use super::choice::{self, Choice};
use super::indexed::indexed;
use super::job::{CompressJob, GlzJob, ImageJob};
use super::lossy::lossy_source_allowed;
use super::memo::{Coding, EncodedImage, Memo};
use super::palette;
use super::pixmap_cache::Lookup;
use super::plain::plain;
use super::{ImageEncoder, SurfaceSizes};
use crate::canvas::AreaPixels;
use crate::canvas::rop::is_degenerate_rop3;
use crate::codec::graduality::{self, Graduality};
use crate::display::settings::ImageCompression;
use crate::draw::{Clip, Copy, DrawOp, Drawable, ImageArgument, ImageRole, Rop, ScaleMode, Text};
use crate::geometry::Rect;
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, SurfaceFormat};
use crate::protocol::draw::DrawBase;
use std::sync::Arc;

/// Indexes of fewer bytes do not become smaller by a header's size.
const FEW_BYTES: usize = 192;

/// Pixels of a character of ordinary size.
const ONE_CHARACTER: u64 = 128;

/// What a drawing message says: an operation, and where it draws.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawing<'a> {
    pub(super) base: DrawBase<'a>,
    pub(super) op: &'a DrawOp,
    origin: Origin,
}

/// Who drew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Guest,
    /// The server shows pixels of a surface.
    Server {
        lossy_allowed: bool,
    },
}

impl<'a> Drawing<'a> {
    /// The message of a guest's command.
    pub(crate) fn of_command(drawable: &'a Drawable) -> Self {
        Self::of_guest(drawable.surface_id, drawable.bbox, &drawable.clip, &drawable.op)
    }

    /// A message of what a guest's command draws.
    pub(super) fn of_guest(surface_id: u32, bbox: Rect, clip: &'a Clip, op: &'a DrawOp) -> Self {
        Self { base: DrawBase { surface_id, bbox, clip }, op, origin: Origin::Guest }
    }

    /// The message of a part of it.
    pub(super) fn part<'b>(&self, op: &'b DrawOp, bbox: Rect) -> Drawing<'b>
    where
        'a: 'b,
    {
        Drawing { base: DrawBase { bbox, ..self.base }, op, origin: self.origin }
    }

    pub(super) fn is_of_guest(&self) -> bool {
        self.origin == Origin::Guest
    }

    /// Whether the source may be lossy, at a client that takes lossy images at all.
    pub(super) fn lossy_source_allowed(&self) -> bool {
        let allowed = match self.origin {
            Origin::Guest => true,
            Origin::Server { lossy_allowed } => lossy_allowed,
        };
        allowed && lossy_source_allowed(self.op)
    }
}

/// What shows pixels that the server read from a surface or joined from commands (display.md 10): attach, upgrades, repaired
/// areas, lines. A DRAW_COPY, apart from lines that go as text.
#[derive(Debug)]
pub(crate) struct ServerImage {
    surface_id: u32,
    bbox: Rect,
    op: DrawOp,
    lossy_allowed: bool,
}

impl ServerImage {
    /// `id`: of the image; `lossy_allowed`: whether JPEG may be used, if the client takes it at all.
    pub(super) fn new(surface_id: u32, bbox: Rect, id: u64, pixels: AreaPixels, lossy_allowed: bool) -> Self {
        Self::of_image(surface_id, bbox, pixels.into_image(id), lossy_allowed)
    }

    pub(super) fn of_image(surface_id: u32, bbox: Rect, image: Image, lossy_allowed: bool) -> Self {
        let src = Arc::new(image);
        let src_area = Rect::of_size(src.width, src.height);
        let op = Copy { src, src_area, rop: Rop::PUT, scale_mode: ScaleMode::Interpolate, mask: None };
        Self { surface_id, bbox, op: DrawOp::Copy(op), lossy_allowed }
    }

    /// Text that covers all of `bbox`.
    pub(super) fn of_text(surface_id: u32, bbox: Rect, text: Text) -> Self {
        Self { surface_id, bbox, op: DrawOp::Text(text), lossy_allowed: false }
    }

    /// The message that brings the image.
    pub(crate) fn drawing(&self) -> Drawing<'_> {
        let base = DrawBase { surface_id: self.surface_id, bbox: self.bbox, clip: &Clip::None };
        Drawing { base, op: &self.op, origin: Origin::Server { lossy_allowed: self.lossy_allowed } }
    }
}

/// A message whose caches were asked. It has to be finished, in the order of the plans.
#[must_use = "what the plan uses stays pinned in the client's cache until the message is finished"]
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) images: Vec<PlannedImage>,
}

/// One image of a message.
#[derive(Debug)]
pub(super) struct PlannedImage {
    pub role: ImageRole,
    pub image: Arc<Image>,
    /// The image enters the client's cache with this message, if there is room.
    pub offer: bool,
    pub content: Content,
}

/// What is sent of an image. `replace`: in place of the lossy one that the client has cached.
#[derive(Debug)]
pub(super) enum Content {
    /// The client has it in its cache.
    Cached { lossy: bool },
    /// The client has the surface: its size there.
    Surface { id: u32, width: u32, height: u32 },
    /// The guest's own QUIC stream.
    Quic { stream: Arc<[u8]>, replace: bool },
    /// The image as another client of the device got it.
    Encoded { encoded: EncodedImage, replace: bool },
    /// The result of the next job. `share`: in this coding other clients of the device may get it too.
    Job { share: Option<Coding>, replace: bool },
}

impl ImageEncoder {
    /// Asks the caches for the images of a message. `None`: the client cannot be sent it (there is no operation, or an
    /// image or surface that it needs is not there, or the client would get it wrong): it needs the result as an image.
    ///
    /// The jobs may run anywhere, within what [`ImageJob`] says about order. [`Self::finish`] takes their results.
    pub(crate) fn plan(
        &mut self,
        drawing: &Drawing<'_>,
        memo: &Memo,
        surfaces: &dyn SurfaceSizes,
    ) -> Option<(Plan, Vec<ImageJob>)> {
        let op = drawing.op;
        let target = surfaces.surface_format(drawing.base.surface_id);
        let possible = !matches!(op, DrawOp::Nop)
            && !op.lacks_source()
            && surfaces_exist(op, surfaces)
            && has_colours_for(op, target)
            && !aborts_clients(op);
        if !possible {
            return None;
        }
        let (mut images, mut jobs) = (Vec::new(), Vec::new());
        for argument in op.images() {
            let lossy_allowed =
                argument.role == ImageRole::Source && self.may_lose() && drawing.lossy_source_allowed();
            let planned = match argument.role {
                ImageRole::Mask => plan_mask(argument, &mut jobs),
                _ => self.plan_image(argument, &mut jobs, drawing, lossy_allowed, memo, surfaces),
            };
            images.extend(planned);
        }
        Some((Plan { images }, jobs))
    }

    fn plan_image(
        &mut self,
        argument: ImageArgument<'_>,
        jobs: &mut Vec<ImageJob>,
        drawing: &Drawing<'_>,
        lossy_allowed: bool,
        memo: &Memo,
        surfaces: &dyn SurfaceSizes,
    ) -> Option<PlannedImage> {
        let ImageArgument { role, image, .. } = argument;
        let planned = |offer, content| Some(PlannedImage { role, image: image.clone(), offer, content });
        if let ImageData::Surface(id) = image.data {
            let (width, height) = surfaces.surface_size(id)?;
            return planned(false, Content::Surface { id, width, height });
        }
        // Clients keep the colours of palettes as the surface of the first use took them.
        let target = surfaces.surface_format(drawing.base.surface_id);
        let same_anywhere = !has_palette(image) || target.is_none_or(|f| f == SurfaceFormat::Xrgb32);
        let pixmaps = self.caches.as_ref().filter(|_| image.cache_me && same_anywhere).map(|c| &c.pixmaps);
        let lookup = pixmaps.map(|pixmaps| pixmaps.lookup(self.channel_id, image.id, lossy_allowed));
        let replace = lookup == Some(Lookup::Replace);
        let offer = lookup == Some(Lookup::Miss);
        if let Some(Lookup::Hit { lossy }) = lookup {
            return planned(false, Content::Cached { lossy });
        }
        let bitmap = match &image.data {
            ImageData::Surface(_) => return None,
            ImageData::Quic(data) => return planned(offer, Content::Quic { stream: data.clone(), replace }),
            ImageData::Bitmap(bitmap) => bitmap,
        };
        // In another form of the same picture only this client gets it.
        let reshaped = self.reshaped(image, bitmap, drawing, target, replace);
        // What has lost its alpha, even if that is zero everywhere, is not to be taken for the image later.
        let offer = offer && !(reshaped.is_some() && bitmap.format == BitmapFormat::Rgba);
        let (image, bitmap) = match &reshaped {
            Some((image, bitmap)) => (image, bitmap),
            None => (image, bitmap),
        };
        let planned = |offer, content| Some(PlannedImage { role, image: image.clone(), offer, content });
        let (job, share) = match self.coding(bitmap, drawing.is_of_guest(), lossy_allowed) {
            Some(coding) => {
                let few = reshaped.is_some() && bitmap.size() < FEW_BYTES;
                let coding = if few { Coding::Raw } else { coding };
                // Of a copy of what the guest may still change only this client may see the result.
                let share = (reshaped.is_none() && !palette::needs_snapshot(bitmap)).then_some(coding);
                if let Some(encoded) = share.and_then(|coding| memo.get(image, coding)) {
                    return planned(offer, Content::Encoded { encoded, replace });
                }
                (ImageJob::AnyOrder(CompressJob { image: image.clone(), coding }), share)
            }
            None => {
                let dictionary = self.caches.as_ref().map(|caches| caches.glz.clone())?;
                let (image, channel_id, zlib) = (image.clone(), self.channel_id, self.uses_zlib());
                (ImageJob::InOrder(GlzJob { image, dictionary, channel_id, zlib }), None)
            }
        };
        jobs.push(job);
        planned(offer, Content::Job { share, replace })
    }

    /// The picture in a form that suits the client better, if there is one. `replace`: the client keeps it for later drawing.
    fn reshaped(
        &self,
        image: &Image,
        bitmap: &Bitmap,
        drawing: &Drawing<'_>,
        target: Option<SurfaceFormat>,
        replace: bool,
    ) -> Option<(Arc<Image>, Bitmap)> {
        if target != Some(SurfaceFormat::Xrgb32) {
            return None;
        }
        let bitmap = match self.settings.compression {
            ImageCompression::Off if self.asked => plain(bitmap)?,
            _ if drawing.is_of_guest() && self.may_index() && !bitmap.unstable => {
                if bitmap.format == BitmapFormat::Rgba && (replace || !goes_without_alpha(image, drawing)) {
                    return None;
                }
                let for_lz =
                    matches!(self.settings.compression, ImageCompression::AutoLz | ImageCompression::Lz);
                indexed(bitmap, for_lz)?
            }
            _ => return None,
        };
        let image = Image { data: ImageData::Bitmap(bitmap.clone()), ..image.clone() };
        Some((Arc::new(image), bitmap))
    }

    /// The coding for a bitmap; `None`: GLZ, which the client's dictionary can take.
    pub(super) fn coding(&self, bitmap: &Bitmap, of_guest: bool, lossy_allowed: bool) -> Option<Coding> {
        if of_guest && self.settings.unix {
            return Some(Coding::Raw);
        }
        let photo = || graduality::grade(&bitmap.view()) == Some(Graduality::High);
        Some(match choice::choose(self.settings.compression, bitmap, of_guest, photo) {
            Choice::Glz => {
                let takes = self.caches.as_ref().is_some_and(|caches| caches.glz.accepts(&bitmap.view()));
                return (!takes).then_some(Coding::Lz);
            }
            Choice::Raw => Coding::Raw,
            Choice::Quic
                if lossy_allowed
                    && (bitmap.format != BitmapFormat::Rgba
                        || u64::from(bitmap.stride) == bitmap.format.min_stride(bitmap.width)) =>
            {
                Coding::Jpeg
            }
            Choice::Quic => Coding::Quic,
            Choice::Lz4 if self.settings.lz4 => Coding::Lz4,
            Choice::Lz | Choice::Lz4 => Coding::Lz,
        })
    }
}

/// Whether the operation stores the pixels of this image as they are, so that alpha which is zero everywhere may be left out on
/// a surface without alpha.
fn goes_without_alpha(image: &Image, drawing: &Drawing<'_>) -> bool {
    let DrawOp::Copy(copy) = drawing.op else { return false };
    // A single character is often drawn again: then it costs less as a picture that the client has cached.
    let lasting = image.cache_me && u64::from(image.width) * u64::from(image.height) <= ONE_CHARACTER;
    let (from, to) = (copy.src_area, drawing.base.bbox);
    let unscaled = (from.width(), from.height()) == (to.width(), to.height());
    copy.rop == Rop::PUT && unscaled && copy.mask.is_none() && !image.high_bits_set && !lasting
}

/// A mask always goes uncompressed and uncached. Masks that are no bitmap are not sent.
fn plan_mask(argument: ImageArgument<'_>, jobs: &mut Vec<ImageJob>) -> Option<PlannedImage> {
    let ImageArgument { role, image, .. } = argument;
    if !matches!(image.data, ImageData::Bitmap(_)) {
        return None;
    }
    jobs.push(ImageJob::AnyOrder(CompressJob { image: image.clone(), coding: Coding::Raw }));
    let content = Content::Job { share: None, replace: false };
    Some(PlannedImage { role, image: image.clone(), offer: false, content })
}

/// Whether the pixels are indexes of colours.
fn has_palette(image: &Image) -> bool {
    matches!(&image.data, ImageData::Bitmap(bitmap) if bitmap.format.is_palette())
}

/// Whether clients take colours from palettes as the server does on a surface of this format. Where there is alpha they do
/// not: codecs lose that of palettes, and whether it counts depends on the client's cache.
fn has_colours_for(op: &DrawOp, target: Option<SurfaceFormat>) -> bool {
    use SurfaceFormat::{Rgb555, Xrgb32};
    let coloured = |argument: &ImageArgument<'_>| argument.role != ImageRole::Mask;
    target.is_none_or(|f| matches!(f, Xrgb32 | Rgb555))
        || !op.images().filter(coloured).any(|argument| has_palette(argument.image))
}

/// Whether stock clients end themselves over the operation: the server draws it, and sends what comes of it as an image.
fn aborts_clients(op: &DrawOp) -> bool {
    matches!(op, DrawOp::Rop3(op) if is_degenerate_rop3(op.rop3))
}

/// Whether every surface that is an argument can be named to the client. Checked before any cache is touched.
fn surfaces_exist(op: &DrawOp, surfaces: &dyn SurfaceSizes) -> bool {
    let mut ids = op.images().filter_map(|argument| argument.surface_id());
    ids.all(|id| surfaces.surface_size(id).is_some())
}
