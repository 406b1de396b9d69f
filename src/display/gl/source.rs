//! Reads the pixels of a scanout, row by row, where its memory is one plane of 32-bit pixels.

use crate::geometry::Rect;
use crate::host::GlScanout;
use crate::limits::{MAX_SCANOUT_PIXELS, MAX_SCANOUT_SIDE};
use spice_dmabuf::{Access, Mapping};
use std::os::fd::AsFd;

/// Modifiers of linux/drm_fourcc.h: rows that follow each other, and "invalid", which hosts use for the same.
const LINEAR: u64 = 0;
const NOT_SAID: u64 = 0x00ff_ffff_ffff_ffff;

/// Why a scanout cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// No picture has this size.
    #[error("{0} x {1} pixels")]
    Size(u32, u32),
    /// Colours in several planes, or beside compressed ones.
    #[error("{0} planes")]
    Planes(usize),
    /// Pixels in an order that only the GPU knows.
    #[error("tiles (modifier {0:#x})")]
    Tiled(u64),
    /// Pixels that are not 32 bits of blue, green and red.
    #[error("format {0:#x}")]
    Format(u32),
    /// Rows that overlap.
    #[error("rows of {0} bytes")]
    Stride(u32),
    /// The memory itself.
    #[error("its memory: {0}")]
    Memory(#[from] spice_dmabuf::Error),
}

/// The order of the bytes of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Blue, green, red, one that does not count: as on our surfaces.
    Blue,
    /// Red, green, blue, one that does not count.
    Red,
}

/// The byte order of a format (fourcc code).
fn order_of(fourcc: u32) -> Option<Order> {
    Some(match &fourcc.to_le_bytes() {
        b"XR24" | b"AR24" => Order::Blue,
        b"XB24" | b"AB24" => Order::Red,
        _ => return None,
    })
}

/// The readable memory of one scanout: one plane of 32-bit pixels.
#[derive(Debug)]
pub(crate) struct Source {
    memory: Mapping,
    width: u32,
    height: u32,
    stride: usize,
    order: Order,
    top_down: bool,
}

impl Source {
    /// Maps the memory of a scanout.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub(crate) fn open(scanout: &GlScanout) -> Result<Self, Unreadable> {
        let (width, height) = (scanout.width, scanout.height);
        check_size(width, height)?;
        let [plane] = &*scanout.planes else { return Err(Unreadable::Planes(scanout.planes.len())) };
        if !matches!(scanout.modifier, LINEAR | NOT_SAID) {
            return Err(Unreadable::Tiled(scanout.modifier));
        }
        let order = order_of(scanout.drm_fourcc).ok_or(Unreadable::Format(scanout.drm_fourcc))?;
        let row = u64::from(width) * 4;
        if u64::from(plane.stride) < row {
            return Err(Unreadable::Stride(plane.stride));
        }
        let len = u64::from(plane.stride) * u64::from(height - 1) + row;
        let len = usize::try_from(len).map_err(|_| Unreadable::Size(width, height))?;
        let memory = Mapping::new(plane.fd.as_fd(), plane.offset.into(), len)?;
        let stride = plane.stride as usize;
        Ok(Self { memory, width, height, stride, order, top_down: scanout.y0_top })
    }

    /// Width and height in pixels.
    #[must_use]
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The part of the picture that a change at `area` of the memory is in.
    #[must_use]
    pub(crate) fn area_of(&self, area: &Rect) -> Rect {
        let all = Rect::of_size(self.width, self.height);
        let area = area.intersect(&all);
        // For upside-down pictures, hosts do not say whether they count rows from the top or from the bottom.
        if self.top_down { area } else { Rect { top: all.top, bottom: all.bottom, ..area } }
    }

    /// Begins to read what the scanout shows now.
    #[must_use]
    pub(crate) fn begin(&self) -> Reader<'_> {
        Reader { source: self, access: self.memory.begin() }
    }
}

/// Whether there are pictures of this size.
///
/// # Errors
/// [`Unreadable::Size`].
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), Unreadable> {
    let side = 1..=MAX_SCANOUT_SIDE;
    let few = u64::from(width) * u64::from(height) <= MAX_SCANOUT_PIXELS;
    if side.contains(&width) && side.contains(&height) && few {
        Ok(())
    } else {
        Err(Unreadable::Size(width, height))
    }
}

/// Reads rows of a [`Source`], made by [`Source::begin`].
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    source: &'a Source,
    access: Access<'a>,
}

impl Reader<'_> {
    /// Reads pixels of a row of the picture, from the column `left` on, as our surfaces have them; the byte that does not
    /// count is 0.
    pub(crate) fn row(&self, y: u32, left: u32, out: &mut [u8]) {
        let Source { height, stride, order, top_down, .. } = *self.source;
        let row = if top_down { y } else { height.saturating_sub(1).saturating_sub(y) };
        self.access.read_at((row as usize).saturating_mul(stride).saturating_add(left as usize * 4), out);
        for pixel in out.as_chunks_mut::<4>().0 {
            let word = u32::from_le_bytes(*pixel) & 0x00ff_ffff;
            let word = match order {
                Order::Blue => word,
                Order::Red => word.swap_bytes() >> 8,
            };
            *pixel = word.to_le_bytes();
        }
    }
}

#[cfg(test)]
pub(in crate::display) mod tests {
    use super::*;
    use crate::host::GlPlane;
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::fs::File;
    use std::io::Write;

    /// Memory that stands for a dmabuf.
    pub(in crate::display) fn memory(bytes: &[u8]) -> File {
        let fd = memfd_create(c"scanout", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        let mut file = File::from(fd);
        file.write_all(bytes).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
        file
    }

    /// A scanout of one plane in this memory.
    pub(in crate::display) fn scanout(file: &File, width: u32, height: u32) -> GlScanout {
        GlScanout {
            planes: vec![GlPlane { fd: file.try_clone().unwrap().into(), offset: 0, stride: width * 4 }],
            width,
            height,
            drm_fourcc: u32::from_le_bytes(*b"XR24"),
            modifier: NOT_SAID,
            y0_top: true,
        }
    }

    #[test]
    fn rows_are_read_in_any_order_of_bytes_and_rows() {
        // Two rows of two pixels, four bytes apart from each other.
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 99, 99, 99, 99, 11, 12, 13, 14, 15, 16, 17, 18];
        let file = memory(&bytes);
        let mut scanout = scanout(&file, 2, 2);
        scanout.planes[0].stride = 12;
        let row = |scanout: &GlScanout, y, left| {
            let source = Source::open(scanout).unwrap();
            let mut out = vec![0; 8 - 4 * left as usize];
            source.begin().row(y, left, &mut out);
            out
        };
        assert_eq!(row(&scanout, 0, 0), [1, 2, 3, 0, 5, 6, 7, 0]);
        assert_eq!(row(&scanout, 1, 1), [15, 16, 17, 0]);
        scanout.y0_top = false;
        assert_eq!(row(&scanout, 0, 0), [11, 12, 13, 0, 15, 16, 17, 0]);
        scanout.drm_fourcc = u32::from_le_bytes(*b"AB24");
        assert_eq!(row(&scanout, 1, 0), [3, 2, 1, 0, 7, 6, 5, 0]);
        scanout.planes[0].offset = 4;
        scanout.height = 1;
        assert_eq!(row(&scanout, 0, 1), [99, 99, 99, 0]);
    }

    #[test]
    fn impossible_scanouts_are_refused() {
        let file = memory(&[0; 64]);
        let good = || scanout(&file, 4, 4);
        assert!(Source::open(&good()).is_ok());
        let refused = |change: &dyn Fn(&mut GlScanout)| {
            let mut scanout = good();
            change(&mut scanout);
            Source::open(&scanout).unwrap_err().to_string()
        };
        assert_eq!(refused(&|s| s.width = 0), "0 x 4 pixels");
        assert_eq!(refused(&|s| s.height = 0), "4 x 0 pixels");
        assert_eq!(refused(&|s| s.height = u32::MAX), "4 x 4294967295 pixels");
        assert_eq!(refused(&|s| s.width = 5), "rows of 16 bytes");
        assert_eq!(refused(&|s| s.planes[0].stride = 0), "rows of 0 bytes");
        assert_eq!(refused(&|s| s.modifier = 1), "tiles (modifier 0x1)");
        assert_eq!(refused(&|s| s.drm_fourcc = 7), "format 0x7");
        assert!(refused(&|s| s.planes[0].stride = u32::MAX).contains("its memory: it has 64 bytes"));
        assert!(refused(&|s| s.planes[0].offset = 1).contains("its memory: it has 64 bytes"));
        assert!(refused(&|s| s.planes[0].offset = u32::MAX).contains("its memory"));
        assert_eq!(refused(&|s| s.planes.extend(good().planes)), "2 planes");
    }
}
