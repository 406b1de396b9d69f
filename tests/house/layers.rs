//! Dependencies between the folders run downward only, as ARCHITECTURE.md has them, and never in a circle.

use super::{name, root, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The folders and single files of `src/`, highest first. What stands in one row knows nothing of the others
/// in it.
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
    &["guest", "pool"],
    &["blend", "panic", "spare"],
    &["geometry", "limits", "log", "memory", "clock", "testing", "thread"],
];

/// The sources of crates that consist of several folders or files.
pub(super) const CRATES: [&str; 5] = ["src", "qxl/src", "capi/src", "sasl/src", "opus/src"];

/// Arrows that still point upward, `file -> folder`. The list only shrinks.
const UPWARD: &[&str] = &[];

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&folder))
}

/// A path that code names, as the module path that it leads to from the crate's root.
pub(super) type ModulePath = Vec<String>;

/// The module that a source file is: `src/net/tls/mod.rs` is `net::tls`, `src/net/link.rs` is `net::link`.
pub(super) fn module(file: &Path, crate_root: &Path) -> ModulePath {
    let relative = file.strip_prefix(crate_root).unwrap_or(file).with_extension("");
    let mut path: ModulePath = relative.iter().map(|part| part.to_str().unwrap().into()).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

/// A source without its tests and comments.
pub(super) fn code_of(file: &Path) -> String {
    without_tests(&fs::read_to_string(file).unwrap())
}

fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// What the code of a module names by `crate::` and `super::`.
pub(super) fn used(code: &str, module: &[String]) -> BTreeSet<ModulePath> {
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            // A later `super::` of the same path was read with the first.
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before != ':' && before != '_' && !before.is_ascii_alphanumeric() {
                found.extend(paths(&code[at..], module));
            }
        }
    }
    found
}

/// The paths that begin here, seen from a module: one, or those of a list in braces.
pub(super) fn paths(text: &str, module: &[String]) -> Vec<ModulePath> {
    let mut path = module.to_vec();
    let mut rest = text.trim_start();
    loop {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        match &rest[..end] {
            "crate" => path.clear(),
            "super" => drop(path.pop()),
            "self" | "" => {}
            segment => path.push(segment.into()),
        }
        match rest[end..].strip_prefix("::") {
            Some(next) => rest = next,
            None => {
                return list(&rest[end..]).map_or(vec![path.clone()], |items| {
                    items.into_iter().flat_map(|item| paths(item, &path)).collect()
                });
            }
        }
    }
}

/// The items of a list in braces.
fn list(text: &str) -> Option<Vec<&str>> {
    let (mut depth, mut items, mut rest) = (1, Vec::new(), text.strip_prefix('{')?);
    let mut at = 0;
    while depth > 0 {
        at += rest[at..].find(['{', '}', ','])?;
        match rest.as_bytes()[at] {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 || (depth == 1 && rest.as_bytes()[at - 1] == b',') {
            items.push(rest[..at - 1].trim());
            (rest, at) = (&rest[at..], 0);
        }
    }
    items.retain(|item| !item.is_empty());
    Some(items)
}

pub(super) fn is_test(file: &str) -> bool {
    ["/tests/", "tests.rs", "_tests", "oracle", "testing", "/mock/", "model"]
        .iter()
        .any(|part| file.contains(part))
}

#[test]
fn dependencies_run_downward() {
    let mut upward = Vec::new();
    for path in sources(&["src"]) {
        let file = name(&path);
        let Some(folder) = file.strip_prefix("src/").and_then(|f| f.split(['/', '.']).next()) else {
            continue;
        };
        let own = layer(folder).unwrap_or_else(|| {
            assert!(folder == "lib", "{file}: src/{folder} has no layer");
            0
        });
        if folder == "lib" || (is_test(&file) && folder != "oracles") {
            continue;
        }
        let tops: BTreeSet<String> = used(&code_of(&path), &module(&path, &root().join("src")))
            .into_iter()
            .filter_map(|path| path.into_iter().next())
            .collect();
        for top in tops {
            // What is no folder is a macro of the log.
            if top != folder && layer(&top).is_some_and(|other| other <= own) {
                upward.push(format!("{file} -> {top}"));
            }
        }
    }
    assert_eq!(upward, UPWARD);
}

/// The folder that a path leads into.
fn folder_of(path: &[String], folders: &BTreeSet<ModulePath>) -> ModulePath {
    let mut path = path.to_vec();
    while !folders.contains(&path) {
        path.pop();
    }
    path
}

#[test]
fn folders_form_no_circle() {
    for crate_root in CRATES {
        let files = sources(&[crate_root]);
        let top = root().join(crate_root);
        let folders: BTreeSet<ModulePath> = files.iter().map(|f| module(f.parent().unwrap(), &top)).collect();
        let mut arrows: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
        for file in files.iter().filter(|file| !is_test(&name(file))) {
            let own = module(file.parent().unwrap(), &top);
            for path in used(&code_of(file), &module(file, &top)) {
                let other = folder_of(&path, &folders);
                // A folder and those inside of it are one thing.
                if !other.starts_with(&own) && !own.starts_with(&other) {
                    arrows.entry(own.clone()).or_default().insert(other);
                }
            }
        }
        assert!(crate_root != "src" || arrows.len() > 10, "hardly any arrows were found: {arrows:?}");
        for start in arrows.keys() {
            let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
            while let Some(from) = next.pop() {
                for to in arrows.get(from).into_iter().flatten() {
                    assert!(to != start, "{crate_root}: {start:?} depends on itself, last through {from:?}");
                    if seen.insert(to) {
                        next.push(to);
                    }
                }
            }
        }
    }
}

#[test]
fn paths_are_resolved_as_the_compiler_does() {
    let used = |text: &str| {
        let module = ["net".to_owned(), "tls".to_owned(), "files".to_owned()];
        used(&without_tests(text), &module).iter().map(|path| path.join("::")).collect::<Vec<_>>()
    };
    assert_eq!(used("use crate::host::EventLoop;"), ["host::EventLoop"]);
    assert_eq!(used("use super::super::link::Link;"), ["net::link::Link"]);
    assert_eq!(used("use crate::{guest, image::Image};"), ["guest", "image::Image"]);
    assert_eq!(
        used("use crate::{\n    draw::{Clip, op::{A, B}},\n    net as n,\n};\n{ c }"),
        ["draw::Clip", "draw::op::A", "draw::op::B", "net"]
    );
    assert_eq!(used("// crate::display\nlet x = crate::log::emit(1);"), ["log::emit"]);
    assert!(used("fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::reds::Server;\n}").is_empty());
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
