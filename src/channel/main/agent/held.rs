//! What the agent port knows of a client that arrives by a seamless migration (server.md 9.6).

use crate::protocol::migrate::MainState;

/// A client whose state at the source is still to come, or waits for the agent that it is about.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The agent's device went since.
    pub(super) lost: bool,
    /// The client brought its state, but no device is there yet.
    pub(super) brought: Option<Box<MainState>>,
}

impl Held {
    /// The agent's device went: another that comes is another agent's.
    pub(super) fn on_agent_gone(&mut self) {
        self.lost = true;
    }
}
