//! The main channels of all clients: greeting, net test, and what concerns every client.

use super::messages::{MainClient, MainError, MainRequest};
use crate::channel::connection::ConnectionId;
use crate::channel::link::{ChannelError, LinkOptions, PING_PERIOD};
use crate::channel::{Channel, Out, Profile, ServerRequest};
use crate::net::stream::Incoming;
use crate::protocol::caps::main::{
    AGENT_CONNECTED_TOKENS, NAME_AND_UUID, SEAMLESS_MIGRATE, SEMI_SEAMLESS_MIGRATE,
};
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
pub struct Greeting {
    pub init: main_channel::Init,
    pub name: Option<String>,
    pub uuid: Option<[u8; 16]>,
    /// Start of the server's time stamps.
    pub epoch: Instant,
}

/// The main channels of all clients.
#[derive(Debug, Default)]
pub struct MainChannel {
    clients: BTreeMap<ConnectionId, MainClient>,
}

impl From<MainError> for ChannelError {
    fn from(error: MainError) -> Self {
        match error {
            MainError::Protocol(error) => Self::Protocol(error),
            other => Self::Refused(other.to_string()),
        }
    }
}

impl MainChannel {
    /// Begins the session of a client that has just linked.
    pub fn greet(&mut self, at: ConnectionId, greeting: &Greeting, out: &mut Out<'_>) {
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

    fn on_request(&mut self, at: ConnectionId, request: MainRequest, out: &mut Out<'_>) {
        match request {
            MainRequest::AttachChannels => out.ask(at, ServerRequest::ListChannels),
            MainRequest::MouseMode(mode) => out.ask(at, ServerRequest::MouseMode(mode)),
            // Without an agent these mean nothing, as the protocol says.
            MainRequest::AgentStart { .. } | MainRequest::AgentData(_) | MainRequest::AgentToken { .. } => {}
        }
    }
}

impl Channel for MainChannel {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    /// The client's messages wait for the greeting.
    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.clients.insert(at, MainClient::default());
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
        for reply in client.replies() {
            out.send(at, reply);
        }
        if let Some(request) = request {
            self.on_request(at, request, out);
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

    fn on_closed(&mut self, at: ConnectionId, _out: &mut Out<'_>) {
        self.clients.remove(&at);
    }
}
