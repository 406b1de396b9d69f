//! Dependencies between the folders of the core run downward only, as ARCHITECTURE.md has them.

use super::{name, root, sources};
use std::collections::BTreeSet;
use std::fs;

/// The folders and single files of `src/`, highest first. What stands in one row knows nothing of the others in it.
const LAYERS: &[&[&str]] = &[
    &["oracles"],
    &["reds"],
    &["worker"],
    &["display"],
    &["channel"],
    &["device"],
    &["net"],
    &["host"],
    &["protocol"],
    &["canvas"],
    &["qxl_command"],
    &["codec"],
    &["draw"],
    &["image"],
    &["guest"],
    &["blend", "panic"],
    &["geometry", "limits", "log", "clock", "testing"],
];

/// Arrows that still point upward, `file -> folder`. The list only shrinks.
const UPWARD: &[&str] = &[];

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&folder))
}

/// What a source names by `crate::`.
fn used(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.insert(rest[..end].to_string());
        }
    }
    found
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

#[test]
fn dependencies_run_downward() {
    let mut upward = Vec::new();
    for path in sources(&["src"]) {
        let file = name(&path);
        let is_test = file.contains("/tests/")
            || file.ends_with("tests.rs")
            || file.contains("_tests")
            || file.ends_with("oracle.rs");
        let Some(folder) = file.strip_prefix("src/").and_then(|f| f.split(['/', '.']).next()) else {
            continue;
        };
        if folder == "lib" || is_test {
            continue;
        }
        let own = layer(folder).unwrap_or_else(|| panic!("{file}: src/{folder} has no layer"));
        let text = fs::read_to_string(&path).unwrap();
        for used in used(without_tests(&text)) {
            // Macros of the log are no folder.
            if used == folder || layer(&used).is_none_or(|other| other > own) {
                continue;
            }
            upward.push(format!("{file} -> {used}"));
        }
    }
    assert_eq!(upward, UPWARD);
}

#[test]
fn every_folder_is_on_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let missing: Vec<_> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .filter_map(|path| path.file_name()?.to_str().map(String::from))
        .filter(|folder| !map.contains(&format!("`{folder}/`")))
        .collect();
    assert!(missing.is_empty(), "folders that ARCHITECTURE.md does not name: {missing:?}");
}
