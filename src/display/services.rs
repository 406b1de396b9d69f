//! What a display channel uses of its process, besides its device and its clients.

use crate::codec::video::VideoEncoders;
use crate::codec::video::plugin::InstalledEncoders;
use std::fmt;
use std::sync::Arc;

/// Makes the worker take a turn soon. May be called on any thread, at any time.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub struct Services {
    /// Makes the encoders of video streams.
    pub encoders: Arc<dyn VideoEncoders>,
    /// Called when an encoder has a frame ready.
    pub wake: Wake,
}

impl Services {
    /// What a worker has: the encoders that are installed.
    #[must_use]
    pub fn of_process(wake: Wake) -> Self {
        Self { encoders: Arc::new(InstalledEncoders::of_process()), wake }
    }

    /// What needs no other thread: video is MJPEG, and nobody is woken.
    #[must_use]
    pub fn built_in() -> Self {
        Self { encoders: Arc::new(InstalledEncoders::built_in()), wake: Arc::new(|| ()) }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("encoders", &self.encoders).finish_non_exhaustive()
    }
}
