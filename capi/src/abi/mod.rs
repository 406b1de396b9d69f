//! Every type that crosses the C boundary, `#[repr(C)]`, with the names of the public headers.
//!
//! One file per header: cbindgen writes `include/spice-*.h` from it and from the functions in
//! [`crate::api`]. Callbacks are `Option`: a host may leave any of them NULL. Layout: server.md 1.5, qxl.md A1;
//! `tests/abi/layout.c` compares it with the headers of the original.
#![allow(non_camel_case_types, reason = "C names")]
#![allow(missing_debug_implementations, reason = "structs of the host, seen through raw pointers only")]
#![allow(dead_code, reason = "constants for the headers")]

pub mod audio;
pub mod char;
pub mod core;
pub mod input;
pub mod migration;
pub mod opaque;
pub mod protocol;
pub mod qxl;
pub mod replay;
pub mod server;

pub use self::audio::*;
pub use self::char::*;
pub use self::core::*;
pub use self::input::*;
pub use self::migration::*;
pub use self::opaque::*;
pub use self::protocol::*;
pub use self::qxl::*;
pub use self::server::*;

#[cfg(test)]
mod tests;
