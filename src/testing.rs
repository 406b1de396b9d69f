//! What tests of several modules share.

use proptest::test_runner::Config;

/// So many cases of a property, or as many as `PROPTEST_CASES` says: for long runs over many seeds (`PROPTEST_RNG_SEED`).
pub fn cases(cases: u32) -> Config {
    let config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { Config { cases, ..config } }
}
