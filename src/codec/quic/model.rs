//! Adaptation (codecs.md 2.4, 2.6, 2.7): which code a context selects, when the model learns, and the run
//! coder.

use super::tables::{
    Code, Family, LAST_STEP, RUN_CODES, RUN_SHIFTS, RUN_STARTS, SHORT_RUN, STEP_PIXELS, TRIGGERS, WAITS,
    family,
};

/// The contexts of one channel of `BITS` bits. There are as many buckets as bits, and as many codes as bits.
#[derive(Debug)]
pub(super) struct Model<const BITS: usize> {
    /// Per bucket and code: the bits that the code would have used so far, times 8, plus a tag that makes the
    /// largest of equally good codes the smallest number. Codes that do not exist have numbers that are never
    /// the smallest.
    ///
    /// They are whole numbers, of which baseline x86-64 finds the smaller ones of four pairs at once only as
    /// `f32`, and that is exact below 2^24. A counter without its tag is at most 27 times the smallest one of
    /// its bucket, because code lengths are 1 to 26, and that is halved when it exceeds a trigger.
    counters: [[f32; 8]; 8],
    /// The best code of each context value's bucket.
    best: [&'static Code; 256],
    /// The number of the best code of each bucket.
    numbers: [u8; 8],
}

/// The tags of the codes, kept in the low bits of their counters.
const TAGS: [f32; 8] = [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0];

impl<const BITS: usize> Model<BITS> {
    /// The highest code, and the highest bucket.
    const LAST: usize = BITS - 1;
    /// Added to the counters of codes that do not exist.
    const UNUSED: [f32; 8] = {
        let mut unused = [0.0; 8];
        let mut l = BITS;
        while l < 8 {
            unused[l] = (1 << 23) as f32;
            l += 1;
        }
        unused
    };

    pub(super) fn new() -> Self {
        let last = &family::<BITS>().codes[Self::LAST];
        Self { counters: [TAGS; 8], best: [last; 256], numbers: [Self::LAST as u8; 8] }
    }

    /// The code for the next sample after a residual of `context`.
    #[inline(always)]
    pub(super) fn code(&self, context: u8) -> &'static Code {
        self.best[usize::from(context)]
    }

    /// Updates the counters with `symbol`, which was coded after a residual of `context`. Halves those of the bucket if its
    /// smallest one is not below `trigger`.
    #[inline(always)]
    pub(super) fn update(&mut self, context: u8, symbol: u8, trigger: f32) {
        let family: &Family = family::<BITS>();
        let bucket = usize::from(family.buckets[usize::from(context)] & 7);
        let counters = &mut self.counters[bucket];
        let lengths = &family.lengths[usize::from(symbol)];
        // Most of the time the best code stays the best, and that is known sooner than which one is.
        let best = usize::from(self.numbers[bucket] & 7);
        let least = counters[best] + lengths[best];
        let mut another = false;
        for l in 0..8 {
            counters[l] += lengths[l];
            another |= Self::compared(counters[l], l) < least;
        }
        if another || least >= trigger {
            self.choose(bucket, trigger);
        }
    }

    /// A counter, or a large number for a code that does not exist.
    #[inline(always)]
    fn compared(counter: f32, l: usize) -> f32 {
        if BITS == 8 { counter } else { counter + Self::UNUSED[l] }
    }

    /// Finds the best code of a bucket, and halves the bucket's counters if they are large.
    #[inline(never)]
    fn choose(&mut self, bucket: usize, trigger: f32) {
        let bucket = bucket & 7;
        let counters = &mut self.counters[bucket];
        let compared: [f32; 8] = std::array::from_fn(|l| Self::compared(counters[l], l));
        let least: [f32; 4] = std::array::from_fn(|l| lesser(compared[l], compared[l + 4]));
        let least = lesser(lesser(least[0], least[2]), lesser(least[1], least[3]));
        if least >= trigger {
            for (counter, tag) in counters.iter_mut().zip(TAGS) {
                *counter = (whole(*counter) >> 4 << 3) as f32 + tag;
            }
        }
        let best = 7 - (whole(least) & 7) as u8;
        if self.numbers[bucket] != best {
            self.numbers[bucket] = best;
            let first = (1usize << bucket) - 1;
            let end = if bucket == Self::LAST { 256 } else { 2 * first + 1 };
            self.best[first..end].fill(&family::<BITS>().codes[usize::from(best)]);
        }
    }
}

/// The smaller number. Unlike [`f32::min`], this does not look for what is no number.
#[inline(always)]
fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// A whole number below 2^23 as an integer: the fraction of its sum with 2^23. Unlike a cast, this does not
/// look for numbers out of range.
#[inline(always)]
fn whole(n: f32) -> u32 {
    (n + (1 << 23) as f32).to_bits() & 0x7f_ffff
}

/// The smallest counter that is halved in this step: more bits than the trigger, times 8.
fn trigger(step: usize) -> f32 {
    ((TRIGGERS[step] + 1) << 3) as f32
}

/// State shared by the channels that are coded together.
#[derive(Debug)]
pub(super) struct Coder {
    /// Coded pixels before the next model update.
    pub(super) wait: u32,
    /// Index in the table of wait times of the last wait.
    wait_index: u8,
    /// Adaptation step 0..=6, its mask of wait times, and the smallest counter that is halved.
    step: usize,
    mask: u32,
    pub(super) trigger: f32,
    /// Pixels left in this step.
    step_left: u32,
    /// State of the run coder.
    run: usize,
    /// Pixels that lead to this state (see [`RUN_STARTS`]). Only the encoder uses it.
    run_start: usize,
}

impl Coder {
    pub(super) fn new() -> Self {
        Self {
            wait: 0,
            wait_index: 255,
            step: 0,
            mask: 0,
            trigger: trigger(0),
            step_left: STEP_PIXELS,
            run: 0,
            run_start: 0,
        }
    }

    /// Sets `wait` for the next model update. Called at each update.
    #[inline]
    pub(super) fn draw_wait(&mut self) {
        self.wait_index = self.wait_index.wrapping_add(1);
        self.wait = u32::from(WAITS[usize::from(self.wait_index)]) & self.mask;
    }

    /// Length of the row's next segment if `left` pixels are left.
    pub(super) fn segment(&self, left: usize) -> usize {
        if self.step < LAST_STEP { left.min(self.step_left as usize) } else { left }
    }

    /// Counts a whole segment of `len` pixels.
    pub(super) fn end_segment(&mut self, len: usize) {
        if self.step < LAST_STEP {
            self.step_left = self.step_left.saturating_sub(len as u32);
            if self.step_left == 0 {
                self.step += 1;
                self.mask = 2 * self.mask + 1;
                self.trigger = trigger(self.step);
                self.step_left = STEP_PIXELS;
            }
        }
    }

    /// The code of a run of `n` pixels and, if `another`, of an empty run after it: a number that ends in the
    /// code, and the code's length, at most [`super::bits::PUT_LIMIT`]. Advances the state past the runs.
    /// `None`, with the state unchanged, if the run is long.
    #[inline(always)]
    pub(super) fn code_runs(&mut self, n: usize, another: bool) -> Option<(u64, u32)> {
        // Pixels counted from state 0, so that the code can be looked up in a table.
        let total = n + self.run_start;
        if total >= SHORT_RUN {
            return None;
        }
        let code = &RUN_CODES[total + SHORT_RUN * usize::from(another)];
        let len = code.len - self.run as u32;
        self.run = usize::from(code.next);
        self.run_start = usize::from(code.next_start);
        Some((code.code, len))
    }

    /// The code of a run of `n` pixels: the number of one bits, the length of the part after the zero bit,
    /// and that part. Advances the state past the run.
    #[cold]
    #[inline(never)]
    pub(super) fn code_long_run(&mut self, n: usize) -> (u32, u32, usize) {
        let total = n + self.run_start;
        let to = RUN_STARTS.partition_point(|start| usize::from(*start) <= total).saturating_sub(1) & 31;
        let shift = u32::from(RUN_SHIFTS[to]);
        let rest = total - usize::from(RUN_STARTS[to]);
        // In the last state further one bits may follow. In the others `rest` is too small for one.
        let (more, rest) = (rest >> shift, rest & ((1 << shift) - 1));
        let ones = to - (self.run & 31) + more;
        self.run = to.saturating_sub(1);
        self.run_start = usize::from(RUN_STARTS[self.run]);
        (ones as u32, shift, rest)
    }

    /// log2 of the number of pixels that a one bit of a run code stands for.
    #[inline]
    pub(super) fn run_shift(&self) -> u32 {
        u32::from(RUN_SHIFTS[self.run & 31])
    }

    /// Advances the state after a one bit of a run code.
    #[inline]
    pub(super) fn run_grows(&mut self) {
        self.run = (self.run + 1).min(31);
    }

    /// Advances the state after a whole run code.
    #[inline]
    pub(super) fn run_ends(&mut self) {
        self.run = self.run.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_largest_code() {
        // Symbol 0 costs l + 1 bits, so code 0 wins. If counters are equal, as in a fresh bucket, the last
        // code wins.
        let mut model = Model::<8>::new();
        assert_eq!(model.code(0).number, 7);
        model.update(0, 0, trigger(0));
        assert_eq!(model.code(0).number, 0);
        assert_eq!(model.code(1).number, 7);
    }

    #[test]
    fn run_codes_equal_the_bit_by_bit_rule() {
        for (state, start) in RUN_STARTS.into_iter().enumerate() {
            let run_start = usize::from(start);
            for n in (0..1500).chain((1500..400_000).step_by(977)) {
                let mut rule = Coder { run: state, ..Coder::new() };
                let (mut ones, mut rest) = (0, n);
                while rest >> rule.run_shift() > 0 {
                    rest -= 1 << rule.run_shift();
                    ones += 1;
                    rule.run_grows();
                }
                let shift = rule.run_shift();
                rule.run_ends();
                let mut coder = Coder { run: state, run_start, ..Coder::new() };
                assert_eq!(coder.code_long_run(n), (ones, shift, rest), "{state} {n}");
                assert_eq!((coder.run, coder.run_start), (rule.run, usize::from(RUN_STARTS[rule.run])));
                for another in [false, true] {
                    let mut both = Coder { run: state, run_start, ..Coder::new() };
                    let Some((code, len)) = both.code_runs(n, another) else { continue };
                    let mut one = Coder { run: state, run_start, ..Coder::new() };
                    let (ones, shift, rest) = one.code_long_run(n);
                    let mut want = ((((1u64 << ones) - 1) << (shift + 1)) | rest as u64, ones + 1 + shift);
                    if another {
                        let (0, shift, 0) = one.code_long_run(0) else {
                            panic!("a run of no pixels has no ones")
                        };
                        want = (want.0 << (1 + shift), want.1 + 1 + shift);
                    }
                    assert_eq!((code & ((1 << len) - 1), len), want);
                    assert_eq!((both.run, both.run_start), (one.run, one.run_start));
                }
            }
        }
    }

    #[test]
    fn a_row_is_cut_where_a_step_ends() {
        let mut coder = Coder::new();
        assert_eq!(coder.segment(5000), 2048);
        coder.end_segment(2048);
        assert_eq!(coder.step, 1);
        assert_eq!(coder.segment(100), 100);
        coder.end_segment(100);
        assert_eq!((coder.step, coder.segment(5000)), (1, 1948));
    }
}
