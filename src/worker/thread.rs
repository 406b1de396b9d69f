//! The worker's thread: waits for sockets, requests and time, and lets the worker take turns.

use super::dispatcher::Dispatcher;
use super::display::Display;
use super::guard::guarded;
use super::poll::PollSet;
use super::red_worker::RedWorker;
use crate::host::QxlDevice;
use std::sync::Arc;
use std::time::Instant;

/// Runs until the worker is closed. Gives the device back: what its queue of releases still holds belongs to the thread
/// that removes the interface (qxl.md A3).
pub(super) fn run<D: Display>(mut worker: RedWorker<D>, mut poll: PollSet) -> Box<dyn QxlDevice> {
    crate::thread::block_host_signals();
    let dispatcher = Arc::clone(&worker.dispatcher);
    dispatcher.adopt_thread();
    while !worker.closed {
        let timeout = guarded("timers", || {
            poll.watch(&worker.sockets());
            worker.timeout(Instant::now())
        });
        // After a fault in the above: a short wait, so that it cannot spin.
        let ready = poll.wait(timeout.unwrap_or(Some(std::time::Duration::from_millis(10))));
        guarded("turn", || worker.turn(ready));
    }
    let RedWorker { mut device, display, cursor, .. } = worker;
    guarded("closing", || drop((display, cursor)));
    refuse_requests(&dispatcher, &mut *device);
    device
}

/// Callers that came after the close get their answers: synchronous ones by the drop of their channel.
fn refuse_requests(dispatcher: &Dispatcher, device: &mut dyn QxlDevice) {
    for cookie in dispatcher.close().iter().filter_map(super::request::Request::cookie) {
        guarded("async_complete", || device.async_complete(cookie));
    }
}
