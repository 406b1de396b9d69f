//! The QUIC encoder. Its streams are bit-identical to the reference's.
//!
//! It is fast (codecs.md 13.2) because it finds the run candidates of a row by mask arithmetic, computes
//! residuals in loops that the compiler vectorizes, and, since the codes of all contexts are constant between
//! two model updates, joins the codes of two pixels by multiplications and writes them at once.

use super::bits::{BitWriter, PUT_LIMIT, append};
use super::model::{Coder, Model};
use super::pixels::{
    Row, blocks, bytes_per_pixel, equals_left, is_set, load, mask_words, next_clear, next_set, residuals,
    run_candidates, run_starts,
};
use super::tables::Code;
use super::{HEADER_BYTES, MAGIC, QuicType, VERSION};
use crate::codec::EncodeError;
use crate::image::ImageView;

/// Bytes that a row needs per pixel at most: 78 bits of code, and less than two run codes of up to 17 bits.
const ROW_BYTES_PER_PIXEL: usize = 16;

/// A QUIC encoder. It keeps its row buffers from image to image.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    /// The codes of one row (see [`BitWriter`]).
    written: Vec<u8>,
    colour: Rows,
    alpha: Rows,
}

impl Encoder {
    /// Appends the stream of `image` to `out` (codecs.md 2).
    ///
    /// # Errors
    /// [`EncodeError::UnsupportedFormat`] for palettes and 8BIT_A, [`EncodeError::TooLarge`] if the stream
    /// needs more than `max_len` bytes. `out` is then unchanged.
    pub fn encode(
        &mut self,
        image: &ImageView<'_>,
        max_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let kind = QuicType::of_format(image.format).ok_or(EncodeError::UnsupportedFormat)?;
        self.encode_as(kind, image, max_len, out)
    }

    /// Like [`Encoder::encode`], but `kind`, not the image's format, gives the pixel type.
    ///
    /// # Errors
    /// Those of [`Encoder::encode`].
    pub fn encode_as(
        &mut self,
        kind: QuicType,
        image: &ImageView<'_>,
        max_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let result = match kind {
            QuicType::Gray => self.run::<1, 8>(kind, image, max_len, out),
            QuicType::Rgb16 => self.run::<3, 5>(kind, image, max_len, out),
            QuicType::Rgb24 | QuicType::Rgb32 | QuicType::Rgba => self.run::<3, 8>(kind, image, max_len, out),
        };
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn run<const CHANNELS: usize, const BITS: usize>(
        &mut self,
        kind: QuicType,
        image: &ImageView<'_>,
        max_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let width = usize::try_from(image.width).map_err(|_| EncodeError::UnsupportedGeometry)?;
        let too_wide = i32::try_from(image.width).is_err() || i32::try_from(image.height).is_err();
        let row_bytes = width.checked_mul(bytes_per_pixel(kind)).ok_or(EncodeError::UnsupportedGeometry)?;
        if width == 0 || image.height == 0 || too_wide || row_bytes > image.stride as usize {
            return Err(EncodeError::UnsupportedGeometry);
        }
        let start = out.len();
        let limit = start.saturating_add(max_len);
        // The shortest stream has the header, one word of codes and the closing word.
        if max_len < HEADER_BYTES + 8 {
            return Err(EncodeError::TooLarge);
        }
        for field in [MAGIC, VERSION, kind as u32, image.width, image.height] {
            out.extend_from_slice(&field.to_le_bytes());
        }

        let has_alpha = kind == QuicType::Rgba;
        self.bytes.resize(row_bytes, 0);
        self.written.resize(width * ROW_BYTES_PER_PIXEL + 32, 0);
        self.colour.reset(width);
        self.alpha.reset(if has_alpha { width } else { 0 });
        let mut colour = Group::<CHANNELS, BITS>::new(&mut self.colour);
        let mut alpha = Group::<1, 8>::new(&mut self.alpha);
        let mut pending = (0, 0);
        for y in 0..image.height {
            image.read_row(y, &mut self.bytes);
            load(kind, &self.bytes, &mut colour.rows.row, &mut alpha.rows.row);
            pending = colour.encode_row(y == 0, &mut self.written, pending, out);
            if has_alpha {
                pending = alpha.encode_row(y == 0, &mut self.written, pending, out);
            }
            if out.len() > limit {
                return Err(EncodeError::TooLarge);
            }
        }
        let (bits, len) = pending;
        if len > 0 {
            out.extend_from_slice(&((bits >> 32) as u32).to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        if out.len() > limit { Err(EncodeError::TooLarge) } else { Ok(()) }
    }
}

/// The row buffers of one group of channels.
#[derive(Debug, Default)]
struct Rows {
    width: usize,
    row: Row,
    above: Row,
    /// The row's folded residuals. Not computed inside long runs.
    symbols: Vec<[u8; 4]>,
    /// The residual last coded in each column. Pixels in runs keep the residual of an earlier row (codecs.md
    /// 2.4).
    coded: Vec<[u8; 4]>,
    /// Mask of the pixels that equal their left neighbour.
    flat: Vec<u64>,
    flat_above: Vec<u64>,
    candidates: Vec<u64>,
    /// Mask of the pixels where runs start, if the row is not cut into segments.
    starts: Vec<u64>,
}

impl Rows {
    fn reset(&mut self, width: usize) {
        self.width = width;
        self.row.resize(width);
        self.above.resize(width);
        self.symbols.resize(blocks(width), [0; 4]);
        self.coded.clear();
        self.coded.resize(width, [0; 4]);
        for mask in [&mut self.flat, &mut self.flat_above, &mut self.candidates, &mut self.starts] {
            mask.resize(mask_words(width), 0);
        }
    }
}

/// Channels that are coded together: r, g and b, or gray, or alpha.
struct Group<'a, const CHANNELS: usize, const BITS: usize> {
    coder: Coder,
    /// In coding order: r, g, b.
    models: [Model<BITS>; CHANNELS],
    rows: &'a mut Rows,
}

impl<'a, const CHANNELS: usize, const BITS: usize> Group<'a, CHANNELS, BITS> {
    fn new(rows: &'a mut Rows) -> Self {
        Self { coder: Coder::new(), models: std::array::from_fn(|_| Model::new()), rows }
    }

    /// Codes the row in `self.rows.row` after the `pending` bits. Appends whole words to `out` and returns
    /// the remaining bits.
    fn encode_row(
        &mut self,
        top: bool,
        written: &mut [u8],
        pending: (u64, u32),
        out: &mut Vec<u8>,
    ) -> (u64, u32) {
        let rows = &mut *self.rows;
        equals_left(&rows.row, rows.width, &mut rows.flat);
        if top {
            residuals::<BITS, true>(&mut rows.row, &rows.above, |_| false, &mut rows.symbols);
        } else {
            run_candidates(&rows.flat, &rows.flat_above, &mut rows.candidates);
            let in_runs = |block: usize| rows.flat[block] & rows.candidates[block] == u64::MAX;
            residuals::<BITS, false>(&mut rows.row, &rows.above, in_runs, &mut rows.symbols);
        }
        let mut writer = BitWriter::new(written, pending);
        let width = rows.width;
        let mut start = 0;
        while start < width {
            let len = self.coder.segment(width - start);
            writer = if top {
                self.encode_segment::<true>(start, start + len, writer)
            } else if len == width {
                self.encode_whole(writer)
            } else {
                self.encode_segment::<false>(start, start + len, writer)
            };
            self.coder.end_segment(len);
            start += len;
        }
        let (left, pending) = writer.finish();
        let pending = append(written.get(left..).unwrap_or_default(), pending, out);
        let rows = &mut *self.rows;
        std::mem::swap(&mut rows.row, &mut rows.above);
        std::mem::swap(&mut rows.flat, &mut rows.flat_above);
        pending
    }

    /// Codes a segment of a row: the runs (none in the top row) and the stretches between them. The writer is
    /// passed by value so that the compiler keeps it in registers.
    #[inline(always)]
    fn encode_segment<'w, const TOP: bool>(
        &mut self,
        start: usize,
        end: usize,
        mut writer: BitWriter<'w>,
    ) -> BitWriter<'w> {
        let Self { coder, models, rows } = self;
        let Rows { symbols, coded, flat, candidates, .. } = &mut **rows;
        let (symbols, coded) = (&symbols[..end], &mut coded[..end]);
        let mut at = start;
        // Where an empty run has just been coded, no run may start.
        let mut test_from = start;
        while at < end {
            let run = if TOP { end } else { next_set(candidates, test_from, end) };
            writer = put_stretch(models, coder, symbols, coded, at, run, writer);
            if run == end {
                break;
            }
            at = next_clear(flat, run, end);
            put_runs(coder, at - run, false, &mut writer);
            test_from = at + usize::from(at == run);
        }
        writer
    }

    /// Like [`Self::encode_segment`], for a whole row that is not the top one. In such a row the starts of
    /// runs do not depend on the ends of earlier runs, so all starts are computed at once rather than one
    /// after the other.
    #[inline(always)]
    fn encode_whole<'w>(&mut self, mut writer: BitWriter<'w>) -> BitWriter<'w> {
        let Self { coder, models, rows } = self;
        let Rows { width, symbols, coded, flat, candidates, starts, .. } = &mut **rows;
        let end = *width;
        run_starts(flat, candidates, starts);
        let (symbols, coded) = (&symbols[..end], &mut coded[..end]);
        let (flat, candidates) = (&flat[..], &candidates[..]);
        let mut at = 0;
        for (n, word) in starts.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                let run = n * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                writer = put_stretch(models, coder, symbols, coded, at, run, writer);
                at = next_clear(flat, run, end);
                let another = at > run && is_set(candidates, at);
                put_runs(coder, at - run, another, &mut writer);
            }
        }
        put_stretch(models, coder, symbols, coded, at, end, writer)
    }
}

/// Codes pixels outside of runs.
#[inline(always)]
fn put_stretch<'w, const CHANNELS: usize, const BITS: usize>(
    models: &mut [Model<BITS>; CHANNELS],
    coder: &mut Coder,
    symbols: &[[u8; 4]],
    coded: &mut [[u8; 4]],
    start: usize,
    end: usize,
    mut writer: BitWriter<'w>,
) -> BitWriter<'w> {
    if start >= end {
        return writer;
    }
    let mut context = coded[start.saturating_sub(1)];
    let (mut symbols, mut coded) = (&symbols[start..end], &mut coded[start..end]);
    loop {
        // The models stay as they are for so many pixels.
        let n = symbols.len().min(coder.wait as usize);
        coder.wait -= n as u32;
        let mut codes = codes_after(models, &context);
        let (pairs, single) = symbols[..n].as_chunks::<2>();
        let (coded_pairs, coded_single) = coded[..n].as_chunks_mut::<2>();
        for (pair, coded) in pairs.iter().zip(coded_pairs) {
            let middle = codes_after(models, &pair[0]);
            let joined = join(join(1, codes, &pair[0]), middle, &pair[1]);
            if let Some(len) = joined.cast_signed().checked_ilog2() {
                writer.put_joined(joined, len);
            } else {
                put_apart(codes, &pair[0], &mut writer);
                put_apart(middle, &pair[1], &mut writer);
            }
            codes = codes_after(models, &pair[1]);
            *coded = *pair;
        }
        if let ([symbols], [coded]) = (single, coded_single) {
            put_pixel(codes, symbols, &mut writer);
            codes = codes_after(models, symbols);
            *coded = *symbols;
        }
        let Some((first, rest)) = symbols[n..].split_first() else { return writer };
        let Some((coded_first, coded_rest)) = coded[n..].split_first_mut() else { return writer };
        *coded_first = *first;
        put_pixel(codes, first, &mut writer);
        learn(models, if n > 0 { symbols[n - 1] } else { context }, *first, coder);
        context = *first;
        (symbols, coded) = (rest, coded_rest);
        if symbols.is_empty() {
            return writer;
        }
    }
}

/// Updates the models with a pixel that was coded as `symbols` after `context`, and draws the wait until the
/// next update.
#[inline(never)]
fn learn<const CHANNELS: usize, const BITS: usize>(
    models: &mut [Model<BITS>; CHANNELS],
    context: [u8; 4],
    symbols: [u8; 4],
    coder: &mut Coder,
) {
    let trigger = coder.trigger;
    for (c, model) in models.iter_mut().enumerate() {
        let byte = CHANNELS - 1 - c;
        model.update(context[byte], symbols[byte], trigger);
    }
    coder.draw_wait();
}

/// The codes of a pixel's channels.
type Codes<const CHANNELS: usize> = [&'static Code; CHANNELS];

/// The codes for the pixel after one with the residuals `context`.
#[inline(always)]
fn codes_after<const CHANNELS: usize, const BITS: usize>(
    models: &[Model<BITS>; CHANNELS],
    context: &[u8; 4],
) -> Codes<CHANNELS> {
    std::array::from_fn(|c| models[c].code(context[CHANNELS - 1 - c]))
}

/// Joins the codes of a pixel to `joined` ones (see [`Code`]).
#[inline(always)]
fn join<const CHANNELS: usize>(joined: u64, codes: Codes<CHANNELS>, symbols: &[u8; 4]) -> u64 {
    let mut joined = joined;
    for (c, code) in codes.iter().enumerate() {
        let symbol = usize::from(symbols[CHANNELS - 1 - c]);
        joined = joined.wrapping_mul(code.scales[symbol]).wrapping_add(code.codes[symbol]);
    }
    joined
}

/// Codes one pixel's folded residuals.
#[inline(always)]
fn put_pixel<const CHANNELS: usize>(codes: Codes<CHANNELS>, symbols: &[u8; 4], writer: &mut BitWriter<'_>) {
    let joined = join(1, codes, symbols);
    if let Some(len) = joined.cast_signed().checked_ilog2() {
        writer.put_joined(joined, len);
    } else {
        put_apart(codes, symbols, writer);
    }
}

/// Codes one pixel's folded residuals if some of the codes may be too long for [`join`].
#[inline(always)]
fn put_apart<const CHANNELS: usize>(codes: Codes<CHANNELS>, symbols: &[u8; 4], writer: &mut BitWriter<'_>) {
    let (mut joined, mut len) = (0, 0);
    for (c, code) in codes.iter().enumerate() {
        let entry = code.entries[usize::from(symbols[CHANNELS - 1 - c])];
        // Two codes always fit.
        if c == 2 && len + (entry & 63) > PUT_LIMIT {
            writer.put(joined, len);
            (joined, len) = (0, 0);
        }
        joined = (joined << (entry & 63)) | u64::from(entry >> 8);
        len += entry & 63;
    }
    writer.put(joined, len);
}

/// Codes a run of `n` pixels (codecs.md 2.7) and, if `another`, an empty run after it.
#[inline(always)]
fn put_runs(coder: &mut Coder, n: usize, another: bool, writer: &mut BitWriter<'_>) {
    if let Some((code, len)) = coder.code_runs(n, another) {
        writer.put_low(code, len);
        return;
    }
    let (ones, shift, rest) = coder.code_long_run(n);
    let len = ones + 1 + shift;
    if len <= PUT_LIMIT {
        writer.put((((1u64 << ones) - 1) << (shift + 1)) | rest as u64, len);
    } else {
        for _ in 0..ones {
            writer.put(1, 1);
        }
        writer.put(rest as u64, shift + 1);
    }
    if another {
        let (_, shift, _) = coder.code_long_run(0);
        writer.put(0, 1 + shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::vectors::{self, sha256, view};
    use crate::image::BitmapFormat;

    #[test]
    fn streams_equal_the_reference_encoders() {
        let mut encoder = Encoder::default();
        let mut tested = 0;
        for vector in vectors::of("QUIC") {
            let Some(raw) = vector.raw() else { continue };
            let kind = QuicType::try_from(vector.codec_type).unwrap();
            let image = view(&vector, vector.format.unwrap_or(BitmapFormat::EightBit), &raw);
            let mut out = vec![0xee];
            encoder.encode_as(kind, &image, usize::MAX, &mut out).unwrap();
            assert!(out[1..] == vector.encoded(), "{}", vector.name);
            assert_eq!(out[0], 0xee);
            tested += 1;
        }
        assert!(tested > 80);
    }

    #[test]
    fn output_beyond_the_limit_is_taken_back() {
        let noise: Vec<u8> = (0..64 * 64 * 4u32).map(|i| sha256(&i.to_le_bytes()).as_bytes()[0]).collect();
        let image = ImageView {
            format: BitmapFormat::ThirtyTwoBit,
            width: 64,
            height: 64,
            stride: 256,
            top_down: true,
            source: &noise,
        };
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.encode(&image, usize::MAX, &mut out).unwrap();
        let exact = out.len();
        let mut again = vec![1, 2];
        encoder.encode(&image, exact, &mut again).unwrap();
        assert_eq!(again[2..], out);
        again.truncate(2);
        assert_eq!(encoder.encode(&image, exact - 1, &mut again), Err(EncodeError::TooLarge));
        assert_eq!(encoder.encode(&image, 0, &mut again), Err(EncodeError::TooLarge));
        assert_eq!(again, [1, 2]);
    }
}
