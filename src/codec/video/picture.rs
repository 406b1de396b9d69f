//! Copies frames into the form that encoders take: rows from the top, four bytes a pixel (blue, green, red, unused), in
//! memory of the library that nobody else changes.

use super::VideoError;
use crate::codec::jpeg::load;
use crate::guest::ByteSource;
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
        let mut rows = Rows::of(frame)?;
        self.resize(frame.width, frame.height)?;
        let row = self.pixels.chunks_exact_mut(frame.width as usize * 4);
        (0..frame.height).zip(row).for_each(|(y, out)| rows.read(y, out));
        Ok(())
    }

    /// Copies `frame` with fewer pixels: each is the mean of `by` in each direction (2 to 16), of fewer at the right and at the
    /// bottom.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub(super) fn shrink(&mut self, frame: &ImageView<'_>, by: u32) -> Result<(), VideoError> {
        let mut rows = Rows::of(frame)?;
        let (width, height) = (frame.width.div_ceil(by), frame.height.div_ceil(by));
        self.resize(width, height)?;
        let mut row = zeroed(frame.width as usize * 4)?;
        let mut sums = zeroed::<[u32; 3]>(width as usize)?;
        for (top, out) in
            (0..frame.height).step_by(by as usize).zip(self.pixels.chunks_exact_mut(width as usize * 4))
        {
            let bottom = frame.height.min(top + by);
            sums.fill([0; 3]);
            for y in top..bottom {
                rows.read(y, &mut row);
                for (sum, pixels) in sums.iter_mut().zip(row.chunks(by as usize * 4)) {
                    for [blue, green, red, _] in pixels.as_chunks().0 {
                        sum[0] += u32::from(*blue);
                        sum[1] += u32::from(*green);
                        sum[2] += u32::from(*red);
                    }
                }
            }
            let last = frame.width - (width - 1) * by;
            let columns = std::iter::repeat_n(by, width as usize - 1).chain([last]);
            for ((out, sum), columns) in out.as_chunks_mut().0.iter_mut().zip(&sums).zip(columns) {
                let count = columns * (bottom - top);
                let mean = |sum: u32| u8::try_from((sum + count / 2) / count).unwrap_or(u8::MAX);
                *out = [mean(sum[0]), mean(sum[1]), mean(sum[2]), 0];
            }
        }
        Ok(())
    }

    /// The copy, as an image whose pixels are `source`.
    pub(super) fn view<'a>(&self, source: &'a dyn ByteSource) -> ImageView<'a> {
        ImageView {
            format: BitmapFormat::ThirtyTwoBit,
            width: self.width,
            height: self.height,
            stride: self.stride(),
            top_down: true,
            source,
        }
    }

    /// The guest chooses the size.
    fn resize(&mut self, width: u32, height: u32) -> Result<(), VideoError> {
        let size = u64::from(width) * u64::from(height) * 4;
        let size = usize::try_from(size).map_err(|_| VideoError::BadFrame)?;
        grow(&mut self.pixels, size)?;
        (self.width, self.height) = (width, height);
        Ok(())
    }
}

/// Makes `items` so long; what is new is zero.
fn grow<T: Clone + Default>(items: &mut Vec<T>, length: usize) -> Result<(), VideoError> {
    let more = length.saturating_sub(items.len());
    items.try_reserve_exact(more).map_err(|error| VideoError::NoResources(error.to_string()))?;
    items.resize(length, T::default());
    Ok(())
}

fn zeroed<T: Clone + Default>(length: usize) -> Result<Vec<T>, VideoError> {
    let mut items = Vec::new();
    grow(&mut items, length)?;
    Ok(items)
}

/// Reads the rows of a frame with four bytes a pixel.
struct Rows<'a> {
    frame: ImageView<'a>,
    /// A row as it is, unless it has four bytes a pixel already.
    bytes: Vec<u8>,
}

impl<'a> Rows<'a> {
    fn of(frame: &ImageView<'a>) -> Result<Self, VideoError> {
        let coloured = matches!(
            frame.format,
            BitmapFormat::SixteenBit
                | BitmapFormat::TwentyFourBit
                | BitmapFormat::ThirtyTwoBit
                | BitmapFormat::Rgba
        );
        if !coloured || frame.width == 0 || frame.height == 0 || frame.row_bytes() > frame.stride as usize {
            return Err(VideoError::BadFrame);
        }
        let direct = matches!(frame.format, BitmapFormat::ThirtyTwoBit | BitmapFormat::Rgba);
        let bytes = if direct { 0 } else { frame.row_bytes() };
        Ok(Self { frame: *frame, bytes: zeroed(bytes)? })
    }

    fn read(&mut self, y: u32, out: &mut [u8]) {
        let Self { frame, bytes } = self;
        if bytes.is_empty() {
            frame.read_row(y, out);
            return;
        }
        frame.read_row(y, bytes);
        load(frame.format, bytes, out.as_chunks_mut().0);
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
    fn smaller_copies_have_the_mean_of_each_place() {
        // Five columns and three rows: the last ones are of fewer pixels.
        let pixel = |x: u32, y: u32| [x * 10, y * 20, x + y, 99].map(|v| v as u8);
        let bytes: Vec<u8> = (0..3).flat_map(|y| (0..5).flat_map(move |x| pixel(x, y))).collect();
        let source = SliceSource(&bytes);
        let format = BitmapFormat::ThirtyTwoBit;
        let view = ImageView { format, width: 5, height: 3, stride: 20, top_down: true, source: &source };
        let mut picture = Picture::default();
        picture.shrink(&view, 2).unwrap();
        assert_eq!((picture.width, picture.height), (3, 2));
        let expected =
            [[5, 10, 1, 0], [25, 10, 3, 0], [40, 10, 5, 0], [5, 40, 3, 0], [25, 40, 5, 0], [40, 40, 6, 0]];
        assert_eq!(picture.pixels, expected.concat());
        let mut same = Picture::default();
        same.shrink(&view, 16).unwrap();
        assert_eq!((same.width, same.height), (1, 1));
        assert_eq!(same.shrink(&ImageView { stride: 19, ..view }, 2), Err(VideoError::BadFrame));
    }

    #[test]
    fn what_has_no_colours_or_no_rows_is_no_frame() {
        let bytes = [0; 32];
        assert_eq!(copied(BitmapFormat::EightBit, 8, true, &bytes), Err(VideoError::BadFrame));
        assert_eq!(copied(BitmapFormat::EightBitA, 8, true, &bytes), Err(VideoError::BadFrame));
        assert_eq!(copied(BitmapFormat::ThirtyTwoBit, 7, true, &bytes), Err(VideoError::BadFrame));
    }
}
