//! Shared by the tests of several modules.

use proptest::test_runner::Config;

/// The number of cases of a property: `cases`, or `PROPTEST_CASES` for long runs over many seeds
/// (`PROPTEST_RNG_SEED`).
pub(crate) fn cases(cases: u32) -> Config {
    let config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { Config { cases, ..config } }
}
