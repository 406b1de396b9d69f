//! The core of libspice-server: everything between a QXL device and the clients' sockets.
//!
//! No raw pointer, no C type and no unsafe code here; the host is reached through the traits of
//! [`host`], guest memory through those of [`guest`]. `ARCHITECTURE.md` has the map.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod blend;
pub mod canvas;
pub mod channel;
mod clock;
pub mod codec;
mod device;
pub mod display;
pub mod draw;
pub mod geometry;
pub mod guest;
pub mod host;
pub mod image;
pub mod limits;
pub mod log;
pub mod memory;
pub mod net;
#[cfg(any(test, feature = "oracles"))]
pub mod oracles;
pub mod panic;
pub mod pool;
pub mod protocol;
mod qxl_command;
pub mod reds;
mod spare;
#[cfg(test)]
mod testing;
mod thread;
pub mod worker;
