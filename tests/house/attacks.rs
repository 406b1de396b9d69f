//! `docs/attacks.md` names limits and tests that exist.

use super::{files, root};
use std::collections::BTreeSet;
use std::fs;

/// The words in backquotes in one column of all tables.
fn quoted(text: &str, column: usize) -> BTreeSet<&str> {
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(column));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_limits_and_tests_that_are_named_exist() {
    let text = fs::read_to_string(root().join("docs/attacks.md")).unwrap();
    let folders = ["src", "qxl", "capi", "tests", "video", "video-loader"];
    let mut known = BTreeSet::new();
    for path in files(&folders, &["rs", "py"]) {
        for line in fs::read_to_string(path).unwrap().lines() {
            let line = line.trim_start();
            for start in ["fn ", "def ", "pub const "] {
                if let Some(rest) = line.strip_prefix(start) {
                    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                    known.insert(rest[..end].to_owned());
                }
            }
        }
    }
    let limits = quoted(&text, 2).into_iter().filter(|name| name.starts_with("MAX_"));
    let tests = quoted(&text, 3);
    assert!(tests.len() > 60, "the tables were not understood: {tests:?}");
    let unknown: Vec<_> = limits.chain(tests).filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "docs/attacks.md names what is not there: {unknown:?}");
}
