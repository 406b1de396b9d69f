//! A guest that causes one request after another, turn by turn.

use super::super::poll::Ready;
use super::super::red_worker::{HOLD, RedWorker};
use super::super::reply;
use super::fake::{Events, FakeDevice, FakeDisplay, World};
use super::{AREA, Answer, Dispatcher, Request};
use crate::channel::connection::{ClientId, ConnectionId, SharedPlace};
use crate::channel::testing::Peer;
use crate::host::{CursorCommand, Fetched};
use crate::protocol::ChannelType;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longer than the worker ever waits before it looks at a ring.
const LONG: Duration = Duration::from_millis(100);
/// A guest that has drawn nothing for so long has rested.
const REST: Duration = Duration::from_millis(5);

struct Fixture {
    world: Arc<World>,
    dispatcher: Arc<Dispatcher>,
    worker: RedWorker<FakeDisplay>,
    client: Arc<SharedPlace>,
    _peer: Peer,
    number: u32,
}

impl Fixture {
    /// A started worker with a client.
    fn new() -> Self {
        let world = Arc::new(World::default());
        let (dispatcher, _wake) = Dispatcher::new(None, None).unwrap();
        let dispatcher = Arc::new(dispatcher);
        let device = Box::new(FakeDevice(world.clone()));
        let events = Arc::new(Events(world.clone()));
        let worker = RedWorker::new(device, FakeDisplay::new(world.clone()), events, dispatcher.clone());
        let (connection, _peer) = Peer::unix(ChannelType::Display, ClientId(1));
        let client = connection.shared.clone();
        let mut fixture = Self { world, dispatcher, worker, client, _peer, number: 0 };
        fixture.turn(Request::Start);
        fixture.turn(Request::ConnectDisplay(ConnectionId(1), Box::new(connection)));
        fixture
    }

    fn turn(&mut self, request: Request) -> Instant {
        self.dispatcher.post(request).unwrap();
        self.worker.turn(Ready { requests: true, ..Ready::default() })
    }

    /// The guest draws, and causes a request. Whether the client was sent that.
    fn draws(&mut self) -> bool {
        self.number += 1;
        self.world.submit(self.world.drawable(self.number));
        let answer = Answer::Async(1);
        self.turn(Request::UpdateArea { surface_id: 0, area: AREA, max: None, clear: false, answer });
        self.pushed()
    }

    /// The guest rests, and the worker knows.
    fn rest(&mut self) {
        let mut now = Instant::now();
        while let Some(pause) = self.worker.timeout(now).filter(|pause| *pause < LONG) {
            std::thread::sleep(pause);
            now = self.worker.turn(Ready::default());
        }
        std::thread::sleep(REST);
    }

    /// The guest has rested, and begins a frame.
    fn frame(&mut self) {
        self.rest();
        self.number += 1;
        self.world.submit(self.world.drawable(self.number));
        self.turn(Request::Wakeup);
    }

    /// Whether the worker naps during `turns`. If so, `meanwhile` happens on another thread.
    fn naps_for(
        &mut self,
        turns: impl FnOnce(&mut Self),
        meanwhile: impl FnOnce(&World, &Dispatcher) + Send,
    ) -> bool {
        let over = AtomicBool::new(false);
        let (world, dispatcher, over) = (self.world.clone(), self.dispatcher.clone(), &over);
        std::thread::scope(|scope| {
            let guest = scope.spawn(move || {
                while !dispatcher.naps() {
                    if over.load(Ordering::Relaxed) {
                        return false;
                    }
                    std::thread::yield_now();
                }
                meanwhile(&world, &dispatcher);
                true
            });
            turns(self);
            over.store(true, Ordering::Relaxed);
            guest.join().unwrap()
        })
    }

    fn pushed(&self) -> bool {
        self.world.take_log().iter().any(|line| line == "push")
    }
}

#[test]
fn a_frame_is_sent_when_no_request_follows() {
    let mut f = Fixture::new();
    let start = Instant::now();
    let early = (0..5).any(|_| f.draws());
    if early {
        assert!(start.elapsed() > HOLD, "drawing waits for the next request");
        return;
    }
    let mut now = Instant::now();
    while let Some(time) = f.worker.nap(now) {
        std::thread::sleep(time);
        now = f.worker.turn(Ready::default());
    }
    assert!(f.pushed(), "the guest has drawn its frame");
    assert_eq!(f.worker.nap(now), None);
}

/// The guest draws frames, with more of each in a request, so that the worker waits for the next ones. While it waits, `meanwhile`
/// happens on another thread, and then `check` tells whether it was in time, 20 times.
fn frames_that_are_awaited(
    meanwhile: impl Fn(&World, &Dispatcher) + Sync,
    check: impl Fn(&mut Fixture) -> bool,
) {
    let mut f = Fixture::new();
    let mut times = 0;
    for _ in 0..1000 {
        let napped = f.naps_for(Fixture::frame, &meanwhile);
        times += u32::from(napped && check(&mut f));
        if times == 20 {
            return;
        }
        f.draws();
    }
    panic!("the worker waited for {times} frames");
}

#[test]
fn a_pointer_that_moves_while_the_worker_waits_for_a_frame_is_not_forgotten() {
    let moves = |world: &World, dispatcher: &Dispatcher| {
        let moved = CursorCommand::Hide { release: world.token(1000) };
        world.with(|s| s.cursor_ring.push_back(Fetched::Command(moved)));
        dispatcher.wakeup();
    };
    frames_that_are_awaited(moves, |f| {
        // What the worker has not heard of is still announced.
        for request in f.dispatcher.take(VecDeque::new()) {
            f.turn(request);
        }
        assert!(f.world.with(|s| s.cursor_ring.is_empty()));
        true
    });
}

#[test]
fn a_frame_that_is_awaited_is_sent_as_a_whole() {
    let draws_more = |world: &World, _: &Dispatcher| world.submit(world.drawable(7777));
    frames_that_are_awaited(draws_more, |f| {
        let log = f.world.take_log();
        let at = |what: &str| log.iter().rposition(|line| line.starts_with(what)).unwrap();
        let Some(more) = log.iter().position(|line| line == "draw 7777") else { return false };
        let first = format!("draw {}", f.number);
        assert_eq!((log.get(more - 1), at("draw ")), (Some(&first), more), "{log:?}");
        assert!(at("push") > more);
        true
    });
}

#[test]
fn input_of_a_client_ends_the_wait_for_a_frame() {
    let f = Fixture::new();
    f.client.note_input(Instant::now());
    let start = Instant::now();
    assert!(!f.dispatcher.nap(LONG * 100));
    assert!(start.elapsed() < LONG * 100);
}

#[test]
fn a_pointer_that_moves_alone_does_not_wait_for_a_frame() {
    let mut f = Fixture::new();
    // The worker has to wait for frames first.
    while !f.naps_for(Fixture::frame, |_, _| {}) {
        f.draws();
    }
    for _ in 0..20 {
        f.rest();
        let moved = |f: &mut Fixture| {
            let moved = CursorCommand::Hide { release: f.world.token(1000) };
            f.world.with(|s| s.cursor_ring.push_back(Fetched::Command(moved)));
            f.turn(Request::Wakeup);
        };
        assert!(!f.naps_for(moved, |_, _| {}));
        assert!(f.world.with(|s| s.cursor_ring.is_empty()));
    }
    let mut frames = 0..50;
    assert!(frames.any(|_| f.naps_for(Fixture::frame, |_, _| {})), "the worker still waits for frames");
}

#[test]
fn a_ring_that_a_request_has_emptied_is_not_asked_again_unless_the_guest_wakes_the_worker() {
    let mut f = Fixture::new();
    f.draws();
    let looks = |f: &Fixture| f.world.with(|s| std::mem::take(&mut s.looks));
    looks(&f);
    f.draws();
    assert_eq!(looks(&f), 2, "the command, and the end of the ring");
    // Both in one turn.
    f.world.submit(f.world.drawable(50));
    let update = |cookie| {
        let answer = Answer::Async(cookie);
        Request::UpdateArea { surface_id: 0, area: AREA, max: None, clear: false, answer }
    };
    f.dispatcher.post(update(2)).unwrap();
    f.turn(Request::Wakeup);
    assert_eq!(looks(&f), 3);
}

#[test]
fn what_may_answer_input_does_not_wait_for_requests() {
    let mut f = Fixture::new();
    f.client.note_input(Instant::now() + HOLD * 1000);
    assert!((0..5).all(|_| f.draws()));
}

#[test]
fn a_guest_that_never_stops_causing_requests_does_not_keep_its_clients_waiting() {
    let mut f = Fixture::new();
    let start = Instant::now();
    while !f.draws() {}
    assert!(start.elapsed() < HOLD * 1000);
}

#[test]
fn a_stopped_worker_does_not_wait_for_requests() {
    let mut f = Fixture::new();
    f.draws();
    let (answer, _waiter) = reply::request(None);
    let now = f.turn(Request::Stop { answer: Answer::Sync(answer) });
    assert_eq!(f.worker.nap(now), None);
}
