//! The command that a recording is piped through.

use std::fs::File;
use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

/// Starts `command` (words quoted as for a shell, no shell runs) with its output going to `file`; gives its input.
///
/// # Errors
/// Unbalanced quotes, no command, or one that cannot be started.
pub(super) fn spawn(command: &str, file: File) -> io::Result<(Box<dyn Write + Send>, Child)> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("record filter: {why}"));
    let words = split(command).ok_or_else(|| bad("unbalanced quotes"))?;
    let (program, arguments) = words.split_first().ok_or_else(|| bad("empty"))?;
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(file).spawn()?;
    let pipe = child.stdin.take().ok_or_else(|| bad("no input"))?;
    Ok((Box::new(pipe), child))
}

/// Splits a line into words as a shell does, without expansions; `None` for an open quote.
fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_split_like_a_shell_does() {
        let words = split(r#"gzip  -c 'a b' "c \" \d"e\ f '' "#).unwrap();
        assert_eq!(words, ["gzip", "-c", "a b", r#"c " \de f"#, ""]);
        assert_eq!(split("a 'b"), None);
        assert_eq!(split("a\\"), None);
        assert_eq!(split("  "), Some(Vec::new()));
    }
}
