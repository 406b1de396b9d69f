//! Streams of several codecs at model clients, with encoders that do what they must not.

use super::*;
use crate::codec::video::plugin::InstalledEncoders;
use crate::codec::video::{
    Codec, CodecSet, EncodedFrame, VideoEncoder, VideoEncoders, VideoError, VideoSpec, choice,
};
use crate::image::ImageView;
use std::sync::atomic::{AtomicU32, Ordering};

const PLACE: Rect = Rect::new(4, 4, 24, 24);

/// What the encoders of VP8 do with a frame.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Works,
    Fails,
    /// Comes back much later than it may.
    Stalls,
    /// Keeps memory with each frame, though it never uses it.
    Eats,
}

/// MJPEG as it is, and VP8 of a test.
#[derive(Debug)]
struct Doubles {
    fate: Fate,
    built_in: InstalledEncoders,
    failed: AtomicU32,
}

#[derive(Debug)]
struct Double {
    fate: Fate,
    hoard: Vec<Vec<u8>>,
}

impl VideoEncoders for Doubles {
    fn available(&self) -> CodecSet {
        self.built_in.available().with(Codec::Vp8)
    }

    fn create(&self, spec: &VideoSpec) -> Result<Box<dyn VideoEncoder>, VideoError> {
        match spec.codec {
            Codec::Vp8 => Ok(Box::new(Double { fate: self.fate, hoard: Vec::new() })),
            _ => self.built_in.create(spec),
        }
    }

    fn failed(&self, codec: Codec) {
        assert_eq!(codec, Codec::Vp8);
        self.failed.fetch_add(1, Ordering::SeqCst);
    }
}

impl VideoEncoder for Double {
    fn codec(&self) -> Codec {
        Codec::Vp8
    }

    fn encode(&mut self, _: &ImageView<'_>, _: u32, _: bool) -> Result<EncodedFrame, VideoError> {
        match self.fate {
            Fate::Eats => {
                self.hoard.push(vec![0; 512 << 20]);
                Ok(EncodedFrame { data: vec![1; 10], key: true, size: None })
            }
            Fate::Works => Ok(EncodedFrame { data: vec![1; 10], key: true, size: None }),
            Fate::Fails => Err(VideoError::Failed("of a test".into())),
            Fate::Stalls => {
                std::thread::sleep(5 * crate::limits::VIDEO_FRAME_LIMIT);
                Err(VideoError::Failed("too late".into()))
            }
        }
    }

    fn set_bit_rate(&mut self, _: u64) {}
}

/// A rig whose streams are VP8 for clients that know it, by the host's list.
fn rig(fate: Fate, list: &str) -> (Rig, Arc<Doubles>) {
    let settings = DisplaySettings {
        streaming: StreamingVideo::All,
        image_compression: ImageCompression::Off,
        video_codecs: choice::parse_list(list).0,
        ..DisplaySettings::default()
    };
    let doubles =
        Arc::new(Doubles { fate, built_in: InstalledEncoders::built_in(), failed: AtomicU32::new(0) });
    let mut rig = Rig::new(settings.clone());
    let services = Services { encoders: Arc::clone(&doubles) as _, ..Services::built_in() };
    rig.channel = Polled::new(DisplayChannel::with_services(0, 8, settings, services));
    rig.primary();
    (rig, doubles)
}

/// A client with these display capabilities.
fn attach(rig: &mut Rig, caps: &[u32]) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stream = ChannelStream::new(Box::new(SocketTransport::new(ours.into()).unwrap()), true);
    rig.last_client += 1;
    let id = ClientId(rig.last_client);
    let mut connection = ChannelConnection::detached(stream, ChannelType::Display, id);
    for &bit in caps {
        connection.channel_caps.set(bit);
    }
    rig.channel.attach(ConnectionId(id.0), connection, rig.now);
    let mut client = ModelClient::new(theirs);
    client.init(1000);
    rig.clients.push((id, client));
    rig.turn();
}

const ALL: [u32; 3] = [cap::MULTI_CODEC, cap::CODEC_MJPEG, cap::CODEC_VP8];

/// A frame of a video, and what comes of it.
fn frame(rig: &mut Rig, place: Rect, n: u8) {
    let image = bitmap_image(0, false, place.width(), place.height(), n);
    rig.draw(0, Effect::Opaque, place, Clip::None, copy(image, Rect::of_size(place.width(), place.height())));
    rig.now += Duration::from_millis(40);
    rig.drain();
}

/// Plays until something holds; encoders have threads and so a time of their own.
fn play_until(rig: &mut Rig, what: &str, condition: impl Fn(&Rig) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    for n in 0.. {
        if condition(rig) {
            return;
        }
        assert!(Instant::now() < end, "{what}");
        frame(rig, PLACE, n as u8);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn count(rig: &Rig, client: usize, what: u16) -> usize {
    rig.clients[client].1.log.iter().filter(|&&logged| logged == what).count()
}

/// True pixels, when the video is over.
fn end(rig: &mut Rig) {
    rig.now += Duration::from_secs(2);
    rig.check();
}

#[test]
fn each_client_gets_the_best_codec_that_it_knows() {
    let (mut rig, doubles) = rig(Fate::Works, "gstreamer:vp8;spice:mjpeg");
    for caps in [&ALL[..], &ALL[..2], &[], &[cap::MULTI_CODEC]] {
        attach(&mut rig, caps);
    }
    play_until(&mut rig, "frames of VP8", |rig| count(rig, 0, server::STREAM_DATA) >= 5);
    let codecs: Vec<_> = rig.clients.iter().map(|(_, client)| client.codecs.clone()).collect();
    assert_eq!(codecs, [vec![2], vec![1], vec![1], vec![]]);
    assert_eq!(doubles.failed.load(Ordering::SeqCst), 0);
    end(&mut rig);
}

#[test]
fn a_preference_changes_the_codec_of_a_stream_that_plays() {
    let (mut rig, _) = rig(Fate::Works, "spice:mjpeg;gstreamer:vp8");
    attach(&mut rig, &ALL);
    play_until(&mut rig, "frames of MJPEG", |rig| count(rig, 0, server::STREAM_DATA) >= 3);
    for (preference, codecs) in [
        (&[][..], &[1][..]),
        (&[9, 0, 255], &[1]),
        (&[2], &[1, 2]),
        (&[2, 1], &[1, 2]),
        (&[77, 1, 1], &[1, 2, 1]),
    ] {
        let mut body = vec![preference.len() as u8];
        body.extend(preference);
        rig.clients[0].1.send(105, &body);
        let before = count(&rig, 0, server::STREAM_DATA);
        play_until(&mut rig, "more frames", |rig| count(rig, 0, server::STREAM_DATA) >= before + 3);
        assert_eq!(rig.clients[0].1.codecs, codecs, "{preference:?}");
    }
    end(&mut rig);
}

#[test]
fn an_encoder_that_fails_costs_its_stream_the_codec() {
    let (mut rig, doubles) = rig(Fate::Fails, "gstreamer:vp8;spice:mjpeg");
    attach(&mut rig, &ALL);
    attach(&mut rig, &[cap::MULTI_CODEC, cap::CODEC_VP8]);
    play_until(&mut rig, "frames of MJPEG", |rig| count(rig, 0, server::STREAM_DATA) >= 5);
    assert_eq!(rig.clients[0].1.codecs, [2, 1]);
    play_until(&mut rig, "the other client's encoder", |_| doubles.failed.load(Ordering::SeqCst) == 2);
    // It knows no other codec, and gets images.
    assert_eq!(rig.clients[1].1.codecs, [2]);
    assert_eq!(count(&rig, 1, server::STREAM_DATA), 0);
    end(&mut rig);
}

#[test]
fn an_encoder_that_eats_memory_costs_its_stream_the_codec() {
    let (mut rig, doubles) = rig(Fate::Eats, "gstreamer:vp8;spice:mjpeg");
    attach(&mut rig, &ALL);
    play_until(&mut rig, "the encoder is given up", |_| doubles.failed.load(Ordering::SeqCst) == 1);
    let before = count(&rig, 0, server::STREAM_DATA);
    play_until(&mut rig, "frames of MJPEG", |rig| count(rig, 0, server::STREAM_DATA) >= before + 5);
    assert_eq!(rig.clients[0].1.codecs, [2, 1]);
    end(&mut rig);
}

#[test]
fn an_encoder_that_stalls_stops_nobody() {
    let (mut rig, doubles) = rig(Fate::Stalls, "gstreamer:vp8;spice:mjpeg");
    attach(&mut rig, &ALL);
    attach(&mut rig, &[]);
    let began = Instant::now();
    play_until(&mut rig, "the stream begins", |rig| count(rig, 0, server::STREAM_CREATE) == 1);
    let (mut longest, mut before) = (Duration::ZERO, Instant::now());
    while doubles.failed.load(Ordering::SeqCst) == 0 {
        frame(&mut rig, PLACE, longest.subsec_nanos() as u8);
        longest = longest.max(before.elapsed());
        std::thread::sleep(Duration::from_millis(2));
        before = Instant::now();
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    assert!(longest < Duration::from_millis(500), "a turn took {longest:?}");
    play_until(&mut rig, "frames of MJPEG", |rig| count(rig, 0, server::STREAM_DATA) >= 5);
    assert_eq!(rig.clients[0].1.codecs, [2, 1]);
    assert!(count(&rig, 1, server::STREAM_DATA) > 5, "the other client had frames all the time");
    end(&mut rig);
}

#[test]
fn a_picture_that_stands_still_is_true_within_300_ms() {
    let (mut rig, _) = rig(Fate::Works, "spice:mjpeg");
    attach(&mut rig, &ALL);
    play_until(&mut rig, "frames", |rig| count(rig, 0, server::STREAM_DATA) >= 10);
    let last = rig.now;
    while rig.now < last + Duration::from_millis(240) {
        rig.drain();
        rig.now += Duration::from_millis(10);
    }
    rig.check();
    assert!(rig.now < last + Duration::from_millis(300), "{:?}", rig.now - last);
    assert_eq!(count(&rig, 0, server::STREAM_DESTROY), 0);
    // The stream goes on.
    let before = count(&rig, 0, server::STREAM_DATA);
    play_until(&mut rig, "more frames", |rig| count(rig, 0, server::STREAM_DATA) > before);
    assert_eq!(count(&rig, 0, server::STREAM_CREATE), 1);
    end(&mut rig);
}

#[test]
fn a_display_has_sixteen_streams_at_most() {
    let (mut rig, _) = rig(Fate::Works, "spice:mjpeg");
    attach(&mut rig, &ALL);
    let places: Vec<Rect> =
        (0..24).map(|n| Rect::new(n % 6 * 5, n / 6 * 5, n % 6 * 5 + 4, n / 6 * 5 + 4)).collect();
    // So many areas at a time are looked at, one after the other: what is drawn together counts as one video in pieces.
    for known in [8, 16, 22] {
        for n in 0..20 {
            for place in &places[..known] {
                let image = bitmap_image(0, false, 4, 4, n);
                rig.draw(0, Effect::Opaque, *place, Clip::None, copy(image, Rect::of_size(4, 4)));
                rig.now += Duration::from_millis(8);
            }
            rig.drain();
        }
    }
    assert_eq!(count(&rig, 0, server::STREAM_CREATE), 16);
    end(&mut rig);
}

/// Each of the pieces would be a hole in the clip of the stream.
#[test]
fn a_video_under_many_pieces_is_not_clipped_to_what_is_between_them() {
    let (mut rig, _) = rig(Fate::Works, "spice:mjpeg");
    attach(&mut rig, &ALL);
    play_until(&mut rig, "frames", |rig| count(rig, 0, server::STREAM_DATA) >= 3);
    let pieces: Vec<_> = (0..200).map(|n| (4 + n % 20, 4 + n / 20 * 2)).collect();
    let clip: Vec<_> = pieces
        .iter()
        .filter(|(x, y)| (x + y / 2) % 2 == 0)
        .map(|&(x, y)| Rect::new(x, y, x + 1, y + 1))
        .collect();
    assert!(clip.len() > crate::limits::MAX_STREAM_CLIP);
    rig.draw(0, Effect::Opaque, PLACE, Clip::Rects(clip.clone().into()), fill(7, Rop::PUT));
    rig.drain();
    // The same, one hole at a time.
    play_until(&mut rig, "frames again", |rig| count(rig, 0, server::STREAM_DATA) >= 6);
    for hole in &clip {
        rig.draw(0, Effect::Opaque, *hole, Clip::None, fill(9, Rop::PUT));
        rig.drain();
    }
    assert!(rig.clients[0].1.longest_clip <= crate::limits::MAX_STREAM_CLIP);
    end(&mut rig);
}
