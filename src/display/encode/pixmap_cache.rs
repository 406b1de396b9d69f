//! The server's picture of a client's pixmap cache (display.md 8.1, wire.md 5.4): one per client and cache id, shared
//! by the client's displays, which may run on different worker threads.
//!
//! A message that is being built pins the entries that it uses: nobody may evict them before the message's serial is
//! known, for that serial is what other displays have to wait for. `commit` unpins. A failed `add` only means that the
//! image goes uncached.

use crate::limits::{MAX_PIXMAP_CACHE_ENTRIES, MAX_PIXMAP_CACHE_PIXELS};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the cache knows of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Miss,
    /// The client has it (or will, before this message): refer to it.
    Hit {
        lossy: bool,
    },
    /// The client has it lossy and this use needs it lossless: send it again with CACHE_REPLACE_ME.
    Replace,
}

/// An image that has to leave the client's cache, and the points in other displays' streams that used it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub id: u64,
    /// (display channel id, serial).
    pub uses: Vec<(u8, u64)>,
}

/// What the target of a migration needs to know of a frozen cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frozen {
    /// Size in pixels.
    pub budget: u64,
    /// This call froze it.
    pub is_first: bool,
    /// The last message of each display (by channel id) that used an image of the cache.
    pub last_uses: BTreeMap<u8, u64>,
}

#[derive(Debug)]
struct Entry {
    pixels: u64,
    lossy: bool,
    /// Key in `Inner::order`.
    tick: u64,
    uses: Vec<(u8, u64)>,
    /// Displays with messages under construction that use the image, once for each use.
    pinned_by: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inner {
    budget: u64,
    used: u64,
    tick: u64,
    entries: HashMap<u64, Entry>,
    /// Ids by time of last use, oldest first.
    order: BTreeMap<u64, u64>,
    frozen: bool,
}

/// The server's record of one client's pixmap cache. Display channels of one client share it.
#[derive(Debug)]
pub(crate) struct PixmapCache(Mutex<Inner>);

impl PixmapCache {
    /// A cache of the client's size in pixels; zero or less caches nothing, huge sizes are cut.
    #[must_use]
    pub(crate) fn new(size: i64) -> Self {
        let budget = u64::try_from(size).unwrap_or(0).min(MAX_PIXMAP_CACHE_PIXELS);
        Self(Mutex::new(Inner { budget, ..Inner::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks an image up for a message of `channel`, touches and pins it.
    pub(crate) fn lookup(&self, channel: u8, id: u64, lossy_allowed: bool) -> Lookup {
        let inner = &mut *self.lock();
        let Some(entry) = inner.entries.get_mut(&id) else { return Lookup::Miss };
        inner.order.remove(&entry.tick);
        inner.tick += 1;
        entry.tick = inner.tick;
        inner.order.insert(inner.tick, id);
        entry.pin(channel);
        if entry.lossy && !lossy_allowed {
            entry.lossy = false;
            return Lookup::Replace;
        }
        Lookup::Hit { lossy: entry.lossy }
    }

    /// Enters an image of this many pixels for a message of `channel` and pins it. `None`: it must go uncached. Else
    /// the entries that had to make room, to be told to the client before the message.
    pub(crate) fn add(&self, channel: u8, id: u64, pixels: u64, lossy: bool) -> Option<Vec<Evicted>> {
        let inner = &mut *self.lock();
        if inner.frozen || pixels > inner.budget || inner.entries.contains_key(&id) {
            return None;
        }
        let mut victims = Vec::new();
        let mut freed = 0;
        let fits = |victims: usize, freed: u64, inner: &Inner| {
            inner.used - freed + pixels <= inner.budget
                && inner.entries.len() - victims < MAX_PIXMAP_CACHE_ENTRIES
        };
        for &victim in inner.order.values() {
            if fits(victims.len(), freed, inner) {
                break;
            }
            let entry = inner.entries.get(&victim)?;
            if !entry.pinned_by.is_empty() {
                return None;
            }
            freed += entry.pixels;
            victims.push(victim);
        }
        if !fits(victims.len(), freed, inner) {
            return None;
        }
        let evicted = victims.into_iter().filter_map(|id| inner.remove(id)).collect();
        inner.tick += 1;
        let tick = inner.tick;
        inner.order.insert(tick, id);
        inner.used += pixels;
        let entry = Entry { pixels, lossy, tick, uses: Vec::new(), pinned_by: vec![channel] };
        inner.entries.insert(id, entry);
        Some(evicted)
    }

    /// The message of `channel` that used these images got this serial.
    pub(crate) fn commit(&self, channel: u8, serial: u64, ids: &[u64]) {
        let inner = &mut *self.lock();
        for id in ids {
            if let Some(entry) = inner.entries.get_mut(id) {
                entry.unpin(channel);
                match entry.uses.iter_mut().find(|(c, _)| *c == channel) {
                    Some(used) => used.1 = serial,
                    None => entry.uses.push((channel, serial)),
                }
            }
        }
    }

    /// A display is gone: what only it used may never have arrived, so nobody may refer to it any more.
    pub(crate) fn channel_gone(&self, channel: u8) {
        let inner = &mut *self.lock();
        for entry in inner.entries.values_mut() {
            entry.pinned_by.retain(|&c| c != channel);
            entry.uses.retain(|&(c, _)| c != channel);
        }
        let orphans: Vec<u64> = inner
            .entries
            .iter()
            .filter(|(_, e)| e.uses.is_empty() && e.pinned_by.is_empty())
            .map(|(&id, _)| id)
            .collect();
        for id in orphans {
            inner.remove(id);
        }
    }

    /// Forgets everything and caches nothing any more (source of a seamless migration).
    pub(crate) fn freeze(&self) -> Frozen {
        let inner = &mut *self.lock();
        let is_first = !std::mem::replace(&mut inner.frozen, true);
        let mut last_uses = BTreeMap::new();
        for &(channel, serial) in inner.entries.values().flat_map(|entry| &entry.uses) {
            let last = last_uses.entry(channel).or_insert(serial);
            *last = serial.max(*last);
        }
        inner.entries.clear();
        inner.order.clear();
        inner.used = 0;
        Frozen { budget: inner.budget, is_first, last_uses }
    }

    /// Number of images and of pixels held.
    #[cfg(test)]
    fn usage(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.entries.len(), inner.used)
    }
}

impl Entry {
    fn pin(&mut self, channel: u8) {
        self.pinned_by.push(channel);
    }

    fn unpin(&mut self, channel: u8) {
        if let Some(at) = self.pinned_by.iter().position(|&c| c == channel) {
            self.pinned_by.swap_remove(at);
        }
    }
}

impl Inner {
    fn remove(&mut self, id: u64) -> Option<Evicted> {
        let entry = self.entries.remove(&id)?;
        self.order.remove(&entry.tick);
        self.used = self.used.saturating_sub(entry.pixels);
        Some(Evicted { id, uses: entry.uses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn least_recently_used_goes_first_and_names_its_users() {
        let cache = PixmapCache::new(100);
        assert_eq!(cache.add(0, 1, 50, false), Some(vec![]));
        cache.commit(0, 5, &[1]);
        assert_eq!(cache.add(0, 2, 50, false), Some(vec![]));
        cache.commit(0, 6, &[2]);
        assert_eq!(cache.lookup(1, 1, false), Lookup::Hit { lossy: false });
        cache.commit(1, 9, &[1]);
        assert_eq!(cache.add(0, 3, 50, false), Some(vec![Evicted { id: 2, uses: vec![(0, 6)] }]));
        cache.commit(0, 7, &[3]);
        assert_eq!(cache.add(0, 4, 60, false).map(|e| e.len()), Some(2));
    }

    #[test]
    fn entries_of_a_message_under_construction_stay() {
        let cache = PixmapCache::new(100);
        assert!(cache.add(0, 1, 100, false).is_some());
        assert_eq!(cache.add(0, 2, 1, false), None);
        assert_eq!(cache.add(1, 2, 1, false), None);
        cache.commit(0, 1, &[1]);
        assert!(cache.add(1, 2, 1, false).is_some());
    }

    #[test]
    fn lossy_entry_is_replaced_once_for_a_lossless_use() {
        let cache = PixmapCache::new(100);
        cache.add(0, 1, 1, true);
        assert_eq!(cache.lookup(0, 1, true), Lookup::Hit { lossy: true });
        assert_eq!(cache.lookup(0, 1, false), Lookup::Replace);
        assert_eq!(cache.lookup(0, 1, false), Lookup::Hit { lossy: false });
    }

    #[test]
    fn sizes_from_hostile_clients_cache_nothing_or_are_cut() {
        for size in [i64::MIN, -5, 0] {
            assert_eq!(PixmapCache::new(size).add(0, 1, 1, false), None);
        }
        let cache = PixmapCache::new(i64::MAX);
        assert_eq!(cache.add(0, 1, u64::MAX, false), None);
        for id in 0..MAX_PIXMAP_CACHE_ENTRIES as u64 + 10 {
            assert!(cache.add(0, id, 1, false).is_some());
            cache.commit(0, id, &[id]);
        }
        assert_eq!(cache.usage().0, MAX_PIXMAP_CACHE_ENTRIES);
    }

    #[test]
    fn what_only_a_gone_display_used_is_forgotten() {
        let cache = PixmapCache::new(100);
        cache.add(0, 1, 1, false);
        cache.add(0, 2, 1, false);
        cache.commit(0, 1, &[1, 2]);
        cache.lookup(1, 2, false);
        cache.commit(1, 1, &[2]);
        cache.channel_gone(0);
        assert_eq!(cache.lookup(1, 1, false), Lookup::Miss);
        assert_eq!(cache.lookup(1, 2, false), Lookup::Hit { lossy: false });
    }

    proptest! {
        #![proptest_config(crate::testing::cases(32))]
        /// A client that obeys the messages holds exactly what the server thinks, within its budget.
        #[test]
        fn client_and_server_agree(uses in proptest::collection::vec((0u8..3, 0u64..12, 1u64..40), 1..200)) {
            let cache = PixmapCache::new(100);
            let mut client: HashMap<u64, u64> = HashMap::new();
            for (serial, (channel, id, pixels)) in uses.into_iter().enumerate() {
                match cache.lookup(channel, id, true) {
                    Lookup::Hit { .. } => prop_assert!(client.contains_key(&id)),
                    Lookup::Replace => prop_assert!(false),
                    Lookup::Miss => {
                        prop_assert!(!client.contains_key(&id));
                        if let Some(evicted) = cache.add(channel, id, pixels, false) {
                            for e in evicted {
                                prop_assert!(client.remove(&e.id).is_some());
                                prop_assert!(!e.uses.is_empty());
                            }
                            client.insert(id, pixels);
                        }
                    }
                }
                cache.commit(channel, serial as u64, &[id]);
                prop_assert!(client.values().sum::<u64>() <= 100);
                prop_assert_eq!(cache.usage(), (client.len(), client.values().sum::<u64>()));
            }
        }
    }
}
