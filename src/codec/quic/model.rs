//! Adaptation (codecs.md 2.4, 2.6, 2.7): which code a context gets, when that is learnt, and the run coder.

use super::tables::{Family, LAST_STEP, RUN_SHIFTS, STEP_PIXELS, TRIGGERS, WAITS, family};

/// The contexts of one channel of `BITS` bits: as many buckets as bits, as many codes as bits.
#[derive(Debug)]
pub(super) struct Model<const BITS: usize> {
    /// Bits that each code would have used so far, per bucket.
    counters: [[u32; 8]; 8],
    /// The best code of the bucket that each context value falls into.
    best: [u8; 256],
}

impl<const BITS: usize> Model<BITS> {
    pub(super) fn new() -> Self {
        Self { counters: [[0; 8]; 8], best: [Self::LAST as u8; 256] }
    }

    /// The highest code, and the highest bucket.
    const LAST: usize = BITS - 1;

    /// The code for the next sample after a residual of `context`.
    #[inline(always)]
    pub(super) fn code(&self, context: u8) -> usize {
        usize::from(self.best[usize::from(context)] & 7)
    }

    /// Learns from `symbol`, coded after a residual of `context`.
    #[inline]
    pub(super) fn update(&mut self, context: u8, symbol: u8, trigger: u32) {
        let family: &Family = family::<BITS>();
        let bucket = ((u32::from(context) + 1).ilog2() as usize).min(Self::LAST);
        let counters = &mut self.counters[bucket & 7];
        // The code's number is part of the compared value: on a tie the largest one wins.
        let mut least = u32::MAX;
        let lengths = &family.lengths[usize::from(symbol)];
        for (l, (counter, length)) in counters.iter_mut().zip(lengths).take(BITS).enumerate() {
            *counter += length;
            least = least.min((*counter << 3) | (7 - l as u32));
        }
        if least >> 3 > trigger {
            for counter in counters {
                *counter >>= 1;
            }
        }
        let best = 7 - (least & 7) as u8;
        let first = (1usize << bucket) - 1;
        if self.best[first & 255] != best {
            let end = if bucket == Self::LAST { 256 } else { (2usize << bucket) - 1 };
            self.best[first & 255..end.min(256)].fill(best);
        }
    }
}

/// State shared by the channels that are coded together.
#[derive(Debug)]
pub(super) struct Coder {
    /// Coded pixels before the next model update.
    pub(super) wait: u32,
    /// Index of the wait time used last.
    wait_index: u8,
    /// Adaptation step 0..=6.
    step: usize,
    /// Pixels left in this step.
    step_left: u32,
    /// State of the run coder.
    run: usize,
}

impl Coder {
    pub(super) fn new() -> Self {
        Self { wait: 0, wait_index: 255, step: 0, step_left: STEP_PIXELS, run: 0 }
    }

    /// Counter value above which counters are halved now.
    #[inline]
    pub(super) fn trigger(&self) -> u32 {
        TRIGGERS[self.step.min(LAST_STEP)]
    }

    /// Sets `wait` for the next model update; to be called at each one.
    #[inline]
    pub(super) fn draw_wait(&mut self) {
        self.wait_index = self.wait_index.wrapping_add(1);
        self.wait = u32::from(WAITS[usize::from(self.wait_index)]) & ((1 << self.step) - 1);
    }

    /// Length of the next segment of a row of which `left` pixels are left.
    pub(super) fn segment(&self, left: usize) -> usize {
        if self.step < LAST_STEP { left.min(self.step_left as usize) } else { left }
    }

    /// Accounts for a whole segment of `len` pixels.
    pub(super) fn end_segment(&mut self, len: usize) {
        if self.step < LAST_STEP {
            self.step_left = self.step_left.saturating_sub(len as u32);
            if self.step_left == 0 {
                self.step += 1;
                self.step_left = STEP_PIXELS;
            }
        }
    }

    /// log2 of what a one bit of a run code stands for.
    #[inline]
    pub(super) fn run_shift(&self) -> u32 {
        u32::from(RUN_SHIFTS[self.run & 31])
    }

    /// After a one bit of a run code.
    #[inline]
    pub(super) fn run_grows(&mut self) {
        self.run = (self.run + 1).min(31);
    }

    /// After a whole run code.
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
        // Symbol 0 costs l + 1 bits, so code 0 wins; equal counters (a fresh bucket) mean the last code.
        let mut model = Model::<8>::new();
        assert_eq!(model.code(0), 7);
        model.update(0, 0, 110);
        assert_eq!(model.code(0), 0);
        assert_eq!(model.code(1), 7);
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
