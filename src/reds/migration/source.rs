//! The side that a machine moves away from (server.md 9.1 to 9.3), as a machine without I/O: calls of the host, answers of
//! clients and time go in, [`Action`]s come out. The module's documentation has the diagram.

use crate::channel::connection::ClientId;
use crate::limits::{MIGRATION_CONNECT_TIMEOUT, MIGRATION_LEAVE_TIMEOUT};
use crate::protocol::main_channel::MigrationTarget;
use std::collections::BTreeMap;
use std::time::Instant;

/// How much a client can do for a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ability {
    /// It can only be sent to another host, where it begins anew.
    SwitchHost,
    /// It links to the target beforehand, and begins anew there when the machine has moved.
    Semi,
    /// It links to the target beforehand, and carries the state of its channels there.
    Seamless,
    /// It comes from another migration itself, which has to end before the next one begins.
    Arriving,
}

/// What a client answers to MIGRATE_BEGIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is linked to the target, and will begin a new session there.
    Connected,
    /// It is linked to the target, which will take its state.
    ConnectedSeamless,
    /// It could not link to the target.
    Failed,
}

/// How far a client has come in a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It comes from another migration: BEGIN waits for the end of that.
    Deferred,
    /// BEGIN was sent.
    Asked { seamless: bool },
    /// The client is linked to the target as well as to this server.
    Linked { seamless: bool },
    /// The server told the client to go, and waits until it disconnects.
    Leaving,
}

/// The phase of a migration. All clients share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No target is set.
    Idle,
    /// Clients link to the target; the host hears of the end of that.
    Linking,
    /// All that can be linked to the target is. The machine may move.
    Ready,
    /// The machine has moved: clients leave; the host hears of the end of that.
    Leaving,
}

/// What the server must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send MIGRATE_BEGIN or MIGRATE_BEGIN_SEAMLESS.
    Begin(ClientId, Ability),
    /// Send MIGRATE_CANCEL.
    Cancel(ClientId),
    /// Send MIGRATE_END.
    End(ClientId),
    /// Send MIGRATE_SWITCH_HOST.
    SwitchHost(ClientId),
    /// Every channel of the client hands over its state.
    HandOver(ClientId),
    /// Disconnect the client.
    Drop(ClientId, &'static str),
    /// Call migrate_connect_complete.
    ConnectComplete,
    /// Call migrate_end_complete.
    EndComplete,
}

/// The state of a migration on the side that the machine leaves.
#[derive(Debug)]
pub(crate) struct Source {
    phase: Phase,
    target: Option<MigrationTarget>,
    clients: BTreeMap<ClientId, Progress>,
    deadline: Option<Instant>,
}

impl Default for Source {
    fn default() -> Self {
        Self { phase: Phase::Idle, target: None, clients: BTreeMap::new(), deadline: None }
    }
}

impl Source {
    /// Where the clients go.
    pub(super) fn target(&self) -> Option<&MigrationTarget> {
        self.target.as_ref()
    }

    /// Sets where the clients go without telling them (migrate_info).
    pub(super) fn set_target(&mut self, target: Option<MigrationTarget>) {
        self.target = target;
    }

    /// When the server must call [`Self::on_timer`]; `None`: no time limit runs.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The host sets a target (migrate_connect): the clients that can link to it now. One migration at a time: an earlier
    /// one is called off.
    pub(super) fn connect(
        &mut self,
        target: MigrationTarget,
        clients: impl IntoIterator<Item = (ClientId, Ability)>,
        now: Instant,
    ) -> Vec<Action> {
        let mut actions = self.call_off();
        self.phase = Phase::Linking;
        self.target = Some(target);
        self.deadline = Some(now + MIGRATION_CONNECT_TIMEOUT);
        for (client, ability) in clients {
            match ability {
                Ability::SwitchHost => continue,
                Ability::Arriving => drop(self.clients.insert(client, Progress::Deferred)),
                Ability::Semi | Ability::Seamless => self.ask(client, ability, &mut actions),
            }
        }
        self.settle(&mut actions);
        actions
    }

    fn ask(&mut self, client: ClientId, ability: Ability, actions: &mut Vec<Action>) {
        self.clients.insert(client, Progress::Asked { seamless: ability == Ability::Seamless });
        actions.push(Action::Begin(client, ability));
    }

    /// A client that came from another migration has arrived.
    pub(super) fn arrived(&mut self, client: ClientId, ability: Ability) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.clients.get(&client) == Some(&Progress::Deferred) {
            self.clients.remove(&client);
            if matches!(ability, Ability::Semi | Ability::Seamless) {
                self.ask(client, ability, &mut actions);
            }
            self.settle(&mut actions);
        }
        actions
    }

    /// A client answers MIGRATE_BEGIN. If the server did not ask it, or no longer waits for it, the client gets
    /// MIGRATE_CANCEL, and closes its links to the target.
    pub(super) fn answered(&mut self, client: ClientId, answer: Answer) -> Vec<Action> {
        let mut actions = Vec::new();
        match (self.clients.get_mut(&client), answer) {
            (Some(Progress::Asked { .. }), Answer::Failed) => drop(self.clients.remove(&client)),
            (Some(progress @ &mut Progress::Asked { seamless }), answer) => {
                let seamless = seamless && answer == Answer::ConnectedSeamless;
                *progress = Progress::Linked { seamless };
            }
            (_, Answer::Failed) => {}
            _ => actions.push(Action::Cancel(client)),
        }
        self.settle(&mut actions);
        actions
    }

    /// A client is disconnected.
    pub(super) fn gone(&mut self, client: ClientId) -> Vec<Action> {
        let mut actions = Vec::new();
        self.clients.remove(&client);
        self.settle(&mut actions);
        actions
    }

    /// The machine has moved, or stays here (migrate_end). `present` are all clients. `Err`: clients have to be dropped since
    /// no target is known.
    pub(super) fn end(
        &mut self,
        completed: bool,
        present: &[ClientId],
        now: Instant,
    ) -> (Vec<Action>, Result<(), ()>) {
        if !matches!(self.phase, Phase::Linking | Phase::Ready) && completed && !present.is_empty() {
            let gone = "the machine has moved and no target is known";
            let mut actions = self.call_off();
            actions.extend(present.iter().map(|&client| Action::Drop(client, gone)));
            actions.push(Action::EndComplete);
            return (actions, Err(()));
        }
        let mut actions = Vec::new();
        if !completed {
            let leaving = self.phase == Phase::Leaving;
            actions.extend(self.call_off());
            if present.is_empty() && !leaving {
                actions.push(Action::EndComplete);
            }
            return (actions, Ok(()));
        }
        if self.phase == Phase::Linking {
            actions.push(Action::ConnectComplete);
        }
        self.phase = Phase::Leaving;
        self.deadline = Some(now + MIGRATION_LEAVE_TIMEOUT);
        let progress = std::mem::take(&mut self.clients);
        for &client in present {
            actions.push(match progress.get(&client) {
                Some(Progress::Linked { seamless: true }) => Action::HandOver(client),
                Some(Progress::Linked { seamless: false }) => Action::End(client),
                _ => Action::SwitchHost(client),
            });
            self.clients.insert(client, Progress::Leaving);
        }
        self.settle(&mut actions);
        (actions, Ok(()))
    }

    /// Ends what goes on: clients that are linked to the target let go of it, the host hears what it waits for.
    pub(super) fn call_off(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (client, progress) in std::mem::take(&mut self.clients) {
            if let Progress::Linked { .. } = progress {
                actions.push(Action::Cancel(client));
            }
        }
        match self.phase {
            Phase::Linking => actions.push(Action::ConnectComplete),
            Phase::Leaving => actions.push(Action::EndComplete),
            Phase::Idle | Phase::Ready => {}
        }
        self.forget();
        actions
    }

    fn forget(&mut self) {
        (self.phase, self.target, self.deadline) = (Phase::Idle, None, None);
    }

    /// The time limit of the present phase has passed.
    pub(super) fn on_timer(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.deadline.take_if(|at| *at <= now).is_none() {
            return actions;
        }
        for (&client, progress) in &self.clients {
            match progress {
                // It goes on here, and switches hosts when the machine has moved.
                Progress::Asked { .. } => actions.push(Action::Cancel(client)),
                Progress::Deferred => {
                    actions.push(Action::Drop(client, "it never finished an earlier migration"))
                }
                Progress::Leaving => {
                    actions.push(Action::Drop(client, "the machine has moved and it did not follow"))
                }
                Progress::Linked { .. } => {}
            }
        }
        self.clients.retain(|_, progress| matches!(progress, Progress::Linked { .. }));
        self.settle(&mut actions);
        actions
    }

    /// Enters the next phase when no client is left to wait for.
    fn settle(&mut self, actions: &mut Vec<Action>) {
        let waits = |progress: &Progress| matches!(progress, Progress::Deferred | Progress::Asked { .. });
        match self.phase {
            Phase::Linking if !self.clients.values().any(waits) => {
                (self.phase, self.deadline) = (Phase::Ready, None);
                actions.push(Action::ConnectComplete);
            }
            Phase::Leaving if self.clients.is_empty() => {
                self.forget();
                actions.push(Action::EndComplete);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
