//! Arithmetic of premultiplied a8r8g8b8 pixels (canvas.md 8).

/// `a * b / 255`, rounded.
#[must_use]
pub const fn mul(a: u32, b: u32) -> u32 {
    let t = a * b + 128;
    (t + (t >> 8)) >> 8
}

/// Every channel times `alpha`.
#[must_use]
pub const fn scale(p: u32, alpha: u32) -> u32 {
    // Computes two channels at once, because a product and its rounding need 16 bits.
    let low = (p & 0x00ff_00ff) * alpha + 0x0080_0080;
    let high = (p >> 8 & 0x00ff_00ff) * alpha + 0x0080_0080;
    let low = (low + (low >> 8 & 0x00ff_00ff)) >> 8 & 0x00ff_00ff;
    let high = (high + (high >> 8 & 0x00ff_00ff)) & 0xff00_ff00;
    low | high
}

/// One premultiplied a8r8g8b8 pixel over another; sums saturate.
#[must_use]
pub const fn over(s: u32, d: u32) -> u32 {
    add(s, scale(d, 255 - (s >> 24)))
}

/// Sum of every channel, saturating.
#[must_use]
pub const fn add(a: u32, b: u32) -> u32 {
    let low = (a & 0x00ff_00ff) + (b & 0x00ff_00ff);
    let high = (a >> 8 & 0x00ff_00ff) + (b >> 8 & 0x00ff_00ff);
    // A carry into bit 8 turns the channel into 0xff.
    let low = (low | ((low >> 8 & 0x0001_0001) * 0xff)) & 0x00ff_00ff;
    let high = (high | ((high >> 8 & 0x0001_0001) * 0xff)) & 0x00ff_00ff;
    low | high << 8
}

/// `dst = src over dst` for every pixel.
pub fn over_row(dst: &mut [u32], src: &[u32]) {
    for (d, s) in dst.iter_mut().zip(src) {
        *d = over(*s, *d);
    }
}

/// Bytes that are tested together for being all opaque or all transparent.
pub const GRANULE: usize = 512;

/// Bytes blended at a time: few enough for the registers and the first-level cache.
const BLOCK: usize = 64;

/// `dst = (src in alpha) over dst` on pixels in memory order (b, g, r, a). Only whole pixels.
pub fn over_bytes(dst: &mut [u8], src: &[u8], alpha: u8) {
    for (d, s) in dst.chunks_mut(GRANULE).zip(src.chunks(GRANULE)) {
        match Cover::of(s, alpha) {
            Cover::Nothing => {}
            Cover::Everything if d.len() == s.len() => d.copy_from_slice(s),
            _ if alpha == 255 => over_unscaled(d, s),
            _ => over_scaled(d, s, alpha.into()),
        }
    }
}

/// The coverage of a granule of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// All pixels are transparent.
    Nothing,
    /// All pixels are opaque: they replace what was there.
    Everything,
    /// Neither, as far as tested.
    Some,
}

impl Cover {
    /// The coverage of premultiplied b, g, r, a pixels times `alpha`.
    #[must_use]
    pub fn of(src: &[u8], alpha: u8) -> Self {
        match *src {
            _ if alpha != 255 => Self::Some,
            [0, 0, 0, 0, ..] if src.iter().all(|b| *b == 0) => Self::Nothing,
            [_, _, _, 255, ..] if is_opaque(src) => Self::Everything,
            _ => Self::Some,
        }
    }
}

fn is_opaque(pixels: &[u8]) -> bool {
    pixels.as_chunks::<4>().0.iter().fold(255, |all, p| all & p[3]) == 255
}

// The next two functions are `over` and `scale` in a form that the compiler vectorizes: pairs of bytes as
// 16-bit lanes, and one loop over a block per step. They lose that form if they are inlined into a larger
// function.

#[inline(never)]
fn over_unscaled(dst: &mut [u8], src: &[u8]) {
    let (blocks, rest) = dst.as_chunks_mut::<BLOCK>();
    let (src_blocks, src_rest) = src.as_chunks::<BLOCK>();
    let (mut remains, mut under) = ([0; BLOCK / 2], [0; BLOCK]);
    for (d, s) in blocks.iter_mut().zip(src_blocks) {
        over_block(d, s, &mut remains, &mut under);
    }
    for (d, s) in rest.as_chunks_mut::<4>().0.iter_mut().zip(src_rest.as_chunks::<4>().0) {
        *d = over(u32::from_le_bytes(*s), u32::from_le_bytes(*d)).to_le_bytes();
    }
}

#[inline(never)]
fn over_scaled(dst: &mut [u8], src: &[u8], alpha: u16) {
    let (blocks, rest) = dst.as_chunks_mut::<BLOCK>();
    let (src_blocks, src_rest) = src.as_chunks::<BLOCK>();
    let (mut scaled, mut remains, mut under) = ([0; BLOCK], [0; BLOCK / 2], [0; BLOCK]);
    for (d, s) in blocks.iter_mut().zip(src_blocks) {
        for (out, s) in scaled.as_chunks_mut::<2>().0.iter_mut().zip(s.as_chunks::<2>().0) {
            *out = mul_lane(u16::from_le_bytes(*s), alpha).to_le_bytes();
        }
        over_block(d, &scaled, &mut remains, &mut under);
    }
    for (d, s) in rest.as_chunks_mut::<4>().0.iter_mut().zip(src_rest.as_chunks::<4>().0) {
        let s = scale(u32::from_le_bytes(*s), alpha.into());
        *d = over(s, u32::from_le_bytes(*d)).to_le_bytes();
    }
}

/// Blends one block. `remains` and `under` are scratch memory.
#[inline(always)]
fn over_block(
    dst: &mut [u8; BLOCK],
    src: &[u8; BLOCK],
    remains: &mut [u16; BLOCK / 2],
    under: &mut [u8; BLOCK],
) {
    // The share of the destination that remains, for both lanes of each pixel.
    for (r, s) in remains.as_chunks_mut::<2>().0.iter_mut().zip(src.as_chunks::<4>().0) {
        let s = !u32::from_le_bytes(*s);
        let [b0, b1, b2, b3] = (s >> 24 | s >> 8 & 0x00ff_0000).to_le_bytes();
        *r = [u16::from_le_bytes([b0, b1]), u16::from_le_bytes([b2, b3])];
    }
    let lanes = under.as_chunks_mut::<2>().0.iter_mut().zip(dst.as_chunks::<2>().0);
    for ((under, d), r) in lanes.zip(&*remains) {
        *under = mul_lane(u16::from_le_bytes(*d), *r).to_le_bytes();
    }
    for ((d, s), under) in dst.iter_mut().zip(src).zip(&*under) {
        *d = s.saturating_add(*under);
    }
}

/// [`mul`] on the two bytes of a lane.
const fn mul_lane(v: u16, factor: u16) -> u16 {
    div_255((v & 0xff).wrapping_mul(factor)) | div_255((v >> 8).wrapping_mul(factor)) << 8
}

/// A product of two bytes divided by 255, rounded like [`mul`]. Vector units have an instruction for the
/// upper half of a product.
const fn div_255(product: u16) -> u16 {
    ((product.wrapping_add(128) as u32 * 0x101) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_channel(f: impl Fn(u32, u32) -> u32, a: u32, b: u32) -> u32 {
        (0..4).map(|i| f(a >> (8 * i) & 0xff, b >> (8 * i) & 0xff) << (8 * i)).sum()
    }

    proptest! {
        #[test]
        fn packed_arithmetic_equals_that_of_channels(s: u32, d: u32, alpha in 0u32..256) {
            prop_assert_eq!(scale(s, alpha), by_channel(|c, _| mul(c, alpha), s, 0));
            prop_assert_eq!(add(s, d), by_channel(|a, b| (a + b).min(255), s, d));
            let inverse = 255 - (s >> 24);
            prop_assert_eq!(over(s, d), by_channel(|a, b| (a + mul(b, inverse)).min(255), s, d));
        }

        #[test]
        fn blocks_are_blended_as_pixels_are(
            pixels in proptest::collection::vec((any::<u32>(), any::<u32>()), 0..70),
            opaque in 0u32..4,
            alpha: u8,
        ) {
            // Whole blocks that are opaque or transparent take a shortcut.
            let of = |s: u32| match opaque {
                0 => s | 0xff00_0000,
                1 => 0,
                _ => s,
            };
            let bytes = |v: &[u32]| v.iter().flat_map(|p| p.to_le_bytes()).collect::<Vec<u8>>();
            for alpha in [alpha, 255] {
                let src: Vec<u32> = pixels.iter().map(|p| of(p.0)).collect();
                let dst: Vec<u32> = pixels.iter().map(|p| p.1).collect();
                let want: Vec<u32> =
                    src.iter().zip(&dst).map(|(s, d)| over(scale(*s, alpha.into()), *d)).collect();
                let mut got = bytes(&dst);
                over_bytes(&mut got, &bytes(&src), alpha);
                prop_assert_eq!(got, bytes(&want));
            }
        }
    }
}
