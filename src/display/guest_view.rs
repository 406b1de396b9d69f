//! What the guest is told of a display's clients (qxl.md A10).

use std::collections::VecDeque;

/// Whether there is a client, and the capabilities that all of them have.
pub(super) type ClientCaps = (bool, [u8; 58]);

/// How many reports may wait. More than one waits only while the machine is stopped, and the guest gets a new report when it
/// starts.
const MAX_WAITING: usize = 8;

/// The reports for the guest, as the original makes them: one when a client comes, and one when a client goes. The latter still
/// counts the client that goes, so the guest does not notice that its last client has gone.
#[derive(Debug)]
pub(super) struct GuestView {
    clients: usize,
    common: ClientCaps,
    waiting: VecDeque<ClientCaps>,
}

impl Default for GuestView {
    fn default() -> Self {
        Self { clients: 0, common: (false, [0; 58]), waiting: VecDeque::new() }
    }
}

impl GuestView {
    /// Notes how many clients there are now, and which capabilities all of them have.
    pub(super) fn set(&mut self, clients: usize, common: ClientCaps) {
        if clients < self.clients {
            self.waiting.push_back(self.common);
        } else if clients > self.clients {
            self.waiting.push_back(common);
        }
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
        (self.clients, self.common) = (clients, common);
    }

    /// The next report. `anew`: the guest starts, and gets a report about the present clients.
    pub(super) fn next(&mut self, anew: bool) -> Option<ClientCaps> {
        if anew {
            self.waiting.clear();
            return Some(self.common);
        }
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(bits: u8) -> ClientCaps {
        let mut bitmap = [0; 58];
        bitmap[0] = bits;
        (true, bitmap)
    }

    const NOBODY: ClientCaps = (false, [0; 58]);

    fn told(view: &mut GuestView) -> Vec<ClientCaps> {
        std::iter::from_fn(|| view.next(false)).collect()
    }

    #[test]
    fn the_guest_is_told_of_who_leaves_as_if_they_were_there() {
        let mut view = GuestView::default();
        assert_eq!(view.next(true), Some(NOBODY));
        view.set(1, caps(15));
        view.set(2, caps(3));
        assert_eq!(told(&mut view), [caps(15), caps(3)]);
        view.set(1, caps(15));
        assert_eq!(told(&mut view), [caps(3)]);
        view.set(0, NOBODY);
        assert_eq!(told(&mut view), [caps(15)]);
        assert_eq!(view.next(true), Some(NOBODY));
    }

    #[test]
    fn a_guest_that_starts_is_told_of_those_who_are_there() {
        let mut view = GuestView::default();
        for _ in 0..100 {
            view.set(1, caps(15));
            view.set(0, NOBODY);
        }
        assert!(view.waiting.len() <= MAX_WAITING);
        view.set(1, caps(7));
        assert_eq!((view.next(true), view.next(false)), (Some(caps(7)), None));
    }
}
