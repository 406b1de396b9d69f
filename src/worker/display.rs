//! What the worker needs of the display channel, so that the loop can be tested with another one.

use crate::channel::connection::ConnectionId;
use crate::channel::link::ChannelError;
use crate::channel::{Channel, Out};
use crate::display::DisplayChannel;
use crate::display::settings::DisplaySettings;
use crate::draw::Drawable;
use crate::geometry::Rect;
use crate::host::{GlScanout, MappedSurface, MonitorsConfig, SurfaceCommand};
use std::time::Instant;

/// The display channel as the worker drives it; [`DisplayChannel`] documents the methods.
pub(super) trait Display: Channel {
    fn draw(&mut self, drawable: Box<Drawable>, now: Instant);
    fn update(&mut self, surface_id: u32, area: &Rect);
    fn surface_command(&mut self, command: SurfaceCommand, now: Instant);
    fn loadvm_surface(&mut self, command: SurfaceCommand, now: Instant);
    /// `false`: refused.
    fn create_primary(&mut self, surface: MappedSurface, keep_data: bool, now: Instant) -> bool;
    fn destroy_primary(&mut self, now: Instant);
    fn primary_size(&self) -> Option<(u32, u32)>;
    /// Lets go of what is pending on a surface, which itself stays. `false`: no such surface.
    fn clear_surface(&mut self, surface_id: u32) -> bool;
    fn destroy_all_surfaces(&mut self, now: Instant);
    fn update_area(&mut self, surface_id: u32, area: &Rect, max: Option<usize>, clear: bool) -> Vec<Rect>;
    fn render_all(&mut self);
    fn release_all(&mut self);
    fn free_some(&mut self) -> usize;
    fn render_excess(&mut self) -> bool;
    fn work(&self) -> u64;
    fn set_monitors_config(&mut self, config: MonitorsConfig, now: Instant);
    fn driver_loaded(&mut self);
    fn driver_unload(&mut self);
    fn reset_image_cache(&mut self);
    fn settings(&self) -> &DisplaySettings;
    fn set_settings(&mut self, settings: DisplaySettings, now: Instant);
    fn set_scanout(&mut self, scanout: GlScanout, now: Instant);
    /// `false`: there is nobody to draw, the cookie is the caller's to complete.
    fn gl_draw(&mut self, area: Rect, cookie: u64, now: Instant) -> bool;
    fn take_async_completions(&mut self, now: Instant) -> Vec<u64>;
    fn take_client_caps(&mut self, anew: bool) -> Option<(bool, [u8; 58])>;
    fn machine_started(&mut self);
    fn resume(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError>;
}

impl Display for DisplayChannel {
    fn draw(&mut self, drawable: Box<Drawable>, now: Instant) {
        self.draw(drawable, now);
    }

    fn update(&mut self, surface_id: u32, area: &Rect) {
        self.update(surface_id, area);
    }

    fn surface_command(&mut self, command: SurfaceCommand, now: Instant) {
        self.surface_command(command, now);
    }

    fn loadvm_surface(&mut self, command: SurfaceCommand, now: Instant) {
        self.loadvm_surface(command, now);
    }

    fn create_primary(&mut self, surface: MappedSurface, keep_data: bool, now: Instant) -> bool {
        self.create_primary(surface, keep_data, now)
    }

    fn destroy_primary(&mut self, now: Instant) {
        self.destroy_primary(now);
    }

    fn primary_size(&self) -> Option<(u32, u32)> {
        self.primary_size()
    }

    fn clear_surface(&mut self, surface_id: u32) -> bool {
        self.clear_surface(surface_id)
    }

    fn destroy_all_surfaces(&mut self, now: Instant) {
        self.destroy_all_surfaces(now);
    }

    fn update_area(&mut self, surface_id: u32, area: &Rect, max: Option<usize>, clear: bool) -> Vec<Rect> {
        self.update_area(surface_id, area, max, clear)
    }

    fn render_all(&mut self) {
        self.render_all();
    }

    fn release_all(&mut self) {
        self.release_all();
    }

    fn free_some(&mut self) -> usize {
        self.free_some()
    }

    fn render_excess(&mut self) -> bool {
        self.render_excess()
    }

    fn work(&self) -> u64 {
        self.work()
    }

    fn set_monitors_config(&mut self, config: MonitorsConfig, now: Instant) {
        self.set_monitors_config(config, now);
    }

    fn driver_loaded(&mut self) {
        self.driver_loaded();
    }

    fn driver_unload(&mut self) {
        self.driver_unload();
    }

    fn reset_image_cache(&mut self) {
        self.reset_image_cache();
    }

    fn settings(&self) -> &DisplaySettings {
        self.settings()
    }

    fn set_settings(&mut self, settings: DisplaySettings, now: Instant) {
        self.set_settings(settings, now);
    }

    fn set_scanout(&mut self, scanout: GlScanout, now: Instant) {
        self.set_scanout(scanout, now);
    }

    fn gl_draw(&mut self, area: Rect, cookie: u64, now: Instant) -> bool {
        self.gl_draw(area, cookie, now)
    }

    fn take_async_completions(&mut self, now: Instant) -> Vec<u64> {
        self.take_async_completions(now)
    }

    fn take_client_caps(&mut self, anew: bool) -> Option<(bool, [u8; 58])> {
        self.take_client_caps(anew)
    }

    fn machine_started(&mut self) {
        self.machine_started();
    }

    fn resume(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.resume(at, out)
    }
}
