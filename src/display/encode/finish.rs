//! The last step of a message: compressed images enter the client's caches, and the message gets its form.
//!
//! Messages are finished in the order in which they are sent, at once before they are: the caches count on them.

use super::ImageEncoder;
use super::job::{Compressed, GlzImage};
use super::memo::{Coding, EncodedImage, Memo};
use super::palette_cache::PaletteUse;
use super::pixmap_cache::Evicted;
use super::plan::{Content, Drawing, Plan, PlannedImage};
use super::{Serials, SurfaceSizes};
use crate::draw::ImageRole;
use crate::image::{Bitmap, Image, ImageData, Palette};
use crate::net::stream::Outgoing;
use crate::protocol::channel_type::ChannelType;
use crate::protocol::common::{WaitFor, wait_for_channels};
use crate::protocol::display::{inval_list, inval_palette};
use crate::protocol::draw::{
    DrawImages, IMAGE_CACHE_ME, IMAGE_CACHE_REPLACE_ME, IMAGE_HIGH_BITS_SET, WireImage, WireImageData,
    WirePalette, draw,
};
use crate::protocol::{Message, Segment};
use std::sync::Arc;

/// What one message under construction did to the caches.
#[derive(Debug, Default)]
struct Effects {
    /// Images pinned in the pixmap cache.
    used: Vec<u64>,
    evicted: Vec<Evicted>,
    evicted_palettes: Vec<u64>,
    /// An image of the message is lossy.
    lossy: bool,
}

impl ImageEncoder {
    /// The messages of a plan, to be sent at once and in order. `results` are those of the plan's jobs, in their order.
    #[must_use = "the caches already count on these messages"]
    pub(crate) fn finish(
        &mut self,
        plan: Plan,
        mut results: impl Iterator<Item = Compressed>,
        drawing: &Drawing<'_>,
        serials: Serials,
        memo: &mut Memo,
        surfaces: &dyn SurfaceSizes,
    ) -> Vec<Outgoing> {
        let mut effects = Effects::default();
        let mut images = DrawImages::default();
        for planned in plan.images {
            let slot = match planned.role {
                ImageRole::Source => &mut images.src,
                ImageRole::Brush => &mut images.brush,
                ImageRole::BackBrush => &mut images.back_brush,
                ImageRole::Mask | ImageRole::MaskPicture => &mut images.mask,
            };
            *slot = self.finish_image(planned, &mut results, &mut effects, memo);
        }
        let Some(message) = draw(&drawing.base, drawing.op, images) else { return Vec::new() };
        if self.was_lossy {
            self.lossy.sent(&drawing.base, drawing.op, effects.lossy, surfaces);
        }
        self.complete(serials, message, effects)
    }

    /// Adds what has to go around a message, and enters its serial into the cache.
    fn complete(&self, serials: Serials, message: Message, effects: Effects) -> Vec<Outgoing> {
        let mut sub_messages = Vec::new();
        if !effects.evicted.is_empty() {
            let wait = self.wait_list(&effects.evicted);
            if !wait.is_empty() {
                sub_messages.push(wait_for_channels(&wait));
            }
            let ids: Vec<u64> = effects.evicted.iter().map(|e| e.id).collect();
            sub_messages.push(inval_list(&ids));
        }
        if let Some(caches) = &self.caches {
            let serial = serials.carrier(!sub_messages.is_empty());
            caches.pixmaps.commit(self.channel_id, serial, &effects.used);
        }
        let mut messages = vec![Outgoing { message, sub_messages }];
        messages.extend(effects.evicted_palettes.into_iter().map(|id| inval_palette(id).into()));
        messages
    }

    /// The points that the client's other displays must have reached before these images may go.
    fn wait_list(&self, evicted: &[Evicted]) -> Vec<WaitFor> {
        let mut wait: Vec<WaitFor> = Vec::new();
        let uses = evicted.iter().flat_map(|e| &e.uses).filter(|(channel, _)| *channel != self.channel_id);
        for &(channel_id, serial) in uses {
            match wait.iter_mut().find(|w| w.channel_id == channel_id) {
                Some(w) => w.serial = w.serial.max(serial),
                None => {
                    wait.push(WaitFor { channel_type: ChannelType::Display.number(), channel_id, serial });
                }
            }
        }
        wait
    }

    /// One image as this client gets it.
    fn finish_image(
        &mut self,
        planned: PlannedImage,
        results: &mut impl Iterator<Item = Compressed>,
        effects: &mut Effects,
        memo: &mut Memo,
    ) -> Option<WireImage> {
        let PlannedImage { role, image, offer, content } = planned;
        let mut wire = WireImage {
            id: image.id,
            flags: 0,
            width: image.width,
            height: image.height,
            data: WireImageData::FromCache,
        };
        let (compressed, replace) = match content {
            Content::Cached { lossy } => {
                effects.used.push(image.id);
                effects.lossy |= lossy;
                if self.was_lossy && !lossy {
                    wire.data = WireImageData::FromCacheLossless;
                }
                return Some(wire);
            }
            Content::Surface { id, width, height } => {
                return Some(WireImage { width, height, data: WireImageData::Surface(id), ..wire });
            }
            Content::Quic { stream, replace } => {
                wire.data = WireImageData::Quic(Segment::Shared(stream));
                (None, replace)
            }
            Content::Encoded { encoded, replace } => (Some(Compressed::Image(encoded)), replace),
            Content::Job { share, replace } => {
                let result = results.next()?;
                if let (Some(coding), Compressed::Image(encoded)) = (share, &result) {
                    memo.put(&image, coding, encoded);
                }
                (Some(result), replace)
            }
        };
        let mut lossy = false;
        match compressed {
            Some(Compressed::Glz(glz)) => wire.data = glz_data(glz),
            Some(Compressed::Image(encoded)) => {
                lossy = encoded.coding == Coding::Jpeg;
                wire.data = self.image_data(&image, role, encoded, effects)?;
            }
            None => {}
        }
        effects.lossy |= lossy;
        if role == ImageRole::Mask {
            return Some(wire);
        }
        if image.high_bits_set {
            wire.flags |= IMAGE_HIGH_BITS_SET;
        }
        if replace {
            effects.used.push(image.id);
            wire.flags |= IMAGE_CACHE_REPLACE_ME;
        }
        if offer && self.enters_cache(&image, lossy, effects) {
            wire.flags |= IMAGE_CACHE_ME;
        }
        Some(wire)
    }

    /// Enters an image into the client's cache, if there is room.
    ///
    /// Not before it is compressed: another display of the client could refer to it from then on, and to an image of that
    /// display's message this one could refer through the GLZ dictionary. The client would wait for both for ever.
    fn enters_cache(&self, image: &Image, lossy: bool, effects: &mut Effects) -> bool {
        let Some(caches) = &self.caches else { return false };
        let pixels = u64::from(image.width) * u64::from(image.height);
        let Some(evicted) = caches.pixmaps.add(self.channel_id, image.id, pixels, lossy) else {
            return false;
        };
        effects.used.push(image.id);
        effects.evicted.extend(evicted);
        true
    }

    /// A compressed bitmap as image data of the wire.
    fn image_data(
        &mut self,
        image: &Image,
        role: ImageRole,
        encoded: EncodedImage,
        effects: &mut Effects,
    ) -> Option<WireImageData> {
        let ImageData::Bitmap(bitmap) = &image.data else { return None };
        let EncodedImage { coding, data, jpeg_size, padded } = encoded;
        let data = Segment::SharedVec(data);
        let top_down = bitmap.top_down;
        Some(match coding {
            Coding::Raw => {
                let palette = match role {
                    ImageRole::Mask => WirePalette::None,
                    _ => self.palette(bitmap, padded, effects),
                };
                let (format, stride) = (bitmap.format, bitmap.stride);
                WireImageData::Bitmap { format, top_down, stride, palette, data }
            }
            Coding::Quic => WireImageData::Quic(data),
            Coding::Lz if bitmap.format.is_palette() => {
                let palette = self.palette(bitmap, padded, effects);
                WireImageData::LzPlt { top_down, palette, data }
            }
            Coding::Lz => WireImageData::LzRgb(data),
            Coding::Lz4 => WireImageData::Lz4(data),
            Coding::Jpeg => match jpeg_size {
                Some(jpeg_size) => WireImageData::JpegAlpha { top_down, jpeg_size, data },
                None => WireImageData::Jpeg(data),
            },
        })
    }

    fn palette(
        &mut self,
        bitmap: &Bitmap,
        padded: Option<Arc<Palette>>,
        effects: &mut Effects,
    ) -> WirePalette {
        if let Some(palette) = padded {
            return WirePalette::Inline { palette, cache_me: false };
        }
        let Some(palette) = &bitmap.palette else { return WirePalette::None };
        match self.palettes.use_palette(palette.unique, palette.entries.len()) {
            PaletteUse::Uncached => WirePalette::Inline { palette: palette.clone(), cache_me: false },
            PaletteUse::FromCache => WirePalette::FromCache(palette.unique),
            PaletteUse::CacheMe { evicted } => {
                effects.evicted_palettes.extend(evicted);
                WirePalette::Inline { palette: palette.clone(), cache_me: true }
            }
        }
    }
}

fn glz_data(glz: GlzImage) -> WireImageData {
    let data = glz.data.into();
    match glz.inflated_size {
        Some(glz_size) => WireImageData::ZlibGlzRgb { glz_size, data },
        None => WireImageData::GlzRgb(data),
    }
}
