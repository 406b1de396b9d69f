//! The acknowledgement window of display and cursor channels (display.md 3, wire.md 3.2).

/// Messages per ACK for an ordinary client.
pub(crate) const WINDOW: u32 = 20;
/// Messages per ACK for a client with low bandwidth.
pub(crate) const WINDOW_LOW_BANDWIDTH: u32 = 40;
/// Messages per ACK for a client that is far away. Small commands of some 50 bytes then fill 2 Mbit/s at 100 ms.
pub(crate) const WINDOW_FAR: u32 = 320;

/// Counts messages that the client has not acknowledged. Closed until [`AckWindow::open`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckWindow {
    generation: u32,
    client_generation: Option<u32>,
    window: u32,
    unacknowledged: u32,
    open: bool,
    /// A larger window that the client was told of but has not confirmed.
    offer: Option<Offer>,
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    window: u32,
    /// Messages since the one that told the client, and with it: it counts anew from there.
    sent: u32,
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
            offer: None,
        }
    }

    /// Starts a new generation. The caller sends SET_ACK with [`Self::generation`] and [`Self::offered`] first of all
    /// and counts it with [`Self::sent`] like any message.
    pub(crate) fn open(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.unacknowledged = 0;
        self.open = true;
        self.offer = None;
    }

    /// Begins a generation with a larger window, if the client acknowledges and has a smaller one. The caller sends SET_ACK with
    /// [`Self::generation`] and [`Self::offered`]. Until the client confirms the generation, its ACKs count as before: a client
    /// that knows no second SET_ACK goes on with its first.
    #[must_use]
    pub(crate) fn offer(&mut self, window: u32) -> bool {
        let confirmed = self.open && self.client_generation == Some(self.generation);
        if !confirmed || self.offer.is_some() || self.window >= window {
            return false;
        }
        self.generation = self.generation.wrapping_add(1);
        self.offer = Some(Offer { window, sent: 0 });
        true
    }

    /// Messages per ACK that SET_ACK tells the client.
    #[must_use]
    pub(crate) fn offered(&self) -> u32 {
        self.offer.map_or(self.window, |offer| offer.window)
    }

    /// The current generation.
    #[must_use]
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Counts messages given to the stream (difference of `ChannelStream::serial()`).
    pub(crate) fn sent(&mut self, messages: u64) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.unacknowledged = self.unacknowledged.saturating_add(messages);
        if let Some(offer) = &mut self.offer {
            offer.sent = offer.sent.saturating_add(messages);
        }
    }

    /// ACK_SYNC of the client.
    pub(crate) fn ack_sync(&mut self, generation: u32) {
        self.client_generation = Some(generation);
        if generation == self.generation
            && let Some(offer) = self.offer.take()
        {
            self.window = offer.window;
            self.unacknowledged = offer.sent;
        }
    }

    /// ACK of the client: credit, if it is about the current generation. Surplus credit is dropped.
    pub(crate) fn ack(&mut self) {
        let counts_for = if self.offer.is_some() { self.generation.wrapping_sub(1) } else { self.generation };
        if self.open && self.client_generation == Some(counts_for) {
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

    /// A window whose client has confirmed it, full.
    fn full() -> AckWindow {
        let mut acks = AckWindow::new(false);
        acks.open();
        acks.ack_sync(1);
        drain(&mut acks);
        acks
    }

    #[test]
    fn a_larger_window_counts_from_its_set_ack_when_confirmed() {
        let mut acks = full();
        assert!(acks.offer(WINDOW_FAR));
        assert_eq!((acks.generation(), acks.offered()), (2, WINDOW_FAR));
        acks.sent(1); // SET_ACK
        acks.ack(); // of the messages before
        assert_eq!(drain(&mut acks), 19);
        acks.ack_sync(2);
        assert_eq!(drain(&mut acks), 2 * WINDOW_FAR + 1 - 20);
        acks.ack();
        assert_eq!(drain(&mut acks), WINDOW_FAR);
        assert!(!acks.offer(WINDOW_FAR), "the client has it already");
    }

    #[test]
    fn who_knows_no_second_set_ack_goes_on_with_the_first() {
        let mut acks = full();
        assert!(acks.offer(WINDOW_FAR));
        acks.sent(1);
        acks.ack();
        assert_eq!(drain(&mut acks), 19);
        for _ in 0..3 {
            acks.ack();
            assert_eq!(drain(&mut acks), 20);
        }
    }

    #[test]
    fn nothing_is_offered_to_who_acknowledges_nothing() {
        let mut acks = AckWindow::new(false);
        assert!(!acks.offer(WINDOW_FAR), "closed");
        acks.open();
        assert!(!acks.offer(WINDOW_FAR), "not confirmed");
        acks.ack_sync(1);
        assert!(acks.offer(WINDOW_FAR));
        assert!(!acks.offer(WINDOW_FAR), "offered already");
    }
}
