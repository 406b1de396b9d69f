//! The C interface (`spice_video_loader::abi`): this module reads the structures behind pointers, and turns results into
//! numbers and panics into failures.

use crate::encoder::{Encoder, Frame};
use crate::{EncoderError, elements, library, log};
use spice_video_loader::{Spec, abi};
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

static TABLE: abi::Table = abi::Table {
    version: abi::VERSION,
    size: size_of::<abi::Table>() as u32,
    start,
    codecs,
    describe,
    create,
    encode,
    set_bit_rate,
    destroy,
};

/// The one function that the shared object exports: see [`abi::Entry`].
#[unsafe(no_mangle)]
pub extern "C" fn spice_server_video_plugin(version: u32) -> *const abi::Table {
    if version == abi::VERSION { &raw const TABLE } else { std::ptr::null() }
}

unsafe extern "C" fn start(sink: Option<abi::Log>) -> i32 {
    if let Some(sink) = sink {
        log::set(sink);
    }
    guarded(|| match library::start() {
        Ok(()) => abi::DONE,
        Err(reason) => {
            log::warning(&format!("GStreamer cannot be started: {reason}"));
            abi::FAILED
        }
    })
}

unsafe extern "C" fn codecs() -> u32 {
    let mut set = 0;
    guarded(|| {
        set = elements::codecs();
        abi::DONE
    });
    set
}

unsafe extern "C" fn describe(codec: u32, text: *mut c_char, size: usize) -> usize {
    let mut len = 0;
    guarded(|| {
        let names: Vec<&str> = elements::of_codec(codec).map(|e| e.name).collect();
        let names = names.join(",");
        len = names.len();
        if !text.is_null() && size > 0 {
            let fits = len.min(size - 1);
            // SAFETY: the caller has `size` bytes there, which are more than `fits`.
            unsafe {
                std::ptr::copy_nonoverlapping(names.as_ptr().cast(), text, fits);
                text.add(fits).write(0);
            }
        }
        abi::DONE
    });
    len
}

unsafe extern "C" fn create(spec: *const abi::Spec, out: *mut *mut c_void) -> i32 {
    // SAFETY: the caller gives a structure that begins with its size, or NULL.
    let Some(spec) = (unsafe { read(spec) }) else { return abi::UNSUPPORTED };
    let Ok(codec) = u8::try_from(spec.codec) else { return abi::UNSUPPORTED };
    if out.is_null() {
        return abi::FAILED;
    }
    let spec = Spec {
        codec,
        width: spec.width,
        height: spec.height,
        fps: spec.fps,
        threads: spec.threads,
        bit_rate: spec.bit_rate,
        limit_ms: spec.limit_ms,
    };
    guarded(|| match Encoder::new(&spec) {
        Ok(encoder) => {
            // SAFETY: the caller wants the encoder there.
            unsafe { out.write(Box::into_raw(Box::new(encoder)).cast()) };
            abi::DONE
        }
        Err(error) => status(&error),
    })
}

unsafe extern "C" fn encode(
    encoder: *mut c_void,
    frame: *const abi::Frame,
    sink: Option<abi::Sink>,
    opaque: *mut c_void,
) -> i32 {
    // SAFETY: the caller gives an encoder of `create`, alone with it during this call.
    let encoder = unsafe { encoder.cast::<Encoder>().as_mut() };
    // SAFETY: the caller gives a structure that begins with its size, or NULL.
    let frame = unsafe { read(frame) };
    let (Some(encoder), Some(frame), Some(sink)) = (encoder, frame, sink) else { return abi::FAILED };
    if frame.pixels.is_null() {
        return abi::FAILED;
    }
    // SAFETY: the caller has so many bytes there during this call, and does not change them.
    let pixels = unsafe { std::slice::from_raw_parts(frame.pixels, frame.len) };
    let frame = Frame {
        pixels,
        stride: frame.stride as usize,
        time_ms: frame.time_ms,
        force_key: frame.flags & abi::KEY_FRAME != 0,
    };
    guarded(|| {
        let result = encoder.encode(&frame, &mut |bytes, key| {
            let flags = if key { abi::KEY_FRAME } else { 0 };
            // SAFETY: the caller's function takes these bytes and its own pointer during this call.
            unsafe { sink(opaque, bytes.as_ptr(), bytes.len(), flags) };
        });
        match result {
            Ok(()) => abi::DONE,
            Err(error) => {
                log::warning(&error.to_string());
                status(&error)
            }
        }
    })
}

unsafe extern "C" fn set_bit_rate(encoder: *mut c_void, bits_per_second: u64) -> i32 {
    // SAFETY: the caller gives an encoder of `create`, alone with it during this call.
    let Some(encoder) = (unsafe { encoder.cast::<Encoder>().as_mut() }) else { return abi::FAILED };
    guarded(|| {
        encoder.set_bit_rate(bits_per_second);
        abi::DONE
    })
}

unsafe extern "C" fn destroy(encoder: *mut c_void) {
    if encoder.is_null() {
        return;
    }
    // SAFETY: the caller gives an encoder of `create` for the last time.
    let encoder = unsafe { Box::from_raw(encoder.cast::<Encoder>()) };
    guarded(|| {
        drop(encoder);
        abi::DONE
    });
}

/// A structure of the caller, if it has at least the fields that this side knows.
///
/// # Safety
/// `from` is NULL or points to a structure whose first field, a `u32`, is its number of bytes.
unsafe fn read<T: Copy>(from: *const T) -> Option<T> {
    // SAFETY: the first field is there; the others if it says so.
    unsafe {
        let len = *from.cast::<u32>().as_ref()?;
        (len as usize >= size_of::<T>()).then(|| *from)
    }
}

fn status(error: &EncoderError) -> i32 {
    match error {
        EncoderError::Unsupported { .. } => abi::UNSUPPORTED,
        EncoderError::Failed { .. } => abi::FAILED,
        EncoderError::TimedOut { .. } => abi::TIMED_OUT,
    }
}

/// Runs `work`; a panic becomes a failure, since it must not reach C.
fn guarded(work: impl FnOnce() -> i32) -> i32 {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(status) => status,
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("cause unknown");
            log::warning(&format!("internal fault of the video encoders: {text}"));
            std::mem::forget(payload);
            abi::FAILED
        }
    }
}
