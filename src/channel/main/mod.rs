//! The main channel (server.md 6): one per client; the client lives as long as it.

pub mod agent;
pub mod channel;
pub mod messages;

pub use channel::MainChannel;
#[cfg(any(test, feature = "oracles"))]
pub use messages::fuzz_main_channel;
