//! Threads that encode for the workers: bands of large images, and frames of video.
//!
//! There are two ways to use them:
//!
//! - [`Pool::map`] is for work that falls into independent parts, such as the bands of an image. The caller takes part in
//!   it, and goes on when all parts are done: nothing changes for it but the time. Whoever is free takes the next part. A
//!   thread of the pool that comes late finds no part left, so the caller never waits for what others queued before.
//! - [`Pool::give`] is for work that nobody waits for, such as a frame of a stream. The caller goes on at once.
//!
//! Both queues are short. Where one is full, the caller does the work itself.
//!
//! All workers of a process share one pool. Its threads start with the first work, sleep while there is none, and end with
//! the last [`Pool`].

use crate::limits::{MAX_POOL_JOBS, MAX_POOL_QUEUE, MAX_POOL_THREADS};
use crate::panic::guarded;
use crate::thread;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

/// A pool of helper threads. Copies stand for the same threads.
#[derive(Clone)]
pub struct Pool(Arc<Threads>);

struct Threads {
    shared: Arc<Shared>,
    /// How many there are to be.
    count: usize,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wanted: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Requests for help with work that falls into parts: somebody waits for it.
    tickets: VecDeque<Arc<dyn Work>>,
    /// Work that nobody waits for.
    jobs: VecDeque<Job>,
    closed: bool,
}

/// Work of [`Pool::give`].
type Job = Box<dyn FnOnce() + Send>;

/// What a thread of the pool does next.
enum Next {
    Help(Arc<dyn Work>),
    Run(Job),
}

/// Work that several threads may take part in.
trait Work: Send + Sync {
    /// Does parts of it until none is left to take.
    fn help(&self);
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.0.count).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// The pool of this process: a thread less than it has processors, which are the guest's too.
    #[must_use]
    pub fn of_process() -> Self {
        static PROCESS: Mutex<Weak<Threads>> = Mutex::new(Weak::new());
        let mut process = lock(&PROCESS);
        if let Some(threads) = process.upgrade() {
            return Self(threads);
        }
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let pool = Self::new((processors - 1).clamp(1, MAX_POOL_THREADS));
        *process = Arc::downgrade(&pool.0);
        pool
    }

    /// A pool of so many threads; 0: whoever has work does it alone.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Threads { shared: Arc::default(), count, handles: Mutex::default() }))
    }

    /// How many threads take part in [`Self::map`] at most, the caller among them.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.0.count.saturating_add(1)
    }

    /// Does `run` with each of `parts`, some of it on threads of the pool. The results come in the order of the parts;
    /// `None` for one that panicked.
    pub fn map<P, R>(&self, parts: Vec<P>, run: impl Fn(P) -> R + Send + Sync + 'static) -> Vec<Option<R>>
    where
        P: Send + 'static,
        R: Send + 'static,
    {
        let count = parts.len();
        let batch = Arc::new(Batch {
            state: Mutex::new(State {
                parts: parts.into_iter().enumerate().collect(),
                results: (0..count).map(|_| None).collect(),
                running: 0,
            }),
            idle: Condvar::new(),
            run,
        });
        let helpers = self.0.count.min(count.saturating_sub(1));
        if helpers > 0 && self.0.start() {
            self.0.shared.ask(helpers, &batch);
        }
        batch.help();
        let state = batch.idle.wait_while(lock(&batch.state), |state| state.running > 0);
        std::mem::take(&mut state.unwrap_or_else(PoisonError::into_inner).results)
    }

    /// Gives `job` to the threads of the pool, which run it soon. A job that panics costs a line in the log.
    ///
    /// # Errors
    /// Gives the job back if there are no threads, or so many jobs wait that this one had to wait too long: the caller
    /// should run it.
    pub fn give<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), F> {
        if self.0.count == 0 || !self.0.start() {
            return Err(job);
        }
        let mut queue = lock(&self.0.shared.queue);
        if queue.jobs.len() >= self.0.count.saturating_mul(MAX_POOL_JOBS) {
            return Err(job);
        }
        queue.jobs.push_back(Box::new(job));
        drop(queue);
        self.0.shared.wanted.notify_one();
        Ok(())
    }
}

impl Threads {
    /// Starts the threads with the first work. `false`: there are none.
    fn start(&self) -> bool {
        let mut handles = lock(&self.handles);
        while handles.len() < self.count {
            let shared = Arc::clone(&self.shared);
            match thread::spawn("SPICE Pool", move || shared.serve()) {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    crate::warning_limited!("no thread to help with encoding: {error}");
                    break;
                }
            }
        }
        !handles.is_empty()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.wanted.notify_all();
        for handle in lock(&self.handles).drain(..) {
            // A panic of a thread was logged where it happened.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// Asks so many threads for help with a batch.
    fn ask<W: Work + 'static>(&self, helpers: usize, batch: &Arc<W>) {
        let mut queue = lock(&self.queue);
        for _ in 0..helpers {
            if queue.tickets.len() >= MAX_POOL_QUEUE {
                break;
            }
            queue.tickets.push_back(Arc::clone(batch) as Arc<dyn Work>);
            self.wanted.notify_one();
        }
    }

    /// What each thread does until the pool is gone.
    fn serve(&self) {
        loop {
            let idle = |queue: &mut Queue| queue.next_is_none() && !queue.closed;
            let queue = self.wanted.wait_while(lock(&self.queue), idle);
            let next = queue.unwrap_or_else(PoisonError::into_inner).take();
            match next {
                Some(Next::Help(work)) => work.help(),
                Some(Next::Run(job)) => {
                    guarded("work for the pool", job);
                }
                None => return,
            }
        }
    }
}

impl Queue {
    fn next_is_none(&self) -> bool {
        self.tickets.is_empty() && self.jobs.is_empty()
    }

    /// Work that somebody waits for goes first.
    fn take(&mut self) -> Option<Next> {
        let help = self.tickets.pop_front().map(Next::Help);
        help.or_else(|| self.jobs.pop_front().map(Next::Run))
    }
}

/// Work of [`Pool::map`].
struct Batch<P, R, F> {
    state: Mutex<State<P, R>>,
    /// Nobody runs a part any more.
    idle: Condvar,
    run: F,
}

struct State<P, R> {
    /// Those that nobody took yet, with their places.
    parts: VecDeque<(usize, P)>,
    results: Vec<Option<R>>,
    running: usize,
}

impl<P: Send, R: Send, F: Fn(P) -> R + Send + Sync> Work for Batch<P, R, F> {
    fn help(&self) {
        let mut state = lock(&self.state);
        while let Some((at, part)) = state.parts.pop_front() {
            state.running += 1;
            drop(state);
            let result = guarded("a part of an image", || (self.run)(part));
            state = lock(&self.state);
            state.running -= 1;
            if let Some(place) = state.results.get_mut(at) {
                *place = result;
            }
        }
        if state.running == 0 {
            self.idle.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_come_in_the_order_of_the_parts() {
        for threads in [0, 1, 4] {
            let pool = Pool::new(threads);
            for count in [0, 1, 2, 7, 100] {
                let results = pool.map((0..count).collect(), |n: usize| n * n);
                assert_eq!(results, (0..count).map(|n| Some(n * n)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn threads_of_the_pool_take_part() {
        let pool = Pool::new(2);
        // Nobody gets past the barrier alone.
        let barrier = Arc::new(Barrier::new(3));
        let who = pool.map(vec![(); 3], move |()| {
            barrier.wait();
            std::thread::current().id()
        });
        assert_eq!(who.into_iter().flatten().collect::<HashSet<_>>().len(), 3);
    }

    #[test]
    fn a_part_that_panics_costs_its_result_alone() {
        let pool = Pool::new(1);
        for _ in 0..3 {
            let results = pool.map((0..8).collect(), |n: u32| if n == 3 { panic!("of a test") } else { n });
            let there: Vec<_> = results.iter().flatten().copied().collect();
            assert_eq!((results.len(), there), (8, vec![0, 1, 2, 4, 5, 6, 7]));
        }
    }

    #[test]
    fn a_full_queue_leaves_the_work_to_the_caller() {
        let pool = Pool::new(1);
        pool.0.start();
        let gate = Arc::new(Barrier::new(2));
        // Keeps the only thread busy.
        let block = Arc::new(Batch {
            state: Mutex::new(State { parts: [(0, ())].into(), results: vec![None], running: 0 }),
            idle: Condvar::new(),
            run: {
                let gate = Arc::clone(&gate);
                move |()| {
                    gate.wait();
                }
            },
        });
        pool.0.shared.ask(1, &block);
        for _ in 0..2 * MAX_POOL_QUEUE {
            assert_eq!(pool.map(vec![1, 2], |n: i32| n), [Some(1), Some(2)]);
        }
        assert!(lock(&pool.0.shared.queue).tickets.len() <= MAX_POOL_QUEUE);
        gate.wait();
    }

    #[test]
    fn a_job_is_done_while_the_caller_goes_on() {
        let pool = Pool::new(1);
        let gate = Arc::new(Barrier::new(2));
        let (tell, told) = std::sync::mpsc::channel();
        let there = Arc::clone(&gate);
        let job = move || {
            there.wait();
            tell.send(std::thread::current().id()).unwrap();
        };
        assert!(pool.give(job).is_ok());
        gate.wait();
        assert_ne!(told.recv().unwrap(), std::thread::current().id());
        // One that panics leaves the thread to the next.
        assert!(pool.give(|| panic!("of a test")).is_ok());
        let (tell, told) = std::sync::mpsc::channel();
        assert!(pool.give(move || tell.send(()).unwrap()).is_ok());
        assert_eq!(told.recv(), Ok(()));
    }

    #[test]
    fn jobs_that_would_wait_too_long_come_back() {
        assert!(Pool::new(0).give(|| ()).is_err());
        let pool = Pool::new(1);
        let (busy, gate) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (here, there) = (Arc::clone(&busy), Arc::clone(&gate));
        let hold = move || {
            here.wait();
            there.wait();
        };
        assert!(pool.give(hold).is_ok());
        busy.wait();
        let done = Arc::new(AtomicUsize::new(0));
        let count = |done: &Arc<AtomicUsize>| {
            let done = Arc::clone(done);
            move || {
                done.fetch_add(1, Ordering::SeqCst);
            }
        };
        for _ in 0..MAX_POOL_JOBS {
            assert!(pool.give(count(&done)).is_ok());
        }
        assert!(pool.give(count(&done)).is_err());
        // Nobody who waits for parts of an image waits for them.
        assert_eq!(pool.map(vec![1, 2], |n: i32| n), [Some(1), Some(2)]);
        gate.wait();
        drop(pool);
        assert_eq!(done.load(Ordering::SeqCst), MAX_POOL_JOBS, "what was taken is done");
    }

    #[test]
    fn the_threads_end_with_the_pool() {
        struct Leaves(Arc<AtomicUsize>);
        impl Drop for Leaves {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        thread_local!(static LEAVES: std::cell::RefCell<Option<Leaves>> = const { std::cell::RefCell::new(None) });
        let left = Arc::new(AtomicUsize::new(0));
        let pool = Pool::new(2);
        let (barrier, mark) = (Arc::new(Barrier::new(3)), Arc::clone(&left));
        let caller = std::thread::current().id();
        pool.map(vec![(); 3], move |()| {
            barrier.wait();
            if std::thread::current().id() != caller {
                LEAVES.set(Some(Leaves(Arc::clone(&mark))));
            }
        });
        let copy = pool.clone();
        drop(pool);
        assert_eq!(left.load(Ordering::SeqCst), 0);
        drop(copy);
        assert_eq!(left.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn workers_share_one_pool_while_there_is_one() {
        let (a, b) = (Pool::of_process(), Pool::of_process());
        assert!(Arc::ptr_eq(&a.0, &b.0) && (1..=MAX_POOL_THREADS).contains(&a.0.count));
    }
}
