//! Symbol versions, the library's names, and on demand the public headers.
//!
//! symbols.txt is the table of exported functions. From it come the version script (nodes only, without symbols: a
//! script with symbols is silently ignored beside the one that rustc itself passes) and, per module of api/, the
//! `.symver` directives that put each function into its node.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[cfg(feature = "headers")]
#[path = "headers/generate.rs"]
mod headers;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=symbols.txt");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=headers");
    // The crate spice-sasl is empty where libsasl2 was not found.
    println!("cargo::rustc-check-cfg=cfg(have_sasl)");
    if env::var_os("DEP_SASL2_FOUND").is_some() {
        println!("cargo::rustc-cfg=have_sasl");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let table = fs::read_to_string("symbols.txt")?;
    let symbols = parse(&table)?;
    fs::write(out.join("nodes.map"), version_script(&symbols))?;
    for (module, text) in symver_modules(&symbols) {
        fs::write(out.join(format!("symver_{module}.rs")), text)?;
    }
    for arg in [
        format!("-Wl,--version-script={}", out.join("nodes.map").display()),
        "-Wl,-soname,libspice-server.so.1".to_owned(),
        // Worker threads may run when a host unloads the library.
        "-Wl,-z,nodelete".to_owned(),
    ] {
        println!("cargo::rustc-cdylib-link-arg={arg}");
    }
    name_links(&out)?;
    #[cfg(feature = "headers")]
    headers::generate(Path::new("../include"))?;
    Ok(())
}

/// One line of the table.
struct Symbol<'a> {
    node: &'a str,
    module: &'a str,
    name: &'a str,
}

fn parse(table: &str) -> Result<Vec<Symbol<'_>>, String> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some(node), Some(module), Some(name), None) => Ok(Symbol { node, module, name }),
                _ => Err(format!("symbols.txt: bad line: {line}")),
            }
        })
        .collect()
}

/// Nodes in the order of the table, each inheriting from the one before; all other symbols are local.
fn version_script(symbols: &[Symbol<'_>]) -> String {
    let mut script = String::new();
    let mut last: Option<&str> = None;
    for symbol in symbols {
        if last == Some(symbol.node) {
            continue;
        }
        let _ = match last {
            None => writeln!(script, "{} {{ local: *; }};", symbol.node),
            Some(parent) => writeln!(script, "{} {{ }} {parent};", symbol.node),
        };
        last = Some(symbol.node);
    }
    script
}

/// Per module of api/ the directives for its functions; the nodes' own symbols are with those of the first module.
fn symver_modules(symbols: &[Symbol<'_>]) -> BTreeMap<String, String> {
    let mut modules = BTreeMap::new();
    let mut nodes: Vec<&str> = Vec::new();
    for symbol in symbols {
        let text: &mut String = modules.entry(symbol.module.to_owned()).or_default();
        let _ =
            writeln!(text, "std::arch::global_asm!(\".symver {0}, {0}@@{1}\");", symbol.name, symbol.node);
        if nodes.last() != Some(&symbol.node) {
            nodes.push(symbol.node);
        }
    }
    if let Some(first) = symbols.first().and_then(|s| modules.get_mut(s.module)) {
        for node in nodes {
            // GNU ld makes an absolute symbol for each node, which distributions' lists of symbols have; LLD does not.
            let asm = format!(
                ".globl node_{node}; .type node_{node}, @object; .set node_{node}, 0; .symver node_{node}, {node}@@{node}"
            );
            let _ = writeln!(first, "std::arch::global_asm!(\"{asm}\");");
        }
    }
    modules
}

/// Cargo names the library libspice_server.so; programs look for its soname and linkers for -lspice-server. The links
/// stand beside it, so that `cargo build` alone gives a directory for LD_LIBRARY_PATH.
fn name_links(out: &Path) -> io::Result<()> {
    // target/PROFILE/build/PACKAGE/out
    let Some(target) = out.ancestors().nth(3) else { return Ok(()) };
    for (link, file) in [
        ("libspice-server.so.1", "libspice_server.so"),
        ("libspice-server.so", "libspice-server.so.1"),
        ("libspice-server.a", "libspice_server.a"),
    ] {
        let link = target.join(link);
        if fs::read_link(&link).is_ok_and(|to| to == Path::new(file)) {
            continue;
        }
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(file, &link)?;
    }
    Ok(())
}
