//! The QXL device side: guest memory behind memslots, parsing of QXL commands into owned values,
//! release tokens, recordings. All its `unsafe` code that ships is in [`memory`]; the mock guest has the
//! promise about its replayed memory.

mod bytes;
pub mod callbacks;
pub mod device;
pub mod memory;
#[cfg(any(test, feature = "mock"))]
pub mod mock;
#[cfg(any(test, feature = "mock"))]
pub mod oracles;
pub mod parse;
pub mod record;
pub mod replay;
pub mod surface;

pub use callbacks::QxlCallbacks;
pub use device::Device;
pub use record::Recorder;
pub use replay::{Replay, ReplayHost};
