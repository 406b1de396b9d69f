//! The GL scanout: a screen in a dmabuf, which local clients show themselves (display.md 14).
//!
//! Remote clients cannot. For them `source` reads the pixels of the scanout, `screen` keeps a copy and finds what has
//! changed, and `motion` finds the area that plays video.

mod motion;
mod screen;
mod source;

#[cfg(test)]
pub(in crate::display) use source::tests as source_tests;

pub(super) use screen::Screen;
pub(super) use source::{Source, Unreadable, check_size};

use crate::geometry::Rect;
use crate::host::GlScanout;
use crate::limits::GL_DRAW_TIMEOUT;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Unanswered GL_DRAW messages of one client. Further ones wait and are joined.
const MAX_OWED: usize = 2;

/// Names one request to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DrawId(u64);

/// The scanout of one device, and the requests to draw it that are not done.
#[derive(Debug, Default)]
pub(super) struct Gl {
    scanout: Option<Arc<GlScanout>>,
    draws: Vec<Draw>,
    done: Vec<u64>,
    last: u64,
}

#[derive(Debug)]
struct Draw {
    id: DrawId,
    cookie: u64,
    until: Instant,
}

impl Gl {
    /// Replaces the scanout, whose descriptors are closed when the last client has them sent.
    pub(super) fn set(&mut self, scanout: GlScanout) {
        self.scanout = (!scanout.planes.is_empty()).then(|| Arc::new(scanout));
    }

    #[must_use]
    pub(super) fn scanout(&self) -> Option<&Arc<GlScanout>> {
        self.scanout.as_ref()
    }

    /// A request to draw, whose cookie is done when every client has answered or after [`GL_DRAW_TIMEOUT`]: the guest
    /// draws nothing meanwhile.
    pub(super) fn begin(&mut self, cookie: u64, now: Instant) -> DrawId {
        self.last += 1;
        let id = DrawId(self.last);
        self.draws.push(Draw { id, cookie, until: now + GL_DRAW_TIMEOUT });
        id
    }

    /// Ends requests that nobody waits for, and those whose time is over.
    pub(super) fn settle(&mut self, awaited: impl Fn(DrawId) -> bool, now: Instant) {
        let done = &mut self.done;
        self.draws.retain(|draw| {
            let late = draw.until <= now;
            if late {
                crate::debug!("a client has not drawn within {GL_DRAW_TIMEOUT:?}, the guest goes on");
            }
            let keep = !late && awaited(draw.id);
            if !keep {
                done.push(draw.cookie);
            }
            keep
        });
    }

    /// Whether a request is over.
    #[must_use]
    pub(super) fn is_over(&self, id: DrawId) -> bool {
        !self.draws.iter().any(|d| d.id == id)
    }

    /// Cookies that are done.
    pub(super) fn take_done(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.done)
    }

    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.draws.iter().map(|d| d.until).min()
    }
}

/// The GL_DRAW messages that one client has not answered.
#[derive(Debug, Default)]
pub(super) struct GlClient {
    owed: VecDeque<DrawId>,
    /// How many of them it was sent.
    sent: usize,
    /// Requests that came while too much was owed, and the area of them all.
    waiting: Vec<DrawId>,
    area: Option<Rect>,
    /// The descriptor of a GL_SCANOUT_UNIX that was sent must follow before anything else.
    pub descriptor: Option<Arc<GlScanout>>,
}

impl GlClient {
    /// A request; the area to be sent now, if any.
    pub(super) fn draw(&mut self, id: DrawId, area: Rect) -> Option<Rect> {
        if self.owed.len() < MAX_OWED {
            self.owed.push_back(id);
            return Some(area);
        }
        self.area = Some(self.area.map_or(area, |a| a.union(&area)));
        self.waiting.push(id);
        None
    }

    /// An area was sent.
    pub(super) fn sent(&mut self) {
        self.sent += 1;
    }

    /// The client has drawn; the area to be sent next, if any. `None`: it was not asked to, or what asks it still waits.
    pub(super) fn drawn(&mut self) -> Option<Option<Rect>> {
        self.sent = self.sent.checked_sub(1)?;
        self.owed.pop_front()?;
        let Some(area) = self.area.take() else { return Some(None) };
        // One message stands for all of them: the newest is what is waited for.
        self.owed.push_back(self.waiting.drain(..).next_back().unwrap_or(DrawId(0)));
        Some(Some(area))
    }

    /// Whether the client has to answer for this request.
    #[must_use]
    pub(super) fn owes(&self, id: DrawId) -> bool {
        self.owed.contains(&id) || self.waiting.contains(&id)
    }

    /// Forgets requests that are over, so that the list of a client that never answers stays short.
    pub(super) fn forget_waiting(&mut self, is_over: impl Fn(DrawId) -> bool) {
        self.waiting.retain(|id| !is_over(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Rect = Rect::new(1, 2, 3, 4);

    #[test]
    fn request_ends_with_the_last_answer() {
        let now = Instant::now();
        let (mut gl, mut a, mut b) = (Gl::default(), GlClient::default(), GlClient::default());
        let id = gl.begin(7, now);
        assert_eq!((a.draw(id, AREA), b.draw(id, AREA)), (Some(AREA), Some(AREA)));
        a.sent();
        gl.settle(|id| a.owes(id) || b.owes(id), now);
        assert_eq!((a.drawn(), b.drawn()), (Some(None), None));
        gl.settle(|id| a.owes(id) || b.owes(id), now);
        assert!(gl.take_done().is_empty());
        b.sent();
        assert_eq!(b.drawn(), Some(None));
        gl.settle(|id| a.owes(id) || b.owes(id), now);
        assert_eq!(gl.take_done(), [7]);
        assert_eq!(a.drawn(), None);
    }

    #[test]
    fn a_client_that_never_answers_costs_time_once_and_no_memory() {
        let now = Instant::now();
        let (mut gl, mut client) = (Gl::default(), GlClient::default());
        for i in 0..100 {
            let id = gl.begin(i, now);
            client.draw(id, AREA);
            assert_eq!(gl.next_deadline(), Some(now + GL_DRAW_TIMEOUT));
            gl.settle(|id| client.owes(id), now + GL_DRAW_TIMEOUT);
            client.forget_waiting(|id| gl.is_over(id));
            assert_eq!(gl.take_done(), [i]);
        }
        assert_eq!((client.owed.len(), client.waiting.len()), (MAX_OWED, 0));
        // Late answers are accepted, and what was missed follows.
        client.sent();
        client.sent();
        assert_eq!(client.drawn(), Some(Some(AREA)));
        client.sent();
        assert_eq!((client.drawn(), client.drawn()), (Some(None), Some(None)));
        assert_eq!(client.drawn(), None);
    }
}
