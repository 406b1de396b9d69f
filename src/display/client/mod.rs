//! One client of the display channel: its pipe, what it has, and its connection.
//!
//! - `surfaces`, `view`: the surfaces that it has, and what of them is stale
//! - `streams`: the videos that it plays
//! - `pace`: when it is sent drawing; `express`: what need not wait for that
//! - `link`: what its link takes
//! - `slices`: the large command that is being sent in parts; `join`: small ones that are sent as one
//! - `send`: from the pipe to the socket; `receive`: the client's messages
//! - `migrate`: from one host to another

mod express;
mod join;
mod link;
mod migrate;
mod pace;
mod receive;
mod send;
mod slices;
mod stale;
mod streams;
mod surfaces;

use super::encode::{EncodeSettings, ImageEncoder, Workspace};
use super::gl::{DrawId, GlClient};
use super::pending::PendingDrawable;
use super::pipe::{Pipe, PipeItem};
use super::reads::SurfaceKey;
use super::services::Services;
use super::settings::DisplaySettings;
use super::stream::StreamKey;
use super::surfaces::{Surface, Surfaces};
use crate::canvas::Region;
use crate::channel::link::{ChannelError, ChannelLink};
use crate::codec::video::choice::HostCodec;
use crate::geometry::Rect;
use crate::host::{GlScanout, MonitorsConfig};
use crate::image::SurfaceFormat;
use crate::limits::INIT_TIMEOUT;
use crate::protocol::Caps;
use crate::protocol::caps::display as cap;
use crate::protocol::migrate::DisplayState;
use express::Express;
use link::ClientLink;
use pace::Pace;
use slices::Slices;
use stale::StaleAreas;
use std::sync::Arc;
use std::time::Instant;
use streams::ClientStreams;
use surfaces::ClientSurfaces;

/// What a client is served with: its link, and what all clients of the channel send from.
pub(super) struct Shared<'a> {
    pub link: &'a mut ChannelLink,
    pub surfaces: &'a mut Surfaces,
    pub workspace: &'a mut Workspace,
    pub monitors: Option<&'a MonitorsConfig>,
    pub scanout: Option<&'a Arc<GlScanout>>,
    /// The machine runs.
    pub running: bool,
    /// The primary surface, if it shows the scanout to remote clients.
    pub screen: Option<SurfaceKey>,
}

/// What a client waits for before it is told anything.
#[derive(Debug)]
enum Start {
    /// Its INIT, until this time.
    Init(Instant),
    /// The state that it brings from the source of a migration.
    Data,
    /// The machine, which is still on its way from there.
    Machine(Box<DisplayState>),
    /// Nothing: it is told everything.
    Over,
}

/// One client of the display channel.
#[derive(Debug)]
pub(super) struct DisplayClient {
    /// The capabilities of the display channel that it offered.
    pub caps: Caps,
    encoder: ImageEncoder,
    pipe: Pipe,
    surfaces: ClientSurfaces,
    streams: ClientStreams,
    pace: Pace,
    start: Start,
    /// It follows its machine to another host.
    leaving: bool,
    express: Express,
    slices: Slices,
    link: ClientLink,
    /// The client knows COMPOSITE, surfaces of format A8, and monitors configurations.
    composite: bool,
    a8: bool,
    monitors: bool,
    pub gl: GlClient,
    /// The client shows GL scanouts itself.
    local: bool,
    /// It knows scanouts of several planes.
    planes: bool,
    /// A surface that the client is not told of.
    left_out: Option<SurfaceKey>,
}

impl DisplayClient {
    /// A client of which nothing but its link is known yet.
    pub(super) fn new(
        channel_id: u8,
        link: &mut ChannelLink,
        settings: &DisplaySettings,
        services: Services,
        now: Instant,
    ) -> Self {
        let connection = link.connection();
        let low = connection.low_bandwidth;
        let caps = &connection.channel_caps;
        let encode = EncodeSettings {
            compression: settings.image_compression,
            jpeg: settings.jpeg,
            zlib_glz: settings.zlib_glz,
            thin: low,
            lz4: caps.has(cap::LZ4_COMPRESSION),
            unix: connection.stream.is_unix(),
        };
        let streams = ClientStreams::new(connection, services, settings.video_codecs.clone());
        let planes = caps.has(cap::GL_SCANOUT2);
        let local = encode.unix && caps.has(cap::GL_SCANOUT);
        let caps = caps.clone();
        let estimate = ClientLink::new(&connection.stream, low, now);
        let start = if link.awaits_migrate_data() {
            link.mute();
            Start::Data
        } else {
            Start::Init(now + INIT_TIMEOUT)
        };
        Self {
            composite: caps.has(cap::COMPOSITE),
            a8: caps.has(cap::A8_SURFACE),
            monitors: caps.has(cap::MONITORS_CONFIG),
            streams,
            gl: GlClient::default(),
            local,
            planes,
            left_out: None,
            encoder: ImageEncoder::new(channel_id, encode),
            link: estimate,
            caps,
            pipe: Pipe::default(),
            surfaces: ClientSurfaces::default(),
            pace: Pace::new(now),
            start,
            leaving: false,
            express: Express::new(now),
            slices: Slices::default(),
        }
    }

    /// Whether the client's INIT has come and it is told things.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.start, Start::Over)
    }

    /// Until when INIT must have come.
    fn init_until(&self) -> Option<Instant> {
        match self.start {
            Start::Init(until) => Some(until),
            Start::Data | Start::Machine(_) | Start::Over => None,
        }
    }

    /// Whether the client shows GL scanouts itself.
    pub(super) fn shows_scanouts(&self) -> bool {
        self.local
    }

    /// The client is told nothing of this surface: it shows the scanout itself that others see there.
    pub(super) fn leave_out(&mut self, key: SurfaceKey) {
        self.left_out = Some(key);
    }

    // What happens to surfaces.

    /// A surface exists from now on; `blank`: all pixels are zero.
    pub(super) fn surface_created(&mut self, id: u32, surface: &Surface, blank: bool, now: Instant) {
        if !self.is_active() || self.surfaces.queued(id).is_some() {
            return;
        }
        let key = surface.key;
        if self.left_out == Some(key) {
            return;
        }
        if !surface.is_readable() || (surface.format == SurfaceFormat::A8 && !self.a8) {
            self.surfaces.add(id, key, false);
            return;
        }
        let (width, height, format) = (surface.width, surface.height, surface.format);
        self.surfaces.add(id, key, blank);
        self.pipe.push(PipeItem::SurfaceCreate { id, key, width, height, format }, now);
        if !blank {
            self.pipe.push(PipeItem::FullImage { id, key }, now);
        }
        self.bound();
    }

    /// A surface is gone. `dropped` are commands on it that nobody will see: others may be read by commands in the pipe, so a
    /// command in slices is sent to its end.
    pub(super) fn surface_destroyed(
        &mut self,
        id: u32,
        key: SurfaceKey,
        dropped: &[Arc<PendingDrawable>],
        now: Instant,
    ) {
        for pending in dropped {
            self.slices.remove(pending);
            self.pipe.remove(pending);
        }
        if self.surfaces.remove(id, key) {
            self.pipe.push(PipeItem::SurfaceDestroy { id, key }, now);
            self.bound();
        }
    }

    /// Something else to be told.
    pub(super) fn tell(&mut self, item: PipeItem, now: Instant) {
        if self.is_active() {
            self.pipe.push(item, now);
            self.bound();
        }
    }

    /// A new command. `surfaces` has it not drawn yet.
    pub(super) fn draw(&mut self, pending: &Arc<PendingDrawable>, surfaces: &Surfaces, now: Instant) {
        if !self.is_active() || self.left_out == Some(pending.key) {
            return;
        }
        let reads = pending.reads.iter().map(|r| r.surface_id);
        for id in reads.chain([pending.drawable.surface_id]) {
            if let Some(surface) = surfaces.get(id) {
                self.surface_created(id, surface, false, now);
            }
        }
        if let Some(primary) = self.surfaces.queued(0) {
            let shown = self.surfaces.shown_primary().is_some();
            let followed = self.streams.follow(pending, primary, shown, now);
            for item in followed.items {
                self.pipe.push(item, now);
            }
            self.surfaces.spoil(primary, &followed.stale);
        }
        if self.surfaces.pass(pending, self.composite) {
            self.pipe.push(PipeItem::Draw(pending.clone()), now);
        }
        self.bound();
    }

    /// The guest has drawn its frame.
    pub(super) fn guest_paused(&mut self, now: Instant) {
        self.pace.guest_paused(now);
    }

    /// A piece of a video whose last frame was composed so: the client is sent the next one instead, if it plays the stream.
    /// `surfaces` has the piece not drawn yet.
    pub(super) fn draw_piece(
        &mut self,
        pending: &Arc<PendingDrawable>,
        last: Option<&PendingDrawable>,
        surfaces: &Surfaces,
        now: Instant,
    ) {
        let stream = last.and_then(|frame| frame.stream);
        if !stream.is_some_and(|stream| self.streams.await_frame(stream.key, &pending.region)) {
            self.draw(pending, surfaces, now);
        }
    }

    /// A frame that the device composed of pieces, in place of the one before. Clients that do not play its stream got the
    /// pieces.
    pub(super) fn draw_composed(
        &mut self,
        pending: &Arc<PendingDrawable>,
        before: Option<&Arc<PendingDrawable>>,
        surfaces: &Surfaces,
        now: Instant,
    ) {
        let shown = self.surfaces.shown_primary().is_some();
        if shown && pending.stream.is_some_and(|stream| self.streams.takes(stream.key)) {
            if let Some(before) = before {
                self.covered(std::slice::from_ref(before));
            }
            self.draw(pending, surfaces, now);
        }
    }

    /// Collapses a pipe that has become too long: by commands, or by surfaces that come and go without any.
    fn bound(&mut self) {
        if self.pipe.is_long() {
            self.collapse();
        }
    }

    /// Commands that became invisible. Whether some were still there.
    pub(super) fn covered(&mut self, covered: &[Arc<PendingDrawable>]) -> bool {
        let mut some = false;
        for pending in covered {
            // Whoever asks must know whether the client has seen the command: of one in slices it has seen a part.
            let was_being_sent = self.slices.remove(pending);
            if was_being_sent || !self.pipe.remove(pending) {
                continue;
            }
            some = true;
            if let Some(agent) = self.streams.of(pending) {
                agent.overtaken();
            }
        }
        some
    }

    /// These streams are over: where they painted, true pixels follow.
    pub(super) fn end_streams(&mut self, ended: &[StreamKey], now: Instant) {
        for key in ended {
            if let Some(area) = self.streams.end(*key) {
                self.surfaces.spoil_primary(&area);
                self.pipe.push(PipeItem::StreamDestroy(*key), now);
            }
        }
        self.bound();
    }

    /// The pictures of these streams stand still: true pixels follow.
    pub(super) fn settle_streams(&mut self, still: &[StreamKey], now: Instant) {
        for key in still {
            if let Some((area, clip)) = self.streams.settle(*key) {
                self.surfaces.spoil_primary(&area);
                if let Some(clip) = clip {
                    self.pipe.push(PipeItem::StreamClip(*key, clip), now);
                }
            }
        }
        self.bound();
    }

    /// The host wants other codecs for streams that begin from now on.
    pub(super) fn set_video_codecs(&mut self, codecs: Vec<HostCodec>) {
        self.streams.set_host_codecs(codecs);
    }

    /// Has the encoders looked for that the client's streams may need.
    pub(super) fn prepare_encoders(&self) {
        self.streams.prepare();
    }

    /// Forgets the commands in the pipe: what they draw is sent as images instead.
    pub(super) fn collapse(&mut self) {
        self.streams.forget_waiting();
        if let Some((pending, unsent)) = self.slices.stop() {
            self.surfaces.drop_part(&pending, &unsent);
        }
        let mut dropped = Vec::with_capacity(self.pipe.draws());
        self.pipe.retain_draws(|pending| {
            if !self.streams.plays(pending) {
                dropped.push(pending.clone());
            }
            false
        });
        self.surfaces.drop_commands(&dropped);
        for key in self.pipe.shorten(self.surfaces.has_primary()) {
            self.streams.forget(key);
        }
    }

    /// Number of commands in the pipe.
    pub(super) fn queued_draws(&self) -> usize {
        self.pipe.draws() + usize::from(!self.slices.is_empty())
    }

    /// Something about to be sent would go wrong in this area: it becomes stale, and with it what later commands in the
    /// pipe make of it.
    fn spoil(&mut self, key: SurfaceKey, region: &Region) {
        let mut extra = StaleAreas::default();
        extra.entry(key).add(region);
        let composite = self.composite;
        self.pipe.retain_draws(|pending| extra.pass(pending, composite));
        self.surfaces.spoil_all(&extra);
    }

    /// The GL scanout has changed in this area.
    pub(super) fn gl_draw(&mut self, id: DrawId, area: Rect, now: Instant) {
        if let Some(area) = (self.is_active() && self.local).then(|| self.gl.draw(id, area)).flatten() {
            self.pipe.push(PipeItem::GlDraw(area), now);
        }
    }

    /// Whether anything waits to be sent.
    pub(super) fn has_more(&self) -> bool {
        self.is_active() && (!self.pipe.is_empty() || !self.slices.is_empty() || self.surfaces.has_stale())
    }

    // Time.

    /// When [`Self::on_timer`] or a push is due, beyond what the link itself wants.
    pub(super) fn next_deadline(&self, link: &ChannelLink, now: Instant) -> Option<Instant> {
        let next_turn = self.pace.next_turn(self.waiting(), self.may_send(link, now), now);
        let look =
            if self.is_held_by_link(link, now) { self.link.look_again(link.stream(), now) } else { None };
        let frames = self.link.frames_wait_until(now).filter(|_| self.has_more());
        let deadlines =
            [frames, self.init_until(), next_turn, self.refine_at(link, now), self.streams.deadline(), look];
        deadlines.into_iter().flatten().min()
    }

    /// When lossy areas are to be refined.
    fn refine_at(&self, link: &ChannelLink, now: Instant) -> Option<Instant> {
        let idle = self.is_active() && self.encoder.has_lossy() && !self.has_more();
        (idle && link.is_drained() && self.may_send(link, now)).then(|| self.pace.refine_at())
    }

    /// Deadlines that have passed.
    pub(super) fn on_timer(&mut self, shared: &mut Shared<'_>, now: Instant) -> Result<(), ChannelError> {
        if self.init_until().is_some_and(|until| until <= now) {
            return Err(ChannelError::Refused("no INIT in time".into()));
        }
        self.refine(shared, now)
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.pipe.len()
    }

    /// Sends images in slices of so many pixels at most.
    #[cfg(test)]
    pub(super) fn set_slice_pixels(&mut self, most: u64) {
        self.slices.set_most(most);
    }

    /// Begins to send the command in front in slices, without the first one.
    #[cfg(test)]
    pub(super) fn begin_slices(&mut self) {
        if let Some(PipeItem::Draw(pending)) = self.pipe.pop() {
            assert!(self.slices.begin(&pending));
        }
    }

    /// Encoding has taken so much time that drawing waits after each burst.
    #[cfg(test)]
    pub(super) fn use_up_credit(&mut self, now: Instant) {
        self.pace.use_up_credit(now);
    }

    #[cfg(test)]
    pub(super) fn has_lossy(&self) -> bool {
        self.encoder.has_lossy()
    }
}
