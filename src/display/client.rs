//! One client of the display channel: its pipe, what it knows, and its connection.

use super::encode::{ClientShared, Drawing, EncodeSettings, ImageEncoder, Serials, SurfaceSizes, Workspace};
use super::gl::{DrawId, GlClient};
use super::pipe::{Pipe, PipeItem};
use super::queued::{Queued, SurfaceKey, image_pixels};
use super::settings::DisplaySettings;
use super::stream::{Agent, MAX_STREAMS, StreamKey, reads_own};
use super::surfaces::{Surface, Surfaces};
use super::view::View;
use crate::canvas::Region;
use crate::channel::client::{ChannelClient, ChannelError, ClientKey, Received};
use crate::channel::connection::ChannelConnection;
use crate::geometry::Rect;
use crate::host::{GlScanout, MonitorsConfig};
use crate::image::SurfaceFormat;
use crate::limits::{
    DISPLAY_PACE, DISPLAY_PACE_MAX, INIT_TIMEOUT, MAX_IMAGE_PIXELS, MAX_PIPE_AGE, MAX_SEND_PER_TURN,
    MAX_STREAM_CLIP, MAX_UPDATE_PIXELS,
};
use crate::net::stream::{Flush, Incoming};
use crate::protocol::caps::display as cap;
use crate::protocol::display::{self, DisplayInit, DisplayMessage};
use crate::protocol::display::{SURFACE_PRIMARY, surface_create, surface_destroy};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long nothing must have been sent before lossy areas are sent again without loss. Pictures that change more often
/// than this are not worth it.
const REFINE_IDLE: Duration = Duration::from_millis(500);

/// What all clients of a channel send from.
pub(super) struct Shared<'a> {
    pub surfaces: &'a mut Surfaces,
    pub workspace: &'a mut Workspace,
    pub monitors: Option<&'a MonitorsConfig>,
    pub scanout: Option<&'a Arc<GlScanout>>,
}

/// The surfaces that a client was told of: width, height and format by id.
#[derive(Debug, Default)]
struct Told(BTreeMap<u32, (u32, u32, SurfaceFormat)>);

impl SurfaceSizes for Told {
    fn surface_size(&self, surface_id: u32) -> Option<(u32, u32)> {
        self.0.get(&surface_id).map(|(width, height, _)| (*width, *height))
    }

    fn surface_format(&self, surface_id: u32) -> Option<SurfaceFormat> {
        self.0.get(&surface_id).map(|(_, _, format)| *format)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct DisplayClient {
    pub key: ClientKey,
    pub connection: ChannelClient,
    encoder: ImageEncoder,
    pipe: Pipe,
    /// As it will be when the pipe is sent.
    view: View,
    /// Surfaces that the client will have by then, with their incarnation.
    known: BTreeMap<u32, SurfaceKey>,
    told: Told,
    /// Until when INIT must have come; `None`: it has.
    init_until: Option<Instant>,
    /// The send budget of the turn was used up.
    unfinished: bool,
    /// Commands wait until then (see [`DISPLAY_PACE`]).
    paced_until: Instant,
    /// What the present burst took to encode.
    spent: Duration,
    /// What the present turn has cost: bytes and pixels.
    turn_cost: u64,
    last_sent: Instant,
    composite: bool,
    a8: bool,
    monitors: bool,
    streams: BTreeMap<StreamKey, Agent>,
    /// The client decodes MJPEG, and says how it gets on.
    mjpeg: bool,
    reports: bool,
    last_unique: u32,
    pub gl: GlClient,
}

impl DisplayClient {
    pub fn new(
        key: ClientKey,
        channel_id: u8,
        connection: ChannelConnection,
        settings: &DisplaySettings,
        now: Instant,
    ) -> Self {
        let low = connection.low_bandwidth;
        let caps = &connection.channel_caps;
        let encode = EncodeSettings {
            compression: settings.image_compression,
            jpeg: settings.jpeg.applies(low),
            zlib_glz: settings.zlib_glz.applies(low),
            lz4: caps.has(cap::LZ4_COMPRESSION),
            unix: connection.stream.is_unix(),
        };
        Self {
            key,
            composite: caps.has(cap::COMPOSITE),
            a8: caps.has(cap::A8_SURFACE),
            monitors: caps.has(cap::MONITORS_CONFIG),
            streams: BTreeMap::new(),
            mjpeg: !caps.has(cap::MULTI_CODEC) || caps.has(cap::CODEC_MJPEG),
            reports: caps.has(cap::STREAM_REPORT),
            last_unique: 0,
            gl: GlClient::default(),
            encoder: ImageEncoder::new(channel_id, encode),
            connection: ChannelClient::new(connection, super::PROFILE.options, now),
            pipe: Pipe::default(),
            view: View::default(),
            known: BTreeMap::new(),
            told: Told::default(),
            init_until: Some(now + INIT_TIMEOUT),
            unfinished: false,
            paced_until: now,
            spent: Duration::ZERO,
            turn_cost: 0,
            last_sent: now,
        }
    }

    /// Whether the client's INIT has come and it is told things.
    pub fn is_active(&self) -> bool {
        self.init_until.is_none()
    }

    // What happens to surfaces.

    /// A surface exists from now on; `blank`: all pixels are zero.
    pub fn surface_created(&mut self, id: u32, surface: &Surface, blank: bool, now: Instant) {
        if !self.is_active() || self.known.contains_key(&id) {
            return;
        }
        self.known.insert(id, surface.key);
        if !surface.is_readable() || (surface.format == SurfaceFormat::A8 && !self.a8) {
            self.view.entry(surface.key).whole = true;
            return;
        }
        let (width, height, format) = (surface.width, surface.height, surface.format);
        self.pipe.push(PipeItem::SurfaceCreate { id, key: surface.key, width, height, format }, now);
        if !blank {
            self.view.entry(surface.key).whole = true;
            self.pipe.push(PipeItem::FullImage { id, key: surface.key }, now);
        }
        self.bound();
    }

    /// A surface is gone. `dropped` are commands on it that nobody will see.
    pub fn surface_destroyed(&mut self, id: u32, key: SurfaceKey, dropped: &[Arc<Queued>], now: Instant) {
        for queued in dropped {
            self.pipe.remove(queued);
        }
        self.view.remove(key);
        if self.known.get(&id) == Some(&key) {
            self.known.remove(&id);
            self.pipe.push(PipeItem::SurfaceDestroy { id, key }, now);
            self.bound();
        }
    }

    /// Something else to be told.
    pub fn tell(&mut self, item: PipeItem, now: Instant) {
        if self.is_active() {
            self.pipe.push(item, now);
            self.bound();
        }
    }

    /// A new command. `surfaces` has it not drawn yet.
    pub fn draw(&mut self, queued: &Arc<Queued>, surfaces: &Surfaces, now: Instant) {
        if !self.is_active() {
            return;
        }
        let reads = queued.reads.iter().map(|r| r.surface_id);
        for id in reads.chain([queued.drawable.surface_id]) {
            if let Some(surface) = surfaces.get(id) {
                self.surface_created(id, surface, false, now);
            }
        }
        self.watch_streams(queued, now);
        if self.view.pass(queued, self.composite) {
            self.pipe.push(PipeItem::Draw(queued.clone()), now);
        }
        self.bound();
    }

    /// Collapses a pipe that has become too long: by commands, or by surfaces that come and go without any.
    fn bound(&mut self) {
        if self.pipe.is_long() {
            self.collapse();
        }
    }

    /// Commands that became invisible. Whether some were still there.
    pub fn covered(&mut self, covered: &[Arc<Queued>]) -> bool {
        let mut some = false;
        for queued in covered {
            let was_there = self.pipe.remove(queued);
            some |= was_there;
            let agent = queued.stream.and_then(|s| self.streams.get_mut(&s.key));
            if let Some(agent) = agent.filter(|_| was_there) {
                agent.overtaken();
            }
        }
        some
    }

    /// Keeps the streams of the client in step with a command that is about to be queued (display.md 11.5, 11.6).
    fn watch_streams(&mut self, queued: &Queued, now: Instant) {
        let Some(&primary) = self.known.get(&0) else { return };
        let blank = self.view.get(primary).is_some_and(|s| s.whole);
        let mut own = None;
        if let Some(stream) = queued.stream.filter(|_| self.mjpeg && !blank && queued.key == primary) {
            own = Some(stream.key);
            if !self.streams.contains_key(&stream.key) {
                self.last_unique = self.last_unique.wrapping_add(0x9e37_79b9) | 1;
                let low = self.connection.connection().low_bandwidth;
                self.streams
                    .insert(stream.key, Agent::new(stream, &queued.region, self.last_unique, low, now));
                self.pipe.push(PipeItem::StreamCreate(stream.key), now);
            }
        }
        let mut stale = Region::new();
        for (&key, agent) in &mut self.streams {
            if !agent.is_live() {
                continue;
            }
            let simple = queued.region.rects().len() <= MAX_STREAM_CLIP;
            let clip = if own == Some(key) && simple {
                agent.frame_queued(&queued.region)
            } else {
                let reads =
                    queued.reads.iter().any(|r| r.key == primary && agent.area.intersects_rect(&r.area));
                let draws = queued.key == primary && queued.region.intersects(&agent.area);
                let reads = reads
                    || (queued.key == primary && reads_own(queued.self_read, &queued.region, &agent.area));
                // A complicated clip would cost a long message each time that it changes.
                if reads || (draws && !(queued.opaque && simple && agent.clip_stays_simple(&queued.region))) {
                    let (area, clip) = agent.detach();
                    stale = stale.union(&area);
                    clip
                } else if draws {
                    agent.covered(&queued.region)
                } else {
                    None
                }
            };
            if let Some(clip) = clip {
                self.pipe.push(PipeItem::StreamClip(key, clip), now);
            }
        }
        if !stale.is_empty() {
            self.view.entry(primary).add(&stale);
        }
    }

    /// These streams are over: where they painted, true pixels follow.
    pub fn end_streams(&mut self, ended: &[StreamKey], now: Instant) {
        for key in ended {
            let Some(agent) = self.streams.get_mut(key) else { continue };
            let area = agent.end();
            self.spoil_primary(&area);
            self.pipe.push(PipeItem::StreamDestroy(*key), now);
        }
        self.bound();
    }

    /// Pixels of the primary surface are not right once the pipe is sent.
    fn spoil_primary(&mut self, area: &Region) {
        if let Some(primary) = self.known.get(&0).filter(|_| !area.is_empty()) {
            self.view.entry(*primary).add(area);
        }
    }

    /// Forgets the commands in the pipe: what they draw is sent as images instead.
    pub fn collapse(&mut self) {
        let (view, known, streams) = (&mut self.view, &self.known, &self.streams);
        self.pipe.retain_draws(|queued| {
            // What a stream paints is kept account of by the stream.
            let frame = queued.stream.and_then(|s| streams.get(&s.key)).is_some_and(Agent::is_live);
            if !frame && known.get(&queued.drawable.surface_id) == Some(&queued.key) {
                view.entry(queued.key).add(&queued.region);
            }
            false
        });
        for key in self.pipe.shorten(self.told.0.contains_key(&0)) {
            self.streams.remove(&key);
        }
    }

    /// Number of commands in the pipe.
    pub fn queued_draws(&self) -> usize {
        self.pipe.draws()
    }

    /// Something about to be sent would go wrong in this area: it becomes stale, and with it what later commands in the
    /// pipe make of it.
    fn spoil(&mut self, key: SurfaceKey, region: &Region) {
        let mut extra = View::default();
        extra.entry(key).add(region);
        let composite = self.composite;
        self.pipe.retain_draws(|queued| extra.pass(queued, composite));
        // Commands may still be on their way to surfaces that are gone: those have nothing to be brought up to date.
        for (key, stale) in extra.iter() {
            if self.known.values().any(|known| *known == key) {
                self.view.entry(key).add(&stale.region);
            }
        }
    }

    // The client's messages.

    /// Reads what the client has sent.
    pub fn read(&mut self, shared: &Shared<'_>, now: Instant) -> Result<(), ChannelError> {
        self.connection.begin_reading();
        while let Some(received) = self.connection.receive(now)? {
            match received {
                Received::Message(message) => self.message(&message, shared, now)?,
                Received::Pong { .. } | Received::FlushMark | Received::MigrateData(_) => {}
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        incoming: &Incoming,
        shared: &Shared<'_>,
        now: Instant,
    ) -> Result<(), ChannelError> {
        match DisplayMessage::decode(incoming.msg_type, &incoming.body)? {
            DisplayMessage::Init(init) => self.init(&init, shared, now)?,
            DisplayMessage::PreferredCompression(value) => {
                if !self.encoder.set_preferred_compression(value) {
                    crate::warning_limited!(
                        "{}: unknown preferred compression {value}, ignored",
                        self.connection.connection().label()
                    );
                }
            }
            DisplayMessage::StreamReport(report) if report.stream_id >= MAX_STREAMS => {
                return Err(ChannelError::Refused(format!("report on stream {}", report.stream_id)));
            }
            DisplayMessage::GlDrawDone => match self.gl.drawn() {
                Some(next) => {
                    if let Some(area) = next {
                        self.tell(PipeItem::GlDraw(area), now);
                    }
                }
                None => return Err(ChannelError::Refused("GL_DRAW_DONE without GL_DRAW".into())),
            },
            DisplayMessage::StreamReport(report) => {
                let agent = self.streams.values_mut().find(|a| a.id() == report.stream_id && a.is_live());
                let Some(agent) = agent else { return Ok(()) };
                if !agent.report(&report, now) {
                    // Frames go as images from now on.
                    let area = agent.end();
                    self.spoil_primary(&area);
                }
            }
            DisplayMessage::PreferredVideoCodecType(_) | DisplayMessage::Common(_) => {}
        }
        Ok(())
    }

    /// INIT: the client is told everything from now on (display.md 6.1).
    fn init(&mut self, init: &DisplayInit, shared: &Shared<'_>, now: Instant) -> Result<(), ChannelError> {
        let caches = self.connection.connection().shared.get::<ClientShared>();
        self.encoder.init(&caches, init).map_err(|e| ChannelError::Refused(e.to_string()))?;
        self.init_until = None;
        self.connection.open();
        if shared.scanout.is_some() {
            self.show_scanout(now)?;
            self.pipe.push(PipeItem::MonitorsConfig, now);
        }
        if let Some(primary) = shared.surfaces.get(0) {
            self.pipe.push(PipeItem::InvalAllPalettes, now);
            self.surface_created(0, primary, false, now);
            self.pipe.push(PipeItem::MonitorsConfig, now);
            self.pipe.push(PipeItem::Mark, now);
        }
        Ok(())
    }

    // GL.

    /// There is a new scanout.
    pub fn show_scanout(&mut self, now: Instant) -> Result<(), ChannelError> {
        if !self.is_active() {
            return Ok(());
        }
        let connection = self.connection.connection();
        if !connection.stream.is_unix() || !connection.channel_caps.has(cap::GL_SCANOUT) {
            let why = "the screen is a GL scanout, for clients that know it and sit on a unix socket";
            return Err(ChannelError::Refused(why.into()));
        }
        self.pipe.push(PipeItem::GlScanout, now);
        self.bound();
        Ok(())
    }

    /// The scanout has changed in this area.
    pub fn gl_draw(&mut self, id: DrawId, area: Rect, now: Instant) {
        if let Some(area) = self.is_active().then(|| self.gl.draw(id, area)).flatten() {
            self.pipe.push(PipeItem::GlDraw(area), now);
        }
    }

    /// Sends the descriptor that is due; `false`: the socket is full, and nothing else may be sent.
    fn send_descriptor(&mut self, now: Instant) -> Result<bool, ChannelError> {
        let Some(scanout) = self.gl.descriptor.take() else { return Ok(true) };
        let fd = scanout.planes.first().map(|p| p.fd.as_raw_fd());
        if self.connection.send_fd(fd, now)? {
            return Ok(true);
        }
        self.gl.descriptor = Some(scanout);
        Ok(false)
    }

    // Sending.

    /// Whether anything waits to be sent.
    pub fn has_more(&self) -> bool {
        self.is_active() && (!self.pipe.is_empty() || self.stale_surface().is_some())
    }

    /// The known surface with the lowest id of which something is to be brought up to date.
    fn stale_surface(&self) -> Option<(u32, SurfaceKey)> {
        self.view.iter().next()?;
        let is_stale = |key| self.view.get(key).is_some_and(|s| !s.region.is_empty());
        self.known.iter().map(|(id, key)| (*id, *key)).find(|(_, key)| is_stale(*key))
    }

    /// Sends what socket and window take, up to the budget of a turn.
    pub fn push(&mut self, shared: &mut Shared<'_>, now: Instant) -> Result<(), ChannelError> {
        self.unfinished = false;
        if !self.is_active() {
            return Ok(());
        }
        if self.pipe.draws() > 0 && self.pipe.oldest().is_some_and(|since| now >= since + MAX_PIPE_AGE) {
            self.collapse();
        }
        self.turn_cost = 0;
        let hold = self.is_paced(now);
        loop {
            if !self.send_descriptor(now)? {
                return Ok(());
            }
            let mut said_all = false;
            let began = Instant::now();
            while self.connection.may_send() && !hold && self.gl.descriptor.is_none() {
                if self.turn_cost >= MAX_SEND_PER_TURN {
                    self.unfinished = true;
                    break;
                }
                let before = self.connection.stream().pending_bytes();
                if !self.send_next(shared, now) {
                    said_all = true;
                    break;
                }
                let bytes = self.connection.stream().pending_bytes().saturating_sub(before);
                self.turn_cost += u64::try_from(bytes).unwrap_or(u64::MAX);
                self.last_sent = now;
            }
            self.spent += began.elapsed();
            let more = self.has_more();
            if !more && self.turn_cost > 0 {
                self.paced_until = now + DISPLAY_PACE.max(DISPLAY_PACE_MAX.min(self.spent * 2));
            }
            if !more {
                self.spent = Duration::ZERO;
            }
            let flush = self.connection.flush(more, now)?;
            if self.gl.descriptor.is_some() && flush == Flush::Drained {
                continue;
            }
            if hold
                || self.unfinished
                || said_all
                || !more
                || flush == Flush::Blocked
                || !self.connection.may_send()
            {
                return Ok(());
            }
        }
    }

    /// Whether what waits is drawing that comes too soon after the last.
    fn is_paced(&self, now: Instant) -> bool {
        now < self.paced_until && self.pipe.len() == self.pipe.draws()
    }

    /// Sends one item or image; `false`: there is nothing.
    fn send_next(&mut self, shared: &mut Shared<'_>, now: Instant) -> bool {
        match self.pipe.pop() {
            Some(item) => {
                self.send_item(item, shared, now);
                true
            }
            None => match self.next_update(shared.surfaces) {
                Some((id, key, area)) => {
                    let stale = self.view.entry(key);
                    stale.region = stale.region.subtract_rect(&area);
                    if stale.region.is_empty() {
                        self.view.remove(key);
                    }
                    self.send_area(shared, id, area, true);
                    true
                }
                None => false,
            },
        }
    }

    fn send_item(&mut self, item: PipeItem, shared: &mut Shared<'_>, now: Instant) {
        match item {
            PipeItem::Draw(queued) => {
                self.turn_cost += queued.drawable.bbox.area();
                let agent = queued.stream.and_then(|s| self.streams.get_mut(&s.key));
                let frame = agent.and_then(|agent| {
                    let frame = agent.plan_frame(&queued.drawable)?.run();
                    agent.finish_frame(frame, now)
                });
                match frame {
                    Some(message) => {
                        self.connection.send(message);
                    }
                    None => self.send_draw(&queued, shared),
                }
            }
            PipeItem::StreamCreate(key) => {
                let messages = self.streams.get_mut(&key).map(|a| a.create(self.reports));
                for message in messages.unwrap_or_default() {
                    self.connection.send(message);
                }
            }
            PipeItem::StreamClip(key, clip) => {
                if let Some(message) = self.streams.get(&key).and_then(|a| a.clip(&clip)) {
                    self.connection.send(message);
                }
            }
            PipeItem::StreamDestroy(key) => {
                if let Some(message) = self.streams.remove(&key).and_then(|a| a.destroy()) {
                    self.connection.send(message);
                }
            }
            PipeItem::SurfaceCreate { id, width, height, format, .. } => {
                let flags = if id == 0 { SURFACE_PRIMARY } else { 0 };
                self.told.0.insert(id, (width, height, format));
                self.encoder.surface_changed(id);
                self.connection.send(surface_create(id, width, height, format, flags));
            }
            PipeItem::SurfaceDestroy { id, .. } => {
                if self.told.0.remove(&id).is_some() {
                    self.encoder.surface_changed(id);
                    self.connection.send(surface_destroy(id));
                }
            }
            PipeItem::FullImage { id, key } => {
                let surface = shared.surfaces.get(id).filter(|s| s.key == key);
                if let Some(bounds) = surface.map(Surface::bounds) {
                    self.view.remove(key);
                    self.send_area(shared, id, bounds, false);
                }
            }
            PipeItem::InvalAllPalettes => {
                self.encoder.palettes_invalidated();
                self.connection.send(display::inval_all_palettes());
            }
            PipeItem::MonitorsConfig => {
                if let Some(config) = shared.monitors.filter(|_| self.monitors) {
                    self.connection.send(display::monitors_config(config.max_allowed, &config.heads));
                }
            }
            PipeItem::Mark => {
                self.connection.send(display::mark());
            }
            PipeItem::GlScanout => {
                if let Some(s) = shared.scanout
                    && let Some(plane) = s.planes.first()
                {
                    if s.planes.len() > 1 {
                        crate::warning_limited!("a GL scanout of several planes is shown by its first");
                    }
                    self.connection.send(display::gl_scanout_unix(
                        s.width,
                        s.height,
                        plane.stride,
                        s.drm_fourcc,
                        s.y0_top,
                    ));
                    self.gl.descriptor = (s.drm_fourcc != 0).then(|| Arc::clone(s));
                }
            }
            PipeItem::GlDraw(area) => {
                self.gl.sent();
                let edge = |v: i32| u32::try_from(v).unwrap_or(0);
                self.connection.send(display::gl_draw(
                    edge(area.left),
                    edge(area.top),
                    area.width(),
                    area.height(),
                ));
            }
            PipeItem::StreamDestroyAll => {
                self.connection.send(display::stream_destroy_all());
            }
        }
    }

    fn send_draw(&mut self, queued: &Arc<Queued>, shared: &mut Shared<'_>) {
        // Loss would become visible: the result goes as an image (display.md 9.4).
        if !self.encoder.lossless_needs(&queued.drawable).is_empty() {
            self.spoil(queued.key, &queued.region);
            return;
        }
        // A whole image for a few of its pixels: the result is sent instead.
        let drawn = queued.region.bounds().area();
        if image_pixels(&queued.drawable.op) > MAX_IMAGE_PIXELS.max(drawn.saturating_mul(4)) {
            self.spoil(queued.key, &queued.region);
            return;
        }
        if !self.send_drawing(&Drawing::of_command(&queued.drawable), shared) {
            self.spoil(queued.key, &queued.region);
        }
    }

    /// Encodes and sends one message; `false`: the client cannot be sent it.
    fn send_drawing(&mut self, drawing: &Drawing<'_>, shared: &mut Shared<'_>) -> bool {
        let serials = Serials::of(self.connection.stream());
        match self.encoder.encode(shared.workspace, serials, drawing, &self.told) {
            Some(messages) => {
                for outgoing in messages {
                    self.connection.send(outgoing);
                }
                true
            }
            None => false,
        }
    }

    /// The next area to bring up to date, when no command waits: of the surface with the lowest id.
    fn next_update(&mut self, surfaces: &Surfaces) -> Option<(u32, SurfaceKey, Rect)> {
        let (id, key) = self.stale_surface()?;
        let bounds = surfaces.get(id).filter(|s| s.key == key).map(Surface::bounds);
        let region = &self.view.get(key)?.region;
        // One image around everything costs less than many that nearly fill it.
        let around = region.bounds();
        let whole = around.area() <= region.area().saturating_mul(5) / 4;
        let area = if whole { around } else { *region.rects().first()? };
        let area = bounds.map(|b| area.intersect(&b)).filter(|a| !a.is_empty());
        let Some(area) = area else {
            // Nothing can be sent of it.
            self.view.remove(key);
            return self.next_update(surfaces);
        };
        Some((id, key, band(area)))
    }

    /// Sends the present content of an area.
    fn send_area(&mut self, shared: &mut Shared<'_>, id: u32, area: Rect, lossy_allowed: bool) {
        self.turn_cost += area.area();
        let Some(pixels) = shared.surfaces.read(id, &area) else { return };
        let image = self.encoder.server_image(id, area, pixels, lossy_allowed);
        self.send_drawing(&image.drawing(), shared);
    }

    // Time.

    /// When [`Self::on_timer`] or a push is due.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let more = (self.unfinished && self.connection.may_send()).then_some(now);
        let paced = (self.is_paced(now) && self.has_more()).then_some(self.paced_until);
        let deadlines = [self.connection.next_deadline(now), self.init_until, more, paced, self.refine_at()];
        deadlines.into_iter().flatten().min()
    }

    /// When lossy areas are to be refined.
    fn refine_at(&self) -> Option<Instant> {
        let idle = self.is_active() && self.encoder.has_lossy() && !self.has_more();
        (idle && self.connection.is_drained() && self.connection.may_send())
            .then(|| self.last_sent + REFINE_IDLE)
    }

    /// Deadlines that have passed.
    pub fn on_timer(&mut self, shared: &mut Shared<'_>, now: Instant) -> Result<(), ChannelError> {
        if self.init_until.is_some_and(|until| until <= now) {
            return Err(ChannelError::Refused("no INIT in time".into()));
        }
        self.connection.on_timer(now)?;
        if self.connection.wants_reading() {
            self.read(shared, now)?;
        }
        let refine = self.refine_at().is_some_and(|at| at <= now);
        if let Some((id, area)) = self.encoder.next_lossy().filter(|_| refine) {
            self.send_area(shared, id, band(area), false);
            self.connection.flush(self.has_more(), now)?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn queued(&self) -> usize {
        self.pipe.len()
    }

    #[cfg(test)]
    pub fn has_lossy(&self) -> bool {
        self.encoder.has_lossy()
    }

    /// Whether everything is with the kernel.
    #[cfg(test)]
    pub fn is_drained(&self) -> bool {
        !self.has_more() && self.connection.is_drained()
    }
}

/// The top of an area, as much as goes into one image.
fn band(area: Rect) -> Rect {
    let rows = (MAX_UPDATE_PIXELS / u64::from(area.width()).max(1)).max(1);
    let rows = i32::try_from(rows).unwrap_or(i32::MAX);
    Rect { bottom: area.bottom.min(area.top.saturating_add(rows)), ..area }
}
