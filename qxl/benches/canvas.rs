//! The canvas against pixman, which the original draws with: whole 1080p surfaces in guest memory, one operation at a
//! time.
//!
//! `cargo bench --bench canvas`; needs libpixman-1 with its development files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may panic")]

use divan::{Bencher, counter::BytesCount};
use spice_qxl::GuestSurface;
use spice_qxl::memory::{Block, GuestMemory, GuestRange, MemSlot};
use spice_server_core::canvas::{Canvas, ImageCache};
use spice_server_core::draw::{
    AlphaBlend, Brush, Clip, Copy, DrawOp, Drawable, Effect, Fill, Rop, ScaleMode, Transparent,
};
use spice_server_core::geometry::{Point, Rect};
use spice_server_core::host::{MappedSurface, QxlInitInfo};
use spice_server_core::image::{Bitmap, BitmapFormat, Image, ImageData, SurfaceFormat};
use std::sync::{Arc, LazyLock};

const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;
const STRIDE: usize = 4 * WIDTH as usize;
const BYTES: usize = STRIDE * HEIGHT as usize;

fn main() {
    divan::main();
}

/// The little of pixman that is measured against.
mod pixman {
    use super::{HEIGHT, STRIDE, WIDTH};
    use std::ffi::{c_int, c_void};

    pub(crate) const OVER: c_int = 3;
    pub(crate) const SRC: c_int = 1;
    pub(crate) const A8R8G8B8: c_int = 0x2002_8888;
    pub(crate) const X8R8G8B8: c_int = 0x2002_0888;

    #[repr(C)]
    pub(crate) struct Color(u16, u16, u16, u16);

    #[link(name = "pixman-1")]
    unsafe extern "C" {
        fn pixman_fill(
            bits: *mut u32,
            stride: c_int,
            bpp: c_int,
            x: c_int,
            y: c_int,
            width: c_int,
            height: c_int,
            value: u32,
        ) -> c_int;
        fn pixman_blt(
            src: *mut u32,
            dst: *mut u32,
            src_stride: c_int,
            dst_stride: c_int,
            src_bpp: c_int,
            dst_bpp: c_int,
            src_x: c_int,
            src_y: c_int,
            dst_x: c_int,
            dst_y: c_int,
            width: c_int,
            height: c_int,
        ) -> c_int;
        fn pixman_image_create_bits(
            format: c_int,
            width: c_int,
            height: c_int,
            bits: *mut u32,
            stride: c_int,
        ) -> *mut c_void;
        fn pixman_image_create_solid_fill(color: *const Color) -> *mut c_void;
        fn pixman_image_unref(image: *mut c_void) -> c_int;
        fn pixman_image_composite32(
            op: c_int,
            src: *mut c_void,
            mask: *mut c_void,
            dst: *mut c_void,
            src_x: i32,
            src_y: i32,
            mask_x: i32,
            mask_y: i32,
            dst_x: i32,
            dst_y: i32,
            width: i32,
            height: i32,
        );
    }

    const W: c_int = WIDTH as c_int;
    const H: c_int = HEIGHT as c_int;
    const WORDS: c_int = W;
    const ROW: c_int = STRIDE as c_int;

    // All of these get buffers of the size of the surface. Sources are only read.

    pub(crate) fn fill(pixels: *mut u8, value: u32) {
        // SAFETY: the buffer has the size that is named.
        assert_eq!(unsafe { pixman_fill(pixels.cast(), WORDS, 32, 0, 0, W, H, value) }, 1);
    }

    pub(crate) fn copy(src: *const u8, dst: *mut u8) {
        let (src, dst) = (src.cast_mut().cast(), dst.cast());
        // SAFETY: both buffers have the size that is named.
        assert_eq!(unsafe { pixman_blt(src, dst, WORDS, WORDS, 32, 32, 0, 0, 0, 0, W, H) }, 1);
    }

    /// Moves everything up by `rows`.
    pub(crate) fn scroll(pixels: *mut u8, rows: c_int) {
        let p = pixels.cast();
        // SAFETY: all rows lie in the buffer; rows are copied top down, so none is overwritten before it is read.
        assert_eq!(unsafe { pixman_blt(p, p, WORDS, WORDS, 32, 32, 0, rows, 0, 0, W, H - rows) }, 1);
    }

    pub(crate) fn composite(op: c_int, format: c_int, src: *const u8, alpha: Option<u8>, dst: *mut u8) {
        // SAFETY: both buffers have the size that is named and outlive the images.
        unsafe {
            let src = pixman_image_create_bits(format, W, H, src.cast_mut().cast(), ROW);
            let dst = pixman_image_create_bits(X8R8G8B8, W, H, dst.cast(), ROW);
            let mask = alpha.map_or(std::ptr::null_mut(), |a| {
                pixman_image_create_solid_fill(&Color(0, 0, 0, u16::from(a) * 0x101))
            });
            pixman_image_composite32(op, src, mask, dst, 0, 0, 0, 0, 0, 0, W, H);
            pixman_image_unref(src);
            pixman_image_unref(dst);
            if !mask.is_null() {
                pixman_image_unref(mask);
            }
        }
    }
}

/// Pixels with a bit of everything in the alpha channel, premultiplied.
fn picture() -> Vec<u32> {
    (0..WIDTH * HEIGHT)
        .map(|i| {
            let a = (i / 7).wrapping_mul(0x9e37_79b9) >> 24;
            let c = |v: u32| (v & 0xff) * a / 255;
            a << 24 | c(i) << 16 | c(i >> 3) << 8 | c(i >> 6)
        })
        .collect()
}

fn bytes(pixels: &[u32]) -> Vec<u8> {
    pixels.iter().flat_map(|p| p.to_le_bytes()).collect()
}

/// The guest's memory, where the surface is that all benches draw on by turns: how fast memory is depends on where its
/// pages happen to lie, which must not decide between them.
struct Guest {
    block: Arc<Block>,
    surface: GuestRange,
}

static GUEST: LazyLock<Guest> = LazyLock::new(|| {
    let block = Arc::new(Block::try_copy(&PICTURE).unwrap());
    let geometry = QxlInitInfo {
        num_memslot_groups: 1,
        num_memslots: 1,
        memslot_gen_bits: 8,
        memslot_id_bits: 8,
        qxl_ram_size: 0,
        internal_groupslot_id: 0,
        n_surfaces: 1,
    };
    let memory = GuestMemory::new(&geometry).unwrap();
    memory.add_slot(MemSlot::of_block(0, 0, 0, block.clone(), block.address())).unwrap();
    let surface = memory.resolve(0, 0, u64::try_from(BYTES).unwrap()).unwrap();
    Guest { block, surface }
});

/// The picture that they draw, for the same reason.
static PICTURE: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| Arc::new(bytes(&picture())));

fn image(format: BitmapFormat) -> Arc<Image> {
    let bitmap = Bitmap {
        format,
        width: WIDTH,
        height: HEIGHT,
        stride: u32::try_from(STRIDE).unwrap(),
        top_down: true,
        unstable: false,
        palette: None,
        pixels: PICTURE.clone(),
    };
    Arc::new(Image {
        id: 1,
        cache_me: false,
        high_bits_set: false,
        width: WIDTH,
        height: HEIGHT,
        data: ImageData::Bitmap(bitmap),
    })
}

fn whole() -> Rect {
    Rect::of_size(WIDTH, HEIGHT)
}

fn drawable(bbox: Rect, op: DrawOp) -> Drawable {
    Drawable {
        surface_id: 0,
        effect: Effect::Opaque,
        bbox,
        clip: Clip::None,
        mm_time: 0,
        self_bitmap: None,
        deps: [None; 3],
        op,
        release: None,
    }
}

fn copy(rop: Rop) -> Drawable {
    let src = image(BitmapFormat::ThirtyTwoBit);
    let copy = Copy { src, src_area: whole(), rop, scale_mode: ScaleMode::Interpolate, mask: None };
    drawable(whole(), DrawOp::Copy(copy))
}

fn blend(alpha: u8) -> Drawable {
    let op = AlphaBlend {
        flags: AlphaBlend::DEST_HAS_ALPHA,
        alpha,
        src: Some(image(BitmapFormat::Rgba)),
        src_area: whole(),
    };
    drawable(whole(), DrawOp::AlphaBlend(op))
}

fn draw(bencher: Bencher<'_, '_>, drawable: &Drawable) {
    let surface = MappedSurface {
        width: WIDTH,
        height: HEIGHT,
        stride: i32::try_from(STRIDE).unwrap(),
        format: SurfaceFormat::Xrgb32,
        memory: Box::new(GuestSurface(GUEST.surface.clone())),
    };
    let mut canvas = Canvas::new(surface).unwrap();
    let mut cache = ImageCache::default();
    bencher.counter(BytesCount::new(BYTES)).bench_local(|| canvas.draw(drawable, &(), &mut cache).unwrap());
}

fn with_pixman(bencher: Bencher<'_, '_>, mut f: impl FnMut(*const u8, *mut u8)) {
    let pixels = std::ptr::with_exposed_provenance_mut(usize::try_from(GUEST.block.address()).unwrap());
    bencher.counter(BytesCount::new(BYTES)).bench_local(|| f(PICTURE.as_ptr(), pixels));
}

#[divan::bench_group]
mod fill {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        let fill = Fill { brush: Brush::Solid(0x12_3456), rop: Rop::PUT, mask: None };
        draw(bencher, &drawable(whole(), DrawOp::Fill(fill)));
    }

    #[divan::bench]
    fn pixman(bencher: Bencher<'_, '_>) {
        with_pixman(bencher, |_, dst| pixman::fill(dst, 0x12_3456));
    }

    #[divan::bench]
    fn xor(bencher: Bencher<'_, '_>) {
        let fill = Fill { brush: Brush::Solid(0x12_3456), rop: Rop::XOR, mask: None };
        draw(bencher, &drawable(whole(), DrawOp::Fill(fill)));
    }
}

#[divan::bench_group]
mod copying {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        draw(bencher, &copy(Rop::PUT));
    }

    #[divan::bench]
    fn pixman(bencher: Bencher<'_, '_>) {
        with_pixman(bencher, pixman::copy);
    }

    #[divan::bench]
    fn pixman_composite(bencher: Bencher<'_, '_>) {
        with_pixman(bencher, |src, dst| pixman::composite(pixman::SRC, pixman::X8R8G8B8, src, None, dst));
    }

    #[divan::bench]
    fn or(bencher: Bencher<'_, '_>) {
        draw(bencher, &copy(Rop::OR));
    }

    #[divan::bench]
    fn transparent(bencher: Bencher<'_, '_>) {
        let src = Some(image(BitmapFormat::ThirtyTwoBit));
        let op = Transparent { src, src_area: whole(), src_color: 0, true_color: 0 };
        draw(bencher, &drawable(whole(), DrawOp::Transparent(op)));
    }
}

#[divan::bench_group]
mod scroll {
    use super::*;

    const ROWS: i32 = 16;

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        let mut bbox = whole();
        bbox.bottom -= ROWS;
        draw(bencher, &drawable(bbox, DrawOp::CopyBits(Point { x: 0, y: ROWS })));
    }

    #[divan::bench]
    fn ours_sideways(bencher: Bencher<'_, '_>) {
        let mut bbox = whole();
        bbox.left += ROWS;
        draw(bencher, &drawable(bbox, DrawOp::CopyBits(Point { x: 0, y: 0 })));
    }

    #[divan::bench]
    fn pixman(bencher: Bencher<'_, '_>) {
        with_pixman(bencher, |_, dst| pixman::scroll(dst, ROWS));
    }
}

#[divan::bench_group]
mod alpha_blend {
    use super::*;

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        draw(bencher, &blend(255));
    }

    #[divan::bench]
    fn pixman(bencher: Bencher<'_, '_>) {
        with_pixman(bencher, |src, dst| pixman::composite(pixman::OVER, pixman::A8R8G8B8, src, None, dst));
    }

    #[divan::bench]
    fn ours_half(bencher: Bencher<'_, '_>) {
        draw(bencher, &blend(128));
    }

    #[divan::bench]
    fn pixman_half(bencher: Bencher<'_, '_>) {
        with_pixman(bencher, |src, dst| {
            pixman::composite(pixman::OVER, pixman::A8R8G8B8, src, Some(128), dst);
        });
    }
}
