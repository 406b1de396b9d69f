//! Raster operations on rows of native values (canvas.md 4).

use crate::draw::Rop;

/// A raster operation with the operands S and D, on each bit of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RasterOp {
    /// Result bit for (S, D): bit number `S << 1 | D`. Equals the X11 "alu" code with its bits reversed.
    table: u8,
}

impl RasterOp {
    /// Just S.
    pub(crate) const COPY: Self = Self { table: 0b1100 };

    /// The operation of a descriptor. `invert_s` and `invert_d` are the descriptor's inversion bits for the
    /// operands.
    #[must_use]
    pub(crate) fn new(rop: Rop, invert_s: Rop, invert_d: Rop) -> Self {
        let s = if rop.intersects(invert_s) { 0b0011 } else { 0b1100 };
        let d = if rop.intersects(invert_d) { 0b0101 } else { 0b1010 };
        let result = |v: u8| if rop.contains(Rop::INVERS_RES) { !v & 15 } else { v };
        let table = if rop.contains(Rop::PUT) {
            result(s)
        } else if rop.contains(Rop::OR) {
            result(s | d)
        } else if rop.contains(Rop::AND) {
            result(s & d)
        } else if rop.contains(Rop::XOR) {
            result(s ^ d)
        } else if rop.contains(Rop::BLACKNESS) {
            0
        } else if rop.contains(Rop::WHITENESS) {
            15
        } else if rop.contains(Rop::INVERS) {
            0b0101
        } else {
            return Self::COPY;
        };
        Self { table }
    }

    /// FILL and STROKE: S is the brush.
    #[must_use]
    pub(crate) fn of_brush(rop: Rop) -> Self {
        Self::new(rop, Rop::INVERS_BRUSH, Rop::INVERS_DEST)
    }

    /// COPY and BLEND: S is the image.
    #[must_use]
    pub(crate) fn of_image(rop: Rop) -> Self {
        Self::new(rop, Rop::INVERS_SRC, Rop::INVERS_DEST)
    }

    /// OPAQUE: S is the brush, D the image that was just copied.
    #[must_use]
    pub(crate) fn of_opaque(rop: Rop) -> Self {
        Self::new(rop, Rop::INVERS_BRUSH, Rop::INVERS_SRC)
    }

    /// Whether the result does not depend on the destination.
    #[must_use]
    pub(crate) fn ignores_dest(self) -> bool {
        (self.table >> 1 ^ self.table) & 0b0101 == 0
    }

    /// The result for one pixel.
    #[must_use]
    pub(crate) fn pixel(self, s: u32, d: u32) -> u32 {
        let term = |bit: u8, v: u32| if self.table >> bit & 1 == 1 { v } else { 0 };
        term(0, !s & !d) | term(1, !s & d) | term(2, s & !d) | term(3, s & d)
    }

    /// `dst = op(src, dst)` for every pixel.
    pub(crate) fn row(self, dst: &mut [u32], src: &[u32]) {
        fn each(dst: &mut [u32], src: &[u32], f: impl Fn(u32, u32) -> u32) {
            for (d, s) in dst.iter_mut().zip(src) {
                *d = f(*s, *d);
            }
        }
        // Each arm has a closure of its own without branches, so that the compiler vectorizes it.
        match self.table {
            0b1100 => dst.copy_from_slice(src),
            0b0000 => dst.fill(0),
            0b1111 => dst.fill(u32::MAX),
            0b0101 => each(dst, src, |_, d| !d),
            0b0011 => each(dst, src, |s, _| !s),
            0b1110 => each(dst, src, |s, d| s | d),
            0b1000 => each(dst, src, |s, d| s & d),
            0b0110 => each(dst, src, |s, d| s ^ d),
            _ => each(dst, src, |s, d| self.pixel(s, d)),
        }
    }

    /// `dst = op(value, dst)` for every pixel.
    pub(crate) fn row_solid(self, dst: &mut [u32], value: u32) {
        // For a fixed S every operation is `d & keep ^ flip`.
        let at_0 = self.pixel(value, 0);
        let keep = self.pixel(value, u32::MAX) ^ at_0;
        for d in dst {
            *d = *d & keep ^ at_0;
        }
    }
}

/// `dst = rop3(pattern, src, dst)` for every pixel (canvas.md 4.2).
pub(crate) fn rop3_row(code: u8, dst: &mut [u32], src: &[u32], pattern: &[u32]) {
    let masks: [u32; 8] = std::array::from_fn(|i| if code >> i & 1 == 1 { u32::MAX } else { 0 });
    for ((d, s), p) in dst.iter_mut().zip(src).zip(pattern) {
        let half = |m: &[u32]| !*s & (!*d & m[0] | *d & m[1]) | *s & (!*d & m[2] | *d & m[3]);
        *d = !*p & half(&masks[..4]) | *p & half(&masks[4..]);
    }
}

/// Codes in which an operand is irrelevant. The reference and stock clients abort on them: never forward one.
#[must_use]
pub(crate) fn is_degenerate_rop3(code: u8) -> bool {
    // Equal result bits whatever the value of P, S or D.
    (code >> 4 ^ code) & 0x0f == 0 || (code >> 2 ^ code) & 0x33 == 0 || (code >> 1 ^ code) & 0x55 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptors() -> impl Iterator<Item = Rop> {
        (0..0x800).map(Rop::from_bits_retain)
    }

    #[test]
    fn every_descriptor_follows_the_table_of_operations() {
        let (s0, d0) = (0b1100u32, 0b1010u32);
        for rop in descriptors() {
            let s = if rop.contains(Rop::INVERS_SRC) { !s0 } else { s0 };
            let d = if rop.contains(Rop::INVERS_DEST) { !d0 } else { d0 };
            let res = |v: u32| if rop.contains(Rop::INVERS_RES) { !v } else { v };
            let want = [
                (Rop::PUT, res(s)),
                (Rop::OR, res(s | d)),
                (Rop::AND, res(s & d)),
                (Rop::XOR, res(s ^ d)),
                (Rop::BLACKNESS, 0),
                (Rop::WHITENESS, u32::MAX),
                (Rop::INVERS, !d0),
            ];
            let want = want.iter().find(|(bit, _)| rop.contains(*bit)).map_or(s0, |(_, v)| *v);
            let op = RasterOp::of_image(rop);
            assert_eq!(op.pixel(s0, d0), want, "{rop:?}");
            let mut row = [d0; 5];
            op.row(&mut row, &[s0; 5]);
            assert_eq!(row, [want; 5], "{rop:?}");
            let mut row = [d0; 5];
            op.row_solid(&mut row, s0);
            assert_eq!(row, [want; 5], "{rop:?}");
            assert_eq!(op.ignores_dest(), op.pixel(s0, d0) == op.pixel(s0, !d0), "{rop:?}");
        }
    }

    #[test]
    fn ternary_codes_follow_their_truth_table() {
        for code in 0..=255u8 {
            let (p, s, d) = (0xf0, 0xcc, 0xaa);
            let mut row = [d];
            rop3_row(code, &mut row, &[s], &[p]);
            assert_eq!(row[0] & 0xff, code.into());
        }
    }

    #[test]
    fn degenerate_ternary_codes_are_the_38_of_the_specification() {
        let listed = "00 03 05 0a 0c 0f 11 22 30 33 3c 3f 44 50 55 5a 5f 66 77 88 99 a0 a5 aa af bb c0 c3 cc cf dd ee f0 \
                      f3 f5 fa fc ff";
        let listed: Vec<u8> = listed.split(' ').map(|s| u8::from_str_radix(s, 16).unwrap()).collect();
        let found: Vec<u8> = (0..=255).filter(|c| is_degenerate_rop3(*c)).collect();
        assert_eq!(found, listed);
    }
}
