//! Compares with libpixman: every line of a case file holds the parameters of one composite operation and its
//! result.

use super::sample::{Filter, Placement, Repeat, Texture};
use super::*;
use crate::draw::Transform;
use crate::geometry::{Point16, Rect};
use crate::image::SurfaceFormat;

/// The random generator of tests/tools/pixman_cases.c.
struct Xorshift(u32);

impl Xorshift {
    fn byte(&mut self, extreme: bool) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        let byte = (self.0 >> 16) & 0xff;
        if extreme { [0, 255, 1, 254, 127, 128, 0, 255][(byte & 7) as usize] } else { byte }
    }

    fn pixels(&mut self, format: SurfaceFormat, count: u32, extreme: bool) -> Vec<u32> {
        let mask = u32::MAX >> (32 - format.bits_per_pixel());
        (0..count).map(|_| (0..4).fold(0, |v, _| v << 8 | self.byte(extreme)) & mask).collect()
    }
}

fn format(name: &str) -> SurfaceFormat {
    match name {
        "argb" => SurfaceFormat::Argb32,
        "xrgb" => SurfaceFormat::Xrgb32,
        "a8" => SurfaceFormat::A8,
        "a1" => SurfaceFormat::A1,
        "565" => SurfaceFormat::Rgb565,
        "555" => SurfaceFormat::Rgb555,
        _ => panic!("format {name}"),
    }
}

fn number<T: TryFrom<i64>>(word: &str) -> T
where
    T::Error: std::fmt::Debug,
{
    let value = match word.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).unwrap(),
        None => word.parse().unwrap(),
    };
    T::try_from(value).unwrap()
}

struct Side {
    format: SurfaceFormat,
    size: (u32, u32),
    placement: Placement,
}

impl Side {
    fn parse(words: &[&str]) -> Self {
        let numbers: Vec<i32> = words[5].split(',').filter_map(|n| n.parse().ok()).collect();
        Self {
            format: format(words[0]),
            size: (number(words[1]), number(words[2])),
            placement: Placement {
                repeat: Repeat::from_number(number(words[3])),
                filter: Filter::from_number(number(words[4])).unwrap(),
                transform: numbers.try_into().ok().map(Transform),
                origin: Point16 { x: number(words[6]), y: number(words[7]) },
            },
        }
    }

    fn sampler(&self, random: &mut Xorshift, extreme: bool, area: (u32, u32)) -> Option<Sampler> {
        let (w, h) = self.size;
        let pixels = random.pixels(self.format, w * h, extreme);
        let texture = Texture { size: self.size, format: self.format, window: Rect::of_size(w, h), pixels };
        let extent = self.placement.extent(self.size, area)?;
        Some(Sampler { texture, placement: self.placement, covered: extent.covered })
    }
}

/// Checks one line. Returns the expected and the actual result if they differ.
fn check(line: &str) -> Result<(), (String, String)> {
    let (case, want) = line.split_once(" = ").unwrap();
    let parts: Vec<Vec<&str>> = case.split('|').map(|p| p.split_whitespace().collect()).collect();
    let (head, mask) = (&parts[0], &parts[2]);
    let dest_format = format(head[1]);
    let (w, h): (u32, u32) = (number(head[2]), number(head[3]));
    let mut random = Xorshift(number(head[4]));
    let extreme = head[5] == "1";
    let mut dest = random.pixels(dest_format, w * h, extreme);
    let source = Side::parse(&parts[1]).sampler(&mut random, extreme, (w, h));
    let has_mask = mask[0] != "-";
    let mask_sampler = if has_mask { Side::parse(mask).sampler(&mut random, extreme, (w, h)) } else { None };
    let op = Operator::from_number(number(head[0])).unwrap();
    if let Some(source) = source
        && has_mask == mask_sampler.is_some()
    {
        let component_alpha = mask[8] == "1";
        let mut composer =
            Composer::new(Request { op, source, mask: mask_sampler, component_alpha, dest: dest_format });
        for (y, row) in dest.chunks_mut(w as usize).enumerate() {
            composer.row(0, u32::try_from(y).unwrap(), row);
        }
    }
    let digits = dest_format.bits_per_pixel().div_ceil(4) as usize;
    let valid = match dest_format {
        SurfaceFormat::Xrgb32 => 0xff_ffff,
        SurfaceFormat::Rgb555 => 0x7fff,
        _ => u32::MAX,
    };
    let got: String = dest.iter().map(|v| format!("{:0digits$x}", v & valid)).collect();
    // The case files hold a checksum in place of long results.
    let got = if want.starts_with('#') { format!("#{:016x}", fnv(&got)) } else { got };
    if got == want { Ok(()) } else { Err((want.to_owned(), got)) }
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// The expected results are those of pixman 0.42.2.
#[test]
fn operators_filters_and_repeats_are_those_of_pixman() {
    let wrong: Vec<&str> = include_str!("../../../tests/data/canvas/pixman.cases")
        .lines()
        .filter(|line| check(line).is_err())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
#[ignore = "reads the case file that PIXMAN_CASES names"]
fn cases_of_a_file_match_pixman() {
    let text = std::fs::read_to_string(std::env::var("PIXMAN_CASES").unwrap()).unwrap();
    let mut failed = std::collections::BTreeMap::<String, Vec<String>>::new();
    for line in text.lines() {
        if let Err((want, got)) = check(line) {
            let case = line.split(" = ").next().unwrap();
            let at = want.bytes().zip(got.bytes()).position(|(a, b)| a != b).unwrap_or(0) / 8 * 8;
            let cut = |s: &str| s.get(at..(at + 40).min(s.len())).unwrap_or("").to_owned();
            let differ = want.bytes().zip(got.bytes()).filter(|(a, b)| a != b).count();
            failed.entry(case[..4].to_owned()).or_default().push(format!(
                "{case}\n   want {}\n    got {} at {at} ({differ})",
                cut(&want),
                cut(&got)
            ));
        }
    }
    let count: usize = failed.values().map(Vec::len).sum();
    for (op, cases) in &failed {
        println!("op {op}: {} failed", cases.len());
        for case in cases.iter().take(3) {
            println!("  {case}");
        }
    }
    assert_eq!(count, 0);
}
