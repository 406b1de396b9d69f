//! The worker's thread. It waits for sockets, requests and deadlines, and lets the worker handle them turn by turn.

use super::dispatcher::Dispatcher;
use super::display::Display;
use super::guard::guarded;
use super::poll::{PollSet, Ready};
use super::red_worker::RedWorker;
use crate::host::QxlDevice;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After so long without a poll the worker looks at its sockets, although it expects requests.
const NAPS: Duration = Duration::from_millis(1);

/// Runs until the worker is closed. Returns the device, so that the thread which removes the interface can release what is
/// still queued (qxl.md A3).
pub(super) fn run<D: Display>(mut worker: RedWorker<D>, mut poll: PollSet) -> Box<dyn QxlDevice> {
    crate::thread::block_host_signals();
    let dispatcher = Arc::clone(&worker.dispatcher);
    dispatcher.adopt_thread();
    let mut now = Instant::now();
    let mut polled = now;
    while !worker.closed {
        if now < polled + NAPS
            && let Some(time) = worker.nap(now)
        {
            // Some hosts wake the worker for each command. What may answer a client's input it takes at once.
            let at_once = worker.answers_input(now);
            let requests = if at_once { dispatcher.nap(time) } else { dispatcher.nap_through_wakeups(time) };
            now = turn(&mut worker, Ready { requests, ..Ready::default() });
            continue;
        }
        let timeout = guarded("timers", || {
            poll.watch(&worker.sockets());
            worker.timeout(now)
        });
        // After a panic in the code above, a short pause keeps the loop from spinning.
        let timeout = timeout.unwrap_or(Some(Duration::from_millis(10)));
        let idle = dispatcher.polls();
        let mut ready = poll.wait(if idle { timeout } else { Some(Duration::ZERO) });
        ready.requests |= !idle;
        now = turn(&mut worker, ready);
        polled = now;
    }
    let RedWorker { mut device, display, cursor, held_back, .. } = worker;
    guarded("closing", || drop((display, cursor, held_back)));
    refuse_requests(&dispatcher, &mut *device);
    device
}

fn turn<D: Display>(worker: &mut RedWorker<D>, ready: Ready) -> Instant {
    guarded("turn", || worker.turn(ready)).unwrap_or_else(Instant::now)
}

/// Answers the callers whose requests came after the close: dropping a request wakes its synchronous caller. No client draws
/// any more.
fn refuse_requests(dispatcher: &Dispatcher, device: &mut dyn QxlDevice) {
    let refused = dispatcher.close();
    let cookies = refused.iter().filter_map(super::request::Request::cookie);
    for cookie in cookies.chain(dispatcher.draws().close()) {
        guarded("async_complete", || device.async_complete(cookie));
    }
}
