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

    /// The guest has rested, and begins a frame.
    fn frame(&mut self) {
        let mut now = Instant::now();
        while let Some(pause) = self.worker.timeout(now).filter(|pause| *pause < LONG) {
            std::thread::sleep(pause);
            now = self.worker.turn(Ready::default());
        }
        std::thread::sleep(REST);
        self.number += 1;
        self.world.submit(self.world.drawable(self.number));
        self.turn(Request::Wakeup);
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

#[test]
fn a_pointer_that_moves_while_the_worker_waits_for_the_rest_of_a_frame_is_not_forgotten() {
    let mut f = Fixture::new();
    // Frames in pieces, so that the worker expects the rest of the next one.
    for _ in 0..3 {
        f.frame();
        f.draws();
    }
    for _ in 0..20 {
        let moved = CursorCommand::Hide { release: f.world.token(1000) };
        std::thread::scope(|scope| {
            let (world, dispatcher) = (f.world.clone(), f.dispatcher.clone());
            let drawn = format!("draw {}", f.number + 1);
            scope.spawn(move || {
                world.wait_for(&drawn);
                world.with(|s| s.cursor_ring.push_back(Fetched::Command(moved)));
                dispatcher.wakeup();
            });
            f.frame();
        });
        // What the worker has not heard of is still announced.
        for request in f.dispatcher.take(VecDeque::new()) {
            f.turn(request);
        }
        assert!(f.world.with(|s| s.cursor_ring.is_empty()));
    }
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
