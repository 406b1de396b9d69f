//! `docs/attacks.md` names limits and tests that exist.

use super::{files, root};
use std::collections::BTreeSet;
use std::fs;

/// The words in backquotes.
pub(crate) fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The words in backquotes in one column of all tables.
fn column(text: &str, column: usize) -> BTreeSet<&str> {
    let rows = text.lines().filter(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(column)).flat_map(quoted).collect()
}

/// The names that start a line with one of these words in the sources of these kinds.
fn names(extensions: &[&str], starts: &[&str]) -> BTreeSet<String> {
    let folders = ["src", "qxl", "capi", "tests", "video", "video-loader"];
    let mut known = BTreeSet::new();
    for path in files(&folders, extensions) {
        for line in fs::read_to_string(path).unwrap().lines() {
            let line = line.trim_start();
            for rest in starts.iter().filter_map(|start| line.strip_prefix(start)) {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                known.insert(rest[..end].to_owned());
            }
        }
    }
    known
}

/// The names of all tests, in Rust, Python and C, among those of other functions.
pub(crate) fn test_names() -> BTreeSet<String> {
    let mut known = names(&["rs"], &["fn "]);
    known.extend(names(&["py"], &["def "]));
    known.extend(names(&["c"], &["static void "]));
    known
}

#[test]
fn the_limits_and_tests_that_are_named_exist() {
    let text = fs::read_to_string(root().join("docs/attacks.md")).unwrap();
    let mut known = test_names();
    known.extend(names(&["rs"], &["pub const "]));
    let limits = column(&text, 2).into_iter().filter(|name| name.starts_with("MAX_"));
    let tests = column(&text, 3);
    assert!(tests.len() > 60, "the tables were not understood: {tests:?}");
    let unknown: Vec<_> = limits.chain(tests).filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "docs/attacks.md names what is not there: {unknown:?}");
}
