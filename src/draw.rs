//! Drawing commands as owned, checked values (qxl.md B2 to B5). The `qxl` crate makes them from guest memory;
//! the canvas draws them, the display channel sends them.
#![allow(missing_docs, reason = "operations, fields and flags have the names of the specification")]

mod images;

pub use images::{ImageArgument, ImageRole, ImageTotals, ReadArea};

use crate::geometry::{Point, Point16, PointFix, Rect};
use crate::guest::ReleaseToken;
use crate::image::Image;
use bitflags::bitflags;
use std::sync::Arc;

bitflags! {
    /// Raster operation descriptor (canvas.md 4.1). Unknown bits are kept for the wire.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Rop: u16 {
        const INVERS_SRC = 0x001;
        const INVERS_BRUSH = 0x002;
        const INVERS_DEST = 0x004;
        const PUT = 0x008;
        const OR = 0x010;
        const AND = 0x020;
        const XOR = 0x040;
        const BLACKNESS = 0x080;
        const WHITENESS = 0x100;
        const INVERS = 0x200;
        const INVERS_RES = 0x400;
        const _ = !0;
    }
}

/// How a source area of another size than the box is sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ScaleMode {
    #[default]
    Interpolate = 0,
    Nearest = 1,
}

/// The guest's promise about what a command does to older content (canvas.md 12, display.md 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Effect {
    #[default]
    Blend = 0,
    Opaque = 1,
    RevertOnDup = 2,
    BlacknessOnDup = 3,
    WhitenessOnDup = 4,
    NopOnDup = 5,
    Nop = 6,
    OpaqueBrush = 7,
}

impl From<u8> for Effect {
    /// Unknown values count as BLEND, which promises nothing.
    fn from(value: u8) -> Self {
        match value {
            1 => Self::Opaque,
            2 => Self::RevertOnDup,
            3 => Self::BlacknessOnDup,
            4 => Self::WhitenessOnDup,
            5 => Self::NopOnDup,
            6 => Self::Nop,
            7 => Self::OpaqueBrush,
            _ => Self::Blend,
        }
    }
}

/// Restriction of a command to part of its box.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Clip {
    #[default]
    None,
    /// The union of these; may overlap, be empty or lie outside. No rectangles: nothing is drawn.
    Rects(Arc<[Rect]>),
}

/// Colour or pattern that fills an area.
#[derive(Clone, Debug, Default)]
pub enum Brush {
    #[default]
    None,
    /// Native pixel value of the destination surface.
    Solid(u32),
    Pattern {
        image: Arc<Image>,
        origin: Point,
    },
}

/// A 1-bit image that selects pixels (QMask).
#[derive(Clone, Debug)]
pub struct Mask {
    pub inverse: bool,
    /// Position in the mask of the box's top-left pixel.
    pub origin: Point,
    pub image: Arc<Image>,
}

#[derive(Clone, Debug)]
pub struct Fill {
    pub brush: Brush,
    pub rop: Rop,
    pub mask: Option<Mask>,
}

/// OPAQUE: copy an image, then combine with a brush.
#[derive(Clone, Debug)]
pub struct Opaque {
    /// `None`: the snapshot of `Drawable::self_bitmap` takes its place.
    pub src: Option<Arc<Image>>,
    pub src_area: Rect,
    pub brush: Brush,
    pub rop: Rop,
    pub scale_mode: ScaleMode,
    pub mask: Option<Mask>,
}

/// COPY and BLEND.
#[derive(Clone, Debug)]
pub struct Copy {
    pub src: Arc<Image>,
    pub src_area: Rect,
    pub rop: Rop,
    pub scale_mode: ScaleMode,
    pub mask: Option<Mask>,
}

#[derive(Clone, Debug)]
pub struct Rop3 {
    /// `None`: the self bitmap.
    pub src: Option<Arc<Image>>,
    pub src_area: Rect,
    pub brush: Brush,
    /// Ternary raster operation code.
    pub rop3: u8,
    pub scale_mode: ScaleMode,
    pub mask: Option<Mask>,
}

/// Path segment flags: 1 BEGIN, 2 END, 8 CLOSE, 16 BEZIER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSegment {
    pub flags: u32,
    pub points: Vec<PointFix>,
}

impl PathSegment {
    pub const BEGIN: u32 = 1;
    pub const END: u32 = 2;
    pub const CLOSE: u32 = 8;
    pub const BEZIER: u32 = 16;
}

#[derive(Clone, Debug)]
pub struct Stroke {
    pub path: Arc<[PathSegment]>,
    /// Line flags: 4 START_WITH_GAP, 8 STYLED.
    pub line_flags: u8,
    /// Dash lengths, 28.4 fixed point; empty unless STYLED.
    pub style: Arc<[i32]>,
    pub brush: Brush,
    pub fore_mode: Rop,
    pub back_mode: Rop,
}

impl Stroke {
    pub const START_WITH_GAP: u8 = 4;
    pub const STYLED: u8 = 8;
}

/// One glyph; `data` has `height` rows of `ceil(width * bpp / 8)` bytes, bottom row first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glyph {
    pub render_pos: Point,
    pub origin: Point,
    pub width: u16,
    pub height: u16,
    pub data: Vec<u8>,
}

/// A string of glyphs of one depth. Flags: 1 A1, 2 A4, 4 A8, 8 top-down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlyphString {
    pub flags: u16,
    pub glyphs: Vec<Glyph>,
}

impl GlyphString {
    pub const A1: u16 = 1;
    pub const A4: u16 = 2;
    pub const A8: u16 = 4;
}

#[derive(Clone, Debug)]
pub struct Text {
    pub string: Arc<GlyphString>,
    pub back_area: Rect,
    pub fore_brush: Brush,
    pub back_brush: Brush,
    pub fore_mode: Rop,
    pub back_mode: Rop,
}

#[derive(Clone, Debug)]
pub struct Transparent {
    /// `None`: the self bitmap.
    pub src: Option<Arc<Image>>,
    pub src_area: Rect,
    /// Unused by drawing, carried to the client.
    pub src_color: u32,
    /// The key colour, 0x00RRGGBB.
    pub true_color: u32,
}

#[derive(Clone, Debug)]
pub struct AlphaBlend {
    /// 1 destination has alpha, 2 source surface has alpha.
    pub flags: u16,
    pub alpha: u8,
    /// `None`: the self bitmap.
    pub src: Option<Arc<Image>>,
    pub src_area: Rect,
}

impl AlphaBlend {
    pub const DEST_HAS_ALPHA: u16 = 1;
    pub const SRC_SURFACE_HAS_ALPHA: u16 = 2;
}

/// Row-major 2x3 matrix of 16.16 numbers that maps destination to source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transform(pub [i32; 6]);

#[derive(Clone, Debug)]
pub struct Composite {
    /// Operator bits 0-7, filters 8-13, repeats 14-17, component alpha 18, 22 SOURCE_OPAQUE, 23 MASK_OPAQUE,
    /// 24 DEST_OPAQUE. Bits 19-21 are set by the parser from the options below, never taken from the guest.
    pub flags: u32,
    /// `None`: the self bitmap.
    pub src: Option<Arc<Image>>,
    pub src_transform: Option<Transform>,
    pub mask: Option<Arc<Image>>,
    pub mask_transform: Option<Transform>,
    pub src_origin: Point16,
    pub mask_origin: Point16,
}

impl Composite {
    pub const HAS_MASK: u32 = 1 << 19;
    pub const HAS_SRC_TRANSFORM: u32 = 1 << 20;
    pub const HAS_MASK_TRANSFORM: u32 = 1 << 21;
    pub const SOURCE_OPAQUE: u32 = 1 << 22;
    pub const MASK_OPAQUE: u32 = 1 << 23;
    pub const DEST_OPAQUE: u32 = 1 << 24;
}

/// The operation of a drawing command.
#[derive(Clone, Debug)]
pub enum DrawOp {
    Nop,
    Fill(Fill),
    Opaque(Opaque),
    Copy(Copy),
    /// Source position of the box's top-left pixel, on the same surface.
    CopyBits(Point),
    Blend(Copy),
    Blackness(Option<Mask>),
    Whiteness(Option<Mask>),
    Invers(Option<Mask>),
    Rop3(Rop3),
    Stroke(Stroke),
    Text(Text),
    Transparent(Transparent),
    AlphaBlend(AlphaBlend),
    Composite(Composite),
}

/// An area of another surface that a command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurfaceDep {
    pub surface_id: u32,
    pub area: Rect,
}

/// One QXL_CMD_DRAW.
#[derive(Debug)]
pub struct Drawable {
    pub surface_id: u32,
    pub effect: Effect,
    pub bbox: Rect,
    pub clip: Clip,
    /// The guest's, in milliseconds, for recordings: frames of streams get a time of ours when they are sent.
    pub mm_time: u32,
    /// The area of the target to snapshot as the source, before drawing.
    pub self_bitmap: Option<Rect>,
    /// What the guest declared that the command reads.
    pub deps: [Option<SurfaceDep>; 3],
    pub op: DrawOp,
    /// Returns the command to the guest when the last holder lets go; `None` for commands of our own.
    pub release: Option<ReleaseToken>,
}

impl Drawable {
    /// Whether the guest promises, and the operation does not belie, that old content of the region is irrelevant.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        self.effect == Effect::Opaque && !matches!(self.op, DrawOp::Nop)
    }
}
