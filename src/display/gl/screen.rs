//! Keeps a copy of the pixels of a scanout for remote clients, and finds the areas that have changed.

use super::motion::Motion;
use super::source::{Reader, Source};
use crate::canvas::Region;
use crate::geometry::Rect;
use crate::image::{Bitmap, BitmapFormat, Image, ImageData};
use std::sync::Arc;
use std::time::Instant;

/// Side of the tiles that changes are looked for in (pixels).
pub(super) const TILE: i32 = 64;
/// Most rectangles of one update. Where more have changed, the rectangles of a row of tiles become one.
const MAX_RECTS: usize = 64;

/// A copy of the pixels of a scanout, as the clients have last seen them.
#[derive(Debug)]
pub(crate) struct Screen {
    width: u32,
    height: u32,
    /// Rows of `width` pixels of 32 bits, from the top.
    pixels: Vec<u8>,
    columns: usize,
    motion: Motion,
    line: Vec<u8>,
}

impl Screen {
    /// A copy of the source. `None`: there is no memory for it.
    #[must_use]
    pub(crate) fn new(source: &Source) -> Option<Self> {
        let (width, height) = source.size();
        let row = width as usize * 4;
        let size = row.checked_mul(height as usize)?;
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(size).ok()?;
        pixels.resize(size, 0);
        let reader = source.begin();
        for (y, out) in (0..height).zip(pixels.chunks_exact_mut(row)) {
            reader.row(y, 0, out);
        }
        let (columns, rows) = (width.div_ceil(TILE as u32) as usize, height.div_ceil(TILE as u32) as usize);
        Some(Self { width, height, pixels, columns, motion: Motion::new(columns, rows), line: Vec::new() })
    }

    /// Width and height in pixels.
    #[must_use]
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The pixels, rows from the top.
    #[must_use]
    pub(crate) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Copies what `source`, which has the same size, shows in `area` now. Returns the areas to draw, which do not overlap.
    pub(crate) fn update(&mut self, source: &Source, area: &Rect, now: Instant) -> Vec<Rect> {
        let area = source.area_of(area).intersect(&Rect::of_size(self.width, self.height));
        if area.is_empty() {
            return Vec::new();
        }
        let reader = source.begin();
        let mut changed = Vec::new();
        let mut top = area.top;
        while top < area.bottom {
            let bottom = (top - top % TILE + TILE).min(area.bottom);
            self.update_tiles(&reader, &Rect { top, bottom, ..area }, &mut changed, now);
            top = bottom;
        }
        if changed.is_empty() {
            return changed;
        }
        let changed = joined(changed);
        match self.motion.area(now).filter(|video| changed.iter().any(|r| !r.intersect(video).is_empty())) {
            Some(video) => {
                let around = Region::from_rects(&changed).subtract_rect(&video);
                std::iter::once(video).chain(around.rects().iter().copied()).collect()
            }
            None => changed,
        }
    }

    /// Copies `area`, which lies in one row of tiles, and appends the part of each tile that has changed.
    fn update_tiles(&mut self, reader: &Reader<'_>, area: &Rect, changed: &mut Vec<Rect>, now: Instant) {
        let unsigned = |v: i32| u32::try_from(v).unwrap_or(0);
        let (left, len) = (unsigned(area.left) as usize, area.width() as usize * 4);
        let first = left / TILE as usize;
        let mut line = std::mem::take(&mut self.line);
        line.resize(len, 0);
        let mut extents: Vec<Option<Rect>> = vec![None; self.columns - first.min(self.columns)];
        for y in area.top..area.bottom {
            reader.row(unsigned(y), unsigned(area.left), &mut line);
            let at = (unsigned(y) as usize * self.width as usize + left) * 4;
            let Some(old) = self.pixels.get_mut(at..).and_then(|rest| rest.get_mut(..len)) else { continue };
            if *old == *line {
                continue;
            }
            let mut x = left;
            while x < left + len / 4 {
                let end = ((x / TILE as usize + 1) * TILE as usize).min(left + len / 4);
                let part = (x - left) * 4..(end - left) * 4;
                let extent = extents.get_mut(x / TILE as usize - first);
                if let (Some(old), Some(new), Some(extent)) = (old.get(part.clone()), line.get(part), extent)
                    && let Some((from, to)) = difference(old, new)
                {
                    let column = |x: usize| i32::try_from(x).unwrap_or(i32::MAX);
                    let here = Rect::new(column(x + from), y, column(x + to), y + 1);
                    *extent = Some(extent.map_or(here, |extent| extent.union(&here)));
                }
                x = end;
            }
            old.copy_from_slice(&line);
        }
        self.line = line;
        let row = unsigned(area.top) as usize / TILE as usize * self.columns;
        for (n, extent) in extents.into_iter().enumerate() {
            if let Some(extent) = extent {
                self.motion.changed(row + first + n, extent, now);
                changed.push(extent);
            }
        }
    }

    /// The picture in an area, as an image of the server's own. `None`: there is no memory for it.
    #[must_use]
    pub(crate) fn image(&self, area: &Rect) -> Option<Arc<Image>> {
        let area = area.intersect(&Rect::of_size(self.width, self.height));
        let (width, height) = (area.width(), area.height());
        let row = width as usize * 4;
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(row.checked_mul(height as usize)?).ok()?;
        for y in area.top..area.bottom {
            let at = (usize::try_from(y).ok()? * self.width as usize + usize::try_from(area.left).ok()?) * 4;
            pixels.extend_from_slice(self.pixels.get(at..at + row)?);
        }
        let bitmap = Bitmap {
            format: BitmapFormat::ThirtyTwoBit,
            width,
            height,
            stride: width * 4,
            top_down: true,
            unstable: false,
            palette: None,
            pixels: Arc::new(pixels),
        };
        let data = ImageData::Bitmap(bitmap);
        Some(Arc::new(Image { id: 0, cache_me: false, high_bits_set: false, width, height, data }))
    }
}

/// The first pixel that differs, and the one behind the last.
fn difference(old: &[u8], new: &[u8]) -> Option<(usize, usize)> {
    if old == new {
        return None;
    }
    let (old, new) = (old.as_chunks::<4>().0, new.as_chunks::<4>().0);
    let differ = |(old, new): (&[u8; 4], &[u8; 4])| old != new;
    let first = old.iter().zip(new).position(differ)?;
    let last = old.iter().zip(new).rposition(differ)?;
    Some((first, last + 1))
}

/// Joins neighbours that form a rectangle: first those in a row of tiles, then those below each other.
fn joined(rects: Vec<Rect>) -> Vec<Rect> {
    let mut rows: Vec<Rect> = Vec::new();
    for rect in rects {
        match rows.last_mut() {
            Some(last) if last.right == rect.left && (last.top, last.bottom) == (rect.top, rect.bottom) => {
                last.right = rect.right;
            }
            _ => rows.push(rect),
        }
    }
    let mut joined: Vec<Rect> = Vec::new();
    for rect in rows {
        let above =
            joined.iter_mut().rev().take(MAX_RECTS).find(|above| {
                above.bottom == rect.top && (above.left, above.right) == (rect.left, rect.right)
            });
        match above {
            Some(above) => above.bottom = rect.bottom,
            None => joined.push(rect),
        }
    }
    if joined.len() <= MAX_RECTS {
        return joined;
    }
    // One for each row of tiles: clients are sent what is between them again.
    let mut bands: Vec<Rect> = Vec::new();
    joined.sort_by_key(|rect| rect.top);
    for rect in joined {
        match bands.last_mut() {
            Some(last) if rect.top < last.bottom => *last = last.union(&rect),
            _ => bands.push(rect),
        }
    }
    bands
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::{memory, scanout};
    use super::*;
    use proptest::prelude::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    const W: u32 = 200;
    const H: u32 = 150;

    fn screen() -> (File, Source, Screen) {
        let pixels: Vec<u8> = (0..W * H * 4).map(|n| (n % 250) as u8).collect();
        let file = memory(&pixels);
        let source = Source::open(&scanout(&file, W, H)).unwrap();
        let screen = Screen::new(&source).unwrap();
        (file, source, screen)
    }

    fn paint(file: &File, area: &Rect, value: u8) {
        for y in area.top..area.bottom {
            let at = (y as u64 * u64::from(W) + area.left as u64) * 4;
            file.write_all_at(&vec![value; area.width() as usize * 4], at).unwrap();
        }
    }

    fn all() -> Rect {
        Rect::of_size(W, H)
    }

    #[test]
    fn what_has_changed_is_found_to_the_pixel() {
        let (file, source, mut screen) = screen();
        let now = Instant::now();
        assert_eq!(screen.update(&source, &all(), now), []);
        let line = Rect::new(0, 70, W as i32, 71);
        paint(&file, &line, 255);
        assert_eq!(screen.update(&source, &all(), now), [line]);
        paint(&file, &all(), 254);
        assert_eq!(screen.update(&source, &all(), now), [all()]);
        let inner = Rect::new(60, 60, 130, 131);
        paint(&file, &inner, 1);
        assert_eq!(screen.update(&source, &Rect::new(0, 0, 60, 60), now), [], "the host says where");
        assert_eq!(Region::from_rects(&screen.update(&source, &all(), now)), Region::from(inner));
        assert_eq!(screen.update(&source, &Rect::new(-5, 500, 9000, 900), now), []);
    }

    #[test]
    fn video_is_one_rectangle_and_what_is_beside_it_is_exact() {
        let (file, source, mut screen) = screen();
        let (start, video) = (Instant::now(), Rect::new(10, 20, 150, 140));
        let mut shown = Vec::new();
        for n in 0..20u8 {
            // The middle only, in some frames.
            paint(&file, &if n % 2 == 0 { video } else { Rect::new(70, 70, 80, 80) }, n);
            paint(&file, &Rect::new(195, 5, 196, 6), n);
            shown = screen.update(&source, &all(), start + Duration::from_millis(33) * n.into());
        }
        assert_eq!(shown, [video, Rect::new(195, 5, 196, 6)]);
    }

    proptest! {
        #![proptest_config(crate::testing::cases(60))]

        #[test]
        fn a_client_that_paints_the_areas_sees_the_source(
            paints in prop::collection::vec((0..W as i32, 0..H as i32, 1..200i32, 1..150i32, 0u8..=255), 1..30),
            every in 1usize..5,
        ) {
            let (file, source, mut screen) = screen();
            let mut seen = screen.pixels().to_vec();
            let mut now = Instant::now();
            for (n, (x, y, w, h, value)) in paints.into_iter().enumerate() {
                paint(&file, &Rect::new(x, y, x + w, y + h).intersect(&all()), value);
                now += Duration::from_millis(20);
                if !n.is_multiple_of(every) {
                    continue;
                }
                let areas = screen.update(&source, &all(), now);
                for (n, area) in areas.iter().enumerate() {
                    prop_assert!(areas[..n].iter().all(|other| other.intersect(area).is_empty()));
                    let image = screen.image(area).unwrap();
                    let ImageData::Bitmap(bitmap) = &image.data else { unreachable!() };
                    for row in 0..area.height() {
                        let at = ((area.top as u32 + row) * W + area.left as u32) as usize * 4;
                        bitmap.view().read_row(row, &mut seen[at..][..area.width() as usize * 4]);
                    }
                }
                let mut line = vec![0; W as usize * 4];
                for y in 0..H {
                    source.begin().row(y, 0, &mut line);
                    prop_assert!(seen[(y * W * 4) as usize..][..line.len()] == line, "row {}", y);
                }
            }
        }
    }
}
