//! No file depends on itself through others: each can be read with nothing but what stands below it.

use super::layers::{CRATES, ModulePath, code_of, is_test, module, paths, used};
use super::{name, root, sources};
use std::collections::{BTreeMap, BTreeSet};

/// Folders whose files form a circle, each with the reason.
const CIRCLES: &[(&str, &str)] = &[(
    "src/reds/",
    "The state of the server is one value behind one lock, made of a part per file. The methods of a part are those of the \
     whole state, since a call of the host or a client's message may concern several parts.",
)];

/// What `pub use` makes known in a module under another path: that path, and the item's own.
fn renamed(code: &str, module: &[String]) -> Vec<(ModulePath, ModulePath)> {
    let exports = code
        .split("\npub")
        .filter_map(|item| Some(item.split_once("use ")?).filter(|(vis, _)| vis.len() < 20));
    let items = exports.flat_map(|(_, path)| paths(path, module));
    let known_as = |item: &ModulePath| module.iter().cloned().chain(item.last().cloned()).collect();
    items.map(|item| (known_as(&item), item)).collect()
}

/// The file that has what a path names.
fn file_of<'a>(
    path: &ModulePath,
    files: &'a BTreeSet<ModulePath>,
    names: &BTreeMap<ModulePath, ModulePath>,
) -> Option<&'a ModulePath> {
    let mut path = path.clone();
    // A name that is exported twice on its way is followed twice.
    for _ in 0..4 {
        let known = (1..=path.len()).rev().find_map(|n| Some((n, names.get(&path[..n])?)));
        let Some((n, item)) = known else { break };
        path = item.iter().chain(&path[n..]).cloned().collect();
    }
    (1..=path.len()).rev().find_map(|n| files.get(&path[..n]))
}

#[test]
fn files_form_no_circle() {
    let mut needed: BTreeSet<&(&str, &str)> = BTreeSet::new();
    for crate_root in CRATES {
        let top = root().join(crate_root);
        let sources: BTreeMap<ModulePath, _> = sources(&[crate_root])
            .into_iter()
            .filter(|file| !is_test(&name(file)))
            .map(|file| (module(&file, &top), file))
            .collect();
        let files: BTreeSet<ModulePath> = sources.keys().cloned().collect();
        let code: BTreeMap<_, _> = sources.iter().map(|(path, file)| (path, code_of(file))).collect();
        let names = code.iter().flat_map(|(path, code)| renamed(code, path)).collect();
        let arrows: BTreeMap<_, Vec<_>> = (code.iter())
            .map(|(&from, code)| {
                let used = used(code, from);
                let targets = used.iter().filter_map(|path| file_of(path, &files, &names));
                // A folder's `mod.rs` and the files in it are one thing.
                (from, targets.filter(|to| !to.starts_with(from) && !from.starts_with(to)).cloned().collect())
            })
            .collect();
        for start in &files {
            let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
            while let Some(from) = next.pop() {
                next.extend(arrows.get(from).into_iter().flatten().filter(|to| seen.insert(*to)));
            }
            if seen.contains(start) {
                let file = name(&sources[start]);
                let known = CIRCLES.iter().find(|(folder, _)| file.starts_with(folder));
                assert!(known.is_some(), "{file} depends on itself, by way of some of {seen:?}");
                needed.extend(known);
            }
        }
    }
    assert_eq!(needed.len(), CIRCLES.len(), "a circle that is listed is gone");
}
