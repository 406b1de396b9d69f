//! Runs an encoder of the shared object on a thread of its own, and gives it up when it misbehaves.
//!
//! Such an encoder is foreign code. It may fail, hang, or keep memory with every frame. Then its stream loses it, and the
//! worker goes on. The worker leaves a thread that does not come back behind, with the encoder and one frame;
//! `limits::MAX_VIDEO_ENCODERS` bounds the number of such threads.
//!
//! The worker, which must not wait, uses [`Supervised::submit`] and [`Supervised::poll`]. It may submit the first frame at
//! once: the frame waits until the encoder is made.

use super::meter::{Meter, Probe, probe};
use super::picture::Picture;
use super::{Codec, EncodedFrame, VideoEncoder, VideoError, VideoSpec};
use crate::guest::SliceSource;
use crate::image::{BitmapFormat, ImageView};
use crate::limits::{MAX_VIDEO_ENCODERS, VIDEO_FRAME_LIMIT};
use crate::panic::guarded;
use crate::thread;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Encoder threads of this process that have not ended.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The time after its limit at which the worker gives an encoder up. The shared object keeps the limit itself where it can,
/// and then says what was wrong.
const GRACE: Duration = Duration::from_millis(250);

/// Makes the encoder, on its thread.
type Make = Box<dyn FnOnce() -> Result<Box<dyn VideoEncoder>, VideoError> + Send>;
/// Called on the encoder's thread when the encoder was made, and when a frame is done.
type Wake = Box<dyn Fn() + Send>;

/// What the thread is asked to do.
enum Work {
    Frame { picture: Picture, time: u32, force_key: bool },
    BitRate(u64),
}

/// What the thread has done.
enum Done {
    Made(Result<(), VideoError>),
    Frame(Picture, Result<EncodedFrame, VideoError>),
}

#[derive(Debug)]
enum State {
    /// The encoder is being made; `frame`: one waits for it.
    Making {
        since: Instant,
        frame: bool,
    },
    Idle,
    Encoding {
        since: Instant,
    },
    /// It is of no use any more.
    Over(VideoError),
}

/// A video encoder that runs on its own thread and is abandoned when it is late, fails or takes too much memory.
pub(crate) struct Supervised {
    spec: VideoSpec,
    state: State,
    work: Option<SyncSender<Work>>,
    done: Receiver<Done>,
    /// Memory for the next frame.
    picture: Picture,
    /// To be set before the next frame.
    bit_rate: Option<u64>,
    limit: Duration,
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised")
            .field("spec", &self.spec)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Supervised {
    /// Begins to make an encoder for `spec` by `make`. `wake` is called when [`Self::poll`] has something new.
    ///
    /// # Errors
    /// [`VideoError::NoResources`] if there are too many encoders, or no thread.
    pub(crate) fn start(spec: VideoSpec, make: Make, wake: Wake) -> Result<Self, VideoError> {
        Self::start_with(spec, make, wake, probe(), VIDEO_FRAME_LIMIT)
    }

    fn start_with(
        spec: VideoSpec,
        make: Make,
        wake: Wake,
        probe: Probe,
        limit: Duration,
    ) -> Result<Self, VideoError> {
        // One frame and the bit rate before it; the thread never waits for room for its answers.
        let (work, orders) = sync_channel(2);
        let (answers, done) = sync_channel(2);
        let counted = Counted::new()?;
        let meter = Meter::new(&spec, probe);
        let body = move || {
            let _counted = counted;
            let _ = guarded("a video encoder", move || Thread { orders, answers, meter, wake }.run(make));
        };
        thread::spawn("SPICE Video", body).map_err(|error| VideoError::NoResources(error.to_string()))?;
        Ok(Self {
            spec,
            state: State::Making { since: Instant::now(), frame: false },
            work: Some(work),
            done,
            picture: Picture::default(),
            bit_rate: None,
            limit,
        })
    }

    /// Begins to encode a frame, whose pixels are copied. Does not wait.
    ///
    /// # Errors
    /// [`VideoError::Busy`] if there is a frame whose result was not taken, [`VideoError::BadFrame`], or why the
    /// encoder is of no use any more.
    pub(crate) fn submit(
        &mut self,
        frame: &ImageView<'_>,
        time: u32,
        force_key: bool,
    ) -> Result<(), VideoError> {
        self.collect();
        match &self.state {
            State::Idle | State::Making { frame: false, .. } => {}
            State::Over(error) => return Err(error.clone()),
            State::Making { .. } | State::Encoding { .. } => return Err(VideoError::Busy),
        }
        if (frame.width, frame.height) != (self.spec.width, self.spec.height) {
            return Err(VideoError::BadFrame);
        }
        let mut picture = std::mem::take(&mut self.picture);
        picture.copy(frame)?;
        let rate = self.bit_rate.take().map(Work::BitRate);
        for work in rate.into_iter().chain([Work::Frame { picture, time, force_key }]) {
            self.send(work)?;
        }
        match &mut self.state {
            State::Making { frame, .. } => *frame = true,
            state => *state = State::Encoding { since: Instant::now() },
        }
        Ok(())
    }

    /// The frame that was submitted, once it is encoded; `None`: not yet, or there is none. Does not wait.
    pub(crate) fn poll(&mut self) -> Option<Result<EncodedFrame, VideoError>> {
        self.receive(Duration::ZERO)
    }

    /// When the encoder is given up, if it does not answer. [`Self::poll`] does so from then on.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Making { since, .. } | State::Encoding { since } => Some(since + self.limit + GRACE),
            State::Idle | State::Over(_) => None,
        }
    }

    /// Whether the encoder was made and works.
    #[cfg(test)]
    fn is_ready(&mut self) -> bool {
        self.collect();
        matches!(self.state, State::Idle | State::Encoding { .. })
    }

    /// Why the encoder is of no use any more.
    pub(crate) fn failure(&mut self) -> Option<VideoError> {
        self.collect();
        match &self.state {
            State::Over(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Notes that the encoder was made, without taking a frame.
    fn collect(&mut self) {
        if let State::Making { frame: false, .. } = self.state {
            let none = self.receive(Duration::ZERO);
            debug_assert!(!matches!(none, Some(Ok(_))), "no frame was submitted");
        }
    }

    /// Waits for a frame for so long at most.
    fn receive(&mut self, wait: Duration) -> Option<Result<EncodedFrame, VideoError>> {
        let end = Instant::now() + wait;
        loop {
            let deadline = self.deadline()?;
            let now = Instant::now();
            let until = end.min(deadline);
            let answer = match until.checked_duration_since(now) {
                Some(left) if !left.is_zero() => self.done.recv_timeout(left),
                _ => self.done.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                }),
            };
            let result = match answer {
                Ok(Done::Made(Ok(()))) => {
                    self.state = match self.state {
                        State::Making { frame: true, .. } => State::Encoding { since: Instant::now() },
                        _ => State::Idle,
                    };
                    continue;
                }
                Ok(Done::Made(Err(error))) => Err(error),
                Ok(Done::Frame(picture, result)) => {
                    self.picture = picture;
                    self.state = State::Idle;
                    result
                }
                Err(RecvTimeoutError::Disconnected) => {
                    Err(VideoError::Failed("the encoder's thread ended".into()))
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => Err(VideoError::Stalled),
                Err(RecvTimeoutError::Timeout) => return None,
            };
            if let Err(error) = &result
                && error.is_final()
            {
                self.end(error.clone());
            }
            return Some(result);
        }
    }

    fn send(&mut self, work: Work) -> Result<(), VideoError> {
        let sent = self.work.as_ref().map(|to| to.try_send(work));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(VideoError::Busy),
            Some(Err(TrySendError::Disconnected(_))) | None => {
                let error = VideoError::Failed("the encoder's thread ended".into());
                self.end(error.clone());
                Err(error)
            }
        }
    }

    /// The thread ends, as soon as it looks.
    fn end(&mut self, error: VideoError) {
        self.state = State::Over(error);
        self.work = None;
        self.picture = Picture::default();
    }
}

impl VideoEncoder for Supervised {
    fn codec(&self) -> Codec {
        self.spec.codec
    }

    /// Waits for the frame as long as one may take, and longer for the first one, since the encoder may have to be made.
    fn encode(
        &mut self,
        frame: &ImageView<'_>,
        time: u32,
        force_key: bool,
    ) -> Result<EncodedFrame, VideoError> {
        self.submit(frame, time, force_key)?;
        while let Some(deadline) = self.deadline() {
            if let Some(result) = self.receive(deadline.saturating_duration_since(Instant::now())) {
                return result;
            }
        }
        Err(VideoError::Stalled)
    }

    fn set_bit_rate(&mut self, bits_per_second: u64) {
        self.bit_rate = Some(bits_per_second);
    }
}

/// The encoder's thread.
struct Thread {
    orders: Receiver<Work>,
    answers: SyncSender<Done>,
    meter: Meter,
    wake: Wake,
}

impl Thread {
    /// Until the other side is gone, or the encoder is of no use.
    fn run(mut self, make: Make) {
        self.meter.begin();
        let made = guarded("making a video encoder", make);
        let made = made.unwrap_or_else(|| Err(VideoError::Failed("a fault of ours".into())));
        let fits = self.meter.end();
        let mut encoder = match made {
            Ok(encoder) if fits => encoder,
            Ok(_) => return self.answer(Done::Made(Err(VideoError::EatsMemory))),
            Err(error) => return self.answer(Done::Made(Err(error))),
        };
        self.answer(Done::Made(Ok(())));
        while let Ok(work) = self.orders.recv() {
            let Work::Frame { picture, time, force_key } = work else {
                if let Work::BitRate(rate) = work {
                    encoder.set_bit_rate(rate);
                }
                continue;
            };
            self.meter.begin();
            let result = encode(&mut *encoder, &picture, time, force_key);
            let result = if self.meter.end() { result } else { Err(VideoError::EatsMemory) };
            let over = result.as_ref().is_err_and(VideoError::is_final);
            self.answer(Done::Frame(picture, result));
            if over {
                break;
            }
        }
    }

    fn answer(&self, done: Done) {
        // Nobody listens any more: the stream is over.
        let _ = self.answers.try_send(done);
        (self.wake)();
    }
}

fn encode(
    encoder: &mut dyn VideoEncoder,
    picture: &Picture,
    time: u32,
    force_key: bool,
) -> Result<EncodedFrame, VideoError> {
    let source = SliceSource(&picture.pixels);
    let view = ImageView {
        format: BitmapFormat::ThirtyTwoBit,
        width: picture.width,
        height: picture.height,
        stride: picture.stride(),
        top_down: true,
        source: &source,
    };
    guarded("a video encoder", || encoder.encode(&view, time, force_key))
        .unwrap_or_else(|| Err(VideoError::Failed("a fault of ours".into())))
}

/// One of the threads that may be.
struct Counted;

impl Counted {
    fn new() -> Result<Self, VideoError> {
        let counted = THREADS.try_update(Ordering::Relaxed, Ordering::Relaxed, |threads| {
            (threads < MAX_VIDEO_ENCODERS).then_some(threads + 1)
        });
        match counted {
            Ok(_) => Ok(Self),
            Err(_) => Err(VideoError::NoResources("there are too many encoders".into())),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        THREADS.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
