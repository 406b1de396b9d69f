use super::DeviceIo;
use super::oracle::{Silent, fuzz_device};
use crate::host::DeviceId;
use crate::host::call::HostCall;
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

#[test]
fn a_device_that_is_held_is_left_alone_and_its_bytes_can_be_taken_elsewhere() {
    let now = Instant::now();
    let mut io = DeviceIo::new(DeviceId(1), Arc::new(Silent(true)), true);
    let mut calls = Vec::new();
    io.push(b"abc".to_vec(), 1);
    io.push(b"def".to_vec(), 2);
    io.pump(now, 0, |call| calls.push(call));
    let Some(HostCall::DeviceWrite { bytes, .. }) = calls.pop() else { panic!("no write") };
    assert_eq!(io.on_written(bytes, 1, now), None);
    io.hold();
    io.wake();
    io.pump(now, 100, |call| calls.push(call));
    assert!(calls.is_empty() && io.next_deadline().is_none(), "{calls:?}");
    assert_eq!(io.unwritten().collect::<Vec<_>>(), [(&b"bc"[..], 1), (&b"def"[..], 2)]);
    io.release();
    io.pump(now, 100, |call| calls.push(call));
    assert!(matches!(calls[..], [HostCall::DeviceRead { .. }]), "{calls:?}");
}

/// The owner pumps a device for many reasons, also while a read is under way: for example when the client took data.
#[test]
fn a_read_under_way_delays_nothing() {
    let now = Instant::now();
    let mut io = DeviceIo::new(DeviceId(1), Arc::new(Silent(true)), true);
    io.push(b"a".to_vec(), ());
    for _ in 0..3 {
        let mut calls = Vec::new();
        io.wake();
        io.pump(now, 100, |call| calls.push(call));
        io.pump(now, 100, |call| calls.push(call));
        assert!(matches!(calls[..], [HostCall::DeviceRead { .. }]), "{calls:?}");
        io.on_read(0, now);
        assert_eq!(io.next_deadline(), None, "nothing waits for the host's main loop");
        io.pump(now, 100, |call| calls.push(call));
        let Some(HostCall::DeviceWrite { bytes, .. }) = calls.pop() else { panic!("{calls:?}") };
        io.on_written(bytes, 0, now);
    }
}

#[test]
fn a_buffer_that_is_just_written_counts_in_the_window() {
    let now = Instant::now();
    let mut io = DeviceIo::new(DeviceId(1), Arc::new(Silent(true)), true);
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
