//! Every section of the specification that a source or a document cites exists.

use super::{files, name, root};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const SPECIFICATION: [&str; 8] =
    ["canvas", "codecs", "devices", "display", "known-failures", "qxl", "server", "wire"];

/// The sections of one document by their numbers, with their text: `## 4. Pending tree` is "4", `### 4.1
/// Accepting` "4.1", `## A5. Memory slots` "A5", `# Part C. Record and replay` "part C".
type Sections = BTreeMap<String, String>;

fn sections(document: &str) -> Sections {
    let text = fs::read_to_string(root().join(format!("docs/spec/{document}.md"))).unwrap();
    let (mut found, mut current) = (Sections::new(), String::new());
    for line in text.lines() {
        let heading = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim());
        if let Some(heading) = heading {
            let mut words = heading.split_whitespace().map(|word| word.trim_end_matches('.'));
            current = match (words.next(), words.next()) {
                (Some("Part"), Some(letter)) => format!("part {letter}"),
                (first, _) => first.unwrap_or_default().to_owned(),
            };
        }
        let body = found.entry(current.clone()).or_default();
        body.push_str(line);
        body.push('\n');
    }
    found
}

/// Whether `number` is a section, or an item of a list in one: "A8.6" is item 6 in section A8.
fn exists(sections: &Sections, number: &str) -> bool {
    let item = || {
        let (section, item) = number.rsplit_once('.')?;
        let start = format!("{item}. ");
        sections.get(section).map(|body| body.lines().any(|line| line.starts_with(&start)))
    };
    sections.contains_key(number) || item().unwrap_or(false)
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(|c: char| c.is_ascii_uppercase()).unwrap_or(word);
    !digits.is_empty()
        && digits.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
}

/// The section numbers at the start of what follows the name of a document: " 8.1, 8.4 and 9): one per
/// client" has three.
fn cited(text: &str) -> Vec<String> {
    let (mut found, mut part) = (Vec::new(), false);
    for word in text.split_whitespace() {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        match bare {
            "part" => part = true,
            "and" | "to" if !found.is_empty() => {}
            letter if part && letter.len() == 1 => {
                found.push(format!("part {letter}"));
                part = false;
            }
            number if is_number(number) => found.push(number.into()),
            _ => break,
        }
        // A comma goes on to the next number; every other mark ends the list.
        if !matches!(&word[bare.len()..], "" | ",") {
            break;
        }
    }
    found
}

/// A text without line ends and without the marks that begin the lines of a comment.
fn joined(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches(['/', '!', '*', '#']).trim());
    lines.collect::<Vec<_>>().join(" ")
}

#[test]
fn cited_sections_exist() {
    let documents: Vec<(String, Sections)> =
        SPECIFICATION.iter().map(|document| (format!("{document}.md"), sections(document))).collect();
    let (mut wrong, mut number) = (Vec::new(), 0);
    let folders = ["src", "qxl", "capi", "sasl", "opus", "tests", "benches", "fuzz/fuzz_targets", "docs"];
    for path in files(&folders, &["rs", "c", "h", "py", "md"]) {
        // The specification refers to itself by other means.
        if path.starts_with(root().join("docs/spec")) {
            continue;
        }
        let text = joined(&fs::read_to_string(&path).unwrap());
        for (document, sections) in &documents {
            for (at, _) in text.match_indices(document.as_str()) {
                for section in cited(&text[at + document.len()..]) {
                    number += 1;
                    if !exists(sections, &section) {
                        wrong.push(format!("{}: {document} {section}", name(&path)));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "cited sections that do not exist: {wrong:#?}");
    assert!(number > 200, "only {number} citations were found: does the test still read them?");
}

#[test]
fn named_documents_exist() {
    let folders = ["src", "qxl", "capi", "sasl", "opus", "tests", "benches", "fuzz/fuzz_targets"];
    let mut missing = Vec::new();
    for path in files(&folders, &["rs", "c", "h"]) {
        let text = fs::read_to_string(&path).unwrap();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_./".contains(c)) {
            let Some(document) = word.split_once(".md").map(|(document, _)| format!("{document}.md")) else {
                continue;
            };
            let places = [root().join(&document), root().join("docs/spec").join(&document)];
            if !places.iter().any(|place| place.exists()) {
                missing.push(format!("{}: {document}", name(&path)));
            }
        }
    }
    // Names of this test's own examples and of documents by their variable part.
    missing.retain(|place| !place.starts_with("tests/house/"));
    assert!(missing.is_empty(), "documents that do not exist: {missing:#?}");
}

#[test]
fn numbers_are_found_in_the_usual_ways_of_citing() {
    let numbers = |text: &str| cited(text).join(" ");
    assert_eq!(numbers(" 4.1). More"), "4.1");
    assert_eq!(numbers(" 8.1, 8.4 and 9): one"), "8.1 8.4 9");
    assert_eq!(numbers(" B2 to B5. Then 7"), "B2 B5");
    assert_eq!(numbers(" 5.1 timeouts, 13 trap 22"), "5.1");
    assert_eq!(numbers(" part C)"), "part C");
    assert_eq!(numbers(": each costs"), "");
}

/// The documents for people who work on the library or use it.
fn documents() -> Vec<PathBuf> {
    let mut found = files(&["docs", "fuzz", "benches", "qemu-patches"], &["md"]);
    found.extend(fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()));
    found.retain(|path| path.extension().is_some_and(|e| e == "md"));
    found
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            let is_elsewhere = link.contains("://") || link.is_empty();
            if !is_elsewhere && !path.parent().unwrap().join(link).exists() {
                dead.push(format!("{} -> {link}", name(&path)));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere: {dead:#?}");
}

#[test]
fn files_that_documents_name_exist() {
    let everything = files(
        &[
            "src", "qxl", "capi", "sasl", "opus", "tests", "benches", "docs", "fuzz", "examples", "include",
            "scripts",
        ],
        &["rs", "md", "c", "h", "py", "txt", "sums", "json", "sh"],
    );
    let everything: Vec<String> = everything.iter().map(|path| format!("/{}", name(path))).collect();
    let mut missing = Vec::new();
    for path in documents() {
        // The specification names files of other projects.
        if path.starts_with(root().join("docs/spec")) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_file = quoted.ends_with(".rs") || quoted.ends_with(".md") || quoted.ends_with(".c");
            let is_plain = quoted.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
            let known = everything.iter().any(|file| file.ends_with(&format!("/{quoted}")));
            if is_file && is_plain && !known && !root().join(quoted).exists() {
                missing.push(format!("{}: {quoted}", name(&path)));
            }
        }
    }
    assert!(missing.is_empty(), "files that documents name and that do not exist: {missing:#?}");
}
