//! One step of a SASL exchange as a slow job of the pool: a directory server may take seconds to answer.

use super::{SaslAnswer, SaslBackend, SaslFault, SaslJob, SaslSession, perform};
use crate::net::keys::{Cancelled, SlowJob};
use std::fmt;
use std::sync::Arc;

/// The result of a step, with the exchange that it belongs to.
pub(crate) struct SaslDone {
    /// The link whose step it was.
    pub link: u64,
    /// The exchange, to go on with.
    pub session: Option<Box<dyn SaslSession>>,
    /// What came of the step.
    pub answer: Result<SaslAnswer, SaslFault>,
}

impl fmt::Debug for SaslDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslDone").field("link", &self.link).finish_non_exhaustive()
    }
}

/// A step to be done. The thread that does it calls `post` with the result, so `post` may only post to another thread.
pub(crate) struct SaslLogin<P> {
    backend: Arc<dyn SaslBackend>,
    job: Option<SaslJob>,
    done: SaslDone,
    post: P,
}

impl<P> fmt::Debug for SaslLogin<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslLogin").field("link", &self.done.link).finish_non_exhaustive()
    }
}

impl<P: FnOnce(SaslDone) + Send> SaslLogin<P> {
    /// The step `job` of the exchange `session` of a link. The first step makes the session.
    pub(crate) fn new(
        backend: Arc<dyn SaslBackend>,
        link: u64,
        session: Option<Box<dyn SaslSession>>,
        job: SaslJob,
        post: P,
    ) -> Self {
        // The answer if the implementation panics.
        let answer = Err(SaslFault("an internal fault".into()));
        Self { backend, job: Some(job), done: SaslDone { link, session, answer }, post }
    }
}

impl<P: FnOnce(SaslDone) + Send> SlowJob for SaslLogin<P> {
    fn what(&self) -> &'static str {
        "a step of SASL"
    }

    fn run(&mut self, _cancelled: &Cancelled) {
        if let Some(job) = self.job.take() {
            self.done.answer = perform(&*self.backend, &mut self.done.session, job);
        }
    }

    fn finish(self: Box<Self>, _completed: bool) {
        (self.post)(self.done);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::FakeBackend;
    use super::*;
    use crate::limits::MAX_SLOW_THREADS;
    use crate::net::keys::{CancelToken, Keys};
    use crate::net::sasl::SaslPeer;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// The pool, an implementation, and where results come.
    struct Logins {
        keys: Keys,
        backend: Arc<dyn SaslBackend>,
        tx: Sender<SaslDone>,
        rx: Receiver<SaslDone>,
    }

    impl Logins {
        fn new(backend: FakeBackend) -> Self {
            let (tx, rx) = channel();
            Self { keys: Keys::start(false, |_| {}).unwrap(), backend: Arc::new(backend), tx, rx }
        }

        fn submit(&self, link: u64, session: Option<Box<dyn SaslSession>>, job: SaslJob) -> CancelToken {
            let tx = self.tx.clone();
            let login =
                SaslLogin::new(self.backend.clone(), link, session, job, move |done| drop(tx.send(done)));
            self.keys.slow(Box::new(login)).unwrap()
        }

        fn done(&self) -> SaslDone {
            self.rx.recv_timeout(PATIENCE).unwrap()
        }
    }

    fn open() -> SaslJob {
        SaslJob::Open(SaslPeer::default())
    }

    #[test]
    fn a_slow_exchange_does_not_hold_up_the_others() {
        let backend = FakeBackend::default();
        let gate = backend.gate();
        let logins = Logins::new(backend);
        let mut sessions = Vec::new();
        for link in [1, 2] {
            let _job = logins.submit(link, None, open());
            sessions.push(logins.done().session);
        }
        gate.close();
        let slow = SaslJob::Start { mechanism: "SLOW".into(), data: None };
        let _slow = logins.submit(1, sessions.remove(0), slow);
        gate.wait_for_one();
        let quick = SaslJob::Start { mechanism: "PLAIN".into(), data: Some(b"\0alice\0secret".to_vec()) };
        let _quick = logins.submit(2, sessions.remove(0), quick);
        let first = logins.done();
        assert!(first.link == 2 && matches!(first.answer, Ok(SaslAnswer::Done { .. })), "{:?}", first.answer);
        // Nor does the end of the server wait for it.
        let Logins { keys, rx, .. } = logins;
        drop(keys);
        assert!(rx.try_recv().is_err());
        gate.open();
        assert_eq!(rx.recv_timeout(PATIENCE).unwrap().link, 1);
    }

    #[test]
    fn steps_of_links_that_are_gone_are_left_undone() {
        let backend = FakeBackend::default();
        let gate = backend.gate();
        let logins = Logins::new(backend);
        gate.close();
        let slow = || SaslJob::Open(SaslPeer { app_name: "slow".into(), ..SaslPeer::default() });
        let mut jobs: Vec<_> = (0..MAX_SLOW_THREADS as u64).map(|n| logins.submit(n, None, slow())).collect();
        gate.wait_for_one();
        for _ in 0..1000 {
            drop(logins.submit(77, None, open()));
        }
        jobs.push(logins.submit(99, None, open()));
        gate.open();
        for _ in 0..=MAX_SLOW_THREADS {
            assert_ne!(logins.done().link, 77);
        }
        assert!(logins.rx.try_recv().is_err());
    }

    #[test]
    fn a_panic_in_an_implementation_is_a_failed_login() {
        let logins = Logins::new(FakeBackend::default());
        let _job = logins.submit(1, None, open());
        let session = logins.done().session;
        let panics = SaslJob::Start { mechanism: "PANIC".into(), data: None };
        let _job = logins.submit(1, session, panics);
        assert!(logins.done().answer.is_err());
        let _job = logins.submit(1, None, SaslJob::Step { data: None });
        assert!(logins.done().answer.is_err());
        let _job = logins.submit(2, None, open());
        assert!(logins.done().answer.is_ok());
    }
}
