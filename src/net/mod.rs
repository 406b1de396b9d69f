//! Connections: how bytes of a channel get to and from a client.

pub mod flow;
pub mod socket;
pub mod stream;
