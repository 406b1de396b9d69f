//! The interface against tables that break its promises.

use super::*;
use abi::Table;
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

const SPEC: Spec =
    Spec { codec: 2, width: 4, height: 2, fps: 30, threads: 1, bit_rate: 1_000_000, limit_ms: 1000 };

static ENDED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn start(_: Option<abi::Log>) -> i32 {
    abi::DONE
}
unsafe extern "C" fn codecs() -> u32 {
    1 << 2
}
unsafe extern "C" fn describe(_: u32, _: *mut c_char, _: usize) -> usize {
    0
}
unsafe extern "C" fn create(_: *const abi::Spec, _: *mut *mut c_void) -> i32 {
    abi::DONE
}
unsafe extern "C" fn set_bit_rate(_: *mut c_void, _: u64) -> i32 {
    abi::DONE
}
unsafe extern "C" fn destroy(_: *mut c_void) {
    ENDED.fetch_add(1, Ordering::Relaxed);
}

/// Gives `stride` bytes of the frame, in two parts; the status is `time_ms`.
unsafe extern "C" fn encode(
    _: *mut c_void,
    frame: *const abi::Frame,
    sink: Option<abi::Sink>,
    opaque: *mut c_void,
) -> i32 {
    // SAFETY: the pointers are those of the caller's frame and sink.
    unsafe {
        let frame = &*frame;
        if frame.flags == 0 {
            sink.unwrap()(opaque, frame.pixels, frame.stride as usize - 1, 0);
            sink.unwrap()(opaque, frame.pixels, 1, abi::KEY_FRAME);
        }
        -i32::try_from(frame.time_ms).unwrap()
    }
}

static TABLE: Table = Table {
    version: abi::VERSION,
    size: size_of::<Table>() as u32,
    start,
    codecs,
    describe,
    create,
    encode,
    set_bit_rate,
    destroy,
};

fn encoder() -> Encoder {
    static ANY: AtomicI32 = AtomicI32::new(0);
    Encoder::new(&TABLE, ANY.as_ptr().cast(), SPEC)
}

fn frame(pixels: &[u8]) -> Frame<'_> {
    Frame { pixels, stride: 16, time_ms: 0, force_key: false }
}

#[test]
fn parts_of_a_frame_come_together() {
    let output = encoder().encode(&frame(&[7; 32]), 16).unwrap();
    assert_eq!(output, Output { bytes: vec![7; 16], key: true });
}

#[test]
fn a_frame_beyond_the_callers_limit_is_an_error_and_ends_the_encoder() {
    let mut encoder = encoder();
    assert_eq!(encoder.encode(&frame(&[7; 32]), 15), Err(Error::TooLarge));
    assert_eq!(encoder.encode(&frame(&[7; 32]), 16), Err(Error::Failed));
    assert_eq!(encoder.set_bit_rate(1), Err(Error::Failed));
}

#[test]
fn rows_that_are_not_there_are_not_read() {
    let mut encoder = encoder();
    assert_eq!(encoder.encode(&frame(&[7; 31]), 16), Err(Error::BadFrame));
    let narrow = Frame { stride: 15, ..frame(&[7; 32]) };
    assert_eq!(encoder.encode(&narrow, 16), Err(Error::BadFrame));
    assert!(encoder.encode(&frame(&[7; 32]), 16).is_ok(), "the encoder never saw them");
}

#[test]
fn no_frame_and_errors_are_told_apart() {
    let silent = Frame { force_key: true, ..frame(&[7; 32]) };
    assert_eq!(encoder().encode(&silent, 16), Err(Error::NoFrame));
    for (status, error) in
        [(1, Error::Unsupported), (2, Error::Failed), (3, Error::TimedOut), (9, Error::Failed)]
    {
        let failing = Frame { time_ms: status, ..frame(&[7; 32]) };
        assert_eq!(encoder().encode(&failing, 16), Err(error));
    }
}

#[test]
fn an_encoder_that_is_not_there_was_not_made() {
    let plugin = plugin::Plugin::of(&TABLE);
    assert_eq!(plugin.create(&SPEC).err(), Some(Error::Failed));
    assert_eq!((plugin.codecs(), plugin.describe(2)), (4, String::new()));
}

#[test]
fn dropping_an_encoder_ends_it() {
    let before = ENDED.load(Ordering::Relaxed);
    drop(encoder());
    assert!(ENDED.load(Ordering::Relaxed) > before);
}

#[test]
fn what_is_no_plugin_is_not_loaded() {
    let log = |_: Level, _: &str| {};
    assert!(matches!(Plugin::load(Path::new("/nonexistent.so"), log), Err(Error::Load(_))));
    assert!(matches!(Plugin::load(Path::new("a\0b"), log), Err(Error::Load(_))));
    assert_eq!(Plugin::load(Path::new("libc.so.6"), log).err(), Some(Error::Version));
}
