//! Services of the process that a display channel uses.

use crate::codec::video::VideoEncoders;
use crate::codec::video::plugin::InstalledEncoders;
use crate::pool::Pool;
use std::fmt;
use std::sync::Arc;

/// Makes the worker take a turn soon. May be called on any thread, at any time.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The services of the process that a display channel uses.
#[derive(Clone)]
pub struct Services {
    /// Makes the encoders of video streams.
    pub encoders: Arc<dyn VideoEncoders>,
    /// Threads that help with large images and large frames of video.
    pub pool: Option<Pool>,
    /// Called when an encoder has a frame ready.
    pub wake: Wake,
}

impl Services {
    /// The services of a worker, with the installed encoders.
    #[must_use]
    pub fn of_process(wake: Wake) -> Self {
        let pool = Some(Pool::of_process());
        Self { encoders: Arc::new(InstalledEncoders::of_process()), pool, wake }
    }

    /// Services that need nothing of the process: MJPEG alone, no helping threads, and no wakeup.
    #[must_use]
    pub fn built_in() -> Self {
        let pool = Some(Pool::new(1));
        Self { encoders: Arc::new(InstalledEncoders::built_in()), pool, wake: Arc::new(|| ()) }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("encoders", &self.encoders).finish_non_exhaustive()
    }
}
