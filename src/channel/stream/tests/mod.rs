//! Streaming devices against guests and clients in memory. The bytes are those of the original.

mod guests;
mod viewers;

use super::oracle::{Bench, format, fuzz_stream_device, message};
use crate::channel::connection::ConnectionId;
use proptest::prelude::*;

/// Capabilities of a client that knows everything.
const ALL: u32 = 0x6fff;
/// VP8.
const MULTI_CODEC_VP8: u32 = 1 << 8 | 1 << 10;

const CAPABILITIES: [u8; 9] = [1, 0, 1, 0, 1, 0, 0, 0, 0];

/// A device whose port the guest has opened.
fn opened() -> Bench {
    let mut bench = Bench::new();
    bench.change(|part, out| part.port_event(0, out));
    assert_eq!(bench.guest.heard, CAPABILITIES);
    bench.guest.heard.clear();
    bench
}

/// A device with one client that sees the picture.
fn watched(caps: u32) -> (Bench, ConnectionId) {
    let mut bench = opened();
    let at = bench.connect(true, caps);
    bench.guest.heard.clear();
    (bench, at)
}

/// The types of the messages that came since the last time.
fn types(bench: &mut Bench, at: ConnectionId) -> Vec<u16> {
    let types = std::mem::take(&mut bench.screen(at).types);
    types.into_iter().filter(|kind| *kind != 4).collect()
}

/// A frame.
fn frame(number: u8, size: usize) -> Vec<u8> {
    message(3, &vec![number; size])
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]
    #[test]
    fn any_guest_and_any_clients(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz_stream_device(&data);
    }
}
