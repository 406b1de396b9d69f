//! The inputs channel (server.md 7): the clients' keyboards and pointers, and the host's devices that they drive.

pub(crate) mod channel;
pub(crate) mod keys;
pub(crate) mod messages;

pub(crate) use channel::InputsChannel;
pub(crate) use keys::KeyState;
pub(crate) use messages::AgentMouse;
#[cfg(any(test, feature = "oracles"))]
pub use messages::fuzz_inputs_channel;

use std::time::Duration;

/// From a lock key or a change that a client asked for to KEY_MODIFIERS for all clients: the guest's own LED change should
/// come first.
pub(crate) const MODIFIERS_DELAY: Duration = Duration::from_secs(2);
