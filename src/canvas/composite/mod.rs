//! COMPOSITE: `dest = (source IN mask) OP dest` on rows of pixels (canvas.md 11). This module knows no
//! surface: the canvas gives it pictures and a copy of the box.

mod draw;
mod narrow;
mod operator;
mod sample;
#[cfg(test)]
mod tests;
mod wide;

use operator::{Operator, PorterDuff};
use sample::Sampler;

use super::pixel;
use crate::image::SurfaceFormat;

/// Everything but the destination's pixels that determines the result.
#[derive(Debug)]
pub(super) struct Request {
    pub op: Operator,
    pub source: Sampler,
    pub mask: Option<Sampler>,
    /// Use the mask's colour channels separately, in place of its alpha.
    pub component_alpha: bool,
    /// Format of the surface.
    pub dest: SurfaceFormat,
}

impl Request {
    /// The operator that is computed for this request.
    fn effective_op(&self) -> Operator {
        let mask_opaque = self.mask.as_ref().is_none_or(|m| m.is_opaque() && !self.component_alpha);
        if self.source.is_opaque() && mask_opaque { self.op.for_opaque_source() } else { self.op }
    }
}

impl Request {
    /// Whether the source replaces the destination, including unused bits.
    fn copies(&self, op: Operator) -> bool {
        let replaces = match op {
            Operator::PorterDuff(PorterDuff::Src) => true,
            Operator::PorterDuff(PorterDuff::Over) => self.source.is_opaque(),
            _ => false,
        };
        replaces && self.mask.is_none() && self.source.texture.format == self.dest && self.source.is_aligned()
    }
}

/// Computes the rows of one box.
#[derive(Debug)]
pub(super) struct Composer {
    request: Request,
    op: Operator,
    /// The source's native values replace the destination's.
    copies: bool,
    narrow: Buffers<u32>,
    wide: Buffers<wide::Pixel>,
    wide_dest: Vec<wide::Pixel>,
}

/// One row each of source and mask.
#[derive(Debug, Default)]
struct Buffers<T> {
    source: Vec<T>,
    mask: Option<Vec<T>>,
}

impl Composer {
    #[must_use]
    pub(super) fn new(mut request: Request) -> Self {
        let op = request.effective_op();
        let copies = request.copies(op);
        if !copies && !op.is_wide() {
            request.source.texture.convert_to_argb();
            if let Some(mask) = &mut request.mask {
                mask.texture.convert_to_argb();
            }
        }
        Self {
            request,
            op,
            copies,
            narrow: Buffers::default(),
            wide: Buffers::default(),
            wide_dest: Vec::new(),
        }
    }

    /// Combines row `row` of the box, columns from `first` on, into `dest` (native values of the surface).
    /// If [`Composer::needs_all_rows`], the caller calls this for each row from the top, always for the same
    /// columns.
    pub(super) fn row(&mut self, first: u32, row: u32, dest: &mut [u32]) {
        let start = (first.into(), row.into());
        if self.copies {
            self.request.source.native_row(start, dest);
        } else if self.op.is_wide() {
            self.wide_row(start, dest);
        } else {
            self.narrow_row(start, dest);
        }
    }

    /// Whether a row may depend on the one above.
    pub(super) fn needs_all_rows(&self) -> bool {
        self.op.is_wide() && self.request.mask.is_some() && self.request.source.regards_mask()
    }

    fn narrow_row(&mut self, start: (i64, i64), dest: &mut [u32]) {
        let Self { request, narrow: Buffers { source, mask }, .. } = self;
        source.resize(dest.len(), 0);
        request.source.row(start, source);
        if let Some(sampler) = &request.mask {
            let mask = mask.get_or_insert_default();
            mask.resize(dest.len(), 0);
            sampler.row(start, mask);
        }
        // The unused byte of xRGB takes part, unless the operator reads the destination's alpha.
        let unused = request.dest == SurfaceFormat::Xrgb32;
        let format =
            if unused && self.op.ignores_dest_alpha() { SurfaceFormat::Argb32 } else { request.dest };
        pixel::row_to_argb(format, dest);
        narrow::combine(self.op, source, mask.as_deref(), request.component_alpha, dest);
        pixel::row_from_argb(format, dest);
        if format == SurfaceFormat::Xrgb32 {
            dest.iter_mut().for_each(|p| *p &= 0x00ff_ffff);
        }
    }

    fn wide_row(&mut self, start: (i64, i64), dest: &mut [u32]) {
        let Self { request, wide: Buffers { source, mask }, wide_dest, .. } = self;
        source.resize(dest.len(), [0.0; 4]);
        if let Some(sampler) = &request.mask {
            let mask = mask.get_or_insert_default();
            mask.resize(dest.len(), [0.0; 4]);
            sampler.wide_row(start, None, mask);
        }
        request.source.wide_row(start, mask.as_deref(), source);
        wide_dest.clear();
        wide_dest.extend(dest.iter().map(|&v| wide::from_native(request.dest, v)));
        wide::combine(self.op, source, mask.as_deref(), request.component_alpha, wide_dest);
        for (d, w) in dest.iter_mut().zip(wide_dest) {
            *d = wide::to_native(request.dest, *w);
        }
    }
}
