//! The server's picture of a client's palette cache (display.md 8.2): 128 palettes per display channel, by `unique`.

/// Palettes that a client holds.
const CAPACITY: usize = 128;

/// What to do about a palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PaletteUse {
    /// It has no identity: send it, without caching.
    Uncached,
    /// The client has it.
    FromCache,
    /// Send it to be cached; after the message, tell the client to drop the evicted one.
    CacheMe { evicted: Option<u64> },
}

/// The server's record of one client's palette cache.
#[derive(Debug, Default)]
pub(super) struct PaletteCache {
    /// `unique` and number of colours, most recently used last.
    held: Vec<(u64, usize)>,
}

impl PaletteCache {
    /// Uses a palette with this number of colours in a message.
    pub(super) fn use_palette(&mut self, unique: u64, colours: usize) -> PaletteUse {
        if unique == 0 {
            return PaletteUse::Uncached;
        }
        if let Some(at) = self.held.iter().position(|&(u, _)| u == unique) {
            let held = self.held.remove(at);
            self.held.push(held);
            // The guest used the number again for more colours: the client would read beyond what it holds.
            return if held.1 >= colours { PaletteUse::FromCache } else { PaletteUse::Uncached };
        }
        let evicted = (self.held.len() >= CAPACITY).then(|| self.held.remove(0).0);
        self.held.push((unique, colours));
        PaletteUse::CacheMe { evicted }
    }

    /// INVAL_ALL_PALETTES is being sent.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_129th_palette_evicts_the_least_recently_used() {
        let mut cache = PaletteCache::default();
        for unique in 1..=128 {
            assert_eq!(cache.use_palette(unique, 2), PaletteUse::CacheMe { evicted: None });
        }
        assert_eq!(cache.use_palette(1, 2), PaletteUse::FromCache);
        assert_eq!(cache.use_palette(129, 2), PaletteUse::CacheMe { evicted: Some(2) });
        cache.clear();
        assert_eq!(cache.use_palette(1, 2), PaletteUse::CacheMe { evicted: None });
    }

    #[test]
    fn longer_palette_of_a_known_number_is_sent_again() {
        let mut cache = PaletteCache::default();
        cache.use_palette(9, 2);
        assert_eq!(cache.use_palette(9, 3), PaletteUse::Uncached);
        assert_eq!(cache.use_palette(9, 1), PaletteUse::FromCache);
    }

    #[test]
    fn palette_without_identity_is_never_cached() {
        let mut cache = PaletteCache::default();
        assert_eq!(cache.use_palette(0, 2), PaletteUse::Uncached);
        assert_eq!(cache.use_palette(0, 2), PaletteUse::Uncached);
    }
}
