//! Files stay rooms: one job, read in one sitting.

use super::{name, sources};
use std::fs;

const MOST_LINES: usize = 600;

/// Files that are longer today. The list only shrinks: a file that got shorter must leave it.
const TOO_LONG: &[&str] = &["src/display/channel_tests.rs"];

#[test]
fn no_file_is_longer_than_it_can_be_read() {
    let long: Vec<String> = sources(&["src", "qxl", "capi", "sasl", "opus", "tests", "benches", "fuzz"])
        .iter()
        .filter(|path| fs::read_to_string(path).unwrap().lines().count() > MOST_LINES)
        .map(|path| name(path))
        .collect();
    assert_eq!(long, TOO_LONG);
}
