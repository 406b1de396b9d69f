//! The main channels of all clients: greeting, net test, and what concerns every client.

use super::messages::{MainClient, MainError, MainRequest};
use crate::channel::connection::ConnectionId;
use crate::channel::link::{ChannelError, LinkOptions, PING_PERIOD};
use crate::channel::main::agent::{AgentError, AgentPort};
use crate::channel::{Channel, Out, Profile, ServerRequest};
use crate::host::call::HostReply;
use crate::net::stream::Incoming;
use crate::protocol::caps::main::{
    AGENT_CONNECTED_TOKENS, NAME_AND_UUID, SEAMLESS_MIGRATE, SEMI_SEAMLESS_MIGRATE,
};
use crate::protocol::migrate::MainState;
use crate::protocol::{ChannelType, main_channel};
use std::collections::BTreeMap;
use std::time::Instant;

static PROFILE: Profile = Profile {
    channel_type: ChannelType::Main,
    caps: &[SEMI_SEAMLESS_MIGRATE, NAME_AND_UUID, AGENT_CONNECTED_TOKENS, SEAMLESS_MIGRATE],
    shared: true,
    options: LinkOptions { max_body: main_channel::max_body, window: false, ping_period: PING_PERIOD },
};

/// What a new client is told first.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    pub init: main_channel::Init,
    pub name: Option<String>,
    pub uuid: Option<[u8; 16]>,
    /// Start of the server's time stamps.
    pub epoch: Instant,
}

/// The main channels of all clients.
#[derive(Debug, Default)]
pub(crate) struct MainChannel {
    /// The guest agent, whose messages travel in this channel.
    pub agent: AgentPort,
    clients: BTreeMap<ConnectionId, MainClient>,
    /// Clients whose messages wait until the host said who takes monitors configurations.
    asking: Vec<ConnectionId>,
}

impl From<MainError> for ChannelError {
    fn from(error: MainError) -> Self {
        match error {
            MainError::Protocol(error) => Self::Protocol(error),
            other => Self::Refused(other.to_string()),
        }
    }
}

impl From<AgentError> for ChannelError {
    fn from(error: AgentError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl MainChannel {
    /// Begins the session of a client that has just linked.
    pub(crate) fn greet(&mut self, at: ConnectionId, greeting: &Greeting, out: &mut Out<'_>) {
        let now = out.now;
        let (Some(client), Some(link)) = (self.clients.get_mut(&at), out.link(at)) else { return };
        link.send(greeting.init.encode());
        if link.connection().channel_caps.has(NAME_AND_UUID) {
            if let Some(name) = &greeting.name {
                link.send(main_channel::name(name));
            }
            if let Some(uuid) = &greeting.uuid {
                link.send(main_channel::uuid(uuid));
            }
        }
        if !link.stream().is_unix() {
            for ping in client.begin_net_test(greeting.epoch, now) {
                link.send(ping);
            }
            link.set_owed(true, now);
        }
        link.resume_reading();
    }

    /// The client talks to the guest agent from now on. What follows is judged when it is known who takes monitors
    /// configurations.
    fn begin_agent_session(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        if let Some(link) = out.link(at) {
            link.pause_reading();
        }
        self.asking.push(at);
        out.ask(at, ServerRequest::AgentStarted);
    }

    fn on_request(
        &mut self,
        at: ConnectionId,
        request: MainRequest,
        out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        match request {
            MainRequest::AttachChannels => out.ask(at, ServerRequest::ListChannels),
            MainRequest::MouseMode(mode) => out.ask(at, ServerRequest::MouseMode(mode)),
            MainRequest::AgentStart { tokens } => {
                self.agent.start(at, tokens, out);
                self.begin_agent_session(at, out);
            }
            MainRequest::AgentData(data) => self.agent.data(at, &data, out)?,
            MainRequest::AgentToken { tokens } => self.agent.token(at, tokens, out),
            MainRequest::Migration(news) => out.ask(at, ServerRequest::Migration(news)),
        }
        Ok(())
    }

    /// The client comes from the source of a migration: it is told nothing before its session begins here.
    pub(crate) fn expect(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        let (Some(client), Some(link)) = (self.clients.get_mut(&at), out.link(at)) else { return };
        client.set_arriving(true);
        link.mute();
        link.resume_reading();
        self.agent.hold(at);
    }

    /// Answers whether the client may bring its state.
    pub(crate) fn allow_seamless(&mut self, at: ConnectionId, allowed: bool, out: &mut Out<'_>) {
        let Some(link) = out.link(at) else { return };
        link.send_to_mute(main_channel::migrate_dst_seamless(allowed));
        if allowed {
            link.expect_migrate_data();
        }
    }

    /// The machine has moved here and the client begins anew: its session starts, without name and net test.
    pub(crate) fn welcome(&mut self, at: ConnectionId, init: &main_channel::Init, out: &mut Out<'_>) {
        let (Some(client), Some(link)) = (self.clients.get_mut(&at), out.link(at)) else { return };
        client.set_arriving(false);
        link.unmute();
        link.send(init.encode());
        link.start_pings();
        self.agent.release(at, out);
    }
}

impl Channel for MainChannel {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    /// The client's messages wait for the greeting.
    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.clients.insert(at, MainClient::default());
        self.agent.open(at);
        if let Some(link) = out.link(at) {
            link.pause_reading();
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        at: ConnectionId,
        message: Incoming,
        out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        let Some(client) = self.clients.get_mut(&at) else { return Ok(()) };
        let request = client.on_message(message.msg_type, &message.body)?;
        if let Some(request) = request {
            self.on_request(at, request, out)?;
        }
        Ok(())
    }

    fn on_pong(&mut self, at: ConnectionId, id: u32, out: &mut Out<'_>) {
        let now = out.now;
        let (Some(client), Some(link)) = (self.clients.get_mut(&at), out.link(at)) else { return };
        if let Some(quality) = client.on_pong(id, now) {
            crate::debug!("{}: net test: {quality:?}", link.connection().label());
            link.set_owed(false, now);
            link.start_pings();
            out.ask(at, ServerRequest::Quality(quality));
        }
    }

    fn on_drained(&mut self, _at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.agent.pump(out);
        Ok(())
    }

    fn on_closed(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        self.clients.remove(&at);
        self.agent.close(at, out);
    }

    /// What is here of the guest agent's present message comes before MIGRATE.
    fn on_migrate(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        self.agent.cut(out);
        self.agent.hold(at);
        out.hand_over(at, true);
    }

    fn migrate_data(&mut self, at: ConnectionId, _out: &mut Out<'_>) -> Option<Vec<u8>> {
        Some(self.agent.save(at).encode())
    }

    fn restore(&mut self, at: ConnectionId, data: &[u8], out: &mut Out<'_>) -> Result<(), ChannelError> {
        let state = MainState::decode(data)?;
        let (Some(client), Some(link)) = (self.clients.get_mut(&at), out.link(at)) else { return Ok(()) };
        client.set_arriving(false);
        link.start_pings();
        if self.agent.restore(at, state, out)? {
            self.begin_agent_session(at, out);
        }
        Ok(())
    }

    fn on_reply(&mut self, reply: HostReply, out: &mut Out<'_>) {
        match reply {
            HostReply::DeviceWritten { device, bytes, taken } if self.agent.is(device) => {
                self.agent.on_written(bytes, taken, out);
            }
            HostReply::DeviceRead { device, bytes } if self.agent.is(device) => {
                self.agent.on_read(&bytes, out);
            }
            HostReply::TakesMonitors(takes) => {
                self.agent.set_takes_monitors(takes);
                for at in std::mem::take(&mut self.asking) {
                    if let Some(link) = out.link(at) {
                        link.resume_reading();
                    }
                }
            }
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.agent.next_deadline()
    }

    fn on_timer(&mut self, out: &mut Out<'_>) {
        self.agent.on_timer(out);
    }
}
