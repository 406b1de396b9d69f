//! The built-in encoder on the threads of the pool: a large frame takes some ten milliseconds, in which the worker has
//! better things to do.
//!
//! A frame is given to the pool, and [`Pooled::poll`] takes it back encoded in a later turn. Small frames are encoded at
//! once. When the pool is busy, the worker encodes large ones itself, too. The encoder itself needs no supervision: it is ours,
//! and its time is bounded by the pixels.

use super::picture::Picture;
use super::{EncodedFrame, VideoEncoder, VideoError};
use crate::guest::SliceSource;
use crate::image::Bitmap;
use crate::pool::Pool;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

/// Pixels of the smallest frame that goes to the pool. Smaller ones take about half a millisecond, and to hand them over and take
/// them back costs a tenth of that.
const LEAST_PIXELS: u64 = 1 << 18;

/// Makes the worker take a turn.
type Wake = Arc<dyn Fn() + Send + Sync>;

/// An encoder whose large frames are encoded by the pool.
pub(crate) struct Pooled {
    pool: Option<Pool>,
    /// Called on a thread of the pool when a frame is done.
    wake: Wake,
    state: State,
    /// To be set before the next frame.
    bit_rate: Option<u64>,
    most: Option<u64>,
}

enum State {
    /// The encoder, and memory for the next frame.
    Idle(Box<dyn VideoEncoder>, Picture),
    Encoding(Receiver<Done>),
    /// The encoder panicked.
    Over,
}

/// What comes back from the pool.
struct Done {
    encoder: Box<dyn VideoEncoder>,
    picture: Picture,
    result: Result<EncodedFrame, VideoError>,
}

/// A frame that is about to be encoded.
struct Work {
    encoder: Box<dyn VideoEncoder>,
    picture: Picture,
    /// The pixels of the frame where they are the library's own and so cannot change; else `picture` has a copy.
    shared: Option<Bitmap>,
    time: u32,
}

impl Work {
    fn run(self) -> Done {
        let Self { mut encoder, picture, shared, time } = self;
        let result = match &shared {
            Some(bitmap) => encoder.encode(&bitmap.view(), time, false),
            None => {
                let source = SliceSource(&picture.pixels);
                encoder.encode(&picture.view(&source), time, false)
            }
        };
        Done { encoder, picture, result }
    }
}

/// Tells the worker when it is dropped: also when the encoder panicked.
struct Teller {
    to: Option<SyncSender<Done>>,
    wake: Wake,
}

impl Teller {
    fn tell(&self, done: Done) {
        // Nobody listens any more: the stream is over.
        let _ = self.to.as_ref().map(|to| to.try_send(done));
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.to = None;
        (self.wake)();
    }
}

impl fmt::Debug for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Idle(..) => "idle",
            State::Encoding(_) => "encoding",
            State::Over => "over",
        };
        f.debug_struct("Pooled").field("state", &state).finish_non_exhaustive()
    }
}

impl Pooled {
    /// `encoder`, whose large frames go to `pool`. `wake` is called on one of its threads when [`Self::poll`] has a frame.
    #[must_use]
    pub(crate) fn new(encoder: Box<dyn VideoEncoder>, pool: Option<Pool>, wake: Wake) -> Self {
        Self { pool, wake, state: State::Idle(encoder, Picture::default()), bit_rate: None, most: None }
    }

    /// Encodes a frame, which is to be shown at `time` (milliseconds, wraps around). `None`: [`Self::poll`] gives it later.
    ///
    /// # Errors
    /// [`VideoError::Busy`] if the frame before has not been taken back, [`VideoError::NoResources`] if there is no memory
    /// for a copy, or those of [`VideoEncoder::encode`].
    pub(crate) fn encode(&mut self, frame: &Bitmap, time: u32) -> Result<Option<EncodedFrame>, VideoError> {
        let large = u64::from(frame.width) * u64::from(frame.height) >= LEAST_PIXELS;
        let (mut encoder, mut picture) = self.take()?;
        if let Some(rate) = self.bit_rate.take() {
            encoder.set_bit_rate(rate);
        }
        encoder.set_most(self.most);
        let Some(pool) = self.pool.clone().filter(|_| large) else {
            let result = encoder.encode(&frame.view(), time, false);
            self.state = State::Idle(encoder, picture);
            return result.map(Some);
        };
        let shared = frame.pixels.as_private().is_some().then(|| frame.clone());
        if shared.is_none()
            && let Err(error) = picture.copy(&frame.view())
        {
            self.state = State::Idle(encoder, picture);
            return Err(error);
        }
        self.give(&pool, Work { encoder, picture, shared, time });
        Ok(None)
    }

    fn give(&mut self, pool: &Pool, work: Work) {
        let (to, done) = sync_channel(1);
        let teller = Teller { to: Some(to), wake: Arc::clone(&self.wake) };
        self.state = State::Encoding(done);
        if let Err(job) = pool.give(move || teller.tell(work.run())) {
            // All its threads are busy, and will be for some time.
            job();
        }
    }

    /// The frame that was given to the pool, once it is encoded; `None`: not yet, or there is none. Does not wait.
    pub(crate) fn poll(&mut self) -> Option<Result<EncodedFrame, VideoError>> {
        let State::Encoding(done) = &self.state else { return None };
        match done.try_recv() {
            Ok(Done { encoder, picture, result }) => {
                self.state = State::Idle(encoder, picture);
                Some(result)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.state = State::Over;
                Some(Err(fault()))
            }
        }
    }

    /// Changes the bit rate (bits per second) from the next frame on.
    pub(crate) fn set_bit_rate(&mut self, bits_per_second: u64) {
        self.bit_rate = Some(bits_per_second);
    }

    /// Bytes that a frame should have at most, from the next one on.
    pub(crate) fn set_most(&mut self, bytes: Option<u64>) {
        self.most = bytes;
    }

    /// The encoder, if it is idle.
    fn take(&mut self) -> Result<(Box<dyn VideoEncoder>, Picture), VideoError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Idle(encoder, picture) => Ok((encoder, picture)),
            State::Encoding(done) => {
                self.state = State::Encoding(done);
                Err(VideoError::Busy)
            }
            State::Over => Err(fault()),
        }
    }
}

fn fault() -> VideoError {
    VideoError::Failed("a fault of ours".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::video::Codec;
    use crate::guest::ByteSource;
    use crate::image::{BitmapFormat, ImageView};
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    /// Far longer than anything here takes.
    const LONG: Duration = Duration::from_secs(60);
    const SIDE: u32 = 512;

    /// Waits for leave, then gives the first pixel, the time and the bit rate.
    #[derive(Debug)]
    struct Double {
        leave: Receiver<()>,
        rate: u64,
    }

    impl VideoEncoder for Double {
        fn codec(&self) -> Codec {
            Codec::Mjpeg
        }

        fn encode(&mut self, frame: &ImageView<'_>, time: u32, _: bool) -> Result<EncodedFrame, VideoError> {
            self.leave.recv_timeout(LONG).unwrap();
            let mut pixel = [0; 4];
            frame.read_row(0, &mut pixel);
            assert!(time < 100, "of a test");
            Ok(EncodedFrame { data: vec![pixel[0], time as u8, self.rate as u8], key: true, size: None })
        }

        fn set_bit_rate(&mut self, rate: u64) {
            self.rate = rate;
        }
    }

    /// Guest memory: nobody but the worker may read it while it goes on.
    #[derive(Debug)]
    struct OfGuest(Vec<u8>);

    impl ByteSource for OfGuest {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn read_at(&self, offset: usize, dst: &mut [u8]) {
            assert_ne!(std::thread::current().name(), Some("SPICE Pool"));
            self.0.read_at(offset, dst);
        }
    }

    fn frame(side: u32, value: u8, of_guest: bool) -> Bitmap {
        let pixels = vec![value; (side * side * 4) as usize];
        Bitmap {
            format: BitmapFormat::ThirtyTwoBit,
            width: side,
            height: side,
            stride: side * 4,
            top_down: true,
            unstable: false,
            palette: None,
            pixels: if of_guest { Arc::new(OfGuest(pixels)) } else { Arc::new(pixels) },
        }
    }

    fn start(pool: Option<Pool>) -> (Pooled, Sender<()>, Receiver<()>) {
        let (allow, leave) = channel();
        let (woken, waking) = channel();
        let woken = std::sync::Mutex::new(woken);
        let wake: Wake = Arc::new(move || {
            let _ = woken.lock().unwrap().send(());
        });
        (Pooled::new(Box::new(Double { leave, rate: 0 }), pool, wake), allow, waking)
    }

    #[test]
    fn large_frames_come_back_when_they_are_done() {
        let (mut encoder, allow, waking) = start(Some(Pool::new(1)));
        for (value, of_guest) in [(1, false), (2, true), (3, true), (4, false)] {
            encoder.set_bit_rate(7);
            assert_eq!(encoder.encode(&frame(SIDE, value, of_guest), 9), Ok(None));
            assert_eq!(encoder.encode(&frame(SIDE, 99, of_guest), 9), Err(VideoError::Busy));
            assert!(encoder.poll().is_none());
            allow.send(()).unwrap();
            waking.recv_timeout(LONG).unwrap();
            assert_eq!(encoder.poll().unwrap().unwrap().data, [value, 9, 7]);
            assert!(encoder.poll().is_none());
        }
    }

    #[test]
    fn small_frames_and_those_without_a_pool_are_done_at_once() {
        for (pool, side) in [(Some(Pool::new(1)), 16), (None, SIDE)] {
            let (mut encoder, allow, _) = start(pool);
            for value in 1..4 {
                allow.send(()).unwrap();
                let done = encoder.encode(&frame(side, value, true), 9).unwrap().unwrap();
                assert_eq!(done.data, [value, 9, 0]);
            }
        }
    }

    #[test]
    fn a_busy_pool_leaves_the_frame_to_the_worker() {
        let (mut encoder, allow, waking) = start(Some(Pool::new(0)));
        allow.send(()).unwrap();
        assert_eq!(encoder.encode(&frame(SIDE, 1, true), 9), Ok(None));
        waking.try_recv().unwrap();
        assert_eq!(encoder.poll().unwrap().unwrap().data, [1, 9, 0]);
    }

    #[test]
    fn an_encoder_that_panics_is_over() {
        let (mut encoder, allow, waking) = start(Some(Pool::new(1)));
        allow.send(()).unwrap();
        assert_eq!(encoder.encode(&frame(SIDE, 1, false), 100), Ok(None));
        waking.recv_timeout(LONG).unwrap();
        assert_eq!(encoder.poll(), Some(Err(fault())));
        assert_eq!((encoder.encode(&frame(SIDE, 1, false), 1), encoder.poll()), (Err(fault()), None));
    }

    #[test]
    fn a_stream_that_ends_leaves_its_frame_behind() {
        let pool = Pool::new(1);
        let (mut encoder, allow, waking) = start(Some(pool.clone()));
        assert_eq!(encoder.encode(&frame(SIDE, 1, true), 1), Ok(None));
        drop(encoder);
        allow.send(()).unwrap();
        waking.recv_timeout(LONG).unwrap();
        assert_eq!(pool.map(vec![1, 2], |n: i32| n), [Some(1), Some(2)]);
    }
}
