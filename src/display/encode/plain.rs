//! Pictures for clients that ask for no compression: 32 bits per pixel, which is all that the simplest ones know.

use crate::image::{Bitmap, BitmapFormat, Palette};
use std::sync::Arc;

/// The picture with 32 bits per pixel. `None`: it has them already, it is alpha alone, or it is too large.
pub(super) fn plain(bitmap: &Bitmap) -> Option<Bitmap> {
    let row_bytes = usize::try_from(bitmap.format.min_stride(bitmap.width)).ok()?;
    let convert: fn(&[u8], Option<&Palette>, &mut Vec<u8>) = match bitmap.format {
        BitmapFormat::OneBitBe => |row, palette, out| indexes(row, 1, true, palette, out),
        BitmapFormat::FourBitBe => |row, palette, out| indexes(row, 4, true, palette, out),
        BitmapFormat::FourBitLe => |row, palette, out| indexes(row, 4, false, palette, out),
        BitmapFormat::EightBit => |row, palette, out| indexes(row, 8, true, palette, out),
        BitmapFormat::SixteenBit => |row, _, out| {
            for pair in row.as_chunks().0 {
                out.extend_from_slice(&from_555(u16::from_le_bytes(*pair)).to_le_bytes());
            }
        },
        BitmapFormat::TwentyFourBit => |row, _, out| {
            for [b, g, r] in row.as_chunks().0 {
                out.extend_from_slice(&[*b, *g, *r, 0]);
            }
        },
        BitmapFormat::OneBitLe
        | BitmapFormat::ThirtyTwoBit
        | BitmapFormat::Rgba
        | BitmapFormat::EightBitA => return None,
    };
    let (width, height) = (usize::try_from(bitmap.width).ok()?, usize::try_from(bitmap.height).ok()?);
    let stride = bitmap.width.checked_mul(4)?;
    let row_out = width.checked_mul(4)?;
    let mut pixels = Vec::new();
    // The guest chose the size.
    pixels.try_reserve_exact(row_out.checked_mul(height)?).ok()?;
    let mut row = vec![0; row_bytes];
    for y in 0..height {
        bitmap.pixels.read_at(y.checked_mul(usize::try_from(bitmap.stride).ok()?)?, &mut row);
        convert(&row, bitmap.palette.as_deref(), &mut pixels);
        // The last byte of a row may hold indexes beyond it.
        pixels.truncate(row_out * (y + 1));
    }
    let (format, pixels) = (BitmapFormat::ThirtyTwoBit, Arc::new(pixels));
    Some(Bitmap { format, stride, palette: None, pixels, ..*bitmap })
}

/// Appends the colours of a row of indexes with so many bits each.
fn indexes(row: &[u8], bits: u32, high_first: bool, palette: Option<&Palette>, out: &mut Vec<u8>) {
    let colours = palette.map_or(&[][..], |palette| &palette.entries);
    let mask = if bits == 8 { 0xff } else { (1u8 << bits) - 1 };
    for byte in row {
        for n in 0..8 / bits {
            let shift = if high_first { 8 - bits * (n + 1) } else { bits * n };
            let colour = colours.get(usize::from(byte >> shift & mask)).copied().unwrap_or(0);
            out.extend_from_slice(&(colour & 0xff_ffff).to_le_bytes());
        }
    }
}

fn from_555(pixel: u16) -> u32 {
    let wide = |shift: u16| {
        let five = u32::from(pixel >> shift & 31);
        five << 3 | five >> 2
    };
    wide(10) << 16 | wide(5) << 8 | wide(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(format: BitmapFormat, width: u32, bytes: &[u8]) -> Vec<u32> {
        let stride = u32::try_from(format.min_stride(width)).unwrap();
        let palette = Arc::new(Palette { unique: 0, entries: vec![0xa0_0001, 0xb0_0002, 0xc0_0003] });
        let bitmap = Bitmap {
            format,
            width,
            height: bytes.len() as u32 / stride,
            stride,
            top_down: true,
            unstable: false,
            palette: format.is_palette().then_some(palette),
            pixels: Arc::new(bytes.to_vec()),
        };
        let plain = plain(&bitmap).unwrap();
        assert_eq!(
            (plain.format, plain.stride, plain.palette.is_none()),
            (BitmapFormat::ThirtyTwoBit, width * 4, true)
        );
        plain.pixels.as_private().unwrap().as_chunks().0.iter().map(|p| u32::from_le_bytes(*p)).collect()
    }

    #[test]
    fn pixels_keep_their_colours() {
        let [a, b, c] = [0xa0_0001, 0xb0_0002, 0xc0_0003];
        assert_eq!(converted(BitmapFormat::OneBitBe, 3, &[0b0110_0000, 0b1000_0000]), [a, b, b, b, a, a]);
        assert_eq!(converted(BitmapFormat::FourBitBe, 3, &[0x12, 0x0f]), [b, c, a]);
        assert_eq!(converted(BitmapFormat::FourBitLe, 3, &[0x21, 0xf0]), [b, c, a]);
        // An index beyond the palette is black.
        assert_eq!(converted(BitmapFormat::EightBit, 2, &[2, 3]), [c, 0]);
        assert_eq!(converted(BitmapFormat::SixteenBit, 2, &[0xff, 0x7f, 0x1f, 0x80]), [0xff_ffff, 0x0000ff]);
        assert_eq!(converted(BitmapFormat::TwentyFourBit, 1, &[1, 2, 3]), [0x03_0201]);
    }
}
