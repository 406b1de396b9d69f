//! Full-screen pictures of typical screen contents.

use spice_server_core::image::BitmapFormat;
use std::fmt;

pub(crate) const WIDTH: usize = 1920;
pub(crate) const HEIGHT: usize = 1080;

/// A kind of picture.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Picture {
    /// 1/f noise with grain.
    Photo,
    /// Lines of glyph-like cells in three colours on a white ground.
    Text,
    /// Smooth gradients in every channel.
    Gradient,
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Photo => "photo",
            Self::Text => "text",
            Self::Gradient => "gradient",
        })
    }
}

impl Picture {
    /// The picture's rows, packed, top row first.
    pub(crate) fn pixels(self, format: BitmapFormat) -> Vec<u8> {
        let wide = self.stored().unwrap_or_else(|| match self {
            Self::Photo => photo(),
            Self::Text => text(),
            Self::Gradient => gradient(),
        });
        let pixels = wide.as_chunks::<4>().0;
        match format {
            BitmapFormat::TwentyFourBit => pixels.iter().flat_map(|p| [p[0], p[1], p[2]]).collect(),
            BitmapFormat::SixteenBit => {
                let five = |c: u8| u16::from(c >> 3);
                let short = |p: &[u8; 4]| five(p[2]) << 10 | five(p[1]) << 5 | five(p[0]);
                pixels.iter().flat_map(|p| short(p).to_le_bytes()).collect()
            }
            // Opaque, with a soft shadow along the edge.
            BitmapFormat::Rgba => {
                let alpha = |i: usize| (i % WIDTH).min(WIDTH - 1 - i % WIDTH).min(63) as u8 * 4 + 3;
                pixels.iter().enumerate().flat_map(|(i, p)| [p[0], p[1], p[2], alpha(i)]).collect()
            }
            _ => wide,
        }
    }

    fn stored(self) -> Option<Vec<u8>> {
        let folder = std::env::var_os("CODEC_PICTURES")?;
        let path = std::path::Path::new(&folder).join(format!("{self}.raw"));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), WIDTH * HEIGHT * 4, "{}", path.display());
        Some(bytes)
    }
}

/// A small generator of pseudo-random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A random number in -1.0..1.0.
    fn amplitude(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn below(&mut self, n: u64) -> usize {
        (self.next() % n) as usize
    }
}

fn value_noise(random: &mut Random) -> Vec<f32> {
    let mut out = vec![0.0; WIDTH * HEIGHT];
    let mut amplitude = 60.0;
    for step in [256, 64, 16, 4] {
        let grid_width = WIDTH / step + 2;
        let grid: Vec<f32> =
            (0..grid_width * (HEIGHT / step + 2)).map(|_| random.amplitude() * amplitude).collect();
        for (i, value) in out.iter_mut().enumerate() {
            let (x, y) = (i % WIDTH, i / WIDTH);
            let corner = y / step * grid_width + x / step;
            let (fx, fy) = ((x % step) as f32 / step as f32, (y % step) as f32 / step as f32);
            let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
            let left = mix(grid[corner], grid[corner + grid_width], fy);
            let right = mix(grid[corner + 1], grid[corner + grid_width + 1], fy);
            *value += mix(left, right, fx);
        }
        amplitude *= 0.45;
    }
    out
}

fn photo() -> Vec<u8> {
    let mut random = Random(7);
    let base = value_noise(&mut random);
    let mut out = vec![0; WIDTH * HEIGHT * 4];
    for channel in 0..3 {
        let own = if channel == 0 { Vec::new() } else { value_noise(&mut random) };
        for (i, pixel) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let value = own.get(i).map_or(base[i], |v| base[i] * 0.8 + v * 0.4);
            pixel[channel] = (128.0 + value + random.amplitude() * 2.5) as u8;
        }
    }
    out
}

fn text() -> Vec<u8> {
    let mut random = Random(5);
    let glyphs: Vec<[[bool; 7]; 11]> =
        (0..60).map(|_| std::array::from_fn(|_| std::array::from_fn(|_| random.below(100) < 35))).collect();
    let mut out = [255, 255, 255, 0].repeat(WIDTH * HEIGHT);
    let pixels = out.as_chunks_mut::<4>().0;
    for line in 0..(HEIGHT / 16) {
        let ink = [[0x30, 0x30, 0x30, 0], [0xc0, 0x60, 0x20, 0], [0x20, 0x80, 0x20, 0]][random.below(3)];
        for cell in 0..20 + random.below(190) {
            let glyph = glyphs[random.below(60)];
            if random.below(100) < 15 {
                continue;
            }
            for (y, row) in glyph.iter().enumerate() {
                for (x, _) in row.iter().enumerate().filter(|(_, on)| **on) {
                    pixels[(line * 16 + 2 + y) * WIDTH + 4 + cell * 9 + x] = ink;
                }
            }
        }
    }
    out
}

fn gradient() -> Vec<u8> {
    let pixel = |i: usize| {
        let (x, y) = (i % WIDTH, i / WIDTH);
        [x * 255 / WIDTH, y * 255 / HEIGHT, (x + y) * 255 / (WIDTH + HEIGHT), 0].map(|v| v as u8)
    };
    (0..WIDTH * HEIGHT).flat_map(pixel).collect()
}
