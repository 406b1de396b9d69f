use super::job::ImageJob;
use super::*;
use crate::draw::{Brush, Clip, Copy, DrawOp, Effect, Fill, Mask, Rop, Rop3, ScaleMode};
use crate::geometry::Point;
use crate::image::{Bitmap, BitmapFormat, Image, ImageData, Palette};
use crate::protocol::display::server;
use crate::protocol::draw::{IMAGE_CACHE_ME, IMAGE_CACHE_REPLACE_ME, IMAGE_HIGH_BITS_SET};
use std::sync::Arc;

mod areas;
mod forms;

fn bitmap(format: BitmapFormat, side: u32) -> Bitmap {
    let stride = u32::try_from(format.min_stride(side)).unwrap();
    let palette = format.is_palette().then(|| Arc::new(Palette { unique: 77, entries: vec![1, 2, 3] }));
    let pixels: Vec<u8> = (0..stride * side).map(|i| (i % 3) as u8).collect();
    let (width, height) = (side, side);
    Bitmap {
        format,
        width,
        height,
        stride,
        top_down: true,
        unstable: false,
        palette,
        pixels: Arc::new(pixels),
    }
}

fn image(id: u64, cache_me: bool, bitmap: Bitmap) -> Arc<Image> {
    let (width, height) = (bitmap.width, bitmap.height);
    Arc::new(Image { id, cache_me, high_bits_set: false, width, height, data: ImageData::Bitmap(bitmap) })
}

fn drawable(op: DrawOp) -> Drawable {
    Drawable {
        surface_id: 0,
        effect: Effect::Opaque,
        bbox: Rect::new(0, 0, 32, 32),
        clip: Clip::None,
        mm_time: 0,
        self_bitmap: None,
        deps: [None; 3],
        op,
        release: None,
    }
}

fn copy(src: Arc<Image>) -> Drawable {
    let src_area = Rect::of_size(src.width, src.height);
    let (rop, scale_mode) = (Rop::PUT, ScaleMode::Interpolate);
    drawable(DrawOp::Copy(Copy { src, src_area, rop, scale_mode, mask: None }))
}

struct NoSurfaces;

impl SurfaceSizes for NoSurfaces {
    fn surface_size(&self, _: u32) -> Option<(u32, u32)> {
        None
    }
    fn surface_format(&self, _: u32) -> Option<SurfaceFormat> {
        None
    }
}

struct Client {
    encoder: ImageEncoder,
    workspace: Workspace,
    serial: u64,
    mini: bool,
}

impl Client {
    fn new(shared: &ClientShared, channel_id: u8, cache: i64, settings: EncodeSettings) -> Self {
        let mut encoder = ImageEncoder::new(channel_id, settings);
        let init = DisplayInit {
            pixmap_cache_id: 1,
            pixmap_cache_size: cache,
            glz_dictionary_id: 1,
            glz_window_size: 1 << 20,
        };
        encoder.init(shared, &init).unwrap();
        Self { encoder, workspace: Workspace::default(), serial: 0, mini: true }
    }

    /// Sends a drawable; what a stream would count and carry.
    fn send(&mut self, drawable: &Drawable) -> Vec<Outgoing> {
        let serials = Serials { last: self.serial, mini_header: self.mini };
        let messages = self.encode(serials, drawable, &NoSurfaces).unwrap();
        for o in &messages {
            self.serial += 1 + u64::from(self.mini && !o.sub_messages.is_empty());
        }
        messages
    }

    fn encode(
        &mut self,
        serials: Serials,
        drawable: &Drawable,
        surfaces: &dyn SurfaceSizes,
    ) -> Option<Vec<Outgoing>> {
        self.encoder.encode(&mut self.workspace, serials, &Drawing::of_command(drawable), surfaces)
    }

    /// Image type and flags of a DRAW_COPY without clip.
    fn copy(&mut self, src: &Arc<Image>) -> (u8, u8) {
        let body = self.send(&copy(src.clone()))[0].message.body.to_vec();
        (body[57 + 8], body[57 + 9])
    }
}

fn off() -> EncodeSettings {
    EncodeSettings { compression: ImageCompression::Off, ..EncodeSettings::default() }
}

#[test]
fn second_use_comes_from_the_cache() {
    let mut c = Client::new(&ClientShared::default(), 0, 5000, off());
    let src = image(7 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 32));
    assert_eq!(c.copy(&src), (0, IMAGE_CACHE_ME));
    assert_eq!(c.copy(&src), (103, 0));
    let private = image(8 << 32, false, bitmap(BitmapFormat::ThirtyTwoBit, 32));
    assert_eq!(c.copy(&private), (0, 0));
    assert_eq!(c.copy(&private), (0, 0));
}

/// Surface 0 of this format.
struct One(SurfaceFormat);

impl SurfaceSizes for One {
    fn surface_size(&self, id: u32) -> Option<(u32, u32)> {
        (id == 0).then_some((64, 64))
    }
    fn surface_format(&self, id: u32) -> Option<SurfaceFormat> {
        (id == 0).then_some(self.0)
    }
}

/// Clients keep a palette image as the first surface took its colours, and lose the alpha of palettes.
#[test]
fn palettes_are_cached_for_xrgb_and_not_sent_for_alpha() {
    let src = image(7 << 32, true, bitmap(BitmapFormat::EightBit, 32));
    let mut c = Client::new(&ClientShared::default(), 0, 5000, off());
    for (format, expect) in [
        (SurfaceFormat::Rgb555, Some((0, 0))),
        (SurfaceFormat::Xrgb32, Some((0, IMAGE_CACHE_ME))),
        (SurfaceFormat::Xrgb32, Some((103, 0))),
        (SurfaceFormat::Rgb555, Some((0, 0))),
        (SurfaceFormat::Argb32, None),
        (SurfaceFormat::A8, None),
    ] {
        let serials = Serials { last: 0, mini_header: true };
        let encoded = c.encode(serials, &copy(src.clone()), &One(format));
        let sent = encoded.map(|messages| {
            let body = messages[0].message.body.to_vec();
            (body[57 + 8], body[57 + 9])
        });
        assert_eq!(sent, expect, "{format:?}");
    }
}

#[test]
fn eviction_is_told_before_the_message_that_caused_it() {
    let mut c = Client::new(&ClientShared::default(), 0, 1500, off());
    let a = image(7 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 32));
    let b = image(8 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 32));
    c.copy(&a);
    let sent = c.send(&copy(b));
    assert_eq!(sent[0].sub_messages.len(), 1);
    assert_eq!(sent[0].sub_messages[0].msg_type, server::INVAL_LIST);
    assert_eq!(sent[0].sub_messages[0].body.to_vec(), b"\x01\0\x01\0\0\0\0\x07\0\0\0");
    assert_eq!(c.serial, 3);
}

#[test]
fn eviction_waits_for_the_other_display_that_used_the_image() {
    let shared = ClientShared::default();
    let mut one = Client::new(&shared, 0, 1500, off());
    let mut two = Client::new(&shared, 1, 1500, off());
    let a = image(7 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 32));
    two.serial = 40;
    one.copy(&a);
    assert_eq!(two.copy(&a), (103, 0));
    let sent = one.send(&copy(image(8 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 32))));
    let wait = &sent[0].sub_messages[0];
    assert_eq!(wait.msg_type, crate::protocol::common::server::WAIT_FOR_CHANNELS);
    assert_eq!(wait.body.to_vec(), [1, 2, 1, 41, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(sent[0].sub_messages[1].msg_type, server::INVAL_LIST);
}

#[test]
fn serial_of_a_use_counts_the_message_sent_ahead() {
    let shared = ClientShared::default();
    let mut one = Client::new(&shared, 0, 1500, off());
    let mut two = Client::new(&shared, 1, 1500, off());
    one.copy(&image(7 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 32)));
    let b = image(8 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 32));
    one.copy(&b);
    assert_eq!(one.serial, 3);
    let sent = two.send(&copy(image(9 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 32))));
    assert_eq!(sent[0].sub_messages[0].body.to_vec()[3..], 3u64.to_le_bytes());
}

#[test]
fn palette_is_cached_and_dropped_with_all_palettes() {
    let mut c = Client::new(&ClientShared::default(), 0, 0, off());
    let src = image(1, false, bitmap(BitmapFormat::EightBit, 32));
    let flags = |c: &mut Client| c.send(&copy(src.clone()))[0].message.body.to_vec()[57 + 19];
    assert_eq!(flags(&mut c), 5);
    assert_eq!(flags(&mut c), 6);
    c.encoder.palettes_invalidated();
    assert_eq!(flags(&mut c), 5);
}

#[test]
fn evicted_palette_is_told_after_the_message() {
    let mut c = Client::new(&ClientShared::default(), 0, 0, off());
    for unique in 1..=129 {
        let mut b = bitmap(BitmapFormat::EightBit, 32);
        b.palette = Some(Arc::new(Palette { unique, entries: vec![1; 3] }));
        let sent = c.send(&copy(image(unique, false, b)));
        assert_eq!(sent.len(), if unique == 129 { 2 } else { 1 });
        if unique == 129 {
            assert_eq!(sent[1].message.msg_type, server::INVAL_PALETTE);
            assert_eq!(sent[1].message.body.to_vec(), 1u64.to_le_bytes());
        }
    }
}

#[test]
fn unix_clients_get_raw_images_of_commands() {
    let settings =
        EncodeSettings { compression: ImageCompression::Quic, unix: true, ..EncodeSettings::default() };
    let mut c = Client::new(&ClientShared::default(), 0, 0, settings);
    let b = bitmap(BitmapFormat::ThirtyTwoBit, 32);
    assert_eq!(c.copy(&image(1, false, b.clone())).0, 0);
    let pixels = AreaPixels { bitmap: b, high_bits_set: true };
    let image = c.encoder.server_image(0, Rect::new(0, 0, 32, 32), pixels, false);
    let serials = Serials { last: 0, mini_header: true };
    let sent = c.encoder.encode(&mut c.workspace, serials, &image.drawing(), &NoSurfaces).unwrap();
    let body = sent[0].message.body.to_vec();
    assert_eq!(body[57..67], [2, 0, 0, 0, 1, 0, 0, 0, 1, IMAGE_HIGH_BITS_SET]);
}

#[test]
fn mask_goes_raw_and_uncached() {
    let settings = EncodeSettings { compression: ImageCompression::Lz, ..EncodeSettings::default() };
    let mut c = Client::new(&ClientShared::default(), 0, 5000, settings);
    let mut b = bitmap(BitmapFormat::OneBitBe, 64);
    b.palette = None;
    let mask = Mask { inverse: true, origin: Point::default(), image: image(5, true, b) };
    let fill = drawable(DrawOp::Fill(Fill { brush: Brush::Solid(1), rop: Rop::PUT, mask: Some(mask) }));
    for _ in 0..2 {
        let body = c.send(&fill)[0].message.body.to_vec();
        assert_eq!(body[41 + 8..41 + 10], [0, 0]);
        assert_eq!(body.len(), 41 + 18 + 18 + 512);
    }
}

#[test]
fn missing_surface_or_source_is_not_sent_and_touches_no_cache() {
    let mut c = Client::new(&ClientShared::default(), 0, 5000, off());
    let surface = Arc::new(Image {
        id: 1,
        cache_me: false,
        high_bits_set: false,
        width: 1,
        height: 1,
        data: ImageData::Surface(5),
    });
    let serials = Serials { last: 0, mini_header: true };
    let d = copy(surface);
    assert!(c.encode(serials, &d, &NoSurfaces).is_none());
    let nop = drawable(DrawOp::Nop);
    assert!(c.encode(serials, &nop, &NoSurfaces).is_none());
}

/// Stock clients abort on ternary codes that ignore an operand.
#[test]
fn ternary_codes_that_ignore_an_operand_are_not_sent() {
    let mut c = Client::new(&ClientShared::default(), 0, 5000, off());
    let serials = Serials { last: 0, mini_header: true };
    for (rop3, sent) in [(0xcc, false), (0xb8, true), (0x5a, false)] {
        let d = drawable(DrawOp::Rop3(Rop3 {
            src: Some(image(7 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 32))),
            src_area: Rect::of_size(32, 32),
            brush: Brush::Solid(1),
            rop3,
            scale_mode: ScaleMode::Interpolate,
            mask: None,
        }));
        let encoded = c.encode(serials, &d, &NoSurfaces);
        assert_eq!(encoded.is_some(), sent, "{rop3:x}");
    }
}

#[test]
fn encoder_without_init_caches_nothing_and_second_init_is_refused() {
    let shared = ClientShared::default();
    let mut c = Client::new(&shared, 0, 5000, off());
    let init =
        DisplayInit { pixmap_cache_id: 1, pixmap_cache_size: 0, glz_dictionary_id: 1, glz_window_size: 0 };
    assert_eq!(c.encoder.init(&shared, &init), Err(InitError::Twice));
    c.encoder = ImageEncoder::new(0, off());
    let src = image(7 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 32));
    assert_eq!(c.copy(&src), (0, 0));
}

#[test]
fn preferred_compression_out_of_range_is_ignored() {
    let mut encoder = ImageEncoder::new(0, off());
    assert!(!encoder.set_preferred_compression(0) && !encoder.set_preferred_compression(8));
    assert_eq!(encoder.settings.compression, ImageCompression::Off);
    assert!(encoder.set_preferred_compression(4));
    assert_eq!(encoder.settings.compression, ImageCompression::Quic);
}

#[test]
fn jpeg_takes_the_place_of_quic_only_where_loss_is_allowed() {
    let settings = EncodeSettings {
        compression: ImageCompression::Quic,
        jpeg: WanCompression::Always,
        ..EncodeSettings::default()
    };
    let mut c = Client::new(&ClientShared::default(), 0, 10_000, settings);
    let src = image(7 << 32, true, bitmap(BitmapFormat::ThirtyTwoBit, 64));
    assert_eq!(c.copy(&src), (105, IMAGE_CACHE_ME));
    assert_eq!(c.copy(&src), (103, 0));
    let mut xor = copy(src.clone());
    if let DrawOp::Copy(c) = &mut xor.op {
        c.rop = Rop::PUT | Rop::XOR;
    }
    assert_eq!(c.encoder.lossless_needs(&xor), vec![(0, Rect::new(0, 0, 32, 32))]);
    let body = c.send(&xor)[0].message.body.to_vec();
    assert_eq!(body[57 + 8..57 + 10], [1, IMAGE_CACHE_REPLACE_ME]);
    assert_eq!(c.copy(&src), (106, 0));
}

/// Image type and data of a DRAW_COPY.
fn coded(c: &mut Client, src: &Arc<Image>) -> (u8, Vec<u8>) {
    let body = c.send(&copy(src.clone()))[0].message.body.to_vec();
    (body[57 + 8], body[57 + 18..].to_vec())
}

fn with(compression: ImageCompression) -> EncodeSettings {
    EncodeSettings { compression, lz4: true, ..EncodeSettings::default() }
}

#[test]
fn every_codec_is_used_and_decodes() {
    let src = image(7 << 32, false, bitmap(BitmapFormat::ThirtyTwoBit, 64));
    let ImageData::Bitmap(b) = &src.data else { unreachable!() };
    let mut pixels = vec![0; 64 * 64 * 4];
    b.pixels.read_at(0, &mut pixels);
    let mut seen = pixels.clone();
    seen.as_chunks_mut::<4>().0.iter_mut().for_each(|p| p[3] = 0);
    let send = |compression| coded(&mut Client::new(&ClientShared::default(), 0, 0, with(compression)), &src);
    let mut out = Vec::new();
    let (kind, data) = send(ImageCompression::Lz);
    assert_eq!(kind, 101);
    crate::codec::lz::decode(&data[4..], 64, 64, &mut out).unwrap();
    assert!(out == seen);
    let (kind, data) = send(ImageCompression::Lz4);
    assert_eq!(kind, 109);
    crate::codec::lz4::decode(&data[4..], 64, 64, &mut out).unwrap();
    assert!(out == pixels);
    let (kind, data) = send(ImageCompression::Glz);
    assert_eq!(kind, 102);
    assert!(crate::codec::glz::Decoder::default().decode(&data[4..]).unwrap().pixels == seen);
    // Its neighbours differ little, as in a photo.
    assert_eq!(send(ImageCompression::AutoGlz).0, 1);
    let mut drawn = b.clone();
    drawn.pixels = Arc::new(pixels.iter().map(|v| v * 127).collect::<Vec<u8>>());
    let drawn = image(8 << 32, false, drawn);
    for (compression, kind) in [(ImageCompression::AutoGlz, 102), (ImageCompression::AutoLz, 101)] {
        let mut c = Client::new(&ClientShared::default(), 0, 0, with(compression));
        assert_eq!(coded(&mut c, &drawn).0, kind);
    }
    assert_eq!(send(ImageCompression::Quic).0, 1);
    assert_eq!(send(ImageCompression::Off).0, 0);
}

#[test]
fn displays_of_a_client_continue_each_others_dictionary() {
    let shared = ClientShared::default();
    let mut one = Client::new(&shared, 0, 0, with(ImageCompression::Glz));
    let mut two = Client::new(&shared, 1, 0, with(ImageCompression::Glz));
    let src = image(7 << 32, false, bitmap(BitmapFormat::Rgba, 64));
    let mut decoder = crate::codec::glz::Decoder::default();
    for c in [&mut one, &mut two] {
        let (kind, data) = coded(c, &src);
        assert_eq!(kind, 102);
        decoder.decode(&data[4..]).unwrap();
    }
}

#[test]
fn zlib_goes_around_glz_where_it_is_on() {
    let settings = EncodeSettings { zlib_glz: WanCompression::Always, ..with(ImageCompression::Glz) };
    let mut c = Client::new(&ClientShared::default(), 0, 0, settings);
    let mut b = bitmap(BitmapFormat::ThirtyTwoBit, 64);
    b.pixels = Arc::new((0..64 * 64 * 4u32).map(|i| (i * i / 7 % 5) as u8).collect::<Vec<u8>>());
    let (kind, data) = coded(&mut c, &image(1, false, b));
    assert_eq!(kind, 107);
    let size = u32::from_le_bytes(*data.first_chunk().unwrap()) as usize;
    let glz = crate::codec::glz::inflate(&data[8..], size).unwrap();
    crate::codec::glz::Decoder::default().decode(&glz).unwrap();
}

#[test]
fn a_client_gets_the_codec_that_it_asks_for_on_thin_links_too() {
    let settings = EncodeSettings {
        jpeg: WanCompression::Auto,
        zlib_glz: WanCompression::Auto,
        thin: true,
        ..with(ImageCompression::Quic)
    };
    let mut c = Client::new(&ClientShared::default(), 0, 0, settings);
    let photo = image(1, false, bitmap(BitmapFormat::ThirtyTwoBit, 64));
    assert_eq!(coded(&mut c, &photo).0, 105);
    for (asked, kind) in
        [(ImageCompression::Quic, 1), (ImageCompression::Glz, 102), (ImageCompression::Lz, 101)]
    {
        assert!(c.encoder.set_preferred_compression(asked as u8));
        assert_eq!(coded(&mut c, &photo).0, kind);
    }
}

#[test]
fn images_lose_detail_while_the_link_is_thin() {
    let settings = EncodeSettings { jpeg: WanCompression::Auto, ..with(ImageCompression::Quic) };
    let mut c = Client::new(&ClientShared::default(), 0, 0, settings);
    let photo = image(1, false, bitmap(BitmapFormat::ThirtyTwoBit, 64));
    for (thin, kind) in [(false, 1), (true, 105), (false, 1)] {
        c.encoder.set_thin(thin);
        assert_eq!(coded(&mut c, &photo).0, kind);
    }
}

#[test]
fn what_glz_or_lz4_cannot_carry_goes_lz() {
    let mut c = Client::new(&ClientShared::default(), 0, 0, with(ImageCompression::Glz));
    let small = image(1, false, bitmap(BitmapFormat::EightBit, 64));
    assert_eq!(coded(&mut c, &small).0, 100);
    // As large as the window.
    let large = image(2, false, bitmap(BitmapFormat::SixteenBit, 1024));
    assert_eq!(coded(&mut c, &large).0, 101);
    let mut c = Client::new(&ClientShared::default(), 0, 0, with(ImageCompression::Lz4));
    assert_eq!(coded(&mut c, &small).0, 100);
    c.encoder.settings.lz4 = false;
    assert_eq!(coded(&mut c, &image(3, false, bitmap(BitmapFormat::ThirtyTwoBit, 64))).0, 101);
}

#[test]
fn jpeg_of_images_with_alpha_carries_it_lossless() {
    let settings = EncodeSettings { jpeg: WanCompression::Always, ..with(ImageCompression::Quic) };
    let mut c = Client::new(&ClientShared::default(), 0, 0, settings);
    let src = image(7 << 32, false, bitmap(BitmapFormat::Rgba, 64));
    let (kind, data) = coded(&mut c, &src);
    assert_eq!((kind, data[0]), (108, 1));
    let size = |at: usize| u32::from_le_bytes(*data[at..].first_chunk().unwrap()) as usize;
    assert_eq!(size(5), data.len() - 9);
    let mut alpha = Vec::new();
    let header = crate::codec::lz::decode(&data[9 + size(1)..], 64, 64, &mut alpha).unwrap();
    assert!(header.top_down);
    let ImageData::Bitmap(b) = &src.data else { unreachable!() };
    let mut pixels = vec![0; 64 * 64 * 4];
    b.pixels.read_at(0, &mut pixels);
    assert!(alpha.iter().eq(pixels.iter().skip(3).step_by(4)));
}

/// What a pool of threads does: several messages are planned, their jobs run, GLZ in order and the others not, and they are
/// finished in order.
#[test]
fn messages_planned_ahead_decode_like_those_made_one_by_one() {
    let mut c = Client::new(&ClientShared::default(), 0, 5000, with(ImageCompression::Glz));
    let drawn: Vec<_> = (1..5u64)
        .map(|id| copy(image(id << 32, id == 2, bitmap(BitmapFormat::ThirtyTwoBit, 64))))
        .chain([copy(image(9, false, bitmap(BitmapFormat::EightBit, 64)))])
        .collect();
    let planned: Vec<_> = drawn
        .iter()
        .map(|d| {
            let (plan, jobs) =
                c.encoder.plan(&Drawing::of_command(d), &c.workspace.memo, &NoSurfaces).unwrap();
            (plan, jobs)
        })
        .collect();
    let mut encoders = Encoders::default();
    let (mut plans, mut in_order, mut any_order) = (Vec::new(), Vec::new(), Vec::new());
    for (n, (plan, mut jobs)) in planned.into_iter().enumerate() {
        plans.push(plan);
        match jobs.remove(0) {
            job @ ImageJob::InOrder(_) => in_order.push((n, job)),
            job @ ImageJob::AnyOrder(_) => any_order.push((n, job)),
        }
    }
    assert_eq!((in_order.len(), any_order.len()), (4, 1));
    let jobs = any_order.into_iter().chain(in_order);
    let mut results: Vec<_> = jobs.map(|(n, job)| (n, job.run(&mut encoders))).collect();
    results.sort_by_key(|(n, _)| *n);
    let mut decoder = crate::codec::glz::Decoder::default();
    let mut types = Vec::new();
    for ((plan, (_, result)), d) in plans.into_iter().zip(results).zip(&drawn) {
        let serials = Serials { last: c.serial, mini_header: true };
        let (drawing, results) = (Drawing::of_command(d), std::iter::once(result));
        let messages = c.encoder.finish(plan, results, &drawing, serials, &mut c.workspace.memo, &NoSurfaces);
        c.serial += 1;
        let body = messages[0].message.body.to_vec();
        types.push((body[57 + 8], body[57 + 9]));
        if body[57 + 8] == 102 {
            decoder.decode(&body[57 + 22..]).unwrap();
        }
    }
    assert_eq!(types, [(102, 0), (102, IMAGE_CACHE_ME), (102, 0), (102, 0), (100, 0)]);
}

/// Rows of an image may be as long as a guest likes, and encoders keep several of them.
#[test]
fn images_with_endless_sides_are_not_sent() {
    use crate::limits::MAX_DECODED_SIDE;
    let mut client = Client::new(&ClientShared::default(), 0, 1 << 20, EncodeSettings::default());
    let mut sent = |width: u32| {
        let pixels = Arc::new(vec![7; width as usize * 4]);
        let bitmap =
            Bitmap { width, height: 1, stride: width * 4, pixels, ..bitmap(BitmapFormat::ThirtyTwoBit, 1) };
        let serials = Serials { last: 0, mini_header: true };
        client.encode(serials, &copy(image(5, false, bitmap)), &NoSurfaces).is_some()
    };
    assert!(sent(MAX_DECODED_SIDE));
    assert!(!sent(MAX_DECODED_SIDE + 1));
    assert!(!sent(4 << 20));
}

/// The host is short of memory: the client is not sent the image, and nothing ends.
#[test]
fn images_without_memory_to_encode_them_are_not_sent() {
    let mut client = Client::new(&ClientShared::default(), 0, 1 << 20, EncodeSettings::default());
    let large = copy(image(5, true, bitmap(BitmapFormat::ThirtyTwoBit, 600)));
    let small = copy(image(6, true, bitmap(BitmapFormat::ThirtyTwoBit, 60)));
    let serials = Serials { last: 0, mini_header: true };
    let mut sent = |what: &Drawable| client.encode(serials, what, &NoSurfaces).is_some();
    crate::memory::testing::with_most(1 << 20, || {
        assert!(!sent(&large));
        assert!(sent(&small));
    });
    assert!(sent(&large));
}
