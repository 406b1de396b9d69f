//! The QXL device side: guest memory behind memslots, parsing of QXL commands into owned values,
//! release tokens, recordings. All its `unsafe` code that ships is in [`memory`]; the mock guest has the
//! promise about its replayed memory.
#![warn(missing_docs)]

mod bytes;
mod callbacks;
mod device;
pub mod memory;
#[cfg(any(test, feature = "mock"))]
#[allow(missing_docs, reason = "builders are named after the structures and fields that they build")]
pub mod mock;
#[cfg(any(test, feature = "mock"))]
#[allow(missing_docs, reason = "fields of counters for reports of fuzzers")]
pub mod oracles;
pub mod parse;
mod record;
mod replay;
mod surface;

pub use callbacks::QxlCallbacks;
pub use device::Device;
pub use record::Recorder;
pub use replay::{Replay, ReplayError, ReplayHost, ReplayPrimary};
pub use surface::GuestSurface;
