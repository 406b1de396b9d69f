//! Files stay rooms: one job, read in one sitting.

use super::{name, sources};
use std::fs;

const MOST_LINES: usize = 600;

#[test]
fn no_file_is_longer_than_it_can_be_read() {
    let long: Vec<String> = sources(&["src", "qxl", "capi", "sasl", "opus", "tests", "benches", "fuzz"])
        .iter()
        .filter(|path| fs::read_to_string(path).unwrap().lines().count() > MOST_LINES)
        .map(|path| name(path))
        .collect();
    assert!(long.is_empty(), "{long:?}");
}
