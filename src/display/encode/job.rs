//! Compression of one image as a value of its own: no client, no cache, no order, so that any thread may run it.
//!
//! A [`CompressJob`] is pure. A [`GlzJob`] is not: it appends to the dictionary that the client builds up from the images
//! it receives, so jobs of one dictionary must run in the order in which their messages are sent. [`ImageJob`] keeps the
//! two apart in its type.

use super::memo::{Coding, EncodedImage};
use super::palette;
use crate::codec::{EncodeError, glz, jpeg, lz, lz4, quic};
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, ImageView};
use std::sync::Arc;

/// The encoders of one thread. They keep scratch memory from image to image, and nothing that an image depends on.
#[derive(Default)]
pub(crate) struct Encoders {
    quic: quic::Encoder,
    jpeg: jpeg::Encoder,
    lz: lz::Encoder,
    lz4: lz4::Encoder,
    zlib: glz::Zlib,
}

impl std::fmt::Debug for Encoders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoders").finish_non_exhaustive()
    }
}

/// Compression of one image.
#[derive(Debug)]
pub(crate) enum ImageJob {
    /// On any thread, before or after any other job.
    AnyOrder(CompressJob),
    /// After the jobs of the same dictionary that were planned before, and its result must be sent: the client counts the
    /// images of its dictionary.
    InOrder(GlzJob),
}

impl ImageJob {
    /// Runs the job.
    pub(crate) fn run(self, encoders: &mut Encoders) -> Compressed {
        match self {
            Self::AnyOrder(job) => Compressed::Image(job.run(encoders)),
            Self::InOrder(job) => job.run(encoders),
        }
    }
}

/// The result of an [`ImageJob`].
#[derive(Debug)]
pub(crate) enum Compressed {
    Image(EncodedImage),
    /// An image of the client's GLZ dictionary.
    Glz(GlzImage),
}

/// A GLZ stream.
#[derive(Debug)]
pub(crate) struct GlzImage {
    pub data: Vec<u8>,
    /// `data` is the zlib form of so many bytes of GLZ.
    pub inflated_size: Option<u32>,
}

/// Compression that depends on the image alone.
#[derive(Debug)]
pub(crate) struct CompressJob {
    /// Its data is a bitmap.
    pub image: Arc<Image>,
    pub coding: Coding,
}

impl CompressJob {
    fn run(self, encoders: &mut Encoders) -> EncodedImage {
        let ImageData::Bitmap(bitmap) = &self.image.data else { return EncodedImage::empty() };
        let checked = palette::check(bitmap);
        EncodedImage { padded: checked.padded, ..encoders.encode_or_raw(&checked.bitmap, self.coding) }
    }
}

/// Compression with a client's dictionary.
#[derive(Debug)]
pub(crate) struct GlzJob {
    /// Its data is a bitmap.
    pub image: Arc<Image>,
    pub dictionary: Arc<glz::Dictionary>,
    /// The display that the image is sent on.
    pub channel_id: u8,
    /// Use zlib on top where that is shorter.
    pub zlib: bool,
}

impl GlzJob {
    /// LZ where the dictionary has been frozen since the job was planned.
    fn run(self, encoders: &mut Encoders) -> Compressed {
        let ImageData::Bitmap(bitmap) = &self.image.data else {
            return Compressed::Image(EncodedImage::empty());
        };
        let mut data = Vec::with_capacity(bitmap.size() / 8 + 64);
        if self.dictionary.encode(self.channel_id, &bitmap.view(), &mut data).is_err() {
            let job = CompressJob { image: self.image, coding: Coding::Lz };
            return Compressed::Image(job.run(encoders));
        }
        let shorter = if self.zlib { encoders.zlib.shorten(&data) } else { None };
        Compressed::Glz(match (shorter, u32::try_from(data.len())) {
            (Some(short), Ok(size)) => GlzImage { data: short, inflated_size: Some(size) },
            _ => GlzImage { data, inflated_size: None },
        })
    }
}

impl Encoders {
    /// The bitmap in this coding, or raw where the coding cannot carry it or does not make it smaller (codecs.md 9.3).
    fn encode_or_raw(&mut self, bitmap: &Bitmap, coding: Coding) -> EncodedImage {
        self.encode(bitmap, coding).unwrap_or_else(|_| raw(bitmap))
    }

    fn encode(&mut self, bitmap: &Bitmap, coding: Coding) -> Result<EncodedImage, EncodeError> {
        let view = bitmap.view();
        let limit = bitmap.size();
        let mut out = Vec::with_capacity(limit / 4 + 64);
        let mut jpeg_size = None;
        match coding {
            Coding::Raw => return Ok(raw(bitmap)),
            Coding::Quic => self.quic.encode(&view, limit, &mut out)?,
            Coding::Lz => self.lz.encode(&view, limit, &mut out)?,
            Coding::Lz4 => self.lz4.encode(&view, limit, &mut out)?,
            Coding::Jpeg => jpeg_size = self.jpeg(&view, limit, &mut out)?,
        }
        Ok(EncodedImage { coding, data: Arc::new(out), jpeg_size, padded: None })
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

fn raw(bitmap: &Bitmap) -> EncodedImage {
    let data = Arc::new(bitmap.to_bytes());
    EncodedImage { coding: Coding::Raw, data, jpeg_size: None, padded: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a thread pool will ask of the compiler.
    #[test]
    fn jobs_and_results_may_change_threads() {
        fn may_change_threads<T: Send + 'static>() {}
        may_change_threads::<ImageJob>();
        may_change_threads::<Compressed>();
        may_change_threads::<Encoders>();
    }
}
