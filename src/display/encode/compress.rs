//! Execution of a client-independent coding, with fallback to raw (codecs.md 9.3).

use super::memo::{Coded, Coding, Memo};
use crate::codec::{EncodeError, glz, jpeg, lz, lz4, quic};
use crate::image::{Bitmap, BitmapFormat, Image, ImageView};
use crate::protocol::draw::WireImageData;
use std::sync::Arc;

/// Encoders and results that a worker keeps for all its clients.
#[derive(Default)]
pub struct Workspace {
    quic: quic::Encoder,
    jpeg: jpeg::Encoder,
    lz: lz::Encoder,
    lz4: lz4::Encoder,
    zlib: glz::Zlib,
    pub(super) memo: Memo,
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").field("memo", &self.memo).finish_non_exhaustive()
    }
}

impl Workspace {
    /// Tells how many display clients the device has, so that encodes are kept to be shared if it pays.
    pub fn set_clients(&mut self, clients: usize) {
        self.memo.set_clients(clients);
    }

    /// The bitmap of `image` in this coding, or raw where the coding cannot carry it or does not make it smaller.
    pub(super) fn code(&mut self, image: &Arc<Image>, bitmap: &Bitmap, coding: Coding) -> Coded {
        if let Some(coded) = self.memo.get(image, coding) {
            return coded;
        }
        let coded = self.code_alone(bitmap, coding);
        self.memo.put(image, coding, &coded);
        coded
    }

    /// The same, without looking for or keeping the result.
    pub(super) fn code_alone(&mut self, bitmap: &Bitmap, coding: Coding) -> Coded {
        self.encode(bitmap, coding).unwrap_or_else(|_| raw(bitmap))
    }

    fn encode(&mut self, bitmap: &Bitmap, coding: Coding) -> Result<Coded, EncodeError> {
        let view = bitmap.view();
        let limit = raw_size(bitmap);
        let mut out = Vec::with_capacity(limit / 4 + 64);
        let mut jpeg_size = None;
        match coding {
            Coding::Raw => return Ok(raw(bitmap)),
            Coding::Quic => self.quic.encode(&view, limit, &mut out)?,
            Coding::Lz => self.lz.encode(&view, limit, &mut out)?,
            Coding::Lz4 => self.lz4.encode(&view, limit, &mut out)?,
            Coding::Jpeg => jpeg_size = self.jpeg(&view, limit, &mut out)?,
        }
        Ok(Coded { coding, data: Arc::new(out), jpeg_size })
    }

    /// The bitmap coded with a client's dictionary, and its zlib form if that is wanted and shorter. `None`: use LZ. What
    /// is returned must be sent.
    pub(super) fn glz(
        &mut self,
        dictionary: &glz::Dictionary,
        channel: u8,
        bitmap: &Bitmap,
        zlib: bool,
    ) -> Option<WireImageData> {
        let mut data = Vec::with_capacity(raw_size(bitmap) / 8 + 64);
        dictionary.encode(channel, &bitmap.view(), &mut data).ok()?;
        let shorter = if zlib { self.zlib.shorten(&data) } else { None };
        Some(match (shorter, u32::try_from(data.len())) {
            (Some(short), Ok(glz_size)) => WireImageData::ZlibGlzRgb { glz_size, data: short.into() },
            _ => WireImageData::GlzRgb(data.into()),
        })
    }

    /// JPEG, with the alpha plane behind it for images that have one: then the JPEG's size is returned.
    fn jpeg(
        &mut self,
        view: &ImageView<'_>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<u32>, EncodeError> {
        self.jpeg.encode(view, limit, out)?;
        if view.format != BitmapFormat::Rgba {
            return Ok(None);
        }
        let size = u32::try_from(out.len()).map_err(|_| EncodeError::TooLarge)?;
        self.lz.encode_alpha(view, limit.saturating_sub(out.len()), out)?;
        Ok(Some(size))
    }
}

/// Bytes of the pixels with the bitmap's own stride. The bitmap promises that the source has them.
fn raw_size(bitmap: &Bitmap) -> usize {
    let bytes = u64::from(bitmap.stride) * u64::from(bitmap.height);
    usize::try_from(bytes).unwrap_or(usize::MAX).min(bitmap.pixels.len())
}

/// The pixels as they are.
pub(super) fn raw(bitmap: &Bitmap) -> Coded {
    let mut data = vec![0; raw_size(bitmap)];
    bitmap.pixels.read_at(0, &mut data);
    Coded { coding: Coding::Raw, data: Arc::new(data), jpeg_size: None }
}
