//! A line of a script as a verb and `key=value` words.

use spice_server_core::geometry::Rect;

/// One line.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub verb: &'a str,
    words: Vec<&'a str>,
}

impl<'a> Line<'a> {
    /// Parses a line; `None` if it has no command.
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split('#').next()?.split_whitespace();
        let verb = words.next()?;
        Some(Self { verb, words: words.collect() })
    }

    pub(crate) fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.words.iter().filter_map(move |w| w.strip_prefix(key)?.strip_prefix('='))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.all(key).next()
    }

    pub(crate) fn need(&self, key: &str) -> &'a str {
        self.get(key).unwrap_or_else(|| panic!("{}: {key}= is missing", self.verb))
    }

    pub(crate) fn number(&self, key: &str, default: i64) -> i64 {
        self.get(key).map_or(default, number)
    }

    pub(crate) fn rect(&self, key: &str) -> Option<Rect> {
        self.get(key).map(|v| rect(&numbers(v)))
    }
}

pub(crate) fn rect(v: &[i64]) -> Rect {
    assert_eq!(v.len(), 4, "bad rectangle");
    let edge = |i: usize| i32::try_from(v[i]).unwrap();
    Rect::new(edge(0), edge(1), edge(2), edge(3))
}

/// A number in C notation.
pub(crate) fn number(text: &str) -> i64 {
    let (digits, negative) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let value = match digits.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.unwrap_or_else(|_| panic!("bad number '{text}'"));
    if negative { -value } else { value }
}

/// Numbers separated by `,`, `:` or `;`.
pub(crate) fn numbers(text: &str) -> Vec<i64> {
    text.split([',', ':', ';']).filter(|s| !s.is_empty()).map(number).collect()
}

/// A number as 32 bits, signed or not.
pub(crate) fn word(v: i64) -> u32 {
    u32::try_from(v & 0xffff_ffff).unwrap()
}

/// A path or style number in 28.4 fixed point: pixels, or raw with the prefix `f`.
pub(crate) fn fixed(text: &str) -> i32 {
    let value = text.strip_prefix('f').map_or_else(|| number(text) * 16, number);
    i32::try_from(value).unwrap()
}
