use super::Bench;
use crate::channel::Channel;
use crate::channel::connection::ConnectionId;
use crate::channel::sound::{FRAME, Frame, Loan, PlaybackChannel, joined, pair};
use proptest::prelude::*;
use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

/// VOLUME, LATENCY, OPUS.
const ALL: u32 = 0b1110;
const VOLUME: u32 = 0b10;
const DATA: u16 = 101;
const MODE: u16 = 102;
const START: u16 = 103;
const STOP: u16 = 104;

fn bench(compress: bool) -> Bench<PlaybackChannel> {
    Bench::new(PlaybackChannel::new(compress))
}

impl Bench<PlaybackChannel> {
    fn start(&mut self) {
        self.call(PlaybackChannel::start);
    }
    fn stop(&mut self) {
        self.call(PlaybackChannel::stop);
    }
    fn lend(&mut self) -> Option<Loan> {
        self.call(|channel, _| channel.lend())
    }
    fn put(&mut self, loan: Loan, value: u32) {
        self.call(|channel, out| channel.play(loan, Arc::new([value; FRAME]), out));
    }
    /// One frame as hosts play them.
    fn play(&mut self, value: u32) {
        let loan = self.lend().unwrap();
        self.put(loan, value);
    }
    /// The first sample of each raw DATA, and the other messages by type.
    fn heard(&self, at: ConnectionId) -> Vec<Result<u32, u16>> {
        let of = |(kind, body): (u16, Vec<u8>)| match (kind, body.get(4..8)) {
            (DATA, Some(sample)) => {
                assert_eq!(body.len(), 1924);
                Ok(u32::from_le_bytes(sample.try_into().unwrap()))
            }
            _ => Err(kind),
        };
        self.got(at).into_iter().map(of).collect()
    }
}

#[test]
fn a_client_is_greeted_with_what_there_is() {
    let mut bench = bench(true);
    let at = bench.connect(ALL);
    let got = bench.got(at);
    assert_eq!(got.len(), 1);
    assert_eq!((got[0].0, &got[0].1[4..]), (MODE, &[3, 0][..]));
    bench.call(|channel, out| channel.set_volume(vec![1, 0xffff], out));
    bench.call(|channel, out| channel.set_mute(true, out));
    bench.start();
    assert_eq!(bench.got(at)[..2], [(105, vec![2, 1, 0, 255, 255]), (106, vec![1])]);
    // Another comes when all is known: the order is the protocol's.
    let at = bench.connect(ALL);
    assert_eq!(bench.types(at), [MODE, START, 105, 106]);
    let at = bench.connect(0);
    let got = bench.got(at);
    assert_eq!(got.iter().map(|m| m.0).collect::<Vec<_>>(), [MODE, START]);
    assert_eq!(got[0].1[4..], [1, 0]);
    assert_eq!(got[1].1[..10], [2, 0, 0, 0, 1, 0, 0x80, 0xbb, 0, 0]);
}

#[test]
fn no_volume_is_told_without_channels() {
    let mut bench = bench(true);
    let at = bench.connect(VOLUME);
    bench.call(|channel, out| channel.set_volume(Vec::new(), out));
    assert_eq!(bench.types(at), [MODE]);
    // Mute alone is told to those who are there.
    bench.call(|channel, out| channel.set_mute(true, out));
    assert_eq!(bench.types(at), [106]);
    let at = bench.connect(VOLUME);
    assert_eq!(bench.types(at), [MODE]);
}

#[test]
fn frames_are_lent_while_somebody_listens() {
    let mut bench = bench(false);
    bench.start();
    assert_eq!(bench.lend(), None);
    bench.stop();
    let at = bench.connect(0);
    assert_eq!(bench.lend(), None);
    bench.start();
    let loans: Vec<Loan> = std::iter::from_fn(|| bench.lend()).collect();
    assert_eq!(loans.len(), 3);
    bench.put(loans[0], 7);
    assert!(bench.lend().is_some());
    assert_eq!(bench.heard(at), [Err(MODE), Err(START), Ok(7)]);
    // What was lent for a client that went is not played to the next one, which has its own three.
    bench.close(at);
    let next = bench.connect(0);
    bench.put(loans[1], 8);
    assert_eq!(bench.heard(next), [Err(MODE), Err(START)]);
    assert_eq!(std::iter::from_fn(|| bench.lend()).count(), 3);
}

#[test]
fn what_is_put_after_stop_is_not_heard() {
    let mut bench = bench(false);
    let at = bench.connect(0);
    bench.start();
    let loan = bench.lend().unwrap();
    bench.play(1);
    bench.stop();
    bench.put(loan, 2);
    bench.start();
    bench.play(3);
    assert_eq!(bench.heard(at), [Err(MODE), Err(START), Ok(1), Err(STOP), Err(START), Ok(3)]);
}

#[test]
fn a_slow_client_hears_the_newest() {
    let mut bench = bench(false);
    let (slow, fast) = (bench.connect(0), bench.connect(0));
    bench.start();
    bench.set_room(slow, 100);
    for value in 1..=200 {
        bench.play(value);
    }
    assert_eq!(bench.heard(fast).len(), 202);
    bench.set_room(slow, usize::MAX);
    // The one on its way when the socket was full, and the last.
    assert_eq!(bench.heard(slow), [Err(MODE), Err(START), Ok(1), Ok(200)]);
}

#[test]
fn starts_and_stops_that_were_not_sent_cancel_each_other() {
    let mut bench = bench(false);
    let at = bench.connect(0);
    bench.start();
    assert_eq!(bench.heard(at), [Err(MODE), Err(START)]);
    bench.set_room(at, 0);
    bench.play(1);
    bench.play(2);
    bench.stop();
    bench.start();
    bench.set_room(at, usize::MAX);
    assert_eq!(bench.heard(at), [Ok(1), Ok(2)]);
    bench.set_room(at, 0);
    bench.play(3);
    bench.play(4);
    bench.stop();
    bench.set_room(at, usize::MAX);
    assert_eq!(bench.heard(at), [Ok(3), Ok(4), Err(STOP)]);
    // A START that was not sent takes its sound with it.
    bench.set_room(at, 0);
    bench.call(|channel, out| channel.set_compression(true, out));
    bench.start();
    bench.stop();
    bench.start();
    bench.set_room(at, usize::MAX);
    assert_eq!(bench.heard(at), [Err(START)]);
}

#[test]
fn compression_is_switched_while_it_plays() {
    let mut bench = bench(false);
    let at = bench.connect(ALL);
    bench.start();
    bench.play(1);
    assert_eq!(bench.types(at), [MODE, START, DATA]);
    bench.call(|channel, out| channel.set_compression(true, out));
    bench.play(2);
    // The client has a decoder only if it is started again.
    let got = bench.got(at);
    assert_eq!(got.iter().map(|m| m.0).collect::<Vec<_>>(), [MODE, START, DATA]);
    assert_eq!(got[0].1[4..], [3, 0]);
    assert!(got[2].1.len() < 484, "{} bytes", got[2].1.len());
    bench.call(|channel, out| channel.set_compression(false, out));
    bench.play(3);
    assert_eq!(bench.heard(at), [Err(MODE), Ok(3)]);
    // Back again within one START: that decoder is still there.
    bench.call(|channel, out| channel.set_compression(true, out));
    bench.play(4);
    assert_eq!(bench.types(at), [MODE, DATA]);
}

#[test]
fn the_rate_decides_about_opus() {
    let mut bench = bench(true);
    let opus = |bench: &Bench<PlaybackChannel>| bench.served.channel().profile().caps.contains(&3);
    assert!(!opus(&bench));
    let at = bench.connect(ALL);
    bench.call(|channel, out| channel.set_rate(44_100, out));
    bench.start();
    bench.play(5);
    assert!(!opus(&bench));
    let got = bench.got(at);
    assert_eq!(got.iter().map(|m| m.0).collect::<Vec<_>>(), [MODE, MODE, START, DATA]);
    assert_eq!((&got[0].1[4..], &got[1].1[4..]), (&[3, 0][..], &[1, 0][..]));
    assert_eq!((&got[2].1[6..10], got[3].1.len()), (&44_100u32.to_le_bytes()[..], 1924));
    // While it plays: the client is started again with the new rate.
    for rate in [24_000u32, 8_000, 12_000, 48_000] {
        bench.call(|channel, out| channel.set_rate(rate, out));
        assert!(opus(&bench));
        bench.play(5);
        let got = bench.got(at);
        let start = got.iter().find(|m| m.0 == START).unwrap();
        assert_eq!(start.1[6..10], rate.to_le_bytes());
        assert!(got.last().unwrap().1.len() < 484);
    }
    // 480 samples are no Opus frame there.
    bench.call(|channel, out| channel.set_rate(16_000, out));
    bench.play(6);
    assert!(!opus(&bench) && bench.is_linked(at));
    assert_eq!(bench.heard(at).last(), Some(&Ok(6)));
}

#[test]
fn the_clock_is_given_back_when_nobody_hears() {
    let mut bench = bench(false);
    let releases = |bench: &Bench<PlaybackChannel>| bench.served.channel().clock_releases();
    bench.start();
    bench.stop();
    assert_eq!(releases(&bench), 0);
    let at = bench.connect(0);
    bench.start();
    assert!(bench.served.channel().is_heard());
    bench.stop();
    assert_eq!(releases(&bench), 1);
    bench.start();
    let other = bench.connect(0);
    bench.close(at);
    assert_eq!(releases(&bench), 1);
    bench.close(other);
    assert_eq!(releases(&bench), 2);
    assert!(!bench.served.channel().is_heard());
}

#[test]
fn times_are_those_of_the_put() {
    let mut bench = bench(false);
    let at = bench.connect(0);
    bench.start();
    bench.got(at);
    let mut times = Vec::new();
    for _ in 0..3 {
        bench.play(0);
        bench.now += Duration::from_millis(10);
        times.extend(bench.got(at).iter().map(|m| u32::from_le_bytes(m.1[..4].try_into().unwrap())));
    }
    assert_eq!((times[1] - times[0], times[2] - times[1]), (10, 10));
}

#[test]
fn a_tone_arrives_through_opus() {
    let mut bench = bench(true);
    let at = bench.connect(ALL);
    bench.start();
    bench.got(at);
    let mut decoder = spice_opus::Decoder::new(48_000).unwrap();
    let (mut left, mut bytes) = (Vec::new(), 0);
    for frame in 0..100 {
        let mut samples: Frame = [0; FRAME];
        for (n, sample) in samples.iter_mut().enumerate() {
            let angle = TAU * 1000.0 * (frame * FRAME + n) as f64 / 48_000.0;
            // Left only: the channels must not be swapped.
            *sample = joined((12_000.0 * angle.sin()) as i16, 0);
        }
        let loan = bench.lend().unwrap();
        bench.call(|channel, out| channel.play(loan, Arc::new(samples), out));
        for (kind, body) in bench.got(at) {
            assert_eq!(kind, DATA);
            bytes += body.len();
            let mut pcm = [0i16; 2 * FRAME];
            assert_eq!(decoder.decode(&body[4..], &mut pcm), Ok(FRAME));
            left.extend(pcm.iter().step_by(2).copied());
        }
    }
    let settled = &left[4800..];
    let rises = settled.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
    assert!((rises as i64 * 48_000 / settled.len() as i64 - 1000).abs() <= 12, "{rises} rises");
    assert!(settled.iter().max().unwrap() > &9_000);
    assert!(bytes < 100 * 300, "{bytes} bytes");
}

#[test]
fn pairs_are_left_then_right() {
    assert_eq!(pair(0xfffe_0001), [1, -2]);
    assert_eq!(joined(1, -2), 0xfffe_0001);
}

#[test]
fn a_playback_client_has_nothing_to_say() {
    let mut bench = bench(false);
    let at = bench.connect(0);
    bench.peers[&at].send(101, &[0; 8]);
    bench.read(at);
    assert!(!bench.is_linked(at));
}

#[derive(Clone, Debug)]
enum Step {
    Start,
    Stop,
    Put,
    Compress(bool),
    Rate(u32),
    Room(usize),
    Volume,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Start),
        2 => Just(Step::Stop),
        6 => Just(Step::Put),
        1 => any::<bool>().prop_map(Step::Compress),
        1 => prop::sample::select(vec![48_000, 44_100, 16_000, 8_000]).prop_map(Step::Rate),
        4 => prop::sample::select(vec![0, 3, 100, 2500, usize::MAX]).prop_map(Step::Room),
        1 => Just(Step::Volume),
        1 => Just(Step::Reconnect),
    ]
}

/// What a client must see, message by message.
#[derive(Default)]
struct Judge {
    mode: Option<u8>,
    started: bool,
    started_in: Option<u8>,
    last: u32,
}

impl Judge {
    fn see(&mut self, kind: u16, body: &[u8]) {
        match kind {
            MODE => self.mode = Some(body[4]),
            START => (self.started, self.started_in) = (self.mode.is_some(), self.mode),
            STOP => {
                assert!(self.started, "STOP without START");
                self.started = false;
            }
            DATA => {
                assert!(self.started, "sound outside of START and STOP");
                assert!(self.mode == Some(1) || self.started_in == Some(3), "no decoder for it");
                assert_eq!(self.mode == Some(1), body.len() == 1924);
                if body.len() == 1924 {
                    let value = u32::from_le_bytes(body[4..8].try_into().unwrap());
                    assert!(value > self.last, "sound out of order");
                    self.last = value;
                }
            }
            _ => {}
        }
    }
}

proptest! {
    /// Whatever the host does and however the client reads: sound comes between START and STOP, in order, in a mode that the
    /// client has a decoder for; and once the client has read everything, it knows whether the guest plays.
    #[test]
    fn any_order_of_calls_makes_sense_to_the_client(steps in prop::collection::vec(step(), 1..80)) {
        let mut bench = bench(true);
        let mut at = bench.connect(ALL);
        let mut judge = Judge::default();
        let mut playing = false;
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Start => { bench.start(); playing = true; }
                Step::Stop => { bench.stop(); playing = false; }
                Step::Put => if let Some(loan) = bench.lend() { bench.put(loan, n as u32 + 1) },
                Step::Compress(on) => bench.call(|channel, out| channel.set_compression(on, out)),
                Step::Rate(rate) => bench.call(|channel, out| channel.set_rate(rate, out)),
                Step::Room(room) => bench.set_room(at, room),
                Step::Volume => bench.call(|channel, out| channel.set_volume(vec![1, 2], out)),
                Step::Reconnect => {
                    bench.close(at);
                    at = bench.connect(ALL);
                    judge = Judge::default();
                }
            }
            prop_assert!(bench.is_linked(at));
            prop_assert!(bench.served.links().get(at).unwrap().stream().pending_bytes() < 4096);
            for (kind, body) in bench.got(at) {
                judge.see(kind, &body);
            }
        }
        bench.set_room(at, usize::MAX);
        for (kind, body) in bench.got(at) {
            judge.see(kind, &body);
        }
        prop_assert_eq!(judge.started, playing);
    }
}
