//! JPEG and JPEG_ALPHA, the lossy codec for slow links (codecs.md 6), also used for motion JPEG streams.
//!
//! A baseline encoder, 4:2:0, with the standard Huffman tables and the quantization tables of the reference
//! implementation's quality scale. Its loops use 16-bit lanes, which the compiler vectorizes, and it never looks at
//! coefficients that are zero. In one run with the 1920 x 1080 photo of `benches/codec.rs` at quality 85, compiled for
//! any x86-64, it took 0.70 times as long as libjpeg-turbo 2.1 in C with its AVX2 code, with 7.6 % fewer bytes and
//! no more noise.
//!
//! * [`colour`]: pixel rows to rows of luma and halved chroma
//! * [`transform`]: discrete cosine transform and quantization of blocks
//! * [`entropy`]: Huffman codes
//! * [`tables`]: the standard tables and the file's header

mod colour;
#[cfg(test)]
mod decoder;
mod entropy;
mod tables;
mod transform;

pub(in crate::codec) use colour::load;

use crate::codec::EncodeError;
use crate::image::{BitmapFormat, ImageView};
use colour::{Pixel, Samples, WIDTH};
use entropy::{BLOCKS, BitWriter};
use tables::Quality;
use transform::{Block, Columns};

/// Quality of images in drawing messages.
pub const IMAGE_QUALITY: u8 = 85;

/// Longest side of an image; the reference implementation's limit.
const MAX_SIDE: u32 = 65_500;

/// A JPEG encoder for one quality. It keeps its buffers from image to image.
#[derive(Debug)]
pub struct Encoder {
    quality: Quality,
    bytes: Vec<u8>,
    /// Sixteen rows of the image, if it does not have them in this form in memory that nobody else changes.
    pixels: Vec<Pixel>,
    units: Units,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new(IMAGE_QUALITY)
    }
}

impl Encoder {
    /// An encoder for this quality, 1 (worst) to 100. Values outside are clamped.
    #[must_use]
    pub fn new(quality: u8) -> Self {
        Self {
            quality: Quality::new(quality),
            bytes: Vec::new(),
            pixels: Vec::new(),
            units: Units::default(),
        }
    }

    /// Changes the quality of later images.
    pub fn set_quality(&mut self, quality: u8) {
        if self.quality.percent != quality.clamp(1, 100) {
            self.quality = Quality::new(quality);
        }
    }

    /// Appends `image` as a JPEG file to `out`, top row first. Alpha is ignored.
    ///
    /// # Errors
    /// [`EncodeError::UnsupportedFormat`] for palettes and 8BIT_A, [`EncodeError::TooLarge`] if the file
    /// needs more than `max_len` bytes. `out` is then unchanged.
    pub fn encode(
        &mut self,
        image: &ImageView<'_>,
        max_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let result = self.write(image, start.saturating_add(max_len), out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn write(&mut self, image: &ImageView<'_>, limit: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !matches!(
            image.format,
            BitmapFormat::SixteenBit
                | BitmapFormat::TwentyFourBit
                | BitmapFormat::ThirtyTwoBit
                | BitmapFormat::Rgba
        ) {
            return Err(EncodeError::UnsupportedFormat);
        }
        let (width, height) = (image.width, image.height);
        let sides_ok = (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height);
        if !sides_ok || image.row_bytes() > image.stride as usize {
            return Err(EncodeError::UnsupportedGeometry);
        }
        tables::put_header(&self.quality, width as u16, height as u16, out);

        let width = width as usize;
        let direct = matches!(image.format, BitmapFormat::ThirtyTwoBit | BitmapFormat::Rgba);
        self.bytes.resize(image.row_bytes(), 0);
        let mut writer = BitWriter::default();
        let mut predictions = [0; 3];
        for top in (0..height).step_by(16) {
            let count = (height - top).min(16);
            // Rows after the last one repeat it.
            let private: [Option<&[u8]>; 16] = std::array::from_fn(|y| {
                image.private_row(top + (y as u32).min(count - 1)).filter(|_| direct)
            });
            if private.contains(&None) {
                self.pixels.resize(16 * width, Pixel::default());
                let pixels = self.pixels.get_mut(..count as usize * width).unwrap_or_default();
                if direct {
                    image.read_rows(top, pixels.as_flattened_mut(), image.row_bytes());
                } else {
                    for (y, pixels) in (top..).zip(pixels.chunks_exact_mut(width)) {
                        image.read_row(y, &mut self.bytes);
                        colour::load(image.format, &self.bytes, pixels);
                    }
                }
            }
            let start_of = |y: usize| y.min(count as usize - 1) * width;
            let rows: [&[Pixel]; 16] = std::array::from_fn(|y| match private[y] {
                Some(bytes) => bytes.as_chunks().0,
                None => self.pixels.get(start_of(y)..start_of(y) + width).unwrap_or_default(),
            });
            for left in (0..width).step_by(WIDTH) {
                self.units.load(&rows, left);
                let count = (width - left).div_ceil(16).min(WIDTH / 16);
                self.units.encode(count, &self.quality, &mut predictions, &mut writer, out);
            }
            if out.len() > limit {
                return Err(EncodeError::TooLarge);
            }
        }
        writer.finish(out);
        out.extend_from_slice(&tables::END_OF_IMAGE);
        if out.len() > limit { Err(EncodeError::TooLarge) } else { Ok(()) }
    }
}

/// Minimum coded units that lie side by side: [`WIDTH`] x 16 pixels on their way into the file.
#[derive(Debug, Default)]
struct Units {
    samples: Samples,
    /// Blocks after the vertical half of the transform: the upper eight rows of luma, the lower ones, Cb and Cr.
    columns: [[Columns; WIDTH / 8]; 3],
    /// Those of one unit.
    blocks: [Block; BLOCKS],
}

impl Units {
    /// Converts pixels from `left` on, and does the vertical half of the transform.
    fn load(&mut self, rows: &[&[Pixel]; 16], left: usize) {
        let mut padded = [[Pixel::default(); WIDTH]; 2];
        for (pair, rows) in rows.as_chunks::<2>().0.iter().enumerate() {
            let rows = rows.map(|row| row.get(left..).unwrap_or_default());
            if let [Some(first), Some(second)] = rows.map(|row| row.first_chunk()) {
                self.samples.put_rows(pair, first, second);
                continue;
            }
            // Pixels right of the last one repeat it.
            for (to, row) in padded.iter_mut().zip(rows) {
                let (pixels, rest) = to.split_at_mut(row.len().min(WIDTH));
                pixels.copy_from_slice(row);
                rest.fill(row.last().copied().unwrap_or_default());
            }
            let [first, second] = &padded;
            self.samples.put_rows(pair, first, second);
        }
        let [upper, lower] = &self.samples.luma;
        for (rows, columns) in [upper, lower, &self.samples.chroma].into_iter().zip(&mut self.columns) {
            transform::columns(rows, columns);
        }
    }

    /// Finishes and encodes the first `count` units.
    fn encode(
        &mut self,
        count: usize,
        quality: &Quality,
        predictions: &mut [i16; 3],
        writer: &mut BitWriter,
        out: &mut Vec<u8>,
    ) {
        let [upper, lower, chroma] = &self.columns;
        let (blue, red) = chroma.split_at(WIDTH / 16);
        let luma = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
        for ((([y0, y1], [y2, y3]), blue), red) in luma.zip(blue).zip(red).take(count) {
            let (luma, chroma) = (&quality.luma, &quality.chroma);
            let columns = [(y0, luma), (y1, luma), (y2, luma), (y3, luma), (blue, chroma), (red, chroma)];
            for ((columns, divisors), block) in columns.into_iter().zip(&mut self.blocks) {
                transform::finish(columns, divisors, block);
            }
            writer.put_unit(&self.blocks, predictions, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;
    use crate::guest::ByteSource;
    use crate::guest::testing::GuestBytes;
    use proptest::prelude::*;

    fn encode(encoder: &mut Encoder, image: &ImageView<'_>) -> decoder::Picture {
        let mut out = vec![0xab];
        encoder.encode(image, usize::MAX, &mut out).unwrap();
        decoder::decode(&out[1..])
    }

    /// The colour of a pixel in the row `bytes`.
    fn pixel(format: BitmapFormat, bytes: &[u8], x: usize) -> [f64; 3] {
        let eight = |v: u16| f64::from((v & 31) << 3 | (v & 31) >> 2);
        match format {
            BitmapFormat::SixteenBit => {
                let v = u16::from_le_bytes([bytes[2 * x], bytes[2 * x + 1]]);
                [eight(v >> 10), eight(v >> 5), eight(v)]
            }
            BitmapFormat::TwentyFourBit => [2, 1, 0].map(|c| f64::from(bytes[3 * x + c])),
            _ => [2, 1, 0].map(|c| f64::from(bytes[4 * x + c])),
        }
    }

    #[test]
    fn smooth_pictures_of_all_formats_survive() {
        let mut encoder = Encoder::default();
        let mut tested = 0;
        let smooth = ["solid", "gradient"];
        for v in
            vectors::of("QUIC").iter().filter(|v| v.width >= 60 && smooth.iter().any(|s| v.name.contains(s)))
        {
            let (Some(format), Some(raw)) = (v.format, v.raw()) else { continue };
            let image = vectors::view(v, format, &raw);
            let picture = encode(&mut encoder, &image);
            assert_eq!((picture.width, picture.height), (v.width as usize, v.height as usize));
            let mut row = vec![0; image.row_bytes()];
            let mut error = 0.0;
            for y in 0..v.height {
                image.read_row(y, &mut row);
                for x in 0..picture.width {
                    let got = picture.pixels[y as usize * picture.width + x];
                    let expected = pixel(format, &row, x);
                    error += (0..3).map(|c| (got[c] - expected[c]).powi(2)).sum::<f64>();
                }
            }
            let error = (error / (3 * picture.pixels.len()) as f64).sqrt();
            assert!(error < 12.0, "{} {error}", v.name);
            tested += 1;
        }
        assert!(tested >= 8, "{tested}");
    }

    #[test]
    fn output_beyond_the_limit_is_taken_back() {
        let pixels = vec![77u8; 40 * 40 * 4];
        let format = BitmapFormat::ThirtyTwoBit;
        let image = ImageView { format, width: 40, height: 40, stride: 160, top_down: true, source: &pixels };
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.encode(&image, usize::MAX, &mut out).unwrap();
        let len = out.len();
        encoder.encode(&image, len, &mut out).unwrap();
        assert_eq!(encoder.encode(&image, len - 1, &mut out), Err(EncodeError::TooLarge));
        assert_eq!(out.len(), 2 * len);
    }

    #[test]
    fn pixels_of_a_guest_and_private_ones_look_the_same() {
        let pixels: Vec<u8> = (0..40 * 33 * 4u32).map(|i| ((i * i) >> 5) as u8).collect();
        let guest = GuestBytes(pixels.clone());
        let mut encoder = Encoder::default();
        for (format, stride, top_down) in [
            (BitmapFormat::TwentyFourBit, 120, false),
            (BitmapFormat::ThirtyTwoBit, 160, false),
            (BitmapFormat::Rgba, 148, true),
        ] {
            let mut files = Vec::new();
            for source in [&pixels as &dyn ByteSource, &guest] {
                let image = ImageView { format, width: 37, height: 33, stride, top_down, source };
                let mut out = Vec::new();
                encoder.encode(&image, usize::MAX, &mut out).unwrap();
                files.push(out);
            }
            assert_eq!(files[0], files[1], "{format:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::testing::cases(40))]

        #[test]
        fn any_picture_of_any_size_decodes_to_something_like_it(
            width in 1u32..50, height in 1u32..50, padding in 0u32..5, top_down: bool, which in 0usize..4,
            quality in 60u8..=100, level: u8, grain in 0u8..8, seed: u32,
        ) {
            let format = [BitmapFormat::SixteenBit, BitmapFormat::TwentyFourBit, BitmapFormat::ThirtyTwoBit, BitmapFormat::Rgba][which];
            let stride = u32::try_from(format.min_stride(width)).unwrap() + padding;
            let mut state = seed;
            let bytes: Vec<u8> = (0..stride * height).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 24) as u8 & grain;
                if format == BitmapFormat::SixteenBit { level } else { level.saturating_add(noise) }
            }).collect();
            let image = ImageView { format, width, height, stride, top_down, source: &bytes };
            let picture = encode(&mut Encoder::new(quality), &image);
            prop_assert_eq!((picture.width, picture.height), (width as usize, height as usize));
            let mut row = vec![0; image.row_bytes()];
            for y in 0..height {
                image.read_row(y, &mut row);
                for x in 0..picture.width {
                    let got = picture.pixels[y as usize * picture.width + x];
                    let expected = pixel(format, &row, x);
                    for c in 0..3 {
                        prop_assert!((got[c] - expected[c]).abs() < 24.0, "{:?} {:?}", got, expected);
                    }
                }
            }
        }

        #[test]
        fn extreme_pictures_are_coded_whole(width in 1u32..70, height in 1u32..40, quality: u8, seed: u32) {
            let mut state = seed;
            let bytes: Vec<u8> = (0..width * height * 4).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if state >> 31 == 0 { 0 } else { 255 }
            }).collect();
            let format = BitmapFormat::ThirtyTwoBit;
            let image = ImageView { format, width, height, stride: width * 4, top_down: true, source: &bytes };
            encode(&mut Encoder::new(quality), &image);
        }
    }
}
