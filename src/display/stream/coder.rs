//! Encodes one stream for one client, with the best codec that works.
//!
//! MJPEG is encoded by the threads of the pool, unless the frame is small. Encoders of the shared object have threads of
//! their own. Either way the worker hands a frame over, and takes it back encoded in a later turn. Of the frames that come
//! meanwhile the newest waits, and replaces the one that waited before. An encoder that fails costs the frame, and the
//! stream goes on with the next codec.

use super::frame::frame_of;
use super::rate::Rate;
use super::{Shape, Stream, StreamClient};
use crate::clock::mm_time;
use crate::codec::video::{Codec, EncodedFrame, Pooled, Supervised, VideoEncoder, VideoError, VideoSpec};
use crate::display::pending::PendingDrawable;
use crate::display::services::Services;
use crate::image::{Image, ImageData};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// The encoder of one stream for one client.
#[derive(Debug)]
pub(super) struct Coder {
    services: Services,
    shape: Shape,
    fps: u32,
    client: StreamClient,
    codec: Codec,
    engine: Engine,
    rate: Rate,
    /// Codecs to try after the present one, best first.
    left: VecDeque<Codec>,
    /// The newest frame that came while another was being encoded.
    waiting: Option<Arc<PendingDrawable>>,
}

#[derive(Debug)]
enum Engine {
    BuiltIn(Pooled),
    Supervised(Box<Supervised>),
}

/// What became of a frame.
#[derive(Debug)]
pub(super) enum FrameOutcome {
    /// It is to be sent.
    Frame(EncodedFrame),
    /// It comes later, or a later one in its place.
    Later,
    /// No codec carries the image.
    Unfit,
    /// The encoder is of no use any more: [`Coder::next`] is to follow.
    Broken,
}

impl Coder {
    /// A coder with the first of these codecs that there is an encoder for; `None`: there is none.
    pub(super) fn new(
        services: &Services,
        stream: &Stream,
        codecs: Vec<Codec>,
        client: StreamClient,
        now: Instant,
    ) -> Option<Self> {
        let (shape, fps) = (stream.shape, stream.fps());
        let mut left = VecDeque::from(codecs);
        let (codec, engine, rate) = begin(services, shape, fps, client, &mut left, now)?;
        let services = services.clone();
        Some(Self { services, shape, fps, client, codec, engine, rate, left, waiting: None })
    }

    /// The codec that it encodes with.
    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// The bit rate of its frames.
    pub(super) fn rate(&mut self) -> &mut Rate {
        &mut self.rate
    }

    /// Goes on with the next codec. `false`: there is none.
    pub(super) fn next(&mut self, now: Instant) -> bool {
        let Self { services, shape, fps, client, left, .. } = self;
        let Some((codec, engine, rate)) = begin(services, *shape, *fps, *client, left, now) else {
            return false;
        };
        (self.codec, self.engine, self.rate) = (codec, engine, rate);
        true
    }

    /// Chooses among other codecs from now on. `true`: [`Self::next`] is to follow, because another one than the present is
    /// the first.
    pub(super) fn set_codecs(&mut self, codecs: Vec<Codec>) -> bool {
        let other = codecs.first().is_some_and(|&first| first != self.codec);
        self.left = codecs.into();
        if !other {
            self.left.pop_front();
        }
        other
    }

    /// A frame is to be sent.
    pub(super) fn frame(&mut self, pending: &Arc<PendingDrawable>, now: Instant) -> FrameOutcome {
        let Some(image) = frame_of(&pending.drawable) else { return FrameOutcome::Unfit };
        match self.submit(image, now) {
            Err(VideoError::Busy) => {
                self.waiting = Some(Arc::clone(pending));
                FrameOutcome::Later
            }
            Err(VideoError::BadFrame) => FrameOutcome::Unfit,
            other => self.judge(other),
        }
    }

    /// What the encoder has done on another thread; `None`: nothing new.
    pub(super) fn poll(&mut self, now: Instant) -> Option<FrameOutcome> {
        let result = match &mut self.engine {
            Engine::BuiltIn(encoder) => encoder.poll()?,
            Engine::Supervised(encoder) => encoder.poll().or_else(|| encoder.failure().map(Err))?,
        };
        if let (Ok(_), Some(pending)) = (&result, self.waiting.take())
            && let Some(image) = frame_of(&pending.drawable)
            && let Err(error) = self.submit(image, now)
        {
            crate::debug!("{}: a frame is lost: {error}", self.codec);
        }
        Some(self.judge(result.map(Some)))
    }

    /// When [`Self::poll`] gives the encoder up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.engine {
            Engine::BuiltIn(_) => None,
            Engine::Supervised(encoder) => encoder.deadline(),
        }
    }

    /// Lets go of the frame that waits.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting = None;
    }

    fn judge(&self, result: Result<Option<EncodedFrame>, VideoError>) -> FrameOutcome {
        match result {
            Ok(Some(frame)) => FrameOutcome::Frame(frame),
            Ok(None) => FrameOutcome::Later,
            Err(error) => {
                crate::warning_limited!("a video stream leaves {}: {error}", self.codec);
                // What this machine cannot do for one stream, it may do for another.
                if error.is_final()
                    && !matches!(error, VideoError::Unavailable(_) | VideoError::NoResources(_))
                {
                    self.services.encoders.failed(self.codec);
                }
                FrameOutcome::Broken
            }
        }
    }

    fn submit(&mut self, image: &Image, now: Instant) -> Result<Option<EncodedFrame>, VideoError> {
        let ImageData::Bitmap(bitmap) = &image.data else { return Err(VideoError::BadFrame) };
        let (rate, most) = (self.rate.take_change(), self.rate.frame_bytes());
        let time = mm_time(now);
        match &mut self.engine {
            Engine::BuiltIn(encoder) => {
                rate.into_iter().for_each(|rate| encoder.set_bit_rate(rate));
                encoder.set_most(most);
                encoder.encode(bitmap, time)
            }
            Engine::Supervised(encoder) => {
                rate.into_iter().for_each(|rate| encoder.set_bit_rate(rate));
                encoder.submit(&bitmap.view(), time, false).map(|()| None)
            }
        }
    }
}

/// Makes the encoder of the first codec that can be made, and takes it and those before it off the list.
fn begin(
    services: &Services,
    shape: Shape,
    fps: u32,
    client: StreamClient,
    left: &mut VecDeque<Codec>,
    now: Instant,
) -> Option<(Codec, Engine, Rate)> {
    while let Some(codec) = left.pop_front() {
        let rate = Rate::new(codec, shape.pixels(), fps, client.low_bandwidth, now);
        let Shape { width, height, .. } = shape;
        let (bit_rate, may_shrink) = (rate.bit_rate(), client.scales);
        let spec = VideoSpec { codec, width, height, fps, bit_rate, may_shrink };
        match engine(services, spec) {
            Ok(engine) => return Some((codec, engine, rate)),
            Err(error) => crate::warning_limited!("{codec} is not used for a video stream: {error}"),
        }
    }
    None
}

fn engine(services: &Services, spec: VideoSpec) -> Result<Engine, VideoError> {
    if spec.codec == Codec::Mjpeg {
        let (pool, wake) = (services.pool.clone(), Arc::clone(&services.wake));
        let encoder = services.encoders.create(&spec)?;
        return Ok(Engine::BuiltIn(Pooled::new(encoder, pool, wake)));
    }
    let (encoders, wake) = (Arc::clone(&services.encoders), Arc::clone(&services.wake));
    let make = Box::new(move || encoders.create(&spec));
    let encoder = Supervised::start(spec, make, Box::new(move || wake()))?;
    Ok(Engine::Supervised(Box::new(encoder)))
}
