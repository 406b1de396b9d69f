use super::Bench;
use crate::channel::Channel;
use crate::channel::connection::ConnectionId;
use crate::channel::sound::record::fuzz_record_channel;
use crate::channel::sound::{FRAME, RecordChannel};
use proptest::prelude::*;
use std::time::Duration;

const ALL: u32 = 0b110;
const DATA: u16 = 101;
const MODE: u16 = 102;

fn bench() -> Bench<RecordChannel> {
    Bench::new(RecordChannel::default())
}

impl Bench<RecordChannel> {
    fn start(&mut self) {
        self.call(RecordChannel::start);
    }
    fn stop(&mut self) {
        self.call(RecordChannel::stop);
    }
    fn take(&mut self, max: usize) -> Vec<u32> {
        self.call(|channel, _| channel.samples(max))
    }
    fn say(&mut self, at: ConnectionId, kind: u16, body: &[u8]) {
        self.peers[&at].send(kind, body);
        self.read(at);
    }
    /// A raw packet with these samples.
    fn samples(&mut self, at: ConnectionId, samples: impl Iterator<Item = u32>) {
        let mut body = vec![0; 4];
        samples.for_each(|sample| body.extend(sample.to_le_bytes()));
        self.say(at, DATA, &body);
    }
    fn set_mode(&mut self, at: ConnectionId, mode: u16) {
        self.say(at, MODE, &[&[0; 4][..], &mode.to_le_bytes()].concat());
    }
}

#[test]
fn the_client_is_told_to_record() {
    let mut bench = bench();
    let at = bench.connect(ALL);
    assert!(bench.got(at).is_empty());
    bench.start();
    assert_eq!(bench.got(at), [(101, vec![2, 0, 0, 0, 1, 0, 0x80, 0xbb, 0, 0])]);
    bench.call(|channel, out| channel.set_volume(vec![3, 4], out));
    bench.call(|channel, out| channel.set_mute(true, out));
    bench.stop();
    bench.start();
    assert_eq!(bench.types(at), [103, 104, 102, 101]);
    // The next one takes its place.
    let next = bench.connect(ALL);
    assert!(!bench.is_linked(at) && bench.is_linked(next));
    assert_eq!(bench.types(next), [101, 103, 104]);
    let old = bench.connect(0);
    assert_eq!(bench.types(old), [101]);
}

#[test]
fn cycles_while_the_client_is_slow_end_in_the_last_state() {
    let mut bench = bench();
    let at = bench.connect(ALL);
    bench.set_room(at, 5);
    for _ in 0..10 {
        bench.start();
        bench.stop();
    }
    bench.start();
    bench.set_room(at, usize::MAX);
    assert_eq!(bench.types(at), [101]);
    bench.stop();
    assert_eq!(bench.types(at), [102]);
}

#[test]
fn samples_come_in_order_once_there_are_enough() {
    let mut bench = bench();
    assert!(bench.take(10).is_empty());
    let at = bench.connect(0);
    // From before the start.
    bench.samples(at, 0..8000);
    assert!(bench.take(10).is_empty());
    bench.start();
    bench.samples(at, 0..4095);
    assert!(bench.take(usize::MAX).is_empty());
    bench.samples(at, 4095..4096);
    assert_eq!(bench.take(3), [0, 1, 2]);
    assert_eq!(bench.take(usize::MAX), (3..4096).collect::<Vec<_>>());
    // The threshold counts from the start.
    bench.samples(at, 7..8);
    assert_eq!(bench.take(10), [7]);
    assert!(bench.take(10).is_empty());
    bench.stop();
    bench.samples(at, 0..5000);
    assert!(bench.take(10).is_empty());
}

#[test]
fn the_newest_samples_are_kept() {
    let mut bench = bench();
    let at = bench.connect(0);
    bench.start();
    for packet in 0..30u32 {
        bench.samples(at, packet * 480..(packet + 1) * 480);
    }
    assert_eq!(bench.take(usize::MAX), (14_400 - 8192..14_400).collect::<Vec<_>>());
    bench.samples(at, 0..10_000);
    assert_eq!(bench.take(usize::MAX), (10_000 - 8192..10_000).collect::<Vec<_>>());
}

#[test]
fn half_a_sample_is_dropped() {
    let mut bench = bench();
    let at = bench.connect(0);
    bench.start();
    bench.samples(at, 0..4096);
    bench.say(at, DATA, &[0, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9]);
    bench.say(at, DATA, &[0, 0, 0, 0]);
    assert_eq!(bench.take(usize::MAX)[4096..], [1]);
    assert!(bench.is_linked(at));
}

#[test]
fn opus_is_decoded() {
    let mut bench = bench();
    bench.call(|channel, out| channel.set_rate(48_000, out));
    assert!(bench.served.channel().profile().caps.contains(&2));
    let at = bench.connect(ALL);
    bench.start();
    bench.set_mode(at, 3);
    let mut encoder = spice_opus::Encoder::new(48_000).unwrap();
    for frame in 0..20 {
        let samples: Vec<i16> = (0..FRAME)
            .flat_map(|n| {
                let angle = std::f64::consts::TAU * 500.0 * (frame * FRAME + n) as f64 / 48_000.0;
                [(9_000.0 * angle.sin()) as i16, 0]
            })
            .collect();
        let mut packet = vec![0; 484];
        let size = encoder.encode(&samples, &mut packet[4..]).unwrap();
        bench.say(at, DATA, &packet[..4 + size]);
    }
    let got = bench.take(usize::MAX);
    assert_eq!(got.len(), 8192);
    let loudest = |shift: u32| got.iter().map(|s| ((s >> shift) as u16).cast_signed()).max().unwrap();
    assert!(loudest(0) > 6_000 && loudest(16) < 1_500, "{} {}", loudest(0), loudest(16));
    // Back to raw, and Opus again with a decoder of its own.
    bench.set_mode(at, 1);
    bench.samples(at, 5..6);
    assert_eq!(bench.take(usize::MAX), [5]);
    bench.set_mode(at, 3);
    assert!(bench.is_linked(at));
}

#[test]
fn bad_sound_ends_the_link() {
    let hostile: [fn(&mut Bench<RecordChannel>, ConnectionId); 8] = [
        |bench, at| bench.set_mode(at, 2),
        |bench, at| bench.set_mode(at, 0),
        |bench, at| bench.set_mode(at, 0xffff),
        |bench, at| {
            bench.set_mode(at, 3);
            bench.say(at, DATA, &[0xff; 20]);
        },
        |bench, at| {
            bench.set_mode(at, 3);
            // 60 ms.
            let mut packet = [0; 484];
            let size =
                spice_opus::Encoder::new(48_000).unwrap().encode(&[0; 5760], &mut packet[4..]).unwrap();
            bench.say(at, DATA, &packet[..4 + size]);
        },
        |bench, at| bench.say(at, DATA, &[1, 2]),
        |bench, at| bench.say(at, 104, &[0; 8]),
        |bench, at| bench.say(at, DATA, &vec![0; (64 << 10) + 1]),
    ];
    for (n, attack) in hostile.into_iter().enumerate() {
        let mut bench = bench();
        let at = bench.connect(ALL);
        bench.start();
        attack(&mut bench, at);
        assert!(!bench.is_linked(at), "attack {n}");
        assert!(bench.take(10).is_empty());
    }
}

#[test]
fn opus_needs_its_rate() {
    let mut bench = bench();
    bench.call(|channel, out| channel.set_rate(44_100, out));
    assert!(!bench.served.channel().profile().caps.contains(&2));
    let at = bench.connect(ALL);
    bench.set_mode(at, 3);
    assert!(!bench.is_linked(at));
}

#[test]
fn a_new_rate_starts_the_client_again() {
    let mut bench = bench();
    let at = bench.connect(ALL);
    bench.start();
    bench.got(at);
    bench.call(|channel, out| channel.set_rate(24_000, out));
    assert_eq!(bench.got(at)[0].1[6..], 24_000u32.to_le_bytes());
}

#[test]
fn a_flood_of_packets_is_dropped_and_forgiven() {
    let mut bench = bench();
    let at = bench.connect(ALL);
    bench.start();
    bench.set_mode(at, 3);
    let mut packet = [0; 484];
    let size = spice_opus::Encoder::new(48_000).unwrap().encode(&[0; 960], &mut packet[4..]).unwrap();
    let send = |bench: &mut Bench<RecordChannel>, count: usize| {
        (0..count).for_each(|_| bench.say(at, DATA, &packet[..4 + size]));
        bench.take(usize::MAX).len()
    };
    assert_eq!(send(&mut bench, 300), 8192);
    assert_eq!(send(&mut bench, 300), 0);
    assert!(bench.is_linked(at));
    bench.now += Duration::from_millis(25);
    assert_eq!(send(&mut bench, 300), 10 * FRAME);
}

proptest! {
    #[test]
    fn any_bytes_are_judged(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_record_channel(&data);
    }

    /// The ring against the plain thing: all samples, of which the last 8192 count.
    #[test]
    fn the_ring_is_a_queue_that_forgets(steps in prop::collection::vec((0usize..6000, 0usize..6000), 1..20)) {
        let mut bench = bench();
        let at = bench.connect(0);
        bench.start();
        let (mut model, mut next, mut arrived) = (Vec::new(), 0u32, 0);
        for (push, take) in steps {
            bench.samples(at, next..next + push as u32);
            model.extend(next..next + push as u32);
            next += push as u32;
            arrived += push;
            let excess = model.len().saturating_sub(8192);
            model.drain(..excess);
            let taken = bench.take(take);
            let due = if arrived < 4096 { 0 } else { take.min(model.len()) };
            prop_assert_eq!(taken, model.drain(..due).collect::<Vec<_>>());
        }
    }
}
