use super::DeviceIo;
use super::oracle::{Silent, fuzz_device};
use crate::host::DeviceId;
use crate::host::call::HostCall;
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

/// Whoever owns a device pumps it for many reasons, also while a read is under way, as when the client took its data.
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
