//! What a client's encoder hands over to the target of a migration, and takes over there (display.md 8.1, 8.4, 15).

use super::{ClientShared, DisplayCaches, ImageEncoder, InitError};
use crate::codec::glz;
use crate::geometry::Rect;
use crate::limits::MAX_GLZ_WINDOW_PIXELS;
use crate::protocol::ChannelType;
use crate::protocol::common::WaitFor;
use crate::protocol::migrate::DisplayState;

impl ImageEncoder {
    /// What the state says of the client's link, which decides whether it lists lossy areas: thin, also when the link
    /// was thin until lately and something is lossy still.
    pub(crate) fn is_thin_for_target(&self) -> bool {
        self.settings.thin || self.has_lossy()
    }

    /// Whether a state lists lossy areas.
    pub(crate) fn lists_lossy(&self, thin: bool) -> bool {
        self.settings.jpeg.applies(thin)
    }

    /// The lossy area of a surface.
    pub(crate) fn lossy_bounds(&self, surface_id: u32) -> Rect {
        self.lossy.bounds(surface_id)
    }

    /// A surface that the client brings along is lossy in this area.
    pub(crate) fn adopt_lossy(&mut self, surface_id: u32, area: &Rect) {
        self.lossy.adopt(surface_id, area);
    }

    /// Freezes the caches and writes into `state` what the target needs of them. The first display of a client to do so
    /// has the target's display empty the pixmap cache.
    pub(crate) fn hand_over(&self, state: &mut DisplayState) {
        let Some(caches) = &self.caches else { return };
        let frozen = caches.pixmaps.freeze();
        state.pixmap_cache_id = caches.ids.0;
        state.pixmap_cache_size = i64::try_from(frozen.budget).unwrap_or(i64::MAX);
        // A cache of no size needs nobody to empty it.
        state.freezer = frozen.is_first && frozen.budget > 0;
        for (channel, serial) in frozen.last_uses {
            if let Some(slot) = state.cache_sync.get_mut(usize::from(channel)) {
                *slot = serial;
            }
        }
        let dictionary = caches.glz.freeze();
        state.glz_dictionary_id = caches.ids.1;
        state.glz_window = dictionary.window;
        state.glz_last_image_id = dictionary.next_id;
    }

    /// Takes over what [`Self::hand_over`] wrote at the source. On error the channel is to be closed.
    pub(crate) fn restore(&mut self, shared: &ClientShared, state: &DisplayState) -> Result<(), InitError> {
        if self.caches.is_some() {
            return Err(InitError::Twice);
        }
        self.caches = Some(shared.rejoin(state)?);
        Ok(())
    }

    /// Up to where the client's other displays must have come before the pixmap cache is emptied.
    pub(crate) fn other_displays(&self, state: &DisplayState) -> Vec<WaitFor> {
        let others = (0..).zip(state.cache_sync).filter(|&(id, serial)| id != self.channel_id && serial > 0);
        let display = ChannelType::Display.number();
        others.map(|(channel_id, serial)| WaitFor { channel_type: display, channel_id, serial }).collect()
    }
}

impl ClientShared {
    /// Joins or makes the caches that a display had at the source of a migration. Only the display that has the client
    /// empty its pixmap cache uses that from then on: when it is empty the others cannot know.
    fn rejoin(&self, state: &DisplayState) -> Result<DisplayCaches, InitError> {
        if state.glz_window > MAX_GLZ_WINDOW_PIXELS {
            return Err(InitError::GlzWindow(i32::try_from(state.glz_window).unwrap_or(i32::MAX)));
        }
        let size = if state.freezer { state.pixmap_cache_size } else { 0 };
        let dictionary = glz::State { window: state.glz_window, next_id: state.glz_last_image_id };
        let glz = self.dictionary(state.glz_dictionary_id, || glz::Dictionary::restore(dictionary))?;
        let pixmaps = Self::unshared_pixmaps(size);
        Ok(DisplayCaches { pixmaps, glz, ids: (state.pixmap_cache_id, state.glz_dictionary_id) })
    }
}
