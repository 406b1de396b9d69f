//! Commands of every kind, to be recorded, replayed and mutated.

use super::structures::{BitmapSpec, DrawableSpec, PUT, body, brush, draw_type, mask, no_mask};
use super::{Bytes, MockGuest};
use crate::parse::command_type;
use spice_server_core::codec::quic;
use spice_server_core::geometry::{Point, Point16, Rect};

const BOX: Rect = Rect::new(0, 0, 4, 4);

/// Every kind of command, as types and addresses: surfaces 5 and 6 are created, drawn on, and 5 is destroyed. They
/// expect a primary surface of at least 4 x 4 pixels.
///
/// # Panics
/// Never: the images are small.
pub fn all_commands(guest: &mut MockGuest) -> Vec<(u32, u64)> {
    let pixels: Vec<u8> = (0..64).collect();
    let origin = Point { x: -3, y: 7 };
    let direct = guest.bitmap32(0x1_0000_0002, 4, 4, &pixels);
    let palette = guest.palette(77, &[1, 2, 0xffff_ffff, 4]);
    let chunked = guest.bitmap(&BitmapSpec {
        id: u64::MAX,
        descriptor_flags: 3,
        format: 4,
        flags: 2,
        width: 4,
        height: 4,
        stride: 4,
        palette,
        chunks: &[&pixels[..3], &pixels[3..11], &pixels[11..16]],
    });
    let one_bit = guest.bitmap(&BitmapSpec {
        id: 3,
        descriptor_flags: 0,
        format: 2,
        flags: 5,
        width: 4,
        height: 4,
        stride: 1,
        palette: 0,
        chunks: &[&[0x50, 0xa0, 0x50, 0xa0]],
    });
    let stream = quic_stream();
    let quic = guest.quic_image(9, 4, 4, &[&stream[..5], &stream[5..]]);
    let surface = guest.surface_image(5, 4, 4);
    let clip = guest.clip_rects(&[Rect::new(0, 0, 2, 2), Rect::new(1, 1, 4, 4)]);
    let style = guest.put(&Bytes::new().i32(32).i32(16).0);
    let path =
        guest.path(&[(1, &[Point { x: 0, y: 0 }, Point { x: -40, y: 64 }]), (2, &[Point { x: 9, y: 9 }])]);
    let string = guest.string(2, &[(origin, 3, 2, &[1, 2, 3, 4]), (Point::default(), 1, 1, &[7])]);
    let matrix = guest.transform([1 << 16, 0, -5, 0, 1 << 16, 9]);
    let tiled = brush::pattern(chunked, origin);
    let masked = mask(1, origin, one_bit);
    let (here, there) = (Point16 { x: -1, y: 2 }, Point16 { x: 3, y: -4 });
    let bodies = [
        (draw_type::NOP, Bytes::new()),
        (draw_type::FILL, body::fill(&brush::solid(0xff00_0001), PUT, &no_mask())),
        (draw_type::FILL, body::fill(&brush::none(), 0x40, &masked)),
        (draw_type::OPAQUE, body::opaque(quic, BOX, &tiled, 0x20, 1, &masked)),
        (draw_type::COPY, body::copy(direct, BOX, PUT, 0, &no_mask())),
        (draw_type::COPY, body::copy(chunked, BOX, PUT, 1, &masked)),
        (draw_type::BLEND, body::copy(surface, BOX, PUT, 0, &no_mask())),
        (draw_type::COPY_BITS, body::copy_bits(Point { x: 1, y: 0 })),
        (draw_type::BLACKNESS, no_mask()),
        (draw_type::WHITENESS, masked.clone()),
        (draw_type::INVERS, no_mask()),
        (draw_type::ROP3, body::rop3(direct, BOX, &tiled, 0xca, 0, &no_mask())),
        (draw_type::STROKE, body::stroke(path, 8, (2, style), &brush::solid(3), PUT)),
        (draw_type::STROKE, body::stroke(path, 0, (0, 0), &brush::solid(3), PUT)),
        (draw_type::TEXT, body::text(string, BOX, &brush::solid(1), &brush::none(), PUT)),
        (draw_type::TRANSPARENT, body::transparent(direct, BOX, 1, 0xffff_fffe)),
        (draw_type::ALPHA_BLEND, body::alpha_blend(3, 200, direct, BOX)),
        (draw_type::COMPOSITE, body::composite(0x40_0003, [direct, matrix, surface, matrix], here, there)),
        (draw_type::COMPOSITE, body::composite(3, [surface, 0, 0, 0], here, there)),
    ];
    let mut commands = Vec::new();
    let spec = guest.surface_spec(8, 8);
    commands.push((command_type::SURFACE, guest.create_surface(5, &spec)));
    let kept = spice_server_core::host::SurfaceSpec { keep_data: true, stride: -32, ..spec };
    commands.push((command_type::SURFACE, guest.create_surface(6, &kept)));
    for (kind, body) in bodies {
        let mut spec = DrawableSpec::new(kind, BOX);
        commands.push((command_type::DRAW, guest.drawable(&spec, &body)));
        spec.clip = (1, clip);
        spec.surface_id = 5;
        spec.deps[1] = (6, BOX);
        spec.self_bitmap = Some(BOX);
        commands.push((command_type::DRAW, guest.drawable(&spec, &body)));
    }
    let rop3 = body::rop3(0, BOX, &brush::none(), 0xca, 0, &no_mask());
    let spec = DrawableSpec { self_bitmap: Some(BOX), ..DrawableSpec::new(draw_type::ROP3, BOX) };
    commands.push((command_type::DRAW, guest.drawable(&spec, &rop3)));
    commands.push((command_type::UPDATE, guest.update_command(5, BOX, u32::MAX)));
    commands.push((command_type::MESSAGE, guest.message(b"hello 1:")));
    let shape = guest.cursor_shape(u64::MAX, 1, (9, 2), (1, 1), &[1, 2, 3, 4, 5, 6, 7, 8]);
    commands.push((command_type::CURSOR, guest.cursor_set(here, true, shape)));
    commands.push((command_type::CURSOR, guest.cursor_move(there)));
    commands.push((command_type::CURSOR, guest.cursor_hide()));
    commands.push((command_type::CURSOR, guest.cursor_trail(4, u16::MAX)));
    commands.push((command_type::SURFACE, guest.destroy_surface(5)));
    commands
}

/// A QUIC image of 4 x 4 pixels.
fn quic_stream() -> Vec<u8> {
    use spice_server_core::image::{BitmapFormat, ImageView};
    let pixels: Vec<u8> = (0..64).collect();
    let source = spice_server_core::guest::SliceSource(&pixels);
    let view = ImageView {
        format: BitmapFormat::ThirtyTwoBit,
        width: 4,
        height: 4,
        stride: 16,
        top_down: true,
        source: &source,
    };
    let mut encoded = Vec::new();
    quic::Encoder::default().encode(&view, 1 << 16, &mut encoded).expect("a small image");
    encoded
}
