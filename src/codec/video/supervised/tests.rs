//! Encoders that do what they must not: only their stream may suffer.

use super::*;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};

const SPEC: VideoSpec =
    VideoSpec { codec: Codec::Vp8, width: 32, height: 16, fps: 25, bit_rate: 1_000_000, may_shrink: false };
/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A test double.
#[derive(Debug, Default)]
struct Double {
    /// What each frame does.
    frame: Behaviour,
    rates: Arc<Mutex<Vec<u64>>>,
    encoded: u32,
    hoard: Vec<Vec<u8>>,
    ended: Ended,
}

/// Tells when the double is dropped.
#[derive(Debug, Default)]
struct Ended(Arc<AtomicBool>);

#[derive(Clone, Debug, Default)]
enum Behaviour {
    /// Gives the frame's first pixel, its time, and whether it is a key frame.
    #[default]
    Works,
    Fails,
    Panics,
    /// Comes back when the gate opens.
    Stalls(Arc<Gate>),
    /// Keeps so many bytes of memory with each frame.
    Keeps(usize),
}

#[derive(Debug, Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn pass(&self) {
        let _open = self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap();
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

impl VideoEncoder for Double {
    fn codec(&self) -> Codec {
        SPEC.codec
    }

    fn encode(&mut self, frame: &ImageView<'_>, time: u32, force: bool) -> Result<EncodedFrame, VideoError> {
        match &self.frame {
            Behaviour::Works => {}
            Behaviour::Fails => return Err(VideoError::Failed("of itself".into())),
            Behaviour::Panics => panic!("an encoder of a test"),
            Behaviour::Stalls(gate) => gate.pass(),
            Behaviour::Keeps(bytes) => self.hoard.push(vec![0; *bytes]),
        }
        let mut row = vec![0; frame.row_bytes()];
        frame.read_row(0, &mut row);
        let key = force || self.encoded == 0;
        self.encoded += 1;
        Ok(EncodedFrame { data: [&row[..4], &time.to_le_bytes()].concat(), key, size: None })
    }

    fn set_bit_rate(&mut self, bits_per_second: u64) {
        self.rates.lock().unwrap().push(bits_per_second);
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn start(frame: Behaviour, limit: Duration) -> Supervised {
    let double = Double { frame, ..Double::default() };
    start_double(double, limit)
}

fn start_double(double: Double, limit: Duration) -> Supervised {
    let make: Make = Box::new(move || Ok(Box::new(double)));
    Supervised::start_with(SPEC, make, Box::new(|| ()), blind(), limit).unwrap()
}

/// Other tests of this process take and give memory meanwhile.
fn blind() -> Probe {
    Box::new(|| None)
}

fn encode(encoder: &mut Supervised, value: u8, force_key: bool) -> Result<EncodedFrame, VideoError> {
    let pixels = vec![value; 32 * 16 * 4];
    encoder.encode(&view(&SliceSource(&pixels)), u32::from(value), force_key)
}

fn view<'a>(source: &'a SliceSource<'a>) -> ImageView<'a> {
    ImageView {
        format: BitmapFormat::ThirtyTwoBit,
        width: 32,
        height: 16,
        stride: 128,
        top_down: true,
        source,
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn frames_come_back_in_order_with_what_was_asked() {
    let mut encoder = start(Behaviour::Works, LONG);
    for (value, key) in [(1, false), (2, false), (3, true), (4, false)] {
        let frame = encode(&mut encoder, value, key).unwrap();
        assert_eq!(frame.data, [value, value, value, value, value, 0, 0, 0]);
        assert_eq!(frame.key, key || value == 1);
    }
}

#[test]
fn the_last_bit_rate_is_set_before_the_next_frame() {
    let double = Double::default();
    let rates = Arc::clone(&double.rates);
    let mut encoder = start_double(double, LONG);
    encoder.set_bit_rate(1);
    encoder.set_bit_rate(2);
    encode(&mut encoder, 1, false).unwrap();
    encoder.set_bit_rate(3);
    encode(&mut encoder, 2, false).unwrap();
    encode(&mut encoder, 3, false).unwrap();
    assert_eq!(*rates.lock().unwrap(), [2, 3]);
}

#[test]
fn who_must_not_wait_is_woken() {
    let (wake, woken) = std::sync::mpsc::channel();
    let make: Make = Box::new(|| Ok(Box::new(Double::default())));
    let wake: Wake = Box::new(move || {
        let _ = wake.send(());
    });
    let mut encoder = Supervised::start_with(SPEC, make, wake, blind(), LONG).unwrap();
    woken.recv_timeout(LONG).unwrap();
    assert!(encoder.is_ready() && encoder.poll().is_none() && encoder.deadline().is_none());
    let pixels = vec![9; 32 * 16 * 4];
    encoder.submit(&view(&SliceSource(&pixels)), 0, false).unwrap();
    assert!(encoder.deadline().is_some());
    woken.recv_timeout(LONG).unwrap();
    assert_eq!(encoder.poll().unwrap().unwrap().data[0], 9);
    assert!(encoder.poll().is_none() && encoder.deadline().is_none());
}

#[test]
fn a_second_frame_waits_for_the_first() {
    let gate = Arc::new(Gate::default());
    let mut encoder = start(Behaviour::Stalls(Arc::clone(&gate)), LONG);
    let pixels = vec![9; 32 * 16 * 4];
    encoder.submit(&view(&SliceSource(&pixels)), 0, false).unwrap();
    assert_eq!(encoder.submit(&view(&SliceSource(&pixels)), 0, false), Err(VideoError::Busy));
    assert!(encoder.poll().is_none());
    gate.open();
    wait_for("the first frame", || encoder.poll().is_some());
    assert_eq!(encode(&mut encoder, 1, false).unwrap().data[0], 1);
}

#[test]
fn an_encoder_that_fails_or_panics_is_over() {
    for (behaviour, error) in [
        (Behaviour::Fails, VideoError::Failed("of itself".into())),
        (Behaviour::Panics, VideoError::Failed("a fault of ours".into())),
    ] {
        let double = Double { frame: behaviour, ..Double::default() };
        let ended = Arc::clone(&double.ended.0);
        let mut encoder = start_double(double, LONG);
        assert_eq!(encode(&mut encoder, 1, false), Err(error.clone()));
        assert_eq!(encode(&mut encoder, 1, false), Err(error.clone()), "from then on");
        assert_eq!(encoder.failure(), Some(error));
        wait_for("its thread drops it", || ended.load(Ordering::SeqCst));
    }
}

#[test]
fn an_encoder_that_stalls_is_given_up() {
    let gate = Arc::new(Gate::default());
    let double = Double { frame: Behaviour::Stalls(Arc::clone(&gate)), ..Double::default() };
    let ended = Arc::clone(&double.ended.0);
    let mut encoder = start_double(double, Duration::from_millis(50));
    let before = Instant::now();
    assert_eq!(encode(&mut encoder, 1, false), Err(VideoError::Stalled));
    assert!(before.elapsed() >= Duration::from_millis(50) + GRACE);
    assert_eq!(encode(&mut encoder, 1, false), Err(VideoError::Stalled), "at once");
    drop(encoder);
    assert!(!ended.load(Ordering::SeqCst), "its thread is still in it");
    gate.open();
    wait_for("the thread ends when it comes back", || ended.load(Ordering::SeqCst));
}

#[test]
fn an_encoder_that_cannot_be_made_is_over() {
    let gate = Arc::new(Gate::default());
    let stalling = Arc::clone(&gate);
    let cases: [(Make, VideoError); 3] = [
        (Box::new(|| Err(VideoError::Unavailable(Codec::Vp8))), VideoError::Unavailable(Codec::Vp8)),
        (Box::new(|| panic!("of a test")), VideoError::Failed("a fault of ours".into())),
        (
            Box::new(move || {
                stalling.pass();
                Ok(Box::new(Double::default()))
            }),
            VideoError::Stalled,
        ),
    ];
    for (make, error) in cases {
        let limit = Duration::from_millis(if error == VideoError::Stalled { 50 } else { 60_000 });
        let mut encoder = Supervised::start_with(SPEC, make, Box::new(|| ()), blind(), limit).unwrap();
        assert_eq!(encode(&mut encoder, 1, false), Err(error));
        assert!(!encoder.is_ready());
    }
    gate.open();
}

#[test]
fn an_encoder_that_eats_memory_is_over() {
    let double = Double { frame: Behaviour::Keeps(512 << 20), ..Double::default() };
    let make: Make = Box::new(move || Ok(Box::new(double)));
    let mut encoder = Supervised::start_with(SPEC, make, Box::new(|| ()), probe(), LONG).unwrap();
    let failed = (0..8).find_map(|n| encode(&mut encoder, n, false).err());
    assert_eq!(failed, Some(VideoError::EatsMemory), "after 4 GiB at most");
    assert!(!encoder.is_ready());
}

#[test]
fn frames_of_other_sizes_do_not_reach_the_encoder() {
    let mut encoder = start(Behaviour::Works, LONG);
    let pixels = vec![9; 32 * 16 * 4];
    let source = SliceSource(&pixels);
    let other = ImageView { height: 15, ..view(&source) };
    assert_eq!(encoder.encode(&other, 0, false), Err(VideoError::BadFrame));
    let palette = ImageView { format: BitmapFormat::EightBit, ..view(&source) };
    assert_eq!(encoder.encode(&palette, 0, false), Err(VideoError::BadFrame));
    assert!(encode(&mut encoder, 1, false).is_ok(), "which goes on");
}
