//! A host in the test's process: a main loop on a thread of its own, a server, on demand a guest with a QXL device.

use crate::client::Client;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use spice_qxl::mock::structures::DrawableSpec;
use spice_qxl::mock::{Bytes, MockGuest};
use spice_qxl::parse::command_type;
use spice_server_core::geometry::Rect;
use spice_server_core::host::{
    ChannelEvent, CharDevice, EventLoop, Keyboard, Mouse, QxlControl, QxlInitInfo, Readiness, Tablet,
    TimerId, WatchId,
};
use spice_server_core::log::{Level, Sink, set_sink};
use spice_server_core::reds::{QxlInstance, Server};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Lines of the log that tell of panics, which the library catches.
static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Log;

impl Sink for Log {
    fn enabled(&self, level: Level) -> bool {
        level == Level::Warning
    }
    fn write(&self, _level: Level, file: &str, line: u32, text: fmt::Arguments<'_>) {
        let text = format!("{file}:{line}: {text}");
        if text.contains("internal fault") {
            FAULTS.lock().unwrap().push(text);
        }
    }
}

type WatchCallback = Arc<dyn Fn(Readiness) + Send + Sync>;
type TimerCallback = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Registered {
    next: u64,
    watches: BTreeMap<u64, (RawFd, Readiness, WatchCallback)>,
    timers: BTreeMap<u64, (Option<Instant>, TimerCallback)>,
}

#[derive(Default)]
struct MainLoop(Mutex<Registered>);

impl MainLoop {
    fn inner(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap()
    }

    fn turn(&self) {
        let mut poll = Poll::new().unwrap();
        for (&id, (fd, interest, _)) in &self.inner().watches {
            let wanted = match (interest.read, interest.write) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (true, false) => Interest::READABLE,
                (false, true) => Interest::WRITABLE,
                (false, false) => continue,
            };
            poll.registry().register(&mut SourceFd(fd), Token(id as usize), wanted).unwrap();
        }
        let mut events = Events::with_capacity(64);
        let _ = poll.poll(&mut events, Some(Duration::from_millis(2)));
        for event in &events {
            let read = event.is_readable() || event.is_read_closed() || event.is_error();
            let ready = Readiness { read, write: event.is_writable() };
            // It may have gone on account of another.
            let callback = self.inner().watches.get(&(event.token().0 as u64)).map(|watch| watch.2.clone());
            if let Some(callback) = callback {
                callback(ready);
            }
        }
        let now = Instant::now();
        let due: Vec<TimerCallback> = self
            .inner()
            .timers
            .values_mut()
            .filter_map(|timer| timer.0.take_if(|at| *at <= now).map(|_| timer.1.clone()))
            .collect();
        due.iter().for_each(|callback| callback());
    }
}

impl EventLoop for MainLoop {
    fn watch_add(&self, fd: RawFd, interest: Readiness, callback: WatchCallback) -> Option<WatchId> {
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        inner.watches.insert(id, (fd, interest, callback));
        Some(WatchId(id))
    }
    fn watch_update(&self, watch: WatchId, interest: Readiness) {
        self.inner().watches.get_mut(&watch.0).expect("a watch").1 = interest;
    }
    fn watch_remove(&self, watch: WatchId) {
        self.inner().watches.remove(&watch.0).expect("a watch");
    }
    fn timer_add(&self, callback: TimerCallback) -> Option<TimerId> {
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        inner.timers.insert(id, (None, callback));
        Some(TimerId(id))
    }
    fn timer_start(&self, timer: TimerId, milliseconds: u32) {
        let due = Instant::now() + Duration::from_millis(milliseconds.into());
        self.inner().timers.get_mut(&timer.0).expect("a timer").0 = Some(due);
    }
    fn timer_cancel(&self, timer: TimerId) {
        self.inner().timers.get_mut(&timer.0).expect("a timer").0 = None;
    }
    fn timer_remove(&self, timer: TimerId) {
        self.inner().timers.remove(&timer.0).expect("a timer");
    }
    fn channel_event(&self, _key: u64, _event: ChannelEvent) {}
}

type Job = Box<dyn FnOnce(&Server) + Send>;

/// A running host.
pub(crate) struct Host {
    jobs: Sender<Job>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub address: SocketAddr,
}

impl Host {
    /// A server on a free port, without passwords unless `configure` sets one.
    pub(crate) fn start(configure: impl FnOnce(&Server) + Send + 'static) -> Self {
        set_sink(Box::new(Log));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (jobs, queue) = channel();
        let (ready, is_ready) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            let (event_loop, server) = (Arc::new(MainLoop::default()), Server::new());
            server.set_noauth();
            server.set_listen_socket(Some(listener.into()));
            configure(&server);
            server.init(event_loop.clone()).unwrap();
            ready.send(()).unwrap();
            serve(&event_loop, &server, &queue, &ends);
        });
        is_ready.recv_timeout(PATIENCE).unwrap();
        Self { jobs, over, thread: Some(thread), address }
    }

    /// Runs something on the host's thread.
    pub(crate) fn run<R: Send + 'static>(&self, job: impl FnOnce(&Server) -> R + Send + 'static) -> R {
        let (tx, rx) = channel();
        self.jobs.send(Box::new(move |server| drop(tx.send(job(server))))).unwrap();
        rx.recv_timeout(PATIENCE).expect("the host's thread is stuck or gone")
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap())
    }

    /// A client whose main channel is open.
    pub(crate) fn main(&self) -> Client {
        let mut main = self.connect();
        assert_eq!(main.link(1, 0, b""), 0);
        let init = main.until(103);
        main.session = u32::from_le_bytes(init[..4].try_into().unwrap());
        main
    }

    /// Another channel of a client.
    pub(crate) fn channel(&self, main: &Client, channel_type: u8) -> Client {
        let mut channel = self.connect();
        assert_eq!(channel.link(channel_type, main.session, b""), 0);
        channel
    }

    /// Somebody else can come in and is served, and no panic had to be caught, in any test.
    pub(crate) fn is_unharmed(&self) {
        let mut main = self.main();
        main.round_trip();
        let faults = FAULTS.lock().unwrap().clone();
        assert!(faults.is_empty(), "{faults:?}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            if !std::thread::panicking() {
                result.expect("the host's thread panicked");
            }
        }
    }
}

fn serve(event_loop: &MainLoop, server: &Server, queue: &Receiver<Job>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        queue.try_iter().for_each(|job| job(server));
        event_loop.turn();
    }
    server.destroy();
}

/// A host with a guest whose device has a primary surface of 32 x 32 pixels.
pub(crate) struct Machine {
    pub host: Host,
    pub guest: MockGuest,
    pub device: Arc<QxlInstance>,
    /// Commands given to the device so far.
    given: usize,
    /// Of these the ones that were given back.
    released: usize,
}

struct Control;

impl QxlControl for Control {
    fn init_info(&self) -> QxlInitInfo {
        MockGuest::init_info()
    }
    fn set_compression_level(&self, _level: i32) {}
    fn client_monitors_config(&self, _config: Option<&[u8]>) -> bool {
        true
    }
}

impl Machine {
    pub(crate) fn start() -> Self {
        let host = Host::start(|_| {});
        let mut guest = MockGuest::new(4 << 20);
        let made = guest.device();
        let device = host.run(move |server| {
            let make = Box::new(move |_: &QxlInitInfo| Ok(Box::new(made) as Box<_>));
            let device = server.add_qxl(0, Arc::new(Control), make, &|_| {}).unwrap();
            server.vm_start();
            device
        });
        let spec = guest.surface_spec(32, 32);
        device.worker().unwrap().add_memslot(guest.memslot());
        device.create_primary(0, &spec, 1);
        Self { host, guest, device, given: 0, released: 0 }
    }

    /// Gives a command to the display ring.
    pub(crate) fn push(&mut self, command_type: u32, address: u64) {
        self.given += 1;
        self.guest.host().push(MockGuest::command(command_type, address));
    }

    /// Gives a drawing command to the display ring.
    pub(crate) fn draw(&mut self, spec: &DrawableSpec, op: &Bytes) {
        let address = self.guest.drawable(spec, op);
        self.push(command_type::DRAW, address);
    }

    /// The device has taken and drawn everything: the screen can be read.
    pub(crate) fn settle(&mut self) {
        let worker = self.device.worker().unwrap();
        worker.wakeup();
        worker.update_area(0, Rect::new(0, 0, 32, 32), None, true);
        worker.stop();
        worker.start();
        assert!(self.guest.host().lock().display.is_empty(), "commands are left in the ring");
        self.released += self.guest.host().take_released().len();
    }

    /// Every command is back exactly once, and clients still come in.
    pub(crate) fn is_unharmed(&mut self) {
        self.settle();
        assert_eq!(self.released, self.given, "commands that the guest did not get back, or twice");
        self.host.is_unharmed();
    }
}

/// A character device that writes down what it gets.
#[derive(Default)]
pub(crate) struct Recorder(pub Mutex<Vec<u8>>);

impl CharDevice for Recorder {
    fn state(&self, _connected: bool) {}
    fn write(&self, bytes: &[u8]) -> usize {
        self.0.lock().unwrap().extend_from_slice(bytes);
        bytes.len()
    }
    fn read(&self, _buffer: &mut [u8]) -> usize {
        0
    }
    fn event(&self, _event: u8) {}
    fn tells_when_writable(&self) -> bool {
        true
    }
}

/// Input devices that swallow everything.
pub(crate) struct Nothing;

impl Keyboard for Nothing {
    fn push_scan_code(&self, _byte: u8) {}
    fn leds(&self) -> u8 {
        0
    }
}

impl Mouse for Nothing {
    fn motion(&self, _dx: i32, _dy: i32, _dz: i32, _buttons: u32) {}
    fn buttons(&self, _buttons: u32) {}
}

impl Tablet for Nothing {
    fn set_logical_size(&self, _width: i32, _height: i32) {}
    fn position(&self, _x: i32, _y: i32, _buttons: u32) {}
    fn wheel(&self, _dz: i32, _buttons: u32) {}
    fn buttons(&self, _buttons: u32) {}
}

/// Waits until something holds.
pub(crate) fn wait(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
