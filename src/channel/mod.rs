//! Channels: what they have in common and those that live on the host thread.

pub mod client;
pub mod connection;

#[cfg(test)]
pub(crate) mod testing;
pub mod inputs;
pub mod main;
pub mod pings;
