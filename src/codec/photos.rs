//! Where in an image there are photos. A screen shows them beside text, and no codec suits both: QUIC needs several times the
//! bytes of GLZ for text, and GLZ leaves a photo almost as large as it is.

use crate::geometry::Rect;
use crate::image::{BitmapFormat, ImageView};

/// Side of the cells that are graded, in pixels.
const CELL: usize = 32;
/// One row in so many, and one pair of pixels in so many of such a row, is looked at.
const ROW_STEP: usize = 8;
const PAIR_STEP: usize = 4;
/// Channels of two pixels of a photo differ by less than this.
const FAR: u8 = 60;
/// A photo has so many cells at least, and fills so much (in percent) of the rectangle around it. Photos are rectangles; what is
/// not was graded wrong, or a window covers it.
const MIN_CELLS: usize = 32;
const MIN_FILL: usize = 80;
/// Nor is a photo narrower than this, in cells.
const MIN_WIDTH: usize = 3;
/// With more photos than this the image is not worth cutting.
const MAX_PHOTOS: usize = 6;

/// Rectangles of the image that show photos; they do not overlap. None if it is all one photo, or shows many small ones.
#[must_use]
pub fn photos_in(image: &ImageView<'_>) -> Vec<Rect> {
    let Some(cells) = Cells::of(image) else { return Vec::new() };
    let mut photos = cells.photos();
    if photos.len() > MAX_PHOTOS || overlap(&photos) || photos.iter().any(|photo| cells.is_all(photo)) {
        photos.clear();
    }
    photos.into_iter().map(|photo| photo.pixels(image)).collect()
}

/// What the pairs of neighbouring pixels in a cell are like.
#[derive(Clone, Copy, Debug, Default)]
struct Pairs {
    all: u32,
    /// Pairs that differ a little.
    near: u32,
}

impl Pairs {
    /// More than half of the pairs differ a little. In text, even with soft edges, most are equal.
    fn is_photo(self) -> bool {
        self.near * 2 > self.all
    }

    /// Whether more pairs might show a photo.
    fn may_be_photo(self) -> bool {
        self.near * 4 > self.all
    }
}

/// The cells of an image, row by row.
#[derive(Debug)]
struct Cells {
    columns: usize,
    rows: usize,
    photo: Vec<bool>,
}

/// A rectangle of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Block {
    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn area(&self) -> usize {
        (self.right - self.left) * (self.bottom - self.top)
    }

    fn pixels(&self, image: &ImageView<'_>) -> Rect {
        let at = |cell: usize, end: u32| {
            i32::try_from(cell * CELL).unwrap_or(i32::MAX).min(i32::try_from(end).unwrap_or(i32::MAX))
        };
        let (width, height) = (image.width, image.height);
        Rect::new(at(self.left, width), at(self.top, height), at(self.right, width), at(self.bottom, height))
    }
}

impl Cells {
    /// Grades all cells; `None` for formats that carry no photos, and images without any cell.
    fn of(image: &ImageView<'_>) -> Option<Self> {
        let bytes_per_pixel = match image.format {
            BitmapFormat::TwentyFourBit => 3,
            BitmapFormat::ThirtyTwoBit | BitmapFormat::Rgba => 4,
            _ => return None,
        };
        let (width, height) = (usize::try_from(image.width).ok()?, usize::try_from(image.height).ok()?);
        let (columns, rows) = (width.div_ceil(CELL), height.div_ceil(CELL));
        if columns * rows < 2 * MIN_CELLS {
            return None;
        }
        let mut photo = Vec::with_capacity(columns * rows);
        let mut bytes = vec![0; image.row_bytes()];
        for row in 0..rows {
            let mut pairs = vec![Pairs::default(); columns];
            let bottom = height.min((row + 1) * CELL);
            for y in (row * CELL..bottom).step_by(ROW_STEP) {
                image.read_row(u32::try_from(y).ok()?, &mut bytes);
                for (cell, pairs) in bytes.chunks(CELL * bytes_per_pixel).zip(&mut pairs) {
                    match bytes_per_pixel {
                        3 => look::<3, 6>(cell, pairs),
                        _ => look::<4, 8>(cell, pairs),
                    }
                }
                // Most rows of cells are text from end to end, which one row of pixels shows. Single cells look like photos by
                // chance.
                if !pairs.windows(MIN_WIDTH).any(|cells| cells.iter().all(|pairs| pairs.may_be_photo())) {
                    break;
                }
            }
            photo.extend(pairs.into_iter().map(Pairs::is_photo));
        }
        Some(Self { columns, rows, photo })
    }

    fn is_photo(&self, x: usize, y: usize) -> bool {
        self.photo[y * self.columns + x]
    }

    fn is_all(&self, block: &Block) -> bool {
        block.area() == self.columns * self.rows
    }

    /// The blocks around all cells that hang together, where these fill them.
    fn photos(&self) -> Vec<Block> {
        let mut found = Vec::new();
        let mut seen = vec![false; self.photo.len()];
        for start in 0..self.photo.len() {
            if seen[start] || !self.photo[start] {
                continue;
            }
            let (block, count) = self.around(start, &mut seen);
            if count >= MIN_CELLS && count * 100 >= block.area() * MIN_FILL {
                found.push(block);
            }
        }
        found
    }

    /// The block around the cells that hang together with one, and their number.
    fn around(&self, start: usize, seen: &mut [bool]) -> (Block, usize) {
        let (x, y) = (start % self.columns, start / self.columns);
        let mut block = Block { left: x, top: y, right: x + 1, bottom: y + 1 };
        let (mut count, mut todo) = (0, vec![(x, y)]);
        seen[start] = true;
        while let Some((x, y)) = todo.pop() {
            count += 1;
            block.left = block.left.min(x);
            block.right = block.right.max(x + 1);
            block.top = block.top.min(y);
            block.bottom = block.bottom.max(y + 1);
            let sides = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
            for (x, y) in sides.into_iter().filter(|&(x, y)| x < self.columns && y < self.rows) {
                if self.is_photo(x, y) && !std::mem::replace(&mut seen[y * self.columns + x], true) {
                    todo.push((x, y));
                }
            }
        }
        (block, count)
    }
}

fn overlap(blocks: &[Block]) -> bool {
    blocks.iter().enumerate().any(|(n, a)| blocks[n + 1..].iter().any(|b| a.overlaps(b)))
}

/// Adds pairs of a cell's row.
fn look<const BYTES: usize, const PAIR: usize>(cell: &[u8], pairs: &mut Pairs) {
    for pair in cell.as_chunks::<PAIR>().0.iter().step_by(PAIR_STEP / 2) {
        let differ = |channel: usize| pair[channel].abs_diff(pair[BYTES + channel]);
        let most = differ(0).max(differ(1)).max(differ(2));
        pairs.all += 1;
        pairs.near += u32::from((1..FAR).contains(&most));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn noise(x: u32, y: u32) -> u8 {
        (x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0x27d4_eb2f).to_be_bytes()[0]
    }

    /// Text, with photos in these rectangles.
    pub(crate) fn page(width: u32, height: u32, photos: &[Rect]) -> Vec<u8> {
        let pixel = |x: u32, y: u32| {
            let (left, top) = (x as i32, y as i32);
            if photos.iter().any(|p| p.contains(&Rect::new(left, top, left + 1, top + 1))) {
                let n = noise(x, y) % 12;
                [(x / 3) as u8 / 2 + n, (y / 5) as u8 / 2 + n, ((x + y) / 7) as u8 / 2 + n, 0]
            } else {
                let ink = noise(x / 2, y / 3) > 200 && y % 20 < 12;
                if ink { [20, 20, 20, 0] } else { [250, 250, 250, 0] }
            }
        };
        (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()
    }

    fn photos_of(width: u32, height: u32, photos: &[Rect]) -> Vec<Rect> {
        let pixels = page(width, height, photos);
        photos_in(&ImageView {
            format: BitmapFormat::ThirtyTwoBit,
            width,
            height,
            stride: width * 4,
            top_down: true,
            source: &pixels,
        })
    }

    #[test]
    fn photos_are_found_where_they_are() {
        let first = Rect::new(64, 96, 448, 352);
        assert_eq!(photos_of(800, 600, &[first]), [first]);
        let second = Rect::new(512, 320, 800, 600);
        assert_eq!(photos_of(800, 600, &[first, second]), [first, second]);
    }

    #[test]
    fn what_lies_between_cells_stays_outside() {
        let found = photos_of(800, 600, &[Rect::new(70, 100, 440, 340)]);
        assert_eq!(found.len(), 1);
        assert!(Rect::new(64, 96, 448, 352).contains(&found[0]), "{found:?}");
        assert!(found[0].contains(&Rect::new(96, 128, 416, 320)), "{found:?}");
    }

    #[test]
    fn text_alone_and_photos_alone_are_not_cut() {
        assert!(photos_of(800, 600, &[]).is_empty());
        assert!(photos_of(800, 600, &[Rect::of_size(800, 600)]).is_empty());
        assert!(photos_of(100, 100, &[Rect::of_size(50, 100)]).is_empty());
    }

    #[test]
    fn thumbnails_are_not_cut_out() {
        let small: Vec<Rect> =
            (0..9).map(|i| Rect::of_size(96, 96).translate(i % 3 * 200, i / 3 * 200)).collect();
        assert!(photos_of(800, 600, &small).is_empty());
        let many: Vec<Rect> =
            (0..9).map(|i| Rect::of_size(224, 192).translate(i % 3 * 288, i / 3 * 256)).collect();
        assert!(photos_of(900, 800, &many).is_empty());
    }

    #[test]
    fn other_formats_have_no_photos() {
        let pixels = vec![7u8; 800 * 600];
        let format = BitmapFormat::EightBit;
        let (width, height, stride) = (800, 600, 800);
        assert!(
            photos_in(&ImageView { format, width, height, stride, top_down: true, source: &pixels })
                .is_empty()
        );
    }
}
