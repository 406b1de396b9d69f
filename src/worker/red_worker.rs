//! The state of a worker: rings, requests, and the two channels they feed (display.md 2).

use super::dispatcher::Dispatcher;
use super::display::Display;
use super::guard::guarded;
use super::poll::Ready;
use super::request::Answer;
use super::ring::{OnEmpty, Quiet, Ring};
use super::trim::Trim;
use super::{WorkerEvents, request::Request};
use crate::channel::polled::{Polled, Socket};
use crate::display::cursor::CursorChannel;
use crate::draw::Drawable;
use crate::host::{DisplayCommand, Fetched, QxlDevice};
use crate::limits::{INPUT_ANSWER, MAX_DRAIN, MAX_DRAIN_COST, MAX_HELD_COPIES, MAX_PENDING_COST};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the worker takes commands before it serves its sockets again.
const SLICE: Duration = Duration::from_millis(10);

/// How long the clients wait at most for the end of a frame for which the guest causes requests.
pub(super) const HOLD: Duration = Duration::from_millis(2);

/// A worker: the device, its two channels with their clients, and the state of its rings.
pub(super) struct RedWorker<D: Display> {
    pub(super) device: Box<dyn QxlDevice>,
    pub(super) display: Polled<D>,
    pub(super) cursor: Polled<CursorChannel>,
    pub(super) events: Arc<dyn WorkerEvents>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) running: bool,
    pub(super) closed: bool,
    pub(super) max_monitors: u32,
    display_ring: Ring,
    cursor_ring: Ring,
    /// A request of this turn has emptied the display ring, and no wakeup came after it.
    pub(super) drained: bool,
    /// The host has woken the worker in this turn, for either ring.
    pub(super) woken: bool,
    /// An empty queue, whose memory is used again.
    requests: VecDeque<Request>,
    /// A drawing command that the worker has taken from the ring, and that has to wait until others are drawn.
    pub(super) held_back: Option<HeldBack>,
    /// The last turn left work over, so the next one begins at once.
    again: bool,
    /// Since when drawing waits for the end of a frame for which the guest causes requests.
    held_since: Option<Instant>,
    pub(super) trim: Trim,
    /// The cookie that was completed last, so that a panic after that does not complete it twice.
    pub(super) completed: Option<u64>,
}

/// A drawing command with what it costs to draw.
pub(super) struct HeldBack {
    drawable: Box<Drawable>,
    cost: u64,
}

/// What the worker found on a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RingPop {
    Command,
    Empty,
    /// The device panicked, so nothing is known of the ring.
    Fault,
}

impl<D: Display> RedWorker<D> {
    pub(super) fn new(
        device: Box<dyn QxlDevice>,
        display: D,
        events: Arc<dyn WorkerEvents>,
        dispatcher: Arc<Dispatcher>,
    ) -> Self {
        Self {
            device,
            display: Polled::new(display),
            cursor: Polled::new(CursorChannel::new()),
            events,
            dispatcher,
            running: false,
            closed: false,
            max_monitors: u32::MAX,
            display_ring: Ring::default(),
            cursor_ring: Ring::default(),
            drained: false,
            woken: false,
            requests: VecDeque::new(),
            held_back: None,
            again: false,
            held_since: None,
            trim: Trim::default(),
            completed: None,
        }
    }

    /// The sockets to poll.
    pub(super) fn sockets(&self) -> Vec<Socket> {
        [self.display.sockets(), self.cursor.sockets()].concat()
    }

    /// How long the worker may wait for events; `None`: until one comes.
    pub(super) fn timeout(&self, now: Instant) -> Option<Duration> {
        if self.again {
            return Some(Duration::ZERO);
        }
        let display_ring = self.display_ring.look_at().filter(|_| self.running);
        let cursor_ring = self.cursor_ring.look_at().filter(|_| self.running);
        let channels = [self.display.next_deadline(now), self.cursor.next_deadline(now)];
        let own = [display_ring, cursor_ring, self.trim.due()];
        let deadline = channels.into_iter().chain(own).flatten().min()?;
        Some(deadline.saturating_duration_since(now))
    }

    /// How long the worker may wait for the next of requests that follow one another, and for nothing else.
    pub(super) fn nap(&self, now: Instant) -> Option<Duration> {
        self.display_ring.waits_for_request(now).filter(|_| self.running && !self.again)
    }

    /// Handles ready sockets, requests and deadlines, then takes commands and sends.
    /// Returns the time when it ended.
    pub(super) fn turn(&mut self, ready: Ready) -> Instant {
        // The worker reads the clock where time may have passed: for short turns that costs as much as the rest of them.
        let mut now = Instant::now();
        let sockets_ready = !ready.connections.is_empty();
        let waited_for = ready.requests || sockets_ready;
        if !waited_for {
            self.display_ring.look(now);
        }
        (self.drained, self.woken) = (false, false);
        for (at, readiness) in ready.connections {
            // One of the channels has the connection; the other one ignores this.
            self.display.on_ready(at, readiness, now);
            self.cursor.on_ready(at, readiness, now);
        }
        if ready.requests {
            self.take_requests();
        }
        if waited_for {
            now = Instant::now();
        }
        let start = now;
        if self.display.next_deadline(now).is_some_and(|at| at <= now) {
            self.display.on_timer(now);
        }
        if self.cursor.next_deadline(now).is_some_and(|at| at <= now) {
            self.cursor.on_timer(now);
        }
        self.again = false;
        if self.running {
            now = self.await_frame(now);
        }
        // A request may have stopped the worker.
        if self.running {
            now = self.read_cursor_ring(now);
            now = self.read_display_ring(now);
            if self.display_ring.take_emptied() {
                guarded("an empty ring", || self.display.ring_emptied());
            }
            if let Some(quiet) = self.display_ring.take_quiet() {
                guarded("the guest's pause", || self.display.guest_paused(quiet == Quiet::Still, now));
            }
        }
        // What is covered now goes back to the guest before the clients' pictures are compressed.
        self.release();
        self.cursor.push(now);
        if sockets_ready || !self.holds(now) {
            self.display.push(now);
        }
        self.report(now);
        self.trim.look(self.display.link_count() + self.cursor.link_count(), now);
        let (display, cursor) = (&self.display, &self.cursor);
        if self.trim.is_due(now, || display.last_input().max(cursor.last_input())) {
            crate::memory::trim();
        }
        let end = Instant::now();
        self.trim.worked(end.saturating_duration_since(start), end);
        end
    }

    /// Lets both channels send to their clients.
    pub(super) fn push(&mut self) {
        let now = Instant::now();
        self.cursor.push(now);
        self.display.push(now);
    }

    /// Whether drawing waits, since the guest is in the midst of a frame: it causes one request after another. The answer to a
    /// client's input does not wait.
    fn holds(&mut self, now: Instant) -> bool {
        let since = self.held_since.take().unwrap_or(now);
        let holds = self.nap(now).is_some() && now < since + HOLD && !self.answers_input(now);
        self.held_since = holds.then_some(since);
        holds
    }

    /// Whether what the guest draws now may answer a client's input.
    pub(super) fn answers_input(&self, now: Instant) -> bool {
        self.display.last_input().is_some_and(|at| now < at + INPUT_ANSWER)
    }

    /// Tells the device and the server what came of the turn.
    fn report(&mut self, now: Instant) {
        for number in guarded("completions", || self.display.take_async_completions(now)).unwrap_or_default()
        {
            guarded("async_complete", || self.end_draw(number));
        }
        for client in guarded("restored displays", || self.display.take_restored()).unwrap_or_default() {
            self.events.restored(client);
        }
        if self.running {
            self.report_caps(false);
        }
        self.release();
    }

    /// Gives the guest back what is no longer used, unless the guest is stopped.
    fn release(&mut self) {
        if self.running {
            guarded("release", || self.device.release_pending());
        }
    }

    /// Tells the guest which capabilities its clients have, if that changed; `anew`: in any case.
    pub(super) fn report_caps(&mut self, mut anew: bool) {
        guarded("client capabilities", || {
            while let Some((present, caps)) = self.display.take_client_caps(std::mem::take(&mut anew)) {
                self.device.set_client_capabilities(present, &caps);
            }
        });
    }

    // Rings.

    /// Returns the time when it ended.
    fn read_cursor_ring(&mut self, start: Instant) -> Instant {
        let (mut now, end) = (start, start + SLICE);
        loop {
            if now >= end {
                self.again = true;
                return now;
            }
            match self.take_cursor_command(now) {
                RingPop::Command => now = Instant::now(),
                RingPop::Fault => return now,
                RingPop::Empty => match self.cursor_ring.empty(now) {
                    OnEmpty::Wait => return now,
                    OnEmpty::AskNotification => {
                        if guarded("notification", || self.device.request_cursor_notification())
                            .unwrap_or(true)
                        {
                            self.cursor_ring.armed(now);
                            return now;
                        }
                        now = Instant::now();
                    }
                },
            }
        }
    }

    /// Returns the time when it ended.
    fn read_display_ring(&mut self, start: Instant) -> Instant {
        let (mut now, end) = (start, start + SLICE);
        loop {
            if now >= end {
                self.again = true;
                return now;
            }
            if self.make_room() {
                now = Instant::now();
                continue;
            }
            // To ask an empty ring again costs more than it seems: Xspice writes a line into its log each time.
            let found = if std::mem::take(&mut self.drained) {
                RingPop::Empty
            } else {
                self.take_display_command(now)
            };
            match found {
                RingPop::Command => now = Instant::now(),
                RingPop::Fault => return now,
                RingPop::Empty => match self.display_ring.empty(now) {
                    OnEmpty::Wait => return now,
                    OnEmpty::AskNotification => {
                        if guarded("notification", || self.device.request_display_notification())
                            .unwrap_or(true)
                        {
                            self.display_ring.armed(now);
                            return now;
                        }
                        now = Instant::now();
                    }
                },
            }
        }
    }

    /// Waits a moment for a frame that has begun, so that it is drawn and sent as a whole. The answer to a client's input does not
    /// wait, nor does the pointer. Returns the time when it ended.
    fn await_frame(&mut self, now: Instant) -> Instant {
        // The host does not say which ring it wakes the worker for.
        if !self.woken || self.take_cursor_command(now) == RingPop::Command {
            return now;
        }
        let Some(time) = self.display_ring.notified(now) else { return now };
        if self.display.link_count() == 0 || self.answers_input(now) {
            return now;
        }
        let requests = self.dispatcher.nap_through_wakeups(time);
        self.display_ring.has_waited();
        if requests {
            self.take_requests();
        }
        Instant::now()
    }

    fn take_cursor_command(&mut self, now: Instant) -> RingPop {
        match guarded("cursor command", || self.device.next_cursor_command()) {
            None => RingPop::Fault,
            Some(Fetched::Empty) => RingPop::Empty,
            Some(Fetched::Dropped) => {
                self.cursor_ring.took(now);
                RingPop::Command
            }
            Some(Fetched::Command(command)) => {
                self.cursor_ring.took(now);
                guarded("cursor command", || self.cursor.command(command));
                RingPop::Command
            }
        }
    }

    /// Takes a command from the ring and executes it, or holds it back if it is too dear now. One that was held back before is
    /// executed first: the caller has made room for it.
    fn take_display_command(&mut self, now: Instant) -> RingPop {
        if self.draw_held_back(now) {
            return RingPop::Command;
        }
        match guarded("display command", || self.device.next_display_command()) {
            None => RingPop::Fault,
            Some(Fetched::Empty) => RingPop::Empty,
            Some(Fetched::Dropped) => {
                self.display_ring.took(now);
                RingPop::Command
            }
            Some(Fetched::Command(command)) => {
                self.display_ring.took(now);
                guarded("display command", || self.display_command(command, now));
                RingPop::Command
            }
        }
    }

    /// Executes the command that was held back; `false`: there is none.
    pub(super) fn draw_held_back(&mut self, now: Instant) -> bool {
        let Some(HeldBack { drawable, .. }) = self.held_back.take() else { return false };
        guarded("display command", || self.display.draw(drawable, now));
        true
    }

    fn display_command(&mut self, command: DisplayCommand, now: Instant) {
        match command {
            DisplayCommand::Draw(drawable) => {
                self.display_ring.brought(drawable.op.picture_bytes());
                let waits = self.display.pending_cost();
                let cost = if waits > 0 { self.display.expected_cost(&drawable) } else { 0 };
                if waits > 0 && waits.saturating_add(cost) > MAX_PENDING_COST {
                    self.held_back = Some(HeldBack { drawable, cost });
                } else {
                    self.display.draw(drawable, now);
                }
            }
            DisplayCommand::Update(update) => {
                self.display.update(update.surface_id, &update.area);
                self.device.notify_update(update.update_id);
                drop(update.release);
            }
            DisplayCommand::Message { text, release } => {
                crate::debug!("guest: {text}");
                drop(release);
            }
            DisplayCommand::Surface(command) => self.display.surface_command(command, now),
        }
    }

    /// Renders a part of the pending commands if they would take too long, or releases some if they occupy too much memory.
    /// `false`: neither, so the worker may take the next command.
    fn make_room(&mut self) -> bool {
        let next = self.held_back.as_ref().map_or(0, |held_back| held_back.cost);
        let made = guarded("release", || {
            if self.display.render_excess(next) {
                return true;
            }
            let freed = self.device.held_bytes() > MAX_HELD_COPIES / 2 && self.display.free_some() > 0;
            if freed {
                self.device.release_pending();
            }
            freed
        });
        made.unwrap_or(false)
    }

    /// Takes all commands of the cursor ring, which a request must not overtake.
    pub(super) fn drain_cursor_ring(&mut self) {
        let start = Instant::now();
        while self.running && self.take_cursor_command(start) == RingPop::Command {
            if start.elapsed() >= MAX_DRAIN {
                crate::warning_limited!("the guest refills its cursor ring without end");
                return;
            }
        }
    }

    /// Takes all commands of the display ring, which a request must not overtake, as far as drawing them and all that waits does
    /// not take too long. Clients are sent nothing meanwhile: what that costs, the host would have to wait for.
    pub(super) fn drain_display_ring(&mut self) {
        let start = Instant::now();
        let mut slice = start;
        let before = self.display.work();
        while self.running {
            let now = Instant::now();
            let done = self.display.work().saturating_sub(before);
            let next = self.held_back.as_ref().map_or(0, |held_back| held_back.cost);
            let all = done.saturating_add(self.display.pending_cost()).saturating_add(next);
            // One command may cost more than that, if it is the only one.
            if done >= MAX_DRAIN_COST
                || all > MAX_DRAIN_COST && all > next && self.held_back.is_some()
                || now.saturating_duration_since(start) >= MAX_DRAIN
            {
                crate::warning_limited!("a request does not wait for all of the guest's drawing commands");
                return;
            }
            if !self.make_room() {
                let found = self.take_display_command(now);
                if found != RingPop::Command {
                    self.drained = found == RingPop::Empty;
                    self.display_ring.answered(now);
                    return;
                }
            }
            if now.saturating_duration_since(slice) >= SLICE {
                slice = now;
                guarded("release", || self.device.release_pending());
            }
        }
    }

    /// The same for a request that ends commands: not even one that was held back may be left.
    pub(super) fn drain_display_ring_for_good(&mut self) {
        self.drain_display_ring();
        self.draw_held_back(Instant::now());
    }

    // Requests.

    /// Ends a request. First the device releases everything that the request freed.
    pub(super) fn finish<T>(&mut self, answer: Answer<T>, value: T) {
        self.device.release_pending();
        match answer {
            Answer::Sync(reply) => reply.give(value),
            Answer::Async(cookie) => self.complete(cookie),
        }
    }

    pub(super) fn complete(&mut self, cookie: u64) {
        self.completed = Some(cookie);
        self.device.async_complete(cookie);
    }

    /// Ends a request to draw. Completes its cookie, unless that was done because the worker was late.
    pub(super) fn end_draw(&mut self, number: u64) {
        if let Some(cookie) = self.dispatcher.draws().end(number) {
            self.device.async_complete(cookie);
        }
    }

    fn take_requests(&mut self) {
        let mut requests = self.dispatcher.take(std::mem::take(&mut self.requests));
        for request in requests.drain(..) {
            self.execute(request);
        }
        self.requests = requests;
    }

    /// Executes a request. Its cookie is completed even if the request panics.
    pub(super) fn execute(&mut self, request: Request) {
        let cookie = request.cookie();
        let draw = if let Request::GlDraw { number, .. } = request { Some(number) } else { None };
        self.completed = None;
        if let Some(number) = request.record_number() {
            guarded("recording", || self.device.record_request(number, None));
        }
        let done = guarded("request", || self.dispatch(request));
        if done.is_none()
            && let Some(cookie) = cookie
            && self.completed != Some(cookie)
        {
            guarded("async_complete", || self.device.async_complete(cookie));
        }
        if let Some(number) = draw.filter(|_| done.is_none()) {
            guarded("async_complete", || self.end_draw(number));
        }
    }
}
