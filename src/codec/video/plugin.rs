//! All encoders of a process: MJPEG, which is built in, and those of the shared object, which the library loads when the first
//! client may need it (`docs/video.md`).

use super::mjpeg::Mjpeg;
use super::picture::Picture;
use super::{Codec, CodecSet, EncodedFrame, VideoEncoder, VideoEncoders, VideoError, VideoSpec};
use crate::image::{BitmapFormat, ImageView};
use crate::limits::{MAX_VIDEO_FAILURES, MAX_VIDEO_THREADS, VIDEO_FRAME_LIMIT};
use crate::panic::guarded;
use crate::thread;
use spice_video_loader::{self as loader, Level, Plugin, locate};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The encoders that this process can use. Copies share one state.
#[derive(Debug, Clone)]
pub(crate) struct InstalledEncoders(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    plugin: Load,
    /// Encoders that failed, by codec number.
    failures: [u32; 8],
}

#[derive(Debug)]
enum Load {
    /// Nobody needed the shared object so far. `path`: where it is; `None`: the library looks for it.
    NotYet {
        path: Option<PathBuf>,
    },
    Running,
    /// The shared object, if there is one that works.
    Done(Option<Loaded>),
}

#[derive(Clone, Copy, Debug)]
struct Loaded {
    plugin: Plugin,
    codecs: CodecSet,
}

impl InstalledEncoders {
    /// The encoders of this process.
    #[must_use]
    pub(crate) fn of_process() -> Self {
        static PROCESS: OnceLock<InstalledEncoders> = OnceLock::new();
        PROCESS.get_or_init(|| Self::with(Load::NotYet { path: None })).clone()
    }

    /// MJPEG alone.
    #[must_use]
    pub(crate) fn built_in() -> Self {
        Self::with(Load::Done(None))
    }

    /// MJPEG, and the encoders of a shared object at this place.
    #[cfg(test)]
    fn at(path: PathBuf) -> Self {
        Self::with(Load::NotYet { path: Some(path) })
    }

    fn with(plugin: Load) -> Self {
        Self(Arc::new(Mutex::new(State { plugin, failures: [0; 8] })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shared object, if it is loaded, with those of its codecs that did not fail too often.
    fn loaded(&self) -> Option<Loaded> {
        let state = self.state();
        let Load::Done(Some(loaded)) = &state.plugin else { return None };
        let works = |codec: &Codec| state.failures_of(*codec) < MAX_VIDEO_FAILURES;
        Some(Loaded { codecs: loaded.codecs.iter().filter(works).collect(), ..*loaded })
    }
}

impl State {
    fn failures_of(&self, codec: Codec) -> u32 {
        self.failures.get(usize::from(codec.number())).copied().unwrap_or(0)
    }
}

impl VideoEncoders for InstalledEncoders {
    fn prepare(&self) {
        let mut state = self.state();
        let Load::NotYet { path } = &mut state.plugin else { return };
        let path = path.take();
        state.plugin = Load::Running;
        drop(state);
        let this = self.clone();
        // Loading reads files, and may have to look through all plugins of the machine.
        let body = move || {
            let found = guarded("loading video encoders", || load(path)).flatten();
            this.state().plugin = Load::Done(found);
        };
        if let Err(error) = thread::spawn("SPICE Video", body) {
            crate::warning!("no thread to load video encoders: {error}");
            self.state().plugin = Load::Done(None);
        }
    }

    fn available(&self) -> CodecSet {
        self.loaded().map_or(CodecSet::NONE, |loaded| loaded.codecs).with(Codec::Mjpeg)
    }

    fn create(&self, spec: &VideoSpec) -> Result<Box<dyn VideoEncoder>, VideoError> {
        if spec.codec == Codec::Mjpeg {
            return Ok(Box::new(Mjpeg::new(spec)));
        }
        let loaded = self.loaded().filter(|loaded| loaded.codecs.contains(spec.codec));
        let plugin = loaded.ok_or(VideoError::Unavailable(spec.codec))?.plugin;
        let wanted = loader::Spec {
            codec: spec.codec.number(),
            width: spec.width,
            height: spec.height,
            fps: spec.fps,
            threads: threads(),
            bit_rate: spec.bit_rate,
            limit_ms: u32::try_from(VIDEO_FRAME_LIMIT.as_millis()).unwrap_or(u32::MAX),
        };
        let encoder = plugin.create(&wanted).map_err(|error| told(error, spec.codec))?;
        Ok(Box::new(PluginEncoder { encoder, spec: *spec, copy: Picture::default() }))
    }

    fn failed(&self, codec: Codec) {
        let mut state = self.state();
        if let Some(failures) = state.failures.get_mut(usize::from(codec.number())) {
            *failures = failures.saturating_add(1);
            if *failures == MAX_VIDEO_FAILURES {
                drop(state);
                crate::warning!(
                    "{codec} is not used any more: its encoders failed {MAX_VIDEO_FAILURES} times"
                );
            }
        }
    }
}

/// Loads the shared object, if there is one, and says in the log what it has.
fn load(path: Option<PathBuf>) -> Option<Loaded> {
    let Some(path) = path.or_else(locate::find) else {
        crate::info!("no video encoders are installed: video is MJPEG");
        return None;
    };
    let plugin = match Plugin::load(&path, log) {
        Ok(plugin) => plugin,
        Err(error) => {
            crate::warning!("video encoders of {}: {error}", path.display());
            return None;
        }
    };
    let codecs = CodecSet::from_bits(plugin.codecs()).without(Codec::Mjpeg);
    let names: Vec<_> = codecs.iter().map(|c| format!("{c} by {}", plugin.describe(c.number()))).collect();
    crate::info!("video encoders of {}: {}", path.display(), names.join(", "));
    Some(Loaded { plugin, codecs })
}

fn log(level: Level, text: &str) {
    match level {
        Level::Debug => crate::debug!("{text}"),
        Level::Info => crate::info!("{text}"),
        // Guests make streams begin, and so encoders fail, as often as they like.
        Level::Warning => crate::warning_limited!("{text}"),
    }
}

/// All processors but one, which is the guest's.
fn threads() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    processors.saturating_sub(1).clamp(1, MAX_VIDEO_THREADS)
}

fn told(error: loader::Error, codec: Codec) -> VideoError {
    match error {
        loader::Error::Unsupported => VideoError::Unavailable(codec),
        loader::Error::TimedOut => VideoError::Stalled,
        loader::Error::TooLarge => VideoError::TooLarge,
        loader::Error::BadFrame => VideoError::BadFrame,
        other => VideoError::Failed(other.to_string()),
    }
}

/// An encoder of the shared object.
#[derive(Debug)]
struct PluginEncoder {
    encoder: loader::Encoder,
    spec: VideoSpec,
    copy: Picture,
}

impl PluginEncoder {
    /// Encoded video is smaller than its pixels.
    fn max_len(&self) -> usize {
        let bytes = u64::from(self.spec.width) * u64::from(self.spec.height) * 4;
        usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(64 << 10)
    }
}

impl VideoEncoder for PluginEncoder {
    fn codec(&self) -> Codec {
        self.spec.codec
    }

    fn encode(
        &mut self,
        frame: &ImageView<'_>,
        time: u32,
        force_key: bool,
    ) -> Result<EncodedFrame, VideoError> {
        if (frame.width, frame.height) != (self.spec.width, self.spec.height) {
            return Err(VideoError::BadFrame);
        }
        let as_it_is =
            matches!(frame.format, BitmapFormat::ThirtyTwoBit | BitmapFormat::Rgba) && frame.top_down;
        let (pixels, stride) = match frame.source.as_private().filter(|_| as_it_is) {
            Some(pixels) => (pixels, frame.stride),
            None => {
                self.copy.copy(frame)?;
                (&*self.copy.pixels, self.copy.stride())
            }
        };
        let max_len = self.max_len();
        let frame = loader::Frame { pixels, stride, time_ms: time, force_key };
        let output = self.encoder.encode(&frame, max_len).map_err(|error| told(error, self.spec.codec))?;
        Ok(EncodedFrame { data: output.bytes, key: output.key, size: None })
    }

    fn set_bit_rate(&mut self, bits_per_second: u64) {
        if let Err(error) = self.encoder.set_bit_rate(bits_per_second) {
            crate::warning_limited!("{}: the bit rate stays as it is: {error}", self.spec.codec);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const SPEC: VideoSpec = VideoSpec {
        codec: Codec::Mjpeg,
        width: 64,
        height: 64,
        fps: 25,
        bit_rate: 1_000_000,
        may_shrink: false,
    };

    fn wait_until_loaded(encoders: &InstalledEncoders) {
        let end = Instant::now() + Duration::from_secs(30);
        while !matches!(encoders.state().plugin, Load::Done(_)) {
            assert!(Instant::now() < end, "loading takes for ever");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn without_a_plugin_there_is_mjpeg() {
        for encoders in [InstalledEncoders::at("/nonexistent.so".into()), InstalledEncoders::built_in()] {
            encoders.prepare();
            wait_until_loaded(&encoders);
            assert_eq!(encoders.available(), CodecSet::NONE.with(Codec::Mjpeg));
            assert_eq!(encoders.create(&SPEC).unwrap().codec(), Codec::Mjpeg);
            let vp8 = VideoSpec { codec: Codec::Vp8, ..SPEC };
            assert_eq!(encoders.create(&vp8).err(), Some(VideoError::Unavailable(Codec::Vp8)));
        }
    }

    #[test]
    fn nothing_is_loaded_before_it_is_needed() {
        let encoders = InstalledEncoders::at("/nonexistent.so".into());
        assert_eq!(encoders.available(), CodecSet::NONE.with(Codec::Mjpeg));
        assert!(matches!(encoders.state().plugin, Load::NotYet { .. }));
    }
}
