//! `docs/crashes.md` covers what the specification says of the original's failures, and names tests that exist.

use super::attacks::{quoted, test_names};
use super::root;
use std::collections::BTreeSet;
use std::fs;

/// Words by which the specification speaks of such a failure.
const FAILURES: [&str; 8] = ["crash", "abort", "asserts", " BUG", "*BUG", "(BUG", "for ever", "double free"];
/// Sections that repeat others: summaries, traps, and how to verify. In server.md also rules for callers.
const REPEATED: [(&str, &[&str]); 2] =
    [("devices.md", &["10", "11", "12.1", "12.4"]), ("server.md", &["3.2", "3.3", "13", "14"])];

fn spec(name: &str) -> String {
    fs::read_to_string(root().join("docs/spec").join(name)).unwrap()
}

fn crashes() -> String {
    fs::read_to_string(root().join("docs/crashes.md")).unwrap()
}

/// The cells of all rows of tables, without the head of each.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_head = |at: usize| lines.get(at + 1).is_some_and(|line| line.starts_with("|---"));
    let is_row = |at: usize| lines[at].starts_with('|') && !lines[at].starts_with("|---") && !is_head(at);
    (0..lines.len())
        .filter(|&at| is_row(at))
        .map(|at| lines[at].trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn the_tests_that_are_named_exist() {
    let (text, known) = (crashes(), test_names());
    let mut count = 0;
    for row in rows(&text) {
        let tests = quoted(row.last().unwrap());
        assert!(!tests.is_empty(), "nothing tests: {row:?}");
        for test in tests {
            assert!(known.contains(test), "there is no test {test}: {row:?}");
            count += 1;
        }
    }
    assert!(count > 90, "the tables were not understood: {count} tests");
}

#[test]
fn each_known_failure_has_its_row() {
    let (text, failures) = (crashes(), spec("known-failures.md"));
    let listed: BTreeSet<&str> = rows(&text).iter().map(|row| row[0]).collect();
    let missing: Vec<_> =
        rows(&failures).iter().map(|row| row[0]).filter(|row| !listed.contains(row)).collect();
    assert!(missing.is_empty(), "docs/crashes.md lacks {missing:?}");
    assert!(rows(&failures).len() > 20, "the table was not understood");
}

#[test]
fn each_section_that_speaks_of_a_failure_is_named() {
    let text = crashes();
    let named: BTreeSet<&str> = rows(&text).iter().filter(|row| row.len() == 4).map(|row| row[2]).collect();
    for (document, repeated) in REPEATED {
        let (specification, mut section) = (spec(document), String::new());
        let mut seen = BTreeSet::new();
        for line in specification.lines() {
            if line.starts_with('#') {
                section = line.split_whitespace().nth(1).unwrap_or_default().trim_end_matches('.').to_owned();
            } else if FAILURES.iter().any(|word| line.contains(word))
                && !section.starts_with(char::is_alphabetic)
            {
                seen.insert(section.clone());
            }
        }
        let is_missing = |section: &&String| {
            !repeated.contains(&section.as_str()) && !named.contains(format!("{document} {section}").as_str())
        };
        let missing: Vec<_> = seen.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "docs/crashes.md lacks these sections of {document}: {missing:?}");
        assert!(seen.len() > 5, "{document} was not understood");
    }
    // What is named exists.
    for place in named {
        let (document, section) = place.split_once(' ').unwrap();
        let starts = [format!("## {section}. "), format!("### {section} ")];
        assert!(
            spec(document).lines().any(|line| starts.iter().any(|start| line.starts_with(start.as_str()))),
            "{document} has no section {section}"
        );
    }
}
