use super::DeviceIo;
use super::oracle::fuzz_device;
use crate::host::call::HostCall;
use crate::host::{CharDevice, DeviceId};
use crate::limits::MAX_DEVICE_BUFFERS;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Instant;

proptest! {
    #![proptest_config(crate::testing::cases(256))]
    #[test]
    fn nothing_is_lost_or_reordered(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_device(&data);
    }
}

/// A guest that takes nothing.
struct Full;

impl CharDevice for Full {
    fn state(&self, _connected: bool) {}
    fn write(&self, _bytes: &[u8]) -> usize {
        0
    }
    fn read(&self, _buffer: &mut [u8]) -> usize {
        0
    }
    fn event(&self, _event: u8) {}
    fn tells_when_writable(&self) -> bool {
        true
    }
}

#[test]
fn a_buffer_that_is_just_written_counts_in_the_window() {
    let now = Instant::now();
    let mut io = DeviceIo::new(DeviceId(1), Arc::new(Full), true);
    let mut written = None;
    io.push(vec![0], ());
    io.pump(now, 0, |call| {
        if let HostCall::DeviceWrite { bytes, .. } = call {
            written = Some(bytes);
        }
    });
    for _ in 1..MAX_DEVICE_BUFFERS {
        assert!(!io.is_full());
        io.push(vec![0], ());
    }
    assert!(io.is_full());
    io.on_written(written.unwrap(), 0, now);
    assert!(io.is_full());
    assert_eq!(io.waiting(), MAX_DEVICE_BUFFERS);
}
