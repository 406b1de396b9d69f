//! Connections: how bytes of a channel get to and from a client.

pub mod descriptors;
pub mod flow;
pub mod keys;
pub mod link;
pub mod link_estimate;
pub mod listener;
pub mod sasl;
pub mod socket;
pub mod stream;
pub mod tls;
pub mod upgrade;
pub mod websocket;
