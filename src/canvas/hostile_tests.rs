//! Commands with impossible numbers: nothing may panic, and no pixel outside of box and clip may change.

use super::{Canvas, ImageCache, Region};
use crate::draw::{
    AlphaBlend, Brush, Clip, Copy, DrawOp, Drawable, Effect, Fill, Mask, Opaque, Rop, Rop3, ScaleMode,
    Transparent,
};
use crate::geometry::{Point, Rect};
use crate::guest::PrivateSurface;
use crate::host::MappedSurface;
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, Palette, SurfaceFormat};
use proptest::prelude::*;
use std::sync::Arc;

const SIDE: i32 = 24;

fn number() -> impl Strategy<Value = i32> {
    prop_oneof![8 => -2..SIDE + 2, 1 => any::<i32>(), 1 => Just(i32::MAX), 1 => Just(i32::MIN)]
}

fn point() -> impl Strategy<Value = Point> {
    (number(), number()).prop_map(|(x, y)| Point { x, y })
}

fn rect() -> impl Strategy<Value = Rect> {
    prop_oneof![
        (number(), number(), number(), number()).prop_map(|(l, t, r, b)| Rect::new(l, t, r, b)),
        (0..SIDE, 0..SIDE, 0..SIDE, 0..SIDE)
            .prop_map(|(a, b, c, d)| { Rect::new(a.min(c), b.min(d), a.max(c) + 1, b.max(d) + 1) }),
    ]
}

fn image() -> impl Strategy<Value = Arc<Image>> {
    let bitmap = (1u8..=10, 1u32..30, 1u32..30, any::<bool>(), any::<bool>(), any::<u8>()).prop_map(
        |(format, width, height, top_down, high_bits_set, seed)| {
            let format = BitmapFormat::try_from(format).unwrap();
            let stride = u32::try_from(format.min_stride(width)).unwrap();
            // Fewer bytes than the header promises, because the guest may unmap them at any time.
            let pixels: Vec<u8> = (0..stride * height / 2).map(|i| i.to_le_bytes()[0] ^ seed).collect();
            let palette = Some(Arc::new(Palette { unique: 0, entries: vec![0x8012_3456; 3] }));
            let bitmap = Bitmap {
                format,
                width,
                height,
                stride,
                top_down,
                unstable: false,
                palette,
                pixels: Arc::new(pixels),
            };
            let data = ImageData::Bitmap(bitmap);
            Image { id: 1, cache_me: false, high_bits_set, width, height, data }
        },
    );
    let surface = (0u32..2).prop_map(|id| Image {
        id: 2,
        cache_me: false,
        high_bits_set: false,
        width: 1,
        height: 1,
        data: ImageData::Surface(id),
    });
    let quic = proptest::collection::vec(any::<u8>(), 0..64).prop_map(|stream| Image {
        id: 3,
        cache_me: false,
        high_bits_set: false,
        width: 3,
        height: 3,
        data: ImageData::Quic(stream.into()),
    });
    prop_oneof![4 => bitmap, 2 => surface, 1 => quic].prop_map(Arc::new)
}

fn brush() -> impl Strategy<Value = Brush> {
    prop_oneof![
        Just(Brush::None),
        any::<u32>().prop_map(Brush::Solid),
        (image(), point()).prop_map(|(image, origin)| Brush::Pattern { image, origin }),
    ]
}

fn mask() -> impl Strategy<Value = Option<Mask>> {
    proptest::option::of((any::<bool>(), point(), image()).prop_map(|(inverse, origin, image)| Mask {
        inverse,
        origin,
        image,
    }))
}

fn op() -> impl Strategy<Value = DrawOp> {
    let rop = || any::<u16>().prop_map(Rop::from_bits_retain);
    let scale = || prop_oneof![Just(ScaleMode::Interpolate), Just(ScaleMode::Nearest)];
    let src = || proptest::option::of(image());
    prop_oneof![
        (brush(), rop(), mask()).prop_map(|(brush, rop, mask)| DrawOp::Fill(Fill { brush, rop, mask })),
        (image(), rect(), rop(), scale(), mask()).prop_map(|(src, src_area, rop, scale_mode, mask)| {
            DrawOp::Copy(Copy { src, src_area, rop, scale_mode, mask })
        }),
        (src(), rect(), brush(), rop(), scale(), mask()).prop_map(
            |(src, src_area, brush, rop, scale_mode, mask)| {
                DrawOp::Opaque(Opaque { src, src_area, brush, rop, scale_mode, mask })
            }
        ),
        (src(), rect(), brush(), any::<u8>(), scale(), mask()).prop_map(
            |(src, src_area, brush, rop3, scale_mode, mask)| {
                DrawOp::Rop3(Rop3 { src, src_area, brush, rop3, scale_mode, mask })
            }
        ),
        point().prop_map(DrawOp::CopyBits),
        mask().prop_map(DrawOp::Invers),
        (src(), rect(), any::<u32>()).prop_map(|(src, src_area, key)| {
            DrawOp::Transparent(Transparent { src, src_area, src_color: 0, true_color: key })
        }),
        (src(), rect(), any::<u8>(), 0u16..4).prop_map(|(src, src_area, alpha, flags)| {
            DrawOp::AlphaBlend(AlphaBlend { flags, alpha, src, src_area })
        }),
    ]
}

fn canvas(format: SurfaceFormat, upside_down: bool) -> Canvas {
    let stride = i32::try_from(format.min_stride(SIDE.unsigned_abs()).next_multiple_of(4)).unwrap();
    let bytes = usize::try_from(stride * SIDE).unwrap();
    Canvas::new(MappedSurface {
        width: SIDE.unsigned_abs(),
        height: SIDE.unsigned_abs(),
        stride: if upside_down { -stride } else { stride },
        format,
        memory: Box::new(PrivateSurface((0..bytes).map(|i| i.to_le_bytes()[0] ^ 0x5a).collect())),
    })
    .unwrap()
}

fn pixels(canvas: &Canvas) -> Vec<Vec<u32>> {
    let row = |y| {
        let mut row = vec![0; usize::try_from(SIDE).unwrap()];
        canvas.read_row(0, y, &mut row);
        row
    };
    (0..SIDE).map(row).collect()
}

struct One(Canvas);

impl super::Surfaces for One {
    fn surface(&self, id: u32) -> Option<&Canvas> {
        (id == 1).then_some(&self.0)
    }
}

proptest! {
    #[test]
    fn hostile_commands_touch_only_their_area(
        op in op(),
        bbox in rect(),
        clip in proptest::option::of(proptest::collection::vec(rect(), 0..4)),
        formats in (0usize..6, 0usize..6),
        upside_down: bool,
    ) {
        use SurfaceFormat::{A1, A8, Argb32, Rgb555, Rgb565, Xrgb32};
        let all = [A1, A8, Rgb555, Rgb565, Xrgb32, Argb32];
        let mut target = canvas(all[formats.0], upside_down);
        let other = One(canvas(all[formats.1], false));
        let before = pixels(&target);
        let clears_box = matches!(op, DrawOp::AlphaBlend(_));
        let clip = clip.map_or(Clip::None, |rects| Clip::Rects(rects.into()));
        let drawable = Drawable {
            surface_id: 0,
            effect: Effect::Blend,
            bbox,
            clip: clip.clone(),
            mm_time: 0,
            self_bitmap: None,
            deps: [None; 3],
            op,
            release: None,
        };
        let result = target.draw(&drawable, &other, &mut ImageCache::default());
        let after = pixels(&target);
        for (y, (before, after)) in (0..SIDE).zip(before.iter().zip(&after)) {
            for (x, (b, a)) in (0..SIDE).zip(before.iter().zip(after)) {
                let p = Point { x, y };
                let clipped = matches!(&clip, Clip::Rects(rects) if !rects.iter().any(|r| r.contains_point(p)));
                let allowed = result.is_ok() && bbox.contains_point(p) && (clears_box || !clipped);
                prop_assert!(a == b || allowed, "{x},{y} changed");
            }
        }
    }

    /// The worker draws only the visible parts of commands. That must give the same pixels there.
    #[test]
    fn commands_drawn_in_parts_are_drawn_as_a_whole(
        op in op(),
        bbox in rect(),
        clip in proptest::option::of(proptest::collection::vec(rect(), 0..4)),
        formats in (0usize..6, 0usize..6),
        cut in rect(),
        from in proptest::option::of((0..9i32, 0..9i32)),
        blend_fully: bool,
    ) {
        use SurfaceFormat::{A1, A8, Argb32, Rgb555, Rgb565, Xrgb32};
        let all = [A1, A8, Rgb555, Rgb565, Xrgb32, Argb32];
        let (mut whole, mut parts) = (canvas(all[formats.0], false), canvas(all[formats.0], false));
        let other = One(canvas(all[formats.1], false));
        let clip = clip.map_or(Clip::None, |rects| Clip::Rects(rects.into()));
        let region = match &clip {
            Clip::None => Region::from(bbox),
            Clip::Rects(rects) => Region::from_rects(rects).intersect_rect(&bbox),
        }
        .intersect_rect(&whole.bounds());
        let mut op = op;
        let src_area = match &mut op {
            DrawOp::Copy(o) => Some(&mut o.src_area),
            DrawOp::Opaque(o) => Some(&mut o.src_area),
            DrawOp::Rop3(o) => Some(&mut o.src_area),
            DrawOp::Transparent(o) => Some(&mut o.src_area),
            DrawOp::AlphaBlend(o) => {
                o.alpha |= if blend_fully { 255 } else { 0 };
                Some(&mut o.src_area)
            }
            _ => None,
        };
        if let (Some(area), Some((x, y))) = (src_area, from) {
            let size = Rect::of_size(bbox.width(), bbox.height());
            *area = size.translate(x, y);
        }
        let op = match op {
            // This operation reads what it draws.
            DrawOp::CopyBits(_) => DrawOp::Blackness(None),
            // This operation clears unused bytes beside the pixels that it draws.
            DrawOp::AlphaBlend(a) => {
                DrawOp::AlphaBlend(AlphaBlend { flags: a.flags | AlphaBlend::DEST_HAS_ALPHA, ..a })
            }
            op => op,
        };
        // So does an operation with the target as its image.
        if format!("{op:?}").contains("Surface(0)") {
            return Ok(());
        }
        let drawable = Drawable {
            surface_id: 0,
            effect: Effect::Blend,
            bbox,
            clip,
            mm_time: 0,
            self_bitmap: None,
            deps: [None; 3],
            op,
            release: None,
        };
        let _ = whole.draw(&drawable, &other, &mut ImageCache::default());
        let cache = &mut ImageCache::default();
        for part in [region.intersect_rect(&cut), region.subtract_rect(&cut)] {
            let _ = parts.draw_region(&drawable, &part, &other, cache);
        }
        prop_assert_eq!(pixels(&whole), pixels(&parts));
    }
}
