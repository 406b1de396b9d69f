//! What the displays of one client have in common (display.md 8.1, 8.4).

use super::pixmap_cache::PixmapCache;
use crate::codec::glz;
use crate::limits::{MAX_CACHES_PER_CLIENT, MAX_GLZ_WINDOW_PIXELS};
use crate::protocol::display::DisplayInit;
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// Why a DISPLAY_INIT is refused: the channel is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum InitError {
    #[error("display INIT sent twice")]
    Twice,
    #[error("glz window of {0} pixels")]
    GlzWindow(i32),
    #[error("client names too many different caches")]
    TooManyCaches,
}

/// The caches of one client, by the ids that its displays name. The first display to name an id sets the size.
#[derive(Debug, Default)]
pub(crate) struct ClientShared(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pixmaps: Vec<(u8, Arc<PixmapCache>)>,
    dictionaries: Vec<(u8, Arc<glz::Dictionary>)>,
}

/// The caches that one display takes part in.
#[derive(Clone, Debug)]
pub(crate) struct DisplayCaches {
    pub pixmaps: Arc<PixmapCache>,
    pub glz: Arc<glz::Dictionary>,
    /// As the client names them: of the pixmap cache, and of the dictionary.
    pub ids: (u8, u8),
}

impl ClientShared {
    /// Joins or makes the caches that a display's INIT names (display.md 6.2).
    pub(crate) fn join(&self, init: &DisplayInit) -> Result<DisplayCaches, InitError> {
        let bad_window = InitError::GlzWindow(init.glz_window_size);
        let glz_window = u32::try_from(init.glz_window_size)
            .ok()
            .filter(|&window| window <= MAX_GLZ_WINDOW_PIXELS)
            .ok_or(bad_window)?;
        let inner = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pixmaps = find_or_make(&mut inner.pixmaps, init.pixmap_cache_id, || {
            PixmapCache::new(init.pixmap_cache_size)
        })?;
        let glz = find_or_make(&mut inner.dictionaries, init.glz_dictionary_id, || {
            glz::Dictionary::new(glz_window)
        })?;
        Ok(DisplayCaches { pixmaps, glz, ids: (init.pixmap_cache_id, init.glz_dictionary_id) })
    }

    /// The dictionary of this id.
    pub(super) fn dictionary(
        &self,
        id: u8,
        make: impl FnOnce() -> glz::Dictionary,
    ) -> Result<Arc<glz::Dictionary>, InitError> {
        let inner = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        find_or_make(&mut inner.dictionaries, id, make)
    }

    /// A pixmap cache for one display alone.
    pub(super) fn unshared_pixmaps(size: i64) -> Arc<PixmapCache> {
        Arc::new(PixmapCache::new(size))
    }
}

/// What is known by this id, or a new one.
fn find_or_make<T>(
    known: &mut Vec<(u8, Arc<T>)>,
    id: u8,
    make: impl FnOnce() -> T,
) -> Result<Arc<T>, InitError> {
    if let Some((_, found)) = known.iter().find(|(known, _)| *known == id) {
        return Ok(found.clone());
    }
    if known.len() >= MAX_CACHES_PER_CLIENT {
        return Err(InitError::TooManyCaches);
    }
    let made = Arc::new(make());
    known.push((id, made.clone()));
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init(cache: u8, window: i32) -> DisplayInit {
        DisplayInit {
            pixmap_cache_id: cache,
            pixmap_cache_size: 1000,
            glz_dictionary_id: 1,
            glz_window_size: window,
        }
    }

    #[test]
    fn displays_that_name_the_same_cache_share_it() {
        let shared = ClientShared::default();
        let a = shared.join(&init(1, 0)).unwrap();
        let b = shared.join(&init(1, 100)).unwrap();
        let c = shared.join(&init(2, 100)).unwrap();
        assert!(Arc::ptr_eq(&a.pixmaps, &b.pixmaps));
        assert!(!Arc::ptr_eq(&a.pixmaps, &c.pixmaps));
        assert!(Arc::ptr_eq(&a.glz, &c.glz));
    }

    #[test]
    fn absurd_windows_and_many_caches_are_refused() {
        let shared = ClientShared::default();
        assert_eq!(shared.join(&init(1, -1)).unwrap_err(), InitError::GlzWindow(-1));
        assert!(shared.join(&init(1, (1 << 25) + 1)).is_err());
        assert!(shared.join(&init(1, 1 << 25)).is_ok());
        for id in 2..5 {
            assert!(shared.join(&init(id, 1)).is_ok());
        }
        assert_eq!(shared.join(&init(9, 1)).unwrap_err(), InitError::TooManyCaches);
    }
}
