//! Connections: how the bytes of a channel get to and from a client (wire.md 1 and 2, server.md 4 and 5).
//!
//! - Coming in: `listener.rs` accepts, `upgrade.rs` answers a browser's HTTP request, `link.rs` is the link stage as a
//!   machine without I/O, `keys/` has the ticket keys and the threads for cryptography and logins, `sasl/` the exchange.
//! - Layers of a connection, each a [`stream::Transport`]: `socket.rs`, `tls/`, `websocket.rs`, `sasl/`.
//! - On top: `stream.rs` frames messages, `flow.rs` counts those that the client has not acknowledged.

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
