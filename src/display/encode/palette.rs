//! Keeps pixel indexes within the palettes that clients get: clients do not check them (codecs.md 3.3).

use crate::image::{Bitmap, BitmapFormat, Palette};
use std::borrow::Cow;
use std::sync::Arc;

/// A bitmap that is safe to send with `palette`.
pub(super) struct Checked<'a> {
    pub bitmap: Cow<'a, Bitmap>,
    /// The palette to send instead of the bitmap's own, not to be cached: with black for the missing colours.
    pub padded: Option<Arc<Palette>>,
}

/// Whether [`check`] has to copy the pixels: no result for the copy may stand in for the image.
pub(super) fn needs_snapshot(bitmap: &Bitmap) -> bool {
    let short = bitmap.palette.as_ref().is_some_and(|palette| palette.entries.len() < 256);
    bitmap.format == BitmapFormat::EightBit && short && bitmap.pixels.as_private().is_none()
}

/// Checks a bitmap's indexes where its palette is short. Pixels that the guest can still change are copied first.
pub(super) fn check(bitmap: &Bitmap) -> Checked<'_> {
    let unchanged = Checked { bitmap: Cow::Borrowed(bitmap), padded: None };
    let Some(palette) = &bitmap.palette else { return unchanged };
    let colours = match bitmap.format {
        BitmapFormat::OneBitLe | BitmapFormat::OneBitBe => 2,
        // Clients take these indexes modulo the number of colours.
        BitmapFormat::FourBitLe | BitmapFormat::FourBitBe => 1,
        BitmapFormat::EightBit => 256,
        _ => return unchanged,
    };
    if palette.entries.len() >= colours {
        return unchanged;
    }
    let mut entries = palette.entries.clone();
    entries.resize(colours, 0);
    let padded = Some(Arc::new(Palette { unique: 0, entries }));
    if bitmap.format != BitmapFormat::EightBit {
        return Checked { padded, ..unchanged };
    }
    let exceeds = |pixels: &[u8]| pixels.iter().any(|&index| usize::from(index) >= palette.entries.len());
    if let Some(pixels) = bitmap.pixels.as_private() {
        return Checked { padded: padded.filter(|_| exceeds(pixels)), ..unchanged };
    }
    let pixels = Arc::new(bitmap.to_bytes());
    let padded = padded.filter(|_| exceeds(&pixels));
    Checked { bitmap: Cow::Owned(Bitmap { pixels, ..bitmap.clone() }), padded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::testing::GuestBytes;

    fn bitmap(format: BitmapFormat, colours: usize, pixel: u8, guest: bool) -> Bitmap {
        let pixels = vec![pixel; 4];
        Bitmap {
            format,
            width: 2,
            height: 2,
            stride: 2,
            top_down: true,
            unstable: false,
            palette: Some(Arc::new(Palette { unique: 7, entries: vec![5; colours] })),
            pixels: if guest { Arc::new(GuestBytes(pixels)) } else { Arc::new(pixels) },
        }
    }

    #[test]
    fn indexes_beyond_a_short_palette_get_black() {
        for guest in [false, true] {
            let b = bitmap(BitmapFormat::EightBit, 3, 3, guest);
            let checked = check(&b);
            let padded = checked.padded.as_ref().unwrap();
            assert_eq!((padded.unique, padded.entries.len(), padded.entries[3]), (0, 256, 0));
            assert_eq!(matches!(checked.bitmap, Cow::Owned(_)), guest);
            assert_eq!(needs_snapshot(&b), guest);
            assert!(check(&bitmap(BitmapFormat::EightBit, 3, 2, guest)).padded.is_none());
        }
        assert!(!needs_snapshot(&bitmap(BitmapFormat::EightBit, 256, 255, true)));
    }

    #[test]
    fn one_and_four_bit_images_have_the_colours_that_clients_need() {
        let padded =
            |format, colours| check(&bitmap(format, colours, 0xff, true)).padded.map(|p| p.entries.len());
        assert_eq!(padded(BitmapFormat::OneBitBe, 1), Some(2));
        assert_eq!(padded(BitmapFormat::OneBitLe, 2), None);
        assert_eq!(padded(BitmapFormat::FourBitBe, 0), Some(1));
        assert_eq!(padded(BitmapFormat::FourBitBe, 3), None);
    }
}
