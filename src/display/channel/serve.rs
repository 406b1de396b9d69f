//! The display channel as a [`Channel`]: what happens to one client, which comes with its link.

use super::DisplayChannel;
use crate::channel::connection::ConnectionId;
use crate::channel::link::{ChannelError, ChannelLink};
use crate::channel::{Channel, Out, Profile};
use crate::display::PROFILE;
use crate::display::client::{DisplayClient, Shared};
use crate::display::settings::StreamingVideo;
use crate::net::stream::Incoming;
use std::time::Instant;

impl DisplayChannel {
    /// Serves one client: `work` is given what it knows of the client, and what it sends with.
    pub(super) fn serve<R>(
        &mut self,
        at: ConnectionId,
        out: &mut Out<'_>,
        work: impl FnOnce(&mut DisplayClient, &mut Shared<'_>) -> Result<R, ChannelError>,
    ) -> Result<R, ChannelError> {
        let screen = self.screen_key();
        let client = self.clients.get_mut(at)?;
        let mut shared = Shared {
            screen,
            link: out.flushed_link(at).ok_or(ChannelError::Fault)?,
            surfaces: &mut self.surfaces,
            workspace: &mut self.workspace,
            monitors: self.monitors.as_ref(),
            scanout: self.gl.scanout(),
            running: self.running,
        };
        work(client, &mut shared)
    }
}

impl Channel for DisplayChannel {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    /// Nothing is sent before the client's INIT; one that sends none in time is dropped.
    fn opens_links(&self) -> bool {
        false
    }

    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let (now, services) = (out.now, self.services.clone());
        let link = out.flushed_link(at).ok_or(ChannelError::Fault)?;
        let client = DisplayClient::new(self.channel_id, link, &self.settings, services, now);
        if self.settings.streaming != StreamingVideo::Off {
            client.prepare_encoders();
        }
        self.clients.insert(at, client);
        self.clients_changed();
        Ok(())
    }

    fn on_message(
        &mut self,
        at: ConnectionId,
        message: Incoming,
        out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        let now = out.now;
        self.serve(at, out, |client, shared| client.message(&message, shared, now))
    }

    fn on_pong(&mut self, at: ConnectionId, id: u32, out: &mut Out<'_>) {
        let now = out.now;
        let answered = self.serve(at, out, |client, shared| {
            client.link_answered(shared.link, id, now);
            Ok(())
        });
        if let Err(error) = answered {
            out.disconnect(at, error);
        }
    }

    fn on_turn_end(&mut self, out: &mut Out<'_>) {
        let now = out.now;
        self.composer.expire(now);
        if self.composer.area().is_none() {
            self.surfaces.forget_frames();
        }
        self.follow_scanout(now);
        if self.composer.due().is_some_and(|at| at <= now) {
            self.compose(now);
        }
    }

    fn is_waiting(&self, at: ConnectionId) -> bool {
        self.clients.get(at).is_some_and(DisplayClient::has_more)
    }

    /// The client flushes its link by itself: what it encodes depends on what the socket takes.
    fn push(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let now = out.now;
        self.serve(at, out, |client, shared| client.push(shared, now))
    }

    fn client_deadline(&self, at: ConnectionId, link: &ChannelLink, now: Instant) -> Option<Instant> {
        // A client that failed: its link is to end at once.
        self.clients.get(at).map_or(Some(now), |client| client.next_deadline(link, now))
    }

    fn on_client_timer(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let now = out.now;
        self.serve(at, out, |client, shared| client.on_timer(shared, now))
    }

    /// The client is handed over when it has been sent all that it misses.
    fn on_migrate(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        let now = out.now;
        if let Err(error) = self.clients.get_mut(at).and_then(|client| client.begin_leaving(now)) {
            out.disconnect(at, error);
        }
    }

    fn migrate_data(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Option<Vec<u8>> {
        self.serve(at, out, |client, shared| Ok(client.state(shared.link))).ok()
    }

    fn restore(&mut self, at: ConnectionId, data: &[u8], out: &mut Out<'_>) -> Result<(), ChannelError> {
        let now = out.now;
        self.serve(at, out, |client, shared| client.take_state(data, shared, now))
    }

    fn on_closed(&mut self, at: ConnectionId, _out: &mut Out<'_>) {
        self.clients.remove(at);
        self.clients_changed();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let own = [
            self.streams.next_deadline(),
            self.composer.due(),
            self.gl.next_deadline(),
            self.screen_deadline(),
        ];
        own.into_iter().flatten().min()
    }

    fn on_timer(&mut self, out: &mut Out<'_>) {
        let now = out.now;
        let ended = self.streams.expire(now);
        self.end_streams(&ended, now);
        let still = self.streams.still(now);
        self.clients.each(|client| client.settle_streams(&still, now));
    }
}
