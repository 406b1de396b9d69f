//! The messages of wire.md 10.7 to 10.15, captured from the original.

use super::*;
use crate::draw::{Copy, Fill, Glyph, GlyphString, Opaque, Rop, ScaleMode};
use crate::geometry::{Point16, PointFix};
use crate::image::{Bitmap, Image, ImageData};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn guest_image() -> Arc<Image> {
    let bitmap = Bitmap {
        format: BitmapFormat::ThirtyTwoBit,
        width: 32,
        height: 32,
        stride: 128,
        top_down: true,
        unstable: false,
        palette: None,
        pixels: Arc::new(vec![0u8; 4096]),
    };
    Arc::new(Image {
        id: 7 << 32,
        cache_me: true,
        high_bits_set: false,
        width: 32,
        height: 32,
        data: ImageData::Bitmap(bitmap),
    })
}

fn wire(id: u64, flags: u8, side: u32, data: WireImageData) -> WireImage {
    WireImage { id, flags, width: side, height: side, data }
}

fn copy(mask: Option<Mask>, side: i32) -> DrawOp {
    DrawOp::Copy(Copy {
        src: guest_image(),
        src_area: Rect::new(0, 0, side, side),
        rop: Rop::PUT,
        scale_mode: ScaleMode::Interpolate,
        mask,
    })
}

fn body(base: &DrawBase<'_>, op: &DrawOp, images: DrawImages) -> Vec<u8> {
    draw(base, op, images).unwrap().body.to_vec()
}

fn src(image: WireImage) -> DrawImages {
    DrawImages { src: Some(image), ..DrawImages::default() }
}

#[test]
fn copy_with_clip_and_glz_image() {
    let clip = Clip::Rects([Rect::new(20, 50, 52, 60), Rect::new(20, 70, 40, 82)].into());
    let base = DrawBase { surface_id: 0, bbox: Rect::new(20, 50, 52, 82), clip: &clip };
    let glz = vec![0x5a; 145];
    let got = body(
        &base,
        &copy(None, 32),
        src(wire(7 << 32, IMAGE_CACHE_ME, 32, WireImageData::GlzRgb(glz.into()))),
    );
    let head = hex("00 00 00 00 32 00 00 00 14 00
         00 00 52 00 00 00 34 00 00 00 01 02 00 00 00 32
         00 00 00 14 00 00 00 3c 00 00 00 34 00 00 00 46
         00 00 00 14 00 00 00 52 00 00 00 28 00 00 00 5d
         00 00 00 00 00 00 00 00 00 00 00 20 00 00 00 20
         00 00 00 08 00 00 00 00 00 00 00 00 00 00 00 00
         00 00 00  00 00 00 00 07 00 00 00 66 01 20 00 00
         00 20 00 00 00 91 00 00 00");
    assert_eq!(got.len(), 260);
    assert_eq!(got[..head.len()], head);
}

#[test]
fn copy_from_cache_is_75_bytes() {
    let base = DrawBase { surface_id: 0, bbox: Rect::new(20, 50, 52, 82), clip: &Clip::None };
    let got = body(&base, &copy(None, 32), src(wire(7 << 32, 0, 32, WireImageData::FromCache)));
    assert_eq!(got.len(), 75);
    assert_eq!(got[21..25], hex("39000000"));
    assert_eq!(got[57..], hex("00 00 00 00 07 00 00 00 67 00 20 00 00 00 20 00 00 00"));
}

#[test]
fn copy_with_quic_image() {
    let base = DrawBase { surface_id: 0, bbox: Rect::new(20, 100, 84, 164), clip: &Clip::None };
    let got =
        body(&base, &copy(None, 64), src(wire(8 << 32, 0, 64, WireImageData::Quic(vec![1; 5512].into()))));
    assert_eq!(got.len(), 5591);
    let head = hex("00 00 00 00 64 00 00 00 14 00
         00 00 a4 00 00 00 54 00 00 00 00 39 00 00 00 00
         00 00 00 00 00 00 00 40 00 00 00 40 00 00 00 08
         00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
         00 00 00 08 00 00 00 01 00 40 00 00 00 40 00 00
         00 88 15 00 00");
    assert_eq!(got[..head.len()], head);
}

#[test]
fn palette_stands_behind_the_data() {
    let base = DrawBase { surface_id: 0, bbox: Rect::new(0, 0, 32, 32), clip: &Clip::None };
    let palette = Arc::new(Palette { unique: 77, entries: (0..16).map(|i| i * 0x0002_0103).collect() });
    let inline = WirePalette::Inline { palette, cache_me: true };
    let plt = |palette| WireImageData::LzPlt { top_down: true, palette, data: vec![0x20; 204].into() };
    let got = body(&base, &copy(None, 32), src(wire(9 << 32, 0, 32, plt(inline))));
    assert_eq!(got.len(), 362);
    assert_eq!(
        got[57..84],
        hex("00 00 00 00 09 00 00 00 64 00 20 00 00 00 20 00 00 00 05 cc 00 00 00 20 01 00 00")
    );
    assert_eq!(got[288..306], hex("4d 00 00 00 00 00 00 00 10 00 00 00 00 00 03 01 02 00"));
    let got = body(&base, &copy(None, 32), src(wire(9 << 32, 0, 32, plt(WirePalette::FromCache(77)))));
    assert_eq!(got[75..88], hex("06 cc 00 00 00 4d 00 00 00 00 00 00 00"));
    assert_eq!(got.len(), 57 + 18 + 13 + 204);
}

#[test]
fn fill_solid_and_with_mask() {
    let base = DrawBase { surface_id: 0, bbox: Rect::new(20, 10, 52, 42), clip: &Clip::None };
    let fill = |color, mask| DrawOp::Fill(Fill { brush: Brush::Solid(color), rop: Rop::PUT, mask });
    let got = body(&base, &fill(0x00aa_bbcc, None), DrawImages::default());
    let expect = hex("00 00 00 00 0a 00 00 00 14 00 00 00 2a 00 00 00 34 00 00 00 00
         01 cc bb aa 00  08 00  00 00 00 00 00 00 00 00 00 00 00 00 00");
    assert_eq!(got, expect);

    let mask = Mask { inverse: false, origin: Point { x: 1, y: 2 }, image: guest_image() };
    let bitmap = WireImageData::Bitmap {
        format: BitmapFormat::OneBitBe,
        top_down: true,
        stride: 4,
        palette: WirePalette::None,
        data: vec![0xf0; 128].into(),
    };
    let images = DrawImages { mask: Some(wire(10 << 32, 0, 32, bitmap)), ..DrawImages::default() };
    let got = body(&base, &fill(0x00ff_0000, Some(mask)), images);
    assert_eq!(got[21..41], hex("01 00 00 ff 00 08 00 00 01 00 00 00 02 00 00 00 29 00 00 00"));
    let image = hex("00 00 00 00 0a 00 00 00 00 00 20 00 00 00 20 00 00 00
         02 04 20 00 00 00 20 00 00 00 04 00 00 00 00 00 00 00");
    assert_eq!(got[41..77], image);
    assert_eq!(got.len(), 77 + 128);
}

#[test]
fn stroke_has_path_then_style() {
    let base = DrawBase { surface_id: 0, bbox: Rect::new(400, 340, 500, 400), clip: &Clip::None };
    let base = DrawBase { bbox: Rect::new(0, 0x154, 0x50, 0x190), ..base };
    let fix = |x, y| PointFix { x, y };
    let op = DrawOp::Stroke(Stroke {
        path: [PathSegment { flags: 3, points: vec![fix(160, 160), fix(800, 160), fix(800, 800)] }].into(),
        line_flags: Stroke::STYLED,
        style: [64, 32].into(),
        brush: Brush::Solid(0x00ff_00ff),
        fore_mode: Rop::PUT,
        back_mode: Rop::empty(),
    });
    let expect = hex("00 00 00 00 54 01 00 00 00 00 00 00 90 01 00 00 50 00 00 00 00
         28 00 00 00  08 02 49 00 00 00  01 ff 00 ff 00  08 00 00 00
         01 00 00 00  03 03 00 00 00  a0 00 00 00 a0 00 00 00 20 03 00 00 a0 00 00 00 20 03 00 00 20 03 00 00
         40 00 00 00 20 00 00 00");
    let got = body(&base, &op, DrawImages::default());
    assert_eq!(got.len(), 81);
    assert_eq!(got, expect);
}

#[test]
fn composite_has_only_the_members_of_its_flags() {
    let base = DrawBase { surface_id: 0, bbox: Rect::default(), clip: &Clip::None };
    let op = DrawOp::Composite(Composite {
        flags: 0x103,
        src: Some(guest_image()),
        src_transform: Some(Transform([0x10000, 0, 0, 0, 0x10000, 0])),
        mask: Some(guest_image()),
        mask_transform: None,
        src_origin: Point16 { x: 1, y: 2 },
        mask_origin: Point16 { x: 3, y: 4 },
    });
    let cached = || Some(wire(1, 0, 32, WireImageData::FromCache));
    let images = DrawImages { src: cached(), mask: cached(), ..DrawImages::default() };
    let got = body(&base, &op, images);
    let tail = hex(
        "03 01 18 00  41 00 00 00  53 00 00 00  00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00
         01 00 02 00  03 00 04 00",
    );
    assert_eq!(got[21..65], tail);
    assert_eq!(got.len(), 65 + 2 * 18);
}

#[test]
fn palettes_come_after_all_images_in_order_of_the_images() {
    let base = DrawBase { surface_id: 0, bbox: Rect::default(), clip: &Clip::None };
    let image = |byte: u8| {
        let palette = WirePalette::Inline {
            palette: Arc::new(Palette { unique: byte.into(), entries: vec![] }),
            cache_me: false,
        };
        let data = vec![byte; 1].into();
        wire(u64::from(byte), 0, 1, WireImageData::LzPlt { top_down: false, palette, data })
    };
    let op = DrawOp::Opaque(Opaque {
        src: Some(guest_image()),
        src_area: Rect::default(),
        brush: Brush::Pattern { image: guest_image(), origin: Point::default() },
        rop: Rop::PUT,
        scale_mode: ScaleMode::Nearest,
        mask: None,
    });
    let images = DrawImages { src: Some(image(1)), brush: Some(image(2)), ..DrawImages::default() };
    let got = body(&base, &op, images);
    let fixed = 21 + 4 + 16 + 13 + 2 + 1 + 13;
    let each = 18 + 1 + 4 + 4 + 1;
    assert_eq!(got[fixed], 1);
    assert_eq!(got[fixed + each], 2);
    assert_eq!(got[fixed + 2 * each], 1);
    assert_eq!(got[fixed + 2 * each + 10], 2);
    assert_eq!(got.len(), fixed + 2 * (each + 10));
}

#[test]
fn text_has_its_string_first() {
    let base = DrawBase { surface_id: 0, bbox: Rect::default(), clip: &Clip::None };
    let glyph = Glyph {
        render_pos: Point { x: 1, y: 2 },
        origin: Point { x: 3, y: 4 },
        width: 9,
        height: 1,
        data: vec![0xab, 0x80],
    };
    let op = DrawOp::Text(Text {
        string: Arc::new(GlyphString { flags: GlyphString::A1, glyphs: vec![glyph] }),
        back_area: Rect::default(),
        fore_brush: Brush::Solid(5),
        back_brush: Brush::None,
        fore_mode: Rop::PUT,
        back_mode: Rop::empty(),
    });
    let got = body(&base, &op, DrawImages::default());
    let string = 21 + 4 + 16 + 5 + 1 + 4;
    assert_eq!(got[21..25], [string as u8, 0, 0, 0]);
    assert_eq!(got[string..string + 3], [1, 0, 1]);
    assert_eq!(got[string + 19..], [9, 0, 1, 0, 0xab, 0x80]);
}

#[test]
fn nop_is_no_message() {
    let base = DrawBase { surface_id: 0, bbox: Rect::default(), clip: &Clip::None };
    assert!(draw(&base, &DrawOp::Nop, DrawImages::default()).is_none());
}
