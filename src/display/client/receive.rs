//! What a client sends (display.md 5.3, 6.1).

use super::{DisplayClient, Shared, Start};
use crate::channel::link::ChannelError;
use crate::display::encode::ClientShared;
use crate::display::pipe::PipeItem;
use crate::display::stream::MAX_STREAMS;
use crate::net::stream::Incoming;
use crate::protocol::display::{DisplayInit, DisplayMessage};
use std::time::Instant;

impl DisplayClient {
    /// A message of the display channel.
    pub(crate) fn message(
        &mut self,
        incoming: &Incoming,
        shared: &mut Shared<'_>,
        now: Instant,
    ) -> Result<(), ChannelError> {
        match DisplayMessage::decode(incoming.msg_type, &incoming.body)? {
            DisplayMessage::Init(init) => self.init(&init, shared, now)?,
            DisplayMessage::PreferredCompression(value) => {
                if !self.encoder.set_preferred_compression(value) {
                    crate::warning_limited!(
                        "{}: unknown preferred compression {value}, ignored",
                        shared.link.connection().label()
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
                let output = self.streams.report(&report, now);
                self.send_output(output, shared.link, now);
            }
            DisplayMessage::PreferredVideoCodecType(numbers) => {
                let output = self.streams.prefer(&numbers, now);
                self.send_output(output, shared.link, now);
                self.streams.prepare();
            }
            DisplayMessage::Common(_) => {}
        }
        Ok(())
    }

    /// INIT: the client is told everything from now on (display.md 6.1).
    fn init(
        &mut self,
        init: &DisplayInit,
        shared: &mut Shared<'_>,
        now: Instant,
    ) -> Result<(), ChannelError> {
        let caches = shared.link.connection().shared.get::<ClientShared>();
        self.encoder.init(&caches, init).map_err(|e| ChannelError::Refused(e.to_string()))?;
        self.start = Start::Over;
        shared.link.open();
        if shared.scanout.is_some() && self.shows_scanouts() {
            self.show_scanout(now);
            self.pipe.push(PipeItem::MonitorsConfig, now);
            self.left_out = shared.screen;
        }
        let primary = shared.surfaces.get(0);
        if let Some(primary) = primary.filter(|surface| self.left_out != Some(surface.key)) {
            self.pipe.push(PipeItem::InvalAllPalettes, now);
            self.surface_created(0, primary, false, now);
            self.pipe.push(PipeItem::MonitorsConfig, now);
            self.pipe.push(PipeItem::Mark, now);
        }
        Ok(())
    }

    /// There is a new scanout, which the client shows itself if it can.
    pub(crate) fn show_scanout(&mut self, now: Instant) {
        if self.is_active() && self.shows_scanouts() {
            self.pipe.push(PipeItem::GlScanout, now);
            self.bound();
        }
    }
}
