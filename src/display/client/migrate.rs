//! A client on its way to or from another host (server.md 9.4 to 9.6, display.md 15).
//!
//! Source: streams end, what waits is sent, then MIGRATE; the client's answer fetches its state. Target: nothing is sent
//! before the client has brought its state and the machine runs, since hosts build up their surfaces anew until then. What the
//! client has equals the surfaces then, and none of it is sent again.

use super::{DisplayClient, Shared, Start};
use crate::channel::link::{ChannelError, ChannelLink};
use crate::display::encode::ClientShared;
use crate::display::pipe::PipeItem;
use crate::geometry::Rect;
use crate::protocol::display::{inval_all_pixmaps, surface_destroy};
use crate::protocol::migrate::{DisplayState, MigratedSurface};
use std::collections::BTreeSet;
use std::time::Instant;

/// Displays that may share a dictionary, as the original says it.
const GLZ_ENCODERS: u32 = 4;

impl DisplayClient {
    /// The machine has moved and the client follows it, when it has been sent all that it misses.
    pub(crate) fn begin_leaving(&mut self, now: Instant) -> Result<(), ChannelError> {
        if !self.is_active() {
            return Err(ChannelError::Refused("it has no display yet that could migrate".into()));
        }
        let streams = self.streams.keys();
        self.end_streams(&streams, now);
        self.leaving = true;
        Ok(())
    }

    /// Sends MIGRATE once all else is sent.
    pub(super) fn leave_if_done(&mut self, link: &mut ChannelLink, now: Instant) -> Result<(), ChannelError> {
        if self.leaving && !self.has_more() && self.gl.descriptor.is_none() && link.is_told() {
            link.hand_over(true);
            link.flush(false, now)?;
        }
        Ok(())
    }

    /// MIGRATE_FLUSH_MARK: the state that the client takes along.
    pub(crate) fn state(&mut self, link: &ChannelLink) -> Vec<u8> {
        let thin = self.encoder.is_thin_for_target();
        let mut state = DisplayState {
            // The message that carries this is the last.
            serial: link.stream().next_serial(false),
            low_bandwidth: thin,
            glz_max_encoders: GLZ_ENCODERS,
            ..DisplayState::default()
        };
        self.encoder.hand_over(&mut state);
        let lossy = self.encoder.lists_lossy(thin);
        let of = |id| MigratedSurface { id, lossy: lossy.then(|| self.encoder.lossy_bounds(id)) };
        state.surfaces = self.surfaces.told_ids().map(of).collect();
        state.encode()
    }

    /// MIGRATE_DATA: what the client brings from the source.
    pub(crate) fn take_state(
        &mut self,
        data: &[u8],
        shared: &mut Shared<'_>,
        now: Instant,
    ) -> Result<(), ChannelError> {
        let state = DisplayState::decode(data, |thin| self.encoder.lists_lossy(thin))?;
        self.start = Start::Machine(Box::new(state));
        // Nothing is sent until the machine runs.
        shared.link.mute();
        if shared.running { self.machine_started(shared, now) } else { Ok(()) }
    }

    /// The machine runs: a client that has brought its state goes on.
    pub(crate) fn machine_started(
        &mut self,
        shared: &mut Shared<'_>,
        now: Instant,
    ) -> Result<(), ChannelError> {
        let state = match std::mem::replace(&mut self.start, Start::Over) {
            Start::Machine(state) => state,
            other => {
                self.start = other;
                return Ok(());
            }
        };
        self.encoder.set_thin(state.low_bandwidth);
        let caches = shared.link.connection().shared.get::<ClientShared>();
        self.encoder.restore(&caches, &state).map_err(|e| ChannelError::Refused(e.to_string()))?;
        shared.link.set_serial(state.serial);
        shared.link.unmute();
        shared.link.open();
        self.pipe.push(PipeItem::InvalAllPalettes, now);
        if state.freezer {
            let wait = self.encoder.other_displays(&state);
            shared.link.send(inval_all_pixmaps(&wait));
        }
        self.adopt_surfaces(&state.surfaces, shared);
        if shared.scanout.is_some() && self.shows_scanouts() {
            self.show_scanout(now);
            self.left_out = shared.screen;
        }
        if let Some(primary) = shared.surfaces.get(0)
            && self.left_out != Some(primary.key)
            && self.surfaces.queued(0).is_none()
        {
            self.surface_created(0, primary, false, now);
            self.pipe.push(PipeItem::Mark, now);
        }
        self.pipe.push(PipeItem::MonitorsConfig, now);
        Ok(())
    }

    /// The client has these surfaces, with the pixels that ours have.
    fn adopt_surfaces(&mut self, surfaces: &[MigratedSurface], shared: &mut Shared<'_>) {
        let mut known = BTreeSet::new();
        for &MigratedSurface { id, lossy } in surfaces {
            if !known.insert(id) {
                continue;
            }
            match shared.surfaces.get(id).filter(|surface| surface.is_readable()) {
                Some(surface) => {
                    self.surfaces.adopt(id, surface);
                    let bounds = surface.bounds();
                    let lossy = lossy.map_or(Rect::default(), |area| area.intersect(&bounds));
                    self.encoder.adopt_lossy(id, &lossy);
                }
                None => {
                    shared.link.send(surface_destroy(id));
                }
            }
        }
    }
}
