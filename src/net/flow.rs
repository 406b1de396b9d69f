//! The acknowledgement window of display and cursor channels (display.md 3, wire.md 3.2).

/// Messages per ACK for an ordinary client.
pub(crate) const WINDOW: u32 = 20;
/// Messages per ACK for a client with low bandwidth.
pub(crate) const WINDOW_LOW_BANDWIDTH: u32 = 40;

/// Counts messages that the client has not acknowledged. Closed until [`AckWindow::open`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckWindow {
    generation: u32,
    client_generation: Option<u32>,
    window: u32,
    unacknowledged: u32,
    open: bool,
}

impl AckWindow {
    /// A closed window: nothing may be sent before SET_ACK.
    #[must_use]
    pub(crate) fn new(low_bandwidth: bool) -> Self {
        Self {
            generation: 0,
            client_generation: None,
            window: if low_bandwidth { WINDOW_LOW_BANDWIDTH } else { WINDOW },
            unacknowledged: 0,
            open: false,
        }
    }

    /// Starts a new generation. The caller sends SET_ACK with [`Self::generation`] and [`Self::window`] first of all
    /// and counts it with [`Self::sent`] like any message.
    pub(crate) fn open(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.unacknowledged = 0;
        self.open = true;
    }

    /// The current generation.
    #[must_use]
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Messages per ACK.
    #[must_use]
    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    /// Counts messages given to the stream (difference of `ChannelStream::serial()`).
    pub(crate) fn sent(&mut self, messages: u64) {
        self.unacknowledged = self.unacknowledged.saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
    }

    /// ACK_SYNC of the client.
    pub(crate) fn ack_sync(&mut self, generation: u32) {
        self.client_generation = Some(generation);
    }

    /// ACK of the client: credit, if it is about the current generation. Surplus credit is dropped.
    pub(crate) fn ack(&mut self) {
        if self.open && self.client_generation == Some(self.generation) {
            self.unacknowledged = self.unacknowledged.saturating_sub(self.window);
        }
    }

    /// Whether another message may be started: until the window is open never, then 2w + 1 without an ACK.
    #[must_use]
    pub(crate) fn may_send(&self) -> bool {
        self.open && self.unacknowledged <= self.window.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(acks: &mut AckWindow) -> u32 {
        let mut n = 0;
        while acks.may_send() {
            acks.sent(1);
            n += 1;
        }
        n
    }

    #[test]
    fn forty_one_messages_then_twenty_per_ack() {
        let mut acks = AckWindow::new(false);
        assert!(!acks.may_send());
        acks.open();
        assert_eq!(drain(&mut acks), 41);
        acks.ack_sync(acks.generation());
        acks.ack();
        assert_eq!(drain(&mut acks), 20);
    }

    #[test]
    fn ack_without_or_with_wrong_sync_gives_nothing() {
        let mut acks = AckWindow::new(true);
        acks.open();
        assert_eq!(drain(&mut acks), 81);
        acks.ack();
        acks.ack_sync(77);
        acks.ack();
        assert!(!acks.may_send());
    }

    #[test]
    fn surplus_acks_do_not_underflow() {
        let mut acks = AckWindow::new(false);
        acks.open();
        acks.ack_sync(1);
        for _ in 0..1000 {
            acks.ack();
        }
        assert_eq!(drain(&mut acks), 41);
    }
}
