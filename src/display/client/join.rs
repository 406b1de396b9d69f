//! Words of a line of text, which some guests draw one by one, sent as one message.

use super::{DisplayClient, Shared};
use crate::display::encode::{Line, continues};
use crate::display::pending::PendingDrawable;
use crate::display::pipe::PipeItem;
use std::sync::Arc;
use std::time::Instant;

impl DisplayClient {
    /// Sends a command as one picture with those at the front of the pipe that continue it to the right. Says how many pixels
    /// they draw. `None`: nothing continues it.
    ///
    /// What is at the front of the pipe overtakes nothing when it is sent now.
    pub(super) fn send_line(
        &mut self,
        first: &Arc<PendingDrawable>,
        shared: &mut Shared<'_>,
        now: Instant,
    ) -> Option<u64> {
        let follows = |next: &PendingDrawable| {
            next.key == first.key
                && is_whole(first)
                && is_whole(next)
                && continues(&first.drawable, &next.drawable)
        };
        let begins = matches!(self.pipe.front(), Some(PipeItem::Draw(next)) if follows(next));
        if !begins || !self.encoder.joins_lines(first.drawable.surface_id, &self.surfaces) {
            return None;
        }
        let mut line = Line::begin(&first.drawable)?;
        let mut joined = Vec::new();
        while let Some(PipeItem::Draw(next)) = self.pipe.front()
            && next.key == first.key
            && is_whole(next)
            && line.add(&next.drawable)
            && let Some(PipeItem::Draw(next)) = self.pipe.pop()
        {
            self.express.sent(next.key, next.region.bounds(), now);
            joined.push(next);
        }
        if joined.is_empty() {
            return None;
        }
        let sent =
            self.encoder.line_image(line).is_some_and(|image| self.send_drawing(&image.drawing(), shared));
        let all = || std::iter::once(first).chain(&joined);
        if !sent {
            all().for_each(|pending| self.spoil(pending.key, &pending.region));
        }
        Some(all().map(|pending| pending.drawable.bbox.area()).sum())
    }
}

/// Whether all of the command's box is drawn, and not as a frame of a stream.
fn is_whole(pending: &PendingDrawable) -> bool {
    let region = &pending.region;
    pending.stream.is_none() && region.is_rect() && region.bounds() == pending.drawable.bbox
}
