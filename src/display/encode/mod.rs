//! From a drawing command to the messages for one client: codec choice, image and palette caches (display.md 8, 9).
//!
//! Every message takes three steps:
//!
//! ```text
//! plan    in the order of the messages; asks the client's caches, chooses codecs     Drawing -> Plan, jobs
//! jobs    compression: on any thread, apart from GLZ without any order               ImageJob -> Compressed
//! finish  in the order of the messages; enters the client's caches, forms the bytes  Plan, results -> Outgoing
//! ```
//!
//! [`ImageEncoder::encode`] takes all three. It cuts images that show photos beside text ([`areas`]), and shares the jobs of
//! large images with the threads of a pool ([`bands`]). What it keeps to:
//! - A message is finished when it is sent, and at once before that: what it says about the caches is true from then on.
//! - [`ImageEncoder::lossless_needs`] speaks of the messages that are finished, so it is to be asked again after them.
//! - The pixmap cache and the GLZ dictionary are shared by the displays of a client, which may be on other worker threads.
//!
//! Per client display channel there is one [`ImageEncoder`], per client one [`ClientShared`], per worker one [`Workspace`].
//! Lossy coding (JPEG) is only used where the operation may lose; [`ImageEncoder::lossless_needs`] names what has to be
//! repaired before an operation that would amplify loss.

mod areas;
mod bands;
mod choice;
mod colours;
mod finish;
mod indexed;
mod job;
mod line;
mod lossy;
mod memo;
mod migrate;
mod palette;
mod palette_cache;
mod pixmap_cache;
mod plain;
mod plan;
mod room;
mod rows;
mod shared;
mod slice;
mod text;
mod word;

pub(crate) use shared::{ClientShared, DisplayCaches, InitError};

pub(crate) use line::{Line, continues};
pub(crate) use plan::{Drawing, ServerImage};
pub(crate) use slice::sliceable_rows;

use crate::canvas::AreaPixels;
use crate::display::settings::{ImageCompression, WanCompression};
use crate::draw::Drawable;
use crate::geometry::Rect;
use crate::image::SurfaceFormat;
use crate::net::stream::{ChannelStream, Outgoing};
use crate::pool::Pool;
use crate::protocol::display::DisplayInit;
use job::Encoders;
use lossy::LossyRegions;
use memo::Memo;
use palette_cache::PaletteCache;

/// Group of images made by the server, in the low half of the id.
pub(super) const SERVER_IMAGE_GROUP: u64 = 2;

/// What decides on images of one client's display (display.md 9.1, 9.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EncodeSettings {
    pub compression: ImageCompression,
    /// JPEG instead of QUIC where loss is allowed.
    pub jpeg: WanCompression,
    /// zlib over GLZ.
    pub zlib_glz: WanCompression,
    /// The client's link is thin now.
    pub thin: bool,
    /// The client has the LZ4 capability.
    pub lz4: bool,
    /// The client sits on a plain unix socket: images of commands go raw.
    pub unix: bool,
}

/// The surfaces that a client has.
pub(crate) trait SurfaceSizes {
    /// Width and height in pixels; `None` if there is no such surface.
    fn surface_size(&self, surface_id: u32) -> Option<(u32, u32)>;

    /// Format of its pixels.
    fn surface_format(&self, surface_id: u32) -> Option<SurfaceFormat>;
}

/// Where the stream that messages are encoded for stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Serials {
    last: u64,
    mini_header: bool,
}

impl Serials {
    /// The state of this stream.
    #[must_use]
    pub(crate) fn of(stream: &ChannelStream) -> Self {
        Self { last: stream.serial(), mini_header: stream.mini_header() }
    }

    /// Serial of the next message: with mini headers sub-messages go ahead as a message of their own.
    fn carrier(self, with_sub_messages: bool) -> u64 {
        self.last.wrapping_add(if with_sub_messages && self.mini_header { 2 } else { 1 })
    }
}

/// What a worker keeps for the encoding of all its clients.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    encoders: Encoders,
    memo: Memo,
    /// Threads that help with large images.
    pool: Option<Pool>,
}

impl Workspace {
    /// With threads that help.
    pub(crate) fn new(pool: Option<Pool>) -> Self {
        Self { pool, ..Self::default() }
    }

    /// Says how many display clients the device has, so that results are kept to be shared if that pays.
    pub(crate) fn set_clients(&mut self, clients: usize) {
        self.memo.set_clients(clients);
    }
}

/// Encoder state of one client's display channel.
#[derive(Debug)]
pub(crate) struct ImageEncoder {
    channel_id: u8,
    settings: EncodeSettings,
    caches: Option<DisplayCaches>,
    palettes: PaletteCache,
    lossy: LossyRegions,
    /// Images were, or may have been, sent with loss: it is kept account of.
    was_lossy: bool,
    /// The compression is one that the client asked for.
    asked: bool,
    server_images: u32,
}

impl ImageEncoder {
    /// An encoder for a channel without INIT yet: nothing is cached before.
    #[must_use]
    pub(crate) fn new(channel_id: u8, settings: EncodeSettings) -> Self {
        Self {
            channel_id,
            settings,
            caches: None,
            palettes: PaletteCache::default(),
            lossy: LossyRegions::default(),
            was_lossy: settings.jpeg.applies(settings.thin),
            asked: false,
            server_images: 0,
        }
    }

    /// Takes DISPLAY_INIT. On error the channel is to be closed.
    pub(crate) fn init(&mut self, shared: &ClientShared, init: &DisplayInit) -> Result<(), InitError> {
        if self.caches.is_some() {
            return Err(InitError::Twice);
        }
        self.caches = Some(shared.join(init)?);
        Ok(())
    }

    /// PREFERRED_COMPRESSION of the client; unknown values give `false` and change nothing.
    pub(crate) fn set_preferred_compression(&mut self, value: u8) -> bool {
        match ImageCompression::try_from(u32::from(value)) {
            Ok(compression) => {
                self.settings.compression = compression;
                self.asked = true;
                true
            }
            Err(_) => false,
        }
    }

    /// Whether the client's link is thin from now on.
    pub(crate) fn set_thin(&mut self, thin: bool) {
        self.settings.thin = thin;
        self.was_lossy |= self.may_lose();
    }

    /// Whether images may be sent with loss now, where the operation allows it.
    fn may_lose(&self) -> bool {
        self.settings.jpeg.applies(self.settings.thin) && !self.asked_for_one()
    }

    /// Whether zlib may be used on top of GLZ.
    fn uses_zlib(&self) -> bool {
        self.settings.zlib_glz.applies(self.settings.thin) && !self.asked_for_one()
    }

    /// Whether pictures of few colours may go as palette images, which then have LZ: where the host asks for a codec of the
    /// LZ family, or the client for one that may be LZ. Clients without a window for GLZ, such as spice-html5, read neither LZ
    /// nor raw pixels of palette images (codecs.md 3.5).
    fn may_index(&self) -> bool {
        use ImageCompression::{AutoGlz, AutoLz, Glz, Lz, Lz4, Off, Quic};
        let wanted = match self.settings.compression {
            AutoGlz | AutoLz | Lz => true,
            Glz | Lz4 => !self.asked,
            Off | Quic => false,
        };
        let reads = || self.caches.as_ref().is_some_and(|caches| caches.glz.window() > 0);
        wanted && !self.settings.unix && reads()
    }

    /// Whether the client asked for one codec, and gets no other whatever its link is like.
    fn asked_for_one(&self) -> bool {
        self.asked
            && !matches!(self.settings.compression, ImageCompression::AutoGlz | ImageCompression::AutoLz)
    }

    /// To be called when INVAL_ALL_PALETTES is sent.
    pub(crate) fn palettes_invalidated(&mut self) {
        self.palettes.clear();
    }

    /// The areas that are lossy at the client and must be sent again lossless (by [`Self::server_image`]) before this
    /// command; empty for clients without JPEG. If the command was rendered already, its result has to be sent as an
    /// image instead (display.md 9.4).
    #[must_use]
    pub(crate) fn lossless_needs(&self, drawable: &Drawable) -> Vec<(u32, Rect)> {
        self.lossy.needs(drawable)
    }

    /// Whether something is lossy at the client.
    #[must_use]
    pub(crate) fn has_lossy(&self) -> bool {
        !self.lossy.is_empty()
    }

    /// An area to send again lossless when there is nothing better to do: surface and rectangle.
    #[must_use]
    pub(crate) fn next_lossy(&self) -> Option<(u32, Rect)> {
        self.lossy.first()
    }

    /// To be called when SURFACE_CREATE or SURFACE_DESTROY is sent.
    pub(crate) fn surface_changed(&mut self, surface_id: u32) {
        self.lossy.forget(surface_id);
    }

    /// An image of the server's own, for [`ServerImage::drawing`].
    pub(crate) fn server_image(
        &mut self,
        surface_id: u32,
        bbox: Rect,
        pixels: AreaPixels,
        lossy_allowed: bool,
    ) -> ServerImage {
        let id = self.next_image_id();
        ServerImage::new(surface_id, bbox, id, pixels, lossy_allowed)
    }

    /// All three steps of a message, or of several that show the same. `None`: see [`Self::plan`], or the images are too large.
    #[must_use = "the caches already count on these messages"]
    pub(crate) fn encode(
        &mut self,
        workspace: &mut Workspace,
        serials: Serials,
        drawing: &Drawing<'_>,
        surfaces: &dyn SurfaceSizes,
    ) -> Option<Vec<Outgoing>> {
        if !room::has_room_for(drawing.op) {
            return None;
        }
        match self.encode_areas(workspace, serials, drawing, surfaces) {
            Some(messages) => Some(messages),
            None => self.encode_part(workspace, serials, drawing, surfaces),
        }
    }

    /// The same for a drawing whose image shows one kind of thing.
    fn encode_part(
        &mut self,
        workspace: &mut Workspace,
        serials: Serials,
        drawing: &Drawing<'_>,
        surfaces: &dyn SurfaceSizes,
    ) -> Option<Vec<Outgoing>> {
        let Workspace { encoders, memo, pool } = workspace;
        if let Some(pool) = pool
            && let Some(messages) = self.encode_in_bands(pool, memo, serials, drawing, surfaces)
        {
            return Some(messages);
        }
        let (plan, jobs) = self.plan(drawing, memo, surfaces)?;
        let results = jobs.into_iter().map(|job| job.run(encoders));
        Some(self.finish(plan, results, drawing, serials, memo, surfaces))
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

#[cfg(test)]
mod tests;
