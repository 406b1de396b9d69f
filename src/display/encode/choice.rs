//! Which codec an image gets (display.md 9.2, codecs.md 9): a pure function of image and settings.

use crate::display::settings::ImageCompression;
use crate::image::{Bitmap, BitmapFormat};

/// Bitmaps of fewer bytes are not worth a codec.
const MIN_BYTES: u64 = 54;

/// Pixels of the server's own images that go to the dictionary at most. Larger ones are sent sooner in bands ([`super::bands`]).
const MOST_SHOWN: u64 = 1 << 20;

/// How an image goes to a client, as far as the choice goes; the execution may fall back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Raw,
    /// QUIC, or JPEG where loss is allowed.
    Quic,
    Lz,
    Glz,
    Lz4,
}

/// Whether rows have no padding and the guest does not change the pixels: needed by the LZ family.
#[must_use]
pub(super) fn can_lz(bitmap: &Bitmap) -> bool {
    u64::from(bitmap.stride) == bitmap.format.min_stride(bitmap.width) && !bitmap.unstable
}

/// Whether QUIC may carry it: not a palette format, at least 3x3.
#[must_use]
pub(super) fn can_quic(bitmap: &Bitmap) -> bool {
    !bitmap.format.is_palette() && bitmap.width >= 3 && bitmap.height >= 3
}

/// Whether the pixels are colours that can be graded.
#[must_use]
pub(super) fn is_gradual_format(format: BitmapFormat) -> bool {
    matches!(
        format,
        BitmapFormat::SixteenBit
            | BitmapFormat::TwentyFourBit
            | BitmapFormat::ThirtyTwoBit
            | BitmapFormat::Rgba
    )
}

/// The choice for a bitmap. `of_drawable`: it is an argument of a guest's command, not made by the server.
/// `is_photo` measures whether the graduality is HIGH and is only asked where it matters.
pub(super) fn choose(
    preferred: ImageCompression,
    bitmap: &Bitmap,
    of_drawable: bool,
    is_photo: impl Fn() -> bool,
) -> Choice {
    if u64::from(bitmap.height) * u64::from(bitmap.stride) < MIN_BYTES {
        return Choice::Raw;
    }
    let pixels = u64::from(bitmap.width) * u64::from(bitmap.height);
    let gradual = is_gradual_format(bitmap.format);
    let can_lz = can_lz(bitmap);
    let auto = || can_quic(bitmap) && (!can_lz || (gradual && is_photo()));
    let choice = match preferred {
        ImageCompression::Off => Choice::Raw,
        ImageCompression::Quic if can_quic(bitmap) => Choice::Quic,
        ImageCompression::Quic => Choice::Raw,
        ImageCompression::AutoGlz | ImageCompression::AutoLz if auto() => Choice::Quic,
        ImageCompression::AutoGlz | ImageCompression::Glz if of_drawable && gradual => Choice::Glz,
        // What a client is shown of a surface repeats what it has seen of others: windows, and the screen that they are on.
        ImageCompression::AutoGlz if gradual && pixels <= MOST_SHOWN => Choice::Glz,
        // Clients refuse LZ4 of other formats.
        ImageCompression::Lz4 if gradual => Choice::Lz4,
        _ => Choice::Lz,
    };
    match choice {
        Choice::Lz | Choice::Glz | Choice::Lz4 if !can_lz => Choice::Raw,
        // A palette image whose palette is missing cannot be LZ_PLT.
        Choice::Lz if bitmap.format.is_palette() && bitmap.palette.is_none() => Choice::Raw,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Palette;
    use std::sync::Arc;

    fn bitmap(format: BitmapFormat, width: u32, height: u32) -> Bitmap {
        let stride = u32::try_from(format.min_stride(width)).unwrap();
        let palette = format.is_palette().then(|| Arc::new(Palette { unique: 1, entries: vec![0; 2] }));
        let pixels = Arc::new(vec![0u8; (stride * height) as usize]);
        Bitmap { format, width, height, stride, top_down: true, unstable: false, palette, pixels }
    }

    fn pick(preferred: ImageCompression, b: &Bitmap, of_drawable: bool, photo: bool) -> Choice {
        choose(preferred, b, of_drawable, || photo)
    }

    #[test]
    fn tiny_and_off_are_raw() {
        let tiny = bitmap(BitmapFormat::ThirtyTwoBit, 4, 3);
        assert_eq!(pick(ImageCompression::Glz, &tiny, true, false), Choice::Raw);
        let b = bitmap(BitmapFormat::ThirtyTwoBit, 40, 30);
        assert_eq!(pick(ImageCompression::Off, &b, true, false), Choice::Raw);
    }

    #[test]
    fn auto_takes_quic_for_photos_and_for_what_lz_cannot() {
        let mut b = bitmap(BitmapFormat::ThirtyTwoBit, 40, 30);
        assert_eq!(pick(ImageCompression::AutoGlz, &b, true, true), Choice::Quic);
        assert_eq!(pick(ImageCompression::AutoGlz, &b, true, false), Choice::Glz);
        assert_eq!(pick(ImageCompression::AutoGlz, &b, false, false), Choice::Glz);
        assert_eq!(pick(ImageCompression::Glz, &b, false, false), Choice::Lz);
        let large = Bitmap { width: 1025, height: 1024, stride: 1025 * 4, ..b.clone() };
        assert_eq!(pick(ImageCompression::AutoGlz, &large, false, false), Choice::Lz);
        assert_eq!(pick(ImageCompression::AutoLz, &b, true, false), Choice::Lz);
        b.unstable = true;
        assert_eq!(pick(ImageCompression::AutoGlz, &b, true, false), Choice::Quic);
        assert_eq!(pick(ImageCompression::Glz, &b, true, false), Choice::Raw);
        b.width = 2;
        b.stride = 8;
        assert_eq!(pick(ImageCompression::AutoLz, &b, true, true), Choice::Raw);
    }

    #[test]
    fn palette_images_go_to_lz_or_raw() {
        let mut b = bitmap(BitmapFormat::EightBit, 40, 30);
        for preferred in [ImageCompression::AutoGlz, ImageCompression::Glz, ImageCompression::Lz4] {
            assert_eq!(pick(preferred, &b, true, true), Choice::Lz);
        }
        assert_eq!(pick(ImageCompression::Quic, &b, true, true), Choice::Raw);
        b.palette = None;
        assert_eq!(pick(ImageCompression::Lz, &b, true, true), Choice::Raw);
    }

    #[test]
    fn alpha_only_images_never_go_to_lz4_or_glz() {
        let b = bitmap(BitmapFormat::EightBitA, 40, 30);
        assert_eq!(pick(ImageCompression::Lz4, &b, true, false), Choice::Lz);
        assert_eq!(pick(ImageCompression::Glz, &b, true, false), Choice::Lz);
    }
}
