//! Compares the canvas with the original: plays the scripts in `tests/data/canvas` (language: canvas.md 15.2)
//! and compares the pixels of every dump with digests made by the original library.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod generate;
mod play;
mod script;

use play::{Dump, Player};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/canvas").join(name)
}

/// One line of EXPECTED.sums.
struct Expected {
    surface: String,
    must_raw: bool,
    raw: String,
    rgb: String,
}

fn expected() -> BTreeMap<String, Vec<Expected>> {
    let mut all: BTreeMap<String, Vec<Expected>> = BTreeMap::new();
    let text = std::fs::read_to_string(data("EXPECTED.sums")).unwrap();
    for line in text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let value = |key: &str| words.iter().find_map(|w| w.strip_prefix(key)).unwrap().to_owned();
        all.entry(words[0].to_owned()).or_default().push(Expected {
            surface: words[2..5].join(" "),
            must_raw: value("must=") == "raw",
            raw: value("raw="),
            rgb: value("rgb="),
        });
    }
    all
}

/// A description of the wrong dumps of a script; empty if all are right.
fn differences(name: &str, dumps: &[Dump], expected: &[Expected]) -> String {
    let mut wrong = String::new();
    if dumps.len() != expected.len() {
        writeln!(wrong, "{name}: {} dumps instead of {}", dumps.len(), expected.len()).unwrap();
    }
    for (i, (dump, want)) in dumps.iter().zip(expected).enumerate() {
        let equal = if want.must_raw { dump.raw == want.raw } else { dump.rgb == want.rgb };
        if !equal || dump.surface != want.surface {
            let which = if dump.rgb == want.rgb { "unused bits" } else { "pixels" };
            writeln!(wrong, "{name} dump {i} ({}, expected {}): {which} differ", dump.surface, want.surface)
                .unwrap();
        }
    }
    wrong
}

#[test]
fn scripts_give_the_pixels_of_the_reference() {
    // CANVAS_SCRIPT=NAME plays only one script; CANVAS_DUMPS=DIR writes the raw pixels of every dump.
    let only = std::env::var("CANVAS_SCRIPT").ok();
    let dumps_to = std::env::var_os("CANVAS_DUMPS").map(PathBuf::from);
    let (mut played, mut wrong) = (0, String::new());
    for (name, expected) in expected() {
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let text = std::fs::read_to_string(data(&name)).unwrap();
        let mut player = Player::new(data(""));
        let dumps = player.play(&text);
        if let Some(dir) = &dumps_to {
            for (i, dump) in dumps.iter().enumerate() {
                std::fs::write(dir.join(format!("{name}.{i}.{}.raw", dump.id)), &dump.pixels).unwrap();
            }
        }
        wrong += &differences(&name, &dumps, &expected);
        played += 1;
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(only.is_some() || played == 127, "{played} scripts");
}

/// Prints the digests of the scripts that CANVAS_FILES names, in the oracle tool's format, for comparison
/// with the original.
#[test]
#[ignore = "prints what the files that CANVAS_FILES names give, checks nothing"]
fn print_digests() {
    for file in std::env::var("CANVAS_FILES").unwrap_or_default().split_whitespace() {
        let path = Path::new(file);
        let name = path.file_name().unwrap().to_string_lossy();
        let mut player = Player::new(path.parent().unwrap().to_owned());
        for (i, dump) in player.play(&std::fs::read_to_string(path).unwrap()).iter().enumerate() {
            println!("{name} {i} {} raw={} rgb={}", dump.surface, dump.raw, dump.rgb);
        }
    }
}

/// Plays the random scripts of tests/tools/canvas_random.py and compares with the sums that
/// tests/tools/qxl_oracle.c printed for them. CANVAS_RANDOM names a directory with the scripts and a file
/// SUMS.
#[test]
#[ignore = "needs scripts and sums made with a reference library"]
fn random_scripts_give_the_pixels_of_the_reference() {
    let dir = PathBuf::from(std::env::var_os("CANVAS_RANDOM").unwrap());
    let sums = std::fs::read_to_string(dir.join("SUMS")).unwrap();
    let mut expected: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for line in sums.lines().filter(|l| l.contains(" raw=")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        expected.entry(words[0]).or_default().push((&words[5][4..], &words[6][4..]));
    }
    let (mut wrong, mut unused, mut dumped) = (String::new(), 0, 0);
    for (name, sums) in &expected {
        let dumps = Player::new(dir.clone()).play(&std::fs::read_to_string(dir.join(name)).unwrap());
        assert_eq!(dumps.len(), sums.len(), "{name}");
        for (i, (dump, (raw, rgb))) in dumps.iter().zip(sums).enumerate() {
            dumped += 1;
            if dump.rgb != *rgb {
                writeln!(wrong, "{name} dump {i} ({}): pixels differ", dump.surface).unwrap();
            } else if dump.raw != *raw {
                unused += 1;
                println!("{name} dump {i} ({}): unused bits differ", dump.surface);
            }
        }
    }
    println!("{dumped} dumps, {unused} with other unused bits");
    assert!(wrong.is_empty(), "\n{wrong}");
}
