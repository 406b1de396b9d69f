//! The fixed tables of the format (codecs.md 2.5 to 2.7).

/// Length of the longest code in bits.
const CODE_LIMIT: u32 = 26;
/// Highest value of the adaptation step; the mask on wait times is `2^step - 1`.
pub(super) const LAST_STEP: usize = 6;
/// Pixels in each adaptation step except the last.
pub(super) const STEP_PIXELS: u32 = 2048;

/// Counter value above which a bucket's counters are halved, per adaptation step.
pub(super) const TRIGGERS: [u32; LAST_STEP + 1] = [110, 550, 900, 800, 550, 400, 350];

/// Run coder, per state: log2 of the run length that a one bit stands for.
pub(super) const RUN_SHIFTS: [u8; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Run coder, per state: pixels covered by the one bits that lead there from state 0.
pub(super) const RUN_STARTS: [u16; 32] = {
    let mut starts = [0; 32];
    let mut state = 1;
    while state < 32 {
        starts[state] = starts[state - 1] + (1 << RUN_SHIFTS[state - 1]);
        state += 1;
    }
    starts
};

/// A run code, perhaps with the code of an empty run after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunCode {
    /// The code from state 0.
    pub(super) code: u64,
    /// Its length. The code from a higher state lacks one of the first bits, ones, per state.
    pub(super) len: u32,
    /// The state after it, and the entry of [`RUN_STARTS`] for that.
    pub(super) next: u8,
    pub(super) next_start: u16,
}

/// Runs with a code in [`RUN_CODES`] are shorter than this, with the pixels that led to the current state.
pub(super) const SHORT_RUN: usize = 512;

/// Run coder: the codes by the length of the run plus the pixels that led to the current state; in the second
/// half those of such a run and an empty one.
pub(super) static RUN_CODES: [RunCode; 2 * SHORT_RUN] = {
    let mut codes = [RunCode { code: 0, len: 0, next: 0, next_start: 0 }; 2 * SHORT_RUN];
    let (mut at, mut state) = (0, 0);
    while at < SHORT_RUN {
        if RUN_STARTS[state + 1] as usize <= at {
            state += 1;
        }
        let shift = RUN_SHIFTS[state] as u32;
        let code = (((1 << state) - 1) << (shift + 1)) | (at as u64 - RUN_STARTS[state] as u64);
        let len = state as u32 + 1 + shift;
        let next = state.saturating_sub(1);
        codes[at] = RunCode { code, len, next: next as u8, next_start: RUN_STARTS[next] };
        let more = 1 + RUN_SHIFTS[next] as u32;
        let (code, len, next) = (code << more, len + more, next.saturating_sub(1));
        codes[SHORT_RUN + at] = RunCode { code, len, next: next as u8, next_start: RUN_STARTS[next] };
        at += 1;
    }
    codes
};

/// Pseudo-random numbers of pixels between model updates, before masking.
#[rustfmt::skip]
pub(super) const WAITS: [u8; 256] = [
     2, 23, 19, 21,  7, 18, 40, 14, 12, 32, 47, 44, 36,  6, 18, 11,  4, 19, 42, 29, 16, 63, 57, 51, 16,  3,  5, 14, 15, 30, 20,  9,
    36, 45,  3, 57, 61,  0,  8,  5, 41, 14, 43, 27, 43, 59, 31, 35, 39, 60, 42, 38, 13, 54, 62,  1, 26,  3, 11, 61, 52, 34,  7, 48,
     4, 59, 22, 12, 22,  8, 50,  4, 10,  6, 44,  8, 11, 46, 31, 51, 53, 17,  1, 43, 46, 60, 36, 54, 10, 27, 39, 44, 22, 41, 23,  2,
    44,  0, 40, 53, 40, 48, 16, 43, 32, 28, 33, 12, 20,  2, 56, 62, 55, 58, 18, 20, 13, 55, 38, 29, 57, 19, 49, 33, 47, 63, 59,  0,
    35, 61, 19, 25, 46, 38, 60,  4, 35,  1, 26, 40, 28, 10,  5, 14, 25, 18, 48, 49, 20, 59, 62, 34, 46,  7, 33, 52, 34, 58,  9, 29,
     8, 55, 62, 60, 37, 36, 37, 50,  6,  3, 10, 28, 48, 24, 26, 61, 57, 30, 11, 54,  2,  6, 50, 47,  7, 17, 35, 53, 32, 12, 23, 17,
     5, 21, 49, 55, 51, 45, 52, 27, 39, 25, 39, 63, 22, 24, 42, 52, 56, 38, 41, 41, 56, 32, 13, 24, 26, 51, 27, 56, 58, 37, 24, 42,
    15, 28, 17, 30, 31, 15, 16, 23, 25, 54, 33, 34,  1, 29, 31, 50, 53, 21, 49, 15, 47,  9,  0, 58, 37, 45, 30, 13,  9, 45, 63, 21,
];

/// Where the Golomb form of a code ends, and how the escape continues.
#[derive(Clone, Copy, Debug)]
pub(super) struct CodeShape {
    /// Zero bits that mark an escape, P(l).
    pub(super) prefix: u32,
    /// First symbol that needs an escape, G(l).
    pub(super) first_escaped: u32,
    /// Bits after the prefix of an escape, S(l).
    pub(super) suffix: u32,
}

/// Length in bits of the longest code that joins others by a multiplication. The codes of two pixels and the
/// bits that wait for a whole byte then fit 64 bits.
const JOINED_LIMIT: u32 = 9;

/// One code of a family.
///
/// `joined * scales[symbol] + codes[symbol]` appends a symbol's code to joined codes. Joined codes begin with a
/// one bit that is not part of the stream but shows their length. They become -1, and stay negative, by a code
/// that is longer than [`JOINED_LIMIT`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Code {
    /// Two to the power of the code's length.
    pub(super) scales: [u64; 256],
    pub(super) codes: [u64; 256],
    /// All codes, also long ones: code << 8 | length. Shifting by the entry shifts by the length, because only the low bits
    /// count.
    pub(super) entries: [u32; 256],
    pub(super) shape: CodeShape,
    /// Its number, l.
    pub(super) number: usize,
}

impl Code {
    const fn new(bits: u32, l: u32) -> Self {
        let full = (1 << (bits - l)) - 1;
        let prefix = if full < CODE_LIMIT - bits { full } else { CODE_LIMIT - bits };
        let first_escaped = prefix << l;
        let left: u32 = (1 << bits) - first_escaped;
        let suffix = left.next_power_of_two().trailing_zeros();
        let shape = CodeShape { prefix, first_escaped, suffix };
        let (mut scales, mut codes, mut entries) = ([0; 256], [u64::MAX; 256], [0; 256]);
        let mut symbol = 0;
        while symbol < 256 {
            let (code, length) = if symbol < first_escaped {
                ((1 << l) | (symbol & ((1 << l) - 1)), (symbol >> l) + 1 + l)
            } else {
                (symbol - first_escaped, prefix + suffix)
            };
            entries[symbol as usize] = (code << 8) | length;
            if length <= JOINED_LIMIT {
                scales[symbol as usize] = 1 << length;
                codes[symbol as usize] = code as u64;
            }
            symbol += 1;
        }
        Self { scales, codes, entries, shape, number: l as usize }
    }
}

/// The codes for channels of one depth.
#[derive(Debug)]
pub(super) struct Family {
    /// The codes. Those that the depth does not have repeat code 0.
    pub(super) codes: [Code; 8],
    /// `lengths[symbol][l]` in eighths of a bit (see [`super::model::Model`]); 0 for codes that the depth
    /// does not have.
    pub(super) lengths: [[f32; 8]; 256],
    /// The bucket of each context value.
    pub(super) buckets: [u8; 256],
}

impl Family {
    const fn new(bits: u32) -> Self {
        let mut codes = [Code::new(bits, 0); 8];
        let mut lengths = [[0.0; 8]; 256];
        let mut l = 0;
        while l < bits as usize {
            codes[l] = Code::new(bits, l as u32);
            let mut symbol = 0;
            while symbol < 256 {
                lengths[symbol][l] = (8 * (codes[l].entries[symbol] & 255)) as f32;
                symbol += 1;
            }
            l += 1;
        }
        let mut buckets = [0; 256];
        let mut context = 0;
        while context < 256 {
            let bucket = (context as u32 + 1).ilog2();
            buckets[context] = (if bucket < bits { bucket } else { bits - 1 }) as u8;
            context += 1;
        }
        Self { codes, lengths, buckets }
    }
}

static EIGHT_BITS: Family = Family::new(8);
static FIVE_BITS: Family = Family::new(5);

/// The codes for channels of `BITS` bits (5 or 8).
pub(super) fn family<const BITS: usize>() -> &'static Family {
    if BITS == 8 { &EIGHT_BITS } else { &FIVE_BITS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_the_format() {
        let facts = |f: &Family, bits: usize| -> Vec<(u32, u32, u32)> {
            f.codes[..bits].iter().map(|c| (c.shape.prefix, c.shape.first_escaped, c.shape.suffix)).collect()
        };
        assert_eq!(
            facts(&EIGHT_BITS, 8),
            [
                (18, 18, 8),
                (18, 36, 8),
                (18, 72, 8),
                (18, 144, 7),
                (15, 240, 4),
                (7, 224, 5),
                (3, 192, 6),
                (1, 128, 7)
            ]
        );
        assert_eq!(facts(&FIVE_BITS, 5), [(21, 21, 4), (15, 30, 1), (7, 28, 2), (3, 24, 3), (1, 16, 4)]);
    }

    #[test]
    fn every_code_fits_its_length_and_the_limit() {
        for (family, bits) in [(&EIGHT_BITS, 8), (&FIVE_BITS, 5)] {
            for code in family.codes[..bits].iter().flat_map(|c| &c.entries[..1 << bits]) {
                // The entries of three channels can be added without a carry.
                assert!(code & 255 <= CODE_LIMIT && (code >> 8) < 1 << 22);
                assert!(code >> 8 < 1 << (code & 63));
            }
        }
    }

    #[test]
    fn short_codes_join_and_long_ones_leave_a_mark() {
        let eight = EIGHT_BITS.codes.iter().map(|code| (code, 256));
        let five = FIVE_BITS.codes[..5].iter().map(|code| (code, 32));
        for (code, symbols) in eight.chain(five) {
            for (symbol, entry) in code.entries[..symbols].iter().enumerate() {
                let (bits, len) = (u64::from(entry >> 8), entry & 255);
                let join =
                    |joined: u64| joined.wrapping_mul(code.scales[symbol]).wrapping_add(code.codes[symbol]);
                if len <= JOINED_LIMIT {
                    assert_eq!(join(0b101), (0b101 << len) | bits);
                    assert!(join(u64::MAX).cast_signed() < 0);
                } else {
                    assert_eq!((join(0b101), join(u64::MAX)), (u64::MAX, u64::MAX));
                }
            }
        }
    }
}
