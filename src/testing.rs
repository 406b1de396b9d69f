//! Shared by the tests of several modules.

use proptest::test_runner::Config;
use std::cell::RefCell;

/// The number of cases of a property: `cases`, or `PROPTEST_CASES` for long runs over many seeds
/// (`PROPTEST_RNG_SEED`).
pub(crate) fn cases(cases: u32) -> Config {
    let config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { Config { cases, ..config } }
}

/// Runs `work` on a thread, and again when the thread ends and has dropped the thread-local values of the first run.
pub(crate) fn at_thread_end(work: fn()) {
    struct AtEnd(fn());
    impl Drop for AtEnd {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    thread_local!(static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) });
    let thread = std::thread::spawn(move || {
        // Those that are made first are dropped last.
        AT_END.set(Some(AtEnd(work)));
        work();
    });
    assert!(thread.join().is_ok());
}
