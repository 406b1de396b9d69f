//! What the worker needs of the display channel, so that tests can drive the loop with another display.

use crate::channel::connection::ConnectionId;
use crate::channel::link::ChannelError;
use crate::channel::{Channel, Out};
use crate::display::DisplayChannel;
use crate::display::settings::DisplaySettings;
use crate::draw::Drawable;
use crate::geometry::Rect;
use crate::host::{GlScanout, MappedSurface, MonitorsConfig, SurfaceCommand};
use std::time::Instant;

/// Makes the trait, and implements it with the methods of the same names of [`DisplayChannel`], so that each is listed once.
macro_rules! display {
    (
        look { $(fn $look:ident($($of:ident: $seen_of:ty),*) -> $seen:ty;)* }
        act { $(fn $act:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)* }
    ) => {
        /// The display channel as the worker drives it; [`DisplayChannel`] documents the methods.
        pub(super) trait Display: Channel {
            $(fn $look(&self, $($of: $seen_of),*) -> $seen;)*
            $(fn $act(&mut self, $($arg: $type),*) $(-> $result)?;)*
        }

        impl Display for DisplayChannel {
            $(fn $look(&self, $($of: $seen_of),*) -> $seen { DisplayChannel::$look(self, $($of),*) })*
            $(fn $act(&mut self, $($arg: $type),*) $(-> $result)? { DisplayChannel::$act(self, $($arg),*) })*
        }
    };
}

display! {
    look {
        fn primary_size() -> Option<(u32, u32)>;
        fn work() -> u64;
        fn pending_cost() -> u64;
        fn expected_cost(drawable: &Drawable) -> u64;
        fn settings() -> &DisplaySettings;
    }
    act {
        fn draw(drawable: Box<Drawable>, now: Instant);
        fn ring_emptied();
        fn guest_paused(for_good: bool, now: Instant);
        fn update(surface_id: u32, area: &Rect);
        fn surface_command(command: SurfaceCommand, now: Instant);
        fn loadvm_surface(command: SurfaceCommand, now: Instant);
        fn create_primary(surface: MappedSurface, keep_data: bool, now: Instant) -> bool;
        fn destroy_primary(now: Instant);
        fn clear_surface(surface_id: u32) -> bool;
        fn destroy_all_surfaces(now: Instant);
        fn update_area(surface_id: u32, area: &Rect, max: Option<usize>, clear: bool) -> Vec<Rect>;
        fn render_all();
        fn render_excess(next: u64) -> bool;
        fn release_all();
        fn free_some() -> usize;
        fn set_monitors_config(config: MonitorsConfig, now: Instant);
        fn driver_loaded();
        fn driver_unload();
        fn reset_image_cache();
        fn set_settings(settings: DisplaySettings, now: Instant);
        fn set_scanout(scanout: GlScanout, now: Instant);
        fn gl_draw(area: Rect, cookie: u64, now: Instant) -> bool;
        fn take_async_completions(now: Instant) -> Vec<u64>;
        fn take_client_caps(anew: bool) -> Option<(bool, [u8; 58])>;
        fn machine_started();
        fn resume(at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError>;
    }
}
