//! Functions of `spice-audio.h`. This build offers no sound channel to clients: the functions behave as they do
//! while no client is connected.

use crate::abi::*;
use crate::boundary::guard;
use crate::handle;

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_audio.rs"));

/// Rate that Opus works best with (server.md 1.3).
const BEST_RATE: u32 = 48_000;

fn check<T>(function: &'static str, sin: *const T) {
    let _ = handle::instance(function, sin);
}

/// The guest starts to play. Nothing happens if it does already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_start(sin: *mut SpicePlaybackInstance) {
    guard("spice_server_playback_start", || check("spice_server_playback_start", sin));
}

/// The guest stops playing. Nothing happens if it does not play.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_stop(sin: *mut SpicePlaybackInstance) {
    guard("spice_server_playback_stop", || check("spice_server_playback_stop", sin));
}

/// A buffer to put samples (16 bits, stereo) in: *samples and its size in samples, or NULL and 0 when none is wanted now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_get_buffer(
    sin: *mut SpicePlaybackInstance,
    samples: *mut *mut u32,
    num_samples: *mut u32,
) {
    guard("spice_server_playback_get_buffer", || {
        check("spice_server_playback_get_buffer", sin);
        // SAFETY: the caller passes NULL or places to write to.
        unsafe {
            if !samples.is_null() {
                samples.write(std::ptr::null_mut());
            }
            if !num_samples.is_null() {
                num_samples.write(0);
            }
        }
    });
}

/// Sends a buffer of spice_server_playback_get_buffer(), which must be full.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_put_samples(
    sin: *mut SpicePlaybackInstance,
    samples: *mut u32,
) {
    let _ = samples;
    guard("spice_server_playback_put_samples", || check("spice_server_playback_put_samples", sin));
}

/// The volume that the guest set, one value per channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_set_volume(
    sin: *mut SpicePlaybackInstance,
    nchannels: u8,
    volume: *mut u16,
) {
    let _ = (nchannels, volume);
    guard("spice_server_playback_set_volume", || check("spice_server_playback_set_volume", sin));
}

/// Whether the guest muted its output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_set_mute(sin: *mut SpicePlaybackInstance, mute: u8) {
    let _ = mute;
    guard("spice_server_playback_set_mute", || check("spice_server_playback_set_mute", sin));
}

/// The guest starts to record. Nothing happens if it does already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_start(sin: *mut SpiceRecordInstance) {
    guard("spice_server_record_start", || check("spice_server_record_start", sin));
}

/// The guest stops recording. Nothing happens if it does not record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_stop(sin: *mut SpiceRecordInstance) {
    guard("spice_server_record_stop", || check("spice_server_record_stop", sin));
}

/// Up to bufsize recorded samples (16 bits, stereo); returns how many there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_get_samples(
    sin: *mut SpiceRecordInstance,
    samples: *mut u32,
    bufsize: u32,
) -> u32 {
    let _ = (samples, bufsize);
    guard("spice_server_record_get_samples", || {
        check("spice_server_record_get_samples", sin);
        0
    })
}

/// The recording volume that the guest set, one value per channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_set_volume(
    sin: *mut SpiceRecordInstance,
    nchannels: u8,
    volume: *mut u16,
) {
    let _ = (nchannels, volume);
    guard("spice_server_record_set_volume", || check("spice_server_record_set_volume", sin));
}

/// Whether the guest muted its input.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_set_mute(sin: *mut SpiceRecordInstance, mute: u8) {
    let _ = mute;
    guard("spice_server_record_set_mute", || check("spice_server_record_set_mute", sin));
}

/// The sample rate (Hz) that costs clients least; sin may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_best_playback_rate(sin: *mut SpicePlaybackInstance) -> u32 {
    let _ = sin;
    BEST_RATE
}

/// Sets the sample rate (Hz) of the stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_playback_rate(sin: *mut SpicePlaybackInstance, frequency: u32) {
    let _ = frequency;
    guard("spice_server_set_playback_rate", || check("spice_server_set_playback_rate", sin));
}

/// The sample rate (Hz) that costs clients least; sin may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_best_record_rate(sin: *mut SpiceRecordInstance) -> u32 {
    let _ = sin;
    BEST_RATE
}

/// Sets the sample rate (Hz) of the stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_record_rate(sin: *mut SpiceRecordInstance, frequency: u32) {
    let _ = frequency;
    guard("spice_server_set_record_rate", || check("spice_server_set_record_rate", sin));
}
