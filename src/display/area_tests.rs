//! Pages of text with photos, which go as several messages.

use super::*;
use crate::codec::photos::tests::page;

const WIDTH: u32 = 400;
const HEIGHT: u32 = 352;

fn page_image(top_down: bool, photos: &[Rect]) -> Arc<Image> {
    let pixels = Arc::new(page(WIDTH, HEIGHT, photos));
    let bitmap = Bitmap {
        format: BitmapFormat::ThirtyTwoBit,
        width: WIDTH,
        height: HEIGHT,
        stride: WIDTH * 4,
        top_down,
        unstable: false,
        palette: None,
        pixels,
    };
    let data = ImageData::Bitmap(bitmap);
    Arc::new(Image { id: 0, cache_me: false, high_bits_set: false, width: WIDTH, height: HEIGHT, data })
}

proptest! {
    #![proptest_config(crate::testing::cases(24))]

    /// Wherever the photos lie, whatever covers the page and however lossy it was, the client has the pixels of the server.
    #[test]
    fn pages_look_as_they_were_drawn(
        photos in proptest::collection::vec((0..200i32, 0..160i32, 150..400u32, 150..352u32), 0..3),
        (top_down, clipped, lossy, glz) in any::<(bool, bool, bool, bool)>(),
        (left, top) in (0..60i32, 0..60i32),
    ) {
        let photos: Vec<Rect> =
            photos.into_iter().map(|(x, y, w, h)| Rect::of_size(w, h).translate(x, y)).collect();
        let settings = DisplaySettings {
            image_compression: if glz { ImageCompression::AutoGlz } else { ImageCompression::AutoLz },
            jpeg: if lossy { WanCompression::Always } else { WanCompression::Never },
            ..DisplaySettings::default()
        };
        let mut rig = Rig::new(settings);
        rig.remote = true;
        rig.lossy = lossy;
        rig.primary_of(WIDTH + 60, HEIGHT + 60);
        rig.attach(1000);
        rig.drain();
        let bbox = Rect::of_size(WIDTH, HEIGHT).translate(left, top);
        let clip = if clipped {
            Clip::Rects(Arc::from([Rect::new(0, 0, 300, 200), Rect::new(100, 200, 460, 412)]))
        } else {
            Clip::None
        };
        let area = Rect::of_size(WIDTH, HEIGHT);
        for _ in 0..2 {
            rig.draw(0, Effect::Opaque, bbox, clip.clone(), copy(page_image(top_down, &photos), area));
            rig.draw(0, Effect::Blend, Rect::new(90, 90, 130, 130), Clip::None, fill(7, Rop::XOR));
        }
        finish(rig);
    }
}
