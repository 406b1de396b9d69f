use crate::host::{ChannelEvent, EventLoop, Keyboard, Mouse, Readiness, Tablet, TimerId, WatchId};
use crate::protocol::link::{PUBLIC_KEY_SIZE, TICKET_SIZE};
use crate::protocol::writer::Put;
use crate::reds::Server;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use openssl::rsa::{Padding, Rsa};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// Longest wait for a condition: far beyond what any step takes, so that only a hang gets there.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

type WatchCallback = Arc<dyn Fn(Readiness) + Send + Sync>;
type TimerCallback = Arc<dyn Fn() + Send + Sync>;
type EventHook = Box<dyn Fn(u64, &ChannelEvent) + Send + Sync>;

#[derive(Default)]
struct Inner {
    next: u64,
    watches: BTreeMap<u64, (RawFd, Readiness, WatchCallback)>,
    timers: BTreeMap<u64, (Option<Instant>, TimerCallback)>,
    calls: Vec<&'static str>,
    events: Vec<(u64, ChannelEvent, ThreadId)>,
}

/// A host's main loop over poll. Level-triggered.
#[derive(Default)]
pub(super) struct TestLoop {
    inner: Mutex<Inner>,
    turns: AtomicU64,
    hook: Mutex<Option<Arc<EventHook>>>,
}

impl EventLoop for TestLoop {
    fn watch_add(&self, fd: RawFd, interest: Readiness, callback: WatchCallback) -> Option<WatchId> {
        let inner = &mut *self.inner.lock().unwrap();
        assert!(inner.watches.values().all(|w| w.0 != fd), "two watches on descriptor {fd}");
        inner.next += 1;
        inner.watches.insert(inner.next, (fd, interest, callback));
        inner.calls.push("watch_add");
        Some(WatchId(inner.next))
    }
    fn watch_update(&self, watch: WatchId, interest: Readiness) {
        self.inner.lock().unwrap().watches.get_mut(&watch.0).expect("update of an unknown watch").1 =
            interest;
    }
    fn watch_remove(&self, watch: WatchId) {
        let inner = &mut *self.inner.lock().unwrap();
        inner.watches.remove(&watch.0).expect("unknown watch removed");
        inner.calls.push("watch_remove");
    }
    fn timer_add(&self, callback: TimerCallback) -> Option<TimerId> {
        let inner = &mut *self.inner.lock().unwrap();
        inner.next += 1;
        inner.timers.insert(inner.next, (None, callback));
        inner.calls.push("timer_add");
        Some(TimerId(inner.next))
    }
    fn timer_start(&self, timer: TimerId, milliseconds: u32) {
        let due = Instant::now() + Duration::from_millis(milliseconds.into());
        self.inner.lock().unwrap().timers.get_mut(&timer.0).expect("unknown timer").0 = Some(due);
    }
    fn timer_cancel(&self, timer: TimerId) {
        self.inner.lock().unwrap().timers.get_mut(&timer.0).expect("unknown timer").0 = None;
    }
    fn timer_remove(&self, timer: TimerId) {
        let inner = &mut *self.inner.lock().unwrap();
        inner.timers.remove(&timer.0).expect("unknown timer removed");
        inner.calls.push("timer_remove");
    }
    fn channel_event(&self, key: u64, event: ChannelEvent) {
        let hook = self.hook.lock().unwrap().clone();
        if let Some(hook) = hook {
            hook(key, &event);
        }
        self.inner.lock().unwrap().events.push((key, event, std::thread::current().id()));
    }
}

impl TestLoop {
    /// Waits for readiness or timers at most `limit` and runs their callbacks.
    pub(super) fn turn(&self, limit: Duration) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        let watches: Vec<(u64, RawFd, Readiness)> =
            self.inner.lock().unwrap().watches.iter().map(|(&id, w)| (id, w.0, w.1)).collect();
        let mut poll = Poll::new().unwrap();
        for (id, fd, interest) in watches {
            let wanted = match (interest.read, interest.write) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (true, false) => Interest::READABLE,
                (false, true) => Interest::WRITABLE,
                (false, false) => continue,
            };
            poll.registry().register(&mut SourceFd(&fd), Token(id as usize), wanted).unwrap();
        }
        let now = Instant::now();
        let due = self.inner.lock().unwrap().timers.values().filter_map(|t| t.0).min();
        let wait = due.map_or(limit, |due| limit.min(due.saturating_duration_since(now)));
        let mut events = Events::with_capacity(64);
        let _ = poll.poll(&mut events, Some(wait));
        for event in &events {
            let ready = Readiness {
                read: event.is_readable() || event.is_read_closed() || event.is_error(),
                write: event.is_writable(),
            };
            let callback = self.inner.lock().unwrap().watches.get(&(event.token().0 as u64)).cloned();
            if let Some((_, _, callback)) = callback {
                callback(ready);
            }
        }
        let now = Instant::now();
        let due: Vec<TimerCallback> = self
            .inner
            .lock()
            .unwrap()
            .timers
            .values_mut()
            .filter_map(|t| t.0.take_if(|due| *due <= now).map(|_| t.1.clone()))
            .collect();
        for callback in due {
            callback();
        }
    }

    pub(super) fn calls(&self) -> Vec<&'static str> {
        self.inner.lock().unwrap().calls.clone()
    }

    /// How many turns it has begun.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(super) fn watches(&self) -> usize {
        self.inner.lock().unwrap().watches.len()
    }

    /// Called inside channel_event.
    pub(super) fn set_hook(&self, hook: impl Fn(u64, &ChannelEvent) + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(Box::new(hook)));
    }
}

type Job = Box<dyn FnOnce(&Server) + Send>;

/// A server whose host runs on a thread of its own.
pub(super) struct Host {
    pub event_loop: Arc<TestLoop>,
    pub server: Arc<Server>,
    jobs: Sender<Job>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub port: u16,
}

impl Host {
    /// A server on a free TCP port without passwords, after `configure`.
    pub(super) fn start(configure: impl FnOnce(&Server) + Send + 'static) -> Self {
        let event_loop = Arc::new(TestLoop::default());
        let server = Arc::new(Server::new());
        let (jobs, queue) = channel::<Job>();
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = channel();
        let thread = {
            let (event_loop, server, stop) = (event_loop.clone(), server.clone(), stop.clone());
            std::thread::spawn(move || {
                server.set_noauth();
                server.set_addr(b"127.0.0.1", 1);
                server.set_port(0).unwrap();
                configure(&server);
                server.init(event_loop.clone()).unwrap();
                let port = server.core.read(|s| s.listeners.port());
                ready.send(port.unwrap_or(0)).unwrap();
                run(&event_loop, &server, &queue, &stop);
            })
        };
        let port = is_ready.recv_timeout(PATIENCE).unwrap();
        Self { event_loop, server, jobs, stop, thread: Some(thread), port }
    }

    /// Runs something on the host's thread.
    pub(super) fn run<R: Send + 'static>(&self, job: impl FnOnce(&Server) -> R + Send + 'static) -> R {
        let (tx, rx) = channel();
        self.jobs.send(Box::new(move |server| tx.send(job(server)).unwrap())).unwrap();
        rx.recv_timeout(PATIENCE).unwrap()
    }

    pub(super) fn events(&self) -> Vec<(u64, ChannelEvent)> {
        self.event_loop.inner.lock().unwrap().events.iter().map(|(k, e, _)| (*k, e.clone())).collect()
    }

    /// Kinds of events per connection, in order of the connections.
    pub(super) fn event_kinds(&self) -> Vec<String> {
        let mut kinds: BTreeMap<u64, String> = BTreeMap::new();
        for (key, event) in self.events() {
            kinds.entry(key).or_default().push(match event {
                ChannelEvent::Connected(_) => '1',
                ChannelEvent::Initialized { .. } => '2',
                ChannelEvent::Disconnected => '3',
            });
        }
        kinds.into_values().collect()
    }

    pub(super) fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        wait(what, || condition(self));
    }

    pub(super) fn assert_events_on_host_thread(&self) {
        let id = self.thread.as_ref().unwrap().thread().id();
        assert!(self.event_loop.inner.lock().unwrap().events.iter().all(|e| e.2 == id));
    }

    /// Moves the server's clock, then lets timers fire.
    pub(super) fn advance(&self, by: Duration) {
        self.run(move |server| {
            server.core.clock.advance(by);
            server.core.on_timer();
        });
    }

    pub(super) fn connect(&self) -> Client {
        Client::new(TcpStream::connect(("127.0.0.1", self.port)).unwrap())
    }

    /// A client with a main channel whose INIT was read.
    pub(super) fn main(&self) -> Client {
        let mut client = self.connect();
        assert_eq!(client.link(1, 0, 0, b""), 0);
        let (kind, init) = client.message();
        assert_eq!(kind, 103);
        client.session = u32::from_le_bytes(init[..4].try_into().unwrap());
        client
    }

    /// An inputs channel whose INIT was read.
    pub(super) fn inputs(&self, main: &Client) -> Client {
        let mut client = self.connect();
        assert_eq!(client.link(3, 0, main.session, b""), 0);
        assert_eq!(client.message().0, 101);
        client
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            if !std::thread::panicking() {
                result.unwrap();
            }
        }
    }
}

fn run(event_loop: &TestLoop, server: &Server, queue: &Receiver<Job>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for job in queue.try_iter() {
            job(server);
        }
        event_loop.turn(Duration::from_millis(2));
    }
    server.destroy();
    assert_eq!(event_loop.watches(), 0, "watches left behind");
    assert!(event_loop.inner.lock().unwrap().timers.is_empty(), "timers left behind");
}

pub(super) fn wait(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) trait Socket: Read + Write + Send {}
impl<T: Read + Write + Send> Socket for T {}

/// A raw client of one channel.
pub(super) struct Client {
    pub socket: Box<dyn Socket>,
    pub session: u32,
    mini: bool,
}

/// Link header and message, common and channel capabilities one word each.
pub(super) fn link_bytes(channel_type: u8, id: u8, session: u32, common: u32) -> Vec<u8> {
    let mut v = Vec::new();
    v.put(b"REDQ");
    v.u32(2).u32(2).u32(26);
    v.u32(session).u8(channel_type).u8(id).u32(1).u32(1).u32(18).u32(common).u32(0x0f);
    v
}

impl Client {
    pub(super) fn new(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket: Box::new(socket), session: 0, mini: true }
    }

    /// Over whatever lies between.
    pub(super) fn over(socket: impl Socket + 'static) -> Self {
        Self { socket: Box::new(socket), session: 0, mini: true }
    }

    pub(super) fn unix(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket: Box::new(socket), session: 0, mini: true }
    }

    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub(super) fn receive(&mut self, size: usize) -> Vec<u8> {
        let mut v = vec![0; size];
        self.socket.read_exact(&mut v).unwrap();
        v
    }

    /// Everything until the server closes.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut v = Vec::new();
        let _ = self.socket.read_to_end(&mut v);
        v
    }

    /// The link reply's key, after its error and capabilities were checked.
    pub(super) fn link_reply(&mut self) -> [u8; PUBLIC_KEY_SIZE] {
        let header = self.receive(16);
        assert_eq!(header[..4], *b"REDQ");
        let size = u32::from_le_bytes(header[12..].try_into().unwrap());
        let body = self.receive(size as usize);
        assert_eq!(body[..4], [0; 4]);
        body[4..166].try_into().unwrap()
    }

    /// The whole link stage; the result word.
    pub(super) fn link(&mut self, channel_type: u8, id: u8, session: u32, password: &[u8]) -> u32 {
        self.send_raw(&link_bytes(channel_type, id, session, 0x0b));
        let key = self.link_reply();
        self.send_raw(&1u32.to_le_bytes());
        self.send_raw(&ticket(&key, password));
        u32::from_le_bytes(self.receive(4).try_into().unwrap())
    }

    pub(super) fn send(&mut self, msg_type: u16, body: &[u8]) {
        let mut v = Vec::new();
        if !self.mini {
            v.u64(1);
        }
        v.u16(msg_type).u32(body.len() as u32);
        if !self.mini {
            v.u32(0);
        }
        v.put(body);
        self.send_raw(&v);
    }

    pub(super) fn use_full_headers(&mut self) {
        self.mini = false;
    }

    /// The next message, pings of latency tests left out.
    pub(super) fn message(&mut self) -> (u16, Vec<u8>) {
        loop {
            let (kind, body) = self.any_message();
            if kind != 4 || u32::from_le_bytes(body[..4].try_into().unwrap()) < 16 {
                return (kind, body);
            }
        }
    }

    pub(super) fn any_message(&mut self) -> (u16, Vec<u8>) {
        let skip = if self.mini { 0 } else { 8 };
        let header = self.receive(if self.mini { 6 } else { 18 });
        let kind = u16::from_le_bytes(header[skip..skip + 2].try_into().unwrap());
        let size = u32::from_le_bytes(header[skip + 2..skip + 6].try_into().unwrap());
        (kind, self.receive(size as usize))
    }

    /// Messages until one of this type, which is returned.
    pub(super) fn until(&mut self, msg_type: u16) -> Vec<u8> {
        loop {
            let (kind, body) = self.any_message();
            if kind == msg_type {
                return body;
            }
        }
    }

    /// A question whose answer proves that all before it was handled.
    pub(super) fn round_trip(&mut self) -> Vec<u8> {
        self.send(104, &[]);
        self.until(104)
    }
}

pub(super) fn ticket(key: &[u8; PUBLIC_KEY_SIZE], password: &[u8]) -> Vec<u8> {
    let rsa = Rsa::public_key_from_der(key).unwrap();
    let mut out = vec![0; TICKET_SIZE];
    rsa.public_encrypt(&[password, b"\0"].concat(), &mut out, Padding::PKCS1_OAEP).unwrap();
    out
}

/// Keyboard, mouse and tablet that write down what they are told.
#[derive(Default)]
pub(super) struct Devices {
    pub log: Mutex<Vec<String>>,
    pub leds: std::sync::atomic::AtomicU8,
}

impl Devices {
    fn add(&self, text: String) {
        self.log.lock().unwrap().push(text);
    }
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

impl Keyboard for Devices {
    fn push_scan_code(&self, byte: u8) {
        self.add(format!("key {byte:02x}"));
    }
    fn leds(&self) -> u8 {
        self.leds.load(Ordering::Relaxed)
    }
}

impl Mouse for Devices {
    fn motion(&self, dx: i32, dy: i32, dz: i32, buttons: u32) {
        self.add(format!("motion {dx} {dy} {dz} {buttons}"));
    }
    fn buttons(&self, buttons: u32) {
        self.add(format!("buttons {buttons}"));
    }
}

impl Tablet for Devices {
    fn set_logical_size(&self, width: i32, height: i32) {
        self.add(format!("size {width} {height}"));
    }
    fn position(&self, x: i32, y: i32, buttons: u32) {
        self.add(format!("position {x} {y} {buttons}"));
    }
    fn wheel(&self, dz: i32, buttons: u32) {
        self.add(format!("wheel {dz} {buttons}"));
    }
    fn buttons(&self, buttons: u32) {
        self.add(format!("tablet {buttons}"));
    }
}
