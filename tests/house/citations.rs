//! Every section of the specification that a source cites exists.

use super::{name, root, sources};
use std::collections::BTreeSet;
use std::fs;

const DOCUMENTS: [&str; 8] =
    ["canvas", "codecs", "devices", "display", "known-failures", "qxl", "server", "wire"];

/// The numbers of a document's headings: `## 4. Pending tree` is "4", `### 4.1 Accepting` "4.1", `## A5. Memory` "A5".
fn sections(document: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(format!("docs/spec/{document}.md"))).unwrap();
    let headings =
        text.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
    headings
        .filter_map(|heading| heading.split_whitespace().next())
        .map(|w| w.trim_end_matches('.').into())
        .collect()
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(|c: char| c.is_ascii_uppercase()).unwrap_or(word);
    !digits.is_empty()
        && digits.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
}

#[test]
fn cited_sections_exist() {
    let mut wrong = Vec::new();
    let known: Vec<(String, BTreeSet<String>)> =
        DOCUMENTS.iter().map(|d| (format!("{d}.md "), sections(d))).collect();
    for path in sources(&["src", "qxl/src", "capi/src", "tests", "benches"]) {
        let text = fs::read_to_string(&path).unwrap();
        for (document, sections) in &known {
            for (at, _) in text.match_indices(document.as_str()) {
                let rest = &text[at + document.len()..];
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
                let word = rest[..end].trim_end_matches('.');
                // "step 3" and items like A8.6 name a place inside of a section.
                let parent = word.rsplit_once('.').map_or(word, |(parent, _)| parent);
                if is_number(word) && !sections.contains(word) && !sections.contains(parent) {
                    wrong.push(format!("{}: {document}{word}", name(&path)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "cited sections that do not exist: {wrong:#?}");
}
