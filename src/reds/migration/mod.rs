//! Moving clients with their machine to another host (server.md 9). The host names the target and says when the machine has
//! moved; the clients link to the target beforehand and carry over what the target has to know.
//!
//! ```text
//! source (source.rs), per migration         per client
//!
//!   Idle                                      -
//!    | migrate_connect: MIGRATE_BEGIN         | (Deferred: it comes from another migration itself)
//!    v                                        v
//!   Linking --- 10 s ---+                    Asked ---- cannot, or no answer in time ----> switches hosts later
//!    | all have answered |                    | MIGRATE_CONNECTED(_SEAMLESS)
//!    v                   v                    v
//!   Ready  migrate_connect_complete          Linked
//!    | migrate_end(1)                         | MIGRATE_END, MIGRATE per channel, or MIGRATE_SWITCH_HOST
//!    v                                        v
//!   Leaving -- 10 s: dropped                 Leaving
//!    | all have left                          | disconnects
//!    v                                        v
//!   Idle   migrate_end_complete               -
//!
//!   migrate_end(0), and another migrate_connect: MIGRATE_CANCEL to those that are Linked, back to Idle.
//!
//! target (target.rs), per client whose main link names a session of another host; only until the machine runs here
//!
//!   Waiting: mute, its other links are parked
//!    |                        | MIGRATE_DST_DO_SEAMLESS: ACK (or NACK: stays)
//!    | MIGRATE_END            v
//!    |                       Bringing: links become channels that are mute until their MIGRATE_DATA has come
//!    | INIT, links become     | the last has come
//!    v channels               v
//!   Done                     Done       30 s after the start of the machine: dropped
//!
//! a channel that hands over (channel/link.rs)
//!
//!   Free -- MIGRATE --> Over -- MIGRATE_FLUSH_MARK: MIGRATE_DATA --> the client closes it
//! ```
//!
//! What clients bring is not trusted: every channel checks its data, and accepts them once, from a client that came while
//! the host was waiting for its machine. What cannot be moved falls back one step, from seamless to a new session over links
//! that are up, and from there to MIGRATE_SWITCH_HOST, which makes the client connect anew.

mod source;
mod target;

pub(crate) use target::Arrival;

use super::effect::Effect;
use super::goodbye::Goodbye;
use super::state::State;
use super::{Result, Server, ServerError};
use crate::channel::connection::ClientId;
use crate::channel::out::MigrationNews;
use crate::host::MigrationHost;
use crate::host::call::HostCall;
use crate::protocol::caps::main::{AGENT_CONNECTED_TOKENS, SEAMLESS_MIGRATE, SEMI_SEAMLESS_MIGRATE};
use crate::protocol::main_channel::{self, MigrationTarget};
use source::{Ability, Action, Answer, Source};
use std::sync::Arc;
use std::time::Instant;
use target::{SEAMLESS_VERSION, Target};

/// All that a server knows of migrations.
#[derive(Debug, Default)]
pub(crate) struct Migration {
    host: Option<Arc<dyn MigrationHost>>,
    source: Source,
    arrivals: Target,
}

impl Migration {
    /// When the server must call [`State::on_migration_timer`]; `None`: no time limit runs.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.source.deadline(), self.arrivals.deadline()].into_iter().flatten().min()
    }
}

impl State {
    /// What a client can do for a migration; `None`: it is gone.
    fn ability(&self, client: ClientId) -> Option<Ability> {
        let caps = self.clients.caps_of(client)?;
        let seamless = self.config.seamless_migration && !self.config.multi_client;
        Some(if self.clients.is_arriving(client) {
            Ability::Arriving
        } else if seamless && caps.has(SEAMLESS_MIGRATE) && caps.has(AGENT_CONNECTED_TOKENS) {
            Ability::Seamless
        } else if caps.has(SEMI_SEAMLESS_MIGRATE) {
            Ability::Semi
        } else {
            Ability::SwitchHost
        })
    }

    fn migrate_connect(&mut self, target: Option<MigrationTarget>) -> Result {
        self.attachable()?;
        let host = self.migration.host.clone().ok_or(ServerError::NotAttached("migration interface"))?;
        let Some(target) = target else {
            self.host_call(HostCall::MigrationConnected(host));
            return Err(ServerError::Value {
                what: "migration target: it has no address or port",
                value: -1,
            });
        };
        let clients: Vec<_> = self
            .clients
            .all()
            .into_iter()
            .filter_map(|client| Some((client, self.ability(client)?)))
            .collect();
        let actions = self.migration.source.connect(target, clients, self.now);
        self.migrate_clients(actions);
        Ok(())
    }

    fn migrate_end(&mut self, completed: bool) -> Result {
        self.attachable()?;
        if self.migration.host.is_none() {
            return Err(ServerError::NotAttached("migration interface"));
        }
        let present = self.clients.all();
        let target = self.migration.source.target().cloned();
        let (actions, known) = self.migration.source.end(completed, &present, self.now);
        self.migrate_clients_to(actions, target);
        known.map_err(|()| ServerError::NotAttached("migration target"))
    }

    fn migrate_clients(&mut self, actions: Vec<Action>) {
        let target = self.migration.source.target().cloned();
        self.migrate_clients_to(actions, target);
    }

    fn migrate_clients_to(&mut self, actions: Vec<Action>, target: Option<MigrationTarget>) {
        let host = self.migration.host.clone();
        for action in actions {
            match (action, &target, &host) {
                (Action::Begin(client, Ability::Seamless), Some(target), _) => {
                    self.tell_main(client, target.begin_seamless(SEAMLESS_VERSION));
                }
                (Action::Begin(client, _), Some(target), _) => self.tell_main(client, target.begin()),
                (Action::SwitchHost(client), Some(target), _) => self.tell_main(client, target.switch_host()),
                (Action::Cancel(client), ..) => self.tell_main(client, main_channel::migrate_cancel()),
                (Action::End(client), ..) => self.tell_main(client, main_channel::migrate_end()),
                (Action::HandOver(client), ..) => self.hand_over(client),
                (Action::Drop(client, why), ..) => {
                    self.drop_client(client, Some(Goodbye::because(why)));
                }
                (Action::ConnectComplete, _, Some(host)) => {
                    self.host_call(HostCall::MigrationConnected(host.clone()));
                }
                (Action::EndComplete, _, Some(host)) => {
                    self.host_call(HostCall::MigrationEnded(host.clone()))
                }
                _ => {}
            }
        }
    }

    fn tell_main(&mut self, client: ClientId, message: crate::protocol::Message) {
        if let Some(main) = self.clients.main_of(client) {
            self.send_to_main(main, message);
        }
    }

    /// Every channel of the client hands over its state; main, without which the others are nothing, last.
    fn hand_over(&mut self, client: ClientId) {
        for worker in self.devices.workers() {
            self.effects.push_back(Effect::HandOver(worker, client));
        }
        self.hand_over_host_channels(client);
    }

    /// A client sent a message about a migration.
    pub(crate) fn on_migration_news(&mut self, client: ClientId, news: MigrationNews) {
        let answer = match news {
            MigrationNews::Connected => Answer::Connected,
            MigrationNews::ConnectedSeamless => Answer::ConnectedSeamless,
            MigrationNews::ConnectError => Answer::Failed,
            MigrationNews::End | MigrationNews::DoSeamless { .. } => {
                return self.on_arrival_news(client, news);
            }
        };
        let actions = self.migration.source.answered(client, answer);
        self.migrate_clients(actions);
    }

    /// A client is disconnected.
    pub(crate) fn on_client_gone(&mut self, client: ClientId) {
        let actions = self.migration.source.gone(client);
        self.migrate_clients(actions);
    }

    /// Time limits of both sides.
    pub(crate) fn on_migration_timer(&mut self) {
        self.expire_arrivals();
        let actions = self.migration.source.on_timer(self.now);
        self.migrate_clients(actions);
    }

    /// The server is destroyed: the host gets the callbacks that it waits for.
    pub(crate) fn end_migration(&mut self) {
        let actions = self.migration.source.call_off();
        self.migrate_clients_to(actions, None);
    }
}

/// Client migration. Ports are 0 for none.
impl Server {
    /// Attaches the one migration interface.
    pub fn add_migration(&self, host: Arc<dyn MigrationHost>) -> Result {
        self.core.with(|s| {
            s.attachable()?;
            if s.migration.host.is_some() {
                return Err(ServerError::Duplicate("migration"));
            }
            s.migration.host = Some(host);
            Ok(())
        })
    }

    /// Whether a migration interface is attached.
    #[must_use]
    pub fn has_migration(&self) -> bool {
        self.core.read(|s| s.migration.host.is_some())
    }

    /// Asks the clients to link to the target as well; `None`: the host named no target. The host hears
    /// [`MigrationHost::connect_complete`] once, if there is a migration interface: when all clients have answered, and at the
    /// latest after [`crate::limits::MIGRATION_CONNECT_TIMEOUT`].
    pub fn migrate_connect(&self, target: Option<MigrationTarget>) -> Result {
        self.core.with(|s| s.migrate_connect(target))
    }

    /// The machine begins to move. An error if no target is known; nothing else happens.
    pub fn migrate_start(&self) -> Result {
        self.core.read(|s| match s.migration.source.target() {
            Some(_) => Ok(()),
            None => Err(ServerError::NotAttached("migration target")),
        })
    }

    /// The machine has moved, or stays here. When the clients of one that moved have left, the host hears
    /// [`MigrationHost::end_complete`]. An error if clients had to be dropped because no target is known.
    pub fn migrate_end(&self, completed: bool) -> Result {
        self.core.with(|s| s.migrate_end(completed))
    }

    /// Sets the target for [`Self::migrate_switch`]; for hosts without a migration interface.
    pub fn migrate_info(&self, target: MigrationTarget) -> Result {
        self.core.with(|s| {
            if s.migration.host.is_some() {
                return Err(ServerError::Duplicate("migration"));
            }
            s.migration.source.set_target(Some(target));
            Ok(())
        })
    }

    /// Tells all clients to go to the target of [`Self::migrate_info`], which is forgotten then.
    pub fn migrate_switch(&self) {
        self.core.with(|s| {
            if s.migration.host.is_some() {
                crate::warning_limited!("migrate_switch beside a migration interface, ignored");
                return;
            }
            let Some(target) = s.migration.source.target().cloned() else {
                crate::warning_limited!("migrate_switch without migrate_info, ignored");
                return;
            };
            s.send_to_mains(&target.switch_host());
            s.migration.source.set_target(None);
        });
    }
}
