//! The codec of a build with libopus.

use super::{CHANNELS, Error};
use std::ffi::{c_int, c_uchar};
use std::ptr::NonNull;

/// OPUS_APPLICATION_AUDIO.
const APPLICATION_AUDIO: c_int = 2049;
const STEREO: c_int = 2;

#[repr(C)]
struct OpusEncoder([u8; 0]);
#[repr(C)]
struct OpusDecoder([u8; 0]);

// Linked by build.rs.
unsafe extern "C" {
    fn opus_encoder_create(
        rate: i32,
        channels: c_int,
        application: c_int,
        error: *mut c_int,
    ) -> *mut OpusEncoder;
    fn opus_encode(st: *mut OpusEncoder, pcm: *const i16, frames: c_int, data: *mut c_uchar, max: i32)
    -> i32;
    fn opus_encoder_destroy(st: *mut OpusEncoder);
    fn opus_decoder_create(rate: i32, channels: c_int, error: *mut c_int) -> *mut OpusDecoder;
    fn opus_decode(
        st: *mut OpusDecoder,
        data: *const c_uchar,
        len: i32,
        pcm: *mut i16,
        frames: c_int,
        fec: c_int,
    ) -> c_int;
    fn opus_decoder_destroy(st: *mut OpusDecoder);
}

/// The count that the library returned, or its error.
fn count(returned: i32) -> Result<usize, Error> {
    usize::try_from(returned).map_err(|_| Error(returned))
}

/// Makes packets of samples.
#[derive(Debug)]
pub struct Encoder(NonNull<OpusEncoder>);

// SAFETY: the library keeps no state but that behind the pointer, which only this value has.
unsafe impl Send for Encoder {}

impl Encoder {
    /// For stereo at so many samples a second; `None` for rates that Opus does not have, or without memory.
    #[must_use]
    pub fn new(rate: u32) -> Option<Self> {
        let mut error = 0;
        // SAFETY: plain values, and a place for the error; the library checks the rate.
        let made = unsafe {
            opus_encoder_create(i32::try_from(rate).ok()?, STEREO, APPLICATION_AUDIO, &raw mut error)
        };
        NonNull::new(made).map(Self)
    }

    /// Encodes one frame into `packet` and returns the packet's length (bytes). The library refuses frames of other lengths
    /// than 2.5, 5, 10, 20, 40 and 60 ms.
    pub fn encode(&mut self, samples: &[i16], packet: &mut [u8]) -> Result<usize, Error> {
        let frames = c_int::try_from(samples.len() / CHANNELS).unwrap_or(0);
        let room = i32::try_from(packet.len()).unwrap_or(i32::MAX);
        // SAFETY: the encoder is alive; it reads `frames` pairs of samples, which are there, and writes at most `room` bytes.
        count(unsafe { opus_encode(self.0.as_ptr(), samples.as_ptr(), frames, packet.as_mut_ptr(), room) })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: made by opus_encoder_create and destroyed once.
        unsafe { opus_encoder_destroy(self.0.as_ptr()) };
    }
}

/// Makes samples of packets.
#[derive(Debug)]
pub struct Decoder(NonNull<OpusDecoder>);

// SAFETY: as for the encoder.
unsafe impl Send for Decoder {}

impl Decoder {
    /// For stereo at so many samples a second; `None` for rates that Opus does not have, or without memory.
    #[must_use]
    pub fn new(rate: u32) -> Option<Self> {
        let mut error = 0;
        // SAFETY: plain values, and a place for the error; the library checks the rate.
        let made = unsafe { opus_decoder_create(i32::try_from(rate).ok()?, STEREO, &raw mut error) };
        NonNull::new(made).map(Self)
    }

    /// Decodes one packet into `samples` and returns how many pairs of samples it had. A packet with more than there is
    /// room for is an error, and so is an empty one, which would mean a lost packet to the library.
    pub fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> Result<usize, Error> {
        if packet.is_empty() {
            return Err(Error(-4));
        }
        let length = i32::try_from(packet.len()).unwrap_or(i32::MAX);
        let room = c_int::try_from(samples.len() / CHANNELS).unwrap_or(0);
        // SAFETY: the decoder is alive; it reads at most `length` bytes, which are there, and writes at most `room` pairs
        // of samples, for which there is room.
        count(unsafe { opus_decode(self.0.as_ptr(), packet.as_ptr(), length, samples.as_mut_ptr(), room, 0) })
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: made by opus_decoder_create and destroyed once.
        unsafe { opus_decoder_destroy(self.0.as_ptr()) };
    }
}
