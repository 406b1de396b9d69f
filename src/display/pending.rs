//! A pending drawing command: checked against the surfaces of its device, with the areas that it draws and reads.

use super::cost::Cost;
use super::reads::{Read, SelfRead, SurfaceKey, SurfaceLife};
use super::stream::Stream;
use crate::canvas::Region;
use crate::draw::{Brush, DrawOp, Drawable, Effect};
use crate::geometry::Rect;
use crate::image::ImageData;
use std::sync::Arc;

/// A drawing command that is pending in the tree, in pipes, or in both. The last holder releases it to the guest.
#[derive(Debug)]
pub(super) struct PendingDrawable {
    /// Age: later commands have higher numbers.
    pub seq: u64,
    pub drawable: Drawable,
    pub key: SurfaceKey,
    /// Box and clip, cut to the surface.
    pub region: Region,
    pub reads: Vec<Read>,
    pub self_read: SelfRead,
    /// The stream that the command is a frame of.
    pub stream: Option<Stream>,
    /// Every pixel of the region is overwritten without regard to what was there.
    pub opaque: bool,
    /// What it costs to draw all of it.
    pub cost: Cost,
    /// Keeps the target from being released.
    #[expect(dead_code, reason = "held for its drop")]
    pub life: Arc<SurfaceLife>,
}

impl PendingDrawable {
    /// Makes a new command a frame of a stream. Does nothing once the command has several holders.
    pub(super) fn join_stream(this: &mut Arc<Self>, stream: Option<Stream>) {
        if let Some(this) = Arc::get_mut(this) {
            this.stream = stream;
        }
    }

    /// Whether the command is a COMPOSITE, which old clients do not know.
    #[must_use]
    pub(super) fn is_composite(&self) -> bool {
        matches!(self.drawable.op, DrawOp::Composite(_))
    }

    /// Whether a part of its pixels may be rendered long before the others: the command reads nothing that can change in between,
    /// and its cost depends on the number of pixels alone.
    #[must_use]
    pub(super) fn can_be_split(&self) -> bool {
        let plain = match &self.drawable.op {
            DrawOp::Fill(fill) => fill.mask.is_none() && matches!(fill.brush, Brush::Solid(_)),
            DrawOp::Copy(copy) => copy.mask.is_none() && matches!(copy.src.data, ImageData::Bitmap(_)),
            DrawOp::Blackness(mask) | DrawOp::Whiteness(mask) => mask.is_none(),
            _ => false,
        };
        plain && self.opaque && self.reads.is_empty() && self.self_read == SelfRead::Nothing
    }

    /// Whether the worker may render this command some rows at a time if it is the oldest of all: no pixel depends on others of
    /// the target, and the pixels that it reads elsewhere do not change while it waits.
    #[must_use]
    pub(super) fn can_be_drawn_in_bands(&self) -> bool {
        let by_pixel = match &self.drawable.op {
            DrawOp::Nop | DrawOp::CopyBits(_) | DrawOp::Stroke(_) | DrawOp::Text(_) => false,
            // With a mask, the operators that are computed in floating point depend on the row above.
            DrawOp::Composite(op) => op.mask.is_none() || op.flags & 0xff <= 12,
            _ => true,
        };
        // Each band would decode such an image anew.
        let decoded =
            self.drawable.op.images().any(|argument| matches!(argument.image.data, ImageData::Quic(_)));
        by_pixel && !decoded && self.self_read == SelfRead::Nothing
    }
}

/// What follows when a command repeats the one below it (display.md 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Both cancel each other out.
    Reverts,
    /// The new command changes nothing.
    Idles,
    /// The new command covers the one below.
    Replaces,
}

/// What the guest promises about a command that draws in the same region as the one below it. Opaque commands promise nothing
/// here.
#[must_use]
pub(super) fn repeats(new: &Drawable, old: &Drawable) -> Option<Repeat> {
    let repeat = match new.effect {
        Effect::RevertOnDup => Repeat::Reverts,
        Effect::NopOnDup => Repeat::Idles,
        Effect::OpaqueBrush => Repeat::Replaces,
        _ => return None,
    };
    if old.effect != new.effect || old.bbox != new.bbox {
        return None;
    }
    let (rops, brushes) = match (&new.op, &old.op) {
        (DrawOp::Fill(a), DrawOp::Fill(b)) if a.mask.is_none() && b.mask.is_none() => {
            ((a.rop, b.rop), (&a.brush, &b.brush))
        }
        (DrawOp::Stroke(a), DrawOp::Stroke(b))
            if a.path == b.path
                && a.line_flags == b.line_flags
                && a.style.is_empty()
                && b.style.is_empty() =>
        {
            ((a.fore_mode, b.fore_mode), (&a.brush, &b.brush))
        }
        _ => return None,
    };
    let same = rops.0 == rops.1 && matches!(brushes, (Brush::Solid(a), Brush::Solid(b)) if a == b);
    (same || repeat == Repeat::Replaces).then_some(repeat)
}

/// Offset from a pixel that COPY_BITS draws to its source.
#[must_use]
pub(super) fn copy_offset(drawable: &Drawable) -> Option<(i32, i32)> {
    match drawable.op {
        DrawOp::CopyBits(p) => {
            Some((p.x.saturating_sub(drawable.bbox.left), p.y.saturating_sub(drawable.bbox.top)))
        }
        _ => None,
    }
}

/// The area that an unscaled copy from this surface draws. It leaves pixels alone whose source lies outside of the surface.
#[must_use]
pub(super) fn reach_of_copy(drawable: &Drawable, source: u32, bounds: &Rect) -> Option<Rect> {
    let (DrawOp::Copy(copy) | DrawOp::Blend(copy)) = &drawable.op else { return None };
    let (from, to) = (&copy.src_area, &drawable.bbox);
    let ours = matches!(copy.src.data, ImageData::Surface(id) if id == source);
    let unscaled = (from.width(), from.height()) == (to.width(), to.height());
    let offset = |to: i32, from: i32| to.saturating_sub(from);
    (ours && unscaled).then(|| bounds.translate(offset(to.left, from.left), offset(to.top, from.top)))
}
