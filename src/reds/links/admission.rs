//! Whether a link is accepted: the channel's security, whether the channel exists, ticket, session (server.md 5.1 steps 4 to 8,
//! 5.2).

use super::{Held, LinkStage, PendingLink};
use crate::channel::connection::ConnectionId;
use crate::net::link::Method;
use crate::protocol::caps::common;
use crate::protocol::link::{LinkError, LinkMessage, TICKET_SIZE};
use crate::protocol::{Caps, ChannelType};
use crate::reds::clients::{MAIN, initialized};
use crate::reds::config::security;
use crate::reds::effect::{Effect, Step};
use crate::reds::goodbye::REPLACED;
use crate::reds::state::State;

impl State {
    /// The client said which channel it wants (server.md 5.1 steps 4 and 5).
    pub(super) fn judge_message(&mut self, link: &mut PendingLink, message: LinkMessage) {
        let allowed = self.config.security(message.channel_type);
        let (needed, error) = if link.tls {
            (security::SSL, LinkError::NeedUnsecured)
        } else {
            (security::NONE, LinkError::NeedSecured)
        };
        let (channel_type, id) = (message.channel_type, message.channel_id);
        link.message = message;
        link.identified = true;
        if allowed & needed == 0 {
            link.machine.refuse(error);
            link.stage = LinkStage::Refused(format!("channel type {channel_type}: {error}"));
        } else if !is_main(channel_type) && !self.channels.is_registered(channel_type, id) {
            // The original closes the connection without an answer.
            link.machine.refuse(LinkError::ChannelNotAvailable);
            link.stage = LinkStage::Refused(format!("there is no channel of type {channel_type}, id {id}"));
        } else {
            link.stage = LinkStage::AwaitKey;
            self.give_key(link);
        }
    }

    /// Answers the link message. The answer has a key for the ticket, unless the client will not send one.
    fn give_key(&mut self, link: &mut PendingLink) {
        let by_sasl = self.config.sasl && !link.skip_auth;
        let key = if by_sasl && link.message.common_caps.has(common::AUTH_SASL) {
            None
        } else {
            let Some(key) = self.keys.as_ref().and_then(|keys| keys.current(self.now)) else { return };
            Some(key)
        };
        link.stage = LinkStage::Talking;
        let (method, offer) = if by_sasl {
            (Method::Sasl { needs_layer: !link.tls }, common::AUTH_SASL)
        } else {
            (Method::Ticket, common::AUTH_SPICE)
        };
        let ours = Caps::from_bits(&[common::AUTH_SELECTION, offer, common::MINI_HEADER]);
        let (channel_type, id) = (link.message.channel_type, link.message.channel_id);
        let id = if is_main(channel_type) { MAIN.id } else { id };
        let caps = self.channels.profile(channel_type, id).map_or(&[][..], |profile| profile.caps);
        let public = key.as_ref().map(|key| key.public());
        if let Err(why) = link.machine.accept(method, public, &ours, &Caps::from_bits(caps)) {
            link.stage = LinkStage::Refused(why);
        }
        link.key = key;
    }

    /// A ticket key is ready.
    pub(crate) fn on_key_ready(&mut self) {
        let waits = |link: &PendingLink| matches!(link.stage, LinkStage::AwaitKey);
        let waiting: Vec<_> = self.links.links.iter().filter(|(_, l)| waits(l)).map(|(&at, _)| at).collect();
        for at in waiting {
            if let Some(mut link) = self.links.remove(at) {
                self.give_key(&mut link);
                self.links.insert(at, link);
                self.drive_link(at);
            }
        }
    }

    /// Gives a ticket to the crypto thread.
    pub(super) fn open_ticket(
        &mut self,
        at: ConnectionId,
        link: &mut PendingLink,
        ticket: Box<[u8; TICKET_SIZE]>,
    ) -> Result<(), String> {
        let (Some(keys), Some(ticket_key)) = (&self.keys, link.key.take()) else {
            return Err("no ticket key".into());
        };
        let job = keys.open(at.0, ticket_key, ticket).map_err(|error| error.to_string())?;
        link.stage = LinkStage::TicketAway { _job: job };
        Ok(())
    }

    /// Goes on with the links that had to wait because their addresses guessed wrong, and whose time is over.
    pub(super) fn release_held(&mut self) {
        let now = self.now;
        let due = |link: &PendingLink| matches!(link.stage, LinkStage::Held { until, .. } if until <= now);
        let due: Vec<_> = self.links.links.iter().filter(|(_, link)| due(link)).map(|(&at, _)| at).collect();
        for at in due {
            let Some(mut link) = self.links.remove(at) else { continue };
            let LinkStage::Held { what, .. } = std::mem::replace(&mut link.stage, LinkStage::Talking) else {
                continue;
            };
            let begun = match what {
                Held::Ticket(ticket) => self.open_ticket(at, &mut link, ticket),
                Held::Sasl => self.open_sasl(at, &mut link),
            };
            match begun {
                Ok(()) => self.links.insert(at, link),
                Err(why) => self.close_link(link, &why),
            }
        }
    }

    /// The crypto thread has opened a link's ticket. `seconds` is the time for the end of passwords.
    pub(crate) fn on_ticket_opened(&mut self, at: ConnectionId, password: Option<&[u8]>, seconds: u64) {
        let Some(link) = self.links.links.get(&at) else { return };
        let origin = link.origin;
        if self.ticketing.admits(password, link.skip_auth, seconds) {
            self.links.guesses.succeeded(origin);
            self.admit(at);
        } else {
            self.links.guesses.failed(origin, self.now);
            let why = self.ticketing.why_not().into();
            self.finish_link(at, LinkError::PermissionDenied, LinkStage::Refused(why));
        }
    }

    /// The client has logged in. The link is accepted if the channel and the session exist.
    pub(super) fn admit(&mut self, at: ConnectionId) {
        let Some(link) = self.links.links.get(&at) else { return };
        let main = is_main(link.message.channel_type);
        let session = link.message.connection_id;
        let refusal = if main && session != 0 && !self.awaits_machine() {
            Some((LinkError::BadConnectionId, "no migration is under way"))
        } else if main
            && session != 0
            && self.config.multi_client
            && self.clients.of_session(session).is_some()
        {
            Some((LinkError::BadConnectionId, "another client has this session id"))
        } else if !main && self.clients.of_session(session).is_none() {
            Some((LinkError::BadConnectionId, "no client has this session id"))
        } else {
            None
        };
        if let Some((error, why)) = refusal {
            self.finish_link(at, error, LinkStage::Refused(why.into()));
            return;
        }
        if main && !self.config.multi_client {
            self.drop_all_clients(REPLACED);
        }
        // This effect comes after those that disconnect an older client, so that it is gone before the new one is accepted.
        self.effects.push_back(Effect::Step(Step::Accept(at)));
    }

    /// Tells the client that its link is accepted.
    pub(crate) fn accept_link(&mut self, at: ConnectionId) {
        self.finish_link(at, LinkError::Ok, LinkStage::Accepted);
    }

    fn finish_link(&mut self, at: ConnectionId, result: LinkError, stage: LinkStage) {
        let Some(link) = self.links.links.get_mut(&at) else { return };
        link.machine.finish(result);
        link.stage = stage;
        self.drive_link(at);
    }

    /// The result is written. Tells the host, and then the link becomes a channel.
    pub(crate) fn attach_link(&mut self, at: ConnectionId, link: PendingLink) {
        if is_main(link.message.channel_type) {
            self.attach_main(at, link);
        } else {
            let event = initialized(link.message.connection_id, &link);
            self.effects.push_back(Effect::Announce(at, event, Step::Attach(at, Box::new(link))));
        }
    }
}

fn is_main(channel_type: u8) -> bool {
    channel_type == ChannelType::Main.number()
}
