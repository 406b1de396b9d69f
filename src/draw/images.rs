//! The images that a drawing operation takes as arguments, and what it reads of each.
//!
//! [`DrawOp::images`] is the one place that lists them. The surface tree asks it which surfaces a command reads, the
//! encoder which images to send, the lossy tracking which of them must be exact, the canvas for the mask. A new
//! operation, or a new image argument of one, is added to [`DrawOp::arguments`] and nowhere else.

use super::{Brush, DrawOp, Mask, ScaleMode};
use crate::geometry::Rect;
use crate::image::{Image, ImageData};
use std::sync::Arc;

/// What an image is for the operation that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageRole {
    /// The source of the pixels.
    Source,
    /// The pattern of the brush; of the fore brush for TEXT.
    Brush,
    /// The pattern of the back brush of TEXT.
    BackBrush,
    /// A 1-bit mask that selects pixels (QMask).
    Mask,
    /// The mask picture of COMPOSITE, which has colours and alpha.
    MaskPicture,
}

/// Which pixels of an image an operation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadArea {
    /// Any pixel: patterns repeat, masks and transforms start anywhere.
    Whole,
    /// This area, scaled to the box of the command in this mode (canvas.md 7.1).
    Scaled(Rect, ScaleMode),
    /// This area, scaled to the box from positions that are rounded to pixels of the target (ROP3).
    ScaledByTarget(Rect),
}

impl ReadArea {
    /// The rectangle that stands for "any pixel".
    pub const WHOLE: Rect = Rect::new(i32::MIN, i32::MIN, i32::MAX, i32::MAX);

    /// A rectangle around all pixels that the server reads to draw into this box.
    #[must_use]
    pub fn around(self, bbox: &Rect) -> Rect {
        match self {
            Self::Whole => Self::WHOLE,
            Self::Scaled(area, mode) => {
                // Interpolation reads one neighbour beyond each edge.
                let neighbours = |from: u32, to: u32| {
                    let exact =
                        from == to || mode == ScaleMode::Nearest && u64::from(from) << 16 >= u64::from(to);
                    i32::from(!exact)
                };
                let x = neighbours(area.width(), bbox.width());
                let y = neighbours(area.height(), bbox.height());
                let (left, top) = (area.left.saturating_sub(x), area.top.saturating_sub(y));
                Rect::new(left, top, area.right.saturating_add(x), area.bottom.saturating_add(y))
            }
            Self::ScaledByTarget(area) => Self::unscaled_or_whole(&area, bbox),
        }
    }

    /// A rectangle around all pixels that any client may read: clients scale as they like.
    #[must_use]
    pub fn around_for_clients(self, bbox: &Rect) -> Rect {
        match self {
            Self::Whole => Self::WHOLE,
            Self::Scaled(area, _) | Self::ScaledByTarget(area) => Self::unscaled_or_whole(&area, bbox),
        }
    }

    fn unscaled_or_whole(area: &Rect, bbox: &Rect) -> Rect {
        let unscaled = area.width() == bbox.width() && area.height() == bbox.height();
        if unscaled { *area } else { Self::WHOLE }
    }
}

/// One image argument of an operation.
#[derive(Clone, Copy, Debug)]
pub struct ImageArgument<'a> {
    /// What the image is for.
    pub role: ImageRole,
    /// The image.
    pub image: &'a Arc<Image>,
    /// Which of its pixels are read.
    pub read: ReadArea,
}

impl ImageArgument<'_> {
    /// The surface whose pixels are the image, if they are a surface's.
    #[must_use]
    pub fn surface_id(&self) -> Option<u32> {
        match self.image.data {
            ImageData::Surface(id) => Some(id),
            ImageData::Bitmap(_) | ImageData::Quic(_) => None,
        }
    }
}

/// The source argument of an operation.
#[derive(Clone, Copy, Debug, Default)]
enum Source<'a> {
    /// The operation takes no source.
    #[default]
    Unused,
    /// `None`: the snapshot of the target takes its place ([`super::Drawable::self_bitmap`]).
    Image(Option<&'a Arc<Image>>, ReadArea),
}

/// What the images of an operation come to. One pass finds it, and most commands need nothing else of their images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageTotals {
    /// Pixels of all images that carry their own pixels.
    pub pixels: u64,
    /// Those among them that have to be decoded first.
    pub coded_pixels: u64,
    /// Whether a 1-bit mask selects the pixels.
    pub masked: bool,
    /// Whether an image is a surface.
    pub reads_surfaces: bool,
    /// Whether the operation needs a source and has none ([`DrawOp::lacks_source`]).
    pub lacks_source: bool,
}

impl ImageTotals {
    fn add(&mut self, image: Option<&Arc<Image>>) {
        let Some(image) = image else { return };
        let pixels = u64::from(image.width) * u64::from(image.height);
        match image.data {
            ImageData::Surface(_) => self.reads_surfaces = true,
            ImageData::Bitmap(_) => self.pixels = self.pixels.saturating_add(pixels),
            ImageData::Quic(_) => {
                self.coded_pixels = self.coded_pixels.saturating_add(pixels);
                self.pixels = self.pixels.saturating_add(pixels);
            }
        }
    }
}

/// Everything about an operation that may be an image.
#[derive(Debug, Default)]
struct Arguments<'a> {
    source: Source<'a>,
    brush: Option<&'a Brush>,
    back_brush: Option<&'a Brush>,
    mask: Option<&'a Mask>,
    mask_picture: Option<&'a Arc<Image>>,
}

impl DrawOp {
    /// The one list of what each operation takes.
    #[inline]
    fn arguments(&self) -> Arguments<'_> {
        let none = Arguments::default();
        match self {
            Self::Nop | Self::CopyBits(_) => none,
            Self::Fill(op) => Arguments { brush: Some(&op.brush), mask: op.mask.as_ref(), ..none },
            Self::Opaque(op) => Arguments {
                source: Source::Image(op.src.as_ref(), ReadArea::Scaled(op.src_area, op.scale_mode)),
                brush: Some(&op.brush),
                mask: op.mask.as_ref(),
                ..none
            },
            Self::Copy(op) | Self::Blend(op) => Arguments {
                source: Source::Image(Some(&op.src), ReadArea::Scaled(op.src_area, op.scale_mode)),
                mask: op.mask.as_ref(),
                ..none
            },
            Self::Blackness(mask) | Self::Whiteness(mask) | Self::Invers(mask) => {
                Arguments { mask: mask.as_ref(), ..none }
            }
            Self::Rop3(op) => Arguments {
                source: Source::Image(op.src.as_ref(), ReadArea::ScaledByTarget(op.src_area)),
                brush: Some(&op.brush),
                mask: op.mask.as_ref(),
                ..none
            },
            Self::Stroke(op) => Arguments { brush: Some(&op.brush), ..none },
            Self::Text(op) => {
                Arguments { brush: Some(&op.fore_brush), back_brush: Some(&op.back_brush), ..none }
            }
            Self::Transparent(op) => {
                let read = ReadArea::Scaled(op.src_area, ScaleMode::Nearest);
                Arguments { source: Source::Image(op.src.as_ref(), read), ..none }
            }
            Self::AlphaBlend(op) => {
                let read = ReadArea::Scaled(op.src_area, ScaleMode::Nearest);
                Arguments { source: Source::Image(op.src.as_ref(), read), ..none }
            }
            Self::Composite(op) => Arguments {
                source: Source::Image(op.src.as_ref(), ReadArea::Whole),
                mask_picture: op.mask.as_ref(),
                ..none
            },
        }
    }

    /// The images that the operation takes: source, brushes, mask, in this order.
    pub fn images(&self) -> impl Iterator<Item = ImageArgument<'_>> {
        let Arguments { source, brush, back_brush, mask, mask_picture } = self.arguments();
        let whole = |role, image| ImageArgument { role, image, read: ReadArea::Whole };
        let source = match source {
            Source::Image(Some(image), read) => Some(ImageArgument { role: ImageRole::Source, image, read }),
            Source::Image(None, _) | Source::Unused => None,
        };
        let others = [
            pattern_of(brush).map(|image| whole(ImageRole::Brush, image)),
            pattern_of(back_brush).map(|image| whole(ImageRole::BackBrush, image)),
            mask.map(|mask| whole(ImageRole::Mask, &mask.image)),
            mask_picture.map(|image| whole(ImageRole::MaskPicture, image)),
        ];
        source.into_iter().chain(others.into_iter().flatten())
    }

    /// Bytes of the picture that the command shows, in memory of the guest.
    #[must_use]
    pub fn picture_bytes(&self) -> usize {
        match self.arguments().source {
            Source::Image(Some(image), _) => match &image.data {
                ImageData::Bitmap(bitmap) => bitmap.size(),
                ImageData::Quic(_) | ImageData::Surface(_) => 0,
            },
            Source::Image(None, _) | Source::Unused => 0,
        }
    }

    /// What all images come to.
    #[must_use]
    pub fn image_totals(&self) -> ImageTotals {
        let Arguments { source, brush, back_brush, mask, mask_picture } = self.arguments();
        let mut totals = ImageTotals::default();
        match source {
            Source::Unused => {}
            Source::Image(None, _) => totals.lacks_source = true,
            Source::Image(image, _) => totals.add(image),
        }
        totals.add(pattern_of(brush));
        totals.add(pattern_of(back_brush));
        totals.add(mask.map(|mask| &mask.image));
        totals.add(mask_picture);
        totals.masked = mask.is_some();
        totals
    }

    /// The surfaces among the images, and for each the area that the server reads of it to draw into this box.
    pub fn surfaces_read(&self, bbox: &Rect) -> impl Iterator<Item = (u32, Rect)> {
        self.images().filter_map(|argument| Some((argument.surface_id()?, argument.read.around(bbox))))
    }

    /// The 1-bit mask that selects the pixels to draw.
    #[must_use]
    pub fn mask(&self) -> Option<&Mask> {
        self.arguments().mask
    }

    /// Whether the operation needs a source and has none: the snapshot of the target is to take its place
    /// ([`Self::set_source`]).
    #[must_use]
    pub fn lacks_source(&self) -> bool {
        matches!(self.arguments().source, Source::Image(None, _))
    }

    /// Puts an image into the place of the source. Operations that need none, and COPY and BLEND, which always come with
    /// one, stay as they are.
    pub fn set_source(&mut self, image: Arc<Image>) {
        match self {
            Self::Opaque(op) => op.src = Some(image),
            Self::Rop3(op) => op.src = Some(image),
            Self::Transparent(op) => op.src = Some(image),
            Self::AlphaBlend(op) => op.src = Some(image),
            Self::Composite(op) => op.src = Some(image),
            Self::Nop
            | Self::Fill(_)
            | Self::Copy(_)
            | Self::CopyBits(_)
            | Self::Blend(_)
            | Self::Blackness(_)
            | Self::Whiteness(_)
            | Self::Invers(_)
            | Self::Stroke(_)
            | Self::Text(_) => {}
        }
    }
}

fn pattern_of(brush: Option<&Brush>) -> Option<&Arc<Image>> {
    match brush? {
        Brush::Pattern { image, .. } => Some(image),
        Brush::None | Brush::Solid(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Composite, Opaque, Rop, Rop3, Text};
    use crate::geometry::{Point, Point16};

    fn image(surface: u32) -> Arc<Image> {
        let data = ImageData::Surface(surface);
        Arc::new(Image { id: 0, cache_me: false, high_bits_set: false, width: 9, height: 9, data })
    }

    fn pattern(surface: u32) -> Brush {
        Brush::Pattern { image: image(surface), origin: Point::default() }
    }

    fn mask(surface: u32) -> Option<Mask> {
        Some(Mask { inverse: false, origin: Point::default(), image: image(surface) })
    }

    fn listed(op: &DrawOp) -> Vec<(ImageRole, u32)> {
        op.images().map(|argument| (argument.role, argument.surface_id().unwrap())).collect()
    }

    const AREA: Rect = Rect::new(10, 10, 20, 20);

    fn opaque(src: Option<Arc<Image>>, scale_mode: ScaleMode) -> DrawOp {
        DrawOp::Opaque(Opaque {
            src,
            src_area: AREA,
            brush: pattern(2),
            rop: Rop::PUT,
            scale_mode,
            mask: mask(3),
        })
    }

    #[test]
    fn every_image_is_listed_once_with_its_role() {
        use ImageRole::{BackBrush, Brush, Mask, MaskPicture, Source};
        let op = opaque(Some(image(1)), ScaleMode::Nearest);
        assert_eq!(listed(&op), [(Source, 1), (Brush, 2), (Mask, 3)]);
        let text = DrawOp::Text(Text {
            string: Arc::new(crate::draw::GlyphString { flags: 0, glyphs: Vec::new() }),
            back_area: AREA,
            fore_brush: pattern(1),
            back_brush: pattern(2),
            fore_mode: Rop::PUT,
            back_mode: Rop::PUT,
        });
        assert_eq!(listed(&text), [(Brush, 1), (BackBrush, 2)]);
        let composite = DrawOp::Composite(Composite {
            flags: 0,
            src: Some(image(1)),
            src_transform: None,
            mask: Some(image(2)),
            mask_transform: None,
            src_origin: Point16::default(),
            mask_origin: Point16::default(),
        });
        assert_eq!(listed(&composite), [(Source, 1), (MaskPicture, 2)]);
        assert!(composite.mask().is_none());
        assert_eq!(listed(&DrawOp::Invers(mask(4))), [(Mask, 4)]);
    }

    #[test]
    fn totals_count_what_the_list_has() {
        let own = |data| {
            Arc::new(Image { id: 0, cache_me: false, high_bits_set: false, width: 9, height: 5, data })
        };
        let coded = own(ImageData::Quic(Arc::from([0; 4])));
        let mut op = opaque(None, ScaleMode::Nearest);
        let without = op.image_totals();
        assert_eq!((without.lacks_source, without.reads_surfaces, without.masked), (true, true, true));
        assert_eq!((without.pixels, without.coded_pixels), (0, 0));
        op.set_source(coded);
        let with = op.image_totals();
        assert_eq!(with, ImageTotals { pixels: 45, coded_pixels: 45, lacks_source: false, ..without });
        assert_eq!(DrawOp::CopyBits(Point::default()).image_totals(), ImageTotals::default());
        for op in [opaque(Some(image(1)), ScaleMode::Nearest), DrawOp::Blackness(mask(2)), DrawOp::Nop] {
            let totals = op.image_totals();
            assert_eq!(totals.lacks_source, op.lacks_source());
            assert_eq!(totals.masked, op.images().any(|argument| argument.role == ImageRole::Mask));
            let read = op.images().any(|argument| argument.surface_id().is_some());
            assert_eq!(totals.reads_surfaces, read);
        }
    }

    #[test]
    fn a_missing_source_is_told_and_set() {
        let mut op = opaque(None, ScaleMode::Nearest);
        assert!(op.lacks_source());
        op.set_source(image(7));
        assert!(!op.lacks_source());
        assert_eq!(listed(&op).first(), Some(&(ImageRole::Source, 7)));
        assert!(!DrawOp::CopyBits(Point::default()).lacks_source());
    }

    #[test]
    fn scaling_reads_neighbours_and_clients_may_read_anything() {
        let read = |op: &DrawOp, bbox: &Rect| op.surfaces_read(bbox).next().unwrap().1;
        let (same, twice) = (Rect::new(0, 0, 10, 10), Rect::new(0, 0, 20, 10));
        let smooth = opaque(Some(image(1)), ScaleMode::Interpolate);
        assert_eq!(read(&smooth, &same), AREA);
        assert_eq!(read(&smooth, &twice), Rect::new(9, 10, 21, 20));
        assert_eq!(read(&opaque(Some(image(1)), ScaleMode::Nearest), &twice), AREA);
        let rop3 = DrawOp::Rop3(Rop3 {
            src: Some(image(1)),
            src_area: AREA,
            brush: Brush::None,
            rop3: 0,
            scale_mode: ScaleMode::Nearest,
            mask: None,
        });
        assert_eq!((read(&rop3, &same), read(&rop3, &twice)), (AREA, ReadArea::WHOLE));
        let scaled = ReadArea::Scaled(AREA, ScaleMode::Nearest);
        assert_eq!(scaled.around_for_clients(&same), AREA);
        assert_eq!(scaled.around_for_clients(&twice), ReadArea::WHOLE);
    }
}
