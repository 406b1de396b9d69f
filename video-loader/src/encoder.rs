//! One encoder of a shared object.

use crate::abi::{self, Table};
use crate::{Error, Spec};
use std::ffi::c_void;

/// A frame to encode: rows from top to bottom, 4 bytes a pixel: blue, green, red and one that does not count.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub pixels: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: u32,
    /// When it is to be shown (milliseconds; wraps around).
    pub time_ms: u32,
    /// It must be a key frame.
    pub force_key: bool,
}

/// An encoded frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub bytes: Vec<u8>,
    /// It can be decoded without those before it.
    pub key: bool,
}

/// One encoder, which its shared object has made. Dropping it ends it.
#[derive(Debug)]
pub struct Encoder {
    table: &'static Table,
    encoder: *mut c_void,
    spec: Spec,
    /// It failed: nothing but ending it is allowed.
    broken: bool,
}

// SAFETY: the interface allows an encoder on any thread, one at a time, which owning it ensures.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Takes an encoder that the shared object of `table` made, and that nobody else has.
    pub(crate) fn new(table: &'static Table, encoder: *mut c_void, spec: Spec) -> Self {
        Self { table, encoder, spec, broken: false }
    }

    /// Encodes a frame of the encoder's size into at most `max_len` bytes. Takes about [`Spec::limit_ms`] at most, if the
    /// shared object keeps to the interface. After an error the encoder is of no use.
    ///
    /// # Errors
    /// [`Error::BadFrame`], [`Error::TooLarge`], [`Error::NoFrame`], and those of the encoder.
    pub fn encode(&mut self, frame: &Frame<'_>, max_len: usize) -> Result<Output, Error> {
        if self.broken {
            return Err(Error::Failed);
        }
        self.check(frame)?;
        self.broken = true;
        let mut collected = Collected { max_len, ..Collected::default() };
        let given = abi::Frame {
            size: size_of::<abi::Frame>() as u32,
            stride: frame.stride,
            pixels: frame.pixels.as_ptr(),
            len: frame.pixels.len(),
            time_ms: frame.time_ms,
            flags: if frame.force_key { abi::KEY_FRAME } else { 0 },
        };
        // SAFETY: the encoder is alive and this thread's alone; frame, pixels and `collected` outlive the call, after which
        // the interface lets nobody use them; `collect` takes what it is given as its opaque pointer.
        let status = unsafe {
            (self.table.encode)(
                self.encoder,
                &raw const given,
                Some(collect),
                (&raw mut collected).cast::<c_void>(),
            )
        };
        Error::check(status)?;
        if collected.too_large {
            return Err(Error::TooLarge);
        }
        if collected.output.bytes.is_empty() {
            return Err(Error::NoFrame);
        }
        self.broken = false;
        Ok(collected.output)
    }

    /// Changes the bit rate (bits per second) from the next frame on.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn set_bit_rate(&mut self, bits_per_second: u64) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Failed);
        }
        // SAFETY: the encoder is alive and this thread's alone.
        Error::check(unsafe { (self.table.set_bit_rate)(self.encoder, bits_per_second) })
    }

    /// The other side reads `height` rows of `width` pixels.
    fn check(&self, frame: &Frame<'_>) -> Result<(), Error> {
        let row = u64::from(self.spec.width) * 4;
        let rows = u64::from(self.spec.height.saturating_sub(1));
        let needed = rows * u64::from(frame.stride) + row;
        let fits = row <= u64::from(frame.stride) && needed <= frame.pixels.len() as u64;
        if fits { Ok(()) } else { Err(Error::BadFrame) }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the encoder is alive, and nobody uses it after this.
        unsafe { (self.table.destroy)(self.encoder) }
    }
}

#[derive(Default)]
struct Collected {
    output: Output,
    max_len: usize,
    too_large: bool,
}

/// The [`abi::Sink`] of [`Encoder::encode`]. Does not panic.
unsafe extern "C" fn collect(opaque: *mut c_void, bytes: *const u8, size: usize, flags: u32) {
    // SAFETY: the interface hands back the pointer that it was given, during the call that it was given to.
    let Some(collected) = (unsafe { opaque.cast::<Collected>().as_mut() }) else { return };
    if bytes.is_null() || size == 0 || collected.too_large {
        return;
    }
    let out = &mut collected.output;
    let room = collected.max_len.saturating_sub(out.bytes.len());
    if size > room || out.bytes.try_reserve_exact(size).is_err() {
        collected.too_large = true;
        return;
    }
    // SAFETY: the interface promises so many readable bytes.
    out.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes, size) });
    out.key |= flags & abi::KEY_FRAME != 0;
}
