//! A large command that is being sent in slices ([`crate::display::encode`]).

use super::express::Ahead;
use crate::canvas::Region;
use crate::display::encode::sliceable_rows;
use crate::display::pending::PendingDrawable;
use crate::geometry::Rect;
use crate::limits::MAX_SLICE_PIXELS;
use std::ops::Range;
use std::sync::Arc;

/// The command of one client that is being sent in slices, if any.
#[derive(Debug)]
pub(in crate::display) struct Slices {
    rest: Option<Rest>,
    /// Pixels of one slice, and the most that they may be.
    pixels: u64,
    most: u64,
}

/// What is left of a command.
#[derive(Debug)]
struct Rest {
    pending: Arc<PendingDrawable>,
    next: u32,
    rows: u32,
}

impl Default for Slices {
    fn default() -> Self {
        Self { rest: None, pixels: MAX_SLICE_PIXELS, most: MAX_SLICE_PIXELS }
    }
}

impl Slices {
    /// Begins with a command, if it is large and can be sent in slices, and no other one is being sent.
    pub(super) fn begin(&mut self, pending: &Arc<PendingDrawable>) -> bool {
        if self.rest.is_some() {
            return false;
        }
        let large = pending.drawable.bbox.area() > self.pixels.saturating_mul(2);
        let rows = if large { sliceable_rows(&pending.drawable) } else { None };
        self.rest = rows.map(|rows| Rest { pending: pending.clone(), next: 0, rows });
        self.rest.is_some()
    }

    /// Whether slices are left to send.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_none()
    }

    /// Takes out the next slice: rows counted from the top of the command. Those that it does not draw are left out.
    pub(super) fn take(&mut self) -> Option<(Arc<PendingDrawable>, Range<u32>)> {
        let rest = self.rest.as_mut()?;
        let bbox = rest.pending.drawable.bbox;
        let step = u32::try_from(self.pixels / u64::from(bbox.width()).max(1)).unwrap_or(u32::MAX).max(1);
        loop {
            let rows = rest.next..rest.rows.min(rest.next.saturating_add(step));
            if rows.is_empty() {
                self.rest = None;
                return None;
            }
            rest.next = rows.end;
            let down = |rows: u32| bbox.top.saturating_add_unsigned(rows);
            let area = Rect { top: down(rows.start), bottom: down(rows.end), ..bbox };
            if rest.pending.region.intersects_rect(&area) {
                let pending = rest.pending.clone();
                if rows.end >= rest.rows {
                    self.rest = None;
                }
                return Some((pending, rows));
            }
        }
    }

    /// Stops. The command whose rest is not sent, and what of it that is.
    pub(super) fn stop(&mut self) -> Option<(Arc<PendingDrawable>, Region)> {
        let Rest { pending, next, .. } = self.rest.take()?;
        let bbox = pending.drawable.bbox;
        let unsent = Rect { top: bbox.top.saturating_add_unsigned(next), ..bbox };
        let region = pending.region.intersect_rect(&unsent);
        Some((pending, region))
    }

    /// Nobody will see the rest of this command. Whether it was being sent.
    pub(super) fn remove(&mut self, pending: &PendingDrawable) -> bool {
        self.rest.take_if(|rest| rest.pending.seq == pending.seq).is_some()
    }

    /// What small commands that go before the rest must be independent of.
    pub(super) fn ahead(&self) -> Ahead {
        let mut ahead = Ahead::default();
        if let Some(rest) = &self.rest {
            ahead.add(&rest.pending);
        }
        ahead
    }

    /// Makes slices of so many pixels from now on.
    pub(super) fn set_pixels(&mut self, pixels: u64) {
        self.pixels = pixels.clamp(1, self.most);
    }

    /// Bounds the slices.
    #[cfg(test)]
    pub(super) fn set_most(&mut self, most: u64) {
        (self.most, self.pixels) = (most, most);
    }
}
