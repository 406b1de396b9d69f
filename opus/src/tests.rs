use super::*;
use std::f64::consts::TAU;

fn tone(rate: u32, hz: f64, from: usize) -> Vec<i16> {
    (from..from + 480)
        .flat_map(|n| {
            let value = (20_000.0 * (TAU * hz * n as f64 / f64::from(rate)).sin()) as i16;
            [value, value]
        })
        .collect()
}

#[test]
fn a_tone_survives() {
    for rate in [8_000, 12_000, 24_000, 48_000] {
        let (mut encoder, mut decoder) = (Encoder::new(rate).unwrap(), Decoder::new(rate).unwrap());
        let mut left: Vec<i16> = Vec::new();
        for frame in 0..50 {
            let mut packet = [0; 480];
            let size = encoder.encode(&tone(rate, 440.0, frame * 480), &mut packet).unwrap();
            let mut samples = [0; 960];
            assert_eq!(decoder.decode(&packet[..size], &mut samples), Ok(480));
            left.extend(samples.iter().step_by(2));
        }
        // Crossings of zero per second, half of which rise.
        let settled = &left[4_800..];
        let rises = settled.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
        let hz = rises as f64 * f64::from(rate) / settled.len() as f64;
        assert!((hz - 440.0).abs() < 6.0, "{hz} Hz at {rate}");
    }
}

#[test]
fn what_opus_does_not_have_is_refused() {
    assert!(Encoder::new(44_100).is_none() && Decoder::new(44_100).is_none());
    assert!(Encoder::new(0).is_none() && Encoder::new(u32::MAX).is_none());
    // 480 pairs are 30 ms at 16 kHz.
    let mut encoder = Encoder::new(16_000).unwrap();
    assert_eq!(encoder.encode(&[0; 960], &mut [0; 480]), Err(Error(-1)));
}

#[test]
fn bad_packets_are_errors() {
    let mut decoder = Decoder::new(48_000).unwrap();
    let mut samples = [0; 960];
    assert!(decoder.decode(&[], &mut samples).is_err());
    assert_eq!(decoder.decode(&[0xff; 3], &mut samples), Err(Error(-4)));
    // 20 ms have no room.
    let mut packet = [0; 480];
    let size = Encoder::new(48_000).unwrap().encode(&[0; 1920], &mut packet).unwrap();
    assert_eq!(decoder.decode(&packet[..size], &mut samples), Err(Error(-2)));
}
