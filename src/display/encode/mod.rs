//! From a drawable to the messages for one client: codec choice, image and palette caches (display.md 8, 9).
//!
//! Per worker one [`Workspace`] (encoders, results shared between clients), per client display channel one
//! [`ImageEncoder`], per client one [`ClientShared`]. The send stage, when the socket can take a message:
//!
//! ```text
//! let encoded = encoder.drawable(&mut workspace, Serials::of(&stream), &drawable, &surfaces)?;
//! for outgoing in encoded { stream.send(outgoing); }
//! ```
//!
//! Encoding changes what the server believes about the client's caches, so what it returns must be sent, at once and
//! in order. Lossy coding (JPEG) is only used where the operation may lose; [`ImageEncoder::lossless_needs`] names what
//! has to be repaired before an operation that would amplify loss.

mod choice;
mod compress;
mod lossy;
mod memo;
mod palette;
mod palette_cache;
mod pixmap_cache;
mod shared;

pub use compress::Workspace;
pub use lossy::LossyRegions;
pub use shared::{ClientShared, DisplayCaches, InitError};

use crate::canvas::rop::is_degenerate_rop3;
use crate::codec::graduality::{self, Graduality};
use crate::display::settings::ImageCompression;
use crate::draw::{Clip, DrawOp, Drawable, ImageArgument, ImageRole, Rop, ScaleMode};
use crate::geometry::Rect;
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, Palette, SurfaceFormat};
use crate::net::stream::{ChannelStream, Outgoing};
use crate::protocol::channel_type::ChannelType;
use crate::protocol::common::{WaitFor, wait_for_channels};
use crate::protocol::display::{DisplayInit, inval_list, inval_palette};
use crate::protocol::draw::{
    DrawBase, DrawImages, IMAGE_CACHE_ME, IMAGE_CACHE_REPLACE_ME, IMAGE_HIGH_BITS_SET, WireImage,
    WireImageData, WirePalette, draw,
};
use crate::protocol::{Message, Segment};
use choice::Choice;
use lossy::lossy_source_allowed;
use memo::{Coded, Coding};
use palette_cache::{PaletteCache, PaletteUse};
use pixmap_cache::{Evicted, Lookup};
use std::sync::Arc;

/// Group of images made by the server, in the low half of the id.
pub(super) const SERVER_IMAGE_GROUP: u64 = 2;

/// What decides on images of one client's display (display.md 9.1, 9.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeSettings {
    pub compression: ImageCompression,
    /// JPEG instead of QUIC where loss is allowed.
    pub jpeg: bool,
    /// zlib over GLZ.
    pub zlib_glz: bool,
    /// The client has the LZ4 capability.
    pub lz4: bool,
    /// The client sits on a plain unix socket: images of commands go raw.
    pub unix: bool,
}

/// The surfaces that a client has.
pub trait SurfaceSizes {
    /// Width and height in pixels; `None` if there is no such surface.
    fn surface_size(&self, surface_id: u32) -> Option<(u32, u32)>;

    /// Format of its pixels.
    fn surface_format(&self, surface_id: u32) -> Option<SurfaceFormat>;
}

/// Where the stream that messages are encoded for stands.
#[derive(Clone, Copy, Debug)]
pub struct Serials {
    last: u64,
    mini_header: bool,
}

impl Serials {
    /// The state of this stream.
    #[must_use]
    pub fn of(stream: &ChannelStream) -> Self {
        Self { last: stream.serial(), mini_header: stream.mini_header() }
    }

    /// Serial of the next message: with mini headers sub-messages go ahead as a message of their own.
    fn carrier(self, with_sub_messages: bool) -> u64 {
        self.last.wrapping_add(if with_sub_messages && self.mini_header { 2 } else { 1 })
    }
}

/// Messages to be sent at once, in order.
#[must_use = "the caches already count on these messages"]
#[derive(Debug)]
pub struct Encoded {
    pub messages: Vec<Outgoing>,
}

impl IntoIterator for Encoded {
    type Item = Outgoing;
    type IntoIter = std::vec::IntoIter<Outgoing>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages.into_iter()
    }
}

/// What one message under construction did to the caches.
#[derive(Debug, Default)]
struct Building {
    /// Format of the surface that is drawn on, if that is known.
    target: Option<SurfaceFormat>,
    /// Images pinned in the pixmap cache.
    used: Vec<u64>,
    evicted: Vec<Evicted>,
    evicted_palettes: Vec<u64>,
    lossy: bool,
}

/// Encoder state of one client's display channel.
#[derive(Debug)]
pub struct ImageEncoder {
    channel_id: u8,
    settings: EncodeSettings,
    caches: Option<DisplayCaches>,
    palettes: PaletteCache,
    lossy: LossyRegions,
    server_images: u32,
}

impl ImageEncoder {
    /// An encoder for a channel without INIT yet: nothing is cached before.
    #[must_use]
    pub fn new(channel_id: u8, settings: EncodeSettings) -> Self {
        Self {
            channel_id,
            settings,
            caches: None,
            palettes: PaletteCache::default(),
            lossy: LossyRegions::default(),
            server_images: 0,
        }
    }

    /// Takes DISPLAY_INIT. On error the channel is to be closed.
    pub fn init(&mut self, shared: &ClientShared, init: &DisplayInit) -> Result<(), InitError> {
        if self.caches.is_some() {
            return Err(InitError::Twice);
        }
        self.caches = Some(shared.join(init)?);
        Ok(())
    }

    /// PREFERRED_COMPRESSION of the client; unknown values give `false` and change nothing.
    pub fn set_preferred_compression(&mut self, value: u8) -> bool {
        match ImageCompression::try_from(u32::from(value)) {
            Ok(compression) => {
                self.settings.compression = compression;
                true
            }
            Err(_) => false,
        }
    }

    /// To be called when INVAL_ALL_PALETTES is sent.
    pub fn palettes_invalidated(&mut self) {
        self.palettes.clear();
    }

    /// The areas that are lossy at the client and must be sent again lossless (by [`Self::server_image`]) before this
    /// command; empty for clients without JPEG. If the command was rendered already, its result has to be sent as an
    /// image instead (display.md 9.4).
    #[must_use]
    pub fn lossless_needs(&self, drawable: &Drawable) -> Vec<(u32, Rect)> {
        self.lossy.needs(drawable)
    }

    /// Whether something is lossy at the client.
    #[must_use]
    pub fn has_lossy(&self) -> bool {
        !self.lossy.is_empty()
    }

    /// An area to send again lossless when there is nothing better to do: surface and rectangle.
    #[must_use]
    pub fn next_lossy(&self) -> Option<(u32, Rect)> {
        self.lossy.first()
    }

    /// To be called when SURFACE_CREATE or SURFACE_DESTROY is sent.
    pub fn surface_changed(&mut self, surface_id: u32) {
        self.lossy.forget(surface_id);
    }

    /// The messages for a command. `None`: there is nothing to send (no operation, or an image or surface that it needs is
    /// not there).
    pub fn drawable(
        &mut self,
        workspace: &mut Workspace,
        serials: Serials,
        drawable: &Drawable,
        surfaces: &dyn SurfaceSizes,
    ) -> Option<Encoded> {
        let base = DrawBase { surface_id: drawable.surface_id, bbox: drawable.bbox, clip: &drawable.clip };
        self.operation(
            workspace,
            serials,
            &base,
            &drawable.op,
            surfaces,
            Origin { of_drawable: true, lossy_allowed: true },
        )
    }

    /// DRAW_COPY of pixels that the server read from a surface (display.md 10): attach, upgrades, repaired areas.
    pub fn server_image(
        &mut self,
        workspace: &mut Workspace,
        serials: Serials,
        dest: &ServerImage<'_>,
        bitmap: Bitmap,
        high_bits_set: bool,
    ) -> Option<Encoded> {
        self.server_images = self.server_images.wrapping_add(1);
        let (width, height) = (bitmap.width, bitmap.height);
        let image = Arc::new(Image {
            id: u64::from(self.server_images) << 32 | SERVER_IMAGE_GROUP,
            cache_me: false,
            high_bits_set,
            width,
            height,
            data: ImageData::Bitmap(bitmap),
        });
        let op = DrawOp::Copy(crate::draw::Copy {
            src: image,
            src_area: Rect::of_size(width, height),
            rop: Rop::PUT,
            scale_mode: ScaleMode::Interpolate,
            mask: None,
        });
        let base = DrawBase { surface_id: dest.surface_id, bbox: dest.bbox, clip: dest.clip };
        let origin = Origin { of_drawable: false, lossy_allowed: dest.lossy_allowed };
        self.operation(workspace, serials, &base, &op, &NoSurfaces, origin)
    }

    fn operation(
        &mut self,
        workspace: &mut Workspace,
        serials: Serials,
        base: &DrawBase<'_>,
        op: &DrawOp,
        surfaces: &dyn SurfaceSizes,
        origin: Origin,
    ) -> Option<Encoded> {
        let target = surfaces.surface_format(base.surface_id);
        let possible = !matches!(op, DrawOp::Nop)
            && !op.lacks_source()
            && surfaces_exist(op, surfaces)
            && has_colours_for(op, target)
            && !aborts_clients(op);
        if !possible {
            return None;
        }
        let mut building = Building { target, ..Building::default() };
        let lossy_allowed = origin.lossy_allowed && lossy_source_allowed(op);
        let mut images = DrawImages::default();
        for ImageArgument { role, image, .. } in op.images() {
            let slot = match role {
                ImageRole::Source => &mut images.src,
                ImageRole::Brush => &mut images.brush,
                ImageRole::BackBrush => &mut images.back_brush,
                ImageRole::Mask | ImageRole::MaskPicture => &mut images.mask,
            };
            *slot = match role {
                ImageRole::Mask => raw_mask(image),
                _ => {
                    let lossy = role == ImageRole::Source && lossy_allowed;
                    self.image(workspace, &mut building, image, surfaces, origin.of_drawable, lossy)
                }
            };
        }
        let message = draw(base, op, images)?;
        if self.settings.jpeg {
            self.lossy.sent(base, op, building.lossy, surfaces);
        }
        Some(self.finish(serials, message, building))
    }

    /// Completes a message: its sub-messages, its serial in the cache, and what follows it.
    fn finish(&self, serials: Serials, message: Message, building: Building) -> Encoded {
        let mut sub_messages = Vec::new();
        if !building.evicted.is_empty() {
            let wait = self.wait_list(&building.evicted);
            if !wait.is_empty() {
                sub_messages.push(wait_for_channels(&wait));
            }
            let ids: Vec<u64> = building.evicted.iter().map(|e| e.id).collect();
            sub_messages.push(inval_list(&ids));
        }
        if let Some(caches) = &self.caches {
            let serial = serials.carrier(!sub_messages.is_empty());
            caches.pixmaps.commit(self.channel_id, serial, &building.used);
        }
        let mut messages = vec![Outgoing { message, sub_messages }];
        messages.extend(building.evicted_palettes.into_iter().map(|id| inval_palette(id).into()));
        Encoded { messages }
    }

    /// The points that other displays must have reached before these images may go.
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

    /// One image argument as this client gets it.
    fn image(
        &mut self,
        workspace: &mut Workspace,
        building: &mut Building,
        image: &Arc<Image>,
        surfaces: &dyn SurfaceSizes,
        of_drawable: bool,
        lossy_allowed: bool,
    ) -> Option<WireImage> {
        let mut wire = WireImage {
            id: image.id,
            flags: if image.high_bits_set { IMAGE_HIGH_BITS_SET } else { 0 },
            width: image.width,
            height: image.height,
            data: WireImageData::FromCache,
        };
        if let ImageData::Surface(id) = image.data {
            (wire.width, wire.height) = surfaces.surface_size(id)?;
            wire.flags = 0;
            wire.data = WireImageData::Surface(id);
            return Some(wire);
        }
        let lossy_allowed = lossy_allowed && self.settings.jpeg;
        // Clients keep the colours of palettes as the surface of the first use took them.
        let same_anywhere = !has_palette(image) || building.target.is_none_or(|f| f == SurfaceFormat::Xrgb32);
        let cached = image.cache_me && same_anywhere;
        let pixmaps = self.caches.as_ref().filter(|_| cached).map(|c| c.pixmaps.clone());
        let mut replace = false;
        if let Some(pixmaps) = &pixmaps {
            match pixmaps.lookup(self.channel_id, image.id, lossy_allowed) {
                Lookup::Hit { lossy } => {
                    building.used.push(image.id);
                    building.lossy |= lossy;
                    if self.settings.jpeg && !lossy {
                        wire.data = WireImageData::FromCacheLossless;
                    }
                    wire.flags = 0;
                    return Some(wire);
                }
                Lookup::Replace => {
                    building.used.push(image.id);
                    replace = true;
                    wire.flags |= IMAGE_CACHE_REPLACE_ME;
                }
                Lookup::Miss => {}
            }
        }
        let lossy;
        (wire.data, lossy) = self.image_data(workspace, building, image, of_drawable, lossy_allowed)?;
        building.lossy |= lossy;
        // Only now: adding before encoding could dead-lock a client between this cache and the GLZ dictionary.
        if let Some(pixmaps) = pixmaps.filter(|_| !replace) {
            let pixels = u64::from(image.width) * u64::from(image.height);
            if let Some(evicted) = pixmaps.add(self.channel_id, image.id, pixels, lossy) {
                building.used.push(image.id);
                building.evicted.extend(evicted);
                wire.flags |= IMAGE_CACHE_ME;
            }
        }
        Some(wire)
    }

    /// The image's data in the codec for this client, and whether it is lossy.
    fn image_data(
        &mut self,
        workspace: &mut Workspace,
        building: &mut Building,
        image: &Arc<Image>,
        of_drawable: bool,
        lossy_allowed: bool,
    ) -> Option<(WireImageData, bool)> {
        let bitmap = match &image.data {
            ImageData::Surface(_) => return None,
            ImageData::Quic(data) => {
                return Some((WireImageData::Quic(Segment::Shared(data.clone())), false));
            }
            ImageData::Bitmap(bitmap) => bitmap,
        };
        let checked = palette::check(bitmap);
        let coding = match self.coding(bitmap, of_drawable, lossy_allowed) {
            Some(coding) => coding,
            None => {
                let glz = self.caches.as_ref().and_then(|caches| {
                    workspace.glz(&caches.glz, self.channel_id, bitmap, self.settings.zlib_glz)
                });
                match glz {
                    Some(data) => return Some((data, false)),
                    None => Coding::Lz,
                }
            }
        };
        let Coded { coding, data, jpeg_size } = if checked.is_snapshot() {
            workspace.code_alone(&checked.bitmap, coding)
        } else {
            workspace.code(image, bitmap, coding)
        };
        let data = Segment::SharedVec(data);
        let top_down = bitmap.top_down;
        let data = match coding {
            Coding::Raw => {
                let palette = self.palette(building, bitmap, checked.padded);
                WireImageData::Bitmap {
                    format: bitmap.format,
                    top_down,
                    stride: bitmap.stride,
                    palette,
                    data,
                }
            }
            Coding::Quic => WireImageData::Quic(data),
            Coding::Lz if bitmap.format.is_palette() => WireImageData::LzPlt {
                top_down,
                palette: self.palette(building, bitmap, checked.padded),
                data,
            },
            Coding::Lz => WireImageData::LzRgb(data),
            Coding::Lz4 => WireImageData::Lz4(data),
            Coding::Jpeg => match jpeg_size {
                Some(jpeg_size) => WireImageData::JpegAlpha { top_down, jpeg_size, data },
                None => WireImageData::Jpeg(data),
            },
        };
        Some((data, coding == Coding::Jpeg))
    }

    /// The coding for a bitmap; `None`: GLZ.
    fn coding(&self, bitmap: &Bitmap, of_drawable: bool, lossy_allowed: bool) -> Option<Coding> {
        if of_drawable && self.settings.unix {
            return Some(Coding::Raw);
        }
        let photo = || graduality::grade(&bitmap.view()) == Some(Graduality::High);
        Some(match choice::choose(self.settings.compression, bitmap, of_drawable, photo) {
            Choice::Glz => return None,
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

    fn palette(
        &mut self,
        building: &mut Building,
        bitmap: &Bitmap,
        padded: Option<Arc<Palette>>,
    ) -> WirePalette {
        if let Some(palette) = padded {
            return WirePalette::Inline { palette, cache_me: false };
        }
        let Some(palette) = &bitmap.palette else { return WirePalette::None };
        match self.palettes.use_palette(palette.unique, palette.entries.len()) {
            PaletteUse::Uncached => WirePalette::Inline { palette: palette.clone(), cache_me: false },
            PaletteUse::FromCache => WirePalette::FromCache(palette.unique),
            PaletteUse::CacheMe { evicted } => {
                building.evicted_palettes.extend(evicted);
                WirePalette::Inline { palette: palette.clone(), cache_me: true }
            }
        }
    }
}

impl Drop for ImageEncoder {
    fn drop(&mut self) {
        if let Some(caches) = &self.caches {
            caches.pixmaps.channel_gone(self.channel_id);
            caches.glz.channel_gone(self.channel_id);
        }
    }
}

/// Where a server-made image goes.
#[derive(Clone, Copy, Debug)]
pub struct ServerImage<'a> {
    pub surface_id: u32,
    pub bbox: Rect,
    pub clip: &'a Clip,
    /// Whether JPEG may be used, if the client has it on at all.
    pub lossy_allowed: bool,
}

/// Where an operation comes from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// From the guest, not made by the server.
    of_drawable: bool,
    lossy_allowed: bool,
}

struct NoSurfaces;

impl SurfaceSizes for NoSurfaces {
    fn surface_size(&self, _: u32) -> Option<(u32, u32)> {
        None
    }
    fn surface_format(&self, _: u32) -> Option<SurfaceFormat> {
        None
    }
}

/// Whether the pixels are indexes of colours.
fn has_palette(image: &Image) -> bool {
    matches!(&image.data, ImageData::Bitmap(bitmap) if bitmap.format.is_palette())
}

/// A mask always goes uncompressed and uncached.
fn raw_mask(image: &Arc<Image>) -> Option<WireImage> {
    let ImageData::Bitmap(bitmap) = &image.data else { return None };
    let data = WireImageData::Bitmap {
        format: bitmap.format,
        top_down: bitmap.top_down,
        stride: bitmap.stride,
        palette: WirePalette::None,
        data: Segment::SharedVec(compress::raw(bitmap).data),
    };
    Some(WireImage { id: image.id, flags: 0, width: image.width, height: image.height, data })
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

#[cfg(test)]
mod tests;
