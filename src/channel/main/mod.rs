//! The main channel (server.md 6): one per client; the client lives as long as it.

pub(crate) mod agent;
pub(crate) mod channel;
pub(crate) mod messages;

pub(crate) use channel::MainChannel;
#[cfg(any(test, feature = "oracles"))]
pub use messages::fuzz_main_channel;
