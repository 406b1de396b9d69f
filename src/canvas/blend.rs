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
    // Two channels at once: a product and its rounding need 16 bits.
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
    // A carry into bit 8 of a channel becomes 0xff in it.
    let low = (low | (low >> 8 & 0x0001_0001) * 0xff) & 0x00ff_00ff;
    let high = (high | (high >> 8 & 0x0001_0001) * 0xff) & 0x00ff_00ff;
    low | high << 8
}

/// `dst = src over dst` for every pixel.
pub fn over_row(dst: &mut [u32], src: &[u32]) {
    for (d, s) in dst.iter_mut().zip(src) {
        *d = over(*s, *d);
    }
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
    }
}
