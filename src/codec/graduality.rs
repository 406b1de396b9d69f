//! Photo detection (codecs.md 9.5). In photos neighbouring pixels differ a little; in drawn screen contents
//! they are equal or differ much.

use super::lz::units::{Colour16, Colour24, Colour32, Pass};
use crate::image::{BitmapFormat, ImageView};
use std::ops::Range;

/// How photo-like an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Graduality {
    /// Drawn contents: lossless codecs for text and lines suit it.
    Low,
    /// Neither clearly drawn nor clearly a photo.
    Medium,
    /// A photo.
    High,
}

/// Distance in pixels from one sample to the next.
const JUMP: usize = 15;
/// Number of samples at which the score starts to skip rows, so that a large image costs little more than
/// this many samples. With fewer, the error of the mean is larger than the gap between the screens and the
/// videos that were measured.
const ENOUGH: usize = 1 << 13;
/// An image of 24 or 32 bits is a photo if its mean score is below this.
const HIGH: f64 = -0.03;
/// The same for 16 bits.
const HIGH_16: f64 = 0.0;
/// An image is also a photo if its mean score is below this and at most [`SOFT_EQUAL`] of the pairs are
/// equal. This catches videos of soft shapes, which QUIC compresses to two thirds of LZ's size and JPEG to a
/// seventh. In screen contents with such scores half of the pairs are equal.
const SOFT: f64 = -0.012;
/// The largest share of equal pairs for [`SOFT`].
const SOFT_EQUAL: f64 = 0.45;

/// Grades an image; `None` for formats with a palette or without colours.
#[must_use]
pub fn grade(image: &ImageView<'_>) -> Option<Graduality> {
    match image.format {
        BitmapFormat::SixteenBit => {
            let mut score = Score::default();
            score.image::<Colour16>(image, pair16);
            Some(score.grade(HIGH_16))
        }
        BitmapFormat::TwentyFourBit => {
            let mut score = Score::default();
            score.image::<Colour24>(image, pair);
            Some(score.grade(HIGH))
        }
        BitmapFormat::ThirtyTwoBit | BitmapFormat::Rgba => {
            let mut score = Score::default();
            score.image::<Colour32>(image, pair);
            Some(score.grade(HIGH))
        }
        _ => None,
    }
}

/// Points of a pair of equal pixels, in quarters.
const EQUAL: i64 = 2;
/// Points of a pair of pixels that differ much.
const FAR: i64 = 4;
/// Points of a pair of pixels that differ a little.
const NEAR: i64 = -1;

#[inline(always)]
fn pair(a: u32, b: u32) -> i64 {
    let (x, y) = (a.to_le_bytes(), b.to_le_bytes());
    if a == b {
        EQUAL
    } else if x.iter().zip(y).any(|(x, y)| x.abs_diff(y) >= 60) {
        FAR
    } else {
        NEAR
    }
}

#[inline(always)]
fn pair16(a: u16, b: u16) -> i64 {
    let channels = |v: u16| [v & 31, v >> 5 & 31, v >> 10 & 31];
    let (x, y) = (channels(a), channels(b));
    if x == y {
        EQUAL
    } else if x.iter().zip(y).any(|(x, y)| x.abs_diff(y) >= 8) {
        FAR
    } else {
        NEAR
    }
}

#[derive(Debug, Default)]
struct Score {
    /// Sum of the points, in quarters.
    sum: i64,
    /// Number of pairs, and of those that are equal.
    samples: i64,
    equal: i64,
}

impl Score {
    fn grade(&self, high: f64) -> Graduality {
        let samples = self.samples.max(1) as f64;
        let mean = self.sum as f64 / 4.0 / samples;
        let soft = mean < SOFT && (self.equal as f64) < SOFT_EQUAL * samples;
        if mean < high || soft {
            Graduality::High
        } else if mean < 0.002 {
            Graduality::Medium
        } else {
            Graduality::Low
        }
    }

    /// Adds all chunks of an image. Chunks that do not hold whole rows are read as one chunk.
    fn image<P: Pass>(&mut self, image: &ImageView<'_>, pair: impl Fn(P::Unit, P::Unit) -> i64) {
        let (width, stride) = (image.width as usize, image.stride as usize);
        let height = image.height as usize;
        if width <= 1 || stride == 0 {
            (self.sum, self.samples) = (self.sum + FAR, self.samples + 1);
            return;
        }
        let whole = [height * stride];
        let ends = match image.source.chunk_ends() {
            [] => &whole[..],
            ends if ends.iter().all(|end| end.is_multiple_of(stride)) => ends,
            _ => &whole[..],
        };
        let mut row = 0;
        let mut rows = Rows::<P>::new(image, width);
        let step = (width * height / JUMP / ENOUGH).max(1);
        for end in ends {
            let end = (end / stride).min(height);
            self.chunk(&mut rows, row..end, step, &pair);
            row = end.max(row);
        }
    }

    /// Adds every `step`th row of a chunk.
    fn chunk<P: Pass>(
        &mut self,
        rows: &mut Rows<'_, P>,
        chunk: Range<usize>,
        step: usize,
        pair: impl Fn(P::Unit, P::Unit) -> i64,
    ) {
        let width = rows.width;
        if chunk.len() <= 1 {
            (self.sum, self.samples) = (self.sum + FAR, self.samples + 1);
            return;
        }
        let jump = if JUMP.is_multiple_of(width) { JUMP - 1 } else { JUMP };
        let (mut y, mut x) = (chunk.start, width / 2);
        while y < chunk.end - 1 {
            // The last sample before the right edge has no right neighbour.
            rows.seek(y);
            let (upper, lower) = (&rows.upper, &rows.lower);
            while x < width {
                if x + 1 == width {
                    x -= 1;
                }
                let here = upper[x];
                let (a, b, c) = (pair(here, upper[x + 1]), pair(here, lower[x]), pair(here, lower[x + 1]));
                let equal = [a, b, c].map(|points| i64::from(points == EQUAL)).iter().sum::<i64>();
                if equal != 3 {
                    self.sum += a + b + c;
                }
                self.equal += equal;
                self.samples += 3;
                x += jump;
            }
            y += x / width * step;
            x %= width;
        }
    }
}

/// Two consecutive rows of a chunk.
struct Rows<'a, P: Pass> {
    image: &'a ImageView<'a>,
    width: usize,
    bytes: Vec<u8>,
    upper: Vec<P::Unit>,
    lower: Vec<P::Unit>,
    /// The row that `upper` holds.
    at: usize,
}

impl<'a, P: Pass> Rows<'a, P> {
    fn new(image: &'a ImageView<'a>, width: usize) -> Self {
        let units = vec![P::Unit::default(); width];
        Self {
            image,
            width,
            bytes: vec![0; width * P::BYTES],
            upper: units.clone(),
            lower: units,
            at: usize::MAX,
        }
    }

    fn seek(&mut self, row: usize) {
        if self.at.wrapping_add(1) == row {
            std::mem::swap(&mut self.upper, &mut self.lower);
        } else if self.at != row {
            self.read(row);
            std::mem::swap(&mut self.upper, &mut self.lower);
        }
        if self.at != row {
            self.read(row + 1);
            self.at = row;
        }
    }

    /// Reads a row into `lower`.
    fn read(&mut self, row: usize) {
        self.image.source.read_at(row * self.image.stride as usize, &mut self.bytes);
        P::load(&self.bytes, &mut self.lower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors;

    fn grade_of(pixel: impl Fn(usize, usize) -> [u8; 4]) -> Option<Graduality> {
        let grades = [(100, 80), (1500, 900)].map(|size| grade_at(size, &pixel));
        assert_eq!(grades[0], grades[1], "rows left out");
        grades[0]
    }

    fn grade_at(
        (width, height): (usize, usize),
        pixel: impl Fn(usize, usize) -> [u8; 4],
    ) -> Option<Graduality> {
        let pixels: Vec<u8> = (0..width * height).flat_map(|i| pixel(i % width, i / width)).collect();
        let image = ImageView {
            format: BitmapFormat::ThirtyTwoBit,
            width: width as u32,
            height: height as u32,
            stride: width as u32 * 4,
            top_down: true,
            source: &pixels,
        };
        grade(&image)
    }

    #[test]
    fn soft_pictures_are_high_and_drawn_ones_low() {
        assert_eq!(grade_of(|x, y| [(x * 2) as u8, (y * 3) as u8, (x + y) as u8, 0]), Some(Graduality::High));
        assert_eq!(
            grade_of(|x, y| [if (x / 2 + y / 3) % 2 == 0 { 0 } else { 255 }; 4]),
            Some(Graduality::Low)
        );
        assert_eq!(grade_of(|_, _| [9; 4]), Some(Graduality::Medium));
    }

    #[test]
    fn kinds_of_vectors_grade_as_what_they_are() {
        for vector in vectors::of("QUIC") {
            let (Some(format), Some(raw)) = (vector.format, vector.raw()) else { continue };
            if vector.width < 100
                || vector.stride as usize != vectors::view(&vector, format, &raw).row_bytes()
            {
                continue;
            }
            let graded = grade(&vectors::view(&vector, format, &raw));
            if vector.name.contains("_photo_1") && format != BitmapFormat::SixteenBit {
                assert_eq!(graded, Some(Graduality::High), "{}", vector.name);
            }
            if vector.name.contains("_text_") && vector.name.contains("160") {
                assert_eq!(graded, Some(Graduality::Low), "{}", vector.name);
            }
        }
    }

    #[test]
    fn narrow_images_and_single_rows_count_as_drawn() {
        for (width, height) in [(1, 50), (50, 1), (2, 2), (15, 15), (14, 30), (3, 40)] {
            let pixels = vec![3u8; width * height * 4];
            let image = ImageView {
                format: BitmapFormat::ThirtyTwoBit,
                width: width as u32,
                height: height as u32,
                stride: width as u32 * 4,
                top_down: true,
                source: &pixels,
            };
            let graded = grade(&image);
            let thin = width == 1 || height == 1;
            assert_eq!(graded == Some(Graduality::Low), thin, "{width} {height}");
        }
        assert!(grade_of(|_, _| [0; 4]).is_some());
    }
}
