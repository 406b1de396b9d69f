//! Estimates how much memory an encoder keeps, from the memory of the whole process.
//!
//! Encoders of the shared object allocate as they like, on threads of their own, and nothing tells what they allocate. So the
//! meter reads how much memory the process has mapped before and after each frame, and adds up the differences. What other
//! threads map meanwhile disturbs that little: an encoder works only a part of the time, and the host's memory for its
//! guest is either mapped before the guest runs or shared.

use super::VideoSpec;
use crate::limits::{VIDEO_MEMORY, VIDEO_MEMORY_PER_PIXEL};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Gives the bytes that the process has mapped for data; `None` if the kernel does not say.
pub(super) type Probe = Box<dyn FnMut() -> Option<u64> + Send>;

/// Watches the memory of the process while one encoder works, and says when it has grown too far.
pub(super) struct Meter {
    probe: Probe,
    /// What the encoder may keep (bytes).
    limit: i64,
    /// What it keeps.
    kept: i64,
    before: Option<u64>,
}

impl Meter {
    pub(super) fn new(spec: &VideoSpec, probe: Probe) -> Self {
        let pixels = u64::from(spec.width) * u64::from(spec.height);
        let limit = VIDEO_MEMORY.saturating_add(pixels.saturating_mul(VIDEO_MEMORY_PER_PIXEL));
        Self { probe, limit: i64::try_from(limit).unwrap_or(i64::MAX), kept: 0, before: None }
    }

    /// The encoder begins to work.
    pub(super) fn begin(&mut self) {
        self.before = (self.probe)();
    }

    /// The encoder is done with a frame. `false`: it keeps too much memory.
    pub(super) fn end(&mut self) -> bool {
        if let (Some(before), Some(after)) = (self.before.take(), (self.probe)()) {
            // Other threads may have given memory back: the encoder gets no credit for it.
            self.kept = self.kept.saturating_add_unsigned(after).saturating_sub_unsigned(before).max(0);
        }
        self.kept <= self.limit
    }
}

/// A probe that asks the kernel.
pub(super) fn probe() -> Probe {
    let file = File::open("/proc/self/statm");
    let page = page_size();
    Box::new(move || {
        let mut text = [0; 256];
        let len = file.as_ref().ok()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..len)?).ok()?;
        // size resident shared text lib data dt
        text.split_whitespace().nth(5)?.parse::<u64>().ok()?.checked_mul(page)
    })
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::super::Codec;
    use super::*;

    fn spec() -> VideoSpec {
        VideoSpec { codec: Codec::Vp8, width: 64, height: 64, fps: 30, bit_rate: 1, may_shrink: false }
    }

    #[test]
    fn the_kernel_tells_of_memory_that_is_mapped() {
        let mut probe = probe();
        let before = probe().unwrap();
        // Never touched, so it costs nothing; half of it is for what other tests do meanwhile.
        let memory = vec![0u8; 1 << 30];
        let after = probe().unwrap();
        assert!(after >= before + (512 << 20), "{before} {after}");
        drop(memory);
    }

    #[test]
    fn growth_adds_up_and_what_is_given_back_counts() {
        let limit = VIDEO_MEMORY + 64 * 64 * VIDEO_MEMORY_PER_PIXEL;
        let mut samples = vec![0, limit, limit, limit / 2, 7, 7 + limit / 2, 7, 8].into_iter();
        let mut meter = Meter::new(&spec(), Box::new(move || samples.next()));
        for fine in [true, true, true, false] {
            meter.begin();
            assert_eq!(meter.end(), fine);
        }
    }

    #[test]
    fn without_samples_nothing_is_judged() {
        let mut meter = Meter::new(&spec(), Box::new(|| None));
        meter.begin();
        assert!(meter.end());
    }
}
