//! The pointer shapes that a client keeps (display.md 8.3).

use std::collections::VecDeque;

/// Shapes that a client keeps; both sides count alike.
const CAPACITY: usize = 256;

/// Keys of the shapes that the client has, the least recently used first.
#[derive(Debug, Default)]
pub(super) struct CursorCache(VecDeque<u64>);

/// What the cache says about a shape that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheUse {
    /// The shape has no key.
    Never,
    /// The client has it.
    Hit,
    /// The client takes it in, and has to be told to forget the other one.
    Add { evicted: Option<u64> },
}

impl CursorCache {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn touch(&mut self, unique: u64) -> CacheUse {
        if unique == 0 {
            return CacheUse::Never;
        }
        if let Some(at) = self.0.iter().position(|&key| key == unique) {
            self.0.remove(at);
            self.0.push_back(unique);
            return CacheUse::Hit;
        }
        let evicted = if self.0.len() >= CAPACITY { self.0.pop_front() } else { None };
        self.0.push_back(unique);
        CacheUse::Add { evicted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_shape_goes() {
        let mut cache = CursorCache::default();
        for key in 1..=256 {
            assert_eq!(cache.touch(key), CacheUse::Add { evicted: None });
        }
        assert_eq!(cache.touch(1), CacheUse::Hit);
        assert_eq!(cache.touch(300), CacheUse::Add { evicted: Some(2) });
        assert_eq!(cache.touch(2), CacheUse::Add { evicted: Some(3) });
        assert_eq!(cache.touch(0), CacheUse::Never);
        cache.clear();
        assert_eq!(cache.touch(1), CacheUse::Add { evicted: None });
    }
}
