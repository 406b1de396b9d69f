//! TEXT: strings of glyphs (canvas.md 9).

use super::area::Area;
use super::brush::Tile;
use super::pixel;
use super::rop::RasterOp;
use super::target::Canvas;
use super::zeroed::zeroed;
use super::{DrawError, Env};
use crate::blend::{over, scale};
use crate::draw::{Brush, Glyph, GlyphString, Rop, Text};
use crate::geometry::{Point, Rect, index, index_i32};
use crate::image::SurfaceFormat;

impl Canvas {
    pub(super) fn draw_text<'a>(
        &mut self,
        area: &Area,
        op: &'a Text,
        env: &mut Env<'a>,
    ) -> Result<(), DrawError> {
        let depth = Depth::of(&op.string).ok_or(DrawError::BadString)?;
        let has_background = !op.back_area.is_empty();
        if has_background && op.fore_mode != Rop::PUT {
            return Err(DrawError::BadString);
        }
        // Everything that can fail comes before anything is drawn.
        let text_box = StringBox::around(&op.string);
        let visible = text_box.visible(&area.bounds());
        let mut foreground = Foreground::open(&op.fore_brush, self, &text_box, &visible, env)?;
        let hidden = visible.is_empty() || matches!(foreground, Foreground::None);
        let mask = if hidden { None } else { Some(Coverage::of(&op.string, depth, visible)?) };
        if has_background {
            let background = area.intersect_rect(&op.back_area);
            if !background.is_empty() {
                self.combine_brush(&background, &op.back_brush, RasterOp::COPY, env)?;
            }
        }
        let Some(mask) = mask else { return Ok(()) };
        // The unused byte of xRGB is blended like an alpha channel.
        let format = match self.format() {
            SurfaceFormat::Xrgb32 => SurfaceFormat::Argb32,
            format => format,
        };
        let mut colours = vec![0; index(visible.width())];
        self.modify(&area.intersect_rect(&visible), |x, y, row| {
            let coverage = mask.row(x, y, row.len());
            if format == SurfaceFormat::Rgb555 {
                // The unused bit becomes 0 in the whole box.
                row.iter_mut().for_each(|p| *p &= 0x7fff);
            }
            if coverage.iter().all(|c| *c == 0) {
                return;
            }
            let colours = &mut colours[..row.len()];
            foreground.read(x, y, colours);
            for ((d, s), c) in row.iter_mut().zip(&*colours).zip(coverage) {
                if *c != 0 {
                    let s = if *c == 255 { *s } else { scale(*s, (*c).into()) };
                    *d = pixel::from_argb(format, over(s, pixel::to_argb(format, *d)));
                }
            }
        });
        if self.format() == SurfaceFormat::Xrgb32 {
            self.clear_unused_bytes(&text_box.visible(&self.bounds()));
        }
        Ok(())
    }
}

/// Bits of coverage per pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    A1,
    A4,
    A8,
}

impl Depth {
    fn of(string: &GlyphString) -> Option<Self> {
        let has = |flag: u16| string.flags & flag != 0;
        if has(GlyphString::A1) {
            Some(Self::A1)
        } else if has(GlyphString::A4) {
            Some(Self::A4)
        } else if has(GlyphString::A8) {
            Some(Self::A8)
        } else {
            None
        }
    }

    /// Bytes in a row of glyph data.
    fn stride(self, width: u16) -> usize {
        let bits = match self {
            Self::A1 => 1,
            Self::A4 => 4,
            Self::A8 => 8,
        };
        (usize::from(width) * bits).div_ceil(8)
    }

    /// The coverage of a pixel after column `x` of a row of glyph data is added to coverage `before`.
    fn combine(self, before: u8, row: &[u8], x: usize) -> u8 {
        let byte = |at: usize| row.get(at).copied().unwrap_or(0);
        match self {
            Self::A1 => before | 0u8.wrapping_sub(byte(x / 8) >> (7 - x % 8) & 1),
            // The low nibble stays 0, so the pixel is never fully opaque.
            Self::A4 if x.is_multiple_of(2) => before.max(byte(x / 2) & 0xf0),
            // Clients compare the whole byte, not the nibble. So the right pixel of a pair replaces the old
            // value unless the left pixel is 0.
            Self::A4 if byte(x / 2) > 0x0f => byte(x / 2) << 4,
            Self::A4 => before.max(byte(x / 2) << 4),
            Self::A8 => before.max(byte(x)),
        }
    }
}

/// Edges of a glyph or string. The guest's positions and sizes can add up to more than 32 bits.
#[derive(Clone, Copy, Debug)]
struct StringBox {
    left: i64,
    top: i64,
    right: i64,
    bottom: i64,
}

impl StringBox {
    fn of(glyph: &Glyph) -> Self {
        let left = i64::from(glyph.render_pos.x) + i64::from(glyph.origin.x);
        let top = i64::from(glyph.render_pos.y) + i64::from(glyph.origin.y);
        Self { left, top, right: left + i64::from(glyph.width), bottom: top + i64::from(glyph.height) }
    }

    /// The smallest box that contains all glyphs.
    fn around(string: &GlyphString) -> Self {
        string
            .glyphs
            .iter()
            .map(Self::of)
            .reduce(|a, b| Self {
                left: a.left.min(b.left),
                top: a.top.min(b.top),
                right: a.right.max(b.right),
                bottom: a.bottom.max(b.bottom),
            })
            .unwrap_or(Self { left: 0, top: 0, right: 0, bottom: 0 })
    }

    /// The part inside `bounds`.
    fn visible(&self, bounds: &Rect) -> Rect {
        let edge = |v: i64| i32::try_from(v.clamp(i32::MIN.into(), i32::MAX.into())).unwrap_or(0);
        let whole = Rect::new(edge(self.left), edge(self.top), edge(self.right), edge(self.bottom));
        whole.intersect(bounds)
    }
}

/// The colours that glyphs are drawn with.
enum Foreground<'a> {
    None,
    /// a8r8g8b8.
    Solid(u32),
    Pattern(Box<Tile<'a>>),
}

impl<'a> Foreground<'a> {
    /// Opens a foreground. A pattern starts at the string's box, not at the surface.
    fn open(
        brush: &'a Brush,
        canvas: &Canvas,
        text_box: &StringBox,
        visible: &Rect,
        env: &mut Env<'a>,
    ) -> Result<Self, DrawError> {
        match brush {
            Brush::None => Ok(Self::None),
            Brush::Solid(value) => Ok(Self::Solid(solid_colour(canvas.format(), *value))),
            Brush::Pattern { image, origin } => {
                let (width, height) = env.size_of(image, canvas)?;
                let anchor = |start: i64, origin: i32, size: i32| {
                    (start + i64::from(origin))
                        .checked_rem_euclid(size.into())
                        .and_then(|v| i32::try_from(v).ok())
                        .ok_or(DrawError::BadImage)
                };
                let origin = Point {
                    x: anchor(text_box.left, origin.x, width)?,
                    y: anchor(text_box.top, origin.y, height)?,
                };
                let tile = Tile::open(image, origin, canvas, visible, env)?;
                Ok(Self::Pattern(Box::new(tile)))
            }
        }
    }

    /// Reads a8r8g8b8.
    fn read(&mut self, x: i32, y: i32, out: &mut [u32]) {
        match self {
            Self::None => out.fill(0),
            Self::Solid(value) => out.fill(*value),
            Self::Pattern(tile) => {
                tile.read(x, y, out);
                pixel::row_to_argb(tile.format(), out);
            }
        }
    }
}

/// A solid foreground as a8r8g8b8. On 16-bit surfaces the value is 5-5-5, also on 565.
fn solid_colour(format: SurfaceFormat, value: u32) -> u32 {
    let rgb = if format.bits_per_pixel() == 16 {
        let widen = |v: u32| ((v & 31) * 65_535 / 31) >> 8;
        widen(value >> 10) << 16 | widen(value >> 5) << 8 | widen(value)
    } else {
        value & 0x00ff_ffff
    };
    0xff00_0000 | rgb
}

/// The coverage of each pixel of a rectangle by the glyphs of a string.
struct Coverage {
    bounds: Rect,
    values: Vec<u8>,
}

impl Coverage {
    fn of(string: &GlyphString, depth: Depth, bounds: Rect) -> Result<Self, DrawError> {
        let width = index(bounds.width());
        let mut values = zeroed(width * index(bounds.height()))?;
        for glyph in &string.glyphs {
            let glyph_box = StringBox::of(glyph);
            let part = glyph_box.visible(&bounds);
            if part.is_empty() {
                continue;
            }
            let inside = |v: i32, start: i64| usize::try_from(i64::from(v) - start).unwrap_or(0);
            let stride = depth.stride(glyph.width);
            for y in part.top..part.bottom {
                // Glyph data begin with the bottom row.
                let row = usize::from(glyph.height) - 1 - inside(y, glyph_box.top);
                let data = glyph.data.get(row * stride..).unwrap_or(&[]);
                let data = &data[..data.len().min(stride)];
                let start = index_i32(y - bounds.top) * width + index_i32(part.left - bounds.left);
                let first = inside(part.left, glyph_box.left);
                for (i, c) in values[start..start + index(part.width())].iter_mut().enumerate() {
                    *c = depth.combine(*c, data, first + i);
                }
            }
        }
        Ok(Self { bounds, values })
    }

    /// `len` values from (x, y) on, which must lie inside the bounds.
    fn row(&self, x: i32, y: i32, len: usize) -> &[u8] {
        let width = index(self.bounds.width());
        let start = index_i32(y - self.bounds.top) * width + index_i32(x - self.bounds.left);
        self.values.get(start..start + len).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glyph(x: i32, y: i32, width: u16, height: u16, data: &[u8]) -> Glyph {
        Glyph { render_pos: Point { x, y }, origin: Point::default(), width, height, data: data.to_vec() }
    }

    fn string(flags: u16, glyphs: &[Glyph]) -> GlyphString {
        GlyphString { flags, glyphs: glyphs.to_vec() }
    }

    #[test]
    fn rows_are_stored_bottom_up_and_most_significant_bit_first() {
        let s = string(GlyphString::A1, &[glyph(0, 0, 3, 2, &[0b1000_0000, 0b0010_0000])]);
        let c = Coverage::of(&s, Depth::A1, Rect::new(0, 0, 3, 2)).unwrap();
        assert_eq!(c.values, [0, 0, 255, 255, 0, 0]);
    }

    #[test]
    fn overlapping_glyphs_show_the_greater_coverage() {
        let s = string(GlyphString::A4, &[glyph(0, 0, 2, 1, &[0x3f]), glyph(1, 0, 2, 1, &[0x5a])]);
        let c = Coverage::of(&s, Depth::A4, Rect::new(0, 0, 3, 1)).unwrap();
        assert_eq!(c.values, [0x30, 0xf0, 0xa0]);
    }

    #[test]
    fn odd_columns_of_four_bits_replace_unless_their_neighbour_is_0() {
        let under = glyph(0, 0, 2, 1, &[0x99]);
        for (over, want) in [(0x14, 0x40), (0x04, 0x90)] {
            let s = string(GlyphString::A4, &[under.clone(), glyph(0, 0, 2, 1, &[over])]);
            assert_eq!(Coverage::of(&s, Depth::A4, Rect::new(0, 0, 2, 1)).unwrap().values, [0x90, want]);
        }
    }

    #[test]
    fn far_and_short_glyphs_are_harmless() {
        let far = [
            glyph(i32::MAX, i32::MAX, 0xffff, 0xffff, &[]),
            glyph(i32::MIN, -3, 0xffff, 0xffff, &[1, 2]),
            glyph(-2, -2, 5, 5, &[0xff]),
        ];
        let s = string(GlyphString::A8, &far);
        let visible = StringBox::around(&s).visible(&Rect::new(0, 0, 4, 4));
        assert_eq!(visible, Rect::new(0, 0, 4, 4));
        assert_eq!(Coverage::of(&s, Depth::A8, visible).unwrap().values.len(), 16);
    }

    #[test]
    fn sixteen_bit_colours_are_five_five_five() {
        assert_eq!(solid_colour(SurfaceFormat::Rgb565, 0x7c1f), 0xffff_00ff);
        assert_eq!(solid_colour(SurfaceFormat::Xrgb32, 0x1234_5678), 0xff34_5678);
    }
}
