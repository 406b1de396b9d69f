//! Ticket keys and TLS handshakes: made, and used, on a thread of their own, since both cost CPU time that the host thread does not have
//! (server.md 5.1 timeouts, 13 trap 22).
//!
//! A key serves many links, so that a flood of connections costs no key each. That a recorded ticket could be sent again
//! under the same key is stopped by remembering, per key, every ticket it has opened.

use crate::limits::{TICKET_KEY_LIFETIME, TICKET_KEY_LINKS};
use crate::net::tls::{Handshake, Step};
use crate::panic::guarded;
use crate::protocol::link::{PUBLIC_KEY_SIZE, TICKET_SIZE};
use nix::sys::signal::{SigSet, Signal};
use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use std::{fmt, io};

/// Size of the keys: the protocol's field holds no other.
const KEY_BITS: u32 = 1024;

/// An RSA key that clients encrypt their password with.
pub struct TicketKey {
    rsa: Rsa<Private>,
    public: [u8; PUBLIC_KEY_SIZE],
    opened: Mutex<HashSet<[u8; TICKET_SIZE]>>,
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey")
    }
}

impl TicketKey {
    /// Makes a key; takes 10 to 100 ms of CPU time.
    pub fn generate() -> io::Result<Self> {
        let rsa = Rsa::generate(KEY_BITS)?;
        let der = rsa.public_key_to_der()?;
        let public = <[u8; PUBLIC_KEY_SIZE]>::try_from(der)
            .map_err(|der| io::Error::other(format!("public key of {} bytes", der.len())))?;
        Ok(Self { rsa, public, opened: Mutex::default() })
    }

    /// DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn public(&self) -> &[u8; PUBLIC_KEY_SIZE] {
        &self.public
    }

    /// Opens a ticket (RSA-OAEP with SHA-1): the password, i.e. the bytes before the first NUL. `None`, whatever the cause:
    /// it does not decrypt, or was opened before.
    #[must_use]
    pub fn open(&self, ticket: &[u8; TICKET_SIZE]) -> Option<Vec<u8>> {
        let mut plain = vec![0; TICKET_SIZE];
        let size = self.rsa.private_decrypt(ticket, &mut plain, Padding::PKCS1_OAEP);
        let fresh = self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(*ticket);
        plain.truncate(size.ok().filter(|_| fresh)?);
        let end = plain.iter().position(|&b| b == 0).unwrap_or(plain.len());
        plain.truncate(end);
        Some(plain)
    }
}

/// What the thread posts.
#[derive(Debug)]
pub enum KeyEvent {
    /// [`Keys::current`] has a key now.
    Ready,
    /// A ticket was tried. `password` is `None` if it cannot be opened.
    Opened { link: u64, password: Option<Vec<u8>> },
    /// A TLS handshake went on as far as its socket let it.
    Handshake { link: u64, handshake: Handshake, step: io::Result<Step> },
}

enum Job {
    Handshake { link: u64, handshake: Handshake, given_up: Arc<AtomicBool> },
    Generate,
    Open { link: u64, key: Arc<TicketKey>, ticket: Box<[u8; TICKET_SIZE]> },
}

#[derive(Debug, Default)]
struct Store {
    current: Option<(Arc<TicketKey>, Instant)>,
    next: Option<Arc<TicketKey>>,
    /// Links that were given the current key.
    links: u32,
    ordered: bool,
}

/// The thread and its keys.
pub struct Keys {
    jobs: Option<Sender<Job>>,
    store: Arc<Mutex<Store>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Starts the thread, which makes a key at once if links are `expected`, otherwise for the first one. `post` is called on
    /// it and may only post.
    pub fn start(expected: bool, post: impl Fn(KeyEvent) + Send + 'static) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let store = Arc::new(Mutex::new(Store { ordered: expected, ..Store::default() }));
        let shared = store.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let thread = std::thread::Builder::new()
            .name("SPICE Keys".into())
            .spawn(move || work(&queue, &shared, &ended, &post))?;
        if expected {
            let _ = jobs.send(Job::Generate);
        }
        Ok(Self { jobs: Some(jobs), store, stop, thread: Some(thread) })
    }

    /// A key for another link; `None` until [`KeyEvent::Ready`] is posted. Orders a new key when this one has served long
    /// enough; until that is there the old one goes on.
    pub fn current(&self, now: Instant) -> Option<Arc<TicketKey>> {
        let store = &mut *self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let worn = store.current.as_ref().is_none_or(|(_, born)| {
            store.links >= TICKET_KEY_LINKS || now.saturating_duration_since(*born) > TICKET_KEY_LIFETIME
        });
        if worn {
            if let Some(next) = store.next.take() {
                store.current = Some((next, now));
                store.links = 0;
            } else if !store.ordered
                && let Some(jobs) = &self.jobs
            {
                store.ordered = jobs.send(Job::Generate).is_ok();
            }
        }
        store.links = store.links.saturating_add(1);
        store.current.as_ref().map(|(key, _)| key.clone())
    }

    /// Moves a handshake on; it is posted back. Once `given_up` is set it is only dropped, which costs no RSA: a flood of
    /// them must not keep descriptors open behind the limit of pending links.
    pub fn handshake(&self, link: u64, handshake: Handshake, given_up: Arc<AtomicBool>) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Handshake { link, handshake, given_up });
        }
    }

    /// Tries a ticket; the result is posted with the number of the link.
    pub fn open(&self, link: u64, key: Arc<TicketKey>, ticket: Box<[u8; TICKET_SIZE]>) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Open { link, key, ticket });
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Blocks all signals that are for the host, in the calling thread of ours.
pub fn block_host_signals() {
    let mut signals = SigSet::all();
    for fault in [Signal::SIGILL, Signal::SIGFPE, Signal::SIGSEGV, Signal::SIGBUS] {
        signals.remove(fault);
    }
    let _ = signals.thread_block();
}

fn work(queue: &Receiver<Job>, store: &Mutex<Store>, stop: &AtomicBool, post: &dyn Fn(KeyEvent)) {
    block_host_signals();
    while let Ok(job) = queue.recv() {
        if stop.load(Ordering::Relaxed) {
            // The server ends: what waits is only dropped.
            continue;
        }
        // A panic costs the link that the job is about, which ends by its time limit; the thread goes on.
        let makes_key = matches!(job, Job::Generate);
        if guarded("a job of the crypto thread", || run(job, store, post)).is_none() && makes_key {
            store.lock().unwrap_or_else(PoisonError::into_inner).ordered = false;
        }
    }
}

fn run(job: Job, store: &Mutex<Store>, post: &dyn Fn(KeyEvent)) {
    match job {
        Job::Generate => {
            let key = TicketKey::generate();
            let store = &mut *store.lock().unwrap_or_else(PoisonError::into_inner);
            store.ordered = false;
            match key {
                Ok(key) => store.next = Some(Arc::new(key)),
                Err(error) => crate::warning_limited!("no ticket key: {error}"),
            }
            post(KeyEvent::Ready);
        }
        Job::Handshake { given_up, .. } if given_up.load(Ordering::Relaxed) => {}
        Job::Handshake { link, mut handshake, .. } => {
            let step = handshake.step();
            post(KeyEvent::Handshake { link, handshake, step });
        }
        Job::Open { link, key, ticket } => post(KeyEvent::Opened { link, password: key.open(&ticket) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn seal(key: &TicketKey, text: &[u8]) -> Box<[u8; TICKET_SIZE]> {
        let public = Rsa::public_key_from_der(key.public()).unwrap();
        let mut out = [0; TICKET_SIZE];
        assert_eq!(public.public_encrypt(text, &mut out, Padding::PKCS1_OAEP).unwrap(), TICKET_SIZE);
        Box::new(out)
    }

    #[test]
    fn ticket_opens_once_and_ends_at_the_nul() {
        let key = TicketKey::generate().unwrap();
        assert_eq!(key.public()[..9], [0x30, 0x81, 0x9f, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86]);
        let ticket = seal(&key, b"secret\0");
        assert_eq!(key.open(&ticket).as_deref(), Some(&b"secret"[..]));
        assert_eq!(key.open(&ticket), None);
        assert_eq!(key.open(&seal(&key, b"secret")).as_deref(), Some(&b"secret"[..]));
        assert_eq!(key.open(&seal(&key, b"\0")).as_deref(), Some(&b""[..]));
        assert_eq!(key.open(&[0; TICKET_SIZE]), None);
    }

    #[test]
    fn keys_are_rotated_when_another_is_there() {
        let (tx, rx) = channel();
        let keys = Keys::start(true, move |event| tx.send(event).unwrap()).unwrap();
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
        keys.open(7, second.clone(), seal(&second, b"x"));
        let KeyEvent::Opened { link: 7, password } = rx.recv().unwrap() else { panic!("no result") };
        assert_eq!(password.as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn a_panic_in_a_job_does_not_end_the_thread() {
        let (tx, rx) = channel();
        let first = std::sync::atomic::AtomicBool::new(true);
        // The post is what the job calls last: its panic is the job's.
        let keys = Keys::start(true, move |event| {
            assert!(!first.swap(false, Ordering::Relaxed), "injected");
            tx.send(event).unwrap();
        })
        .unwrap();
        // The key was made before the panic; a ticket under it is opened by the same thread.
        let key = loop {
            if let Some(key) = keys.current(Instant::now()) {
                break key;
            }
            std::thread::yield_now();
        };
        keys.open(7, key.clone(), seal(&key, b"x"));
        let opened = |event: &KeyEvent| matches!(event, KeyEvent::Opened { link: 7, .. });
        assert!(rx.iter().any(|event| opened(&event)));
    }
}
