//! Connections: how the bytes of a channel get to and from a client (wire.md 1 and 2, server.md 4 and 5).
//!
//! - Coming in: `listener.rs` accepts, `upgrade.rs` answers a browser's HTTP request, `link.rs` is the link stage as a
//!   machine without I/O, `keys/` has the ticket keys and the threads for cryptography and logins, `sasl/` the exchange.
//! - Layers of a connection, each a [`transport::Transport`]: `socket.rs`, `tls/`, `websocket.rs`, `sasl/`.
//! - On top: `stream.rs` frames messages, `inbound.rs` reads those of the client, `flow.rs` counts those that the client has not
//!   acknowledged.

mod ahead;
pub(crate) mod descriptors;
pub(crate) mod flow;
mod inbound;
pub(crate) mod keys;
pub(crate) mod link;
pub(crate) mod link_estimate;
pub(crate) mod listener;
pub mod sasl;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod upgrade;
pub(crate) mod websocket;
