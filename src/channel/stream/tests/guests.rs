//! What the guest is told, and what it may do wrong.

use super::*;
use crate::channel::stream::oracle::Guest;
use std::time::Duration;

fn start_stop(codecs: &[u8]) -> Vec<u8> {
    let count = u8::try_from(codecs.len()).unwrap();
    [&[1, 0, 4, 0, count + 1, 0, 0, 0, count], codecs].concat()
}

/// What the guest heard since the last time.
fn heard(bench: &mut Bench) -> Vec<u8> {
    std::mem::take(&mut bench.guest.heard)
}

#[test]
fn guest_streams_while_clients_watch_in_codecs_that_all_decode() {
    let mut bench = opened();
    let first = bench.connect(true, ALL);
    assert_eq!(heard(&mut bench), start_stop(&[1, 2, 3, 4, 5]));
    let second = bench.connect(true, MULTI_CODEC_VP8);
    assert_eq!(heard(&mut bench), start_stop(&[1, 2]));
    bench.close(first);
    assert!(heard(&mut bench).is_empty());
    bench.close(second);
    assert_eq!(heard(&mut bench), start_stop(&[]));
}

#[test]
fn a_guest_that_opens_its_port_late_learns_of_its_client() {
    let mut bench = Bench::new();
    bench.connect(true, 0);
    assert!(heard(&mut bench).is_empty());
    bench.change(|part, out| part.port_event(0, out));
    assert_eq!(heard(&mut bench), [&CAPABILITIES[..], &start_stop(&[1])].concat());
    assert_eq!(bench.guest.states, [true]);
}

#[test]
fn a_guest_that_reads_nothing_gets_the_newest_request_only() {
    let mut bench = opened();
    bench.guest.room = 0;
    for _ in 0..1000 {
        let at = bench.connect(true, ALL);
        bench.close(at);
    }
    bench.connect(true, 0);
    bench.guest.room = usize::MAX;
    bench.say(b"");
    let told = heard(&mut bench);
    assert!(told.ends_with(&start_stop(&[1])) && told.len() < 64, "{told:?}");
}

#[test]
fn violations_end_the_stream_until_the_port_opens_again() {
    let (mut bench, at) = watched(ALL);
    bench.say(&[format(64, 48, 1), message(9, b""), vec![7; 100_000]].concat());
    let text = b"Invalid message type\0";
    assert_eq!(heard(&mut bench), [&[1, 0, 5, 0, 25, 0, 0, 0, 0, 0, 0, 0][..], text].concat());
    // Never from inside of a call of the device.
    assert_eq!(bench.guest.states, [true]);
    bench.wait(Duration::ZERO);
    assert_eq!(bench.guest.states, [true, false]);
    bench.say(&format(32, 32, 1));
    assert!(bench.guest.says.is_empty(), "what it says is taken and ignored");
    assert_eq!(bench.screen(at).surface, Some([64, 48]));
    bench.change(|part, out| part.port_event(1, out));
    bench.change(|part, out| part.port_event(0, out));
    assert_eq!(bench.guest.states, [true, false, true, true]);
    assert_eq!(bench.screen(at).surface, None);
    bench.say(&format(32, 32, 1));
    assert_eq!(bench.screen(at).surface, Some([32, 32]));
    assert!(bench.is_linked(at));
}

#[test]
fn a_port_that_was_closed_meanwhile_is_not_told_that_it_failed() {
    let (mut bench, _) = watched(ALL);
    bench.say(&message(0, b""));
    bench.change(|part, out| part.port_event(1, out));
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.guest.states, [true, true]);
}

#[test]
fn messages_arrive_in_any_pieces() {
    let (mut bench, at) = watched(ALL);
    let all = [format(64, 48, 1), frame(1, 300), message(1, b""), frame(2, 1)].concat();
    for byte in all {
        bench.say(&[byte]);
    }
    assert_eq!(bench.screen(at).frames, [1, 2]);
}

#[test]
fn what_a_guest_announces_and_does_not_send_costs_nothing() {
    let (mut bench, at) = watched(ALL);
    let [a, b, c, d] = u32::to_le_bytes(32 << 20);
    bench.say(&[1, 0, 3, 0, a, b, c, d]);
    bench.say(&[5; 1000]);
    assert_eq!(bench.screen(at).frames, []);
    let Guest { says, states, .. } = &bench.guest;
    assert!(says.is_empty() && states == &[true]);
}

#[test]
fn places_of_displays_are_told_to_the_server() {
    let (mut bench, _) = watched(ALL);
    let numbers = [7u32, 3, 14].map(u32::to_le_bytes);
    bench.say(&message(8, &[numbers.as_flattened(), b"pci/0000/02.0\0"].concat()));
    let place = &bench.places[0];
    assert_eq!((place.stream_id, place.device_display_id, &*place.address), (7, 3, "pci/0000/02.0"));
}
