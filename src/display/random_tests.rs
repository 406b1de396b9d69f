//! Random guests and clients: in the end all pictures are equal, and every command is given back.

use super::*;

fn run(settings: DisplaySettings, steps: Vec<(u8, [u16; 6])>, lossy: bool) {
    let mut rig = Rig::new(settings);
    rig.lossy = lossy;
    rig.video = rig.channel.settings.streaming == StreamingVideo::All;
    rig.slice_pixels = Some(60);
    rig.primary();
    rig.attach(100);
    for (op, n) in steps {
        step(&mut rig, op, n, lossy);
    }
    finish(rig);
}

fn steps(n: usize) -> impl Strategy<Value = Vec<(u8, [u16; 6])>> {
    proptest::collection::vec((any::<u8>(), any::<[u16; 6]>()), 1..n)
}

proptest! {
    #![proptest_config(crate::testing::cases(64))]

    /// Whatever is drawn, whoever attaches when and reads how fast: every client ends with the server's pixels, and those
    /// are what drawing each command at once gives.
    #[test]
    fn clients_end_with_the_pixels_of_the_server(steps in steps(400)) {
        let settings = DisplaySettings { image_compression: ImageCompression::Off, ..DisplaySettings::default() };
        run(settings, steps, false);
    }

    /// The same where images are lossy: in the end everything is refined.
    #[test]
    fn lossy_areas_spoil_nothing_and_are_refined(steps in steps(200)) {
        let settings = DisplaySettings {
            image_compression: ImageCompression::Quic,
            jpeg: WanCompression::Always,
            ..DisplaySettings::default()
        };
        run(settings, steps, true);
    }

    /// The same with areas that become video streams: when they end, the true pixels are there.
    #[test]
    fn streams_leave_nothing_wrong_behind(steps in steps(300)) {
        let settings = DisplaySettings {
            image_compression: ImageCompression::Off,
            streaming: StreamingVideo::All,
            ..DisplaySettings::default()
        };
        run(settings, steps, false);
    }
}
