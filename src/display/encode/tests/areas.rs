//! Pages of text and photos.

use super::*;
use crate::codec::photos::tests::page;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
const PHOTO: Rect = Rect::new(128, 96, 512, 384);

fn of_pixels(photos: &[Rect]) -> Arc<Image> {
    let pixels = Arc::new(page(WIDTH, HEIGHT, photos));
    let (width, height, stride) = (WIDTH, HEIGHT, WIDTH * 4);
    let bitmap = Bitmap { width, height, stride, pixels, ..bitmap(BitmapFormat::ThirtyTwoBit, 1) };
    image(5 << 32, false, bitmap)
}

/// The boxes, image types and sizes of the copies that show an image.
fn sent(settings: EncodeSettings, src: &Arc<Image>) -> (Vec<(Rect, u8)>, usize) {
    let mut c = Client::new(&ClientShared::default(), 0, 0, settings);
    let bodies: Vec<Vec<u8>> = (c
        .send(&Drawable { bbox: Rect::of_size(WIDTH, HEIGHT), ..copy(src.clone()) }))
    .into_iter()
    .map(|out| out.message.body.to_vec())
    .collect();
    let edge = |body: &[u8], n: usize| {
        i32::from_le_bytes(body[4 + 4 * n..8 + 4 * n].try_into().expect("four bytes"))
    };
    let of_body = |body: &Vec<u8>| {
        // A box on the wire begins with its top.
        (Rect::new(edge(body, 1), edge(body, 0), edge(body, 3), edge(body, 2)), body[57 + 8])
    };
    (bodies.iter().map(of_body).collect(), bodies.iter().map(Vec::len).sum())
}

#[test]
fn photos_and_text_around_them_get_their_own_codecs() {
    let src = of_pixels(&[PHOTO]);
    let auto = with(ImageCompression::AutoGlz);
    let (messages, bytes) = sent(auto, &src);
    assert_eq!(messages[0], (PHOTO, 1));
    assert!(messages.len() > 1 && messages[1..].iter().all(|(_, kind)| *kind == 102), "{messages:?}");
    let area: u64 = messages.iter().map(|(part, _)| part.area()).sum();
    assert_eq!(area, u64::from(WIDTH * HEIGHT));
    for one in [ImageCompression::Quic, ImageCompression::Glz] {
        let (whole, more) = sent(with(one), &src);
        assert_eq!(whole.len(), 1);
        assert!(bytes * 5 < more * 4, "{one:?}: {bytes} {more}");
    }
    let lossy = EncodeSettings { jpeg: WanCompression::Always, ..auto };
    assert_eq!(sent(lossy, &src).0[0], (PHOTO, 105));
    let (messages, _) = sent(with(ImageCompression::AutoLz), &src);
    assert!(messages[1..].iter().all(|(_, kind)| *kind == 101), "{messages:?}");
}

#[test]
fn what_shows_one_kind_of_thing_stays_whole() {
    for photos in [&[][..], &[Rect::of_size(WIDTH, HEIGHT)]] {
        assert_eq!(sent(with(ImageCompression::AutoGlz), &of_pixels(photos)).0.len(), 1);
    }
}

#[test]
fn clients_of_a_device_share_the_parts() {
    let src = of_pixels(&[PHOTO]);
    let shared = ClientShared::default();
    let mut c = Client::new(&shared, 0, 0, with(ImageCompression::AutoLz));
    c.workspace.set_clients(2);
    let command = Drawable { bbox: Rect::of_size(WIDTH, HEIGHT), ..copy(src) };
    let bodies = |out: Vec<Outgoing>| -> Vec<Vec<u8>> {
        out.into_iter().map(|out| out.message.body.to_vec()).collect()
    };
    let first = bodies(c.send(&command));
    let mut other = Client::new(&shared, 1, 0, with(ImageCompression::AutoLz));
    other.workspace = std::mem::take(&mut c.workspace);
    assert_eq!(bodies(other.send(&command)), first);
}
