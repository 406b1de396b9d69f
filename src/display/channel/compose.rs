//! The display channel's part in videos that are drawn in pieces ([`Composer`](crate::display::stream::Composer)).

use super::DisplayChannel;
use crate::display::pending::PendingDrawable;
use crate::display::stream::{Part, Shape, composed_frame};
use crate::draw::Drawable;
use std::time::Instant;

impl DisplayChannel {
    /// What a command is to a video that is drawn in pieces. If it touches one without being a piece, those that wait are shown
    /// before it.
    pub(super) fn look_for_pieces(&mut self, drawable: &Drawable, now: Instant) -> Part {
        if self.clients.is_empty() {
            return Part::None;
        }
        let part = self.composer.look(drawable, self.settings.streaming, now);
        if part == Part::Disturbance {
            if self.composer.is_waiting() {
                self.compose(now);
            }
            self.composed_stays = true;
        }
        part
    }

    /// Makes one frame of the pieces of a video that wait.
    pub(super) fn compose(&mut self, now: Instant) {
        let Some((area, interval)) = self.composer.area() else { return };
        self.composer.composed(now);
        let Some(pixels) = self.surfaces.peek(&area) else { return };
        let shape = Shape { width: area.width(), height: area.height(), dest: area };
        let Ok(mut pending) = self.surfaces.accept(Box::new(composed_frame(area, pixels))) else { return };
        let stream = self.streams.composed(shape, interval, now);
        PendingDrawable::join_stream(&mut pending, stream);
        let before = self.composed.replace(pending.clone());
        let before = before.filter(|_| !std::mem::take(&mut self.composed_stays));
        self.clients.each(|client| {
            client.draw_composed(&pending, before.as_ref(), &self.surfaces, now);
        });
    }
}
