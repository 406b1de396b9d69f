//! The threads on which SASL runs. They are made when needed, up to a few, and never waited for: one may be in the middle
//! of a call that takes as long as a directory server does not answer.

use super::{SaslAnswer, SaslBackend, SaslFault, SaslJob, SaslSession, perform};
use crate::limits::MAX_SASL_THREADS;
use crate::net::keys::block_host_signals;
use crate::panic::guarded;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// A job that is done.
pub struct SaslDone {
    /// The link that it was for.
    pub link: u64,
    pub session: Option<Box<dyn SaslSession>>,
    pub answer: Result<SaslAnswer, SaslFault>,
}

impl fmt::Debug for SaslDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslDone").field("link", &self.link).finish_non_exhaustive()
    }
}

struct Work {
    link: u64,
    session: Option<Box<dyn SaslSession>>,
    job: SaslJob,
    /// The link goes with the last of these: then nobody waits for the answer.
    wanted: Weak<()>,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    backend: Arc<dyn SaslBackend>,
    post: Box<dyn Fn(SaslDone) + Send + Sync>,
}

/// See the module. When it is dropped, threads end with what they are doing.
pub struct SaslThreads(Arc<Shared>);

impl fmt::Debug for SaslThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaslThreads")
    }
}

impl Drop for SaslThreads {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closed = true;
        queue.work.clear();
        self.0.wake.notify_all();
    }
}

impl SaslThreads {
    /// `post` is called on these threads and may only post.
    #[must_use]
    pub fn new(backend: Arc<dyn SaslBackend>, post: impl Fn(SaslDone) + Send + Sync + 'static) -> Self {
        let (queue, wake) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { queue, wake, backend, post: Box::new(post) }))
    }

    /// Has a job done, if the link still lives when its turn comes.
    pub fn submit(
        &self,
        link: u64,
        alive: &Arc<()>,
        session: Option<Box<dyn SaslSession>>,
        job: SaslJob,
    ) -> Result<(), SaslFault> {
        let mut queue = self.0.queue();
        // Links have one job at a time: what is left are those of the links that are alive.
        queue.work.retain(|work| work.wanted.strong_count() > 0);
        queue.work.push_back(Work { link, session, job, wanted: Arc::downgrade(alive) });
        if queue.idle >= queue.work.len() || queue.threads >= MAX_SASL_THREADS {
            self.0.wake.notify_one();
            return Ok(());
        }
        let shared = self.0.clone();
        match std::thread::Builder::new().name("SPICE SASL".into()).spawn(move || shared.run()) {
            Ok(_) => queue.threads += 1,
            // The others will come to it.
            Err(_) if queue.threads > 0 => {}
            Err(error) => {
                queue.work.pop_back();
                return Err(SaslFault(format!("no thread for it: {error}")));
            }
        }
        Ok(())
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Work> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(work) = queue.work.pop_front() {
                return Some(work);
            }
            queue.idle += 1;
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    fn run(&self) {
        block_host_signals();
        while let Some(Work { link, mut session, job, wanted }) = self.next() {
            if wanted.strong_count() == 0 {
                continue;
            }
            let answer = guarded("SASL", || perform(&*self.backend, &mut session, job))
                .unwrap_or_else(|| Err(SaslFault("an internal fault".into())));
            (self.post)(SaslDone { link, session, answer });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::FakeBackend;
    use super::*;
    use crate::net::sasl::SaslPeer;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn threads(backend: FakeBackend) -> (SaslThreads, Receiver<SaslDone>) {
        let (tx, rx) = channel();
        (SaslThreads::new(Arc::new(backend), move |done| drop(tx.send(done))), rx)
    }

    fn open() -> SaslJob {
        SaslJob::Open(SaslPeer::default())
    }

    #[test]
    fn a_slow_exchange_does_not_hold_up_the_others() {
        let backend = FakeBackend::default();
        let gate = backend.gate();
        let (threads, done) = threads(backend);
        let alive = Arc::new(());
        let mut sessions = Vec::new();
        for link in [1, 2] {
            threads.submit(link, &alive, None, open()).unwrap();
            sessions.push(done.recv_timeout(PATIENCE).unwrap().session);
        }
        gate.close();
        let slow = SaslJob::Start { mechanism: "SLOW".into(), data: None };
        threads.submit(1, &alive, sessions.remove(0), slow).unwrap();
        gate.wait_for_one();
        let quick = SaslJob::Start { mechanism: "PLAIN".into(), data: Some(b"\0alice\0secret".to_vec()) };
        threads.submit(2, &alive, sessions.remove(0), quick).unwrap();
        let first = done.recv_timeout(PATIENCE).unwrap();
        assert!(first.link == 2 && matches!(first.answer, Ok(SaslAnswer::Done { .. })), "{:?}", first.answer);
        // Nor does the end of the server wait for it.
        drop(threads);
        assert!(done.try_recv().is_err());
        gate.open();
        assert_eq!(done.recv_timeout(PATIENCE).unwrap().link, 1);
    }

    #[test]
    fn jobs_of_links_that_are_gone_are_left_undone() {
        let backend = FakeBackend::default();
        let gate = backend.gate();
        let (threads, done) = threads(backend);
        let alive = Arc::new(());
        gate.close();
        for link in 0..MAX_SASL_THREADS as u64 {
            threads
                .submit(
                    link,
                    &alive,
                    None,
                    SaslJob::Open(SaslPeer { app_name: "slow".into(), ..SaslPeer::default() }),
                )
                .unwrap();
        }
        let gone = Arc::new(());
        for _ in 0..1000 {
            threads.submit(77, &gone, None, open()).unwrap();
        }
        drop(gone);
        threads.submit(99, &alive, None, open()).unwrap();
        assert!(threads.0.queue().work.len() <= MAX_SASL_THREADS + 1);
        gate.open();
        for _ in 0..=MAX_SASL_THREADS {
            assert_ne!(done.recv_timeout(PATIENCE).unwrap().link, 77);
        }
    }

    #[test]
    fn a_panic_in_an_implementation_is_a_failed_login() {
        let (threads, done) = threads(FakeBackend::default());
        let alive = Arc::new(());
        threads.submit(1, &alive, None, open()).unwrap();
        let session = done.recv_timeout(PATIENCE).unwrap().session;
        threads.submit(1, &alive, session, SaslJob::Start { mechanism: "PANIC".into(), data: None }).unwrap();
        assert!(done.recv_timeout(PATIENCE).unwrap().answer.is_err());
        threads.submit(1, &alive, None, SaslJob::Step { data: None }).unwrap();
        assert!(done.recv_timeout(PATIENCE).unwrap().answer.is_err());
        threads.submit(2, &alive, None, open()).unwrap();
        assert!(done.recv_timeout(PATIENCE).unwrap().answer.is_ok());
    }
}
