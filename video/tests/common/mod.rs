//! A moving picture, and the decoders of GStreamer to see it again.
#![allow(dead_code, reason = "each test program uses a part")]

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};

/// Codec numbers of STREAM_CREATE.
pub(crate) const VP8: u32 = 2;
pub(crate) const H264: u32 = 3;
pub(crate) const VP9: u32 = 4;
pub(crate) const H265: u32 = 5;

/// Frame `n` of a picture that moves like a video: soft colours that drift, texture, and a disc that crosses them.
pub(crate) fn picture(n: u32, width: u32, height: u32) -> Vec<u8> {
    let mut pixels = Vec::with_capacity((width * height * 4) as usize);
    let (w, h) = (width as f32, height as f32);
    let (disc_x, disc_y) = (w * (0.2 + 0.02 * n as f32), h * 0.5);
    for y in 0..height {
        for x in 0..width {
            let (fx, fy) = ((x + 3 * n) as f32, (y + n) as f32);
            let texture = 12.0 * ((fx * 0.35).sin() * (fy * 0.27).cos());
            let wave = |k: f32| 127.0 + 70.0 * (fx / w * k + fy / h * 2.0).sin();
            let inside = (x as f32 - disc_x).hypot(y as f32 - disc_y) < h * 0.15;
            let lift = if inside { 40.0 } else { 0.0 };
            let shade = |k: f32| (wave(k) + texture + lift).clamp(0.0, 255.0) as u8;
            pixels.extend_from_slice(&[shade(3.0), shade(4.0), shade(5.0), 0]);
        }
    }
    pixels
}

/// Peak signal to noise ratio (dB) of two pictures; the fourth byte of a pixel does not count.
pub(crate) fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let error: u64 = std::iter::zip(a.as_chunks::<4>().0, b.as_chunks::<4>().0)
        .flat_map(|(a, b)| std::iter::zip(&a[..3], &b[..3]))
        .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
        .sum();
    let mean = error as f64 / (a.len() / 4 * 3) as f64;
    10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10()
}

/// Decodes frames as a client does that knows nothing but the codec: the pictures, as bytes blue, green, red and any.
pub(crate) fn decode(codec: u32, frames: &[Vec<u8>], width: u32, height: u32) -> Vec<Vec<u8>> {
    let caps = match codec {
        VP8 => "video/x-vp8",
        VP9 => "video/x-vp9",
        H264 => "video/x-h264,stream-format=byte-stream",
        _ => "video/x-h265,stream-format=byte-stream",
    };
    let line = format!(
        "appsrc name=in format=time caps={caps} ! decodebin ! videoconvert ! \
         video/x-raw,format=BGRx,width={width},height={height} ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").unwrap().downcast::<AppSrc>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for (n, frame) in frames.iter().enumerate() {
        let mut buffer = gst::Buffer::from_slice(frame.clone());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(33 * n as u64));
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
    let mut pictures = Vec::new();
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(30)) {
        pictures.push(sample.buffer().unwrap().map_readable().unwrap().to_vec());
    }
    let error = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    pictures
}

/// The units of a byte stream of H.264: what follows each start code, up to the next.
pub(crate) fn units(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    for at in 2..stream.len() {
        if stream[at - 2..=at] == [0, 0, 1] {
            starts.push(at + 1);
        }
    }
    let ends = starts.iter().skip(1).map(|next| next - 3).chain([stream.len()]);
    std::iter::zip(&starts, ends).map(|(&start, end)| &stream[start..end]).collect()
}
