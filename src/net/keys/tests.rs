use super::ticket::tests::seal;
use super::*;
use crate::limits::MAX_LINK_JOBS;
use crate::net::socket::SocketTransport;
use crate::net::tls::TlsSource;
use crate::net::tls::testing::{Identity, Pki};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Cryptography whose every operation panics the first time.
#[derive(Default)]
struct Faulty {
    generated: AtomicBool,
    opened: AtomicBool,
    stepped: AtomicBool,
}

fn first(seen: &AtomicBool) {
    assert!(seen.swap(true, Ordering::SeqCst), "injected");
}

impl Crypto for Faulty {
    fn generate(&self) -> io::Result<TicketKey> {
        first(&self.generated);
        TicketKey::generate()
    }

    fn open(&self, key: &TicketKey, ticket: &[u8; TICKET_SIZE]) -> Option<Vec<u8>> {
        first(&self.opened);
        key.open(ticket)
    }

    fn step(&self, handshake: &mut Handshake) -> io::Result<Step> {
        first(&self.stepped);
        handshake.step()
    }
}

/// Handshakes that say when they begin and wait until they may go on.
struct Gated {
    begun: Sender<()>,
    gate: Mutex<Receiver<()>>,
}

impl Crypto for Gated {
    fn step(&self, handshake: &mut Handshake) -> io::Result<Step> {
        self.begun.send(()).unwrap();
        self.gate.lock().unwrap().recv().unwrap();
        handshake.step()
    }
}

fn gated() -> (Gated, Receiver<()>, Sender<()>) {
    let (begun, has_begun) = channel();
    let (open, gate) = channel();
    (Gated { begun, gate: Mutex::new(gate) }, has_begun, open)
}

fn start(expected: bool, crypto: impl Crypto + 'static) -> (Keys, Receiver<KeyEvent>) {
    let (tx, rx) = channel();
    let keys = Keys::start_with(expected, crypto, move |event| {
        let _ = tx.send(event);
    });
    (keys.unwrap(), rx)
}

/// A handshake and the client's end of its connection.
fn handshake() -> (Handshake, UnixStream) {
    static SOURCE: OnceLock<(Pki, Arc<TlsSource>)> = OnceLock::new();
    let (_, source) = SOURCE.get_or_init(|| {
        let pki = Pki::with("keys", Identity::default());
        let source = TlsSource::load(&pki.config()).unwrap();
        (pki, Arc::new(source))
    });
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Handshake::new(source.clone(), SocketTransport::new(ours.into()).unwrap()), theirs)
}

fn is_closed(mut peer: &UnixStream) -> bool {
    peer.set_nonblocking(true).unwrap();
    matches!(peer.read(&mut [0; 1]), Ok(0))
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "this never happens");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn keys_are_rotated_when_another_is_there() {
    let (keys, rx) = start(true, OpenSsl);
    let now = Instant::now();
    let ready = || assert!(matches!(rx.recv().unwrap(), KeyEvent::Ready));
    ready();
    let first = keys.current(now).unwrap();
    for _ in 1..TICKET_KEY_LINKS {
        assert!(Arc::ptr_eq(&keys.current(now).unwrap(), &first));
    }
    // Worn: the next one is ordered, and this one goes on until that is there.
    assert!(Arc::ptr_eq(&keys.current(now).unwrap(), &first));
    ready();
    let second = keys.current(now).unwrap();
    assert!(!Arc::ptr_eq(&second, &first));
    let later = now + TICKET_KEY_LIFETIME + Duration::from_secs(1);
    assert!(Arc::ptr_eq(&keys.current(later).unwrap(), &second));
    ready();
    assert!(!Arc::ptr_eq(&keys.current(later).unwrap(), &second));
    let _job = keys.open(7, second.clone(), seal(&second, b"x")).unwrap();
    let KeyEvent::Opened { link: 7, password } = rx.recv().unwrap() else { panic!("no result") };
    assert_eq!(password.as_deref(), Some(&b"x"[..]));
}

#[test]
fn a_panic_over_a_key_costs_one_attempt() {
    let (keys, rx) = start(true, Faulty::default());
    // The attempt of the start panics; until that is noticed no other is ordered.
    wait_until(|| {
        let _ = keys.current(Instant::now());
        rx.try_recv().is_ok_and(|event| matches!(event, KeyEvent::Ready))
    });
    assert!(keys.current(Instant::now()).is_some());
}

#[test]
fn a_panic_over_a_ticket_refuses_it_and_no_other() {
    let (keys, rx) = start(false, Faulty::default());
    let key = Arc::new(TicketKey::generate().unwrap());
    let mut results = (1..=2).map(|link| {
        let _job = keys.open(link, key.clone(), seal(&key, b"secret")).unwrap();
        rx.recv().unwrap()
    });
    assert!(matches!(results.next().unwrap(), KeyEvent::Opened { link: 1, password: None }));
    let KeyEvent::Opened { link: 2, password } = results.next().unwrap() else { panic!("no result") };
    assert_eq!(password.as_deref(), Some(&b"secret"[..]));
}

#[test]
fn a_panic_over_a_handshake_fails_it_and_no_other() {
    let (keys, rx) = start(false, Faulty::default());
    let (first, first_peer) = handshake();
    let _job = keys.handshake(1, first).unwrap();
    let KeyEvent::Handshake { link: 1, handshake: first, step } = rx.recv().unwrap() else {
        panic!("no result")
    };
    assert!(step.is_err());
    assert!(!is_closed(&first_peer), "the socket lives until the link closes it, after its watch");
    drop(first);
    assert!(is_closed(&first_peer));
    let (second, _second_peer) = handshake();
    let _job = keys.handshake(2, second).unwrap();
    let KeyEvent::Handshake { link: 2, step, .. } = rx.recv().unwrap() else { panic!("no result") };
    assert_eq!(step.unwrap(), Step::Read);
}

/// A slow job that does what a test wants.
struct Login {
    work: Box<dyn FnMut(&Cancelled) + Send>,
    result: Sender<bool>,
}

impl SlowJob for Login {
    fn what(&self) -> &'static str {
        "a login of a test"
    }

    fn run(&mut self, cancelled: &Cancelled) {
        (self.work)(cancelled);
    }

    fn finish(self: Box<Self>, completed: bool) {
        self.result.send(completed).unwrap();
    }
}

fn login(work: impl FnMut(&Cancelled) + Send + 'static) -> (Box<Login>, Receiver<bool>) {
    let (result, results) = channel();
    (Box::new(Login { work: Box::new(work), result }), results)
}

#[test]
fn a_panic_over_a_slow_job_fails_it_and_no_other() {
    let (keys, _rx) = start(false, OpenSsl);
    for _ in 0..5 {
        let (bad, result) = login(|_| panic!("injected"));
        let _job = keys.slow(bad).unwrap();
        assert!(!result.recv().unwrap());
    }
    let (good, result) = login(|_| {});
    let _job = keys.slow(good).unwrap();
    assert!(result.recv().unwrap());
}

#[test]
fn cryptography_does_not_wait_for_slow_jobs() {
    let (keys, rx) = start(false, OpenSsl);
    let jobs: Vec<_> = (0..10)
        .map(|_| {
            let (gate, opened) = channel::<()>();
            let (slow, result) = login(move |_| opened.recv().unwrap());
            (keys.slow(slow).unwrap(), gate, result)
        })
        .collect();
    let (tls, _peer) = handshake();
    let _job = keys.handshake(1, tls).unwrap();
    assert!(matches!(rx.recv().unwrap(), KeyEvent::Handshake { link: 1, .. }));
    // One that hangs does not stop the others.
    let (hangs, others) = jobs.split_first().unwrap();
    for (_, gate, result) in others {
        gate.send(()).unwrap();
        assert!(result.recv().unwrap());
    }
    hangs.1.send(()).unwrap();
    assert!(hangs.2.recv().unwrap());
}

#[test]
fn a_link_that_is_dropped_takes_its_waiting_handshake_along() {
    let (crypto, begun, open) = gated();
    let (keys, rx) = start(false, crypto);
    let (first, first_peer) = handshake();
    let first_job = keys.handshake(1, first).unwrap();
    begun.recv().unwrap();
    let (second, second_peer) = handshake();
    let second_job = keys.handshake(2, second).unwrap();
    let (third, _third_peer) = handshake();
    let _third_job = keys.handshake(3, third).unwrap();
    assert_eq!(keys.handshakes_in_flight(), 3);
    // Waiting: it goes at once, with its socket.
    drop(second_job);
    assert!(is_closed(&second_peer));
    assert_eq!(keys.handshakes_in_flight(), 2);
    // Running: it goes when the step ends, and nothing is posted.
    drop(first_job);
    assert!(!is_closed(&first_peer));
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert!(matches!(rx.recv().unwrap(), KeyEvent::Handshake { link: 3, .. }));
    assert!(is_closed(&first_peer));
    wait_until(|| keys.handshakes_in_flight() == 0);
    assert_eq!(begun.try_iter().count(), 1, "the second handshake never began");
}

#[test]
fn the_queue_of_handshakes_is_bounded() {
    let (crypto, begun, open) = gated();
    let (keys, _rx) = start(false, crypto);
    let (running, _peer) = handshake();
    let mut jobs = vec![keys.handshake(0, running).unwrap()];
    begun.recv().unwrap();
    let mut peers = Vec::new();
    for link in 1..=MAX_LINK_JOBS {
        let (tls, peer) = handshake();
        jobs.push(keys.handshake(link as u64, tls).unwrap());
        peers.push(peer);
    }
    let (tls, peer) = handshake();
    let (tls, full) = keys.handshake(1000, tls).unwrap_err();
    assert_eq!(full, PoolError::Full("TLS handshakes"));
    assert!(!is_closed(&peer), "the caller keeps what is refused");
    jobs.pop();
    assert!(keys.handshake(1001, tls).is_ok());
    drop(jobs);
    assert!(peers.iter().all(is_closed));
    open.send(()).unwrap();
}

#[test]
fn the_end_does_not_work_off_the_queue() {
    let (crypto, begun, open) = gated();
    let (keys, rx) = start(false, crypto);
    let (running, _peer) = handshake();
    let _running = keys.handshake(0, running).unwrap();
    begun.recv().unwrap();
    let (waiting, waiting_peer) = handshake();
    let _waiting = keys.handshake(1, waiting).unwrap();
    let closer = std::thread::spawn(move || drop(keys));
    // The waiting one goes first, then the thread is waited for.
    wait_until(|| is_closed(&waiting_peer));
    open.send(()).unwrap();
    closer.join().unwrap();
    assert!(matches!(rx.recv(), Ok(KeyEvent::Handshake { link: 0, .. })));
    assert!(rx.recv().is_err());
    assert!(begun.recv().is_err(), "the waiting handshake never began");
}

#[test]
fn the_end_does_not_wait_for_slow_jobs() {
    let (keys, _rx) = start(false, OpenSsl);
    let (begun, has_begun) = channel();
    let (gate, opened) = channel::<()>();
    let (slow, result) = login(move |cancelled| {
        begun.send(()).unwrap();
        opened.recv().unwrap();
        assert!(cancelled.is_cancelled());
    });
    let job = keys.slow(slow).unwrap();
    has_begun.recv().unwrap();
    drop(keys);
    drop(job);
    gate.send(()).unwrap();
    assert!(result.recv().is_err(), "a cancelled job is not finished");
}

#[test]
fn kinds_of_jobs_take_turns() {
    let (crypto, begun, open) = gated();
    let (keys, rx) = start(false, crypto);
    let mut jobs = Vec::new();
    let mut peers = Vec::new();
    for link in 0..4 {
        let (tls, mut peer) = handshake();
        peer.write_all(b"not TLS").unwrap();
        jobs.push(keys.handshake(link, tls).unwrap());
        peers.push(peer);
        if link == 0 {
            begun.recv().unwrap();
        }
    }
    let key = Arc::new(TicketKey::generate().unwrap());
    jobs.push(keys.open(9, key.clone(), seal(&key, b"x")).unwrap());
    for _ in 0..4 {
        open.send(()).unwrap();
    }
    assert!(matches!(rx.recv().unwrap(), KeyEvent::Handshake { link: 0, step: Err(_), .. }));
    assert!(matches!(rx.recv().unwrap(), KeyEvent::Opened { link: 9, password: Some(_) }));
    // Of the handshakes the newest is first: in a flood the oldest connections are about to be closed.
    for expected in (1..4).rev() {
        assert!(matches!(rx.recv().unwrap(), KeyEvent::Handshake { link, .. } if link == expected));
    }
}
