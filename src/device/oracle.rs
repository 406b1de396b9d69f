//! Fuzz oracle of the flow control: a device that answers as it likes, and an owner that pushes, wakes, gives up and refuses in
//! any order.

use super::DeviceIo;
use crate::host::call::HostCall;
use crate::host::{CharDevice, DeviceId};
use crate::oracles::Script;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A device that takes and gives nothing: for a bench that answers the calls itself. It says whether it tells when it can take more.
pub(crate) struct Silent(pub(crate) bool);

impl CharDevice for Silent {
    fn state(&self, _connected: bool) {}
    fn write(&self, _bytes: &[u8]) -> usize {
        0
    }
    fn read(&self, _buffer: &mut [u8]) -> usize {
        0
    }
    fn event(&self, _event: u8) {}
    fn tells_when_writable(&self) -> bool {
        self.0
    }
}

/// Checks that at most one read and one write are under way at a time, that there is none while the machine is stopped, that no
/// byte is lost or reordered, and that a guest that takes everything has everything at the end.
///
/// # Panics
/// If one of these rules is broken.
pub fn fuzz_device(data: &[u8]) {
    let s = &mut Script(data);
    let mut now = Instant::now();
    let mut io = DeviceIo::new(DeviceId(1), Arc::new(Silent(s.byte() & 1 != 0)), true);
    let mut calls: VecDeque<HostCall> = VecDeque::new();
    // The bytes that the guest has not taken yet, and the byte that the owner pushes next.
    let (mut expected, mut next) = (VecDeque::new(), 0u8);
    let mut running = true;
    while !s.0.is_empty() {
        let may_read = s.byte() & 1 != 0;
        match s.byte() % 7 {
            0 => {
                let bytes: Vec<u8> = (0..s.byte() % 16).map(|i| next.wrapping_add(i)).collect();
                next = bytes.last().map_or(next, |last| last.wrapping_add(1));
                expected.extend(bytes.iter().copied());
                io.push(bytes, ());
            }
            1 => io.wake(),
            2 => {
                now += Duration::from_millis(u64::from(s.byte()));
                io.on_timer(now);
            }
            3 => {
                running = !running;
                io.set_running(running);
            }
            _ => answer(&mut io, calls.pop_front(), s, now, &mut expected),
        }
        io.pump(now, if may_read { 65_568 } else { 0 }, |call| {
            assert!(running, "a call of a stopped machine's device");
            calls.push_back(call);
        });
        let reads = calls.iter().filter(|call| matches!(call, HostCall::DeviceRead { .. })).count();
        assert!(reads <= 1 && calls.len() - reads <= 1, "{calls:?}");
    }
    // From here on the guest takes everything.
    io.set_running(true);
    for _ in 0..expected.len() * 2 + 8 {
        now += Duration::from_secs(1);
        io.on_timer(now);
        io.pump(now, 65_568, |call| calls.push_back(call));
        let all = &mut Script(&[255, 255]);
        answer(&mut io, calls.pop_front(), all, now, &mut expected);
    }
    assert!(expected.is_empty() && io.is_idle(), "{} bytes did not arrive: {io:?}", expected.len());
}

fn answer(
    io: &mut DeviceIo<()>,
    call: Option<HostCall>,
    s: &mut Script<'_>,
    now: Instant,
    expected: &mut VecDeque<u8>,
) {
    match call {
        Some(HostCall::DeviceWrite { bytes, offset, .. }) => {
            let rest = bytes.get(offset..).unwrap_or_default();
            let taken = usize::from(s.byte()).min(rest.len());
            for byte in rest.iter().take(taken) {
                assert_eq!(expected.pop_front(), Some(*byte), "order");
            }
            // The host may call `wakeup` from inside its callback.
            if s.byte() & 1 != 0 {
                io.wake();
            }
            io.on_written(bytes, taken, now);
        }
        Some(HostCall::DeviceRead { max, .. }) => {
            let count = if s.byte() & 1 != 0 { 0 } else { usize::from(s.byte()) << 9 };
            io.on_read(count.min(max), now);
        }
        _ => {}
    }
}
