//! What clients see.

use super::*;
use crate::limits::{STREAM_PATIENCE, STREAM_RESTART_PAUSE};

#[test]
fn a_stream_begins_as_with_the_original() {
    let (mut bench, at) = watched(ALL);
    // SET_ACK, INVAL_ALL_PALETTES.
    assert_eq!(types(&mut bench, at), [3, 108]);
    bench.say(&format(64, 48, 1));
    assert_eq!(types(&mut bench, at), [314, 317, 102, 122, 319]);
    bench.say(&frame(1, 50));
    assert_eq!(types(&mut bench, at), [123]);
    bench.say(&format(64, 48, 2));
    assert_eq!(types(&mut bench, at), [125, 122, 319]);
    assert_eq!(bench.screen(at).stream, Some((1, 2)));
    bench.say(&format(32, 48, 1));
    assert_eq!(types(&mut bench, at), [125, 315, 314, 317, 102, 122, 319]);
    bench.say(&message(3, b""));
    assert_eq!(types(&mut bench, at), []);
    bench.change(|part, out| part.port_event(1, out));
    assert_eq!(types(&mut bench, at), [125, 315]);
    // Numbers begin anew with the port.
    bench.say(&format(32, 48, 1));
    assert_eq!(bench.screen(at).stream, Some((0, 1)));
}

#[test]
fn clients_are_sent_what_they_know_only() {
    let (mut bench, at) = watched(0);
    bench.say(&format(64, 48, 1));
    assert_eq!(types(&mut bench, at), [3, 108, 314, 102, 122]);
    // A codec that the client does not decode leaves it without a stream.
    bench.say(&[format(64, 48, 2), frame(1, 10)].concat());
    assert_eq!(types(&mut bench, at), [125]);
    assert!(bench.guest.says.is_empty());
}

#[test]
fn a_client_that_comes_later_joins_the_next_stream() {
    let (mut bench, first) = watched(ALL);
    bench.say(&[format(64, 48, 2), frame(1, 10)].concat());
    let second = bench.connect(true, ALL);
    // A black picture.
    assert_eq!(types(&mut bench, second), [3, 108, 314, 317, 302, 102]);
    bench.say(&frame(2, 10));
    assert_eq!(types(&mut bench, second), []);
    bench.say(&[format(64, 48, 2), frame(3, 10)].concat());
    assert_eq!(types(&mut bench, second), [122, 319, 123]);
    assert_eq!(bench.screen(first).frames, [1, 2, 3]);
}

#[test]
fn the_picture_goes_with_the_last_client() {
    let (mut bench, at) = watched(ALL);
    bench.say(&format(64, 48, 1));
    bench.close(at);
    let next = bench.connect(true, ALL);
    assert_eq!(types(&mut bench, next), [3, 108]);
    bench.close(next);
    // One that comes while the guest already streams sees its size.
    bench.say(&[format(20, 10, 1), frame(1, 9)].concat());
    let last = bench.connect(true, ALL);
    assert_eq!(bench.screen(last).surface, Some([20, 10]));
}

#[test]
fn a_guest_is_read_as_fast_as_its_only_client_reads() {
    let (mut bench, at) = watched(ALL);
    bench.say(&format(64, 48, 3));
    bench.set_room(at, 0);
    for number in 0..20 {
        bench.say(&frame(number, 1000));
    }
    assert_eq!(bench.guest.says.len(), 19 * 1008, "one frame is on its way");
    bench.wait(STREAM_PATIENCE * 10);
    bench.set_room(at, usize::MAX);
    // The window: 20 messages until the client acknowledges some.
    bench.send(at, 1, &1u32.to_le_bytes());
    bench.send(at, 2, b"");
    assert_eq!(bench.screen(at).frames, (0..20).collect::<Vec<u8>>());
    assert!(bench.guest.says.is_empty());
}

#[test]
fn a_slow_client_does_not_slow_down_others_that_watch_mjpeg() {
    let (mut bench, fast) = watched(ALL);
    let slow = bench.connect(true, ALL);
    bench.say(&format(64, 48, 1));
    bench.set_room(slow, 0);
    for number in 0..10 {
        bench.say(&frame(number, 1000));
    }
    assert_eq!(bench.screen(fast).frames, (0..10).collect::<Vec<u8>>());
    bench.set_room(slow, usize::MAX);
    // What was on its way, and the newest.
    assert_eq!(bench.screen(slow).frames, [0, 9]);
}

#[test]
fn a_slow_client_loses_frames_that_need_each_other_until_the_stream_begins_anew() {
    let (mut bench, fast) = watched(ALL);
    let slow = bench.connect(true, ALL);
    bench.say(&format(64, 48, 2));
    bench.guest.heard.clear();
    bench.set_room(slow, 0);
    bench.say(&[frame(1, 1000), frame(2, 1000), frame(3, 1000)].concat());
    assert_eq!(bench.screen(fast).frames, [1], "the others wait for a moment");
    bench.wait(STREAM_PATIENCE);
    assert_eq!(bench.screen(fast).frames, [1, 2, 3]);
    bench.set_room(slow, usize::MAX);
    bench.say(&frame(4, 1000));
    assert_eq!(bench.screen(slow).frames, [1]);
    bench.wait(STREAM_RESTART_PAUSE);
    assert_eq!(bench.guest.heard[..3], [1, 0, 4], "the guest is asked for another stream");
    bench.say(&[format(64, 48, 2), frame(5, 1000)].concat());
    assert_eq!(bench.screen(slow).frames, [1, 5]);
    assert_eq!(bench.screen(fast).frames, [1, 2, 3, 4, 5]);
}

#[test]
fn what_the_server_does_not_use_is_accepted_and_what_nobody_asked_for_ends_the_channel() {
    let (mut bench, at) = watched(ALL);
    bench.send(at, 101, &[0; 14]);
    bench.send(at, 102, &[0; 32]);
    bench.send(at, 103, &[1]);
    bench.send(at, 105, &[1, 1]);
    assert!(bench.is_linked(at));
    bench.send(at, 104, b"");
    assert!(!bench.is_linked(at));
}

fn pointer(width: u16, data: usize) -> Vec<u8> {
    let sizes = [width, 2, 1, 1].map(u16::to_le_bytes);
    message(6, &[sizes.as_flattened(), &[0; 4], &vec![9; data]].concat())
}

#[test]
fn pointers_are_told_in_order_and_slow_clients_get_the_newest() {
    let mut bench = opened();
    let at = bench.connect(false, 0);
    let place = |x: i32| message(7, &[x.to_le_bytes(), 9i32.to_le_bytes()].concat());
    bench.say(&[place(1), pointer(2, 16), place(2)].concat());
    assert_eq!(types(&mut bench, at), [3, 101, 104, 103, 104]);
    bench.set_room(at, 0);
    for x in 0..100 {
        bench.say(&[place(x), pointer(2, 16)].concat());
    }
    bench.set_room(at, usize::MAX);
    assert_eq!(types(&mut bench, at), [104, 103, 104]);
    // A shape without pixels hides the pointer instead of being refused by clients.
    bench.say(&pointer(0, 0));
    assert_eq!(types(&mut bench, at), [103]);
    let later = bench.connect(false, 0);
    assert_eq!(types(&mut bench, later), [3, 101]);
}
