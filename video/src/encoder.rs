//! One encoder: a GStreamer pipeline that gives the encoded frame before it takes the next one.

use crate::convert::{Matrix, Planes, to_i420};
use crate::elements::{self, Element};
use crate::{EncoderError, log};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use gstreamer_video as gst_video;
use gstreamer_video::VideoFrameExt;
use spice_video_loader::Spec;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest time between two frames that the rate control of an encoder is told (milliseconds). After a longer pause it
/// would spend all bits that it saved on one frame.
const MAX_STEP_MS: u32 = 1000;

/// Pictures that an encoder may hold at a time. One that holds more would eat memory.
const MAX_PICTURES: u32 = 8;

/// A frame to encode: rows from top to bottom, four bytes a pixel (blue, green, red, unused).
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub pixels: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// When it is to be shown (milliseconds; wraps around).
    pub time_ms: u32,
    /// It must be a key frame.
    pub force_key: bool,
}

/// A video encoder: see the module.
#[derive(Debug)]
pub struct Encoder {
    element: &'static Element,
    pipeline: gst::Pipeline,
    source: AppSrc,
    encoder: gst::Element,
    sink: AppSink,
    pictures: gst_video::VideoBufferPool,
    info: gst_video::VideoInfo,
    matrix: Matrix,
    limit_ms: u32,
    bit_rate: u64,
    /// The time of the last frame by the client's clock and by the pipeline's (milliseconds).
    last: Option<(u32, u64)>,
    frame_ms: u64,
    /// The text of the pipeline's first error.
    error: Arc<Mutex<Option<String>>>,
}

impl Encoder {
    /// Makes an encoder from the first element for the codec that works.
    ///
    /// # Errors
    /// [`EncoderError::Unsupported`] if no element exists for the codec and size, [`EncoderError::Failed`] if none works.
    pub fn new(spec: &Spec) -> Result<Self, EncoderError> {
        let (width, height) = (spec.width, spec.height);
        let mut result = Err(EncoderError::Unsupported { codec: spec.codec.into(), width, height });
        for element in elements::of_codec(spec.codec.into()).filter(|e| e.takes(width, height)) {
            result = Self::with(element, spec);
            match &result {
                Ok(_) => break,
                Err(error) => log::warning(&error.to_string()),
            }
        }
        result
    }

    /// The name of the element that encodes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.element.name
    }

    /// Makes an encoder from this element.
    ///
    /// # Errors
    /// [`EncoderError::Failed`].
    pub fn with(element: &'static Element, spec: &Spec) -> Result<Self, EncoderError> {
        let name = element.name;
        let failed = |reason: &str| EncoderError::Failed { element: name, reason: reason.into() };
        let fps = spec.fps.clamp(1, 240);
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, spec.width, spec.height)
            .fps(gst::Fraction::new(fps as i32, 1))
            .build()
            .map_err(|_| failed("no such picture"))?;
        // The stream does not name its standard, so these are the colours that decoders assume.
        let matrix = match info.colorimetry().matrix() {
            gst_video::VideoColorMatrix::Bt709 => Matrix::Bt709,
            _ => Matrix::Bt601,
        };
        let caps = info.to_caps().map_err(|_| failed("no such picture"))?;

        let encoder = element.make(spec.threads.max(1)).ok_or_else(|| failed("cannot be made"))?;
        element.set_bit_rate(&encoder, spec.bit_rate);
        let source = AppSrc::builder().caps(&caps).format(gst::Format::Time).is_live(true).build();
        let sink = AppSink::builder().sync(false).max_buffers(4).build();
        sink.set_async(false);
        sink.set_caps(element.caps().as_ref());
        let pipeline = gst::Pipeline::new();
        let error = watch(&pipeline);

        let chain = [source.upcast_ref(), &encoder, sink.upcast_ref()];
        pipeline
            .add_many(chain)
            .and_then(|()| gst::Element::link_many(chain))
            .map_err(|e| failed(&e.message))?;
        let pictures = gst_video::VideoBufferPool::new();
        let mut config = pictures.config();
        let size = u32::try_from(info.size()).map_err(|_| failed("no such picture"))?;
        config.set_params(Some(&caps), size, 0, MAX_PICTURES);
        pictures
            .set_config(config)
            .and_then(|()| pictures.set_active(true))
            .map_err(|e| failed(&e.message))?;

        let made = Self {
            element,
            pipeline,
            source,
            encoder,
            sink,
            pictures,
            info,
            matrix,
            limit_ms: spec.limit_ms,
            bit_rate: spec.bit_rate,
            last: None,
            frame_ms: u64::from(1000 / fps).max(1),
            error,
        };
        match made.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(made),
            Err(_) => Err(made.failed("does not start")),
        }
    }

    /// Encodes a frame and gives the result to `out`, in one or several parts, each with a flag for key frames.
    ///
    /// # Errors
    /// [`EncoderError::Failed`] and [`EncoderError::TimedOut`], after which the encoder is of no use.
    pub fn encode(
        &mut self,
        frame: &Frame<'_>,
        out: &mut dyn FnMut(&[u8], bool),
    ) -> Result<(), EncoderError> {
        let end = Instant::now() + Duration::from_millis(self.limit_ms.into());
        let mut picture = self.picture(frame)?;
        let time = self.tick(frame.time_ms);
        if let Some(picture) = picture.get_mut() {
            picture.set_pts(gst::ClockTime::from_mseconds(time));
            picture.set_duration(gst::ClockTime::from_mseconds(self.frame_ms));
        }
        if frame.force_key {
            let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            let taken = self.encoder.static_pad("src").is_some_and(|pad| pad.send_event(event));
            if !taken {
                return Err(self.failed("makes no key frames"));
            }
        }
        self.source.push_buffer(picture).map_err(|_| self.failed("takes no frames"))?;
        self.take(end, out)
    }

    /// Changes the bit rate (bits per second). With x265enc each change makes the next frame a key frame.
    pub fn set_bit_rate(&mut self, bits_per_second: u64) {
        if bits_per_second != self.bit_rate {
            self.bit_rate = bits_per_second;
            self.element.set_bit_rate(&self.encoder, bits_per_second);
        }
    }

    /// The frame's pixels as the encoder takes them.
    fn picture(&self, frame: &Frame<'_>) -> Result<gst::Buffer, EncoderError> {
        let params = gst::BufferPoolAcquireParams::with_flags(gst::BufferPoolAcquireFlags::DONTWAIT);
        let buffer =
            self.pictures.acquire_buffer(Some(&params)).map_err(|_| self.failed("keeps pictures"))?;
        let mut picture = gst_video::VideoFrame::from_buffer_writable(buffer, &self.info)
            .map_err(|_| self.failed("no picture"))?;
        let strides = picture.plane_stride();
        let (y_stride, uv_stride) = (strides[0] as usize, strides[1] as usize);
        let [y, u, v, _] = picture.planes_data_mut();
        let out = Planes { y, u, v, y_stride, uv_stride };
        let (width, height) = (self.info.width() as usize, self.info.height() as usize);
        to_i420(frame.pixels, frame.stride, width, height, self.matrix, out);
        Ok(picture.into_buffer())
    }

    /// The time of a frame by the pipeline's clock (milliseconds), which never goes back.
    fn tick(&mut self, time_ms: u32) -> u64 {
        let time = match self.last {
            None => 0,
            Some((last, at)) => {
                let step = time_ms.wrapping_sub(last);
                // A clock that went back looks like one that went very far.
                let step = if step > u32::MAX / 2 { 1 } else { step.clamp(1, MAX_STEP_MS) };
                at + u64::from(step)
            }
        };
        self.last = Some((time_ms, time));
        time
    }

    /// Waits for the encoded frame.
    fn take(&self, end: Instant, out: &mut dyn FnMut(&[u8], bool)) -> Result<(), EncoderError> {
        let mut any = false;
        loop {
            let wait = if any { Duration::ZERO } else { end.saturating_duration_since(Instant::now()) };
            let wait = gst::ClockTime::from_nseconds(wait.as_nanos() as u64);
            let Some(sample) = self.sink.try_pull_sample(wait) else { break };
            let Some(buffer) = sample.buffer() else { continue };
            let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            let bytes = buffer.map_readable().map_err(|_| self.failed("gave no frame"))?;
            out(&bytes, key && !any);
            any = true;
        }
        match any {
            true => Ok(()),
            false if self.sink.is_eos() || self.said().is_some() => Err(self.failed("stopped")),
            false => Err(EncoderError::TimedOut { element: self.element.name, limit_ms: self.limit_ms }),
        }
    }

    fn said(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, reason: &str) -> EncoderError {
        let reason = match self.said() {
            Some(said) => format!("{reason}: {said}"),
            None => reason.into(),
        };
        EncoderError::Failed { element: self.element.name, reason }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
        let _ = self.pictures.set_active(false);
    }
}

/// Keeps the first error of a pipeline and drops all its other messages, because nobody reads its bus.
fn watch(pipeline: &gst::Pipeline) -> Arc<Mutex<Option<String>>> {
    let kept = Arc::new(Mutex::new(None));
    let error = Arc::clone(&kept);
    if let Some(bus) = pipeline.bus() {
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(said) = message.view() {
                error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(said.error().to_string());
            }
            gst::BusSyncReply::Drop
        });
    }
    kept
}
