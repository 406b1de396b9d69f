//! Images, palettes, brushes and masks (qxl.md B3, B4).

use super::chunks::{CHUNK_HEADER, Excess};
use super::fields::Fields;
use super::mirrored::Mirrored;
use super::{Context, ParseError, Result, bad};
use crate::memory::GuestRange;
use spice_server_core::codec::quic;
use spice_server_core::draw::{Brush, Mask};
use spice_server_core::guest::ByteSource;
use spice_server_core::image::{Bitmap, BitmapFormat, Image, ImageData, Palette};
use spice_server_core::limits;
use std::sync::Arc;

mod image_type {
    pub(super) const BITMAP: u8 = 0;
    pub(super) const QUIC: u8 = 1;
    pub(super) const SURFACE: u8 = 104;
}

const IMAGE_SIZE: u64 = 48;
const CACHE: u8 = 1;
const HIGH_BITS_SET: u8 = 2;
const DIRECT: u8 = 1;
const UNSTABLE: u8 = 2;
const TOP_DOWN: u8 = 4;

/// What an image is used as: masks are other formats than pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Picture,
    Mask,
}

impl Context<'_> {
    /// An image that may be absent.
    pub(super) fn optional_image(&self, field: &'static str, address: u64) -> Result<Option<Arc<Image>>> {
        if address == 0 { Ok(None) } else { self.image(field, address).map(Some) }
    }

    /// An image that must be there.
    pub(super) fn image(&self, field: &'static str, address: u64) -> Result<Arc<Image>> {
        if address == 0 {
            return bad(field, 0, "image is missing");
        }
        self.any_image(address, Use::Picture).map_err(|e| e.within(field)).map(Arc::new)
    }

    fn any_image(&self, address: u64, used_as: Use) -> Result<Image> {
        let header = self.range("image", address, IMAGE_SIZE)?;
        let bytes = header.read_array::<48>(0);
        let f = Fields(&bytes);
        let (mut width, mut height) = (f.u32(10), f.u32(14));
        let data = match f.u8(8) {
            image_type::BITMAP => {
                let bitmap = self.bitmap(f, used_as)?;
                // The descriptor has the size a second time; the one that was checked counts.
                (width, height) = (bitmap.width, bitmap.height);
                ImageData::Bitmap(bitmap)
            }
            image_type::QUIC if used_as == Use::Mask => return bad("image type", 1, "QUIC as a mask"),
            image_type::QUIC => ImageData::Quic(self.quic(&header, f, width, height)?),
            image_type::SURFACE => ImageData::Surface(self.surface_id("image surface_id", f.u32(18))?),
            other => return bad("image type", other, "not one that a guest may use"),
        };
        let flags = f.u8(9);
        Ok(Image {
            id: f.u64(0),
            cache_me: flags & CACHE != 0,
            high_bits_set: flags & HIGH_BITS_SET != 0,
            width,
            height,
            data,
        })
    }

    fn bitmap(&self, f: Fields<'_>, used_as: Use) -> Result<Bitmap> {
        let format = match BitmapFormat::try_from(f.u8(18)) {
            Ok(format) => format,
            Err(other) => return bad("bitmap format", other, "unknown"),
        };
        let one_bit = matches!(format, BitmapFormat::OneBitLe | BitmapFormat::OneBitBe);
        match used_as {
            Use::Mask if !one_bit => return bad("bitmap format", f.u8(18), "not a mask"),
            // Neither this library nor any client can draw them (canvas.md 13).
            Use::Picture if format == BitmapFormat::FourBitLe => {
                return bad("bitmap format", f.u8(18), "only for masks");
            }
            _ => {}
        }
        let (flags, width, height, stride) = (f.u8(19), f.u32(20), f.u32(24), f.u32(28));
        if width == 0 || height == 0 || width > i32::MAX.unsigned_abs() {
            return bad("bitmap size", width.min(height), "impossible");
        }
        let row = format.min_stride(width);
        if u64::from(stride) < row {
            return bad("bitmap stride", stride, "shorter than a row");
        }
        if u64::from(stride) > row + limits::MAX_STRIDE_PADDING {
            return bad("bitmap stride", stride, "much longer than a row");
        }
        let size = u64::from(height) * u64::from(stride);
        if size > limits::MAX_GUEST_OBJECT {
            return bad("bitmap size", size, "bytes are more than allowed");
        }
        let palette = match (format.is_palette() && used_as == Use::Picture, f.u64(32)) {
            (false, _) => None,
            (true, 0) => return bad("palette", 0, "is missing"),
            (true, address) => Some(self.palette(address)?),
        };
        let address = f.u64(40);
        let pixels: Arc<dyn ByteSource> = if flags & DIRECT != 0 {
            Arc::new(self.range("bitmap data", address, size)?)
        } else {
            self.chunks("bitmap data", self.range("bitmap data", address, CHUNK_HEADER)?, size)?
        };
        let (format, pixels) = match used_as {
            Use::Picture if format == BitmapFormat::OneBitLe => {
                (BitmapFormat::OneBitBe, Arc::new(Mirrored(pixels)) as Arc<dyn ByteSource>)
            }
            _ => (format, pixels),
        };
        Ok(Bitmap {
            format,
            width,
            height,
            stride,
            top_down: flags & TOP_DOWN != 0,
            unstable: flags & UNSTABLE != 0,
            palette,
            pixels,
        })
    }

    fn palette(&self, address: u64) -> Result<Arc<Palette>> {
        const HEADER: usize = 10;
        let header = self.range("palette", address, 10)?;
        let bytes = header.read_array::<HEADER>(0);
        let count = Fields(&bytes).u16(8);
        if count == 0 {
            return bad("palette num_ents", 0, "no colours");
        }
        let whole = header.following(0, 10 + 4 * u64::from(count));
        let whole = whole.map_err(|e| ParseError::Memory("palette", e))?;
        let count = usize::from(count).min(limits::MAX_PALETTE_ENTRIES);
        self.charge("palette", 4 * count)?;
        let mut entries = vec![0; 4 * count];
        whole.read_at(HEADER, &mut entries);
        let entries = entries.chunks_exact(4).map(|entry| self.color(Fields(entry).u32(0))).collect();
        Ok(Arc::new(Palette { unique: Fields(&bytes).u64(0), entries }))
    }

    /// A colour as the command gives it: 555 in the 16-bit compat mode, widened.
    fn color(&self, color: u32) -> u32 {
        if !self.compat_16bpp {
            return color;
        }
        let widen = |shift: u32| {
            let c = (color >> shift) & 0x1f;
            (c << 3) | (c >> 2)
        };
        (widen(10) << 16) | (widen(5) << 8) | widen(0)
    }

    fn quic(&self, header: &GuestRange, f: Fields<'_>, width: u32, height: u32) -> Result<Arc<[u8]>> {
        if width == 0 || height == 0 || width.max(height) > limits::MAX_DECODED_SIDE {
            return bad("QUIC image size", width.max(height), "impossible");
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > limits::MAX_DECODED_PIXELS {
            return bad("QUIC image size", pixels, "pixels are more than allowed");
        }
        let size = u64::from(f.u32(18));
        // A sample of 8 bits takes at most 26 bits of code, a pixel has at most 4 samples.
        if size > pixels * 16 + 4096 {
            return bad("QUIC data_size", size, "more than these pixels can need");
        }
        let chunk = header.following(22, CHUNK_HEADER).map_err(|e| ParseError::Memory("QUIC data", e))?;
        let data = self.chunk_bytes("QUIC data", chunk, size, Excess::Reject)?;
        if u64::try_from(data.len()).ok() != Some(size) {
            return bad("QUIC data", data.len(), "bytes differ from the announced size");
        }
        match quic::parse_header(&data) {
            Ok(found) if (found.width, found.height) == (width, height) => Ok(data.into()),
            Ok(found) => bad("QUIC header width", found.width, "size is not the descriptor's"),
            Err(_) => bad("QUIC header", data.len(), "bytes are no QUIC stream"),
        }
    }

    /// QXLBrush at the start of `f`, 20 bytes.
    pub(super) fn brush(&self, field: &'static str, f: Fields<'_>) -> Result<Brush> {
        Ok(match f.u32(0) {
            0 => Brush::None,
            1 => Brush::Solid(self.color(f.u32(4))),
            2 => Brush::Pattern { image: self.image(field, f.u64(4))?, origin: f.point(12) },
            other => return bad(field, other, "unknown type of brush"),
        })
    }

    /// QXLQMask at the start of `f`, 17 bytes.
    pub(super) fn mask(&self, f: Fields<'_>) -> Result<Option<Mask>> {
        let address = f.u64(9);
        if address == 0 {
            return Ok(None);
        }
        let image = self.any_image(address, Use::Mask).map_err(|e| e.within("mask"))?;
        Ok(Some(Mask { inverse: f.u8(0) & 1 != 0, origin: f.point(1), image: Arc::new(image) }))
    }
}
