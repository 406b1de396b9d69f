//! The server's picture of a client's palette cache (display.md 8.2): 128 palettes per display channel, by `unique`.

/// Palettes that a client holds.
const CAPACITY: usize = 128;

/// What to do about a palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaletteUse {
    /// It has no identity: send it, without caching.
    Uncached,
    /// The client has it.
    FromCache,
    /// Send it to be cached; after the message, tell the client to drop the evicted one.
    CacheMe { evicted: Option<u64> },
}

/// See the module.
#[derive(Debug, Default)]
pub struct PaletteCache {
    /// Most recently used last.
    uniques: Vec<u64>,
}

impl PaletteCache {
    /// Uses a palette in a message.
    pub fn use_palette(&mut self, unique: u64) -> PaletteUse {
        if unique == 0 {
            return PaletteUse::Uncached;
        }
        if let Some(at) = self.uniques.iter().position(|&u| u == unique) {
            let unique = self.uniques.remove(at);
            self.uniques.push(unique);
            return PaletteUse::FromCache;
        }
        let evicted = (self.uniques.len() >= CAPACITY).then(|| self.uniques.remove(0));
        self.uniques.push(unique);
        PaletteUse::CacheMe { evicted }
    }

    /// INVAL_ALL_PALETTES is being sent.
    pub fn clear(&mut self) {
        self.uniques.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_129th_palette_evicts_the_least_recently_used() {
        let mut cache = PaletteCache::default();
        for unique in 1..=128 {
            assert_eq!(cache.use_palette(unique), PaletteUse::CacheMe { evicted: None });
        }
        assert_eq!(cache.use_palette(1), PaletteUse::FromCache);
        assert_eq!(cache.use_palette(129), PaletteUse::CacheMe { evicted: Some(2) });
        cache.clear();
        assert_eq!(cache.use_palette(1), PaletteUse::CacheMe { evicted: None });
    }

    #[test]
    fn palette_without_identity_is_never_cached() {
        let mut cache = PaletteCache::default();
        assert_eq!(cache.use_palette(0), PaletteUse::Uncached);
        assert_eq!(cache.use_palette(0), PaletteUse::Uncached);
    }
}
