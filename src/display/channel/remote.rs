//! A GL scanout for clients that cannot show it themselves: over TCP, or without GL (display.md 14).
//!
//! To them the screen is a primary surface of the library's own, which no guest knows. The worker reads the scanout's memory
//! into a copy of it when the host says that it has changed, and draws what differs. From there on all is as with any other
//! guest: images, streams, caches, slow clients. The host's request to draw is done at once: it waits for no
//! remote client.

use super::DisplayChannel;
use crate::channel::link::ChannelError;
use crate::clock::mm_time;
use crate::display::client::DisplayClient;
use crate::display::gl::{Screen, Source, Unreadable};
use crate::display::pipe::PipeItem;
use crate::display::reads::SurfaceKey;
use crate::draw::{Clip, Copy, DrawOp, Drawable, Effect, Rop, ScaleMode};
use crate::geometry::Rect;
use crate::guest::PrivateSurface;
use crate::host::{GlScanout, MappedSurface, MonitorHead, MonitorsConfig};
use crate::image::SurfaceFormat;
use crate::limits::DISPLAY_PACE;
use std::sync::Arc;
use std::time::Instant;

/// What remote clients see of a scanout.
#[derive(Debug)]
pub(super) struct RemoteScreen {
    scanout: Arc<GlScanout>,
    source: Source,
    screen: Screen,
    /// The primary surface that shows it.
    key: SurfaceKey,
    /// What has changed since it was read.
    damage: Option<Rect>,
    read: Instant,
}

impl DisplayChannel {
    /// The primary surface that shows a scanout, if the primary surface is one.
    pub(super) fn screen_key(&self) -> Option<SurfaceKey> {
        let key = self.remote.as_ref().map(|remote| remote.key);
        key.filter(|&key| self.surfaces.get(0).is_some_and(|surface| surface.key == key))
    }

    /// The scanout has changed in an area.
    pub(super) fn damage_screen(&mut self, area: Rect) {
        if let Some(remote) = &mut self.remote {
            remote.damage = Some(remote.damage.map_or(area, |damage| damage.union(&area)));
        }
    }

    /// When [`Self::follow_scanout`] wants to be called on account of changes.
    pub(super) fn screen_deadline(&self) -> Option<Instant> {
        self.remote.as_ref().filter(|remote| remote.damage.is_some()).map(|remote| remote.read + DISPLAY_PACE)
    }

    /// Brings what remote clients see in step with the scanout. To be called in each turn, before anything is sent.
    pub(super) fn follow_scanout(&mut self, now: Instant) {
        let watched = self.clients.iter().any(is_remote);
        let Some(scanout) = self.gl.scanout().filter(|_| watched).map(Arc::clone) else {
            self.end_screen(now);
            return;
        };
        let key = self.screen_key();
        let shown = match &self.remote {
            Some(remote) if key.is_some() => {
                Some((Arc::ptr_eq(&remote.scanout, &scanout), remote.screen.size()))
            }
            _ => None,
        };
        let followed = match shown {
            Some((true, _)) => Ok(()),
            Some((false, size)) if size == (scanout.width, scanout.height) => self.exchange_source(&scanout),
            _ => {
                self.end_screen(now);
                self.begin_screen(&scanout, now)
            }
        };
        if let Err(why) = followed {
            self.end_screen(now);
            self.refuse_remote_clients(&why);
            return;
        }
        self.update_screen(now);
    }

    /// Another scanout of the same size: guests take turns between two or three.
    fn exchange_source(&mut self, scanout: &Arc<GlScanout>) -> Result<(), Unreadable> {
        let source = Source::open(scanout)?;
        if let Some(remote) = &mut self.remote {
            remote.source = source;
            remote.scanout = Arc::clone(scanout);
            remote.damage = Some(Rect::of_size(scanout.width, scanout.height));
        }
        Ok(())
    }

    /// Makes a primary surface that shows the scanout, and tells the remote clients.
    fn begin_screen(&mut self, scanout: &Arc<GlScanout>, now: Instant) -> Result<(), Unreadable> {
        let source = Source::open(scanout)?;
        if self.surfaces.get(0).is_some() {
            // They go on to see the guest's primary surface.
            return Ok(());
        }
        let (width, height) = source.size();
        let Some(screen) = Screen::new(&source) else {
            crate::warning_limited!("no memory to show a GL scanout of {width} x {height} to remote clients");
            return Ok(());
        };
        let memory = Box::new(PrivateSurface(screen.pixels().to_vec()));
        let stride = i32::try_from(width * 4).unwrap_or(i32::MAX);
        let mapped = MappedSurface { width, height, stride, format: SurfaceFormat::Xrgb32, memory };
        let surface = match self.surfaces.create(0, mapped, None) {
            Ok(surface) => surface,
            Err(why) => {
                crate::warning_limited!("a GL scanout is not shown to remote clients: {why}");
                return Ok(());
            }
        };
        let key = surface.key;
        if !self.driver_monitors {
            let head = MonitorHead { width, height, ..MonitorHead::default() };
            self.monitors = Some(MonitorsConfig { max_allowed: 1, heads: vec![head] });
        }
        self.clients.each(|client| {
            if client.shows_scanouts() {
                client.leave_out(key);
            } else {
                client.surface_created(0, surface, false, now);
                client.tell(PipeItem::MonitorsConfig, now);
                client.tell(PipeItem::Mark, now);
            }
        });
        self.remote =
            Some(RemoteScreen { scanout: Arc::clone(scanout), source, screen, key, damage: None, read: now });
        Ok(())
    }

    /// Draws what has changed, if that is due.
    fn update_screen(&mut self, now: Instant) {
        let due = self.screen_deadline().is_some_and(|at| at <= now);
        let Some(remote) = self.remote.as_mut().filter(|_| due) else { return };
        let Some(damage) = remote.damage.take() else { return };
        remote.read = now;
        let areas = remote.screen.update(&remote.source, &damage, now);
        let drawables: Vec<_> =
            areas.iter().filter_map(|area| drawable(&remote.screen, *area, now)).collect();
        for drawable in drawables {
            self.draw(drawable, now);
        }
    }

    /// Remote clients see no scanout any more.
    pub(super) fn end_screen(&mut self, now: Instant) {
        if self.screen_key().is_some() {
            self.destroy_surface(0, now);
        }
        self.remote = None;
    }

    /// The scanout cannot be read: who cannot show it has no screen.
    fn refuse_remote_clients(&mut self, why: &Unreadable) {
        self.clients.try_each(|client| {
            if !is_remote(client) {
                return Ok(());
            }
            let text = "the screen is a GL scanout, for clients that know it and sit on a unix socket";
            Err(ChannelError::Refused(format!("{text}; nor can the server read it: {why}")))
        });
    }
}

/// Whether a client is told things, and cannot show a scanout.
fn is_remote(client: &DisplayClient) -> bool {
    client.is_active() && !client.shows_scanouts()
}

/// A copy of an area of the screen to the surface that shows it.
fn drawable(screen: &Screen, area: Rect, now: Instant) -> Option<Box<Drawable>> {
    let src = screen.image(&area)?;
    let src_area = Rect::of_size(src.width, src.height);
    Some(Box::new(Drawable {
        surface_id: 0,
        effect: Effect::Opaque,
        bbox: area,
        clip: Clip::None,
        mm_time: mm_time(now),
        self_bitmap: None,
        deps: [None, None, None],
        op: DrawOp::Copy(Copy {
            src,
            src_area,
            rop: Rop::PUT,
            scale_mode: ScaleMode::Interpolate,
            mask: None,
        }),
        release: None,
    }))
}
