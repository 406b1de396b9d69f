//! The inputs channel (server.md 7): the clients' keyboards and pointers, and the host's devices that they drive.

pub mod channel;
pub mod keys;
pub mod messages;

pub use channel::InputsChannel;
pub use keys::KeyState;
pub use messages::AgentMouse;
#[cfg(any(test, feature = "oracles"))]
pub use messages::fuzz_inputs_channel;

use std::time::Duration;

/// From a lock key or a change that a client asked for to KEY_MODIFIERS for all clients: the guest's own LED change should
/// come first.
pub const MODIFIERS_DELAY: Duration = Duration::from_secs(2);
