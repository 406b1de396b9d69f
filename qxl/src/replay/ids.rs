//! Surface ids of a recording and those of its replay.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The mapping. Id 0 is the primary's on both sides.
#[derive(Debug)]
pub(super) struct SurfaceIds {
    table: Mutex<Table>,
    freed: Condvar,
}

#[derive(Debug)]
struct Table {
    by_recorded: HashMap<u32, Mapping>,
    free: Vec<u32>,
    never_used: u32,
    limit: u32,
    /// Destroy commands that the host has not freed yet.
    destroying: u32,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    id: u32,
    destroyed: bool,
}

/// A surface that is gone once its destroy command is freed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destroyed {
    recorded: u32,
    id: u32,
}

impl SurfaceIds {
    pub(super) fn new(limit: u32) -> Self {
        let table =
            Table { by_recorded: HashMap::new(), free: Vec::new(), never_used: 1, limit, destroying: 0 };
        Self { table: Mutex::new(table), freed: Condvar::new() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replay's id; 0 for an unknown one, as recordings that began late have.
    pub(super) fn get(&self, recorded: u32) -> u32 {
        let known = self.table().by_recorded.get(&recorded).map(|mapping| mapping.id);
        known.unwrap_or_else(|| {
            if recorded != 0 {
                spice_server_core::warning_limited!("replay: unknown surface {recorded}");
            }
            0
        })
    }

    /// The id of a new surface. While all are in use this waits for a destroy command to be freed; `None` when there is
    /// none to wait for. A surface that is created once more keeps its id.
    pub(super) fn add(&self, recorded: u32) -> Option<u32> {
        if recorded == 0 {
            return Some(0);
        }
        let mut table = self.table();
        if let Some(mapping) = table.by_recorded.get(&recorded).filter(|mapping| !mapping.destroyed) {
            return Some(mapping.id);
        }
        loop {
            let fresh = (table.never_used < table.limit).then_some(table.never_used);
            if let Some(id) = table.free.pop().or(fresh) {
                if Some(id) == fresh {
                    table.never_used += 1;
                }
                table.by_recorded.insert(recorded, Mapping { id, destroyed: false });
                return Some(id);
            }
            if table.destroying == 0 {
                return None;
            }
            table = self.freed.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The id of a surface that a command destroys, and what to hand to [`Self::remove`] when that is freed.
    pub(super) fn destroy(&self, recorded: u32) -> (u32, Option<Destroyed>) {
        let mut table = self.table();
        let Some(mapping) = table.by_recorded.get_mut(&recorded) else { return (0, None) };
        let id = mapping.id;
        if std::mem::replace(&mut mapping.destroyed, true) {
            return (id, None);
        }
        table.destroying += 1;
        (id, Some(Destroyed { recorded, id }))
    }

    /// Gives an id back.
    pub(super) fn remove(&self, destroyed: Destroyed) {
        let Destroyed { recorded, id } = destroyed;
        let mut table = self.table();
        // The recording may use its number again already.
        if table.by_recorded.get(&recorded).is_some_and(|mapping| mapping.id == id) {
            table.by_recorded.remove(&recorded);
        }
        table.free.push(id);
        table.destroying = table.destroying.saturating_sub(1);
        self.freed.notify_all();
    }
}
