//! The streaming device (devices.md 9, display.md 16): an agent in the guest sends video of its screen through a port, and
//! clients see it as a display of its own.
//!
//! ```text
//!   port -- bytes --> Parser -- messages --> DisplayPart -- FORMAT, DATA --> Viewer per client -- STREAM_CREATE, STREAM_DATA
//!                                                 '------ CURSOR_* -------> PointerPart ------- cursor messages
//! ```
//!
//! The display channel owns the port. Nothing queues up: a viewer knows what its client was told, and is told what differs
//! from the present picture when its socket takes it; the port is not read while a frame waits for a client, so the agent
//! sees how fast its frames are taken.

mod display;
#[cfg(any(test, feature = "oracles"))]
mod oracle;
mod parser;
mod pointer;
#[cfg(test)]
mod tests;
mod viewer;

pub(crate) use display::DisplayPart;
#[cfg(any(test, feature = "oracles"))]
pub use oracle::fuzz_stream_device;
pub(crate) use pointer::{PointerChange, PointerPart};
