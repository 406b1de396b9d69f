//! Copies frames into the form that encoders take: rows from the top, four bytes a pixel (blue, green, red, unused), in
//! memory of the library that nobody else changes.

use super::VideoError;
use crate::codec::jpeg::load;
use crate::image::{BitmapFormat, ImageView};

/// A copy of a frame. The next copy uses the same memory.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixels: Vec<u8>,
}

impl Picture {
    /// Bytes of a row.
    pub(super) fn stride(&self) -> u32 {
        self.width * 4
    }

    /// Copies the pixels of `frame`.
    ///
    /// # Errors
    /// [`VideoError::BadFrame`] for formats without colours and for rows that overlap, [`VideoError::NoResources`] if there is
    /// no memory for the copy.
    pub(super) fn copy(&mut self, frame: &ImageView<'_>) -> Result<(), VideoError> {
        let ImageView { format, width, height, stride, .. } = *frame;
        let coloured = matches!(
            format,
            BitmapFormat::SixteenBit
                | BitmapFormat::TwentyFourBit
                | BitmapFormat::ThirtyTwoBit
                | BitmapFormat::Rgba
        );
        let size = u64::from(width) * u64::from(height) * 4;
        let size = usize::try_from(size).map_err(|_| VideoError::BadFrame)?;
        if !coloured || size == 0 || frame.row_bytes() > stride as usize {
            return Err(VideoError::BadFrame);
        }
        self.reserve(size)?;
        (self.width, self.height) = (width, height);
        let row = self.pixels.chunks_exact_mut(width as usize * 4);
        if matches!(format, BitmapFormat::ThirtyTwoBit | BitmapFormat::Rgba) {
            (0..height).zip(row).for_each(|(y, out)| frame.read_row(y, out));
            return Ok(());
        }
        let (mut bytes, mut words) = (vec![0; frame.row_bytes()], vec![0; width as usize]);
        for (y, out) in (0..height).zip(row) {
            frame.read_row(y, &mut bytes);
            load(format, &bytes, words.len(), &mut words);
            for (out, word) in out.as_chunks_mut().0.iter_mut().zip(&words) {
                *out = word.to_le_bytes();
            }
        }
        Ok(())
    }

    /// The guest chooses the size.
    fn reserve(&mut self, size: usize) -> Result<(), VideoError> {
        let more = size.saturating_sub(self.pixels.len());
        self.pixels.try_reserve_exact(more).map_err(|error| VideoError::NoResources(error.to_string()))?;
        self.pixels.resize(size, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::SliceSource;

    fn copied(
        format: BitmapFormat,
        stride: u32,
        top_down: bool,
        bytes: &[u8],
    ) -> Result<Vec<u8>, VideoError> {
        let source = SliceSource(bytes);
        let view = ImageView { format, width: 2, height: 2, stride, top_down, source: &source };
        let mut picture = Picture::default();
        picture.copy(&view)?;
        assert_eq!(picture.stride(), 8);
        Ok(picture.pixels)
    }

    #[test]
    fn rows_come_from_the_top_without_padding() {
        let bytes: Vec<u8> = (0..24).collect();
        let upper: Vec<u8> = (0..8).collect();
        let lower: Vec<u8> = (12..20).collect();
        let pixels = copied(BitmapFormat::ThirtyTwoBit, 12, true, &bytes).unwrap();
        assert_eq!(pixels, [upper.clone(), lower.clone()].concat());
        let pixels = copied(BitmapFormat::ThirtyTwoBit, 12, false, &bytes).unwrap();
        assert_eq!(pixels, [lower, upper].concat());
    }

    #[test]
    fn other_formats_become_four_bytes_a_pixel() {
        let pixels = copied(BitmapFormat::TwentyFourBit, 6, true, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(pixels.unwrap(), [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 10, 11, 12, 0]);
        let red = 0x7c00_u16.to_le_bytes();
        let pixels = copied(BitmapFormat::SixteenBit, 4, true, &[red, red, red, red].concat());
        assert_eq!(pixels.unwrap(), [[0, 0, 255, 0]; 4].concat());
    }

    #[test]
    fn what_has_no_colours_or_no_rows_is_no_frame() {
        let bytes = [0; 32];
        assert_eq!(copied(BitmapFormat::EightBit, 8, true, &bytes), Err(VideoError::BadFrame));
        assert_eq!(copied(BitmapFormat::EightBitA, 8, true, &bytes), Err(VideoError::BadFrame));
        assert_eq!(copied(BitmapFormat::ThirtyTwoBit, 7, true, &bytes), Err(VideoError::BadFrame));
    }
}
