//! The side that a machine moves to (server.md 9.5): clients that come from the source, and their links that wait until it
//! is known how they come over. The module's documentation has the diagram.

use super::source::Ability;
use crate::channel::connection::{ClientId, ConnectionId};
use crate::channel::main::MainChannel;
use crate::channel::out::MigrationNews;
use crate::host::Readiness;
use crate::host::call::HostCall;
use crate::limits::MIGRATION_ARRIVE_TIMEOUT;
use crate::reds::clients::MAIN;
use crate::reds::effect::ChannelKey;
use crate::reds::goodbye::Goodbye;
use crate::reds::links::PendingLink;
use crate::reds::state::State;
use std::collections::BTreeSet;
use std::time::Instant;

/// Newest version of the seamless protocol that this server speaks.
pub(crate) const SEAMLESS_VERSION: u32 = 1;

/// How far a client has come over from the source of a migration.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It is a client like any other.
    Done,
    /// It says nothing but how it will come over; its links to channels wait.
    Waiting(Vec<(ConnectionId, Box<PendingLink>)>),
    /// It brings the state that it had at the source; these channels still await theirs.
    Bringing(BTreeSet<ChannelKey>),
}

impl Arrival {
    /// Of a client that names a session of another host in its main link.
    pub(crate) fn of_migrated() -> Self {
        Self::Waiting(Vec::new())
    }

    /// The links that wait, of a client that is gone.
    pub(crate) fn into_parked(self) -> impl Iterator<Item = PendingLink> {
        let parked = match self {
            Self::Waiting(parked) => parked,
            Self::Done | Self::Bringing(_) => Vec::new(),
        };
        parked.into_iter().map(|(_, link)| *link)
    }

    /// Whether the client is one like any other.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// What the server knows of the machine that may be coming.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// The machine has run here: none comes any more.
    has_run: bool,
    /// Until when the clients of the machine must have arrived.
    until: Option<Instant>,
}

impl Target {
    /// When the server must call [`State::expire_arrivals`]; `None`: no time limit runs.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

impl State {
    /// Whether clients may come from the source of a migration: the host has a migration interface, and its machine has not
    /// run yet.
    pub(crate) fn awaits_machine(&self) -> bool {
        self.migration.host.is_some() && !self.migration.arrivals.has_run
    }

    /// A client comes from the source of a migration. Until the machine is here, its devices take nothing: the client may be faster
    /// than the state of the devices, which would then replace what they took.
    pub(crate) fn on_arrival(&mut self) {
        if self.awaits_machine() {
            self.run_char_devices(false);
        }
    }

    /// The machine runs here: clients that come with it arrive soon or never.
    pub(crate) fn on_machine_started(&mut self) {
        if !std::mem::replace(&mut self.migration.arrivals.has_run, true)
            && !self.clients.arriving().is_empty()
        {
            self.migration.arrivals.until = Some(self.now + MIGRATION_ARRIVE_TIMEOUT);
        }
    }

    /// Drops the clients that never arrived.
    pub(crate) fn expire_arrivals(&mut self) {
        let now = self.now;
        if self.migration.arrivals.until.take_if(|until| *until <= now).is_some() {
            for client in self.clients.arriving() {
                self.drop_client(client, Some(Goodbye::because("its migration did not end")));
            }
        }
    }

    /// Keeps a link of an arriving client until it is known how the client comes over. `Some`: the link may become a channel
    /// now.
    pub(crate) fn park(
        &mut self,
        client: ClientId,
        key: ChannelKey,
        at: ConnectionId,
        mut link: PendingLink,
    ) -> Option<PendingLink> {
        let Some(Arrival::Waiting(parked)) = self.clients.arrival_mut(client) else { return Some(link) };
        let is_same = |link: &PendingLink| {
            (link.message.channel_type, link.message.channel_id) == (key.channel_type.number(), key.id)
        };
        if parked.iter().any(|(_, other)| is_same(other)) {
            self.close_link(link, "the client has this channel already");
            return None;
        }
        link.interest = Readiness { read: false, write: false };
        let (watch, interest) = (link.watch, link.interest);
        parked.push((at, Box::new(link)));
        if let Some(watch) = watch {
            self.host_call(HostCall::UpdateWatch(watch, interest));
        }
        None
    }

    /// An arriving client says how it comes over.
    pub(super) fn on_arrival_news(&mut self, client: ClientId, news: MigrationNews) {
        let allowed = !self.config.multi_client;
        let Some(main) = self.clients.main_of(client) else { return };
        let Some(arrival) = self.clients.arrival_mut(client) else { return };
        let Arrival::Waiting(parked) = arrival else { return };
        match news {
            MigrationNews::End => {
                let parked = std::mem::take(parked);
                *arrival = Arrival::Done;
                let init = self.init_of(client);
                self.with_channel(MAIN, |channel: &mut MainChannel, out| channel.welcome(main, &init, out));
                self.unpark(parked);
                self.ask_monitors();
                self.on_arrived(client);
            }
            MigrationNews::DoSeamless { version } => {
                let allowed = allowed && version <= SEAMLESS_VERSION;
                let parked = if allowed { std::mem::take(parked) } else { Vec::new() };
                if allowed {
                    *arrival = Arrival::Bringing(BTreeSet::from([MAIN]));
                }
                self.with_channel(MAIN, |channel: &mut MainChannel, out| {
                    channel.allow_seamless(main, allowed, out);
                });
                self.unpark(parked);
            }
            MigrationNews::Connected | MigrationNews::ConnectedSeamless | MigrationNews::ConnectError => {}
        }
    }

    fn unpark(&mut self, parked: Vec<(ConnectionId, Box<PendingLink>)>) {
        for (at, link) in parked {
            self.attach_channel(at, *link);
        }
    }

    /// A channel of an arriving client awaits its state.
    pub(crate) fn await_state(&mut self, client: ClientId, key: ChannelKey) {
        if let Some(Arrival::Bringing(awaited)) = self.clients.arrival_mut(client) {
            awaited.insert(key);
        }
    }

    /// A channel of an arriving client has its state, or is gone.
    pub(crate) fn on_state_restored(&mut self, client: ClientId, key: ChannelKey) {
        let Some(Arrival::Bringing(awaited)) = self.clients.arrival_mut(client) else { return };
        let was_awaited = awaited.remove(&key);
        let is_last = awaited.is_empty();
        if key == MAIN && was_awaited {
            let time = crate::protocol::main_channel::multi_media_time(self.mm_time());
            if let Some(main) = self.clients.main_of(client) {
                self.send_to_main(main, time);
            }
            self.ask_monitors();
        }
        if is_last {
            self.on_arrived(client);
        }
    }

    /// A client has come over, and may migrate on.
    fn on_arrived(&mut self, client: ClientId) {
        self.clients.set_arrived(client);
        crate::info!("client {} has arrived with the machine", client.0);
        let ability = self.ability(client);
        let actions = self.migration.source.arrived(client, ability.unwrap_or(Ability::SwitchHost));
        self.migrate_clients(actions);
    }
}
