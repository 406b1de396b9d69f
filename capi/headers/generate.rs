//! Writes include/spice-*.h: a hand-written head (macros, enums, names of types) from headers/*.h, then the structs and
//! functions as cbindgen finds them in abi/ and api/. The output depends on these files only.

use std::error::Error;
use std::fs;
use std::path::Path;

/// Header, and the sources that cbindgen reads for it, relative to src/.
const HEADERS: [(&str, &[&str]); 8] = [
    ("core", &["abi/core.rs"]),
    ("server", &["abi/server.rs", "api/server.rs"]),
    ("qxl", &["abi/qxl.rs", "api/qxl.rs"]),
    ("input", &["abi/input.rs", "api/input.rs"]),
    ("audio", &["abi/audio.rs", "api/audio.rs"]),
    ("char", &["abi/char.rs", "api/char.rs"]),
    ("migration", &["abi/migration.rs", "api/migration.rs"]),
    ("replay", &["api/replay.rs"]),
];

/// Text that cbindgen has no way to write: anonymous unions, deprecated fields.
const REPLACE: [(&str, &str); 6] = [
    (
        "  AttachedWorker attached_worker;\n",
        "  union {\n    void (*attached_worker)(QXLInstance *qin);\n    void (*attache_worker)(QXLInstance *qin, QXLWorker *qxl_worker) SPICE_GNUC_DEPRECATED;\n  };\n",
    ),
    ("  struct sockaddr laddr;", "  struct sockaddr laddr SPICE_GNUC_DEPRECATED;"),
    ("  struct sockaddr paddr;", "  struct sockaddr paddr SPICE_GNUC_DEPRECATED;"),
    ("  socklen_t llen;", "  socklen_t llen SPICE_GNUC_DEPRECATED;"),
    ("  socklen_t plen;", "  socklen_t plen SPICE_GNUC_DEPRECATED;"),
    (
        "(*set_mm_time)(struct QXLInstance *qin, uint32_t mm_time);",
        "(*set_mm_time)(struct QXLInstance *qin, uint32_t mm_time) SPICE_GNUC_DEPRECATED;",
    ),
];

/// Types of other headers and of C, which cbindgen would name without their keyword.
const RENAME: [(&str, &str); 2] =
    [("sockaddr", "struct sockaddr"), ("sockaddr_storage", "struct sockaddr_storage")];

pub fn generate(include: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(include)?;
    for (name, sources) in HEADERS {
        let head = fs::read_to_string(format!("headers/{name}.h"))?;
        let body = body(sources)?;
        fs::write(include.join(format!("spice-{name}.h")), assemble(name, &head, &body))?;
    }
    for name in ["spice.h", "spice-version.h"] {
        fs::copy(format!("headers/{name}"), include.join(name))?;
    }
    Ok(())
}

fn body(sources: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Tag,
        documentation: true,
        documentation_style: cbindgen::DocumentationStyle::C99,
        no_includes: true,
        cpp_compat: false,
        usize_is_size_t: false,
        line_length: 110,
        ..cbindgen::Config::default()
    };
    config.function.deprecated = Some("SPICE_GNUC_DEPRECATED".to_owned());
    config.export.exclude = vec!["AttachedWorker".to_owned()];
    // Structs that no function names are left out unless asked for.
    for source in sources {
        let text = fs::read_to_string(format!("src/{source}"))?;
        let names = text.lines().filter_map(|line| line.strip_prefix("pub struct "));
        config
            .export
            .include
            .extend(names.filter_map(|name| Some(name.split([' ', '<']).next()?.to_owned())));
    }
    for (from, to) in RENAME {
        config.export.rename.insert(from.to_owned(), to.to_owned());
    }
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in sources {
        builder = builder.with_src(format!("src/{source}"));
    }
    let mut text = Vec::new();
    builder.generate()?.write(&mut text);
    let mut text = String::from_utf8(text)?;
    for (from, to) in REPLACE {
        text = text.replace(from, to);
    }
    Ok(block_comments(&text))
}

/// Runs of `//` lines as `/* */`, which any C dialect takes.
fn block_comments(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let comment = |index: usize| lines.get(index).and_then(|line| line.trim_start().strip_prefix("// "));
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(words) = comment(index) else {
            out.push_str(line.trim_end());
            out.push('\n');
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let first = index == 0 || comment(index - 1).is_none();
        let last = comment(index + 1).is_none();
        out.push_str(indent);
        out.push_str(if first { "/* " } else { " * " });
        out.push_str(words.trim_end());
        out.push_str(if last { " */\n" } else { "\n" });
    }
    out
}

fn assemble(name: &str, head: &str, body: &str) -> String {
    let guard = format!("SPICE_{}_H_", name.to_uppercase());
    let body = body.trim();
    format!(
        "/* Generated from capi/src by scripts/headers: do not edit. */\n\
         #ifndef {guard}\n#define {guard}\n\n\
         #if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)\n\
         #error \"Only spice.h can be included directly.\"\n#endif\n\n\
         {}\n\n{body}\n\nSPICE_END_DECLS\n\n#endif /* {guard} */\n",
        head.trim()
    )
}
