//! Channels: what they have in common and those that live on the host thread.

pub mod client;
pub mod connection;
pub mod inputs;
pub mod main;
pub mod pings;
#[cfg(test)]
pub(crate) mod testing;
