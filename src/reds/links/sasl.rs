//! SASL in place of the ticket (server.md 5.3): the link machine asks for jobs, which the login threads do.

use super::{Held, LinkStage, PendingLink};
use crate::channel::connection::ConnectionId;
use crate::net::link::LinkEvent;
use crate::net::listener::sasl_addresses;
use crate::net::sasl::{SaslBackend, SaslDone, SaslFault, SaslJob, SaslLogin, SaslPeer, SaslTransport};
use crate::reds::core::Post;
use crate::reds::state::State;
use std::sync::Arc;

/// The implementation of SASL that logs clients in.
#[derive(Debug)]
pub(crate) struct Sasl {
    backend: Arc<dyn SaslBackend>,
}

impl Sasl {
    pub(crate) fn new(backend: Arc<dyn SaslBackend>) -> Self {
        Self { backend }
    }

    /// Reads the configuration of this name.
    pub(crate) fn prepare(&self, app_name: &str) -> Result<(), SaslFault> {
        self.backend.prepare(app_name)
    }
}

impl State {
    /// The client chose SASL. An address that guessed wrong before waits.
    pub(super) fn begin_sasl(&mut self, at: ConnectionId, link: &mut PendingLink) -> Result<(), String> {
        match self.links.guesses.next_try(link.origin, self.now) {
            Some(until) => {
                link.stage = LinkStage::Held { until, what: Held::Sasl };
                Ok(())
            }
            None => self.open_sasl(at, link),
        }
    }

    /// Has an exchange begun.
    pub(super) fn open_sasl(&mut self, at: ConnectionId, link: &mut PendingLink) -> Result<(), String> {
        let Some(stream) = &link.stream else { return Err("no connection".into()) };
        let (local, remote) = sasl_addresses(stream.raw_fd());
        let app_name = self.config.sasl_appname.clone();
        let peer = SaslPeer { app_name, local, remote, cipher_bits: stream.cipher_bits() };
        self.submit_sasl(at, link, SaslJob::Open(peer))
    }

    pub(super) fn submit_sasl(
        &mut self,
        at: ConnectionId,
        link: &mut PendingLink,
        job: SaslJob,
    ) -> Result<(), String> {
        let post = self.poster();
        let Some(sasl) = &self.sasl else { return Err("this build has no SASL".into()) };
        let Some(keys) = &self.keys else { return Err("no threads for logins".into()) };
        let session = link.session.take();
        let login =
            SaslLogin::new(sasl.backend.clone(), at.0, session, job, move |done| post(Post::Sasl(done)));
        let job = keys.slow(Box::new(login)).map_err(|error| error.to_string())?;
        link.stage = LinkStage::SaslAway { _job: job };
        Ok(())
    }

    /// A job comes back.
    pub(crate) fn on_sasl_done(&mut self, done: SaslDone) {
        let at = ConnectionId(done.link);
        let Some(mut link) = self.links.remove(at) else { return };
        link.session = done.session;
        link.stage = LinkStage::Talking;
        if done.answer.is_err() {
            self.links.guesses.failed(link.origin, self.now);
        }
        let event = link.machine.sasl_answer(done.answer);
        match event.map_or(Ok(()), |event| self.on_sasl_event(at, &mut link, event)) {
            Ok(()) => {
                self.links.insert(at, link);
                self.drive_link(at);
            }
            Err(why) => self.close_link(link, &why),
        }
    }

    fn on_sasl_event(
        &mut self,
        at: ConnectionId,
        link: &mut PendingLink,
        event: LinkEvent,
    ) -> Result<(), String> {
        match event {
            LinkEvent::SaslJob(job) => self.submit_sasl(at, link, job),
            LinkEvent::Authenticated { user, layer } => {
                crate::info!("link from {}: SASL user {user}", link.peer);
                link.stage = LinkStage::Proven { layer };
                Ok(())
            }
            LinkEvent::Failed(why) => {
                link.stage = LinkStage::Refused(why);
                Ok(())
            }
            _ => Err("an answer of SASL out of turn".into()),
        }
    }
}

impl PendingLink {
    /// What was to be written plainly is written: all later bytes go through the security layer, if there is one.
    pub(super) fn enter_layer(&mut self) {
        let session = self.session.take();
        if let LinkStage::Proven { layer: true } = self.stage
            && let (Some(stream), Some(session)) = (self.stream.take(), session)
        {
            self.stream = Some(Box::new(SaslTransport::new(stream, session)));
        }
        self.stage = LinkStage::Talking;
    }
}
