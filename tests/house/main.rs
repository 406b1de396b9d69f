//! Rules about the sources themselves, so that the house stays as ARCHITECTURE.md describes it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test program")]

mod attacks;
mod circles;
mod citations;
mod crashes;
mod layers;
mod length;
mod limits;

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust sources below these folders of the repository.
fn sources(folders: &[&str]) -> Vec<PathBuf> {
    files(folders, &["rs"])
}

/// All files with one of these extensions below these folders of the repository.
fn files(folders: &[&str], extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// How a test names a file.
fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
